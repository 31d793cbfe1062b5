//! An agent's settings: what a client gives and changes. What it lived through is in `history`.

use super::id::{AgentId, BlockId, IdentityId, SecretId, ToolId, UserId};
use super::model::{EmbeddingConfig, LlmConfig, ModelSettings, ResponseFormat};
use super::run::StopReason;
use super::stock;
use super::tool::ToolRule;
use jiff::Timestamp;
use serde_json::Value;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AgentType {
    MemgptAgent,
    MemgptV2Agent,
    LettaV1Agent,
    ReactAgent,
    WorkflowAgent,
    SplitThreadAgent,
    SleeptimeAgent,
    VoiceConvoAgent,
    VoiceSleeptimeAgent,
}

impl AgentType {
    pub const ALL: [Self; 9] = [
        Self::MemgptAgent,
        Self::MemgptV2Agent,
        Self::LettaV1Agent,
        Self::ReactAgent,
        Self::WorkflowAgent,
        Self::SplitThreadAgent,
        Self::SleeptimeAgent,
        Self::VoiceConvoAgent,
        Self::VoiceSleeptimeAgent,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::MemgptAgent => "memgpt_agent",
            Self::MemgptV2Agent => "memgpt_v2_agent",
            Self::LettaV1Agent => "letta_v1_agent",
            Self::ReactAgent => "react_agent",
            Self::WorkflowAgent => "workflow_agent",
            Self::SplitThreadAgent => "split_thread_agent",
            Self::SleeptimeAgent => "sleeptime_agent",
            Self::VoiceConvoAgent => "voice_convo_agent",
            Self::VoiceSleeptimeAgent => "voice_sleeptime_agent",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// How its turns go (agent-loop §1).
    pub fn turn_loop(self) -> TurnLoop {
        match self {
            Self::LettaV1Agent => TurnLoop::Native,
            Self::SleeptimeAgent => TurnLoop::NativeForced,
            Self::MemgptAgent
            | Self::MemgptV2Agent
            | Self::ReactAgent
            | Self::WorkflowAgent
            | Self::SplitThreadAgent
            | Self::VoiceConvoAgent
            | Self::VoiceSleeptimeAgent => TurnLoop::Heartbeat,
        }
    }

    /// Whether its model answers with a call always, as long as it is offered a tool.
    pub fn must_call(self) -> bool {
        self.turn_loop() != TurnLoop::Native
    }

    /// Whether each of its turns starts from an empty window, whatever its settings say.
    pub fn forgets(self) -> bool {
        self == Self::WorkflowAgent
    }
}

/// How the turns of an agent go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TurnLoop {
    /// The model calls tools as it likes, and an answer without calls ends the turn.
    Native,
    /// The same, but the model is made to call a tool as long as one is offered.
    NativeForced,
    /// One call a step, always, and with it the model says whether it wants another step (`heartbeat`). What it writes
    /// as text is thought.
    Heartbeat,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Agent {
    pub id: AgentId,
    pub name: String,
    pub agent_type: AgentType,
    /// The base prompt, before memory is compiled into it.
    pub system: String,
    pub description: Option<String>,
    pub metadata: Option<Value>,
    /// Sorted, without repeats.
    pub tags: Vec<String>,
    pub llm_config: LlmConfig,
    pub embedding_config: Option<EmbeddingConfig>,
    pub compaction: CompactionSettings,
    pub response_format: Option<ResponseFormat>,
    pub tool_rules: Vec<ToolRule>,
    /// In order of attachment.
    pub tools: Vec<ToolId>,
    pub secrets: Vec<Secret>,
    pub identities: Vec<IdentityId>,
    /// IANA zone.
    pub timezone: String,
    pub hidden: Option<bool>,
    /// Each turn starts from an empty window. Always so for the types that forget.
    pub message_buffer_autoclear: bool,
    pub enable_sleeptime: Option<bool>,
    pub max_files_open: Option<u64>,
    pub per_file_view_window_char_limit: Option<u64>,
    pub project_id: Option<String>,
    pub template_id: Option<String>,
    pub base_template_id: Option<String>,
    pub deployment_id: Option<String>,
    pub entity_id: Option<String>,
    pub created_by: UserId,
    pub updated_by: UserId,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Rises with every change of what the system message is compiled from (system text, tool rules, type, zone).
    pub prompt_revision: u64,
}

/// An environment variable for the agent's tools. Sealed on disk (decisions 38).
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    pub id: SecretId,
    pub key: String,
    pub value: String,
    pub created_at: Timestamp,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secret")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// How history is summarised (next issue); filled in at creation and shown from the first version.
#[derive(Debug, Clone, PartialEq)]
pub struct CompactionSettings {
    pub model: Option<String>,
    /// As the client sent it: a settings object of the summariser's provider.
    pub model_settings: Option<Value>,
    pub prompt: Option<String>,
    pub prompt_acknowledgement: bool,
    /// Characters; `None` is no cap.
    pub clip_chars: Option<i64>,
    pub mode: CompactionMode,
    /// Share of the messages, 0 to 1.
    pub sliding_window_percentage: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompactionMode {
    All,
    SlidingWindow,
    SelfCompactAll,
    SelfCompactSlidingWindow,
}

impl CompactionMode {
    pub const ALL: [Self; 4] = [
        Self::All,
        Self::SlidingWindow,
        Self::SelfCompactAll,
        Self::SelfCompactSlidingWindow,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::SlidingWindow => "sliding_window",
            Self::SelfCompactAll => "self_compact_all",
            Self::SelfCompactSlidingWindow => "self_compact_sliding_window",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }
}

/// What a PATCH changes: `None` leaves the field as it is. Handles are resolved and defaults filled before this is made.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AgentChange {
    pub name: Option<String>,
    pub system: Option<String>,
    pub description: Option<String>,
    pub metadata: Option<Value>,
    pub tags: Option<Vec<String>>,
    /// A whole new configuration (from `llm_config`, or built from a handle), before the overlays below.
    pub llm_config: Option<LlmConfig>,
    pub context_window: Option<u64>,
    /// `Some(None)`: an explicit null clears the limit.
    pub max_tokens: Option<Option<u64>>,
    pub parallel_tool_calls: Option<bool>,
    pub reasoning: Option<bool>,
    pub model_settings: Option<ModelSettings>,
    pub embedding_config: Option<EmbeddingConfig>,
    pub compaction: Option<CompactionChange>,
    pub response_format: Option<ResponseFormat>,
    pub tool_rules: Option<Vec<ToolRule>>,
    pub tools: Option<Vec<ToolId>>,
    /// Replaces the set of attached blocks; `[]` detaches all.
    pub blocks: Option<Vec<BlockId>>,
    pub secrets: Option<Vec<(String, String)>>,
    pub identities: Option<Vec<IdentityId>>,
    /// Replaces the in-context list.
    pub message_ids: Option<Vec<super::id::MessageId>>,
    pub timezone: Option<String>,
    pub hidden: Option<bool>,
    pub message_buffer_autoclear: Option<bool>,
    pub enable_sleeptime: Option<bool>,
    pub max_files_open: Option<u64>,
    pub per_file_view_window_char_limit: Option<u64>,
    pub project_id: Option<String>,
    pub template_id: Option<String>,
    pub base_template_id: Option<String>,
    pub last_run_completion: Option<Timestamp>,
    pub last_run_duration_ms: Option<u64>,
    pub last_stop_reason: Option<StopReason>,
}

/// Laid over the settings field by field. `Some(None)`: an explicit null asks for the default.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CompactionChange {
    pub model: Option<Option<String>>,
    pub model_settings: Option<Option<Value>>,
    pub prompt: Option<Option<String>>,
    pub prompt_acknowledgement: Option<bool>,
    pub clip_chars: Option<Option<i64>>,
    pub mode: Option<CompactionMode>,
    pub sliding_window_percentage: Option<f64>,
}

