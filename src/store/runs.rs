//! Runs: their records, the lists of them, and which of them have no end yet.

use super::batch::Batch;
use super::codec::{Kind, Stored};
use super::keys::{self, list, section};
use super::messages::PartV1;
use super::models::{LlmConfigV1, ModelErrorClassV1, UsageV1};
use super::record::record;
use super::{ReadError, Store, bad_entry};
use crate::domain::id::{AgentId, RunId};
use crate::domain::page::{Order, Stretch};
use crate::domain::run::{
    Callback, ErrorClass, Input, InputRole, Run, RunError, RunOptions, RunStatus, StopReason,
    StreamMode, View,
};
use crate::domain::skill::ClientSkill;
use crate::domain::token_data::TokenWish;
use bincode::{Decode, Encode};

record! {
    #[derive(Encode, Decode)]
    struct RunV1 for Run {
        id: [u8; 16],
        agent_id: [u8; 16],
        conversation_id: Option<[u8; 16]>,
        status: RunStatusV1,
        stop_reason: Option<StopReasonV1>,
        background: bool,
        metadata: String,
        view: ViewV1,
        created_at: i64,
        completed_at: Option<i64>,
        callback: Option<CallbackV1>,
        ttft_ns: Option<u64>,
        total_duration_ns: Option<u64>,
        error: Option<RunErrorV1>,
        usage: UsageV1,
        steps: u64,
        context_tokens: Option<u64>,
        tools_used: Vec<[u8; 16]>,
        otids: Vec<String>,
        body_hash: [u8; 32],
        delivered: bool,
    }
}

record! {
    #[derive(Encode, Decode)]
    enum RunStatusV1 for RunStatus { Created, Running, Completed, Failed, Cancelled }
}

record! {
    #[derive(Encode, Decode)]
    enum StopReasonV1 for StopReason {
        EndTurn,
        ToolRule,
        MaxSteps,
        RequiresApproval,
        MaxTokensExceeded,
        InvalidToolCall,
        NoToolCall,
        InvalidLlmResponse,
        LlmApiError,
        ContextWindowOverflowInSystemPrompt,
        Error,
        Cancelled,
        InsufficientCredits,
    }
}

record! {
    #[derive(Encode, Decode)]
    struct ViewV1 for View {
        use_assistant_message: bool,
        assistant_message_tool_name: String,
        assistant_message_tool_kwarg: String,
        include_return_message_types: Option<Vec<String>>,
    }
}

record! {
    #[derive(Encode, Decode)]
    struct CallbackV1 for Callback { url: String, sent_at: Option<i64>, status_code: Option<u16>, error: Option<String> }
}

record! {
    #[derive(Encode, Decode)]
    struct RunErrorV1 for RunError { class: ErrorClassV1, detail: String }
}

record! {
    #[derive(Encode, Decode)]
    enum ErrorClassV1 for ErrorClass {
        Model(class: ModelErrorClassV1),
        ServerRestart,
        Internal,
        PendingApproval(request: [u8; 16]),
        BadAnswer(reason: String),
        NotCompacted(reason: String),
        SystemTooLarge,
        StreamIncomplete,
    }
}

/// Before clients had skills, and could ask for tokens.
#[derive(Encode, Decode)]
pub(super) struct RunOptionsV1 {
    max_steps: u64,
    view: ViewV1,
    stream: StreamModeV1,
    include_compaction_messages: bool,
    override_model: Option<LlmConfigV1>,
    override_system: Option<String>,
}

record! {
    #[derive(Encode, Decode)]
    struct RunOptionsV2 for RunOptions {
        max_steps: u64,
        view: ViewV1,
        stream: StreamModeV1,
        include_compaction_messages: bool,
        override_model: Option<LlmConfigV1>,
        override_system: Option<String>,
        client_skills: Vec<ClientSkillV1>,
        tokens: TokenWishV1,
    }
}

impl From<RunOptionsV1> for RunOptionsV2 {
    fn from(old: RunOptionsV1) -> Self {
        Self {
            max_steps: old.max_steps,
            view: old.view,
            stream: old.stream,
            include_compaction_messages: old.include_compaction_messages,
            override_model: old.override_model,
            override_system: old.override_system,
            client_skills: Vec::new(),
            tokens: TokenWishV1 {
                logprobs: false,
                top_logprobs: None,
                token_ids: false,
            },
        }
    }
}

record! {
    #[derive(Encode, Decode)]
    struct ClientSkillV1 for ClientSkill { name: String, description: String, location: String }
}

record! {
    #[derive(Encode, Decode)]
    struct TokenWishV1 for TokenWish { logprobs: bool, top_logprobs: Option<u64>, token_ids: bool }
}

record! {
    #[derive(Encode, Decode)]
    enum StreamModeV1 for StreamMode { None, Steps, Tokens }
}

record! {
    #[derive(Encode, Decode)]
    struct InputV1 for Input {
        role: InputRoleV1,
        content: Vec<PartV1>,
        name: Option<String>,
        otid: Option<String>,
        sender_id: Option<String>,
        group_id: Option<String>,
        batch_item_id: Option<String>,
    }
}

