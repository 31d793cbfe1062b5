//! The life of a run as a value: what was asked, where it stands, how it ended.

use super::agent::CompactionSettings;
use super::clock;
use super::id::{AgentId, ConversationId, MessageId, ProviderId, RunId, StepId, ToolId};
use super::message::{Approval, Message, Part, Role, ToolReturn};
use super::model::{LlmConfig, ModelErrorClass, ToolSchema, Usage};
use super::skill::ClientSkill;
use super::token_data::TokenWish;
use jiff::Timestamp;
use serde_json::{Value, json};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RunStatus {
    /// Accepted, waiting for its lane.
    Created,
    Running,
    Completed,
    Failed,
    Cancelled,
}

impl RunStatus {
    pub const ALL: [Self; 5] = [
        Self::Created,
        Self::Running,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }

    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StopReason {
    EndTurn,
    ToolRule,
    MaxSteps,
    RequiresApproval,
    MaxTokensExceeded,
    InvalidToolCall,
    NoToolCall,
    InvalidLlmResponse,
    LlmApiError,
    ContextWindowOverflowInSystemPrompt,
    Error,
    Cancelled,
    InsufficientCredits,
}

impl StopReason {
    pub const ALL: [Self; 13] = [
        Self::EndTurn,
        Self::ToolRule,
        Self::MaxSteps,
        Self::RequiresApproval,
        Self::MaxTokensExceeded,
        Self::InvalidToolCall,
        Self::NoToolCall,
        Self::InvalidLlmResponse,
        Self::LlmApiError,
        Self::ContextWindowOverflowInSystemPrompt,
        Self::Error,
        Self::Cancelled,
        Self::InsufficientCredits,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::EndTurn => "end_turn",
            Self::ToolRule => "tool_rule",
            Self::MaxSteps => "max_steps",
            Self::RequiresApproval => "requires_approval",
            Self::MaxTokensExceeded => "max_tokens_exceeded",
            Self::InvalidToolCall => "invalid_tool_call",
            Self::NoToolCall => "no_tool_call",
            Self::InvalidLlmResponse => "invalid_llm_response",
            Self::LlmApiError => "llm_api_error",
            Self::ContextWindowOverflowInSystemPrompt => "context_window_overflow_in_system_prompt",
            Self::Error => "error",
            Self::Cancelled => "cancelled",
            Self::InsufficientCredits => "insufficient_credits",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }

    /// The status always derives from the stop reason (agent-loop §4).
    pub fn status(self) -> RunStatus {
        match self {
            Self::EndTurn | Self::ToolRule | Self::MaxSteps | Self::RequiresApproval => {
                RunStatus::Completed
            }
            Self::Cancelled => RunStatus::Cancelled,
            Self::MaxTokensExceeded
            | Self::InvalidToolCall
            | Self::NoToolCall
            | Self::InvalidLlmResponse
            | Self::LlmApiError
            | Self::ContextWindowOverflowInSystemPrompt
            | Self::Error
            | Self::InsufficientCredits => RunStatus::Failed,
        }
    }
}

/// One run, as it is listed.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    pub id: RunId,
    pub agent_id: AgentId,
    pub conversation_id: Option<ConversationId>,
    pub status: RunStatus,
    pub stop_reason: Option<StopReason>,
    pub background: bool,
    /// Free-form; holds `run_type`, and `error` after a failure.
    pub metadata: Value,
    pub view: View,
    pub created_at: Timestamp,
    pub completed_at: Option<Timestamp>,
    pub callback: Option<Callback>,
    /// Nanoseconds from acceptance to the first output.
    pub ttft_ns: Option<u64>,
    pub total_duration_ns: Option<u64>,
    pub error: Option<RunError>,
    pub usage: Usage,
    pub steps: u64,
    /// Tokens of the last model call: an estimate of what is in context now.
    pub context_tokens: Option<u64>,
    pub tools_used: Vec<ToolId>,
    /// The ordered `otid`s and the body of the request, to know a repeated send (decisions 34).
    pub otids: Vec<String>,
    pub body_hash: [u8; 32],
    /// The answer reached a client in full: a repeat of the request is a new one.
    pub delivered: bool,
}

