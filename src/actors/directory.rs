//! Who is live: agents and runs by id. A concurrent map, not an actor, so that no request passes through a supervisor
//! (decisions 10). An entry changes only under its lock (decisions 29).

use super::agent::{self, AgentHandle, Live};
use super::ask::AskError;
use super::house::House;
use super::refused::Refused;
use super::restart::Deaths;
use super::run::{FrameReader, Outcome, RunHandle};
use crate::domain::id::{AgentId, RunId};
use crate::domain::run::LaneId;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::timeout;

/// How long a request waits for an agent that is starting or recovering.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a reader waits for the recorded end of a run whose actor died under it (decisions 31).
const AFTERMATH: Duration = Duration::from_secs(10);
/// Between two looks at what only another actor can bring about.
pub(crate) const PAUSE: Duration = Duration::from_millis(10);

/// One agent's place in the directory.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) phase: Phase,
    pub(crate) deaths: Deaths,
    /// Activations tried since the agent was found faulty; 0 for a sound one.
    pub(crate) attempts: u32,
    changed: watch::Sender<()>,
}

#[derive(Debug)]
pub(crate) enum Phase {
    /// On disk only.
    Absent,
    Starting,
    Live(Arc<Live>),
    /// Draining; the next incarnation starts when it is gone.
    Retiring,
    BackingOff {
        reason: String,
    },
    /// Out of service until then; after it one request tries an activation.
    Faulted {
        reason: String,
        until: Instant,
    },
    /// Could not be loaded just now.
    Refused {
        refused: Refused,
        until: Instant,
    },
}

impl Default for Slot {
    fn default() -> Self {
        Self {
            phase: Phase::Absent,
            deaths: Deaths::default(),
            attempts: 0,
            changed: watch::Sender::new(()),
        }
    }
}

impl Slot {
    pub(crate) fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.changed.send_replace(());
    }
}

enum Look {
    There(AgentHandle),
    Wait(watch::Receiver<()>),
    Refused(Refused),
}

#[derive(Clone)]
pub struct Directory {
    house: Arc<House>,
}

impl Directory {
    pub(crate) fn new(house: Arc<House>) -> Self {
        Self { house }
    }

    /// The agent, started from disk on first need.
    ///
    /// # Errors
    /// Unknown, faulted, damaged, or not there in time; `Draining` and `Overloaded` for the whole server.
    pub async fn agent(&self, id: AgentId) -> Result<AgentHandle, Refused> {
        if self.house.is_draining() {
            return Err(Refused::Draining);
        }
        if self.house.store.waiting() > self.house.settings.commits_waiting {
            return Err(Refused::Overloaded);
        }
        let arrive = async {
            loop {
                match self.look(id)? {
                    Look::There(handle) => return Ok(handle),
                    Look::Refused(refused) => return Err(refused),
                    // An error means the entry was removed: look again.
                    Look::Wait(mut changed) => drop(changed.changed().await),
                }
            }
        };
        timeout(PATIENCE, arrive)
            .await
            .unwrap_or(Err(Refused::Timeout))
    }

    fn look(&self, id: AgentId) -> Result<Look, Refused> {
        if !self.house.slots.contains_key(&id) && !self.house.store.agent_exists(id)? {
            return Err(Refused::NoSuchAgent(id));
        }
        let mut slot = self.house.slots.entry(id).or_default();
        let now = Instant::now();
        match &slot.phase {
            Phase::Live(live) => return Ok(Look::There(AgentHandle::lease(live, &self.house))),
            Phase::Faulted { reason, until } if now < *until => {
                return Ok(Look::Refused(Refused::Faulted {
                    agent: id,
                    reason: reason.clone(),
                }));
            }
            Phase::Refused { refused, until } if now < *until => {
                return Ok(Look::Refused(refused.clone()));
            }
            Phase::Starting | Phase::Retiring | Phase::BackingOff { .. } => {
                return Ok(Look::Wait(slot.changed.subscribe()));
            }
            Phase::Absent | Phase::Faulted { .. } | Phase::Refused { .. } => (),
        }
        slot.enter(Phase::Starting);
        let changed = slot.changed.subscribe();
        let restarts = slot.deaths.restarts;
        drop(slot);
        agent::start(self.house.clone(), id, restarts);
        Ok(Look::Wait(changed))
    }

    /// The agent if it is live, without starting it.
    pub(crate) fn live(&self, id: AgentId) -> Option<AgentHandle> {
        match &self.house.slots.get(&id)?.phase {
            Phase::Live(live) => Some(AgentHandle::lease(live, &self.house)),
            _ => None,
        }
    }

    /// A live run.
    pub fn run(&self, id: RunId) -> Option<RunHandle> {
        self.house.runs.get(&id).map(|run| run.value().clone())
    }

