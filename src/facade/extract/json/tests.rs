use super::*;
use serde::Deserialize;
use std::num::NonZeroU64;

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "only whether it can be read matters")]
struct Probe {
    name: String,
    number: Option<u64>,
    window: Option<NonZeroU64>,
    share: Option<f64>,
    flag: Option<bool>,
    list: Option<Vec<String>>,
    map: Option<serde_json::Map<String, Value>>,
    inner: Option<Inner>,
    word: Option<Word>,
    part: Option<Part>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only whether it can be read matters")]
struct Inner {
    a: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Red,
    Green,
    Blue,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[expect(dead_code, reason = "only whether it can be read matters")]
enum Part {
    Text { text: String },
    Image { url: String },
}

fn told(body: &str) -> String {
    read::<Probe>(body.as_bytes()).unwrap_err().to_string()
}

#[test]
fn each_wrong_value_has_its_type_its_place_and_itself() {
    let cases = [
        (r#"{"name": 7}"#, "string_type", "'name'", "7"),
        (r#"{"name": null}"#, "string_type", "'name'", "None"),
        (r#"{"name": ["a"]}"#, "string_type", "'name'", "['a']"),
        (r#"{"number": "x"}"#, "int_parsing", "'number'", "'x'"),
        (r#"{"number": 1.5}"#, "int_from_float", "'number'", "1.5"),
        (r#"{"number": true}"#, "int_type", "'number'", "True"),
        (
            r#"{"number": -1}"#,
            "greater_than_equal",
            "'number'",
            "-1, 'ctx': {'ge': 0}",
        ),
        (
            r#"{"window": 0}"#,
            "greater_than",
            "'window'",
            "0, 'ctx': {'gt': 0}",
        ),
        (r#"{"window": "x"}"#, "int_parsing", "'window'", "'x'"),
        (r#"{"share": "x"}"#, "float_parsing", "'share'", "'x'"),
        (r#"{"share": {}}"#, "float_type", "'share'", "{}"),
        (
            r#"{"flag": "perhaps"}"#,
            "bool_parsing",
            "'flag'",
            "'perhaps'",
        ),
        (r#"{"flag": 7}"#, "bool_type", "'flag'", "7"),
        (r#"{"list": "a"}"#, "list_type", "'list'", "'a'"),
        (r#"{"list": ["a", 7]}"#, "string_type", "'list', 1", "7"),
        (r#"{"map": []}"#, "dict_type", "'map'", "[]"),
        (
            r#"{"inner": "x"}"#,
            "model_attributes_type",
            "'inner'",
            "'x'",
        ),
        (r#"{"inner": {}}"#, "missing", "'inner', 'a'", "{}"),
        (
            r#"{"inner": {"a": 1, "b": 2}}"#,
            "extra_forbidden",
            "'inner', 'b'",
            "2",
        ),
        (
            r#"{"word": "pink"}"#,
            "literal_error",
            "'word'",
            "'pink', 'ctx': {'expected': \"'red', 'green' or 'blue'\"}",
        ),
        (r#"{"word": 7}"#, "literal_error", "'word'", "7"),
        (
            r#"{"part": {"type": "sound"}}"#,
            "literal_error",
            "'part', 'type'",
            "'sound', 'ctx': {'expected': \"'text' or 'image'\"}",
        ),
        (
            r#"{"part": {"type": "text", "text": 7}}"#,
            "string_type",
            "'part', 'text'",
            "7",
        ),
        (
            r#"{"part": {"type": "text"}}"#,
            "missing",
            "'part', 'text'",
            "{'type': 'text'}",
        ),
        (r#"{"number": 1}"#, "missing", "'name'", "{'number': 1}"),
    ];
    for (body, kind, place, input) in cases {
        let told = told(body);
        let start = format!("{{'type': '{kind}', 'loc': ('body', {place}), 'msg': ");
        let end = format!(", 'input': {input}}}");
        assert!(
            told.starts_with(&start) && told.ends_with(&end),
            "{body}: {told}"
        );
    }
}

#[test]
fn a_body_that_is_no_object_is_told_whole() {
    for (body, input) in [("[1, \"x\"]", "[1, 'x']"), ("7", "7"), ("\"x\"", "'x'")] {
        let told = told(body);
        assert!(
            told.starts_with("{'type': 'model_attributes_type', 'loc': ('body',), ")
                && told.ends_with(&format!("'input': {input}}}")),
            "{told}"
        );
    }
    for nothing in ["", "  ", "null"] {
        let told = told(nothing);
        assert!(
            told.starts_with("{'type': 'missing', 'loc': ('body',), "),
            "{told}"
        );
    }
}

#[test]
fn broken_json_tells_how_many_characters_were_right() {
    let cases = [
        ("{not json", 1),
        ("{\"name\": \"é\", }", 14),
        ("{\"name\": ", 9),
        ("{\n\"name\": \"x\",\nz", 15),
        ("{\"name\": \"x\"} more", 14),
        ("{\"name\": 7, \"flag\": tru}", 23),
        ("[1, }", 4),
    ];
    for (body, offset) in cases {
        let told = told(body);
        let start = format!("{{'type': 'json_invalid', 'loc': ('body', {offset}), 'msg': ");
        assert!(told.starts_with(&start), "{body}: {told}");
        assert!(told.contains("'input': {}, 'ctx': {'error': "), "{told}");
    }
}

#[derive(Debug, Deserialize, PartialEq)]
struct Outer {
    list: Vec<Twofold>,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Twofold {
    #[serde(alias = "system")]
    override_system: Option<String>,
    number: Option<u64>,
}

#[test]
fn a_name_that_stands_twice_has_its_last_value_and_two_names_of_a_field_may_not_differ() {
    let read = |inner: &str| super::read::<Outer>(format!(r#"{{"list": [{inner}]}}"#).as_bytes());
    let text = |inner: &str| read(inner).unwrap().list.remove(0);
    assert_eq!(text(r#"{"number": 1, "number": 2}"#).number, Some(2));
    for same in [
        r#"{"system": "a", "override_system": "a"}"#,
        r#"{"override_system": "b", "system": "a", "override_system": "a"}"#,
        r#"{"number": 1, "system": "a", "number": 2, "override_system": "a"}"#,
    ] {
        assert_eq!(text(same).override_system.as_deref(), Some("a"), "{same}");
    }
    let error = read(r#"{"system": "a", "override_system": "b"}"#).unwrap_err();
    let error = error.to_string();
    assert!(
        error.starts_with("{'type': 'value_error', 'loc': ('body', 'list', 0, 'system'), 'msg': ")
            && error.contains("'input': 'a'"),
        "{error}"
    );
    let error = read(r#"{"number": 1, "number": "x"}"#).unwrap_err();
    assert!(
        error.to_string().contains("('body', 'list', 0, 'number')"),
        "{error}"
    );
}
