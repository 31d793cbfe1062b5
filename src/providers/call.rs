//! One call of a model over HTTP, whatever its protocol: repeated where that is safe, with patience and size bounded.

use super::Model;
use super::accumulator::{Accumulator, Misfit};
use super::bedrock::frames::FrameReader;
use super::endpoint::{Endpoint, Unsent, causes};
use super::failure::{self, Complaint, Failure, Repeat};
use super::protocol::{Fault, Protocol, Reader};
use super::sse::EventReader;
use crate::domain::model::{Answer, Delta, ModelError, ModelErrorClass as Class, ModelRequest};
use crate::egress;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use serde::de::IgnoredAny;
use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);
/// A server that asks for more patience than this gets no second try.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);
/// How long the end of a stream is waited for after `[DONE]`, so that its connection can be used again.
const TAIL_PATIENCE: Duration = Duration::from_millis(50);
/// Characters of a provider's id of a call that are kept.
const MAX_ID_CHARS: usize = 200;
/// Bytes of a blocking answer that are read, its wrapping and what it tells of tokens included.
const MAX_BODY_BYTES: usize = 32 * 1024 * 1024;
/// Bytes of a refusal that are read.
const MAX_COMPLAINT_BYTES: usize = 64 * 1024;

/// The models of one endpoint; which one is in the request.
#[derive(Debug)]
pub(crate) struct Remote {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) protocol: &'static dyn Protocol,
    /// What the provider has in the place of the model that is asked for.
    pub(crate) successor: Option<&'static str>,
}

impl Model for Remote {
    fn body(&self, request: &ModelRequest) -> Vec<u8> {
        self.protocol.body(&self.as_served(request), &self.endpoint)
    }

    fn forces(&self, request: &ModelRequest) -> bool {
        self.protocol.forces(&self.as_served(request))
    }

    fn answer<'a>(
        &'a self,
        request: &'a ModelRequest,
        deltas: &'a mut (dyn FnMut(Delta) + Send),
    ) -> BoxFuture<'a, Result<Answer, ModelError>> {
        Box::pin(async move { self.call(&self.as_served(request), deltas).await })
    }
}

