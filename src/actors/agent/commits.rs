//! Commits: what a step, or the end of a run, writes in one batch, and what the agent then tells.

use super::threads::place;
use super::{
    CallEnd, CallResult, Committed, OpenRun, Reply, Settled, State, StepCommit, Untrusted,
};
use crate::actors::links;
use crate::actors::refused::Refused;
use crate::domain::approval::Pending;
use crate::domain::block::Block;
use crate::domain::clock;
use crate::domain::conversation::Conversation;
use crate::domain::history::{Compiled, Head, Window};
use crate::domain::id::{BlockId, RunId, StepId};
use crate::domain::memory::{CoreMemory, MemoryChange};
use crate::domain::message::{Message, Role, ToolReturn, ToolStatus};
use crate::domain::prompt::{self, PromptInput};
use crate::domain::run::{
    End, Inbox, LaneId, Phase, Run, RunStatus, Step, StepStatus, StopReason, Task,
};
use crate::domain::step;
use crate::store::{Batch, CallbackEntry, CommitError};
use jiff::Timestamp;
use ractor::ActorProcessingErr;
use std::collections::HashSet;
use std::sync::Arc;

/// Why a request of the agent was not carried out.
#[derive(Debug)]
pub(super) enum InFlight {
    Refused(Refused),
    /// What the store did is unknown, or it obeys another incarnation: this one must end.
    Untrusted(String),
}

impl From<Refused> for InFlight {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<crate::store::ReadError> for InFlight {
    fn from(error: crate::store::ReadError) -> Self {
        Self::Refused(error.into())
    }
}

/// Times the intents of one step are applied again because other agents changed the same blocks meanwhile. Each refusal
/// means that somebody else's edit went through.
pub(super) const MOST_TRIES: u32 = 1_000;

/// A batch and what is true in memory once it is written.
struct Draft {
    batch: Batch,
    head: Head,
    lane: LaneId,
    /// The record of the run's thread, if it is not the default one.
    conversation: Option<Conversation>,
    /// The window starts anew with the system message (`message_buffer_autoclear`).
    forgets: bool,
    /// The default thread's.
    system: Option<Arc<Message>>,
    inputs: Vec<Arc<Message>>,
    /// The inputs of a failed first step are kept outside the context.
    inputs_in_context: bool,
    /// Messages of a request at the end of the context that stays unanswered: inputs go in front of them.
    waiting: u64,
    messages: Vec<Arc<Message>>,
    record: Run,
    /// `None`: the run has ended.
    inbox: Option<Inbox>,
}

impl State {
    /// Commits a step and answers its worker; the run is told what to show.
    pub(super) async fn commit_and_answer(
        &mut self,
        commit: StepCommit,
        reply: Reply<Committed>,
    ) -> Result<(), ActorProcessingErr> {
        let run = commit.run;
        let lane = self.open.get(&run).map(|open| open.inbox.lane);
        let result = self.commit(commit).await;
        super::settle(reply, result)?;
        match lane.filter(|_| !self.open.contains_key(&run)) {
            Some(lane) => self.start_next(lane).await,
            None => Ok(()),
        }
    }

    /// Writes the end that a run asked for. The first end wins: a run that has ended is left as it is.
    pub(super) async fn close(&mut self, commit: StepCommit) -> Result<(), ActorProcessingErr> {
        let run = commit.run;
        let Some(open) = self.open.get(&run) else {
            return Ok(());
        };
        let (handle, lane) = (open.handle.clone(), open.inbox.lane);
        match self.commit_end(commit).await {
            Ok(_) => self.start_next(lane).await,
            Err(InFlight::Refused(refused)) => {
                tracing::warn!(%run, %refused, "the end of a run could not be written yet");
                handle.close_failed();
                Ok(())
            }
            Err(InFlight::Untrusted(reason)) => Err(Box::new(Untrusted(reason))),
        }
    }

