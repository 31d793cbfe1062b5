//! The blocks in an agent's head.

use super::agents;
use crate::actors::reads::Relations;
use crate::actors::refused::Refused;
use crate::domain::id::{AgentId, BlockId};
use crate::domain::page::{Order, Page};
use crate::facade::Facade;
use crate::facade::error::Answer;
use crate::facade::extract::{Body, Caller, IfMatch, InPath, Params, PathId, path_id};
use crate::wire::agent::Shown;
use crate::wire::block::{Block, BlockUpdate, memory};
use axum::extract::State;
use axum::routing::{get, patch};
use axum::{Json, Router};
use serde_json::Value;

pub(super) fn routes() -> Router<Facade> {
    Router::new()
        .route("/agents/{agent_id}/core-memory", get(retrieve))
        .route("/agents/{agent_id}/core-memory/blocks", get(list))
        .route(
            "/agents/{agent_id}/core-memory/blocks/{block_label}",
            get(retrieve_block).patch(modify_block),
        )
        .route(
            "/agents/{agent_id}/core-memory/blocks/attach/{block_id}",
            patch(attach),
        )
        .route(
            "/agents/{agent_id}/core-memory/blocks/detach/{block_id}",
            patch(detach),
        )
}

async fn retrieve(State(facade): State<Facade>, PathId(agent): PathId<AgentId>) -> Answer<Value> {
    let relations = Relations {
        blocks: true,
        ..Relations::default()
    };
    let view = facade.handles.reads.agent(agent, relations).await?;
    let blocks: Vec<Block> = view
        .blocks
        .iter()
        .map(|block| Block::from(&**block))
        .collect();
    Ok(Json(memory(
        view.agent.agent_type,
        view.agent
            .tags
            .iter()
            .any(|tag| tag == "git-memory-enabled"),
        &blocks,
    )))
}

/// Ordered by id (memory-and-blocks §3).
async fn list(
    State(facade): State<Facade>,
    PathId(agent): PathId<AgentId>,
    params: Params,
) -> Answer<Vec<Block>> {
    let page: Page<BlockId> = params.page(100, Order::Descending)?;
    let mut blocks = facade.handles.reads.agent_blocks(agent).await?;
    blocks.sort_by_key(|block| block.id);
    if page.order == Order::Descending {
        blocks.reverse();
    }
    Ok(Json(
        page.cut(blocks, |block| block.id)
            .iter()
            .map(|block| Block::from(&**block))
            .collect(),
    ))
}

async fn retrieve_block(
    State(facade): State<Facade>,
    InPath((agent, label)): InPath<(String, String)>,
) -> Answer<Block> {
    let agent: AgentId = path_id("agent_id", &agent)?;
    let blocks = facade.handles.reads.agent_blocks(agent).await?;
    let block = blocks
        .iter()
        .find(|block| block.label == label)
        .ok_or(Refused::NoSuchLabel { agent, label })?;
    Ok(Json(Block::from(&**block)))
}

async fn modify_block(
    State(facade): State<Facade>,
    caller: Caller,
    InPath((agent, label)): InPath<(String, String)>,
    IfMatch(version): IfMatch,
    Body(body): Body<BlockUpdate>,
) -> Answer<Block> {
    let agent: AgentId = path_id("agent_id", &agent)?;
    let block = facade
        .handles
        .library
        .modify_agent_block(agent, label, body.into(), version, caller.user)
        .await?;
    Ok(Json(Block::from(&block)))
}

async fn attach(
    State(facade): State<Facade>,
    InPath((agent, block)): InPath<(String, String)>,
) -> Answer<Value> {
    let (agent, block): (AgentId, BlockId) =
        (path_id("agent_id", &agent)?, path_id("block_id", &block)?);
    facade.handles.library.attach_block(agent, block).await?;
    changed(&facade, agent).await
}

async fn detach(
    State(facade): State<Facade>,
    InPath((agent, block)): InPath<(String, String)>,
) -> Answer<Value> {
    let (agent, block): (AgentId, BlockId) =
        (path_id("agent_id", &agent)?, path_id("block_id", &block)?);
    facade.handles.library.detach_block(agent, block).await?;
    changed(&facade, agent).await
}

/// The agent with its blocks, and without its tools.
async fn changed(facade: &Facade, agent: AgentId) -> Answer<Value> {
    let shown = Shown {
        blocks: true,
        tags: true,
        ..Shown::NOTHING
    };
    let view = facade.handles.reads.agent(agent, shown.relations()).await?;
    Ok(Json(agents::state(&view, &shown)))
}
