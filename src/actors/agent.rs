//! One agent: owns its settings, memory links, message history and lanes; admits runs; commits their steps.
//!
//! Tree     `agents` → `agent:<id>` → `run:<id>`
//! Owns     everything in the agent's key range on disk: the only writer (decisions 27).
//! Restart  transient, with back-off; the fourth death in the window marks it faulted (see `actors.rs`).

mod admission;
mod changes;
mod commits;
mod compaction;
mod conversations;
mod loading;
mod threads;
mod tools;

pub use self::admission::Started;
pub use self::changes::TextEdit;
use self::commits::InFlight;
pub(crate) use self::compaction::{Compacted, Compaction};
pub(crate) use self::loading::close_runs_of_faulted;
use self::threads::{Thread, Threads};
use super::ask::{AskError, DEADLINE, Mailbox, Waiting, answer, ask, tell};
use super::house::House;
use super::refused::Refused;
use super::run::RunHandle;
use super::run::worker::host::{self, AgentHost};
use super::run::worker::{Context, Settling};
use super::tree::Hung;
use crate::domain::agent::{Agent as Settings, AgentChange, CompactionSettings};
use crate::domain::approval::Pending;
use crate::domain::clock;
use crate::domain::conversation::{Conversation, ConversationChange, NewConversation};
use crate::domain::history::Head;
use crate::domain::id::{AgentId, ConversationId, MessageId, RunId, StepId, ToolId, UserId};
use crate::domain::memory::{CoreMemory, Edit, EditKind};
use crate::domain::message::{Message, ToolCall, ToolReturn};
use crate::domain::run::{
    End, Feedback, Inbox, LaneId, Run as RunRecord, RunRequest, Step, StopReason, StreamMode, Task,
};
use crate::domain::skill;
use crate::domain::step;
use crate::domain::tool::ToolResult;
use crate::store::Epoch;
use crate::tools::Work;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// A live incarnation of an agent, as the directory knows it.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) id: AgentId,
    pub(crate) epoch: Epoch,
    actor: ActorRef<Mail>,
    mailbox: Arc<Mailbox>,
    /// Handles that are out: requests under way.
    leases: AtomicUsize,
    /// In order of acceptance.
    runs: Mutex<Vec<RunHandle>>,
}

impl Live {
    pub(crate) fn leases(&self) -> usize {
        self.leases.load(Ordering::Acquire)
    }
}

/// What the directory gives out. While one is held, the agent is not passivated.
pub struct AgentHandle {
    live: Arc<Live>,
    house: Arc<House>,
}

impl Drop for AgentHandle {
    fn drop(&mut self) {
        self.live.leases.fetch_sub(1, Ordering::AcqRel);
    }
}

impl AgentHandle {
    /// Taken under the lock of the directory's entry.
    pub(crate) fn lease(live: &Arc<Live>, house: &Arc<House>) -> Self {
        live.leases.fetch_add(1, Ordering::AcqRel);
        Self {
            live: live.clone(),
            house: house.clone(),
        }
    }

    /// Accepts a run; answers when its inputs are durable. `refuse_busy`: a busy lane is refused instead of queued.
    ///
    /// # Errors
    /// See `Refused`; after `Timeout` the run may have been accepted: `Directory::run` knows.
    pub async fn start_run(
        &self,
        request: RunRequest,
        refuse_busy: bool,
    ) -> Result<Started, Refused> {
        match self.send_run(request.clone(), refuse_busy).await {
            Ok(started) => started,
            // A lost answer is looked up, never sent again blindly (decisions 30).
            Err(error) => {
                let now = self.incarnation_after(&error).await?;
                now.attach_or_start(request, refuse_busy).await
            }
        }
    }

    async fn send_run(
        &self,
        request: RunRequest,
        refuse_busy: bool,
    ) -> Result<Result<Started, Refused>, AskError> {
        self.try_ask(|reply| Msg::StartRun(Box::new(request), refuse_busy, reply))
            .await
    }

