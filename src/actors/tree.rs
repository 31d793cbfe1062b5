//! The tree as it is now. Every actor hangs up a plate when it starts; the plate comes down with its state, however it ends.

use super::ask::Mailbox;
use crate::domain::id::{RunId, StepId};
use crate::domain::run::Activity;
use crate::tools::sandbox::SandboxState;
use dashmap::DashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// One actor as it is now. `name` is `root`, `agents`, `agent:<id>`, `run:<id>`, `worker:<id>`, `facade` …
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub name: String,
    pub kind: &'static str,
    pub id: Option<String>,
    pub parent: Option<String>,
    /// `running`, or for agents that are not live `starting`, `retiring`, `backing_off`, `faulted`; for runs their own status.
    pub status: String,
    /// Messages waiting; how long the oldest has waited, in milliseconds.
    pub mailbox_depth: u64,
    pub mailbox_age_ms: u64,
    pub restarts: u64,
    pub uptime_ms: u64,
    pub run: Option<RunId>,
    pub step: Option<StepId>,
    pub tool: Option<String>,
    /// Why it is faulted or backing off.
    pub reason: Option<String>,
}

/// The whole tree, parents before children, and what else an operator wants to see of the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeSnapshot {
    pub version: &'static str,
    pub uptime_ms: u64,
    /// `sync` or `flush` (decisions 16).
    pub durability: &'static str,
    pub disk_full: bool,
    pub commits_waiting: u64,
    pub syncs: u64,
    /// Whether the sources of tools run.
    pub sandbox: SandboxState,
    pub nodes: Vec<Node>,
}

/// All plates of one process.
#[derive(Debug, Clone)]
pub(crate) struct Board {
    plates: Arc<DashMap<u64, Arc<Plate>>>,
    next: Arc<AtomicU64>,
    pub(crate) since: Instant,
}

/// What an actor shows of itself.
#[derive(Debug)]
pub(crate) struct Plate {
    order: u64,
    kind: &'static str,
    id: Option<String>,
    parent: Option<String>,
    since: Instant,
    restarts: u64,
    mailbox: Arc<Mailbox>,
    shown: Mutex<Shown>,
}

#[derive(Debug, Clone)]
struct Shown {
    status: &'static str,
    run: Option<RunId>,
    activity: Activity,
}

/// The plate of a living actor, held in its state: dropped with it, also when it was killed or panicked.
#[derive(Debug)]
pub(crate) struct Hung {
    plate: Arc<Plate>,
    plates: Arc<DashMap<u64, Arc<Plate>>>,
}

impl Board {
    pub(crate) fn new() -> Self {
        Self {
            plates: Arc::default(),
            next: Arc::default(),
            since: Instant::now(),
        }
    }

    pub(crate) fn hang(
        &self,
        kind: &'static str,
        id: Option<String>,
        parent: Option<String>,
        restarts: u64,
        mailbox: Arc<Mailbox>,
    ) -> Hung {
        let order = self.next.fetch_add(1, Ordering::Relaxed);
        let shown = Mutex::new(Shown {
            status: "running",
            run: None,
            activity: Activity::default(),
        });
        let plate = Arc::new(Plate {
            order,
            kind,
            id,
            parent,
            since: Instant::now(),
            restarts,
            mailbox,
            shown,
        });
        self.plates.insert(order, plate.clone());
        Hung {
            plate,
            plates: self.plates.clone(),
        }
    }

    /// All living actors, in order of their start: parents come before their children.
    pub(crate) fn nodes(&self) -> Vec<Node> {
        let mut plates: Vec<Arc<Plate>> = self
            .plates
            .iter()
            .map(|entry| entry.value().clone())
            .collect();
        plates.sort_by_key(|plate| plate.order);
        plates.iter().map(|plate| plate.node()).collect()
    }
}

impl Plate {
    fn node(&self) -> Node {
        let shown = self
            .shown
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        Node {
            name: name(self.kind, self.id.as_deref()),
            kind: self.kind,
            id: self.id.clone(),
            parent: self.parent.clone(),
            status: shown.status.to_owned(),
            mailbox_depth: self.mailbox.depth() as u64,
            mailbox_age_ms: millis(self.mailbox.age()),
            restarts: self.restarts,
            uptime_ms: millis(self.since.elapsed()),
            run: shown.run,
            step: shown.activity.step_id,
            tool: shown.activity.tool,
            reason: None,
        }
    }
}

impl Hung {
    pub(crate) fn status(&self, status: &'static str) {
        self.change(|shown| shown.status = status);
    }

    pub(crate) fn run(&self, run: Option<RunId>) {
        self.change(|shown| shown.run = run);
    }

    pub(crate) fn step(&self, step: StepId, number: u64) {
        self.change(|shown| {
            shown.activity = Activity {
                step_id: Some(step),
                step: number,
                tool: None,
            }
        });
    }

    pub(crate) fn tool(&self, tool: Option<String>) {
        self.change(|shown| shown.activity.tool = tool);
    }

    fn change(&self, change: impl FnOnce(&mut Shown)) {
        change(
            &mut self
                .plate
                .shown
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        self.plates.remove(&self.plate.order);
    }
}

/// `agent:<id>` without the id's own prefix twice; `root` for what there is one of.
pub(crate) fn name(kind: &str, id: Option<&str>) -> String {
    id.map_or_else(|| kind.to_owned(), |id| format!("{kind}:{id}"))
}

pub(crate) fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Takes snapshots of the tree.
#[derive(Clone)]
pub struct TreeHandle {
    pub(crate) house: Arc<super::house::House>,
}

impl TreeHandle {
    pub fn snapshot(&self) -> TreeSnapshot {
        let mut nodes = self.house.board.nodes();
        nodes.extend(self.house.absent_agents());
        TreeSnapshot {
            version: env!("CARGO_PKG_VERSION"),
            uptime_ms: millis(self.house.board.since.elapsed()),
            durability: self.house.store.durability().name(),
            disk_full: self.house.store.disk_full(),
            commits_waiting: self.house.store.waiting() as u64,
            syncs: self.house.store.syncs(),
            sandbox: self.house.sandbox.state(),
            nodes,
        }
    }

    /// False while starting or draining.
    pub fn ready(&self) -> bool {
        self.house.is_ready()
    }
}
