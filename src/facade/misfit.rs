//! A part of a request that does not fit the schema, and how a 422 tells of it: `detail` is the text of a list as Python
//! prints one (wire-rules §1, 2).

use crate::domain::display;
use serde_json::Value;
use std::fmt::{self, Display, Formatter};

/// Where, what kind of problem, why, what was there, and what the rule says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Misfit(Box<Entry>);

#[derive(Debug, Clone, PartialEq)]
struct Entry {
    kind: &'static str,
    loc: Vec<String>,
    message: String,
    input: Value,
    ctx: Option<(&'static str, Value)>,
}

impl Misfit {
    pub(crate) fn new(
        loc: &[impl AsRef<str>],
        kind: &'static str,
        message: impl Display,
        input: impl Into<Value>,
    ) -> Self {
        Self(Box::new(Entry {
            kind,
            loc: loc.iter().map(|part| part.as_ref().to_owned()).collect(),
            message: message.to_string(),
            input: input.into(),
            ctx: None,
        }))
    }

    /// A field that is not there; `input` is what it should stand in.
    pub(crate) fn missing(loc: &[impl AsRef<str>], input: impl Into<Value>) -> Self {
        Self::new(loc, "missing", "Field required", input)
    }

    /// A word that is none of `words`. The contract says `literal_error` where it lists them in place and `enum` where the
    /// list has a name.
    pub(crate) fn not_one_of(
        loc: &[impl AsRef<str>],
        kind: &'static str,
        words: &[impl AsRef<str>],
        input: impl Into<Value>,
    ) -> Self {
        let expected = one_of(words);
        Self::new(loc, kind, format_args!("Input should be {expected}"), input)
            .with("expected", expected)
    }

    pub(crate) fn with(mut self, name: &'static str, rule: impl Into<Value>) -> Self {
        self.0.ctx = Some((name, rule.into()));
        self
    }
}

/// `'a', 'b' or 'c'`
fn one_of(words: &[impl AsRef<str>]) -> String {
    let quoted = |word: &dyn AsRef<str>| format!("'{}'", word.as_ref());
    match words {
        [] => String::new(),
        [one] => quoted(one),
        [first @ .., last] => {
            let first: Vec<String> = first.iter().map(|word| quoted(word)).collect();
            format!("{} or {}", first.join(", "), quoted(last))
        }
    }
}

impl Display for Misfit {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Entry {
            kind,
            loc,
            message,
            input,
            ctx,
        } = &*self.0;
        let loc_is_secret = loc.iter().any(|name| is_secret(name));
        // What is wrong with a key may be told with the key.
        let message = if loc_is_secret && repeats(message, input) {
            "Input is not what the schema asks for"
        } else {
            message
        };
        let ctx = ctx.as_ref().filter(|_| !loc_is_secret);
        let comma = if loc.len() == 1 { "," } else { "" };
        let loc: Vec<String> = loc.iter().map(|part| place(part)).collect();
        write!(
            f,
            "{{'type': {}, 'loc': ({}{comma}), 'msg': {}, 'input': {}",
            quoted(kind),
            loc.join(", "),
            quoted(message),
            match loc_is_secret {
                true => quoted(HIDDEN),
                false => printed(input),
            }
        )?;
        if let Some((name, rule)) = ctx {
            write!(f, ", 'ctx': {{{}: {}}}", quoted(name), printed(rule))?;
        }
        f.write_str("}")
    }
}

/// What stands for a key: answers are copied into logs and reports.
const HIDDEN: &str = "**********";

/// Whether a text has one of the texts or numbers of a value in it.
fn repeats(text: &str, value: &Value) -> bool {
    match value {
        Value::String(part) => !part.is_empty() && text.contains(part.as_str()),
        Value::Number(number) => text.contains(&number.to_string()),
        Value::Array(items) => items.iter().any(|item| repeats(text, item)),
        Value::Object(fields) => fields.values().any(|field| repeats(text, field)),
        Value::Null | Value::Bool(_) => false,
    }
}

fn is_secret(name: &str) -> bool {
    const SECRETS: [&str; 17] = [
        "api_key",
        "api_key_enc",
        "value_enc",
        "access_key_enc",
        "access_key",
        "secret_key",
        "session_token",
        "access_token",
        "auth_token",
        "token",
        "password",
        "secrets",
        "tool_exec_environment_variables",
        "env",
        "env_vars",
        "env_vars_json",
        "custom_headers",
    ];
    SECRETS.contains(&name)
}