    /// The agent that is there now; after a death, the next incarnation.
    async fn incarnation_after(&self, error: &AskError) -> Result<Self, Refused> {
        let directory = super::directory::Directory::new(self.house.clone());
        let since = Instant::now();
        loop {
            let now = directory.agent(self.live.id).await?;
            let another = now.live.epoch != self.live.epoch;
            if another || *error == AskError::Late || since.elapsed() > DEADLINE {
                return Ok(now);
            }
            tokio::time::sleep(super::directory::PAUSE).await;
        }
    }

    async fn attach_or_start(
        &self,
        request: RunRequest,
        refuse_busy: bool,
    ) -> Result<Started, Refused> {
        let id = request.id;
        if let Some(run) = self.house.runs.get(&id) {
            let run = run.value().clone();
            return Ok(Started::Live { run, fresh: true });
        }
        let store = self.house.store.clone();
        let accepted = super::reads::blocking(move || Ok(store.run(id)?)).await?;
        match accepted {
            Some(_) => Ok(Started::Ended(id)),
            None => self
                .send_run(request, refuse_busy)
                .await
                .unwrap_or(Err(Refused::Timeout)),
        }
    }

    /// Changes settings, links and the in-context list in one batch.
    pub async fn modify(&self, change: AgentChange, by: UserId) -> Result<(), Refused> {
        self.ask(|reply| Msg::Modify(Box::new(change), by, reply))
            .await
    }

    /// Attaches a tool, or takes it away.
    ///
    /// # Errors
    /// `NoSuchTool`.
    pub async fn attach_tool(&self, tool: ToolId, wanted: bool, by: UserId) -> Result<(), Refused> {
        self.ask(|reply| Msg::AttachTool(tool, wanted, by, reply))
            .await
    }

    /// Runs an attached tool because somebody asked, not the model: no rule holds it, and nothing of it is in the context
    /// but what it edits.
    ///
    /// # Errors
    /// `NoSuchAgentTool` for a tool that is not attached. A tool that fails is an answer.
    pub async fn run_tool(
        &self,
        name: &str,
        arguments: Map<String, Value>,
    ) -> Result<ToolResult, Refused> {
        let agent = self.ask(Msg::Settings).await?;
        let mut attached = agent.tools.iter();
        let tool = attached.find_map(|id| {
            let tool = self.house.toolbox.get(*id);
            tool.filter(|tool| tool.definition().name == name)
        });
        let tool = tool.ok_or_else(|| Refused::NoSuchAgentTool {
            agent: agent.id,
            tool: name.to_owned(),
        })?;
        match host::start(
            &*tool,
            arguments,
            AgentHost::new(&self.house, &agent, LaneId::Default, Vec::new()),
        ) {
            Work::Done(result) => self.settle(name, result).await,
            Work::Edit(edit) => self.edit(name, CallResult::Edit(edit)).await,
            Work::Wait(work) => self.settle(name, host::outcome(name, work).await).await,
        }
    }

    /// Stores what a call wants beside its return, if it wants anything.
    async fn settle(&self, tool: &str, result: ToolResult) -> Result<ToolResult, Refused> {
        if result.edits.is_empty() {
            return Ok(result);
        }
        self.edit(tool, CallResult::Ended(result)).await
    }

    /// Stores what a call wants of the agent's blocks.
    async fn edit(&self, tool: &str, result: CallResult) -> Result<ToolResult, Refused> {
        let tool = tool.to_owned();
        self.ask(|reply| Msg::Edit(tool, Box::new(result), reply))
            .await
    }

    /// Makes calls of an attached tool wait for somebody's word, or no longer.
    ///
    /// # Errors
    /// `NoSuchAgentTool` for a tool that is not attached.
    pub async fn set_approval(
        &self,
        tool: String,
        wanted: bool,
        by: UserId,
    ) -> Result<(), Refused> {
        self.ask(|reply| Msg::SetApproval(tool, wanted, by, reply))
            .await
    }

