//! Stored messages: what an agent remembers, one record a message.

use super::id::{AgentId, ConversationId, MessageId, RunId, StepId};
use jiff::Timestamp;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    System,
    User,
    Assistant,
    Tool,
    Approval,
    Summary,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
            Self::Approval => "approval",
            Self::Summary => "summary",
        }
    }
}

/// One stored message. Changed in place only by a recompile (system) and by an edit of its text.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub id: MessageId,
    pub agent_id: AgentId,
    /// Order within the agent: strictly increasing in commit order, never reused.
    pub sequence: u64,
    pub role: Role,
    pub content: Vec<Part>,
    pub name: Option<String>,
    pub tool_calls: Vec<ToolCall>,
    pub tool_returns: Vec<ToolReturn>,
    pub approvals: Vec<Approval>,
    /// The model that wrote it.
    pub model: Option<String>,
    pub otid: Option<String>,
    pub sender_id: Option<String>,
    pub group_id: Option<String>,
    pub batch_item_id: Option<String>,
    pub step_id: Option<StepId>,
    pub run_id: Option<RunId>,
    pub conversation_id: Option<ConversationId>,
    /// Belongs to a failed run: listed only on request, never in a context.
    pub is_err: bool,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Of a request beside which other calls of the same answer are stored: the places of its calls among all of them,
    /// ascending. Empty where it has them all.
    pub call_places: Vec<u32>,
}

impl Message {
    /// A message of this role with nothing in it; its sequence is given when it is committed.
    pub fn new(agent_id: AgentId, role: Role, created_at: Timestamp) -> Self {
        Self {
            id: MessageId::new(),
            agent_id,
            sequence: 0,
            role,
            content: Vec::new(),
            name: None,
            tool_calls: Vec::new(),
            tool_returns: Vec::new(),
            approvals: Vec::new(),
            model: None,
            otid: None,
            sender_id: None,
            group_id: None,
            batch_item_id: None,
            step_id: None,
            run_id: None,
            conversation_id: None,
            is_err: false,
            created_at,
            updated_at: created_at,
            call_places: Vec::new(),
        }
    }

    /// All text parts, joined by line breaks.
    pub fn text(&self) -> String {
        let texts: Vec<&str> = self.content.iter().filter_map(Part::text).collect();
        texts.join("\n")
    }
}

/// Stands between summaries that are shown as one piece of reasoning, in streams and in lists.
pub const SUMMARY_GAP: &str = "\n\n";

#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    Text {
        text: String,
        signature: Option<String>,
    },
    Image(Image),
    /// Thinking that the model showed. `native`: it came from the model's own channel, not from a tool argument.
    Reasoning {
        native: bool,
        reasoning: String,
        signature: Option<String>,
    },
    /// Thinking that only the provider can read.
    RedactedReasoning {
        data: String,
    },
    /// Thinking that the provider kept to itself.
    OmittedReasoning {
        signature: Option<String>,
    },
    SummarizedReasoning {
        id: String,
        summary: Vec<String>,
        encrypted_content: Option<String>,
    },
}

impl Part {
    pub fn of_text(text: impl Into<String>) -> Self {
        Self::Text {
            text: text.into(),
            signature: None,
        }
    }

    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text { text, .. } => Some(text),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum Image {
    /// As sent by the client; resolved to `Stored` before a model sees it.
    Url { url: String },
    Stored {
        file_id: Option<String>,
        media_type: Option<String>,
        data: Option<String>,
        detail: Option<String>,
    },
}

/// A call as the model wrote it. `arguments` is JSON text and kept byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    pub id: String,
    pub name: String,
    pub arguments: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolStatus {
    Success,
    Error,
}

/// The stored end of one call.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolReturn {
    pub tool_call_id: String,
    pub status: ToolStatus,
    pub output: ToolOutput,
    pub stdout: Option<Vec<String>>,
    pub stderr: Option<Vec<String>>,
}

/// What the model is shown of a call's end.
#[derive(Debug, Clone, PartialEq)]
pub enum ToolOutput {
    /// The packed envelope `{"status","message","time"}` as JSON text (`step::package`).
    Packed(String),
    /// Text and images.
    Parts(Vec<Part>),
}

/// One answer to a pending request (role `Approval`, next issue).
#[derive(Debug, Clone, PartialEq)]
pub enum Approval {
    Decision {
        tool_call_id: String,
        approve: bool,
        reason: Option<String>,
    },
    Return(ToolReturn),
}
