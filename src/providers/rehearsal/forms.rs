//! Values that fit a schema, made up from one text: what the rehearsal model calls with when it has to call.

use serde_json::{Map, Value, json};

/// How deep a schema is followed. One that goes on is one that refers to itself.
const MOST_DEPTH: usize = 12;

/// A value of this schema, as far as its usual words go. The text is told wherever one fits; what may be left out is.
pub(super) fn filled(schema: &Value, text: &str) -> Value {
    Form { root: schema, text }.value(schema, MOST_DEPTH)
}

struct Form<'a> {
    root: &'a Value,
    text: &'a str,
}

impl Form<'_> {
    fn value(&self, schema: &Value, depth: usize) -> Value {
        let Some(depth) = depth.checked_sub(1) else {
            return Value::Null;
        };
        let word = |word: &str| schema.get(word);
        if let Some(path) = word("$ref").and_then(Value::as_str) {
            let target = path
                .strip_prefix('#')
                .and_then(|path| self.root.pointer(path));
            return target.map_or(Value::Null, |target| self.value(target, depth));
        }
        let listed = word("enum").and_then(|values| values.get(0));
        if let Some(fixed) = word("const").or(word("default")).or(listed) {
            return fixed.clone();
        }
        for union in ["anyOf", "oneOf", "allOf"] {
            let options = word(union).and_then(Value::as_array);
            let is_null = |option: &&Value| option["type"] == "null";
            if let Some(option) = options.and_then(|all| all.iter().find(|option| !is_null(option)))
            {
                return self.value(option, depth);
            }
        }
        let number = |word: &str| schema.get(word).and_then(Value::as_f64);
        match kind(schema) {
            "string" => {
                let most = number("maxLength").map_or(usize::MAX, |most| most as usize);
                Value::from(self.text.chars().take(most).collect::<String>())
            }
            "boolean" => json!(false),
            "integer" => json!(self.least(&number).ceil() as i64),
            "number" => json!(self.least(&number)),
            "array" => {
                let count = number("minItems").unwrap_or(0.0).min(100.0) as usize;
                let item = word("items").map_or(Value::Null, |items| self.value(items, depth));
                Value::from(vec![item; count])
            }
            "null" => Value::Null,
            _ => self.object(schema, depth),
        }
    }

    fn object(&self, schema: &Value, depth: usize) -> Value {
        let properties = schema.get("properties").and_then(Value::as_object);
        let required = schema.get("required").and_then(Value::as_array);
        let needs =
            |name: &str| required.is_none_or(|names| names.iter().any(|other| other == name));
        let mut object = Map::new();
        for (name, property) in properties
            .into_iter()
            .flatten()
            .filter(|(name, _)| needs(name))
        {
            object.insert(name.clone(), self.value(property, depth));
        }
        Value::Object(object)
    }

    /// The number nearest to 0 that the bounds allow.
    fn least(&self, number: &impl Fn(&str) -> Option<f64>) -> f64 {
        let above = number("minimum").or(number("exclusiveMinimum").map(|bound| bound + 1.0));
        let below = number("maximum").or(number("exclusiveMaximum").map(|bound| bound - 1.0));
        0.0_f64
            .max(above.unwrap_or(f64::MIN))
            .min(below.unwrap_or(f64::MAX))
    }
}

/// The first kind of value that is not null; an object where nothing is said.
fn kind(schema: &Value) -> &str {
    match schema.get("type") {
        Some(Value::String(kind)) => kind,
        Some(Value::Array(kinds)) => {
            let mut kinds = kinds.iter().filter_map(Value::as_str);
            kinds.find(|kind| *kind != "null").unwrap_or("null")
        }
        _ => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_up_fits_the_schema() {
        for schema in [
            json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer", "minimum": 3}}}),
            json!({"type": "object", "properties": {
                "kind": {"enum": ["x", "y"]},
                "short": {"type": "string", "maxLength": 3},
                "some": {"type": "array", "items": {"type": "number", "exclusiveMaximum": -2}, "minItems": 2},
                "maybe": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/Point"}]},
                "either": {"type": ["null", "boolean"]},
            }, "required": ["kind", "short", "some", "maybe", "either"], "additionalProperties": false,
            "$defs": {"Point": {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]}}}),
            json!({}),
        ] {
            let value = filled(&schema, "hello");
            assert!(
                value.is_object() && jsonschema::is_valid(&schema, &value),
                "{value}"
            );
        }
        let endless = json!({"type": "object", "properties": {"again": {"$ref": "#"}}});
        assert!(filled(&endless, "x").is_object());
        let optional = json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}, "required": ["a"]});
        assert_eq!(filled(&optional, "hi"), json!({"a": "hi"}));
    }
}
