use super::*;
use crate::domain::message::Part;
use crate::domain::model::{Answer, LlmConfig, ModelError, ModelErrorClass as Class};
use crate::egress::Gate;
use crate::providers::Providers;
use crate::providers::testing::{Reply, Server, request};
use serde_json::{Value, json};
use std::sync::Arc;

const MODEL: &str = "gemini-2.5-flash";

/// Asks the server as the provider `google_ai`.
async fn ask(server: &Server, stream: bool) -> Result<Answer, ModelError> {
    let options =
        json!({"google_ai": {"api_key": "secret", "base_url": server.base_url, "models": [MODEL]}});
    let gate = Gate::new(Vec::new());
    let options = serde_json::from_value(options).unwrap();
    let providers = Providers::new(options, gate, |_| None).unwrap();
    let handle = format!("google_ai/{MODEL}");
    let config: LlmConfig = providers.configure(Some(&handle)).await.unwrap();
    let model = providers.model(&config).unwrap();
    let mut request = request(MODEL, "hello");
    request.config = Arc::new(config);
    request.stream = stream;
    model.answer(&request, &mut |_| ()).await
}

fn piece(text: &str, reason: Option<&str>) -> Value {
    json!({"candidates": [{"content": {"parts": [{"text": text}]}, "finishReason": reason}]})
}

fn event(piece: &Value) -> String {
    format!("data: {piece}\r\n\r\n")
}

fn whole(text: &str) -> Reply {
    Reply::json(200, &piece(text, Some("STOP")).to_string())
}

#[tokio::test]
async fn a_stream_and_a_whole_answer_are_stored_alike() {
    let pieces = event(&piece("Hel", None)) + &event(&piece("lo", Some("STOP")));
    let server = Server::answering(move |request| {
        if request.contains(":streamGenerateContent?alt=sse ") {
            Reply::stream(&pieces)
        } else {
            whole("Hello")
        }
    })
    .await;
    let streamed = ask(&server, true).await.unwrap();
    assert_eq!(streamed, ask(&server, false).await.unwrap());
    assert_eq!(streamed.parts, [Part::of_text("Hello")]);
    let seen = server.seen.lock().unwrap();
    assert!(seen[1].starts_with("POST /v1/models/gemini-2.5-flash:generateContent "));
    let head = seen[1].to_lowercase();
    assert!(head.contains("x-goog-api-key: secret") && !head.contains("authorization"));
}

#[tokio::test]
async fn it_is_asked_again_up_to_five_times_and_after_a_malformed_call() {
    let busy = || Reply::with(503, "retry-after: 0\r\n", "text/plain", "busy");
    let mut replies = vec![busy(), busy(), busy(), busy(), busy()];
    replies.push(whole("hi"));
    let server = Server::scripted(replies).await;
    ask(&server, true).await.unwrap();
    assert_eq!(server.requests(), 6);

    let malformed =
        json!({"candidates": [{"content": {}, "finishReason": "MALFORMED_FUNCTION_CALL"}]});
    let server = Server::scripted(vec![Reply::stream(&event(&malformed)), whole("hi")]).await;
    ask(&server, true).await.unwrap();
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn refusals_have_their_class_wherever_they_come() {
    let error = |code: u16, message: &str| json!({"error": {"code": code, "message": message, "status": "S"}});
    let overflow = error(
        400,
        "The input token count (9) exceeds the maximum number of tokens allowed (5).",
    );
    let shown = event(&piece("a", None));
    for (reply, expected) in [
        (
            Reply::json(400, &overflow.to_string()),
            Class::ContextOverflow,
        ),
        (
            Reply::json(400, &json!([overflow]).to_string()),
            Class::ContextOverflow,
        ),
        (Reply::stream(&event(&overflow)), Class::ContextOverflow),
        (
            Reply::stream(&(shown.clone() + &event(&error(503, "The model is overloaded.")))),
            Class::Overloaded,
        ),
        (
            Reply::json(400, &error(400, "API key not valid.").to_string()),
            Class::Authentication,
        ),
        (Reply::stream(&shown), Class::Connection),
        (Reply::stream("data: rubbish\n\n"), Class::Unreadable),
    ] {
        let server = Server::scripted(vec![reply.clone()]).await;
        let class = ask(&server, true).await.unwrap_err().class;
        assert_eq!((class, server.requests()), (expected, 1), "{reply:?}");
    }
}

#[test]
fn a_model_chooses_no_other_path() {
    let mut request = request("models/../files?x=y#", "hello");
    request.stream = false;
    assert_eq!(
        Gemini.path(&request),
        "/models/..%2Ffiles%3Fx%3Dy%23:generateContent"
    );
}

#[tokio::test]
async fn a_model_that_google_took_away_is_asked_for_by_its_successors_name() {
    let server = Server::answering(|request| {
        if request.starts_with("GET ") {
            let model = |name: &str| json!({"name": format!("models/{name}"), "supportedGenerationMethods": ["generateContent"]});
            return Reply::json(200, &json!({"models": [model("gemini-2.5-pro")]}).to_string());
        }
        assert!(request.starts_with("POST /v1/models/gemini-2.5-pro:generateContent "));
        whole("Hello")
    })
    .await;
    let options = json!({"google_ai": {"api_key": "secret", "base_url": server.base_url}});
    let options = serde_json::from_value(options).unwrap();
    let providers = Providers::new(options, Gate::new(Vec::new()), |_| None).unwrap();
    let old = Some("google_ai/gemini-1.5-pro-002");
    let config = providers.configure(old).await.unwrap();
    assert_eq!(config.handle.as_deref(), Some("google_ai/gemini-2.5-pro"));
    // An agent that was made when it was there.
    let stored = LlmConfig {
        model: "gemini-1.5-pro".to_owned(),
        handle: Some("google_ai/gemini-1.5-pro".to_owned()),
        ..config
    };
    let model = providers.model(&stored).unwrap();
    let mut request = request("gemini-1.5-pro", "hello");
    (request.config, request.stream) = (Arc::new(stored), false);
    model.answer(&request, &mut |_| ()).await.unwrap();
}
