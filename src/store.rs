//! Everything on disk, and the only folder that names sled and bincode.
//!
//! One `Store` a data folder. Reads are plain calls from any thread that see what is applied; they block, for
//! microseconds when the data is in the cache. Writes are batches: `commit` answers when the batch is durable, and all
//! of them pass through one committer (`commit.rs`).
//!
//! Layers, from the outside in: the file of each kind of record (its shape on disk, its writes as methods of `Batch`,
//! its reads as methods of `Store`), `batch.rs` and `commit.rs`, `disk.rs`, and the seam to the engine in `engine.rs`.

mod agents;
mod audit;
mod batch;
mod blocks;
mod callbacks;
mod check;
mod codec;
mod commit;
mod conversations;
mod disk;
mod engine;
mod frames;
#[cfg(test)]
mod golden;
mod heads;
mod idempotency;
mod inbox;
mod keys;
mod messages;
mod migrate;
mod models;
mod pieces;
mod providers;
mod queries;
mod rebuild;
mod record;
mod resolve;
mod runs;
mod seal;
mod space;
mod steps;
mod sweep;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;
mod tools;
mod traces;

pub use audit::CheckReport;
pub use batch::{Batch, Condition};
pub use callbacks::CallbackEntry;
pub use check::check;
pub use commit::{CommitError, Epoch};
pub use conversations::Member;
pub use idempotency::IdempotencyRecord;
pub use sweep::{SweepError, Swept};

use crate::domain::id::AgentId;
use codec::Stored;
use commit::{Command, Queue};
use disk::Disk;
use engine::sled::SledEngine;
use engine::{Engine, OpenError, Opener};
use seal::Seal;
use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use tokio::sync::{oneshot, watch};
use traces::Traces;

/// Folder of the database inside the data folder.
const DATABASE: &str = "sled";

/// What an acknowledged write survives (decisions 16).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// A power cut.
    Sync,
    /// A crash of the process, not of the machine.
    Flush,
}

impl Durability {
    /// As it is spelt in the configuration and in the tree.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Flush => "flush",
        }
    }
}

/// What a store is opened with.
#[derive(Clone)]
pub struct StoreConfig {
    /// The data folder; made when it is missing, readable for its owner only.
    pub path: PathBuf,
    pub durability: Durability,
    /// Bytes of the engine's page cache. Smaller than the data makes reads three to four times slower.
    pub cache_bytes: u64,
    /// Bytes that stay free on the disk: below, writes are refused as `Full`.
    pub reserve_bytes: u64,
    /// Seals secrets (decisions 38).
    pub master_key: [u8; 32],
}

/// What was found when the store was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// The last process closed the store. Otherwise it was killed or crashed, which loses nothing acknowledged.
    pub clean: bool,
    /// The folder was empty.
    pub created: bool,
    pub damaged: Vec<Damaged>,
}

/// A place that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    /// The agent it belongs to, if it belongs to one.
    pub agent: Option<AgentId>,
    pub detail: String,
}

/// How the engine is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// Rises when the engine was opened again after a failure: all agents are fenced off and must load afresh.
    pub generation: u64,
    /// Why the store takes no more writes. The process should exit; what was acknowledged is on disk.
    pub lost: Option<String>,
}

/// Why the store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the data folder {} is in use by another process", .0.display())]
    InUse(PathBuf),
    #[error(
        "the data folder has format {found}, this program knows formats up to {known}: use a newer greenroom"
    )]
    Newer { found: u32, known: u32 },
    #[error("{} holds a database that is not Greenroom's", .0.display())]
    Foreign(PathBuf),
    #[error("cannot open the data folder {}: {detail}", path.display())]
    Failed { path: PathBuf, detail: String },
}

