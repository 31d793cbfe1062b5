//! The heartbeat loop as values (agent-loop §13): one call a step, and the model says with the call whether it wants to
//! be called again. What it is offered, what its answer asks for, what follows the call, and what it is told when the
//! turn goes on. What is shown of an answer while it comes in is in `live`.
//!
//! The order of a step: `next` reads the answer, the loop holds the call against the rules (`Rules::violations`,
//! `Call::fill`) and carries it out, `decide` says what follows, `Call::stored` goes into the assistant message, and
//! where the turn goes on `message` follows the tool return.

pub mod live;

use super::clock;
use super::message::{Message, Part, Role, ToolCall};
use super::model::{Answer, Finish, ToolChoice, ToolSchema};
use super::piece::quoted;
use super::rules::{self, After, Called, Outcome, Rules};
use super::run::StopReason;
use super::step::{PlannedCall, read_object};
use super::tool::{ToolFailure, ToolRule, ToolRuleKind};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::sync::Arc;

/// The argument by which a model asks for another step.
pub const REQUEST_HEARTBEAT: &str = "request_heartbeat";

/// The argument that holds what the model thinks, where it thinks in arguments.
pub const THINKING: &str = "thinking";

const ABOUT_REQUEST_HEARTBEAT: &str = "Whether you want to go on after this call. With true you are called again as soon \
as it has returned; with false your turn ends with it.";

const ABOUT_THINKING: &str = "What goes through your mind before this call: what you noticed, what you want to reach, why \
this is the next thing to do. Write it first. It is thought, not said: the person you talk with is not addressed by it.";

// ── before a model call

/// The agent's tools as this loop offers them. Made once a turn, and given to `Rules` in place of the plain ones. A tool
/// that ends the turn cannot ask for more of it.
pub fn schemas(
    tools: &[ToolSchema],
    rules: &[ToolRule],
    thinks_in_arguments: bool,
) -> Arc<[ToolSchema]> {
    let ends = |tool: &ToolSchema| {
        let own = |rule: &&ToolRule| rule.tool_name == tool.name;
        let mut own = rules.iter().filter(own);
        own.any(|rule| matches!(rule.kind, ToolRuleKind::ExitLoop))
    };
    let offered = |tool: &ToolSchema| ToolSchema {
        parameters: parameters(&tool.parameters, !ends(tool), thinks_in_arguments),
        ..tool.clone()
    };
    tools.iter().map(offered).collect()
}

fn parameters(plain: &Value, asks: bool, thinks: bool) -> Value {
    let mut schema = plain.as_object().cloned().unwrap_or_default();
    schema
        .entry("type")
        .or_insert_with(|| Value::from("object"));
    let mut properties = match schema.get_mut("properties").map(Value::take) {
        Some(Value::Object(properties)) => properties,
        _ => Map::new(),
    };
    let mut required = match schema.get_mut("required").map(Value::take) {
        Some(Value::Array(required)) => required,
        _ => Vec::new(),
    };
    required.retain(|name| !(asks && name == REQUEST_HEARTBEAT || thinks && name == THINKING));
    if thinks {
        let thinking = json!({"type": "string", "description": ABOUT_THINKING});
        properties.shift_remove(THINKING);
        properties.shift_insert(0, THINKING.to_owned(), thinking);
        required.insert(0, Value::from(THINKING));
    }
    if asks {
        let heartbeat = json!({"type": "boolean", "description": ABOUT_REQUEST_HEARTBEAT});
        properties.shift_remove(REQUEST_HEARTBEAT);
        properties.insert(REQUEST_HEARTBEAT.to_owned(), heartbeat);
        required.push(Value::from(REQUEST_HEARTBEAT));
    }
    schema.insert("properties".to_owned(), Value::Object(properties));
    schema.insert("required".to_owned(), Value::Array(required));
    Value::Object(schema)
}

