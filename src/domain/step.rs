//! What follows a model's answer: which calls it made, what their ends look like, whether the turn goes on.

use super::clock;
use super::display::display;
use super::heartbeat::{REQUEST_HEARTBEAT, THINKING};
use super::message::{Message, Part, Role, ToolCall, ToolOutput, ToolReturn, ToolStatus};
use super::model::{Answer, Finish, ResponseFormat, ToolSchema};
use super::rules::{UNREADABLE, UNSTARTED};
use super::run::StopReason;
use super::tool::{ToolFailure, ToolResult};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// A call as it will be carried out.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedCall {
    pub id: String,
    pub name: String,
    /// The cleaned arguments, or why they cannot be used: then the call gets an error return and is not run.
    pub arguments: Result<Map<String, Value>, ToolFailure>,
}

impl PlannedCall {
    /// Reads one call of the model (agent-loop §5): the first object of `}{`, one layer of double encoding,
    /// no `request_heartbeat` and no `thinking`.
    pub fn read(call: &ToolCall) -> Self {
        let id = if call.id.is_empty() {
            format!("call_{}", &super::id::TraceId::new().to_string()[15..23])
        } else {
            call.id.clone()
        };
        Self {
            id,
            name: call.name.clone(),
            arguments: read_arguments(&call.arguments),
        }
    }

    /// As it is stored: with the cleaned object, or with the model's own text when that could not be read.
    pub fn stored(&self, original: &ToolCall) -> ToolCall {
        let arguments = match &self.arguments {
            Ok(arguments) => Value::Object(arguments.clone()).to_string(),
            Err(_) => original.arguments.clone(),
        };
        ToolCall {
            id: self.id.clone(),
            name: original.name.clone(),
            arguments,
        }
    }
}

fn read_arguments(text: &str) -> Result<Map<String, Value>, ToolFailure> {
    let mut arguments = read_object(text).map_err(|problem| ToolFailure {
        name: "JSONDecodeError".into(),
        message: format!("{UNREADABLE}: {problem}"),
    })?;
    arguments.shift_remove(REQUEST_HEARTBEAT);
    arguments.shift_remove(THINKING);
    Ok(arguments)
}

/// The arguments of a call (agent-loop §5): the first of several objects, one layer of double encoding, nothing for none.
pub(super) fn read_object(text: &str) -> Result<Map<String, Value>, String> {
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    let value = match first_value(text)? {
        Value::String(inner) => first_value(&inner)?,
        value => value,
    };
    match value {
        Value::Object(arguments) => Ok(arguments),
        _ => Err("it is another kind of value".to_owned()),
    }
}

fn first_value(text: &str) -> Result<Value, String> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let first = values
        .next()
        .unwrap_or(Ok(Value::Null))
        .map_err(|error| error.to_string())?;
    let rest = text[values.byte_offset()..].trim_start();
    if rest.is_empty() || (first.is_object() && rest.starts_with('{')) {
        Ok(first)
    } else {
        Err("something follows it".to_owned())
    }
}

/// What the worker does after an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Run these calls, commit, and call the model again unless the step bound is reached.
    Call(Vec<PlannedCall>),
    /// Commit and end the turn.
    Stop(StopReason),
}

/// The decision for the native loop (agent-loop §8). Calls beyond the first are dropped when parallel calls are off.
/// Ids that repeat within the answer are made unique, so that each stored call has exactly one return.
pub fn next(answer: &mut Answer, parallel_calls: bool) -> Next {
    if !parallel_calls {
        answer.calls.truncate(1);
    }
    if answer.calls.is_empty() {
        return Next::Stop(match answer.finish {
            Finish::Length => StopReason::MaxTokensExceeded,
            // The provider broke off what its model said, or withheld all of it.
            Finish::ContentFilter if kept(answer).next().is_some() => StopReason::LlmApiError,
            Finish::ContentFilter => StopReason::InvalidLlmResponse,
            Finish::Stop | Finish::ToolCalls => StopReason::EndTurn,
        });
    }
    let mut planned: Vec<PlannedCall> = Vec::with_capacity(answer.calls.len());
    let mut seen = std::collections::HashSet::new();
    for call in &mut answer.calls {
        let mut plan = PlannedCall::read(call);
        let given = plan.id.clone();
        let mut number = 1;
        while !seen.insert(plan.id.clone()) {
            number += 1;
            plan.id = format!("{given}_{number}");
        }
        *call = plan.stored(call);
        planned.push(plan);
    }
    Next::Call(planned)
}

