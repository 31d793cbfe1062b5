//! The HTTP listener as an actor: in the tree like everything else, and the first to stop.
//!
//! Tree     `root` → `facade`
//! Owns     the listening socket's server task; what it serves is `boot`'s.
//! Restart  permanent.

use super::house::House;
use super::tree::Hung;
use futures_util::future::BoxFuture;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use std::sync::Arc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Serves requests until the token is tripped and the last answer is out.
pub type Serve =
    Arc<dyn Fn(CancellationToken) -> BoxFuture<'static, std::io::Result<()>> + Send + Sync>;

#[derive(Debug)]
pub(crate) enum Msg {
    /// The server task has ended.
    Ended(std::io::Result<()>),
    #[cfg(feature = "faults")]
    Poke,
}

pub(crate) struct Facade;

pub(crate) struct State {
    stop: CancellationToken,
    server: JoinHandle<()>,
    _plate: Hung,
}

impl Drop for State {
    fn drop(&mut self) {
        self.stop.cancel();
        self.server.abort();
    }
}

impl Actor for Facade {
    type Msg = Msg;
    type State = State;
    type Arguments = (Arc<House>, Serve, u64);

    async fn pre_start(
        &self,
        myself: ActorRef<Msg>,
        (house, serve, restarts): Self::Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let plate = house.board.hang(
            "facade",
            None,
            Some("root".to_owned()),
            restarts,
            Arc::default(),
        );
        #[cfg(feature = "faults")]
        myself.send_interval(std::time::Duration::from_millis(50), || Msg::Poke);
        let stop = CancellationToken::new();
        let serving = serve(stop.clone());
        let server = tokio::spawn(async move {
            let ended = serving.await;
            super::ask::tell(&myself, Msg::Ended(ended));
        });
        Ok(State {
            stop,
            server,
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
            Msg::Ended(_) if state.stop.is_cancelled() => Ok(()),
            Msg::Ended(result) => Err(format!("the listener ended: {result:?}").into()),
            #[cfg(feature = "faults")]
            Msg::Poke => {
                super::faults::point("facade");
                Ok(())
            }
        }
    }
}
