//! The step loop of one run: ask the model, run the tools it calls, commit, again. The only actor that waits for the world.
//!
//! Tree     `run:<id>` → `worker:<id>`
//! Owns     nothing that lasts: what is worth keeping is told to the run or committed by the agent.
//! Restart  its run decides: once, if the model had not spoken yet.

pub(crate) mod compaction;

use self::compaction::Room;
use super::{Msg as RunMsg, asking, request};
use crate::actors::agent::{self, CallEnd, CallResult, Committed, Mail, Proviso, StepCommit};
use crate::actors::ask::{DEADLINE, Mailbox, ask, tell};
use crate::actors::house::House;
use crate::actors::refused::Refused;
use crate::actors::tree::Hung;
use crate::domain::agent::{Agent, CompactionSettings, TurnLoop};
use crate::domain::approval::{Pending, Word};
use crate::domain::clock;
use crate::domain::compaction::due as compaction_is_due;
use crate::domain::frame::{DeltaFrame, PieceIndex};
use crate::domain::heartbeat::{self, live::Live};
use crate::domain::id::{AgentId, MessageId, RunId, StepId};
use crate::domain::message::{Message, Role, ToolCall, ToolReturn};
use crate::domain::model::{
    Answer, Delta, LlmConfig, ModelError, ModelErrorClass, ToolChoice, ToolSchema, Usage,
};
use crate::domain::rules::{self, After, Called, Offer, Outcome, Rules};
use crate::domain::run::{
    Answers, End, ErrorClass, Feedback, Run as Record, RunError, RunStatus, Step, StepStatus,
    StepTiming, StopReason,
};
use crate::domain::step::{self, Next, PlannedCall};
use crate::domain::tokens;
use crate::domain::tool::{Effects, ToolFailure, ToolResult};
use crate::tools::{Host, Tool, Work};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;
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
        draft.step.usage = answer.usage;
        draft.step.request_id = answer.request_id.take();
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

    /// What an answer leads to: words, calls that are run, or a request where one of them waits.
    async fn carry_out(
        &self,
        draft: &mut Draft,
        answer: &mut Answer,
        last: bool,
    ) -> Result<StepOutcome, WorkerEnd> {
        let message = self.message(draft, draft.message_id);
        let planned = match step::next(answer, self.parallel_calls()) {
            Next::Call(planned) => planned,
            Next::Stop(reason) => {
                let after = match reason {
                    StopReason::EndTurn => self.bounded(self.rules.after(&[]), last),
                    reason => After::Ends(reason),
                };
                let said = step::assistant_message(message, answer);
                return Ok(StepOutcome::of_words(said.into_iter().collect(), &after));
            }
        };
        let due = self.hold_against_rules(answer, planned);
        let waits: HashSet<&str> = due
            .iter()
            .filter(|due| due.refused.is_none() && self.waiting.contains(&due.call.name))
            .map(|due| due.call.id.as_str())
            .collect();
        if !waits.is_empty() {
            // Nothing is run while one call waits (agent-loop §9).
            let waits = |call: &ToolCall| waits.contains(call.id.as_str());
            let said = step::request_messages(message, answer, waits);
            let after = After::Ends(StopReason::RequiresApproval);
            return Ok(StepOutcome::of_words(said, &after));
        }
        let said: Vec<Message> = step::assistant_message(message, answer)
            .into_iter()
            .collect();
        let ends = self
            .run_tools(&mut draft.step.timing, &said, due, Some(&draft.step.id))
            .await?;
        let called: Vec<Called> = ends.iter().map(|(_, called)| called.clone()).collect();
        let after = self.bounded(self.rules.after(&called), last);
        Ok(StepOutcome {
            proviso: self.proviso(&after, &ends, last),
            calls: ends.into_iter().map(|(end, _)| end).collect(),
            ..StepOutcome::of_words(said, &after)
        })
    }

    /// What an answer of the heartbeat loop leads to: its one call, or a request where that waits (agent-loop §13).
    async fn carry_out_one(
        &self,
        draft: &mut Draft,
        answer: &mut Answer,
        choice: &ToolChoice,
        last: bool,
    ) -> Result<StepOutcome, WorkerEnd> {
        let message = self.message(draft, draft.message_id);
        let mut call = match heartbeat::next(answer, choice, self.thinks_in_arguments) {
            heartbeat::Next::Call(call) => call,
            heartbeat::Next::Stop(reason) => {
                if reason == StopReason::NoToolCall {
                    let error = RunError {
                        class: ErrorClass::Model(ModelErrorClass::Unreadable),
                        detail: "the model answered without a tool call".to_owned(),
                    };
                    return Err(WorkerEnd::Failed(End::failed(reason, error)));
                }
                let said = step::assistant_message(message, answer);
                let said = said.into_iter().collect();
                return Ok(StepOutcome::of_words(said, &After::Ends(reason)));
            }
        };
        let name = call.planned.name.clone();
        let violation = self.rules.violations([name.as_str()]).pop().flatten();
        let refused = match (violation, &call.planned.arguments) {
            (Some(failure), _) => Some(Refusal::NotRun(failure)),
            (None, Err(failure)) => Some(Refusal::NotRun(failure.clone())),
            (None, Ok(_)) => call.fill(&self.rules).err().map(Refusal::Misfilled),
        };
        answer.calls = vec![call.stored(call.asks)];
        if refused.is_none() && self.waiting.contains(&name) {
            let said = step::request_messages(message, answer, |_| true);
            let after = After::Ends(StopReason::RequiresApproval);
            return Ok(StepOutcome::of_words(said, &after));
        }
        let mut said: Vec<Message> = step::assistant_message(message, answer)
            .into_iter()
            .collect();
        let due = vec![Due {
            call: call.planned.clone(),
            refused,
        }];
        let ends = self
            .run_tools(&mut draft.step.timing, &said, due, Some(&draft.step.id))
            .await?;
        let mut outcome = StepOutcome::of_words(Vec::new(), &After::GoesOn);
        for (end, called) in ends {
            outcome.follow(heartbeat::decide(&self.rules, &called, call.asks, last));
            outcome.calls.push(end);
        }
        for said in &mut said {
            said.tool_calls = vec![call.stored(outcome.stop.is_none())];
        }
        outcome.said = said;
        Ok(outcome)
    }

    /// Carries out what was answered to a request: no model call and no step of its own. The turn goes on with a step, unless
    /// it is over and nothing came with the answer.
    async fn settle(
        &mut self,
        settling: Settling,
        number: u64,
    ) -> Result<Option<StopReason>, WorkerEnd> {
        let Settling {
            pending,
            answers,
            follow_ups,
        } = settling;
        let asks = request::asks(&pending);
        let due = pending
            .words(&answers.approvals)
            .into_iter()
            .map(|(call, word)| Due {
                call: PlannedCall::read(&call),
                refused: match word {
                    Word::Run => None,
                    Word::Denied(reason) => {
                        Some(Refusal::Denied(step::denied_call(reason.as_deref())))
                    }
                    Word::Returned(end) => Some(Refusal::Returned(end)),
                },
            });
        let due = due.collect();
        let said = vec![pending.response(self.record.id, answers)];
        let ends = self
            .run_tools(&mut StepTiming::default(), &said, due, None)
            .await?;
        let called: Vec<Called> = ends.iter().map(|(_, called)| called.clone()).collect();
        let last = number >= self.context.max_steps && follow_ups.is_empty();
        let mut outcome = match (self.turn_loop, called.as_slice()) {
            (TurnLoop::Heartbeat, [called]) => {
                let mut outcome = StepOutcome::of_words(said, &After::GoesOn);
                outcome.follow(heartbeat::decide(&self.rules, called, asks, last));
                outcome
            }
            _ => {
                let after = self.bounded(self.rules.after(&called), last);
                StepOutcome {
                    proviso: self.proviso(&after, &ends, last),
                    ..StepOutcome::of_words(said, &after)
                }
            }
        };
        if !follow_ups.is_empty() {
            outcome.stop = None;
            outcome.proviso = None;
        }
        outcome.calls = ends.into_iter().map(|(end, _)| end).collect();
        let step_id = pending.request.step_id.unwrap_or_else(StepId::new);
        let committed = self.commit(outcome.commit(self, None, step_id)).await?;
        self.rules.record(&called);
        self.remember(committed.messages);
        self.context.messages.extend(follow_ups);
        Ok(committed.stop)
    }

    fn parallel_calls(&self) -> bool {
        request::parallel_calls(&self.context, &self.rules)
    }

    /// The calls on whose success an end rests, and what follows if none of them succeeds: what an edit of memory comes to
    /// is known when it is committed.
    fn proviso(&self, decided: &After, calls: &[(CallEnd, Called)], last: bool) -> Option<Proviso> {
        ends(decided)?;
        let is_edit = |end: &CallEnd| matches!(end.result, CallResult::Edit(_));
        let failed = calls.iter().map(|(end, called)| Called {
            tool: called.tool.clone(),
            outcome: if is_edit(end) {
                Outcome::Failed(Value::Null)
            } else {
                called.outcome.clone()
            },
        });
        let failed: Vec<Called> = failed.collect();
        let otherwise = self.bounded(self.rules.after(&failed), last);
        let edits = calls.iter().filter(|(end, _)| is_edit(end));
        (otherwise != *decided).then(|| Proviso {
            calls: edits.map(|(end, _)| end.call_id.clone()).collect(),
            otherwise: ends(&otherwise).map(End::of),
        })
    }

    /// What follows when no further step may be taken.
    fn bounded(&self, after: After, last: bool) -> After {
        match after {
            After::GoesOn | After::Owes(_) if last => After::Ends(StopReason::MaxSteps),
            after => after,
        }
    }

    /// Each call of an answer, with why it is not run; the arguments that rules fix are in it and in the answer.
    fn hold_against_rules(&self, answer: &mut Answer, planned: Vec<PlannedCall>) -> Vec<Due> {
        let names: Vec<String> = planned.iter().map(|call| call.name.clone()).collect();
        let violations = self.rules.violations(names.iter().map(String::as_str));
        let mut due = Vec::with_capacity(planned.len());
        for ((mut call, violation), stored) in
            planned.into_iter().zip(violations).zip(&mut answer.calls)
        {
            let refused = match (violation, call.arguments.clone()) {
                (Some(failure), _) | (None, Err(failure)) => Some(Refusal::NotRun(failure)),
                (None, Ok(arguments)) => match self.rules.fill(&call.name, arguments) {
                    Ok(filled) => {
                        call.arguments = Ok(filled);
                        *stored = call.stored(stored);
                        None
                    }
                    Err(failure) => Some(Refusal::Misfilled(failure)),
                },
            };
            due.push(Due { call, refused });
        }
        due
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

    async fn ask_model(&mut self, draft: &mut Draft, offer: Offer) -> Result<Answer, ModelError> {
        let model = self.house.providers.model(&self.context.config)?;
        let (context, stream) = (&mut self.context, self.token_stream);
        let request = request::next(context, &self.rules, offer, stream);
        draft.step.timing.llm_request_start_ns = Some(epoch_nanos());
        let asked = Instant::now();
        let mut deltas = Deltas {
            run: &self.run,
            id: draft.message_id,
            run_id: self.record.id,
            step_id: draft.step.id,
            index: PieceIndex::default(),
            waiting: &self.waiting,
            waits: HashSet::new(),
        };
        let mut live = (self.turn_loop == TurnLoop::Heartbeat)
            .then(|| Live::new(&self.record.view, self.thinks_in_arguments));
        let answer = match self.token_stream {
            true => {
                let mut tell = |delta| match &mut live {
                    Some(live) => {
                        for shown in live.show(delta) {
                            deltas.tell(shown);
                        }
                    }
                    None => deltas.tell(delta),
                };
                let answer = asking::answer(&*model, &request, &mut tell).await;
                for shown in live.map(Live::finish).unwrap_or_default() {
                    deltas.tell(shown);
                }
                answer
            }
            false => asking::answer(&*model, &request, &mut |_| ()).await,
        };
        if let Some(tokens) = answer
            .as_ref()
            .ok()
            .and_then(|answer| answer.tokens.clone())
        {
            tell(&self.run, RunMsg::TokensTold(draft.step.id, tokens));
        }
        draft.step.timing.llm_request_ns = Some(nanos(asked.elapsed()));
        self.context.messages = request.messages;
        answer
    }

    // ── tools

    /// Carries out calls: those that may run together first, the rest one by one; ends in call order. `step`: the step that
    /// made them; `None` for calls of an earlier one that an answer let through.
    async fn run_tools(
        &self,
        timing: &mut StepTiming,
        said: &[Message],
        due: Vec<Due>,
        step: Option<&StepId>,
    ) -> Result<Vec<(CallEnd, Called)>, WorkerEnd> {
        let calls = due
            .iter()
            .map(|due| (due.call.id.clone(), due.call.name.clone()));
        let calls: Vec<(String, String)> = calls.collect();
        let order: HashMap<String, usize> = (0..)
            .zip(&calls)
            .map(|(place, (id, _))| (id.clone(), place))
            .collect();
        let said_now = said.to_vec();
        tell(
            &self.run,
            RunMsg::ToolsStarted {
                said: said_now,
                calls,
            },
        );
        let started = Instant::now();
        let mut ends = Vec::with_capacity(due.len());
        let (together, one_by_one): (Vec<Due>, Vec<Due>) = due
            .into_iter()
            .partition(|due| self.runs_together(&due.call.name));
        let origin = step.zip(said.first());
        let together = together.into_iter().map(|due| self.call(origin, due));
        for end in join_all(together).await {
            ends.push(end?);
        }
        for due in one_by_one {
            ends.push(self.call(origin, due).await?);
        }
        ends.sort_by_key(|(end, _)| order.get(&end.call_id).copied());
        timing.tool_execution_ns = Some(nanos(started.elapsed()));
        Ok(ends)
    }

    fn tool(&self, name: &str) -> Option<&Arc<dyn Tool>> {
        self.context
            .tools
            .iter()
            .find(|tool| tool.definition().name == name)
    }

    fn runs_together(&self, name: &str) -> bool {
        self.tool(name)
            .is_some_and(|tool| tool.definition().enable_parallel_execution)
    }

    async fn call(
        &self,
        origin: Option<(&StepId, &Message)>,
        due: Due,
    ) -> Result<(CallEnd, Called), WorkerEnd> {
        let Due { call, refused } = due;
        let PlannedCall {
            id,
            name,
            arguments,
        } = call;
        let tool = self.tool(&name);
        let journalled = refused.is_none()
            && arguments.is_ok()
            && tool.is_some_and(|tool| tool.effects() == Effects::Outside);
        let (result, outcome) = match (refused, arguments) {
            (Some(refusal), _) => refusal.into_end(&name, self),
            (None, Err(failure)) => not_run(&name, failure),
            (None, Ok(arguments)) => {
                if journalled {
                    self.journal(origin, &id).await?;
                }
                tell(&self.run, RunMsg::ToolStarted(name.clone()));
                let result = self.execute(&name, arguments).await;
                let outcome = outcome(&result);
                (result, outcome)
            }
        };
        let limit = tool
            .filter(|tool| !tool.uncut())
            .map(|tool| tool.definition().return_char_limit);
        let end = CallEnd {
            call_id: id.clone(),
            tool: name.clone(),
            tool_id: tool.map(|tool| tool.definition().id),
            limit,
            result,
        };
        tell(&self.run, RunMsg::CallReturned(id, end.clone()));
        if journalled {
            let end = Box::new(end.clone());
            self.tell_agent(agent::Msg::CallReturned(self.record.id, end));
        }
        Ok((
            end,
            Called {
                tool: name,
                outcome,
            },
        ))
    }

    async fn execute(&self, name: &str, mut arguments: Map<String, Value>) -> CallResult {
        step::as_text(name, &mut arguments);
        let Some(tool) = self.tool(name) else {
            return CallResult::Ended(ToolResult::failure(name, self.unknown_tool(name)));
        };
        match tool.start(arguments, Arc::new(AgentHost::new(self))) {
            Work::Done(result) => CallResult::Ended(result),
            Work::Edit(edit) => CallResult::Edit(edit),
            // A tool that panics ends its own call, not the run (agent-loop §7).
            Work::Wait(work) => CallResult::Ended(
                AssertUnwindSafe(work)
                    .catch_unwind()
                    .await
                    .unwrap_or_else(|_| ToolResult::failure(name, step::crashed_call())),
            ),
        }
    }

    /// For a call that was let through although no tool here answers to its name.
    fn unknown_tool(&self, name: &str) -> ToolFailure {
        ToolFailure {
            name: "ToolConstraintError",
            message: format!("{} there is no tool '{name}' here", rules::CONSTRAINT),
        }
    }

    /// Durable before a tool with outside effects starts: after a crash its outcome is unknown, never run twice.
    async fn journal(
        &self,
        origin: Option<(&StepId, &Message)>,
        call_id: &str,
    ) -> Result<(), WorkerEnd> {
        let started = |reply| agent::Msg::CallStarted {
            run: self.record.id,
            origin: origin.map(|(step, said)| (*step, Box::new(said.clone()))),
            call_id: call_id.to_owned(),
            reply,
        };
        self.ask_agent(started).await
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

/// What a step, or an answer to a request, comes to before it is committed.
struct StepOutcome {
    said: Vec<Message>,
    calls: Vec<CallEnd>,
    /// With which the turn ends.
    stop: Option<StopReason>,
    /// Why it goes on, where the model has to be told.
    reason: Option<String>,
    proviso: Option<Proviso>,
}

impl StepOutcome {
    fn of_words(said: Vec<Message>, after: &After) -> Self {
        Self {
            said,
            calls: Vec::new(),
            stop: ends(after),
            reason: request::reminder(after),
            proviso: None,
        }
    }

    fn follow(&mut self, decision: heartbeat::Decision) {
        match decision {
            heartbeat::Decision::GoesOn { reason } => self.reason = Some(reason),
            heartbeat::Decision::Ends(reason) => self.stop = Some(reason),
        }
    }

    fn commit(self, turn: &Turn, step: Option<Step>, step_id: StepId) -> StepCommit {
        let reminder = self.reason.map(|reason| {
            let mut message = Message::new(turn.record.agent_id, Role::User, clock::now());
            message.step_id = Some(step_id);
            message.run_id = Some(turn.record.id);
            message.conversation_id = turn.record.conversation_id;
            heartbeat::message(message, &reason, clock::now(), &turn.context.agent.timezone)
        });
        StepCommit {
            run: turn.record.id,
            step,
            said: self.said,
            calls: self.calls,
            reminders: reminder.into_iter().collect(),
            stop: self.stop.map(End::of),
            proviso: self.proviso,
            then: None,
        }
    }
}

/// A call that is about to be carried out, or why it is not.
struct Due {
    call: PlannedCall,
    refused: Option<Refusal>,
}

/// Why a call is not carried out, and what stands in the place of its end.
enum Refusal {
    /// Against the rules, or its arguments cannot be read.
    NotRun(ToolFailure),
    /// The arguments that rules fix do not fit.
    Misfilled(ToolFailure),
    Denied(ToolFailure),
    /// The client ran it.
    Returned(ToolReturn),
}

impl Refusal {
    fn into_end(self, tool: &str, turn: &Turn) -> (CallResult, Outcome) {
        let failed = |failure| CallResult::Ended(ToolResult::failure(tool, failure));
        match self {
            Self::NotRun(failure) => not_run(tool, failure),
            Self::Misfilled(failure) => (failed(failure), Outcome::Misfilled),
            Self::Denied(failure) => (failed(failure), Outcome::Denied),
            Self::Returned(end) => {
                let limit = tokens::return_chars(turn.context.config.context_window);
                let time = clock::now();
                let packed = step::pack_client(&end, limit, time, &turn.context.agent.timezone);
                let outcome = match Called::of(tool, &packed).outcome {
                    Outcome::Ran(value) | Outcome::Failed(value) => Outcome::Returned(value),
                    other => other,
                };
                (CallResult::Packed(packed), outcome)
            }
        }
    }
}

fn not_run(tool: &str, failure: ToolFailure) -> (CallResult, Outcome) {
    let result = CallResult::Ended(ToolResult::failure(tool, failure));
    (result, Outcome::NotRun)
}

/// What the rules are told of a call that was carried out. What an edit comes to is known when it is committed.
fn outcome(result: &CallResult) -> Outcome {
    match result {
        CallResult::Ended(result) => match &result.outcome {
            Ok(value) => Outcome::Ran(value.clone()),
            Err(failure) => Outcome::Failed(Value::from(failure.message.as_str())),
        },
        CallResult::Edit(_) | CallResult::Packed(_) => Outcome::Ran(Value::Null),
    }
}

/// The reason with which the turn ends.
fn ends(after: &After) -> Option<StopReason> {
    match after {
        After::Ends(reason) => Some(*reason),
        After::GoesOn | After::Owes(_) => None,
    }
}

/// Turns a model's deltas into numbered pieces of one message, and of the request that belongs to it.
struct Deltas<'a> {
    run: &'a ActorRef<RunMsg>,
    id: MessageId,
    run_id: RunId,
    step_id: StepId,
    index: PieceIndex,
    waiting: &'a HashSet<String>,
    /// Ids of the calls of such tools.
    waits: HashSet<String>,
}

impl Deltas<'_> {
    fn waits(&mut self, delta: &Delta) -> bool {
        match delta {
            Delta::CallName { call_id, name } => {
                let waits = self.waiting.contains(name);
                if waits {
                    self.waits.insert(call_id.clone());
                }
                waits
            }
            Delta::CallArguments { call_id, .. } => self.waits.contains(call_id),
            _ => false,
        }
    }

    fn tell(&mut self, delta: Delta) {
        let waits = self.waits(&delta);
        let frame = DeltaFrame {
            message_id: if waits { self.id.of_request() } else { self.id },
            run_id: self.run_id,
            step_id: self.step_id,
            date: clock::now(),
            index: self.index.of(&delta),
            waits,
            delta,
        };
        tell(self.run, RunMsg::Delta(frame));
    }
}

/// What tools see of the agent that calls them.
struct AgentHost {
    house: Arc<House>,
    agent: Arc<Agent>,
}

impl AgentHost {
    fn new(turn: &Turn) -> Self {
        Self {
            house: turn.house.clone(),
            agent: turn.context.agent.clone(),
        }
    }
}

impl Host for AgentHost {
    fn agent_id(&self) -> AgentId {
        self.agent.id
    }

    fn timezone(&self) -> &str {
        &self.agent.timezone
    }

    fn search_messages<'a>(
        &'a self,
        keep: Arc<dyn Fn(&Message) -> bool + Send + Sync>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Message>, ToolFailure>> {
        let (store, agent) = (self.house.store.clone(), self.agent.id);
        let search = move || -> Result<Vec<Message>, Refused> {
            let mut found = Vec::new();
            for message in store.messages_back(agent, None) {
                let message = message?;
                if !message.is_err && keep(&message) {
                    found.push(message);
                }
                if found.len() == limit {
                    break;
                }
            }
            Ok(found)
        };
        Box::pin(async move {
            let found = crate::actors::reads::blocking(search).await;
            found.map_err(|refused| ToolFailure {
                name: "RuntimeError",
                message: refused.to_string(),
            })
        })
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn epoch_nanos() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}
