//! Agents as JSON.

use super::block::{Block, CreateBlock, memory};
use super::content::ContentIn;
use super::message::Message;
use super::model::{
    CompactionIn, EmbeddingConfig, LlmConfig, ModelSettings, ResponseFormat, ToolRule, compaction,
    given, model_settings, named,
};
use super::tool::Tool;
use crate::domain::agent::{Agent, AgentType, Secret};
use crate::domain::approval::Pending;
use crate::domain::block::Block as DomainBlock;
use crate::domain::history::Head;
use crate::domain::id::MessageId;
use crate::domain::piece::{self, Body, Piece, Reading};
use crate::domain::run::{StopReason, View};
use crate::domain::tool::Tool as DomainTool;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;

/// Which relations an answer shows; what is not shown is there and empty (wire-rules §11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    pub blocks: bool,
    pub tools: bool,
    pub tags: bool,
    pub secrets: bool,
    pub identities: bool,
    pub pending: bool,
}

impl Shown {
    pub const NOTHING: Self = Self {
        blocks: false,
        tools: false,
        tags: false,
        secrets: false,
        identities: false,
        pending: false,
    };
    pub const EVERYTHING: Self = Self {
        blocks: true,
        tools: true,
        tags: true,
        secrets: true,
        identities: true,
        pending: false,
    };

    /// What `include` may name.
    pub const NAMES: [&'static str; 8] = [
        "agent.blocks",
        "agent.identities",
        "agent.managed_group",
        "agent.pending_approval",
        "agent.secrets",
        "agent.sources",
        "agent.tags",
        "agent.tools",
    ];

    /// By the names of `include`.
    ///
    /// # Errors
    /// The first name that is none of `NAMES`.
    pub fn include(names: &[String]) -> Result<Self, String> {
        let mut shown = Self::NOTHING;
        for name in names {
            match name.as_str() {
                // Blocks bring the tags along.
                "agent.blocks" => (shown.blocks, shown.tags) = (true, true),
                "agent.tools" => shown.tools = true,
                "agent.tags" => shown.tags = true,
                "agent.secrets" => shown.secrets = true,
                "agent.identities" => shown.identities = true,
                "agent.pending_approval" => shown.pending = true,
                "agent.managed_group" | "agent.sources" => (),
                other => return Err(other.to_owned()),
            }
        }
        Ok(shown)
    }

    /// By the old names of `include_relationships`.
    pub fn relationships(names: &[String]) -> Self {
        let has = |name: &str| names.iter().any(|given| given == name);
        Self {
            blocks: has("memory"),
            tools: has("tools"),
            tags: has("tags") || has("memory"),
            secrets: has("tool_exec_environment_variables") || has("secrets"),
            identities: has("identity_ids"),
            pending: false,
        }
    }
}

