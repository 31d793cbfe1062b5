//! Schemas as Gemini takes them: a part of OpenAPI's, where every schema has one type, and an unknown keyword is an
//! error.

use serde_json::{Map, Value, json};

/// References that are followed one inside the other: schemas of trees refer to themselves.
const MAX_REFERENCES: usize = 5;
/// Schemas of which one may consist when all references are followed.
const MAX_SCHEMAS: usize = 500;

/// The parameters of a tool, or `None` if it has none: an object without properties is refused.
pub(crate) fn parameters(schema: &Value) -> Option<Value> {
    let mut simplified = simplified(schema);
    let properties = simplified.get("properties")?.as_object()?;
    if properties.is_empty() {
        return None;
    }
    if let Some(object) = simplified.as_object_mut() {
        object.shift_remove("nullable");
    }
    Some(simplified)
}

pub(crate) fn simplified(schema: &Value) -> Value {
    let mut simplifier = Simplifier {
        root: schema,
        left: MAX_SCHEMAS,
    };
    Value::Object(simplifier.schema(schema, 0))
}

struct Simplifier<'a> {
    /// What references are looked up in.
    root: &'a Value,
    /// How many more schemas there may be.
    left: usize,
}

/// What holds for one schema beside its type.
#[derive(Default)]
struct About {
    description: Option<String>,
    nullable: bool,
}

