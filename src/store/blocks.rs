//! Blocks and their links. A block's version stands in a small record of its own, so that comparing costs little
//! (decisions 32 and 33).

use super::batch::{Batch, Condition, Op};
use super::codec::{Kind, Stored, Unreadable};
use super::disk::Disk;
use super::keys::{self, list, section};
use super::record::{Record, record};
use super::{ReadError, Store, bad_entry};
use crate::domain::block::{Block, BlockLink};
use crate::domain::id::{AgentId, BlockId};
use crate::domain::page::{Order, Stretch};
use bincode::{Decode, Encode};
use jiff::Timestamp;
use std::sync::Arc;

record! {
    #[derive(Encode, Decode)]
    struct BlockV1 for Block {
        id: [u8; 16],
        label: String,
        value: String,
        limit: u64,
        description: Option<String>,
        read_only: bool,
        hidden: Option<bool>,
        metadata: String,
        tags: Vec<String>,
        is_template: bool,
        template_name: Option<String>,
        template_id: Option<String>,
        base_template_id: Option<String>,
        deployment_id: Option<String>,
        entity_id: Option<String>,
        preserve_on_migration: Option<bool>,
        project_id: Option<String>,
        created_by: Option<[u8; 16]>,
        updated_by: Option<[u8; 16]>,
        created_at: i64,
        updated_at: i64,
        version: u64,
    }
}

impl Stored for Block {
    const KIND: Kind = Kind::Block;
    const VERSION: u8 = 1;
    type Newest = BlockV1;
}

/// What is asked of a block most often, without its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BlockVersion {
    pub(super) version: u64,
    pub(super) created_at: Timestamp,
}

record! {
    #[derive(Encode, Decode)]
    struct BlockVersionV1 for BlockVersion { version: u64, created_at: i64 }
}

impl Stored for BlockVersion {
    const KIND: Kind = Kind::BlockVersion;
    const VERSION: u8 = 1;
    type Newest = BlockVersionV1;
}

/// A link as a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link(pub(super) BlockLink);

record! {
    #[derive(Encode, Decode)]
    struct LinkV1 for BlockLink { block_id: [u8; 16], label: String, ordinal: u64 }
}

impl Record<Link> for LinkV1 {
    fn of(value: &Link) -> Self {
        Self::of(&value.0)
    }

    fn into_domain(self) -> Result<Link, Unreadable> {
        self.into_domain().map(Link)
    }
}

impl Stored for Link {
    const KIND: Kind = Kind::Link;
    const VERSION: u8 = 1;
    type Newest = LinkV1;
}

impl Batch {
    /// Writes a block, on the condition that the version before it is the newest there is (version 1: that the block
    /// does not exist).
    pub fn put_block(&mut self, block: &Block) {
        self.require(Condition::BlockVersion {
            block: block.id,
            version: block.version.saturating_sub(1),
        });
        self.put(keys::block(block.id), block);
        self.put(
            keys::block_version(block.id),
            &BlockVersion {
                version: block.version,
                created_at: block.created_at,
            },
        );
        list(self, block);
    }

    /// Removes a block and its links to all agents, also those that were made after the caller looked.
    pub fn delete_block(&mut self, block: BlockId) {
        self.ops.push(Op::DeleteBlock(block));
    }

    /// Attaches a block, or changes label or ordinal of the link. Refused as a conflict when the block does not exist
    /// or another block of the agent keeps the label. Links of one batch may exchange labels.
    pub fn put_link(&mut self, agent: AgentId, link: &BlockLink) {
        let link = Link(link.clone());
        if let Some(record) = self.encode(&link) {
            self.ops.push(Op::PutLink(agent, link.0, record));
        }
    }

    /// Detaches a block; nothing happens if it is not attached.
    pub fn delete_link(&mut self, agent: AgentId, block: BlockId) {
        self.ops.push(Op::DeleteLink(agent, block));
    }
}

/// Writes the entry that leads to the block.
pub(super) fn list(batch: &mut Batch, block: &Block) {
    batch.set(
        keys::listed(list::BLOCKS, block.created_at, block.id.bytes()),
        [],
    );
}

/// Writes the entries that lead to a link.
pub(super) fn list_link(batch: &mut Batch, agent: AgentId, link: &BlockLink) {
    batch.set(keys::label(agent, &link.label), *link.block_id.bytes());
    batch.set(keys::block_agent(link.block_id, agent), []);
}

/// The agents a block is attached to, deleted ones left out.
pub(super) fn agents(
    disk: &Arc<Disk>,
    block: BlockId,
) -> impl Iterator<Item = Result<AgentId, ReadError>> + use<> {
    disk.scan(keys::block_agents(block), Order::Ascending)
        .map(|entry| {
            let (key, _) = entry?;
            keys::last_id(&key)
                .map(AgentId::from_bytes)
                .ok_or_else(|| bad_entry(&key))
        })
}

impl Store {
    /// A block with its text.
    pub fn block(&self, id: BlockId) -> Result<Option<Block>, ReadError> {
        self.disk().record(&keys::block(id))
    }

    /// The version of a block without reading its text; `None`: there is no such block.
    pub fn block_version(&self, id: BlockId) -> Result<Option<u64>, ReadError> {
        let stored: Option<BlockVersion> = self.disk().record(&keys::block_version(id))?;
        Ok(stored.map(|stored| stored.version))
    }

    /// The versions of an agent's blocks in order of attachment: what `Compiled::blocks` is compared with.
    pub fn block_versions(&self, agent: AgentId) -> Result<Vec<(BlockId, u64)>, ReadError> {
        let mut versions = Vec::new();
        for link in self.links(agent)? {
            versions.extend(
                self.block_version(link.block_id)?
                    .map(|version| (link.block_id, version)),
            );
        }
        Ok(versions)
    }

    /// The agent's links by ordinal.
    pub fn links(&self, agent: AgentId) -> Result<Vec<BlockLink>, ReadError> {
        let links = self
            .disk()
            .records(keys::section(agent, section::LINK), Order::Ascending);
        let mut links: Vec<BlockLink> = links
            .map(|link| link.map(|Link(link)| link))
            .collect::<Result<_, _>>()?;
        links.sort_by_key(|link| link.ordinal);
        Ok(links)
    }

    /// The agent's block with this label.
    pub fn labelled(&self, agent: AgentId, label: &str) -> Result<Option<BlockId>, ReadError> {
        let key = keys::label(agent, label);
        let Some(value) = self.disk().get(&key)? else {
            return Ok(None);
        };
        keys::last_id(&value)
            .map(|block| Some(BlockId::from_bytes(block)))
            .ok_or_else(|| bad_entry(&key))
    }

    /// The agents a block is attached to, in the order of their ids.
    pub fn block_agents(&self, block: BlockId) -> Result<Vec<AgentId>, ReadError> {
        agents(self.disk(), block).collect()
    }

    /// Blocks by time of creation.
    pub fn blocks_by_created(
        &self,
        stretch: Stretch<BlockId>,
    ) -> Result<impl Iterator<Item = Result<Block, ReadError>> + use<>, ReadError> {
        let entries = self.stretch(keys::whole_list(list::BLOCKS), stretch, |id| {
            let block = self.block(id)?;
            Ok(block.map(|block| keys::listed(list::BLOCKS, block.created_at, id.bytes())))
        });
        let store = self.clone();
        Ok(entries?.filter_map(move |entry| {
            let block = entry.and_then(|(key, _)| {
                let id = keys::last_id(&key)
                    .map(BlockId::from_bytes)
                    .ok_or_else(|| bad_entry(&key))?;
                store.block(id)
            });
            block.transpose()
        }))
    }
}