    /// The same for a commit that ends its run. Where what it leaves behind is refused for good (it is too large), the run
    /// ends without that: an end is never waited for in vain.
    pub(super) async fn commit_end(&mut self, commit: StepCommit) -> Result<Committed, InFlight> {
        let end = commit.stop.clone();
        let mut bare = StepCommit::closing(
            commit.run,
            end.unwrap_or_else(|| End::internal("what its step left behind could not be written")),
        );
        bare.step.clone_from(&commit.step);
        let leaves = !commit.said.is_empty();
        match self.commit(commit).await {
            Err(InFlight::Refused(refused)) if leaves && refused != Refused::DiskFull => {
                tracing::error!(run = %bare.run, %refused, "what a run left behind could not be written");
                self.commit(bare).await
            }
            result => result,
        }
    }

    /// One batch: messages, context list, block edits, step record, run progress; with a stop reason also the run's end.
    /// Answers with what the step wrote, without the inputs.
    pub(super) async fn commit(&mut self, mut commit: StepCommit) -> Result<Committed, InFlight> {
        let Some(open) = self.open.get(&commit.run) else {
            return Err(Refused::NoSuchRun(commit.run).into());
        };
        commit.forget_if_committed(&open.inbox);
        for _ in 0..MOST_TRIES {
            let mut draft = self.draft(&commit)?;
            let batch = std::mem::replace(&mut draft.batch, Batch::shared());
            match self.house.store.commit(batch).await {
                Ok(()) => return Ok(self.adopt(draft)),
                // Another agent changed a block in between: the intents are applied again to the newest value.
                Err(CommitError::Conflict(_)) if commit.edits() => (),
                Err(error) => return Err(refusal(error)),
            }
        }
        Err(Refused::Overloaded.into())
    }

    fn draft(&self, commit: &StepCommit) -> Result<Draft, InFlight> {
        let open = self
            .open
            .get(&commit.run)
            .ok_or(Refused::NoSuchRun(commit.run))?;
        let now = self.stamp();
        let first = open.inbox.progress.committed_steps == 0;
        let failed = commit
            .stop
            .as_ref()
            .is_some_and(|end| end.stop_reason.status() == RunStatus::Failed);
        let inputs_in_context = !failed || !commit.said.is_empty();
        let lane = open.inbox.lane;
        let thread = self.threads.get(lane);
        let has_lane = thread.is_some_and(|thread| thread.lane.current == Some(commit.run));
        let waiting = if commit.settles() {
            0
        } else {
            Pending::of(self.threads.window(lane)).map_or(0, |pending| pending.length())
        };
        let forgets = inputs_in_context
            && has_lane
            && waiting == 0
            && self.forgets(&open.inbox, open.answers);
        let mut draft = Draft {
            batch: Batch::of_agent(self.id(), self.live.epoch),
            head: self.head.clone(),
            lane,
            conversation: thread.and_then(|thread| thread.conversation.clone()),
            forgets,
            system: None,
            inputs: Vec::new(),
            inputs_in_context,
            waiting,
            messages: Vec::new(),
            record: open.record.clone(),
            inbox: Some(open.inbox.clone()),
        };
        if draft.forgets {
            let system = draft.window().first();
            draft.window().replace(system);
        }
        let inputs = if first {
            open.inbox.messages(self.id())
        } else {
            Vec::new()
        };
        let step = commit.step.as_ref().map(|step| step.id);
        // What came with an answer stands behind the returns that it led to.
        let (before, after) = if commit.settles() {
            (Vec::new(), inputs)
        } else {
            (inputs, Vec::new())
        };
        for input in before {
            draft.input(input, step, now);
        }
        for said in &commit.said {
            draft.output(said.clone(), now);
        }
        self.draft_returns(&mut draft, commit, now)?;
        for reminder in &commit.reminders {
            draft.output(reminder.clone(), now);
        }
        for input in after {
            draft.input(input, step, now);
        }
        draft.progress(open, commit);
        let stop = draft.stop(commit);
        if let Some(end) = &stop {
            draft.end(open, end, now);
        }
        draft.step(commit, stop.as_ref());
        draft.write(self);
        Ok(draft)
    }

