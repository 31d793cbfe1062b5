//! One stored message as clients see it: several pieces, each of one message type (messages-and-search §4).

use super::agent::TurnLoop;
use super::compaction::summary::{self, Stats};
use super::id::{ConversationId, MessageId, RunId, StepId};
use super::message::{
    Approval, Message, Part, Role, SUMMARY_GAP, ToolCall, ToolOutput, ToolReturn,
};
use super::run::View;
use jiff::Timestamp;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::HashSet;

/// A piece of a stored message, ready to be shown.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    pub message_id: MessageId,
    pub created_at: Timestamp,
    pub name: Option<String>,
    pub otid: Option<String>,
    pub sender_id: Option<String>,
    pub step_id: Option<StepId>,
    pub run_id: Option<RunId>,
    pub conversation_id: Option<ConversationId>,
    pub is_err: bool,
    pub body: Body,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    System {
        content: String,
    },
    User {
        content: Content,
    },
    Assistant {
        content: String,
    },
    Reasoning {
        reasoning: String,
        native: bool,
        signature: Option<String>,
    },
    RedactedReasoning {
        data: String,
    },
    OmittedReasoning,
    ToolCalls(Vec<ToolCall>),
    ToolReturns(Vec<ToolReturn>),
    ApprovalRequest(Vec<ToolCall>),
    ApprovalResponse(Vec<Approval>),
    /// A summary, shown as such only to who asked for compaction messages.
    Summary {
        summary: String,
        stats: Option<Stats>,
    },
    /// News that the context is being compacted; stands before its summary.
    Compaction(Compaction),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compaction {
    pub trigger: String,
    pub context_token_estimate: Option<u64>,
    pub context_window: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    Text(String),
    Parts(Vec<Part>),
}

impl Body {
    /// The name of the message type, as `include_return_message_types` spells it.
    pub fn message_type(&self) -> &'static str {
        match self {
            Self::System { .. } => "system_message",
            Self::User { .. } => "user_message",
            Self::Assistant { .. } => "assistant_message",
            Self::Reasoning { .. } => "reasoning_message",
            Self::RedactedReasoning { .. } | Self::OmittedReasoning => "hidden_reasoning_message",
            Self::ToolCalls(_) => "tool_call_message",
            Self::ToolReturns(_) => "tool_return_message",
            Self::ApprovalRequest(_) => "approval_request_message",
            Self::ApprovalResponse(_) => "approval_response_message",
            Self::Summary { .. } => "summary_message",
            Self::Compaction(_) => "event_message",
        }
    }
}

/// How assistant text and calls to the message tool are shown.
#[derive(Debug, Clone, Copy)]
pub struct Reading<'a> {
    pub view: &'a View,
    /// Text is the reply (native loop); otherwise it is a thought (heartbeat loop).
    pub text_is_reply: bool,
    /// Calls to the message tool become assistant messages.
    pub unwrap_calls: bool,
    /// The return of such a call is hidden also where it is looked at alone.
    pub hides_returns: bool,
    /// Summaries are shown as such; otherwise as the user message that the model reads.
    pub shows_summaries: bool,
    /// Before a summary stands the news of its compaction.
    pub shows_compactions: bool,
}

impl<'a> Reading<'a> {
    /// As the native loop shows what it just did: the message tool is a tool like any other.
    pub fn native(view: &'a View) -> Self {
        Self {
            view,
            text_is_reply: true,
            unwrap_calls: false,
            hides_returns: false,
            shows_summaries: false,
            shows_compactions: false,
        }
    }

    /// As the heartbeat loop shows what it just did: text is thought, and the message tool speaks.
    pub fn heartbeat(view: &'a View) -> Self {
        Self {
            view,
            text_is_reply: false,
            unwrap_calls: view.use_assistant_message,
            hides_returns: view.use_assistant_message,
            shows_summaries: false,
            shows_compactions: false,
        }
    }

    /// As the loop of a run shows what it just did: in answers, streams and callbacks.
    pub fn live(view: &'a View, turn_loop: TurnLoop) -> Self {
        match turn_loop {
            TurnLoop::Native | TurnLoop::NativeForced => Self::native(view),
            TurnLoop::Heartbeat => Self::heartbeat(view),
        }
    }

    /// As lists show it.
    pub fn listed(view: &'a View, text_is_reply: bool) -> Self {
        Self {
            view,
            text_is_reply,
            unwrap_calls: view.use_assistant_message,
            hides_returns: false,
            shows_summaries: false,
            shows_compactions: false,
        }
    }

    /// For who asked for compaction messages.
    pub fn with_summaries(self, shows_summaries: bool) -> Self {
        Self {
            shows_summaries,
            ..self
        }
    }

    /// In the answer of a turn, for who asked for compaction messages.
    pub fn with_compactions(self, shows: bool) -> Self {
        Self {
            shows_summaries: shows,
            shows_compactions: shows,
            ..self
        }
    }

