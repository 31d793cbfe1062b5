//! Requests to run an agent: three bodies of the contract read as one, settled down to domain words.

use super::message::{BadContent, ContentIn};
use crate::domain::id::RunId;
use crate::domain::model::LlmConfig;
use crate::domain::run::{Input, InputRole, LaneId, RunOptions, RunRequest, StreamMode, View};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use std::collections::HashMap;

/// Every field of the blocking, streaming and asynchronous requests; those of one form are ignored by the others.
#[derive(Debug, Deserialize)]
pub struct Send {
    #[serde(default)]
    messages: Option<Vec<ItemIn>>,
    #[serde(default)]
    input: Option<ContentIn>,
    #[serde(default)]
    max_steps: Option<u64>,
    #[serde(default)]
    use_assistant_message: Option<bool>,
    #[serde(default)]
    assistant_message_tool_name: Option<String>,
    #[serde(default)]
    assistant_message_tool_kwarg: Option<String>,
    #[serde(default)]
    include_return_message_types: Option<Vec<MessageType>>,
    #[serde(default)]
    client_tools: Option<Vec<Value>>,
    #[serde(default)]
    pub override_model: Option<String>,
    #[serde(default)]
    include_compaction_messages: Option<bool>,
    #[serde(default, alias = "system")]
    override_system: Option<String>,
    #[serde(default)]
    pub streaming: Option<bool>,
    #[serde(default)]
    pub stream_tokens: Option<bool>,
    #[serde(default)]
    pub include_pings: Option<bool>,
    #[serde(default)]
    pub background: Option<bool>,
    #[serde(default)]
    pub callback_url: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::enum_variant_names, reason = "the contract's names")]
enum MessageType {
    SystemMessage,
    UserMessage,
    AssistantMessage,
    ReasoningMessage,
    HiddenReasoningMessage,
    ToolCallMessage,
    ToolReturnMessage,
    ApprovalRequestMessage,
    ApprovalResponseMessage,
    SummaryMessage,
    EventMessage,
}

impl MessageType {
    fn name(self) -> &'static str {
        match self {
            Self::SystemMessage => "system_message",
            Self::UserMessage => "user_message",
            Self::AssistantMessage => "assistant_message",
            Self::ReasoningMessage => "reasoning_message",
            Self::HiddenReasoningMessage => "hidden_reasoning_message",
            Self::ToolCallMessage => "tool_call_message",
            Self::ToolReturnMessage => "tool_return_message",
            Self::ApprovalRequestMessage => "approval_request_message",
            Self::ApprovalResponseMessage => "approval_response_message",
            Self::SummaryMessage => "summary_message",
            Self::EventMessage => "event_message",
        }
    }
}

/// Whether this is the name of a message type.
pub fn is_message_type(name: &str) -> bool {
    serde_json::from_value::<MessageType>(Value::from(name)).is_ok()
}

