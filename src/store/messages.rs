//! Messages: one record each, in the order they were committed.

use super::batch::Batch;
use super::codec::{self, Kind, Stored, Unreadable};
use super::disk::damaged;
use super::keys::{self, KeyRange, section};
use super::record::{Record, record};
use super::{ReadError, Store, bad_entry, pieces};
use crate::domain::history::Span;
use crate::domain::id::{AgentId, MessageId, RunId};
use crate::domain::message::{
    Approval, Image, Message, Part, Role, ToolCall, ToolOutput, ToolReturn, ToolStatus,
};
use crate::domain::page::{Order, Stretch};
use bincode::{Decode, Encode};

record! {
    #[derive(Encode, Decode)]
    struct MessageV2 for Message {
        id: [u8; 16],
        agent_id: [u8; 16],
        sequence: u64,
        role: RoleV1,
        content: Vec<PartV1>,
        name: Option<String>,
        tool_calls: Vec<ToolCallV1>,
        tool_returns: Vec<ToolReturnV1>,
        approvals: Vec<ApprovalV1>,
        model: Option<String>,
        otid: Option<String>,
        sender_id: Option<String>,
        group_id: Option<String>,
        batch_item_id: Option<String>,
        step_id: Option<[u8; 16]>,
        run_id: Option<[u8; 16]>,
        conversation_id: Option<[u8; 16]>,
        is_err: bool,
        created_at: i64,
        updated_at: i64,
        call_places: Vec<u32>,
    }
}

/// Before a request knew the places of its calls. What runs journal is still of this version: it asks nobody.
#[derive(Encode, Decode)]
pub(super) struct MessageV1 {
    id: [u8; 16],
    agent_id: [u8; 16],
    sequence: u64,
    role: RoleV1,
    content: Vec<PartV1>,
    name: Option<String>,
    tool_calls: Vec<ToolCallV1>,
    tool_returns: Vec<ToolReturnV1>,
    approvals: Vec<ApprovalV1>,
    model: Option<String>,
    otid: Option<String>,
    sender_id: Option<String>,
    group_id: Option<String>,
    batch_item_id: Option<String>,
    step_id: Option<[u8; 16]>,
    run_id: Option<[u8; 16]>,
    conversation_id: Option<[u8; 16]>,
    is_err: bool,
    created_at: i64,
    updated_at: i64,
}

impl From<MessageV1> for MessageV2 {
    fn from(old: MessageV1) -> Self {
        Self {
            id: old.id,
            agent_id: old.agent_id,
            sequence: old.sequence,
            role: old.role,
            content: old.content,
            name: old.name,
            tool_calls: old.tool_calls,
            tool_returns: old.tool_returns,
            approvals: old.approvals,
            model: old.model,
            otid: old.otid,
            sender_id: old.sender_id,
            group_id: old.group_id,
            batch_item_id: old.batch_item_id,
            step_id: old.step_id,
            run_id: old.run_id,
            conversation_id: old.conversation_id,
            is_err: old.is_err,
            created_at: old.created_at,
            updated_at: old.updated_at,
            call_places: Vec::new(),
        }
    }
}

impl Record<Message> for MessageV1 {
    fn of(value: &Message) -> Self {
        let new = MessageV2::of(value);
        Self {
            id: new.id,
            agent_id: new.agent_id,
            sequence: new.sequence,
            role: new.role,
            content: new.content,
            name: new.name,
            tool_calls: new.tool_calls,
            tool_returns: new.tool_returns,
            approvals: new.approvals,
            model: new.model,
            otid: new.otid,
            sender_id: new.sender_id,
            group_id: new.group_id,
            batch_item_id: new.batch_item_id,
            step_id: new.step_id,
            run_id: new.run_id,
            conversation_id: new.conversation_id,
            is_err: new.is_err,
            created_at: new.created_at,
            updated_at: new.updated_at,
        }
    }

    fn into_domain(self) -> Result<Message, Unreadable> {
        MessageV2::from(self).into_domain()
    }
}

record! {
    #[derive(Encode, Decode)]
    enum RoleV1 for Role { System, User, Assistant, Tool, Approval, Summary }
}

record! {
    #[derive(Encode, Decode)]
    enum PartV1 for Part {
        Text { text: String, signature: Option<String> },
        Image(image: ImageV1),
        Reasoning { native: bool, reasoning: String, signature: Option<String> },
        RedactedReasoning { data: String },
        OmittedReasoning { signature: Option<String> },
        SummarizedReasoning { id: String, summary: Vec<String>, encrypted_content: Option<String> },
    }
}

record! {
    #[derive(Encode, Decode)]
    enum ImageV1 for Image {
        Url { url: String },
        Stored { file_id: Option<String>, media_type: Option<String>, data: Option<String>, detail: Option<String> },
    }
}

record! {
    #[derive(Encode, Decode)]
    struct ToolCallV1 for ToolCall { id: String, name: String, arguments: String }
}

record! {
    #[derive(Encode, Decode)]
    struct ToolReturnV1 for ToolReturn {
        tool_call_id: String,
        status: ToolStatusV1,
        output: ToolOutputV1,
        stdout: Option<Vec<String>>,
        stderr: Option<Vec<String>>,
    }
}