    /// The returns of a step's calls in one tool message. Edits of core memory are applied here, to the newest values.
    fn draft_returns(
        &self,
        draft: &mut Draft,
        commit: &StepCommit,
        now: Timestamp,
    ) -> Result<(), InFlight> {
        let (Some(first), Some(said)) = (commit.calls.first(), commit.said.first()) else {
            return Ok(());
        };
        let newest = if commit.edits() {
            self.newest_blocks()?
        } else {
            Vec::new()
        };
        let seen = self.seen_by(draft.conversation.as_ref(), newest.clone())?;
        let strict = self.house.settings.strict_block_limits;
        let mut memory = CoreMemory::new(seen, strict).isolating(&newest);
        if commit.calls.iter().any(|call| call.result.renames()) {
            memory = memory.sharing(self.shared(&newest)?);
        }
        let mut pack = |call: &CallEnd| -> ToolReturn {
            let result = match call.result.settled(&call.tool, &mut memory) {
                Settled::Packed(packed) => return packed,
                Settled::Result(result) => result,
            };
            step::pack(
                &call.call_id,
                &result,
                call.limit,
                now,
                &self.settings.timezone,
            )
        };
        let returns = commit.calls.iter().map(&mut pack).collect();
        let mut message = Message::new(self.id(), Role::Tool, now);
        message.step_id = said.step_id;
        message.run_id = said.run_id;
        message.conversation_id = said.conversation_id;
        message.model.clone_from(&said.model);
        draft.output(step::tool_message(message, &first.tool, returns), now);
        for call in &commit.calls {
            if let Some(tool) = call
                .tool_id
                .filter(|tool| !draft.record.tools_used.contains(tool))
            {
                draft.record.tools_used.push(tool);
            }
        }
        if commit.edits() {
            let changed = memory.changed(self.settings.created_by, now);
            let (head, system) =
                self.with_blocks(&mut draft.batch, &draft.head, newest, &changed)?;
            draft.head = head;
            draft.system = system;
        }
        Ok(())
    }

    /// Those of the blocks that other agents have as well.
    pub(super) fn shared(&self, blocks: &[Arc<Block>]) -> Result<HashSet<BlockId>, InFlight> {
        let mut shared = HashSet::new();
        for block in blocks {
            if self.house.store.block_agents(block.id)?.len() > 1 {
                shared.insert(block.id);
            }
        }
        Ok(shared)
    }

    /// Writes changed, new and detached blocks; the head and the default thread's system message with them, as from `recompiled`.
    pub(super) fn with_blocks(
        &self,
        batch: &mut Batch,
        head: &Head,
        newest: Vec<Arc<Block>>,
        change: &MemoryChange,
    ) -> Result<(Head, Option<Arc<Message>>), InFlight> {
        let store = &self.house.store;
        for block in &change.written {
            batch.put_block(block);
            if change.renamed.contains(&block.id) {
                links::rename(store, batch, block.id, &block.label)?;
            }
        }
        for block in &change.detached {
            links::detach(batch, self.id(), *block);
        }
        links::attach_new(store, batch, self.id(), &change.made)?;
        let newer = |block: Arc<Block>| {
            let new = change.written.iter().find(|new| new.id == block.id);
            new.map_or(block, |new| Arc::new(new.clone()))
        };
        let stays = |block: &Arc<Block>| !change.detached.contains(&block.id);
        let made = change.made.iter().cloned().map(Arc::new);
        let blocks = newest.into_iter().filter(stays).map(newer).chain(made);
        let blocks: Vec<Arc<Block>> = blocks.collect();
        self.recompiled(head, &blocks, None)
    }

    /// A system message that was written is what the default thread begins with.
    pub(super) fn show_system(&mut self, system: Option<Arc<Message>>) {
        if let (Some(system), Some(first)) = (system, self.threads.default.window.first_mut()) {
            *first = system;
        }
    }