impl Remote {
    /// The request with the name of the model that is there.
    pub(crate) fn as_served<'a>(&self, request: &'a ModelRequest) -> Cow<'a, ModelRequest> {
        let Some(successor) = self.successor else {
            return Cow::Borrowed(request);
        };
        let mut request = request.clone();
        successor.clone_into(&mut Arc::make_mut(&mut request.config).model);
        Cow::Owned(request)
    }

    /// Tries until there is an answer, a failure that would stay the same, or no time.
    async fn call(
        &self,
        request: &ModelRequest,
        deltas: &mut (dyn FnMut(Delta) + Send),
    ) -> Result<Answer, ModelError> {
        let body = Bytes::from(self.protocol.body(request, &self.endpoint));
        let limit = self.endpoint.timeouts.call();
        let deadline = Instant::now() + limit;
        let mut tries = 0;
        loop {
            let attempt = self.attempt(request, body.clone(), deltas);
            let failure = match timeout_at(deadline, attempt).await {
                Ok(Ok(answer)) => return Ok(traced(answer, body)),
                Ok(Err(failure)) => failure,
                Err(_) => self.timeout(format!("has not finished after {limit:?}")),
            };
            let pause = match failure.repeat {
                Repeat::After(asked) if tries < self.protocol.repeats() => {
                    asked.unwrap_or_else(|| pause(tries))
                }
                _ => return Err(failure.error),
            };
            if Instant::now() + pause >= deadline {
                return Err(failure.error);
            }
            tracing::debug!(provider = self.endpoint.name, tries, ?pause, error = %failure.error, "trying again");
            tokio::time::sleep(pause).await;
            tries += 1;
        }
    }

    async fn attempt(
        &self,
        request: &ModelRequest,
        body: Bytes,
        deltas: &mut (dyn FnMut(Delta) + Send),
    ) -> Result<Answer, Failure> {
        let response = self.send(request, body).await?;
        let request_id = request_id(response.headers());
        let mut reader = self.protocol.reader(request, Accumulator::new(deltas));
        let read = if is_stream(&response, request.stream) {
            self.read_stream(response, &mut *reader).await
        } else {
            self.read_whole(response, &mut *reader).await
        };
        match read {
            Ok(()) => match reader.into_answer() {
                Ok(answer) => Ok(Answer {
                    request_id,
                    ..answer
                }),
                Err(misfit) => Err(self.misfit(misfit)),
            },
            Err(failure) if reader.emitted() => Err(Failure {
                repeat: Repeat::Never,
                ..failure
            }),
            Err(failure) => Err(failure),
        }
    }

    /// A response with a good status.
    async fn send(&self, request: &ModelRequest, body: Bytes) -> Result<Response, Failure> {
        let path = self.protocol.path(request);
        let mut post = self
            .endpoint
            .post(&format!("{}{path}", self.endpoint.base_url))
            .map_err(|reason| self.last(Class::Connection, &reason))?;
        for (name, value) in self.protocol.headers(request) {
            post = post.header(name, value);
        }
        let post = post.header(CONTENT_TYPE, "application/json").body(body);
        let sending = self.endpoint.send(post);
        let patience = if request.stream {
            self.endpoint.timeouts.first_byte()
        } else {
            self.endpoint.timeouts.call()
        };
        let sent = timeout(patience, sending).await;
        let sent =
            sent.map_err(|_| self.timeout(format!("has not begun to answer after {patience:?}")))?;
        let response = sent.map_err(|unsent| match unsent {
            Unsent::Failed(error) => self.broken(&error, "cannot be reached"),
            Unsent::Login(why) => {
                self.last(Class::Authentication, &format!("cannot be asked: {why}"))
            }
        })?;
        if response.status().is_success() {
            Ok(response)
        } else {
            Err(self.refusal(response).await)
        }
    }

    async fn refusal(&self, response: Response) -> Failure {
        let (status, wait) = (response.status(), retry_after(response.headers()));
        // A refusal whose body does not come is still a refusal.
        let body = self
            .body(response, MAX_COMPLAINT_BYTES)
            .await
            .unwrap_or_default();
        self.complaint(&Complaint::read(&body), status.as_u16(), wait)
    }

    fn complaint(&self, complaint: &Complaint, status: u16, wait: Option<Duration>) -> Failure {
        let class = complaint.class(status);
        let wait = wait.or(complaint.wait);
        let reason = StatusCode::from_u16(status)
            .ok()
            .and_then(|status| status.canonical_reason());
        let message = if complaint.message.is_empty() {
            reason.unwrap_or("no reason given")
        } else {
            &complaint.message
        };
        let what = format!("answered {status}: {message}");
        let patient = wait.is_none_or(|wait| wait <= LONGEST_RETRY_AFTER);
        if failure::passes(status, class) && patient {
            Failure {
                repeat: Repeat::After(wait),
                ..self.passing(class, &what)
            }
        } else {
            self.last(class, &what)
        }
    }

    async fn read_whole(&self, response: Response, reader: &mut dyn Reader) -> Result<(), Failure> {
        let body = self.body(response, MAX_BODY_BYTES).await?;
        self.take(&body, reader)
    }

    async fn read_stream(
        &self,
        mut response: Response,
        reader: &mut dyn Reader,
    ) -> Result<(), Failure> {
        let mut events = Events::of(&response);
        while let Some(bytes) = self.piece(&mut response).await? {
            events.push(&bytes);
            while let Some(data) = events.next().map_err(|what| self.unreadable(&what))? {
                let said_done = data == b"[DONE]";
                if !said_done {
                    self.take(&data, reader)?;
                }
                if said_done || reader.is_over() {
                    // Only for the connection's sake: what comes, or fails, after the end is not ours.
                    drop(timeout(TAIL_PATIENCE, response.chunk()).await);
                    return Ok(());
                }
            }
        }
        match events.finish() {
            Some(data) if data == b"[DONE]" => return Ok(()),
            // Half an event at the end of a broken stream is no event.
            Some(data) if serde_json::from_slice::<IgnoredAny>(&data).is_ok() => {
                self.take(&data, reader)?
            }
            _ => (),
        }
        if reader.is_finished() {
            Ok(())
        } else {
            Err(self.passing(
                Class::Connection,
                "closed the connection before the answer was complete",
            ))
        }
    }

    /// A whole answer, or one event of a stream, or an error in the place of either.
    fn take(&self, data: &[u8], reader: &mut dyn Reader) -> Result<(), Failure> {
        reader.take(data).map_err(|fault| match fault {
            Fault::Unreadable(what) => self.unreadable(&format!(
                "something that is no {what}: {}",
                failure::shortened(&start(data))
            )),
            Fault::Refused(complaint) => {
                self.complaint(&complaint, complaint.implied_status(), None)
            }
            Fault::Garbled(what) => {
                self.passing(Class::Unreadable, &format!("answered with {what}"))
            }
            Fault::Misfit(misfit) => self.misfit(misfit),
        })
    }

    /// A body of at most `limit` bytes.
    async fn body(&self, mut response: Response, limit: usize) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        while let Some(bytes) = self.piece(&mut response).await? {
            body.extend_from_slice(&bytes);
            if body.len() > limit {
                return Err(self.unreadable(&format!("more than {} MiB", limit / (1024 * 1024))));
            }
        }
        Ok(body)
    }

    async fn piece(&self, response: &mut Response) -> Result<Option<Bytes>, Failure> {
        let idle = self.endpoint.timeouts.idle();
        match timeout(idle, response.chunk()).await {
            Ok(piece) => piece.map_err(|error| self.broken(&error, "broke off its answer")),
            Err(_) => Err(self.timeout(format!("went silent for {idle:?}"))),
        }
    }

    /// The connection does not come about, or breaks.
    fn broken(&self, error: &reqwest::Error, what: &str) -> Failure {
        if let Some(refused) = egress::refusal(error) {
            return self.last(Class::Connection, &format!("{what}: {refused}"));
        }
        let class = if error.is_timeout() {
            Class::Timeout
        } else {
            Class::Connection
        };
        self.passing(class, &format!("{what}: {}", causes(error)))
    }

    /// Our patience is over. Not repeated: what was slow once would take as long again.
    fn timeout(&self, what: String) -> Failure {
        self.last(Class::Timeout, &what)
    }

    fn unreadable(&self, what: &str) -> Failure {
        self.last(Class::Unreadable, &format!("answered with {what}"))
    }

    fn misfit(&self, misfit: Misfit) -> Failure {
        let class = match misfit {
            Misfit::Empty => Class::EmptyAnswer,
            Misfit::TooLarge | Misfit::TooManyCalls => Class::Unreadable,
        };
        self.last(class, &format!("gave {misfit}"))
    }

    fn last(&self, class: Class, what: &str) -> Failure {
        self.failure(class, what, Repeat::Never)
    }

    fn passing(&self, class: Class, what: &str) -> Failure {
        self.failure(class, what, Repeat::After(None))
    }

    fn failure(&self, class: Class, what: &str, repeat: Repeat) -> Failure {
        let what = failure::without_keys(what, self.endpoint.key());
        let detail = format!("{} {what}", self.endpoint.spoken());
        let error = ModelError { class, detail };
        Failure { error, repeat }
    }
}

