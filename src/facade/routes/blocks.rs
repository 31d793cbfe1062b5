//! Blocks, whoever they are attached to.

use super::agents;
use crate::domain::block::{BlockFilter, NewBlock};
use crate::domain::id::{AgentId, BlockId};
use crate::domain::page::{Order, Page};
use crate::facade::Facade;
use crate::facade::error::{Answer, ApiError};
use crate::facade::extract::{Body, Caller, IfMatch, Params, PathId};
use crate::wire::block::{Block, BlockUpdate, CreateBlock};
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::Value;

pub(super) fn routes() -> Router<Facade> {
    Router::new()
        .route("/blocks", get(list).post(create))
        .route("/blocks/count", get(count))
        .route(
            "/blocks/{block_id}",
            get(retrieve).patch(modify).delete(delete),
        )
        .route("/blocks/{block_id}/agents", get(list_agents))
}

async fn list(State(facade): State<Facade>, params: Params) -> Answer<Vec<Block>> {
    let page: Page<BlockId> = params.page(50, Order::Ascending)?;
    let blocks = facade.handles.reads.blocks(filter(&params)?, page).await?;
    Ok(Json(blocks.iter().map(Block::from).collect()))
}

async fn count(State(facade): State<Facade>, params: Params) -> Answer<u64> {
    Ok(Json(
        facade.handles.reads.count_blocks(filter(&params)?).await?,
    ))
}

fn filter(params: &Params) -> Result<BlockFilter, ApiError> {
    Ok(BlockFilter {
        label: params.spelled("label", 1..=50, "_/-")?,
        label_search: params.spelled("label_search", 1..=50, "_/-")?,
        description_search: params.text_within("description_search", 1..=200)?,
        value_search: params.text_within("value_search", 1..=200)?,
        template_name: params.spelled("name", 1..=100, " _-")?,
        templates_only: params.flag("templates_only")?.unwrap_or(false),
        project_id: params.text("project_id"),
        identity_id: params.id("identity_id")?,
        identifier_keys: params.all("identifier_keys"),
        tags: params.all("tags"),
        match_all_tags: params.flag("match_all_tags")?.unwrap_or(false),
        connected_to_agents_count_gt: params.number("connected_to_agents_count_gt")?,
        connected_to_agents_count_lt: params.number("connected_to_agents_count_lt")?,
        connected_to_agents_count_eq: params.numbers("connected_to_agents_count_eq")?,
        show_hidden: params.flag("show_hidden_blocks")?.unwrap_or(false),
    })
}

async fn create(
    State(facade): State<Facade>,
    caller: Caller,
    Body(body): Body<CreateBlock>,
) -> Answer<Block> {
    let block = facade
        .handles
        .library
        .create_block(NewBlock::from(body), caller.user)
        .await?;
    Ok(Json(Block::from(&block)))
}

async fn retrieve(State(facade): State<Facade>, PathId(id): PathId<BlockId>) -> Answer<Block> {
    Ok(Json(Block::from(&facade.handles.reads.block(id).await?)))
}

async fn modify(
    State(facade): State<Facade>,
    caller: Caller,
    PathId(id): PathId<BlockId>,
    IfMatch(version): IfMatch,
    Body(body): Body<BlockUpdate>,
) -> Answer<Block> {
    let block = facade
        .handles
        .library
        .modify_block(id, body.into(), version, caller.user)
        .await?;
    Ok(Json(Block::from(&block)))
}

async fn delete(State(facade): State<Facade>, PathId(id): PathId<BlockId>) -> Answer<Value> {
    facade.handles.library.delete_block(id).await?;
    Ok(Json(Value::Null))
}

async fn list_agents(
    State(facade): State<Facade>,
    caller: Caller,
    PathId(id): PathId<BlockId>,
    params: Params,
) -> Answer<Vec<Value>> {
    let page: Page<AgentId> = params.page(50, Order::Descending)?;
    let shown = agents::shown(caller, &params)?;
    let views = facade
        .handles
        .reads
        .block_agents(id, page, shown.relations())
        .await?;
    Ok(Json(
        views
            .iter()
            .map(|view| agents::state(view, &shown))
            .collect(),
    ))
}
