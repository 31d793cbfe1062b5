//! What the checks of all dialects are made of. A rule that is broken is an error that names it.

use super::{Answer, Dialect, Request};
use axum::http::HeaderMap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// The rule that is broken, in words.
pub(crate) type Verdict = Result<(), String>;

/// Leaves the check with the rule unless it holds.
macro_rules! must {
    ($holds:expr, $($rule:tt)+) => {
        if !$holds {
            return Err(format!($($rule)+));
        }
    };
}
pub(crate) use must;

/// The items of a list; of anything else, none.
pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

pub(crate) fn has(value: &Value, field: &str) -> bool {
    value.get(field).is_some()
}

/// An object with no other fields than these.
pub(crate) fn only(value: &Value, fields: &[&str]) -> Verdict {
    must!(value.is_object(), "an object is expected: {value}");
    for field in value
        .as_object()
        .into_iter()
        .flat_map(|object| object.keys())
    {
        must!(
            fields.contains(&field.as_str()),
            "unknown field '{field}' in {value}"
        );
    }
    Ok(())
}

/// One of these words, or nothing.
pub(crate) fn word(value: &Value, field: &str, words: &[&str]) -> Verdict {
    let given = &value[field];
    let known = given.as_str().is_some_and(|given| words.contains(&given));
    must!(
        given.is_null() || known,
        "{field} is {given}, not one of {words:?}"
    );
    Ok(())
}

/// A number from `least` to `most`, or nothing.
pub(crate) fn number(value: &Value, field: &str, least: f64, most: f64) -> Verdict {
    let given = &value[field];
    let fits = given
        .as_f64()
        .is_some_and(|given| (least..=most).contains(&given));
    must!(
        given.is_null() || fits,
        "{field} is {given}, not from {least} to {most}"
    );
    Ok(())
}

/// A text with something in it.
pub(crate) fn filled(value: &Value, field: &str) -> Verdict {
    let text = value[field].as_str().unwrap_or_default();
    must!(!text.trim().is_empty(), "no {field} in {value}");
    Ok(())
}

/// Letters, digits, `_` and `-`, at most so many.
pub(crate) fn identifier(value: &Value, field: &str, most: usize) -> Verdict {
    let name = value[field].as_str().unwrap_or_default();
    let plain = name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    must!(
        plain && (1..=most).contains(&name.len()),
        "{field} '{name}' does not fit"
    );
    Ok(())
}

pub(crate) fn base64(value: &Value, field: &str) -> Verdict {
    let bytes = value[field].as_str().map(|text| STANDARD.decode(text));
    must!(
        matches!(&bytes, Some(Ok(bytes)) if !bytes.is_empty()),
        "{field} is no base64"
    );
    Ok(())
}

/// The names of tools: no two are the same, and each schema is one of an object.
pub(crate) fn tools<'a>(
    tools: &[&'a Value],
    schema: &str,
    most: usize,
) -> Result<Vec<&'a str>, String> {
    let mut names = Vec::new();
    for tool in tools {
        identifier(tool, "name", most)?;
        let name = tool["name"].as_str().unwrap_or_default();
        must!(!names.contains(&name), "two tools are called '{name}'");
        names.push(name);
        let parameters = &tool[schema];
        must!(
            parameters["type"] == "object",
            "{schema} of '{name}' is no object"
        );
        must!(
            jsonschema::meta::is_valid(parameters),
            "{schema} of '{name}' is no JSON Schema"
        );
        for required in list(&parameters["required"]) {
            let field = required.as_str().unwrap_or_default();
            must!(
                has(&parameters["properties"], field),
                "'{name}' requires '{field}' and has none"
            );
        }
    }
    Ok(names)
}

/// A schema that a model can be held to: no object takes other fields than it names. `full` is OpenAI's form: no field may
/// be missing, and there are words that it does not know.
pub(crate) fn closed(schema: &Value, full: bool) -> Verdict {
    let properties = schema["properties"].as_object();
    if schema["type"] == "object" || properties.is_some() {
        must!(
            schema["additionalProperties"] == false,
            "a strict schema that is open: {schema}"
        );
        let required = list(&schema["required"]);
        let all = properties.is_none_or(|properties| {
            properties
                .keys()
                .all(|name| required.iter().any(|required| required == name))
        });
        must!(
            all || !full,
            "a strict schema that does not require all: {schema}"
        );
    }
    let says = ["type", "anyOf", "enum", "const", "$ref"];
    must!(
        says.iter().any(|word| has(schema, word)),
        "a strict schema that says nothing: {schema}"
    );
    for unknown in [
        "allOf",
        "oneOf",
        "not",
        "default",
        "patternProperties",
        "if",
    ] {
        must!(
            !has(schema, unknown) || !full,
            "'{unknown}' in a strict schema: {schema}"
        );
    }
    let named = schema["$defs"].as_object().into_iter().chain(properties);
    let inner = named.flat_map(|named| named.values());
    let mut inner = inner
        .chain(list(&schema["anyOf"]))
        .chain(schema.get("items"));
    inner.try_for_each(|schema| closed(schema, full))
}

/// JSON over HTTP.
pub(crate) fn json(request: &Request) -> Verdict {
    must!(
        request.header("content-type") == Some("application/json"),
        "the content type is not JSON"
    );
    must!(request.body.is_object(), "the body is no JSON object");
    Ok(())
}

// ── that a check can fail

/// A change that breaks a rule, and a word of the rule.
pub(crate) type Breach = (fn(&mut Value), &'static str);

pub(crate) fn request(path: &str, headers: &[(&'static str, &str)], body: Value) -> Request {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let mut all = HeaderMap::new();
    all.insert("content-type", "application/json".parse().unwrap());
    for (name, value) in headers {
        all.insert(*name, value.parse().unwrap());
    }
    Request {
        path: path.to_owned(),
        query: query.to_owned(),
        headers: all,
        body,
    }
}

/// The request is taken as it is, and refused with each of these changes for the rule that the change breaks.
pub(crate) fn sees(
    dialect: &dyn Dialect,
    mut request: Request,
    given: &[Answer],
    breaches: &[Breach],
) {
    assert!(dialect.takes(&request.path));
    assert_eq!(dialect.check(&request, given), Ok(()));
    let sound = request.body.clone();
    for (change, rule) in breaches {
        request.body = sound.clone();
        change(&mut request.body);
        let verdict = dialect.check(&request, given);
        let named = verdict.as_ref().is_err_and(|broken| broken.contains(rule));
        assert!(named, "{rule}: {verdict:?}\n{}", request.body);
    }
}
