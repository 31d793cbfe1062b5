//! Conversations: create, list, retrieve, modify, delete, fork; their messages, streams, cancel, compact
//! and recompile.
//!
//! Where a path may name a thread, it is a conversation's id, or `default` with an agent's id beside it, or (older clients)
//! the agent's id itself: the last two mean the agent's default thread.

use super::agents_messages::{self, shown};
use crate::actors::reads::{ConversationView, Relations, ThreadFilter, ThreadPage};
use crate::actors::refused::Refused;
use crate::domain::conversation::{
    ConversationChange, ConversationFilter, ConversationOrder, NewConversation,
};
use crate::domain::id::{AgentId, ConversationId, RunId};
use crate::domain::model::{Handle, LlmConfig};
use crate::domain::page::{Order, Page};
use crate::domain::piece::Reading;
use crate::domain::run::LaneId;
use crate::facade::Facade;
use crate::facade::compaction::compact;
use crate::facade::error::{Answer, ApiError};
use crate::facade::extract::{Body, Caller, InPath, OptionalBody, Params, run_id, time};
use crate::facade::misfit::Misfit;
use crate::facade::sse::Stream;
use crate::facade::turn::{Turn, received, received_if_any};
use crate::wire::compaction::{Compact, Compacted};
use crate::wire::conversation::{Conversation, CreateConversation, UpdateConversation};
use crate::wire::message::Message;
use crate::wire::run::RetrieveStream;
use crate::wire::send::Send;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Map, Value};
use std::time::{Duration, Instant};

pub(super) fn routes() -> Router<Facade> {
    Router::new()
        .route("/conversations", get(list).post(create))
        .route(
            "/conversations/{conversation_id}",
            get(retrieve).patch(modify).delete(delete),
        )
        .route("/conversations/{conversation_id}/fork", post(fork))
        .route(
            "/conversations/{conversation_id}/messages",
            get(messages).post(send),
        )
        .route(
            "/conversations/{conversation_id}/messages/preview-raw-payload",
            post(preview),
        )
        .route("/conversations/{conversation_id}/stream", post(stream))
        .route("/conversations/{conversation_id}/cancel", post(cancel))
        .route(
            "/conversations/{conversation_id}/compact",
            post(compact_thread),
        )
        .route(
            "/conversations/{conversation_id}/recompile",
            post(recompile),
        )
}

// ── names

/// What a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    Default,
    DefaultOf(AgentId),
    Conversation(ConversationId),
}

/// Where only a conversation will do.
fn conversation_id(text: &str) -> Result<ConversationId, ApiError> {
    text.parse()
        .map_err(|_| misspelt(text, 41..=41, &pattern("conv")))
}

fn named(text: &str) -> Result<Named, ApiError> {
    if text == "default" {
        return Ok(Named::Default);
    }
    let agent = text.parse().map(Named::DefaultOf).ok();
    let conversation = || text.parse().map(Named::Conversation).ok();
    agent.or_else(conversation).ok_or_else(|| {
        let (conversation, agent) = (pattern("conv"), pattern("agent"));
        misspelt(text, 1..=42, &format!("(default|{conversation}|{agent})"))
    })
}

fn pattern(prefix: &str) -> String {
    format!(
        "{prefix}-[0-9a-f]{{8}}-[0-9a-f]{{4}}-4[0-9a-f]{{3}}-[89ab][0-9a-f]{{3}}-[0-9a-f]{{12}}"
    )
}

/// Unlike other ids this one is told with its length and its whole pattern (wire-rules §1).
fn misspelt(text: &str, length: std::ops::RangeInclusive<usize>, pattern: &str) -> ApiError {
    let loc = ["path", "conversation_id"];
    let found = text.chars().count();
    let counted = |bound: usize| {
        if bound == 1 {
            "character"
        } else {
            "characters"
        }
    };
    let (least, most) = (*length.start(), *length.end());
    let misfit = if found < least {
        let message = format!("String should have at least {least} {}", counted(least));
        Misfit::new(&loc, "string_too_short", message, text).with("min_length", least)
    } else if found > most {
        let message = format!("String should have at most {most} {}", counted(most));
        Misfit::new(&loc, "string_too_long", message, text).with("max_length", most)
    } else {
        let pattern = format!("^{pattern}$");
        let message = format!("String should match pattern '{pattern}'");
        Misfit::new(&loc, "string_pattern_mismatch", message, text).with("pattern", pattern)
    };
    misfit.into()
}

