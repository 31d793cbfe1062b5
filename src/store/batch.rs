//! What is written together: a list of writes, the conditions under which they may happen, and who asks.
//!
//! A batch is built without looking at the disk. What depends on the newest state (the old label of a link, the pieces
//! of an older record) is settled by the committer, where nothing changes under its hands (`resolve.rs`).
//! The `put_` and `delete_` methods stand beside the records they write.

use super::codec::{self, Stored};
use super::commit::Epoch;
use super::keys::{Key, KeyRange};
use crate::domain::agent::Agent;
use crate::domain::block::BlockLink;
use crate::domain::id::{AgentId, BlockId, ProviderId, ToolId};
use crate::domain::provider::Provider;
use std::fmt;

/// Something that must hold in what is applied, when the batch's turn comes (decisions 32).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// The agent exists and is not deleted.
    AgentAlive(AgentId),
    /// Nothing is stored under this id, not even a tombstone.
    AgentAbsent(AgentId),
    BlockExists(BlockId),
    /// The block's version; 0: there is no such block.
    BlockVersion {
        block: BlockId,
        version: u64,
    },
    /// No block of the agent has this label.
    LabelFree {
        agent: AgentId,
        label: String,
    },
    /// Whether the block is attached to the agent.
    LinkIs {
        agent: AgentId,
        block: BlockId,
        present: bool,
    },
    /// The provider's version; 0: there is no such provider.
    ProviderVersion {
        provider: ProviderId,
        version: u64,
    },
    /// No provider has this name.
    ProviderNameFree(String),
    /// The tool's version; 0: there is no such tool.
    ToolVersion {
        tool: ToolId,
        version: u64,
    },
    /// No tool that a client wrote has this name.
    ToolNameFree(String),
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AgentAlive(agent) => write!(f, "{agent} exists"),
            Self::AgentAbsent(agent) => write!(f, "{agent} does not exist"),
            Self::BlockExists(block) => write!(f, "{block} exists"),
            Self::BlockVersion { block, version } => write!(f, "{block} has version {version}"),
            Self::LabelFree { agent, label } => write!(f, "label '{label}' is free on {agent}"),
            Self::LinkIs {
                agent,
                block,
                present: true,
            } => write!(f, "{block} is attached to {agent}"),
            Self::LinkIs {
                agent,
                block,
                present: false,
            } => write!(f, "{block} is not attached to {agent}"),
            Self::ProviderVersion { provider, version } => {
                write!(f, "{provider} has version {version}")
            }
            Self::ProviderNameFree(name) => write!(f, "no provider is called '{name}'"),
            Self::ToolVersion { tool, version } => write!(f, "{tool} has version {version}"),
            Self::ToolNameFree(name) => write!(f, "no tool is called '{name}'"),
        }
    }
}

/// One write as the batch states it.
#[derive(Debug)]
pub(super) enum Op {
    /// A record of any length.
    Put(Key, Vec<u8>),
    /// A record and its pieces.
    Delete(Key),
    /// A short value: an entry of an index.
    Set(Key, Vec<u8>),
    Unset(Key),
    /// Every key of the range.
    Clear(KeyRange),
    /// The link and its record.
    PutLink(AgentId, BlockLink, Vec<u8>),
    DeleteLink(AgentId, BlockId),
    /// The block with its links to all agents.
    DeleteBlock(BlockId),
    /// What the lists and the blocks know of a buried agent.
    Unlist(AgentId),
}

/// A value whose secrets are still to be sealed (by the store, which has the key).
#[derive(Debug)]
pub(super) enum Unsealed {
    Agent(Box<Agent>),
    Provider(Box<Provider>),
}

/// Writes that happen together or not at all. Nothing is checked or written before `Store::commit`.
#[derive(Debug)]
#[must_use = "a batch writes nothing until it is committed"]
pub struct Batch {
    pub(super) owner: Option<(AgentId, Epoch)>,
    pub(super) conditions: Vec<Condition>,
    pub(super) ops: Vec<Op>,
    pub(super) relaxed: bool,
    /// Size of the first record that is over the limit, if any.
    pub(super) too_large: Option<usize>,
    pub(super) unsealed: Vec<Unsealed>,
    /// Bytes of all records, to bound a group.
    pub(super) bytes: usize,
}

impl Batch {
    /// A batch of the agent itself. It is refused (`Fenced`) unless `epoch` is the agent's newest.
    pub fn of_agent(agent: AgentId, epoch: Epoch) -> Self {
        Self {
            owner: Some((agent, epoch)),
            ..Self::shared()
        }
    }

    /// A batch of nobody in particular: shared blocks, links, a new agent.
    pub fn shared() -> Self {
        Self {
            owner: None,
            conditions: Vec::new(),
            ops: Vec::new(),
            relaxed: false,
            too_large: None,
            unsealed: Vec::new(),
            bytes: 0,
        }
    }

    /// Answered when it is applied, durable a little later: for what may be lost in a power cut (decisions 16).
    pub fn relaxed(mut self) -> Self {
        self.relaxed = true;
        self
    }

    /// Adds a condition. They are checked in order, before anything is applied.
    pub fn require(&mut self, condition: Condition) {
        self.conditions.push(condition);
    }

    /// Whether nothing would be written.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty() && self.unsealed.is_empty()
    }

    pub(super) fn put<T: Stored>(&mut self, key: Key, value: &T) {
        if let Some(record) = self.encode(value) {
            self.ops.push(Op::Put(key, record));
        }
    }

    pub(super) fn delete(&mut self, key: Key) {
        self.ops.push(Op::Delete(key));
    }

    pub(super) fn set(&mut self, key: Key, value: impl Into<Vec<u8>>) {
        self.ops.push(Op::Set(key, value.into()));
    }

    /// A record that is known to be short, in a space without pieces.
    pub(super) fn set_record<T: Stored>(&mut self, key: Key, value: &T) {
        if let Some(record) = self.encode(value) {
            self.ops.push(Op::Set(key, record));
        }
    }

    pub(super) fn unset(&mut self, key: Key) {
        self.ops.push(Op::Unset(key));
    }

    /// The bytes of a record; one that is too large spoils the whole batch.
    pub(super) fn encode<T: Stored>(&mut self, value: &T) -> Option<Vec<u8>> {
        match codec::encode(value) {
            Ok(record) => {
                self.bytes += record.len();
                Some(record)
            }
            Err(error) => {
                self.too_large.get_or_insert(error.bytes);
                None
            }
        }
    }
}