/// Why something could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// This record, or this part of the file, cannot be read; the rest can. Names the agent concerned, if one is.
    #[error("part of the stored data cannot be read: {detail}")]
    Damaged {
        agent: Option<AgentId>,
        detail: String,
    },
    /// The disk failed.
    #[error("the read failed: {0}")]
    Failed(String),
    #[error("the store is closed")]
    Closed,
}

/// The open data folder. Clones share it.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    queue: Queue,
    traces: Traces,
}

/// What the committer and the readers both hold.
struct Shared {
    disk: Arc<Disk>,
    path: PathBuf,
    durability: Durability,
    reserve_bytes: AtomicU64,
    full: AtomicBool,
    waiting: AtomicUsize,
    syncs: AtomicU64,
    revision: AtomicU64,
    health: watch::Sender<Health>,
    seal: Seal,
}

impl Store {
    /// Opens the data folder, or makes it. Blocks for as long as recovery takes (milliseconds; up to seconds for
    /// millions of records after a kill). Needs no runtime.
    ///
    /// # Errors
    /// Another process has the folder, a newer program wrote it, or it cannot be opened.
    pub fn open(config: StoreConfig) -> Result<(Self, OpenReport), StoreError> {
        make_folder(&config.path)?;
        let opener = opener(&config)?;
        Self::open_with(config, opener)
    }

    fn open_with(config: StoreConfig, opener: Opener) -> Result<(Self, OpenReport), StoreError> {
        let failed = |detail: String| StoreError::Failed {
            path: config.path.clone(),
            detail,
        };
        let disk = Disk::open(opener).map_err(|error| match error {
            OpenError::InUse => StoreError::InUse(config.path.clone()),
            OpenError::Failed(detail) => failed(detail),
        })?;
        let disk = Arc::new(disk);
        let (created, clean) = migrate::begin(&disk, &config.path)?;
        let damaged = if clean {
            Vec::new()
        } else {
            audit::first_look(&disk)
        };
        let traces =
            Traces::open(&config.path.join("traces")).map_err(|error| failed(error.to_string()))?;
        let shared = Arc::new(Shared {
            seal: Seal::new(&config.master_key),
            disk,
            durability: config.durability,
            reserve_bytes: AtomicU64::new(config.reserve_bytes),
            full: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            syncs: AtomicU64::new(0),
            revision: AtomicU64::new(0),
            health: watch::Sender::new(Health::default()),
            path: config.path.clone(),
        });
        let queue = Queue::start(Arc::clone(&shared)).map_err(|error| failed(error.to_string()))?;
        let store = Self(Arc::new(Inner {
            shared,
            queue,
            traces,
        }));
        Ok((
            store,
            OpenReport {
                clean,
                created,
                damaged,
            },
        ))
    }

    /// Makes a later incarnation of the agent the only one whose batches are taken. Answers when everything that was
    /// queued before is applied, so what is read afterwards is what the earlier incarnation left (decisions 29).
    ///
    /// # Errors
    /// `Failed` and `Closed` only.
    pub fn fence(
        &self,
        agent: AgentId,
    ) -> impl Future<Output = Result<Epoch, CommitError>> + Send + use<> {
        let (answer, answered) = oneshot::channel();
        self.0.queue.send(Command::Fence { agent, answer });
        async { answered.await.unwrap_or(Err(CommitError::Closed)) }
    }

    /// Forgets the epoch of an agent that has gone to sleep, unless a later one has taken over.
    pub fn release(&self, agent: AgentId, epoch: Epoch) {
        self.0.queue.send(Command::Release { agent, epoch });
    }

    /// Writes `batch`. It is in line when this returns, in the order of the calls; the future answers when it is
    /// durable, or, if it is relaxed, when it is applied. Dropping the future changes nothing.
    pub fn commit(
        &self,
        batch: Batch,
    ) -> impl Future<Output = Result<(), CommitError>> + Send + use<> {
        let (answer, answered) = oneshot::channel();
        self.submit(batch, Some(answer));
        async { answered.await.unwrap_or(Err(CommitError::Closed)) }
    }