impl Simplifier<'_> {
    /// `references`: how many of them lead here.
    fn schema(&mut self, schema: &Value, references: usize) -> Map<String, Value> {
        let mut whole = Map::new();
        let references = self.gather(schema, references, &mut whole);
        let mut about = About {
            description: whole
                .get("description")
                .and_then(Value::as_str)
                .map(str::to_owned),
            nullable: whole.get("nullable") == Some(&json!(true)),
        };
        let types = types(&whole, &mut about);
        let members = members(&whole, &mut about);
        let is_object = types.iter().any(|name| name == "object");
        let simple = match (types.as_slice(), members.as_slice()) {
            ([], [only]) => self.schema(only, references),
            ([], [_, ..]) => self.union(&members, references),
            (_, [_, ..]) if is_object => self.object_of(&whole, &members, references),
            ([], []) => self.typed(guess(&whole), &whole, references, &mut about),
            ([only], _) => self.typed(only, &whole, references, &mut about),
            (several, _) => {
                let each = several.iter().map(|name| {
                    let mut about = About::default();
                    Value::Object(self.typed(name, &whole, references, &mut about))
                });
                Map::from_iter([("anyOf".to_owned(), each.collect())])
            }
        };
        about.onto(simple)
    }

    /// The keywords of a schema, of what it refers to and of what it is made of, the nearest first. Gives how many
    /// references lead to the farthest.
    fn gather(
        &mut self,
        schema: &Value,
        references: usize,
        whole: &mut Map<String, Value>,
    ) -> usize {
        let Some(object) = schema.as_object() else {
            return references;
        };
        if self.left == 0 {
            whole.entry("type").or_insert(json!("object"));
            return references;
        }
        self.left -= 1;
        for (keyword, value) in object {
            match (keyword.as_str(), whole.get_mut(keyword)) {
                ("$ref" | "allOf", _) => (),
                ("properties", Some(Value::Object(known))) => {
                    for (name, property) in value.as_object().into_iter().flatten() {
                        known
                            .entry(name.clone())
                            .or_insert_with(|| property.clone());
                    }
                }
                ("required", Some(Value::Array(known))) => {
                    known.extend(value.as_array().into_iter().flatten().cloned());
                }
                (_, Some(_)) => (),
                (_, None) => drop(whole.insert(keyword.clone(), value.clone())),
            }
        }
        let mut farthest = references;
        if let Some(target) = object.get("$ref").and_then(Value::as_str) {
            let found = target
                .strip_prefix('#')
                .and_then(|pointer| self.root.pointer(pointer));
            match found.filter(|_| references < MAX_REFERENCES) {
                Some(found) => farthest = self.gather(found, references + 1, whole),
                None => drop(whole.entry("type").or_insert(json!("object"))),
            }
        }
        for part in object
            .get("allOf")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            farthest = farthest.max(self.gather(part, references, whole));
        }
        farthest
    }

    fn union(&mut self, members: &[Value], references: usize) -> Map<String, Value> {
        let each = members
            .iter()
            .map(|member| Value::Object(self.schema(member, references)));
        Map::from_iter([("anyOf".to_owned(), each.collect())])
    }

    /// An object that is one of several: it may have the properties of each, and must have those of none.
    fn object_of(
        &mut self,
        whole: &Map<String, Value>,
        members: &[Value],
        references: usize,
    ) -> Map<String, Value> {
        let mut all = whole.clone();
        let mut optional = Map::new();
        for member in members {
            self.gather(member, references, &mut optional);
        }
        if let Some(Value::Object(properties)) = optional.shift_remove("properties") {
            let known = all
                .entry("properties")
                .or_insert_with(|| Value::Object(Map::new()));
            for (name, property) in properties {
                if let Value::Object(known) = known {
                    known.entry(name).or_insert(property);
                }
            }
        }
        self.typed("object", &all, references, &mut About::default())
    }

    /// A schema of one type with the keywords that Gemini knows for it.
    fn typed(
        &mut self,
        name: &str,
        whole: &Map<String, Value>,
        references: usize,
        about: &mut About,
    ) -> Map<String, Value> {
        let mut simple = Map::from_iter([("type".to_owned(), json!(name))]);
        let keywords: &[&str] = match name {
            "object" => {
                self.properties(whole, references, &mut simple);
                &[]
            }
            "array" => {
                let items = self.items(whole, references);
                simple.insert("items".to_owned(), Value::Object(items));
                &["minItems", "maxItems"]
            }
            "string" => &["minLength", "maxLength"],
            "integer" | "number" => &["minimum", "maximum"],
            _ => &[],
        };
        let kept = keywords
            .iter()
            .filter_map(|keyword| Some(((*keyword).to_owned(), whole.get(*keyword)?.clone())));
        simple.extend(kept.filter(|(_, value)| value.is_number()));
        let formats: &[&str] = match name {
            "string" => &["enum", "date-time"],
            "integer" => &["int32", "int64"],
            "number" => &["float", "double"],
            _ => &[],
        };
        let format = whole.get("format").and_then(Value::as_str);
        if let Some(format) = format.filter(|format| formats.contains(format)) {
            simple.insert("format".to_owned(), json!(format));
        }
        let values = values(whole);
        if name == "string" {
            let texts: Vec<&Value> = values
                .into_iter()
                .filter(|value| value.as_str().is_some_and(|text| !text.is_empty()))
                .collect();
            if !texts.is_empty() {
                simple.insert("enum".to_owned(), json!(texts));
            }
        } else if matches!(name, "integer" | "number" | "boolean") {
            // Only texts may be listed.
            about.list(&values);
        }
        simple
    }

    fn properties(
        &mut self,
        whole: &Map<String, Value>,
        references: usize,
        simple: &mut Map<String, Value>,
    ) {
        // An empty list of them is refused.
        let properties = whole.get("properties").and_then(Value::as_object);
        let Some(properties) = properties.filter(|properties| !properties.is_empty()) else {
            return;
        };
        let mut required: Vec<&str> = Vec::new();
        for name in whole
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
        {
            // A name that is no property is refused.
            if properties.contains_key(name) && !required.contains(&name) {
                required.push(name);
            }
        }
        let each = properties.iter().map(|(name, property)| {
            (
                name.clone(),
                Value::Object(self.schema(property, references)),
            )
        });
        simple.insert("properties".to_owned(), Value::Object(each.collect()));
        if !required.is_empty() {
            simple.insert("required".to_owned(), json!(required));
        }
    }

    /// The one schema of all items; tuples have several.
    fn items(&mut self, whole: &Map<String, Value>, references: usize) -> Map<String, Value> {
        let items = whole
            .get("items")
            .filter(|items| items.is_object() || items.is_array())
            .or(whole.get("prefixItems"));
        match items {
            Some(Value::Array(tuple)) => {
                let mut different: Vec<Value> = Vec::new();
                for item in tuple {
                    if !different.contains(item) {
                        different.push(item.clone());
                    }
                }
                match different.as_slice() {
                    [] => self.schema(&json!({}), references),
                    [only] => self.schema(only, references),
                    several => self.union(several, references),
                }
            }
            items => self.schema(items.unwrap_or(&json!({})), references),
        }
    }
}

