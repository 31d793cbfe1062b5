//! Tools that clients write. The handle reads their sources, the library never does; what it wrote, it takes into use.

use super::{LibraryHandle, MOST_TRIES, Msg, State};
use crate::actors::reads::blocking;
use crate::actors::refused::Refused;
use crate::domain::clock;
use crate::domain::id::{ToolId, UserId};
use crate::domain::tool::{BadTool, NewTool, SourceRun, SourceType, Tool, ToolChange, ToolResult};
use crate::store::{Batch, CommitError};
use crate::tools::custom::Custom;
use crate::tools::sandbox::{Job, Part};
use crate::tools::source::{self, BadSource};
use serde_json::Value;
use std::sync::Arc;

/// Tools that clients may have written: all of them are in memory.
const MOST_TOOLS: usize = 20_000;

impl From<BadTool> for Refused {
    fn from(bad: BadTool) -> Self {
        match bad {
            BadTool::NoSchema => Self::Invalid(bad.to_string()),
            _ => Self::Argument(bad.to_string()),
        }
    }
}

impl From<BadSource> for Refused {
    fn from(bad: BadSource) -> Self {
        Self::Argument(bad.to_string())
    }
}

impl LibraryHandle {
    /// All tools the program knows, those that clients wrote included: by time of creation.
    pub fn tools(&self) -> Vec<Arc<Tool>> {
        let tools = self.house.toolbox.all().into_iter();
        tools.map(|tool| tool.definition().clone()).collect()
    }

    pub fn tool(&self, id: ToolId) -> Result<Arc<Tool>, Refused> {
        let tool = self.house.toolbox.get(id).ok_or(Refused::NoSuchTool(id))?;
        Ok(tool.definition().clone())
    }

    /// The schema of the tool that a Python source defines.
    ///
    /// # Errors
    /// `Argument` with the place and the reason.
    pub async fn schema_of(&self, source: String) -> Result<Value, Refused> {
        blocking(move || Ok(source::python_schema(&source, None)?)).await
    }

    /// Writes a tool, in the place of one of its name if there is one. Without a schema it is the source's.
    ///
    /// # Errors
    /// `Argument` when the source gives no schema, or the tool cannot be; `ToolNameTaken` by one in the program.
    pub async fn upsert_tool(&self, mut new: NewTool, by: UserId) -> Result<Arc<Tool>, Refused> {
        if new.json_schema.is_none() && new.source_type == SourceType::Python {
            let toolbox = self.house.toolbox.clone();
            new = blocking(move || {
                let name = source::python_name(&new.source_code)?;
                let stored = toolbox.by_name(&name);
                let stored = stored.and_then(|tool| tool.definition().args_json_schema.clone());
                let arguments = new.args_json_schema.clone().or(stored);
                let schema = source::python_schema(&new.source_code, arguments.as_ref())?;
                new.json_schema = Some(schema);
                Ok(new)
            })
            .await?;
        }
        self.ask(|reply| Msg::UpsertTool(Box::new(new), by, reply))
            .await
    }

    /// # Errors
    /// `NoSuchTool`; `Argument` for one in the program, and as `upsert_tool`.
    pub async fn modify_tool(
        &self,
        id: ToolId,
        change: ToolChange,
        by: UserId,
    ) -> Result<Arc<Tool>, Refused> {
        let tool = self.tool(id)?;
        let change = blocking(move || resolved(change, &tool)).await?;
        self.ask(|reply| Msg::ModifyTool(id, Box::new(change), by, reply))
            .await
    }

    /// One in the program stays (decisions 41).
    ///
    /// # Errors
    /// `NoSuchTool`.
    pub async fn delete_tool(&self, id: ToolId) -> Result<(), Refused> {
        self.ask(|reply| Msg::DeleteTool(id, reply)).await
    }
}

impl LibraryHandle {
    /// Runs a source once; nothing is kept, and no agent is asked.
    ///
    /// # Errors
    /// `Argument` when the source has no schema and none is given.
    pub async fn run_source(&self, run: SourceRun) -> Result<ToolResult, Refused> {
        let job = blocking(move || job(run)).await?;
        Ok(self.house.sandbox.run(job).await)
    }
}

fn job(run: SourceRun) -> Result<Job, Refused> {
    let arguments = run.args_json_schema.as_ref();
    let defined = match (run.source_type, &run.json_schema) {
        (SourceType::Python, None) => {
            let schema = source::python_schema(&run.source_code, arguments)?;
            schema["name"].as_str().map(str::to_owned)
        }
        (_, Some(schema)) => schema["name"].as_str().map(str::to_owned),
        (SourceType::Typescript, None) => return Err(BadTool::NoSchema.into()),
    };
    Ok(Job {
        tool: run.name.or(defined).unwrap_or_else(|| "tool".to_owned()),
        part: Part::Function,
        language: run.source_type,
        source: run.source_code,
        arguments: run.arguments,
        args_json_schema: run.args_json_schema,
        environment: run.environment,
        agent: None,
    })
}

