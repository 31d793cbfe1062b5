//! The tools there are, found by id and by name: those in the program, and those that clients wrote.

use super::{Tool, builtin};
use crate::domain::id::ToolId;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

/// All runnable tools; clones share them. Names and ids are unique in it.
#[derive(Clone)]
pub struct Toolbox {
    builtin: Arc<Vec<Arc<dyn Tool>>>,
    /// As the disk has them; the library alone changes it.
    custom: Arc<RwLock<HashMap<ToolId, Arc<dyn Tool>>>>,
}

impl Toolbox {
    /// Every built-in tool (tools-and-sandbox §1).
    pub fn builtin() -> Self {
        Self {
            builtin: Arc::new(builtin::all()),
            custom: Arc::default(),
        }
    }

    /// The same tools and one more in the program, which takes the place of any with its name or id.
    pub fn with(mut self, tool: Arc<dyn Tool>) -> Self {
        let new = tool.definition().clone();
        let tools = Arc::make_mut(&mut self.builtin);
        tools.retain(|old| old.definition().id != new.id && old.definition().name != new.name);
        tools.push(tool);
        self
    }

    /// Takes a tool that a client wrote into use, or its newest version.
    pub fn seat(&self, tool: Arc<dyn Tool>) {
        let id = tool.definition().id;
        let mut custom = self.custom.write().unwrap_or_else(PoisonError::into_inner);
        custom.insert(id, tool);
    }

    /// The tool is no longer found; a call of it that runs goes on.
    pub fn unseat(&self, id: ToolId) {
        let mut custom = self.custom.write().unwrap_or_else(PoisonError::into_inner);
        custom.remove(&id);
    }

    pub fn get(&self, id: ToolId) -> Option<Arc<dyn Tool>> {
        let builtin = self.builtin.iter().find(|tool| tool.definition().id == id);
        let custom = || {
            let custom = self.custom.read().unwrap_or_else(PoisonError::into_inner);
            custom.get(&id).cloned()
        };
        builtin.cloned().or_else(custom)
    }

    pub fn by_name(&self, name: &str) -> Option<Arc<dyn Tool>> {
        let named = |tool: &&Arc<dyn Tool>| tool.definition().name == name;
        let custom = || {
            let custom = self.custom.read().unwrap_or_else(PoisonError::into_inner);
            custom.values().find(named).cloned()
        };
        self.builtin.iter().find(named).cloned().or_else(custom)
    }

    /// By time of creation, ties by id: those in the program first.
    pub fn all(&self) -> Vec<Arc<dyn Tool>> {
        let custom = self.custom.read().unwrap_or_else(PoisonError::into_inner);
        let mut tools: Vec<Arc<dyn Tool>> = custom.values().cloned().collect();
        drop(custom);
        tools.sort_by_key(|tool| (tool.definition().created_at, tool.definition().id));
        self.builtin.iter().cloned().chain(tools).collect()
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
                    .map(|found| found.definition().name.clone()),
                Some(definition.name.clone())
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
        let again = toolbox.by_name("send_message").unwrap();
        let count = toolbox.all().len();
        assert_eq!(toolbox.with(again).all().len(), count);
    }
}
