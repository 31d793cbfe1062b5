//! Steps: lists, details, feedback.

use super::agents_messages::shown;
use crate::domain::agent::TurnLoop;
use crate::domain::id::StepId;
use crate::domain::page::Order;
use crate::domain::piece::Reading;
use crate::domain::run::{Feedback, StepFilter, View};
use crate::facade::Facade;
use crate::facade::error::Answer;
use crate::facade::extract::{Body, Params, PathId};
use crate::wire::message::Message;
use crate::wire::step::{FeedbackIn, Metrics, ProviderTrace, Step};
use axum::extract::State;
use axum::routing::{get, patch};
use axum::{Json, Router};

pub(super) fn routes() -> Router<Facade> {
    Router::new()
        .route("/steps", get(list))
        .route("/steps/{step_id}", get(retrieve))
        .route("/steps/{step_id}/metrics", get(metrics))
        .route("/steps/{step_id}/messages", get(messages))
        .route("/steps/{step_id}/trace", get(trace))
        .route("/steps/{step_id}/feedback", patch(feedback))
}

async fn list(State(facade): State<Facade>, params: Params) -> Answer<Vec<Step>> {
    let words = [
        ("positive", Feedback::Positive),
        ("negative", Feedback::Negative),
    ];
    let filter = StepFilter {
        agent_id: params.id("agent_id")?,
        model: params.text("model"),
        trace_ids: params.all("trace_ids"),
        feedback: params.word("feedback", &words)?,
        has_feedback: params.flag("has_feedback")?,
        tags: params.all("tags"),
        project_id: params.text("project_id"),
        start: params.time("start_date")?,
        end: params.time("end_date")?,
    };
    let steps = facade
        .handles
        .reads
        .steps(filter, params.page(50, Order::Descending)?)
        .await?;
    Ok(Json(steps.into_iter().map(Step::from).collect()))
}

async fn retrieve(State(facade): State<Facade>, PathId(id): PathId<StepId>) -> Answer<Step> {
    Ok(Json(facade.handles.reads.step(id).await?.into()))
}

async fn metrics(State(facade): State<Facade>, PathId(id): PathId<StepId>) -> Answer<Metrics> {
    Ok(Json(facade.handles.reads.step(id).await?.into()))
}

/// What the step wrote, oldest first; the pieces of each message reversed, as the contract has it.
async fn messages(
    State(facade): State<Facade>,
    PathId(id): PathId<StepId>,
    params: Params,
) -> Answer<Vec<Message>> {
    let page = params.page(100, Order::Ascending)?;
    let mut messages = facade.handles.reads.step_messages(id).await?;
    let turn_loop = match messages.first() {
        Some(message) => facade.handles.reads.turn_loop(message.agent_id).await?,
        None => TurnLoop::Native,
    };
    if page.order == Order::Descending {
        messages.reverse();
    }
    let view = View::default();
    let reading = Reading::live(&view, turn_loop);
    let pieces = page
        .cut(messages, |message| message.id)
        .into_iter()
        .flat_map(|message| {
            let mut pieces = shown(vec![message], &reading);
            pieces.reverse();
            pieces
        });
    Ok(Json(pieces.collect()))
}

/// What was said to the provider and what it answered; null when that is no longer kept.
async fn trace(
    State(facade): State<Facade>,
    PathId(id): PathId<StepId>,
) -> Answer<Option<ProviderTrace>> {
    let step = facade.handles.reads.step(id).await?;
    let trace = facade.handles.reads.step_trace(id).await?;
    Ok(Json(trace.map(|trace| ProviderTrace::new(&step, &trace))))
}

async fn feedback(
    State(facade): State<Facade>,
    PathId(id): PathId<StepId>,
    Body(body): Body<FeedbackIn>,
) -> Answer<Step> {
    let step = facade.handles.reads.step(id).await?;
    let agent = facade.handles.directory.agent(step.agent_id).await?;
    let step = agent
        .set_feedback(id, body.feedback.map(Feedback::from), body.tags)
        .await?;
    Ok(Json(step.into()))
}
