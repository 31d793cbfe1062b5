//! `greenroom agents` and `greenroom runs`.

use super::CliError;
use super::client::Client;
use super::screen::{harmless, note, print};
use super::text::{ago, columns, duration, member};
use serde_json::Value;

pub(super) async fn agents(client: &Client, limit: u16) -> Result<(), CliError> {
    let agents = client
        .get("/v1/agents/", &[("limit", &limit.to_string())])
        .await?;
    let row = |agent: &Value| {
        let model = member(&agent["llm_config"], "handle");
        let used = agent["last_run_completion"]
            .as_str()
            .map_or_else(|| "never".to_owned(), ago);
        [
            harmless(member(agent, "name")),
            member(agent, "id").to_owned(),
            model.to_owned(),
            used,
        ]
    };
    show(
        ["NAME", "ID", "MODEL", "LAST RUN"],
        &agents,
        row,
        "no agents yet: `greenroom chat` makes one",
        limit,
    )
}

pub(super) async fn runs(client: &Client, active: bool, limit: u16) -> Result<(), CliError> {
    let limit_text = limit.to_string();
    let mut query = vec![("limit", limit_text.as_str())];
    if active {
        query.push(("active", "true"));
    }
    let runs = client.get("/v1/runs/", &query).await?;
    let row = |run: &Value| {
        let took = run["total_duration_ns"]
            .as_u64()
            .map_or_else(|| "-".to_owned(), |ns| duration(ns / 1_000_000));
        let texts =
            ["id", "agent_id", "status", "stop_reason"].map(|name| member(run, name).to_owned());
        let [id, agent, status, reason] = texts;
        [
            id,
            agent,
            status,
            reason,
            ago(member(run, "created_at")),
            took,
        ]
    };
    let none = if active {
        "nothing is running"
    } else {
        "no runs yet"
    };
    show(
        ["ID", "AGENT", "STATUS", "STOP REASON", "STARTED", "TOOK"],
        &runs,
        row,
        none,
        limit,
    )
}

/// A heading and a row an item; what is not shown is mentioned.
fn show<const N: usize>(
    heading: [&str; N],
    items: &Value,
    row: impl Fn(&Value) -> [String; N],
    none: &str,
    limit: u16,
) -> Result<(), CliError> {
    let items = items.as_array().map(Vec::as_slice).unwrap_or_default();
    if items.is_empty() {
        note(none);
        return Ok(());
    }
    let rows: Vec<[String; N]> = std::iter::once(heading.map(str::to_owned))
        .chain(items.iter().map(row))
        .collect();
    print(&columns(&rows))?;
    if items.len() == usize::from(limit) {
        note(&format!(
            "there may be more; --limit shows more than {limit}"
        ));
    }
    Ok(())
}
