//! Requests to run an agent: the three bodies of the contract read as one, settled down to domain words (agent-loop §2).

use super::content::{BadContent, ContentIn};
use crate::domain::id::RunId;
use crate::domain::message::{Approval, ToolOutput, ToolReturn, ToolStatus};
use crate::domain::model::{LlmConfig, ToolSchema};
use crate::domain::run::{
    Answers, Input, InputRole, LaneId, RunOptions, RunRequest, StreamMode, Task, View,
};
use crate::domain::skill::ClientSkill;
use crate::domain::token_data::TokenWish;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// Every field of the blocking, streaming and asynchronous requests; those of one form are ignored by the others.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Send {
    messages: Option<Vec<ItemIn>>,
    input: Option<ContentIn>,
    max_steps: Option<u64>,
    use_assistant_message: Option<bool>,
    assistant_message_tool_name: Option<String>,
    assistant_message_tool_kwarg: Option<String>,
    include_return_message_types: Option<Vec<MessageType>>,
    client_tools: Option<Vec<ClientTool>>,
    client_skills: Option<Vec<ClientSkillIn>>,
    pub override_model: Option<String>,
    include_compaction_messages: Option<bool>,
    #[serde(alias = "system")]
    override_system: Option<String>,
    return_logprobs: Option<bool>,
    top_logprobs: Option<u64>,
    return_token_ids: Option<bool>,
    pub streaming: Option<bool>,
    pub stream_tokens: Option<bool>,
    pub include_pings: Option<bool>,
    pub background: Option<bool>,
    pub callback_url: Option<String>,
    /// Whose default thread, where the path says `default`.
    pub agent_id: Option<String>,
    /// Messages that the client sent before these and that are not taken: errors count them.
    #[serde(skip)]
    before: usize,
}

/// A tool that the client runs itself.
#[derive(Debug, Deserialize)]
struct ClientTool {
    name: String,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    parameters: Option<Map<String, Value>>,
}

impl From<ClientTool> for ToolSchema {
    fn from(tool: ClientTool) -> Self {
        let nothing = || json!({"type": "object", "properties": {}});
        Self {
            name: tool.name,
            description: tool.description.unwrap_or_default(),
            parameters: tool.parameters.map_or_else(nothing, Value::Object),
        }
    }
}

/// A skill that only the client can read.
#[derive(Debug, Deserialize)]
struct ClientSkillIn {
    name: String,
    description: String,
    location: String,
}

impl From<ClientSkillIn> for ClientSkill {
    fn from(skill: ClientSkillIn) -> Self {
        Self {
            name: skill.name,
            description: skill.description,
            location: skill.location,
        }
    }
}

/// A name of the contract's message types, as filters use them: its place among `NAMES`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct MessageType(usize);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Input should be one of {names}, not '{0}'", names = MessageType::NAMES.join(", "))]
pub struct NoMessageType(String);

impl MessageType {
    pub const NAMES: [&'static str; 11] = [
        "system_message",
        "user_message",
        "assistant_message",
        "reasoning_message",
        "hidden_reasoning_message",
        "tool_call_message",
        "tool_return_message",
        "approval_request_message",
        "approval_response_message",
        "summary_message",
        "event_message",
    ];

    pub fn parse(name: &str) -> Option<Self> {
        Self::NAMES
            .iter()
            .position(|known| *known == name)
            .map(Self)
    }

    pub fn name(self) -> &'static str {
        Self::NAMES[self.0]
    }
}

impl TryFrom<String> for MessageType {
    type Error = NoMessageType;

    fn try_from(text: String) -> Result<Self, NoMessageType> {
        Self::parse(&text).ok_or(NoMessageType(text))
    }
}

/// One item of `messages`. Which kind it is stands in `type`, or shows in its fields.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ItemIn {
    #[serde(rename = "type")]
    kind: Option<ItemKind>,
    otid: Option<String>,
    group_id: Option<String>,
    // message
    role: Option<RoleIn>,
    content: Option<ContentIn>,
    name: Option<String>,
    sender_id: Option<String>,
    batch_item_id: Option<String>,
    // approval
    approvals: Option<Vec<AnswerIn>>,
    approve: Option<bool>,
    approval_request_id: Option<String>,
    reason: Option<String>,
    // tool_return
    tool_returns: Option<Vec<ToolReturnIn>>,
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

