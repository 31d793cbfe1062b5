//! An agent's messages.

use super::Reads;
use crate::actors::refused::Refused;
use crate::domain::id::{AgentId, ConversationId, MessageId};
use crate::domain::message::Message;
use crate::domain::page::{Order, Stretch};
use crate::store::{ReadError, Store};

/// A page of an agent's messages: always oldest first, cursors by age (decisions 5). `order` picks the end.
#[derive(Debug, Clone)]
pub struct MessagePage {
    /// Only newer ones.
    pub after: Option<MessageId>,
    /// Only older ones.
    pub before: Option<MessageId>,
    pub limit: usize,
    pub order: Order,
    pub group_id: Option<String>,
    pub conversation: ThreadFilter,
    pub include_errors: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThreadFilter {
    Any,
    /// Only messages in no conversation.
    Default,
    One(ConversationId),
}

impl MessagePage {
    /// What is shown of the messages from the end that was asked for; reads no further than it must.
    fn take(
        &self,
        messages: impl Iterator<Item = Result<Message, ReadError>>,
    ) -> Result<Vec<Message>, ReadError> {
        let kept =
            messages.filter(|message| message.as_ref().map_or(true, |message| self.keeps(message)));
        kept.take(self.limit).collect()
    }

    fn keeps(&self, message: &Message) -> bool {
        let group = self.group_id.as_ref();
        let said_in = message.conversation_id;
        (self.include_errors || !message.is_err)
            && group.is_none_or(|group| message.group_id.as_ref() == Some(group))
            && match self.conversation {
                ThreadFilter::Any => true,
                ThreadFilter::Default => said_in.is_none(),
                // A fork has messages of its source: they were said there.
                ThreadFilter::One(id) => said_in == Some(id),
            }
    }
}

impl Reads {
    /// # Errors
    /// `NoSuchMessage` when a cursor is not a message of this agent.
    pub async fn messages(
        &self,
        agent: AgentId,
        page: MessagePage,
    ) -> Result<Vec<Message>, Refused> {
        self.fresh(agent).await?;
        self.read(move |house| {
            if !house.store.agent_exists(agent)? {
                return Err(Refused::NoSuchAgent(agent));
            }
            messages(&house.store, agent, &page)
        })
        .await
    }

    /// One message of an agent.
    pub async fn message(&self, agent: AgentId, id: MessageId) -> Result<Message, Refused> {
        self.read(move |house| {
            let sequence = sequence_of(&house.store, agent, id)?;
            house
                .store
                .message_at(agent, sequence)?
                .ok_or(Refused::NoSuchMessage(id))
        })
        .await
    }
}

fn sequence_of(store: &Store, agent: AgentId, id: MessageId) -> Result<u64, Refused> {
    let located = store
        .message_location(id)?
        .filter(|(owner, _)| *owner == agent);
    located
        .map(|(_, sequence)| sequence)
        .ok_or(Refused::NoSuchMessage(id))
}

fn messages(store: &Store, agent: AgentId, page: &MessagePage) -> Result<Vec<Message>, Refused> {
    let sequence = |id| sequence_of(store, agent, id);
    let after = page.after.map(sequence).transpose()?;
    let before = page.before.map(sequence).transpose()?;
    let (past, until) = match page.order {
        Order::Ascending => (after, before),
        Order::Descending => (before, after),
    };
    let sequences = Stretch {
        order: page.order,
        past,
        until,
    };
    let mut found = match page.conversation {
        ThreadFilter::One(id) => {
            let Some(conversation) = store.conversation_of(agent, id)? else {
                return Ok(Vec::new());
            };
            let positions = sequences.map(|sequence| conversation.position(sequence));
            let members = store.members(agent, id, positions).filter_map(|sequence| {
                let message = sequence.and_then(|sequence| store.message_at(agent, sequence));
                message.transpose()
            });
            page.take(members)?
        }
        ThreadFilter::Any | ThreadFilter::Default => page.take(store.messages(agent, sequences))?,
    };
    if page.order == Order::Descending {
        found.reverse();
    }
    Ok(found)
}
