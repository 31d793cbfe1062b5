//! Questions that take more than one record to answer.

use super::keys::{self, list, section};
use super::{CallbackEntry, ReadError, Store, bad_entry};
use crate::domain::id::{AgentId, RunId};
use crate::domain::page::Order;
use crate::domain::run::Run;
use jiff::Timestamp;

impl Store {
    /// Whether the agent is there and not deleted; cheaper than reading its settings.
    pub fn agent_exists(&self, id: AgentId) -> Result<bool, ReadError> {
        Ok(self.disk().holds(&keys::settings(id))? && !self.is_buried(id)?)
    }

    /// The agent's newest runs, newest first.
    pub fn recent_runs(&self, agent: AgentId, most: usize) -> Result<Vec<Run>, ReadError> {
        self.runs(Some(agent), Order::Descending, None)?
            .take(most)
            .collect()
    }

    /// The agent's runs that have no end.
    pub fn active_runs_of(&self, agent: AgentId) -> Result<Vec<Run>, ReadError> {
        let mut runs = Vec::new();
        for entry in self
            .disk()
            .scan(keys::list_of_agent(list::ACTIVE, agent), Order::Ascending)
        {
            let (key, _) = entry?;
            let (_, run) = keys::agent_and_run(&key).ok_or_else(|| bad_entry(&key))?;
            runs.extend(self.run_of(agent, run)?);
        }
        Ok(runs)
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
