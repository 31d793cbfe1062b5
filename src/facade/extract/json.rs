//! JSON bodies: read into the types of `wire`, and what is told when they do not fit. Serde says little more than its
//! sentence; the rest is looked up in the body.

use crate::facade::misfit::Misfit;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_json::{Map, Value};
use serde_path_to_error::{Path, Segment};

/// Reads JSON; says which field is wrong and how.
pub(crate) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Misfit> {
    match bytes.trim_ascii() {
        b"" | b"null" => return Err(Misfit::missing(&["body"], Value::Null)),
        // The derived readers would also take a list for an object, its items by position.
        [b'[', ..] => {
            let list: Value = parse(bytes)?;
            let (kind, message) = NO_OBJECT;
            return Err(Misfit::new(&["body"], kind, message, list));
        }
        _ => (),
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    match serde_path_to_error::deserialize(&mut json) {
        Ok(value) => {
            json.end().map_err(|error| broken(bytes, &error))?;
            Ok(value)
        }
        Err(error) => {
            // A body that is broken further on is first of all broken.
            let body = parse(bytes)?;
            if is_of_two(error.inner()) {
                return read_once(body);
            }
            Err(misfit(&body, error.path(), error.inner()))
        }
    }
}

/// Fields with two names: the one that counts, and the other.
const NAMES: [(&str, &str); 3] = [
    ("override_system", "system"),
    ("response_format", "response_schema"),
    ("requires_approval", "body_requires_approval"),
];

fn is_of_two(error: &serde_json::Error) -> bool {
    error.to_string().starts_with("duplicate field `")
}

/// A name that stands twice has its last value, as everywhere in JSON; a field by both of its names is read if they say
/// the same.
fn read_once<T: DeserializeOwned>(mut body: Value) -> Result<T, Misfit> {
    loop {
        let error = match serde_path_to_error::deserialize(&body) {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let (loc, _) = walk(&body, error.path());
        let found = named_twice(&mut body, &loc).filter(|_| is_of_two(error.inner()));
        let Some((place, (name, other))) = found else {
            return Err(misfit(&body, error.path(), error.inner()));
        };
        let object = object_at(&mut body, place);
        let both = object.and_then(|object| Some((object.remove(other)?, object.get(name)?)));
        if let Some((second, first)) = both
            && second != *first
        {
            let loc = [place, &[other.to_owned()]].concat();
            let message = format!("{other} is another name of {name}, and the two differ");
            return Err(Misfit::new(&loc, "value_error", message, second));
        }
    }
}

/// The place of the object with both names of a field: where the path leads, or around it.
fn named_twice<'a>(
    body: &mut Value,
    loc: &'a [String],
) -> Option<(&'a [String], (&'static str, &'static str))> {
    let around = loc.split_last().map_or(loc, |(_, around)| around);
    [loc, around].into_iter().find_map(|place| {
        let object = object_at(body, place)?;
        let mut names = NAMES.into_iter();
        let both =
            names.find(|(name, other)| object.contains_key(*name) && object.contains_key(*other));
        Some((place, both?))
    })
}

fn object_at<'a>(body: &'a mut Value, loc: &[String]) -> Option<&'a mut Map<String, Value>> {
    let mut steps = loc.iter().skip(1);
    let value = steps.try_fold(body, |value, step| match value {
        Value::Array(items) => items.get_mut(step.parse::<usize>().ok()?),
        value => value.get_mut(step),
    });
    value?.as_object_mut()
}

const NO_OBJECT: (&str, &str) = (
    "model_attributes_type",
    "Input should be a valid dictionary or object to extract fields from",
);

fn parse(bytes: &[u8]) -> Result<Value, Misfit> {
    serde_json::from_slice(bytes).map_err(|error| broken(bytes, &error))
}

