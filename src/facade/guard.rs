//! What every request passes before it is routed.

use super::Facade;
use super::error::ApiError;
use axum::extract::{Request, State};
use axum::http::Uri;
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// Both slash spellings of every path are served directly (decisions 26): the trailing one is taken off.
pub(super) fn one_spelling<B>(mut request: axum::http::Request<B>) -> axum::http::Request<B> {
    let path = request.uri().path();
    if path.len() > 1 && path.ends_with('/') {
        let trimmed = path.trim_end_matches('/');
        let query = request
            .uri()
            .query()
            .map(|query| format!("?{query}"))
            .unwrap_or_default();
        if let Ok(uri) = format!("{trimmed}{query}").parse::<Uri>() {
            *request.uri_mut() = uri;
        }
    }
    request
}

/// Paths that answer without a password.
const OPEN: [&str; 4] = ["/v1/health", "/v1/ready", "/latest/health", "/latest/ready"];

/// Password mode: a request without the password is refused whatever its path (wire-rules §3).
pub(super) async fn check(State(facade): State<Facade>, request: Request, next: Next) -> Response {
    let Some(password) = &facade.settings.password else {
        return next.run(request).await;
    };
    if OPEN.contains(&request.uri().path()) || knows(&request, password) {
        return next.run(request).await;
    }
    ApiError::unauthorized().into_response()
}

fn knows(request: &Request, password: &str) -> bool {
    let header = |name: &str| {
        request
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let bearer = header(AUTHORIZATION.as_str()).and_then(|value| value.strip_prefix("Bearer "));
    let bare = header("x-bare-password").and_then(|value| value.strip_prefix("password "));
    [bearer, bare]
        .into_iter()
        .flatten()
        .any(|given| same(given, password))
}

/// Compares in a time that depends only on the lengths.
fn same(a: &str, b: &str) -> bool {
    a.len() == b.len()
        && a.bytes()
            .zip(b.bytes())
            .fold(0, |difference, (a, b)| difference | (a ^ b))
            == 0
}
