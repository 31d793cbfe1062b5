//! The committer: one thread through which every write goes.
//!
//! It takes what waits as one group, checks batch after batch (a refused one fails alone, the next sees the last), applies
//! the group as one write, makes it durable with one flush and one sync, then answers. Conditions and epochs are checked
//! here, in order (decisions 16, 29, 32). One write, because sled hands its buffer to its pool of threads before and after
//! each: written batch by batch, half of the daemon's processor time went into waking them.

use super::batch::{Batch, Condition};
use super::engine::EngineError;
use super::migrate;
use super::resolve::{Draft, Refusal};
use super::space::Space;
use super::{Durability, Health, Shared};
use crate::domain::id::AgentId;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender};
use tokio::sync::oneshot;
use tracing::{error, info, warn};

/// Most commands of a group.
const MOST_COMMANDS: usize = 256;
/// Most bytes of a group; one more batch may go beyond.
const MOST_BYTES: usize = 4 << 20;

/// Which incarnation of an agent writes: of two, the later has the greater one. Unique in the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(u64);

/// Why a batch was not written, or may not have been.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// A later incarnation of the agent is at work (or the agent was released). Nothing was written.
    #[error("a later incarnation of the agent has taken over")]
    Fenced,
    /// Does not hold. Nothing was written.
    #[error("the write expected that {0}")]
    Conflict(Condition),
    /// Less space than the reserve is free on the disk. Nothing was written.
    #[error("the disk is full, nothing was written")]
    Full,
    /// A record is longer than a record can be. Nothing was written.
    #[error("a record of {0} bytes is too large, nothing was written")]
    TooLarge(usize),
    /// The engine failed. Whether the batch is there afterwards is unknown; `Store::generation` has risen if the store
    /// could be opened again.
    #[error("the write failed: {0}")]
    Failed(String),
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

pub(super) type Answer<T> = oneshot::Sender<Result<T, CommitError>>;

/// What the committer is asked.
pub(super) enum Command {
    /// `answer` is `None` when nobody wants to know.
    Commit {
        batch: Box<Batch>,
        answer: Option<Answer<()>>,
    },
    Fence {
        agent: AgentId,
        answer: Answer<Epoch>,
    },
    Release {
        agent: AgentId,
        epoch: Epoch,
    },
    Close {
        answer: Answer<()>,
    },
}

impl Command {
    fn bytes(&self) -> usize {
        match self {
            Self::Commit { batch, .. } => batch.bytes,
            Self::Fence { .. } | Self::Release { .. } | Self::Close { .. } => 0,
        }
    }
}

/// The way to the committer.
pub(super) struct Queue {
    sender: Sender<Command>,
    shared: Arc<Shared>,
}

impl Queue {
    /// Starts the committer's thread. It ends with `Command::Close`, or when the queue is dropped.
    pub(super) fn start(shared: Arc<Shared>) -> std::io::Result<Self> {
        let (sender, receiver) = std::sync::mpsc::channel();
        let committer = Committer {
            shared: Arc::clone(&shared),
            epochs: HashMap::new(),
            last_epoch: 0,
            receiver,
        };
        let watched = Arc::clone(&shared);
        let work = move || {
            if catch_unwind(AssertUnwindSafe(|| committer.work())).is_err() {
                watched.lose("the committer panicked".to_owned());
            }
        };
        std::thread::Builder::new()
            .name("committer".to_owned())
            .spawn(work)?;
        Ok(Self { sender, shared })
    }

