//! Which request with an `Idempotency-Key` became which run (decisions 34).

use super::batch::Batch;
use super::codec::{Kind, Stored};
use super::keys::{self, section};
use super::record::record;
use super::{ReadError, Store};
use crate::domain::id::{AgentId, RunId};
use crate::domain::page::Order;
use bincode::{Decode, Encode};
use jiff::Timestamp;

/// The first request with its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdempotencyRecord {
    pub run: RunId,
    /// Another body under the same key is refused.
    pub body_hash: [u8; 32],
    pub expires_at: Timestamp,
}

record! {
    #[derive(Encode, Decode)]
    struct IdempotencyRecordV1 for IdempotencyRecord { run: [u8; 16], body_hash: [u8; 32], expires_at: i64 }
}

impl Stored for IdempotencyRecord {
    const KIND: Kind = Kind::Idempotency;
    const VERSION: u8 = 1;
    type Newest = IdempotencyRecordV1;
}

impl Batch {
    /// `key` is the hash of caller, method, path and `Idempotency-Key`.
    pub fn put_idempotency(&mut self, agent: AgentId, key: [u8; 32], record: &IdempotencyRecord) {
        self.put(keys::idempotency(agent, &key), record);
    }

    /// Forgets a request.
    pub fn delete_idempotency(&mut self, agent: AgentId, key: [u8; 32]) {
        self.delete(keys::idempotency(agent, &key));
    }
}

impl Store {
    /// The record under `key`, expired or not.
    pub fn idempotency(
        &self,
        agent: AgentId,
        key: &[u8; 32],
    ) -> Result<Option<IdempotencyRecord>, ReadError> {
        self.disk().record(&keys::idempotency(agent, key))
    }

    /// Keys of the agent that have expired by `now`, `most` at most.
    pub fn expired_idempotency(
        &self,
        agent: AgentId,
        now: Timestamp,
        most: usize,
    ) -> Result<Vec<[u8; 32]>, ReadError> {
        let mut expired = Vec::new();
        for pair in self
            .disk()
            .scan(keys::section(agent, section::IDEMPOTENCY), Order::Ascending)
        {
            let (key, value) = pair?;
            let record: Option<IdempotencyRecord> = self.disk().assemble(&key, Some(value))?;
            if record.is_some_and(|record| record.expires_at <= now) {
                expired.extend(key.last_chunk().copied());
            }
            if expired.len() == most {
                break;
            }
        }
        Ok(expired)
    }
}
