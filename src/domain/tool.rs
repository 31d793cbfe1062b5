//! Tools: what an agent may call, and the rules on their order.

mod custom;

pub use self::custom::{BadTool, NewTool, SourceRun, ToolChange};
use super::id::{ToolId, UserId};
use super::memory::Edit;
use jiff::Timestamp;
use serde_json::Value;
use std::borrow::Cow;

#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    pub id: ToolId,
    pub name: String,
    pub tool_type: ToolType,
    pub description: String,
    pub source_type: SourceType,
    pub source_code: Option<String>,
    pub tags: Vec<String>,
    /// `{"name","description","parameters"}` as it is shown to models.
    pub json_schema: Value,
    pub args_json_schema: Option<Value>,
    pub pip_requirements: Option<Vec<Requirement>>,
    pub npm_requirements: Option<Vec<Requirement>>,
    /// Characters; longer returns are cut (agent-loop §7).
    pub return_char_limit: u64,
    pub default_requires_approval: Option<bool>,
    pub enable_parallel_execution: bool,
    pub created_by: Option<UserId>,
    pub updated_by: Option<UserId>,
    pub metadata: Value,
    pub project_id: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Counts the writes of its record, from 1; 0 for a tool that is in the program.
    pub version: u64,
}

impl Tool {
    /// Whether it is in the program: it cannot be changed from outside.
    pub fn is_builtin(&self) -> bool {
        !matches!(self.tool_type, ToolType::Custom | ToolType::ExternalMcp)
    }
}

/// The language of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceType {
    Python,
    Typescript,
}

impl SourceType {
    pub fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Typescript => "typescript",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        [Self::Python, Self::Typescript]
            .into_iter()
            .find(|language| language.name() == name)
    }
}

/// A package that a source needs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Requirement {
    pub name: String,
    pub version: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ToolType {
    Custom,
    Core,
    MemoryCore,
    SleeptimeCore,
    MultiAgentCore,
    VoiceSleeptimeCore,
    Builtin,
    FilesCore,
    ExternalMcp,
}

impl ToolType {
    pub fn name(self) -> &'static str {
        match self {
            Self::Custom => "custom",
            Self::Core => "letta_core",
            Self::MemoryCore => "letta_memory_core",
            Self::SleeptimeCore => "letta_sleeptime_core",
            Self::MultiAgentCore => "letta_multi_agent_core",
            Self::VoiceSleeptimeCore => "letta_voice_sleeptime_core",
            Self::Builtin => "letta_builtin",
            Self::FilesCore => "letta_files_core",
            Self::ExternalMcp => "external_mcp",
        }
    }
}

/// One rule on the order of tools (agent-loop §6).
#[derive(Debug, Clone, PartialEq)]
pub struct ToolRule {
    pub tool_name: String,
    pub prompt_template: Option<String>,
    pub kind: ToolRuleKind,
}

#[derive(Debug, Clone, PartialEq)]
pub enum ToolRuleKind {
    RunFirst {
        args: Option<Value>,
    },
    ExitLoop,
    ContinueLoop,
    ConstrainChildTools {
        children: Vec<String>,
        child_arg_nodes: Option<Vec<ChildArgs>>,
    },
    ParentLastTool {
        children: Vec<String>,
    },
    Conditional {
        child_output_mapping: Vec<(String, String)>,
        default_child: Option<String>,
        require_output_mapping: bool,
    },
    MaxCountPerStep {
        max_count_limit: u64,
    },
    RequiredBeforeExit,
    RequiresApproval,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ChildArgs {
    pub name: String,
    pub args: Option<Value>,
}

/// What a tool gave back, before it is packed for the model.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolResult {
    pub outcome: Result<Value, ToolFailure>,
    pub stdout: Option<Vec<String>>,
    pub stderr: Option<Vec<String>>,
    /// What it wants of the agent's blocks: applied when the return is stored, all of it or the call fails.
    pub edits: Vec<Edit>,
}

impl ToolResult {
    pub fn success(value: Value) -> Self {
        Self {
            outcome: Ok(value),
            stdout: None,
            stderr: None,
            edits: Vec::new(),
        }
    }

    /// An error return. The long form that programs look for goes to stderr.
    pub fn failure(tool: &str, failure: ToolFailure) -> Self {
        let mut long = format!(
            "Error executing function {tool}: {}: {}",
            failure.name, failure.message
        );
        if let Some((cut, _)) = long.char_indices().nth(1_000) {
            long.truncate(cut);
        }
        Self {
            outcome: Err(failure),
            stdout: None,
            stderr: Some(vec![long]),
            edits: Vec::new(),
        }
    }
}

/// Why a tool failed, in words for the model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ToolFailure {
    /// The kind of error, in the style of exception names (`ValueError`): programs match it.
    pub name: Cow<'static, str>,
    pub message: String,
}

impl ToolFailure {
    pub fn new(name: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            message: message.into(),
        }
    }

    pub fn value(message: impl Into<String>) -> Self {
        Self::new("ValueError", message)
    }
}

/// Whether running a tool twice would do harm: such a call is journalled before it starts (runs-and-streaming §13).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effects {
    /// Reads only, or changes nothing outside the step's own batch.
    None,
    Outside,
}
