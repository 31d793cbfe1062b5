//! JSON schemas of tools and of answers as providers take them: each has its own part of the standard.

mod closed;
mod non_null;
mod object;
pub(crate) mod openapi;
mod strict;

pub(crate) use closed::closed;
pub(crate) use non_null::non_null;

use serde_json::{Value, json};
use std::borrow::Cow;

/// The parameters of a function as OpenAI takes them, and whether they are in its strict form: some cannot be, and are
/// left as they are.
pub(crate) fn of_function(parameters: &Value, wants_strict: bool) -> (Cow<'_, Value>, bool) {
    let mut schema = object::object(parameters);
    if schema.get("properties").is_none() {
        schema.to_mut()["properties"] = json!({});
    }
    match wants_strict.then(|| strict::strict(&schema)).flatten() {
        Some(strict) => (Cow::Owned(strict), true),
        None => (schema, false),
    }
}
