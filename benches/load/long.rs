//! An agent that is talked with for 20,000 turns in a small window: its context is summarised again and again, and nothing
//! may grow but what is stored.

use crate::client::message;
use crate::daemon::{Daemon, Model};
use crate::figures::{Times, line, title};
use serde_json::{Value, json};
use std::path::Path;

const TURNS: usize = 20_000;
/// Turns of one line of the table.
const STRETCH: usize = 2_000;
/// Tokens.
const WINDOW: u64 = 16_000;
/// The database's cache is to be full early on: what grows after that, grows for another reason.
const OPTIONS: &[(&str, &str)] = &[("GREENROOM__DATA__CACHE_MIB", "8")];

pub(crate) async fn talk(model: &Model) {
    title("long: 20,000 turns of one agent in a window of 16,000 tokens, with 8 MiB of cache");
    let mut daemon = Daemon::start_with(model, OPTIONS).await;
    let mut client = daemon.client().await;
    let agent = client.agent().await;
    let path = format!("/v1/agents/{agent}");
    client
        .patch(&path, &json!({"context_window_limit": WINDOW}))
        .await;
    let text = format!("[[counted:1]] {}", "and then we spoke of tea ".repeat(40));
    let (mut in_context, mut compactions, mut largest) = (0, 0, 0);
    for stretch in 1..=TURNS / STRETCH {
        let mut times = Times::default();
        for _ in 0..STRETCH {
            times.add(client.send(&agent, message(&text)).await);
            let state: Value = serde_json::from_slice(&client.get(&path).await).unwrap();
            let messages = state["message_ids"].as_array().unwrap().len();
            compactions += usize::from(messages <= in_context);
            in_context = messages;
            largest = largest.max(messages);
        }
        line(
            &format!(
                "turns {} to {}",
                (stretch - 1) * STRETCH + 1,
                stretch * STRETCH
            ),
            &format!(
                "{}; resident {:.1} MiB, stored {:.1} MiB; {compactions} compactions, at most {largest} messages in context",
                times.spread(),
                daemon.resident_kib() as f64 / 1_024.0,
                bytes(&daemon.folder().join("data")) as f64 / (1 << 20) as f64,
            ),
        );
    }
    // What the engine keeps in memory for what is on the disk, and the agent with its context.
    daemon.stop();
    daemon.again().await;
    let idle_kib = daemon.resident_kib();
    daemon.client().await.send(&agent, message("hello")).await;
    line(
        "started anew, and one turn",
        &format!(
            "resident {:.1} MiB, {:.1} MiB",
            idle_kib as f64 / 1_024.0,
            daemon.resident_kib() as f64 / 1_024.0,
        ),
    );
}

/// Of all files below a folder.
fn bytes(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => bytes(&entry.path()),
        Ok(found) => found.len(),
        // It was renamed or removed in between.
        Err(_) => 0,
    };
    entries.map(size).sum()
}
