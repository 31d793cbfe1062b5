//! The seam to the engine: the few calls that everything in the store comes down to. Nothing above this module knows
//! which engine it is, so that another one can stand here one day.

#[cfg(any(test, feature = "faults"))]
pub(super) mod faults;
pub(super) mod sled;

use super::keys::{Key, KeyRange};
use crate::domain::page::Order;
use std::collections::BTreeMap;

pub(super) type Value = Vec<u8>;
pub(super) type Pair = (Key, Value);

/// One atomic write: the new value of each key, `None` removes it.
pub(super) type Changes = BTreeMap<Key, Option<Value>>;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum EngineError {
    /// Part of the file cannot be read. Everything else can.
    #[error("the database file is damaged: {0}")]
    Damaged(String),
    /// The engine as a whole has failed; the outcome of what was under way is unknown.
    #[error("the database failed: {0}")]
    Broken(String),
    /// There is no engine: the store was closed.
    #[error("the database is closed")]
    Closed,
}

/// An ordered map from bytes to bytes with atomic writes. All calls block; none panics.
pub(super) trait Engine: Send + Sync {
    fn get(&self, key: &[u8]) -> Result<Option<Value>, EngineError>;

    /// Adds up to `most` pairs of `range` to `found`, from its start or its end. After an error `found` holds what could
    /// be read before it. Never goes on behind a damaged place.
    fn scan(
        &self,
        range: &KeyRange,
        order: Order,
        most: usize,
        found: &mut Vec<Pair>,
    ) -> Result<(), EngineError>;

    /// Applies all changes or none. They are visible at once and durable after the next `flush` and `sync`.
    fn apply(&self, changes: &Changes) -> Result<(), EngineError>;

    /// Hands everything applied so far to the operating system.
    fn flush(&self) -> Result<(), EngineError>;

    /// Makes everything flushed so far survive a power cut.
    fn sync(&self) -> Result<(), EngineError>;

    /// Lets go of the folder: when this returns it can be opened again.
    fn close(self: Box<Self>);
}

/// Opens the engine; kept for as long as the store is open, because a broken engine is opened again.
pub(super) type Opener = Box<dyn Fn() -> Result<Box<dyn Engine>, OpenError> + Send + Sync>;

#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    /// Somebody else has it open.
    #[error("it is open elsewhere")]
    InUse,
    #[error("{0}")]
    Failed(String),
}
