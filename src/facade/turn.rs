//! A send, from the request to the run it becomes, and from the run's end to the answer. The routes choose the form.

use super::Facade;
use super::delivery::{delivered, when_delivered};
use super::error::ApiError;
use super::extract::{self, Caller, header};
use super::misfit::Misfit;
use super::sse::Stream;
use crate::actors::agent::Started;
use crate::actors::refused::Refused;
use crate::domain::id::{AgentId, RunId};
use crate::domain::model::ModelErrorClass;
use crate::domain::piece::Piece;
use crate::domain::run::{ErrorClass, LaneId, Run, RunError, RunRequest, StreamMode};
use crate::domain::token_data::TokenReport;
use crate::wire::run::LettaResponse;
use crate::wire::send::{BadSend, Send, Sending};
use axum::Json;
use axum::body::Bytes;
use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A request to run an agent, and what tells whether it is a repeat.
pub(super) struct Turn {
    pub(super) facade: Facade,
    pub(super) agent: AgentId,
    pub(super) body: Send,
    repeat: Repeat,
    lane: LaneId,
    /// Sent on a conversation's route: a busy thread is refused, and the list of `otid`s of a background run is its name.
    alone: bool,
}

/// By what a repeated request is known (decisions 25, 34).
#[derive(Clone, Copy)]
pub(super) struct Repeat {
    body_hash: [u8; 32],
    idempotency_key: Option<[u8; 32]>,
    /// The client marked this as a repeat.
    retry: bool,
}

impl Repeat {
    /// The request as one that is known when it comes again.
    pub(super) fn of(self, request: RunRequest) -> RunRequest {
        RunRequest {
            body_hash: self.body_hash,
            idempotency_key: self.idempotency_key,
            retry: self.retry,
            ..request
        }
    }
}

/// The body of a request to run an agent.
pub(super) async fn received<T: DeserializeOwned>(
    facade: &Facade,
    caller: Caller,
    request: Request,
) -> Result<(T, Repeat), ApiError> {
    let (bytes, repeat) = known(facade, caller, request).await?;
    Ok((extract::read(&bytes)?, repeat))
}

/// The same where a body may be left out.
pub(super) async fn received_if_any<T: DeserializeOwned>(
    facade: &Facade,
    caller: Caller,
    request: Request,
) -> Result<(Option<T>, Repeat), ApiError> {
    let (bytes, repeat) = known(facade, caller, request).await?;
    Ok((extract::read_if_any(&bytes)?, repeat))
}

async fn known(
    facade: &Facade,
    caller: Caller,
    request: Request,
) -> Result<(Bytes, Repeat), ApiError> {
    let idempotency_key = idempotency_key(caller, &request);
    let retry = is_retry(request.headers());
    let bytes = extract::body(request, facade).await?;
    let repeat = Repeat {
        body_hash: Sha256::digest(&bytes).into(),
        idempotency_key,
        retry,
    };
    Ok((bytes, repeat))
}

impl Turn {
    pub(super) async fn read(
        facade: Facade,
        agent: AgentId,
        caller: Caller,
        request: Request,
    ) -> Result<Self, ApiError> {
        let (body, repeat) = received(&facade, caller, request).await?;
        Ok(Self::new(facade, agent, body, repeat))
    }

    pub(super) fn new(facade: Facade, agent: AgentId, body: Send, repeat: Repeat) -> Self {
        Self {
            facade,
            agent,
            body,
            repeat,
            lane: LaneId::Default,
            alone: false,
        }
    }

    /// The same, on a conversation's route (decisions 12, 25).
    pub(super) fn in_thread(self, lane: LaneId) -> Self {
        Self {
            lane,
            alone: true,
            ..self
        }
    }

    /// Runs the agent and answers with the whole turn.
    pub(super) async fn blocking(self, run_type: &'static str) -> Result<Response, ApiError> {
        if !self.alone {
            self.refuse_stream_options()?;
        }
        self.whole(run_type, LettaResponse::new).await
    }