/// An agent named outside the path, where every text is allowed and most name nobody.
fn agent(text: &str) -> Result<AgentId, ApiError> {
    text.parse()
        .map_err(|_| ApiError::not_found(format_args!("agent {text} not found")))
}

/// The thread that a path names, with its agent.
async fn thread(
    facade: &Facade,
    text: &str,
    agent_id: Option<&str>,
) -> Result<(AgentId, LaneId), ApiError> {
    match named(text)? {
        Named::Conversation(id) => {
            let agent = facade.handles.reads.agent_of(id).await?;
            Ok((agent, LaneId::Conversation(id)))
        }
        Named::DefaultOf(agent) => Ok((agent, LaneId::Default)),
        Named::Default => {
            let nobody = "the default conversation is an agent's: give its agent_id";
            let text = agent_id.ok_or_else(|| ApiError::not_found(nobody))?;
            Ok((agent(text)?, LaneId::Default))
        }
    }
}

// ── conversations

fn state(view: &ConversationView) -> Conversation {
    Conversation::new(&view.conversation, &view.message_ids)
}

async fn create(
    State(facade): State<Facade>,
    caller: Caller,
    params: Params,
    OptionalBody(body): OptionalBody<CreateConversation>,
) -> Answer<Conversation> {
    let text = params.text("agent_id");
    let text = text.ok_or_else(|| Misfit::missing(&["query", "agent_id"], Value::Null))?;
    let agent = facade.handles.directory.agent(agent(&text)?).await?;
    let body = body.unwrap_or_default();
    let new = NewConversation {
        id: ConversationId::new(),
        llm_config: model(&facade, body.model.as_deref()).await?,
        model_settings: body.model_settings(),
        summary: body.summary,
        isolated: body.isolated_block_labels.unwrap_or_default(),
        by: caller.user,
    };
    let id = new.id;
    agent.create_conversation(new).await?;
    Ok(Json(state(&facade.handles.reads.conversation(id).await?)))
}

/// The configuration that a handle stands for.
async fn model(facade: &Facade, handle: Option<&str>) -> Result<Option<LlmConfig>, ApiError> {
    let Some(handle) = handle else {
        return Ok(None);
    };
    if Handle::parse(handle).is_none() {
        return Err(ApiError::argument(format_args!(
            "model: '{handle}' is not of the form provider/model"
        )));
    }
    let configured = facade.handles.library.configure(Some(handle)).await?;
    Ok(Some(configured))
}

async fn list(State(facade): State<Facade>, params: Params) -> Answer<Vec<Conversation>> {
    let orders = [
        ("created_at", ConversationOrder::CreatedAt),
        ("last_run_completion", ConversationOrder::LastRunCompletion),
        ("last_message_at", ConversationOrder::LastMessageAt),
    ];
    let order_by = params.word("order_by", &orders)?;
    let page: Page<ConversationId> = params.page_in_any_order(50, Order::Descending)?;
    let agent_id = params.text("agent_id").map(|text| agent(&text));
    let filter = ConversationFilter {
        agent_id: agent_id.transpose()?,
        summary_search: params.text("summary_search"),
    };
    let page = Page {
        before: None,
        ..page
    };
    let order_by = order_by.unwrap_or(ConversationOrder::CreatedAt);
    let reads = &facade.handles.reads;
    if let Some(after) = page.after {
        // Unlike those of other lists (wire-rules §6).
        reads.agent_of(after).await?;
    }
    let views = reads.conversations(filter, order_by, page).await?;
    Ok(Json(views.iter().map(state).collect()))
}

async fn retrieve(
    State(facade): State<Facade>,
    InPath(id): InPath<String>,
) -> Answer<Conversation> {
    let view = facade.handles.reads.conversation(conversation_id(&id)?);
    Ok(Json(state(&view.await?)))
}

