//! Schemas as Anthropic takes them: an object, with nothing that may be null.

use super::object::object;
use serde_json::{Value, json};

/// The schema of a tool's arguments.
pub(crate) fn non_null(parameters: &Value) -> Value {
    without_null(object(parameters).into_owned())
}

/// What may be null is what may be left out: the other half of each union with null, at any depth.
fn without_null(mut schema: Value) -> Value {
    let Value::Object(object) = &mut schema else {
        return schema;
    };
    for (key, inner) in object.iter_mut() {
        match (key.as_str(), inner) {
            (
                "properties" | "patternProperties" | "$defs" | "definitions",
                Value::Object(named),
            ) => {
                named.values_mut().for_each(simplify);
            }
            ("anyOf" | "oneOf" | "allOf" | "prefixItems", Value::Array(several)) => {
                several.iter_mut().for_each(simplify);
            }
            ("items" | "additionalProperties", one) => simplify(one),
            _ => (),
        }
    }
    let mut may_be_null = false;
    if let Some(Value::Array(names)) = object.get_mut("type") {
        may_be_null |= drop_nulls(names, |name| name == "null");
        if let [only] = names.as_mut_slice() {
            let only = only.take();
            object.insert("type".to_owned(), only);
        }
    }
    for union in ["anyOf", "oneOf"] {
        let Some(Value::Array(options)) = object.get_mut(union) else {
            continue;
        };
        let had_null = drop_nulls(options, |option| option.get("type") == Some(&json!("null")));
        may_be_null |= had_null;
        if let ([Value::Object(only)], true) = (options.as_mut_slice(), had_null) {
            let only = std::mem::take(only);
            object.shift_remove(union);
            for (key, value) in only {
                object.entry(key).or_insert(value);
            }
        }
    }
    if may_be_null {
        if let Some(Value::Array(values)) = object.get_mut("enum") {
            drop_nulls(values, Value::is_null);
        }
        if object.get("default").is_some_and(Value::is_null) {
            object.shift_remove("default");
        }
    }
    schema
}

fn simplify(schema: &mut Value) {
    *schema = without_null(schema.take());
}

/// Takes the nulls out unless there is nothing else. Whether there were any.
fn drop_nulls(values: &mut Vec<Value>, is_null: impl Fn(&Value) -> bool) -> bool {
    let others = values.iter().filter(|value| !is_null(value)).count();
    let mixed = others > 0 && others < values.len();
    if mixed {
        values.retain(|value| !is_null(value));
    }
    mixed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unions_with_null_become_their_other_half_at_any_depth() {
        let schema = json!({
            "type": "object",
            "properties": {
                "a": {"anyOf": [{"type": "string", "description": "inner"}, {"type": "null"}], "default": null, "description": "outer"},
                "b": {"type": ["integer", "null"], "enum": [1, 2, null]},
                "c": {"type": "array", "items": {"oneOf": [{"type": "null"}, {"type": "string"}, {"type": "number"}]}},
                "type": {"anyOf": [{"type": "object", "properties": {"x": {"type": ["string", "null"]}}}, {"type": "null"}]},
                "nothing": {"type": "null"},
                "one": {"anyOf": [{"type": "string"}]},
            },
            "required": ["a"],
        });
        let expected = json!({
            "type": "object",
            "properties": {
                "a": {"description": "outer", "type": "string"},
                "b": {"type": "integer", "enum": [1, 2]},
                "c": {"type": "array", "items": {"oneOf": [{"type": "string"}, {"type": "number"}]}},
                "type": {"type": "object", "properties": {"x": {"type": "string"}}},
                "nothing": {"type": "null"},
                "one": {"anyOf": [{"type": "string"}]},
            },
            "required": ["a"],
        });
        assert_eq!(non_null(&schema), expected);
    }

    #[test]
    fn an_input_is_an_object_whatever_the_tool_says() {
        for odd in [
            json!({}),
            json!(null),
            json!(true),
            json!({"type": ["object", "null"]}),
        ] {
            assert_eq!(non_null(&odd), json!({"type": "object"}), "{odd}");
        }
    }
}
