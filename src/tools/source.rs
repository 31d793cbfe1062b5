//! The schema of a tool from its source text (tools-and-sandbox §7). Sources are parsed, never executed, and nothing but
//! this program is needed for that.

mod annotation;
mod docstring;
mod inline;
mod python;

use serde_json::{Map, Value, json};

/// Bytes of a source that is read. Generous: a source is stored in one record.
const MOST_BYTES: usize = 1 << 20;

/// Why a source has no schema, in words for whoever wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadSource(String);

impl BadSource {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// The schema that a model is shown: `{"name", "description", "parameters"}`. `arguments`: the JSON schema of the whole
/// arguments where the author gave one; the source then needs neither annotations nor a docstring.
///
/// # Errors
/// The place and the reason: syntax, no function, a parameter without annotation or description, a type that has no schema.
pub fn python_schema(source: &str, arguments: Option<&Value>) -> Result<Value, BadSource> {
    if source.len() > MOST_BYTES {
        return Err(BadSource::new(format!(
            "the source is longer than {MOST_BYTES} bytes"
        )));
    }
    let module = python::Module::parse(source)?;
    let function = module.tool()?;
    let (description, parameters) = match arguments {
        Some(arguments) => (function.description(), inline::parameters(arguments)?),
        None => function.described()?,
    };
    Ok(schema(function.name(), &description, parameters))
}

/// The name of the function that a Python source is run by.
///
/// # Errors
/// The source cannot be parsed, or has no function.
pub fn python_name(source: &str) -> Result<String, BadSource> {
    Ok(python::Module::parse(source)?.tool()?.name().to_owned())
}

fn schema(name: &str, description: &str, parameters: Value) -> Value {
    json!({"name": name, "description": description, "parameters": parameters})
}

/// The schema of an object with these properties, in order.
fn object(properties: Map<String, Value>, required: Vec<String>) -> Value {
    json!({"type": "object", "properties": properties, "required": required})
}

#[cfg(test)]
mod tests;
