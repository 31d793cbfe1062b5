//! Model providers that clients add with keys of their own. Those of the configuration show in the lists of models only.

use crate::domain::id::ProviderId;
use crate::domain::page::{Order, Page};
use crate::domain::provider::NewProvider;
use crate::domain::provider::{ProviderFilter, ProviderType};
use crate::facade::Facade;
use crate::facade::error::Answer;
use crate::facade::extract::{Body, Caller, Params, PathId};
use crate::wire::provider::{Provider, ProviderCheck, ProviderCreate, ProviderUpdate, Said};
use axum::extract::State;
use axum::routing::{get, patch, post};
use axum::{Json, Router};

pub(super) fn routes() -> Router<Facade> {
    Router::new()
        .route("/providers", get(list).post(create))
        .route("/providers/check", post(check_new))
        .route(
            "/providers/{provider_id}",
            get(retrieve).patch(modify).delete(delete),
        )
        .route("/providers/{provider_id}/check", post(check))
        .route("/providers/{provider_id}/refresh", patch(refresh))
}

async fn list(State(facade): State<Facade>, params: Params) -> Answer<Vec<Provider>> {
    let page: Page<ProviderId> = params.page(50, Order::Descending)?;
    let filter = ProviderFilter {
        name: params.text("name"),
        provider_type: params.named("provider_type", ProviderType::named, &ProviderType::NAMES)?,
    };
    let providers = facade.handles.reads.providers(filter, page).await?;
    Ok(Json(providers.iter().map(Provider::from).collect()))
}

async fn create(
    State(facade): State<Facade>,
    caller: Caller,
    Body(body): Body<ProviderCreate>,
) -> Answer<Provider> {
    let library = &facade.handles.library;
    let provider = library.create_provider(body.into(), caller.user).await?;
    Ok(Json(Provider::from(&provider)))
}

async fn retrieve(
    State(facade): State<Facade>,
    PathId(id): PathId<ProviderId>,
) -> Answer<Provider> {
    let provider = facade.handles.reads.provider(id).await?;
    Ok(Json(Provider::from(&provider)))
}

async fn modify(
    State(facade): State<Facade>,
    PathId(id): PathId<ProviderId>,
    Body(body): Body<ProviderUpdate>,
) -> Answer<Provider> {
    let library = &facade.handles.library;
    let provider = library.modify_provider(id, body.into()).await?;
    Ok(Json(Provider::from(&provider)))
}

async fn delete(State(facade): State<Facade>, PathId(id): PathId<ProviderId>) -> Answer<Said> {
    facade.handles.library.delete_provider(id).await?;
    Ok(Json(Said::deleted(id)))
}

async fn check_new(
    State(facade): State<Facade>,
    caller: Caller,
    Body(body): Body<ProviderCheck>,
) -> Answer<Said> {
    let new = NewProvider::from(body);
    let provider_type = new.provider_type;
    let library = &facade.handles.library;
    library.check_new_provider(new, caller.user).await?;
    Ok(Json(Said::key_works(provider_type.name())))
}

async fn check(State(facade): State<Facade>, PathId(id): PathId<ProviderId>) -> Answer<Said> {
    let provider = facade.handles.library.check_provider(id).await?;
    Ok(Json(Said::key_works(provider.provider_type.name())))
}

async fn refresh(State(facade): State<Facade>, PathId(id): PathId<ProviderId>) -> Answer<Provider> {
    let provider = facade.handles.library.refresh_provider(id).await?;
    Ok(Json(Provider::from(&provider)))
}
