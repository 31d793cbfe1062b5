//! The supervision tree: what Greenroom is.
//!
//! ```text
//! root                     starts the rest in order, stops them in reverse
//! ├─ agents                supervisor of all agents
//! │  └─ agent:<id>         owns settings, links, history, lanes; admits runs; commits steps
//! │     └─ run:<id>        live status, frames, waiters, cancellation
//! │        └─ worker:<id>  the step loop; the only actor that waits for the world
//! ├─ library               blocks, new agents, added model providers, catalogues
//! ├─ catalog               lists of models, asked for before they grow old
//! ├─ outbox                callbacks that are still to be sent
//! ├─ sweeper               what is past its time
//! └─ facade                the HTTP listener
//! ```
//!
//! | actor | restart | if it keeps failing |
//! | --- | --- | --- |
//! | root | – | the process exits non-zero; the service manager restarts it |
//! | agents, library, catalog, outbox, sweeper, facade | permanent, one-for-one, at once | 4th death in 5 s: root gives up |
//! | agent | transient, back-off 1 s·2ⁿ to 1 min; window 60 s | 4th death in 60 s: faulted, 503 with the reason; after 60 s (doubling to 10 min) the next request tries one activation |
//! | run | temporary | its agent applies the recovery table |
//! | worker | temporary | its run decides: once more if the model had not spoken |
//!
//! Who may wait for whom (decisions 28): the facade asks agents and runs; a worker asks its agent; nobody asks a worker or a
//! supervisor. Agent and run only tell each other. No handler waits for anything but the store.

pub mod agent;
mod agents;
mod ask;
mod catalog;
mod counts;
pub mod directory;
mod facade;
#[cfg(feature = "faults")]
pub mod faults;
pub mod generation;
mod house;
pub mod images;
pub mod library;
mod links;
mod outbox;
pub mod reads;
pub mod refused;
pub mod restart;
mod root;
pub mod run;
mod sweeper;
pub mod tree;
mod waits;

pub use self::facade::Serve;
pub use self::house::{House, Render, Settings};
pub use self::root::RootHandle;

use std::sync::Arc;

/// What the facade holds of the tree.
#[derive(Clone)]
pub struct Handles {
    pub directory: directory::Directory,
    pub generator: generation::Generator,
    pub library: library::LibraryHandle,
    pub reads: reads::Reads,
    pub images: images::Images,
    pub tree: tree::TreeHandle,
}

/// A house whose tree is not started yet.
pub struct Foundation {
    house: Arc<House>,
    seat: Arc<library::Seat>,
}

impl Foundation {
    pub fn new(house: House) -> Self {
        Self {
            house: Arc::new(house),
            seat: Arc::default(),
        }
    }

    pub fn handles(&self) -> Handles {
        Handles {
            directory: directory::Directory::new(self.house.clone()),
            generator: generation::Generator::new(self.house.clone()),
            library: library::LibraryHandle::new(self.house.clone(), self.seat.clone()),
            reads: reads::Reads::new(self.house.clone()),
            images: images::Images::new(self.house.clone()),
            tree: tree::TreeHandle {
                house: self.house.clone(),
            },
        }
    }

    /// Starts the tree; returns when every run of the last process is settled and requests are answered.
    ///
    /// # Errors
    /// Why a child could not start.
    pub async fn start(self, serve: Serve) -> Result<RootHandle, String> {
        root::start(self.house, self.seat, serve)
            .await
            .map_err(|error| error.to_string())
    }
}
