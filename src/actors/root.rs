//! The top of the tree: starts the rest in order, restarts what dies, stops them in reverse.
//!
//! Tree     `root` → `agents`, `library`, `catalog`, `outbox`, `sweeper`, `facade`
//! Owns     the order of start and stop.
//! Restart  none: when a child dies too often, root ends and the process exits non-zero; the service manager restarts it.

use super::agents::Agents;
use super::ask::{AskError, answer, ask};
use super::catalog::Catalog;
use super::directory::Directory;
use super::facade::{Facade, Serve};
use super::house::{House, Stage};
use super::library::{Library, Seat};
use super::outbox::Outbox;
use super::restart::{Deaths, Policy, Verdict};
use super::sweeper::Sweeper;
use super::tree::Hung;
use futures_util::StreamExt;
use ractor::{
    Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr,
    SupervisionEvent,
};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// The whole tree, for `boot`.
pub struct RootHandle {
    actor: ActorRef<Msg>,
    ended: JoinHandle<()>,
}

/// Starts the tree; returns when every run of the last process is settled and requests are answered.
///
/// # Errors
/// When a child cannot start.
pub(super) async fn start(
    house: Arc<House>,
    seat: Arc<Seat>,
    serve: Serve,
) -> Result<RootHandle, SpawnErr> {
    let (actor, ended) = Actor::spawn(None, Root, (house, seat, serve)).await?;
    Ok(RootHandle { actor, ended })
}

impl RootHandle {
    /// Drains and stops everything (decisions 39). Takes as long as the configured drain at most, plus a moment.
    pub async fn stop(self) {
        let _: Result<(), AskError> = ask(&self.actor, None, Msg::Stop).await;
        let _ = self.ended.await;
    }

    /// Ends when root has given up: the process should exit.
    pub async fn gave_up(&mut self) {
        let _ = (&mut self.ended).await;
    }
}

enum Msg {
    Stop(RpcReplyPort<()>),
}

struct Root;

/// The children, in order of start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Child {
    Agents,
    Library,
    Catalog,
    Outbox,
    Sweeper,
    Facade,
}

const ORDER: [Child; 6] = [
    Child::Agents,
    Child::Library,
    Child::Catalog,
    Child::Outbox,
    Child::Sweeper,
    Child::Facade,
];

struct State {
    house: Arc<House>,
    seat: Arc<Seat>,
    serve: Serve,
    children: HashMap<ActorId, (Child, ActorCell)>,
    deaths: HashMap<Child, Deaths>,
    _plate: Hung,
}

impl Actor for Root {
    type Msg = Msg;
    type State = State;
    type Arguments = (Arc<House>, Arc<Seat>, Serve);

    async fn pre_start(
        &self,
        myself: ActorRef<Msg>,
        (house, seat, serve): Self::Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let plate = house.board.hang("root", None, None, 0, Arc::default());
        let mut state = State {
            house,
            seat,
            serve,
            children: HashMap::new(),
            deaths: HashMap::new(),
            _plate: plate,
        };
        for child in ORDER {
            if child == Child::Facade {
                // The facade opens when every run of the index is settled or queued again.
                state.wake_agents_with_runs().await?;
            }
            state.start(&myself, child).await?;
        }
        state.house.set_stage(Stage::Ready);
        state.watch_store(&myself);
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<Msg>,
        message: Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Msg::Stop(reply) => {
                state.stop().await;
                answer(reply, ());
                myself.stop(None);
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Msg>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        #[cfg(feature = "faults")]
        super::faults::point("root");
        match event {
            SupervisionEvent::ActorTerminated(child, _, _) => {
                state.died(&myself, child.get_id(), "it was stopped").await
            }
            SupervisionEvent::ActorFailed(child, error) => {
                state
                    .died(&myself, child.get_id(), &error.to_string())
                    .await
            }
            _ => Ok(()),
        }
    }
}

impl State {
    async fn start(
        &mut self,
        myself: &ActorRef<Msg>,
        child: Child,
    ) -> Result<(), ActorProcessingErr> {
        let house = self.house.clone();
        let restarts = self.deaths.get(&child).map_or(0, |deaths| deaths.restarts);
        let root = myself.get_cell();
        let cell = match child {
            Child::Agents => {
                let (actor, _) =
                    Actor::spawn_linked(None, Agents, (house.clone(), restarts), root).await?;
                house.seat_agents(actor.clone());
                actor.get_cell()
            }
            Child::Library => {
                Actor::spawn_linked(None, Library, (house, self.seat.clone(), restarts), root)
                    .await?
                    .0
                    .get_cell()
            }
            Child::Catalog => {
                let (actor, _) =
                    Actor::spawn_linked(None, Catalog, (house.clone(), restarts), root).await?;
                house.seat_catalog(actor.clone());
                actor.get_cell()
            }
            Child::Outbox => {
                let (actor, _) =
                    Actor::spawn_linked(None, Outbox, (house.clone(), restarts), root).await?;
                house.seat_outbox(actor.clone());
                actor.get_cell()
            }
            Child::Sweeper => Actor::spawn_linked(None, Sweeper, (house, restarts), root)
                .await?
                .0
                .get_cell(),
            Child::Facade => {
                Actor::spawn_linked(None, Facade, (house, self.serve.clone(), restarts), root)
                    .await?
                    .0
                    .get_cell()
            }
        };
        self.children.insert(cell.get_id(), (child, cell));
        Ok(())
    }

