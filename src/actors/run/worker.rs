//! The step loop of one run: ask the model, run the tools it calls, commit, again. The only actor that waits for the world.
//!
//! Tree     `run:<id>` → `worker:<id>`
//! Owns     nothing that lasts: what is worth keeping is told to the run or committed by the agent.
//! Restart  its run decides: once, if the model had not spoken yet.

use super::Msg as RunMsg;
use crate::actors::agent::{self, CallEnd, CallResult, Committed, Mail, StepCommit};
use crate::actors::ask::{DEADLINE, Mailbox, ask, tell};
use crate::actors::house::House;
use crate::actors::refused::Refused;
use crate::actors::tree::Hung;
use crate::domain::agent::Agent;
use crate::domain::clock;
use crate::domain::frame::DeltaFrame;
use crate::domain::id::{AgentId, MessageId, RunId, StepId};
use crate::domain::message::{Message, Role};
use crate::domain::model::{
    Answer, Delta, LlmConfig, ModelError, ModelRequest, ToolChoice, ToolSchema, Usage,
};
use crate::domain::run::{End, Feedback, Run as Record, Step, StepStatus, StepTiming, StopReason};
use crate::domain::step::{self, Next, PlannedCall};
use crate::domain::tool::{Effects, ToolFailure, ToolResult};
use crate::tools::{Host, Tool, Work};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// What a turn starts from; given by the agent when the lane is the run's.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) agent: Arc<Agent>,
    pub(crate) config: Arc<LlmConfig>,
    /// The system text of the whole turn: a later edit of a block does not change it (agent-loop §3).
    pub(crate) system: Arc<str>,
    /// The window without its system message, then the inputs if they are not in it yet.
    pub(crate) messages: Vec<Arc<Message>>,
    pub(crate) tools: Vec<Arc<dyn Tool>>,
    pub(crate) max_steps: u64,
    /// Steps that were committed before (a resumed run).
    pub(crate) committed_steps: u64,
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
    schemas: Arc<[ToolSchema]>,
}

/// A step until it is committed.
struct Draft {
    step: Step,
    message_id: MessageId,
    started: Instant,
}

impl Turn {
    fn new(arguments: Arguments) -> Self {
        let schema = |tool: &Arc<dyn Tool>| {
            let definition = tool.definition();
            let parameters = definition
                .json_schema
                .get("parameters")
                .cloned()
                .unwrap_or_default();
            ToolSchema {
                name: definition.name.clone(),
                description: definition.description.clone(),
                parameters,
            }
        };
        let schemas = arguments.context.tools.iter().map(schema).collect();
        Self {
            house: arguments.house,
            run: arguments.run,
            agent: arguments.agent,
            agent_mailbox: arguments.agent_mailbox,
            record: arguments.record,
            token_stream: arguments.token_stream,
            cancel: arguments.cancel,
            context: arguments.context,
            schemas,
        }
    }

    async fn run(&mut self) -> WorkerEnd {
        let mut number = self.context.committed_steps + 1;
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
        let mut answer = self
            .ask_model(&mut draft)
            .await
            .map_err(|error| WorkerEnd::Failed(error.into()))?;
        let next = step::next(&mut answer, self.context.config.parallel_calls());
        let assistant = step::assistant_message(self.message(&draft, draft.message_id), &answer);
        let (calls, stop) = match next {
            Next::Stop(reason) => (Vec::new(), Some(reason)),
            Next::Call(planned) => {
                let calls = self
                    .run_tools(&mut draft, assistant.as_ref(), planned)
                    .await?;
                (
                    calls,
                    (number >= self.context.max_steps).then_some(StopReason::MaxSteps),
                )
            }
        };
        draft.step.usage = answer.usage;
        draft.step.status =
            if stop.is_some_and(|stop| stop.status() == crate::domain::run::RunStatus::Failed) {
                StepStatus::Failed
            } else {
                StepStatus::Success
            };
        draft.step.stop_reason = stop;
        draft.step.timing.step_ns = Some(nanos(draft.started.elapsed()));
        self.house.store.put_trace(draft.step.id, &answer.trace);
        let commit = StepCommit {
            run: self.record.id,
            step: Some(draft.step),
            assistant,
            calls,
            stop: stop.map(End::of),
        };
        let committed = self.commit(commit).await?;
        self.context.messages.extend(committed.messages);
        Ok(stop)
    }

