//! The lists of models.

use crate::domain::model::{EmbeddingInfo, ModelInfo};
use crate::domain::provider::{ProviderCategory, ProviderType};
use crate::facade::Facade;
use crate::facade::error::Answer;
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

async fn list(State(facade): State<Facade>, params: Params) -> Answer<Vec<Value>> {
    let categories = params.all_named(
        "provider_category",
        ProviderCategory::named,
        &ProviderCategory::NAMES,
    )?;
    let kind = params.named("provider_type", ProviderType::named, &ProviderType::NAMES)?;
    let name = params.text("provider_name");
    let models = facade.handles.library.models().await;
    let wanted = |info: &&ModelInfo| {
        let category = info.config.provider_category.as_deref();
        (categories.is_empty() || categories.iter().any(|one| Some(one.name()) == category))
            && kind.is_none_or(|kind| kind.name() == info.provider_type)
            && name
                .as_ref()
                .is_none_or(|name| info.config.provider_name.as_ref() == Some(name))
    };
    Ok(Json(models.iter().filter(wanted).map(model).collect()))
}

async fn embedding(State(facade): State<Facade>) -> Json<Vec<Value>> {
    let models: Vec<EmbeddingInfo> = facade.handles.library.embedding_models().await;
    Json(models.iter().map(embedding_model).collect())
}