record! {
    #[derive(Encode, Decode)]
    enum ToolStatusV1 for ToolStatus { Success, Error }
}

record! {
    #[derive(Encode, Decode)]
    enum ToolOutputV1 for ToolOutput { Packed(text: String), Parts(parts: Vec<PartV1>) }
}

record! {
    #[derive(Encode, Decode)]
    enum ApprovalV1 for Approval {
        Decision { tool_call_id: String, approve: bool, reason: Option<String> },
        Return(end: ToolReturnV1),
    }
}

impl Stored for Message {
    const KIND: Kind = Kind::Message;
    const VERSION: u8 = 2;
    type Newest = MessageV2;

    fn older(version: u8, payload: &[u8]) -> Result<Self, Unreadable> {
        if version != 1 {
            return Err(Unreadable(format!("a message record of version {version}")));
        }
        codec::read::<MessageV1>(payload)?.into_domain()
    }
}

impl Batch {
    /// Writes a message at its sequence, in place of what was there (a recompile, an edit).
    pub fn put_message(&mut self, message: &Message) {
        self.put(keys::message(message.agent_id, message.sequence), message);
        list(self, message);
    }
}

/// Writes the entries that lead to the message.
pub(super) fn list(batch: &mut Batch, message: &Message) {
    let (agent, sequence) = (message.agent_id, message.sequence);
    batch.set(
        keys::message_place(message.id),
        keys::write_message_place(agent, sequence),
    );
    if let Some(run) = message.run_id {
        batch.set(keys::run_message(agent, run, sequence), []);
    }
}

/// Removes the entry outside the agent's range that leads to the message.
pub(super) fn unlist(batch: &mut Batch, message: &Message) {
    batch.unset(keys::message_place(message.id));
}

impl Store {
    /// The message at this sequence.
    pub fn message_at(&self, agent: AgentId, sequence: u64) -> Result<Option<Message>, ReadError> {
        self.disk().record(&keys::message(agent, sequence))
    }

    /// The messages of these spans, in their order.
    ///
    /// # Errors
    /// `Damaged` also when one of them is not there.
    pub fn messages_at(&self, agent: AgentId, spans: &[Span]) -> Result<Vec<Message>, ReadError> {
        self.placed(agent, spans, |key, value| {
            self.disk().assemble(key, Some(value))
        })
    }

    /// The ids of the messages at these places, in their order. Nothing else of the messages is read.
    pub fn message_ids_at(
        &self,
        agent: AgentId,
        spans: &[Span],
    ) -> Result<Vec<MessageId>, ReadError> {
        self.placed(agent, spans, |key, value| {
            if let Some(id) = codec::peek::<Message, 16>(pieces::beginning(&value)) {
                return Ok(Some(MessageId::from_bytes(id)));
            }
            let message: Option<Message> = self.disk().assemble(key, Some(value))?;
            Ok(message.map(|message| message.id))
        })
    }

    fn placed<T>(
        &self,
        agent: AgentId,
        spans: &[Span],
        read: impl Fn(&[u8], Vec<u8>) -> Result<Option<T>, ReadError>,
    ) -> Result<Vec<T>, ReadError> {
        let mut found = Vec::new();
        for span in spans {
            let end = span.first.saturating_add(span.count);
            let range = KeyRange {
                from: keys::message(agent, span.first),
                to: keys::message(agent, end),
            };
            let before = found.len() as u64;
            for pair in self.disk().scan(range, Order::Ascending) {
                let (key, value) = pair?;
                found.extend(read(&key, value)?);
            }
            let there = found.len() as u64 - before;
            if there != span.count {
                let detail = format!(
                    "{there} of the messages {} to {} are there, {} should be",
                    span.first, end, span.count
                );
                return Err(damaged(&keys::message(agent, span.first), detail));
            }
        }
        Ok(found)
    }

    /// Agent and sequence of a message; `None` also when its agent is deleted.
    pub fn message_location(&self, id: MessageId) -> Result<Option<(AgentId, u64)>, ReadError> {
        let key = keys::message_place(id);
        let Some(value) = self.disk().get(&key)? else {
            return Ok(None);
        };
        let place = keys::read_message_place(&value).ok_or_else(|| bad_entry(&key))?;
        Ok(if self.is_buried(place.0)? {
            None
        } else {
            Some(place)
        })
    }

    /// Messages by their sequence.
    pub fn messages(
        &self,
        agent: AgentId,
        sequences: Stretch<u64>,
    ) -> impl Iterator<Item = Result<Message, ReadError>> + use<> {
        let range = keys::section(agent, section::MESSAGE);
        let keys = sequences.map(|sequence| keys::message(agent, sequence));
        self.disk().records(range.stretch(&keys), keys.order)
    }

    /// Everything a run has stored, its inputs included, oldest first.
    pub fn run_messages(&self, agent: AgentId, run: RunId) -> Result<Vec<Message>, ReadError> {
        let mut messages = Vec::new();
        for entry in self.disk().scan(
            keys::section_of_run(agent, section::RUN_MESSAGE, run),
            Order::Ascending,
        ) {
            let (key, _) = entry?;
            let sequence = keys::last_number(&key).ok_or_else(|| bad_entry(&key))?;
            messages.extend(self.message_at(agent, sequence)?);
        }
        Ok(messages)
    }
}