    /// After the batch is written: memory follows, the run is told, an ended run leaves its lane.
    fn adopt(&mut self, draft: Draft) -> Committed {
        self.head = draft.head;
        self.show_system(draft.system);
        let inputs = draft.inputs.iter().filter(|_| draft.inputs_in_context);
        let mut added: Vec<Arc<Message>> = inputs.chain(&draft.messages).cloned().collect();
        added.sort_by_key(|message| message.sequence);
        if let Some(thread) = self.threads.get_mut(draft.lane) {
            if draft.forgets {
                thread.window.truncate(1);
            }
            let waiting = usize::try_from(draft.waiting).unwrap_or(0);
            let request = thread.window.len().saturating_sub(waiting);
            let request = thread.window.split_off(request);
            thread.window.extend(added);
            thread.window.extend(request);
            thread.conversation = draft.conversation;
        }
        let run = draft.record.id;
        let renewed = draft.forgets.then(|| self.version(draft.lane));
        let stop = draft.record.stop_reason.filter(|_| draft.inbox.is_none());
        let ended = draft
            .inbox
            .is_none()
            .then(|| Arc::new(draft.record.clone()));
        let mut shown = draft.inputs;
        shown.extend(draft.messages.iter().cloned());
        if let Some(open) = self.open.get(&run) {
            open.handle.committed(shown, ended.clone());
        }
        match (draft.inbox, ended) {
            (Some(inbox), _) => {
                if let Some(open) = self.open.get_mut(&run) {
                    open.record = draft.record;
                    open.inbox = inbox;
                }
            }
            (None, Some(ended)) => self.forget_run(&ended),
            (None, None) => (),
        }
        Committed {
            messages: draft.messages,
            stop,
            renewed,
        }
    }

    fn forget_run(&mut self, ended: &Arc<Run>) {
        let lane = self.open.remove(&ended.id).map(|open| open.inbox.lane);
        if let Some(thread) = lane.and_then(|lane| self.threads.get_mut(lane)) {
            thread.lane.forget(ended.id);
        }
        if ended.callback.is_some() {
            self.house.callback_due();
        }
    }

    // ── smaller writes

    /// A step has begun: shown as running from now on. Not waited for; a crash before the commit repeats the step.
    pub(super) fn step_started(&mut self, step: Step) {
        let Some(run) = step.run_id else { return };
        let Some(open) = self.open.get_mut(&run) else {
            return;
        };
        open.record.status = RunStatus::Running;
        open.inbox.progress.phase = Phase::Model { step_id: step.id };
        let mut batch = Batch::of_agent(self.live.id, self.live.epoch);
        batch.put_run(&open.record);
        batch.put_step(&step);
        self.house.store.commit_relaxed(batch);
    }

    /// Durable before a tool with outside effects starts.
    pub(super) async fn call_started(
        &mut self,
        run: RunId,
        origin: Option<(StepId, Box<Message>)>,
        call_id: String,
    ) -> Result<(), InFlight> {
        let open = self.open.get(&run).ok_or(Refused::NoSuchRun(run))?;
        let mut inbox = open.inbox.clone();
        match (&mut inbox.progress.phase, origin) {
            (Phase::Tools { started, .. } | Phase::Settling { started, .. }, _) => {
                started.push(call_id);
            }
            (phase, Some((step_id, assistant))) => {
                *phase = Phase::Tools {
                    step_id,
                    assistant,
                    started: vec![call_id],
                    finished: Vec::new(),
                }
            }
            (phase, None) => {
                *phase = Phase::Settling {
                    started: vec![call_id],
                    finished: Vec::new(),
                }
            }
        }
        let mut batch = Batch::of_agent(self.id(), self.live.epoch);
        batch.put_inbox(self.id(), &inbox);
        self.write(batch).await?;
        if let Some(open) = self.open.get_mut(&run) {
            open.inbox = inbox;
        }
        Ok(())
    }

