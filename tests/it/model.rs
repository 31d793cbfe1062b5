//! A scripted model that speaks the OpenAI protocol. What it does stands in the last user message:
//!
//! | directive | effect |
//! | --- | --- |
//! | `[[tool:NAME {json}]]` | calls the tool, then replies to its return; several are called one after the other |
//! | `[[parallel:NAME {json} \| NAME {json}]]` | calls both at once |
//! | `[[beside:TEXT]]` | says it beside the calls of the next directive |
//! | `[[say:TEXT]]` | answers in words; if the turn goes on, the next directive is for the next step |
//! | `[[slow:N,MS]]` | streams N tokens, MS milliseconds apart |
//! | `[[silent:MS]]` | waits before the first byte |
//! | `[[error:STATUS]]` | answers with that status |
//! | `[[rubbish]]` `[[close]]` `[[empty]]` `[[huge:BYTES]]` `[[badjson:NAME]]` `[[dupids]]` | what the name says |
//!
//! It calls what the script says, whatever tools it is offered. A turn's reminders (`{"type":"heartbeat", …}`) are no
//! scripts. Every request is checked against the protocol's pairing rules; a violation is answered with 400. The newest
//! requests are kept for tests to look at.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// So many requests are kept.
const KEPT: usize = 64;

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
    bodies: Mutex<VecDeque<Value>>,
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

    /// The bodies of the newest requests, oldest first.
    pub(crate) fn bodies(&self) -> Vec<Value> {
        self.log.bodies.lock().unwrap().iter().cloned().collect()
    }

    pub(crate) fn last_body(&self) -> Value {
        self.bodies().pop().expect("the model was asked")
    }
}

/// The names of the tools that a request offers, in alphabetical order.
pub(crate) fn offered(body: &Value) -> Vec<&str> {
    let tools = body["tools"].as_array().into_iter().flatten();
    let mut names: Vec<&str> = tools
        .map(|tool| tool["function"]["name"].as_str().unwrap())
        .collect();
    names.sort_unstable();
    names
}

/// What a request says of its tools: `auto`, `required`, `none`, `must call NAME`, or nothing.
pub(crate) fn choice(body: &Value) -> String {
    match &body["tool_choice"] {
        Value::String(choice) => choice.clone(),
        Value::Null => "nothing".to_owned(),
        named => {
            assert_eq!(named["type"], "function", "{named}");
            format!("must call {}", named["function"]["name"].as_str().unwrap())
        }
    }
}

/// The texts of a request's messages of one role.
pub(crate) fn texts(body: &Value, role: &str) -> Vec<String> {
    let messages = body["messages"].as_array().unwrap().iter();
    messages
        .filter(|message| message["role"] == role)
        .map(text_of)
        .collect()
}

fn text_of(message: &Value) -> String {
    match &message["content"] {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts
            .iter()
            .filter_map(|part| part["text"].as_str())
            .collect(),
        _ => String::new(),
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
    {
        let mut bodies = log.bodies.lock().unwrap();
        bodies.push_back(request.clone());
        let surplus = bodies.len().saturating_sub(KEPT);
        drop(bodies.drain(..surplus));
    }
    if let Err(violation) = check_pairs(&messages) {
        return refuse(StatusCode::BAD_REQUEST, &violation);
    }
    let (said, made) = script(&messages);
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
    let answer = answer(&said, made);
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

/// What the script says next, else a reply.
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
        Some(step) => Answer {
            text: step.text.clone(),
            calls: step
                .calls
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

#[derive(Default)]
struct Step {
    text: Option<String>,
    calls: Vec<(String, String)>,
}

fn scripted_steps(said: &str) -> Vec<Step> {
    let call = |text: &str| {
        let (name, arguments) = text.trim().split_once(' ').unwrap_or((text.trim(), "{}"));
        (name.to_owned(), arguments.to_owned())
    };
    let mut steps = Vec::new();
    let mut beside = None;
    for directive in said
        .split("[[")
        .skip(1)
        .filter_map(|rest| rest.split("]]").next())
    {
        let calls = if let Some(one) = directive.strip_prefix("tool:") {
            vec![call(one)]
        } else if let Some(several) = directive.strip_prefix("parallel:") {
            several.split(" | ").map(call).collect()
        } else if let Some(name) = directive.strip_prefix("badjson:") {
            vec![(name.to_owned(), "{\"broken".to_owned())]
        } else if let Some(text) = directive.strip_prefix("say:") {
            beside = Some(text.to_owned());
            Vec::new()
        } else {
            if let Some(text) = directive.strip_prefix("beside:") {
                beside = Some(text.to_owned());
            }
            continue;
        };
        steps.push(Step {
            text: beside.take(),
            calls,
        });
    }
    steps
}

/// The newest user message that is no reminder, and how many answers were given since.
fn script(messages: &[Value]) -> (String, usize) {
    let is_script = |message: &Value| {
        let text = text_of(message);
        let reminder: Value = serde_json::from_str(&text).unwrap_or_default();
        message["role"] == "user" && reminder["type"] != "heartbeat"
    };
    let place = messages.iter().rposition(is_script);
    let said = place.map_or_else(String::new, |place| text_of(&messages[place]));
    let since = place.map_or(messages, |place| &messages[place..]).iter();
    (
        said,
        since
            .filter(|message| message["role"] == "assistant")
            .count(),
    )
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
    let words = answer
        .text
        .iter()
        .flat_map(|text| text.split_inclusive(' '));
    let words = words.map(|word| json!({"content": word}));
    let mut chunks: Vec<Value> = Vec::new();
    if !answer.calls.is_empty() {
        chunks.extend(words.clone());
    }
    for (index, (id, name, arguments)) in answer.calls.iter().enumerate() {
        chunks.push(json!({"tool_calls": [{"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": ""}}]}));
        for piece in arguments.as_bytes().chunks(9) {
            chunks.push(json!({"tool_calls": [{"index": index, "function": {"arguments": String::from_utf8_lossy(piece)}}]}));
        }
    }
    chunks.extend((0..count).map(|token| json!({"content": format!("tok{token} ")})));
    if answer.calls.is_empty() {
        chunks.extend(words);
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
