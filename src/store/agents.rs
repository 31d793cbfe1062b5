//! Agents: their settings, their tombstones, the list of all of them.

use super::batch::{Batch, Op, Unsealed};
use super::codec::{Kind, Stored, Unreadable};
use super::keys::{self, list};
use super::models::{EmbeddingConfigV1, LlmConfigV1, ResponseFormatV1};
use super::record::{Record, record};
use super::seal::Sealed;
use super::{ReadError, Store, bad_entry, disk};
use crate::domain::agent::{Agent, AgentType, CompactionMode, CompactionSettings, Secret};
use crate::domain::id::AgentId;
use crate::domain::page::{Order, Stretch};
use crate::domain::tool::{ChildArgs, ToolRule, ToolRuleKind};
use bincode::{Decode, Encode};
use jiff::Timestamp;

record! {
    /// `secrets` hold sealed texts.
    #[derive(Encode, Decode)]
    struct AgentV1 for Agent {
        id: [u8; 16],
        name: String,
        agent_type: AgentTypeV1,
        system: String,
        description: Option<String>,
        metadata: Option<String>,
        tags: Vec<String>,
        llm_config: LlmConfigV1,
        embedding_config: Option<EmbeddingConfigV1>,
        compaction: CompactionSettingsV1,
        response_format: Option<ResponseFormatV1>,
        tool_rules: Vec<ToolRuleV1>,
        tools: Vec<[u8; 16]>,
        secrets: Vec<SecretV1>,
        identities: Vec<[u8; 16]>,
        timezone: String,
        hidden: Option<bool>,
        message_buffer_autoclear: bool,
        enable_sleeptime: Option<bool>,
        max_files_open: Option<u64>,
        per_file_view_window_char_limit: Option<u64>,
        project_id: Option<String>,
        template_id: Option<String>,
        base_template_id: Option<String>,
        deployment_id: Option<String>,
        entity_id: Option<String>,
        created_by: [u8; 16],
        updated_by: [u8; 16],
        created_at: i64,
        updated_at: i64,
        prompt_revision: u64,
    }
}

record! {
    #[derive(Encode, Decode)]
    enum AgentTypeV1 for AgentType {
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
}

record! {
    #[derive(Encode, Decode)]
    struct SecretV1 for Secret { id: [u8; 16], key: String, value: String, created_at: i64 }
}

record! {
    #[derive(Encode, Decode)]
    struct CompactionSettingsV1 for CompactionSettings {
        model: Option<String>,
        model_settings: Option<String>,
        prompt: Option<String>,
        prompt_acknowledgement: bool,
        clip_chars: Option<i64>,
        mode: CompactionModeV1,
        sliding_window_percentage: f64,
    }
}

record! {
    #[derive(Encode, Decode)]
    enum CompactionModeV1 for CompactionMode { All, SlidingWindow, SelfCompactAll, SelfCompactSlidingWindow }
}

record! {
    #[derive(Encode, Decode)]
    struct ToolRuleV1 for ToolRule { tool_name: String, prompt_template: Option<String>, kind: ToolRuleKindV1 }
}

record! {
    #[derive(Encode, Decode)]
    enum ToolRuleKindV1 for ToolRuleKind {
        RunFirst { args: Option<String> },
        ExitLoop,
        ContinueLoop,
        ConstrainChildTools { children: Vec<String>, child_arg_nodes: Option<Vec<ChildArgsV1>> },
        ParentLastTool { children: Vec<String> },
        Conditional { child_output_mapping: Vec<(String, String)>, default_child: Option<String>, require_output_mapping: bool },
        MaxCountPerStep { max_count_limit: u64 },
        RequiredBeforeExit,
        RequiresApproval,
    }
}

record! {
    #[derive(Encode, Decode)]
    struct ChildArgsV1 for ChildArgs { name: String, args: Option<String> }
}

impl Record<Sealed> for AgentV1 {
    fn of(value: &Sealed) -> Self {
        Self::of(&value.0)
    }

    fn into_domain(self) -> Result<Sealed, Unreadable> {
        self.into_domain().map(Sealed)
    }
}

impl Stored for Sealed {
    const KIND: Kind = Kind::Agent;
    const VERSION: u8 = 1;
    type Newest = AgentV1;
}

/// An agent that is deleted and not yet swept away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tombstone {
    pub(super) created_at: Timestamp,
}

record! {
    #[derive(Encode, Decode)]
    struct TombstoneV1 for Tombstone { created_at: i64 }
}

impl Stored for Tombstone {
    const KIND: Kind = Kind::Tombstone;
    const VERSION: u8 = 1;
    type Newest = TombstoneV1;
}

impl Batch {
    /// Writes the settings. They change rarely and may be long; what changes with every commit is in the head.
    pub fn put_agent(&mut self, agent: &Agent) {
        list(self, agent);
        self.unsealed.push(Unsealed::Agent(Box::new(agent.clone())));
    }

    /// Deletes the agent: from now on nothing of it is found, in no list and by no id. Its blocks lose their links to
    /// it. What it stored is removed later, by `Store::sweep`.
    pub fn bury(&mut self, agent: &Agent) {
        self.put(
            keys::tombstone(agent.id),
            &Tombstone {
                created_at: agent.created_at,
            },
        );
        self.set(keys::buried(agent.id), []);
        self.unset(keys::listed(
            list::AGENTS,
            agent.created_at,
            agent.id.bytes(),
        ));
        self.ops.push(Op::Unlist(agent.id));
    }
}

/// Writes the entry that leads to the agent.
pub(super) fn list(batch: &mut Batch, agent: &Agent) {
    batch.set(
        keys::listed(list::AGENTS, agent.created_at, agent.id.bytes()),
        [],
    );
}

impl Store {
    /// The agent's settings; `None` if there is no such agent or it is deleted.
    ///
    /// # Errors
    /// `Damaged` also when its secrets were sealed with another master key.
    pub fn agent(&self, id: AgentId) -> Result<Option<Agent>, ReadError> {
        let key = keys::settings(id);
        let Some(sealed) = self.living_record(id, &key)? else {
            return Ok(None);
        };
        self.seal()
            .open(sealed)
            .map(Some)
            .map_err(|error| disk::damaged(&key, error.to_string()))
    }

    /// Whether the agent is deleted and not yet swept away.
    pub fn is_buried(&self, id: AgentId) -> Result<bool, ReadError> {
        self.disk().holds(&keys::tombstone(id))
    }

    /// Ids of all agents by time of creation.
    pub fn agents_by_created(
        &self,
        stretch: Stretch<AgentId>,
    ) -> Result<impl Iterator<Item = Result<AgentId, ReadError>> + use<>, ReadError> {
        let entries = self.stretch(keys::whole_list(list::AGENTS), stretch, |id| {
            let agent = self.agent(id)?;
            Ok(agent.map(|agent| keys::listed(list::AGENTS, agent.created_at, id.bytes())))
        });
        Ok(entries?.map(|entry| {
            let (key, _) = entry?;
            keys::last_id(&key)
                .map(AgentId::from_bytes)
                .ok_or_else(|| bad_entry(&key))
        }))
    }

    /// Agents that are deleted and not yet swept away.
    pub fn buried(&self) -> Result<Vec<AgentId>, ReadError> {
        let entries = self
            .disk()
            .scan(keys::whole_list(list::BURIED), Order::Ascending);
        entries
            .map(|entry| {
                entry.and_then(|(key, _)| {
                    keys::last_id(&key)
                        .map(AgentId::from_bytes)
                        .ok_or_else(|| bad_entry(&key))
                })
            })
            .collect()
    }
}
