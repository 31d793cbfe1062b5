//! What the tests of this folder share: requests, and a server that answers what it is told to. And what lets other tests
//! ask a model without a network: what its vendor would be sent, and how its answer is read.

pub(crate) mod histories;
#[allow(dead_code, reason = "the server that plays the vendors uses the rest")]
#[path = "../../tests/vendors/mod.rs"]
pub(crate) mod vendors;

use super::Providers;
use super::accumulator::Accumulator;
use super::catalog;
use super::config::{ApiKey, Timeouts};
use super::endpoint::{Endpoint, Login, Origin};
use super::sse::EventReader;
use super::vendors::PLAIN;
use crate::domain::clock;
use crate::domain::id::AgentId;
use crate::domain::message::{Message, Part, Role};
use crate::domain::model::{Answer, LlmConfig, ModelRequest, ToolChoice};
use axum::http::{HeaderMap, HeaderName};
use std::sync::{Arc, Mutex, OnceLock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub(crate) fn config(model: &str) -> LlmConfig {
    super::provider::config_for(
        "openai",
        "openai",
        Some("http://test"),
        model,
        catalog::window(model),
    )
}

pub(crate) const KEY: &str = "secret-key";

/// A provider called `openai`, wherever it is.
pub(crate) fn endpoint(base_url: &str) -> Endpoint {
    let name = || "openai".to_owned();
    Endpoint {
        name: name(),
        provider_type: name(),
        endpoint_type: name(),
        base_url: base_url.to_owned(),
        key: Some(ApiKey::new(KEY)),
        login: Login::Key,
        project: None,
        api_version: None,
        dialect: PLAIN,
        timeouts: Timeouts::default(),
        origin: Origin::Operator,
        client: OnceLock::new(),
    }
}

pub(crate) fn user(text: &str) -> Arc<Message> {
    let mut message = Message::new(AgentId::new(), Role::User, clock::now());
    message.content = vec![Part::of_text(text)];
    Arc::new(message)
}

pub(crate) fn request(model: &str, text: &str) -> ModelRequest {
    ModelRequest {
        config: Arc::new(config(model)),
        system: "You are a test.".into(),
        messages: vec![user(text)],
        tools: Arc::new([]),
        choice: ToolChoice::Free,
        parallel_calls: true,
        stream: true,
        user: "user-1".to_owned(),
    }
}

// ── a model without a network

/// The configuration of a model as its provider makes it.
pub(crate) fn configured(providers: &Providers, handle: &str) -> LlmConfig {
    let (_, model) = handle.split_once('/').unwrap();
    let named = LlmConfig {
        handle: Some(handle.to_owned()),
        ..config(model)
    };
    let endpoint = providers.remote(&named).unwrap().endpoint;
    super::provider::config_for(
        &endpoint.name,
        &endpoint.endpoint_type,
        Some(&endpoint.base_url),
        model,
        catalog::window(model),
    )
}

/// What the vendor of its model gets for a request.
pub(crate) fn sent(providers: &Providers, request: &ModelRequest) -> vendors::Request {
    let remote = providers.remote(&request.config).unwrap();
    let (request, endpoint) = (remote.as_served(request), &*remote.endpoint);
    let key = endpoint.key().unwrap_or_default();
    let key = match endpoint.dialect.key_header {
        Some(header) => (header, key.to_owned()),
        None => ("authorization", format!("Bearer {key}")),
    };
    let mut headers = HeaderMap::new();
    let own = endpoint.dialect.headers.iter();
    let own = own.map(|(name, value)| (*name, (*value).to_owned()));
    let json = ("content-type", "application/json".to_owned());
    let all = own.chain(remote.protocol.headers(&request));
    for (name, value) in all.chain([key, json]) {
        headers.insert(HeaderName::from_static(name), value.parse().unwrap());
    }
    let path = remote.protocol.path(&request);
    let url = url::Url::parse(&format!("{}{path}", endpoint.base_url)).unwrap();
    let body = remote.protocol.body(&request, endpoint);
    vendors::Request {
        path: url.path().to_owned(),
        query: url.query().unwrap_or_default().to_owned(),
        headers,
        body: serde_json::from_slice(&body).unwrap(),
    }
}

/// What a model answered, read as its protocol reads what its vendor sends: whole, or event by event if the request says so.
pub(crate) fn heard(
    providers: &Providers,
    request: &ModelRequest,
    vendor: &dyn vendors::Dialect,
    answer: &vendors::Answer,
) -> Result<Answer, String> {
    let remote = providers.remote(&request.config).unwrap();
    let mut ignored = |_| ();
    let accumulator = Accumulator::new(&mut ignored);
    let served = remote.as_served(request);
    let mut reader = remote.protocol.reader(&served, accumulator);
    let mut take = |data: &[u8]| reader.take(data).map_err(|fault| format!("{fault:?}"));
    if request.stream {
        let mut events = EventReader::default();
        events.push(vendor.events(answer).concat().as_bytes());
        while let Some(data) = events.next().map_err(|error| error.to_string())? {
            if data != b"[DONE]" {
                take(&data)?;
            }
        }
    } else {
        take(vendor.whole(answer).to_string().as_bytes())?;
    }
    reader.into_answer().map_err(|misfit| misfit.to_string())
}

// ── a server

/// What the server does with one request.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// These bytes, then the end of the connection.
    Raw(String),
    /// The same, where they are no text.
    Bytes(Vec<u8>),
    /// These bytes, then nothing for ever.
    Stall(String),
}

