//! Schemas in the strict form of OpenAI.

use serde_json::{Map, Value, json};

/// Words that are taken whatever they say, beside those that are looked into.
const PLAIN: [&str; 17] = [
    "type",
    "enum",
    "const",
    "title",
    "description",
    "required",
    "pattern",
    "minLength",
    "maxLength",
    "multipleOf",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "minItems",
    "maxItems",
    "$ref",
];
/// Words that say nothing of what is valid. They are left out: some of them are refused.
const REMARKS: [&str; 8] = [
    "$schema",
    "$id",
    "$comment",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
];
const FORMATS: [&str; 9] = [
    "date-time",
    "time",
    "date",
    "duration",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "uuid",
];

/// The schema in its strict form: every property required, the optional ones nullable, no others allowed. `None` where
/// it says what that form cannot: a model cannot be held to it.
pub(crate) fn strict(schema: &Value) -> Option<Value> {
    let object = schema.as_object()?;
    let mut strict = Map::new();
    for (word, inner) in object {
        let inner = match (word.as_str(), inner) {
            (remark, _) if REMARKS.contains(&remark) => continue,
            ("format", format) if !FORMATS.iter().any(|known| format == known) => continue,
            ("format", format) => format.clone(),
            ("properties", Value::Object(properties)) => {
                Value::Object(all_required(properties, required(object))?)
            }
            ("$defs" | "definitions", Value::Object(named)) => {
                let each = named.iter();
                let each = each.map(|(name, inner)| Some((name.clone(), self::strict(inner)?)));
                Value::Object(each.collect::<Option<_>>()?)
            }
            ("anyOf", Value::Array(options)) => {
                options.iter().map(self::strict).collect::<Option<_>>()?
            }
            ("items", items) => self::strict(items)?,
            ("additionalProperties", Value::Bool(false)) => continue,
            (plain, inner) if PLAIN.contains(&plain) => inner.clone(),
            _ => return None,
        };
        strict.insert(word.clone(), inner);
    }
    let says_what = ["type", "anyOf", "enum", "const", "$ref"];
    if !says_what.iter().any(|word| strict.contains_key(*word)) {
        return None;
    }
    if let Some(Value::Object(properties)) = strict.get("properties") {
        let names: Vec<Value> = properties.keys().map(|name| json!(name)).collect();
        strict.insert("required".to_owned(), Value::Array(names));
        strict.insert("additionalProperties".to_owned(), json!(false));
    } else if may_be_object(&strict) {
        // One whose properties nobody names could only be empty.
        return None;
    }
    Some(Value::Object(strict))
}

fn required(object: &Map<String, Value>) -> &[Value] {
    let list = object.get("required").and_then(Value::as_array);
    list.map_or(&[], Vec::as_slice)
}

fn may_be_object(schema: &Map<String, Value>) -> bool {
    match schema.get("type") {
        Some(Value::Array(names)) => names.iter().any(|name| name == "object"),
        name => name.is_some_and(|name| name == "object"),
    }
}

fn all_required(properties: &Map<String, Value>, required: &[Value]) -> Option<Map<String, Value>> {
    let each = properties.iter().map(|(name, property)| {
        let property = strict(property)?;
        let is_optional = !required.iter().any(|required| required == name);
        let property = if is_optional {
            nullable(property)
        } else {
            property
        };
        Some((name.clone(), property))
    });
    each.collect()
}

fn nullable(mut property: Value) -> Value {
    let Some(object) = property.as_object_mut() else {
        return property;
    };
    if let Some(Value::Array(options)) = object.get_mut("anyOf") {
        let nothing = json!({"type": "null"});
        if !options.contains(&nothing) {
            options.push(nothing);
        }
        return property;
    }
    match object.get_mut("type") {
        Some(Value::Array(names)) if names.iter().any(|name| name == "null") => (),
        Some(Value::Array(names)) => names.push(json!("null")),
        Some(name) => *name = json!([name, "null"]),
        None => return json!({"anyOf": [property, {"type": "null"}]}),
    }
    if let Some(Value::Array(values)) = object.get_mut("enum")
        && !values.contains(&Value::Null)
    {
        values.push(Value::Null);
    }
    property
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strict_tools_require_everything_and_let_the_optional_be_null() {
        let schema = json!({
            "type": "object",
            "properties": {"a": {"type": "string"}, "b": {"type": "string", "enum": ["x"]}},
            "required": ["a"],
        });
        let expected = json!({
            "type": "object",
            "properties": {"a": {"type": "string"}, "b": {"type": ["string", "null"], "enum": ["x", null]}},
            "required": ["a", "b"],
            "additionalProperties": false,
        });
        assert_eq!(strict(&schema), Some(expected));
    }

    #[test]
    fn it_holds_at_any_depth() {
        let inner =
            json!({"type": "object", "properties": {"x": {"type": "number", "default": 1}}});
        let closed = json!({
            "type": "object",
            "properties": {"x": {"type": ["number", "null"]}},
            "required": ["x"],
            "additionalProperties": false,
        });
        let schema = json!({
            "type": "object",
            "$defs": {"inner": inner},
            "properties": {
                "list": {"type": "array", "items": inner},
                "either": {"anyOf": [inner, {"type": "string", "format": "uri"}]},
                "other": {"$ref": "#/$defs/inner"},
            },
            "required": ["list"],
        });
        let expected = json!({
            "type": "object",
            "$defs": {"inner": closed},
            "properties": {
                "list": {"type": "array", "items": closed},
                "either": {"anyOf": [closed, {"type": "string"}, {"type": "null"}]},
                "other": {"anyOf": [{"$ref": "#/$defs/inner"}, {"type": "null"}]},
            },
            "required": ["list", "either", "other"],
            "additionalProperties": false,
        });
        assert_eq!(strict(&schema), Some(expected));
    }

    #[test]
    fn what_the_form_cannot_say_has_none() {
        for property in [
            json!({}),
            json!({"type": "object"}),
            json!({"type": "object", "properties": {}, "additionalProperties": true}),
            json!({"type": "object", "additionalProperties": {"type": "string"}}),
            json!({"oneOf": [{"type": "string"}]}),
            json!({"type": "array", "items": {}}),
            json!({"type": "string", "not": {"const": "x"}}),
        ] {
            let schema = json!({"type": "object", "properties": {"a": property}});
            assert_eq!(strict(&schema), None, "{schema}");
        }
    }
}