/// One item of `messages`. Which kind it is stands in `type`, or shows in its fields (agent-loop §2).
#[derive(Debug, Deserialize)]
struct ItemIn {
    #[serde(default, rename = "type")]
    kind: Option<ItemKind>,
    #[serde(default)]
    role: Option<RoleIn>,
    #[serde(default)]
    content: Option<ContentIn>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    otid: Option<String>,
    #[serde(default)]
    sender_id: Option<String>,
    #[serde(default)]
    group_id: Option<String>,
    #[serde(default)]
    batch_item_id: Option<String>,
    #[serde(default)]
    approve: Option<bool>,
    #[serde(default)]
    approval_request_id: Option<String>,
    /// Makes the reader take objects only: without it a list would be read by position.
    #[serde(flatten)]
    _others: HashMap<String, IgnoredAny>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ItemKind {
    Message,
    Approval,
    ToolReturn,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RoleIn {
    User,
    System,
    Assistant,
}

/// Why a request cannot become a run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSend {
    /// 422
    #[error("{0}")]
    Invalid(&'static str),
    /// 422, with the place of the field
    #[error("messages.{index}: field '{field}' is required")]
    Missing { index: usize, field: &'static str },
    /// 400
    #[error("messages.{index}: {reason}")]
    Content { index: usize, reason: BadContent },
    /// 400
    #[error("No tool call is currently awaiting approval")]
    NothingPending,
    /// 400
    #[error("client_tools are not built yet")]
    ClientTools,
}

/// What a send becomes beyond its body.
pub struct Sending {
    pub run_type: &'static str,
    pub stream: StreamMode,
    pub background: bool,
    /// Model calls when the body does not say how many.
    pub max_steps: u64,
    pub override_model: Option<LlmConfig>,
    pub body_hash: [u8; 32],
    pub idempotency_key: Option<[u8; 32]>,
    pub retry: bool,
}

impl Send {
    /// The request in domain words.
    ///
    /// # Errors
    /// See `BadSend`; nothing has happened then.
    pub fn into_domain(self, sending: Sending) -> Result<RunRequest, BadSend> {
        let inputs = inputs(self.messages, self.input)?;
        if self.client_tools.is_some_and(|tools| !tools.is_empty()) {
            return Err(BadSend::ClientTools);
        }
        let default = View::default();
        let view = View {
            use_assistant_message: self
                .use_assistant_message
                .unwrap_or(default.use_assistant_message),
            assistant_message_tool_name: self
                .assistant_message_tool_name
                .unwrap_or(default.assistant_message_tool_name),
            assistant_message_tool_kwarg: self
                .assistant_message_tool_kwarg
                .unwrap_or(default.assistant_message_tool_kwarg),
            include_return_message_types: self.include_return_message_types.map(|types| {
                types
                    .into_iter()
                    .map(|kind| kind.name().to_owned())
                    .collect()
            }),
        };
        Ok(RunRequest {
            id: RunId::new(),
            lane: LaneId::Default,
            inputs,
            options: RunOptions {
                max_steps: self.max_steps.unwrap_or(sending.max_steps).max(1),
                view,
                stream: sending.stream,
                include_compaction_messages: self.include_compaction_messages.unwrap_or(false),
                override_model: sending.override_model,
                override_system: self.override_system,
            },
            background: sending.background,
            run_type: sending.run_type.to_owned(),
            callback_url: self.callback_url,
            body_hash: sending.body_hash,
            idempotency_key: sending.idempotency_key,
            retry: sending.retry,
        })
    }
}

fn inputs(messages: Option<Vec<ItemIn>>, input: Option<ContentIn>) -> Result<Vec<Input>, BadSend> {
    match (messages, input) {
        (Some(_), Some(_)) => Err(BadSend::Invalid("give either messages or input, not both")),
        (None, None) => Err(BadSend::Invalid("give messages or input")),
        (Some(messages), None) if messages.is_empty() => {
            Err(BadSend::Invalid("Messages must not be empty"))
        }
        (Some(messages), None) => messages
            .into_iter()
            .enumerate()
            .map(|(index, item)| item.into_domain(index))
            .collect(),
        (None, Some(content)) => {
            let content = content
                .into_domain()
                .map_err(|reason| BadSend::Content { index: 0, reason })?;
            Ok(vec![Input {
                role: InputRole::User,
                content,
                name: None,
                otid: None,
                sender_id: None,
                group_id: None,
                batch_item_id: None,
            }])
        }
    }
}

impl ItemIn {
    fn kind(&self) -> ItemKind {
        let answers = self.approve.is_some() || self.approval_request_id.is_some();
        self.kind.unwrap_or(if answers {
            ItemKind::Approval
        } else {
            ItemKind::Message
        })
    }

    fn into_domain(self, index: usize) -> Result<Input, BadSend> {
        if self.kind() != ItemKind::Message {
            return Err(BadSend::NothingPending);
        }
        let role = self.role.ok_or(BadSend::Missing {
            index,
            field: "role",
        })?;
        let content = self.content.ok_or(BadSend::Missing {
            index,
            field: "content",
        })?;
        let content = content
            .into_domain()
            .map_err(|reason| BadSend::Content { index, reason })?;
        let role = match role {
            RoleIn::User => InputRole::User,
            RoleIn::System => InputRole::System,
            RoleIn::Assistant => InputRole::Assistant,
        };
        Ok(Input {
            role,
            content,
            name: self.name,
            otid: self.otid,
            sender_id: self.sender_id,
            group_id: self.group_id,
            batch_item_id: self.batch_item_id,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<RunRequest, BadSend> {
        let send: Send = serde_json::from_str(body).unwrap();
        send.into_domain(Sending {
            run_type: "send_message",
            stream: StreamMode::None,
            background: false,
            max_steps: 50,
            override_model: None,
            body_hash: [0; 32],
            idempotency_key: None,
            retry: false,
        })
    }

    #[test]
    fn messages_and_input_exclude_each_other() {
        assert!(matches!(
            read(r#"{"messages":[],"input":"x"}"#),
            Err(BadSend::Invalid(_))
        ));
        assert!(matches!(read("{}"), Err(BadSend::Invalid(_))));
        assert!(matches!(
            read(r#"{"messages":[]}"#),
            Err(BadSend::Invalid("Messages must not be empty"))
        ));
    }

    #[test]
    fn input_is_short_for_one_user_message() {
        let request = read(r#"{"input":"hello"}"#).unwrap();
        assert_eq!(
            (
                request.inputs.len(),
                request.inputs[0].role,
                request.options.max_steps
            ),
            (1, InputRole::User, 50)
        );
        assert_eq!(request.inputs[0].otid, None);
    }

    #[test]
    fn empty_content_and_answers_to_nothing_are_refused() {
        assert_eq!(
            read(r#"{"messages":[{"role":"user","content":""}]}"#),
            Err(BadSend::Content {
                index: 0,
                reason: BadContent::Empty
            })
        );
        assert_eq!(
            read(r#"{"messages":[{"type":"approval","approve":true}]}"#),
            Err(BadSend::NothingPending)
        );
        assert_eq!(
            read(r#"{"messages":[{"approval_request_id":"message-1"}]}"#),
            Err(BadSend::NothingPending)
        );
        assert_eq!(
            read(r#"{"messages":[{"role":"user"}]}"#),
            Err(BadSend::Missing {
                index: 0,
                field: "content"
            })
        );
    }
}
