//! The one ingress error table: kinds become status codes here, and bodies have the contract's shapes (wire-rules §1, 2, 7).

use super::misfit::Misfit;
use crate::actors::refused::Refused;
use crate::domain::error::Kind;
use crate::domain::id::BadId;
use axum::Json;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::AppendHeaders;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::any::Any;
use std::fmt::Display;

pub(crate) type Answer<T> = Result<Json<T>, ApiError>;

/// An answer that is not a success.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    body: Value,
    headers: Vec<(HeaderName, &'static str)>,
}

const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

impl ApiError {
    pub(super) fn new(status: StatusCode, body: Value) -> Self {
        Self {
            status,
            body,
            headers: Vec::new(),
        }
    }

    fn detail(status: StatusCode, text: impl Display) -> Self {
        Self::new(status, json!({"detail": text.to_string()}))
    }

    fn header(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    /// A part of the request that does not fit the schema: where, what kind of problem, why, and what was there.
    pub(crate) fn invalid(
        loc: &[&str],
        kind: &'static str,
        message: impl Display,
        input: impl Into<Value>,
    ) -> Self {
        Misfit::new(loc, kind, message, input).into()
    }

    /// A check on the whole request.
    pub(crate) fn plain_invalid(text: impl Display) -> Self {
        Self::detail(StatusCode::UNPROCESSABLE_ENTITY, text)
    }

    /// Fits the schema and makes no sense here.
    pub(crate) fn argument(text: impl Display) -> Self {
        Self::detail(
            StatusCode::BAD_REQUEST,
            format_args!("INVALID_ARGUMENT: {text}"),
        )
    }

    pub(crate) fn forbidden(text: impl Display) -> Self {
        Self::detail(StatusCode::FORBIDDEN, text)
    }

    pub(crate) fn not_found(text: impl Display) -> Self {
        Self::detail(StatusCode::NOT_FOUND, format_args!("NOT_FOUND: {text}"))
    }

    /// An operation of the contract that is not built yet.
    pub(crate) fn missing(operation_id: &str) -> Self {
        Self::detail(
            StatusCode::NOT_IMPLEMENTED,
            format_args!("the operation {operation_id} is not built yet"),
        )
        .header(SHOULD_RETRY, "false")
    }

    /// An operation that the contract still lists and that no server of it has any more.
    pub(crate) fn removed(instead: &str) -> Self {
        Self::detail(
            StatusCode::GONE,
            format_args!("this operation was removed; use {instead} instead"),
        )
    }

    pub(crate) fn unauthorized() -> Self {
        Self::detail(StatusCode::UNAUTHORIZED, "Unauthorized")
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        Self::detail(
            StatusCode::PAYLOAD_TOO_LARGE,
            format_args!("the body is larger than {limit} bytes"),
        )
    }

    /// A malformed id in the path: the form that was expected, and an example of it.
    pub(crate) fn bad_id(name: &str, bad: &BadId) -> Self {
        let prefix = bad.prefix;
        let pattern = format!(
            "^{prefix}-[0-9a-f]{{8}}-[0-9a-f]{{4}}-4[0-9a-f]{{3}}-[89ab][0-9a-f]{{3}}-[0-9a-f]{{12}}$"
        );
        let message = format_args!("String should match pattern '{prefix}-{{uuid4}}'");
        let input = bad.input.as_str();
        let misfit = Misfit::new(&["path", name], "string_pattern_mismatch", message, input);
        let mut error = Self::from(misfit.with("pattern", pattern));
        error.body["examples"] = json!([format!("{prefix}-123e4567-e89b-42d3-8456-426614174000")]);
        error
    }
}

impl From<Misfit> for ApiError {
    fn from(misfit: Misfit) -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            json!({"trace_id": "", "detail": format!("[{misfit}]")}),
        )
    }
}

