//! Steps: one record each model call.

use super::batch::Batch;
use super::codec::{self, Kind, Stored, Unreadable};
use super::keys::{self, list, section};
use super::models::UsageV1;
use super::record::{Record, record};
use super::runs::{RunErrorV1, StopReasonV1};
use super::{ReadError, Store, bad_entry};
use crate::domain::id::{AgentId, RunId, StepId};
use crate::domain::page::{Order, Stretch};
use crate::domain::run::{Feedback, Step, StepStatus, StepTiming};
use bincode::{Decode, Encode};

/// Before a step knew the record of its provider.
#[derive(Encode, Decode)]
struct StepV1 {
    id: [u8; 16],
    agent_id: [u8; 16],
    run_id: Option<[u8; 16]>,
    number: u64,
    status: StepStatusV1,
    provider_name: Option<String>,
    provider_category: Option<String>,
    model: Option<String>,
    model_handle: Option<String>,
    model_endpoint: Option<String>,
    context_window_limit: Option<u64>,
    usage: UsageV1,
    stop_reason: Option<StopReasonV1>,
    error: Option<RunErrorV1>,
    tags: Vec<String>,
    tid: Option<String>,
    trace_id: Option<String>,
    request_id: Option<String>,
    feedback: Option<FeedbackV1>,
    project_id: Option<String>,
    created_at: i64,
    timing: StepTimingV1,
}

record! {
    #[derive(Encode, Decode)]
    struct StepV2 for Step {
        id: [u8; 16],
        agent_id: [u8; 16],
        run_id: Option<[u8; 16]>,
        number: u64,
        status: StepStatusV1,
        provider_id: Option<[u8; 16]>,
        provider_name: Option<String>,
        provider_category: Option<String>,
        model: Option<String>,
        model_handle: Option<String>,
        model_endpoint: Option<String>,
        context_window_limit: Option<u64>,
        usage: UsageV1,
        stop_reason: Option<StopReasonV1>,
        error: Option<RunErrorV1>,
        tags: Vec<String>,
        tid: Option<String>,
        trace_id: Option<String>,
        request_id: Option<String>,
        feedback: Option<FeedbackV1>,
        project_id: Option<String>,
        created_at: i64,
        timing: StepTimingV1,
    }
}

impl From<StepV1> for StepV2 {
    fn from(old: StepV1) -> Self {
        Self {
            id: old.id,
            agent_id: old.agent_id,
            run_id: old.run_id,
            number: old.number,
            status: old.status,
            provider_id: None,
            provider_name: old.provider_name,
            provider_category: old.provider_category,
            model: old.model,
            model_handle: old.model_handle,
            model_endpoint: old.model_endpoint,
            context_window_limit: old.context_window_limit,
            usage: old.usage,
            stop_reason: old.stop_reason,
            error: old.error,
            tags: old.tags,
            tid: old.tid,
            trace_id: old.trace_id,
            request_id: old.request_id,
            feedback: old.feedback,
            project_id: old.project_id,
            created_at: old.created_at,
            timing: old.timing,
        }
    }
}

record! {
    #[derive(Encode, Decode)]
    enum StepStatusV1 for StepStatus { Pending, Success, Failed, Cancelled }
}

record! {
    #[derive(Encode, Decode)]
    enum FeedbackV1 for Feedback { Positive, Negative }
}

record! {
    #[derive(Encode, Decode)]
    struct StepTimingV1 for StepTiming {
        step_start_ns: Option<i64>,
        llm_request_start_ns: Option<i64>,
        llm_request_ns: Option<u64>,
        tool_execution_ns: Option<u64>,
        step_ns: Option<u64>,
    }
}

impl Stored for Step {
    const KIND: Kind = Kind::Step;
    const VERSION: u8 = 2;
    type Newest = StepV2;

    fn older(version: u8, payload: &[u8]) -> Result<Self, Unreadable> {
        if version != 1 {
            return Err(Unreadable(format!("a step record of version {version}")));
        }
        StepV2::from(codec::read::<StepV1>(payload)?).into_domain()
    }
}

/// Steps without a run stand under this id, which no run has.
const NO_RUN: RunId = RunId::from_bytes([0; 16]);

fn place(step: &Step) -> Vec<u8> {
    keys::write_step_place(step.agent_id, step.run_id.unwrap_or(NO_RUN), step.number)
}

fn key(step: &Step) -> Vec<u8> {
    keys::step(step.agent_id, step.run_id.unwrap_or(NO_RUN), step.number)
}

impl Batch {
    /// Writes a step at its number in its run, and its places in the lists.
    pub fn put_step(&mut self, step: &Step) {
        self.put(key(step), step);
        list(self, step);
    }
}

/// Writes the entries that lead to the step.
pub(super) fn list(batch: &mut Batch, step: &Step) {
    batch.set(
        keys::step_by_time(step.agent_id, step.created_at, step.id),
        place(step),
    );
    batch.set(
        keys::listed(list::STEPS, step.created_at, step.id.bytes()),
        place(step),
    );
    batch.set(keys::step_place(step.id), place(step));
}

/// Removes the entries outside the agent's range that lead to the step.
pub(super) fn unlist(batch: &mut Batch, step: &Step) {
    batch.unset(keys::listed(list::STEPS, step.created_at, step.id.bytes()));
    batch.unset(keys::step_place(step.id));
}

impl Store {
    /// A step by its bare id; `None` also when its agent is deleted.
    pub fn step(&self, id: StepId) -> Result<Option<Step>, ReadError> {
        let key = keys::step_place(id);
        match self.disk().get(&key)? {
            Some(value) => self.placed_step(id, &key, &value),
            None => Ok(None),
        }
    }

    fn placed_step(&self, id: StepId, key: &[u8], place: &[u8]) -> Result<Option<Step>, ReadError> {
        let (agent, run, number) = keys::read_step_place(place).ok_or_else(|| bad_entry(key))?;
        let step: Option<Step> = self.living_record(agent, &keys::step(agent, run, number))?;
        Ok(step.filter(|step| step.id == id))
    }

    /// The steps of a run, oldest first.
    pub fn run_steps(&self, agent: AgentId, run: RunId) -> Result<Vec<Step>, ReadError> {
        self.disk()
            .records(
                keys::section_of_run(agent, section::STEP, run),
                Order::Ascending,
            )
            .collect()
    }

    /// Steps of one agent or of all, by time. Steps of deleted agents are left out.
    pub fn steps(
        &self,
        agent: Option<AgentId>,
        stretch: Stretch<StepId>,
    ) -> Result<impl Iterator<Item = Result<Step, ReadError>> + use<>, ReadError> {
        let range = match agent {
            Some(agent) => keys::section(agent, section::STEP_BY_TIME),
            None => keys::whole_list(list::STEPS),
        };
        let entries = self.stretch(range, stretch, |id| {
            Ok(self.step(id)?.and_then(|step| match agent {
                Some(agent) if agent != step.agent_id => None,
                Some(agent) => Some(keys::step_by_time(agent, step.created_at, id)),
                None => Some(keys::listed(list::STEPS, step.created_at, id.bytes())),
            }))
        })?;
        let store = self.clone();
        Ok(entries.filter_map(move |entry| {
            let step = entry.and_then(|(key, value)| {
                let id = keys::last_id(&key)
                    .map(StepId::from_bytes)
                    .ok_or_else(|| bad_entry(&key))?;
                store.placed_step(id, &key, &value)
            });
            step.transpose()
        }))
    }
}
