//! A tool that a client wrote: its source runs in a process of its own.

use super::{Host, Tool, Work};
use crate::domain::tool::{Effects, Tool as Definition, ToolFailure, ToolResult};
use serde_json::{Map, Value};
use std::sync::Arc;

pub struct Custom {
    definition: Arc<Definition>,
}

impl Custom {
    pub fn new(definition: Definition) -> Self {
        Self {
            definition: Arc::new(definition),
        }
    }
}

impl Tool for Custom {
    fn definition(&self) -> &Arc<Definition> {
        &self.definition
    }

    fn effects(&self) -> Effects {
        Effects::Outside
    }

    fn start(&self, _: Map<String, Value>, _: Arc<dyn Host>) -> Work {
        let failure = ToolFailure::new("NotImplementedError", "this tool cannot be run here yet");
        Work::Done(ToolResult::failure(&self.definition.name, failure))
    }
}
