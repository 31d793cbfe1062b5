//! Conversations: their records, the lists of them, and which messages are theirs.
//!
//! A message of a conversation is a member of it from its commit on, whether or not it stays in context. A fork takes
//! messages of another thread as members; each such loan is noted by message, so that a message goes only with the last
//! conversation that has it.

use super::batch::Batch;
use super::codec::{Kind, Stored};
use super::heads::WindowV1;
use super::keys::{self, list, section};
use super::models::{LlmConfigV1, ResponseFormatV1};
use super::record::record;
use super::{ReadError, Store, bad_entry, messages};
use crate::domain::conversation::{Conversation, SentSettings};
use crate::domain::id::{AgentId, ConversationId};
use crate::domain::message::Message;
use crate::domain::model::ModelSettings;
use crate::domain::page::{Order, Stretch};
use bincode::{Decode, Encode};

record! {
    #[derive(Encode, Decode)]
    struct ConversationV1 for Conversation {
        id: [u8; 16],
        agent_id: [u8; 16],
        summary: Option<String>,
        llm_config: Option<LlmConfigV1>,
        model_settings: Option<SentSettingsV1>,
        isolated_blocks: Vec<[u8; 16]>,
        window: WindowV1,
        last_message_at: Option<i64>,
        last_run_completion: Option<i64>,
        created_by: [u8; 16],
        updated_by: [u8; 16],
        created_at: i64,
        updated_at: i64,
    }
}

record! {
    #[derive(Encode, Decode)]
    struct SentSettingsV1 for SentSettings { sent: String, read: ModelSettingsV1 }
}

record! {
    #[derive(Encode, Decode)]
    struct ModelSettingsV1 for ModelSettings {
        max_output_tokens: Option<u64>,
        parallel_tool_calls: Option<bool>,
        temperature: Option<f64>,
        reasoning_effort: Option<String>,
        enable_reasoner: Option<bool>,
        max_reasoning_tokens: Option<u64>,
        effort: Option<String>,
        verbosity: Option<String>,
        response_format: Option<ResponseFormatV1>,
        strict: Option<bool>,
        tool_call_parser: Option<String>,
    }
}

/// A message in the list of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    pub position: u64,
    pub sequence: u64,
}

impl Stored for Conversation {
    const KIND: Kind = Kind::Conversation;
    const VERSION: u8 = 1;
    type Newest = ConversationV1;
}

impl Batch {
    /// Writes a conversation and its places in the lists: part of every batch that changes its context.
    pub fn put_conversation(&mut self, conversation: &Conversation) {
        self.put(
            keys::conversation(conversation.agent_id, conversation.id),
            conversation,
        );
        list(self, conversation);
    }

    /// Makes a message a member of the conversation.
    pub fn put_member(&mut self, conversation: &Conversation, sequence: u64) {
        let position = conversation.position(sequence);
        self.set(
            keys::member(conversation.agent_id, conversation.id, position),
            sequence.to_be_bytes(),
        );
    }

    /// Makes a message of another thread a member of the conversation as well.
    pub fn lend_message(&mut self, conversation: &Conversation, sequence: u64) {
        self.put_member(conversation, sequence);
        let loan = keys::loan(conversation.agent_id, sequence, conversation.id);
        self.set(loan, []);
    }

    /// Removes members of a conversation, and those of `gone` among them: the messages that no other thread has.
    pub fn delete_members(
        &mut self,
        conversation: &Conversation,
        members: &[Member],
        gone: &[Message],
    ) {
        let (agent, id) = (conversation.agent_id, conversation.id);
        for member in members {
            self.unset(keys::member(agent, id, member.position));
            self.unset(keys::loan(agent, member.sequence, id));
        }
        for message in gone {
            messages::unlist(self, message);
            if let Some(run) = message.run_id {
                self.unset(keys::run_message(agent, run, message.sequence));
            }
            self.delete(keys::message(agent, message.sequence));
        }
    }

    /// Removes a conversation whose members are removed.
    pub fn delete_conversation(&mut self, conversation: &Conversation) {
        let (agent, id) = (conversation.agent_id, conversation.id);
        unlist(self, conversation);
        self.unset(keys::conversation_by_time(
            agent,
            conversation.created_at,
            id,
        ));
        self.delete(keys::conversation(agent, id));
    }
}