/// No JSON: the place is the number of characters before the one that is wrong.
fn broken(bytes: &[u8], error: &serde_json::Error) -> Misfit {
    let lines = bytes.split_inclusive(|byte| *byte == b'\n');
    let before: usize = lines
        .take(error.line().saturating_sub(1))
        .map(<[u8]>::len)
        .sum();
    let offset = match error.classify() {
        Category::Eof => bytes.len(),
        _ => before + error.column().saturating_sub(1),
    };
    let read = bytes.get(..offset).unwrap_or(bytes);
    let offset = String::from_utf8_lossy(read).chars().count();
    let loc = ["body".to_owned(), offset.to_string()];
    let empty = Map::new();
    Misfit::new(&loc, "json_invalid", "JSON decode error", empty).with("error", sentence(error))
}

/// What serde says, without the place in the text.
fn sentence(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

fn misfit(body: &Value, path: &Path, error: &serde_json::Error) -> Misfit {
    let (mut loc, mut value) = walk(body, path);
    let said = sentence(error);
    let quoted = |start: &str| {
        let rest = said.strip_prefix(start)?;
        rest.split_once('`').map(|(name, _)| name)
    };
    if let Some(field) = quoted("missing field `") {
        loc.push(field.to_owned());
        return Misfit::missing(&loc, value.clone());
    }
    if let Some(field) = quoted("unknown field `") {
        if loc.last().is_none_or(|last| last != field) {
            loc.push(field.to_owned());
            value = value.get(field).unwrap_or(value);
        }
        let message = "Extra inputs are not permitted";
        return Misfit::new(&loc, "extra_forbidden", message, value.clone());
    }
    if let Some(word) = quoted("unknown variant `") {
        return unknown_word(&loc, word, &said, value);
    }
    if let Some((found, expected)) = mismatch(&said) {
        if described(value) != found {
            value = below(value, found, &mut loc).unwrap_or(value);
        }
        if let Some(misfit) = wrong_type(&loc, value, expected) {
            return misfit;
        }
    }
    // Readers of enumerations say only that this is no place for such a value.
    if error.is_syntax() && said == "expected value" {
        let message = "Input should be one of the words that the schema lists";
        return Misfit::new(&loc, "literal_error", message, value.clone());
    }
    let kind = if said.starts_with("Input should be one of ") {
        "enum"
    } else {
        "value_error"
    };
    Misfit::new(&loc, kind, said, value.clone())
}

/// Where the path leads in the body, as far as it can be followed.
fn walk<'a>(body: &'a Value, path: &Path) -> (Vec<String>, &'a Value) {
    let (mut loc, mut value) = (vec!["body".to_owned()], body);
    for segment in path {
        let (name, next) = match segment {
            Segment::Seq { index } => (index.to_string(), value.get(index)),
            Segment::Map { key } => (key.clone(), value.get(key)),
            Segment::Enum { .. } | Segment::Unknown => break,
        };
        loc.push(name);
        match next {
            Some(next) => value = next,
            None => break,
        }
    }
    (loc, value)
}

/// A word that is not in the list: of an enumeration, or the tag of a union. Lists with a name of their own are read by
/// `wire::model::named`, whose sentence has no quotes around their words.
fn unknown_word(loc: &[String], word: &str, said: &str, value: &Value) -> Misfit {
    let list = said
        .split_once(", expected one of ")
        .or_else(|| said.split_once(", expected "));
    let list = list.map_or("", |(_, list)| list);
    let kind = if list.contains('`') {
        "literal_error"
    } else {
        "enum"
    };
    let words: Vec<&str> = list
        .split([',', ' ', '`'])
        .filter(|word| !word.is_empty() && *word != "or")
        .collect();
    if value.is_string() {
        return Misfit::not_one_of(loc, kind, &words, value.clone());
    }
    let message = format_args!(
        "Input tag '{word}' does not match any of the expected tags: {}",
        words.join(", ")
    );
    Misfit::new(loc, "union_tag_invalid", message, value.clone())
}

/// What was found and what was expected.
fn mismatch(said: &str) -> Option<(&str, &str)> {
    let rest = said
        .strip_prefix("invalid type: ")
        .or_else(|| said.strip_prefix("invalid value: "))?;
    rest.rsplit_once(", expected ")
}

