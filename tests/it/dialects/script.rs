//! A server of models that speaks every dialect in its vendor's own protocol, and says what a test tells it to say. Each
//! request is first held against the vendor's rules: one that breaks them is refused as the vendor would, and remembered.

pub(crate) use crate::vendors::{Answer, End, Said, Trouble, Usage, spelled};
use crate::vendors::{DIALECTS, Dialect, Request};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

/// What a request gets.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Says(Answer),
    Refuses(Trouble),
    /// The connection ends in the middle of the answer.
    Cut(Answer),
    /// The stream begins, shows nothing, and fails.
    Fails(Trouble),
    /// The stream fails in the middle of the answer.
    Breaks(Answer, Trouble),
    /// Half of the answer, then silence until the client goes away.
    Stalls(Answer),
}

// ── the server

pub(crate) struct Script {
    pub(crate) address: String,
    log: Arc<Log>,
}

#[derive(Default)]
struct Log {
    replies: Mutex<VecDeque<Reply>>,
    given: Mutex<Vec<Answer>>,
    violations: Mutex<Vec<String>>,
    bodies: Mutex<Vec<Value>>,
    /// How many requests there were.
    asked: watch::Sender<usize>,
}

impl Script {
    pub(crate) async fn start() -> Self {
        let log: Arc<Log> = Arc::default();
        let router = Router::new().fallback(serve).with_state(log.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, log }
    }

    /// Forgets what was said, as if no model had been asked yet.
    pub(crate) fn begin(&self) {
        self.finished();
        self.log.given.lock().unwrap().clear();
        self.log.bodies.lock().unwrap().clear();
        self.log.asked.send_replace(0);
    }

    /// What the next requests get, one after the other.
    pub(crate) fn will(&self, replies: Vec<Reply>) {
        self.log.replies.lock().unwrap().extend(replies);
    }

    /// Every reply was asked for, and no request broke a rule.
    pub(crate) fn finished(&self) {
        assert_eq!(*self.log.violations.lock().unwrap(), [""; 0]);
        let left = self.log.replies.lock().unwrap().len();
        assert_eq!(left, 0, "replies that nobody asked for");
    }

    pub(crate) fn bodies(&self) -> Vec<Value> {
        self.log.bodies.lock().unwrap().clone()
    }

    /// Waits until there were so many requests.
    pub(crate) async fn asked(&self, count: usize) {
        let mut asked = self.log.asked.subscribe();
        drop(asked.wait_for(|asked| *asked >= count).await.unwrap());
    }
}

async fn serve(State(log): State<Arc<Log>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let taken = DIALECTS.iter().find(|dialect| dialect.takes(uri.path()));
    // Lists of models are not played: any model may be there.
    let Some(dialect) = taken else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let request = Request {
        path: uri.path().to_owned(),
        query: uri.query().unwrap_or_default().to_owned(),
        headers,
        body: serde_json::from_slice(&body).unwrap_or_default(),
    };
    let reply = log.reply(*dialect, &request);
    log.asked.send_modify(|asked| *asked += 1);
    let streams = dialect.streams(&request);
    let spell = |mut answer: Answer| {
        let mut given = log.given.lock().unwrap();
        (answer.model, answer.number) = (dialect.model(&request), given.len());
        given.push(answer.clone());
        if streams {
            dialect.events(&answer)
        } else {
            vec![dialect.whole(&answer).to_string()]
        }
    };
    let half = |mut spelled: Vec<String>| {
        if streams {
            // A vendor that says all in one event has said all by then.
            spelled.truncate((spelled.len() / 2).max(dialect.opening() + 1));
        } else {
            spelled = spelled
                .iter()
                .map(|whole| whole[..whole.len() / 2].to_owned())
                .collect();
        }
        spelled
    };
    match reply {
        Reply::Says(answer) => respond(streams, spell(answer), After::End),
        Reply::Cut(answer) => respond(streams, half(spell(answer)), After::Break),
        Reply::Stalls(answer) => respond(streams, half(spell(answer)), After::Silence),
        Reply::Fails(trouble) => {
            let mut events = spell(Answer::default());
            events.truncate(dialect.opening());
            events.push(dialect.failure(&trouble));
            respond(streams, events, After::End)
        }
        Reply::Breaks(answer, trouble) => {
            let mut events = half(spell(answer));
            events.push(dialect.failure(&trouble));
            respond(streams, events, After::End)
        }
        Reply::Refuses(trouble) => {
            let (status, body) = dialect.refusal(&trouble);
            let status = StatusCode::from_u16(status).unwrap();
            // No pause before the next try: tests do not wait.
            (status, [("retry-after", "0")], axum::Json(body)).into_response()
        }
    }
}

impl Log {
    /// What a request gets; one that breaks a rule is refused for it.
    fn reply(&self, dialect: &dyn Dialect, request: &Request) -> Reply {
        self.bodies.lock().unwrap().push(request.body.clone());
        let checked = dialect.check(request, &self.given.lock().unwrap());
        let next = || {
            let next = self.replies.lock().unwrap().pop_front();
            next.ok_or_else(|| "nobody expected this request".to_owned())
        };
        checked.and_then(|()| next()).unwrap_or_else(|rule| {
            let violation = format!("{}: {rule}\n{}", request.path, request.body);
            self.violations.lock().unwrap().push(violation);
            Reply::Refuses(Trouble::Rule(rule))
        })
    }
}

enum After {
    End,
    Break,
    Silence,
}

/// Sends the pieces, cut without regard to lines and characters.
fn respond(streams: bool, spelled: Vec<String>, after: After) -> Response {
    let bytes = spelled.concat().into_bytes();
    let chunks: Vec<_> = bytes.chunks(61).map(Bytes::copy_from_slice).collect();
    let chunks = stream::iter(chunks).map(Ok);
    let body = match after {
        After::End => Body::from_stream(chunks),
        After::Break => {
            let broken = std::io::Error::other("cut on purpose");
            Body::from_stream(chunks.chain(stream::iter([Err(broken)])))
        }
        After::Silence => Body::from_stream(chunks.chain(stream::pending())),
    };
    let kind = if streams {
        "text/event-stream"
    } else {
        "application/json"
    };
    ([("content-type", kind)], body).into_response()
}
