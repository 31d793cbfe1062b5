//! Tools that clients write: made, changed, and what they may not be (tools-and-sandbox §7). A schema comes from the source
//! or from the client; where it comes from the source, that was read before.

use super::{Requirement, SourceType, Tool, ToolType};
use crate::domain::id::{ToolId, UserId};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Characters of a return that the model is shown, unless something else was asked for.
const RETURN_CHAR_LIMIT: u64 = 50_000;
/// Characters of a name: what models' providers take, less the room that prefixes of clients need.
const MOST_NAME: usize = 48;
/// Bytes of a source: also the most that is read for its schema.
const MOST_SOURCE: usize = 1 << 20;
/// Packages of one tool.
const MOST_REQUIREMENTS: usize = 100;

/// Why this can be no tool.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTool {
    #[error("json_schema: {0}")]
    Schema(&'static str),
    #[error("json_schema: a source in TypeScript needs one")]
    NoSchema,
    #[error("give json_schema or args_json_schema, not both")]
    TwoSchemas,
    #[error("json_schema names '{schema}', and the source defines '{defined}'")]
    OtherName { schema: String, defined: String },
    #[error(
        "the name '{0}' must be letters, digits, '_' and '-', {MOST_NAME} of them at most, so that every model takes it"
    )]
    Name(String),
    #[error("source_code is longer than {MOST_SOURCE} bytes")]
    Source,
    #[error("return_char_limit is {0}, possible is 1 to 1000000")]
    Limit(u64),
    #[error("{field}: '{found}' is no {what}")]
    Requirement {
        field: &'static str,
        found: String,
        what: &'static str,
    },
    #[error("{0}: more than {MOST_REQUIREMENTS} packages")]
    Requirements(&'static str),
}

/// A tool as it is asked for. `None` is what was not sent: the default of a new tool, and no change to one that is there.
#[derive(Debug, Clone, PartialEq)]
pub struct NewTool {
    pub source_code: String,
    pub source_type: SourceType,
    /// `{"name", "description", "parameters"}`; a tool is not made without.
    pub json_schema: Option<Value>,
    pub args_json_schema: Option<Value>,
    pub description: Option<String>,
    pub tags: Option<Vec<String>>,
    pub return_char_limit: Option<u64>,
    pub pip_requirements: Option<Vec<Requirement>>,
    pub npm_requirements: Option<Vec<Requirement>>,
    pub default_requires_approval: Option<bool>,
    pub enable_parallel_execution: Option<bool>,
}

impl NewTool {
    /// # Errors
    /// What cannot be.
    pub fn create(self, by: UserId, now: Timestamp) -> Result<Tool, BadTool> {
        let json_schema = self.json_schema.ok_or(BadTool::NoSchema)?;
        let name = check_schema(&json_schema)?;
        let tool = Tool {
            id: ToolId::new(),
            name,
            tool_type: ToolType::Custom,
            description: described(self.description, &json_schema),
            source_type: self.source_type,
            source_code: Some(self.source_code),
            tags: self.tags.unwrap_or_default(),
            json_schema,
            args_json_schema: self.args_json_schema,
            pip_requirements: self.pip_requirements,
            npm_requirements: self.npm_requirements,
            return_char_limit: self.return_char_limit.unwrap_or(RETURN_CHAR_LIMIT),
            default_requires_approval: self.default_requires_approval,
            enable_parallel_execution: self.enable_parallel_execution.unwrap_or(false),
            created_by: Some(by),
            updated_by: Some(by),
            metadata: json!({}),
            project_id: None,
            created_at: now,
            updated_at: now,
            version: 1,
        };
        tool.check()?;
        Ok(tool)
    }

    /// What becomes of a tool that has this name already.
    pub fn change(self) -> ToolChange {
        ToolChange {
            source_code: Some(self.source_code),
            source_type: Some(self.source_type),
            json_schema: self.json_schema,
            args_json_schema: self.args_json_schema,
            description: self.description,
            tags: self.tags,
            return_char_limit: self.return_char_limit,
            pip_requirements: self.pip_requirements,
            npm_requirements: self.npm_requirements,
            default_requires_approval: self.default_requires_approval,
            enable_parallel_execution: self.enable_parallel_execution,
            metadata: None,
        }
    }
}

/// A source that is run once, without being kept.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceRun {
    pub source_code: String,
    pub source_type: SourceType,
    /// What errors call it; the function's name without one.
    pub name: Option<String>,
    pub json_schema: Option<Value>,
    pub args_json_schema: Option<Value>,
    pub arguments: Map<String, Value>,
    pub environment: BTreeMap<String, String>,
}