/// What cuts a stream into events.
enum Events {
    Sse(EventReader),
    Aws(FrameReader),
}

impl Events {
    fn of(response: &Response) -> Self {
        let kind = response.headers().get(CONTENT_TYPE);
        match kind {
            Some(kind)
                if kind
                    .as_bytes()
                    .starts_with(b"application/vnd.amazon.eventstream") =>
            {
                Self::Aws(FrameReader::default())
            }
            _ => Self::Sse(EventReader::default()),
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        match self {
            Self::Sse(events) => events.push(bytes),
            Self::Aws(frames) => frames.push(bytes),
        }
    }

    fn next(&mut self) -> Result<Option<Vec<u8>>, String> {
        match self {
            Self::Sse(events) => events.next().map_err(|error| error.to_string()),
            Self::Aws(frames) => frames.next().map_err(|error| error.to_string()),
        }
    }

    fn finish(self) -> Option<Vec<u8>> {
        match self {
            Self::Sse(events) => events.finish(),
            Self::Aws(_) => None,
        }
    }
}

/// Servers that do not stream answer with one JSON document, whatever they were asked.
fn is_stream(response: &Response, asked: bool) -> bool {
    let kind = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or("");
    kind.starts_with("text/event-stream")
        || (asked && !kind.starts_with("application/json") && !kind.starts_with("text/html"))
}

/// What the provider calls this call.
fn request_id(headers: &HeaderMap) -> Option<String> {
    let names = [
        "x-request-id",
        "request-id",
        "apim-request-id",
        "x-amzn-requestid",
    ];
    let found = names.iter().find_map(|name| headers.get(*name));
    let id = found?.to_str().ok()?;
    Some(id.chars().take(MAX_ID_CHARS).collect())
}

fn start(data: &[u8]) -> String {
    String::from_utf8_lossy(&data[..data.len().min(4_096)]).into_owned()
}

/// Adds what was sent. The bytes are nobody else's by now, so they become the text without a copy.
fn traced(mut answer: Answer, body: Bytes) -> Answer {
    answer.trace.request = text(body.into());
    answer
}

/// What `serde_json` wrote.
pub(crate) fn text(json: Vec<u8>) -> String {
    String::from_utf8(json).expect("serde_json writes UTF-8")
}

/// Before the `tries`-th repeat, from 0: anything up to a bound that doubles (full jitter).
fn pause(tries: u32) -> Duration {
    let bound = LONGEST_PAUSE.min(FIRST_PAUSE * 2_u32.pow(tries));
    // A fresh hasher is seeded at random: enough to keep clients from coming back together.
    let random = RandomState::new().hash_one(tries);
    bound.mul_f64(random as f64 / u64::MAX as f64)
}

/// How long the server asks to be left alone: `retry-after-ms`, seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok().map(str::trim);
    let seconds = |text: &str| {
        text.parse()
            .ok()
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
    };
    let milliseconds = text(reqwest::header::HeaderName::from_static("retry-after-ms"));
    if let Some(wait) = milliseconds
        .and_then(|text| text.parse().ok())
        .map(Duration::from_millis)
    {
        return Some(wait);
    }
    let text = text(RETRY_AFTER)?;
    let until = || {
        let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
        Some(Duration::try_from(date.duration_since(Timestamp::now())).unwrap_or_default())
    };
    seconds(text).or_else(until)
}

#[cfg(test)]
mod tests;
