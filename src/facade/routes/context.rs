//! What an agent's model sees: the overview of its context, its system message, the request that it would be sent; and its
//! model without all of that.

use crate::actors::generation::Prompt;
use crate::domain::id::{AgentId, ConversationId};
use crate::domain::run::LaneId;
use crate::facade::Facade;
use crate::facade::error::{Answer, ApiError};
use crate::facade::extract::{Body, Caller, Params, PathId};
use crate::facade::turn::Turn;
use crate::wire::context::Overview;
use crate::wire::generate::{Generate, Generated};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::Value;

pub(super) fn routes() -> Router<Facade> {
    Router::new()
        .route("/agents/{agent_id}/context", get(overview))
        .route("/agents/{agent_id}/recompile", post(recompile))
        .route(
            "/agents/{agent_id}/system-prompt/recompile",
            post(recompile),
        )
        .route(
            "/agents/{agent_id}/messages/preview-raw-payload",
            post(preview),
        )
        .route("/agents/{agent_id}/generate", post(generate))
}

/// What the model would be sent now, in its parts, and what each of them costs.
async fn overview(
    State(facade): State<Facade>,
    PathId(agent): PathId<AgentId>,
    params: Params,
) -> Result<Response, ApiError> {
    let lane = match params.text("conversation_id").as_deref() {
        None | Some("default") => LaneId::Default,
        Some(_) => {
            let conversation: Option<ConversationId> = params.id("conversation_id")?;
            conversation.map_or(LaneId::Default, LaneId::Conversation)
        }
    };
    let overview = facade.handles.reads.overview(agent, lane).await?;
    Ok(Json(Overview::from(&overview)).into_response())
}

/// Compiles the system message anew; answers with its text.
async fn recompile(
    State(facade): State<Facade>,
    PathId(agent): PathId<AgentId>,
    params: Params,
) -> Answer<String> {
    let update_timestamp = params.flag("update_timestamp")?.unwrap_or(false);
    let dry_run = params.flag("dry_run")?.unwrap_or(false);
    let agent = facade.handles.directory.agent(agent).await?;
    let text = agent.recompile(LaneId::Default, update_timestamp, dry_run);
    Ok(Json(text.await?))
}

/// The request to the model's provider that a send of this body would begin with, byte for byte.
async fn preview(
    State(facade): State<Facade>,
    caller: Caller,
    PathId(agent): PathId<AgentId>,
    request: Request,
) -> Result<Response, ApiError> {
    let turn = Turn::read(facade, agent, caller, request).await?;
    turn.preview(false).await
}

/// Asks the agent's model, or another one, without anything of the agent.
async fn generate(
    State(facade): State<Facade>,
    PathId(agent): PathId<AgentId>,
    Body(body): Body<Generate>,
) -> Result<Response, ApiError> {
    if body.prompt.trim().is_empty() {
        let loc = ["body", "prompt"];
        let message = "String should have at least 1 character";
        return Err(ApiError::invalid(
            &loc,
            "string_too_short",
            message,
            body.prompt,
        ));
    }
    let model = match &body.override_model {
        Some(handle) => Some(facade.handles.library.configure(Some(handle)).await?),
        None => None,
    };
    let prompt = Prompt {
        text: body.prompt,
        system: body.system_prompt.filter(|system| !system.is_empty()),
        model,
        schema: body.response_schema.map(Value::Object),
    };
    let generated = facade.handles.generator.generate(agent, prompt).await?;
    let answer = Generated::new(generated.text, generated.model, generated.usage);
    Ok(Json(answer).into_response())
}
