//! Which agent the chat is with.

use crate::cli::CliError;
use crate::cli::client::Client;
use crate::cli::screen::note;
use crate::cli::text::member;
use serde_json::{Value, json};

const PERSONA: &str = "I am a companion for a person at a terminal. I answer in a few plain sentences, and I keep what I learn \
     about the person in my memory, because we will talk again.";

#[derive(Debug, PartialEq)]
pub(super) struct Agent {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) model: String,
}

impl Agent {
    fn read(state: &Value) -> Self {
        let model = member(&state["llm_config"], "handle").to_owned();
        Self {
            id: member(state, "id").to_owned(),
            name: member(state, "name").to_owned(),
            model,
        }
    }
}

/// The agent with this id or name. A name that nobody has is given to a new agent; `model` is made the agent's model.
pub(super) async fn find_or_make(
    client: &Client,
    wanted: &str,
    model: Option<&str>,
) -> Result<Agent, CliError> {
    let Some(agent) = find(client, wanted).await? else {
        return make(client, wanted, model).await;
    };
    match model {
        Some(model) if model != agent.model => {
            let state = client
                .patch(
                    &format!("/v1/agents/{}", agent.id),
                    &json!({"model": model}),
                )
                .await?;
            Ok(Agent::read(&state))
        }
        _ => Ok(agent),
    }
}

async fn find(client: &Client, wanted: &str) -> Result<Option<Agent>, CliError> {
    if wanted.parse::<crate::domain::id::AgentId>().is_ok() {
        return client
            .get(&format!("/v1/agents/{wanted}"), &[])
            .await
            .map(|state| Some(Agent::read(&state)));
    }
    let found = client
        .get("/v1/agents/", &[("name", wanted), ("limit", "10")])
        .await?;
    let mut agents: Vec<Agent> = found
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
        .iter()
        .map(Agent::read)
        .collect();
    if agents.len() > 1 {
        let ids = agents.into_iter().map(|agent| agent.id).collect();
        return Err(CliError::Ambiguous {
            name: wanted.to_owned(),
            ids,
        });
    }
    Ok(agents.pop())
}

async fn make(client: &Client, name: &str, model: Option<&str>) -> Result<Agent, CliError> {
    let blocks = json!([{"label": "human", "value": ""}, {"label": "persona", "value": PERSONA}]);
    let mut request = json!({"name": name, "memory_blocks": blocks});
    if let Some(model) = model {
        request["model"] = json!(model);
    }
    let agent = Agent::read(&client.post("/v1/agents/", &request).await?);
    note(&format!("Made the agent {}.", agent.name));
    Ok(agent)
}
