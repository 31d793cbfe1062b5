//! Questions that take more than one record to answer.

use super::disk::Scan;
use super::keys::{self, Key, KeyRange, list, section};
use super::{CallbackEntry, ReadError, Store, bad_entry};
use crate::domain::id::{AgentId, RunId};
use crate::domain::page::{Order, Stretch};
use crate::domain::run::Run;
use jiff::Timestamp;

impl Store {
    /// Whether the agent is there and not deleted; cheaper than reading its settings.
    pub fn agent_exists(&self, id: AgentId) -> Result<bool, ReadError> {
        Ok(self.disk().holds(&keys::settings(id))? && !self.is_buried(id)?)
    }

    /// The entries of a stretch of an index; `key` finds the entry that an end names.
    pub(super) fn stretch<Id>(
        &self,
        index: KeyRange,
        stretch: Stretch<Id>,
        key: impl Fn(Id) -> Result<Option<Key>, ReadError>,
    ) -> Result<Scan, ReadError> {
        let stretch = stretch.try_map(key)?;
        Ok(self.disk().scan(index.stretch(&stretch), stretch.order))
    }

    /// The agent's runs that have no end.
    pub fn active_runs_of(&self, agent: AgentId) -> Result<Vec<Run>, ReadError> {
        let mut runs = Vec::new();
        for run in self.active_run_ids(agent)? {
            runs.extend(self.run_of(agent, run)?);
        }
        Ok(runs)
    }

    pub fn active_run_ids(&self, agent: AgentId) -> Result<Vec<RunId>, ReadError> {
        let range = keys::list_of_agent(list::ACTIVE, agent);
        let entries = self.disk().scan(range, Order::Ascending);
        let ids = entries.map(|entry| {
            let (key, _) = entry?;
            let place = keys::agent_and_run(&key);
            place.map(|(_, run)| run).ok_or_else(|| bad_entry(&key))
        });
        ids.collect()
    }

    /// The number of the last stored frame of a run; 0 when there is none.
    pub fn last_frame(&self, agent: AgentId, run: RunId) -> Result<u64, ReadError> {
        let last = self
            .disk()
            .scan(
                keys::section_of_run(agent, section::FRAME, run),
                Order::Descending,
            )
            .next();
        let Some(entry) = last else { return Ok(0) };
        let (key, _) = entry?;
        keys::last_number(&key).ok_or_else(|| bad_entry(&key))
    }

    /// Callbacks whose time has come.
    pub fn callbacks_due(
        &self,
        now: Timestamp,
    ) -> Result<Vec<(AgentId, RunId, CallbackEntry)>, ReadError> {
        let mut due = self.callbacks()?;
        due.retain(|(_, _, entry)| entry.next_try <= now);
        Ok(due)
    }
}
