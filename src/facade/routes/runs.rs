//! Runs: lists, details, streams to read again.

use super::agents_messages::shown;
use crate::domain::id::{AgentId, RunId};
use crate::domain::page::{Order, Page};
use crate::domain::piece::Reading;
use crate::domain::run::{LaneId, RunFilter, RunStatus, StopReason};
use crate::facade::Facade;
use crate::facade::error::{Answer, ApiError};
use crate::facade::extract::{InPath, OptionalBody, Params, run_id};
use crate::facade::sse::Stream;
use crate::wire::message::Message;
use crate::wire::run::{Metrics, RetrieveStream, Run, Usage};
use crate::wire::step::{self, Step};
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::Value;
use std::ops::RangeInclusive;

pub(super) fn routes() -> Router<Facade> {
    Router::new()
        .route("/runs", get(list))
        .route("/runs/active", get(active))
        .route("/runs/{run_id}", get(retrieve).delete(delete))
        .route("/runs/{run_id}/messages", get(messages))
        .route("/runs/{run_id}/usage", get(usage))
        .route("/runs/{run_id}/metrics", get(metrics))
        .route("/runs/{run_id}/steps", get(steps))
        .route("/runs/{run_id}/trace", get(trace))
        .route("/runs/{run_id}/stream", post(stream))
}

async fn list(State(facade): State<Facade>, params: Params) -> Answer<Vec<Run>> {
    let limit = within(&params, 100, 1..=1000)?;
    let statuses = params.all_named(
        "statuses",
        RunStatus::parse,
        &RunStatus::ALL.map(RunStatus::name),
    )?;
    let active = params.flag("active")?.unwrap_or(false) && statuses.is_empty();
    // The old name of `order`, which wins when both are sent.
    let default = if params.flag("ascending")?.unwrap_or(false) {
        Order::Ascending
    } else {
        Order::Descending
    };
    let filter = RunFilter {
        statuses: if active { ACTIVE.to_vec() } else { statuses },
        ..filter(&params)?
    };
    let page = Page {
        limit,
        ..params.page(limit, default)?
    };
    let runs = facade.handles.reads.runs(filter, page).await?;
    Ok(Json(runs.into_iter().map(Run::from).collect()))
}

/// A limit that is refused outside its bounds, unlike those of the other lists.
fn within(params: &Params, default: u64, bounds: RangeInclusive<u64>) -> Result<usize, ApiError> {
    let limit = params.number_within("limit", bounds)?.unwrap_or(default);
    Ok(usize::try_from(limit).unwrap_or(usize::MAX))
}

const ACTIVE: [RunStatus; 2] = [RunStatus::Created, RunStatus::Running];

async fn active(State(facade): State<Facade>, params: Params) -> Answer<Vec<Run>> {
    let filter = RunFilter {
        statuses: ACTIVE.to_vec(),
        ..filter(&params)?
    };
    let page = Page {
        after: None,
        before: None,
        limit: 100,
        order: Order::Descending,
    };
    let runs = facade.handles.reads.runs(filter, page).await?;
    Ok(Json(runs.into_iter().map(Run::from).collect()))
}

fn filter(params: &Params) -> Result<RunFilter, ApiError> {
    let mut agent_ids = params.ids("agent_ids")?;
    agent_ids.extend(params.id::<AgentId>("agent_id")?);
    let lane = match params.text("conversation_id").as_deref() {
        Some("default") => Some(LaneId::Default),
        _ => params.id("conversation_id")?.map(LaneId::Conversation),
    };
    Ok(RunFilter {
        agent_ids,
        statuses: Vec::new(),
        background: params.flag("background")?,
        stop_reason: params.named(
            "stop_reason",
            StopReason::parse,
            &StopReason::ALL.map(StopReason::name),
        )?,
        lane,
    })
}

async fn retrieve(State(facade): State<Facade>, InPath(id): InPath<String>) -> Answer<Run> {
    Ok(Json(facade.handles.reads.run(run_id(&id)?).await?.into()))
}

async fn delete(State(facade): State<Facade>, InPath(id): InPath<String>) -> Answer<Value> {
    let id = run_id(&id)?;
    let run = facade.handles.reads.run(id).await?;
    facade
        .handles
        .directory
        .agent(run.agent_id)
        .await?
        .delete_run(id)
        .await?;
    Ok(Json(Value::Null))
}

/// What the run wrote, its inputs included; by the view that was asked for when it was sent.
async fn messages(
    State(facade): State<Facade>,
    InPath(id): InPath<String>,
    params: Params,
) -> Answer<Vec<Message>> {
    let id = run_id(&id)?;
    let run = facade.handles.reads.run(id).await?;
    let page = params.page(100, Order::Ascending)?;
    let mut messages = facade.handles.reads.run_messages(id).await?;
    if page.order == Order::Descending {
        messages.reverse();
    }
    let messages = page.cut(messages, |message| message.id);
    let turn_loop = facade.handles.reads.turn_loop(run.agent_id).await?;
    Ok(Json(shown(messages, &Reading::live(&run.view, turn_loop))))
}

async fn usage(State(facade): State<Facade>, InPath(id): InPath<String>) -> Answer<Usage> {
    Ok(Json(Usage::from(
        &facade.handles.reads.run(run_id(&id)?).await?,
    )))
}

async fn metrics(State(facade): State<Facade>, InPath(id): InPath<String>) -> Answer<Metrics> {
    Ok(Json(Metrics::from(
        &facade.handles.reads.run(run_id(&id)?).await?,
    )))
}

async fn steps(
    State(facade): State<Facade>,
    InPath(id): InPath<String>,
    params: Params,
) -> Answer<Vec<Step>> {
    let page = params.page(100, Order::Descending)?;
    let mut steps = facade.handles.reads.run_steps(run_id(&id)?).await?;
    if page.order == Order::Descending {
        steps.reverse();
    }
    Ok(Json(
        page.cut(steps, |step| step.id)
            .into_iter()
            .map(Step::from)
            .collect(),
    ))
}

/// The spans of a run: its steps.
async fn trace(
    State(facade): State<Facade>,
    InPath(id): InPath<String>,
    params: Params,
) -> Answer<Vec<Value>> {
    let limit = within(&params, 1000, 1..=5000)?;
    let steps = facade.handles.reads.run_steps(run_id(&id)?).await?;
    Ok(Json(steps.iter().take(limit).map(step::span).collect()))
}

/// Reads a background run's frames from a number on: stored ones first, then as they come.
async fn stream(
    State(facade): State<Facade>,
    InPath(id): InPath<String>,
    OptionalBody(body): OptionalBody<RetrieveStream>,
) -> Result<Response, ApiError> {
    let run: RunId = run_id(&id)?;
    let body = body.unwrap_or_default();
    let after = body.starting_after.unwrap_or(0);
    let pings = body.include_pings.unwrap_or(true);
    let reader = facade.handles.directory.frames(run, after).await?;
    let agent = facade.handles.reads.run(run).await?.agent_id;
    Ok(Stream {
        facade,
        agent,
        run,
        reader,
        pings,
        background: true,
        chat: None,
    }
    .into_response())
}