    fn begin(&self, number: u64) -> Draft {
        let config = &self.context.config;
        let step = Step {
            id: StepId::new(),
            agent_id: self.record.agent_id,
            run_id: Some(self.record.id),
            number,
            status: StepStatus::Pending,
            provider_name: config.provider_name.clone(),
            provider_category: config.provider_category.clone(),
            model: Some(config.model.clone()),
            model_handle: config.handle.clone(),
            model_endpoint: config.model_endpoint.clone(),
            context_window_limit: Some(config.context_window),
            usage: Usage::default(),
            stop_reason: None,
            error: None,
            tags: Vec::new(),
            tid: None,
            trace_id: None,
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

    async fn ask_model(&mut self, draft: &mut Draft) -> Result<Answer, ModelError> {
        let choice = if self.schemas.is_empty() {
            ToolChoice::None
        } else {
            ToolChoice::Free
        };
        let model = self.house.providers.model(&self.context.config)?;
        let request = ModelRequest {
            config: self.context.config.clone(),
            system: self.context.system.clone(),
            // Lent to the request and taken back: the history is not copied for a step.
            messages: std::mem::take(&mut self.context.messages),
            tools: self.schemas.clone(),
            choice,
            stream: self.token_stream,
            user: self.context.agent.created_by.to_string(),
        };
        draft.step.timing.llm_request_start_ns = Some(epoch_nanos());
        let asked = Instant::now();
        let mut deltas = Deltas {
            run: &self.run,
            id: draft.message_id,
            run_id: self.record.id,
            step_id: draft.step.id,
            index: 0,
            kind: None,
        };
        let answer = match self.token_stream {
            true => {
                model
                    .answer(&request, &mut |delta| deltas.tell(delta))
                    .await
            }
            false => model.answer(&request, &mut |_| ()).await,
        };
        draft.step.timing.llm_request_ns = Some(nanos(asked.elapsed()));
        self.context.messages = request.messages;
        answer
    }

    // ── tools

    /// Carries out the calls of one answer: those that may run together first, the rest one by one; ends in call order.
    async fn run_tools(
        &self,
        draft: &mut Draft,
        assistant: Option<&Message>,
        planned: Vec<PlannedCall>,
    ) -> Result<Vec<CallEnd>, WorkerEnd> {
        let Some(assistant) = assistant else {
            return Ok(Vec::new());
        };
        let names = planned
            .iter()
            .map(|call| (call.id.clone(), call.name.clone()))
            .collect();
        tell(
            &self.run,
            RunMsg::ToolsStarted {
                assistant: Box::new(assistant.clone()),
                calls: names,
            },
        );
        let started = Instant::now();
        let order: Vec<String> = planned.iter().map(|call| call.id.clone()).collect();
        let (together, one_by_one): (Vec<PlannedCall>, Vec<PlannedCall>) = planned
            .into_iter()
            .partition(|call| self.runs_together(&call.name));
        let mut ends = Vec::with_capacity(order.len());
        for end in join_all(
            together
                .into_iter()
                .map(|call| self.call(draft, assistant, call)),
        )
        .await
        {
            ends.push(end?);
        }
        for call in one_by_one {
            ends.push(self.call(draft, assistant, call).await?);
        }
        let place: std::collections::HashMap<&str, usize> = order
            .iter()
            .enumerate()
            .map(|(place, id)| (id.as_str(), place))
            .collect();
        ends.sort_by_key(|end| place.get(end.call_id.as_str()).copied());
        draft.step.timing.tool_execution_ns = Some(nanos(started.elapsed()));
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
        draft: &Draft,
        assistant: &Message,
        call: PlannedCall,
    ) -> Result<CallEnd, WorkerEnd> {
        tell(&self.run, RunMsg::ToolStarted(call.name.clone()));
        let tool = self.tool(&call.name);
        let result = match (tool, call.arguments) {
            (_, Err(failure)) => CallResult::Ended(ToolResult::failure(&call.name, failure)),
            (None, Ok(_)) => CallResult::Ended(ToolResult::failure(
                &call.name,
                self.unknown_tool(&call.name),
            )),
            (Some(tool), Ok(arguments)) => {
                if tool.effects() == Effects::Outside {
                    self.journal(draft, assistant, &call.id).await?;
                }
                match tool.start(arguments, Arc::new(AgentHost::new(self))) {
                    Work::Done(result) => CallResult::Ended(result),
                    Work::Edit(edit) => CallResult::Edit(edit),
                    // A tool that panics ends its own call, not the run (agent-loop §7).
                    Work::Wait(work) => CallResult::Ended(
                        AssertUnwindSafe(work)
                            .catch_unwind()
                            .await
                            .unwrap_or_else(|_| {
                                ToolResult::failure(&call.name, step::crashed_call())
                            }),
                    ),
                }
            }
        };
        let journalled = tool.is_some_and(|tool| tool.effects() == Effects::Outside);
        let limit = tool
            .filter(|tool| !tool.uncut())
            .map(|tool| tool.definition().return_char_limit);
        let tool_id = tool.map(|tool| tool.definition().id);
        let end = CallEnd {
            call_id: call.id.clone(),
            tool: call.name,
            tool_id,
            limit,
            result,
        };
        tell(&self.run, RunMsg::CallReturned(call.id, end.clone()));
        if journalled {
            let end = Box::new(end.clone());
            self.tell_agent(agent::Msg::CallReturned(self.record.id, end));
        }
        Ok(end)
    }

    fn unknown_tool(&self, name: &str) -> ToolFailure {
        let known: Vec<&str> = self
            .context
            .tools
            .iter()
            .map(|tool| tool.definition().name.as_str())
            .collect();
        let message = format!(
            "[ToolConstraintError] there is no tool '{name}' here; the tools are: {}",
            known.join(", ")
        );
        ToolFailure {
            name: "ToolConstraintError",
            message,
        }
    }

    /// Durable before a tool with outside effects starts: after a crash its outcome is unknown, never run twice.
    async fn journal(
        &self,
        draft: &Draft,
        assistant: &Message,
        call_id: &str,
    ) -> Result<(), WorkerEnd> {
        let (run, step) = (self.record.id, draft.step.id);
        let started = |reply| agent::Msg::CallStarted {
            run,
            step,
            assistant: Box::new(assistant.clone()),
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

/// Turns a model's deltas into numbered pieces of one message.
struct Deltas<'a> {
    run: &'a ActorRef<RunMsg>,
    id: MessageId,
    run_id: RunId,
    step_id: StepId,
    index: u8,
    kind: Option<&'static str>,
}

impl Deltas<'_> {
    fn tell(&mut self, delta: Delta) {
        let mut frame = DeltaFrame {
            message_id: self.id,
            run_id: self.run_id,
            step_id: self.step_id,
            date: clock::now(),
            index: self.index,
            delta,
        };
        let kind = frame.message_type();
        if self.kind.is_some_and(|before| before != kind) {
            self.index = self.index.saturating_add(1).min(127);
            frame.index = self.index;
        }
        self.kind = Some(kind);
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
