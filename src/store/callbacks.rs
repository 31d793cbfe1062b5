//! Callbacks that are still to be sent, over all agents.

use super::batch::Batch;
use super::codec::{Kind, Stored};
use super::keys::{self, list};
use super::record::record;
use super::{ReadError, Store, bad_entry};
use crate::domain::id::{AgentId, RunId};
use crate::domain::page::Order;
use bincode::{Decode, Encode};
use jiff::Timestamp;

/// How often the callback of a run was tried, and when the next try is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallbackEntry {
    pub attempts: u32,
    pub next_try: Timestamp,
}

record! {
    #[derive(Encode, Decode)]
    struct CallbackEntryV1 for CallbackEntry { attempts: u32, next_try: i64 }
}

impl Stored for CallbackEntry {
    const KIND: Kind = Kind::Callback;
    const VERSION: u8 = 1;
    type Newest = CallbackEntryV1;
}

impl Batch {
    /// Notes that the callback of this run is still to be sent.
    pub fn put_callback(&mut self, agent: AgentId, run: RunId, entry: &CallbackEntry) {
        self.set_record(keys::listed_run(list::CALLBACKS, agent, run), entry);
    }

    /// The callback was sent, or given up.
    pub fn delete_callback(&mut self, agent: AgentId, run: RunId) {
        self.unset(keys::listed_run(list::CALLBACKS, agent, run));
    }
}

impl Store {
    /// Everything that is still to be sent, the most urgent first.
    pub fn callbacks(&self) -> Result<Vec<(AgentId, RunId, CallbackEntry)>, ReadError> {
        let mut callbacks = Vec::new();
        for pair in self
            .disk()
            .scan(keys::whole_list(list::CALLBACKS), Order::Ascending)
        {
            let (key, value) = pair?;
            let (agent, run) = keys::agent_and_run(&key).ok_or_else(|| bad_entry(&key))?;
            let entry: Option<CallbackEntry> = self.disk().assemble(&key, Some(value))?;
            callbacks.extend(entry.map(|entry| (agent, run, entry)));
        }
        callbacks.sort_by_key(|(_, _, entry)| entry.next_try);
        Ok(callbacks)
    }
}
