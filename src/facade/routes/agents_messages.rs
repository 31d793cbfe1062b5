//! Messages of an agent: send in every form, cancel, list, edit.

use crate::actors::agent::{Started, TextEdit};
use crate::actors::reads::{ConversationFilter, MessagePage, Relations};
use crate::actors::refused::Refused;
use crate::actors::run::{Outcome, RunHandle};
use crate::domain::agent::AgentType;
use crate::domain::id::{AgentId, MessageId, RunId};
use crate::domain::message::Message;
use crate::domain::model::ModelErrorClass;
use crate::domain::page::Order;
use crate::domain::piece::{self, Piece, Reading};
use crate::domain::run::{ErrorClass, Run, RunError, StreamMode, View};
use crate::facade::Facade;
use crate::facade::error::{Answer, ApiError};
use crate::facade::extract::{self, Caller, OptionalBody, Params, PathId, header, path_id};
use crate::facade::sse::Stream;
use crate::wire::message::{ContentIn, Message as WireMessage};
use crate::wire::run::{CancelRuns, LettaResponse, Run as WireRun};
use crate::wire::send::{BadSend, Send, Sending, is_message_type};
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

pub(super) fn routes() -> Router<Facade> {
    Router::new()
        .route("/agents/{agent_id}/messages", get(list).post(send))
        .route("/agents/{agent_id}/messages/stream", post(stream))
        .route("/agents/{agent_id}/messages/async", post(start))
        .route("/agents/{agent_id}/messages/cancel", post(cancel))
        .route("/agents/{agent_id}/messages/{message_id}", patch(edit))
}

/// A send with everything that is not in its body's fields.
struct Parsed {
    agent: AgentId,
    send: Send,
    body_hash: [u8; 32],
    idempotency_key: Option<[u8; 32]>,
    retry: bool,
}

async fn parse(
    facade: &Facade,
    agent: AgentId,
    caller: Caller,
    request: Request,
) -> Result<Parsed, ApiError> {
    let key = header(request.headers(), "idempotency-key").map(|key| {
        let scope = format!(
            "{}\n{}\n{}\n{key}",
            caller.user,
            request.method(),
            request.uri().path()
        );
        Sha256::digest(scope).into()
    });
    let retry = retries(request.headers()) > 0;
    let body = extract::body(request, facade).await?;
    let send = extract::read(&body)?;
    Ok(Parsed {
        agent,
        send,
        body_hash: Sha256::digest(&body).into(),
        idempotency_key: key,
        retry,
    })
}

fn retries(headers: &HeaderMap) -> u64 {
    header(headers, "x-stainless-retry-count")
        .and_then(|count| count.parse().ok())
        .unwrap_or(0)
}

impl Parsed {
    async fn start(
        self,
        facade: &Facade,
        run_type: &'static str,
        stream: StreamMode,
        background: bool,
    ) -> Result<Started, ApiError> {
        let override_model = match &self.send.override_model {
            Some(handle) => Some(facade.handles.library.configure(Some(handle)).await?),
            None => None,
        };
        let sending = Sending {
            run_type,
            stream,
            background,
            max_steps: facade.settings.max_steps,
            override_model,
            body_hash: self.body_hash,
            idempotency_key: self.idempotency_key,
            retry: self.retry,
        };
        let request = self.send.into_domain(sending).map_err(misfit)?;
        let agent = facade.handles.directory.agent(self.agent).await?;
        Ok(agent.start_run(request, false).await?)
    }
}

fn misfit(bad: BadSend) -> ApiError {
    match bad {
        BadSend::Invalid(text) => ApiError::plain_invalid(text),
        BadSend::Missing { index, field } => ApiError::invalid(
            &["body", "messages", &index.to_string(), field],
            "missing",
            "Field required",
            "",
        ),
        BadSend::Content { .. } | BadSend::NothingPending | BadSend::ClientTools => {
            ApiError::argument(bad)
        }
    }
}