/// `AgentState`: every key, always.
pub fn state(
    agent: &Agent,
    head: &Head,
    message_ids: &[MessageId],
    blocks: &[Arc<DomainBlock>],
    tools: &[Arc<DomainTool>],
    pending: Option<&Pending>,
    shown: &Shown,
) -> Value {
    let blocks: Vec<Block> = if shown.blocks {
        blocks.iter().map(|block| Block::from(&**block)).collect()
    } else {
        Vec::new()
    };
    let tools: Vec<Tool> = if shown.tools {
        tools.iter().map(|tool| Tool::from(&**tool)).collect()
    } else {
        Vec::new()
    };
    let secrets = if shown.secrets {
        secrets(agent)
    } else {
        Vec::new()
    };
    let identities: Vec<String> = if shown.identities {
        agent.identities.iter().map(ToString::to_string).collect()
    } else {
        Vec::new()
    };
    let git = agent.tags.iter().any(|tag| tag == "git-memory-enabled");
    let (files, chars) = file_limits(agent);
    json!({
        "created_by_id": agent.created_by.to_string(),
        "last_updated_by_id": agent.updated_by.to_string(),
        "created_at": super::time(agent.created_at),
        "updated_at": super::time(agent.updated_at),
        "id": agent.id.to_string(),
        "name": agent.name,
        "tool_rules": agent.tool_rules.iter().map(ToolRule::from).collect::<Vec<_>>(),
        "message_ids": message_ids.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "system": agent.system,
        "agent_type": agent.agent_type.name(),
        "llm_config": LlmConfig::from(&agent.llm_config),
        "embedding_config": agent.embedding_config.as_ref().map(EmbeddingConfig::from),
        "model": agent.llm_config.handle().to_string(),
        "embedding": agent.embedding_config.as_ref().and_then(|config| config.handle.clone()),
        "model_settings": model_settings(&agent.llm_config),
        "compaction_settings": compaction(&agent.compaction),
        "response_format": agent.response_format.clone().map(ResponseFormat::from),
        "description": agent.description,
        "metadata": agent.metadata,
        "memory": memory(agent.agent_type, git, &blocks),
        "blocks": blocks,
        "tools": tools,
        "sources": [],
        "tags": if shown.tags { agent.tags.clone() } else { Vec::new() },
        "tool_exec_environment_variables": secrets,
        "secrets": secrets,
        "project_id": agent.project_id,
        "template_id": agent.template_id,
        "base_template_id": agent.base_template_id,
        "deployment_id": agent.deployment_id,
        "entity_id": agent.entity_id,
        "identity_ids": identities,
        "identities": [],
        "pending_approval": pending.and_then(pending_approval),
        "message_buffer_autoclear": agent.message_buffer_autoclear,
        "enable_sleeptime": agent.enable_sleeptime,
        "multi_agent_group": null,
        "managed_group": null,
        "last_run_completion": head.last_run_completion.map(super::time),
        "last_run_duration_ms": head.last_run_duration_ms,
        "last_stop_reason": head.last_stop_reason.map(StopReason::name),
        "timezone": agent.timezone,
        "max_files_open": files,
        "per_file_view_window_char_limit": chars,
        "hidden": agent.hidden,
    })
}

/// The request that waits, as a list would show it.
fn pending_approval(pending: &Pending) -> Option<Message> {
    let view = View::default();
    let pieces = piece::pieces(&pending.request, &Reading::native(&view));
    let request = |piece: &Piece| matches!(piece.body, Body::ApprovalRequest(_));
    pieces.into_iter().find(request).map(Message::from)
}

fn secrets(agent: &Agent) -> Vec<Value> {
    let secret = |secret: &Secret| {
        json!({
            "created_by_id": null,
            "last_updated_by_id": null,
            "created_at": super::time(secret.created_at),
            "updated_at": super::time(secret.created_at),
            "id": secret.id.to_string(),
            "key": secret.key,
            "value": secret.value,
            "description": null,
            "value_enc": null,
            "agent_id": agent.id.to_string(),
        })
    };
    agent.secrets.iter().map(secret).collect()
}

/// Open files and characters of each: both follow the context window where they were not set (schemas.md, Agents).
fn file_limits(agent: &Agent) -> (u64, u64) {
    let (files, chars) = match agent.llm_config.context_window {
        0..=8_000 => (3, 5_000),
        8_001..=32_000 => (5, 15_000),
        32_001..=128_000 => (10, 25_000),
        128_001..=200_000 => (10, 40_000),
        200_001.. => (15, 40_000),
    };
    (
        agent.max_files_open.unwrap_or(files),
        agent.per_file_view_window_char_limit.unwrap_or(chars),
    )
}

