//! What Greenroom adds to the contract.

use crate::actors::tree::Node;
use crate::facade::Facade;
use crate::wire::tree::{Node as WireNode, Tree};
#[cfg(feature = "faults")]
use crate::{facade::extract::Body, wire::tree::Faults};
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};

pub(super) fn routes() -> Router<Facade> {
    let router = Router::new().route("/greenroom/tree", get(tree));
    #[cfg(feature = "faults")]
    let router = router.route("/greenroom/faults", axum::routing::post(arm));
    router
}

async fn tree(State(facade): State<Facade>) -> Json<Tree> {
    let tree = facade.handles.tree.snapshot();
    Json(Tree {
        version: tree.version,
        uptime_ms: tree.uptime_ms,
        durability: tree.durability,
        disk_full: tree.disk_full,
        commits_waiting: tree.commits_waiting,
        syncs: tree.syncs,
        sandbox: tree.sandbox.name(),
        sandbox_detail: tree.sandbox.to_string(),
        nodes: tree.nodes.into_iter().map(node).collect(),
    })
}

fn node(node: Node) -> WireNode {
    WireNode {
        name: node.name,
        kind: node.kind,
        id: node.id,
        parent: node.parent,
        status: node.status,
        mailbox_depth: node.mailbox_depth,
        mailbox_age_ms: node.mailbox_age_ms,
        restarts: node.restarts,
        uptime_ms: node.uptime_ms,
        run: node.run.map(|id| id.to_string()),
        step: node.step.map(|id| id.to_string()),
        tool: node.tool,
        reason: node.reason,
    }
}

/// Arms fault points (decisions 44).
#[cfg(feature = "faults")]
async fn arm(Body(faults): Body<Faults>) -> Json<()> {
    crate::actors::faults::arm(&faults.panic);
    Json(())
}
