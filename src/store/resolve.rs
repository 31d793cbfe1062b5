//! From batches to the engine's keys and values, against the newest applied state and what earlier batches of the group
//! change of it. Only the committer comes here, so what is read cannot change before it is written.
//!
//! Every key that will be written is read first. That finds old pieces and entries that need no write, and it finds a
//! damaged place in the file before anything is applied.

use super::batch::{Batch, Condition, Op};
use super::blocks::{BlockVersion, Link};
use super::codec::Stored;
use super::disk::Disk;
use super::engine::{Changes, Value};
use super::keys::{self, Key, KeyRange, list};
use super::pieces;
use super::seal::SealedProvider;
use super::tools::ToolStamp;
use super::{ReadError, bad_entry};
use crate::domain::block::BlockLink;
use crate::domain::id::{AgentId, BlockId, ProviderId, ToolId};
use crate::domain::page::Order;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Why a batch is not applied.
#[derive(Debug)]
pub(super) enum Refusal {
    Condition(Condition),
    Unreadable(ReadError),
}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Self {
        Self::Unreadable(error)
    }
}

/// What a group of batches comes to, over what is applied.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) changes: Changes,
    /// A block or a link was touched.
    pub(super) shared: bool,
}

impl Draft {
    /// Checks the conditions of `batch` against the state as it will be and adds its operations. A refused batch leaves
    /// nothing behind.
    pub(super) fn add(&mut self, disk: &Arc<Disk>, batch: Batch) -> Result<(), Refusal> {
        let mut pending = Pending {
            disk,
            before: &self.changes,
            changes: Changes::new(),
            shared: false,
        };
        batch
            .conditions
            .into_iter()
            .try_for_each(|condition| pending.check(condition))?;
        // Old labels go before new ones come, so that two links of one batch can exchange theirs.
        batch.ops.iter().try_for_each(|op| pending.free_label(op))?;
        batch
            .ops
            .into_iter()
            .try_for_each(|op| pending.carry_out(op))?;
        let Pending {
            changes, shared, ..
        } = pending;
        self.changes.extend(changes);
        self.shared |= shared;
        Ok(())
    }
}

/// The state as it will be: what this batch changes, over what its group changed before it, over what is applied.
struct Pending<'a> {
    disk: &'a Arc<Disk>,
    before: &'a Changes,
    changes: Changes,
    shared: bool,
}