impl Run {
    /// Where its messages go.
    pub fn lane(&self) -> LaneId {
        self.conversation_id
            .map_or(LaneId::Default, LaneId::Conversation)
    }

    /// The agents whose messages led to it (`metadata.call_chain`).
    pub fn chain(&self) -> Vec<AgentId> {
        let chain = self.metadata["call_chain"].as_array().into_iter().flatten();
        let ids = chain.filter_map(|id| id.as_str()?.parse().ok());
        ids.collect()
    }

    /// Writes the end into the record; `now` is never before the run's acceptance.
    pub fn close(&mut self, end: &End, now: Timestamp) {
        self.status = end.stop_reason.status();
        self.stop_reason = Some(end.stop_reason);
        self.completed_at = Some(now.max(self.created_at));
        self.error.clone_from(&end.error);
        if let Some(error) = &end.error {
            self.metadata["error"] = json!({
                "type": error.error_type(),
                "message": error.message(),
                "detail": error.detail,
            });
        }
    }
}

/// How messages are shown to whoever asked for the run (`request_config` on the wire).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    pub use_assistant_message: bool,
    pub assistant_message_tool_name: String,
    pub assistant_message_tool_kwarg: String,
    /// Names of message types to keep; `None` keeps all.
    pub include_return_message_types: Option<Vec<String>>,
}

impl Default for View {
    fn default() -> Self {
        Self {
            use_assistant_message: true,
            assistant_message_tool_name: "send_message".to_owned(),
            assistant_message_tool_kwarg: "message".to_owned(),
            include_return_message_types: None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Callback {
    pub url: String,
    pub sent_at: Option<Timestamp>,
    pub status_code: Option<u16>,
    pub error: Option<String>,
}

/// Where a run's messages go. A lane runs one run at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LaneId {
    /// The agent's own thread.
    Default,
    Conversation(ConversationId),
}

impl LaneId {
    pub fn conversation(self) -> Option<ConversationId> {
        match self {
            Self::Default => None,
            Self::Conversation(id) => Some(id),
        }
    }
}

/// One accepted input message.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    pub role: InputRole,
    pub content: Vec<Part>,
    pub name: Option<String>,
    pub otid: Option<String>,
    pub sender_id: Option<String>,
    pub group_id: Option<String>,
    pub batch_item_id: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputRole {
    User,
    System,
    Assistant,
}

/// Answers to the calls that wait at the end of the context (agent-loop §9).
#[derive(Debug, Clone, PartialEq)]
pub struct Answers {
    pub approvals: Vec<Approval>,
    pub otid: Option<String>,
}

/// A request to run an agent, settled down to domain words by the facade, which also made the id.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRequest {
    pub id: RunId,
    pub lane: LaneId,
    pub task: Task,
    /// Comes before the inputs.
    pub answer: Option<Answers>,
    pub inputs: Vec<Input>,
    pub client_tools: Vec<ToolSchema>,
    pub options: RunOptions,
    pub background: bool,
    /// `send_message`, `send_message_streaming`, `send_message_async` … (`metadata.run_type`).
    pub run_type: String,
    /// The agents whose messages led to this run, the first of them first (`metadata.call_chain`).
    pub chain: Vec<AgentId>,
    pub callback_url: Option<String>,
    pub body_hash: [u8; 32],
    /// Hash of caller, method, path and `Idempotency-Key`.
    pub idempotency_key: Option<[u8; 32]>,
    /// The client marked this as a repeat (`x-stainless-retry-count` above zero).
    pub retry: bool,
    /// The client never uses an `otid` for another send: the same list of them is the same send.
    pub unique_otids: bool,
}

impl RunRequest {
    /// A run that compacts a lane's context and does nothing else.
    pub fn compaction(settings: CompactionSettings, lane: LaneId) -> Self {
        let task = Task::Compact(Box::new(settings));
        Self::of_our_own(task, lane, "summarize", 1)
    }

    /// A turn of the default thread because another agent sent a message. It goes on after a restart.
    pub fn message_of_an_agent(message: Input, chain: Vec<AgentId>, max_steps: u64) -> Self {
        let run_type = "send_message_to_agent";
        Self {
            inputs: vec![message],
            background: true,
            chain,
            ..Self::of_our_own(Task::Turn, LaneId::Default, run_type, max_steps)
        }
    }

