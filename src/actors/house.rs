//! What every actor of one process shares: the store, the models, the tools, the settings, and who is live.

use super::agent::{AgentHandle, Live};
use super::agents;
use super::ask::tell;
use super::catalog;
use super::counts::Counts;
use super::directory::{Phase, Slot};
use super::outbox;
use super::refused::Refused;
use super::restart::{self, Verdict};
use super::run::RunHandle;
use super::tree::{self, Board, Node};
use super::waits::Waits;
use crate::domain::agent::CompactionSettings;
use crate::domain::frame::Frame;
use crate::domain::id::{AgentId, MessageId, RunId};
use crate::domain::model::ModelSettings;
use crate::egress::Egress;
use crate::providers::Providers;
use crate::store::{Epoch, Store};
use crate::tools::sandbox::Sandbox;
use crate::tools::toolbox::Toolbox;
use dashmap::DashMap;
use ractor::{ActorId, ActorRef};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Bounds and waits; every value comes from the configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    /// An agent that was idle this long leaves memory.
    pub passivate_after: Duration,
    /// Runs that wait for one lane; one more is refused.
    pub queue_depth: usize,
    /// Messages in one agent's mailbox; the facade is refused above it.
    pub mailbox_depth: usize,
    /// Commits waiting for the disk; the facade is refused above it.
    pub commits_waiting: usize,
    /// Agents that load from disk at the same time.
    pub most_starting: usize,
    /// How long a cancelled worker may take before it is killed.
    pub cancel_grace: Duration,
    /// How long foreground runs may go on after SIGTERM.
    pub drain: Duration,
    pub restart: restart::Policy,
    /// Bytes of one run's frames kept in memory.
    pub frames_bytes: usize,
    /// How long frames are kept after a run's end.
    pub stream_retention: Duration,
    /// A block's limit is refused instead of advised (decisions 7).
    pub strict_block_limits: bool,
}

/// How values become the text that clients read; `boot` hands in the functions of `wire`.
pub trait Render: Send + Sync {
    /// One SSE event; `seq` is the frame's number where clients may resume by it.
    fn frame(&self, frame: &Frame, seq: Option<u64>) -> String;
    /// The message that a rendered frame is of.
    fn message_of(&self, frame: &[u8]) -> Option<MessageId>;
    /// The settings of a summariser, which are kept as the client sent them.
    fn summariser_settings(&self, settings: &CompactionSettings) -> ModelSettings;
    /// The body of a callback.
    fn callback(&self, outcome: &super::run::Outcome) -> String;
}

/// Where the process is between its first and its last request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stage {
    Starting,
    Ready,
    Draining,
}

pub struct House {
    pub(crate) store: Store,
    pub(crate) providers: Providers,
    pub(crate) toolbox: Toolbox,
    pub(crate) sandbox: Sandbox,
    pub(crate) egress: Egress,
    pub(crate) settings: Settings,
    pub(crate) render: Box<dyn Render>,
    pub(crate) board: Board,
    /// Agents by id; an entry changes only under its lock (decisions 29).
    pub(crate) slots: DashMap<AgentId, Slot>,
    /// Which agent a dead actor was.
    pub(crate) actors: DashMap<ActorId, (AgentId, Epoch)>,
    pub(crate) runs: DashMap<RunId, RunHandle>,
    pub(crate) counts: Counts,
    /// Turns that wait for other agents' turns.
    pub(crate) waits: Waits,
    /// The present incarnations of the services that others tell things to.
    agents: RwLock<Option<ActorRef<agents::Msg>>>,
    outbox: RwLock<Option<ActorRef<outbox::Msg>>>,
    catalog: RwLock<Option<ActorRef<catalog::Due>>>,
    pub(crate) starting: Semaphore,
    stage: AtomicU8,
}

impl House {
    pub fn new(
        store: Store,
        providers: Providers,
        toolbox: Toolbox,
        sandbox: Sandbox,
        egress: Egress,
        settings: Settings,
        render: Box<dyn Render>,
    ) -> Self {
        let starting = Semaphore::new(settings.most_starting);
        Self {
            store,
            providers,
            toolbox,
            sandbox,
            egress,
            settings,
            render,
            board: Board::new(),
            slots: DashMap::new(),
            actors: DashMap::new(),
            runs: DashMap::new(),
            counts: Counts::default(),
            waits: Waits::default(),
            agents: RwLock::default(),
            outbox: RwLock::default(),
            catalog: RwLock::default(),
            starting,
            stage: AtomicU8::new(Stage::Starting as u8),
        }
    }

