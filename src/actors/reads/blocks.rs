//! Memory blocks.

use super::agents::{AgentView, Relations, tagged, view};
use super::context::attached;
use super::{Reads, sound};
use crate::actors::refused::Refused;
use crate::domain::block::{Block, BlockFilter};
use crate::domain::id::{AgentId, BlockId};
use crate::domain::page::{Order, Page, Stretch};
use crate::store::{ReadError, Store};
use std::sync::Arc;

impl Reads {
    pub async fn block(&self, id: BlockId) -> Result<Block, Refused> {
        self.read(move |house| house.store.block(id)?.ok_or(Refused::NoSuchBlock(id)))
            .await
    }

    pub async fn blocks(
        &self,
        filter: BlockFilter,
        page: Page<BlockId>,
    ) -> Result<Vec<Block>, Refused> {
        self.read(move |house| {
            let store = &house.store;
            let page = page.known(|id| Ok::<_, ReadError>(store.block_version(id)?.is_some()))?;
            let blocks = store.blocks_by_created(page.stretch())?.filter_map(sound);
            let keep = |block: &Block| keeps_block(store, &filter, block);
            Ok(page.take(blocks, keep)?)
        })
        .await
    }

    pub async fn count_blocks(&self, filter: BlockFilter) -> Result<u64, Refused> {
        self.read(move |house| {
            let mut count = 0;
            let everything = filter == BlockFilter::default();
            let shown = BlockFilter {
                show_hidden: true,
                ..filter.clone()
            };
            let blocks = house
                .store
                .blocks_by_created(Stretch::all(Order::Ascending))?;
            for block in blocks.filter_map(sound) {
                let block = block?;
                count += u64::from(everything || keeps_block(&house.store, &shown, &block)?);
            }
            Ok(count)
        })
        .await
    }

    pub async fn block_agents(
        &self,
        id: BlockId,
        page: Page<AgentId>,
        relations: Relations,
    ) -> Result<Vec<AgentView>, Refused> {
        self.read(move |house| {
            house.store.block(id)?.ok_or(Refused::NoSuchBlock(id))?;
            let mut views = Vec::new();
            for agent in house.store.block_agents(id)? {
                let view = sound(view(house, agent, relations)).transpose()?;
                views.extend(view.flatten());
            }
            views.sort_by_key(|view| (view.agent.created_at, view.agent.id));
            if page.order == Order::Descending {
                views.reverse();
            }
            Ok(page.cut(views, |view| view.agent.id))
        })
        .await
    }

    /// In order of attachment.
    pub async fn agent_blocks(&self, agent: AgentId) -> Result<Vec<Arc<Block>>, Refused> {
        self.read(move |house| {
            if !house.store.agent_exists(agent)? {
                return Err(Refused::NoSuchAgent(agent));
            }
            Ok(attached(&house.store, agent)?)
        })
        .await
    }
}

fn keeps_block(store: &Store, filter: &BlockFilter, block: &Block) -> Result<bool, ReadError> {
    let has = |text: &str, wish: &Option<String>| {
        wish.as_ref()
            .is_none_or(|wish| text.to_lowercase().contains(&wish.to_lowercase()))
    };
    let label = match &filter.label {
        Some(label) => block.label == *label,
        None => has(&block.label, &filter.label_search),
    };
    let plain = label
        && has(
            block.description.as_deref().unwrap_or_default(),
            &filter.description_search,
        )
        && has(&block.value, &filter.value_search)
        && filter
            .template_name
            .as_ref()
            .is_none_or(|name| block.template_name.as_ref() == Some(name))
        && block.is_template == filter.templates_only
        && filter
            .project_id
            .as_ref()
            .is_none_or(|project| block.project_id.as_ref() == Some(project))
        && filter.identity_id.is_none()
        && filter.identifier_keys.is_empty()
        && tagged(&block.tags, &filter.tags, filter.match_all_tags)
        && (filter.show_hidden || block.hidden != Some(true));
    Ok(plain && connected(store, filter, block.id)?)
}

fn connected(store: &Store, filter: &BlockFilter, block: BlockId) -> Result<bool, ReadError> {
    let (more, fewer, equal) = (
        filter.connected_to_agents_count_gt,
        filter.connected_to_agents_count_lt,
        &filter.connected_to_agents_count_eq,
    );
    if more.is_none() && fewer.is_none() && equal.is_empty() {
        return Ok(true);
    }
    let count = store.block_agents(block)?.len() as u64;
    // A block on no agent counts only where the filter speaks of zero (memory-and-blocks §4).
    let zero = count > 0 || fewer.is_some() || equal.contains(&0);
    Ok(zero
        && more.is_none_or(|more| count > more)
        && fewer.is_none_or(|fewer| count < fewer)
        && (equal.is_empty() || equal.contains(&count)))
}