impl About {
    /// Adds the values that a schema allows to what it says of itself.
    fn list(&mut self, values: &[&Value]) {
        let values: Vec<String> = values
            .iter()
            .filter(|value| !value.is_null())
            .map(ToString::to_string)
            .collect();
        if !values.is_empty() {
            let listed = format!("One of: {}.", values.join(", "));
            self.description = Some(match self.description.take() {
                Some(description) => format!("{description} {listed}"),
                None => listed,
            });
        }
    }

    fn onto(self, mut simple: Map<String, Value>) -> Map<String, Value> {
        if let Some(description) = self.description {
            simple.insert("description".to_owned(), json!(description));
        }
        if self.nullable {
            simple.insert("nullable".to_owned(), json!(true));
        }
        simple
    }
}

/// The types that a schema names, but for null.
fn types(whole: &Map<String, Value>, about: &mut About) -> Vec<String> {
    let named: &[Value] = match whole.get("type") {
        Some(Value::Array(names)) => names,
        Some(name) => std::slice::from_ref(name),
        None => &[],
    };
    about.nullable |=
        named.iter().any(|name| name == "null") || values(whole).contains(&&Value::Null);
    let known = ["object", "array", "string", "integer", "number", "boolean"];
    let named = named.iter().filter_map(Value::as_str);
    let mut types: Vec<String> = named
        .map(str::to_ascii_lowercase)
        .filter(|name| known.contains(&name.as_str()))
        .collect();
    if types.is_empty() && whole.contains_key("properties") {
        types.push("object".to_owned());
    }
    types
}

/// The schemas of which a value has to fit one, but for null.
fn members(whole: &Map<String, Value>, about: &mut About) -> Vec<Value> {
    let union = whole.get("anyOf").or(whole.get("oneOf"));
    let is_null = |member: &&Value| {
        member.get("type") == Some(&json!("null")) || member.get("const") == Some(&Value::Null)
    };
    let (nulls, members): (Vec<&Value>, Vec<&Value>) = union
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .partition(is_null);
    about.nullable |= !nulls.is_empty();
    members.into_iter().cloned().collect()
}

/// The type of a schema that names none: Gemini wants one.
fn guess(whole: &Map<String, Value>) -> &'static str {
    if whole.contains_key("additionalProperties") {
        return "object";
    }
    if whole.contains_key("items") || whole.contains_key("prefixItems") {
        return "array";
    }
    match values(whole).iter().find(|value| !value.is_null()) {
        Some(Value::Bool(_)) => "boolean",
        Some(Value::Number(number)) if number.is_f64() => "number",
        Some(Value::Number(_)) => "integer",
        _ => "string",
    }
}

