//! `golden.txt` holds sources with what comes of each: `=== name`, the source, `---`, then the schema or the reason why
//! there is none.

use super::*;
use serde_json::json;

fn outcome(source: &str) -> String {
    match python_schema(source, None) {
        Ok(schema) => serde_json::to_string_pretty(&schema).unwrap(),
        Err(bad) => format!("error: {bad}"),
    }
}

#[test]
fn each_source_gives_its_schema_or_its_reason() {
    let cases: Vec<&str> = include_str!("golden.txt").split("=== ").skip(1).collect();
    assert!(cases.len() >= 60, "{}", cases.len());
    let mut wrong = Vec::new();
    for case in cases {
        let (name, rest) = case.split_once('\n').unwrap();
        let (source, expected) = rest.rsplit_once("\n---\n").unwrap();
        let found = outcome(source);
        if found != expected.trim_end() {
            wrong.push(format!("=== {name}\n{source}\n---\n{found}\n"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.concat());
}

#[test]
fn a_schema_of_the_arguments_stands_in_for_annotations_and_docstring() {
    let arguments = json!({
        "title": "Order",
        "type": "object",
        "properties": {
            "item": {"$ref": "#/$defs/Item"},
            "more": {"type": "array", "items": {"$ref": "#/$defs/Item"}, "description": "Others"},
        },
        "required": ["item"],
        "$defs": {"Item": {"type": "object", "title": "Item", "properties": {"name": {"type": "string"}}}},
    });
    let source = "def order(item, more: Unknown = None):\n    return item";
    let schema = python_schema(source, Some(&arguments)).unwrap();
    let item =
        json!({"type": "object", "title": "Item", "properties": {"name": {"type": "string"}}});
    assert_eq!(
        schema,
        json!({
            "name": "order",
            "description": "The order tool",
            "parameters": {
                "type": "object",
                "properties": {
                    "item": item,
                    "more": {"type": "array", "items": item, "description": "Others"},
                },
                "required": ["item"],
            },
        })
    );
    for (arguments, reason) in [
        (json!([]), "not an object"),
        (
            json!({"properties": {"a": {"$ref": "#/$defs/B"}}}),
            "leads nowhere",
        ),
        (
            json!({"properties": {"a": {"$ref": "#/$defs/B"}}, "$defs": {"B": {"properties": {"b": {"$ref": "#/$defs/B"}}}}}),
            "leads back to itself",
        ),
    ] {
        let bad = python_schema(source, Some(&arguments)).unwrap_err();
        assert!(bad.to_string().contains(reason), "{bad}");
    }
}

#[test]
fn hostile_sources_are_refused_and_break_nothing() {
    let deep = |open: &str, close: &str| {
        let text = format!("{}1{}", open.repeat(20_000), close.repeat(20_000));
        format!("def tool(a: {text}):\n    \"\"\"Does.\"\"\"")
    };
    for source in [
        "x".repeat(MOST_BYTES + 1),
        deep("(", ")"),
        deep("[", "]"),
        deep("-", ""),
        format!(
            "def tool(a: {}int):\n    '''Does.'''",
            "str | ".repeat(20_000)
        ),
        format!("def tool(a: {}):\n    '''Does.'''", "'\"".repeat(5_000)),
        "\u{feff}\0def tool(): pass".to_owned(),
        "def tool():\n\t'''Tabs'''\n        pass".to_owned(),
    ] {
        let outcome = python_schema(&source, None);
        assert!(outcome.is_err(), "{outcome:?}");
    }
}