/// No wildcard: a new kind stops the build here.
fn status(kind: Kind) -> StatusCode {
    match kind {
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
        Kind::Argument => StatusCode::BAD_REQUEST,
        Kind::KeyRefused => StatusCode::UNAUTHORIZED,
        Kind::Conflict | Kind::PendingApproval | Kind::Damaged => StatusCode::CONFLICT,
        Kind::Expired => StatusCode::GONE,
        Kind::Busy => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Provider => StatusCode::BAD_GATEWAY,
        Kind::Timeout => StatusCode::GATEWAY_TIMEOUT,
        Kind::Full => StatusCode::INSUFFICIENT_STORAGE,
        Kind::Missing => StatusCode::NOT_IMPLEMENTED,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The word that starts the text of an error of this kind.
fn code(kind: Kind) -> &'static str {
    match kind {
        Kind::NotFound => "NOT_FOUND: ",
        Kind::Invalid | Kind::Provider => "",
        Kind::Argument => "INVALID_ARGUMENT: ",
        Kind::KeyRefused => "",
        Kind::Conflict | Kind::PendingApproval | Kind::Damaged => "CONFLICT: ",
        Kind::Expired => "EXPIRED: ",
        Kind::Busy => "UNAVAILABLE: ",
        Kind::Timeout => "TIMEOUT: ",
        Kind::Full => "INSUFFICIENT_STORAGE: ",
        Kind::Missing => "UNIMPLEMENTED: ",
        Kind::Internal => "INTERNAL_SERVER_ERROR: ",
    }
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        let kind = refused.kind();
        let text = format!("{}{refused}", code(kind));
        match refused {
            Refused::Internal(reason) => {
                tracing::error!(reason, "a request failed inside the server");
                Self::detail(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "An unknown error occurred",
                )
            }
            // As when a turn fails of it: the provider refused, not this server.
            Refused::KeyRefused(said) => Self::new(
                status(kind),
                json!({"error": {
                    "type": "llm_authentication",
                    "message": "The model provider refused the API key.",
                    "detail": said,
                }}),
            ),
            Refused::PendingApproval { request } => {
                let detail = json!({"code": "PENDING_APPROVAL", "message": text, "pending_request_id": request.to_string()});
                Self::new(StatusCode::CONFLICT, json!({"detail": detail}))
                    .header(SHOULD_RETRY, "false")
            }
            Refused::LaneBusy { run } => Self::new(
                StatusCode::CONFLICT,
                json!({"detail": text, "run_id": run.to_string()}),
            )
            .header(header::RETRY_AFTER, "1"),
            _ => match kind {
                Kind::Busy => Self::detail(status(kind), text).header(header::RETRY_AFTER, "1"),
                Kind::Conflict | Kind::Damaged => {
                    Self::detail(status(kind), text).header(SHOULD_RETRY, "false")
                }
                _ => Self::detail(status(kind), text),
            },
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, AppendHeaders(self.headers), Json(self.body)).into_response()
    }
}

pub(super) async fn unknown_path() -> ApiError {
    ApiError::detail(StatusCode::NOT_FOUND, "Not Found")
}

pub(super) async fn wrong_method() -> ApiError {
    ApiError::detail(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
}

/// A handler panicked: a bug, which costs this one request.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the signature is tower-http's"
)]
pub(super) fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned());
    tracing::error!(panic = text.unwrap_or_default(), "a handler panicked");
    ApiError::detail(
        StatusCode::INTERNAL_SERVER_ERROR,
        "An unknown error occurred",
    )
    .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::AgentId;

    #[test]
    fn a_malformed_id_is_described_in_the_contracts_words() {
        let bad = "bad".parse::<AgentId>().unwrap_err();
        let error = ApiError::bad_id("agent_id", &bad);
        let detail = error.body["detail"].as_str().unwrap();
        assert!(detail.starts_with("[{'type': 'string_pattern_mismatch', 'loc': ('path', 'agent_id'), 'msg': \"String should match pattern 'agent-{uuid4}'\", 'input': 'bad'"), "{detail}");
        assert_eq!(
            error.body["examples"],
            json!(["agent-123e4567-e89b-42d3-8456-426614174000"])
        );
        assert_eq!(error.status, StatusCode::UNPROCESSABLE_ENTITY);
    }

    #[test]
    fn a_full_disk_is_507_and_a_busy_server_says_when_to_come_back() {
        assert_eq!(
            ApiError::from(Refused::DiskFull).status,
            StatusCode::INSUFFICIENT_STORAGE
        );
        let busy = ApiError::from(Refused::Draining);
        assert_eq!(
            (busy.status, busy.headers[0].1),
            (StatusCode::SERVICE_UNAVAILABLE, "1")
        );
    }
}