/// Runs the agent on new input; answers with the whole turn, or streams it with `streaming`.
async fn send(
    State(facade): State<Facade>,
    caller: Caller,
    PathId(agent): PathId<AgentId>,
    request: Request,
) -> Result<Response, ApiError> {
    let parsed = parse(&facade, agent, caller, request).await?;
    let body = &parsed.send;
    if body.streaming == Some(true) {
        return streamed(&facade, parsed).await;
    }
    for (name, given) in [
        ("stream_tokens", body.stream_tokens == Some(true)),
        ("background", body.background == Some(true)),
        ("include_pings", body.include_pings == Some(false)),
    ] {
        if given {
            return Err(ApiError::plain_invalid(format_args!(
                "{name} can only be used with streaming=true"
            )));
        }
    }
    let started = parsed
        .start(&facade, "send_message", StreamMode::None, false)
        .await?;
    let outcome = facade.handles.directory.outcome(run_of(&started)).await?;
    let answer = answer(&outcome)?;
    Ok(delivered(&facade, &outcome.run, answer))
}

async fn stream(
    State(facade): State<Facade>,
    caller: Caller,
    PathId(agent): PathId<AgentId>,
    request: Request,
) -> Result<Response, ApiError> {
    let parsed = parse(&facade, agent, caller, request).await?;
    streamed(&facade, parsed).await
}

async fn streamed(facade: &Facade, parsed: Parsed) -> Result<Response, ApiError> {
    let (agent, pings) = (parsed.agent, parsed.send.include_pings.unwrap_or(true));
    let background = parsed.send.background.unwrap_or(false);
    let mode = if parsed.send.stream_tokens == Some(true) {
        StreamMode::Tokens
    } else {
        StreamMode::Steps
    };
    let started = parsed
        .start(facade, "send_message_streaming", mode, background)
        .await?;
    let run = run_of(&started);
    let reader = match &started {
        Started::Live { run, .. } => run.frames(0),
        Started::Ended(run) => facade.handles.directory.frames_of_repeat(*run).await?,
    };
    Ok(Stream {
        facade: facade.clone(),
        agent,
        run,
        reader,
        pings,
        background,
    }
    .into_response())
}

/// Starts a background run and answers with it at once.
async fn start(
    State(facade): State<Facade>,
    caller: Caller,
    PathId(agent): PathId<AgentId>,
    request: Request,
) -> Answer<WireRun> {
    let parsed = parse(&facade, agent, caller, request).await?;
    if let Some(url) = &parsed.send.callback_url {
        (facade.settings.check_callback)(url)
            .map_err(|reason| ApiError::argument(format_args!("callback_url: {reason}")))?;
    }
    let run = match parsed
        .start(&facade, "send_message_async", StreamMode::Steps, true)
        .await?
    {
        Started::Live { run, .. } => Run::clone(&run.accepted()),
        Started::Ended(run) => facade.handles.reads.run(run).await?,
    };
    Ok(Json(run.into()))
}

fn run_of(started: &Started) -> RunId {
    match started {
        Started::Live { run, .. } => RunHandle::id(run),
        Started::Ended(run) => *run,
    }
}

/// The answer of a turn, or the error that its failure stands for (runs-and-streaming §5).
fn answer(outcome: &Outcome) -> Result<LettaResponse, ApiError> {
    if let Some(error) = &outcome.run.error {
        return Err(failed(error));
    }
    let reading = Reading::native(&outcome.run.view);
    let pieces = outcome
        .output()
        .flat_map(|message| piece::pieces(message, &reading))
        .collect();
    Ok(LettaResponse::new(&outcome.run, pieces))
}