/// Names are texts, places in lists are numbers.
fn place(part: &str) -> String {
    if !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()) {
        part.to_owned()
    } else {
        quoted(part)
    }
}

/// Characters of one text, and bytes of a whole value, that are shown: a body may hold megabytes.
const MOST_TEXT: usize = 200;
const MOST: usize = 1000;

fn printed(value: &Value) -> String {
    let mut text = String::new();
    print(value, &mut text);
    text
}

fn print(value: &Value, into: &mut String) {
    match value {
        Value::Null => into.push_str("None"),
        Value::Bool(true) => into.push_str("True"),
        Value::Bool(false) => into.push_str("False"),
        Value::Number(number) => into.push_str(&number.to_string()),
        Value::String(text) => into.push_str(&quoted(text)),
        Value::Array(items) => {
            into.push('[');
            for (index, item) in items.iter().enumerate() {
                if separated(index, into) {
                    print(item, into);
                } else {
                    break;
                }
            }
            into.push(']');
        }
        Value::Object(fields) => {
            into.push('{');
            for (index, (name, field)) in fields.iter().enumerate() {
                if separated(index, into) {
                    into.push_str(&quoted(name));
                    into.push_str(": ");
                    if is_secret(name) {
                        into.push_str(&quoted(HIDDEN));
                    } else {
                        print(field, into);
                    }
                } else {
                    break;
                }
            }
            into.push('}');
        }
    }
}

/// Whether there is room for the item at `index`; an ellipsis stands for what there is no room for.
fn separated(index: usize, into: &mut String) -> bool {
    if index > 0 {
        into.push_str(", ");
    }
    let room = into.len() < MOST;
    if !room {
        into.push_str("...");
    }
    room
}

/// As Python writes a text, cut.
fn quoted(text: &str) -> String {
    match text.char_indices().nth(MOST_TEXT) {
        Some((at, _)) => display::quoted(&format!("{}...", &text[..at])),
        None => display::quoted(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn it_reads_like_an_entry_of_a_python_list() {
        let wrong = Misfit::new(
            &["body", "name"],
            "string_type",
            "Input should be a valid string",
            7,
        );
        assert_eq!(
            wrong.to_string(),
            "{'type': 'string_type', 'loc': ('body', 'name'), 'msg': 'Input should be a valid string', 'input': 7}"
        );
        let missing = Misfit::missing(&["body"], Value::Null);
        assert_eq!(
            missing.to_string(),
            "{'type': 'missing', 'loc': ('body',), 'msg': 'Field required', 'input': None}"
        );
        let word = Misfit::not_one_of(
            &["query", "tags", "0"],
            "literal_error",
            &["a", "b", "c"],
            "d",
        );
        assert_eq!(
            word.to_string(),
            "{'type': 'literal_error', 'loc': ('query', 'tags', 0), 'msg': \"Input should be 'a', 'b' or 'c'\", 'input': 'd', \
             'ctx': {'expected': \"'a', 'b' or 'c'\"}}"
        );
    }

    #[test]
    fn values_are_printed_in_pythons_words() {
        let value = json!({"a": [null, true, false, 1.5, "it's"], "b": {}, "c": "\"'\n\u{7}"});
        assert_eq!(
            printed(&value),
            r#"{'a': [None, True, False, 1.5, "it's"], 'b': {}, 'c': '"\'\n\x07'}"#
        );
    }

    #[test]
    fn a_key_is_not_repeated() {
        let body = json!({"api_key": "sk-secret", "more": [{"access_key": "sk-secret"}]});
        let missing = Misfit::missing(&["body", "name"], body);
        let wrong = Misfit::new(
            &["body", "api_key"],
            "string_type",
            "no",
            json!(["sk-secret"]),
        );
        let told = "invalid type: string \"sk-secret\", expected a map";
        let told = Misfit::new(&["body", "secrets"], "value_error", told, "sk-secret")
            .with("error", "sk-secret");
        for misfit in [missing, wrong, told] {
            let text = misfit.to_string();
            assert!(
                text.contains(HIDDEN) && !text.contains("sk-secret"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_long_value_is_cut() {
        assert_eq!(quoted(&"x".repeat(9999)).len(), MOST_TEXT + "'...'".len());
        let long = printed(&json!(vec!["x".repeat(150); 9999]));
        assert!(
            long.len() < MOST + 200 && long.ends_with("', ...]"),
            "{long}"
        );
        let deep = printed(&json!({"a": vec![json!({"b": vec![1; 999]}); 999]}));
        assert!(deep.len() < MOST + 200, "{}", deep.len());
    }
}
