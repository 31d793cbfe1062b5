//! Memory blocks: labelled text that is always in the prompt of the agents it is attached to.

use super::id::{BlockId, IdentityId, UserId};
use jiff::Timestamp;
use serde_json::Value;

/// Characters a block holds when nobody said otherwise. Advisory (decisions 7).
pub const DEFAULT_LIMIT: u64 = 100_000;

#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    pub id: BlockId,
    pub label: String,
    pub value: String,
    /// Unicode scalar values.
    pub limit: u64,
    pub description: Option<String>,
    /// Binds the agents' memory tools only.
    pub read_only: bool,
    pub hidden: Option<bool>,
    pub metadata: Value,
    /// Sorted, without repeats.
    pub tags: Vec<String>,
    pub is_template: bool,
    pub template_name: Option<String>,
    pub template_id: Option<String>,
    pub base_template_id: Option<String>,
    pub deployment_id: Option<String>,
    pub entity_id: Option<String>,
    pub preserve_on_migration: Option<bool>,
    pub project_id: Option<String>,
    pub created_by: Option<UserId>,
    pub updated_by: Option<UserId>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Rises by one with every write; a write is taken only if it read the newest (decisions 32).
    pub version: u64,
}

/// A block as a client asks for it.
#[derive(Debug, Clone, PartialEq)]
pub struct NewBlock {
    pub label: String,
    pub value: String,
    pub limit: u64,
    pub description: Option<String>,
    pub read_only: bool,
    pub hidden: Option<bool>,
    pub metadata: Value,
    pub tags: Vec<String>,
    pub is_template: bool,
    pub template_name: Option<String>,
    pub template_id: Option<String>,
    pub base_template_id: Option<String>,
    pub deployment_id: Option<String>,
    pub entity_id: Option<String>,
    pub preserve_on_migration: Option<bool>,
    pub project_id: Option<String>,
}

impl NewBlock {
    /// The first version of the block.
    pub fn create(self, by: UserId, now: Timestamp) -> Block {
        Block {
            id: BlockId::new(),
            label: self.label,
            value: self.value,
            limit: self.limit,
            description: self.description,
            read_only: self.read_only,
            hidden: self.hidden,
            metadata: self.metadata,
            tags: sorted(self.tags),
            is_template: self.is_template,
            template_name: self.template_name,
            template_id: self.template_id,
            base_template_id: self.base_template_id,
            deployment_id: self.deployment_id,
            entity_id: self.entity_id,
            preserve_on_migration: self.preserve_on_migration,
            project_id: self.project_id,
            created_by: Some(by),
            updated_by: Some(by),
            created_at: now,
            updated_at: now,
            version: 1,
        }
    }
}

/// What a PATCH changes: `None` leaves the field as it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BlockChange {
    pub label: Option<String>,
    pub value: Option<String>,
    pub limit: Option<u64>,
    pub description: Option<String>,
    pub read_only: Option<bool>,
    pub hidden: Option<bool>,
    pub metadata: Option<Value>,
    pub tags: Option<Vec<String>>,
    pub is_template: Option<bool>,
    pub template_name: Option<String>,
    pub template_id: Option<String>,
    pub base_template_id: Option<String>,
    pub deployment_id: Option<String>,
    pub entity_id: Option<String>,
    pub preserve_on_migration: Option<bool>,
    pub project_id: Option<String>,
}

impl BlockChange {
    /// The changed block, or `None` when nothing would be different: then nothing is written and no prompt is rebuilt.
    pub fn apply(self, block: &Block, by: UserId, now: Timestamp) -> Option<Block> {
        let mut new = block.clone();
        set(&mut new.label, self.label);
        set(&mut new.value, self.value);
        set(&mut new.limit, self.limit);
        set(&mut new.read_only, self.read_only);
        set(&mut new.metadata, self.metadata);
        set(&mut new.tags, self.tags.map(sorted));
        set(&mut new.is_template, self.is_template);
        set_some(&mut new.description, self.description);
        set_some(&mut new.hidden, self.hidden);
        set_some(&mut new.template_name, self.template_name);
        set_some(&mut new.template_id, self.template_id);
        set_some(&mut new.base_template_id, self.base_template_id);
        set_some(&mut new.deployment_id, self.deployment_id);
        set_some(&mut new.entity_id, self.entity_id);
        set_some(&mut new.preserve_on_migration, self.preserve_on_migration);
        set_some(&mut new.project_id, self.project_id);
        if new == *block {
            return None;
        }
        new.updated_by = Some(by);
        new.updated_at = now;
        new.version += 1;
        Some(new)
    }
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

fn set_some<T>(field: &mut Option<T>, value: Option<T>) {
    if value.is_some() {
        *field = value;
    }
}

fn sorted(mut tags: Vec<String>) -> Vec<String> {
    tags.sort();
    tags.dedup();
    tags
}

/// One block on one agent. Labels are unique per agent; the ordinal is the order of attachment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockLink {
    pub block_id: BlockId,
    pub label: String,
    pub ordinal: u64,
}

/// Which blocks a list holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BlockFilter {
    pub label: Option<String>,
    pub label_search: Option<String>,
    pub description_search: Option<String>,
    pub value_search: Option<String>,
    pub template_name: Option<String>,
    pub templates_only: bool,
    pub project_id: Option<String>,
    pub identity_id: Option<IdentityId>,
    pub identifier_keys: Vec<String>,
    pub tags: Vec<String>,
    pub match_all_tags: bool,
    pub connected_to_agents_count_gt: Option<u64>,
    pub connected_to_agents_count_lt: Option<u64>,
    pub connected_to_agents_count_eq: Vec<u64>,
    pub show_hidden: bool,
}