    /// Runs the agent and answers with what `answer` makes of the turn, or with the error that its failure stands for. A
    /// client that goes away does not stop the run (decisions 21).
    pub(super) async fn whole<A: Serialize>(
        self,
        run_type: &'static str,
        answer: fn(&Run, Vec<Piece>, TokenReport) -> A,
    ) -> Result<Response, ApiError> {
        let facade = self.facade.clone();
        let background = self.body.background.unwrap_or(false);
        let started = self
            .start(run_type, StreamMode::None, background, None)
            .await?;
        let outcome = facade.handles.directory.outcome(run_of(&started)).await?;
        let (agent, run) = (outcome.run.agent_id, outcome.run.id);
        let response = match &outcome.run.error {
            Some(error) => failed(error).into_response(),
            None => Json(answer(
                &outcome.run,
                outcome.pieces(),
                outcome.token_report(),
            ))
            .into_response(),
        };
        Ok(when_delivered(response, move || {
            delivered(&facade, agent, run)
        }))
    }

    /// Runs the agent and answers with its frames as they come.
    pub(super) async fn streamed(self, run_type: &'static str) -> Result<Response, ApiError> {
        Ok(self.frames(run_type).await?.into_response())
    }

    /// Runs the agent: its frames as they come.
    pub(super) async fn frames(self, run_type: &'static str) -> Result<Stream, ApiError> {
        let (facade, agent) = (self.facade.clone(), self.agent);
        let pings = self.body.include_pings.unwrap_or(true);
        let mode = if self.body.stream_tokens == Some(true) {
            StreamMode::Tokens
        } else {
            StreamMode::Steps
        };
        let background = self.body.background.unwrap_or(false);
        let started = self.start(run_type, mode, background, None).await?;
        let run = run_of(&started);
        let reader = match &started {
            Started::Live { run, .. } => run.frames(0),
            Started::Ended(run) => facade.handles.directory.frames_of_repeat(*run).await?,
        };
        Ok(Stream {
            facade,
            agent,
            run,
            reader,
            pings,
            background,
            chat: None,
        })
    }

    /// Makes the request a run, or finds the run that its first send made.
    pub(super) async fn start(
        self,
        run_type: &'static str,
        stream: StreamMode,
        background: bool,
        callback_url: Option<String>,
    ) -> Result<Started, ApiError> {
        let (facade, agent, alone) = (self.facade.clone(), self.agent, self.alone);
        let request = self
            .request(run_type, stream, background, callback_url)
            .await?;
        let agent = facade.handles.directory.agent(agent).await?;
        Ok(agent.start_run(request, alone).await?)
    }

    /// The request to the model's provider that this would begin with, byte for byte. `streaming`: unless the body says it.
    pub(super) async fn preview(self, streaming: bool) -> Result<Response, ApiError> {
        let streaming = self.body.streaming.unwrap_or(streaming);
        let stream = if streaming && self.body.stream_tokens == Some(true) {
            StreamMode::Tokens
        } else {
            StreamMode::None
        };
        let (facade, agent) = (self.facade.clone(), self.agent);
        let request = self.request("preview", stream, false, None).await?;
        let agent = facade.handles.directory.agent(agent).await?;
        let body = agent.preview(request).await?;
        Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
    }

    /// The request in domain words, its handles and images resolved.
    async fn request(
        self,
        run_type: &'static str,
        stream: StreamMode,
        background: bool,
        callback_url: Option<String>,
    ) -> Result<RunRequest, ApiError> {
        let handles = &self.facade.handles;
        let override_model = match &self.body.override_model {
            Some(handle) => Some(handles.library.configure(Some(handle)).await?),
            None => None,
        };
        let mut request = self.body.into_domain(Sending {
            lane: self.lane,
            run_type,
            stream,
            background,
            max_steps: self.facade.settings.max_steps,
            override_model,
            callback_url,
            body_hash: self.repeat.body_hash,
            idempotency_key: self.repeat.idempotency_key,
            retry: self.repeat.retry,
            unique_otids: self.alone && background,
        })?;
        handles.images.resolve(&mut request).await?;
        Ok(request)
    }

