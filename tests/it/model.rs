//! A scripted model that speaks the OpenAI protocol. What it does stands in the last user message:
//!
//! | directive | effect |
//! | --- | --- |
//! | `[[tool:NAME {json}]]` | calls the tool, then replies to its return; several are called one after the other |
//! | `[[parallel:NAME {json} \| NAME {json}]]` | calls both at once |
//! | `[[slow:N,MS]]` | streams N tokens, MS milliseconds apart |
//! | `[[silent:MS]]` | waits before the first byte |
//! | `[[error:STATUS]]` | answers with that status |
//! | `[[rubbish]]` `[[close]]` `[[empty]]` `[[huge:BYTES]]` `[[badjson:NAME]]` `[[dupids]]` | what the name says |
//!
//! Every request is checked against the protocol's pairing rules; a violation is answered with 400.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A running script.
pub(crate) struct Model {
    pub(crate) base_url: String,
    log: Arc<Log>,
}

#[derive(Default)]
pub(crate) struct Log {
    requests: AtomicUsize,
    /// Answers whose client went away before their end.
    aborted: AtomicUsize,
}

impl Model {
    pub(crate) async fn start() -> Self {
        let log: Arc<Log> = Arc::default();
        let router = Router::new()
            .route("/v1/chat/completions", post(complete))
            .route("/v1/models", get(models))
            .layer(axum::extract::DefaultBodyLimit::disable())
            .with_state(log.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { base_url, log }
    }

    pub(crate) fn requests(&self) -> usize {
        self.log.requests.load(Ordering::SeqCst)
    }

    pub(crate) fn aborted(&self) -> usize {
        self.log.aborted.load(Ordering::SeqCst)
    }
}

async fn models() -> axum::Json<Value> {
    axum::Json(json!({"object": "list", "data": [{"id": "scripted", "object": "model"}]}))
}

/// Counts an answer as aborted unless it was finished.
struct Answering(Arc<Log>, bool);

impl Drop for Answering {
    fn drop(&mut self) {
        if !self.1 {
            self.0.aborted.fetch_add(1, Ordering::SeqCst);
        }
    }
}

async fn complete(State(log): State<Arc<Log>>, body: Bytes) -> Response {
    log.requests.fetch_add(1, Ordering::SeqCst);
    let request: Value = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let messages = request["messages"].as_array().cloned().unwrap_or_default();
    if let Err(violation) = check_pairs(&messages) {
        return refuse(StatusCode::BAD_REQUEST, &violation);
    }
    let said = last_user(&messages);
    let streaming = request["stream"].as_bool().unwrap_or(false);
    let mut answering = Answering(log, false);
    if let Some(millis) = argument(&said, "silent") {
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }
    if let Some(status) = argument(&said, "error") {
        answering.1 = true;
        return refuse(
            StatusCode::from_u16(u16::try_from(status).unwrap()).unwrap(),
            "scripted error",
        );
    }
    if said.contains("[[rubbish]]") {
        answering.1 = true;
        return "<html>not a model</html>".into_response();
    }
    let answer = answer(&said, calls_made(&messages));
    if streaming {
        stream(answer, &said, answering)
    } else {
        whole(&answer, &said, answering).await
    }
}

fn refuse(status: StatusCode, message: &str) -> Response {
    (
        status,
        axum::Json(json!({"error": {"message": message, "type": "scripted", "code": null}})),
    )
        .into_response()
}

struct Answer {
    text: Option<String>,
    calls: Vec<(String, String, String)>,
}

/// Calls that stand in the script and were not made yet, else a reply.
fn answer(said: &str, made: usize) -> Answer {
    let id = |index: usize| {
        if said.contains("[[dupids]]") {
            "call_same".to_owned()
        } else {
            format!("call_{}_{index}", rand_hex())
        }
    };
    let steps = scripted_steps(said);
    match steps.get(made) {
        Some(calls) => Answer {
            text: None,
            calls: calls
                .iter()
                .enumerate()
                .map(|(index, (name, arguments))| (id(index), name.clone(), arguments.clone()))
                .collect(),
        },
        None if said.contains("[[empty]]") => Answer {
            text: None,
            calls: Vec::new(),
        },
        None => {
            let size =
                argument(said, "huge").map(|bytes| "x".repeat(usize::try_from(bytes).unwrap()));
            let plain = said.rsplit("]]").next().unwrap_or(said).trim().to_owned();
            Answer {
                text: Some(size.unwrap_or_else(|| format!("echo: {plain}"))),
                calls: Vec::new(),
            }
        }
    }
}

fn rand_hex() -> String {
    uuid::Uuid::new_v4().simple().to_string()[..8].to_owned()
}

fn scripted_steps(said: &str) -> Vec<Vec<(String, String)>> {
    let call = |text: &str| {
        let (name, arguments) = text.trim().split_once(' ').unwrap_or((text.trim(), "{}"));
        (name.to_owned(), arguments.to_owned())
    };
    let mut steps = Vec::new();
    for directive in said
        .split("[[")
        .skip(1)
        .filter_map(|rest| rest.split("]]").next())
    {
        if let Some(one) = directive.strip_prefix("tool:") {
            steps.push(vec![call(one)]);
        } else if let Some(several) = directive.strip_prefix("parallel:") {
            steps.push(several.split(" | ").map(call).collect());
        } else if let Some(name) = directive.strip_prefix("badjson:") {
            steps.push(vec![(name.to_owned(), "{\"broken".to_owned())]);
        }
    }
    steps
}

/// Answers with calls since the last user message.
fn calls_made(messages: &[Value]) -> usize {
    messages
        .iter()
        .rev()
        .take_while(|message| message["role"] != "user")
        .filter(|message| message["tool_calls"].is_array())
        .count()
}

fn last_user(messages: &[Value]) -> String {
    let last = messages
        .iter()
        .rev()
        .find(|message| message["role"] == "user");
    last.and_then(|message| message["content"].as_str())
        .unwrap_or_default()
        .to_owned()
}

fn argument(said: &str, directive: &str) -> Option<u64> {
    let rest = said.split(&format!("[[{directive}:")).nth(1)?;
    rest.split([']', ',']).next()?.parse().ok()
}

/// Every call is followed by exactly one return, before anything else.
fn check_pairs(messages: &[Value]) -> Result<(), String> {
    let mut open: HashSet<String> = HashSet::new();
    for message in messages {
        let role = message["role"].as_str().unwrap_or_default();
        if role == "tool" {
            let id = message["tool_call_id"].as_str().unwrap_or_default();
            if !open.remove(id) {
                return Err(format!("return of {id} without its call"));
            }
            continue;
        }
        if !open.is_empty() {
            return Err(format!("calls without a return: {open:?}"));
        }
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            if !open.insert(call["id"].as_str().unwrap_or_default().to_owned()) {
                return Err("a call id twice".to_owned());
            }
        }
    }
    if open.is_empty() {
        Ok(())
    } else {
        Err(format!("calls without a return at the end: {open:?}"))
    }
}

