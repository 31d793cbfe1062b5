//! Tools: those in the program, and those that clients write.

use crate::domain::clock;
use crate::domain::id::ToolId;
use crate::domain::page::{Order, Page};
use crate::domain::tool::Tool as Domain;
use crate::facade::Facade;
use crate::facade::error::{Answer, ApiError};
use crate::facade::extract::{Body, Caller, Params, PathId};
use crate::facade::misfit::Misfit;
use crate::wire::tool::{
    GenerateSchema, RunSource, SourceReturn, SourceType, Tool, ToolCreate, ToolSearch,
    ToolSearchResult, ToolUpdate, UnknownLanguage,
};
use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::Value;
use std::sync::Arc;

pub(super) fn routes() -> Router<Facade> {
    Router::new()
        .route("/tools", get(list).post(upsert).put(upsert))
        .route("/tools/count", get(count))
        .route("/tools/run", post(run))
        .route("/tools/search", post(search))
        .route("/tools/add-base-tools", post(base_tools))
        .route("/tools/generate-schema", post(generate_schema))
        .route(
            "/tools/{tool_id}",
            get(retrieve).patch(modify).delete(delete),
        )
}

impl From<UnknownLanguage> for ApiError {
    fn from(unknown: UnknownLanguage) -> Self {
        Self::argument(unknown)
    }
}

/// Writes a tool, in the place of one of its name if there is one.
async fn upsert(
    State(facade): State<Facade>,
    caller: Caller,
    Body(body): Body<ToolCreate>,
) -> Answer<Tool> {
    let library = &facade.handles.library;
    let tool = library.upsert_tool(body.into_domain()?, caller.user);
    Ok(Json(Tool::from(&*tool.await?)))
}

async fn modify(
    State(facade): State<Facade>,
    caller: Caller,
    PathId(id): PathId<ToolId>,
    Body(body): Body<ToolUpdate>,
) -> Answer<Tool> {
    let library = &facade.handles.library;
    let tool = library.modify_tool(id, body.into_domain()?, caller.user);
    Ok(Json(Tool::from(&*tool.await?)))
}

async fn delete(State(facade): State<Facade>, PathId(id): PathId<ToolId>) -> Answer<Value> {
    facade.handles.library.delete_tool(id).await?;
    Ok(Json(Value::Null))
}

/// Runs a source once. One that fails answers 200 with `status` `error`.
async fn run(State(facade): State<Facade>, Body(body): Body<RunSource>) -> Answer<SourceReturn> {
    let run = body.into_domain()?;
    let name = run.name.clone();
    let result = facade.handles.library.run_source(run).await?;
    Ok(Json(SourceReturn::new(name, result, clock::now())))
}

/// Those in the program: they are always there.
async fn base_tools(State(facade): State<Facade>) -> Answer<Vec<Tool>> {
    let mut tools = facade.handles.library.tools();
    tools.retain(|tool| tool.is_builtin());
    Ok(Json(tools.iter().map(|tool| Tool::from(&**tool)).collect()))
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

/// The tools that a list's filters keep.
fn matching(facade: &Facade, params: &Params) -> Result<Vec<Arc<Domain>>, ApiError> {
    let (name, names, ids) = (
        params.text("name"),
        params.all("names"),
        params.all("tool_ids"),
    );
    let (wanted, excluded) = (
        types(params, "tool_types")?,
        types(params, "exclude_tool_types")?,
    );
    let only_ours = params.flag("return_only_letta_tools")?.unwrap_or(false);
    let none_of_ours = params.flag("exclude_letta_tools")?.unwrap_or(false);
    let search = params.text("search").map(|search| search.to_lowercase());
    let mut tools = facade.handles.library.tools();
    tools.retain(|tool| {
        let is_of = |types: &[String]| types.iter().any(|kind| kind == tool.tool_type.name());
        name.as_ref().is_none_or(|name| *name == tool.name)
            && (names.is_empty() || names.contains(&tool.name))
            && (ids.is_empty() || ids.contains(&tool.id.to_string()))
            && (wanted.is_empty() || is_of(&wanted))
            && !is_of(&excluded)
            && (!only_ours || tool.is_builtin())
            && !(none_of_ours && tool.is_builtin())
            && search
                .as_ref()
                .is_none_or(|search| tool.name.to_lowercase().contains(search))
    });
    Ok(tools)
}

/// The tools whose name, description or tags have words of the query, those with the most first; all of them without one.
async fn search(
    State(facade): State<Facade>,
    Body(body): Body<ToolSearch>,
) -> Answer<Vec<ToolSearchResult>> {
    let limit = body.limit.unwrap_or(50);
    if !(1..=100).contains(&limit) {
        let message = "Input should be 1 to 100";
        return Err(Misfit::new(&["body", "limit"], "value_error", message, limit).into());
    }
    let (wanted, tags) = (
        body.tool_types.unwrap_or_default(),
        body.tags.unwrap_or_default(),
    );
    known_types(&wanted)?;
    let query = body.query.unwrap_or_default().to_lowercase();
    let words: Vec<&str> = query.split_whitespace().collect();
    let mut found: Vec<(usize, Arc<Domain>)> = facade
        .handles
        .library
        .tools()
        .into_iter()
        .filter(|tool| wanted.is_empty() || wanted.iter().any(|kind| kind == tool.tool_type.name()))
        .filter(|tool| tags.is_empty() || tags.iter().any(|tag| tool.tags.contains(tag)))
        .map(|tool| (hits(&tool, &words), tool))
        .filter(|(hits, _)| words.is_empty() || *hits > 0)
        .collect();
    found.sort_by_key(|(hits, _)| std::cmp::Reverse(*hits));
    let most = words.len().max(1) as f64 * NAME_WEIGHT as f64;
    let results = (1..)
        .zip(found)
        .take(usize::try_from(limit).unwrap_or(usize::MAX));
    let shown =
        results.map(|(rank, (hits, tool))| ToolSearchResult::new(&tool, rank, hits as f64 / most));
    Ok(Json(shown.collect()))
}

/// What a word in the name counts against one in the description.
const NAME_WEIGHT: usize = 2;

fn hits(tool: &Domain, words: &[&str]) -> usize {
    let (name, description) = (tool.name.to_lowercase(), tool.description.to_lowercase());
    let tags = tool.tags.join(" ").to_lowercase();
    let hit = |word: &&str| match () {
        () if name.contains(*word) => NAME_WEIGHT,
        () => usize::from(description.contains(*word) || tags.contains(*word)),
    };
    words.iter().map(hit).sum()
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
    known_types(&types)?;
    Ok(types)
}

fn known_types(types: &[String]) -> Result<(), ApiError> {
    match types.iter().find(|kind| !TYPES.contains(&kind.as_str())) {
        Some(unknown) => Err(ApiError::argument(format_args!(
            "there is no tool type '{unknown}'"
        ))),
        None => Ok(()),
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
    Ok(Json(Tool::from(&*facade.handles.library.tool(id)?)))
}
