//! One run of one agent: its live status, its frames, who waits for it, how it is cancelled.
//!
//! Tree     `agent:<id>` → `run:<id>` → `worker:<id>`
//! Owns     the run's status while it lives, and its frames. Its agent writes the record.
//! Restart  never. Its agent applies the recovery table to a run that dies (runs-and-streaming §13).

pub(crate) mod deltas;
pub(crate) mod frames;
pub(crate) mod request;
pub(crate) mod worker;

use self::frames::Frames;
pub use self::frames::{FrameReader, Lost, Rendered};
use self::worker::{Context, Worker, WorkerEnd};
use super::agent::{self, Mail};
use super::ask::{AskError, Mailbox, answer, ask, tell};
use super::house::House;
use super::tree::Hung;
use crate::domain::agent::TurnLoop;
use crate::domain::clock;
use crate::domain::frame::{DeltaFrame, Frame};
use crate::domain::id::{AgentId, MessageId, PingId, RunId, StepId};
use crate::domain::message::{Message, Role};
use crate::domain::piece::{self, Piece, Reading};
use crate::domain::run::{End, LaneId, Run as Record, RunStatus, Step, StopReason, StreamMode};
use crate::domain::token_data::{TokenData, TokenReport};
use crate::store::{Batch, Epoch};
use bytes::Bytes;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio_util::sync::CancellationToken;

/// The end of a run, for a blocking answer and the callback.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub run: Arc<Record>,
    /// Everything the run stored, its inputs included, in order.
    pub messages: Vec<Arc<Message>>,
    /// How its messages are to be read.
    pub turn_loop: TurnLoop,
    /// What its model's server told of the tokens of each step. Nothing of a recorded run.
    pub tokens: Vec<(StepId, TokenData)>,
    /// Whether summaries are shown as such; who reads a recorded run did not say.
    pub shows_summaries: bool,
}

impl Outcome {
    /// The pieces of what the run itself wrote, as its loop shows them.
    pub fn pieces(&self) -> Vec<Piece> {
        let reading =
            Reading::live(&self.run.view, self.turn_loop).with_compactions(self.shows_summaries);
        let output: Vec<&Arc<Message>> = self.output().collect();
        output
            .into_iter()
            .flat_map(|message| piece::pieces(message, &reading))
            .collect()
    }

    pub fn token_report(&self) -> TokenReport {
        TokenReport::new(&self.tokens, self.output())
    }

    /// What the run itself wrote: no inputs.
    pub fn output(&self) -> impl Iterator<Item = &Arc<Message>> {
        self.messages.iter().filter(|message| is_output(message))
    }
}

/// Whether a message is part of a turn's answer: inputs are never echoed, and an answer to a request is one.
fn is_output(message: &Message) -> bool {
    match message.role {
        Role::Assistant | Role::Tool | Role::Summary => true,
        Role::Approval => !message.tool_calls.is_empty(),
        Role::System | Role::User => false,
    }
}

/// What other actors and the facade hold of a live run.
#[derive(Clone)]
pub struct RunHandle {
    actor: ActorRef<Msg>,
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    accepted: Arc<Record>,
    status: AtomicU8,
    frames: Arc<Frames>,
    store: crate::store::Store,
    ended: Mutex<Option<Arc<Outcome>>>,
}

impl RunHandle {
    pub fn id(&self) -> RunId {
        self.shared.accepted.id
    }

    pub fn agent(&self) -> AgentId {
        self.shared.accepted.agent_id
    }

    /// The run as it was accepted.
    pub fn accepted(&self) -> Arc<Record> {
        self.shared.accepted.clone()
    }

    pub fn lane(&self) -> LaneId {
        self.shared.accepted.lane()
    }

    pub fn background(&self) -> bool {
        self.shared.accepted.background
    }

    pub fn status(&self) -> RunStatus {
        RunStatus::ALL
            .get(usize::from(self.shared.status.load(Ordering::Acquire)))
            .copied()
            .unwrap_or(RunStatus::Running)
    }

    /// Waits for the end, however long it takes.
    ///
    /// # Errors
    /// `Gone` when the run dies first: `Directory::outcome` finds the recorded end.
    pub async fn finished(&self) -> Result<Arc<Outcome>, AskError> {
        let waited = ask(&self.actor, None, Msg::Await).await;
        // The run may have ended and left before it was asked.
        waited.or_else(|error| {
            self.shared
                .ended
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone()
                .ok_or(error)
        })
    }