/// An entry of `approvals`; without `type` its fields tell which.
#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "Input should be an approval (tool_call_id, approve) or a tool return (tool_call_id, tool_return, status)"
)]
enum AnswerIn {
    Return(ToolReturnIn),
    Decision {
        tool_call_id: String,
        approve: bool,
        #[serde(default)]
        reason: Option<String>,
    },
}

#[derive(Debug, Deserialize)]
struct ToolReturnIn {
    tool_call_id: String,
    tool_return: ContentIn,
    status: StatusIn,
    #[serde(default)]
    stdout: Option<Vec<String>>,
    #[serde(default)]
    stderr: Option<Vec<String>>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StatusIn {
    Success,
    Error,
}

/// What an item of a request asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    Input(Input),
    /// Answers to the calls that wait at the end of the context.
    Answers(Answers),
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
    #[error("messages.{index}: an answer to tool calls has to be the first message")]
    LateAnswer { index: usize },
    /// 400
    #[error("client_tools.{index}.name: '{name}' {reason}")]
    ClientTool {
        index: usize,
        name: String,
        reason: &'static str,
    },
}

/// What a send becomes beyond its body.
pub struct Sending {
    pub lane: LaneId,
    pub run_type: &'static str,
    pub stream: StreamMode,
    pub background: bool,
    /// Model calls when the body does not say how many.
    pub max_steps: u64,
    pub override_model: Option<LlmConfig>,
    /// Checked; only the asynchronous form has one.
    pub callback_url: Option<String>,
    pub body_hash: [u8; 32],
    pub idempotency_key: Option<[u8; 32]>,
    pub retry: bool,
    pub unique_otids: bool,
}

impl Send {
    /// One user message, which stands at `index` of what the client sent; a stream of it tells each token and nothing else.
    pub(super) fn said(
        content: ContentIn,
        name: Option<String>,
        index: usize,
        streaming: bool,
    ) -> Self {
        let item = ItemIn {
            role: Some(RoleIn::User),
            content: Some(content),
            name,
            ..ItemIn::default()
        };
        Self {
            messages: Some(vec![item]),
            before: index,
            streaming: Some(streaming),
            stream_tokens: Some(streaming),
            include_pings: streaming.then_some(false),
            ..Self::default()
        }
    }

    /// The request in domain words.
    ///
    /// # Errors
    /// See `BadSend`; nothing has happened then.
    pub fn into_domain(self, sending: Sending) -> Result<RunRequest, BadSend> {
        let view = self.view();
        let tokens = self.tokens()?;
        let skills = self.client_skills.unwrap_or_default();
        let client_tools = client_tools(self.client_tools.unwrap_or_default())?;
        let mut answer = None;
        let mut inputs = Vec::new();
        for (index, item) in items(self.messages, self.input, self.before)?
            .into_iter()
            .enumerate()
        {
            match item {
                Item::Input(input) => inputs.push(input),
                Item::Answers(answers) if index == 0 => answer = Some(answers),
                Item::Answers(_) => return Err(BadSend::LateAnswer { index }),
            }
        }
        Ok(RunRequest {
            id: RunId::new(),
            lane: sending.lane,
            task: Task::Turn,
            answer,
            inputs,
            client_tools,
            options: RunOptions {
                max_steps: self.max_steps.unwrap_or(sending.max_steps).max(1),
                view,
                stream: sending.stream,
                include_compaction_messages: self.include_compaction_messages.unwrap_or(false),
                override_model: sending.override_model,
                override_system: self.override_system,
                client_skills: skills.into_iter().map(ClientSkill::from).collect(),
                tokens,
            },
            background: sending.background,
            chain: Vec::new(),
            run_type: sending.run_type.to_owned(),
            callback_url: sending.callback_url,
            body_hash: sending.body_hash,
            idempotency_key: sending.idempotency_key,
            retry: sending.retry,
            unique_otids: sending.unique_otids,
        })
    }