/// Leaves no arguments that cannot be read: their calls are ended with an error at once, and nothing reads them again. A call
/// that waits for somebody's word keeps them, so that it ends the same way when it has that.
pub fn empty_unreadable(answer: &mut Answer) {
    for call in &mut answer.calls {
        if read_object(&call.arguments).is_err() {
            call.arguments = "{}".to_owned();
        }
    }
}

/// The assistant message of a step, or `None` when the model said nothing that is kept.
pub fn assistant_message(mut message: Message, answer: &Answer) -> Option<Message> {
    message.role = Role::Assistant;
    message.content = kept(answer).cloned().collect();
    message.tool_calls = answer.calls.clone();
    let kept = !message.content.is_empty() || !message.tool_calls.is_empty();
    kept.then_some(message)
}

/// The parts of an answer that are stored.
fn kept(answer: &Answer) -> impl Iterator<Item = &Part> {
    let empty =
        |part: &Part| matches!(part, Part::Text { text, signature: None } if text.is_empty());
    answer.parts.iter().filter(move |part| !empty(part))
}

/// The messages of an answer of which some calls wait for somebody's word (agent-loop §9): those that do not in the
/// assistant message, if there are any, those that do in the request, which has the next lower id and knows their places among all.
pub fn request_messages(
    message: Message,
    answer: &Answer,
    waits: impl Fn(&ToolCall) -> bool,
) -> Vec<Message> {
    let mut request = message.clone();
    request.id = message.id.of_request();
    request.role = Role::Approval;
    request.otid = Some(request.id.to_string());
    let mut free = Vec::new();
    for (place, call) in (0..).zip(&answer.calls) {
        if waits(call) {
            request.tool_calls.push(call.clone());
            request.call_places.push(place);
        } else {
            free.push(call.clone());
        }
    }
    let assistant = Answer {
        calls: free,
        ..answer.clone()
    };
    match assistant_message(message, &assistant) {
        Some(assistant) if !assistant.tool_calls.is_empty() => vec![assistant, request],
        spoken => {
            request.content = spoken.map_or_else(Vec::new, |message| message.content);
            request.call_places = Vec::new();
            vec![request]
        }
    }
}

/// The tool whose words reach the user where the model speaks by calls, and its argument for them.
const SAYS: (&str, &str) = ("send_message", "message");

/// Lays the form that answers are to have over what the model is given (agent-loop §4): over the words of the message tool
/// where that is offered, else over the answer itself. Gives the form that is left for the provider.
pub fn lay_format(
    format: Option<ResponseFormat>,
    tools: &mut Arc<[ToolSchema]>,
) -> Option<ResponseFormat> {
    let schema = match format.as_ref()? {
        ResponseFormat::Text => return None,
        ResponseFormat::JsonObject => json!({"type": "object"}),
        ResponseFormat::JsonSchema(schema) => schema
            .get("schema")
            .cloned()
            .unwrap_or_else(|| json!({"type": "object"})),
    };
    let (name, argument) = SAYS;
    let says = |tool: &ToolSchema| {
        tool.name == name && tool.parameters["properties"].get(argument).is_some()
    };
    if !tools.iter().any(says) {
        return format;
    }
    let mut laid = tools.to_vec();
    for tool in laid.iter_mut().filter(|tool| says(tool)) {
        let words = &mut tool.parameters["properties"][argument];
        let mut schema = schema.clone();
        if let Some(schema) = schema.as_object_mut() {
            schema
                .entry("description")
                .or_insert_with(|| words["description"].take());
        }
        *words = schema;
    }
    *tools = laid.into();
    None
}

/// The words of the message tool as the text that it takes, whatever form they were given.
pub fn as_text(tool: &str, arguments: &mut Map<String, Value>) {
    let (name, argument) = SAYS;
    if let Some(words) = arguments.get_mut(argument).filter(|_| tool == name)
        && !words.is_string()
        && !words.is_null()
    {
        *words = Value::from(words.to_string());
    }
}