    /// Stops the run. Answers when its end is on disk, with the status it ended in.
    ///
    /// # Errors
    /// `Gone` when the run died or had ended before.
    pub async fn cancel(&self) -> Result<RunStatus, AskError> {
        ask(&self.actor, None, Msg::Cancel).await
    }

    /// A reader that starts after frame `after` (0: from the first).
    pub fn frames(&self, after: u64) -> FrameReader {
        FrameReader::live(
            &self.shared.frames,
            after,
            self.shared.store.clone(),
            self.agent(),
            self.id(),
        )
    }

    pub(crate) fn is_actor(&self, actor: ractor::ActorId) -> bool {
        self.actor.get_id() == actor
    }

    /// The lane is this run's.
    pub(crate) fn start(&self, context: Context) {
        tell(&self.actor, Msg::Start(Box::new(context)));
    }

    /// The run cannot begin: it is to be closed with this end.
    pub(crate) fn refuse(&self, end: End) {
        tell(&self.actor, Msg::Refuse(end));
    }

    /// What the agent wrote for this run; `ended` when that was the end.
    pub(crate) fn committed(&self, messages: Vec<Arc<Message>>, ended: Option<Arc<Record>>) {
        tell(&self.actor, Msg::Committed(messages, ended));
    }

    /// The context was compacted on behalf of this run.
    pub(crate) fn compacted(&self, summary: Arc<Message>) {
        tell(&self.actor, Msg::Compacted(summary));
    }

    /// The end could not be written; it is asked for again after a moment.
    pub(crate) fn close_failed(&self) {
        tell(&self.actor, Msg::CloseFailed);
    }

    /// Ends the run as interrupted by the server's stop, or leaves a background run to be resumed after the next start.
    pub(crate) fn leave(&self) {
        tell(&self.actor, Msg::Leave);
    }
}

#[derive(Debug)]
pub(crate) enum Msg {
    Cancel(RpcReplyPort<RunStatus>),
    Await(RpcReplyPort<Arc<Outcome>>),
    Leave,
    // from the agent
    Start(Box<Context>),
    Refuse(End),
    Committed(Vec<Arc<Message>>, Option<Arc<Record>>),
    Compacted(Arc<Message>),
    CloseFailed,
    // from the worker
    StepStarted(Box<Step>),
    Delta(deltas::Told),
    /// An answer was read, and its calls are carried out. `step`: as far as it is known; `None` for calls of an earlier one.
    ToolsStarted {
        step: Option<Box<Step>>,
        said: Vec<Message>,
        calls: Vec<(String, String)>,
    },
    ToolStarted(String),
    TokensTold(StepId, TokenData),
    CallReturned(String, agent::CallEnd),
    // from itself
    WorkerEnded(WorkerEnd),
    FramesStored,
    GraceOver,
    CloseAgain,
}

impl std::fmt::Debug for RunHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("RunHandle").field(&self.id()).finish()
    }
}

/// What the agent gives a new run.
pub(crate) struct Arguments {
    pub(crate) house: Arc<House>,
    pub(crate) agent: ActorRef<Mail>,
    pub(crate) agent_mailbox: Arc<Mailbox>,
    pub(crate) epoch: Epoch,
    pub(crate) run: Arc<Record>,
    pub(crate) turn_loop: TurnLoop,
    pub(crate) shows_summaries: bool,
    pub(crate) stream: StreamMode,
    /// Frames of an earlier incarnation that are on disk.
    pub(crate) stored_frames: u64,
    /// What an earlier incarnation wrote: part of the answer.
    pub(crate) written: Vec<Arc<Message>>,
    /// How many of the stored frames are of each message.
    pub(crate) shown: HashMap<MessageId, usize>,
}

pub(crate) struct Run;

pub(crate) struct State {
    house: Arc<House>,
    myself: ActorRef<Msg>,
    agent: ActorRef<Mail>,
    agent_mailbox: Arc<Mailbox>,
    epoch: Epoch,
    record: Arc<Record>,
    shared: Arc<Shared>,
    turn_loop: TurnLoop,
    shows_summaries: bool,
    stream: StreamMode,
    phase: Phase,
    cancel: CancellationToken,
    worker: Option<ActorCell>,
    /// A worker that died in a model call is replaced once.
    replaced: bool,
    /// The step that is under way, as far as a cancel would keep it.
    step: Option<OpenStep>,
    /// The end that the agent was asked to write.
    closing: Option<End>,
    messages: Vec<Arc<Message>>,
    tokens: Vec<(StepId, TokenData)>,
    waiting: Vec<RpcReplyPort<Arc<Outcome>>>,
    cancelling: Vec<RpcReplyPort<RunStatus>>,
    numbering: Numbering,
    plate: Hung,
}

