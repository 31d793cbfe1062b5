//! Tools: those of an agent, and those that the program knows.

use crate::actors::reads::Relations;
use crate::actors::refused::Refused;
use crate::domain::id::{AgentId, ToolId};
use crate::domain::page::{Order, Page};
use crate::domain::tool::Tool as Domain;
use crate::facade::Facade;
use crate::facade::error::{Answer, ApiError};
use crate::facade::extract::{Body, Caller, InPath, OptionalBody, Params, PathId, path_id};
use crate::facade::routes::agents;
use crate::wire::agent::Shown;
use crate::wire::tool::{
    GenerateSchema, ModifyApproval, RunTool, SourceType, Tool, ToolExecutionResult,
};
use axum::extract::State;
use axum::routing::{get, patch, post};
use axum::{Json, Router};
use serde_json::Value;
use std::sync::Arc;

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
        .route("/tools", get(list))
        .route("/tools/count", get(count))
        .route("/tools/generate-schema", post(generate_schema))
        .route("/tools/{tool_id}", get(retrieve))
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

async fn list(State(facade): State<Facade>, params: Params) -> Answer<Vec<Tool>> {
    let page: Page<ToolId> = params.page(50, Order::Descending)?;
    let mut tools = matching(&facade, &params)?;
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

async fn count(State(facade): State<Facade>, params: Params) -> Answer<usize> {
    Ok(Json(matching(&facade, &params)?.len()))
}

/// The tools that a list's filters keep. All of them come with the program, so `return_only_letta_tools` takes none away.
fn matching(facade: &Facade, params: &Params) -> Result<Vec<Arc<Domain>>, ApiError> {
    if params.flag("exclude_letta_tools")?.unwrap_or(false) {
        return Ok(Vec::new());
    }
    let (name, names, ids) = (
        params.text("name"),
        params.all("names"),
        params.all("tool_ids"),
    );
    let (types, excluded) = (
        types(params, "tool_types")?,
        types(params, "exclude_tool_types")?,
    );
    let search = params.text("search").map(|search| search.to_lowercase());
    let mut tools = facade.handles.library.tools();
    tools.retain(|tool| {
        let is_of = |types: &[String]| types.iter().any(|kind| kind == tool.tool_type.name());
        name.as_ref().is_none_or(|name| *name == tool.name)
            && (names.is_empty() || names.contains(&tool.name))
            && (ids.is_empty() || ids.contains(&tool.id.to_string()))
            && (types.is_empty() || is_of(&types))
            && !is_of(&excluded)
            && search
                .as_ref()
                .is_none_or(|search| tool.name.to_lowercase().contains(search))
    });
    Ok(tools)
}

/// All that the contract knows; of the last two there are no tools any more.
const TYPES: [&str; 11] = [
    "custom",
    "letta_core",
    "letta_memory_core",
    "letta_multi_agent_core",
    "letta_sleeptime_core",
    "letta_voice_sleeptime_core",
    "letta_builtin",
    "letta_files_core",
    "external_mcp",
    "external_langchain",
    "external_composio",
];

/// Types of tools by name; one that the contract does not know is 400.
fn types(params: &Params, name: &str) -> Result<Vec<String>, ApiError> {
    let types = params.all(name);
    match types.iter().find(|kind| !TYPES.contains(&kind.as_str())) {
        Some(unknown) => Err(ApiError::argument(format_args!(
            "there is no tool type '{unknown}'"
        ))),
        None => Ok(types),
    }
}

/// The schema that a source comes to: parsed, never run. TypeScript is not read yet.
async fn generate_schema(
    State(facade): State<Facade>,
    Body(body): Body<GenerateSchema>,
) -> Answer<Value> {
    if body.source_type == Some(SourceType::Typescript) {
        return Err(ApiError::missing("generate_schema of TypeScript"));
    }
    let schema = facade.handles.library.schema_of(body.code).await?;
    Ok(Json(schema))
}

async fn retrieve(State(facade): State<Facade>, PathId(id): PathId<ToolId>) -> Answer<Tool> {
    let tool = facade
        .handles
        .library
        .tools()
        .into_iter()
        .find(|tool| tool.id == id);
    let tool = tool.ok_or(Refused::NoSuchTool(id))?;
    Ok(Json(Tool::from(&*tool)))
}