/// How one call ended, packed for the model (agent-loop §7): cut once to `limit` characters, then wrapped.
pub fn pack(
    call_id: &str,
    result: &ToolResult,
    limit: Option<u64>,
    time: Timestamp,
    timezone: &str,
) -> ToolReturn {
    let (status, message) = match &result.outcome {
        Ok(value @ (Value::String(_) | Value::Object(_))) => (ToolStatus::Success, value.clone()),
        Ok(value) => (ToolStatus::Success, Value::from(display(value))),
        Err(failure) => (ToolStatus::Error, Value::from(failure.message.clone())),
    };
    let word = if status == ToolStatus::Success {
        "OK"
    } else {
        "Failed"
    };
    let envelope = json!({"status": word, "message": cut(message, limit), "time": clock::spoken(time, timezone)});
    ToolReturn {
        tool_call_id: call_id.to_owned(),
        status,
        output: ToolOutput::Packed(envelope.to_string()),
        stdout: result.stdout.clone(),
        stderr: result.stderr.clone(),
    }
}

fn cut(message: Value, limit: Option<u64>) -> Value {
    let Some(limit) = limit else { return message };
    let text = match &message {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let length = text.chars().count() as u64;
    if length <= limit {
        return message;
    }
    let kept: String = text
        .chars()
        .take(usize::try_from(limit).unwrap_or(usize::MAX))
        .collect();
    Value::from(format!(
        "{kept}... [NOTE: function output was truncated since it exceeded the character limit: {length} > {limit}]"
    ))
}

/// The tool message of a step: every call's return, in call order.
pub fn tool_message(mut message: Message, first_tool: &str, returns: Vec<ToolReturn>) -> Message {
    message.role = Role::Tool;
    message.name = Some(first_tool.to_owned());
    message.tool_returns = returns;
    message
}

/// The return that a client gave, packed as a tool's own would be: text is cut to `limit` characters and wrapped, parts
/// stay as they are.
pub fn pack_client(end: &ToolReturn, limit: usize, time: Timestamp, timezone: &str) -> ToolReturn {
    let ToolOutput::Packed(text) = &end.output else {
        return end.clone();
    };
    let length = text.chars().count();
    let message = match text.char_indices().nth(limit) {
        Some((at, _)) => format!("{}... [truncated {} chars]", &text[..at], length - limit),
        None => text.clone(),
    };
    let word = if end.status == ToolStatus::Success {
        "OK"
    } else {
        "Failed"
    };
    let envelope =
        json!({"status": word, "message": message, "time": clock::spoken(time, timezone)});
    ToolReturn {
        output: ToolOutput::Packed(envelope.to_string()),
        ..end.clone()
    }
}

/// The failure of a call that somebody said no to.
pub fn denied_call(reason: Option<&str>) -> ToolFailure {
    let said = "the user denied this call";
    ToolFailure {
        name: "Denied".into(),
        message: match reason {
            Some(reason) if !reason.is_empty() => format!("{said}: {reason}"),
            _ => said.to_owned(),
        },
    }
}

/// The failure of a call that a cancel reached before it had ended.
pub fn cancelled_call() -> ToolFailure {
    ToolFailure {
        name: "Cancelled".into(),
        message: "the call was cancelled before it had ended".to_owned(),
    }
}

/// The failure of a call whose tool panicked.
pub fn crashed_call() -> ToolFailure {
    ToolFailure {
        name: "RuntimeError".into(),
        message: "the tool crashed".to_owned(),
    }
}

/// The failure of a call that had not begun when the server stopped.
pub fn unstarted_call() -> ToolFailure {
    ToolFailure {
        name: "Interrupted".into(),
        message: format!("{UNSTARTED}; it was not run"),
    }
}

/// The failure of a call that was under way when the server stopped.
pub fn interrupted_call() -> ToolFailure {
    ToolFailure {
        name: "Interrupted".into(),
        message: "the server stopped while the call was running; its outcome is unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::model::{Trace, Usage};

    #[test]
    fn an_answer_without_calls_ends_the_turn_with_the_reason_it_ended_for() {
        let reason = |finish: Finish, text: &str| {
            let mut answer = Answer {
                parts: vec![Part::of_text(text)],
                calls: Vec::new(),
                finish,
                usage: Usage::default(),
                tokens: None,
                request_id: None,
                trace: Trace::default(),
            };
            next(&mut answer, true)
        };
        for (finish, text, stop) in [
            (Finish::Stop, "hi", StopReason::EndTurn),
            (Finish::Length, "hi", StopReason::MaxTokensExceeded),
            (Finish::Length, "", StopReason::MaxTokensExceeded),
            (Finish::ContentFilter, "hi", StopReason::LlmApiError),
            (Finish::ContentFilter, "", StopReason::InvalidLlmResponse),
        ] {
            assert_eq!(reason(finish, text), Next::Stop(stop), "{finish:?} {text}");
        }
    }
}
