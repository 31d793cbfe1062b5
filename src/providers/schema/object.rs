//! The arguments of a function as one object: every vendor refuses a schema that is anything else at its top.

use serde_json::{Map, Value, json};
use std::borrow::Cow;

/// Says at the top of a schema what the whole may be or not be.
const ALTERNATIVES: [&str; 5] = ["allOf", "anyOf", "oneOf", "enum", "not"];

/// The schema as an object. One that is several things has the properties of each, and must have those that all of them
/// require; what the choice among them said beyond that is lost.
pub(crate) fn object(parameters: &Value) -> Cow<'_, Value> {
    let is_one = |schema: &Map<String, Value>| {
        let is_object = schema.get("type").is_some_and(|kind| kind == "object");
        is_object && !ALTERNATIVES.iter().any(|word| schema.contains_key(*word))
    };
    match parameters {
        Value::Object(schema) if is_one(schema) => Cow::Borrowed(parameters),
        Value::Object(schema) => Cow::Owned(Value::Object(joined(schema.clone(), parameters))),
        _ => Cow::Owned(json!({"type": "object"})),
    }
}

fn joined(mut schema: Map<String, Value>, root: &Value) -> Map<String, Value> {
    for word in ALTERNATIVES {
        let Some(Value::Array(members)) = schema.shift_remove(word) else {
            continue;
        };
        let members: Vec<&Value> = match word {
            "enum" | "not" => Vec::new(),
            _ => members
                .iter()
                .map(|member| resolved(member, root))
                .collect(),
        };
        join(&mut schema, &members, word == "allOf");
    }
    schema.insert("type".to_owned(), json!("object"));
    schema
}

/// What a reference refers to.
fn resolved<'a>(member: &'a Value, root: &'a Value) -> &'a Value {
    let target = member.get("$ref").and_then(Value::as_str);
    let pointer = target.and_then(|target| target.strip_prefix('#'));
    let found = pointer.and_then(|pointer| root.pointer(pointer));
    found.unwrap_or(member)
}

fn join(schema: &mut Map<String, Value>, members: &[&Value], all: bool) {
    let required: Vec<&[Value]> = members.iter().map(|member| required(member)).collect();
    for member in members {
        let Some(Value::Object(more)) = member.get("properties") else {
            continue;
        };
        let properties = schema.entry("properties").or_insert(json!({}));
        for (name, property) in more {
            if let Value::Object(known) = properties {
                known.entry(name).or_insert_with(|| property.clone());
            }
        }
    }
    let needed = required.iter().copied().flatten().filter(|name| {
        all || required
            .iter()
            .all(|others| others.iter().any(|other| other == *name))
    });
    for name in needed {
        let list = schema.entry("required").or_insert(json!([]));
        if let Value::Array(list) = list
            && !list.contains(name)
        {
            list.push(name.clone());
        }
    }
}

fn required(member: &Value) -> &[Value] {
    let list = member.get("required").and_then(Value::as_array);
    list.map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_stays_as_it_is() {
        let schema = json!({"type": "object", "properties": {"a": {"anyOf": []}}});
        assert!(matches!(object(&schema), Cow::Borrowed(same) if *same == schema));
    }

    #[test]
    fn what_is_no_object_becomes_one() {
        for odd in [
            json!({}),
            json!(null),
            json!(true),
            json!({"type": ["object", "null"]}),
            json!({"not": {"type": "string"}}),
        ] {
            assert_eq!(*object(&odd), json!({"type": "object"}), "{odd}");
        }
    }

    #[test]
    fn alternatives_are_joined() {
        let part = |name: &str| json!({"properties": {name: {"type": "string"}, "id": {}}, "required": ["id", name]});
        let one_of =
            json!({"oneOf": [part("a"), {"$ref": "#/$defs/b"}], "$defs": {"b": part("b")}});
        let expected = json!({
            "$defs": {"b": part("b")},
            "properties": {"a": {"type": "string"}, "id": {}, "b": {"type": "string"}},
            "required": ["id"],
            "type": "object",
        });
        assert_eq!(*object(&one_of), expected);
        let all_of = json!({"type": "object", "required": ["a"], "allOf": [part("a"), part("b")]});
        let required = &object(&all_of)["required"];
        assert_eq!(required, &json!(["a", "id", "b"]));
    }
}
