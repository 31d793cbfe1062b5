use super::*;
use crate::domain::model::{Answer, Finish, ModelError, ModelErrorClass};
use crate::providers::Model;
use crate::providers::call::Remote;
use crate::providers::testing::{Reply, Server, endpoint, request};
use serde_json::{Value, json};
use std::sync::Arc;

async fn ask(server: &Server, stream: bool) -> (Result<Answer, ModelError>, usize) {
    let model = Remote {
        successor: None,
        endpoint: Arc::new(endpoint(&server.base_url)),
        protocol: &Responses,
    };
    let mut request = request("gpt-5", "hello");
    request.stream = stream;
    let mut deltas = 0;
    let result = model.answer(&request, &mut |_| deltas += 1).await;
    (result, deltas)
}

fn whole() -> Value {
    json!({
        "id": "resp_1",
        "object": "response",
        "model": "gpt-5",
        "status": "completed",
        "output": [
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
            {"type": "message", "content": [{"type": "output_text", "text": "Hello"}]},
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        ],
        "usage": {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7},
    })
}

fn event(event: &Value) -> String {
    let kind = event["type"].as_str().unwrap();
    format!("event: {kind}\ndata: {event}\n\n")
}

fn text(delta: &str) -> String {
    event(
        &json!({"type": "response.output_text.delta", "output_index": 1, "content_index": 0, "delta": delta}),
    )
}

fn completed() -> String {
    event(&json!({"type": "response.completed", "response": whole()}))
}

fn failed(code: &str) -> String {
    let error = json!({"code": code, "message": "sorry"});
    event(
        &json!({"type": "response.failed", "response": {"object": "response", "status": "failed", "output": [], "error": error}}),
    )
}

#[tokio::test]
async fn a_stream_and_a_whole_answer_are_stored_alike() {
    let stream = text("Hel") + &text("lo") + &completed();
    let server = Server::scripted(vec![Reply::stream(&stream)]).await;
    let (streamed, deltas) = ask(&server, true).await;
    let blocking = Server::scripted(vec![Reply::json(200, &whole().to_string())]).await;
    let (blocked, _) = ask(&blocking, false).await;
    let (mut streamed, mut blocked) = (streamed.unwrap(), blocked.unwrap());
    assert_eq!(deltas, 4);
    for (request, stream) in [(&streamed, true), (&blocked, false)] {
        let sent: Value = serde_json::from_str(&request.trace.request).unwrap();
        assert_eq!(sent["stream"], stream);
    }
    (streamed.trace.request, blocked.trace.request) = Default::default();
    assert_eq!(streamed, blocked);
    assert_eq!(
        (streamed.finish, streamed.usage.total_tokens),
        (Finish::ToolCalls, 7)
    );
    let seen = server.seen.lock().unwrap()[0].clone();
    assert!(seen.starts_with("POST /v1/responses "));
}

#[tokio::test]
async fn the_last_event_ends_the_answer_without_another_word() {
    let open = Reply::stream_head() + &text("Hello") + &completed();
    let server = Server::scripted(vec![Reply::Stall(open)]).await;
    ask(&server, true).await.0.unwrap();
}

#[tokio::test]
async fn a_stream_that_breaks_off_or_fails_is_tried_again_only_if_nothing_was_shown() {
    for first in [Reply::stream(""), Reply::stream(&failed("server_error"))] {
        let server = Server::scripted(vec![first, Reply::stream(&completed())]).await;
        ask(&server, true).await.0.unwrap();
    }
    for (rest, class) in [
        (String::new(), ModelErrorClass::Connection),
        (failed("server_error"), ModelErrorClass::Server),
    ] {
        let server = Server::scripted(vec![Reply::stream(&(text("Hel") + &rest))]).await;
        let (result, deltas) = ask(&server, true).await;
        assert_eq!(
            (result.unwrap_err().class, deltas, server.requests()),
            (class, 1, 1)
        );
    }
}

#[tokio::test]
async fn a_failure_has_the_class_of_its_code() {
    for (code, class) in [
        ("context_length_exceeded", ModelErrorClass::ContextOverflow),
        ("insufficient_quota", ModelErrorClass::Credits),
        ("invalid_prompt", ModelErrorClass::BadRequest),
    ] {
        let server = Server::scripted(vec![Reply::stream(&failed(code))]).await;
        let error = ask(&server, true).await.0.unwrap_err();
        assert_eq!((error.class, server.requests()), (class, 1), "{code}");
        assert!(error.detail.ends_with("sorry"), "{error}");
    }
}
