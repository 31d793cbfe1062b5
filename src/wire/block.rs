//! Memory blocks as JSON.

use crate::domain::agent::AgentType;
use crate::domain::block::{Block as Domain, BlockChange, DEFAULT_LIMIT, NewBlock};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A block, in answers of its own and inside agents.
#[derive(Debug, Clone, Serialize)]
pub struct Block {
    value: String,
    limit: u64,
    project_id: Option<String>,
    template_name: Option<String>,
    is_template: bool,
    template_id: Option<String>,
    base_template_id: Option<String>,
    deployment_id: Option<String>,
    entity_id: Option<String>,
    preserve_on_migration: Option<bool>,
    label: String,
    read_only: bool,
    description: Option<String>,
    metadata: Value,
    hidden: Option<bool>,
    id: String,
    created_by_id: Option<String>,
    last_updated_by_id: Option<String>,
    tags: Vec<String>,
}

impl From<&Domain> for Block {
    fn from(block: &Domain) -> Self {
        Self {
            value: block.value.clone(),
            limit: block.limit,
            project_id: block.project_id.clone(),
            template_name: block.template_name.clone(),
            is_template: block.is_template,
            template_id: block.template_id.clone(),
            base_template_id: block.base_template_id.clone(),
            deployment_id: block.deployment_id.clone(),
            entity_id: block.entity_id.clone(),
            preserve_on_migration: block.preserve_on_migration,
            label: block.label.clone(),
            read_only: block.read_only,
            description: block.description.clone(),
            metadata: block.metadata.clone(),
            hidden: block.hidden,
            id: block.id.to_string(),
            created_by_id: block.created_by.map(|id| id.to_string()),
            last_updated_by_id: block.updated_by.map(|id| id.to_string()),
            tags: block.tags.clone(),
        }
    }
}

/// A block as it is asked for. Whole blocks read from the API are accepted too: what is not listed is ignored.
#[derive(Debug, Deserialize)]
pub struct CreateBlock {
    label: String,
    /// Required; null is the empty text.
    #[serde(deserialize_with = "Option::deserialize")]
    value: Option<String>,
    limit: Option<u64>,
    description: Option<String>,
    read_only: Option<bool>,
    hidden: Option<bool>,
    metadata: Option<serde_json::Map<String, Value>>,
    tags: Option<Vec<String>>,
    is_template: Option<bool>,
    template_name: Option<String>,
    template_id: Option<String>,
    base_template_id: Option<String>,
    deployment_id: Option<String>,
    entity_id: Option<String>,
    preserve_on_migration: Option<bool>,
    project_id: Option<String>,
}

impl From<CreateBlock> for NewBlock {
    fn from(block: CreateBlock) -> Self {
        Self {
            label: block.label,
            value: without_nul(block.value.unwrap_or_default()),
            limit: block.limit.unwrap_or(DEFAULT_LIMIT),
            description: block.description,
            read_only: block.read_only.unwrap_or(false),
            hidden: block.hidden,
            metadata: Value::Object(block.metadata.unwrap_or_default()),
            tags: block.tags.unwrap_or_default(),
            is_template: block.is_template.unwrap_or(false),
            template_name: block.template_name,
            template_id: block.template_id,
            base_template_id: block.base_template_id,
            deployment_id: block.deployment_id,
            entity_id: block.entity_id,
            preserve_on_migration: block.preserve_on_migration.or(Some(false)),
            project_id: block.project_id,
        }
    }
}

/// What a PATCH changes; absent and null leave a field as it is.
#[derive(Debug, Deserialize)]
pub struct BlockUpdate {
    label: Option<String>,
    value: Option<String>,
    limit: Option<u64>,
    description: Option<String>,
    read_only: Option<bool>,
    hidden: Option<bool>,
    metadata: Option<serde_json::Map<String, Value>>,
    tags: Option<Vec<String>>,
    is_template: Option<bool>,
    template_name: Option<String>,
    template_id: Option<String>,
    base_template_id: Option<String>,
    deployment_id: Option<String>,
    entity_id: Option<String>,
    preserve_on_migration: Option<bool>,
    project_id: Option<String>,
}

impl From<BlockUpdate> for BlockChange {
    fn from(update: BlockUpdate) -> Self {
        Self {
            label: update.label,
            value: update.value.map(without_nul),
            limit: update.limit,
            description: update.description,
            read_only: update.read_only,
            hidden: update.hidden,
            metadata: update.metadata.map(Value::Object),
            tags: update.tags,
            is_template: update.is_template,
            template_name: update.template_name,
            template_id: update.template_id,
            base_template_id: update.base_template_id,
            deployment_id: update.deployment_id,
            entity_id: update.entity_id,
            preserve_on_migration: update.preserve_on_migration,
            project_id: update.project_id,
        }
    }
}

fn without_nul(text: String) -> String {
    if text.contains('\0') {
        text.replace('\0', "")
    } else {
        text
    }
}

/// The deprecated container of an agent's blocks.
pub fn memory(agent_type: AgentType, git: bool, blocks: &[Block]) -> Value {
    json!({"agent_type": agent_type.name(), "git_enabled": git, "blocks": blocks, "file_blocks": [], "prompt_template": ""})
}