record! {
    #[derive(Encode, Decode)]
    enum InputRoleV1 for InputRole { User, System, Assistant }
}

impl Stored for Run {
    const KIND: Kind = Kind::Run;
    const VERSION: u8 = 1;
    type Newest = RunV1;
}

impl Batch {
    /// Writes a run, its places in the lists, and whether it still needs somebody.
    pub fn put_run(&mut self, run: &Run) {
        self.put(keys::run(run.agent_id, run.id), run);
        list(self, run);
        if run.status.is_final() {
            self.unset(keys::listed_run(list::ACTIVE, run.agent_id, run.id));
        }
    }

    /// Removes a run with its frames and inbox entry. Its messages and steps stay: they are the agent's history.
    pub fn delete_run(&mut self, run: &Run) {
        let (agent, id) = (run.agent_id, run.id);
        unlist(self, run);
        self.delete(keys::run(agent, id));
        self.unset(keys::run_by_time(agent, run.created_at, id));
        self.delete_inbox(agent, id);
        self.delete_frames(agent, id);
    }
}

/// Writes the entries that lead to the run.
pub(super) fn list(batch: &mut Batch, run: &Run) {
    let (agent, id) = (run.agent_id, run.id);
    batch.set(
        keys::listed(list::RUNS, run.created_at, id.bytes()),
        *agent.bytes(),
    );
    batch.set(keys::run_by_time(agent, run.created_at, id), []);
    batch.set(keys::run_place(id), *agent.bytes());
    if !run.status.is_final() {
        batch.set(keys::listed_run(list::ACTIVE, agent, id), []);
    }
}

/// Removes the entries outside the agent's range that lead to the run.
pub(super) fn unlist(batch: &mut Batch, run: &Run) {
    let (agent, id) = (run.agent_id, run.id);
    batch.unset(keys::listed(list::RUNS, run.created_at, id.bytes()));
    batch.unset(keys::run_place(id));
    batch.unset(keys::listed_run(list::ACTIVE, agent, id));
    batch.unset(keys::listed_run(list::CALLBACKS, agent, id));
}

impl Store {
    /// A run by its bare id; `None` also when its agent is deleted.
    pub fn run(&self, id: RunId) -> Result<Option<Run>, ReadError> {
        match self.run_agent(id)? {
            Some(agent) => self.living_record(agent, &keys::run(agent, id)),
            None => Ok(None),
        }
    }

    /// A run of this agent.
    pub fn run_of(&self, agent: AgentId, id: RunId) -> Result<Option<Run>, ReadError> {
        self.disk().record(&keys::run(agent, id))
    }

    fn run_agent(&self, id: RunId) -> Result<Option<AgentId>, ReadError> {
        let key = keys::run_place(id);
        let Some(value) = self.disk().get(&key)? else {
            return Ok(None);
        };
        keys::last_id(&value)
            .map(|agent| Some(AgentId::from_bytes(agent)))
            .ok_or_else(|| bad_entry(&key))
    }

    /// Runs of one agent or of all, by time of acceptance. Runs of deleted agents are left out.
    pub fn runs(
        &self,
        agent: Option<AgentId>,
        stretch: Stretch<RunId>,
    ) -> Result<impl Iterator<Item = Result<Run, ReadError>> + use<>, ReadError> {
        let range = match agent {
            Some(agent) => keys::section(agent, section::RUN_BY_TIME),
            None => keys::whole_list(list::RUNS),
        };
        let entries = self.stretch(range, stretch, |id| {
            Ok(self.run(id)?.and_then(|run| match agent {
                Some(agent) if agent != run.agent_id => None,
                Some(agent) => Some(keys::run_by_time(agent, run.created_at, id)),
                None => Some(keys::listed(list::RUNS, run.created_at, id.bytes())),
            }))
        })?;
        let store = self.clone();
        Ok(entries.filter_map(move |entry| {
            let run = entry.and_then(|(key, value)| store.listed_run(agent, &key, &value));
            run.transpose()
        }))
    }

    fn listed_run(
        &self,
        agent: Option<AgentId>,
        key: &[u8],
        value: &[u8],
    ) -> Result<Option<Run>, ReadError> {
        let id = keys::last_id(key)
            .map(RunId::from_bytes)
            .ok_or_else(|| bad_entry(key))?;
        let agent = match agent {
            Some(agent) => agent,
            None => keys::last_id(value)
                .map(AgentId::from_bytes)
                .ok_or_else(|| bad_entry(key))?,
        };
        self.living_record(agent, &keys::run(agent, id))
    }

    /// Runs without an end, by agent: what a start has to settle.
    pub fn active_runs(&self) -> Result<Vec<(AgentId, RunId)>, ReadError> {
        let entries = self
            .disk()
            .scan(keys::whole_list(list::ACTIVE), Order::Ascending);
        entries
            .map(|entry| {
                entry.and_then(|(key, _)| keys::agent_and_run(&key).ok_or_else(|| bad_entry(&key)))
            })
            .collect()
    }
}
