//! sled behind the seam. Its `flush` reaches the operating system only (`sync_file_range`), so a `sync` goes to a
//! descriptor of our own; its panics end here.

use super::{Changes, Engine, EngineError, OpenError, Pair, Value};
use crate::domain::page::Order;
use crate::store::keys::KeyRange;
use rustix::fs::{FlockOperation, flock};
use std::any::Any;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tracing::warn;

/// sled's collector and its own periodic sync run at this pace. Not the point of durability.
const FLUSH_EVERY_MS: u64 = 200;

/// How long sled may take to let go of its lock.
const PATIENCE: Duration = Duration::from_secs(10);
const RETRY_EVERY: Duration = Duration::from_millis(1);

pub(in crate::store) struct SledEngine {
    db: sled::Db,
    /// The database file, for `sync`.
    file: File,
}

impl SledEngine {
    /// Opens or creates the database in the folder `path`, whose parent exists. `cache_bytes` bounds sled's page cache;
    /// the process takes a small multiple of it.
    ///
    /// # Errors
    /// `InUse` when another process, or another handle in this one, holds the lock.
    pub(in crate::store) fn open(path: &Path, cache_bytes: u64) -> Result<Self, OpenError> {
        let config = sled::Config::new()
            .path(path)
            .mode(sled::Mode::LowSpace)
            .cache_capacity(cache_bytes)
            .flush_every_ms(Some(FLUSH_EVERY_MS))
            .use_compression(false);
        let db = match catch_unwind(AssertUnwindSafe(|| config.open())) {
            Ok(Ok(db)) => db,
            Ok(Err(error)) if locked(&error) => return Err(OpenError::InUse),
            Ok(Err(error)) => return Err(OpenError::Failed(error.to_string())),
            Err(panic) => return Err(OpenError::Failed(said(panic.as_ref()))),
        };
        let file = File::open(path.join("db"))
            .and_then(|file| sync_folders(path).map(|()| file))
            .map_err(|error| OpenError::Failed(error.to_string()))?;
        Ok(Self { db, file })
    }
}

/// Makes the names of the database files, and of their folder, survive a power cut.
fn sync_folders(path: &Path) -> std::io::Result<()> {
    let folders: Vec<PathBuf> = path.ancestors().take(2).map(Path::to_owned).collect();
    folders
        .iter()
        .filter(|folder| !folder.as_os_str().is_empty())
        .try_for_each(|folder| File::open(folder)?.sync_all())
}

/// sled has no error of its own for a lock that is held.
fn locked(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(io) if io.to_string().contains("could not acquire lock"))
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    format!("the engine panicked: {}", text.unwrap_or("without a word"))
}

/// A failed read: the disk's fault, or a damaged place in the file.
fn read<T>(call: impl FnOnce() -> sled::Result<T>) -> Result<T, EngineError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(sled::Error::Io(error))) => Err(EngineError::Broken(error.to_string())),
        Ok(Err(error)) => Err(EngineError::Damaged(error.to_string())),
        Err(panic) => Err(EngineError::Damaged(said(panic.as_ref()))),
    }
}

/// After a failed write nobody knows what was written, whatever the reason.
fn write<T>(call: impl FnOnce() -> sled::Result<T>) -> Result<T, EngineError> {
    read(call).map_err(|error| match error {
        EngineError::Damaged(reason) => EngineError::Broken(reason),
        EngineError::Broken(_) | EngineError::Closed => error,
    })
}

impl Engine for SledEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Value>, EngineError> {
        read(|| Ok(self.db.get(key)?.map(|value| value.to_vec())))
    }

    fn scan(
        &self,
        range: &KeyRange,
        order: Order,
        most: usize,
        found: &mut Vec<Pair>,
    ) -> Result<(), EngineError> {
        if range.is_empty() {
            return Ok(());
        }
        read(|| {
            let mut pairs = self.db.range(range.from.as_slice()..range.to.as_slice());
            for _ in 0..most {
                let next = match order {
                    Order::Ascending => pairs.next(),
                    Order::Descending => pairs.next_back(),
                };
                let Some(pair) = next else { break };
                let (key, value) = pair?;
                found.push((key.to_vec(), value.to_vec()));
            }
            Ok(())
        })
    }

    fn apply(&self, changes: &Changes) -> Result<(), EngineError> {
        let mut batch = sled::Batch::default();
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(key.as_slice(), value.as_slice()),
                None => batch.remove(key.as_slice()),
            }
        }
        write(|| self.db.apply_batch(batch))
    }

    fn flush(&self) -> Result<(), EngineError> {
        write(|| self.db.flush().map(|_| ()))
    }

    fn sync(&self) -> Result<(), EngineError> {
        self.file
            .sync_data()
            .map_err(|error| EngineError::Broken(error.to_string()))
    }

    /// sled's own thread may hold the lock for a moment longer than the last handle lives.
    fn close(self: Box<Self>) {
        let Self { db, file } = *self;
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(db))) {
            warn!("{}", said(panic.as_ref()));
        }
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
            if Instant::now() >= deadline {
                return warn!(%error, "the engine does not let go of its lock");
            }
            std::thread::park_timeout(RETRY_EVERY);
        }
    }
}