fn failed(error: &RunError) -> ApiError {
    let (status, kind) = match error.class {
        ErrorClass::Model(ModelErrorClass::Timeout) => (StatusCode::GATEWAY_TIMEOUT, "llm_timeout"),
        ErrorClass::Model(ModelErrorClass::RateLimit) => {
            (StatusCode::TOO_MANY_REQUESTS, "llm_rate_limit")
        }
        ErrorClass::Model(ModelErrorClass::Authentication) => {
            (StatusCode::UNAUTHORIZED, "llm_authentication")
        }
        ErrorClass::Model(ModelErrorClass::Credits) => {
            (StatusCode::PAYMENT_REQUIRED, "llm_insufficient_credits")
        }
        ErrorClass::Model(ModelErrorClass::BadRequest) => {
            (StatusCode::BAD_REQUEST, "llm_bad_request")
        }
        ErrorClass::Model(ModelErrorClass::Overloaded) => {
            return ApiError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                json!({"detail": error.detail}),
            );
        }
        ErrorClass::Model(ModelErrorClass::ContextOverflow) => {
            return ApiError::new(StatusCode::BAD_REQUEST, json!({"detail": error.detail}));
        }
        ErrorClass::Model(
            ModelErrorClass::Permission
            | ModelErrorClass::NotFound
            | ModelErrorClass::Connection
            | ModelErrorClass::Server
            | ModelErrorClass::EmptyAnswer
            | ModelErrorClass::Unreadable,
        ) => (StatusCode::INTERNAL_SERVER_ERROR, "llm_error"),
        ErrorClass::ServerRestart => {
            return ApiError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                json!({"detail": error.message()}),
            );
        }
        ErrorClass::Internal => {
            return ApiError::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                json!({"detail": error.message()}),
            );
        }
    };
    ApiError::new(
        status,
        json!({"error": {"type": kind, "message": error.message(), "detail": error.detail}}),
    )
}

/// An answer that tells the agent when it has been written out in full (decisions 34).
fn delivered(facade: &Facade, run: &Run, answer: LettaResponse) -> Response {
    let (parts, body) = Json(answer).into_response().into_parts();
    let (facade, agent, run) = (facade.clone(), run.agent_id, run.id);
    let told = futures_util::stream::once(async move {
        if let Ok(agent) = facade.handles.directory.agent(agent).await {
            agent.delivered(run);
        }
        Ok::<Bytes, axum::Error>(Bytes::new())
    });
    let body = futures_util::StreamExt::chain(body.into_data_stream(), told);
    Response::from_parts(parts, Body::from_stream(body))
}

/// Cancels the named runs of an agent, or all that are active.
async fn cancel(
    State(facade): State<Facade>,
    PathId(agent): PathId<AgentId>,
    OptionalBody(body): OptionalBody<CancelRuns>,
) -> Answer<Map<String, Value>> {
    let named = body
        .and_then(|body| body.run_ids)
        .filter(|named| !named.is_empty());
    let ids: Vec<RunId> = named
        .iter()
        .flatten()
        .filter_map(|id| id.parse().ok())
        .collect();
    let mut answer = Map::new();
    for unknown in named
        .iter()
        .flatten()
        .filter(|id| id.parse::<RunId>().is_err())
    {
        answer.insert(unknown.clone(), Value::from("failed"));
    }
    if named.is_some() && ids.is_empty() {
        return Ok(Json(answer));
    }
    let named = named.is_some().then_some(ids);
    for (run, over) in facade.handles.directory.cancel(agent, named).await? {
        answer.insert(
            run.to_string(),
            Value::from(if over { "cancelled" } else { "failed" }),
        );
    }
    Ok(Json(answer))
}

/// The view that a list's query asks for.
pub(super) fn view(params: &Params) -> Result<View, ApiError> {
    let default = View::default();
    let types = params.all("include_return_message_types");
    if let Some(unknown) = types.iter().find(|name| !is_message_type(name)) {
        let loc = ["query", "include_return_message_types"];
        return Err(ApiError::invalid(
            &loc,
            "enum",
            "Input should be a message type",
            unknown,
        ));
    }
    Ok(View {
        use_assistant_message: params.flag("use_assistant_message")?.unwrap_or(true),
        assistant_message_tool_name: params
            .text("assistant_message_tool_name")
            .unwrap_or(default.assistant_message_tool_name),
        assistant_message_tool_kwarg: params
            .text("assistant_message_tool_kwarg")
            .unwrap_or(default.assistant_message_tool_kwarg),
        include_return_message_types: (!types.is_empty()).then_some(types),
    })
}