fn usage() -> Value {
    json!({"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18, "prompt_tokens_details": {"cached_tokens": 3}})
}

async fn whole(answer: &Answer, said: &str, mut answering: Answering) -> Response {
    if let Some(tokens) = argument(said, "slow") {
        let pause = said
            .split("[[slow:")
            .nth(1)
            .and_then(|rest| rest.split([',', ']']).nth(1)?.parse::<u64>().ok())
            .unwrap_or(10);
        tokio::time::sleep(Duration::from_millis(tokens * pause)).await;
    }
    answering.1 = true;
    let calls: Vec<Value> = answer.calls.iter().map(|(id, name, arguments)| json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})).collect();
    let finish = if calls.is_empty() {
        "stop"
    } else {
        "tool_calls"
    };
    let message = json!({"role": "assistant", "content": answer.text, "tool_calls": if calls.is_empty() { Value::Null } else { Value::from(calls) }});
    axum::Json(json!({"id": "c", "object": "chat.completion", "model": "scripted", "choices": [{"index": 0, "message": message, "finish_reason": finish}], "usage": usage()})).into_response()
}

fn stream(answer: Answer, said: &str, answering: Answering) -> Response {
    let pause = said
        .split("[[slow:")
        .nth(1)
        .and_then(|rest| rest.split([',', ']']).nth(1)?.parse::<u64>().ok());
    let count = argument(said, "slow").unwrap_or(0);
    let close = said.contains("[[close]]");
    let mut chunks: Vec<Value> = Vec::new();
    for (index, (id, name, arguments)) in answer.calls.iter().enumerate() {
        chunks.push(json!({"tool_calls": [{"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": ""}}]}));
        for piece in arguments.as_bytes().chunks(9) {
            chunks.push(json!({"tool_calls": [{"index": index, "function": {"arguments": String::from_utf8_lossy(piece)}}]}));
        }
    }
    chunks.extend((0..count).map(|token| json!({"content": format!("tok{token} ")})));
    if let Some(text) = &answer.text {
        chunks.extend(
            text.split_inclusive(' ')
                .map(|word| json!({"content": word})),
        );
    }
    let finish = if answer.calls.is_empty() {
        "stop"
    } else {
        "tool_calls"
    };
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Bytes, std::io::Error>>(4);
    tokio::spawn(async move {
        // The whole value moves in, not only the flag that is set below.
        let mut answering = answering;
        let event = |value: &Value| Ok(Bytes::from(format!("data: {value}\n\n")));
        for chunk in chunks {
            if let Some(pause) = pause {
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            let value = json!({"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": chunk, "finish_reason": null}]});
            if sender.send(event(&value)).await.is_err() {
                return;
            }
            if close {
                break;
            }
        }
        if close {
            answering.1 = true;
            return;
        }
        let last = json!({"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]});
        let counted =
            json!({"id": "c", "object": "chat.completion.chunk", "choices": [], "usage": usage()});
        for value in [last, counted] {
            if sender.send(event(&value)).await.is_err() {
                return;
            }
        }
        answering.1 = sender
            .send(Ok(Bytes::from("data: [DONE]\n\n")))
            .await
            .is_ok();
    });
    let body = futures_util::stream::unfold(receiver, |mut receiver| async move {
        Some((receiver.recv().await?, receiver))
    });
    Response::builder()
        .header("content-type", "text/event-stream")
        .body(Body::from_stream(body))
        .unwrap()
}