    /// A call whose start was journalled has come back. Not waited for: after a crash it is answered with what is known.
    pub(super) fn call_returned(&mut self, run: RunId, end: &CallEnd) {
        let Some(open) = self.open.get_mut(&run) else {
            return;
        };
        let (
            Phase::Tools { finished, .. } | Phase::Settling { finished, .. },
            CallResult::Ended(result),
        ) = (&mut open.inbox.progress.phase, &end.result)
        else {
            return;
        };
        let (now, timezone) = (clock::now(), &self.settings.timezone);
        finished.push(step::pack(&end.call_id, result, end.limit, now, timezone));
        let mut batch = Batch::of_agent(self.live.id, self.live.epoch);
        batch.put_inbox(self.live.id, &open.inbox);
        self.house.store.commit_relaxed(batch);
    }

    /// The answer of a run reached its client. Relaxed: at worst a marked retry is answered from the record once more.
    pub(super) fn delivered(&mut self, run: RunId) {
        if let Ok(Some(mut record)) = self.house.store.run_of(self.live.id, run)
            && record.status.is_final()
        {
            record.delivered = true;
            let mut batch = Batch::of_agent(self.live.id, self.live.epoch);
            batch.put_run(&record);
            self.house.store.commit_relaxed(batch);
        }
    }

    pub(super) async fn callback_ended(
        &mut self,
        id: RunId,
        result: Result<u16, String>,
    ) -> Result<(), InFlight> {
        let mut batch = Batch::of_agent(self.id(), self.live.epoch);
        batch.delete_callback(self.id(), id);
        if let Some(mut run) = self.house.store.run_of(self.id(), id)? {
            if let Some(callback) = &mut run.callback {
                callback.sent_at = Some(clock::now());
                callback.status_code = result.as_ref().ok().copied();
                callback.error = result.err();
            }
            batch.put_run(&run);
        }
        self.write(batch).await
    }

    /// A durable batch.
    pub(super) async fn write(&self, batch: Batch) -> Result<(), InFlight> {
        self.house.store.commit(batch).await.map_err(refusal)
    }

    // ── the system message

    /// Compares what the system message was compiled from with what is there now, and rebuilds it if they differ
    /// (decisions 33). Applied when this returns, so that a list read afterwards shows it; not synced: it is derived.
    pub(super) async fn refresh(&mut self) -> Result<(), InFlight> {
        let revision = self.house.store.shared_revision();
        let compiled_now = self.head.compiled.prompt_revision == self.settings.prompt_revision;
        if self.compared == Some(revision) && compiled_now {
            return Ok(());
        }
        let blocks = self.newest_blocks()?;
        let (head, system) = self.recompiled(&self.head, &blocks, None)?;
        if head.compiled != self.head.compiled || system.is_some() {
            let mut batch = Batch::of_agent(self.id(), self.live.epoch);
            batch.put_head(self.id(), &head);
            if let Some(system) = &system {
                batch.put_message(system);
            }
            self.write(batch.relaxed()).await?;
            self.head = head;
            self.show_system(system);
        }
        self.compared = Some(revision);
        Ok(())
    }

    /// The agent's blocks as they are on disk, in order of attachment.
    pub(super) fn newest_blocks(&self) -> Result<Vec<Arc<Block>>, InFlight> {
        let store = &self.house.store;
        let mut blocks = Vec::new();
        for link in store.links(self.id())? {
            if let Some(block) = store.block(link.block_id)? {
                blocks.push(Arc::new(block));
            }
        }
        Ok(blocks)
    }

    /// The head and the default thread's system message for these blocks; no message when the text stays as it is, which is
    /// taken for granted if nothing has changed that it was compiled from. The time shown in the text is kept unless `at` is
    /// given.
    pub(super) fn recompiled(
        &self,
        head: &Head,
        blocks: &[Arc<Block>],
        at: Option<Timestamp>,
    ) -> Result<(Head, Option<Arc<Message>>), InFlight> {
        let compiled = self.compiled_from(blocks);
        if compiled == self.head.compiled && at.is_none() {
            let head = Head {
                compiled,
                ..head.clone()
            };
            return Ok((head, None));
        }
        Ok(self.rebuilt(head, blocks, at))
    }

