//! Conversations from the agent's side: made, forked, changed, recompiled, deleted. Their turns are everybody's turns
//! (`admission.rs`, `commits.rs`).

use super::commits::InFlight;
use super::threads::place;
use super::{AgentHandle, Msg, State, StepCommit};
use crate::actors::reads::blocking;
use crate::actors::refused::Refused;
use crate::domain::agent::Agent;
use crate::domain::block::Block;
use crate::domain::clock;
use crate::domain::conversation::{
    Conversation, ConversationChange, NewConversation, SYSTEM_POSITION, isolated_copy, seen_blocks,
};
use crate::domain::history::Head;
use crate::domain::history::Window;
use crate::domain::id::{AgentId, BlockId, ConversationId, RunId, UserId};
use crate::domain::message::{Message, Part, Role};
use crate::domain::page::{Order, Stretch};
use crate::domain::prompt::{self, PromptInput};
use crate::domain::run::{End, LaneId, StopReason};
use crate::store::{Batch, Member, Store};
use jiff::Timestamp;
use std::sync::Arc;

impl AgentHandle {
    /// Makes a conversation; asked twice, it is made once.
    pub async fn create_conversation(&self, new: NewConversation) -> Result<(), Refused> {
        self.ask(|reply| Msg::CreateConversation(Box::new(new), reply))
            .await
    }

    /// A new conversation that goes on from the context of a thread.
    pub async fn fork(&self, from: LaneId, id: ConversationId, by: UserId) -> Result<(), Refused> {
        self.ask(|reply| Msg::Fork(from, id, by, reply)).await
    }

    pub async fn modify_conversation(
        &self,
        id: ConversationId,
        change: ConversationChange,
        by: UserId,
    ) -> Result<(), Refused> {
        self.ask(|reply| Msg::ModifyConversation(id, Box::new(change), by, reply))
            .await
    }

    /// Closes its runs as cancelled and removes it, with the messages and blocks that only it had.
    pub async fn delete_conversation(&self, id: ConversationId) -> Result<(), Refused> {
        self.ask(|reply| Msg::DeleteConversation(id, reply)).await
    }

    /// Compiles the system message of a thread anew, whether or not anything has changed that it was compiled from. `now`: the
    /// time shown in it becomes the present; `dry`: without storing it. The new text.
    pub async fn recompile(&self, thread: LaneId, now: bool, dry: bool) -> Result<String, Refused> {
        self.ask(|reply| Msg::Recompile {
            thread,
            now,
            dry,
            reply,
        })
        .await
    }
}

impl State {
    pub(super) async fn create_conversation(
        &mut self,
        new: NewConversation,
    ) -> Result<(), InFlight> {
        self.alive()?;
        if self.is_made(new.id)? {
            return Ok(());
        }
        let now = self.stamp();
        let blocks = self.newest_blocks()?;
        let mut isolated: Vec<Block> = Vec::with_capacity(new.isolated.len());
        for label in &new.isolated {
            let block = blocks.iter().find(|block| block.label == *label);
            let block = block.ok_or_else(|| {
                Refused::Argument(format!(
                    "isolated_block_labels: the agent has no block with label '{label}'"
                ))
            })?;
            if isolated.iter().all(|copy| copy.label != *label) {
                isolated.push(isolated_copy(block, new.by, now));
            }
        }
        let conversation = new.create(self.id(), now);
        let config = conversation.config(&self.settings.llm_config);
        config.check().map_err(Refused::from)?;
        self.begin(conversation, blocks, isolated, Vec::new()).await
    }

    /// The messages of the fork are those of the source; only the system message is its own.
    pub(super) async fn fork(
        &mut self,
        from: LaneId,
        id: ConversationId,
        by: UserId,
    ) -> Result<(), InFlight> {
        self.alive()?;
        if self.is_made(id)? {
            return Ok(());
        }
        self.open_thread(from).await?;
        let now = self.stamp();
        let thread = self.threads.get(from);
        let source = thread.and_then(|thread| thread.conversation.clone());
        let new = NewConversation {
            id,
            summary: None,
            llm_config: None,
            model_settings: None,
            isolated: Vec::new(),
            by,
        };
        let (conversation, window) = match &source {
            Some(source) => (source.forked(id, by, now), &source.window),
            None => (new.create(self.id(), now), &self.head.default_lane),
        };
        let lent = window.sequences().skip(1).collect();
        let isolated = match &source {
            Some(source) => self.isolated(source)?,
            None => Vec::new(),
        };
        let copy = |block: &Arc<Block>| isolated_copy(block, by, now);
        let isolated = isolated.iter().map(copy).collect();
        let blocks = self.newest_blocks()?;
        self.begin(conversation, blocks, isolated, lent).await
    }