/// What changes of a tool; `None` stays.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ToolChange {
    pub source_code: Option<String>,
    pub source_type: Option<SourceType>,
    /// Its name is the tool's.
    pub json_schema: Option<Value>,
    pub args_json_schema: Option<Value>,
    pub description: Option<String>,
    pub tags: Option<Vec<String>>,
    pub return_char_limit: Option<u64>,
    pub pip_requirements: Option<Vec<Requirement>>,
    pub npm_requirements: Option<Vec<Requirement>>,
    pub default_requires_approval: Option<bool>,
    pub enable_parallel_execution: Option<bool>,
    pub metadata: Option<Value>,
}

impl ToolChange {
    /// # Errors
    /// What cannot be.
    pub fn apply(self, to: &Tool, by: UserId, now: Timestamp) -> Result<Tool, BadTool> {
        let mut tool = Tool {
            source_code: self.source_code.or_else(|| to.source_code.clone()),
            source_type: self.source_type.unwrap_or(to.source_type),
            tags: self.tags.unwrap_or_else(|| to.tags.clone()),
            args_json_schema: self
                .args_json_schema
                .or_else(|| to.args_json_schema.clone()),
            return_char_limit: self.return_char_limit.unwrap_or(to.return_char_limit),
            pip_requirements: self
                .pip_requirements
                .or_else(|| to.pip_requirements.clone()),
            npm_requirements: self
                .npm_requirements
                .or_else(|| to.npm_requirements.clone()),
            default_requires_approval: self
                .default_requires_approval
                .or(to.default_requires_approval),
            enable_parallel_execution: self
                .enable_parallel_execution
                .unwrap_or(to.enable_parallel_execution),
            metadata: self.metadata.unwrap_or_else(|| to.metadata.clone()),
            updated_by: Some(by),
            updated_at: now,
            version: to.version + 1,
            ..to.clone()
        };
        if let Some(schema) = self.json_schema {
            tool.name = check_schema(&schema)?;
            tool.description = described(None, &schema);
            tool.json_schema = schema;
        }
        if let Some(description) = self.description {
            tool.description = description;
        }
        tool.check()?;
        Ok(tool)
    }
}

impl Tool {
    fn check(&self) -> Result<(), BadTool> {
        if self
            .source_code
            .as_ref()
            .is_some_and(|source| source.len() > MOST_SOURCE)
        {
            return Err(BadTool::Source);
        }
        if !(1..=1_000_000).contains(&self.return_char_limit) {
            return Err(BadTool::Limit(self.return_char_limit));
        }
        check_requirements("pip_requirements", self.pip_requirements.as_deref())?;
        check_requirements("npm_requirements", self.npm_requirements.as_deref())
    }
}