    /// The same, taking nothing for granted.
    pub(super) fn rebuilt(
        &self,
        head: &Head,
        blocks: &[Arc<Block>],
        at: Option<Timestamp>,
    ) -> (Head, Option<Arc<Message>>) {
        let mut head = head.clone();
        head.compiled = self.compiled_from(blocks);
        let Some(system) = self.threads.default.window.first() else {
            return (head, None);
        };
        let input = PromptInput {
            agent: &self.settings,
            blocks,
            conversation_id: None,
            compiled_at: at.unwrap_or(system.created_at),
            recall_messages: head.stored_messages.saturating_sub(head.default_lane.len()),
        };
        let text = prompt::compile(&input);
        if text == system.text() {
            return (head, None);
        }
        let mut message = Message::clone(system);
        message.content = vec![crate::domain::message::Part::of_text(text)];
        message.updated_at = clock::now();
        if let Some(at) = at {
            message.created_at = at;
        }
        (head, Some(Arc::new(message)))
    }

    fn compiled_from(&self, blocks: &[Arc<Block>]) -> Compiled {
        let versions = blocks.iter().map(|block| (block.id, block.version));
        Compiled {
            blocks: versions.collect(),
            prompt_revision: self.settings.prompt_revision,
        }
    }

    /// Now, and never earlier than the last message.
    pub(super) fn stamp(&self) -> Timestamp {
        clock::now().max(self.head.last_created_at)
    }
}

impl StepCommit {
    fn edits(&self) -> bool {
        self.calls.iter().any(|call| call.result.edits())
    }

    /// A close may overtake the news that its open step was committed: the step is not written twice.
    fn forget_if_committed(&mut self, inbox: &Inbox) {
        let written = match &self.step {
            Some(step) => step.number <= inbox.progress.committed_steps,
            None => self.settles() && inbox.answer.is_none(),
        };
        if written {
            self.step = None;
            self.said.clear();
            self.calls.clear();
            self.reminders.clear();
        }
    }
}

impl Draft {
    fn input(&mut self, mut message: Message, step: Option<StepId>, now: Timestamp) {
        message.step_id = step;
        message.is_err = !self.inputs_in_context;
        let appended = self.inputs_in_context && self.waiting == 0;
        let message = self.store(message, now, appended);
        if self.inputs_in_context && !appended {
            let waiting = self.waiting;
            self.window().insert_before(waiting, message.sequence);
        }
        self.inputs.push(message);
    }

    fn output(&mut self, message: Message, now: Timestamp) {
        let message = self.store(message, now, true);
        self.messages.push(message);
    }

    fn store(&mut self, mut message: Message, now: Timestamp, in_context: bool) -> Arc<Message> {
        let conversation = self.conversation.as_mut();
        place(
            &mut self.batch,
            &mut self.head,
            conversation,
            &mut message,
            now,
            in_context,
        );
        Arc::new(message)
    }

    /// The context of the run's thread.
    fn window(&mut self) -> &mut Window {
        match &mut self.conversation {
            Some(conversation) => &mut conversation.window,
            None => &mut self.head.default_lane,
        }
    }

    fn progress(&mut self, open: &OpenRun, commit: &StepCommit) {
        if let Some(inbox) = &mut self.inbox {
            inbox.progress.phase = commit.then.map_or(Phase::Idle, Phase::Ending);
            // A step that a crash interrupted may have lost its record; what it said counts all the same.
            if commit.step.is_some() || !commit.said.is_empty() {
                inbox.progress.committed_steps += 1;
            }
            if commit.settles() {
                inbox.answer = None;
            }
        }
        self.record.status = RunStatus::Running;
        if !commit.said.is_empty() && self.record.ttft_ns.is_none() {
            self.record.ttft_ns = u64::try_from(open.accepted_at.elapsed().as_nanos()).ok();
        }
        let Some(step) = commit.step.as_ref().filter(|_| {
            !commit.said.is_empty()
                || commit.stop.as_ref().is_none_or(|end| {
                    end.error.is_none() && end.stop_reason != StopReason::Cancelled
                })
        }) else {
            return;
        };
        self.record.steps += 1;
        self.record.usage.add(step.usage);
        if step.usage.total_tokens > 0 {
            self.record.context_tokens = Some(step.usage.total_tokens);
        }
    }