    /// Empties the context down to a fresh system message, then appends `first` (the boot sequence, if wanted).
    pub async fn reset(&self, first: Vec<Message>) -> Result<(), Refused> {
        self.ask(|reply| Msg::Reset(first, reply)).await
    }

    /// Closes the runs as cancelled, writes the tombstone, retires (decisions 35).
    pub async fn delete(&self) -> Result<(), Refused> {
        self.ask(Msg::Delete).await
    }

    /// Replaces the text of a stored message.
    pub async fn edit_message(&self, id: MessageId, edit: TextEdit) -> Result<Message, Refused> {
        self.ask(|reply| Msg::EditMessage(id, edit, reply)).await
    }

    /// Rebuilds the system message if what it was compiled from has changed (decisions 33).
    pub async fn refresh(&self) -> Result<(), Refused> {
        self.ask(Msg::Refresh).await
    }

    /// Stores what was said elsewhere: listed and searched, never in context.
    pub async fn capture(&self, messages: Vec<Message>) -> Result<(), Refused> {
        self.ask(|reply| Msg::Capture(messages, reply)).await
    }

    /// What the model would be sent first for this request, as its provider gets it. Nothing is sent, run or stored.
    ///
    /// # Errors
    /// `PendingApproval` and `BadAnswer` as for a run; `NoSuchModel` when no provider has the model.
    pub async fn preview(&self, request: RunRequest) -> Result<Vec<u8>, Refused> {
        let stream = request.options.stream == StreamMode::Tokens;
        let context = self
            .ask(|reply| Msg::Preview(Box::new(request), reply))
            .await?;
        let model = self.house.providers.model(&context.config);
        let model = model.map_err(|_| Refused::NoSuchModel(context.config.handle().to_string()))?;
        super::reads::blocking(move || {
            let request = super::run::request::preview(context, stream, clock::now());
            Ok(model.body(&request))
        })
        .await
    }

    pub async fn set_feedback(
        &self,
        step: StepId,
        feedback: Option<Feedback>,
        tags: Option<Vec<String>>,
    ) -> Result<Step, Refused> {
        self.ask(|reply| Msg::SetFeedback(step, feedback, tags, reply))
            .await
    }

    /// Forgets a finished run; its messages stay.
    pub async fn delete_run(&self, run: RunId) -> Result<(), Refused> {
        self.ask(|reply| Msg::DeleteRun(run, reply)).await
    }

    /// Says no to every call that waits at the end of a thread; the run that asked, if any waited.
    pub(crate) async fn deny_pending(&self, lane: LaneId) -> Result<Option<RunId>, Refused> {
        self.ask(|reply| Msg::DenyPending(lane, reply)).await
    }

    /// The answer of this run reached its client in full: a repeat of the request is a new one (decisions 34).
    pub fn delivered(&self, run: RunId) {
        tell(
            &self.live.actor,
            Mail::new(Msg::Delivered(run), &self.live.mailbox),
        );
    }

    /// Records how the run's callback went, and that none is due any more.
    pub(crate) async fn callback_ended(
        &self,
        run: RunId,
        result: Result<u16, String>,
    ) -> Result<(), Refused> {
        self.ask(|reply| Msg::CallbackEnded(run, result, reply))
            .await
    }

    pub(crate) fn runs(&self) -> Vec<RunHandle> {
        self.live
            .runs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// For the end of the process: what is queued is handled, then the actor ends.
    pub(crate) fn drain(&self) {
        let _ = self.live.actor.drain();
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(RpcReplyPort<Result<T, Refused>>) -> Msg,
    ) -> Result<T, Refused> {
        let asked = self.try_ask(question).await;
        asked.unwrap_or(Err(Refused::Timeout))
    }

    async fn try_ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(RpcReplyPort<Result<T, Refused>>) -> Msg,
    ) -> Result<Result<T, Refused>, AskError> {
        if self.live.mailbox.depth() >= self.house.settings.mailbox_depth {
            return Ok(Err(Refused::Overloaded));
        }
        ask(&self.live.actor, Some(DEADLINE), |reply| {
            Mail::new(question(reply), &self.live.mailbox)
        })
        .await
    }
}