/// A change with the schema that its source comes to.
fn resolved(mut change: ToolChange, tool: &Tool) -> Result<ToolChange, Refused> {
    if change.json_schema.is_some() && change.args_json_schema.is_some() {
        return Err(BadTool::TwoSchemas.into());
    }
    let source = change.source_code.as_ref().or(tool.source_code.as_ref());
    let language = change.source_type.unwrap_or(tool.source_type);
    let (Some(source), SourceType::Python) = (source, language) else {
        return Ok(change);
    };
    match &change.json_schema {
        None if change.source_code.is_some() || change.args_json_schema.is_some() => {
            let arguments = change.args_json_schema.as_ref();
            let arguments = arguments.or(tool.args_json_schema.as_ref());
            change.json_schema = Some(source::python_schema(source, arguments)?);
        }
        Some(schema) if change.source_code.is_some() => {
            let name = source::python_name(source)?;
            if schema["name"].as_str() != Some(&name) {
                let schema = schema["name"].as_str().unwrap_or_default().to_owned();
                return Err(BadTool::OtherName {
                    schema,
                    defined: name,
                }
                .into());
            }
        }
        _ => (),
    }
    Ok(change)
}

impl State {
    /// Takes into use what is stored. One that cannot be read costs its own place only.
    pub(super) fn seat_tools(&self) {
        let (stored, unread) = self.house.store.tools();
        for error in unread {
            tracing::error!(%error, "a tool that a client wrote cannot be read");
        }
        for tool in stored {
            self.seat_tool(tool);
        }
    }

    fn seat_tool(&self, tool: Tool) -> Arc<Tool> {
        let tool = Custom::new(tool, self.house.sandbox.clone());
        let definition = crate::tools::Tool::definition(&tool).clone();
        self.house.toolbox.seat(Arc::new(tool));
        definition
    }

    pub(super) async fn upsert_tool(&self, new: NewTool, by: UserId) -> Result<Arc<Tool>, Refused> {
        let tool = new.clone().create(by, clock::now())?;
        match self.house.toolbox.by_name(&tool.name) {
            Some(known) if known.definition().is_builtin() => {
                Err(Refused::ToolNameTaken(tool.name))
            }
            Some(known) => {
                let id = known.definition().id;
                self.rewrite_tool(id, &new.change(), by).await
            }
            None if self.house.toolbox.all().len() >= MOST_TOOLS => {
                let text = format!("{MOST_TOOLS} tools are here, no more are taken");
                Err(Refused::Argument(text))
            }
            None => {
                self.write_tool(&tool, None).await?;
                Ok(self.seat_tool(tool))
            }
        }
    }

    pub(super) async fn modify_tool(
        &self,
        id: ToolId,
        change: &ToolChange,
        by: UserId,
    ) -> Result<Arc<Tool>, Refused> {
        let known = self.house.toolbox.get(id).ok_or(Refused::NoSuchTool(id))?;
        if known.definition().is_builtin() {
            let name = &known.definition().name;
            let text = format!("{name} comes with the program and cannot be changed");
            return Err(Refused::Argument(text));
        }
        self.rewrite_tool(id, change, by).await
    }

    /// Reads, changes, writes on the condition that nobody wrote in between; then again.
    async fn rewrite_tool(
        &self,
        id: ToolId,
        change: &ToolChange,
        by: UserId,
    ) -> Result<Arc<Tool>, Refused> {
        for _ in 0..MOST_TRIES {
            let stored = self.house.store.tool(id)?.ok_or(Refused::NoSuchTool(id))?;
            let changed = change.clone().apply(&stored, by, clock::now())?;
            let other = self.house.toolbox.by_name(&changed.name);
            if other.is_some_and(|other| other.definition().id != id) {
                return Err(Refused::ToolNameTaken(changed.name));
            }
            match self.write_tool(&changed, Some(&stored.name)).await {
                Ok(()) => return Ok(self.seat_tool(changed)),
                Err(CommitError::Conflict(_)) => (),
                Err(error) => return Err(error.into()),
            }
        }
        Err(Refused::Overloaded)
    }

    pub(super) async fn delete_tool(&self, id: ToolId) -> Result<(), Refused> {
        let known = self.house.toolbox.get(id);
        if known.is_some_and(|tool| tool.definition().is_builtin()) {
            return Ok(());
        }
        for _ in 0..MOST_TRIES {
            let stored = self.house.store.tool_stamp(id)?;
            let (name, version) = stored.ok_or(Refused::NoSuchTool(id))?;
            let mut batch = Batch::shared();
            batch.delete_tool(id, &name, version);
            match self.commit_tool(batch).await {
                Ok(()) => {
                    self.house.toolbox.unseat(id);
                    return Ok(());
                }
                Err(CommitError::Conflict(_)) => (),
                Err(error) => return Err(error.into()),
            }
        }
        Err(Refused::Overloaded)
    }

    async fn write_tool(&self, tool: &Tool, before: Option<&str>) -> Result<(), CommitError> {
        let mut batch = Batch::shared();
        batch.put_tool(tool, before);
        self.commit_tool(batch).await
    }

    /// After a write whose outcome is unknown, what is in use is what the disk says.
    async fn commit_tool(&self, batch: Batch) -> Result<(), CommitError> {
        let written = self.house.store.commit(batch).await;
        if matches!(written, Err(CommitError::Failed(_))) {
            self.seat_tools();
        }
        written
    }
}
