//! The supervisor of all agents.
//!
//! Tree     `root` → `agents` → `agent:<id>`
//! Owns     nothing: who is live stands in the directory; requests never pass through here.
//! Restart  permanent. Its agents are transient (see `actors.rs`).

use super::agent;
use super::house::House;
use super::restart::Verdict;
use super::tree::Hung;
use crate::domain::id::AgentId;
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use std::sync::Arc;

#[derive(Debug)]
pub(crate) enum Msg {
    /// The back-off of a dead agent is over.
    Restart(AgentId),
}

pub(crate) struct Agents;

pub(crate) struct State {
    house: Arc<House>,
    _plate: Hung,
}

impl Actor for Agents {
    type Msg = Msg;
    type State = State;
    type Arguments = (Arc<House>, u64);

    async fn pre_start(
        &self,
        _: ActorRef<Msg>,
        (house, restarts): Self::Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let plate = house.board.hang(
            "agents",
            None,
            Some("root".to_owned()),
            restarts,
            Arc::default(),
        );
        Ok(State {
            house,
            _plate: plate,
        })
    }

    async fn handle(
        &self,
        _: ActorRef<Msg>,
        message: Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Msg::Restart(id) => state.restart(id),
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
        super::faults::point("agents");
        match event {
            SupervisionEvent::ActorTerminated(agent, _, _) => {
                state.agent_ended(&myself, agent.get_id(), None)
            }
            SupervisionEvent::ActorFailed(agent, error) => {
                state.agent_ended(&myself, agent.get_id(), Some(error.to_string()))
            }
            _ => (),
        }
        Ok(())
    }
}

impl State {
    fn agent_ended(&self, myself: &ActorRef<Msg>, actor: ractor::ActorId, failure: Option<String>) {
        let Some((id, verdict)) = self.house.agent_ended(actor, failure.clone()) else {
            return;
        };
        let reason = failure.unwrap_or_else(|| "killed".to_owned());
        match verdict {
            Verdict::RestartAfter(pause) => {
                tracing::error!(agent = %id, reason, ?pause, "an agent died and will be restarted");
                myself.send_after(pause, move || Msg::Restart(id));
            }
            Verdict::Escalate => {
                tracing::error!(agent = %id, reason, "an agent died too often and is out of service");
                self.close_runs(id, reason);
            }
        }
    }

    fn restart(&self, id: AgentId) {
        if let Some(restarts) = self.house.begin_restart(id) {
            agent::start(self.house.clone(), id, restarts);
        }
    }

    /// In a task: this handler waits for nothing.
    fn close_runs(&self, id: AgentId, reason: String) {
        let house = self.house.clone();
        tokio::spawn(async move {
            if let Err(refused) = agent::close_runs_of_faulted(&house, id, &reason).await {
                tracing::error!(agent = %id, %refused, "the runs of a faulted agent could not be closed");
            }
        });
    }
}
