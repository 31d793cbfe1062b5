//! The tags that agents and blocks carry.

use crate::domain::page::{Order, Page};
use crate::facade::Facade;
use crate::facade::error::Answer;
use crate::facade::extract::Params;
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};

pub(super) fn routes() -> Router<Facade> {
    Router::new().route("/tags", get(list))
}

/// Alphabetical; cursors are tags.
async fn list(State(facade): State<Facade>, params: Params) -> Answer<Vec<String>> {
    params.ordered_by("name")?;
    let order = params.order(Order::Ascending)?;
    let page = Page {
        after: params.text("after"),
        before: params.text("before"),
        limit: params.limit(50)?,
        order,
    };
    let mut tags = facade
        .handles
        .reads
        .tags(params.text("name").or(params.text("query_text")))
        .await?;
    if order == Order::Descending {
        tags.reverse();
    }
    Ok(Json(page.cut(tags, Clone::clone)))
}
