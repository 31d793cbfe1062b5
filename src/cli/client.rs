//! One daemon, seen over HTTP.

use super::CliError;
use eventsource_stream::Eventsource;
use futures_util::{Stream, StreamExt};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use std::time::Duration;
use url::{Host, Url};

const CONNECT: Duration = Duration::from_secs(5);
/// For requests that are answered whole.
const ANSWER: Duration = Duration::from_secs(30);
/// A stream is never silent for longer than its pings are apart (20 s).
const SILENCE: Duration = Duration::from_secs(90);

pub(super) struct Client {
    http: reqwest::Client,
    url: String,
    password: Option<String>,
}

impl Client {
    pub(super) fn new(url: &Url, password: Option<String>) -> Result<Self, CliError> {
        // Whoever installed a provider before us is as good; that is the only way this can fail.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE);
        if is_this_machine(url) {
            builder = builder.no_proxy();
        }
        let url = url.as_str().trim_end_matches('/').to_owned();
        match builder.build() {
            Ok(http) => Ok(Self {
                http,
                url,
                password,
            }),
            Err(error) => Err(CliError::Foreign {
                url,
                detail: cause(&error),
            }),
        }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Whether a daemon answers there. Something else that answers is an error.
    pub(super) async fn is_up(&self) -> Result<bool, CliError> {
        match self.get("/v1/health/", &[]).await {
            Ok(health) if health["status"].is_string() => Ok(true),
            Ok(other) => Err(self.foreign(&other.to_string())),
            Err(CliError::Unreachable { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, CliError> {
        self.answer(self.request(Method::GET, path).query(query))
            .await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value, CliError> {
        self.answer(self.request(Method::POST, path).json(body))
            .await
    }

    pub(super) async fn patch(&self, path: &str, body: &Value) -> Result<Value, CliError> {
        self.answer(self.request(Method::PATCH, path).json(body))
            .await
    }

    /// The data of each event, up to and without `[DONE]`. A stream that ends before it is `Broken`.
    pub(super) async fn stream(
        &self,
        path: &str,
        body: &Value,
    ) -> Result<impl Stream<Item = Result<String, CliError>> + use<>, CliError> {
        let response = self
            .send(self.request(Method::POST, path).json(body))
            .await?;
        Ok(until_done(response.bytes_stream(), self.url.clone()))
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        match &self.password {
            Some(password) => request.bearer_auth(password),
            None => request,
        }
    }

    async fn answer(&self, request: RequestBuilder) -> Result<Value, CliError> {
        let response = self.send(request.timeout(ANSWER)).await?;
        let body = response
            .bytes()
            .await
            .map_err(|error| self.failed(&error))?;
        serde_json::from_slice(&body).map_err(|error| self.foreign(&error.to_string()))
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, CliError> {
        let response = request.send().await.map_err(|error| self.failed(&error))?;
        match response.status() {
            status if status.is_success() => Ok(response),
            StatusCode::UNAUTHORIZED => Err(CliError::Unauthorized {
                url: self.url.clone(),
            }),
            status => {
                let body = response.text().await.map_err(|error| self.failed(&error))?;
                Err(CliError::Refused {
                    status: status.as_u16(),
                    detail: detail(&body),
                })
            }
        }
    }

    fn failed(&self, error: &reqwest::Error) -> CliError {
        let url = self.url.clone();
        if error.is_connect() {
            CliError::Unreachable { url }
        } else {
            CliError::Broken {
                url,
                detail: cause(error),
            }
        }
    }

    fn foreign(&self, detail: &str) -> CliError {
        CliError::Foreign {
            url: self.url.clone(),
            detail: detail.to_owned(),
        }
    }
}

/// Event data until `[DONE]`, then the end; the end without it is an error, once.
fn until_done<B, E>(
    bytes: impl Stream<Item = Result<B, E>>,
    url: String,
) -> impl Stream<Item = Result<String, CliError>>
where
    B: AsRef<[u8]>,
    E: std::error::Error + Send + Sync + 'static,
{
    let events = Box::pin(bytes.eventsource());
    futures_util::stream::unfold(Some(events), move |open| {
        let url = url.clone();
        async move {
            let mut events = open?;
            let broken = |detail: String| Some((Err(CliError::Broken { url, detail }), None));
            match events.next().await {
                Some(Ok(event)) if event.data == "[DONE]" => None,
                Some(Ok(event)) => Some((Ok(event.data), Some(events))),
                Some(Err(error)) => broken(cause(&error)),
                None => broken("the stream ended before its end mark".to_owned()),
            }
        }
    })
}

/// A proxy never stands between a program and its own machine.
fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// What an error body says, in a line.
fn detail(body: &str) -> String {
    match serde_json::from_str::<Value>(body) {
        Ok(parsed) => match &parsed["detail"] {
            Value::Null => parsed.to_string(),
            Value::String(text) => text.clone(),
            Value::Object(envelope) if envelope.contains_key("message") => {
                envelope["message"].as_str().unwrap_or("-").to_owned()
            }
            other => other.to_string(),
        },
        Err(_) => body.chars().take(200).collect(),
    }
}

/// The innermost reason, which is the one that says something.
fn cause(error: &(dyn std::error::Error + 'static)) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .last()
        .map(ToString::to_string)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    async fn read(chunks: &[&str]) -> Vec<Result<String, String>> {
        let chunks: Vec<io::Result<Vec<u8>>> = chunks
            .iter()
            .map(|chunk| Ok(chunk.as_bytes().to_vec()))
            .collect();
        let data = until_done(futures_util::stream::iter(chunks), "http://here".to_owned());
        data.map(|item| item.map_err(|error| error.to_string()))
            .collect()
            .await
    }

    #[tokio::test]
    async fn events_are_read_whole_however_they_are_cut() {
        let chunks = [
            "data: {\"a\"",
            ": 1}\n",
            "\nevent: error\r\ndata: 2\r\n\r\n: comment\n\ndata: [DONE]\n\ndata: late\n\n",
        ];
        assert_eq!(
            read(&chunks).await,
            [Ok("{\"a\": 1}".to_owned()), Ok("2".to_owned())]
        );
    }

    #[tokio::test]
    async fn a_stream_without_its_end_mark_is_an_error_once() {
        let broken =
            "the connection to http://here broke off: the stream ended before its end mark"
                .to_owned();
        assert_eq!(
            read(&["data: 1\n\n"]).await,
            [Ok("1".to_owned()), Err(broken)]
        );
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_said_so() {
        let free = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let client = Client::new(&format!("http://{free}").parse().unwrap(), None).unwrap();
        let error = client.get("/v1/agents/", &[]).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("cannot reach http://{free}: is `greenroom serve` running?")
        );
        assert_eq!(error.exit_code(), 3);
        assert!(!client.is_up().await.unwrap());
    }

    #[test]
    fn the_detail_of_an_error_is_found_in_all_its_shapes() {
        assert_eq!(
            detail(r#"{"detail": "Agent not found"}"#),
            "Agent not found"
        );
        assert_eq!(
            detail(r#"{"detail": {"code": "PENDING_APPROVAL", "message": "approve first"}}"#),
            "approve first"
        );
        assert_eq!(detail(r#"{"error": 1}"#), r#"{"error":1}"#);
        assert_eq!(detail("<html>"), "<html>");
    }
}