/// A message with its place in the mailbox.
#[derive(Debug)]
pub(crate) struct Mail {
    message: Msg,
    waiting: Waiting,
}

impl Mail {
    pub(crate) fn new(message: Msg, mailbox: &Arc<Mailbox>) -> Self {
        Self {
            message,
            waiting: mailbox.enter(),
        }
    }
}

type Reply<T> = RpcReplyPort<Result<T, Refused>>;

#[derive(Debug)]
pub(crate) enum Msg {
    // from the facade
    StartRun(Box<RunRequest>, bool, Reply<Started>),
    Modify(Box<AgentChange>, UserId, Reply<()>),
    SetApproval(String, bool, UserId, Reply<()>),
    AttachTool(ToolId, bool, UserId, Reply<()>),
    Settings(Reply<Arc<Settings>>),
    Edit(String, Box<CallResult>, Reply<ToolResult>),
    Reset(Vec<Message>, Reply<()>),
    Delete(Reply<()>),
    EditMessage(MessageId, TextEdit, Reply<Message>),
    Refresh(Reply<()>),
    Capture(Vec<Message>, Reply<()>),
    Preview(Box<RunRequest>, Reply<Context>),
    SetFeedback(StepId, Option<Feedback>, Option<Vec<String>>, Reply<Step>),
    DeleteRun(RunId, Reply<()>),
    DenyPending(LaneId, Reply<Option<RunId>>),
    CreateConversation(Box<NewConversation>, Reply<()>),
    Fork(LaneId, ConversationId, UserId, Reply<()>),
    ModifyConversation(ConversationId, Box<ConversationChange>, UserId, Reply<()>),
    DeleteConversation(ConversationId, Reply<()>),
    Recompile {
        thread: LaneId,
        now: bool,
        dry: bool,
        reply: Reply<String>,
    },
    Delivered(RunId),
    // from the outbox
    CallbackEnded(RunId, Result<u16, String>, Reply<()>),
    // from workers
    StepStarted(Box<Step>),
    CallStarted {
        run: RunId,
        /// The step that made the call and what it said; `None` for a call of an earlier one that was let through.
        origin: Option<(StepId, Box<Message>)>,
        call_id: String,
        reply: Reply<()>,
    },
    CallReturned(RunId, Box<CallEnd>),
    Compact(Box<Compaction>, Reply<Compacted>),
    Commit(Box<StepCommit>, Reply<Committed>),
    // from runs
    NeedContext(RunId),
    Close(Box<StepCommit>),
    // from itself
    Idle,
}

/// What a step leaves behind: one batch (decisions 27). With `stop` it is the run's terminal write.
#[derive(Debug, Clone)]
pub(crate) struct StepCommit {
    pub(crate) run: RunId,
    pub(crate) step: Option<Step>,
    /// What the model said and, if calls wait, asked leave for; or what was answered to such a request.
    pub(crate) said: Vec<Message>,
    /// In call order: exactly one for each call that was said or let through; none while calls wait.
    pub(crate) calls: Vec<CallEnd>,
    /// Hidden messages that make the turn go on.
    pub(crate) reminders: Vec<Message>,
    pub(crate) stop: Option<End>,
    /// `stop` holds only under this.
    pub(crate) proviso: Option<Proviso>,
    /// With which the run will end once its context was compacted: it takes no further step.
    pub(crate) then: Option<StopReason>,
}

/// Calls of which one has to succeed, and what holds if none does.
#[derive(Debug, Clone)]
pub(crate) struct Proviso {
    pub(crate) calls: Vec<String>,
    pub(crate) otherwise: Option<End>,
}

impl StepCommit {
    /// An end without a step.
    pub(crate) fn closing(run: RunId, end: End) -> Self {
        Self {
            run,
            step: None,
            said: Vec::new(),
            calls: Vec::new(),
            reminders: Vec::new(),
            stop: Some(end),
            proviso: None,
            then: None,
        }
    }

