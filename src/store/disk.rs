//! The engine that is open now, and how records are read from it.
//!
//! Reads come from any thread, each a short call under a shared lock; only the committer takes the lock alone, to open
//! the engine again (which needs every handle of the old one gone).

use super::codec::{self, Stored};
use super::engine::{Engine, EngineError, OpenError, Opener, Pair, Value};
use super::keys::{self, Key, KeyRange};
use super::{ReadError, pieces};
use crate::domain::page::Order;
use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock};

/// Pairs fetched by a scan at once.
const CHUNK: usize = 64;

pub(super) struct Disk {
    engine: RwLock<Option<Box<dyn Engine>>>,
    opener: Opener,
}

impl Disk {
    pub(super) fn open(opener: Opener) -> Result<Self, OpenError> {
        Ok(Self {
            engine: RwLock::new(Some(opener()?)),
            opener,
        })
    }

    /// Makes one call to the engine.
    pub(super) fn with<T>(
        &self,
        call: impl FnOnce(&dyn Engine) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let engine = self.engine.read().unwrap_or_else(PoisonError::into_inner);
        engine.as_deref().map_or(Err(EngineError::Closed), call)
    }

    /// Lets go of the folder. Later calls are refused as closed.
    pub(super) fn close(&self) {
        let engine = self
            .engine
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(engine) = engine {
            engine.close();
        }
    }

    /// Closes the engine and opens it again. Readers wait meanwhile.
    pub(super) fn reopen(&self) -> Result<(), OpenError> {
        let mut engine = self.engine.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(broken) = engine.take() {
            broken.close();
        }
        *engine = Some((self.opener)()?);
        Ok(())
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Value>, ReadError> {
        self.with(|engine| engine.get(key))
            .map_err(|error| unread(key, &error))
    }

    pub(super) fn holds(&self, key: &[u8]) -> Result<bool, ReadError> {
        Ok(self.get(key)?.is_some())
    }

    /// The record under `key`.
    pub(super) fn record<T: Stored>(&self, key: &[u8]) -> Result<Option<T>, ReadError> {
        let first = self.get(key)?;
        self.assemble(key, first)
    }

    /// The record whose key was just seen to hold `first`. Reads again if it is written meanwhile.
    pub(super) fn assemble<T: Stored>(
        &self,
        key: &[u8],
        mut first: Option<Value>,
    ) -> Result<Option<T>, ReadError> {
        loop {
            let Some(head) = first else { return Ok(None) };
            let mut others = Vec::new();
            for number in 1..pieces::count(Some(&head)) {
                others.extend(self.get(&keys::piece(key, number))?);
            }
            if let Some(record) = pieces::join(head.clone(), others.into_iter()) {
                return codec::decode(&record)
                    .map(Some)
                    .map_err(|error| damaged(key, error.to_string()));
            }
            let again = self.get(key)?;
            if again.as_ref() == Some(&head) {
                return Err(damaged(
                    key,
                    "pieces of the record are missing or do not belong together".to_owned(),
                ));
            }
            first = again;
        }
    }

    /// Walks through a range. See `Scan`.
    pub(super) fn scan(self: &Arc<Self>, range: KeyRange, order: Order) -> Scan {
        Scan {
            disk: Arc::clone(self),
            range,
            order,
            found: VecDeque::new(),
            failed: None,
            ended: false,
        }
    }

    /// The records of a range, in the order of their keys.
    pub(super) fn records<T: Stored>(
        self: &Arc<Self>,
        range: KeyRange,
        order: Order,
    ) -> impl Iterator<Item = Result<T, ReadError>> + use<T> {
        let disk = Arc::clone(self);
        self.scan(range, order).filter_map(move |pair| {
            let read = pair.and_then(|(key, value)| disk.assemble(&key, Some(value)));
            read.transpose()
        })
    }
}

/// The pairs of a range, fetched in chunks, so that nothing is held between two of them. What is written meanwhile may
/// be seen or not. A damaged place gives one error and ends the walk: the engine knows no way past it.
pub(super) struct Scan {
    disk: Arc<Disk>,
    range: KeyRange,
    order: Order,
    found: VecDeque<Pair>,
    failed: Option<ReadError>,
    ended: bool,
}

impl Scan {
    fn fetch(&mut self) {
        let mut found = Vec::with_capacity(CHUNK);
        let read = self
            .disk
            .with(|engine| engine.scan(&self.range, self.order, CHUNK, &mut found));
        self.ended = found.len() < CHUNK;
        let last: Key = found
            .last()
            .map_or_else(|| self.range.from.clone(), |(key, _)| key.clone());
        if let Err(error) = read {
            self.failed = Some(unread(&last, &error));
            self.ended = true;
        }
        let rest = self.range.clone();
        self.range = match self.order {
            Order::Ascending => rest.after(&last),
            Order::Descending => rest.before(&last),
        };
        self.found = found.into();
    }
}

impl Iterator for Scan {
    type Item = Result<Pair, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.found.is_empty() && !self.ended {
            self.fetch();
        }
        self.found
            .pop_front()
            .map(Ok)
            .or_else(|| self.failed.take().map(Err))
    }
}

/// What a failed read near `key` means to the caller.
pub(super) fn unread(key: &[u8], error: &EngineError) -> ReadError {
    match error {
        EngineError::Damaged(detail) => damaged(key, detail.clone()),
        EngineError::Broken(detail) => ReadError::Failed(detail.clone()),
        EngineError::Closed => ReadError::Closed,
    }
}

/// The record under `key` cannot be read.
pub(super) fn damaged(key: &[u8], detail: String) -> ReadError {
    ReadError::Damaged {
        agent: keys::owner(key),
        detail,
    }
}