/// Where the run stands (runs-and-streaming §11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Accepted; the lane is not ours yet.
    Queued,
    Stepping,
    /// The token is tripped, the worker has its grace.
    Cancelling,
    /// The agent was asked to write the end.
    Closing,
    Done,
}

#[derive(Debug, Default)]
struct OpenStep {
    /// `None` while calls of an earlier step are carried out that were let through.
    step: Option<Step>,
    spoke: bool,
    said: Vec<Message>,
    /// Id and tool of every call, in order.
    calls: Vec<(String, String)>,
    ended: Vec<(String, agent::CallEnd)>,
}

/// Frames that were made, shown and written.
#[derive(Debug)]
struct Numbering {
    last: u64,
    unwritten: Vec<Bytes>,
    writing: Vec<Bytes>,
}

/// Takes the run out of the directory when its actor ends, however it ends.
pub(crate) struct Registered {
    house: Arc<House>,
    id: RunId,
    actor: ractor::ActorId,
    frames: Arc<Frames>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.frames.interrupt();
        self.house
            .runs
            .remove_if(&self.id, |_, run| run.actor.get_id() == self.actor);
    }
}

/// A new run under its agent, in the directory from now on.
///
/// # Errors
/// When the agent is about to end.
pub(crate) async fn spawn(
    arguments: Arguments,
    agent: ActorCell,
) -> Result<RunHandle, ActorProcessingErr> {
    let stored = arguments.run.background;
    let frames = Arc::new(Frames::new(
        arguments.stored_frames,
        stored,
        arguments.house.settings.frames_bytes,
    ));
    let shared = Arc::new(Shared {
        accepted: arguments.run.clone(),
        status: AtomicU8::new(status_index(arguments.run.status)),
        frames,
        store: arguments.house.store.clone(),
        ended: Mutex::new(None),
    });
    let house = arguments.house.clone();
    let (actor, _) = Actor::spawn_linked(None, Run, (arguments, shared.clone()), agent).await?;
    let handle = RunHandle { actor, shared };
    house.runs.insert(handle.id(), handle.clone());
    Ok(handle)
}

fn status_index(status: RunStatus) -> u8 {
    RunStatus::ALL
        .iter()
        .position(|other| *other == status)
        .and_then(|index| u8::try_from(index).ok())
        .unwrap_or(0)
}

impl Actor for Run {
    type Msg = Msg;
    type State = (State, Registered);
    type Arguments = (Arguments, Arc<Shared>);

    async fn pre_start(
        &self,
        myself: ActorRef<Msg>,
        (arguments, shared): Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        let id = arguments.run.id;
        let parent = super::tree::name("agent", Some(&arguments.run.agent_id.to_string()));
        let plate = arguments.house.board.hang(
            "run",
            Some(id.to_string()),
            Some(parent),
            0,
            Arc::default(),
        );
        plate.status("created");
        plate.run(Some(id));
        let registered = Registered {
            house: arguments.house.clone(),
            id,
            actor: myself.get_id(),
            frames: shared.frames.clone(),
        };
        let mut state = State {
            house: arguments.house,
            myself,
            agent: arguments.agent,
            agent_mailbox: arguments.agent_mailbox,
            epoch: arguments.epoch,
            record: arguments.run,
            shared,
            turn_loop: arguments.turn_loop,
            shows_summaries: arguments.shows_summaries,
            stream: arguments.stream,
            phase: Phase::Queued,
            cancel: CancellationToken::new(),
            worker: None,
            replaced: false,
            step: None,
            closing: None,
            messages: arguments.written,
            tokens: Vec::new(),
            waiting: Vec::new(),
            cancelling: Vec::new(),
            numbering: Numbering {
                last: arguments.stored_frames,
                unwritten: Vec::new(),
                writing: Vec::new(),
            },
            plate,
        };
        if state.numbering.last == 0 {
            state.show(Frame::Ping {
                id: PingId::new(),
                run_id: id,
                date: clock::now(),
            });
        }
        state.show_the_rest(&arguments.shown);
        Ok((state, registered))
    }

