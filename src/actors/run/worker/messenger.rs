//! Messages of one agent to another: a turn on the other's default thread, waited for or not (tools-and-sandbox §6).

use super::host::AgentHost;
use crate::actors::directory::Directory;
use crate::actors::reads::{Reads, Relations};
use crate::actors::refused::Refused;
use crate::domain::agent::AgentFilter;
use crate::domain::agent::AgentOrder;
use crate::domain::id::AgentId;
use crate::domain::message::Part;
use crate::domain::page::{Order, Page};
use crate::domain::piece::Body;
use crate::domain::run::{Input, InputRole, LaneId, RunRequest, RunStatus};
use crate::domain::tool::ToolFailure;
use std::time::Duration;

/// Model calls of a turn for another agent.
const MOST_STEPS: u64 = 50;
/// Turns that may lead to each other.
const MOST_LINKS: usize = 8;
/// For another agent's turn, its waiting in the queue included.
const PATIENCE: Duration = Duration::from_mins(20);
/// Agents that one message goes to.
const MOST_AGENTS: usize = 1_000;
/// What stands for a turn that said nothing.
const SILENCE: &str = "<no response>";

impl AgentHost {
    /// What the other agent said; nothing where nobody waits.
    pub(super) async fn tell(
        &self,
        to: AgentId,
        text: &str,
        wait: bool,
    ) -> Result<Vec<String>, ToolFailure> {
        let me = self.agent.id;
        if to == me || self.chain.contains(&to) {
            return Err(ToolFailure::value(format!(
                "{to} is one of those whose messages led to this one: it is not asked again"
            )));
        }
        if self.chain.len() >= MOST_LINKS {
            return Err(ToolFailure::value(format!(
                "{MOST_LINKS} agents have asked each other already, no more are asked"
            )));
        }
        let waiting = wait.then(|| {
            let waits = &self.house.waits;
            let entered = waits.enter((me, self.lane), (to, LaneId::Default));
            entered.ok_or_else(|| {
                ToolFailure::value(format!(
                    "{to} waits for this agent: neither would get an answer"
                ))
            })
        });
        let _waiting = waiting.transpose()?;
        let chain = self.chain.iter().copied().chain([me]).collect();
        let request = RunRequest::message_of_an_agent(said_by(me, text, wait), chain, MOST_STEPS);
        let run = request.id;
        let directory = Directory::new(self.house.clone());
        let sent = async { directory.agent(to).await?.start_run(request, false).await };
        sent.await.map_err(unsent)?;
        if !wait {
            return Ok(Vec::new());
        }
        let outcome = tokio::time::timeout(PATIENCE, directory.outcome(run)).await;
        let outcome = outcome
            .map_err(|_| ToolFailure::new("TimeoutError", format!("{to} did not answer in time")))?
            .map_err(unsent)?;
        if outcome.run.status != RunStatus::Completed {
            let status = outcome.run.status.name();
            return Err(ToolFailure::new(
                "RuntimeError",
                format!("the turn of {to} ended as {status}"),
            ));
        }
        let said = outcome
            .pieces()
            .into_iter()
            .filter_map(|piece| match piece.body {
                Body::Assistant { content } => Some(content),
                _ => None,
            });
        let said: Vec<String> = said.collect();
        Ok(match said.is_empty() {
            true => vec![SILENCE.to_owned()],
            false => said,
        })
    }

    /// The other agents with all of the first tags and one of the second, if there are second ones.
    pub(super) async fn tagged(
        &self,
        all: &[String],
        some: &[String],
    ) -> Result<Vec<AgentId>, ToolFailure> {
        let filter = AgentFilter {
            tags: all.to_vec(),
            match_all_tags: true,
            ..AgentFilter::default()
        };
        let page = Page {
            after: None,
            before: None,
            limit: MOST_AGENTS,
            order: Order::Ascending,
        };
        let reads = Reads::new(self.house.clone());
        let found = reads.agents(filter, AgentOrder::CreatedAt, page, Relations::default());
        let found = found.await.map_err(unsent)?.into_iter();
        let fits = |tags: &[String]| some.is_empty() || some.iter().any(|tag| tags.contains(tag));
        Ok(found
            .filter(|view| view.agent.id != self.agent.id && fits(&view.agent.tags))
            .map(|view| view.agent.id)
            .collect())
    }
}

fn unsent(refused: Refused) -> ToolFailure {
    ToolFailure::new("RuntimeError", refused.to_string())
}

fn said_by(sender: AgentId, text: &str, wait: bool) -> Input {
    let wish = match wait {
        true => "It waits for your reply.",
        false => "It does not wait for a reply.",
    };
    let text = format!("A message from another agent, {sender}. {wish}\n\n{text}");
    Input {
        role: InputRole::System,
        content: vec![Part::of_text(text)],
        name: None,
        otid: None,
        sender_id: Some(sender.to_string()),
        group_id: None,
        batch_item_id: None,
    }
}