/// Writes the entries that lead to the conversation.
pub(super) fn list(batch: &mut Batch, conversation: &Conversation) {
    let (agent, id) = (conversation.agent_id, conversation.id);
    let created_at = conversation.created_at;
    batch.set(
        keys::listed(list::CONVERSATIONS, created_at, id.bytes()),
        *agent.bytes(),
    );
    batch.set(keys::conversation_by_time(agent, created_at, id), []);
    batch.set(keys::conversation_place(id), *agent.bytes());
}

/// Removes the entries outside the agent's range that lead to the conversation.
pub(super) fn unlist(batch: &mut Batch, conversation: &Conversation) {
    let id = conversation.id;
    batch.unset(keys::listed(
        list::CONVERSATIONS,
        conversation.created_at,
        id.bytes(),
    ));
    batch.unset(keys::conversation_place(id));
}

impl Store {
    /// A conversation by its bare id; `None` also when its agent is deleted.
    pub fn conversation(&self, id: ConversationId) -> Result<Option<Conversation>, ReadError> {
        let key = keys::conversation_place(id);
        let Some(value) = self.disk().get(&key)? else {
            return Ok(None);
        };
        let agent = keys::last_id(&value)
            .map(AgentId::from_bytes)
            .ok_or_else(|| bad_entry(&key))?;
        self.living_record(agent, &keys::conversation(agent, id))
    }

    /// A conversation of this agent.
    pub fn conversation_of(
        &self,
        agent: AgentId,
        id: ConversationId,
    ) -> Result<Option<Conversation>, ReadError> {
        self.disk().record(&keys::conversation(agent, id))
    }

    /// Conversations of one agent or of all, by time of creation. Those of deleted agents are left out.
    pub fn conversations(
        &self,
        agent: Option<AgentId>,
        stretch: Stretch<ConversationId>,
    ) -> Result<impl Iterator<Item = Result<Conversation, ReadError>> + use<>, ReadError> {
        let range = match agent {
            Some(agent) => keys::section(agent, section::CONVERSATION_BY_TIME),
            None => keys::whole_list(list::CONVERSATIONS),
        };
        let entries = self.stretch(range, stretch, |id| {
            Ok(self.conversation(id)?.and_then(|found| match agent {
                Some(agent) if agent != found.agent_id => None,
                Some(agent) => Some(keys::conversation_by_time(agent, found.created_at, id)),
                None => Some(keys::listed(
                    list::CONVERSATIONS,
                    found.created_at,
                    id.bytes(),
                )),
            }))
        })?;
        let store = self.clone();
        Ok(entries.filter_map(move |entry| {
            let conversation = entry.and_then(|(key, value)| {
                let agent = match agent {
                    Some(agent) => *agent.bytes(),
                    None => keys::last_id(&value).ok_or_else(|| bad_entry(&key))?,
                };
                let agent = AgentId::from_bytes(agent);
                let id = keys::last_id(&key)
                    .map(ConversationId::from_bytes)
                    .ok_or_else(|| bad_entry(&key))?;
                store.living_record(agent, &keys::conversation(agent, id))
            });
            conversation.transpose()
        }))
    }

    /// The sequences of all members, by position.
    pub fn members(
        &self,
        agent: AgentId,
        id: ConversationId,
        positions: Stretch<u64>,
    ) -> impl Iterator<Item = Result<u64, ReadError>> + use<> {
        let members = self.placed_members(agent, id, positions);
        members.map(|member| Ok(member?.sequence))
    }

    /// All members, by position.
    pub fn placed_members(
        &self,
        agent: AgentId,
        id: ConversationId,
        positions: Stretch<u64>,
    ) -> impl Iterator<Item = Result<Member, ReadError>> + use<> {
        let keys = positions.map(|position| keys::member(agent, id, position));
        let range = keys::members(agent, id).stretch(&keys);
        self.disk().scan(range, keys.order).map(|entry| {
            let (key, value) = entry?;
            let place = keys::last_number(&key).zip(keys::last_number(&value));
            let (position, sequence) = place.ok_or_else(|| bad_entry(&key))?;
            Ok(Member { position, sequence })
        })
    }

    /// The conversations that have a message of another thread.
    pub fn borrowers(
        &self,
        agent: AgentId,
        sequence: u64,
    ) -> Result<Vec<ConversationId>, ReadError> {
        let entries = self
            .disk()
            .scan(keys::loans(agent, sequence), Order::Ascending);
        entries
            .map(|entry| {
                let (key, _) = entry?;
                keys::last_id(&key)
                    .map(ConversationId::from_bytes)
                    .ok_or_else(|| bad_entry(&key))
            })
            .collect()
    }
}