/// A value in serde's words.
fn described(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => format!("boolean `{flag}`"),
        Value::Number(number) if number.is_f64() => format!("floating point `{number}`"),
        Value::Number(number) => format!("integer `{number}`"),
        Value::String(text) => format!("string {text:?}"),
        Value::Array(_) => "sequence".to_owned(),
        Value::Object(_) => "map".to_owned(),
    }
}

/// Readers of tagged unions lose the way to the wrong value: it is the one below that looks as it was found, if there is
/// only one.
fn below<'a>(value: &'a Value, found: &str, loc: &mut Vec<String>) -> Option<&'a Value> {
    let mut alike: Vec<(Vec<String>, &Value)> = Vec::new();
    let mut open: Vec<(Vec<String>, &Value)> = vec![(Vec::new(), value)];
    while let Some((path, value)) = open.pop() {
        let step = |name: String| path.iter().cloned().chain([name]).collect::<Vec<_>>();
        match value {
            Value::Array(items) => {
                let items = items.iter().enumerate();
                open.extend(items.map(|(index, item)| (step(index.to_string()), item)));
            }
            Value::Object(fields) => {
                open.extend(
                    fields
                        .iter()
                        .map(|(name, field)| (step(name.clone()), field)),
                );
            }
            _ => (),
        }
        if !path.is_empty() && described(value) == found {
            alike.push((path, value));
        }
        if alike.len() > 1 {
            return None;
        }
    }
    let (path, value) = alike.pop()?;
    loc.extend(path);
    Some(value)
}

/// A value of another type than the schema's; `None` when serde's words for the type are unknown here.
fn wrong_type(loc: &[String], value: &Value, expected: &str) -> Option<Misfit> {
    let misfit = |kind, message: &str| Misfit::new(loc, kind, message, value.clone());
    let text = value.is_string();
    let (kind, message) = match expected {
        "a string" | "a borrowed string" | "a character" => {
            ("string_type", "Input should be a valid string")
        }
        "a boolean" if text => (
            "bool_parsing",
            "Input should be a valid boolean, unable to interpret input",
        ),
        "a boolean" => ("bool_type", "Input should be a valid boolean"),
        "f32" | "f64" if text => (
            "float_parsing",
            "Input should be a valid number, unable to parse string as a number",
        ),
        "f32" | "f64" => ("float_type", "Input should be a valid number"),
        "a sequence" => ("list_type", "Input should be a valid list"),
        "a map" => ("dict_type", "Input should be a valid dictionary"),
        object if object.starts_with("struct ") => NO_OBJECT,
        integer if is_integer(integer) => {
            return Some(wrong_integer(loc, value, integer.contains("nonzero")));
        }
        _ => return None,
    };
    Some(misfit(kind, message))
}

fn is_integer(expected: &str) -> bool {
    let name = expected.strip_prefix("a nonzero ").unwrap_or(expected);
    let width = name.strip_prefix(['u', 'i']);
    width.is_some_and(|width| matches!(width, "8" | "16" | "32" | "64" | "128" | "size"))
}

fn wrong_integer(loc: &[String], value: &Value, nonzero: bool) -> Misfit {
    let misfit = |kind, message: &str| Misfit::new(loc, kind, message, value.clone());
    match value {
        Value::String(_) => misfit(
            "int_parsing",
            "Input should be a valid integer, unable to parse string as an integer",
        ),
        Value::Number(number) if number.as_f64().is_some_and(|number| number.fract() != 0.0) => {
            misfit(
                "int_from_float",
                "Input should be a valid integer, got a number with a fractional part",
            )
        }
        Value::Number(number) if nonzero && number.as_f64().is_some_and(|number| number <= 0.0) => {
            misfit("greater_than", "Input should be greater than 0").with("gt", 0)
        }
        Value::Number(number) if number.as_i64().is_some_and(i64::is_negative) => misfit(
            "greater_than_equal",
            "Input should be greater than or equal to 0",
        )
        .with("ge", 0),
        _ => misfit("int_type", "Input should be a valid integer"),
    }
}

#[cfg(test)]
mod tests;
