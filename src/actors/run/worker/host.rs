//! What a tool sees of the agent that calls it.

use crate::actors::house::House;
use crate::actors::refused::Refused;
use crate::domain::agent::Agent;
use crate::domain::id::AgentId;
use crate::domain::message::Message;
use crate::domain::page::{Order, Stretch};
use crate::domain::run::LaneId;
use crate::domain::step;
use crate::domain::tool::{SourceType, ToolFailure, ToolResult};
use crate::egress::Egress;
use crate::tools::sandbox::{AgentView, BlockView, Sandbox};
use crate::tools::{Host, Tool, Work};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::{Map, Value};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

/// What tools see of the agent that calls them.
pub(crate) struct AgentHost {
    pub(super) house: Arc<House>,
    pub(super) agent: Arc<Agent>,
    pub(super) lane: LaneId,
    /// Those whose messages led to this turn, the first of them first.
    pub(super) chain: Vec<AgentId>,
}

impl AgentHost {
    pub(crate) fn new(
        house: &Arc<House>,
        agent: &Arc<Agent>,
        lane: LaneId,
        chain: Vec<AgentId>,
    ) -> Self {
        Self {
            house: house.clone(),
            agent: agent.clone(),
            lane,
            chain,
        }
    }
}

/// Starts a call.
pub(crate) fn start(tool: &dyn Tool, mut arguments: Map<String, Value>, host: AgentHost) -> Work {
    step::as_text(&tool.definition().name, &mut arguments);
    tool.start(arguments, Arc::new(host))
}

/// What a call that takes time comes to. A tool that panics ends its own call, not what waits for it (agent-loop §7).
pub(crate) async fn outcome(name: &str, work: BoxFuture<'static, ToolResult>) -> ToolResult {
    let ended = AssertUnwindSafe(work).catch_unwind().await;
    ended.unwrap_or_else(|_| ToolResult::failure(name, step::crashed_call()))
}

fn unreadable(refused: Refused) -> ToolFailure {
    ToolFailure::new("RuntimeError", refused.to_string())
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
            for message in store.messages(agent, Stretch::all(Order::Descending)) {
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
            found.map_err(unreadable)
        })
    }

    fn tell<'a>(
        &'a self,
        to: AgentId,
        text: &'a str,
        wait: bool,
    ) -> BoxFuture<'a, Result<Vec<String>, ToolFailure>> {
        Box::pin(self.tell(to, text, wait))
    }

    fn tagged<'a>(
        &'a self,
        all: &'a [String],
        some: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<AgentId>, ToolFailure>> {
        Box::pin(self.tagged(all, some))
    }

    fn sandbox(&self) -> &Sandbox {
        &self.house.sandbox
    }

    fn egress(&self) -> &Egress {
        &self.house.egress
    }

    fn sources(&self) -> Vec<String> {
        let tools = self.agent.tools.iter();
        let tools = tools.filter_map(|tool| self.house.toolbox.get(*tool));
        tools
            .filter(|tool| tool.definition().source_type == SourceType::Python)
            .filter_map(|tool| tool.definition().source_code.clone())
            .collect()
    }

    fn view(&self) -> BoxFuture<'_, Result<AgentView, ToolFailure>> {
        let (store, agent, lane) = (self.house.store.clone(), self.agent.id, self.lane);
        Box::pin(async move {
            let blocks = crate::actors::reads::seen_blocks(store, agent, lane);
            let blocks = blocks.await.map_err(unreadable)?;
            let agent = &self.agent;
            let blocks = blocks.iter().map(|block| BlockView {
                id: block.id.to_string(),
                label: block.label.clone(),
                value: block.value.clone(),
                limit: block.limit,
                description: block.description.clone(),
                read_only: block.read_only,
            });
            let secrets = agent.secrets.iter();
            let secrets = secrets.map(|secret| (secret.key.clone(), secret.value.clone()));
            Ok(AgentView {
                id: agent.id.to_string(),
                name: agent.name.clone(),
                system: agent.system.clone(),
                timezone: agent.timezone.clone(),
                blocks: blocks.collect(),
                secrets: secrets.collect(),
            })
        })
    }
}