/// A stored message as the model is to read it again. Where it thinks in arguments it finds its thoughts where it wrote
/// them, or it would learn from its own calls to leave them out; elsewhere they are text beside the call.
pub fn recalled(message: &Arc<Message>, thinks_in_arguments: bool) -> Arc<Message> {
    let thought = |part: &Part| matches!(part, Part::Reasoning { native: false, .. });
    if !message.content.iter().any(thought) {
        return message.clone();
    }
    let mut recalled = Message::clone(message);
    let call = recalled
        .tool_calls
        .first_mut()
        .filter(|_| thinks_in_arguments);
    let Some((call, Ok(plain))) = call.map(|call| {
        let arguments = read_object(&call.arguments);
        (call, arguments)
    }) else {
        for part in &mut recalled.content {
            if let Part::Reasoning {
                native: false,
                reasoning,
                ..
            } = part
            {
                *part = Part::of_text(std::mem::take(reasoning));
            }
        }
        return Arc::new(recalled);
    };
    let mut thoughts = Vec::new();
    recalled.content.retain(|part| match part {
        Part::Reasoning {
            native: false,
            reasoning,
            ..
        } => {
            thoughts.push(reasoning.clone());
            false
        }
        _ => true,
    });
    let mut arguments = Map::new();
    arguments.insert(THINKING.to_owned(), Value::from(thoughts.join("\n\n")));
    arguments.extend(plain);
    call.arguments = Value::Object(arguments).to_string();
    Arc::new(recalled)
}

// ── the answer

/// What an answer asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    Call(Call),
    Stop(StopReason),
}

/// The one call of a step.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// As it is carried out: its arguments hold what the tool itself takes.
    pub planned: PlannedCall,
    /// The model asked for another step.
    pub asks: bool,
}

/// Reads an answer. In the answer is left what is stored of it: the first call, and the thought of its arguments as a
/// part of its own. `choice` is what the model was given: only who was offered nothing may answer in words (decisions 13).
pub fn next(answer: &mut Answer, choice: &ToolChoice, thinks_in_arguments: bool) -> Next {
    answer.calls.truncate(1);
    let Some(first) = answer.calls.first_mut() else {
        return Next::Stop(match (choice, answer.finish) {
            (ToolChoice::None, Finish::Length) => StopReason::MaxTokensExceeded,
            (ToolChoice::None, _) => StopReason::EndTurn,
            _ => StopReason::NoToolCall,
        });
    };
    let (call, thought) = Call::read(first);
    *first = call.stored(call.asks);
    let thought = thought.filter(|thought| thinks_in_arguments && !thought.is_empty());
    answer
        .parts
        .extend(thought.map(|reasoning| Part::Reasoning {
            native: false,
            reasoning,
            signature: None,
        }));
    Next::Call(call)
}

impl Call {
    /// Reads a call, of an answer or of an approval request; and the thought in its arguments. Both names are ours in
    /// every call: a tool never gets them.
    pub fn read(call: &ToolCall) -> (Self, Option<String>) {
        let unread = ToolCall {
            arguments: String::new(),
            ..call.clone()
        };
        let planned = PlannedCall::read(&unread);
        match read_object(&call.arguments) {
            Err(problem) => {
                let failure = ToolFailure {
                    name: "JSONDecodeError".into(),
                    message: format!("{}: {problem}", rules::UNREADABLE),
                };
                let planned = PlannedCall {
                    arguments: Err(failure),
                    ..planned
                };
                let asks = false;
                (Self { planned, asks }, None)
            }
            Ok(mut arguments) => {
                let asks = take_asks(&mut arguments).unwrap_or(false);
                let thought = arguments.shift_remove(THINKING);
                let thought = thought.as_ref().and_then(quoted).map(Cow::into_owned);
                let planned = PlannedCall {
                    arguments: Ok(arguments),
                    ..planned
                };
                (Self { planned, asks }, thought)
            }
        }
    }

    /// Lays the arguments that rules fix over the model's (`Rules::fill`). Whether the turn goes on can be fixed too.
    ///
    /// # Errors
    /// What does not fit the tool: the call is then not carried out (`Outcome::Misfilled`).
    pub fn fill(&mut self, rules: &Rules) -> Result<(), ToolFailure> {
        if let Ok(arguments) = &mut self.planned.arguments {
            let mut filled = rules.fill(&self.planned.name, std::mem::take(arguments))?;
            self.asks = take_asks(&mut filled).unwrap_or(self.asks);
            filled.shift_remove(THINKING);
            *arguments = filled;
        }
        Ok(())
    }