impl AgentChange {
    /// Changes the settings of `agent`; blocks, message ids and the last-run fields are its owner's to apply.
    pub fn apply(&self, agent: &mut Agent, by: UserId, now: Timestamp) {
        let change = self.clone();
        let summariser = stock::summariser(&agent.llm_config);
        let provider = agent.llm_config.handle().provider;
        let before = (
            agent.system.clone(),
            agent.tool_rules.clone(),
            agent.timezone.clone(),
        );
        let llm = &mut agent.llm_config;
        set(llm, change.llm_config);
        set(&mut llm.context_window, change.context_window);
        set(&mut llm.max_tokens, change.max_tokens);
        set(&mut llm.enable_reasoner, change.reasoning);
        set_some(&mut llm.parallel_tool_calls, change.parallel_tool_calls);
        if let Some(settings) = change.model_settings {
            settings.apply(llm);
        }
        if provider != agent.llm_config.handle().provider
            && agent.compaction.model == Some(summariser)
        {
            agent.compaction.model = Some(stock::summariser(&agent.llm_config));
        }
        if let Some(compaction) = change.compaction {
            compaction.apply(&mut agent.compaction);
            agent
                .compaction
                .model
                .get_or_insert_with(|| stock::summariser(&agent.llm_config));
        }
        set(&mut agent.name, change.name);
        set(&mut agent.system, change.system);
        set(&mut agent.tags, change.tags.map(sorted));
        set(&mut agent.tool_rules, change.tool_rules);
        set(&mut agent.tools, change.tools);
        set(&mut agent.identities, change.identities);
        set(&mut agent.timezone, change.timezone);
        set(
            &mut agent.message_buffer_autoclear,
            change.message_buffer_autoclear,
        );
        agent.message_buffer_autoclear |= agent.agent_type.forgets();
        set_some(&mut agent.description, change.description);
        set_some(&mut agent.metadata, change.metadata);
        set_some(&mut agent.embedding_config, change.embedding_config);
        set_some(&mut agent.response_format, change.response_format);
        set_some(&mut agent.hidden, change.hidden);
        set_some(&mut agent.enable_sleeptime, change.enable_sleeptime);
        set_some(&mut agent.max_files_open, change.max_files_open);
        set_some(
            &mut agent.per_file_view_window_char_limit,
            change.per_file_view_window_char_limit,
        );
        set_some(&mut agent.project_id, change.project_id);
        set_some(&mut agent.template_id, change.template_id);
        set_some(&mut agent.base_template_id, change.base_template_id);
        if let Some(secrets) = change.secrets {
            agent.secrets = replaced(&agent.secrets, secrets, now);
        }
        if before
            != (
                agent.system.clone(),
                agent.tool_rules.clone(),
                agent.timezone.clone(),
            )
        {
            agent.prompt_revision += 1;
        }
        agent.updated_by = by;
        agent.updated_at = now;
    }
}

