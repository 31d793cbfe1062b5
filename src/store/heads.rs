//! Heads: the small record that every commit of an agent rewrites.

use super::batch::Batch;
use super::codec::{Kind, Stored, Unreadable};
use super::keys;
use super::record::{Record, record};
use super::runs::StopReasonV1;
use super::{ReadError, Store};
use crate::domain::history::{Compiled, Head, Span, Window};
use crate::domain::id::AgentId;
use bincode::{Decode, Encode};

record! {
    #[derive(Encode, Decode)]
    struct HeadV1 for Head {
        next_sequence: u64,
        next_acceptance: u64,
        stored_messages: u64,
        default_lane: WindowV1,
        compiled: CompiledV1,
        last_created_at: i64,
        last_run_completion: Option<i64>,
        last_run_duration_ms: Option<u64>,
        last_stop_reason: Option<StopReasonV1>,
    }
}

record! {
    #[derive(Encode, Decode)]
    struct CompiledV1 for Compiled { blocks: Vec<([u8; 16], u64)>, prompt_revision: u64 }
}

record! {
    #[derive(Encode, Decode)]
    struct SpanV1 for Span { first: u64, count: u64 }
}

#[derive(Encode, Decode)]
pub(super) struct WindowV1 {
    version: u64,
    spans: Vec<SpanV1>,
}

impl Record<Window> for WindowV1 {
    fn of(value: &Window) -> Self {
        Self {
            version: value.version,
            spans: value.spans().iter().map(SpanV1::of).collect(),
        }
    }

    fn into_domain(self) -> Result<Window, Unreadable> {
        Ok(Window::from_spans(self.version, self.spans.into_domain()?))
    }
}

impl Stored for Head {
    const KIND: Kind = Kind::Head;
    const VERSION: u8 = 1;
    type Newest = HeadV1;
}

impl Batch {
    /// Writes the agent's head: part of every batch that changes what it counts.
    pub fn put_head(&mut self, agent: AgentId, head: &Head) {
        self.put(keys::head(agent), head);
    }
}

impl Store {
    /// The agent's head, also of a deleted agent until it is swept away.
    pub fn head(&self, agent: AgentId) -> Result<Option<Head>, ReadError> {
        self.disk().record(&keys::head(agent))
    }
}
