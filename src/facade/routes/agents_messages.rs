//! Messages of an agent: send in every form, cancel, list, edit.

use crate::actors::agent::{Started, TextEdit};
use crate::actors::reads::{MessagePage, Relations, ThreadFilter};
use crate::actors::refused::Refused;
use crate::domain::agent::AgentType;
use crate::domain::clock;
use crate::domain::id::{AgentId, MessageId, RunId};
use crate::domain::message::Message;
use crate::domain::page::Order;
use crate::domain::piece::{self, Reading};
use crate::domain::run::{LaneId, Run, StreamMode, View};
use crate::facade::Facade;
use crate::facade::compaction::compact;
use crate::facade::error::{Answer, ApiError};
use crate::facade::extract::{Body, Caller, InPath, OptionalBody, Params, PathId, path_id};
use crate::facade::misfit::Misfit;
use crate::facade::turn::{Turn, received_if_any};
use crate::wire::capture::{Capture, Captured};
use crate::wire::compaction::{Compact, Compacted};
use crate::wire::edit::{BadEdit, Edit, EditIn};
use crate::wire::message::Message as WireMessage;
use crate::wire::run::{CancelRuns, Run as WireRun};
use crate::wire::send::MessageType;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{get, patch, post};
use axum::{Json, Router};
use serde_json::{Map, Value};

pub(super) fn routes() -> Router<Facade> {
    Router::new()
        .route("/agents/{agent_id}/messages", get(list).post(send))
        .route("/agents/{agent_id}/messages/stream", post(stream))
        .route("/agents/{agent_id}/messages/async", post(start))
        .route("/agents/{agent_id}/messages/cancel", post(cancel))
        .route("/agents/{agent_id}/messages/capture", post(capture))
        .route("/agents/{agent_id}/summarize", post(summarize))
        .route("/agents/{agent_id}/messages/{message_id}", patch(edit))
}

/// Runs the agent on new input; answers with the whole turn, or streams it with `streaming`.
async fn send(
    State(facade): State<Facade>,
    caller: Caller,
    PathId(agent): PathId<AgentId>,
    request: Request,
) -> Result<Response, ApiError> {
    let turn = Turn::read(facade, agent, caller, request).await?;
    if turn.body.streaming == Some(true) {
        turn.streamed("send_message").await
    } else {
        turn.blocking("send_message").await
    }
}

/// The same, always streamed.
async fn stream(
    State(facade): State<Facade>,
    caller: Caller,
    PathId(agent): PathId<AgentId>,
    request: Request,
) -> Result<Response, ApiError> {
    Turn::read(facade, agent, caller, request)
        .await?
        .streamed("send_message_streaming")
        .await
}

/// Starts a background run and answers with it at once.
async fn start(
    State(facade): State<Facade>,
    caller: Caller,
    PathId(agent): PathId<AgentId>,
    request: Request,
) -> Answer<WireRun> {
    let turn = Turn::read(facade.clone(), agent, caller, request).await?;
    let callback_url = turn.body.callback_url.clone();
    if let Some(url) = &callback_url {
        (facade.settings.check_callback)(url)
            .map_err(|reason| ApiError::argument(format_args!("callback_url: {reason}")))?;
    }
    let run = match turn
        .start("send_message_async", StreamMode::Steps, true, callback_url)
        .await?
    {
        Started::Live { run, .. } => Run::clone(&run.accepted()),
        Started::Ended(run) => facade.handles.reads.run(run).await?,
    };
    Ok(Json(run.into()))
}

/// Puts a summary in the place of older messages. A run of its own, so it waits for its turn, can be cancelled, and is seen in
/// the tree.
async fn summarize(
    State(facade): State<Facade>,
    caller: Caller,
    PathId(agent): PathId<AgentId>,
    request: Request,
) -> Answer<Compacted> {
    let (body, repeat) = received_if_any(&facade, caller, request).await?;
    let change = body.and_then(Compact::into_change);
    let compacted = compact(&facade, agent, LaneId::Default, change, false, repeat);
    Ok(Json(compacted.await?))
}

/// Cancels the named runs of an agent, or all that are active. A name that is no run's id is one that failed.
async fn cancel(
    State(facade): State<Facade>,
    PathId(agent): PathId<AgentId>,
    OptionalBody(body): OptionalBody<CancelRuns>,
) -> Answer<Map<String, Value>> {
    let named = body
        .and_then(|body| body.run_ids)
        .filter(|named| !named.is_empty());
    let mut answer: Map<String, Value> = named
        .iter()
        .flatten()
        .map(|name| (name.clone(), Value::from("failed")))
        .collect();
    let ids: Option<Vec<RunId>> =
        named.map(|named| named.iter().filter_map(|name| name.parse().ok()).collect());
    if ids.as_ref().is_some_and(Vec::is_empty) {
        facade
            .handles
            .reads
            .agent(agent, Relations::default())
            .await?;
        return Ok(Json(answer));
    }
    for (run, over) in facade.handles.directory.cancel(agent, ids).await? {
        answer.insert(
            run.to_string(),
            Value::from(if over { "cancelled" } else { "failed" }),
        );
    }
    Ok(Json(answer))
}

