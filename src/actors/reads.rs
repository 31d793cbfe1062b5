//! The store's reads as domain values, for the facade. Not an actor: what is read needs nobody's mailbox; what may be long
//! runs on the blocking pool.

mod agents;
mod blocks;
mod context;
mod conversations;
mod messages;
mod providers;
mod runs;

pub(super) use self::agents::turn_loop;
pub use self::agents::{AgentView, Relations};
pub(super) use self::context::{pending, seen_blocks};
pub use self::conversations::{ConversationView, ThreadPage};
pub use self::messages::{MessagePage, ThreadFilter};

use super::house::House;
use super::refused::Refused;
use crate::store::ReadError;
use std::sync::Arc;

/// Runs a read of the store on the blocking pool.
pub(crate) async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, Refused> + Send + 'static,
) -> Result<T, Refused> {
    let task = tokio::task::spawn_blocking(read).await;
    task.unwrap_or_else(|error| {
        Err(Refused::Internal(format!(
            "a read of the store failed: {error}"
        )))
    })
}

#[derive(Clone)]
pub struct Reads {
    house: Arc<House>,
}

impl Reads {
    pub(crate) fn new(house: Arc<House>) -> Self {
        Self { house }
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&House) -> Result<T, Refused> + Send + 'static,
    ) -> Result<T, Refused> {
        let house = self.house.clone();
        blocking(move || read(&house)).await
    }
}

/// What is damaged costs its own place in a list over all agents, never the list; the tree and `greenroom check` name it.
fn sound<T>(read: Result<T, ReadError>) -> Option<Result<T, ReadError>> {
    match read {
        Err(ReadError::Damaged { agent, detail }) => {
            let agent = agent.map(|agent| agent.to_string());
            tracing::warn!(agent, detail, "what is damaged is left out of a list");
            None
        }
        read => Some(read),
    }
}
