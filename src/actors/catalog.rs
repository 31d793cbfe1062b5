//! Keeps the providers' lists of models young, so that no request has to wait for one.
//!
//! Tree     `root` → `catalog`
//! Owns     the round that is under way; the lists are the providers' own.
//! Restart  permanent; what was listed stays.

use super::ask::tell;
use super::house::House;
use super::tree::Hung;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use std::sync::Arc;
use tokio::task::JoinSet;

/// Lists may have grown old.
#[derive(Debug)]
pub(crate) struct Due;

pub(crate) struct Catalog;

pub(crate) struct State {
    house: Arc<House>,
    /// At most one; it waits for the network, the actor never does. It ends with the actor.
    round: JoinSet<()>,
    _plate: Hung,
}

impl Actor for Catalog {
    type Msg = Due;
    type State = State;
    type Arguments = (Arc<House>, u64);

    async fn pre_start(
        &self,
        myself: ActorRef<Due>,
        (house, restarts): Self::Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let plate = house.board.hang(
            "catalog",
            None,
            Some("root".to_owned()),
            restarts,
            Arc::default(),
        );
        tell(&myself, Due);
        myself.send_interval(house.providers.refresh_every(), || Due);
        Ok(State {
            house,
            round: JoinSet::new(),
            _plate: plate,
        })
    }

    async fn handle(
        &self,
        _: ActorRef<Due>,
        Due: Due,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        #[cfg(feature = "faults")]
        super::faults::point("catalog");
        // A round that panicked takes the actor along: it was the actor's work.
        state.round.try_join_next().transpose()?;
        if state.round.is_empty() {
            let providers = state.house.providers.clone();
            state.round.spawn(async move { providers.refresh().await });
        }
        Ok(())
    }
}