    /// As it is stored: the arguments that the tool was given, and whether the turn goes on. A request that waits for an
    /// approval says what the model asked for, so that it can be read again when the answer is there.
    pub fn stored(&self, goes_on: bool) -> ToolCall {
        let mut arguments = self.planned.arguments.clone().unwrap_or_default();
        arguments.insert(REQUEST_HEARTBEAT.to_owned(), Value::Bool(goes_on));
        ToolCall {
            id: self.planned.id.clone(),
            name: self.planned.name.clone(),
            arguments: Value::Object(arguments).to_string(),
        }
    }
}

/// Takes the model's wish out of its arguments. Models that were not asked for a boolean write one as they like.
fn take_asks(arguments: &mut Map<String, Value>) -> Option<bool> {
    let asks = match arguments.shift_remove(REQUEST_HEARTBEAT)? {
        Value::Bool(asks) => asks,
        Value::String(text) => {
            let text = text.trim();
            ["true", "yes", "1"]
                .iter()
                .any(|yes| text.eq_ignore_ascii_case(yes))
        }
        Value::Number(number) => number.as_f64().is_some_and(|number| number != 0.0),
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    };
    Some(asks)
}

// ── after the call

/// What follows the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Another step, after a user message that gives this reason.
    GoesOn {
        reason: String,
    },
    Ends(StopReason),
}

impl Decision {
    pub fn goes_on(&self) -> bool {
        matches!(self, Self::GoesOn { .. })
    }
}

/// The decision after the call, which is not recorded in `rules` yet. `asks` is `Call::asks`.
pub fn decide(rules: &Rules, called: &Called, asks: bool, last_step: bool) -> Decision {
    match rules.after_heartbeat(called, asks, last_step) {
        After::Ends(reason) => Decision::Ends(reason),
        After::Owes(owed) => Decision::GoesOn {
            reason: rules::reminder(&owed),
        },
        After::GoesOn => Decision::GoesOn {
            reason: reason(called, asks),
        },
    }
}

/// Why the model is called again after a call. Programs know the ordinary case by the argument and its value.
fn reason(called: &Called, asks: bool) -> String {
    let tool = &called.tool;
    match &called.outcome {
        Outcome::Ran(_) | Outcome::Returned(_) if asks => {
            format!("{tool} was called with {REQUEST_HEARTBEAT}=true and has returned. Go on.")
        }
        Outcome::Ran(_) | Outcome::Returned(_) => format!(
            "{tool} has returned, and the rules go on after it as with {REQUEST_HEARTBEAT}=true. Go on."
        ),
        Outcome::Failed(_) => format!(
            "{tool} was called and failed. Its return says why: try again in another way, or go on without it."
        ),
        Outcome::NotRun | Outcome::Misfilled => format!(
            "The call of {tool} was not carried out. Its return says why and what can be done instead."
        ),
        Outcome::Denied => format!(
            "The call of {tool} was denied. Its return says what was answered. Go on without it."
        ),
    }
}

/// The user message that stands before a step that no user asked for. Also how a native turn is told what it owes.
pub fn message(mut message: Message, reason: &str, time: Timestamp, timezone: &str) -> Message {
    let envelope = json!({
        "type": "heartbeat",
        "reason": reason,
        "time": clock::spoken(time, timezone),
    });
    message.role = Role::User;
    message.content = vec![Part::of_text(envelope.to_string())];
    message.otid = Some(message.id.piece_otid(0));
    // It is nobody's answer: the model's name stands beside what a model wrote.
    message.model = None;
    message
}

/// Whether a message is one of those.
pub fn is_message(message: &Message) -> bool {
    if message.role != Role::User {
        return false;
    }
    let text = message.text();
    let envelope = text.starts_with('{').then(|| serde_json::from_str(&text));
    matches!(envelope, Some(Ok(Value::Object(envelope))) if envelope.get("type").is_some_and(|kind| kind == "heartbeat"))
}

#[cfg(test)]
mod tests;
