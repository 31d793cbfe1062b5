//! Tools as JSON.

use crate::domain::display::display;
use crate::domain::tool::{Tool as Domain, ToolResult};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A tool, in lists of its own and inside agents.
#[derive(Debug, Clone, Serialize)]
pub struct Tool {
    id: String,
    tool_type: &'static str,
    description: String,
    source_type: String,
    name: String,
    tags: Vec<String>,
    source_code: Option<String>,
    json_schema: Value,
    args_json_schema: Option<Value>,
    return_char_limit: u64,
    pip_requirements: Option<Value>,
    npm_requirements: Option<Value>,
    default_requires_approval: Option<bool>,
    enable_parallel_execution: bool,
    created_by_id: Option<String>,
    last_updated_by_id: Option<String>,
    metadata_: Value,
    project_id: Option<String>,
}

impl From<&Domain> for Tool {
    fn from(tool: &Domain) -> Self {
        let user = tool.created_by.map(|id| id.to_string());
        Self {
            id: tool.id.to_string(),
            tool_type: tool.tool_type.name(),
            description: tool.description.clone(),
            source_type: tool.source_type.clone(),
            name: tool.name.clone(),
            tags: tool.tags.clone(),
            source_code: tool.source_code.clone(),
            json_schema: tool.json_schema.clone(),
            args_json_schema: tool.args_json_schema.clone(),
            return_char_limit: tool.return_char_limit,
            pip_requirements: None,
            npm_requirements: None,
            default_requires_approval: tool.default_requires_approval,
            enable_parallel_execution: tool.enable_parallel_execution,
            created_by_id: user.clone(),
            last_updated_by_id: user,
            metadata_: tool.metadata.clone(),
            project_id: tool.project_id.clone(),
        }
    }
}

/// Whether calls of a tool wait for somebody's word. Strict: other keys are refused.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModifyApproval {
    /// The other name is what the official TypeScript client sends.
    #[serde(alias = "body_requires_approval")]
    pub requires_approval: bool,
}

/// A source whose schema is asked for.
#[derive(Debug, Deserialize)]
pub struct GenerateSchema {
    pub code: String,
    #[serde(default)]
    pub source_type: Option<SourceType>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceType {
    Python,
    Typescript,
}

/// The arguments of a call. Strict: other keys are refused.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunTool {
    #[serde(default)]
    pub args: Map<String, Value>,
}

/// How a call ended that somebody asked for.
#[derive(Debug, Serialize)]
pub struct ToolExecutionResult {
    status: &'static str,
    /// Containers as the text that a model would be shown; null for a failure, which is told in `stderr`.
    func_return: Value,
    agent_state: Option<Value>,
    stdout: Vec<String>,
    stderr: Vec<String>,
    sandbox_config_fingerprint: Option<String>,
}

impl From<ToolResult> for ToolExecutionResult {
    fn from(result: ToolResult) -> Self {
        let (status, func_return) = match result.outcome {
            Ok(value @ (Value::Array(_) | Value::Object(_))) => {
                ("success", Value::from(display(&value)))
            }
            Ok(value) => ("success", value),
            Err(_) => ("error", Value::Null),
        };
        Self {
            status,
            func_return,
            agent_state: None,
            stdout: result.stdout.unwrap_or_default(),
            stderr: result.stderr.unwrap_or_default(),
            sandbox_config_fingerprint: None,
        }
    }
}
