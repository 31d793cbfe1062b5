//! A scripted model that speaks the OpenAI protocol. What it does stands in the last user message:
//!
//! | directive | effect |
//! | --- | --- |
//! | `[[tool:NAME {json}]]` | calls the tool, then replies to its return; several are called one after the other |
//! | `[[parallel:NAME {json} \| NAME {json}]]` | calls both at once |
//! | `[[many:NAME,COUNT]]` | calls it so many times at once, without arguments |
//! | `[[beside:TEXT]]` | says it beside the calls of the next directive |
//! | `[[say:TEXT]]` | answers in words; if the turn goes on, the next directive is for the next step |
//! | `[[slow:N,MS]]` | streams N tokens, MS milliseconds apart |
//! | `[[silent:MS]]` | waits before the first byte |
//! | `[[error:STATUS]]` | answers with that status |
//! | `[[usage:N,M]]` | reports N tokens in all for its first answer, M for the second and those after it |
//! | `[[overflow:N]]` | refuses the first N requests as too long for its window |
//! | `[[cut]]` | its words end at its output limit |
//! | `[[rubbish]]` `[[close]]` `[[empty]]` `[[huge:BYTES]]` `[[badjson:NAME]]` `[[dupids]]` | what the name says |
//!
//! It calls what the script says, whatever tools it is offered. At the end of a script it replies: in words, or with
//! `send_message` where it has to call something and is offered that. What the server writes as a user (heartbeats, logins,
//! summaries) is no script; where a compaction has left no other message, the last script goes on. Every request is
//! checked against the protocol's pairing rules; a violation is answered with 400. The newest requests are kept for tests
//! to look at.
//!
//! A request for a summary is told by its transcript and the absence of tools, or by `[[summary]]` in its prompt; what it
//! gets is set with `Model::summariser`.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet, VecDeque};
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

/// What requests for a summary get.
#[derive(Debug, Clone)]
pub(crate) enum Summariser {
    Says(String),
    /// This status.
    Refuses(u16),
    /// This status, to the agent's own model only: requests with tools.
    RefusesInPlace(u16),
    /// Too long for its window, so many times.
    Overflows(usize),
    /// The summary after so many milliseconds.
    Silent(u64),
    Empty,
}

/// The summary that is given unless something else was set.
pub(crate) const SUMMARY: &str = "They spoke of old things.";

/// The tokens that a summary costs.
pub(crate) const SUMMARY_TOKENS: u64 = 123;

impl Default for Summariser {
    fn default() -> Self {
        Self::Says(SUMMARY.to_owned())
    }
}

#[derive(Default)]
pub(crate) struct Log {
    requests: AtomicUsize,
    /// Answers whose client went away before their end.
    aborted: AtomicUsize,
    bodies: Mutex<VecDeque<Bytes>>,
    summariser: Mutex<Summariser>,
    /// Requests that were refused as too long, by what had been said.
    overflows: Mutex<HashMap<String, usize>>,
    /// The newest script and how many answers it was given.
    script: Mutex<Option<(String, usize)>>,
    /// The one key that is taken; `None` takes any, and none.
    key: Mutex<Option<String>>,
    /// Times the list of models was asked for.
    lists: AtomicUsize,
}

