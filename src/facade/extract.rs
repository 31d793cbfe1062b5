//! What every request needs, read once: who asks, the ids in the path, the query, the body.

use super::Facade;
use super::error::ApiError;
use crate::domain::id::{BadId, UserId};
use crate::domain::page::{Order, Page};
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use bytes::BytesMut;
use futures_util::StreamExt;
use jiff::Timestamp;
use jiff::civil::DateTime;
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;
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

/// One id from the path.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PathId<T>(pub(crate) T);

impl<T: FromStr<Err = BadId> + Send> FromRequestParts<Facade> for PathId<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, facade: &Facade) -> Result<Self, ApiError> {
        let pairs = Path::<Vec<(String, String)>>::from_request_parts(parts, facade).await;
        let pairs = pairs
            .map_err(|error| ApiError::invalid(&["path"], "value_error", error.body_text(), ""))?;
        let (name, text) = pairs
            .0
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

/// The query: a multimap, unknown names are ignored, lists are repeated names.
#[derive(Debug, Clone, Default)]
pub(crate) struct Params(Vec<(String, String)>);

impl FromRequestParts<Facade> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Facade) -> Result<Self, ApiError> {
        Ok(Self::parse(parts.uri.query().unwrap_or_default()))
    }
}

impl Params {
    pub(crate) fn parse(query: &str) -> Self {
        Self(
            url::form_urlencoded::parse(query.as_bytes())
                .into_owned()
                .collect(),
        )
    }

    /// The last value of that name.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.0
            .iter()
            .rev()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.clone())
    }

    pub(crate) fn all(&self, name: &str) -> Vec<String> {
        self.0
            .iter()
            .filter(|(key, _)| key == name)
            .map(|(_, value)| value.clone())
            .collect()
    }

    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, ApiError> {
        let bad = |text: &str| {
            ApiError::invalid(
                &["query", name],
                "int_parsing",
                "Input should be a valid integer",
                text,
            )
        };
        self.text(name)
            .map(|text| text.parse().map_err(|_| bad(&text)))
            .transpose()
    }

    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, ApiError> {
        let read = |text: String| match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "on" | "yes" | "t" | "y" => Ok(true),
            "false" | "0" | "off" | "no" | "f" | "n" => Ok(false),
            _ => Err(ApiError::invalid(
                &["query", name],
                "bool_parsing",
                "Input should be a valid boolean",
                text,
            )),
        };
        self.text(name).map(read).transpose()
    }

    pub(crate) fn id<T: FromStr<Err = BadId>>(&self, name: &str) -> Result<Option<T>, ApiError> {
        let bad = |bad: BadId| {
            ApiError::invalid(
                &["query", name],
                "string_pattern_mismatch",
                &bad,
                &bad.input,
            )
        };
        self.text(name)
            .map(|text| text.parse().map_err(bad))
            .transpose()
    }

    /// Any ISO 8601 form; without a zone it is UTC.
    pub(crate) fn time(&self, name: &str) -> Result<Option<Timestamp>, ApiError> {
        let bad = |text: &str| {
            ApiError::invalid(
                &["query", name],
                "datetime_parsing",
                "Input should be a valid datetime",
                text,
            )
        };
        self.text(name)
            .map(|text| time(&text).ok_or_else(|| bad(&text)))
            .transpose()
    }

    pub(crate) fn order(&self, default: Order) -> Result<Order, ApiError> {
        match self.text("order").as_deref() {
            None => Ok(default),
            Some("asc") => Ok(Order::Ascending),
            Some("desc") => Ok(Order::Descending),
            Some(other) => Err(ApiError::invalid(
                &["query", "order"],
                "literal_error",
                "Input should be 'asc' or 'desc'",
                other,
            )),
        }
    }

    /// At most `MOST`; 0 is as many as are allowed.
    pub(crate) fn limit(&self, default: usize) -> Result<usize, ApiError> {
        let limit = self
            .number("limit")?
            .map_or(default, |limit| usize::try_from(limit).unwrap_or(MOST));
        Ok(if limit == 0 { MOST } else { limit.min(MOST) })
    }

    /// Cursor, limit and order. A cursor that is no id names nothing, and is ignored like any that names nothing.
    pub(crate) fn page<Id: FromStr<Err = BadId>>(
        &self,
        limit: usize,
        order: Order,
    ) -> Result<Page<Id>, ApiError> {
        let cursor = |name| self.text(name).and_then(|text| text.parse().ok());
        Ok(Page {
            after: cursor("after"),
            before: cursor("before"),
            limit: self.limit(limit)?,
            order: self.order(order)?,
        })
    }
}