    /// Writes `batch` without anybody waiting for it; a failure is logged.
    pub fn commit_relaxed(&self, batch: Batch) {
        self.submit(batch.relaxed(), None);
    }

    fn submit(&self, mut batch: Batch, answer: Option<commit::Answer<()>>) {
        batch.seal(&self.0.shared.seal);
        self.0.queue.send(Command::Commit {
            batch: Box::new(batch),
            answer,
        });
    }

    /// Rises with every applied batch that touched a block or a link: while it stays, nothing shared has changed.
    pub fn shared_revision(&self) -> u64 {
        self.0.shared.revision.load(Ordering::Acquire)
    }

    /// Groups of batches that were made durable since the store was opened.
    pub fn syncs(&self) -> u64 {
        self.0.shared.syncs.load(Ordering::Relaxed)
    }

    /// Commands in line or under way at the committer.
    pub fn waiting(&self) -> usize {
        self.0.shared.waiting.load(Ordering::Relaxed)
    }

    /// Whether writes are refused because less than the reserve is free. Asks the file system.
    pub fn disk_full(&self) -> bool {
        self.0.shared.is_full()
    }

    /// What an acknowledged write survives.
    pub fn durability(&self) -> Durability {
        self.0.shared.durability
    }

    /// Times the engine was opened again after a failure.
    pub fn generation(&self) -> u64 {
        self.0.shared.health.borrow().generation
    }

    /// The health and its changes.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.0.shared.health.subscribe()
    }

    /// Writes what is in line, makes everything durable and lets go of the folder. Later commits and reads are refused
    /// as closed.
    ///
    /// # Errors
    /// `Failed` when the last writes may not be on disk, `Closed` when it was closed already.
    pub async fn close(&self) -> Result<(), CommitError> {
        let (answer, answered) = oneshot::channel();
        self.0.queue.send(Command::Close { answer });
        answered.await.unwrap_or(Err(CommitError::Closed))
    }

    // What the files of the records read through.

    fn disk(&self) -> &Arc<Disk> {
        &self.0.shared.disk
    }

    /// The record under `key`, unless its agent is deleted: for reads by bare id (decisions 35).
    fn living_record<T: Stored>(&self, agent: AgentId, key: &[u8]) -> Result<Option<T>, ReadError> {
        if self.is_buried(agent)? {
            Ok(None)
        } else {
            self.disk().record(key)
        }
    }

    fn seal(&self) -> &Seal {
        &self.0.shared.seal
    }
}

/// Makes the data folder if it is missing, so that its name survives a power cut.
fn make_folder(path: &Path) -> Result<(), StoreError> {
    let make = || -> std::io::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        match path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
        {
            Some(parent) => File::open(parent)?.sync_all(),
            None => Ok(()),
        }
    };
    make().map_err(|error| StoreError::Failed {
        path: path.to_owned(),
        detail: error.to_string(),
    })
}

/// How the engine of this folder is opened. With the `faults` feature the environment may ask for a fault.
fn opener(config: &StoreConfig) -> Result<Opener, StoreError> {
    let (path, cache_bytes) = (config.path.join(DATABASE), config.cache_bytes);
    let open = move || SledEngine::open(&path, cache_bytes);
    #[cfg(feature = "faults")]
    if let Some(plan) =
        engine::faults::Plan::from_environment().map_err(|detail| StoreError::Failed {
            path: config.path.clone(),
            detail,
        })?
    {
        return Ok(Box::new(move || {
            Ok(Box::new(plan.wrap(open()?)) as Box<dyn Engine>)
        }));
    }
    Ok(Box::new(move || Ok(Box::new(open()?) as Box<dyn Engine>)))
}

/// An entry of an index that does not say what it should.
fn bad_entry(key: &[u8]) -> ReadError {
    disk::damaged(key, "an entry of an index is malformed".to_owned())
}