    fn tokens(&self) -> Result<TokenWish, BadSend> {
        let too_many = |count: u64| count > TokenWish::MOST_ALTERNATIVES;
        if self.top_logprobs.is_some_and(too_many) {
            return Err(BadSend::Invalid("top_logprobs can be 20 at most"));
        }
        Ok(TokenWish {
            logprobs: self.return_logprobs.unwrap_or(false),
            top_logprobs: self.top_logprobs,
            token_ids: self.return_token_ids.unwrap_or(false),
        })
    }

    fn view(&self) -> View {
        let default = View::default();
        let types = self.include_return_message_types.as_ref();
        View {
            use_assistant_message: self
                .use_assistant_message
                .unwrap_or(default.use_assistant_message),
            assistant_message_tool_name: self
                .assistant_message_tool_name
                .clone()
                .unwrap_or(default.assistant_message_tool_name),
            assistant_message_tool_kwarg: self
                .assistant_message_tool_kwarg
                .clone()
                .unwrap_or(default.assistant_message_tool_kwarg),
            include_return_message_types: types
                .map(|types| types.iter().map(|kind| kind.name().to_owned()).collect()),
        }
    }
}

/// Names of tools that every provider takes (`[A-Za-z0-9_-]`, 64 characters), each once.
fn client_tools(tools: Vec<ClientTool>) -> Result<Vec<ToolSchema>, BadSend> {
    let mut known: Vec<ToolSchema> = Vec::with_capacity(tools.len());
    for (index, tool) in tools.into_iter().enumerate() {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        let reason =
            if tool.name.is_empty() || tool.name.len() > 64 || !tool.name.chars().all(allowed) {
                Some("is not made of 1 to 64 letters, digits, '_' and '-'")
            } else if known.iter().any(|other| other.name == tool.name) {
                Some("is the name of another client tool")
            } else {
                None
            };
        if let Some(reason) = reason {
            return Err(BadSend::ClientTool {
                index,
                name: tool.name,
                reason,
            });
        }
        known.push(tool.into());
    }
    Ok(known)
}

fn items(
    messages: Option<Vec<ItemIn>>,
    input: Option<ContentIn>,
    before: usize,
) -> Result<Vec<Item>, BadSend> {
    let messages = match (messages, input) {
        (Some(_), Some(_)) => {
            return Err(BadSend::Invalid("give either messages or input, not both"));
        }
        (None, None) => return Err(BadSend::Invalid("give messages or input")),
        (Some(messages), None) => messages,
        (None, content) => vec![ItemIn {
            role: Some(RoleIn::User),
            content,
            ..ItemIn::default()
        }],
    };
    if messages.is_empty() {
        return Err(BadSend::Invalid("Messages must not be empty"));
    }
    messages
        .into_iter()
        .enumerate()
        .map(|(index, item)| item.into_domain(before + index))
        .collect()
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

    fn into_domain(self, index: usize) -> Result<Item, BadSend> {
        match self.kind() {
            ItemKind::Message => self.input(index).map(Item::Input),
            ItemKind::Approval => self.answers(index).map(Item::Answers),
            ItemKind::ToolReturn => {
                let otid = self.otid;
                let returns = self.tool_returns.ok_or(BadSend::Missing {
                    index,
                    field: "tool_returns",
                })?;
                let returns = returns
                    .into_iter()
                    .map(|end| end.into_domain(index).map(Approval::Return));
                let approvals = returns.collect::<Result<_, _>>()?;
                Ok(Item::Answers(Answers { approvals, otid }))
            }
        }
    }

    fn input(self, index: usize) -> Result<Input, BadSend> {
        let role = self.role.ok_or(BadSend::Missing {
            index,
            field: "role",
        })?;
        let content = self.content.ok_or(BadSend::Missing {
            index,
            field: "content",
        })?;
        Ok(Input {
            role: match role {
                RoleIn::User => InputRole::User,
                RoleIn::System => InputRole::System,
                RoleIn::Assistant => InputRole::Assistant,
            },
            content: content
                .into_domain()
                .map_err(|reason| BadSend::Content { index, reason })?,
            name: self.name,
            otid: self.otid,
            sender_id: self.sender_id,
            group_id: self.group_id,
            batch_item_id: self.batch_item_id,
        })
    }

    /// The old form, one decision, names the message that asked instead of the call; one that names nothing answers nothing.
    fn answers(self, index: usize) -> Result<Answers, BadSend> {
        let otid = self.otid;
        if let Some(answers) = self.approvals {
            let approvals = answers
                .into_iter()
                .map(|answer| answer.into_domain(index))
                .collect::<Result<_, _>>()?;
            return Ok(Answers { approvals, otid });
        }
        let approve = self.approve.ok_or(BadSend::Missing {
            index,
            field: "approvals",
        })?;
        let tool_call_id = self.approval_request_id.ok_or(BadSend::NothingPending)?;
        let decision = Approval::Decision {
            tool_call_id,
            approve,
            reason: self.reason,
        };
        Ok(Answers {
            approvals: vec![decision],
            otid,
        })
    }
}

