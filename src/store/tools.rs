//! Tools that clients wrote. A source may be long, so its record may be in pieces; what conditions ask is beside it.

use super::batch::{Batch, Condition};
use super::codec::{Kind, Stored};
use super::keys::{self, tool_section};
use super::record::record;
use super::{ReadError, Store};
use crate::domain::id::ToolId;
use crate::domain::page::Order;
use crate::domain::tool::{Requirement, SourceType, Tool, ToolType};
use bincode::{Decode, Encode};

record! {
    #[derive(Encode, Decode)]
    struct ToolV1 for Tool {
        id: [u8; 16],
        name: String,
        tool_type: ToolTypeV1,
        description: String,
        source_type: SourceTypeV1,
        source_code: Option<String>,
        tags: Vec<String>,
        json_schema: String,
        args_json_schema: Option<String>,
        pip_requirements: Option<Vec<RequirementV1>>,
        npm_requirements: Option<Vec<RequirementV1>>,
        return_char_limit: u64,
        default_requires_approval: Option<bool>,
        enable_parallel_execution: bool,
        created_by: Option<[u8; 16]>,
        updated_by: Option<[u8; 16]>,
        metadata: String,
        project_id: Option<String>,
        created_at: i64,
        updated_at: i64,
        version: u64,
    }
}

record! {
    #[derive(Encode, Decode)]
    enum ToolTypeV1 for ToolType {
        Custom,
        Core,
        MemoryCore,
        SleeptimeCore,
        MultiAgentCore,
        VoiceSleeptimeCore,
        Builtin,
        FilesCore,
        ExternalMcp,
    }
}

record! {
    #[derive(Encode, Decode)]
    enum SourceTypeV1 for SourceType { Python, Typescript }
}

record! {
    #[derive(Encode, Decode)]
    struct RequirementV1 for Requirement { name: String, version: Option<String> }
}

impl Stored for Tool {
    const KIND: Kind = Kind::Tool;
    const VERSION: u8 = 1;
    type Newest = ToolV1;
}

/// What is asked of a tool when another write is about to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ToolStamp {
    pub(super) name: String,
    pub(super) version: u64,
}

record! {
    #[derive(Encode, Decode)]
    struct ToolStampV1 for ToolStamp { name: String, version: u64 }
}

impl Stored for ToolStamp {
    const KIND: Kind = Kind::ToolStamp;
    const VERSION: u8 = 1;
    type Newest = ToolStampV1;
}

impl Batch {
    /// Writes a tool, on the condition that the version before it is the newest there is (version 1: that there is no such
    /// tool), and that its name is free if it is new to it. `before`: the name it had.
    pub fn put_tool(&mut self, tool: &Tool, before: Option<&str>) {
        self.require(Condition::ToolVersion {
            tool: tool.id,
            version: tool.version.saturating_sub(1),
        });
        if before != Some(&tool.name) {
            self.require(Condition::ToolNameFree(tool.name.clone()));
            if let Some(before) = before {
                self.unset(keys::tool_name(before));
            }
        }
        self.put(keys::tool(tool.id), tool);
        let stamp = ToolStamp {
            name: tool.name.clone(),
            version: tool.version,
        };
        self.put(keys::tool_stamp(tool.id), &stamp);
        list(self, tool);
    }

    /// Removes a tool and frees its name, on the condition that this is its newest version.
    pub fn delete_tool(&mut self, tool: ToolId, name: &str, version: u64) {
        self.require(Condition::ToolVersion { tool, version });
        self.unset(keys::tool_name(name));
        self.delete(keys::tool(tool));
        self.delete(keys::tool_stamp(tool));
    }
}

/// Writes the entry that leads to the tool.
pub(super) fn list(batch: &mut Batch, tool: &Tool) {
    batch.set(keys::tool_name(&tool.name), *tool.id.bytes());
}

impl Store {
    pub fn tool(&self, id: ToolId) -> Result<Option<Tool>, ReadError> {
        self.disk().record(&keys::tool(id))
    }

    /// Name and version of a tool, also of one whose source cannot be read.
    pub fn tool_stamp(&self, id: ToolId) -> Result<Option<(String, u64)>, ReadError> {
        let stamp: Option<ToolStamp> = self.disk().record(&keys::tool_stamp(id))?;
        Ok(stamp.map(|stamp| (stamp.name, stamp.version)))
    }

    /// All tools that clients wrote, and what cannot be read.
    pub fn tools(&self) -> (Vec<Tool>, Vec<ReadError>) {
        let (mut tools, mut unread) = (Vec::new(), Vec::new());
        for pair in self.disk().scan(keys::tools(), Order::Ascending) {
            let read = pair.and_then(|(key, value)| match keys::parts(&key) {
                Some((_, tool_section::RECORD, _)) => {
                    self.disk().assemble::<Tool>(&key, Some(value))
                }
                _ => Ok(None),
            });
            match read {
                Ok(tool) => tools.extend(tool),
                Err(error) => unread.push(error),
            }
        }
        (tools, unread)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::CommitError;
    use crate::store::testing;

    #[tokio::test]
    async fn a_tool_of_any_length_is_kept_under_its_name_until_it_is_deleted() {
        let store = testing::store();
        let put = |tool: &Tool, before: Option<&str>| {
            let mut batch = Batch::shared();
            batch.put_tool(tool, before);
            store.commit(batch)
        };
        let mut tool = testing::fixed_tool();
        tool.source_code = Some("x = 1\n".repeat(20_000));
        put(&tool, None).await.unwrap();
        assert_eq!(store.tool(tool.id).unwrap().as_ref(), Some(&tool));
        let other = Tool {
            id: ToolId::new(),
            ..tool.clone()
        };
        assert!(matches!(
            put(&other, None).await,
            Err(CommitError::Conflict(Condition::ToolNameFree(_)))
        ));
        let renamed = Tool {
            name: "plus".to_owned(),
            version: 2,
            ..tool.clone()
        };
        put(&renamed, Some(&tool.name)).await.unwrap();
        put(&other, None).await.unwrap();
        assert!(matches!(
            put(&renamed, Some("plus")).await,
            Err(CommitError::Conflict(Condition::ToolVersion { .. }))
        ));
        let (mut all, unread) = store.tools();
        all.sort_by_key(|tool| tool.version);
        assert_eq!(
            (all, unread),
            (vec![other.clone(), renamed.clone()], vec![])
        );
        assert!(store.rebuild_indexes().await.unwrap().is_empty());

        let mut batch = Batch::shared();
        batch.delete_tool(renamed.id, "plus", 2);
        store.commit(batch).await.unwrap();
        assert_eq!(store.tool(renamed.id).unwrap(), None);
        assert_eq!(store.tool_stamp(renamed.id).unwrap(), None);
        assert_eq!(store.tools().0, [other]);
    }
}
