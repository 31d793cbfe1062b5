//! What every request passes before it is routed.

use super::Facade;
use super::error::ApiError;
use axum::extract::{Request, State};
use axum::http::Uri;
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::IpAddr;

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

/// A page of somebody else's, open in the user's browser, must not drive the daemon: it could send what needs no answer.
/// Nor may one whose name was made to lead here, which could read the answers as well. Programs send no `Origin`.
pub(super) async fn same_site(
    State(facade): State<Facade>,
    request: Request,
    next: Next,
) -> Response {
    let settings = &facade.settings;
    let visit = Visit::of(&request);
    let known = settings.cors_origins.iter().any(|known| {
        let same = |origin| known.eq_ignore_ascii_case(origin);
        known == "*" || visit.origin.is_some_and(same)
    });
    let foreign = !request.method().is_safe() && visit.is_cross_site();
    let misled = settings.password.is_none() && visit.is_by_name();
    if !known && (foreign || misled) {
        return ApiError::forbidden(
            "this request comes from a web page of another site; its origin can be allowed with server.cors_origins",
        )
        .into_response();
    }
    next.run(request).await
}

/// What a browser tells of where a request comes from.
struct Visit<'a> {
    origin: Option<&'a str>,
    host: &'a str,
    by_browser: bool,
}

impl<'a> Visit<'a> {
    fn of(request: &'a Request) -> Self {
        let headers = request.headers();
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or(""));
        let origin = text("origin");
        // HTTP/2 has it in the address of the request.
        let authority = request
            .uri()
            .authority()
            .map(|authority| authority.as_str());
        Self {
            origin,
            host: text("host").or(authority).unwrap_or_default(),
            by_browser: origin.is_some() || headers.contains_key("sec-fetch-site"),
        }
    }

    /// Its page is from another host or port than this one.
    fn is_cross_site(&self) -> bool {
        self.origin.is_some_and(|origin| {
            let place = origin.split_once("://").map_or("", |(_, place)| place);
            !place.eq_ignore_ascii_case(self.host)
        })
    }

    /// A browser was led here by a name, not by an address or as to itself.
    fn is_by_name(&self) -> bool {
        let name = match self.host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => self.host,
        };
        let address = name.trim_start_matches('[').trim_end_matches(']');
        let own = name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok();
        self.by_browser && !own
    }
}

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