    /// No client's.
    fn of_our_own(task: Task, lane: LaneId, run_type: &str, max_steps: u64) -> Self {
        Self {
            id: RunId::new(),
            lane,
            task,
            answer: None,
            inputs: Vec::new(),
            client_tools: Vec::new(),
            options: RunOptions {
                max_steps,
                view: View::default(),
                stream: StreamMode::None,
                include_compaction_messages: true,
                override_model: None,
                override_system: None,
                client_skills: Vec::new(),
                tokens: TokenWish::default(),
            },
            background: false,
            run_type: run_type.to_owned(),
            chain: Vec::new(),
            callback_url: None,
            body_hash: [0; 32],
            idempotency_key: None,
            retry: false,
            unique_otids: false,
        }
    }
}

/// What a run is to do beyond its inputs; kept with them until it ends.
#[derive(Debug, Clone, PartialEq)]
pub struct RunOptions {
    /// Model calls at most.
    pub max_steps: u64,
    pub view: View,
    pub stream: StreamMode,
    pub include_compaction_messages: bool,
    /// The configuration for this run only.
    pub override_model: Option<LlmConfig>,
    /// Replaces the system text for this run only.
    pub override_system: Option<String>,
    /// Skills of the client, for this run only.
    pub client_skills: Vec<ClientSkill>,
    pub tokens: TokenWish,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamMode {
    /// Nobody reads frames.
    None,
    /// Whole messages, a step at a time.
    Steps,
    /// Deltas as they come.
    Tokens,
}

/// How a run ended. Written once.
#[derive(Debug, Clone, PartialEq)]
pub struct End {
    pub stop_reason: StopReason,
    pub error: Option<RunError>,
}

impl End {
    pub fn of(stop_reason: StopReason) -> Self {
        Self {
            stop_reason,
            error: None,
        }
    }

    pub fn failed(stop_reason: StopReason, error: RunError) -> Self {
        Self {
            stop_reason,
            error: Some(error),
        }
    }

    pub fn server_restart() -> Self {
        let detail = "the server was restarted before the run had ended".to_owned();
        Self::failed(
            StopReason::Error,
            RunError {
                class: ErrorClass::ServerRestart,
                detail,
            },
        )
    }

    pub fn internal(detail: impl Into<String>) -> Self {
        Self::failed(
            StopReason::Error,
            RunError {
                class: ErrorClass::Internal,
                detail: detail.into(),
            },
        )
    }
}

/// Why a run failed, for the answer, the stream and `metadata.error`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunError {
    pub class: ErrorClass,
    pub detail: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    Model(ModelErrorClass),
    ServerRestart,
    Internal,
    /// When its turn came, the context ended with a request that nobody had answered.
    PendingApproval(MessageId),
    /// When its turn came, its answers were for other calls than those that wait, or none waited; which, in words.
    BadAnswer(String),
    /// A compaction that somebody asked for, and why it was not made.
    NotCompacted(String),
    /// The system message alone fills the context window.
    SystemTooLarge,
    /// A stream that is given up before the end of its run was seen. Never an end of a run.
    StreamIncomplete,
}

impl ErrorClass {
    /// What can be said of one case, beyond the sentence for all of its class.
    pub fn detail(&self) -> String {
        match self {
            Self::BadAnswer(reason) | Self::NotCompacted(reason) => reason.clone(),
            Self::PendingApproval(request) => format!("pending request: {request}"),
            Self::Model(_)
            | Self::ServerRestart
            | Self::Internal
            | Self::SystemTooLarge
            | Self::StreamIncomplete => String::new(),
        }
    }
}

impl RunError {
    /// `error_type` in streams and step records (runs-and-streaming §5).
    pub fn error_type(&self) -> &'static str {
        match &self.class {
            ErrorClass::Model(class) => match class {
                ModelErrorClass::Timeout => "llm_timeout",
                ModelErrorClass::RateLimit => "llm_rate_limit",
                ModelErrorClass::Authentication => "llm_authentication",
                ModelErrorClass::EmptyAnswer => "llm_empty_response",
                ModelErrorClass::ContextOverflow => "internal_error",
                ModelErrorClass::Credits
                | ModelErrorClass::Permission
                | ModelErrorClass::NotFound
                | ModelErrorClass::BadRequest
                | ModelErrorClass::Overloaded
                | ModelErrorClass::Connection
                | ModelErrorClass::Server
                | ModelErrorClass::Unreadable => "llm_error",
            },
            ErrorClass::ServerRestart => "server_restart",
            ErrorClass::StreamIncomplete => "stream_incomplete",
            ErrorClass::SystemTooLarge => StopReason::ContextWindowOverflowInSystemPrompt.name(),
            ErrorClass::Internal
            | ErrorClass::PendingApproval(_)
            | ErrorClass::BadAnswer(_)
            | ErrorClass::NotCompacted(_) => "internal_error",
        }
    }

