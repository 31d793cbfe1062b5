//! What a tool sees of the agent that calls it.

use super::Turn;
use crate::actors::house::House;
use crate::actors::refused::Refused;
use crate::domain::agent::Agent;
use crate::domain::id::AgentId;
use crate::domain::message::Message;
use crate::domain::tool::ToolFailure;
use crate::tools::Host;
use futures_util::future::BoxFuture;
use std::sync::Arc;

/// What tools see of the agent that calls them.
pub(super) struct AgentHost {
    house: Arc<House>,
    agent: Arc<Agent>,
}

impl AgentHost {
    pub(super) fn new(turn: &Turn) -> Self {
        Self {
            house: turn.house.clone(),
            agent: turn.context.agent.clone(),
        }
    }
}

impl Host for AgentHost {
    fn agent_id(&self) -> AgentId {
        self.agent.id
    }

    fn timezone(&self) -> &str {
        &self.agent.timezone
    }

    fn search_messages<'a>(
        &'a self,
        keep: Arc<dyn Fn(&Message) -> bool + Send + Sync>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Message>, ToolFailure>> {
        let (store, agent) = (self.house.store.clone(), self.agent.id);
        let search = move || -> Result<Vec<Message>, Refused> {
            let mut found = Vec::new();
            for message in store.messages_back(agent, None) {
                let message = message?;
                if !message.is_err && keep(&message) {
                    found.push(message);
                }
                if found.len() == limit {
                    break;
                }
            }
            Ok(found)
        };
        Box::pin(async move {
            let found = crate::actors::reads::blocking(search).await;
            found.map_err(|refused| ToolFailure {
                name: "RuntimeError",
                message: refused.to_string(),
            })
        })
    }
}
