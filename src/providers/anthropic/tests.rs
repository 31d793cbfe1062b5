use crate::domain::model::{Answer, ModelError, ModelErrorClass};
use crate::egress::Gate;
use crate::providers::Providers;
use crate::providers::provider::config_for;
use crate::providers::testing::{Reply, Server, request};
use serde_json::{Value, json};
use std::sync::Arc;

fn providers(server: &Server) -> Providers {
    let root = server.base_url.trim_end_matches("/v1").to_owned();
    let find = move |name: &str| match name {
        "ANTHROPIC_API_KEY" => Some("secret-key".to_owned()),
        "ANTHROPIC_BASE_URL" => Some(root.clone()),
        _ => None,
    };
    let gate = Gate::new(Vec::new());
    Providers::new(serde_json::from_value(json!({})).unwrap(), gate, find).unwrap()
}

async fn ask(server: &Server, stream: bool) -> Result<Answer, ModelError> {
    let mut request = request("claude-sonnet-4-5", "hello");
    let config = config_for("anthropic", "anthropic", None, "claude-sonnet-4-5", 200_000);
    (request.config, request.stream) = (Arc::new(config), stream);
    let model = providers(server).model(&request.config).unwrap();
    model.answer(&request, &mut |_| ()).await
}

fn events(events: &[Value]) -> Reply {
    let lines = events.iter().map(|event| {
        let name = event["type"].as_str().unwrap();
        format!("event: {name}\ndata: {event}\n\n")
    });
    Reply::stream(&lines.collect::<String>())
}

#[tokio::test]
async fn a_stream_and_a_whole_answer_are_stored_alike() {
    let said = json!({"type": "text", "text": "Hello"});
    let usage = json!({"input_tokens": 5, "output_tokens": 2});
    let message = |content: Value, reason: Value| json!({"type": "message", "id": "m", "role": "assistant", "model": "claude-sonnet-4-5", "content": content, "stop_reason": reason, "usage": usage});
    let whole = message(json!([said]), json!("end_turn"));
    let whole = Server::scripted(vec![Reply::json(200, &whole.to_string())]).await;
    let stream = Server::scripted(vec![events(&[
        json!({"type": "message_start", "message": message(json!([]), Value::Null)}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "ping"}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}}),
        json!({"type": "message_stop"}),
    ])])
    .await;
    let (mut streamed, mut blocked) = (
        ask(&stream, true).await.unwrap(),
        ask(&whole, false).await.unwrap(),
    );
    (streamed.trace.request, blocked.trace.request) = Default::default();
    assert_eq!(streamed, blocked);

    let seen = stream.seen.lock().unwrap()[0].to_lowercase();
    assert!(seen.starts_with("post /v1/messages "), "{seen}");
    for header in [
        "x-api-key: secret-key",
        "anthropic-version: 2023-06-01",
        "anthropic-beta: interleaved-thinking-2025-05-14",
    ] {
        assert!(seen.contains(header), "{header} in {seen}");
    }
    assert!(!seen.contains("authorization"));
}

#[tokio::test]
async fn an_overloaded_server_is_asked_again_until_it_has_begun_to_answer() {
    let error =
        json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}});
    let start = json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "a"}});
    let server = Server::scripted(vec![
        events(std::slice::from_ref(&error)),
        events(&[start, error]),
    ])
    .await;
    let failure = ask(&server, true).await.unwrap_err();
    assert_eq!(
        (failure.class, server.requests()),
        (ModelErrorClass::Overloaded, 2)
    );
    assert_eq!(
        failure.detail,
        "the provider anthropic answered 529: Overloaded"
    );
}

#[tokio::test]
async fn a_prompt_that_is_too_long_is_known_by_its_words() {
    let error = json!({"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long: 209000 tokens > 200000 maximum"}});
    let server = Server::scripted(vec![Reply::json(400, &error.to_string())]).await;
    let failure = ask(&server, true).await.unwrap_err();
    assert_eq!(failure.class, ModelErrorClass::ContextOverflow);
}

#[tokio::test]
async fn models_are_listed_page_by_page_and_think_if_they_can() {
    let server = Server::answering(|request| {
        let model = |id: &str| json!({"type": "model", "id": id, "display_name": id});
        let page = if request.contains("after_id=claude-sonnet-4-5") {
            json!({"data": [model("claude-3-haiku-20240307")], "has_more": false, "last_id": "claude-3-haiku-20240307"})
        } else {
            json!({"data": [model("claude-opus-4-6"), model("claude-sonnet-4-5")], "has_more": true, "last_id": "claude-sonnet-4-5"})
        };
        Reply::json(200, &page.to_string())
    })
    .await;
    let models = providers(&server).models().await;
    let listed: Vec<_> = models[1..]
        .iter()
        .map(|info| {
            (
                info.config.handle.as_deref().unwrap(),
                info.config.enable_reasoner,
                info.config.max_tokens.unwrap(),
                info.max_context_window,
            )
        })
        .collect();
    let expected = [
        ("anthropic/claude-opus-4-6", true, 21_000, 200_000),
        ("anthropic/claude-sonnet-4-5", true, 16_384, 200_000),
        ("anthropic/claude-3-haiku-20240307", false, 8_192, 200_000),
    ];
    assert_eq!(listed, expected);
    assert_eq!(models[1].provider_type, "anthropic");
    let seen = server.seen.lock().unwrap();
    assert_eq!(seen.len(), 2);
    assert!(seen[0].starts_with("GET /v1/models?limit=1000 "));
    assert!(seen.iter().all(|request| {
        request.contains("anthropic-version: 2023-06-01")
            && request.contains("x-api-key: secret-key")
    }));
}