/// The description that was asked for, else the schema's.
fn described(asked: Option<String>, schema: &Value) -> String {
    let own = || {
        schema["description"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    asked.unwrap_or_else(own)
}

/// The name in a schema that a model can be shown.
fn check_schema(schema: &Value) -> Result<String, BadTool> {
    let name = schema["name"].as_str();
    let name = name.ok_or(BadTool::Schema("it has no 'name' that is a text"))?;
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || name.len() > MOST_NAME || !name.chars().all(fits) {
        return Err(BadTool::Name(name.to_owned()));
    }
    if !matches!(schema["description"], Value::Null | Value::String(_)) {
        return Err(BadTool::Schema("its 'description' is no text"));
    }
    let parameters = &schema["parameters"];
    let is_object = parameters["type"]
        .as_str()
        .is_none_or(|kind| kind == "object");
    match parameters {
        Value::Null => Ok(name.to_owned()),
        Value::Object(_) if is_object && is_map(&parameters["properties"]) => Ok(name.to_owned()),
        _ => Err(BadTool::Schema(
            "its 'parameters' are no schema of an object",
        )),
    }
}

/// Whether these can be the properties of an object: schemas by name.
fn is_map(properties: &Value) -> bool {
    match properties {
        Value::Null => true,
        Value::Object(properties) => properties
            .values()
            .all(|schema| schema.is_object() || schema.is_boolean()),
        _ => false,
    }
}

/// Names and versions go into a command line and a file name: nothing in them may be an option or a path.
fn check_requirements(
    field: &'static str,
    requirements: Option<&[Requirement]>,
) -> Result<(), BadTool> {
    let requirements = requirements.unwrap_or_default();
    if requirements.len() > MOST_REQUIREMENTS {
        return Err(BadTool::Requirements(field));
    }
    let word = |text: &str, others: &str| {
        let fits = |c: char| c.is_ascii_alphanumeric() || others.contains(c);
        let first = text.chars().next();
        first.is_some_and(|first| first.is_ascii_alphanumeric() || first == '@')
            && text.len() <= 200
            && !text.contains("..")
            && text.chars().all(fits)
    };
    for Requirement { name, version } in requirements {
        let bad = |found: &str, what| BadTool::Requirement {
            field,
            found: found.to_owned(),
            what,
        };
        if !word(name, "-_.@/[],") {
            return Err(bad(name, "name of a package"));
        }
        if let Some(version) = version
            && !word(version, "-_.+!*")
        {
            return Err(bad(version, "version"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::clock;

    fn schema(name: &str) -> Value {
        json!({"name": name, "description": "Adds", "parameters": {"type": "object", "properties": {}, "required": []}})
    }

    fn new(name: &str) -> NewTool {
        NewTool {
            source_code: "def add(): ...".to_owned(),
            source_type: SourceType::Python,
            json_schema: Some(schema(name)),
            args_json_schema: None,
            description: None,
            tags: Some(vec!["math".to_owned()]),
            return_char_limit: None,
            pip_requirements: None,
            npm_requirements: None,
            default_requires_approval: None,
            enable_parallel_execution: None,
        }
    }

    #[test]
    fn what_a_second_send_leaves_out_stays_and_a_schema_renames() {
        let now = clock::now();
        let by = UserId::DEFAULT;
        let tool = new("add").create(by, now).unwrap();
        assert_eq!(
            (tool.description.as_str(), tool.return_char_limit),
            ("Adds", 50_000)
        );
        let again = NewTool {
            tags: None,
            description: Some("Mine".to_owned()),
            return_char_limit: Some(7),
            ..new("plus")
        };
        let changed = again.change().apply(&tool, by, now).unwrap();
        assert_eq!((changed.id, changed.version), (tool.id, 2));
        assert_eq!(changed.tags, ["math"]);
        assert_eq!(
            (changed.name.as_str(), changed.description.as_str()),
            ("plus", "Mine")
        );
        assert_eq!(changed.return_char_limit, 7);
        let same = ToolChange::default().apply(&changed, by, now).unwrap();
        assert_eq!(same.description, "Mine");
    }

    #[test]
    fn what_no_model_or_installer_would_take_is_refused() {
        let long = "x".repeat(49);
        for (schema, part) in [
            (json!([]), "no 'name'"),
            (json!({"name": 7}), "no 'name'"),
            (schema(""), "the name ''"),
            (schema("a b"), "the name 'a b'"),
            (schema("é"), "the name"),
            (schema(&long), "the name"),
            (json!({"name": "a", "description": 7}), "'description'"),
            (json!({"name": "a", "parameters": []}), "'parameters'"),
            (
                json!({"name": "a", "parameters": {"type": "string"}}),
                "'parameters'",
            ),
            (
                json!({"name": "a", "parameters": {"properties": {"x": 7}}}),
                "'parameters'",
            ),
        ] {
            let error = check_schema(&schema).unwrap_err().to_string();
            assert!(error.contains(part), "{schema}: {error}");
        }
        assert_eq!(check_schema(&schema(&long[1..])).as_deref(), Ok(&long[1..]));
        let needing = |name: &str, version: Option<&str>| {
            let requirement = Requirement {
                name: name.to_owned(),
                version: version.map(str::to_owned),
            };
            let tool = NewTool {
                pip_requirements: Some(vec![requirement]),
                ..new("add")
            };
            tool.create(UserId::DEFAULT, clock::now()).map(drop)
        };
        for fits in [
            "requests",
            "ruamel.yaml",
            "@types/node",
            "uvicorn[standard]",
        ] {
            assert_eq!(needing(fits, Some("1.2.3")), Ok(()));
        }
        for (name, version) in [
            ("--index-url", None),
            ("../x", None),
            ("a b", None),
            ("", None),
            ("a", Some("1; rm")),
            ("a", Some("-x")),
            ("git+https://x", None),
        ] {
            assert!(needing(name, version).is_err(), "{name} {version:?}");
        }
        let tool = NewTool {
            return_char_limit: Some(0),
            ..new("add")
        };
        assert_eq!(
            tool.create(UserId::DEFAULT, clock::now()),
            Err(BadTool::Limit(0))
        );
    }
}