impl Reply {
    pub(crate) fn json(status: u16, body: &str) -> Self {
        Self::with(status, "", "application/json", body)
    }

    pub(crate) fn with(status: u16, headers: &str, kind: &str, body: &str) -> Self {
        let length = body.len();
        Self::Raw(format!(
            "HTTP/1.1 {status} X\r\nconnection: close\r\n{headers}content-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}"
        ))
    }

    /// A stream that ends with the connection, complete or not.
    pub(crate) fn stream(body: &str) -> Self {
        Self::Raw(Self::stream_head() + body)
    }

    /// A body that is no text.
    pub(crate) fn bytes(kind: &str, body: &[u8]) -> Self {
        let length = body.len();
        let head = format!(
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n"
        );
        Self::Bytes([head.as_bytes(), body].concat())
    }

    pub(crate) fn stream_head() -> String {
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/event-stream\r\n\r\n".to_owned()
    }
}

/// Answers request after request by asking `script` with the request's head and body.
pub(crate) struct Server {
    pub(crate) base_url: String,
    pub(crate) seen: Arc<Mutex<Vec<String>>>,
    /// Told of each connection that a client closed while the server was silent.
    pub(crate) hung_up: tokio::sync::mpsc::UnboundedReceiver<()>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Gives `replies` in order, the last one again and again.
    pub(crate) async fn scripted(replies: Vec<Reply>) -> Self {
        let mut turn = 0;
        Self::answering(move |_| {
            let reply = replies[turn.min(replies.len() - 1)].clone();
            turn += 1;
            reply
        })
        .await
    }

    pub(crate) async fn answering(mut script: impl FnMut(&str) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (tell, hung_up) = tokio::sync::mpsc::unbounded_channel();
        let log = seen.clone();
        let task = tokio::spawn(async move {
            loop {
                let (mut connection, _) = listener.accept().await.unwrap();
                let request = read_request(&mut connection).await;
                let reply = script(&request);
                log.lock().unwrap().push(request);
                let tell = tell.clone();
                tokio::spawn(async move {
                    let bytes = match &reply {
                        Reply::Raw(text) | Reply::Stall(text) => text.as_bytes(),
                        Reply::Bytes(bytes) => bytes,
                    };
                    if connection.write_all(bytes).await.is_err() {
                        return;
                    }
                    if matches!(reply, Reply::Stall(_))
                        && connection.read(&mut [0]).await.is_ok_and(|read| read == 0)
                    {
                        let _ = tell.send(());
                    }
                });
            }
        });
        Self {
            base_url,
            seen,
            hung_up,
            task,
        }
    }

    pub(crate) fn requests(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

/// One request, head and body, by its content length.
pub(crate) async fn read_request(connection: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("content-length: ")?
                    .parse()
                    .ok()
            });
            if body.len() >= length.unwrap_or(0) {
                return text.into_owned();
            }
        }
        if connection.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return String::from_utf8_lossy(&bytes).into_owned();
        }
    }
}
