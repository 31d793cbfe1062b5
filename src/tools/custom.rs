//! A tool that a client wrote: its source runs in a process of its own.

use super::sandbox::{Job, Part, Sandbox};
use super::{Host, Tool, Work};
use crate::domain::tool::{Effects, Tool as Definition, ToolFailure, ToolResult};
use serde_json::{Map, Value};
use std::sync::Arc;

pub struct Custom {
    definition: Arc<Definition>,
    sandbox: Sandbox,
}

impl Custom {
    pub fn new(definition: Definition, sandbox: Sandbox) -> Self {
        Self {
            definition: Arc::new(definition),
            sandbox,
        }
    }
}

impl Tool for Custom {
    fn definition(&self) -> &Arc<Definition> {
        &self.definition
    }

    fn effects(&self) -> Effects {
        Effects::Outside
    }

    fn start(&self, arguments: Map<String, Value>, host: Arc<dyn Host>) -> Work {
        let (definition, sandbox) = (self.definition.clone(), self.sandbox.clone());
        Work::Wait(Box::pin(async move {
            run(&definition, &sandbox, arguments, &*host)
                .await
                .unwrap_or_else(|failure| ToolResult::failure(&definition.name, failure))
        }))
    }
}

async fn run(
    definition: &Definition,
    sandbox: &Sandbox,
    arguments: Map<String, Value>,
    host: &dyn Host,
) -> Result<ToolResult, ToolFailure> {
    let source = definition.source_code.clone().ok_or_else(|| {
        ToolFailure::new(
            "NotImplementedError",
            "this tool has no source that could be run",
        )
    })?;
    let agent = host.view().await?;
    let mut environment = agent.secrets.clone();
    environment.extend([
        ("LETTA_AGENT_ID".to_owned(), agent.id.clone()),
        ("LETTA_TOOL_ID".to_owned(), definition.id.to_string()),
    ]);
    if let Some(project) = &definition.project_id {
        environment.extend(
            ["LETTA_PROJECT_ID", "PROJECT_ID"].map(|name| (name.to_owned(), project.clone())),
        );
    }
    let job = Job {
        tool: definition.name.clone(),
        part: Part::Function,
        language: definition.source_type,
        source,
        arguments,
        args_json_schema: definition.args_json_schema.clone(),
        environment,
        agent: Some(agent),
    };
    Ok(sandbox.run(job).await)
}
