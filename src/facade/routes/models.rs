//! The lists of models.

use crate::domain::model::{EmbeddingInfo, ModelInfo};
use crate::facade::Facade;
use crate::facade::extract::Params;
use crate::wire::model::{embedding_model, model};
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::Value;

pub(super) fn routes() -> Router<Facade> {
    Router::new()
        .route("/models", get(list))
        .route("/models/embedding", get(embedding))
}

async fn list(State(facade): State<Facade>, params: Params) -> Json<Vec<Value>> {
    let models = facade.handles.library.models().await;
    let categories = params.all("provider_category");
    let types = params.all("provider_type");
    let name = params.text("provider_name");
    let wanted = |info: &&ModelInfo| {
        let category = info.config.provider_category.clone().unwrap_or_default();
        (categories.is_empty() || categories.contains(&category))
            && (types.is_empty() || types.contains(&info.provider_type))
            && name
                .as_ref()
                .is_none_or(|name| info.config.provider_name.as_ref() == Some(name))
    };
    Json(models.iter().filter(wanted).map(model).collect())
}

async fn embedding(State(facade): State<Facade>) -> Json<Vec<Value>> {
    let models: Vec<EmbeddingInfo> = facade.handles.library.embedding_models().await;
    Json(models.iter().map(embedding_model).collect())
}
