//! What is past its time: ranges of deleted agents, frames of ended runs, old idempotency records. The store removes in
//! steps; when and how fast is the caller's.

use super::batch::{Batch, Op};
use super::codec::Stored;
use super::commit::CommitError;
use super::keys::{self, KeyRange, section};
use super::{ReadError, Store, conversations, messages, runs, steps};
use crate::domain::id::AgentId;
use crate::domain::page::Order;

/// How far a sweep has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swept {
    /// There is more to remove.
    Some,
    /// Nothing is left.
    All,
}

/// Why a sweep stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SweepError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl Store {
    /// Removes up to `most` keys of a buried agent, with everything that points to them. The tombstone goes last.
    ///
    /// # Errors
    /// `Damaged` when a place in the file cannot be passed: the rest of the agent stays, hidden by its tombstone.
    pub async fn sweep(&self, agent: AgentId, most: usize) -> Result<Swept, SweepError> {
        if !self.is_buried(agent)? {
            return Ok(Swept::All);
        }
        let (batch, swept) = self.sweep_step(agent, most)?;
        self.commit(batch.relaxed()).await?;
        Ok(swept)
    }

    fn sweep_step(&self, agent: AgentId, most: usize) -> Result<(Batch, Swept), ReadError> {
        let mut batch = Batch::shared();
        let behind_the_tombstone = KeyRange {
            from: keys::section(agent, section::MESSAGE).from,
            ..keys::all_of_agent(agent)
        };
        let mut found = 0;
        for pair in self
            .disk()
            .scan(behind_the_tombstone, Order::Ascending)
            .take(most)
        {
            let (key, value) = pair?;
            self.forget_places(&key, value, &mut batch)?;
            batch.unset(key);
            found += 1;
        }
        if found == most {
            return Ok((batch, Swept::Some));
        }
        batch.unset(keys::buried(agent));
        batch.ops.push(Op::Clear(keys::all_of_agent(agent)));
        Ok((batch, Swept::All))
    }

    /// Removes the entries outside the agent's range that point to this record. One that cannot be read has entries
    /// that lead nowhere; readers pass over those.
    fn forget_places(
        &self,
        key: &[u8],
        value: Vec<u8>,
        batch: &mut Batch,
    ) -> Result<(), ReadError> {
        match keys::parts(key).map(|(_, section, _)| section) {
            Some(section::MESSAGE) => self
                .readable(key, value)?
                .iter()
                .for_each(|message| messages::unlist(batch, message)),
            Some(section::CONVERSATION) => self
                .readable(key, value)?
                .iter()
                .for_each(|conversation| conversations::unlist(batch, conversation)),
            Some(section::RUN) => self
                .readable(key, value)?
                .iter()
                .for_each(|run| runs::unlist(batch, run)),
            Some(section::STEP) => self
                .readable(key, value)?
                .iter()
                .for_each(|step| steps::unlist(batch, step)),
            _ => (),
        }
        Ok(())
    }

    fn readable<T: Stored>(&self, key: &[u8], value: Vec<u8>) -> Result<Option<T>, ReadError> {
        match self.disk().assemble(key, Some(value)) {
            Err(ReadError::Damaged { .. }) => Ok(None),
            other => other,
        }
    }
}
