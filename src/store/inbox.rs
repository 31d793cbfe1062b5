//! Inbox entries: what an accepted run is to do and how far it has come, until it ends.

use super::agents::CompactionSettingsV1;
use super::batch::Batch;
use super::codec::{self, Kind, Stored, Unreadable};
use super::keys::{self, section};
use super::messages::{ApprovalV1, MessageV1, ToolReturnV1};
use super::record::{Record, record};
use super::runs::{InputV1, RunOptionsV1, RunOptionsV2, StopReasonV1};
use super::{ReadError, Store};
use crate::domain::id::{AgentId, RunId};
use crate::domain::model::ToolSchema;
use crate::domain::page::Order;
use crate::domain::run::{Answers, Inbox, LaneId, Phase, Progress, Task};
use bincode::{Decode, Encode};

/// Before calls could wait for an answer, and clients bring tools of their own.
#[derive(Encode, Decode)]
struct InboxV1 {
    run_id: [u8; 16],
    lane: LaneIdV1,
    accepted: u64,
    inputs: Vec<InputV1>,
    input_ids: Vec<[u8; 16]>,
    options: RunOptionsV1,
    resume: bool,
    progress: ProgressV1,
    recoveries: u32,
}

/// Before a run's options knew of skills and tokens.
#[derive(Encode, Decode)]
struct InboxV2 {
    run_id: [u8; 16],
    lane: LaneIdV1,
    task: TaskV1,
    accepted: u64,
    answer: Option<AnswersV1>,
    inputs: Vec<InputV1>,
    input_ids: Vec<[u8; 16]>,
    client_tools: Vec<ToolSchemaV1>,
    options: RunOptionsV1,
    resume: bool,
    progress: ProgressV1,
    recoveries: u32,
}

record! {
    #[derive(Encode, Decode)]
    struct InboxV3 for Inbox {
        run_id: [u8; 16],
        lane: LaneIdV1,
        task: TaskV1,
        accepted: u64,
        answer: Option<AnswersV1>,
        inputs: Vec<InputV1>,
        input_ids: Vec<[u8; 16]>,
        client_tools: Vec<ToolSchemaV1>,
        options: RunOptionsV2,
        resume: bool,
        progress: ProgressV1,
        recoveries: u32,
    }
}

record! {
    #[derive(Encode, Decode)]
    enum TaskV1 for Task { Turn, Compact(settings: Box<CompactionSettingsV1>) }
}

record! {
    #[derive(Encode, Decode)]
    struct AnswersV1 for Answers { approvals: Vec<ApprovalV1>, otid: Option<String> }
}

record! {
    #[derive(Encode, Decode)]
    struct ToolSchemaV1 for ToolSchema { name: String, description: String, parameters: String }
}

record! {
    #[derive(Encode, Decode)]
    enum LaneIdV1 for LaneId { Default, Conversation(id: [u8; 16]) }
}

record! {
    #[derive(Encode, Decode)]
    struct ProgressV1 for Progress { committed_steps: u64, phase: PhaseV1 }
}

record! {
    #[derive(Encode, Decode)]
    enum PhaseV1 for Phase {
        Idle,
        Model { step_id: [u8; 16] },
        Tools { step_id: [u8; 16], assistant: Box<MessageV1>, started: Vec<String>, finished: Vec<ToolReturnV1> },
        Settling { started: Vec<String>, finished: Vec<ToolReturnV1> },
        Ending(stop_reason: StopReasonV1),
    }
}

impl Stored for Inbox {
    const KIND: Kind = Kind::Inbox;
    const VERSION: u8 = 3;
    type Newest = InboxV3;

    fn older(version: u8, payload: &[u8]) -> Result<Self, Unreadable> {
        let second = match version {
            1 => codec::read::<InboxV1>(payload)?.into(),
            2 => codec::read::<InboxV2>(payload)?,
            _ => return Err(Unreadable(format!("an inbox record of version {version}"))),
        };
        InboxV3::from(second).into_domain()
    }
}

impl From<InboxV1> for InboxV2 {
    fn from(old: InboxV1) -> Self {
        Self {
            run_id: old.run_id,
            lane: old.lane,
            task: TaskV1::Turn,
            accepted: old.accepted,
            answer: None,
            inputs: old.inputs,
            input_ids: old.input_ids,
            client_tools: Vec::new(),
            options: old.options,
            resume: old.resume,
            progress: old.progress,
            recoveries: old.recoveries,
        }
    }
}

impl From<InboxV2> for InboxV3 {
    fn from(old: InboxV2) -> Self {
        Self {
            run_id: old.run_id,
            lane: old.lane,
            task: old.task,
            accepted: old.accepted,
            answer: old.answer,
            inputs: old.inputs,
            input_ids: old.input_ids,
            client_tools: old.client_tools,
            options: old.options.into(),
            resume: old.resume,
            progress: old.progress,
            recoveries: old.recoveries,
        }
    }
}

impl Batch {
    /// Notes what an accepted run is to do, or how far it has come.
    pub fn put_inbox(&mut self, agent: AgentId, inbox: &Inbox) {
        self.put(keys::inbox(agent, inbox.run_id), inbox);
    }

    /// The run has ended.
    pub fn delete_inbox(&mut self, agent: AgentId, run: RunId) {
        self.delete(keys::inbox(agent, run));
    }
}

impl Store {
    /// What the agent has accepted and not ended, in order of acceptance.
    pub fn inbox(&self, agent: AgentId) -> Result<Vec<Inbox>, ReadError> {
        let entries = self
            .disk()
            .records(keys::section(agent, section::INBOX), Order::Ascending);
        let mut entries: Vec<Inbox> = entries.collect::<Result<_, _>>()?;
        entries.sort_by_key(|entry| entry.accepted);
        Ok(entries)
    }
}
