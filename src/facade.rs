//! The HTTP facade: requests become messages to actors, answers become JSON. Every handler has three movements: read the
//! request into domain words, send one message, write the answer. No rule of the product lives here.

mod compaction;
mod delivery;
mod error;
mod extract;
mod guard;
mod misfit;
mod routes;
mod sse;
mod turn;

use crate::actors::Handles;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderValue, Method};
use std::sync::Arc;
use tower::Layer;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

/// Says why an address must not be called.
pub type CheckAddress = Box<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// What the facade is configured with.
pub struct Settings {
    /// With a password every request has to carry it (wire-rules §3).
    pub password: Option<String>,
    pub cors_origins: Vec<String>,
    pub max_body_bytes: usize,
    /// Model calls of a run that does not say how many.
    pub max_steps: u64,
    /// Whether a callback may be sent to this address, as far as the address itself tells.
    pub check_callback: CheckAddress,
}

/// What every handler holds.
#[derive(Clone)]
pub struct Facade(Arc<Inner>);

pub struct Inner {
    pub(crate) handles: Handles,
    pub(crate) settings: Settings,
}

impl std::ops::Deref for Facade {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Facade {
    pub fn new(handles: Handles, settings: Settings) -> Self {
        Self(Arc::new(Inner { handles, settings }))
    }
}

/// The whole service: both prefixes, both slash spellings, password, limits, and an answer for everything.
pub fn service(
    facade: Facade,
) -> impl tower::Service<
    axum::extract::Request,
    Response = axum::response::Response,
    Error = std::convert::Infallible,
    Future: Send,
> + Clone
+ Send
+ 'static {
    let limit = facade.settings.max_body_bytes;
    let cors = cors(&facade.settings.cors_origins);
    let api = routes::api()
        .fallback(error::unknown_path)
        .method_not_allowed_fallback(error::wrong_method);
    let router = Router::new()
        .nest("/v1", api.clone())
        .nest("/latest", api)
        .fallback(error::unknown_path)
        .layer(DefaultBodyLimit::max(limit))
        .layer(axum::middleware::from_fn_with_state(
            facade.clone(),
            guard::check,
        ))
        .layer(axum::middleware::from_fn_with_state(
            facade.clone(),
            guard::same_site,
        ))
        .layer(tower_http::catch_panic::CatchPanicLayer::custom(
            error::panicked,
        ))
        .layer(cors)
        .with_state(facade);
    tower::util::MapRequestLayer::new(guard::one_spelling).layer(router)
}

fn cors(origins: &[String]) -> CorsLayer {
    let known = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::mirror_request()
    } else {
        let known = origins.iter();
        AllowOrigin::list(known.filter_map(|origin| HeaderValue::from_str(origin).ok()))
    };
    let methods = [
        Method::GET,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
    ];
    CorsLayer::new()
        .allow_origin(known)
        .allow_methods(methods)
        .allow_headers(AllowHeaders::mirror_request())
        .allow_credentials(true)
}
