//! An agent as a model of OpenAI's chat completions: the same runs, told in that form (runs-and-streaming §1).

use crate::domain::id::AgentId;
use crate::facade::Facade;
use crate::facade::error::ApiError;
use crate::facade::extract::Caller;
use crate::facade::turn::{Turn, received};
use crate::wire::chat::{BadChat, Chunks, Completion, Request as ChatRequest};
use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;

pub(super) fn routes() -> Router<Facade> {
    Router::new()
        .route("/chat/completions", post(complete))
        .route(
            "/voice-beta/{agent_id}/chat/completions",
            post(async || ApiError::removed("POST /v1/chat/completions")),
        )
}

const RUN_TYPE: &str = "openai_chat_completions";

/// Runs the agent that `model` names on the last user message; answers whole, or in chunks with `stream`.
async fn complete(
    State(facade): State<Facade>,
    caller: Caller,
    request: Request,
) -> Result<Response, ApiError> {
    let (body, repeat) = received::<ChatRequest>(&facade, caller, request).await?;
    let agent = agent(&body.model)?;
    let include_usage = body.include_usage();
    let streaming = body.stream == Some(true);
    let turn = Turn::new(facade.clone(), agent, body.into_send()?, repeat);
    if !streaming {
        return turn.whole(RUN_TYPE, Completion::new).await;
    }
    let mut stream = turn.frames(RUN_TYPE).await?;
    let run = facade.handles.reads.run(stream.run).await?;
    stream.chat = Some(Chunks::new(&run, include_usage));
    Ok(stream.into_response())
}

/// Clients offer the names of models in this field: one that is no agent's id names no agent.
fn agent(model: &str) -> Result<AgentId, ApiError> {
    let unknown = |_| ApiError::not_found(format_args!("agent {model} not found"));
    model.parse().map_err(unknown)
}

impl From<BadChat> for ApiError {
    fn from(bad: BadChat) -> Self {
        Self::argument(bad)
    }
}
