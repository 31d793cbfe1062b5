//! What a tool takes: its parameters as a JSON schema, and a call's arguments checked against them.
//!
//! The schemas hold only what the built-in tools need: plain types, `enum` on texts, `items`, and objects in lists.

use crate::domain::tool::ToolFailure;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// One parameter of a built-in tool; required unless it says otherwise.
pub(super) struct Parameter {
    name: &'static str,
    schema: Value,
    required: bool,
}

impl Parameter {
    fn new(name: &'static str, mut schema: Value, description: &str) -> Self {
        schema["description"] = Value::from(description);
        Self {
            name,
            schema,
            required: true,
        }
    }

    pub(super) fn text(name: &'static str, description: &str) -> Self {
        Self::new(name, json!({"type": "string"}), description)
    }

    /// One of a few words.
    pub(super) fn choice(name: &'static str, words: &[&str], description: &str) -> Self {
        Self::new(name, json!({"type": "string", "enum": words}), description)
    }

    pub(super) fn integer(name: &'static str, description: &str) -> Self {
        Self::new(name, json!({"type": "integer"}), description)
    }

    #[cfg(feature = "faults")]
    pub(super) fn number(name: &'static str, description: &str) -> Self {
        Self::new(name, json!({"type": "number"}), description)
    }

    pub(super) fn flag(name: &'static str, description: &str) -> Self {
        Self::new(name, json!({"type": "boolean"}), description)
    }

    pub(super) fn texts(name: &'static str, description: &str) -> Self {
        Self::new(
            name,
            json!({"type": "array", "items": {"type": "string"}}),
            description,
        )
    }

    pub(super) fn choices(name: &'static str, words: &[&str], description: &str) -> Self {
        let items = json!({"type": "string", "enum": words});
        Self::new(name, json!({"type": "array", "items": items}), description)
    }

    /// A list of objects with these fields.
    pub(super) fn objects(name: &'static str, fields: Vec<Parameter>, description: &str) -> Self {
        Self::new(
            name,
            json!({"type": "array", "items": object(fields)}),
            description,
        )
    }

    pub(super) fn optional(mut self) -> Self {
        self.required = false;
        self
    }
}

/// The schema of an object with these fields, in this order.
pub(super) fn object(fields: Vec<Parameter>) -> Value {
    let required: Vec<&str> = fields
        .iter()
        .filter(|field| field.required)
        .map(|field| field.name)
        .collect();
    let required = json!(required);
    let properties: Map<String, Value> = fields
        .into_iter()
        .map(|field| (field.name.to_owned(), field.schema))
        .collect();
    json!({"type": "object", "properties": properties, "required": required})
}

/// The arguments as the tool's own type. An optional argument that is null counts as absent, and `5.0` is an integer.
///
/// # Errors
/// Everything that does not fit: `TypeError` for missing, unknown and ill-typed arguments, `ValueError` when only
/// the choice of a word is wrong.
pub(super) fn read<T: DeserializeOwned>(
    schema: &Value,
    mut arguments: Map<String, Value>,
) -> Result<T, ToolFailure> {
    let mut problems = Problems::default();
    check_object(schema, &mut arguments, "", &mut problems);
    problems.into_result()?;
    serde_json::from_value(Value::Object(arguments)).map_err(|error| ToolFailure {
        name: "TypeError".into(),
        message: error.to_string(),
    })
}

#[derive(Default)]
struct Problems {
    types: Vec<String>,
    values: Vec<String>,
}

impl Problems {
    fn into_result(self) -> Result<(), ToolFailure> {
        let name = match (self.types.is_empty(), self.values.is_empty()) {
            (true, true) => return Ok(()),
            (true, false) => "ValueError",
            (false, _) => "TypeError",
        };
        Err(ToolFailure {
            name: name.into(),
            message: [self.types, self.values].concat().join("; "),
        })
    }
}