    /// The end of a run: waited for while it is live, read from the store when it is not. Outlives a crash of run or agent.
    ///
    /// # Errors
    /// `NoSuchRun`, or `Timeout` when a crashed run leaves no end within 10 s.
    pub async fn outcome(&self, id: RunId) -> Result<Arc<Outcome>, Refused> {
        let mut since = Instant::now();
        loop {
            if let Some(run) = self.run(id) {
                match run.finished().await {
                    Ok(outcome) => return Ok(outcome),
                    // It died: its agent resumes it or writes its end (decisions 36).
                    Err(AskError::Gone | AskError::Late) => since = Instant::now(),
                }
            }
            if let Some(outcome) = self.recorded(id).await? {
                return Ok(outcome);
            }
            if since.elapsed() > AFTERMATH {
                return Err(Refused::Timeout);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The end that is on disk, if the run has ended.
    async fn recorded(&self, id: RunId) -> Result<Option<Arc<Outcome>>, Refused> {
        let store = self.house.store.clone();
        let read = move || -> Result<Option<Arc<Outcome>>, Refused> {
            let run = store.run(id)?.ok_or(Refused::NoSuchRun(id))?;
            if !run.status.is_final() {
                return Ok(None);
            }
            let messages = store
                .run_messages(run.agent_id, id)?
                .into_iter()
                .map(Arc::new)
                .collect();
            Ok(Some(Arc::new(Outcome {
                turn_loop: super::reads::turn_loop(&store, run.agent_id)?,
                run: Arc::new(run),
                messages,
                tokens: Vec::new(),
                shows_summaries: false,
            })))
        };
        super::reads::blocking(read).await
    }

    /// The frames of a background run after number `after`, live or stored.
    ///
    /// # Errors
    /// `NoSuchRun`, `NotBackground`, `StreamExpired` after the retention.
    pub async fn frames(&self, id: RunId, after: u64) -> Result<FrameReader, Refused> {
        if let Some(run) = self.run(id) {
            return if run.background() {
                Ok(run.frames(after))
            } else {
                Err(Refused::NotBackground(id))
            };
        }
        let since = Instant::now();
        loop {
            let store = self.house.store.clone();
            let run = super::reads::blocking(move || Ok(store.run(id)?))
                .await?
                .ok_or(Refused::NoSuchRun(id))?;
            if !run.background {
                return Err(Refused::NotBackground(id));
            }
            let age = run
                .completed_at
                .map(|end| crate::domain::clock::now().duration_since(end));
            match age {
                Some(age)
                    if age.as_secs()
                        > i64::try_from(self.house.settings.stream_retention.as_secs())
                            .unwrap_or(i64::MAX) =>
                {
                    return Err(Refused::StreamExpired(id));
                }
                Some(_) => {
                    return Ok(FrameReader::stored(
                        self.house.store.clone(),
                        run.agent_id,
                        id,
                        after,
                    ));
                }
                None if since.elapsed() > AFTERMATH => return Err(Refused::Timeout),
                None => tokio::time::sleep(PAUSE).await,
            }
            if let Some(run) = self.run(id) {
                return Ok(run.frames(after));
            }
        }
    }

    /// The frames of a repeated send whose run has ended; of a foreground run there are none left.
    ///
    /// # Errors
    /// As `frames`, but for `NotBackground`.
    pub async fn frames_of_repeat(&self, id: RunId) -> Result<FrameReader, Refused> {
        match self.frames(id, 0).await {
            Err(Refused::NotBackground(_)) => {
                let store = self.house.store.clone();
                let run = super::reads::blocking(move || Ok(store.run(id)?)).await?;
                let agent = run.ok_or(Refused::NoSuchRun(id))?.agent_id;
                Ok(FrameReader::stored(self.house.store.clone(), agent, id, 0))
            }
            frames => frames,
        }
    }

    /// Goes on reading the frames of a run whose actor died under the reader: the resumed run, or its recorded end.
    /// `None`: there is nothing more to read; the caller closes the stream with the recorded end.
    pub async fn resumed(&self, id: RunId, after: u64) -> Option<FrameReader> {
        let since = Instant::now();
        while since.elapsed() < AFTERMATH {
            if let Some(run) = self.run(id) {
                // The frames of a foreground run start anew with its new incarnation; its ping was seen.
                return Some(run.frames(if run.background() { after } else { 1 }));
            }
            if matches!(self.recorded(id).await, Ok(Some(_)) | Err(_)) {
                return self.frames(id, after).await.ok();
            }
            tokio::time::sleep(PAUSE).await;
        }
        None
    }

    /// Cancels runs of an agent: those named, or all that are active; also the one whose calls wait for an answer. The
    /// agent's mailbox is in the way of none that is active.
    /// `true`: the run is over; `false`: it is not a run of this agent.
    ///
    /// # Errors
    /// `NoSuchAgent`; `NothingToCancel` when none was named and none is active.
    pub async fn cancel(
        &self,
        agent: AgentId,
        named: Option<Vec<RunId>>,
    ) -> Result<Vec<(RunId, bool)>, Refused> {
        if !self.house.store.agent_exists(agent)? {
            return Err(Refused::NoSuchAgent(agent));
        }
        let Some(named) = named.filter(|named| !named.is_empty()) else {
            let ids = self.cancel_all(agent, None).await?;
            return if ids.is_empty() {
                Err(Refused::NothingToCancel)
            } else {
                Ok(ids.into_iter().map(|id| (id, true)).collect())
            };
        };
        let cancel = |id: RunId| async move { (id, self.cancel_one(agent, id).await) };
        let cancelled = futures_util::future::join_all(named.into_iter().map(cancel)).await;
        for run in cancelled
            .iter()
            .filter_map(|(run, over)| over.then_some(*run))
        {
            if let Some(lane) = self.waits(run).await? {
                self.agent(agent).await?.deny_pending(lane).await?;
            }
        }
        Ok(cancelled)
    }

    /// Cancels what is active, in one thread or in all, and says no to the calls that wait in that thread, or in the default
    /// one.
    async fn cancel_all(
        &self,
        agent: AgentId,
        lane: Option<LaneId>,
    ) -> Result<Vec<RunId>, Refused> {
        let mut ids = self.cancel_active(agent, lane).await;
        let thread = lane.unwrap_or(LaneId::Default);
        ids.extend(self.agent(agent).await?.deny_pending(thread).await?);
        if ids.is_empty() {
            // A run is listed before it has its actor. The agent has been asked since: what it had accepted has one now.
            ids = self.cancel_active(agent, lane).await;
        }
        Ok(ids)
    }

    async fn cancel_active(&self, agent: AgentId, lane: Option<LaneId>) -> Vec<RunId> {
        let mut active = self.runs_of(agent);
        // A run that has just ended is there until its last frame is out.
        let meant = |run: &RunHandle| lane.is_none_or(|lane| run.lane() == lane);
        active.retain(|run| meant(run) && !run.status().is_final());
        futures_util::future::join_all(active.iter().map(RunHandle::cancel)).await;
        active.iter().map(RunHandle::id).collect()
    }

    /// Cancels what is active in one thread of an agent, and the run whose calls wait at its end.
    ///
    /// # Errors
    /// `NoSuchAgent`, `NoSuchConversation`; `NothingToCancel` when none is active.
    pub async fn cancel_thread(&self, agent: AgentId, lane: LaneId) -> Result<Vec<RunId>, Refused> {
        if !self.house.store.agent_exists(agent)? {
            return Err(Refused::NoSuchAgent(agent));
        }
        let ids = self.cancel_all(agent, Some(lane)).await?;
        if ids.is_empty() {
            Err(Refused::NothingToCancel)
        } else {
            Ok(ids)
        }
    }

    /// The thread at whose end calls of this run wait for an answer.
    async fn waits(&self, run: RunId) -> Result<Option<LaneId>, Refused> {
        let store = self.house.store.clone();
        let read = move || -> Result<Option<LaneId>, Refused> {
            let Some(record) = store.run(run)? else {
                return Ok(None);
            };
            let pending = super::reads::pending(&store, record.agent_id, record.lane())?;
            let waits = pending.is_some_and(|pending| pending.request.run_id == Some(run));
            Ok(waits.then(|| record.lane()))
        };
        super::reads::blocking(read).await
    }

    async fn cancel_one(&self, agent: AgentId, id: RunId) -> bool {
        let since = Instant::now();
        loop {
            let live = self.run(id).filter(|run| run.agent() == agent);
            if let Some(run) = live
                && run.cancel().await.is_ok()
            {
                return true;
            }
            let store = self.house.store.clone();
            let stored = super::reads::blocking(move || Ok(store.run(id)?))
                .await
                .ok()
                .flatten();
            match stored.filter(|run| run.agent_id == agent) {
                Some(run) if run.status.is_final() => return true,
                // Accepted a moment ago, or being picked up after a crash: its actor is about to be there.
                Some(_) if since.elapsed() < AFTERMATH => tokio::time::sleep(PAUSE).await,
                _ => return false,
            }
        }
    }

    /// The live runs of an agent, in order of acceptance.
    fn runs_of(&self, agent: AgentId) -> Vec<RunHandle> {
        self.live(agent)
            .map(|agent| agent.runs())
            .unwrap_or_default()
    }
}