    /// One sentence for people, the same for every failure of the class.
    pub fn message(&self) -> &'static str {
        match &self.class {
            ErrorClass::Model(class) => match class {
                ModelErrorClass::Timeout => "The model did not answer in time.",
                ModelErrorClass::RateLimit => {
                    "The model provider is limiting the rate of requests."
                }
                ModelErrorClass::Authentication => "The model provider refused the API key.",
                ModelErrorClass::EmptyAnswer => "The model gave an empty answer.",
                ModelErrorClass::ContextOverflow => {
                    "The conversation does not fit into the model's context window."
                }
                ModelErrorClass::Credits => {
                    "The account at the model provider has no credits left."
                }
                ModelErrorClass::Overloaded => "The model provider is overloaded.",
                ModelErrorClass::Unreadable => {
                    "The model provider gave an answer that cannot be read."
                }
                ModelErrorClass::Permission
                | ModelErrorClass::NotFound
                | ModelErrorClass::BadRequest
                | ModelErrorClass::Connection
                | ModelErrorClass::Server => "The request to the model failed.",
            },
            ErrorClass::ServerRestart => "The run was interrupted by a restart of the server.",
            ErrorClass::Internal => "The run failed inside the server.",
            ErrorClass::StreamIncomplete => "The stream ended before its run did.",
            ErrorClass::PendingApproval(_) => {
                "A tool call waits for an answer. Please approve or deny the pending request before continuing."
            }
            ErrorClass::BadAnswer(_) => "The answer fits no tool call that waits.",
            ErrorClass::NotCompacted(_) => "The conversation could not be compacted.",
            ErrorClass::SystemTooLarge => {
                "The system prompt alone does not fit into the model's context window."
            }
        }
    }
}

impl From<super::model::ModelError> for End {
    fn from(error: super::model::ModelError) -> Self {
        let stop_reason = match error.class {
            ModelErrorClass::EmptyAnswer | ModelErrorClass::Unreadable => {
                StopReason::InvalidLlmResponse
            }
            ModelErrorClass::ContextOverflow => StopReason::Error,
            _ => StopReason::LlmApiError,
        };
        Self::failed(
            stop_reason,
            RunError {
                class: ErrorClass::Model(error.class),
                detail: error.detail,
            },
        )
    }
}

/// How far an accepted run has come, kept beside its inputs until it ends (the inbox entry).
#[derive(Debug, Clone, PartialEq)]
pub struct Inbox {
    pub run_id: RunId,
    pub lane: LaneId,
    pub task: Task,
    /// Order of acceptance within the agent; a lane's queue is rebuilt in it.
    pub accepted: u64,
    /// `None` also once they are settled.
    pub answer: Option<Answers>,
    pub inputs: Vec<Input>,
    /// The ids of the messages that the inputs become.
    pub input_ids: Vec<MessageId>,
    /// Tools that the client runs itself.
    pub client_tools: Vec<ToolSchema>,
    pub options: RunOptions,
    /// Goes on after a restart of the process: it does not need its client.
    pub resume: bool,
    pub progress: Progress,
    /// Times this run was picked up again after a crash.
    pub recoveries: u32,
}

