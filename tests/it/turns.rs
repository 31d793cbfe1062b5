//! What the tests of whole turns share: scripts for the model, answers to its requests, and what came back.

use crate::world::{World, events};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

// ── scripts

/// A call that adds a line to the block `human`.
pub(crate) fn insert(line: &str) -> String {
    format!("memory_insert {{\"label\":\"human\",\"new_string\":\"{line}\"}}")
}

/// A call that adds a line to the block `persona`.
pub(crate) fn append(line: &str) -> String {
    format!("core_memory_append {{\"label\":\"persona\",\"content\":\"{line}\"}}")
}

pub(crate) fn tool(call: &str) -> String {
    format!("[[tool:{call}]]")
}

pub(crate) fn parallel(calls: &[String]) -> String {
    format!("[[parallel:{}]]", calls.join(" | "))
}

// ── requests

/// An answer that approves these calls.
pub(crate) fn approve(ids: &[&str]) -> Value {
    let approvals: Vec<Value> = ids
        .iter()
        .map(|id| json!({"type": "approval", "tool_call_id": id, "approve": true}))
        .collect();
    json!({"type": "approval", "approvals": approvals})
}

pub(crate) fn deny(id: &str, reason: &str) -> Value {
    json!({"type": "approval", "tool_call_id": id, "approve": false, "reason": reason})
}

pub(crate) fn user(text: &str) -> Value {
    json!({"role": "user", "content": text})
}

pub(crate) fn with(body: &Value, fields: &Value) -> Value {
    let mut body = body.clone();
    let fields = fields.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(fields);
    body
}

impl World {
    /// Sends these items and waits for the turn.
    pub(crate) async fn items(&self, agent: &str, items: &[Value]) -> Value {
        let path = format!("/v1/agents/{agent}/messages");
        self.post(&path, json!({"messages": items})).await
    }

    /// Sends a body to one of the agent's routes and takes what comes.
    pub(crate) async fn attempt(
        &self,
        agent: &str,
        route: &str,
        body: &Value,
    ) -> (u16, HeaderMap, String) {
        let answer = self
            .http
            .post(format!("{}/v1/agents/{agent}/{route}", self.base))
            .json(body)
            .send()
            .await
            .unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        (status, headers, answer.text().await.unwrap())
    }

    /// A request that is refused with 400 on every route, before a stream starts; its `detail`.
    pub(crate) async fn refused(&self, agent: &str, items: &[Value]) -> String {
        let mut detail = String::new();
        for (route, fields) in routes() {
            let body = with(&json!({"messages": items}), &fields);
            let (status, _, text) = self.attempt(agent, route, &body).await;
            assert_eq!(status, 400, "{route} {fields}: {text}");
            let body: Value = serde_json::from_str(&text).unwrap();
            body["detail"].as_str().unwrap().clone_into(&mut detail);
        }
        detail
    }

    /// The frames of a streamed turn without its pings; the last two are its stop reason and its usage.
    pub(crate) async fn frames(&self, agent: &str, body: &Value) -> Vec<Value> {
        let (status, headers, text) = self.attempt(agent, "messages", body).await;
        assert_eq!(status, 200, "{text}");
        let kind = headers["content-type"].to_str().unwrap();
        assert!(kind.starts_with("text/event-stream"), "{kind}");
        frames(&text)
    }

    /// What waits for the user's word (`agent.pending_approval`).
    pub(crate) async fn pending(&self, agent: &str) -> Value {
        let path = format!("/v1/agents/{agent}?include=agent.pending_approval");
        self.get(&path).await["pending_approval"].clone()
    }
}

/// Every way to send, and the fields that make it that way.
pub(crate) fn routes() -> [(&'static str, Value); 5] {
    [
        ("messages", json!({})),
        ("messages", json!({"streaming": true})),
        (
            "messages",
            json!({"streaming": true, "stream_tokens": true, "background": true}),
        ),
        ("messages/stream", json!({})),
        ("messages/async", json!({})),
    ]
}

// ── what came back

pub(crate) fn frames(text: &str) -> Vec<Value> {
    assert!(!text.contains("event: error"), "{text}");
    let mut events = events(text);
    assert_eq!(events.pop().as_deref(), Some("[DONE]"), "{text}");
    let frames: Vec<Value> = events
        .iter()
        .map(|event| serde_json::from_str(event).unwrap())
        .filter(|frame: &Value| frame["message_type"] != "ping")
        .collect();
    let kinds = kinds(&frames);
    assert_eq!(
        kinds[kinds.len().saturating_sub(2)..],
        ["stop_reason", "usage_statistics"],
        "{text}"
    );
    let stops = kinds.iter().filter(|kind| **kind == "stop_reason").count();
    assert_eq!(stops, 1, "{text}");
    for frame in &frames[..frames.len() - 2] {
        // agent-loop §11: the first delta included.
        assert!(frame["run_id"].is_string(), "{frame}");
        assert!(frame["step_id"].is_string(), "{frame}");
    }
    frames
}

pub(crate) fn kinds(messages: &[Value]) -> Vec<&str> {
    messages
        .iter()
        .map(|message| message["message_type"].as_str().unwrap())
        .collect()
}

/// The messages of a turn's answer.
pub(crate) fn messages(answer: &Value) -> &[Value] {
    answer["messages"].as_array().unwrap()
}

pub(crate) fn stop(answer: &Value) -> &str {
    answer["stop_reason"]["stop_reason"].as_str().unwrap()
}

/// The ids of the calls that a turn's answer asks a word for, in call order.
pub(crate) fn asked(answer: &Value) -> Vec<String> {
    assert_eq!(stop(answer), "requires_approval", "{answer}");
    let request = messages(answer).last().unwrap();
    assert_eq!(
        request["message_type"], "approval_request_message",
        "{answer}"
    );
    calls(request)
}

/// The ids of a message's calls.
pub(crate) fn calls(message: &Value) -> Vec<String> {
    ids(message, "tool_calls")
}

/// The ids of a message's returns.
pub(crate) fn returns(message: &Value) -> Vec<String> {
    ids(message, "tool_returns")
}

fn ids(message: &Value, list: &str) -> Vec<String> {
    let items = message[list].as_array().unwrap();
    items
        .iter()
        .map(|item| item["tool_call_id"].as_str().unwrap().to_owned())
        .collect()
}

/// The return of one call.
pub(crate) fn returned<'a>(message: &'a Value, id: &str) -> &'a Value {
    let items = message["tool_returns"].as_array().unwrap();
    let mut found = items.iter().filter(|item| item["tool_call_id"] == id);
    let one = found.next().unwrap_or_else(|| panic!("{message}"));
    assert!(found.next().is_none(), "two returns of {id}: {message}");
    one
}

/// Whether the UUID in the id of `message` is that of `other` minus one (agent-loop §9).
pub(crate) fn is_one_less(message: &Value, other: &Value) -> bool {
    let number = |message: &Value| {
        let id = message["id"].as_str().unwrap();
        let id = id.strip_prefix("message-").unwrap();
        uuid::Uuid::parse_str(id).unwrap().as_u128()
    };
    number(message) + 1 == number(other)
}
