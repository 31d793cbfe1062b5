//! Schemas to which Anthropic holds a model: made of a few words, and open nowhere.

use serde_json::{Value, json};

/// A schema in that form.
#[derive(Debug, PartialEq)]
pub(crate) struct Closed {
    pub(crate) schema: Value,
    /// Properties that may be left out and unions, at any depth: what a grammar of it grows by.
    pub(crate) optional: usize,
}

/// Words that are taken whatever they say, beside those that are looked into.
const PLAIN: [&str; 7] = [
    "type",
    "enum",
    "const",
    "title",
    "description",
    "default",
    "required",
];

/// The schema with every object closed, or `None` where it says more than can be held to.
pub(crate) fn closed(schema: &Value) -> Option<Closed> {
    let mut closed = Closed {
        schema: schema.clone(),
        optional: 0,
    };
    close(&mut closed.schema, &mut closed.optional)?;
    Some(closed)
}

fn close(schema: &mut Value, optional: &mut usize) -> Option<()> {
    let object = schema.as_object_mut()?;
    let is_object = object.get("type").is_some_and(|kind| kind == "object");
    let required = object
        .get("required")
        .and_then(Value::as_array)
        .map_or(0, Vec::len);
    for (word, inner) in object.iter_mut() {
        match (word.as_str(), inner) {
            ("properties", Value::Object(properties)) => {
                *optional += properties.len().saturating_sub(required);
                for property in properties.values_mut() {
                    close(property, optional)?;
                }
            }
            ("anyOf", Value::Array(options)) => {
                *optional += 1;
                for option in options {
                    close(option, optional)?;
                }
            }
            ("items", items) => close(items, optional)?,
            ("additionalProperties", Value::Bool(false)) => (),
            (plain, _) if PLAIN.contains(&plain) => (),
            _ => return None,
        }
    }
    let says_what = ["type", "anyOf", "enum", "const"];
    if !says_what.iter().any(|word| object.contains_key(*word)) {
        return None;
    }
    if is_object {
        // One whose properties nobody names could only be empty.
        object.get("properties")?;
        object.insert("additionalProperties".to_owned(), json!(false));
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_schemas_are_closed_at_any_depth_and_others_left_alone() {
        let schema = json!({
            "type": "object",
            "properties": {
                "a": {"type": "string", "enum": ["x"]},
                "b": {"type": "array", "items": {"type": "object", "properties": {"c": {"anyOf": [{"type": "string"}, {"type": "integer"}]}}}},
            },
            "required": ["a"],
        });
        let closed_schema = closed(&schema).unwrap();
        assert_eq!(closed_schema.optional, 3);
        let inner = &closed_schema.schema["properties"]["b"]["items"];
        assert_eq!(inner["additionalProperties"], json!(false));
        assert_eq!(closed_schema.schema["additionalProperties"], json!(false));
        for open in [
            json!({"type": "object"}),
            json!({"type": "object", "properties": {}, "additionalProperties": {"type": "string"}}),
            json!({"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}}),
            json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}}),
            json!({"type": "object", "properties": {"a": {}}}),
            json!(true),
        ] {
            assert_eq!(closed(&open), None, "{open}");
        }
    }
}
