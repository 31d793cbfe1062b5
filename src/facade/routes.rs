//! One file a resource; paths without prefix and without trailing slash.

mod agents;
mod agents_messages;
mod agents_tools;
mod blocks;
mod chat;
mod context;
mod conversations;
mod core_memory;
mod greenroom;
mod health;
mod missing;
mod models;
mod providers;
mod runs;
mod steps;
mod tags;
mod tools;

use super::Facade;
use axum::Router;

/// Everything below `/v1`.
pub(super) fn api() -> Router<Facade> {
    Router::new()
        .merge(agents::routes())
        .merge(agents_messages::routes())
        .merge(agents_tools::routes())
        .merge(blocks::routes())
        .merge(chat::routes())
        .merge(context::routes())
        .merge(conversations::routes())
        .merge(core_memory::routes())
        .merge(greenroom::routes())
        .merge(health::routes())
        .merge(missing::routes())
        .merge(models::routes())
        .merge(providers::routes())
        .merge(runs::routes())
        .merge(steps::routes())
        .merge(tags::routes())
        .merge(tools::routes())
}
