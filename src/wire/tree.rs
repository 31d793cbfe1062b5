//! The supervision tree as JSON (`GET /v1/greenroom/tree`).

use serde::Serialize;

/// The whole tree, parents before children.
#[derive(Debug, Serialize)]
pub struct Tree {
    pub version: &'static str,
    pub uptime_ms: u64,
    /// What an acknowledgement means: `sync` or `flush` (decisions 16).
    pub durability: &'static str,
    /// Writes answer 507 while this holds.
    pub disk_full: bool,
    /// Batches that wait for the disk.
    pub commits_waiting: u64,
    /// Groups of batches made durable since the start.
    pub syncs: u64,
    /// Whether the sources of tools run: `isolated`, `bare`, `refused` or `untried`.
    pub sandbox: &'static str,
    /// The same in words, with the reason.
    pub sandbox_detail: String,
    pub nodes: Vec<Node>,
}

/// One actor.
#[derive(Debug, Serialize)]
pub struct Node {
    pub name: String,
    pub kind: &'static str,
    pub id: Option<String>,
    pub parent: Option<String>,
    pub status: String,
    pub mailbox_depth: u64,
    /// How long the oldest message has waited.
    pub mailbox_age_ms: u64,
    pub restarts: u64,
    pub uptime_ms: u64,
    pub run: Option<String>,
    pub step: Option<String>,
    pub tool: Option<String>,
    /// Why a faulted agent is not served.
    pub reason: Option<String>,
}

/// Which actors are to die on command: `{"panic": "agent:1,run:3"}`, actor and n-th message from now (decisions 44).
#[cfg(feature = "faults")]
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Faults {
    pub panic: String,
}