    async fn handle(
        &self,
        _: ActorRef<Msg>,
        message: Msg,
        (state, _): &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        #[cfg(feature = "faults")]
        super::faults::point("run");
        match message {
            Msg::Cancel(reply) => state.cancel(reply),
            Msg::Await(reply) => state.wait(reply),
            Msg::Leave => state.leave(),
            Msg::Start(context) => state.start(*context).await?,
            Msg::Refuse(end) => state.refuse(end),
            Msg::Compacted(summary) => state.compacted(summary),
            Msg::Committed(messages, ended) => state.committed(messages, ended),
            Msg::CloseFailed => state.close_failed(),
            Msg::StepStarted(step) => state.step_started(*step),
            Msg::Delta(told) => told.take().into_iter().for_each(|delta| state.delta(delta)),
            Msg::ToolsStarted { step, said, calls } => state.tools_started(step, said, calls),
            Msg::ToolStarted(tool) => state.plate.tool(Some(tool)),
            Msg::TokensTold(step, tokens) => state.tokens.push((step, tokens)),
            Msg::CallReturned(id, end) => state.call_returned(id, end),
            Msg::WorkerEnded(end) => state.worker_ended(end),
            Msg::FramesStored => state.frames_stored(),
            Msg::GraceOver => state.grace_over(),
            Msg::CloseAgain => state.close_again(),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<Msg>,
        event: SupervisionEvent,
        (state, _): &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            // Exit events overtake messages, so the worker's result rides in the exit event.
            SupervisionEvent::ActorTerminated(_, last, _) => {
                let last = last.and_then(|mut last| last.take::<worker::State>().ok());
                state.after_its_messages(last.map_or(WorkerEnd::Died, worker::State::into_end));
            }
            SupervisionEvent::ActorFailed(_, error) => {
                tracing::error!(run = %state.record.id, %error, "a worker died");
                state.after_its_messages(WorkerEnd::Died);
            }
            _ => (),
        }
        Ok(())
    }
}

impl State {
    // ── requests

    fn cancel(&mut self, reply: RpcReplyPort<RunStatus>) {
        self.cancelling.push(reply);
        match self.phase {
            Phase::Queued => self.close(End::of(StopReason::Cancelled)),
            Phase::Stepping => {
                self.phase = Phase::Cancelling;
                self.cancel.cancel();
                self.plate.status("cancelling");
                self.myself
                    .send_after(self.house.settings.cancel_grace, || Msg::GraceOver);
            }
            Phase::Cancelling | Phase::Closing => (),
            Phase::Done => self.answer_cancels(),
        }
    }

    fn wait(&mut self, reply: RpcReplyPort<Arc<Outcome>>) {
        let ended = self
            .shared
            .ended
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        match ended {
            Some(outcome) => answer(reply, outcome),
            None => self.waiting.push(reply),
        }
    }

    fn leave(&mut self) {
        if matches!(self.phase, Phase::Closing | Phase::Done) {
            return;
        }
        if let Some(worker) = self.worker.take() {
            worker.kill();
        }
        if self.record.background {
            // Its inbox entry stays: the next start goes on after the last commit.
            self.phase = Phase::Done;
            self.myself.stop(None);
        } else {
            self.close(End::server_restart());
        }
    }

    // ── news from the agent

    async fn start(&mut self, context: Context) -> Result<(), ActorProcessingErr> {
        if !matches!(self.phase, Phase::Queued | Phase::Stepping) {
            return Ok(());
        }
        self.phase = Phase::Stepping;
        self.shared
            .status
            .store(status_index(RunStatus::Running), Ordering::Release);
        self.plate.status("running");
        let arguments = worker::Arguments {
            house: self.house.clone(),
            run: self.myself.clone(),
            agent: self.agent.clone(),
            agent_mailbox: self.agent_mailbox.clone(),
            record: self.record.clone(),
            token_stream: self.stream == StreamMode::Tokens,
            cancel: self.cancel.clone(),
            context,
        };
        let (worker, _) =
            Actor::spawn_linked(None, Worker, arguments, self.myself.get_cell()).await?;
        self.worker = Some(worker.get_cell());
        Ok(())
    }

    fn refuse(&mut self, end: End) {
        if self.phase == Phase::Queued {
            self.close(end);
        }
    }

    fn committed(&mut self, messages: Vec<Arc<Message>>, ended: Option<Arc<Record>>) {
        self.step = None;
        for message in &messages {
            self.show_message(message);
        }
        self.messages.extend(messages);
        if let Some(run) = ended {
            self.ended(&run);
        }
    }

    fn compacted(&mut self, summary: Arc<Message>) {
        self.show_message(&summary);
        self.messages.push(summary);
    }