    /// Writes a new conversation: its blocks, its system message, the messages that it takes over.
    async fn begin(
        &mut self,
        mut conversation: Conversation,
        blocks: Vec<Arc<Block>>,
        isolated: Vec<Block>,
        lent: Vec<u64>,
    ) -> Result<(), InFlight> {
        let now = conversation.created_at;
        let mut batch = Batch::of_agent(self.id(), self.live.epoch);
        for block in &isolated {
            batch.put_block(block);
            conversation.isolated_blocks.push(block.id);
        }
        let seen = seen_blocks(blocks, isolated.into_iter().map(Arc::new).collect());
        let mut head = self.head.clone();
        let mut system = Message::new(self.id(), Role::System, now);
        system.conversation_id = Some(conversation.id);
        system.content = vec![Part::of_text(self.prompt_of(&conversation, &seen, now))];
        let (own, context) = (Some(&mut conversation), true);
        place(&mut batch, &mut head, own, &mut system, now, context);
        for sequence in lent {
            conversation.window.append(sequence);
            batch.lend_message(&conversation, sequence);
        }
        batch.put_conversation(&conversation);
        batch.put_head(self.id(), &head);
        self.write(batch).await?;
        self.head = head;
        Ok(())
    }

    fn is_made(&self, id: ConversationId) -> Result<bool, InFlight> {
        let known = self.house.store.conversation_of(self.id(), id)?;
        Ok(known.is_some())
    }

    /// The system message of a conversation.
    fn prompt_of(
        &self,
        conversation: &Conversation,
        blocks: &[Arc<Block>],
        at: Timestamp,
    ) -> String {
        let agent = Agent {
            llm_config: conversation.config(&self.settings.llm_config),
            ..Agent::clone(&self.settings)
        };
        prompt::compile(&PromptInput {
            agent: &agent,
            blocks,
            conversation_id: Some(conversation.id),
            compiled_at: at,
            recall_messages: self.head.stored_messages,
        })
    }

    pub(super) async fn modify_conversation(
        &mut self,
        id: ConversationId,
        change: ConversationChange,
        by: UserId,
    ) -> Result<(), InFlight> {
        self.alive()?;
        let mut conversation = self.conversation(id)?;
        let before = conversation.config(&self.settings.llm_config);
        change.apply(&mut conversation, by, clock::now());
        let config = conversation.config(&self.settings.llm_config);
        if config != before {
            config.check().map_err(Refused::from)?;
        }
        let mut batch = Batch::of_agent(self.id(), self.live.epoch);
        batch.put_conversation(&conversation);
        self.write(batch).await?;
        if let Some(thread) = self.threads.get_mut(LaneId::Conversation(id)) {
            thread.conversation = Some(conversation);
        }
        Ok(())
    }

    /// The record as it is now.
    fn conversation(&self, id: ConversationId) -> Result<Conversation, InFlight> {
        let known = self.house.store.conversation_of(self.id(), id)?;
        Ok(known.ok_or(Refused::NoSuchConversation(id))?)
    }

    pub(super) async fn delete_conversation(&mut self, id: ConversationId) -> Result<(), InFlight> {
        self.alive()?;
        let lane = LaneId::Conversation(id);
        self.conversation(id)?;
        let open = self.open.values();
        let open = open.filter(|open| open.inbox.lane == lane);
        let open: Vec<RunId> = open.map(|open| open.record.id).collect();
        for run in open {
            self.commit(StepCommit::closing(run, End::of(StopReason::Cancelled)))
                .await?;
        }
        self.threads.remove(id);
        let conversation = self.conversation(id)?;
        self.delete_history(conversation.clone()).await?;
        let rest = self.doomed(id, None).await?;
        let mut batch = Batch::of_agent(self.id(), self.live.epoch);
        batch.delete_members(&conversation, &rest.members, &rest.gone);
        batch.delete_conversation(&conversation);
        for block in &conversation.isolated_blocks {
            batch.delete_block(*block);
        }
        self.write_without(batch, &rest.gone).await
    }

    /// Removes what is more of a conversation than one batch should, its system message never. The context goes first: a
    /// crash between two batches leaves a conversation that remembers less, and can be deleted again.
    async fn delete_history(&mut self, mut conversation: Conversation) -> Result<(), InFlight> {
        loop {
            let id = conversation.id;
            let doomed = self.doomed(id, Some(SYSTEM_POSITION)).await?;
            if doomed.members.len() < DELETED_AT_ONCE {
                return Ok(());
            }
            let mut batch = Batch::of_agent(self.id(), self.live.epoch);
            if conversation.window.len() > 1 {
                let system = conversation.window.first();
                conversation.window.replace(system);
                batch.put_conversation(&conversation);
            }
            batch.delete_members(&conversation, &doomed.members, &doomed.gone);
            self.write_without(batch, &doomed.gone).await?;
        }
    }

