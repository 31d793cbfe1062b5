//! An exchange with a model that took place elsewhere (`POST …/messages/capture`), as messages to be stored.

use crate::domain::id::AgentId;
use crate::domain::message::{Message, Part, Role};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Request and response in the form of whichever provider they were made with.
#[derive(Debug, Deserialize)]
pub struct Capture {
    /// Part of the contract; the name of the model says enough.
    #[serde(rename = "provider")]
    _provider: String,
    model: String,
    request_messages: Vec<Map<String, Value>>,
    response_dict: Map<String, Value>,
}

impl Capture {
    /// What the user said and what the model answered, as far as it is text. The rest of the request is history that was
    /// captured before, or instructions that are not this agent's.
    pub fn into_domain(self, agent: AgentId, now: Timestamp) -> Vec<Message> {
        let message = |role, content: Option<&Value>| {
            let content: Vec<Part> = texts(content?).map(Part::of_text).collect();
            let mut message = Message::new(agent, role, now);
            message.otid = Some(message.id.piece_otid(0));
            message.content = content;
            (!message.content.is_empty()).then_some(message)
        };
        let of_user =
            |said: &&Map<String, Value>| said.get("role").and_then(Value::as_str) == Some("user");
        let said = self.request_messages.iter().filter(of_user);
        let said = said.filter_map(|said| message(Role::User, said.get("content")));
        let mut messages: Vec<Message> = said.collect();
        let answer = message(Role::Assistant, self.response_dict.get("content"));
        messages.extend(answer.map(|mut answer| {
            answer.model = Some(self.model);
            answer
        }));
        messages
    }
}

/// The texts of a content, which is one text or a list of parts; empty ones say nothing.
fn texts(content: &Value) -> impl Iterator<Item = &str> {
    let one = content.as_str();
    let parts = content.as_array().into_iter().flatten();
    let parts = parts.filter_map(|part| part.as_str().or_else(|| part.get("text")?.as_str()));
    one.into_iter().chain(parts).filter(|text| !text.is_empty())
}

#[derive(Debug, Serialize)]
pub struct Captured {
    success: bool,
    messages_created: usize,
    /// Runs of agents that work in the background: there are none yet.
    run_ids: Vec<String>,
}

impl Captured {
    pub fn new(messages_created: usize) -> Self {
        Self {
            success: true,
            messages_created,
            run_ids: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::clock;
    use serde_json::json;

    fn read(request_messages: Value, response_dict: Value) -> Vec<(Role, String)> {
        let body = json!({
            "provider": "anthropic",
            "model": "claude",
            "request_messages": request_messages,
            "response_dict": response_dict,
        });
        let capture: Capture = serde_json::from_value(body).unwrap();
        let messages = capture.into_domain(AgentId::new(), clock::now());
        let said = messages.iter();
        said.map(|message| (message.role, message.text())).collect()
    }

    #[test]
    fn users_words_and_one_answer_are_kept() {
        let request = json!([
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "hello"},
            {"role": "assistant", "content": "hi"},
            {"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "image"}, "two"]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1"}]},
            {"role": "user", "content": ""},
            {"content": "by nobody"},
        ]);
        let answer = json!({"role": "assistant", "content": [{"type": "text", "text": "good"}]});
        let said = [
            (Role::User, "hello".to_owned()),
            (Role::User, "one\ntwo".to_owned()),
            (Role::Assistant, "good".to_owned()),
        ];
        assert_eq!(read(request, answer), said);
    }

    #[test]
    fn an_answer_without_words_is_no_message() {
        for nothing in [json!({}), json!({"content": null}), json!({"content": []})] {
            assert_eq!(read(json!([]), nothing), []);
        }
    }
}