impl Inbox {
    /// The stored messages that the inputs become.
    pub fn messages(&self, agent: AgentId) -> Vec<Message> {
        let message = |(input, id): (&Input, &MessageId)| {
            let role = match input.role {
                InputRole::User => Role::User,
                InputRole::System => Role::System,
                InputRole::Assistant => Role::Assistant,
            };
            let mut message = Message::new(agent, role, clock::now());
            message.id = *id;
            message.content = input.content.clone();
            message.name = input.name.clone();
            message.otid = Some(input.otid.clone().unwrap_or_else(|| id.piece_otid(0)));
            message.sender_id = input.sender_id.clone();
            message.group_id = input.group_id.clone();
            message.batch_item_id = input.batch_item_id.clone();
            message.run_id = Some(self.run_id);
            message.conversation_id = self.lane.conversation();
            message
        };
        self.inputs
            .iter()
            .zip(&self.input_ids)
            .map(message)
            .collect()
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// Steps committed so far.
    pub committed_steps: u64,
    pub phase: Phase,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Phase {
    /// Nothing started since the last commit (or since acceptance).
    Idle,
    /// A model call is under way for this step.
    Model { step_id: StepId },
    /// Calls with outside effects were started: the model's message and what came back so far.
    Tools {
        step_id: StepId,
        assistant: Box<Message>,
        started: Vec<String>,
        finished: Vec<ToolReturn>,
    },
    /// The same for calls that were approved: the request stands at the end of the context.
    Settling {
        started: Vec<String>,
        finished: Vec<ToolReturn>,
    },
    /// The last step is committed; the end waits for a compaction.
    Ending(StopReason),
}

/// What a run is for.
#[derive(Debug, Clone, PartialEq)]
pub enum Task {
    /// Answers its inputs.
    Turn,
    /// Compacts the context, nothing else.
    Compact(Box<CompactionSettings>),
}

/// One model call and the tool calls it produced.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub id: StepId,
    pub agent_id: AgentId,
    pub run_id: Option<RunId>,
    /// From 1, within the run.
    pub number: u64,
    pub status: StepStatus,
    /// The record of a provider that a client added.
    pub provider_id: Option<ProviderId>,
    pub provider_name: Option<String>,
    pub provider_category: Option<String>,
    pub model: Option<String>,
    pub model_handle: Option<String>,
    pub model_endpoint: Option<String>,
    pub context_window_limit: Option<u64>,
    pub usage: Usage,
    pub stop_reason: Option<StopReason>,
    pub error: Option<RunError>,
    pub tags: Vec<String>,
    pub tid: Option<String>,
    pub trace_id: Option<String>,
    pub request_id: Option<String>,
    pub feedback: Option<Feedback>,
    pub project_id: Option<String>,
    pub created_at: Timestamp,
    pub timing: StepTiming,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepStatus {
    Pending,
    Success,
    Failed,
    Cancelled,
}

impl StepStatus {
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feedback {
    Positive,
    Negative,
}

/// Nanoseconds; the two `_start_ns` are since the epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StepTiming {
    pub step_start_ns: Option<i64>,
    pub llm_request_start_ns: Option<i64>,
    pub llm_request_ns: Option<u64>,
    pub tool_execution_ns: Option<u64>,
    pub step_ns: Option<u64>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct RunFilter {
    pub agent_ids: Vec<AgentId>,
    pub statuses: Vec<RunStatus>,
    pub background: Option<bool>,
    pub stop_reason: Option<StopReason>,
    pub lane: Option<LaneId>,
}

impl RunFilter {
    /// Whether only runs without an end are wanted.
    pub fn is_of_active(&self) -> bool {
        !self.statuses.is_empty() && !self.statuses.iter().any(|status| status.is_final())
    }

    /// The agent, if it is one.
    pub fn only_agent(&self) -> Option<AgentId> {
        match self.agent_ids.as_slice() {
            [agent] => Some(*agent),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct StepFilter {
    pub agent_id: Option<AgentId>,
    pub model: Option<String>,
    pub trace_ids: Vec<String>,
    pub feedback: Option<Feedback>,
    pub has_feedback: Option<bool>,
    pub tags: Vec<String>,
    pub project_id: Option<String>,
    pub start: Option<Timestamp>,
    pub end: Option<Timestamp>,
}

/// What the run is doing right now, for the tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Activity {
    pub step_id: Option<StepId>,
    pub step: u64,
    pub tool: Option<String>,
}
