//! The supervision tree as JSON (`GET /v1/greenroom/tree`).

use serde::Serialize;

/// The whole tree, parents before children.
#[derive(Debug, Serialize)]
pub struct Tree {
    pub version: &'static str,
    pub uptime_ms: u64,
    pub durability: &'static str,
    pub disk_full: bool,
    pub commits_waiting: u64,
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
    pub mailbox_age_ms: u64,
    pub restarts: u64,
    pub uptime_ms: u64,
    pub run: Option<String>,
    pub step: Option<String>,
    pub tool: Option<String>,
    pub reason: Option<String>,
}
