//! Schemas in the strict form of OpenAI.

use serde_json::{Value, json};

/// The schema in its strict form: every property required, the optional ones nullable, no others allowed.
pub(crate) fn strict(mut schema: Value) -> Value {
    let Value::Object(object) = &mut schema else {
        return schema;
    };
    if let Some(items) = object.get_mut("items") {
        *items = strict(items.take());
    }
    let required: Vec<Value> = object
        .get("required")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        for (name, property) in properties.iter_mut() {
            *property = strict(property.take());
            if !required.iter().any(|required| required == name.as_str()) {
                make_nullable(property);
            }
        }
        let names: Vec<Value> = properties.keys().map(|name| json!(name)).collect();
        object.insert("required".to_owned(), Value::Array(names));
        object.insert("additionalProperties".to_owned(), json!(false));
    }
    schema
}

fn make_nullable(property: &mut Value) {
    let Some(object) = property.as_object_mut() else {
        return;
    };
    match object.get_mut("type") {
        Some(Value::String(name)) => {
            let both = json!([name, "null"]);
            object.insert("type".to_owned(), both);
        }
        Some(Value::Array(names)) if !names.contains(&json!("null")) => names.push(json!("null")),
        _ => (),
    }
    if let Some(Value::Array(values)) = object.get_mut("enum")
        && !values.contains(&Value::Null)
    {
        values.push(Value::Null);
    }
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
        assert_eq!(strict(schema), expected);
    }
}