impl Model {
    pub(crate) async fn start() -> Self {
        let log: Arc<Log> = Arc::default();
        let router = Router::new()
            .route("/v1/chat/completions", post(complete))
            .route("/v1/models", get(models))
            .route("/picture.png", get(picture))
            .route(
                "/v1/page.html",
                get(|| async {
                    axum::response::Html(
                        "<html><script>alert(1)</script><h1>A page</h1><p>of text</p></html>",
                    )
                }),
            )
            .route(
                "/moved.png",
                get(|| async { axum::response::Redirect::to("/picture.png") }),
            )
            .route(
                "/inside.png",
                get(|| async {
                    axum::response::Redirect::to("http://169.254.169.254/picture.png")
                }),
            )
            .layer(axum::extract::DefaultBodyLimit::disable())
            .with_state(log.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { base_url, log }
    }

    /// From now on every other bearer token is refused.
    pub(crate) fn take_only(&self, key: &str) {
        *self.log.key.lock().unwrap() = Some(key.to_owned());
    }

    pub(crate) fn lists(&self) -> usize {
        self.log.lists.load(Ordering::SeqCst)
    }

    pub(crate) fn requests(&self) -> usize {
        self.log.requests.load(Ordering::SeqCst)
    }

    pub(crate) fn aborted(&self) -> usize {
        self.log.aborted.load(Ordering::SeqCst)
    }

    /// The bodies of the newest requests, oldest first.
    pub(crate) fn bodies(&self) -> Vec<Value> {
        let read = |body: &String| serde_json::from_str(body).unwrap();
        self.texts().iter().map(read).collect()
    }

    /// The same as they came.
    pub(crate) fn texts(&self) -> Vec<String> {
        let bodies = self.log.bodies.lock().unwrap();
        let text = |body: &Bytes| String::from_utf8(body.to_vec()).unwrap();
        bodies.iter().map(text).collect()
    }

    pub(crate) fn last_body(&self) -> Value {
        self.bodies().pop().expect("the model was asked")
    }

    /// The bodies of the newest requests that were no requests for a summary.
    pub(crate) fn turns(&self) -> Vec<Value> {
        let mut bodies = self.bodies();
        bodies.retain(|body| !asks_for_summary(body));
        bodies
    }

    /// The bodies of the newest requests for a summary.
    pub(crate) fn summaries(&self) -> Vec<Value> {
        let mut bodies = self.bodies();
        bodies.retain(asks_for_summary);
        bodies
    }

    /// What requests for a summary get from now on.
    pub(crate) fn summariser(&self, what: Summariser) {
        self.log.overflows.lock().unwrap().remove("");
        *self.log.summariser.lock().unwrap() = what;
    }

    /// The address of a file that the script serves beside its answers.
    pub(crate) fn file(&self, name: &str) -> String {
        format!("{}/{name}", self.base_url.strip_suffix("/v1").unwrap())
    }
}

/// Whether a request is one for a summary (providers-and-context §10): own prompt and no tools, about a transcript of
/// lines `[role] text`; or the agent's own model with the prompt of the settings as the last message.
fn asks_for_summary(body: &Value) -> bool {
    let Some(last) = texts(body, "user").pop() else {
        return false;
    };
    let transcript = || {
        last.lines().any(|line| {
            ["[user] ", "[assistant] ", "[tool] ", "[summary] "]
                .iter()
                .any(|role| line.starts_with(role))
        })
    };
    last.contains("[[summary]]") || (offered(body).is_empty() && transcript())
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

/// A picture of one pixel.
pub(crate) const PIXEL: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";

async fn picture() -> Response {
    use base64::Engine;
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(PIXEL)
        .unwrap();
    ([("content-type", "image/png")], bytes).into_response()
}

async fn models(State(log): State<Arc<Log>>, headers: HeaderMap) -> Response {
    log.lists.fetch_add(1, Ordering::SeqCst);
    if let Some(refusal) = refused_key(&log, &headers) {
        return refusal;
    }
    axum::Json(json!({"object": "list", "data": [{"id": "scripted", "object": "model"}]}))
        .into_response()
}

fn refused_key(log: &Log, headers: &HeaderMap) -> Option<Response> {
    let taken = log.key.lock().unwrap().clone()?;
    let given = headers
        .get("authorization")
        .map(|value| value.to_str().unwrap());
    let refused = given != Some(&format!("Bearer {taken}"));
    refused.then(|| refuse(StatusCode::UNAUTHORIZED, &format!("wrong key: {given:?}")))
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

async fn complete(State(log): State<Arc<Log>>, headers: HeaderMap, body: Bytes) -> Response {
    log.requests.fetch_add(1, Ordering::SeqCst);
    if let Some(refusal) = refused_key(&log, &headers) {
        return refusal;
    }
    let request: Value = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let messages = request["messages"].as_array().cloned().unwrap_or_default();
    {
        let mut bodies = log.bodies.lock().unwrap();
        bodies.push_back(body);
        let surplus = bodies.len().saturating_sub(KEPT);
        drop(bodies.drain(..surplus));
    }
    if let Err(violation) = check_pairs(&messages) {
        return refuse(StatusCode::BAD_REQUEST, &violation);
    }
    let streaming = request["stream"].as_bool().unwrap_or(false);
    if asks_for_summary(&request) {
        return summarise(&request, streaming, log).await;
    }
    let (said, made) = {
        let mut newest = log.script.lock().unwrap();
        let (said, made) = script(&messages).or(newest.clone()).unwrap_or_default();
        *newest = Some((said.clone(), made + 1));
        (said, made)
    };
    if let Some(most) = argument(&said, "overflow") {
        let mut overflows = log.overflows.lock().unwrap();
        let so_far = overflows.entry(said.clone()).or_default();
        if (*so_far as u64) < most {
            *so_far += 1;
            *log.script.lock().unwrap() = Some((said.clone(), made));
            return too_long();
        }
    }
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
    let mut answer = answer(&said, made);
    answer.speak_by_tool(&request);
    answer.finish = match answer.calls.as_slice() {
        [] if said.contains("[[cut]]") => "length",
        [] => "stop",
        _ => "tool_calls",
    };
    answer.tokens = tokens(&said, made);
    answer.logprobs = request["logprobs"] == true;
    if streaming {
        stream(answer, &said, answering)
    } else {
        whole(&answer, &said, answering).await
    }
}

/// Answers a request for a summary.
async fn summarise(request: &Value, streaming: bool, log: Arc<Log>) -> Response {
    let what = log.summariser.lock().unwrap().clone();
    let offers = !offered(request).is_empty();
    let text = match what {
        Summariser::Refuses(status) => {
            return refuse(StatusCode::from_u16(status).unwrap(), "no summary");
        }
        Summariser::RefusesInPlace(status) if offers => {
            return refuse(StatusCode::from_u16(status).unwrap(), "no summary here");
        }
        Summariser::Overflows(most) => {
            let mut overflows = log.overflows.lock().unwrap();
            let so_far = overflows.entry(String::new()).or_default();
            *so_far += 1;
            if *so_far <= most {
                return too_long();
            }
            Some(SUMMARY.to_owned())
        }
        Summariser::Silent(millis) => {
            let mut waiting = Answering(log.clone(), false);
            tokio::time::sleep(Duration::from_millis(millis)).await;
            waiting.1 = true;
            Some(SUMMARY.to_owned())
        }
        Summariser::Empty => None,
        Summariser::Says(text) => Some(text),
        Summariser::RefusesInPlace(_) => Some(SUMMARY.to_owned()),
    };
    let answer = Answer {
        text,
        tokens: SUMMARY_TOKENS,
        ..Answer::default()
    };
    let answering = Answering(log, false);
    if streaming {
        stream(answer, "", answering)
    } else {
        whole(&answer, "", answering).await
    }
}

fn too_long() -> Response {
    let error = json!({"error": {
        "message": "This model's maximum context length is exceeded",
        "type": "invalid_request_error",
        "code": "context_length_exceeded",
    }});
    (StatusCode::BAD_REQUEST, axum::Json(error)).into_response()
}

fn refuse(status: StatusCode, message: &str) -> Response {
    (
        status,
        axum::Json(json!({"error": {"message": message, "type": "scripted", "code": null}})),
    )
        .into_response()
}

#[derive(Clone)]
struct Answer {
    text: Option<String>,
    calls: Vec<(String, String, String)>,
    finish: &'static str,
    tokens: u64,
    /// Each word comes with its probability.
    logprobs: bool,
    /// The script said these words: they stay words.
    scripted: bool,
}

impl Default for Answer {
    fn default() -> Self {
        Self {
            text: None,
            calls: Vec::new(),
            finish: "stop",
            tokens: 18,
            logprobs: false,
            scripted: false,
        }
    }
}

impl Answer {
    /// Replies with `send_message` where something has to be called and that is offered.
    fn speak_by_tool(&mut self, request: &Value) {
        let forced = !["auto", "none", "nothing"].contains(&choice(request).as_str());
        let tools = request["tools"].as_array().into_iter().flatten();
        let mut speaks = tools.filter(|tool| tool["function"]["name"] == "send_message");
        let (true, false, [], Some(tool)) =
            (forced, self.scripted, self.calls.as_slice(), speaks.next())
        else {
            return;
        };
        let Some(text) = self.text.take() else { return };
        let mut arguments = json!({});
        // One that is asked to think in arguments does, and asks for nothing.
        let properties = &tool["function"]["parameters"]["properties"];
        if properties["thinking"].is_object() {
            arguments["thinking"] = json!("I shall reply.");
        }
        arguments["message"] = Value::from(text);
        if properties["request_heartbeat"].is_object() {
            arguments["request_heartbeat"] = json!(false);
        }
        let id = format!("call_{}", rand_hex());
        self.calls = vec![(id, "send_message".to_owned(), arguments.to_string())];
    }
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
            scripted: true,
            text: step.text.clone(),
            calls: step
                .calls
                .iter()
                .enumerate()
                .map(|(index, (name, arguments))| (id(index), name.clone(), arguments.clone()))
                .collect(),
            ..Answer::default()
        },
        None if said.contains("[[empty]]") => Answer::default(),
        None => {
            let size =
                argument(said, "huge").map(|bytes| "x".repeat(usize::try_from(bytes).unwrap()));
            let plain = said.rsplit("]]").next().unwrap_or(said).trim().to_owned();
            Answer {
                text: Some(size.unwrap_or_else(|| format!("echo: {plain}"))),
                ..Answer::default()
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
        } else if let Some(many) = directive.strip_prefix("many:") {
            let (name, count) = many.split_once(',').unwrap();
            vec![(name.to_owned(), "{}".to_owned()); count.parse().unwrap()]
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

/// The newest message that a user wrote, and how many answers were given since.
fn script(messages: &[Value]) -> Option<(String, usize)> {
    let is_script = |message: &Value| {
        let text = text_of(message);
        let envelope: Value = serde_json::from_str(&text).unwrap_or_default();
        let written = ["heartbeat", "login", "system_alert"].map(Value::from);
        message["role"] == "user" && !written.contains(&envelope["type"])
    };
    let place = messages.iter().rposition(is_script)?;
    let answers = messages[place..]
        .iter()
        .filter(|message| message["role"] == "assistant");
    Some((text_of(&messages[place]), answers.count()))
}

/// What an answer costs.
fn tokens(said: &str, made: usize) -> u64 {
    let Some(rest) = said.split("[[usage:").nth(1) else {
        return Answer::default().tokens;
    };
    let numbers: Vec<u64> = rest
        .split("]]")
        .next()
        .unwrap_or_default()
        .split(',')
        .map(|number| number.trim().parse().unwrap())
        .collect();
    numbers[made.min(numbers.len() - 1)]
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

fn usage(total: u64) -> Value {
    json!({"prompt_tokens": total - 7, "completion_tokens": 7, "total_tokens": total, "prompt_tokens_details": {"cached_tokens": 3}})
}

/// The probabilities of words, as the protocol writes them.
fn probabilities<'a>(words: impl Iterator<Item = &'a str>) -> Value {
    let words = words.map(|word| {
        json!({"token": word, "logprob": -0.5, "bytes": word.as_bytes(), "top_logprobs": [{"token": word, "logprob": -0.5, "bytes": word.as_bytes()}]})
    });
    json!({"content": words.collect::<Vec<_>>(), "refusal": null})
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
    let logprobs = answer.logprobs.then(|| {
        let words = answer.text.iter();
        probabilities(words.flat_map(|text| text.split_inclusive(' ')))
    });
    let message = json!({"role": "assistant", "content": answer.text, "tool_calls": if calls.is_empty() { Value::Null } else { Value::from(calls) }});
    axum::Json(json!({"id": "c", "object": "chat.completion", "model": "scripted", "choices": [{"index": 0, "message": message, "logprobs": logprobs, "finish_reason": answer.finish}], "usage": usage(answer.tokens)})).into_response()
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
    let (finish, total, probable) = (answer.finish, answer.tokens, answer.logprobs);
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Bytes, std::io::Error>>(4);
    tokio::spawn(async move {
        // The whole value moves in, not only the flag that is set below.
        let mut answering = answering;
        let event = |value: &Value| Ok(Bytes::from(format!("data: {value}\n\n")));
        for chunk in chunks {
            if let Some(pause) = pause {
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            let logprobs = chunk["content"]
                .as_str()
                .filter(|_| probable)
                .map(|word| probabilities(std::iter::once(word)));
            let value = json!({"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": chunk, "logprobs": logprobs, "finish_reason": null}]});
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
        let counted = json!({"id": "c", "object": "chat.completion.chunk", "choices": [], "usage": usage(total)});
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
