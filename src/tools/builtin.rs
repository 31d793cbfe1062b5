//! The tools that every installation has (tools-and-sandbox §1): definitions with fixed ids, and what the calls do.
//!
//! Names, parameters, types and required lists are contract; the descriptions are ours.

mod agents;
mod conversation_search;
mod memory;
mod send_message;
mod unbuilt;
mod world;

use super::arguments::{self, Parameter};
use super::{Host, Tool, Work};
use crate::domain::id::{ToolId, UserId};
use crate::domain::tool::{
    Effects, SourceType, Tool as Definition, ToolFailure, ToolResult, ToolType,
};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Characters of a return that the model is shown.
const RETURN_CHAR_LIMIT: u64 = 50_000;

/// Every built-in tool, in the order of the ids.
pub(super) fn all() -> Vec<Arc<dyn Tool>> {
    let mut tools = vec![send_message::tool(), conversation_search::tool()];
    tools.extend(memory::tools());
    tools.extend(agents::tools());
    tools.extend(world::tools());
    tools.extend(unbuilt::tools());
    tools.sort_by_key(|tool| tool.definition.id);
    tools
        .into_iter()
        .map(|tool| Arc::new(tool) as Arc<dyn Tool>)
        .collect()
}

type Start =
    dyn Fn(&Value, Map<String, Value>, Arc<dyn Host>) -> Result<Work, ToolFailure> + Send + Sync;

struct Builtin {
    definition: Arc<Definition>,
    uncut: bool,
    effects: Effects,
    start: Box<Start>,
}

impl Builtin {
    /// `number` makes the id and is never given to another tool. `start` gets the arguments when they fit the parameters.
    fn new<T: DeserializeOwned + 'static>(
        number: u8,
        tool_type: ToolType,
        name: &str,
        description: &str,
        parameters: Vec<Parameter>,
        start: fn(T, Arc<dyn Host>) -> Result<Work, ToolFailure>,
    ) -> Self {
        Self {
            definition: Arc::new(definition(number, tool_type, name, description, parameters)),
            uncut: false,
            effects: Effects::None,
            start: Box::new(move |schema, arguments, host| {
                start(arguments::read(schema, arguments)?, host)
            }),
        }
    }

    /// Several calls may run at once.
    fn parallel(mut self) -> Self {
        Arc::make_mut(&mut self.definition).enable_parallel_execution = true;
        self
    }

    /// It reaches outside, unlike edits of memory, which are part of the step's own batch.
    fn outside(mut self) -> Self {
        self.effects = Effects::Outside;
        self
    }

    /// Its returns are never cut.
    fn uncut(mut self) -> Self {
        self.uncut = true;
        self
    }
}

impl Tool for Builtin {
    fn definition(&self) -> &Arc<Definition> {
        &self.definition
    }

    fn effects(&self) -> Effects {
        self.effects
    }

    fn uncut(&self) -> bool {
        self.uncut
    }

    fn start(&self, arguments: Map<String, Value>, host: Arc<dyn Host>) -> Work {
        let schema = &self.definition.json_schema["parameters"];
        (self.start)(schema, arguments, host).unwrap_or_else(|failure| {
            Work::Done(ToolResult::failure(&self.definition.name, failure))
        })
    }
}

/// A tool record as the API shows it.
pub(super) fn definition(
    number: u8,
    tool_type: ToolType,
    name: &str,
    description: &str,
    parameters: Vec<Parameter>,
) -> Definition {
    Definition {
        id: fixed_id(number),
        name: name.to_owned(),
        tool_type,
        description: description.to_owned(),
        source_type: SourceType::Python,
        source_code: None,
        tags: vec![tool_type.name().to_owned()],
        json_schema: json!({
            "name": name,
            "description": description,
            "parameters": arguments::object(parameters),
        }),
        args_json_schema: None,
        pip_requirements: None,
        npm_requirements: None,
        return_char_limit: RETURN_CHAR_LIMIT,
        default_requires_approval: None,
        enable_parallel_execution: false,
        created_by: Some(UserId::DEFAULT),
        updated_by: Some(UserId::DEFAULT),
        metadata: json!({}),
        project_id: None,
        created_at: Timestamp::UNIX_EPOCH,
        updated_at: Timestamp::UNIX_EPOCH,
        version: 0,
    }
}

/// The same id in every installation (decisions 41): a valid uuid4 that ends in the number.
const fn fixed_id(number: u8) -> ToolId {
    ToolId::from_bytes([0, 0, 0, 0, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0, number])
}

#[cfg(test)]
mod tests;
