//! Links between agents and blocks in a batch, whoever writes it (decisions 32): on the condition that they are as they were
//! read.

use super::refused::Refused;
use crate::domain::block::{Block, BlockLink};
use crate::domain::id::{AgentId, BlockId};
use crate::store::{Batch, Condition, Store};

/// A block gets another label on every agent that has it.
pub(super) fn rename(
    store: &Store,
    batch: &mut Batch,
    block: BlockId,
    label: &str,
) -> Result<(), Refused> {
    for agent in store.block_agents(block)? {
        let mut links = store.links(agent)?.into_iter();
        let Some(link) = links.find(|link| link.block_id == block) else {
            continue;
        };
        batch.require(Condition::LinkIs {
            agent,
            block,
            present: true,
        });
        // Refused as a conflict where another block keeps the label; blocks of one batch may exchange theirs.
        batch.put_link(
            agent,
            &BlockLink {
                label: label.to_owned(),
                ..link
            },
        );
    }
    Ok(())
}

pub(super) fn detach(batch: &mut Batch, agent: AgentId, block: BlockId) {
    batch.require(Condition::LinkIs {
        agent,
        block,
        present: true,
    });
    batch.delete_link(agent, block);
}

/// Writes new blocks and attaches them behind those that the agent has.
pub(super) fn attach_new(
    store: &Store,
    batch: &mut Batch,
    agent: AgentId,
    blocks: &[Block],
) -> Result<(), Refused> {
    if blocks.is_empty() {
        return Ok(());
    }
    let links = store.links(agent)?;
    let next = links.iter().map(|link| link.ordinal + 1).max().unwrap_or(0);
    for (ordinal, block) in (next..).zip(blocks) {
        batch.put_block(block);
        batch.put_link(
            agent,
            &BlockLink {
                block_id: block.id,
                label: block.label.clone(),
                ordinal,
            },
        );
    }
    Ok(())
}