/// Stores an exchange with a model that took place elsewhere.
async fn capture(
    State(facade): State<Facade>,
    PathId(agent): PathId<AgentId>,
    Body(body): Body<Capture>,
) -> Answer<Captured> {
    let messages = body.into_domain(agent, clock::now());
    let captured = Captured::new(messages.len());
    let agent = facade.handles.directory.agent(agent).await?;
    agent.capture(messages).await?;
    Ok(Json(captured))
}

/// A page of the agent's history.
async fn list(
    State(facade): State<Facade>,
    PathId(agent): PathId<AgentId>,
    params: Params,
) -> Answer<Vec<WireMessage>> {
    let thread = match params.text("conversation_id").as_deref() {
        None => ThreadFilter::Any,
        Some("default") => ThreadFilter::Default,
        Some(_) => ThreadFilter::One(
            params
                .id("conversation_id")?
                .ok_or_else(|| ApiError::not_found("conversation not found"))?,
        ),
    };
    page(&facade, agent, thread, &params).await
}

/// A page of an agent's history, or of one thread of it, always oldest first (decisions 5).
pub(super) async fn page(
    facade: &Facade,
    agent: AgentId,
    thread: ThreadFilter,
    params: &Params,
) -> Answer<Vec<WireMessage>> {
    let cursor = |name: &str| -> Result<Option<MessageId>, ApiError> {
        let unknown = |text: &str| ApiError::not_found(format_args!("message {text} not found"));
        params
            .text(name)
            .map(|text| text.parse().map_err(|_| unknown(&text)))
            .transpose()
    };
    params.ordered_by("created_at")?;
    let page = MessagePage {
        after: cursor("after")?,
        before: cursor("before")?,
        limit: params.limit(100)?,
        order: params.order(Order::Descending)?,
        group_id: params.text("group_id"),
        conversation: thread,
        include_errors: params.flag("include_err")?.unwrap_or(false),
    };
    let view = view(params)?;
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

/// The view that a list's query asks for.
pub(super) fn view(params: &Params) -> Result<View, ApiError> {
    let default = View::default();
    let types = params.all_named(
        "include_return_message_types",
        MessageType::parse,
        &MessageType::NAMES,
    )?;
    let types: Vec<String> = types.iter().map(|kind| kind.name().to_owned()).collect();
    Ok(View {
        use_assistant_message: params
            .flag("use_assistant_message")?
            .unwrap_or(default.use_assistant_message),
        assistant_message_tool_name: params
            .text("assistant_message_tool_name")
            .unwrap_or(default.assistant_message_tool_name),
        assistant_message_tool_kwarg: params
            .text("assistant_message_tool_kwarg")
            .unwrap_or(default.assistant_message_tool_kwarg),
        include_return_message_types: (!types.is_empty()).then_some(types),
    })
}

/// Replaces the text of a stored message; answers with the piece that shows it.
async fn edit(
    State(facade): State<Facade>,
    InPath((agent, message)): InPath<(String, String)>,
    Body(body): Body<EditIn>,
) -> Answer<WireMessage> {
    let (agent, message): (AgentId, MessageId) = (
        path_id("agent_id", &agent)?,
        path_id("message_id", &message)?,
    );
    let role = if body.names_type() {
        None
    } else {
        Some(facade.handles.reads.message(agent, message).await?.role)
    };
    let edit = body.into_domain(role)?;
    let wanted = edit.message_type();
    let changed = facade
        .handles
        .directory
        .agent(agent)
        .await?
        .edit_message(message, edit.into())
        .await?;
    let view = View::default();
    let mut pieces = piece::pieces(&changed, &Reading::listed(&view, true)).into_iter();
    let shown = pieces
        .find(|piece| piece.body.message_type() == wanted)
        .ok_or(Refused::NoSuchMessage(message))?;
    Ok(Json(shown.into()))
}

impl From<Edit> for TextEdit {
    fn from(edit: Edit) -> Self {
        match edit {
            Edit::System(text) => Self::System(text),
            Edit::User(parts) => Self::User(parts),
            Edit::Assistant(text) => Self::Assistant(text),
            Edit::Reasoning(text) => Self::Reasoning(text),
        }
    }
}

impl From<BadEdit> for ApiError {
    fn from(bad: BadEdit) -> Self {
        match &bad {
            BadEdit::Missing(field) => Misfit::missing(&["body", field], Value::Null).into(),
            BadEdit::Unknown(given) => {
                let loc = ["body", "message_type"];
                Self::invalid(&loc, "literal_error", &bad, given.as_str())
            }
            BadEdit::NoText(_) | BadEdit::Content(_) => Self::argument(bad),
        }
    }
}