    /// Whether this carries out what was answered to a request.
    pub(crate) fn settles(&self) -> bool {
        self.said
            .first()
            .is_some_and(|said| !said.approvals.is_empty())
    }
}

/// How one call ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CallEnd {
    pub(crate) call_id: String,
    pub(crate) tool: String,
    pub(crate) tool_id: Option<ToolId>,
    /// Characters of the return; `None` is never cut.
    pub(crate) limit: Option<u64>,
    pub(crate) result: CallResult,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum CallResult {
    Ended(ToolResult),
    /// Applied to the newest value when the step is committed; the return shows what came of it.
    Edit(Edit),
    /// Given by the client, or packed before a crash: kept as it is.
    Packed(ToolReturn),
}

impl CallResult {
    /// Whether it wants something of the agent's blocks: what it comes to is known when it is committed.
    pub(crate) fn edits(&self) -> bool {
        match self {
            Self::Ended(result) => !result.edits.is_empty(),
            Self::Edit(_) => true,
            Self::Packed(_) => false,
        }
    }

    /// Whether a block is to get another label.
    pub(crate) fn renames(&self) -> bool {
        let edits = match self {
            Self::Ended(result) => result.edits.as_slice(),
            Self::Edit(edit) => std::slice::from_ref(edit),
            Self::Packed(_) => &[],
        };
        let renames = |edit: &Edit| matches!(edit.kind, EditKind::Rename { .. });
        edits.iter().any(renames)
    }

    /// The return, its edits applied.
    pub(crate) fn settled(&self, tool: &str, memory: &mut CoreMemory) -> Settled {
        match self {
            Self::Packed(packed) => Settled::Packed(packed.clone()),
            Self::Ended(result) => Settled::Result(memory.settle(tool, result)),
            Self::Edit(edit) => Settled::Result(memory.apply(tool, edit)),
        }
    }
}

/// What a call came to.
pub(crate) enum Settled {
    Packed(ToolReturn),
    Result(ToolResult),
}

impl CallEnd {
    pub(crate) fn cancelled(call_id: &str, tool: &str) -> Self {
        Self::failed(call_id, tool, step::cancelled_call())
    }

    fn packed(call: &ToolCall, end: ToolReturn) -> Self {
        Self {
            call_id: call.id.clone(),
            tool: call.name.clone(),
            tool_id: None,
            limit: None,
            result: CallResult::Packed(end),
        }
    }

    fn failed(call_id: &str, tool: &str, failure: crate::domain::tool::ToolFailure) -> Self {
        let result = CallResult::Ended(ToolResult::failure(tool, failure));
        Self {
            call_id: call_id.to_owned(),
            tool: tool.to_owned(),
            tool_id: None,
            limit: None,
            result,
        }
    }
}

/// What was written, for the worker's next step.
#[derive(Debug)]
pub(crate) struct Committed {
    /// Of this step, without the inputs.
    pub(crate) messages: Vec<Arc<Message>>,
    /// With which the run ended, if it did.
    pub(crate) stop: Option<StopReason>,
    /// The version of the context's list, where this began it anew.
    pub(crate) renewed: Option<u64>,
}

pub(crate) struct Agent;

/// Starts an agent from disk under `agents`, in a task of its own: a request's future is dropped when its client leaves.
/// At most `most_starting` load at a time.
pub(crate) fn start(house: Arc<House>, id: AgentId, restarts: u64) {
    tokio::spawn(async move {
        let Ok(_permit) = house.starting.acquire().await else {
            return;
        };
        let Some(agents) = house.agents() else {
            return house.start_failed(id, Refused::Draining);
        };
        let arguments = Arguments {
            house: house.clone(),
            id,
            restarts,
        };
        if let Err(error) = Actor::spawn_linked(None, Agent, arguments, agents.get_cell()).await {
            house.start_failed(id, loading::refusal(error));
        }
    });
}