    fn ended(&mut self, run: &Arc<Record>) {
        if self.phase == Phase::Done {
            return;
        }
        if let Some(worker) = self.worker.take() {
            worker.kill();
        }
        self.phase = Phase::Done;
        self.shared
            .status
            .store(status_index(run.status), Ordering::Release);
        self.plate.status(run.status.name());
        let outcome = Arc::new(Outcome {
            run: run.clone(),
            messages: std::mem::take(&mut self.messages),
            turn_loop: self.turn_loop,
            tokens: std::mem::take(&mut self.tokens),
            shows_summaries: self.shows_summaries,
        });
        *self
            .shared
            .ended
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(outcome.clone());
        self.show(Frame::Stop(run.stop_reason.unwrap_or(StopReason::Error)));
        match &run.error {
            Some(error) => self.show(Frame::Error {
                run_id: run.id,
                error: error.clone(),
            }),
            None => self.show(Frame::Usage {
                usage: run.usage,
                steps: run.steps,
                context_tokens: run.context_tokens,
            }),
        }
        self.show(Frame::Done);
        for waiting in self.waiting.drain(..) {
            answer(waiting, outcome.clone());
        }
        self.answer_cancels();
        self.close_frames();
    }

    fn answer_cancels(&mut self) {
        let status = RunStatus::ALL[usize::from(self.shared.status.load(Ordering::Acquire))];
        for cancel in self.cancelling.drain(..) {
            answer(cancel, status);
        }
    }

    fn close_failed(&mut self) {
        // Nothing but the store can be the reason (a full disk): the end is asked for until it is written.
        self.myself
            .send_after(std::time::Duration::from_secs(1), || Msg::CloseAgain);
    }

    fn close_again(&mut self) {
        if let Some(end) = self.closing.take().filter(|_| self.phase == Phase::Closing) {
            self.close(end);
        }
    }

    // ── news from the worker

    fn step_started(&mut self, step: Step) {
        self.plate.step(step.id, step.number);
        self.step = Some(OpenStep {
            step: Some(step),
            ..OpenStep::default()
        });
    }

    fn delta(&mut self, delta: DeltaFrame) {
        if self.phase != Phase::Stepping {
            return;
        }
        if let Some(step) = &mut self.step {
            step.spoke = true;
        }
        let kept = self.record.view.include_return_message_types.as_ref();
        if kept.is_none_or(|kept| kept.iter().any(|name| name == delta.message_type())) {
            self.show(Frame::Delta(delta));
        }
    }

    fn tools_started(
        &mut self,
        known: Option<Box<Step>>,
        said: Vec<Message>,
        calls: Vec<(String, String)>,
    ) {
        let open = self.step.get_or_insert_default();
        if let Some(step) = known {
            open.step = Some(*step);
        }
        open.said = said;
        open.calls = calls;
    }

    fn call_returned(&mut self, id: String, end: agent::CallEnd) {
        self.plate.tool(None);
        if let Some(step) = &mut self.step {
            step.ended.push((id, end));
        }
    }

    /// What the worker told before it ended is still in the mailbox: that its step began, what it showed, which calls
    /// returned. All of it belongs to the end.
    fn after_its_messages(&self, end: WorkerEnd) {
        tell(&self.myself, Msg::WorkerEnded(end));
    }

    fn worker_ended(&mut self, end: WorkerEnd) {
        if self.worker.take().is_none() {
            return;
        }
        match (self.phase, end) {
            (Phase::Done | Phase::Closing | Phase::Queued, _) => (),
            // Its last commit carried the stop reason; the agent's news is on its way.
            (_, WorkerEnd::Committed) => self.phase = Phase::Closing,
            (Phase::Cancelling, _) | (_, WorkerEnd::Cancelled) => {
                self.close(End::of(StopReason::Cancelled))
            }
            (Phase::Stepping, WorkerEnd::Failed(end)) => self.close(end),
            (Phase::Stepping, WorkerEnd::Died) => {
                let in_model = self
                    .step
                    .as_ref()
                    .is_none_or(|step| step.said.is_empty() && !step.spoke);
                if in_model && !self.replaced {
                    self.replaced = true;
                    self.tell_agent(agent::Msg::NeedContext(self.record.id));
                } else {
                    self.close(End::internal("the worker of this run died"));
                }
            }
        }
    }

    fn grace_over(&mut self) {
        if self.phase != Phase::Cancelling {
            return;
        }
        if let Some(worker) = self.worker.take() {
            worker.kill();
        }
        self.close(End::of(StopReason::Cancelled));
    }

