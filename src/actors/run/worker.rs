//! The step loop of one run: ask the model, run the tools it calls, commit, again. The only actor that waits for the world.
//!
//! Tree     `run:<id>` → `worker:<id>`
//! Owns     nothing that lasts: what is worth keeping is told to the run or committed by the agent.
//! Restart  its run decides: once, if the model had not spoken yet.

mod again;
mod answer;
mod asking;
mod calls;
pub(crate) mod compaction;
pub(crate) mod host;
mod messenger;

use self::compaction::Room;
use super::{Msg as RunMsg, request};
use crate::actors::agent::{self, Committed, Mail, StepCommit};
use crate::actors::ask::{DEADLINE, Mailbox, ask, tell};
use crate::actors::house::House;
use crate::actors::refused::Refused;
use crate::actors::tree::Hung;
use crate::domain::agent::{Agent, CompactionSettings, TurnLoop};
use crate::domain::approval::Pending;
use crate::domain::clock;
use crate::domain::compaction::due as compaction_is_due;
use crate::domain::heartbeat;
use crate::domain::id::{MessageId, StepId};
use crate::domain::message::{Message, Role};
use crate::domain::model::{LlmConfig, ModelErrorClass, ToolSchema, Usage};
use crate::domain::rules::Rules;
use crate::domain::run::{
    Answers, End, Feedback, Run as Record, RunStatus, Step, StepStatus, StepTiming, StopReason,
};
use crate::tools::Tool;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// What a turn starts from; given by the agent when the lane is the run's.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) agent: Arc<Agent>,
    pub(crate) config: Arc<LlmConfig>,
    /// The system text of the whole turn: a later edit of a block does not change it (agent-loop §3).
    pub(crate) system: Arc<str>,
    /// Appended to it in requests: the client's skills.
    pub(crate) skills: Arc<str>,
    /// The window without its system message, then the inputs if they are not in it yet.
    pub(crate) messages: Vec<Arc<Message>>,
    pub(crate) tools: Vec<Arc<dyn Tool>>,
    /// Tools that the client runs itself.
    pub(crate) client_tools: Arc<[ToolSchema]>,
    /// What the run committed before, from the request on that it answered: a resumed run's rules know it already.
    pub(crate) committed: Vec<Arc<Message>>,
    /// Calls that the run's answer settles before the model is asked.
    pub(crate) settling: Option<Settling>,
    /// Messages at the end of `messages` that are not stored yet.
    pub(crate) unstored: usize,
    /// Of the lane, when this was read from it.
    pub(crate) version: u64,
    pub(crate) system_overridden: bool,
    pub(crate) compaction: CompactionSettings,
    /// The lane's.
    pub(crate) room: Arc<Mutex<Room>>,
    /// The run is a compaction that somebody asked for.
    pub(crate) only_compacts: bool,
    pub(crate) max_steps: u64,
    /// Steps that were committed before (a resumed run).
    pub(crate) committed_steps: u64,
}

/// A request with its answer, and the inputs that came with that.
#[derive(Debug, Clone)]
pub(crate) struct Settling {
    pub(crate) pending: Pending,
    pub(crate) answers: Answers,
    pub(crate) follow_ups: Vec<Arc<Message>>,
    /// What the turn that asked had committed before it did.
    pub(crate) before: Vec<Arc<Message>>,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("messages", &self.messages.len())
            .finish_non_exhaustive()
    }
}

/// How a worker ended; rides in its exit event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum WorkerEnd {
    /// Its last commit carried the stop reason.
    Committed,
    /// It saw the token.
    Cancelled,
    Failed(End),
    /// It panicked or was killed.
    Died,
}

pub(crate) struct Arguments {
    pub(crate) house: Arc<House>,
    pub(crate) run: ActorRef<RunMsg>,
    pub(crate) agent: ActorRef<Mail>,
    pub(crate) agent_mailbox: Arc<Mailbox>,
    pub(crate) record: Arc<Record>,
    pub(crate) token_stream: bool,
    pub(crate) cancel: CancellationToken,
    pub(crate) context: Context,
}

pub(crate) struct Worker;

pub(crate) struct State {
    turn: Turn,
    end: WorkerEnd,
    _plate: Hung,
}

impl State {
    pub(crate) fn into_end(self) -> WorkerEnd {
        self.end
    }
}

