//! Removes what is past its time: frames after their retention, idempotency keys, the ranges of deleted agents.
//!
//! Tree     `root` → `sweeper`
//! Owns     nothing that anybody still reads.
//! Restart  permanent.

use super::ask::tell;
use super::house::House;
use super::tree::Hung;
use crate::domain::clock;
use crate::domain::id::{AgentId, RunId};
use crate::domain::page::{Order, Stretch};
use crate::store::{Batch, Swept};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use std::sync::Arc;
use std::time::Duration;

/// Keys of a deleted agent that are removed in one batch.
const KEYS_AT_ONCE: usize = 500;
/// Agents whose idempotency keys are looked at in one round.
const AGENTS_A_ROUND: usize = 500;
/// Expired keys of one agent that are removed in one round.
const IDEMPOTENCY_AT_ONCE: usize = 1_000;
/// Between two rounds.
const ROUND: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Sweep;

pub(crate) struct Sweeper;

pub(crate) struct State {
    house: Arc<House>,
    /// The last run whose frames were looked at.
    past: Option<RunId>,
    /// The last agent whose idempotency keys were; `None` begins with the oldest.
    past_agent: Option<AgentId>,
    _plate: Hung,
}

impl Actor for Sweeper {
    type Msg = Sweep;
    type State = State;
    type Arguments = (Arc<House>, u64);

    async fn pre_start(
        &self,
        myself: ActorRef<Sweep>,
        (house, restarts): Self::Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let plate = house.board.hang(
            "sweeper",
            None,
            Some("root".to_owned()),
            restarts,
            Arc::default(),
        );
        tell(&myself, Sweep);
        myself.send_interval(ROUND, || Sweep);
        Ok(State {
            house,
            past: None,
            past_agent: None,
            _plate: plate,
        })
    }

    async fn handle(
        &self,
        _: ActorRef<Sweep>,
        Sweep: Sweep,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        #[cfg(feature = "faults")]
        super::faults::point("sweeper");
        if let Err(error) = state.sweep().await {
            tracing::warn!(error, "a sweep was not finished");
        }
        Ok(())
    }
}

impl State {
    async fn sweep(&mut self) -> Result<(), String> {
        self.frames().await?;
        self.idempotency().await?;
        let store = self.house.store.clone();
        let buried = store.buried().map_err(|error| error.to_string())?;
        for agent in buried {
            while store
                .sweep(agent, KEYS_AT_ONCE)
                .await
                .map_err(|error| error.to_string())?
                == Swept::Some
            {}
        }
        Ok(())
    }

    /// Frames of background runs that ended before the retention. Runs are walked by age, from where the last round ended.
    async fn frames(&mut self) -> Result<(), String> {
        let retention = jiff::SignedDuration::try_from(self.house.settings.stream_retention)
            .map_err(|error| error.to_string())?;
        let (store, past, cutoff) = (
            self.house.store.clone(),
            self.past,
            clock::now() - retention,
        );
        let look = move || {
            let mut old = Vec::new();
            for run in store.runs(None, Stretch::past(Order::Ascending, past))? {
                let run = run?;
                if run.completed_at.is_none_or(|end| end > cutoff) {
                    break;
                }
                old.push((run.agent_id, run.id, run.background));
            }
            Ok(old)
        };
        let old = super::reads::blocking(look)
            .await
            .map_err(|refused| refused.to_string())?;
        self.past = old.last().map(|(_, run, _)| *run).or(self.past);
        for (agent, run, _) in old.into_iter().filter(|(_, _, background)| *background) {
            let mut batch = Batch::shared();
            batch.delete_frames(agent, run);
            self.house.store.commit_relaxed(batch);
        }
        Ok(())
    }

    /// Idempotency keys after their 24 hours, of some agents each round.
    async fn idempotency(&mut self) -> Result<(), String> {
        let (store, past, now) = (self.house.store.clone(), self.past_agent, clock::now());
        let look = move || {
            let agents = store.agents_by_created(Stretch::past(Order::Ascending, past))?;
            let agents: Vec<AgentId> = agents.take(AGENTS_A_ROUND).collect::<Result<_, _>>()?;
            let mut batch = Batch::shared();
            for agent in &agents {
                for key in store.expired_idempotency(*agent, now, IDEMPOTENCY_AT_ONCE)? {
                    batch.delete_idempotency(*agent, key);
                }
            }
            Ok((agents, batch))
        };
        let (agents, batch) = super::reads::blocking(look)
            .await
            .map_err(|refused| refused.to_string())?;
        self.past_agent = agents
            .last()
            .copied()
            .filter(|_| agents.len() == AGENTS_A_ROUND);
        if !batch.is_empty() {
            self.house.store.commit_relaxed(batch);
        }
        Ok(())
    }
}