    fn end(&mut self, open: &OpenRun, end: &End, now: Timestamp) {
        let record = &mut self.record;
        let took = open.accepted_at.elapsed();
        record.close(end, now);
        record.total_duration_ns = u64::try_from(took.as_nanos()).ok();
        // A compaction is nobody's turn: what is told of an agent's last run is not of it.
        if open.inbox.task == Task::Turn {
            self.head.last_stop_reason = Some(end.stop_reason);
            self.head.last_run_completion = record.completed_at;
            self.head.last_run_duration_ms = u64::try_from(took.as_millis()).ok();
            if let Some(conversation) = &mut self.conversation {
                conversation.last_run_completion = record.completed_at;
            }
        }
        self.inbox = None;
    }

    /// The end that the commit carries, as its proviso turned out.
    fn stop(&self, commit: &StepCommit) -> Option<End> {
        let Some(proviso) = &commit.proviso else {
            return commit.stop.clone();
        };
        let mut ends = self
            .messages
            .iter()
            .flat_map(|message| &message.tool_returns);
        let holds = ends.any(|end| {
            end.status == ToolStatus::Success && proviso.calls.contains(&end.tool_call_id)
        });
        if holds {
            commit.stop.clone()
        } else {
            proviso.otherwise.clone()
        }
    }

    fn step(&mut self, commit: &StepCommit, stop: Option<&End>) {
        let Some(mut step) = commit.step.clone() else {
            return;
        };
        if commit.proviso.is_some() {
            step.stop_reason = stop.map(|end| end.stop_reason);
        }
        if let Some(end) = stop.filter(|_| step.status == StepStatus::Pending) {
            step.status = if end.stop_reason == StopReason::Cancelled {
                StepStatus::Cancelled
            } else {
                StepStatus::Failed
            };
            step.stop_reason = Some(end.stop_reason);
            step.error.clone_from(&end.error);
        }
        self.batch.put_step(&step);
    }

    fn write(&mut self, state: &State) {
        let id = state.id();
        if let Some(system) = &self.system {
            self.batch.put_message(system);
        }
        self.batch.put_head(id, &self.head);
        if let Some(conversation) = &self.conversation {
            self.batch.put_conversation(conversation);
        }
        let only_compacts = |open: &OpenRun| open.inbox.task != Task::Turn;
        let forgotten =
            self.inbox.is_none() && state.open.get(&self.record.id).is_some_and(only_compacts);
        if forgotten {
            // What a compaction leaves is its summary.
            self.batch.delete_run(&self.record);
        } else {
            self.batch.put_run(&self.record);
        }
        match &self.inbox {
            Some(inbox) => self.batch.put_inbox(id, inbox),
            None => {
                self.batch.delete_inbox(id, self.record.id);
                if self.record.callback.is_some() {
                    self.batch.put_callback(
                        id,
                        self.record.id,
                        &CallbackEntry {
                            attempts: 0,
                            next_try: clock::now(),
                        },
                    );
                }
            }
        }
    }
}

pub(super) fn refusal(error: CommitError) -> InFlight {
    match error {
        CommitError::Full => InFlight::Refused(Refused::DiskFull),
        CommitError::Conflict(_) | CommitError::TooLarge(_) => InFlight::Refused(error.into()),
        CommitError::Fenced | CommitError::Failed(_) | CommitError::Closed => {
            InFlight::Untrusted(error.to_string())
        }
    }
}