impl Pending<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Value>, ReadError> {
        match self.changes.get(key).or_else(|| self.before.get(key)) {
            Some(change) => Ok(change.clone()),
            None => self.disk.get(key),
        }
    }

    /// The keys of a range that hold something.
    fn keys(&self, range: KeyRange) -> Result<BTreeSet<Key>, ReadError> {
        if range.is_empty() {
            return Ok(BTreeSet::new());
        }
        let changed = |changes: &Changes| -> Vec<(Key, bool)> {
            let within = changes.range(range.from.clone()..range.to.clone());
            within
                .map(|(key, change)| (key.clone(), change.is_some()))
                .collect()
        };
        let changed = [changed(self.before), changed(&self.changes)].concat();
        let applied = self.disk.scan(range, Order::Ascending);
        let mut keys = applied
            .map(|pair| pair.map(|(key, _)| key))
            .collect::<Result<BTreeSet<Key>, ReadError>>()?;
        for (key, holds) in changed {
            if holds {
                keys.insert(key);
            } else {
                keys.remove(&key);
            }
        }
        Ok(keys)
    }

    fn holds(&self, key: &[u8]) -> Result<bool, ReadError> {
        Ok(self.get(key)?.is_some())
    }

    /// A record that is never in pieces.
    fn short_record<T: Stored>(&self, key: &[u8]) -> Result<Option<T>, ReadError> {
        let value = self.get(key)?;
        self.disk.assemble(key, value)
    }

    fn block_version(&self, block: BlockId) -> Result<u64, ReadError> {
        let stored: Option<BlockVersion> = self.short_record(&keys::block_version(block))?;
        Ok(stored.map_or(0, |stored| stored.version))
    }

    fn provider_version(&self, provider: ProviderId) -> Result<u64, ReadError> {
        let stored: Option<SealedProvider> = self.short_record(&keys::provider(provider))?;
        Ok(stored.map_or(0, |SealedProvider(stored)| stored.version))
    }

    fn tool_version(&self, tool: ToolId) -> Result<u64, ReadError> {
        let stamp: Option<ToolStamp> = self.short_record(&keys::tool_stamp(tool))?;
        Ok(stamp.map_or(0, |stamp| stamp.version))
    }

    fn check(&self, condition: Condition) -> Result<(), Refusal> {
        let met = match &condition {
            Condition::AgentAlive(agent) => {
                self.holds(&keys::settings(*agent))? && !self.holds(&keys::tombstone(*agent))?
            }
            Condition::AgentAbsent(agent) => {
                !self.holds(&keys::settings(*agent))? && !self.holds(&keys::tombstone(*agent))?
            }
            Condition::BlockExists(block) => self.holds(&keys::block_version(*block))?,
            Condition::BlockVersion { block, version } => self.block_version(*block)? == *version,
            Condition::LabelFree { agent, label } => !self.holds(&keys::label(*agent, label))?,
            Condition::LinkIs {
                agent,
                block,
                present,
            } => self.holds(&keys::link(*agent, *block))? == *present,
            Condition::ProviderVersion { provider, version } => {
                self.provider_version(*provider)? == *version
            }
            Condition::ProviderNameFree(name) => !self.holds(&keys::provider_name(name))?,
            Condition::ToolVersion { tool, version } => self.tool_version(*tool)? == *version,
            Condition::ToolNameFree(name) => !self.holds(&keys::tool_name(name))?,
        };
        if met {
            Ok(())
        } else {
            Err(Refusal::Condition(condition))
        }
    }

    fn free_label(&mut self, op: &Op) -> Result<(), Refusal> {
        let (Op::DeleteLink(agent, block)
        | Op::PutLink(
            agent,
            BlockLink {
                block_id: block, ..
            },
            _,
        )) = op
        else {
            return Ok(());
        };
        let old: Option<Link> = self.short_record(&keys::link(*agent, *block))?;
        if let Some(Link(old)) = old {
            self.unset(keys::label(*agent, &old.label))?;
        }
        Ok(())
    }

    fn carry_out(&mut self, op: Op) -> Result<(), Refusal> {
        match op {
            Op::Put(key, record) => self.put(key, record)?,
            Op::Delete(key) => self.delete(key)?,
            Op::Set(key, value) => self.set(key, value)?,
            Op::Unset(key) => self.unset(key)?,
            Op::Clear(range) => self.clear(range)?,
            Op::PutLink(agent, link, record) => self.put_link(agent, link, record)?,
            Op::DeleteLink(agent, block) => self.delete_link(agent, block)?,
            Op::DeleteBlock(block) => self.delete_block(block)?,
            Op::Unlist(agent) => self.unlist(agent)?,
        }
        Ok(())
    }

    fn put(&mut self, key: Key, record: Value) -> Result<(), ReadError> {
        self.delete(key.clone())?;
        self.shared |= key.first() == Some(&keys::BLOCK);
        for (number, value) in (0..).zip(pieces::cut(record)) {
            let key = if number == 0 {
                key.clone()
            } else {
                keys::piece(&key, number)
            };
            self.changes.insert(key, Some(value));
        }
        Ok(())
    }

    fn delete(&mut self, key: Key) -> Result<(), ReadError> {
        let pieces = pieces::count(self.get(&key)?.as_deref());
        for number in 1..pieces {
            self.changes.insert(keys::piece(&key, number), None);
        }
        self.unset(key)
    }

    fn set(&mut self, key: Key, value: Value) -> Result<(), ReadError> {
        if self.get(&key)?.as_ref() != Some(&value) {
            self.changes.insert(key, Some(value));
        }
        Ok(())
    }

    fn unset(&mut self, key: Key) -> Result<(), ReadError> {
        if self.holds(&key)? {
            self.changes.insert(key, None);
        }
        Ok(())
    }

    fn clear(&mut self, range: KeyRange) -> Result<(), ReadError> {
        for key in self.keys(range)? {
            self.changes.insert(key, None);
        }
        Ok(())
    }

    fn put_link(&mut self, agent: AgentId, link: BlockLink, record: Value) -> Result<(), Refusal> {
        let block = link.block_id;
        let label = keys::label(agent, &link.label);
        self.check(Condition::BlockExists(block))?;
        self.check(Condition::LabelFree {
            agent,
            label: link.label,
        })?;
        self.shared = true;
        self.set(label, block.bytes().to_vec())?;
        self.set(keys::block_agent(block, agent), Vec::new())?;
        Ok(self.put(keys::link(agent, block), record)?)
    }

    fn delete_link(&mut self, agent: AgentId, block: BlockId) -> Result<(), ReadError> {
        self.shared = true;
        self.delete(keys::link(agent, block))?;
        self.unset(keys::block_agent(block, agent))
    }

    fn delete_block(&mut self, block: BlockId) -> Result<(), Refusal> {
        self.shared = true;
        for agent in self.agents_of(block)? {
            self.free_label(&Op::DeleteLink(agent, block))?;
            self.delete_link(agent, block)?;
        }
        let stored: Option<BlockVersion> = self.short_record(&keys::block_version(block))?;
        if let Some(stored) = stored {
            self.unset(keys::listed(list::BLOCKS, stored.created_at, block.bytes()))?;
        }
        self.delete(keys::block(block))?;
        Ok(self.delete(keys::block_version(block))?)
    }

    fn agents_of(&self, block: BlockId) -> Result<Vec<AgentId>, ReadError> {
        let keys = self.keys(keys::block_agents(block))?;
        let agent = |key: &Key| {
            keys::last_id(key)
                .map(AgentId::from_bytes)
                .ok_or_else(|| bad_entry(key))
        };
        keys.iter().map(agent).collect()
    }

    fn unlist(&mut self, agent: AgentId) -> Result<(), ReadError> {
        self.shared = true;
        self.clear(keys::list_of_agent(list::ACTIVE, agent))?;
        self.clear(keys::list_of_agent(list::CALLBACKS, agent))?;
        for link in self.keys(keys::section(agent, keys::section::LINK))? {
            if let Some(block) = keys::last_id(&link) {
                self.unset(keys::block_agent(BlockId::from_bytes(block), agent))?;
            }
        }
        Ok(())
    }
}
