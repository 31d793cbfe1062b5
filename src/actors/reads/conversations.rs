//! Conversations, what was said in them, and the runs by which a client finds its stream again.

use super::{Reads, sound};
use crate::actors::house::House;
use crate::actors::refused::Refused;
use crate::domain::clock;
use crate::domain::conversation::{Conversation, ConversationFilter, ConversationOrder};
use crate::domain::id::{AgentId, ConversationId, MessageId, RunId};
use crate::domain::message::Message;
use crate::domain::page::{Order, Page, Stretch};
use crate::domain::run::{LaneId, Run};
use crate::store::{ReadError, Store};

/// A conversation as it is shown.
#[derive(Debug, Clone)]
pub struct ConversationView {
    pub conversation: Conversation,
    /// In context, the system message first.
    pub message_ids: Vec<MessageId>,
}

/// A page of a conversation's messages.
#[derive(Debug, Clone)]
pub struct ThreadPage {
    /// Cursors relative to the order; one that is not a member of the conversation is ignored.
    pub page: Page<MessageId>,
    pub group_id: Option<String>,
    pub include_errors: bool,
}

impl ThreadPage {
    fn keeps(&self, message: &Message) -> bool {
        let group = self.group_id.as_ref();
        (self.include_errors || !message.is_err)
            && group.is_none_or(|group| message.group_id.as_ref() == Some(group))
    }
}

/// Hours in which a run is found by an `otid` that it accepted: longer than frames are kept, so that a client is told that
/// it comes too late.
const OTID_HOURS: i64 = 24;

impl Reads {
    pub async fn conversation(&self, id: ConversationId) -> Result<ConversationView, Refused> {
        self.read(move |house| {
            let conversation = house.store.conversation(id)?;
            view(house, conversation.ok_or(Refused::NoSuchConversation(id))?)
        })
        .await
    }

    /// The agent whose conversation this is.
    pub async fn agent_of(&self, id: ConversationId) -> Result<AgentId, Refused> {
        self.read(move |house| {
            let conversation = house.store.conversation(id)?;
            let conversation = conversation.ok_or(Refused::NoSuchConversation(id))?;
            Ok(conversation.agent_id)
        })
        .await
    }

    pub async fn conversations(
        &self,
        filter: ConversationFilter,
        order_by: ConversationOrder,
        page: Page<ConversationId>,
    ) -> Result<Vec<ConversationView>, Refused> {
        self.read(move |house| {
            let found = if order_by == ConversationOrder::CreatedAt {
                let store = &house.store;
                let page =
                    page.known(|id| Ok::<_, ReadError>(store.conversation(id)?.is_some()))?;
                let all = store.conversations(filter.agent_id, page.stretch())?;
                page.take(all.filter_map(sound), |found| Ok(filter.keeps(found)))?
            } else {
                sorted(&house.store, &filter, order_by, &page)?
            };
            found
                .into_iter()
                .map(|conversation| view(house, conversation))
                .collect()
        })
        .await
    }

    /// Members of a conversation by position, in context or not.
    pub async fn conversation_messages(
        &self,
        id: ConversationId,
        page: ThreadPage,
    ) -> Result<Vec<Message>, Refused> {
        self.read(move |house| {
            let conversation = house.store.conversation(id)?;
            let conversation = conversation.ok_or(Refused::NoSuchConversation(id))?;
            Ok(messages(&house.store, &conversation, &page)?)
        })
        .await
    }

    /// The newest background run of a thread that accepted this `otid`.
    pub async fn run_of_otid(
        &self,
        agent: AgentId,
        thread: LaneId,
        otid: String,
    ) -> Result<Option<RunId>, Refused> {
        self.read(move |house| {
            let now = clock::now();
            for run in house
                .store
                .runs(Some(agent), Stretch::all(Order::Descending))?
            {
                let run = run?;
                if now.duration_since(run.created_at).as_hours() >= OTID_HOURS {
                    break;
                }
                if run.background && run.lane() == thread && run.otids.contains(&otid) {
                    return Ok(Some(run.id));
                }
            }
            Ok(None)
        })
        .await
    }

    /// The newest run of a thread that has no end.
    pub async fn active_run(
        &self,
        agent: AgentId,
        thread: LaneId,
    ) -> Result<Option<RunId>, Refused> {
        self.read(move |house| {
            let active = house.store.active_runs_of(agent)?.into_iter();
            let newest = active
                .filter(|run| run.lane() == thread && !run.status.is_final())
                .max_by_key(|run: &Run| run.created_at);
            Ok(newest.map(|run| run.id))
        })
        .await
    }
}

fn view(house: &House, conversation: Conversation) -> Result<ConversationView, Refused> {
    let spans = conversation.window.spans();
    let message_ids = house.store.message_ids_at(conversation.agent_id, spans)?;
    Ok(ConversationView {
        conversation,
        message_ids,
    })
}

/// Orders that no index keeps: every conversation is looked at. Nulls last in both directions, ties by id.
fn sorted(
    store: &Store,
    filter: &ConversationFilter,
    order_by: ConversationOrder,
    page: &Page<ConversationId>,
) -> Result<Vec<Conversation>, Refused> {
    let time = |conversation: &Conversation| match order_by {
        ConversationOrder::CreatedAt => Some(conversation.created_at),
        ConversationOrder::LastRunCompletion => conversation.last_run_completion,
        ConversationOrder::LastMessageAt => conversation.last_message_at,
    };
    let mut found = Vec::new();
    for conversation in store
        .conversations(filter.agent_id, Stretch::all(Order::Ascending))?
        .filter_map(sound)
    {
        let conversation = conversation?;
        if filter.keeps(&conversation) {
            found.push(conversation);
        }
    }
    found.sort_by_key(|conversation| (time(conversation), conversation.id));
    if page.order == Order::Descending {
        found.reverse();
    }
    found.sort_by_key(|conversation| time(conversation).is_none());
    Ok(page.cut(found, |conversation| conversation.id))
}

fn messages(
    store: &Store,
    conversation: &Conversation,
    shown: &ThreadPage,
) -> Result<Vec<Message>, ReadError> {
    let agent = conversation.agent_id;
    let page = shown
        .page
        .clone()
        .known(|id| Ok::<_, ReadError>(position(store, conversation, id)?.is_some()))?;
    let positions = page
        .stretch()
        .try_map(|id| position(store, conversation, id))?;
    let members = store.members(agent, conversation.id, positions);
    let read = members.filter_map(|sequence| {
        let message = sequence.and_then(|sequence| store.message_at(agent, sequence));
        message.transpose()
    });
    page.take(read, |message| Ok(shown.keeps(message)))
}

/// The position of a message in the lists of the conversation, if it is one of them.
fn position(
    store: &Store,
    conversation: &Conversation,
    id: MessageId,
) -> Result<Option<u64>, ReadError> {
    let located = store.message_location(id)?;
    let sequence = located
        .filter(|(agent, _)| *agent == conversation.agent_id)
        .map(|(_, sequence)| sequence);
    let Some(sequence) = sequence else {
        return Ok(None);
    };
    let position = conversation.position(sequence);
    let from_it = Stretch::past(Order::Ascending, position.checked_sub(1));
    let mut members = store.members(conversation.agent_id, conversation.id, from_it);
    let is_member = matches!(members.next(), Some(Ok(found)) if found == sequence);
    Ok(is_member.then_some(position))
}