impl CompactionChange {
    pub fn apply(self, settings: &mut CompactionSettings) {
        // A prompt belongs to its mode: a new mode without a prompt of its own takes that mode's default.
        let new_mode = self.mode.is_some_and(|mode| mode != settings.mode);
        set(&mut settings.mode, self.mode);
        set(&mut settings.model, self.model);
        set(&mut settings.model_settings, self.model_settings);
        let default = || stock::compaction_prompt(settings.mode).to_owned();
        match self.prompt {
            Some(prompt) => settings.prompt = Some(prompt.unwrap_or_else(default)),
            None if new_mode => settings.prompt = Some(default()),
            None => (),
        }
        set(
            &mut settings.prompt_acknowledgement,
            self.prompt_acknowledgement,
        );
        set(&mut settings.clip_chars, self.clip_chars);
        set(
            &mut settings.sliding_window_percentage,
            self.sliding_window_percentage,
        );
    }
}

/// The new set of secrets; one whose key and value are unchanged keeps its id and age.
fn replaced(old: &[Secret], new: Vec<(String, String)>, now: Timestamp) -> Vec<Secret> {
    let kept = |key: &str, value: &str| {
        old.iter()
            .find(|secret| secret.key == key && secret.value == value)
            .cloned()
    };
    new.into_iter()
        .map(|(key, value)| {
            kept(&key, &value).unwrap_or(Secret {
                id: SecretId::new(),
                key,
                value,
                created_at: now,
            })
        })
        .collect()
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

/// Tags are sets: sorted, without repeats.
pub fn sorted(mut tags: Vec<String>) -> Vec<String> {
    tags.sort();
    tags.dedup();
    tags
}

/// The characters of an agent's name: letters and digits of any script, `_`, space, `'` and `-`.
///
/// # Errors
/// The characters that are not allowed, in the order they appear; empty for an empty name.
pub fn check_name(name: &str) -> Result<(), Vec<char>> {
    let bad: Vec<char> = name
        .chars()
        .filter(|c| !c.is_alphanumeric() && !matches!(c, '_' | ' ' | '\'' | '-'))
        .collect();
    if bad.is_empty() && !name.is_empty() {
        Ok(())
    } else {
        Err(bad)
    }
}

/// A whole new agent: everything that one batch creates (agents-admin §1).
#[derive(Debug, Clone, PartialEq)]
pub struct NewAgent {
    pub agent: Agent,
    /// Existing blocks to attach, before the new ones.
    pub block_ids: Vec<BlockId>,
    pub blocks: Vec<super::block::NewBlock>,
    /// What stands in the context after the system message.
    pub first_messages: Vec<super::message::Message>,
}

/// Which agents a list holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AgentFilter {
    pub name: Option<String>,
    pub query_text: Option<String>,
    pub tags: Vec<String>,
    pub match_all_tags: bool,
    pub project_id: Option<String>,
    pub template_id: Option<String>,
    pub base_template_id: Option<String>,
    pub identity_id: Option<IdentityId>,
    pub identifier_keys: Vec<String>,
    pub last_stop_reason: Option<StopReason>,
    pub created_by: Option<UserId>,
    pub show_hidden: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentOrder {
    CreatedAt,
    UpdatedAt,
    LastRunCompletion,
}