    fn keeps(&self, body: &Body) -> bool {
        self.view
            .include_return_message_types
            .as_ref()
            .is_none_or(|kept| kept.iter().any(|name| name == body.message_type()))
    }
}

/// The pieces of one message in natural order, filtered by the view's message types.
pub fn pieces(message: &Message, reading: &Reading<'_>) -> Vec<Piece> {
    let bodies = bodies(message, reading);
    let derived = matches!(message.role, Role::Assistant | Role::Tool | Role::Summary)
        || (message.role == Role::Approval && !message.tool_calls.is_empty());
    let piece = |(index, body): (usize, Body)| Piece {
        message_id: message.id,
        created_at: message.created_at,
        name: message.name.clone(),
        otid: match (&body, derived) {
            (Body::ApprovalRequest(_), _) => Some(message.id.to_string()),
            (_, true) => Some(
                message
                    .id
                    .piece_otid(u8::try_from(index).unwrap_or(127).min(127)),
            ),
            (_, false) => message.otid.clone(),
        },
        sender_id: message.sender_id.clone(),
        step_id: message.step_id,
        run_id: message.run_id,
        conversation_id: message.conversation_id,
        is_err: message.is_err,
        body,
    };
    bodies
        .into_iter()
        .enumerate()
        .map(piece)
        .filter(|piece| reading.keeps(&piece.body))
        .collect()
}

/// The pieces of several messages of one page. In a list that unwraps calls, the return of the message tool is hidden:
/// told by its call, or, where that stands on another page, by its name. (The retired server showed it there, so that
/// whoever read page after page met a return without a call.)
pub fn page_pieces<M: AsRef<Message>>(messages: &[M], reading: &Reading<'_>) -> Vec<Piece> {
    // Some models number their calls anew in each answer, so an id names a call within its step only.
    let mut said: HashSet<(Option<StepId>, &str)> = HashSet::new();
    let messages = || messages.iter().map(AsRef::as_ref);
    if reading.unwrap_calls {
        for message in messages().filter(|message| message.role == Role::Assistant) {
            let calls = message.tool_calls.iter();
            let says = calls.filter(|call| call.name == reading.view.assistant_message_tool_name);
            said.extend(says.map(|call| (message.step_id, call.id.as_str())));
        }
    }
    let called: HashSet<Option<StepId>> = messages()
        .filter(|message| message.role == Role::Assistant)
        .map(|message| message.step_id)
        .collect();
    let elsewhere = |message: &Message| {
        reading.unwrap_calls
            && message.role == Role::Tool
            && message.tool_returns.len() == 1
            && !called.contains(&message.step_id)
            && is_of_message_tool(message, reading)
    };
    let mut shown = Vec::new();
    for message in messages().filter(|message| !elsewhere(message)) {
        let ends = &message.tool_returns;
        let hidden =
            |end: &ToolReturn| said.contains(&(message.step_id, end.tool_call_id.as_str()));
        if message.role != Role::Tool || !ends.iter().any(hidden) {
            shown.extend(pieces(message, reading));
        } else if !ends.iter().all(hidden) {
            // Calls of other tools were made beside it: their returns stay.
            let mut rest = message.clone();
            rest.tool_returns.retain(|end| !hidden(end));
            shown.extend(pieces(&rest, reading));
        }
    }
    shown
}

fn bodies(message: &Message, reading: &Reading<'_>) -> Vec<Body> {
    match message.role {
        Role::System => vec![Body::System {
            content: message.text(),
        }],
        Role::User => vec![Body::User {
            content: user_content(message),
        }],
        Role::Summary => summary(message, reading),
        Role::Tool if reading.hides_returns && is_of_message_tool(message, reading) => Vec::new(),
        Role::Tool => vec![Body::ToolReturns(message.tool_returns.clone())],
        Role::Assistant => {
            let mut bodies = spoken(message, reading);
            calls(message, reading, &mut bodies);
            bodies
        }
        Role::Approval if message.tool_calls.is_empty() => {
            vec![Body::ApprovalResponse(message.approvals.clone())]
        }
        Role::Approval => {
            let mut bodies = spoken(message, reading);
            bodies.push(Body::ApprovalRequest(message.tool_calls.clone()));
            bodies
        }
    }
}

/// A tool message is named by its first call, and the heartbeat loop makes one.
fn is_of_message_tool(message: &Message, reading: &Reading<'_>) -> bool {
    message.name.as_ref() == Some(&reading.view.assistant_message_tool_name)
}

fn summary(message: &Message, reading: &Reading<'_>) -> Vec<Body> {
    let Some(read) = summary::read(message).filter(|_| reading.shows_summaries) else {
        return vec![Body::User {
            content: Content::Text(message.text()),
        }];
    };
    let news = read.stats.as_ref().filter(|_| reading.shows_compactions);
    let news = news.map(|stats| {
        Body::Compaction(Compaction {
            trigger: stats.trigger.clone(),
            context_token_estimate: stats.context_tokens_before,
            context_window: stats.context_window,
        })
    });
    let summary = Body::Summary {
        summary: read.text,
        stats: read.stats,
    };
    news.into_iter().chain([summary]).collect()
}