/// Most items of one page.
pub(crate) const MOST: usize = 1000;

pub(crate) fn time(text: &str) -> Option<Timestamp> {
    let text = text
        .trim()
        .replace(' ', if text.contains('T') { "+" } else { "T" });
    let zoned = text.parse::<Timestamp>().ok();
    let naive = || {
        text.parse::<DateTime>()
            .ok()?
            .to_zoned(jiff::tz::TimeZone::UTC)
            .ok()
    };
    zoned.or_else(|| naive().map(|zoned| zoned.timestamp()))
}

/// A JSON body.
#[derive(Debug, Clone)]
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Facade> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, facade: &Facade) -> Result<Self, ApiError> {
        read(&body(request, facade).await?).map(Self)
    }
}

/// A JSON body that may be absent.
#[derive(Debug, Clone)]
pub(crate) struct OptionalBody<T>(pub(crate) Option<T>);

impl<T: DeserializeOwned> FromRequest<Facade> for OptionalBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, facade: &Facade) -> Result<Self, ApiError> {
        let bytes = body(request, facade).await?;
        if bytes.iter().all(u8::is_ascii_whitespace) || bytes.trim_ascii() == b"null" {
            return Ok(Self(None));
        }
        read(&bytes).map(|value| Self(Some(value)))
    }
}

/// The bytes of a body, up to the configured limit.
pub(crate) async fn body(request: Request, facade: &Facade) -> Result<Bytes, ApiError> {
    let limit = facade.settings.max_body_bytes;
    let mut stream = request.into_body().into_data_stream();
    let (mut kept, mut length) = (BytesMut::new(), 0_usize);
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| {
            ApiError::invalid(
                &["body"],
                "value_error",
                "the body could not be read",
                error,
            )
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

/// Reads JSON; says which field is wrong and how.
pub(crate) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    // The derived readers would also take a list for an object, its items by position.
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        let message = "Input should be a valid dictionary";
        return Err(ApiError::invalid(
            &["body"],
            "model_attributes_type",
            message,
            "[…]",
        ));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| misfit(&error))?;
    json.end().map_err(|error| {
        ApiError::invalid(
            &["body", &error.column().to_string()],
            "json_invalid",
            format_args!("JSON decode error: {error}"),
            "{}",
        )
    })?;
    Ok(value)
}

fn misfit(error: &serde_path_to_error::Error<serde_json::Error>) -> ApiError {
    let inner = error.inner();
    if inner.is_syntax() || inner.is_eof() {
        return ApiError::invalid(
            &["body", &inner.column().to_string()],
            "json_invalid",
            format_args!("JSON decode error: {inner}"),
            "{}",
        );
    }
    let text = inner.to_string();
    let text = text.split(" at line ").next().unwrap_or_default();
    let missing = text
        .strip_prefix("missing field `")
        .and_then(|rest| rest.strip_suffix('`'));
    let step = |segment: &Segment| match segment {
        Segment::Seq { index } => index.to_string(),
        Segment::Map { key } => key.clone(),
        Segment::Enum { variant } => variant.clone(),
        Segment::Unknown => "?".to_owned(),
    };
    let path: Vec<String> = error.path().iter().map(step).collect();
    let mut loc: Vec<&str> = std::iter::once("body")
        .chain(path.iter().map(String::as_str).filter(|part| *part != "?"))
        .collect();
    match missing {
        Some(field) => {
            loc.push(field);
            ApiError::invalid(&loc, "missing", "Field required", "")
        }
        None if text.starts_with("unknown field") => {
            ApiError::invalid(&loc, "extra_forbidden", text, "")
        }
        None if text.starts_with("unknown variant") => ApiError::invalid(&loc, "enum", text, ""),
        None => ApiError::invalid(&loc, "value_error", text, ""),
    }
}

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

    #[test]
    fn times_without_a_zone_are_utc() {
        let noon: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        for text in [
            "2026-11-22T12:00:00",
            "2026-11-22 12:00:00",
            "2026-11-22T12:00:00Z",
            "2026-11-22T13:00:00+01:00",
            "2026-11-22T13:00:00 01:00",
        ] {
            assert_eq!(time(text), Some(noon), "{text}");
        }
        assert_eq!(time("yesterday"), None);
    }

    #[test]
    fn limits_are_bounded_and_zero_is_the_most() {
        let limit = |query: &str| Params::parse(query).limit(50).ok();
        assert_eq!(
            [
                limit(""),
                limit("limit=7"),
                limit("limit=0"),
                limit("limit=99999")
            ],
            [Some(50), Some(7), Some(MOST), Some(MOST)]
        );
        assert_eq!(limit("limit=-1"), None);
    }
}