    /// Options of a stream make no sense in a whole answer (wire-rules §2).
    fn refuse_stream_options(&self) -> Result<(), ApiError> {
        let body = &self.body;
        let given = [
            ("stream_tokens", body.stream_tokens == Some(true)),
            ("background", body.background == Some(true)),
            ("include_pings", body.include_pings == Some(false)),
        ];
        match given.into_iter().find(|(_, given)| *given) {
            Some((name, _)) => Err(ApiError::plain_invalid(format_args!(
                "{name} can only be used with streaming=true"
            ))),
            None => Ok(()),
        }
    }
}

/// The key within its scope: caller, method and path.
fn idempotency_key(caller: Caller, request: &Request) -> Option<[u8; 32]> {
    let key = request
        .headers()
        .get("idempotency-key")
        .filter(|key| !key.is_empty())?;
    let mut hash = Sha256::new();
    hash.update(format!(
        "{}\n{}\n{}\n",
        caller.user,
        request.method(),
        request.uri().path()
    ));
    hash.update(key.as_bytes());
    Some(hash.finalize().into())
}

/// The SDKs count their own retries in every request; a new send has 0.
fn is_retry(headers: &HeaderMap) -> bool {
    header(headers, "x-stainless-retry-count")
        .and_then(|count| count.parse::<u64>().ok())
        .is_some_and(|count| count > 0)
}

impl From<BadSend> for ApiError {
    fn from(bad: BadSend) -> Self {
        match bad {
            BadSend::Invalid(text) => Self::plain_invalid(text),
            BadSend::Missing { index, field } => {
                let loc = ["body", "messages", &index.to_string(), field];
                Misfit::missing(&loc, Value::Null).into()
            }
            BadSend::Content { .. }
            | BadSend::NothingPending
            | BadSend::LateAnswer { .. }
            | BadSend::ClientTool { .. } => Self::argument(bad),
        }
    }
}

pub(super) fn run_of(started: &Started) -> RunId {
    match started {
        Started::Live { run, .. } => run.id(),
        Started::Ended(run) => *run,
    }
}

/// The failure of a turn as an answer (runs-and-streaming §5). No wildcard: a new class stops the build here.
pub(super) fn failed(error: &RunError) -> ApiError {
    let provider = |status, kind: &str| {
        ApiError::new(
            status,
            json!({"error": {"type": kind, "message": error.message(), "detail": error.detail}}),
        )
    };
    let plain = |status, text: &str| ApiError::new(status, json!({"detail": text}));
    let class = match &error.class {
        ErrorClass::Model(class) => *class,
        ErrorClass::ServerRestart => {
            return plain(StatusCode::SERVICE_UNAVAILABLE, error.message());
        }
        ErrorClass::Internal | ErrorClass::StreamIncomplete => {
            return plain(StatusCode::INTERNAL_SERVER_ERROR, error.message());
        }
        ErrorClass::SystemTooLarge => return plain(StatusCode::BAD_REQUEST, &error.detail),
        ErrorClass::PendingApproval(request) => {
            return Refused::PendingApproval { request: *request }.into();
        }
        ErrorClass::BadAnswer(reason) | ErrorClass::NotCompacted(reason) => {
            return Refused::Argument(reason.clone()).into();
        }
    };
    match class {
        ModelErrorClass::Timeout => provider(StatusCode::GATEWAY_TIMEOUT, "llm_timeout"),
        ModelErrorClass::RateLimit => provider(StatusCode::TOO_MANY_REQUESTS, "llm_rate_limit"),
        ModelErrorClass::Authentication => provider(StatusCode::UNAUTHORIZED, "llm_authentication"),
        ModelErrorClass::Credits => {
            provider(StatusCode::PAYMENT_REQUIRED, "llm_insufficient_credits")
        }
        ModelErrorClass::BadRequest => provider(StatusCode::BAD_REQUEST, "llm_bad_request"),
        ModelErrorClass::Overloaded => plain(StatusCode::SERVICE_UNAVAILABLE, &error.detail),
        ModelErrorClass::ContextOverflow => plain(StatusCode::BAD_REQUEST, &error.detail),
        ModelErrorClass::Permission
        | ModelErrorClass::NotFound
        | ModelErrorClass::Connection
        | ModelErrorClass::Server
        | ModelErrorClass::EmptyAnswer
        | ModelErrorClass::Unreadable => provider(StatusCode::INTERNAL_SERVER_ERROR, "llm_error"),
    }
}
