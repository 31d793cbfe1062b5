//! A client that costs little: one connection, one request at a time.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

pub(crate) struct Client {
    sender: SendRequest<Full<Bytes>>,
    host: String,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> std::io::Result<Self> {
        let connection = TcpStream::connect(address).await?;
        connection.set_nodelay(true)?;
        let (sender, driver) = handshake(TokioIo::new(connection)).await.unwrap();
        // Its end is seen by the sender, at the next request.
        tokio::spawn(async move { drop(driver.await) });
        Ok(Self {
            sender,
            host: address.to_string(),
        })
    }

    /// Sends a request; the answer's body is still to come.
    pub(crate) async fn open(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> hyper::Result<Response<Incoming>> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &self.host)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .unwrap();
        self.sender.ready().await?;
        self.sender.send_request(request).await
    }

    async fn whole(&mut self, method: Method, path: &str, body: Bytes) -> Bytes {
        let response = self.open(method, path, body).await.unwrap();
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        assert!(
            status.is_success(),
            "{path}: {status} {}",
            String::from_utf8_lossy(&bytes)
        );
        bytes
    }

    pub(crate) async fn get(&mut self, path: &str) -> Bytes {
        self.whole(Method::GET, path, Bytes::new()).await
    }

    pub(crate) async fn post(&mut self, path: &str, body: Bytes) -> Bytes {
        self.whole(Method::POST, path, body).await
    }

    pub(crate) async fn patch(&mut self, path: &str, body: &Value) -> Bytes {
        self.whole(Method::PATCH, path, Bytes::from(body.to_string()))
            .await
    }

    /// A new agent's id.
    pub(crate) async fn agent(&mut self) -> String {
        let body = json!({
            "model": "openai/scripted",
            "memory_blocks": [{"label": "human", "value": "Name: Ada"}, {"label": "persona", "value": "I help."}],
        });
        let agent = self
            .post("/v1/agents/", Bytes::from(body.to_string()))
            .await;
        let agent: Value = serde_json::from_slice(&agent).unwrap();
        agent["id"].as_str().unwrap().to_owned()
    }

    /// Sends one message and waits for the answer.
    pub(crate) async fn send(&mut self, agent: &str, body: Bytes) -> Duration {
        let since = Instant::now();
        self.post(&format!("/v1/agents/{agent}/messages"), body)
            .await;
        since.elapsed()
    }
}

/// The body of a message with this text.
pub(crate) fn message(text: &str) -> Bytes {
    Bytes::from(json!({"messages": [{"role": "user", "content": text}]}).to_string())
}

/// The same, to be streamed token by token.
pub(crate) fn streamed(text: &str) -> Bytes {
    let messages = [json!({"role": "user", "content": text})];
    Bytes::from(json!({"messages": messages, "streaming": true, "stream_tokens": true}).to_string())
}