/// `place` leads to the object, as in `file_requests[0].`; empty for the arguments themselves.
fn check_object(
    schema: &Value,
    object: &mut Map<String, Value>,
    place: &str,
    problems: &mut Problems,
) {
    let required = |name: &str| {
        list(&schema["required"])
            .iter()
            .any(|required| required == name)
    };
    object.retain(|name, value| !value.is_null() || required(name));
    for name in list(&schema["required"]).iter().filter_map(Value::as_str) {
        if !object.contains_key(name) {
            problems
                .types
                .push(format!("argument '{place}{name}' is missing"));
        }
    }
    for (name, value) in object {
        match schema["properties"].get(name) {
            Some(schema) => check(schema, value, &format!("{place}{name}"), problems),
            None => problems
                .types
                .push(format!("there is no argument '{place}{name}'")),
        }
    }
}

fn check(schema: &Value, value: &mut Value, place: &str, problems: &mut Problems) {
    let kind = schema["type"].as_str().unwrap_or_default();
    if kind == "integer" {
        make_integer(value);
    }
    match (kind, value) {
        ("string", Value::String(word)) => {
            let words = list(&schema["enum"]);
            if !words.is_empty() && !words.iter().any(|allowed| allowed == word) {
                let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
                problems.values.push(format!(
                    "argument '{place}' is '{word}', not one of {}",
                    words.join(", ")
                ));
            }
        }
        ("array", Value::Array(items)) => {
            for (index, item) in items.iter_mut().enumerate() {
                check(
                    &schema["items"],
                    item,
                    &format!("{place}[{index}]"),
                    problems,
                );
            }
        }
        ("object", Value::Object(fields)) => {
            check_object(schema, fields, &format!("{place}."), problems)
        }
        ("integer", Value::Number(number)) if number.is_i64() => (),
        ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => (),
        (_, other) => problems.types.push(format!(
            "argument '{place}' must be of type {kind}, not {}",
            kind_of(other)
        )),
    }
}

/// Models write whole numbers as `5.0` now and then; JSON schema takes that for an integer too.
fn make_integer(value: &mut Value) {
    const EXACT: f64 = 9_007_199_254_740_992.0; // 2^53: beyond it a float does not name one integer
    if let Some(float) = value.as_f64()
        && value.is_f64()
        && float.fract() == 0.0
        && float.abs() < EXACT
    {
        *value = Value::from(float as i64);
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Call {
        query: String,
        mode: Option<String>,
        limit: Option<i64>,
        files: Option<Vec<File>>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct File {
        name: String,
    }

    fn call(arguments: Value) -> Result<Call, ToolFailure> {
        let schema = object(vec![
            Parameter::text("query", "…"),
            Parameter::choice("mode", &["any", "all"], "…").optional(),
            Parameter::integer("limit", "…").optional(),
            Parameter::objects("files", vec![Parameter::text("name", "…")], "…").optional(),
        ]);
        let Value::Object(arguments) = arguments else {
            panic!("a test passes an object")
        };
        read(&schema, arguments)
    }

    #[test]
    fn arguments_that_fit_are_read() {
        let files = Some(vec![File { name: "a".into() }]);
        assert_eq!(
            call(json!({"query": "q", "mode": null, "limit": 5.0, "files": [{"name": "a"}]})),
            Ok(Call {
                query: "q".into(),
                mode: None,
                limit: Some(5),
                files
            })
        );
    }

    #[test]
    fn arguments_that_do_not_fit_are_all_named() {
        let table = [
            (json!({}), "TypeError", "argument 'query' is missing"),
            (
                json!({"query": null}),
                "TypeError",
                "argument 'query' must be of type string, not null",
            ),
            (
                json!({"query": "q", "limit": "5", "extra": 1}),
                "TypeError",
                "argument 'limit' must be of type integer, not string; there is no argument 'extra'",
            ),
            (
                json!({"query": "q", "limit": 1.5}),
                "TypeError",
                "argument 'limit' must be of type integer, not number",
            ),
            (
                json!({"query": "q", "mode": "some"}),
                "ValueError",
                "argument 'mode' is 'some', not one of any, all",
            ),
            (
                json!({"query": "q", "files": [{}, 1]}),
                "TypeError",
                "argument 'files[0].name' is missing; argument 'files[1]' must be of type object, not integer",
            ),
        ];
        for (arguments, name, message) in table {
            let failure = call(arguments).unwrap_err();
            assert_eq!((&*failure.name, failure.message.as_str()), (name, message));
        }
    }
}