    /// Puts a command in line. When the committer is gone the command is dropped, and its answer with it: whoever waits
    /// for that sees the store closed.
    pub(super) fn send(&self, command: Command) {
        self.shared.waiting.fetch_add(1, Ordering::Relaxed);
        if self.sender.send(command).is_err() {
            self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

struct Committer {
    shared: Arc<Shared>,
    /// The newest epoch of each agent that is awake.
    epochs: HashMap<AgentId, Epoch>,
    last_epoch: u64,
    receiver: Receiver<Command>,
}

/// A group on its way to the disk.
#[derive(Default)]
struct Group {
    draft: Draft,
    /// Answered when everything is durable.
    durable: Vec<Option<Answer<()>>>,
    /// Answered when everything is applied.
    relaxed: Vec<Option<Answer<()>>>,
    fences: Vec<(Answer<Epoch>, Epoch)>,
    /// Last command of this store.
    close: Option<Answer<()>>,
}

impl Group {
    /// Answers those who wait for what was applied.
    fn applied(&mut self) {
        for to in self.relaxed.drain(..) {
            answer_if_wanted(to, Ok(()));
        }
        for (to, epoch) in self.fences.drain(..) {
            answer(to, Ok(epoch));
        }
    }

    /// Tells all who still wait that the outcome is not known.
    fn fail(self, error: &EngineError) {
        let failed = || CommitError::Failed(error.to_string());
        for to in self.durable.into_iter().chain(self.relaxed) {
            answer_if_wanted(to, Err(failed()));
        }
        for (to, _) in self.fences {
            answer(to, Err(failed()));
        }
        if let Some(to) = self.close {
            answer(to, Err(failed()));
        }
    }
}

/// Tells whoever waits; that nobody does any more is no failure.
fn answer<T>(to: Answer<T>, result: Result<T, CommitError>) {
    let _ = to.send(result);
}

fn answer_if_wanted(to: Option<Answer<()>>, result: Result<(), CommitError>) {
    match (to, result) {
        (Some(to), result) => answer(to, result),
        (None, Err(error)) => warn!(%error, "a write that nobody waits for was lost"),
        (None, Ok(())) => (),
    }
}

impl Committer {
    fn work(mut self) {
        let mut space = Space::new(&self.shared);
        while let Ok(first) = self.receiver.recv() {
            let commands = self.waiting(first);
            let taken = commands.len();
            let close = self.carry_out(commands, space.is_full());
            self.shared.waiting.fetch_sub(taken, Ordering::Relaxed);
            if let Some(close) = close {
                return answer(close, self.close());
            }
        }
        if let Err(error) = self.close() {
            error!(%error, "the last writes may be lost");
        }
    }

    /// Everything is on disk, whatever the durability, and the next open is told so.
    fn close(&self) -> Result<(), CommitError> {
        if let Some(reason) = self.shared.lost() {
            self.shared.disk.close();
            return Err(CommitError::Failed(reason));
        }
        let written = self.shared.disk.with(|engine| {
            engine.apply(&migrate::clean_mark(true))?;
            engine.flush()?;
            engine.sync()
        });
        self.shared.disk.close();
        written.map_err(|error| CommitError::Failed(error.to_string()))
    }

    fn waiting(&self, first: Command) -> Vec<Command> {
        let mut bytes = first.bytes();
        let mut group = vec![first];
        while group.len() < MOST_COMMANDS && bytes < MOST_BYTES {
            let Ok(command) = self.receiver.try_recv() else {
                break;
            };
            bytes += command.bytes();
            group.push(command);
        }
        group
    }

    /// Applies a group as one write and answers all of it; the answer to a `Close` is left to the caller.
    fn carry_out(&mut self, commands: Vec<Command>, full: bool) -> Option<Answer<()>> {
        let mut group = Group::default();
        // `Close` is the last command of anybody; what follows it is dropped and so sees the store closed.
        for command in commands {
            self.add(command, full, &mut group);
            if group.close.is_some() {
                break;
            }
        }
        let written = self.apply(&group.draft);
        if let Err(error) = written {
            group.fail(&error);
            self.reopen(&error);
            return None;
        }
        group.applied();
        if !group.durable.is_empty() {
            match self.make_durable() {
                Ok(()) => group
                    .durable
                    .drain(..)
                    .flatten()
                    .for_each(|to| answer(to, Ok(()))),
                Err(error) => {
                    group.fail(&error);
                    return None;
                }
            }
        }
        group.close
    }

    fn add(&mut self, command: Command, full: bool, group: &mut Group) {
        match command {
            Command::Commit { batch, answer } => {
                let relaxed = batch.relaxed;
                match self.draft(*batch, full, &mut group.draft) {
                    Ok(()) if relaxed => group.relaxed.push(answer),
                    Ok(()) => group.durable.push(answer),
                    Err(refused) => answer_if_wanted(answer, Err(refused)),
                }
            }
            // Answered when what stands before it is applied: who asked reads next (decisions 29).
            Command::Fence { agent, answer } => {
                self.last_epoch += 1;
                let epoch = Epoch(self.last_epoch);
                self.epochs.insert(agent, epoch);
                group.fences.push((answer, epoch));
            }
            Command::Release { agent, epoch } => {
                if self.epochs.get(&agent) == Some(&epoch) {
                    self.epochs.remove(&agent);
                }
            }
            Command::Close { answer } => group.close = Some(answer),
        }
    }

    /// Adds a batch to what will be applied, or refuses it without a trace.
    fn draft(&self, batch: Batch, full: bool, draft: &mut Draft) -> Result<(), CommitError> {
        self.admit(&batch, full)?;
        draft
            .add(&self.shared.disk, batch)
            .map_err(|refusal| match refusal {
                Refusal::Condition(condition) => CommitError::Conflict(condition),
                Refusal::Unreadable(error) => CommitError::Failed(error.to_string()),
            })
    }

    fn apply(&self, draft: &Draft) -> Result<(), EngineError> {
        if !draft.changes.is_empty() {
            self.shared
                .disk
                .with(|engine| engine.apply(&draft.changes))?;
        }
        if draft.shared {
            self.shared.revision.fetch_add(1, Ordering::Release);
        }
        Ok(())
    }

    /// Whether this batch may be applied at all.
    fn admit(&self, batch: &Batch, full: bool) -> Result<(), CommitError> {
        if let Some(reason) = self.shared.lost() {
            return Err(CommitError::Failed(reason));
        }
        if let Some((agent, epoch)) = batch.owner
            && self.epochs.get(&agent) != Some(&epoch)
        {
            return Err(CommitError::Fenced);
        }
        match batch.too_large {
            Some(bytes) => Err(CommitError::TooLarge(bytes)),
            None if full => Err(CommitError::Full),
            None => Ok(()),
        }
    }

    /// Everything applied so far becomes durable, or the store is not to be trusted any more.
    fn make_durable(&mut self) -> Result<(), EngineError> {
        let sync = self.shared.durability == Durability::Sync;
        if let Err(error) = self.shared.disk.with(|engine| engine.flush()) {
            self.reopen(&error);
            return Err(error);
        }
        if sync && let Err(error) = self.shared.disk.with(|engine| engine.sync()) {
            // After a failed sync the system may take the lost pages for clean: trying again would report a success
            // that is none.
            self.shared
                .lose(format!("a sync of the database file failed ({error})"));
            return Err(error);
        }
        self.shared.syncs.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Closes and opens the engine (decisions 37). Agents know more than the disk now, so all are fenced off.
    fn reopen(&mut self, error: &EngineError) {
        warn!(%error, "the engine is closed and opened again");
        self.epochs.clear();
        match self.shared.disk.reopen() {
            Ok(()) => {
                info!("the engine is open again");
                self.shared
                    .health
                    .send_modify(|health| health.generation += 1);
            }
            Err(again) => self.shared.lose(format!(
                "the engine failed ({error}) and could not be opened again ({again})"
            )),
        }
    }
}

impl Shared {
    fn lost(&self) -> Option<String> {
        self.health.borrow().lost.clone()
    }

    fn lose(&self, reason: String) {
        self.health
            .send_modify(|health: &mut Health| health.lost = Some(reason));
    }
}
