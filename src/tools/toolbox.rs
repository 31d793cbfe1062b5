//! The tools that are in the program, found by id and by name.

use super::{Tool, builtin};
use crate::domain::id::ToolId;
use std::sync::Arc;

/// A set of runnable tools; cloning shares it. Names and ids are unique in it.
#[derive(Clone)]
pub struct Toolbox {
    tools: Arc<Vec<Arc<dyn Tool>>>,
}

impl Toolbox {
    /// Every built-in tool (tools-and-sandbox §1).
    pub fn builtin() -> Self {
        Self {
            tools: Arc::new(builtin::all()),
        }
    }

    /// The same tools and one more, which takes the place of any with its name or id.
    pub fn with(mut self, tool: Arc<dyn Tool>) -> Self {
        let new = tool.definition().clone();
        let tools = Arc::make_mut(&mut self.tools);
        tools.retain(|old| old.definition().id != new.id && old.definition().name != new.name);
        tools.push(tool);
        self
    }

    pub fn get(&self, id: ToolId) -> Option<&Arc<dyn Tool>> {
        self.tools.iter().find(|tool| tool.definition().id == id)
    }

    pub fn by_name(&self, name: &str) -> Option<&Arc<dyn Tool>> {
        self.tools
            .iter()
            .find(|tool| tool.definition().name == name)
    }

    /// In the order of their ids.
    pub fn all(&self) -> &[Arc<dyn Tool>] {
        &self.tools
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_tool_is_found_by_its_own_id_and_name() {
        let toolbox = Toolbox::builtin();
        let ids: HashSet<ToolId> = toolbox
            .all()
            .iter()
            .map(|tool| tool.definition().id)
            .collect();
        assert_eq!(ids.len(), toolbox.all().len());
        for tool in toolbox.all() {
            let definition = tool.definition();
            assert_eq!(definition.id.to_string().parse(), Ok(definition.id));
            assert_eq!(
                toolbox
                    .get(definition.id)
                    .map(|found| &found.definition().name),
                Some(&definition.name)
            );
            assert_eq!(
                toolbox
                    .by_name(&definition.name)
                    .map(|found| found.definition().id),
                Some(definition.id)
            );
        }
        assert!(toolbox.by_name("no_such_tool").is_none());
    }

    #[test]
    fn a_tool_with_a_known_name_takes_its_place() {
        let toolbox = Toolbox::builtin();
        let again = toolbox.by_name("send_message").unwrap().clone();
        let count = toolbox.all().len();
        assert_eq!(toolbox.with(again).all().len(), count);
    }
}