/// A page of the agent's history, always oldest first (decisions 5).
async fn list(
    State(facade): State<Facade>,
    PathId(agent): PathId<AgentId>,
    params: Params,
) -> Answer<Vec<WireMessage>> {
    let cursor = |name: &str| -> Result<Option<MessageId>, ApiError> {
        let unknown = |text: &str| ApiError::not_found(format_args!("message {text} not found"));
        params
            .text(name)
            .map(|text| text.parse().map_err(|_| unknown(&text)))
            .transpose()
    };
    let conversation = match params.text("conversation_id").as_deref() {
        None => ConversationFilter::Any,
        Some("default") => ConversationFilter::Default,
        Some(_) => ConversationFilter::One(
            params
                .id("conversation_id")?
                .ok_or_else(|| ApiError::not_found("conversation not found"))?,
        ),
    };
    let page = MessagePage {
        after: cursor("after")?,
        before: cursor("before")?,
        limit: params.limit(100)?,
        order: params.order(Order::Descending)?,
        group_id: params.text("group_id"),
        conversation,
        include_errors: params.flag("include_err")?.unwrap_or(false),
    };
    let view = view(&params)?;
    let messages = facade.handles.reads.messages(agent, page).await?;
    let text_is_reply = facade
        .handles
        .reads
        .agent(agent, Relations::default())
        .await?
        .agent
        .agent_type
        == AgentType::LettaV1Agent;
    Ok(Json(shown(
        messages,
        &Reading::listed(&view, text_is_reply),
    )))
}

/// Stored messages as a list shows them.
pub(super) fn shown(messages: Vec<Message>, reading: &Reading<'_>) -> Vec<WireMessage> {
    let messages: Vec<Box<Message>> = messages.into_iter().map(Box::new).collect();
    piece::page_pieces(&messages, reading)
        .into_iter()
        .map(WireMessage::from)
        .collect()
}

/// New text for a stored message.
#[derive(Deserialize)]
#[serde(tag = "message_type", rename_all = "snake_case")]
#[expect(clippy::enum_variant_names, reason = "the contract's names")]
enum EditIn {
    SystemMessage { content: String },
    UserMessage { content: ContentIn },
    AssistantMessage { content: ContentIn },
    ReasoningMessage { reasoning: String },
}

async fn edit(
    State(facade): State<Facade>,
    Path((agent, message)): Path<(String, String)>,
    extract::Body(edit): extract::Body<Value>,
) -> Answer<WireMessage> {
    let (agent, message): (AgentId, MessageId) = (
        path_id("agent_id", &agent)?,
        path_id("message_id", &message)?,
    );
    let (edit, wanted) = text_edit(edit)?;
    let changed = facade
        .handles
        .directory
        .agent(agent)
        .await?
        .edit_message(message, edit)
        .await?;
    let view = View::default();
    let pieces = piece::pieces(&changed, &Reading::listed(&view, true));
    let piece: Option<Piece> = pieces
        .into_iter()
        .find(|piece| piece.body.message_type() == wanted);
    let piece = piece.ok_or(Refused::NoSuchMessage(message))?;
    Ok(Json(piece.into()))
}

/// Tool calls and returns cannot be edited (decisions 2): that is an argument, not a schema, error.
fn text_edit(edit: Value) -> Result<(TextEdit, &'static str), ApiError> {
    let kind = edit
        .get("message_type")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    if matches!(
        kind.as_str(),
        "tool_call_message"
            | "tool_return_message"
            | "approval_request_message"
            | "approval_response_message"
    ) {
        return Err(ApiError::argument(format_args!(
            "a {kind} cannot be edited"
        )));
    }
    let parsed: EditIn = serde_json::from_value(edit)
        .map_err(|error| ApiError::invalid(&["body"], "value_error", error, kind))?;
    let content = |content: ContentIn| content.into_domain().map_err(ApiError::argument);
    Ok(match parsed {
        EditIn::SystemMessage { content } => (TextEdit::System(content), "system_message"),
        EditIn::UserMessage { content: parts } => (TextEdit::User(content(parts)?), "user_message"),
        EditIn::AssistantMessage { content: parts } => {
            let text: Vec<String> = content(parts)?
                .iter()
                .filter_map(|part| part.text().map(str::to_owned))
                .collect();
            (TextEdit::Assistant(text.join("\n")), "assistant_message")
        }
        EditIn::ReasoningMessage { reasoning } => {
            (TextEdit::Reasoning(reasoning), "reasoning_message")
        }
    })
}