async fn modify(
    State(facade): State<Facade>,
    caller: Caller,
    InPath(id): InPath<String>,
    Body(body): Body<UpdateConversation>,
) -> Answer<Conversation> {
    let id = conversation_id(&id)?;
    let agent = facade.handles.reads.agent_of(id).await?;
    let last_message_at = body.last_message_at.as_ref().map(|text| {
        let loc = ["body", "last_message_at"];
        let message = "Input should be a valid datetime";
        let bad = || ApiError::invalid(&loc, "datetime_parsing", message, text.as_str());
        time(text).ok_or_else(bad)
    });
    let change = ConversationChange {
        llm_config: model(&facade, body.model.as_deref()).await?,
        model_settings: body.model_settings(),
        summary: body.summary,
        last_message_at: last_message_at.transpose()?,
    };
    let agent = facade.handles.directory.agent(agent).await?;
    agent.modify_conversation(id, change, caller.user).await?;
    Ok(Json(state(&facade.handles.reads.conversation(id).await?)))
}

async fn delete(State(facade): State<Facade>, InPath(id): InPath<String>) -> Answer<Value> {
    let id = conversation_id(&id)?;
    let agent = facade.handles.reads.agent_of(id).await?;
    let agent = facade.handles.directory.agent(agent).await?;
    agent.delete_conversation(id).await?;
    Ok(Json(Value::Null))
}

async fn fork(
    State(facade): State<Facade>,
    caller: Caller,
    InPath(from): InPath<String>,
    params: Params,
) -> Answer<Conversation> {
    let (agent, from) = thread(&facade, &from, params.text("agent_id").as_deref()).await?;
    let id = ConversationId::new();
    let agent = facade.handles.directory.agent(agent).await?;
    agent.fork(from, id, caller.user).await?;
    Ok(Json(state(&facade.handles.reads.conversation(id).await?)))
}

/// Compiles the thread's system message anew; answers with its text.
async fn recompile(
    State(facade): State<Facade>,
    InPath(id): InPath<String>,
    params: Params,
    OptionalBody(body): OptionalBody<Compact>,
) -> Answer<String> {
    let dry = params.flag("dry_run")?.unwrap_or(false);
    let agent_id = body.and_then(|body| body.agent_id);
    let (agent, thread) = thread(&facade, &id, agent_id.as_deref()).await?;
    let agent = facade.handles.directory.agent(agent).await?;
    Ok(Json(agent.recompile(thread, true, dry).await?))
}

/// Puts a summary in the place of older messages of the thread.
async fn compact_thread(
    State(facade): State<Facade>,
    caller: Caller,
    InPath(id): InPath<String>,
    request: Request,
) -> Answer<Compacted> {
    let (body, repeat) = received_if_any::<Compact>(&facade, caller, request).await?;
    let body = body.unwrap_or_default();
    let (agent, thread) = thread(&facade, &id, body.agent_id.as_deref()).await?;
    let change = body.into_change();
    let compacted = compact(&facade, agent, thread, change, true, repeat);
    Ok(Json(compacted.await?))
}

// ── messages

/// Runs the agent in a thread: a stream, or the whole turn with `streaming=false`. A busy thread is refused at once.
async fn send(
    State(facade): State<Facade>,
    caller: Caller,
    InPath(id): InPath<String>,
    request: Request,
) -> Result<Response, ApiError> {
    named(&id)?;
    let (body, repeat) = received::<Send>(&facade, caller, request).await?;
    let (agent, thread) = thread(&facade, &id, body.agent_id.as_deref()).await?;
    let run_type = match thread {
        LaneId::Default => "send_message",
        LaneId::Conversation(_) => "send_conversation_message",
    };
    let streaming = body.streaming.unwrap_or(true);
    let turn = Turn::new(facade, agent, body, repeat).in_thread(thread);
    if streaming {
        turn.streamed(run_type).await
    } else {
        turn.blocking(run_type).await
    }
}

/// The request to the model's provider that a send of this body would begin with.
async fn preview(
    State(facade): State<Facade>,
    caller: Caller,
    InPath(id): InPath<String>,
    request: Request,
) -> Result<Response, ApiError> {
    named(&id)?;
    let (body, repeat) = received::<Send>(&facade, caller, request).await?;
    let (agent, thread) = thread(&facade, &id, body.agent_id.as_deref()).await?;
    let turn = Turn::new(facade, agent, body, repeat).in_thread(thread);
    turn.preview(true).await
}