fn user_content(message: &Message) -> Content {
    match message.content.as_slice() {
        [Part::Text { text, .. }] => Content::Text(unpacked(text)),
        [] => Content::Text(String::new()),
        parts => Content::Parts(parts.to_vec()),
    }
}

/// The message inside a packed `user_message` envelope; any other text as it is.
fn unpacked(text: &str) -> String {
    let envelope = || -> Option<String> {
        let value: Value = if text.starts_with('{') {
            serde_json::from_str(text).ok()?
        } else {
            return None;
        };
        let packed = value.get("type")?.as_str()? == "user_message";
        packed.then(|| {
            value
                .get("message")
                .and_then(Value::as_str)
                .map(str::to_owned)
        })?
    };
    envelope().unwrap_or_else(|| text.to_owned())
}

/// Stands between what a model thinks as text and what it thinks in an argument.
pub fn spoken(message: &Message, reading: &Reading<'_>) -> Vec<Body> {
    let mut bodies: Vec<Body> = Vec::new();
    for part in &message.content {
        match part {
            Part::Text { text, .. } if reading.text_is_reply => match bodies.last_mut() {
                Some(Body::Assistant { content }) => content.push_str(text),
                _ => bodies.push(Body::Assistant {
                    content: text.clone(),
                }),
            },
            Part::Text { text, .. } => think(&mut bodies, "", text, false, None),
            Part::Reasoning {
                native,
                reasoning,
                signature,
            } => {
                let between = if *native { "" } else { SUMMARY_GAP };
                think(&mut bodies, between, reasoning, *native, signature.clone());
            }
            Part::SummarizedReasoning { summary, .. } => {
                summary
                    .iter()
                    .filter(|text| !text.is_empty())
                    .for_each(|text| think(&mut bodies, SUMMARY_GAP, text, true, None));
            }
            Part::RedactedReasoning { data } => {
                bodies.push(Body::RedactedReasoning { data: data.clone() })
            }
            Part::OmittedReasoning { .. } => bodies.push(Body::OmittedReasoning),
            Part::Image(_) => (),
        }
    }
    bodies
}

/// Adds a thought; one of the same kind that stands right before it is gone on with.
fn think(
    bodies: &mut Vec<Body>,
    between: &str,
    thought: &str,
    native: bool,
    signature: Option<String>,
) {
    match bodies.last_mut() {
        Some(Body::Reasoning {
            reasoning: before,
            native: kind,
            signature: last,
        }) if *kind == native => {
            before.push_str(between);
            before.push_str(thought);
            *last = signature.or(last.take());
        }
        _ => bodies.push(Body::Reasoning {
            reasoning: thought.to_owned(),
            native,
            signature,
        }),
    }
}

fn calls(message: &Message, reading: &Reading<'_>, bodies: &mut Vec<Body>) {
    let mut collected: Vec<ToolCall> = Vec::new();
    for call in &message.tool_calls {
        if reading.unwrap_calls && call.name == reading.view.assistant_message_tool_name {
            if !collected.is_empty() {
                bodies.push(Body::ToolCalls(std::mem::take(&mut collected)));
            }
            let arguments: Option<Value> = serde_json::from_str(&call.arguments).ok();
            let said = arguments.as_ref().and_then(|arguments| {
                quoted(arguments.get(&reading.view.assistant_message_tool_kwarg)?)
            });
            bodies.extend(said.map(|said| Body::Assistant {
                content: said.into_owned(),
            }));
        } else {
            collected.push(call.clone());
        }
    }
    if !collected.is_empty() {
        bodies.push(Body::ToolCalls(collected));
    }
}

/// The words of an argument that is meant to be text: a model that wrote something else is quoted. `None` for null.
pub(super) fn quoted(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(Cow::Borrowed(text)),
        other => Some(Cow::Owned(other.to_string())),
    }
}

/// The text of one return as clients see it: the message inside its envelope; images as a placeholder.
pub fn return_text(output: &ToolOutput) -> String {
    match output {
        ToolOutput::Packed(text) => {
            let envelope: Option<Value> = serde_json::from_str(text).ok();
            match envelope
                .as_ref()
                .and_then(|envelope| envelope.get("message"))
            {
                Some(Value::String(message)) => message.clone(),
                Some(other) => other.to_string(),
                None => text.clone(),
            }
        }
        ToolOutput::Parts(parts) => {
            let texts = parts.iter().map(|part| part.text().unwrap_or("[image]"));
            texts.collect::<Vec<_>>().join("\n")
        }
    }
}

#[cfg(test)]
mod tests;
