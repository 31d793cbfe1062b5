//! Messages to other agents (tools-and-sandbox §6).

use super::{Builtin, Parameter};
use crate::domain::display::display;
use crate::domain::id::AgentId;
use crate::domain::tool::{ToolFailure, ToolResult, ToolType};
use crate::tools::{Host, Work};
use futures_util::future::join_all;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

const AND_WAIT: &str = "send_message_to_agent_and_wait_for_reply";
const TAGGED: &str = "send_message_to_agents_matching_tags";
const ASYNC: &str = "send_message_to_agent_async";

#[derive(Deserialize)]
struct ToOne {
    message: String,
    other_agent_id: String,
}

impl ToOne {
    fn id(&self) -> Result<AgentId, ToolFailure> {
        self.other_agent_id
            .parse()
            .map_err(|bad| ToolFailure::value(format!("other_agent_id: {bad}")))
    }
}

pub(super) fn tools() -> [Builtin; 3] {
    let message = || Parameter::text("message", "What to tell the other agent.");
    let other = || Parameter::text("other_agent_id", "Its id, as in agent-….");
    let and_wait = Builtin::new(
        20,
        ToolType::MultiAgentCore,
        AND_WAIT,
        "Sends a message to another agent, waits for its turn to end and returns what it answered.",
        vec![message(), other()],
        |to: ToOne, host| {
            let id = to.id()?;
            Ok(Work::Wait(Box::pin(async move {
                match host.tell(id, &to.message, true).await {
                    Ok(said) => ToolResult::success(Value::from(display(&reply(id, said)))),
                    Err(failure) => ToolResult::failure(AND_WAIT, failure),
                }
            })))
        },
    );
    let tagged = Builtin::new(
        21,
        ToolType::MultiAgentCore,
        TAGGED,
        "Sends a message to every other agent with the given tags, waits and returns all answers.",
        vec![
            message(),
            Parameter::texts("match_all", "Tags an agent must all have."),
            Parameter::texts(
                "match_some",
                "Tags of which an agent must have at least one.",
            ),
        ],
        |to: ToTagged, host| Ok(Work::Wait(Box::pin(to.send(host)))),
    );
    let later = Builtin::new(
        22,
        ToolType::MultiAgentCore,
        ASYNC,
        "Sends a message to another agent and does not wait for an answer.",
        vec![message(), other()],
        |to: ToOne, host| {
            let id = to.id()?;
            Ok(Work::Wait(Box::pin(async move {
                match host.tell(id, &to.message, false).await {
                    Ok(_) => ToolResult::success(Value::from("Successfully sent message")),
                    Err(failure) => ToolResult::failure(ASYNC, failure),
                }
            })))
        },
    );
    [and_wait, tagged, later].map(Builtin::outside)
}

fn reply(from: AgentId, said: Vec<String>) -> Value {
    json!({"agent_id": from.to_string(), "response": said})
}

#[derive(Deserialize)]
struct ToTagged {
    message: String,
    match_all: Vec<String>,
    match_some: Vec<String>,
}

impl ToTagged {
    async fn send(self, host: Arc<dyn Host>) -> ToolResult {
        let others = match host.tagged(&self.match_all, &self.match_some).await {
            Ok(others) => others,
            Err(failure) => return ToolResult::failure(TAGGED, failure),
        };
        let turns = others.into_iter().map(|id| {
            let (host, message) = (&host, &self.message);
            async move {
                let said = host.tell(id, message, true).await;
                let told = |failure: ToolFailure| vec![format!("<error: {failure}>")];
                reply(id, said.unwrap_or_else(told))
            }
        });
        ToolResult::success(Value::Array(join_all(turns).await))
    }
}
