//! The threads of an agent: its default one and its conversations, each with a context and a lane of its own (decisions 10).
//! Lanes run in parallel; what they write is serialised by the agent's mailbox.

use super::State;
use super::commits::InFlight;
use crate::actors::house::House;
use crate::actors::reads::blocking;
use crate::actors::refused::Refused;
use crate::actors::run::worker::compaction::Room;
use crate::domain::block::Block;
use crate::domain::conversation::{Conversation, seen_blocks};
use crate::domain::history::{Head, Window};
use crate::domain::id::{AgentId, ConversationId, RunId};
use crate::domain::message::Message;
use crate::domain::run::LaneId;
use crate::store::Batch;
use jiff::Timestamp;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The threads in memory: the default one always, a conversation from its first use until it has been idle for a while.
#[derive(Debug)]
pub(super) struct Threads {
    pub(super) default: Thread,
    conversations: HashMap<ConversationId, Thread>,
}

/// One thread of messages. A value, not an actor (decisions 10).
#[derive(Debug)]
pub(super) struct Thread {
    /// The record of a conversation; that of the default thread is part of the head.
    pub(super) conversation: Option<Conversation>,
    /// The context, the system message first.
    pub(super) window: Vec<Arc<Message>>,
    pub(super) lane: Lane,
    last_used: Instant,
}

/// A run at a time, the others in order of acceptance.
#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) current: Option<RunId>,
    pub(super) queue: VecDeque<RunId>,
    /// Shared with the worker whose turn it is.
    pub(super) room: Arc<Mutex<Room>>,
}

impl Lane {
    pub(super) fn forget(&mut self, run: RunId) {
        self.queue.retain(|queued| *queued != run);
        if self.current == Some(run) {
            self.current = None;
        }
    }

    pub(super) fn is_free(&self) -> bool {
        self.current.is_none() && self.queue.is_empty()
    }
}

impl Thread {
    pub(super) fn new(conversation: Option<Conversation>, window: Vec<Arc<Message>>) -> Self {
        Self {
            conversation,
            window,
            lane: Lane::default(),
            last_used: Instant::now(),
        }
    }
}

impl Threads {
    /// Only the default thread, with this context.
    pub(super) fn new(window: Vec<Arc<Message>>) -> Self {
        Self {
            default: Thread::new(None, window),
            conversations: HashMap::new(),
        }
    }

    pub(super) fn get(&self, lane: LaneId) -> Option<&Thread> {
        match lane {
            LaneId::Default => Some(&self.default),
            LaneId::Conversation(id) => self.conversations.get(&id),
        }
    }

    pub(super) fn get_mut(&mut self, lane: LaneId) -> Option<&mut Thread> {
        match lane {
            LaneId::Default => Some(&mut self.default),
            LaneId::Conversation(id) => self.conversations.get_mut(&id),
        }
    }

    pub(super) fn window(&self, lane: LaneId) -> &[Arc<Message>] {
        self.get(lane).map_or(&[], |thread| &thread.window)
    }

    /// A run of this lane is to wait for its turn.
    pub(super) fn enqueue(&mut self, lane: LaneId, run: RunId) {
        if let Some(thread) = self.get_mut(lane) {
            thread.lane.queue.push_back(run);
        }
    }

    pub(super) fn remove(&mut self, id: ConversationId) {
        self.conversations.remove(&id);
    }

    pub(super) fn lanes(&self) -> Vec<LaneId> {
        let conversations = self.conversations.keys();
        let conversations = conversations.map(|id| LaneId::Conversation(*id));
        std::iter::once(LaneId::Default)
            .chain(conversations)
            .collect()
    }

    /// A run that is under way, for the tree: the default thread's before any other.
    pub(super) fn current(&self) -> Option<RunId> {
        let conversations = self.conversations.values();
        let mut threads = std::iter::once(&self.default).chain(conversations);
        threads.find_map(|thread| thread.lane.current)
    }

    /// A stored message was changed: every context that holds it shows the new one.
    pub(super) fn replace(&mut self, message: &Arc<Message>) {
        let conversations = self.conversations.values_mut();
        for thread in std::iter::once(&mut self.default).chain(conversations) {
            let mut shown = thread.window.iter_mut();
            if let Some(shown) = shown.find(|shown| shown.id == message.id) {
                *shown = message.clone();
            }
        }
    }

    pub(super) fn forget_idle(&mut self, pause: Duration) {
        self.conversations
            .retain(|_, thread| !thread.lane.is_free() || thread.last_used.elapsed() < pause);
    }
}

impl State {
    /// Of the list of a thread's context: it rises when the list is replaced.
    pub(super) fn version(&self, lane: LaneId) -> u64 {
        let thread = self.threads.get(lane);
        let conversation = thread.and_then(|thread| thread.conversation.as_ref());
        conversation.map_or(self.head.default_lane.version, |conversation| {
            conversation.window.version
        })
    }

    /// Makes sure that a thread is in memory.
    pub(super) async fn open_thread(&mut self, lane: LaneId) -> Result<(), Refused> {
        if let Some(thread) = self.threads.get_mut(lane) {
            thread.last_used = Instant::now();
            return Ok(());
        }
        let LaneId::Conversation(id) = lane else {
            return Ok(());
        };
        let (house, agent) = (self.house.clone(), self.id());
        let thread = blocking(move || read(&house, agent, id)).await?;
        self.threads.conversations.insert(id, thread);
        Ok(())
    }

    /// What a thread sees of the agent's blocks.
    pub(super) fn seen_by(
        &self,
        conversation: Option<&Conversation>,
        agents: Vec<Arc<Block>>,
    ) -> Result<Vec<Arc<Block>>, InFlight> {
        let Some(conversation) = conversation else {
            return Ok(agents);
        };
        Ok(seen_blocks(agents, self.isolated(conversation)?))
    }

    /// The isolated blocks of a conversation that are still there.
    pub(super) fn isolated(
        &self,
        conversation: &Conversation,
    ) -> Result<Vec<Arc<Block>>, InFlight> {
        let mut isolated = Vec::with_capacity(conversation.isolated_blocks.len());
        for id in &conversation.isolated_blocks {
            isolated.extend(self.house.store.block(*id)?.map(Arc::new));
        }
        Ok(isolated)
    }
}

fn read(house: &House, agent: AgentId, id: ConversationId) -> Result<Thread, Refused> {
    let conversation = house
        .store
        .conversation_of(agent, id)?
        .ok_or(Refused::NoSuchConversation(id))?;
    let window = context(house, agent, &conversation.window)?;
    Ok(Thread::new(Some(conversation), window))
}

/// The messages of a context.
pub(super) fn context(
    house: &House,
    agent: AgentId,
    window: &Window,
) -> Result<Vec<Arc<Message>>, Refused> {
    let messages = house.store.messages_at(agent, window.spans())?;
    Ok(messages.into_iter().map(Arc::new).collect())
}

/// Writes a new message: its place at the end of the history and, unless it is kept outside, of its thread's context. A
/// thread writes in its own name, also where it answers what another one said before a fork.
pub(super) fn place(
    batch: &mut Batch,
    head: &mut Head,
    conversation: Option<&mut Conversation>,
    message: &mut Message,
    now: Timestamp,
    in_context: bool,
) {
    message.conversation_id = conversation.as_ref().map(|conversation| conversation.id);
    match conversation {
        None => head.place(message, now, in_context),
        Some(conversation) => {
            head.place(message, now, false);
            if in_context {
                conversation.window.append(message.sequence);
            }
            batch.put_member(conversation, message.sequence);
        }
    }
    batch.put_message(message);
}