impl AnswerIn {
    fn into_domain(self, index: usize) -> Result<Approval, BadSend> {
        match self {
            Self::Decision {
                tool_call_id,
                approve,
                reason,
            } => Ok(Approval::Decision {
                tool_call_id,
                approve,
                reason,
            }),
            Self::Return(end) => end.into_domain(index).map(Approval::Return),
        }
    }
}

impl ToolReturnIn {
    /// The client's words are taken as given, also when there are none (agent-loop §9).
    fn into_domain(self, index: usize) -> Result<ToolReturn, BadSend> {
        let output = match self.tool_return {
            ContentIn::Text(text) => ToolOutput::Packed(text),
            parts @ ContentIn::Parts(_) => ToolOutput::Parts(
                parts
                    .into_parts()
                    .map_err(|reason| BadSend::Content { index, reason })?,
            ),
        };
        let status = match self.status {
            StatusIn::Success => ToolStatus::Success,
            StatusIn::Error => ToolStatus::Error,
        };
        Ok(ToolReturn {
            tool_call_id: self.tool_call_id,
            status,
            output,
            stdout: self.stdout,
            stderr: self.stderr,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(body: Value) -> Result<RunRequest, BadSend> {
        let send: Send = serde_json::from_value(body).unwrap();
        send.into_domain(Sending {
            lane: LaneId::Default,
            run_type: "send_message",
            stream: StreamMode::None,
            background: false,
            max_steps: 50,
            override_model: None,
            callback_url: None,
            body_hash: [0; 32],
            idempotency_key: None,
            retry: false,
            unique_otids: false,
        })
    }

    fn one(item: Value) -> Result<Item, BadSend> {
        let mut items = items(serde_json::from_value(json!([item])).unwrap(), None, 0)?;
        Ok(items.remove(0))
    }

    #[test]
    fn messages_and_input_exclude_each_other() {
        for body in [
            json!({"messages": [], "input": "x"}),
            json!({}),
            json!({"messages": null}),
            json!({"messages": []}),
        ] {
            assert!(
                matches!(read(body.clone()), Err(BadSend::Invalid(_))),
                "{body}"
            );
        }
    }

    #[test]
    fn input_is_short_for_one_user_message() {
        let short = read(json!({"input": "hello"})).unwrap();
        let long = read(
            json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]}),
        )
        .unwrap();
        assert_eq!(short.inputs, long.inputs);
        assert_eq!(
            (short.inputs[0].role, short.options.max_steps),
            (InputRole::User, 50)
        );
    }

    #[test]
    fn a_message_keeps_what_its_sender_gave_it() {
        let item = json!({"type": "message", "role": "assistant", "content": "x", "name": "bob", "otid": "1", "sender_id": "s", "group_id": "g"});
        let Ok(Item::Input(input)) = one(item) else {
            panic!("not an input")
        };
        assert_eq!(input.role, InputRole::Assistant);
        let texts =
            [&input.name, &input.otid, &input.sender_id, &input.group_id].map(Option::as_deref);
        assert_eq!(texts, [Some("bob"), Some("1"), Some("s"), Some("g")]);
    }