/// The values that a schema allows; none: any.
fn values(whole: &Map<String, Value>) -> Vec<&Value> {
    match (whole.get("enum"), whole.get("const")) {
        (Some(Value::Array(values)), _) => values.iter().collect(),
        (_, Some(value)) => vec![value],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_that_gemini_does_not_know_are_left_out_and_names_are_no_keywords() {
        let schema = json!({
            "$schema": "http://json-schema.org/draft-07/schema#", "title": "Args", "type": "object",
            "additionalProperties": false, "examples": [{}],
            "properties": {
                "title": {"type": "string", "title": "Title", "default": "x", "format": "uri", "minLength": 1, "pattern": "^a(?=b)"},
                "when": {"type": "string", "format": "date-time", "description": "When."},
                "level": {"type": "integer", "enum": [1, 2], "exclusiveMinimum": 0, "maximum": 2, "description": "How much."},
                "unit": {"enum": ["", "km", "mi", null]},
            },
            "required": ["title", "gone"],
        });
        let expected = json!({
            "type": "object",
            "properties": {
                "title": {"type": "string", "minLength": 1},
                "when": {"type": "string", "format": "date-time", "description": "When."},
                "level": {"type": "integer", "maximum": 2, "description": "How much. One of: 1, 2."},
                "unit": {"type": "string", "enum": ["km", "mi"], "nullable": true},
            },
            "required": ["title"],
        });
        assert_eq!(parameters(&schema), Some(expected));
    }

    #[test]
    fn a_union_with_null_is_nullable() {
        for nullable in [
            json!({"type": ["string", "null"]}),
            json!({"anyOf": [{"type": "string"}, {"type": "null"}]}),
            json!({"oneOf": [{"type": "null"}, {"type": "string"}]}),
            json!({"type": "string", "nullable": true}),
        ] {
            assert_eq!(
                simplified(&nullable),
                json!({"type": "string", "nullable": true}),
                "{nullable}"
            );
        }
        assert_eq!(
            simplified(&json!({"type": ["string", "array", "null"], "description": "d"})),
            json!({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}], "description": "d", "nullable": true})
        );
        assert_eq!(
            simplified(
                &json!({"anyOf": [{"type": "integer"}, {"type": "boolean"}, {"type": "null"}]})
            ),
            json!({"anyOf": [{"type": "integer"}, {"type": "boolean"}], "nullable": true})
        );
    }

    #[test]
    fn references_stand_where_they_are_used() {
        let schema = json!({
            "type": "object",
            "properties": {
                "at": {"$ref": "#/$defs/Point", "description": "Where."},
                "to": {"allOf": [{"$ref": "#/definitions/Named"}, {"$ref": "#/$defs/Point"}]},
                "lost": {"$ref": "#/$defs/Nowhere"},
            },
            "$defs": {"Point": {"type": "object", "title": "Point", "properties": {"x": {"type": "number"}}, "required": ["x"]}},
            "definitions": {"Named": {"properties": {"name": {"type": "string"}}, "required": ["name"]}},
        });
        let expected = json!({
            "type": "object",
            "properties": {
                "at": {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"], "description": "Where."},
                "to": {"type": "object", "properties": {"name": {"type": "string"}, "x": {"type": "number"}}, "required": ["name", "x"]},
                "lost": {"type": "object"},
            },
        });
        assert_eq!(simplified(&schema), expected);
    }

    #[test]
    fn references_without_end_are_cut_off() {
        let tree = json!({
            "$ref": "#/$defs/Node",
            "$defs": {"Node": {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/Node"}}}}},
        });
        let text = simplified(&tree).to_string();
        assert_eq!(text.matches("children").count(), MAX_REFERENCES);
        assert!(text.contains(r#""items":{"type":"object"}"#), "{text}");

        let links: Vec<Value> = (0..50).map(|_| json!({"$ref": "#/$defs/A"})).collect();
        let wide = json!({"anyOf": links, "$defs": {"A": {"anyOf": links}}});
        assert!(simplified(&wide).to_string().len() < 100_000);
        let deep = json!({"allOf": links, "$defs": {"A": {"allOf": links}}});
        assert!(simplified(&deep).to_string().len() < 100_000);
    }

    #[test]
    fn every_schema_has_one_type_and_every_array_its_items() {
        for (schema, expected) in [
            (json!({}), json!({"type": "string"})),
            (json!(true), json!({"type": "string"})),
            (
                json!({"type": "array"}),
                json!({"type": "array", "items": {"type": "string"}}),
            ),
            (
                json!({"prefixItems": [{"type": "number"}, {"type": "number"}], "minItems": 2}),
                json!({"type": "array", "items": {"type": "number"}, "minItems": 2}),
            ),
            (
                json!({"const": "a"}),
                json!({"type": "string", "enum": ["a"]}),
            ),
            (
                json!({"const": 2}),
                json!({"type": "integer", "description": "One of: 2."}),
            ),
            (
                json!({"additionalProperties": {"type": "string"}}),
                json!({"type": "object"}),
            ),
        ] {
            assert_eq!(simplified(&schema), expected, "{schema}");
        }
    }

    #[test]
    fn an_object_of_several_kinds_may_have_the_properties_of_each() {
        let schema = json!({
            "type": "object", "properties": {"kind": {"type": "string"}}, "required": ["kind"],
            "oneOf": [
                {"properties": {"a": {"type": "string"}}, "required": ["a"]},
                {"properties": {"b": {"type": "integer"}}, "required": ["b"]},
            ],
        });
        let expected = json!({
            "type": "object",
            "properties": {"kind": {"type": "string"}, "a": {"type": "string"}, "b": {"type": "integer"}},
            "required": ["kind"],
        });
        assert_eq!(parameters(&schema), Some(expected));
    }

    #[test]
    fn a_tool_without_parameters_has_no_schema() {
        for schema in [
            json!({"type": "object", "properties": {}}),
            json!({"type": "object"}),
            Value::Null,
        ] {
            assert_eq!(parameters(&schema), None);
        }
        let inner = json!({"type": "object", "properties": {}, "required": []});
        let schema = json!({"type": "object", "properties": {"a": inner}});
        let expected = json!({"type": "object", "properties": {"a": {"type": "object"}}});
        assert_eq!(parameters(&schema), Some(expected));
    }
}