impl Actor for Worker {
    /// There is one thing to do, and it is told once.
    type Msg = ();
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(
        &self,
        myself: ActorRef<()>,
        arguments: Arguments,
    ) -> Result<State, ActorProcessingErr> {
        tell(&myself, ());
        let id = arguments.record.id.to_string();
        let parent = super::super::tree::name("run", Some(&id));
        let plate = arguments
            .house
            .board
            .hang("worker", Some(id), Some(parent), 0, Arc::default());
        Ok(State {
            turn: Turn::new(arguments),
            end: WorkerEnd::Died,
            _plate: plate,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<()>,
        (): (),
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        #[cfg(feature = "faults")]
        crate::actors::faults::point("worker");
        let cancel = state.turn.cancel.clone();
        state.end = tokio::select! {
            biased;
            () = cancel.cancelled() => WorkerEnd::Cancelled,
            end = state.turn.run() => end,
        };
        myself.stop(None);
        Ok(())
    }
}

/// One turn: the steps from the inputs to a stop reason.
struct Turn {
    house: Arc<House>,
    run: ActorRef<RunMsg>,
    agent: ActorRef<Mail>,
    agent_mailbox: Arc<Mailbox>,
    record: Arc<Record>,
    token_stream: bool,
    cancel: CancellationToken,
    context: Context,
    turn_loop: TurnLoop,
    /// The model of a heartbeat agent writes its thoughts into the arguments of its calls.
    thinks_in_arguments: bool,
    /// The agent's tools as its loop offers them.
    schemas: Arc<[ToolSchema]>,
    /// Inputs at the end of the context that are not stored yet.
    unstored: usize,
    rules: Rules,
    /// Names of the tools whose calls wait for somebody's word: the client's own, and those with a rule for it.
    waiting: HashSet<String>,
}

/// A step until it is committed.
struct Draft {
    step: Step,
    message_id: MessageId,
    started: Instant,
}

impl Turn {
    fn new(arguments: Arguments) -> Self {
        let mut context = arguments.context;
        let request::Plan {
            turn_loop,
            thinks_in_arguments,
            schemas,
            rules,
        } = request::plan(&mut context);
        let gated = schemas
            .iter()
            .filter(|tool| rules.needs_approval(&tool.name));
        let waiting = gated
            .chain(&*context.client_tools)
            .map(|tool| tool.name.clone());
        Self {
            house: arguments.house,
            run: arguments.run,
            agent: arguments.agent,
            agent_mailbox: arguments.agent_mailbox,
            record: arguments.record,
            token_stream: arguments.token_stream,
            cancel: arguments.cancel,
            waiting: waiting.collect(),
            unstored: context.unstored,
            schemas,
            context,
            turn_loop,
            thinks_in_arguments,
            rules,
        }
    }

    async fn run(&mut self) -> WorkerEnd {
        if self.context.only_compacts {
            return self.compact_as_asked().await;
        }
        let mut number = self.context.committed_steps + 1;
        if let Some(settling) = self.context.settling.take() {
            match self.settle(settling, number).await {
                Ok(None) => number += 1,
                Ok(Some(_)) => return WorkerEnd::Committed,
                Err(end) => return end,
            }
        }
        loop {
            match self.step(number).await {
                Ok(None) => number += 1,
                Ok(Some(_)) => return WorkerEnd::Committed,
                Err(end) => return end,
            }
        }
    }

    /// One step. `None`: the turn goes on; `Some`: the commit carried this stop reason.
    async fn step(&mut self, number: u64) -> Result<Option<StopReason>, WorkerEnd> {
        let mut draft = self.begin(number);
        tell(&self.run, RunMsg::StepStarted(Box::new(draft.step.clone())));
        self.tell_agent(agent::Msg::StepStarted(Box::new(draft.step.clone())));
        self.step_began();
        self.make_room(draft.step.id).await;
        let offer = self.rules.offer();
        let choice = offer.choice.clone();
        let mut answer = loop {
            match self.ask_model(&mut draft, offer.clone()).await {
                Ok(answer) => break answer,
                Err(error) if error.class == ModelErrorClass::ContextOverflow => {
                    self.after_overflow(draft.step.id, error).await?;
                }
                Err(error) => return Err(WorkerEnd::Failed(error.into())),
            }
        };
        draft.step.usage = answer.usage;
        draft.step.request_id = answer.request_id.take();
        let last = number >= self.context.max_steps;
        let outcome = match self.turn_loop {
            TurnLoop::Native | TurnLoop::NativeForced => {
                self.carry_out(&mut draft, &mut answer, last).await?
            }
            TurnLoop::Heartbeat => {
                self.carry_out_one(&mut draft, &mut answer, &choice, last)
                    .await?
            }
        };
        let stop = outcome.stop;
        draft.step.status = if stop.is_some_and(|stop| stop.status() == RunStatus::Failed) {
            StepStatus::Failed
        } else {
            StepStatus::Success
        };
        draft.step.stop_reason = stop;
        draft.step.timing.step_ns = Some(nanos(draft.started.elapsed()));
        self.house.store.put_trace(draft.step.id, &answer.trace);
        let (step_id, tokens) = (draft.step.id, answer.usage.total_tokens);
        let window = self.context.config.context_window;
        let mut commit = outcome.commit(self, Some(draft.step), step_id);
        // The end waits until there is room again; what the step said does not.
        let ending = commit
            .stop
            .take_if(|_| commit.proviso.is_none() && compaction_is_due(tokens, window));
        commit.then = ending.as_ref().map(|end| end.stop_reason);
        let committed = self.commit(commit).await?;
        self.rules
            .replay(committed.messages.iter().map(AsRef::as_ref));
        self.context.version = committed.renewed.unwrap_or(self.context.version);
        self.remember(committed.messages);
        if committed.stop.is_none() {
            self.check_room(step_id, tokens).await;
        }
        let Some(end) = ending else {
            return Ok(committed.stop);
        };
        let stop = end.stop_reason;
        self.commit(StepCommit::closing(self.record.id, end))
            .await?;
        Ok(Some(stop))
    }

    /// What was written joins what the model reads.
    fn remember(&mut self, messages: Vec<Arc<Message>>) {
        self.unstored = 0;
        let heartbeats = self.turn_loop == TurnLoop::Heartbeat;
        for message in messages {
            let message = if heartbeats {
                heartbeat::recalled(&message, self.thinks_in_arguments)
            } else {
                message
            };
            self.context.messages.push(message);
        }
    }

    fn parallel_calls(&self) -> bool {
        request::parallel_calls(&self.context, &self.rules)
    }

    fn begin(&self, number: u64) -> Draft {
        let config = &self.context.config;
        let provider = self.house.providers.identity(config);
        let step = Step {
            id: StepId::new(),
            agent_id: self.record.agent_id,
            run_id: Some(self.record.id),
            number,
            status: StepStatus::Pending,
            provider_id: provider.as_ref().and_then(|provider| provider.id),
            provider_category: match &provider {
                Some(provider) => Some(provider.category.name().to_owned()),
                None => config.provider_category.clone(),
            },
            provider_name: match provider {
                Some(provider) => Some(provider.name),
                None => config.provider_name.clone(),
            },
            model: Some(config.model.clone()),
            model_handle: config.handle.clone(),
            model_endpoint: config.model_endpoint.clone(),
            context_window_limit: Some(config.context_window),
            usage: Usage::default(),
            stop_reason: None,
            error: None,
            tags: Vec::new(),
            tid: None,
            // The steps of a run are one trace, as its spans say.
            trace_id: Some(self.record.id.to_string()),
            request_id: None,
            feedback: None::<Feedback>,
            project_id: self.context.agent.project_id.clone(),
            created_at: clock::now(),
            timing: StepTiming {
                step_start_ns: Some(epoch_nanos()),
                ..StepTiming::default()
            },
        };
        Draft {
            step,
            message_id: MessageId::new(),
            started: Instant::now(),
        }
    }

    /// An empty message of this step.
    fn message(&self, draft: &Draft, id: MessageId) -> Message {
        let mut message = Message::new(self.record.agent_id, Role::Assistant, clock::now());
        message.id = id;
        message.step_id = Some(draft.step.id);
        message.run_id = Some(self.record.id);
        message.conversation_id = self.record.conversation_id;
        message.model = Some(self.context.config.model.clone());
        message
    }

    // ── the agent

    /// Commits until the disk takes it.
    async fn commit(&self, commit: StepCommit) -> Result<Committed, WorkerEnd> {
        self.ask_agent(|reply| agent::Msg::Commit(Box::new(commit.clone()), reply))
            .await
    }

    /// Asks the agent, again after a second while the disk is full.
    async fn ask_agent<T: Send + 'static>(
        &self,
        question: impl Fn(ractor::RpcReplyPort<Result<T, Refused>>) -> agent::Msg,
    ) -> Result<T, WorkerEnd> {
        loop {
            let asked = ask(&self.agent, Some(DEADLINE), |reply| {
                Mail::new(question(reply), &self.agent_mailbox)
            })
            .await;
            match asked {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(Refused::DiskFull)) => tokio::time::sleep(Duration::from_secs(1)).await,
                Ok(Err(refused)) => {
                    return Err(WorkerEnd::Failed(End::internal(refused.to_string())));
                }
                Err(error) => return Err(WorkerEnd::Failed(End::internal(error.to_string()))),
            }
        }
    }

    fn tell_agent(&self, message: agent::Msg) {
        tell(&self.agent, Mail::new(message, &self.agent_mailbox));
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn epoch_nanos() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}
