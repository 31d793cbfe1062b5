//! The tools of an agent: attached, gated, run because somebody asks.

use crate::actors::reads::Relations;
use crate::domain::id::{AgentId, ToolId};
use crate::domain::page::{Order, Page};
use crate::facade::Facade;
use crate::facade::error::{Answer, ApiError};
use crate::facade::extract::{Caller, InPath, OptionalBody, Params, PathId, path_id};
use crate::facade::routes::agents;
use crate::wire::agent::Shown;
use crate::wire::tool::{ModifyApproval, RunTool, Tool, ToolExecutionResult};
use axum::extract::State;
use axum::routing::{get, patch, post};
use axum::{Json, Router};
use serde_json::Value;

pub(super) fn routes() -> Router<Facade> {
    Router::new()
        .route("/agents/{agent_id}/tools", get(of_agent))
        .route(
            "/agents/{agent_id}/tools/approval/{tool_name}",
            patch(set_approval),
        )
        .route("/agents/{agent_id}/tools/attach/{tool_id}", patch(attach))
        .route("/agents/{agent_id}/tools/detach/{tool_id}", patch(detach))
        .route("/agents/{agent_id}/tools/{tool_name}/run", post(run))
}

/// Whether calls of an attached tool wait for somebody's word; older clients say it in the query.
async fn set_approval(
    State(facade): State<Facade>,
    caller: Caller,
    InPath((agent, tool)): InPath<(String, String)>,
    params: Params,
    OptionalBody(body): OptionalBody<ModifyApproval>,
) -> Answer<Value> {
    let agent: AgentId = path_id("agent_id", &agent)?;
    let in_query = params.flag("requires_approval")?;
    let Some(wanted) = body.map(|body| body.requires_approval).or(in_query) else {
        return Err(ApiError::plain_invalid(
            "requires_approval is given neither in the body nor in the query",
        ));
    };
    let handle = facade.handles.directory.agent(agent).await?;
    handle.set_approval(tool, wanted, caller.user).await?;
    changed(&facade, &caller, agent).await
}

async fn attach(
    State(facade): State<Facade>,
    caller: Caller,
    InPath(ids): InPath<(String, String)>,
) -> Answer<Value> {
    attach_or_detach(&facade, &caller, ids, true).await
}

async fn detach(
    State(facade): State<Facade>,
    caller: Caller,
    InPath(ids): InPath<(String, String)>,
) -> Answer<Value> {
    attach_or_detach(&facade, &caller, ids, false).await
}

async fn attach_or_detach(
    facade: &Facade,
    caller: &Caller,
    (agent, tool): (String, String),
    wanted: bool,
) -> Answer<Value> {
    let tool: ToolId = path_id("tool_id", &tool)?;
    let agent: AgentId = path_id("agent_id", &agent)?;
    let handle = facade.handles.directory.agent(agent).await?;
    handle.attach_tool(tool, wanted, caller.user).await?;
    changed(facade, caller, agent).await
}

/// Clients of the 1.x generation get null, older ones the agent.
async fn changed(facade: &Facade, caller: &Caller, agent: AgentId) -> Answer<Value> {
    if caller.v1 {
        return Ok(Json(Value::Null));
    }
    let view = facade.handles.reads.agent(agent, Relations::ALL).await?;
    Ok(Json(agents::state(&view, &Shown::EVERYTHING)))
}

/// Runs an attached tool at once. One that fails answers 200 with `status` `error`.
async fn run(
    State(facade): State<Facade>,
    InPath((agent, tool)): InPath<(String, String)>,
    OptionalBody(body): OptionalBody<RunTool>,
) -> Answer<ToolExecutionResult> {
    let agent: AgentId = path_id("agent_id", &agent)?;
    let handle = facade.handles.directory.agent(agent).await?;
    let arguments = body.unwrap_or_default().args;
    let result = handle.run_tool(&tool, arguments).await?;
    Ok(Json(result.into()))
}

async fn of_agent(
    State(facade): State<Facade>,
    PathId(agent): PathId<AgentId>,
    params: Params,
) -> Answer<Vec<Tool>> {
    let page: Page<ToolId> = params.page(10, Order::Descending)?;
    let relations = Relations {
        tools: true,
        ..Relations::default()
    };
    let mut tools = facade.handles.reads.agent(agent, relations).await?.tools;
    if page.order == Order::Descending {
        tools.reverse();
    }
    Ok(Json(
        page.cut(tools, |tool| tool.id)
            .iter()
            .map(|tool| Tool::from(&**tool))
            .collect(),
    ))
}
