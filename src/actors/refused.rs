//! What an actor answers instead of doing what it was asked: expected failures, as values.

use crate::domain::error::Kind;
use crate::domain::id::{
    AgentId, BlockId, ConversationId, MessageId, ProviderId, RunId, StepId, ToolId,
};
use crate::domain::model::OverBudget;
use crate::store::{CommitError, Condition, ReadError};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("agent {0} not found")]
    NoSuchAgent(AgentId),
    #[error("run {0} not found")]
    NoSuchRun(RunId),
    #[error("conversation {0} not found")]
    NoSuchConversation(ConversationId),
    #[error("step {0} not found")]
    NoSuchStep(StepId),
    #[error("message {0} not found")]
    NoSuchMessage(MessageId),
    #[error("block {0} not found")]
    NoSuchBlock(BlockId),
    #[error("block {block} not found on agent {agent}")]
    NotAttached { agent: AgentId, block: BlockId },
    #[error("block with label '{label}' not found on agent {agent}")]
    NoSuchLabel { agent: AgentId, label: String },
    #[error("tool {0} not found")]
    NoSuchTool(ToolId),
    #[error("tool '{tool}' not found on agent {agent}")]
    NoSuchAgentTool { agent: AgentId, tool: String },
    #[error("model handle '{0}' not found")]
    NoSuchModel(String),
    #[error("provider {0} not found")]
    NoSuchProvider(ProviderId),
    #[error("there is a provider called '{0}' already")]
    ProviderNameTaken(String),
    #[error("there is a tool called '{0}' already")]
    ToolNameTaken(String),
    /// The request does not fit the schema.
    #[error("{0}")]
    Invalid(String),
    /// What the provider said to the key, without the key.
    #[error("{0}")]
    KeyRefused(String),
    /// Fits the schema and makes no sense here.
    #[error("{0}")]
    Argument(String),
    #[error("agent {agent} already has a block labelled '{label}'")]
    LabelTaken { agent: AgentId, label: String },
    #[error("block '{label}' holds at most {limit} characters, the new text has {found}")]
    OverLimit {
        label: String,
        limit: u64,
        found: u64,
    },
    #[error(
        "the block was changed by somebody else: version {expected} was expected, {found} is there"
    )]
    StaleVersion { expected: u64, found: u64 },
    #[error("this conversation is busy with {run}")]
    LaneBusy { run: RunId },
    #[error("agent {agent} has {waiting} messages waiting, no more are taken")]
    QueueFull { agent: AgentId, waiting: usize },
    #[error("Please approve or deny the pending request before continuing")]
    PendingApproval { request: MessageId },
    /// For other calls than those that wait, or nothing waits.
    #[error("{0}")]
    BadAnswer(String),
    #[error("the idempotency key was used for another request")]
    KeyReused,
    #[error("No active runs to cancel")]
    NothingToCancel,
    #[error("No active runs found for this conversation")]
    NoActiveRun,
    #[error("run {0} is still active")]
    RunActive(RunId),
    #[error("run {0} was not created in background mode")]
    NotBackground(RunId),
    #[error("the stream of run {0} is no longer kept")]
    StreamExpired(RunId),
    #[error("the server is shutting down")]
    Draining,
    #[error("the server has more work than it takes, try again later")]
    Overloaded,
    #[error("agent {agent} is out of service after repeated crashes: {reason}")]
    Faulted { agent: AgentId, reason: String },
    #[error("part of the memory{} cannot be read: {detail}", of(*.agent))]
    Damaged {
        agent: Option<AgentId>,
        detail: String,
    },
    /// A model call outside of any run gave no answer; in the provider's words.
    #[error("{0}")]
    Model(String),
    #[error("no answer in time")]
    Timeout,
    #[error("the disk is full, nothing was written")]
    DiskFull,
    /// The inner text is for the log.
    #[error("the request could not be carried out")]
    Internal(String),
}

impl Refused {
    pub fn kind(&self) -> Kind {
        match self {
            Self::NoSuchAgent(_)
            | Self::NoSuchRun(_)
            | Self::NoSuchConversation(_)
            | Self::NoSuchStep(_)
            | Self::NoSuchMessage(_)
            | Self::NoSuchBlock(_)
            | Self::NotAttached { .. }
            | Self::NoSuchLabel { .. }
            | Self::NoSuchTool(_)
            | Self::NoSuchAgentTool { .. }
            | Self::NoSuchModel(_)
            | Self::NoSuchProvider(_) => Kind::NotFound,
            Self::KeyRefused(_) => Kind::KeyRefused,
            Self::Argument(_) | Self::BadAnswer(_) | Self::NoActiveRun | Self::NotBackground(_) => {
                Kind::Argument
            }
            Self::KeyReused | Self::OverLimit { .. } | Self::Invalid(_) => Kind::Invalid,
            Self::LabelTaken { .. }
            | Self::ProviderNameTaken(_)
            | Self::ToolNameTaken(_)
            | Self::StaleVersion { .. }
            | Self::LaneBusy { .. }
            | Self::NothingToCancel
            | Self::RunActive(_) => Kind::Conflict,
            Self::PendingApproval { .. } => Kind::PendingApproval,
            Self::StreamExpired(_) => Kind::Expired,
            Self::QueueFull { .. } | Self::Draining | Self::Overloaded | Self::Faulted { .. } => {
                Kind::Busy
            }
            Self::Damaged { .. } => Kind::Damaged,
            Self::Model(_) => Kind::Provider,
            Self::Timeout => Kind::Timeout,
            Self::DiskFull => Kind::Full,
            Self::Internal(_) => Kind::Internal,
        }
    }
}

fn of(agent: Option<AgentId>) -> String {
    agent.map_or_else(String::new, |agent| format!(" of agent {agent}"))
}

impl From<ReadError> for Refused {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Damaged { agent, detail } => Self::Damaged { agent, detail },
            other => Self::Internal(other.to_string()),
        }
    }
}

impl From<OverBudget> for Refused {
    fn from(bad: OverBudget) -> Self {
        Self::Argument(bad.to_string())
    }
}

impl From<CommitError> for Refused {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Full => Self::DiskFull,
            CommitError::Conflict(condition) => condition.into(),
            CommitError::TooLarge(_) => Self::Argument(error.to_string()),
            CommitError::Fenced | CommitError::Failed(_) | CommitError::Closed => {
                Self::Internal(error.to_string())
            }
        }
    }
}

/// What a refused condition means to whoever asked.
impl From<Condition> for Refused {
    fn from(condition: Condition) -> Self {
        match condition {
            Condition::AgentAlive(agent) => Self::NoSuchAgent(agent),
            Condition::AgentAbsent(agent) => Self::Argument(format!("{agent} is there already")),
            Condition::BlockExists(block) | Condition::BlockVersion { block, .. } => {
                Self::NoSuchBlock(block)
            }
            Condition::LabelFree { agent, label } => Self::LabelTaken { agent, label },
            Condition::LinkIs { agent, block, .. } => Self::NotAttached { agent, block },
            Condition::ProviderVersion { provider, .. } => Self::NoSuchProvider(provider),
            Condition::ProviderNameFree(name) => Self::ProviderNameTaken(name),
            Condition::ToolVersion { tool, .. } => Self::NoSuchTool(tool),
            Condition::ToolNameFree(name) => Self::ToolNameTaken(name),
        }
    }
}