pub(crate) struct Arguments {
    house: Arc<House>,
    id: AgentId,
    /// Above zero: an earlier incarnation died, and clients of its runs may still wait (decisions 36).
    restarts: u64,
}

pub(crate) struct State {
    house: Arc<House>,
    live: Arc<Live>,
    settings: Arc<Settings>,
    head: Head,
    threads: Threads,
    /// `Store::shared_revision` when the blocks were last compared.
    compared: Option<u64>,
    open: HashMap<RunId, OpenRun>,
    deleted: bool,
    last_used: Instant,
    plate: Hung,
}

/// A run that has no end yet.
#[derive(Debug)]
struct OpenRun {
    record: RunRecord,
    inbox: Inbox,
    handle: RunHandle,
    /// It came with an answer to a request, whether that was a repeated one or not.
    answers: bool,
    accepted_at: Instant,
}

impl Actor for Agent {
    type Msg = Mail;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(
        &self,
        myself: ActorRef<Mail>,
        arguments: Arguments,
    ) -> Result<State, ActorProcessingErr> {
        loading::load(myself, arguments).await
    }

    async fn post_start(
        &self,
        _: ActorRef<Mail>,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        for lane in state.threads.lanes() {
            state.start_next(lane).await?;
        }
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<Mail>,
        mail: Mail,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        #[cfg(feature = "faults")]
        super::faults::point("agent");
        let Mail { message, waiting } = mail;
        drop(waiting);
        if !matches!(message, Msg::Idle) {
            state.last_used = Instant::now();
        }
        match message {
            Msg::StartRun(request, refuse_busy, reply) => {
                settle(reply, state.start_run(*request, refuse_busy).await)?
            }
            Msg::Modify(change, by, reply) => settle(reply, state.modify(&change, by).await)?,
            Msg::SetApproval(tool, wanted, by, reply) => {
                settle(reply, state.set_approval(&tool, wanted, by).await)?
            }
            Msg::AttachTool(tool, wanted, by, reply) => {
                settle(reply, state.attach_tool(tool, wanted, by).await)?
            }
            Msg::Settings(reply) => answer(reply, state.alive().map(|()| state.settings.clone())),
            Msg::Edit(tool, edit, reply) => settle(reply, state.edit(&tool, &edit).await)?,
            Msg::Reset(first, reply) => settle(reply, state.reset(first).await)?,
            Msg::Delete(reply) => {
                settle(reply, state.delete().await)?;
                state.retire(&myself);
            }
            Msg::EditMessage(id, edit, reply) => settle(reply, state.edit_message(id, edit).await)?,
            Msg::Refresh(reply) => settle(reply, state.refresh().await)?,
            Msg::Capture(messages, reply) => settle(reply, state.capture(messages).await)?,
            Msg::Preview(request, reply) => settle(reply, state.preview(*request).await)?,
            Msg::SetFeedback(step, feedback, tags, reply) => {
                settle(reply, state.set_feedback(step, feedback, tags).await)?
            }
            Msg::DeleteRun(run, reply) => settle(reply, state.delete_run(run).await)?,
            Msg::DenyPending(lane, reply) => settle(reply, state.deny_pending(lane).await)?,
            Msg::CreateConversation(new, reply) => {
                settle(reply, state.create_conversation(*new).await)?
            }
            Msg::Fork(from, id, by, reply) => settle(reply, state.fork(from, id, by).await)?,
            Msg::ModifyConversation(id, change, by, reply) => {
                settle(reply, state.modify_conversation(id, *change, by).await)?
            }
            Msg::DeleteConversation(id, reply) => {
                settle(reply, state.delete_conversation(id).await)?
            }
            Msg::Recompile {
                thread,
                now,
                dry,
                reply,
            } => settle(reply, state.recompile(thread, now, dry).await)?,
            Msg::Delivered(run) => state.delivered(run),
            Msg::CallbackEnded(run, result, reply) => {
                settle(reply, state.callback_ended(run, result).await)?
            }
            Msg::StepStarted(step) => state.step_started(*step),
            Msg::CallStarted {
                run,
                origin,
                call_id,
                reply,
            } => settle(reply, state.call_started(run, origin, call_id).await)?,
            Msg::CallReturned(run, end) => state.call_returned(run, &end),
            Msg::Compact(compaction, reply) => settle(reply, state.compact(*compaction).await)?,
            Msg::Commit(commit, reply) => state.commit_and_answer(*commit, reply).await?,
            Msg::NeedContext(run) => state.give_context(run),
            Msg::Close(commit) => state.close(*commit).await?,
            Msg::Idle => state.idle(&myself),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<Mail>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorTerminated(run, _, _) => {
                state.run_gone(run.get_id(), None).await
            }
            SupervisionEvent::ActorFailed(run, error) => {
                state.run_gone(run.get_id(), Some(error.to_string())).await
            }
            _ => Ok(()),
        }
    }
}

