//! Callbacks that are still to be sent. A row is written in the batch that ends a run, so none is lost; the run never waits.
//!
//! Tree     `root` → `outbox`
//! Owns     the outbox rows.
//! Restart  permanent; everything is on disk.

use super::ask::tell;
use super::directory::Directory;
use super::house::House;
use super::run::Outcome;
use super::tree::Hung;
use crate::domain::clock;
use crate::domain::id::{AgentId, RunId};
use crate::store::{Batch, CallbackEntry};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// Waits between the tries, in seconds (runs-and-streaming §2).
const PAUSES: [i64; 3] = [1, 5, 25];
/// How often the rows are looked at without being told.
const ROUND: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) enum Msg {
    /// There may be a row that is due.
    Due,
    /// A try has ended.
    Tried {
        agent: AgentId,
        run: RunId,
        attempts: u32,
        result: Result<u16, String>,
    },
}

pub(crate) struct Outbox;

pub(crate) struct State {
    house: Arc<House>,
    sending: HashSet<RunId>,
    _plate: Hung,
}

impl Actor for Outbox {
    type Msg = Msg;
    type State = State;
    type Arguments = (Arc<House>, u64);

    async fn pre_start(
        &self,
        myself: ActorRef<Msg>,
        (house, restarts): Self::Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let plate = house.board.hang(
            "outbox",
            None,
            Some("root".to_owned()),
            restarts,
            Arc::default(),
        );
        myself.send_interval(ROUND, || Msg::Due);
        Ok(State {
            house,
            sending: HashSet::new(),
            _plate: plate,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<Msg>,
        message: Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        #[cfg(feature = "faults")]
        super::faults::point("outbox");
        match message {
            Msg::Due => state.send_due(&myself),
            Msg::Tried {
                agent,
                run,
                attempts,
                result,
            } => state.tried(agent, run, attempts, result).await,
        }
        Ok(())
    }
}

impl State {
    fn send_due(&mut self, myself: &ActorRef<Msg>) {
        let due = self.house.store.callbacks_due(clock::now());
        let due = due.unwrap_or_else(|error| {
            tracing::error!(%error, "the callbacks cannot be read");
            Vec::new()
        });
        for (agent, run, entry) in due {
            if self.sending.insert(run) {
                let (house, myself) = (self.house.clone(), myself.clone());
                tokio::spawn(async move {
                    let result = send(&house, run).await;
                    tell(
                        &myself,
                        Msg::Tried {
                            agent,
                            run,
                            attempts: entry.attempts + 1,
                            result,
                        },
                    );
                });
            }
        }
    }

    /// Records how a try went; connection errors and 5xx are tried again.
    async fn tried(
        &mut self,
        agent: AgentId,
        run: RunId,
        attempts: u32,
        result: Result<u16, String>,
    ) {
        self.sending.remove(&run);
        let again = match &result {
            Ok(status) => *status >= 500,
            Err(_) => true,
        };
        let pause = PAUSES.get(attempts as usize - 1).filter(|_| again);
        let mut batch = Batch::shared();
        match pause {
            Some(pause) => {
                let next_try = clock::now() + jiff::SignedDuration::from_secs(*pause);
                batch.put_callback(agent, run, &CallbackEntry { attempts, next_try });
            }
            None => return self.finish(agent, run, result),
        }
        if let Err(error) = self.house.store.commit(batch).await {
            tracing::warn!(%run, %error, "the next try of a callback could not be written");
        }
    }

    /// The run's record is its agent's to write; in a task, because the agent may have to be loaded first.
    fn finish(&self, agent: AgentId, run: RunId, result: Result<u16, String>) {
        let directory = Directory::new(self.house.clone());
        tokio::spawn(async move {
            let handle = directory.agent(agent).await;
            let written = match handle {
                Ok(handle) => handle.callback_ended(run, result).await,
                Err(refused) => Err(refused),
            };
            if let Err(refused) = written {
                tracing::warn!(%run, %refused, "the result of a callback could not be written; it will be sent again");
            }
        });
    }
}

async fn send(house: &House, id: RunId) -> Result<u16, String> {
    let store = house.store.clone();
    let read = super::reads::blocking(move || {
        let Some(run) = store.run(id)? else {
            return Ok(None);
        };
        let messages = store
            .run_messages(run.agent_id, id)?
            .into_iter()
            .map(Arc::new)
            .collect();
        Ok(Some(Outcome {
            turn_loop: super::reads::turn_loop(&store, run.agent_id)?,
            run: Arc::new(run),
            messages,
            tokens: Vec::new(),
            shows_summaries: false,
        }))
    });
    let Some(outcome) = read.await.map_err(|error| error.to_string())? else {
        return Ok(200);
    };
    let Some(callback) = outcome.run.callback.clone() else {
        return Ok(200);
    };
    let url = callback
        .url
        .parse()
        .map_err(|error| format!("the address cannot be read: {error}"))?;
    let body = house.render.callback(&outcome);
    house
        .egress
        .post_json(&url, body)
        .await
        .map_err(|error| error.to_string())
}