    pub(crate) fn set_stage(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Release);
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.stage.load(Ordering::Acquire) == Stage::Ready as u8
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.stage.load(Ordering::Acquire) == Stage::Draining as u8
    }

    /// An agent is loaded and takes messages.
    pub(crate) fn went_live(&self, actor: ActorId, live: Arc<Live>) {
        self.actors.insert(actor, (live.id, live.epoch));
        let mut slot = self.slots.entry(live.id).or_default();
        slot.attempts = 0;
        slot.enter(Phase::Live(live));
    }

    /// An agent could not be loaded; those who wait are told, the next request after a moment tries again.
    pub(crate) fn start_failed(&self, id: AgentId, refused: Refused) {
        let mut slot = self.slots.entry(id).or_default();
        if slot.attempts > 0 {
            slot.attempts += 1;
            let pause = restart::healing_pause(slot.attempts - 1);
            slot.enter(Phase::Faulted {
                reason: refused.to_string(),
                until: Instant::now() + pause,
            });
        } else {
            slot.enter(Phase::Refused {
                refused,
                until: Instant::now() + Duration::from_secs(1),
            });
        }
    }

    /// May the agent leave? Only if nobody holds it; from then on new requests wait for the next incarnation.
    pub(crate) fn may_retire(&self, id: AgentId) -> bool {
        let Some(mut slot) = self.slots.get_mut(&id) else {
            return false;
        };
        let idle = matches!(&slot.phase, Phase::Live(live) if live.leases() == 0);
        if idle {
            slot.enter(Phase::Retiring);
        }
        idle
    }

    /// A deleted agent leaves whoever still holds it.
    pub(crate) fn retire_now(&self, id: AgentId) {
        if let Some(mut slot) = self.slots.get_mut(&id) {
            slot.enter(Phase::Retiring);
        }
    }

    /// An agent's actor has ended: as planned, or not. `Some`: a restart is due after that wait.
    pub(crate) fn agent_ended(
        &self,
        actor: ActorId,
        failure: Option<String>,
    ) -> Option<(AgentId, Verdict)> {
        let (_, (id, epoch)) = self.actors.remove(&actor)?;
        self.store.release(id, epoch);
        let mut slot = self.slots.get_mut(&id)?;
        let planned = failure.is_none() && matches!(slot.phase, Phase::Retiring);
        if planned || self.is_draining() {
            slot.enter(Phase::Absent);
            let forget = slot.deaths.restarts == 0;
            drop(slot);
            if forget {
                self.slots
                    .remove_if(&id, |_, slot| matches!(slot.phase, Phase::Absent));
            }
            return None;
        }
        let reason = failure.unwrap_or_else(|| "the actor was killed".to_owned());
        let verdict = slot.deaths.died(&self.settings.restart, Instant::now());
        match verdict {
            Verdict::RestartAfter(_) => slot.enter(Phase::BackingOff { reason }),
            Verdict::Escalate => {
                slot.attempts = 1;
                slot.enter(Phase::Faulted {
                    reason,
                    until: Instant::now() + restart::healing_pause(0),
                });
            }
        }
        Some((id, verdict))
    }

    /// The back-off is over: the agent is starting from now on, unless somebody else saw to it.
    pub(crate) fn begin_restart(&self, id: AgentId) -> Option<u64> {
        let mut slot = self.slots.get_mut(&id)?;
        if !matches!(slot.phase, Phase::BackingOff { .. }) || self.is_draining() {
            return None;
        }
        slot.enter(Phase::Starting);
        Some(slot.deaths.restarts)
    }

    /// Agents that the tree should show although no actor of theirs lives.
    pub(crate) fn absent_agents(&self) -> Vec<Node> {
        let node = |id: &AgentId, slot: &Slot| {
            let (status, reason) = match &slot.phase {
                Phase::Absent | Phase::Live(_) | Phase::Retiring => return None,
                Phase::Starting => ("starting", None),
                Phase::BackingOff { reason } => ("backing_off", Some(reason.clone())),
                Phase::Faulted { reason, .. } => ("faulted", Some(reason.clone())),
                Phase::Refused { refused, .. } => ("damaged", Some(refused.to_string())),
            };
            Some(Node {
                name: tree::name("agent", Some(&id.to_string())),
                kind: "agent",
                id: Some(id.to_string()),
                parent: Some("agents".to_owned()),
                status: status.to_owned(),
                mailbox_depth: 0,
                mailbox_age_ms: 0,
                restarts: slot.deaths.restarts,
                uptime_ms: 0,
                run: None,
                step: None,
                tool: None,
                reason,
            })
        };
        self.slots
            .iter()
            .filter_map(|slot| node(slot.key(), slot.value()))
            .collect()
    }

    /// There is a callback to send.
    pub(crate) fn callback_due(&self) {
        if let Some(outbox) = self
            .outbox
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
        {
            tell(outbox, outbox::Msg::Due);
        }
    }

    /// There is a provider whose models are not known yet.
    pub(crate) fn lists_due(&self) {
        let catalog = self.catalog.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(catalog) = catalog.as_ref() {
            tell(catalog, catalog::Due);
        }
    }

    pub(crate) fn agents(&self) -> Option<ActorRef<agents::Msg>> {
        self.agents
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn seat_agents(&self, actor: ActorRef<agents::Msg>) {
        *self.agents.write().unwrap_or_else(PoisonError::into_inner) = Some(actor);
    }

    pub(crate) fn seat_catalog(&self, actor: ActorRef<catalog::Due>) {
        *self.catalog.write().unwrap_or_else(PoisonError::into_inner) = Some(actor);
    }

    pub(crate) fn seat_outbox(&self, actor: ActorRef<outbox::Msg>) {
        *self.outbox.write().unwrap_or_else(PoisonError::into_inner) = Some(actor);
    }

    /// The supervisor of the agents died and took them along: they are on disk only, and clients of their runs wait.
    pub(crate) fn agents_lost(&self) {
        self.actors.clear();
        for mut slot in self.slots.iter_mut() {
            if matches!(
                slot.phase,
                Phase::Live(_) | Phase::Starting | Phase::Retiring | Phase::BackingOff { .. }
            ) {
                slot.deaths.restarts += 1;
                slot.enter(Phase::Absent);
            }
        }
    }

    pub(crate) fn live_agents(self: &Arc<Self>) -> Vec<AgentHandle> {
        let handle = |slot: &Slot| match &slot.phase {
            Phase::Live(live) => Some(AgentHandle::lease(live, self)),
            _ => None,
        };
        self.slots
            .iter()
            .filter_map(|slot| handle(slot.value()))
            .collect()
    }
}