    /// The next members of a conversation to delete.
    async fn doomed(&self, id: ConversationId, past: Option<u64>) -> Result<Doomed, Refused> {
        let (store, agent) = (self.house.store.clone(), self.id());
        let kept = self.head.default_lane.clone();
        blocking(move || doomed(&store, agent, id, &kept, past)).await
    }

    async fn write_without(&mut self, mut batch: Batch, gone: &[Message]) -> Result<(), InFlight> {
        let mut head = self.head.clone();
        head.stored_messages = head.stored_messages.saturating_sub(gone.len() as u64);
        batch.put_head(self.id(), &head);
        self.write(batch).await?;
        self.head = head;
        Ok(())
    }

    /// The blocks that only conversations of this agent see.
    pub(super) fn all_isolated(&self) -> Result<Vec<BlockId>, InFlight> {
        let store = &self.house.store;
        let mut blocks = Vec::new();
        for conversation in store.conversations(Some(self.id()), Stretch::all(Order::Ascending))? {
            blocks.append(&mut conversation?.isolated_blocks);
        }
        Ok(blocks)
    }

    pub(super) async fn recompile(
        &mut self,
        lane: LaneId,
        now: bool,
        dry: bool,
    ) -> Result<String, InFlight> {
        self.alive()?;
        self.open_thread(lane).await?;
        let revision = self.house.store.shared_revision();
        let system = self.threads.window(lane).first().cloned();
        let at = now.then(|| self.stamp());
        let (head, compiled) = self.compiled_anew(lane, &self.head, at)?;
        let text = compiled.as_ref().or(system.as_ref());
        let text = text.map(|system| system.text()).unwrap_or_default();
        if dry {
            return Ok(text);
        }
        if compiled.is_some() || head != self.head {
            let mut batch = Batch::of_agent(self.id(), self.live.epoch);
            batch.put_head(self.id(), &head);
            if let Some(compiled) = &compiled {
                batch.put_message(compiled);
            }
            self.write(batch).await?;
            self.head = head;
            if let Some(compiled) = &compiled {
                self.threads.replace(compiled);
            }
        }
        if lane == LaneId::Default {
            self.compared = Some(revision);
        }
        Ok(text)
    }

    /// A thread's system message compiled anew, and the head that goes with it; none if the text stays as it is. The time
    /// shown in the text is kept unless `at` is given.
    pub(super) fn compiled_anew(
        &self,
        lane: LaneId,
        head: &Head,
        at: Option<Timestamp>,
    ) -> Result<(Head, Option<Arc<Message>>), InFlight> {
        let blocks = self.newest_blocks()?;
        let thread = self.threads.get(lane);
        let Some(conversation) = thread.and_then(|thread| thread.conversation.as_ref()) else {
            return Ok(self.rebuilt(head, &blocks, at));
        };
        let seen = self.seen_by(Some(conversation), blocks)?;
        let fresh = self.threads.window(lane).first().map(|system| {
            let created_at = at.unwrap_or(system.created_at);
            let text = self.prompt_of(conversation, &seen, created_at);
            Message {
                content: vec![Part::of_text(text)],
                created_at,
                updated_at: clock::now(),
                ..Message::clone(system)
            }
        });
        Ok((head.clone(), fresh.map(Arc::new)))
    }
}

/// Members of a conversation that are deleted in one batch.
const DELETED_AT_ONCE: usize = 500;

/// Members that go, and the messages among them that no other thread has.
struct Doomed {
    members: Vec<Member>,
    gone: Vec<Message>,
}

/// The first members past this position, as many as go at once.
fn doomed(
    store: &Store,
    agent: AgentId,
    id: ConversationId,
    default: &Window,
    past: Option<u64>,
) -> Result<Doomed, Refused> {
    let members = store.placed_members(agent, id, Stretch::past(Order::Ascending, past));
    let members: Vec<Member> = members.take(DELETED_AT_ONCE).collect::<Result<_, _>>()?;
    let mut gone = Vec::new();
    for Member { sequence, .. } in &members {
        let Some(message) = store.message_at(agent, *sequence)? else {
            continue;
        };
        // What was said in the default thread is never a conversation's alone.
        let Some(origin) = message.conversation_id else {
            continue;
        };
        let at_home = origin != id && store.conversation_of(agent, origin)?.is_some();
        let mut borrowers = store.borrowers(agent, *sequence)?.into_iter();
        let lent = borrowers.any(|borrower| borrower != id);
        if !at_home && !lent && !default.contains(*sequence) {
            gone.push(message);
        }
    }
    Ok(Doomed { members, gone })
}
