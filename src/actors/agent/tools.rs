//! The tools of an agent from outside a turn: attached and detached, gated, run because somebody asked.

use super::commits::{InFlight, MOST_TRIES, refusal};
use super::{CallResult, Settled, State};
use crate::actors::refused::Refused;
use crate::domain::agent::AgentChange;
use crate::domain::clock;
use crate::domain::id::{ToolId, UserId};
use crate::domain::memory::CoreMemory;
use crate::domain::rules;
use crate::domain::tool::ToolResult;
use crate::store::{Batch, CommitError};

impl State {
    /// Attaches a tool, with the rule that makes its calls wait if it asks for that, or takes it away. Again is no change.
    pub(super) async fn attach_tool(
        &mut self,
        id: ToolId,
        wanted: bool,
        by: UserId,
    ) -> Result<(), InFlight> {
        self.alive()?;
        let tool = self.house.toolbox.get(id).ok_or(Refused::NoSuchTool(id))?;
        if self.settings.tools.contains(&id) == wanted {
            return Ok(());
        }
        let definition = tool.definition();
        let others = self.settings.tools.iter().filter(|other| **other != id);
        let tools = others.copied().chain(wanted.then_some(id)).collect();
        let gated = wanted && definition.default_requires_approval == Some(true);
        let change = AgentChange {
            tools: Some(tools),
            tool_rules: gated
                .then(|| rules::with_approval(&self.settings.tool_rules, &definition.name, true)),
            ..AgentChange::default()
        };
        self.modify(&change, by).await
    }

    pub(super) async fn set_approval(
        &mut self,
        tool: &str,
        wanted: bool,
        by: UserId,
    ) -> Result<(), InFlight> {
        let known = self
            .settings
            .tools
            .iter()
            .filter_map(|tool| self.house.toolbox.get(*tool));
        let mut names = known.map(|tool| tool.definition().name.clone());
        if !names.any(|name| name == tool) {
            let agent = self.id();
            let tool = tool.to_owned();
            return Err(Refused::NoSuchAgentTool { agent, tool }.into());
        }
        let rules = rules::with_approval(&self.settings.tool_rules, tool, wanted);
        let change = AgentChange {
            tool_rules: Some(rules),
            ..AgentChange::default()
        };
        self.modify(&change, by).await
    }

    /// Applies what a call wants of core memory to the newest values, outside any run.
    pub(super) async fn edit(
        &mut self,
        tool: &str,
        wanted: &CallResult,
    ) -> Result<ToolResult, InFlight> {
        self.alive()?;
        for _ in 0..MOST_TRIES {
            let newest = self.newest_blocks()?;
            let strict = self.house.settings.strict_block_limits;
            let mut memory = CoreMemory::new(newest.clone(), strict);
            if wanted.renames() {
                memory = memory.sharing(self.shared(&newest)?);
            }
            let Settled::Result(result) = wanted.settled(tool, &mut memory) else {
                return Err(Refused::Internal("a packed return edits nothing".to_owned()).into());
            };
            let changed = memory.changed(self.settings.created_by, clock::now());
            if changed.is_empty() {
                return Ok(result);
            }
            let mut batch = Batch::of_agent(self.id(), self.live.epoch);
            let (head, system) = self.with_blocks(&mut batch, &self.head, newest, &changed)?;
            batch.put_head(self.id(), &head);
            if let Some(system) = &system {
                batch.put_message(system);
            }
            match self.house.store.commit(batch).await {
                Ok(()) => {
                    self.head = head;
                    self.show_system(system);
                    return Ok(result);
                }
                // Another agent changed the block in between.
                Err(CommitError::Conflict(_)) => (),
                Err(error) => return Err(refusal(error)),
            }
        }
        Err(Refused::Overloaded.into())
    }
}