/// An agent as it is asked for. Unknown keys are ignored; null is as good as absent.
#[derive(Debug, Deserialize)]
pub struct CreateAgent {
    pub name: Option<String>,
    pub memory_blocks: Option<Vec<CreateBlock>>,
    pub tools: Option<Vec<String>>,
    pub tool_ids: Option<Vec<String>>,
    pub block_ids: Option<Vec<String>>,
    pub folder_ids: Option<Vec<String>>,
    pub source_ids: Option<Vec<String>>,
    pub tool_rules: Option<Vec<ToolRule>>,
    pub tags: Option<Vec<String>>,
    pub system: Option<String>,
    #[serde(default, deserialize_with = "agent_type")]
    pub agent_type: Option<AgentType>,
    pub initial_message_sequence: Option<Vec<FirstMessage>>,
    pub include_base_tools: Option<bool>,
    pub include_multi_agent_tools: Option<bool>,
    pub include_base_tool_rules: Option<bool>,
    pub description: Option<String>,
    pub metadata: Option<Map<String, Value>>,
    pub llm_config: Option<LlmConfig>,
    pub embedding_config: Option<EmbeddingConfig>,
    pub model: Option<String>,
    pub embedding: Option<String>,
    pub model_settings: Option<ModelSettings>,
    pub compaction_settings: Option<CompactionIn>,
    pub context_window_limit: Option<NonZeroU64>,
    pub embedding_chunk_size: Option<u64>,
    pub max_tokens: Option<u64>,
    pub max_reasoning_tokens: Option<u64>,
    pub enable_reasoner: Option<bool>,
    pub reasoning: Option<bool>,
    pub tool_exec_environment_variables: Option<BTreeMap<String, String>>,
    pub secrets: Option<BTreeMap<String, String>>,
    pub project_id: Option<String>,
    pub template_id: Option<String>,
    pub base_template_id: Option<String>,
    pub identity_ids: Option<Vec<String>>,
    pub message_buffer_autoclear: Option<bool>,
    pub enable_sleeptime: Option<bool>,
    pub response_format: Option<ResponseFormat>,
    pub timezone: Option<String>,
    pub max_files_open: Option<u64>,
    pub per_file_view_window_char_limit: Option<u64>,
    pub hidden: Option<bool>,
    pub parallel_tool_calls: Option<bool>,
}

fn agent_type<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<AgentType>, D::Error> {
    named(
        deserializer,
        AgentType::parse,
        &AgentType::ALL.map(AgentType::name),
    )
}

fn stop_reason<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<StopReason>, D::Error> {
    named(
        deserializer,
        StopReason::parse,
        &StopReason::ALL.map(StopReason::name),
    )
}

/// One entry of `initial_message_sequence`.
#[derive(Debug, Deserialize)]
pub struct FirstMessage {
    pub role: String,
    pub content: ContentIn,
}

/// What a PATCH changes. Null leaves a field as it is, but for `max_tokens`, which it clears.
#[derive(Debug, Deserialize)]
pub struct UpdateAgent {
    pub name: Option<String>,
    pub tool_ids: Option<Vec<String>>,
    pub folder_ids: Option<Vec<String>>,
    pub source_ids: Option<Vec<String>>,
    pub block_ids: Option<Vec<String>>,
    pub tags: Option<Vec<String>>,
    pub system: Option<String>,
    pub tool_rules: Option<Vec<ToolRule>>,
    pub message_ids: Option<Vec<String>>,
    pub description: Option<String>,
    pub metadata: Option<Map<String, Value>>,
    pub tool_exec_environment_variables: Option<BTreeMap<String, String>>,
    pub secrets: Option<BTreeMap<String, String>>,
    pub project_id: Option<String>,
    pub template_id: Option<String>,
    pub base_template_id: Option<String>,
    pub identity_ids: Option<Vec<String>>,
    pub message_buffer_autoclear: Option<bool>,
    pub model: Option<String>,
    pub embedding: Option<String>,
    pub model_settings: Option<ModelSettings>,
    pub compaction_settings: Option<CompactionIn>,
    pub context_window_limit: Option<NonZeroU64>,
    pub reasoning: Option<bool>,
    pub llm_config: Option<LlmConfig>,
    pub embedding_config: Option<EmbeddingConfig>,
    pub parallel_tool_calls: Option<bool>,
    pub response_format: Option<ResponseFormat>,
    #[serde(default, deserialize_with = "given")]
    pub max_tokens: Option<Option<u64>>,
    pub enable_sleeptime: Option<bool>,
    pub last_run_completion: Option<String>,
    pub last_run_duration_ms: Option<u64>,
    #[serde(default, deserialize_with = "stop_reason")]
    pub last_stop_reason: Option<StopReason>,
    pub timezone: Option<String>,
    pub max_files_open: Option<u64>,
    pub per_file_view_window_char_limit: Option<u64>,
    pub hidden: Option<bool>,
}

/// Whether a reset greets again.
#[derive(Debug, Deserialize)]
pub struct ResetMessages {
    pub add_default_initial_messages: Option<bool>,
}

#[cfg(test)]
mod tests;
