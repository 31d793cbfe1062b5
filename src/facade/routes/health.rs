//! Health and readiness.

use crate::facade::Facade;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

pub(super) fn routes() -> Router<Facade> {
    Router::new()
        .route("/health", get(health))
        .route("/ready", get(ready))
}

/// The version of the API that clients find here: programs compare it.
const API_VERSION: &str = "0.16.8";

fn body(status: &str) -> Value {
    json!({"version": API_VERSION, "status": status})
}

async fn health() -> Json<Value> {
    Json(body("ok"))
}

async fn ready(State(facade): State<Facade>) -> Response {
    if facade.handles.tree.ready() {
        Json(body("ok")).into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, Json(body("not ready"))).into_response()
    }
}