/// A failure after which what is in memory may not be what is on disk: the supervisor starts a fresh incarnation.
#[derive(Debug, thiserror::Error)]
#[error("the store no longer takes this agent's commits: {0}")]
pub(crate) struct Untrusted(String);

impl State {
    fn id(&self) -> AgentId {
        self.live.id
    }

    /// Leaves memory after an idle time, if nobody needs the agent.
    fn idle(&mut self, myself: &ActorRef<Mail>) {
        let pause = self.house.settings.passivate_after;
        self.threads.forget_idle(pause);
        let unused = self.open.is_empty() && self.last_used.elapsed() >= pause;
        if unused && self.house.may_retire(self.id()) {
            let _ = myself.drain();
            return;
        }
        let rest = pause
            .saturating_sub(self.last_used.elapsed())
            .max(std::time::Duration::from_millis(100));
        let mailbox = self.live.mailbox.clone();
        myself.send_after(rest, move || Mail::new(Msg::Idle, &mailbox));
    }

    /// A deleted agent leaves as soon as the last request that holds it is answered.
    fn retire(&self, myself: &ActorRef<Mail>) {
        if self.deleted {
            self.house.retire_now(self.id());
            let _ = myself.drain();
        }
    }

    /// Gives the lane's next run its turn.
    async fn start_next(&mut self, lane: LaneId) -> Result<(), ActorProcessingErr> {
        let turn = self.threads.get_mut(lane).map(|thread| &mut thread.lane);
        let Some(turn) = turn.filter(|turn| turn.current.is_none()) else {
            return Ok(());
        };
        turn.current = turn.queue.pop_front();
        let next = turn.current;
        self.plate.run(self.threads.current());
        let Some(next) = next else { return Ok(()) };
        // A conversation's own system message is left as it is (decisions 33).
        if lane == LaneId::Default {
            match self.refresh().await {
                Ok(()) | Err(InFlight::Refused(_)) => (),
                Err(InFlight::Untrusted(reason)) => return Err(Box::new(Untrusted(reason))),
            }
        }
        match self.read_answer(next) {
            Ok(()) => self.give_context(next),
            // It was accepted while another run had the lane.
            Err(error) => {
                if let Some(open) = self.open.get(&next) {
                    open.handle.refuse(End::failed(StopReason::Error, error));
                }
            }
        }
        Ok(())
    }

    /// What a run's worker starts from.
    fn give_context(&self, run: RunId) {
        let Some(open) = self.open.get(&run) else {
            return;
        };
        let Some(thread) = self.threads.get(open.inbox.lane) else {
            return;
        };
        let forgets = self.forgets(&open.inbox, open.answers);
        open.handle
            .start(self.context(thread, &open.inbox, forgets));
    }

    /// Whether a run's first step begins the context anew (`message_buffer_autoclear`): only new words begin anything, not
    /// an answer to what the context asked, a repeat of what it holds already, or a compaction of it.
    fn forgets(&self, inbox: &Inbox, answers: bool) -> bool {
        self.settings.message_buffer_autoclear
            && inbox.task == Task::Turn
            && inbox.progress.committed_steps == 0
            && !inbox.inputs.is_empty()
            && !answers
    }

