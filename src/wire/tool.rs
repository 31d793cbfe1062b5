//! Tools as JSON.

use crate::domain::display::display;
use crate::domain::tool::{
    NewTool, Requirement as DomainRequirement, SourceRun, SourceType as Language, Tool as Domain,
    ToolChange, ToolResult,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A tool, in lists of its own and inside agents.
#[derive(Debug, Clone, Serialize)]
pub struct Tool {
    id: String,
    tool_type: &'static str,
    description: String,
    source_type: &'static str,
    name: String,
    tags: Vec<String>,
    source_code: Option<String>,
    json_schema: Value,
    args_json_schema: Option<Value>,
    return_char_limit: u64,
    pip_requirements: Option<Vec<Requirement>>,
    npm_requirements: Option<Vec<Requirement>>,
    default_requires_approval: Option<bool>,
    enable_parallel_execution: bool,
    created_by_id: Option<String>,
    last_updated_by_id: Option<String>,
    metadata_: Value,
    project_id: Option<String>,
}

impl From<&Domain> for Tool {
    fn from(tool: &Domain) -> Self {
        Self {
            id: tool.id.to_string(),
            tool_type: tool.tool_type.name(),
            description: tool.description.clone(),
            source_type: tool.source_type.name(),
            name: tool.name.clone(),
            tags: tool.tags.clone(),
            source_code: tool.source_code.clone(),
            json_schema: tool.json_schema.clone(),
            args_json_schema: tool.args_json_schema.clone(),
            return_char_limit: tool.return_char_limit,
            pip_requirements: shown(tool.pip_requirements.as_deref()),
            npm_requirements: shown(tool.npm_requirements.as_deref()),
            default_requires_approval: tool.default_requires_approval,
            enable_parallel_execution: tool.enable_parallel_execution,
            created_by_id: tool.created_by.map(|id| id.to_string()),
            last_updated_by_id: tool.updated_by.map(|id| id.to_string()),
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

/// A package that a source needs.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Requirement {
    name: String,
    version: Option<String>,
}

fn shown(requirements: Option<&[DomainRequirement]>) -> Option<Vec<Requirement>> {
    let shown = requirements?.iter().map(|requirement| Requirement {
        name: requirement.name.clone(),
        version: requirement.version.clone(),
    });
    Some(shown.collect())
}

fn asked(requirements: Option<Vec<Requirement>>) -> Option<Vec<DomainRequirement>> {
    let asked = requirements?
        .into_iter()
        .map(|requirement| DomainRequirement {
            name: requirement.name,
            version: requirement.version,
        });
    Some(asked.collect())
}

/// The language of a source that cannot be run here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("source_type: '{0}' is not python or typescript")]
pub struct UnknownLanguage(String);

fn language(name: Option<String>) -> Result<Option<Language>, UnknownLanguage> {
    name.map(|name| Language::named(&name).ok_or(UnknownLanguage(name)))
        .transpose()
}

/// A tool to be written. Strict: other keys are refused.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolCreate {
    description: Option<String>,
    tags: Option<Vec<String>>,
    source_code: String,
    source_type: Option<String>,
    json_schema: Option<Map<String, Value>>,
    args_json_schema: Option<Map<String, Value>>,
    return_char_limit: Option<u64>,
    pip_requirements: Option<Vec<Requirement>>,
    npm_requirements: Option<Vec<Requirement>>,
    default_requires_approval: Option<bool>,
    enable_parallel_execution: Option<bool>,
}

impl ToolCreate {
    /// # Errors
    /// `UnknownLanguage`.
    pub fn into_domain(self) -> Result<NewTool, UnknownLanguage> {
        Ok(NewTool {
            source_code: self.source_code,
            source_type: language(self.source_type)?.unwrap_or(Language::Python),
            json_schema: self.json_schema.map(Value::Object),
            args_json_schema: self.args_json_schema.map(Value::Object),
            description: self.description,
            tags: self.tags,
            return_char_limit: self.return_char_limit,
            pip_requirements: asked(self.pip_requirements),
            npm_requirements: asked(self.npm_requirements),
            default_requires_approval: self.default_requires_approval,
            enable_parallel_execution: self.enable_parallel_execution,
        })
    }
}

/// What changes of a tool. Other keys are passed over.
#[derive(Debug, Deserialize)]
pub struct ToolUpdate {
    description: Option<String>,
    tags: Option<Vec<String>>,
    source_code: Option<String>,
    source_type: Option<String>,
    json_schema: Option<Map<String, Value>>,
    args_json_schema: Option<Map<String, Value>>,
    return_char_limit: Option<u64>,
    pip_requirements: Option<Vec<Requirement>>,
    npm_requirements: Option<Vec<Requirement>>,
    metadata_: Option<Map<String, Value>>,
    default_requires_approval: Option<bool>,
    enable_parallel_execution: Option<bool>,
}

impl ToolUpdate {
    /// # Errors
    /// `UnknownLanguage`.
    pub fn into_domain(self) -> Result<ToolChange, UnknownLanguage> {
        Ok(ToolChange {
            source_code: self.source_code,
            source_type: language(self.source_type)?,
            json_schema: self.json_schema.map(Value::Object),
            args_json_schema: self.args_json_schema.map(Value::Object),
            description: self.description,
            tags: self.tags,
            return_char_limit: self.return_char_limit,
            pip_requirements: asked(self.pip_requirements),
            npm_requirements: asked(self.npm_requirements),
            default_requires_approval: self.default_requires_approval,
            enable_parallel_execution: self.enable_parallel_execution,
            metadata: self.metadata_.map(Value::Object),
        })
    }
}

/// Which tools are looked for, and how.
#[derive(Debug, Deserialize)]
pub struct ToolSearch {
    pub query: Option<String>,
    /// Without an embedding model every mode is a search of words.
    #[serde(default, rename = "search_mode")]
    _search_mode: Option<SearchMode>,
    #[serde(default)]
    pub tool_types: Option<Vec<String>>,
    #[serde(default)]
    pub tags: Option<Vec<String>>,
    pub limit: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SearchMode {
    Vector,
    Fts,
    Hybrid,
}

#[derive(Debug, Serialize)]
pub struct ToolSearchResult {
    tool: Tool,
    embedded_text: Option<String>,
    fts_rank: Option<usize>,
    vector_rank: Option<usize>,
    combined_score: f64,
}

impl ToolSearchResult {
    /// `rank` from 1.
    pub fn new(tool: &Domain, rank: usize, score: f64) -> Self {
        Self {
            tool: tool.into(),
            embedded_text: None,
            fts_rank: Some(rank),
            vector_rank: None,
            combined_score: score,
        }
    }
}

/// A source that is run once. Strict: other keys are refused.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunSource {
    source_code: String,
    args: Map<String, Value>,
    #[serde(default)]
    env_vars: BTreeMap<String, String>,
    name: Option<String>,
    source_type: Option<String>,
    args_json_schema: Option<Map<String, Value>>,
    json_schema: Option<Map<String, Value>>,
    #[serde(rename = "pip_requirements")]
    _pip_requirements: Option<Vec<Requirement>>,
    #[serde(rename = "npm_requirements")]
    _npm_requirements: Option<Vec<Requirement>>,
}

impl RunSource {
    /// # Errors
    /// `UnknownLanguage`.
    pub fn into_domain(self) -> Result<SourceRun, UnknownLanguage> {
        Ok(SourceRun {
            source_code: self.source_code,
            source_type: language(self.source_type)?.unwrap_or(Language::Python),
            name: self.name,
            json_schema: self.json_schema.map(Value::Object),
            args_json_schema: self.args_json_schema.map(Value::Object),
            arguments: self.args,
            environment: self.env_vars,
        })
    }
}

/// How a source ended, in the form of a message of nobody's.
#[derive(Debug, Serialize)]
pub struct SourceReturn {
    id: &'static str,
    date: String,
    name: Option<String>,
    message_type: &'static str,
    otid: Option<String>,
    sender_id: Option<String>,
    step_id: Option<String>,
    is_err: Option<bool>,
    seq_id: Option<u64>,
    run_id: Option<String>,
    #[serde(flatten)]
    first: OneReturn,
    tool_returns: [ToolTyped; 1],
}

#[derive(Debug, Clone, Serialize)]
struct ToolTyped {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(flatten)]
    of: OneReturn,
}

#[derive(Debug, Clone, Serialize)]
struct OneReturn {
    tool_return: String,
    status: &'static str,
    tool_call_id: &'static str,
    stdout: Vec<String>,
    stderr: Vec<String>,
}

impl SourceReturn {
    pub fn new(name: Option<String>, result: ToolResult, at: Timestamp) -> Self {
        let (status, tool_return) = match result.outcome {
            Ok(Value::String(text)) => ("success", text),
            Ok(value) => ("success", display(&value)),
            Err(failure) => ("error", failure.message),
        };
        let first = OneReturn {
            tool_return,
            status,
            tool_call_id: "null",
            stdout: result.stdout.unwrap_or_default(),
            stderr: result.stderr.unwrap_or_default(),
        };
        Self {
            id: "null",
            date: super::date(at),
            name,
            message_type: "tool_return_message",
            otid: None,
            sender_id: None,
            step_id: None,
            is_err: None,
            seq_id: None,
            run_id: None,
            tool_returns: [ToolTyped {
                kind: "tool",
                of: first.clone(),
            }],
            first,
        }
    }
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
