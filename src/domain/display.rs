//! Values as Python shows them: programs written against Letta read tool returns in this form (tools-and-sandbox §1).

use serde_json::Value;
use std::fmt::Write;

/// The display form: `None`, `True`, `[1, 'a']`, `{'key': 1.0}`. It can be read back as a Python literal.
pub fn display(value: &Value) -> String {
    let mut text = String::new();
    write_value(&mut text, value);
    text
}

/// A text as a literal.
pub fn quoted(text: &str) -> String {
    let mut literal = String::new();
    write_text(&mut literal, text);
    literal
}

fn write_value(to: &mut String, value: &Value) {
    match value {
        Value::Null => to.push_str("None"),
        Value::Bool(true) => to.push_str("True"),
        Value::Bool(false) => to.push_str("False"),
        Value::Number(number) => {
            let _ = write!(to, "{number}");
        }
        Value::String(text) => write_text(to, text),
        Value::Array(items) => {
            to.push('[');
            for (place, item) in items.iter().enumerate() {
                to.push_str(if place == 0 { "" } else { ", " });
                write_value(to, item);
            }
            to.push(']');
        }
        Value::Object(fields) => {
            to.push('{');
            for (place, (name, field)) in fields.iter().enumerate() {
                to.push_str(if place == 0 { "" } else { ", " });
                write_text(to, name);
                to.push_str(": ");
                write_value(to, field);
            }
            to.push('}');
        }
    }
}

/// In single quotes, unless only the text itself has some.
fn write_text(to: &mut String, text: &str) {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    to.push(quote);
    for character in text.chars() {
        match character {
            '\\' => to.push_str("\\\\"),
            '\n' => to.push_str("\\n"),
            '\r' => to.push_str("\\r"),
            '\t' => to.push_str("\\t"),
            quoted if quoted == quote => {
                to.push('\\');
                to.push(quoted);
            }
            control if control.is_control() && (control as u32) < 0x100 => {
                let _ = write!(to, "\\x{:02x}", control as u32);
            }
            character => to.push(character),
        }
    }
    to.push(quote);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_shown_as_python_shows_them() {
        for (value, shown) in [
            (json!(null), "None"),
            (
                json!([true, false, 1, 1.5, -2]),
                "[True, False, 1, 1.5, -2]",
            ),
            (json!([1, "a"]), "[1, 'a']"),
            (
                json!({"a": {"b": []}, "c": {}}),
                "{'a': {'b': []}, 'c': {}}",
            ),
            (json!("it's"), "\"it's\""),
            (json!("it's \"so\""), "'it\\'s \"so\"'"),
            (
                json!("a\\b\n\t\r\u{1}\u{7f}"),
                "'a\\\\b\\n\\t\\r\\x01\\x7f'",
            ),
            (json!("grün 😀"), "'grün 😀'"),
        ] {
            assert_eq!(display(&value), shown);
        }
    }
}