/// A page of a thread's messages. A default thread is listed like its agent's messages, any other in the order that was
/// asked for (decisions 5).
async fn messages(
    State(facade): State<Facade>,
    InPath(id): InPath<String>,
    params: Params,
) -> Answer<Vec<Message>> {
    let agent_id = params.text("agent_id");
    let id = match (named(&id)?, agent_id) {
        (Named::Conversation(id), _) => id,
        (Named::Default, None) => return Ok(Json(Vec::new())),
        (Named::Default, Some(text)) => {
            let (agent, filter) = (agent(&text)?, ThreadFilter::Default);
            return agents_messages::page(&facade, agent, filter, &params).await;
        }
        (Named::DefaultOf(agent), _) => {
            return agents_messages::page(&facade, agent, ThreadFilter::Default, &params).await;
        }
    };
    let page = ThreadPage {
        page: params.page(100, Order::Descending)?,
        group_id: params.text("group_id"),
        include_errors: params.flag("include_err")?.unwrap_or(false),
    };
    let view = agents_messages::view(&params)?;
    let messages = facade.handles.reads.conversation_messages(id, page);
    Ok(Json(shown(messages.await?, &Reading::listed(&view, true))))
}

/// Cancels what is active in a thread.
async fn cancel(
    State(facade): State<Facade>,
    InPath(id): InPath<String>,
    params: Params,
) -> Answer<Map<String, Value>> {
    let (agent, thread) = thread(&facade, &id, params.text("agent_id").as_deref()).await?;
    let cancelled = facade
        .handles
        .directory
        .cancel_thread(agent, thread)
        .await?;
    let answer = cancelled.into_iter();
    Ok(Json(
        answer
            .map(|run| (run.to_string(), Value::from("cancelled")))
            .collect(),
    ))
}

/// Reads a background run of a thread again: the named one, the one that accepted an `otid`, or the newest that is active.
async fn stream(
    State(facade): State<Facade>,
    InPath(id): InPath<String>,
    OptionalBody(body): OptionalBody<RetrieveStream>,
) -> Result<Response, ApiError> {
    let body = body.unwrap_or_default();
    named(&id)?;
    let run = match &body.run_id {
        Some(run) => run_id(run)?,
        None => {
            let (agent, thread) = thread(&facade, &id, body.agent_id.as_deref()).await?;
            match &body.otid {
                Some(otid) => accepted(&facade, agent, thread, otid).await?,
                None => active(&facade, agent, thread).await?,
            }
        }
    };
    let after = body.starting_after.unwrap_or(0);
    let reader = facade.handles.directory.frames(run, after).await?;
    let agent = facade.handles.reads.run(run).await?.agent_id;
    let stream = Stream {
        facade,
        agent,
        run,
        reader,
        pings: body.include_pings.unwrap_or(true),
        background: true,
        chat: None,
    };
    Ok(stream.into_response())
}

/// How long a send that is on its way may take to become a run.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);

async fn accepted(
    facade: &Facade,
    agent: AgentId,
    thread: LaneId,
    otid: &str,
) -> Result<RunId, ApiError> {
    let since = Instant::now();
    let reads = &facade.handles.reads;
    loop {
        if let Some(run) = reads.run_of_otid(agent, thread, otid.to_owned()).await? {
            return Ok(run);
        }
        if since.elapsed() >= PATIENCE {
            let text = format_args!("no background run with otid {otid} found");
            return Err(ApiError::not_found(text));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn active(facade: &Facade, agent: AgentId, thread: LaneId) -> Result<RunId, ApiError> {
    let reads = &facade.handles.reads;
    let nothing = Relations::default();
    reads.agent(agent, nothing).await?;
    let active = reads.active_run(agent, thread).await?;
    Ok(active.ok_or(Refused::NoActiveRun)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_a_thread_in_three_ways() {
        let (agent, conversation) = (AgentId::new(), ConversationId::new());
        let named = |text: &str| named(text).ok();
        assert_eq!(named("default"), Some(Named::Default));
        assert_eq!(named(&agent.to_string()), Some(Named::DefaultOf(agent)));
        assert_eq!(
            named(&conversation.to_string()),
            Some(Named::Conversation(conversation))
        );
        for bad in ["", "other", "conv-1", &format!("{conversation}0")] {
            assert_eq!(named(bad), None);
        }
        assert!(conversation_id("default").is_err());
        assert!(conversation_id(&agent.to_string()).is_err());
    }
}
