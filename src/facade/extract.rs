//! What every request needs, read once: who asks, the ids in the path, the query, the body.

mod json;
mod params;

pub(crate) use self::json::read;
pub(crate) use self::params::{Params, time};
use super::Facade;
use super::error::ApiError;
use crate::domain::id::{BadId, UserId};
use axum::body::Bytes;
use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use bytes::BytesMut;
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::str::FromStr;

/// Who asks, and which generation of clients they belong to (wire-rules §3).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller {
    pub(crate) user: UserId,
    /// A client of the 1.x SDK generation.
    pub(crate) v1: bool,
}

impl FromRequestParts<Facade> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Facade) -> Result<Self, ApiError> {
        let text = |name: &str| {
            parts
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .filter(|text| !text.is_empty())
        };
        let bad = |bad: BadId| {
            ApiError::argument(format!(
                "Invalid user ID format: {}. Expected format: 'user-<uuid4>'",
                bad.input
            ))
        };
        // Well-formed and unknown falls back to the default user: there are no others yet.
        text("user_id")
            .map(UserId::from_str)
            .transpose()
            .map_err(bad)?;
        let v1 = text("x-stainless-package-version").is_some()
            || text("user-agent").is_none_or(is_v1_agent);
        Ok(Self {
            user: UserId::DEFAULT,
            v1,
        })
    }
}

fn is_v1_agent(agent: &str) -> bool {
    let version = agent
        .strip_prefix("@letta-ai/letta-client/")
        .or_else(|| agent.strip_prefix("letta-client/"));
    version.is_some_and(|version| version.starts_with("1."))
}

/// Texts from the path, in its order.
#[derive(Debug, Clone)]
pub(crate) struct InPath<T>(pub(crate) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Facade> for InPath<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, facade: &Facade) -> Result<Self, ApiError> {
        let read = Path::<T>::from_request_parts(parts, facade).await;
        read.map(|Path(value)| Self(value)).map_err(unreadable)
    }
}

/// A path that is no text.
fn unreadable(rejection: PathRejection) -> ApiError {
    let told = rejection.body_text();
    match rejection {
        PathRejection::FailedToDeserializePathParams(error) => match error.into_kind() {
            ErrorKind::InvalidUtf8InPathParam { key } => {
                let message =
                    "Input should be a valid string, unable to parse raw data as a unicode string";
                ApiError::invalid(&["path", &key], "string_unicode", message, Value::Null)
            }
            _ => ApiError::invalid(&["path"], "value_error", told, Value::Null),
        },
        _ => ApiError::invalid(&["path"], "value_error", told, Value::Null),
    }
}

/// One id from the path.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PathId<T>(pub(crate) T);

impl<T: FromStr<Err = BadId> + Send> FromRequestParts<Facade> for PathId<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, facade: &Facade) -> Result<Self, ApiError> {
        let InPath(pairs) =
            InPath::<Vec<(String, String)>>::from_request_parts(parts, facade).await?;
        let (name, text) = pairs
            .into_iter()
            .next()
            .ok_or_else(|| ApiError::not_found("path parameter not found"))?;
        path_id(&name, &text).map(Self)
    }
}

/// A path parameter as an id.
pub(crate) fn path_id<T: FromStr<Err = BadId>>(name: &str, text: &str) -> Result<T, ApiError> {
    text.parse().map_err(|bad| ApiError::bad_id(name, &bad))
}

/// A run's id is a free string in the contract: malformed is 400, not 422 (wire-rules §1).
pub(crate) fn run_id(text: &str) -> Result<crate::domain::id::RunId, ApiError> {
    text.parse().map_err(|bad: BadId| {
        ApiError::argument(format!(
            "Invalid run ID format: {}. Expected format: 'run-<uuid4>'",
            bad.input
        ))
    })
}

/// A JSON body.
#[derive(Debug, Clone)]
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Facade> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, facade: &Facade) -> Result<Self, ApiError> {
        Ok(Self(read(&body(request, facade).await?)?))
    }
}

/// A JSON body that may be absent.
#[derive(Debug, Clone)]
pub(crate) struct OptionalBody<T>(pub(crate) Option<T>);

impl<T: DeserializeOwned> FromRequest<Facade> for OptionalBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, facade: &Facade) -> Result<Self, ApiError> {
        let bytes = body(request, facade).await?;
        Ok(Self(read_if_any(&bytes)?))
    }
}

/// A body that may be left out, or be null.
pub(crate) fn read_if_any<T: DeserializeOwned>(bytes: &[u8]) -> Result<Option<T>, ApiError> {
    match bytes.trim_ascii() {
        b"" | b"null" => Ok(None),
        _ => Ok(Some(read(bytes)?)),
    }
}

/// The bytes of a body, up to the configured limit.
pub(crate) async fn body(request: Request, facade: &Facade) -> Result<Bytes, ApiError> {
    let limit = facade.settings.max_body_bytes;
    let mut stream = request.into_body().into_data_stream();
    let (mut kept, mut length) = (BytesMut::new(), 0_usize);
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| {
            let message = format_args!("the body could not be read: {error}");
            ApiError::invalid(&["body"], "value_error", message, Value::Null)
        })?;
        length = length.saturating_add(chunk.len());
        if length <= limit {
            kept.extend_from_slice(&chunk);
        } else if length > limit.saturating_mul(READ_PAST_LIMIT) {
            break;
        }
    }
    if length > limit {
        Err(ApiError::too_large(limit))
    } else {
        Ok(kept.freeze())
    }
}

/// A client that is cut off while it sends does not read the answer: so much more than the limit is read and thrown away.
const READ_PAST_LIMIT: usize = 4;

/// The version that a conditional change expects.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IfMatch(pub(crate) Option<u64>);

impl FromRequestParts<Facade> for IfMatch {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Facade) -> Result<Self, ApiError> {
        let Some(text) = header(&parts.headers, "if-match") else {
            return Ok(Self(None));
        };
        let version = text.trim_matches('"').parse();
        version.map(|version| Self(Some(version))).map_err(|_| {
            ApiError::invalid(
                &["header", "if-match"],
                "int_parsing",
                "Input should be a block's version",
                text,
            )
        })
    }
}

pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_generations_are_told_apart() {
        assert!(
            is_v1_agent("letta-client/1.12.1") && is_v1_agent("@letta-ai/letta-client/1.0.0-alpha")
        );
        assert!(
            !is_v1_agent("Letta/Python 1.12.1")
                && !is_v1_agent("letta-client/10.0")
                && !is_v1_agent("curl/8")
        );
    }
}