    #[test]
    fn what_is_missing_is_named_with_its_place() {
        let cases = [
            (json!({"role": "user"}), "content"),
            (json!({"content": "x"}), "role"),
            (json!({"type": "tool_return"}), "tool_returns"),
            (json!({"type": "approval"}), "approvals"),
        ];
        for (item, field) in cases {
            assert_eq!(one(item), Err(BadSend::Missing { index: 0, field }));
        }
        assert_eq!(
            one(json!({"role": "user", "content": ""})),
            Err(BadSend::Content {
                index: 0,
                reason: BadContent::Empty
            })
        );
    }

    #[test]
    fn the_three_forms_of_an_answer_mean_the_same() {
        let decision = |reason: Option<&str>| Approval::Decision {
            tool_call_id: "c".to_owned(),
            approve: false,
            reason: reason.map(str::to_owned),
        };
        let answers = |decision| {
            Ok(Item::Answers(Answers {
                approvals: vec![decision],
                otid: None,
            }))
        };
        let typed = json!({"type": "approval", "approvals": [{"type": "approval", "tool_call_id": "c", "approve": false, "reason": "no"}]});
        assert_eq!(one(typed), answers(decision(Some("no"))));
        let untyped =
            json!({"type": "approval", "approvals": [{"tool_call_id": "c", "approve": false}]});
        assert_eq!(one(untyped), answers(decision(None)));
        let old = json!({"approve": false, "approval_request_id": "c", "reason": "no"});
        assert_eq!(one(old), answers(decision(Some("no"))));
        let end = json!({"type": "tool", "tool_call_id": "c", "tool_return": "pong", "status": "success"});
        let as_approval = one(json!({"type": "approval", "approvals": [end.clone()]}));
        assert_eq!(
            as_approval,
            one(json!({"type": "tool_return", "tool_returns": [end]}))
        );
        assert!(
            matches!(as_approval, Ok(Item::Answers(answers)) if matches!(answers.approvals.as_slice(), [Approval::Return(_)]))
        );
    }

    #[test]
    fn an_answer_to_nothing_is_refused() {
        assert_eq!(
            read(json!({"messages": [{"type": "approval", "approve": true}]})),
            Err(BadSend::NothingPending)
        );
    }

    #[test]
    fn an_answer_comes_first_and_inputs_may_follow_it() {
        let answer = json!({"approve": true, "approval_request_id": "message-1"});
        let input = json!({"role": "user", "content": "and then"});
        let request = read(json!({"messages": [answer, input]})).unwrap();
        assert_eq!((request.answer.is_some(), request.inputs.len()), (true, 1));
        assert_eq!(
            read(json!({"messages": [input, answer]})),
            Err(BadSend::LateAnswer { index: 1 })
        );
    }

    #[test]
    fn client_tools_have_names_that_every_provider_takes_each_once() {
        let tools = |names: &[&str]| {
            let tools: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
            read(json!({"input": "x", "client_tools": tools}))
        };
        assert_eq!(tools(&["look", "see-2"]).unwrap().client_tools.len(), 2);
        for names in [["look", "look"], ["look", ""], ["look", "a b"]] {
            assert!(matches!(
                tools(&names),
                Err(BadSend::ClientTool { index: 1, .. })
            ));
        }
    }

    #[test]
    fn roles_kinds_and_types_outside_the_contract_do_not_fit_the_schema() {
        for body in [
            json!({"messages": [{"role": "tool", "content": "x"}]}),
            json!({"messages": [{"type": "note", "role": "user", "content": "x"}]}),
            json!({"messages": [{"role": "user", "content": 7}]}),
            json!({"messages": [["message", "1", null, "user", "hi"]]}),
            json!({"messages": [{"type": "approval", "approvals": [{"approve": true}]}]}),
            json!({"input": "x", "include_return_message_types": ["hidden_user_message"]}),
            json!({"input": "x", "max_steps": -1}),
        ] {
            assert!(
                serde_json::from_value::<Send>(body.clone()).is_err(),
                "{body}"
            );
        }
    }

    #[test]
    fn both_names_of_the_system_override_are_read() {
        for key in ["system", "override_system"] {
            let request = read(json!({"input": "x", key: "be brief"})).unwrap();
            assert_eq!(request.options.override_system.as_deref(), Some("be brief"));
        }
    }
}