    /// Asks the agent to write the end, with what the open step leaves behind.
    fn close(&mut self, end: End) {
        self.phase = Phase::Closing;
        self.closing = Some(end.clone());
        let mut commit = agent::StepCommit::closing(self.record.id, end);
        if let Some(open) = &self.step {
            commit.step.clone_from(&open.step);
            commit.said.clone_from(&open.said);
            commit.calls = open
                .calls
                .iter()
                .map(|(id, tool)| open.end_of(id, tool))
                .collect();
        }
        self.tell_agent(agent::Msg::Close(Box::new(commit)));
    }

    fn tell_agent(&self, message: agent::Msg) {
        tell(&self.agent, Mail::new(message, &self.agent_mailbox));
    }

    // ── frames

    fn show_message(&mut self, message: &Message) {
        // In a token stream the deltas have shown what the model said.
        let was_said = matches!(message.role, Role::Assistant | Role::Approval);
        let was_shown = self.stream == StreamMode::Tokens && was_said;
        if !was_shown {
            for piece in self.pieces_of(message) {
                self.show(Frame::Piece(piece));
            }
        }
    }

    /// A crash may come between the commit of a step and that of its frames: those that are missing are made again.
    fn show_the_rest(&mut self, shown: &HashMap<MessageId, usize>) {
        if !self.record.background {
            return;
        }
        for message in self.messages.clone() {
            let shown = shown.get(&message.id).copied().unwrap_or(0);
            // How many deltas a message had in a token stream is not known: one that was begun is taken as told.
            if self.stream == StreamMode::Tokens && shown > 0 {
                continue;
            }
            for piece in self.pieces_of(&message).into_iter().skip(shown) {
                self.show(Frame::Piece(piece));
            }
        }
    }

    fn pieces_of(&self, message: &Message) -> Vec<Piece> {
        if !is_output(message) || !self.is_rendered() {
            return Vec::new();
        }
        let reading =
            Reading::live(&self.record.view, self.turn_loop).with_compactions(self.shows_summaries);
        piece::pieces(message, &reading)
    }

    fn is_rendered(&self) -> bool {
        self.stream != StreamMode::None || self.record.background
    }

    fn show(&mut self, frame: Frame) {
        if !self.is_rendered() {
            return;
        }
        self.numbering.last += 1;
        let seq = self.record.background.then_some(self.numbering.last);
        let bytes = Bytes::from(self.house.render.frame(&frame, seq));
        if self.record.background {
            self.numbering.unwritten.push(bytes);
            self.write_frames();
        } else {
            self.shared.frames.push([bytes]);
        }
    }

    /// Frames of background runs are written in groups and shown when durable.
    fn write_frames(&mut self) {
        if !self.numbering.writing.is_empty() || self.numbering.unwritten.is_empty() {
            return;
        }
        self.numbering.writing = std::mem::take(&mut self.numbering.unwritten);
        let mut batch = Batch::of_agent(self.record.agent_id, self.epoch);
        let first = self.numbering.last + 1 - self.numbering.writing.len() as u64;
        batch.put_frames(
            self.record.agent_id,
            self.record.id,
            first,
            &self.numbering.writing,
        );
        let written = self.house.store.commit(batch);
        let myself = self.myself.clone();
        let id = self.record.id;
        tokio::spawn(async move {
            if let Err(error) = written.await {
                tracing::warn!(run = %id, %error, "frames could not be written; they are shown and cannot be read again");
            }
            tell(&myself, Msg::FramesStored);
        });
    }

    fn frames_stored(&mut self) {
        let written = std::mem::take(&mut self.numbering.writing);
        self.shared.frames.push(written);
        self.write_frames();
        self.close_frames();
    }

    /// When all is said and written, the list is closed and the run leaves.
    fn close_frames(&mut self) {
        let written = self.numbering.writing.is_empty() && self.numbering.unwritten.is_empty();
        if self.phase == Phase::Done && written {
            self.shared.frames.close();
            self.myself.stop(None);
        }
    }
}

impl OpenStep {
    /// How a call ends when the run is closed now.
    fn end_of(&self, id: &str, tool: &str) -> agent::CallEnd {
        let ended = self
            .ended
            .iter()
            .find(|(ended, _)| ended == id)
            .map(|(_, end)| end.clone());
        ended.unwrap_or_else(|| agent::CallEnd::cancelled(id, tool))
    }
}
