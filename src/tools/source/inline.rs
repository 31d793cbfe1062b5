//! A JSON schema without references: what they point to stands in their place.

use super::BadSource;
use serde_json::{Map, Value};

/// Levels of references within each other; a schema that needs more is most likely about itself.
const DEEPEST: usize = 32;

/// A schema of arguments as the `parameters` of a tool.
///
/// # Errors
/// It is no object's schema, or a reference leads nowhere or back to itself.
pub(super) fn parameters(schema: &Value) -> Result<Value, BadSource> {
    let fields = schema
        .as_object()
        .ok_or_else(|| BadSource::new("args_json_schema is not an object"))?;
    let definitions = ["$defs", "definitions"];
    let whole = inlined(schema, schema, 0)?;
    let mut parameters = Map::new();
    let (properties, required) = (whole.get("properties"), whole.get("required"));
    parameters.insert("type".to_owned(), Value::from("object"));
    let none = || Value::Object(Map::new());
    parameters.insert(
        "properties".to_owned(),
        properties.cloned().unwrap_or_else(none),
    );
    parameters.insert(
        "required".to_owned(),
        required
            .cloned()
            .unwrap_or_else(|| Value::Array(Vec::new())),
    );
    let kept = |name: &str| {
        !definitions.contains(&name) && !["title", "description", "$schema"].contains(&name)
    };
    for name in fields.keys().filter(|name| kept(name)) {
        if let Some(value) = whole.get(name).filter(|_| !parameters.contains_key(name)) {
            parameters.insert(name.clone(), value.clone());
        }
    }
    Ok(Value::Object(parameters))
}

fn inlined(value: &Value, root: &Value, depth: usize) -> Result<Value, BadSource> {
    match value {
        Value::Array(items) => {
            let items = items.iter().map(|item| inlined(item, root, depth));
            Ok(Value::Array(items.collect::<Result<_, _>>()?))
        }
        Value::Object(fields) => {
            let mut whole = Map::new();
            if let Some(Value::String(to)) = fields.get("$ref") {
                if depth == DEEPEST {
                    return Err(BadSource::new(format!(
                        "the reference '{to}' leads back to itself: a schema about itself cannot be shown to a model"
                    )));
                }
                let target = to
                    .strip_prefix('#')
                    .and_then(|pointer| root.pointer(pointer))
                    .ok_or_else(|| BadSource::new(format!("the reference '{to}' leads nowhere")))?;
                if let Value::Object(target) = inlined(target, root, depth + 1)? {
                    whole.extend(target);
                }
            }
            for (name, field) in fields {
                let kept = !matches!(name.as_str(), "$ref" | "$defs" | "definitions");
                if kept {
                    whole.insert(name.clone(), inlined(field, root, depth)?);
                }
            }
            Ok(Value::Object(whole))
        }
        plain => Ok(plain.clone()),
    }
}