    /// A store that takes no more writes ends root: what was acknowledged is on disk, the next start goes on from there.
    fn watch_store(&self, myself: &ActorRef<Msg>) {
        let (mut health, myself) = (self.house.store.health(), myself.clone());
        tokio::spawn(async move {
            while health.changed().await.is_ok() {
                if let Some(reason) = health.borrow().lost.clone() {
                    tracing::error!(reason, "the store takes no more writes");
                    myself.stop(Some(reason));
                    return;
                }
            }
        });
    }

    /// A permanent child is started again, at once; too many deaths end root.
    async fn died(
        &mut self,
        myself: &ActorRef<Msg>,
        actor: ActorId,
        reason: &str,
    ) -> Result<(), ActorProcessingErr> {
        let Some((child, _)) = self.children.remove(&actor) else {
            return Ok(());
        };
        if self.house.is_draining() {
            return Ok(());
        }
        tracing::error!(?child, reason, "a service died");
        match self
            .deaths
            .entry(child)
            .or_default()
            .died(&Policy::SERVICE, Instant::now())
        {
            Verdict::Escalate => Err(format!("{child:?} died too often: {reason}").into()),
            Verdict::RestartAfter(_) => {
                self.start(myself, child).await?;
                if child == Child::Agents {
                    self.house.agents_lost();
                    self.wake_agents_with_runs().await?;
                }
                Ok(())
            }
        }
    }

    /// Every agent that has a run without an end is loaded, which settles it (runs-and-streaming §13).
    async fn wake_agents_with_runs(&self) -> Result<(), ActorProcessingErr> {
        let house = self.house.clone();
        let active = super::reads::blocking(move || Ok(house.store.active_runs()?)).await?;
        let agents: BTreeSet<_> = active.into_iter().map(|(agent, _)| agent).collect();
        let directory = Directory::new(self.house.clone());
        let wake = |agent| {
            let directory = directory.clone();
            async move {
                if let Err(refused) = directory.agent(agent).await {
                    tracing::error!(%agent, %refused, "the runs of an agent could not be settled");
                }
            }
        };
        futures_util::stream::iter(agents)
            .for_each_concurrent(self.house.settings.most_starting, wake)
            .await;
        Ok(())
    }

    /// New requests are refused, foreground runs may end until the deadline, background runs stop and go on after the
    /// next start; then everything stops in reverse.
    async fn stop(&mut self) {
        self.house.set_stage(Stage::Draining);
        let deadline = Instant::now() + self.house.settings.drain;
        self.leave_runs(|run| run.background());
        self.wait_for_runs(deadline).await;
        self.leave_runs(|_| true);
        self.wait_for_runs(Instant::now() + Duration::from_secs(5))
            .await;
        for live in self.house.live_agents() {
            live.drain();
        }
        let patience = Some(Duration::from_secs(5));
        for child in ORDER.into_iter().rev() {
            let found = self
                .children
                .values()
                .find(|(kind, _)| *kind == child)
                .map(|(_, cell)| cell.clone());
            let Some(cell) = found else { continue };
            if child == Child::Agents {
                cell.drain_children_and_wait(patience).await;
            }
            let _ = cell.stop_and_wait(None, patience).await;
        }
    }

    fn leave_runs(&self, which: impl Fn(&super::run::RunHandle) -> bool) {
        for run in self.house.runs.iter().filter(|run| which(run.value())) {
            run.value().leave();
        }
    }

    async fn wait_for_runs(&self, deadline: Instant) {
        while !self.house.runs.is_empty() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