    /// What the turn of an accepted request starts from. `forgets`: from nothing but its inputs.
    fn context(&self, thread: &Thread, inbox: &Inbox, forgets: bool) -> Context {
        let options = &inbox.options;
        let started = inbox.progress.committed_steps > 0;
        let system = options.override_system.clone().unwrap_or_else(|| {
            thread
                .window
                .first()
                .map(|system| system.text())
                .unwrap_or_default()
        });
        let mut messages: Vec<Arc<Message>> = if forgets {
            Vec::new()
        } else {
            thread.window.iter().skip(1).cloned().collect()
        };
        let mut inputs = Vec::new();
        if !started {
            inputs.extend(inbox.messages(self.id()).into_iter().map(Arc::new));
        }
        let settling = match &inbox.answer {
            Some(answers) => Pending::of(&thread.window).map(|pending| Settling {
                answers: answers.clone(),
                follow_ups: std::mem::take(&mut inputs),
                before: committed_before(&thread.window, &pending),
                pending,
            }),
            None => None,
        };
        let unstored = inputs.len();
        messages.extend(inputs);
        let (only_compacts, compaction) = match &inbox.task {
            Task::Turn => (false, self.settings.compaction.clone()),
            Task::Compact(settings) => (true, CompactionSettings::clone(settings)),
        };
        let agents = &self.settings.llm_config;
        let own = |conversation: &Conversation| conversation.config(agents);
        let mut config = options.override_model.clone().unwrap_or_else(|| {
            let conversation = thread.conversation.as_ref();
            conversation.map_or_else(|| agents.clone(), own)
        });
        options.tokens.lay_over(&mut config);
        // What replaces the system text replaces all of it.
        let skills = match &options.override_system {
            Some(_) => Arc::default(),
            None => skill::section(&options.client_skills).into(),
        };
        Context {
            unstored,
            version: self.version(inbox.lane),
            system_overridden: options.override_system.is_some(),
            compaction,
            room: thread.lane.room.clone(),
            only_compacts,
            agent: self.settings.clone(),
            config: Arc::new(config),
            system: system.into(),
            skills,
            messages,
            tools: self
                .settings
                .tools
                .iter()
                .filter_map(|tool| self.house.toolbox.get(*tool))
                .collect(),
            client_tools: inbox.client_tools.as_slice().into(),
            committed: committed_of(&thread.window, inbox.run_id),
            settling,
            max_steps: options.max_steps,
            committed_steps: inbox.progress.committed_steps,
        }
    }
}

/// What a run has committed, from the request on that it answered.
fn committed_of(window: &[Arc<Message>], run: RunId) -> Vec<Arc<Message>> {
    let first = window.iter().find(|message| message.run_id == Some(run));
    let answered = first
        .filter(|message| !message.approvals.is_empty())
        .and_then(|message| message.step_id);
    let belongs = |message: &&Arc<Message>| {
        message.run_id == Some(run) || (answered.is_some() && message.step_id == answered)
    };
    window.iter().filter(belongs).cloned().collect()
}

/// What the run that asks had committed before it asked.
fn committed_before(window: &[Arc<Message>], pending: &Pending) -> Vec<Arc<Message>> {
    let asks = usize::try_from(pending.length()).unwrap_or(usize::MAX);
    let before = &window[..window.len().saturating_sub(asks)];
    match pending.request.run_id {
        Some(run) => committed_of(before, run),
        None => Vec::new(),
    }
}

/// Answers; a refusal that puts the state itself in doubt ends the actor as well.
fn settle<T>(reply: Reply<T>, result: Result<T, InFlight>) -> Result<(), ActorProcessingErr> {
    match result {
        Ok(value) => answer(reply, Ok(value)),
        Err(InFlight::Refused(refused)) => answer(reply, Err(refused)),
        Err(InFlight::Untrusted(reason)) => {
            answer(reply, Err(Refused::Timeout));
            return Err(Box::new(Untrusted(reason)));
        }
    }
    Ok(())
}
