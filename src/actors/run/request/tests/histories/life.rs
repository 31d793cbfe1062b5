//! One agent's thread as the domain writes it: what is planned, stored, settled, closed and compacted is what the
//! functions of `domain` and `request` say. Only the carrying out is done here, in memory: a worker and an agent do it
//! with actors and a disk.

use super::cast::{Cast, Utterance};
use crate::actors::run::request::{self, Plan};
use crate::actors::run::worker::{Context, Settling};
use crate::domain::agent::{Agent, AgentType, CompactionMode, TurnLoop};
use crate::domain::approval::{self, Pending, Word};
use crate::domain::clock;
use crate::domain::compaction::{self, Counted, Trigger, summary};
use crate::domain::heartbeat;
use crate::domain::history::{Head, Window};
use crate::domain::id::{MessageId, RunId, StepId};
use crate::domain::message::{
    Approval, Image, Message, Part, Role, ToolCall, ToolOutput, ToolReturn, ToolStatus,
};
use crate::domain::model::{Answer, LlmConfig, ModelRequest, ToolChoice, ToolSchema};
use crate::domain::recovery::{Recovery, recover};
use crate::domain::rules::{After, Called, Outcome};
use crate::domain::run::{
    Answers, End, Inbox, Input, InputRole, LaneId, Phase, Progress, RunStatus, StopReason, Task,
};
use crate::domain::step::{self, Next, PlannedCall};
use crate::domain::tokens;
use crate::domain::tool::{ToolFailure, ToolResult, ToolRule};
use crate::providers::testing::vendors;
use crate::store::testing;
use proptest::sample::Index;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::Arc;

/// Some that may be called at once, one that may have to be approved, and the one by which older agents speak.
pub(super) const TOOLS: [&str; 4] = [
    "conversation_search",
    "memory_insert",
    "memory_replace",
    "send_message",
];
pub(super) const CLIENT_TOOL: &str = "ask_around";

/// Steps of a turn at most.
const MAX_STEPS: u64 = 4;

// ── what happens

#[derive(Debug, Clone)]
pub(super) enum Event {
    /// Somebody writes; where calls wait, with the answer to them.
    Turn(Turn),
    /// What waits is cancelled.
    Cancel,
    Compaction(Compaction),
}

#[derive(Debug, Clone)]
pub(super) struct Turn {
    pub(super) model: Index,
    pub(super) thinks: bool,
    pub(super) inputs: Vec<Said>,
    pub(super) client_tools: bool,
    /// One for each call that waits, from the start again where there are too few.
    pub(super) words: Vec<Decision>,
    /// How the calls end that an answer lets through.
    pub(super) settled: Vec<CallEnd>,
    pub(super) fate: Fate,
    pub(super) steps: Vec<Step>,
}

/// An input.
#[derive(Debug, Clone, Copy)]
pub(super) enum Said {
    User(&'static str),
    Image(&'static str),
    System(&'static str),
    Assistant(&'static str),
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Decision {
    Approves,
    Denies,
    Returns { ok: bool, image: bool },
}

/// One answer of the model and what becomes of it.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) said: Vec<Utterance>,
    pub(super) end: vendors::End,
    pub(super) streamed: bool,
    pub(super) calls: Vec<CallEnd>,
    pub(super) fate: Fate,
    /// The context is compacted before the model is asked.
    pub(super) compaction: Option<Compaction>,
}

/// How one call ends.
#[derive(Debug, Clone, Copy)]
pub(super) enum CallEnd {
    Text(&'static str),
    Nothing,
    Object,
    Long,
    Fails,
    Crashes,
}

/// How a step ends, or the carrying out of an answer.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fate {
    Done,
    /// The model fails, so the run does.
    Fails,
    /// A cancel comes while the model speaks.
    CancelledEarly,
    /// A cancel comes when so many calls have ended.
    Cancelled(usize),
    /// The process, or the agent alone, dies when so many of the calls that were under way have ended.
    Dies {
        ended: usize,
        alone: bool,
    },
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Compaction {
    pub(super) mode: CompactionMode,
    pub(super) share: f64,
    pub(super) window: u64,
}

// ── the thread

pub(super) struct Life<'c> {
    cast: &'c Cast,
    agent: Arc<Agent>,
    in_arguments: bool,
    head: Head,
    /// By sequence.
    stored: Vec<Arc<Message>>,
    given: Vec<vendors::Answer>,
    pub(super) compactions: usize,
}

/// A turn that is under way.
struct Running {
    context: Context,
    plan: Plan,
    waiting: HashSet<String>,
    inbox: Inbox,
    number: u64,
}

/// Whether a turn goes on.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Then {
    GoesOn,
    Ends,
}

type Broken = Result<(), String>;

impl<'c> Life<'c> {
    pub(super) fn new(
        cast: &'c Cast,
        agent_type: AgentType,
        rules: Vec<ToolRule>,
        in_arguments: bool,
    ) -> Self {
        let agent = Agent {
            agent_type,
            tool_rules: rules,
            message_buffer_autoclear: agent_type.forgets(),
            response_format: None,
            ..testing::agent()
        };
        let head = Head {
            next_sequence: 0,
            stored_messages: 0,
            default_lane: Window::default(),
            ..testing::head()
        };
        let mut life = Self {
            cast,
            agent: Arc::new(agent),
            in_arguments,
            head,
            stored: Vec::new(),
            given: Vec::new(),
            compactions: 0,
        };
        let mut system = life.message(Role::System);
        system.content = vec![Part::of_text("Be kind.")];
        life.store(system, true);
        life
    }

    pub(super) fn happens(&mut self, event: &Event) -> Broken {
        match event {
            Event::Turn(turn) => self.turn(turn),
            Event::Cancel => {
                self.deny_pending();
                Ok(())
            }
            Event::Compaction(compaction) => self.compact(self.config(0, true), compaction),
        }
    }

    /// Whatever happened, the next ordinary message is taken by every model, and so is the answer to calls that wait.
    pub(super) fn next_message_is_taken(&mut self) -> Broken {
        let models = self.cast.configs().len();
        if let Some(pending) = Pending::of(&self.window()) {
            for model in 0..models {
                let mut context = self.context(self.config(model, true), &self.inbox(&[]));
                let approvals = pending.denial("no");
                context.settling = Some(Settling {
                    pending: pending.clone(),
                    answers: Answers {
                        approvals,
                        otid: None,
                    },
                    follow_ups: Vec::new(),
                    before: Vec::new(),
                });
                let request = request::preview(context, false, clock::now());
                self.cast.check(&request, &self.given)?;
            }
            self.deny_pending();
        }
        for model in 0..models {
            let inbox = self.inbox(&[Said::User("Are you there?")]);
            for thinks in [true, false] {
                let context = self.context(self.config(model, thinks), &inbox);
                let request = request::preview(context, false, clock::now());
                self.cast.check(&request, &self.given)?;
            }
        }
        Ok(())
    }

    fn config(&self, model: usize, thinks: bool) -> LlmConfig {
        let config = &self.cast.configs()[model];
        LlmConfig {
            enable_reasoner: config.enable_reasoner && thinks,
            put_inner_thoughts_in_kwargs: Some(self.in_arguments),
            ..config.clone()
        }
    }

    fn message(&self, role: Role) -> Message {
        Message::new(self.agent.id, role, clock::now())
    }

    fn window(&self) -> Vec<Arc<Message>> {
        let at = |sequence: u64| self.stored[usize::try_from(sequence).unwrap()].clone();
        self.head.default_lane.sequences().map(at).collect()
    }

    fn store(&mut self, mut message: Message, in_context: bool) -> Arc<Message> {
        self.head.place(&mut message, clock::now(), in_context);
        let message = Arc::new(message);
        self.stored.push(message.clone());
        message
    }

    fn inbox(&self, said: &[Said]) -> Inbox {
        let run = RunId::new();
        Inbox {
            lane: LaneId::Default,
            task: Task::Turn,
            answer: None,
            inputs: said.iter().map(|said| said.input()).collect(),
            input_ids: said.iter().map(|_| MessageId::new()).collect(),
            client_tools: Vec::new(),
            progress: Progress {
                committed_steps: 0,
                phase: Phase::Idle,
            },
            recoveries: 0,
            ..testing::inbox(run, 0)
        }
    }

    fn context(&self, config: LlmConfig, inbox: &Inbox) -> Context {
        let mut context = super::super::context(config, Vec::new());
        let toolbox = crate::tools::toolbox::Toolbox::builtin();
        let tools = TOOLS.map(|name| toolbox.by_name(name).unwrap().clone());
        let started = inbox.progress.committed_steps > 0;
        let window = self.window();
        let forgets = self.agent.message_buffer_autoclear && !started && brings_words(inbox);
        context.messages = match forgets {
            true => Vec::new(),
            false => window[1..].to_vec(),
        };
        if !started {
            let inputs = inbox.messages(self.agent.id).into_iter().map(Arc::new);
            let inputs: Vec<_> = inputs.collect();
            match (&inbox.answer, Pending::of(&window)) {
                (Some(answers), Some(pending)) => {
                    context.settling = Some(Settling {
                        pending,
                        answers: answers.clone(),
                        follow_ups: inputs,
                        before: Vec::new(),
                    });
                }
                _ => {
                    context.unstored = inputs.len();
                    context.messages.extend(inputs);
                }
            }
        }
        Context {
            agent: self.agent.clone(),
            tools: tools.to_vec(),
            client_tools: inbox.client_tools.clone().into(),
            ..context
        }
    }

    // ── a turn

    fn turn(&mut self, turn: &Turn) -> Broken {
        let model = turn.model.index(self.cast.configs().len());
        let mut inbox = self.inbox(&turn.inputs);
        if turn.client_tools {
            inbox.client_tools = vec![client_tool()];
        }
        let window = self.window();
        if let Some(pending) = Pending::of(&window) {
            let approvals = decided(&pending, &turn.words);
            let meant = approval::read(&window, None, &approvals);
            let Ok(approval::Answer::Settles(_, approvals)) = meant else {
                return Err(format!("an answer to {pending:?} is refused: {meant:?}"));
            };
            inbox.answer = Some(Answers {
                approvals,
                otid: None,
            });
        } else if inbox.inputs.is_empty() {
            // Nothing waits, and nothing was said: no client may send that.
            return Ok(());
        }
        let mut context = self.context(self.config(model, turn.thinks), &inbox);
        let plan = request::plan(&mut context);
        let gated = plan.schemas.iter().map(|tool| &tool.name);
        let gated = gated.filter(|name| plan.rules.needs_approval(name));
        let client = context.client_tools.iter().map(|tool| &tool.name);
        let mut running = Running {
            waiting: gated.chain(client).cloned().collect(),
            context,
            plan,
            inbox,
            number: 1,
        };
        let mut steps = turn.steps.iter();
        if let Some(settling) = running.context.settling.take() {
            match self.settle(&mut running, settling, turn) {
                Then::GoesOn => running.number += 1,
                Then::Ends => return Ok(()),
            }
        }
        while running.number <= MAX_STEPS {
            let Some(step) = steps.next() else {
                // The turn goes on for longer than this history: it is cancelled.
                self.close(&running, End::of(StopReason::Cancelled));
                return Ok(());
            };
            match self.step(&mut running, step)? {
                Then::GoesOn => running.number += 1,
                Then::Ends => return Ok(()),
            }
        }
        Ok(())
    }

    fn step(&mut self, running: &mut Running, step: &Step) -> Result<Then, String> {
        if let Some(compaction) = &step.compaction {
            self.compact(LlmConfig::clone(&running.context.config), compaction)?;
            let unstored = running.context.unstored;
            let inputs = running.context.messages.len() - unstored;
            let inputs = running.context.messages.split_off(inputs);
            if !(running.context.agent.message_buffer_autoclear && self.is_first(running)) {
                running.context.messages.clear();
                self.remember(running, self.window()[1..].to_vec());
            }
            running.context.messages.extend(inputs);
            running.context.unstored = unstored;
        }
        let offer = running.plan.rules.offer();
        let choice = offer.choice.clone();
        let context = &mut running.context;
        let request = request::next(context, &running.plan.rules, offer, step.streamed);
        self.cast.check(&request, &self.given)?;
        let number = self.given.len();
        let (given, heard) = self.cast.answer(&request, &step.said, step.end, number);
        running.context.messages = request.messages;
        match step.fate {
            Fate::CancelledEarly => {
                self.close(running, End::of(StopReason::Cancelled));
                return Ok(Then::Ends);
            }
            Fate::Fails => {
                self.close(running, End::internal("the model fails"));
                return Ok(Then::Ends);
            }
            _ => (),
        }
        self.given.push(given);
        let Ok(mut answer) = heard else {
            self.close(running, End::internal("the answer is none"));
            return Ok(Then::Ends);
        };
        Ok(match running.plan.turn_loop {
            TurnLoop::Native | TurnLoop::NativeForced => self.carry_out(running, step, &mut answer),
            TurnLoop::Heartbeat => self.carry_out_one(running, step, &mut answer, &choice),
        })
    }

    fn is_first(&self, running: &Running) -> bool {
        running.inbox.progress.committed_steps == 0
    }

    /// An empty message of a new step.
    fn draft(&self, running: &Running) -> Message {
        let mut message = self.message(Role::Assistant);
        message.step_id = Some(StepId::new());
        message.run_id = Some(running.inbox.run_id);
        message.model = Some(running.context.config.model.clone());
        message
    }

    fn carry_out(&mut self, running: &mut Running, step: &Step, answer: &mut Answer) -> Then {
        let message = self.draft(running);
        let rules = &running.plan.rules;
        let last = running.number >= MAX_STEPS;
        let parallel = request::parallel_calls(&running.context, rules);
        let planned = match step::next(answer, parallel) {
            Next::Call(planned) => planned,
            Next::Stop(reason) => {
                let after = match reason {
                    StopReason::EndTurn => bounded(rules.after(&[]), last),
                    reason => After::Ends(reason),
                };
                let failed = reason.status() == RunStatus::Failed;
                let said = step::assistant_message(message, answer);
                let reminder = request::reminder(&after);
                return self.commit(
                    running,
                    Commit {
                        said: said.into_iter().collect(),
                        reminder,
                        then: then(&after),
                        failed,
                        ..Commit::default()
                    },
                );
            }
        };
        let names: Vec<String> = planned.iter().map(|call| call.name.clone()).collect();
        let violations = rules.violations(names.iter().map(String::as_str));
        let mut due = Vec::new();
        for ((mut call, violation), stored) in
            planned.into_iter().zip(violations).zip(&mut answer.calls)
        {
            let refused = match (violation, call.arguments.clone()) {
                (Some(failure), _) | (None, Err(failure)) => Some((failure, Outcome::NotRun)),
                (None, Ok(arguments)) => match rules.fill(&call.name, arguments) {
                    Ok(filled) => {
                        call.arguments = Ok(filled);
                        *stored = call.stored(stored);
                        None
                    }
                    Err(failure) => Some((failure, Outcome::Misfilled)),
                },
            };
            due.push((call, refused));
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let waits = std::iter::zip(&due, rules.wait(&running.waiting, &names));
        let waits = waits.filter(|(_, waits)| *waits);
        let waits: HashSet<&str> = waits.map(|((call, _), _)| call.id.as_str()).collect();
        if !waits.is_empty() {
            let waits = |call: &ToolCall| waits.contains(call.id.as_str());
            let said = step::request_messages(message, answer, waits);
            return self.commit(running, Commit::ending(said));
        }
        step::empty_unreadable(answer);
        let said: Vec<Message> = step::assistant_message(message, answer)
            .into_iter()
            .collect();
        let ends: Vec<(ToolReturn, Called)> = due
            .into_iter()
            .enumerate()
            .map(|(at, (call, refused))| self.end(&call, refused, step.calls.get(at)))
            .collect();
        if let Some(then) = self.interrupted(running, step.fate, &said, &ends) {
            return then;
        }
        let called: Vec<Called> = ends.iter().map(|(_, called)| called.clone()).collect();
        let after = bounded(running.plan.rules.after(&called), last);
        self.commit(
            running,
            Commit {
                said,
                returns: ends.into_iter().map(|(end, _)| end).collect(),
                first_tool: called[0].tool.clone(),
                reminder: request::reminder(&after),
                then: then(&after),
                ..Commit::default()
            },
        )
    }

    fn carry_out_one(
        &mut self,
        running: &mut Running,
        step: &Step,
        answer: &mut Answer,
        choice: &ToolChoice,
    ) -> Then {
        let message = self.draft(running);
        let rules = &running.plan.rules;
        let last = running.number >= MAX_STEPS;
        let mut call = match heartbeat::next(answer, choice, running.plan.thinks_in_arguments) {
            heartbeat::Next::Call(call) => call,
            heartbeat::Next::Stop(StopReason::NoToolCall) => {
                self.close(running, End::internal("no tool call"));
                return Then::Ends;
            }
            heartbeat::Next::Stop(_) => {
                let said = step::assistant_message(message, answer);
                return self.commit(running, Commit::ending(said.into_iter().collect()));
            }
        };
        let name = call.planned.name.clone();
        let violation = rules.violations([name.as_str()]).pop().flatten();
        let refused = match (violation, &call.planned.arguments) {
            (Some(failure), _) => Some((failure, Outcome::NotRun)),
            (None, Err(failure)) => Some((failure.clone(), Outcome::NotRun)),
            (None, Ok(_)) => call
                .fill(rules)
                .err()
                .map(|failure| (failure, Outcome::Misfilled)),
        };
        answer.calls = vec![call.stored(call.asks)];
        if refused.is_none() && running.waiting.contains(&name) {
            let said = step::request_messages(message, answer, |_| true);
            return self.commit(running, Commit::ending(said));
        }
        let mut said: Vec<Message> = step::assistant_message(message, answer)
            .into_iter()
            .collect();
        let ends = vec![self.end(&call.planned, refused, step.calls.first())];
        if let Some(then) = self.interrupted(running, step.fate, &said, &ends) {
            return then;
        }
        let (end, called) = ends.into_iter().next().unwrap();
        let decision = heartbeat::decide(&running.plan.rules, &called, call.asks, last);
        for said in &mut said {
            said.tool_calls = vec![call.stored(decision.goes_on())];
        }
        self.commit(
            running,
            Commit {
                said,
                returns: vec![end],
                first_tool: name,
                ..Commit::following(decision)
            },
        )
    }

    /// An answer to what waits is carried out.
    fn settle(&mut self, running: &mut Running, settling: Settling, turn: &Turn) -> Then {
        let Settling {
            pending,
            answers,
            follow_ups,
            before: _,
        } = settling;
        let asks = request::asks(&pending);
        let mut settled = turn.settled.iter();
        let mut ends = Vec::new();
        for (call, word) in pending.words(&answers.approvals) {
            let planned = PlannedCall::read(&call);
            ends.push(match word {
                Word::Run => self.end(&planned, None, settled.next()),
                Word::Denied(reason) => {
                    let failure = step::denied_call(reason.as_deref());
                    self.end(&planned, Some((failure, Outcome::Denied)), None)
                }
                Word::Returned(end) => self.returned(running, &call, &end),
            });
        }
        let response = pending.response(running.inbox.run_id, answers);
        let said = vec![response];
        if let Some(then) = self.interrupted(running, turn.fate, &said, &ends) {
            return then;
        }
        let called: Vec<Called> = ends.iter().map(|(_, called)| called.clone()).collect();
        let last = follow_ups.is_empty() && running.number >= MAX_STEPS;
        let mut commit = match (running.plan.turn_loop, called.as_slice()) {
            (TurnLoop::Heartbeat, [called]) => {
                let rules = &running.plan.rules;
                Commit::following(heartbeat::decide(rules, called, asks, last))
            }
            _ => {
                let after = bounded(running.plan.rules.after(&called), last);
                Commit {
                    reminder: request::reminder(&after),
                    then: then(&after),
                    ..Commit::default()
                }
            }
        };
        if !follow_ups.is_empty() {
            commit.then = Some(Then::GoesOn);
        }
        commit.said = said;
        commit.first_tool = called
            .first()
            .map_or(String::new(), |call| call.tool.clone());
        commit.returns = ends.into_iter().map(|(end, _)| end).collect();
        let then = self.commit(running, commit);
        running.plan.rules.record(&called);
        running.context.messages.extend(follow_ups);
        then
    }

    /// The end of a call that is carried out, or why it is not.
    fn end(
        &self,
        call: &PlannedCall,
        refused: Option<(ToolFailure, Outcome)>,
        end: Option<&CallEnd>,
    ) -> (ToolReturn, Called) {
        let unread = call.arguments.clone().err();
        let refused = refused.or_else(|| unread.map(|failure| (failure, Outcome::NotRun)));
        let (result, outcome) = match refused {
            Some((failure, outcome)) => (ToolResult::failure(&call.name, failure), outcome),
            None => {
                let result = end.unwrap_or(&CallEnd::Nothing).result(&call.name);
                let outcome = match &result.outcome {
                    Ok(value) => Outcome::Ran(value.clone()),
                    Err(failure) => Outcome::Failed(Value::from(failure.message.as_str())),
                };
                (result, outcome)
            }
        };
        let packed = self.pack(&call.id, &result);
        let tool = call.name.clone();
        (packed, Called { tool, outcome })
    }

    fn pack(&self, id: &str, result: &ToolResult) -> ToolReturn {
        step::pack(id, result, Some(6_000), clock::now(), &self.agent.timezone)
    }

    fn returned(
        &self,
        running: &Running,
        call: &ToolCall,
        end: &ToolReturn,
    ) -> (ToolReturn, Called) {
        let limit = tokens::return_chars(running.context.config.context_window);
        let packed = step::pack_client(end, limit, clock::now(), &self.agent.timezone);
        let outcome = match Called::of(&call.name, &packed).outcome {
            Outcome::Ran(value) | Outcome::Failed(value) => Outcome::Returned(value),
            other => other,
        };
        let tool = call.name.clone();
        (packed, Called { tool, outcome })
    }

    /// What a cancel, or a crash, makes of calls that are under way.
    fn interrupted(
        &mut self,
        running: &mut Running,
        fate: Fate,
        said: &[Message],
        ends: &[(ToolReturn, Called)],
    ) -> Option<Then> {
        let (ended, failure, alone) = match fate {
            Fate::Cancelled(ended) => (ended, step::cancelled_call(), None),
            Fate::Dies { ended, alone } => (ended, step::interrupted_call(), Some(alone)),
            Fate::Done | Fate::Fails | Fate::CancelledEarly => return None,
        };
        let settles = said.iter().any(|said| !said.approvals.is_empty());
        let returns: Vec<ToolReturn> = ends
            .iter()
            .enumerate()
            .map(|(at, (end, called))| match at < ended {
                true => end.clone(),
                false => {
                    let failure = failure.clone();
                    self.pack(
                        &end.tool_call_id,
                        &ToolResult::failure(&called.tool, failure),
                    )
                }
            })
            .collect();
        let mut commit = Commit {
            said: said.to_vec(),
            first_tool: ends
                .first()
                .map_or(String::new(), |(_, end)| end.tool.clone()),
            returns,
            then: Some(Then::Ends),
            ..Commit::default()
        };
        let Some(alone) = alone else {
            return Some(self.commit(running, commit));
        };
        let progress = &mut running.inbox.progress;
        progress.phase = if settles {
            Phase::Settling {
                started: Vec::new(),
                finished: Vec::new(),
            }
        } else {
            Phase::Tools {
                step_id: StepId::new(),
                assistant: Box::new(said[0].clone()),
                started: Vec::new(),
                finished: Vec::new(),
            }
        };
        running.inbox.resume = false;
        match recover(&running.inbox, alone, 0) {
            Recovery::CloseCallsAndResume => commit.then = Some(Then::GoesOn),
            Recovery::Fail(_) => commit.failed = true,
            Recovery::Resume | Recovery::End(_) => panic!("calls are under way"),
        }
        let then = self.commit(running, commit);
        if then == Then::GoesOn {
            // A new worker starts from what is written.
            let config = LlmConfig::clone(&running.context.config);
            running.context = self.context(config, &running.inbox);
            running.context.settling = None;
            running.plan = request::plan(&mut running.context);
        }
        Some(then)
    }

    /// What a run's end writes that has no step.
    fn close(&mut self, running: &Running, end: End) {
        let failed = end.stop_reason.status() == RunStatus::Failed;
        if self.is_first(running) {
            // Before what waits: that stays answerable.
            let waiting = Pending::of(&self.window()).map_or(0, |pending| pending.length());
            for mut input in running.inbox.messages(self.agent.id) {
                input.is_err = failed;
                let input = self.store(input, !failed && waiting == 0);
                if !failed && waiting > 0 {
                    let lane = &mut self.head.default_lane;
                    lane.insert_before(waiting, input.sequence);
                }
            }
        }
    }

    /// Writes a step, or the carrying out of an answer.
    fn commit(&mut self, running: &mut Running, commit: Commit) -> Then {
        let first = self.is_first(running);
        let in_context = !commit.failed || !commit.said.is_empty();
        let forgets = self.agent.message_buffer_autoclear && brings_words(&running.inbox);
        if first && in_context && forgets {
            let system = self.head.default_lane.first();
            self.head.default_lane.replace(system);
        }
        let settles = commit.said.iter().any(|said| !said.approvals.is_empty());
        let inputs = if first {
            running.inbox.messages(self.agent.id)
        } else {
            Vec::new()
        };
        let (before, after) = if settles {
            (Vec::new(), inputs)
        } else {
            (inputs, Vec::new())
        };
        for mut input in before {
            input.is_err = !in_context;
            self.store(input, in_context);
        }
        let mut written: Vec<Arc<Message>> = Vec::new();
        let ends = commit.said.first().map(|said| {
            let mut ends = self.message(Role::Tool);
            ends.step_id = said.step_id;
            ends.run_id = said.run_id;
            ends.model.clone_from(&said.model);
            ends
        });
        for said in commit.said {
            written.push(self.store(said, true));
        }
        if let Some(ends) = ends.filter(|_| !commit.returns.is_empty()) {
            let ends = step::tool_message(ends, &commit.first_tool, commit.returns);
            written.push(self.store(ends, true));
        }
        if let Some(reason) = commit.reminder {
            let message = self.message(Role::User);
            let message = heartbeat::message(message, &reason, clock::now(), &self.agent.timezone);
            written.push(self.store(message, true));
        }
        for input in after {
            self.store(input, in_context);
        }
        running.inbox.progress.committed_steps += 1;
        running.inbox.progress.phase = Phase::Idle;
        if settles {
            running.inbox.answer = None;
        } else {
            let replayed = written.iter().map(AsRef::as_ref);
            running.plan.rules.replay(replayed);
        }
        self.remember(running, written);
        commit.then.unwrap_or(Then::Ends)
    }

    /// What was written joins what the model reads.
    fn remember(&self, running: &mut Running, written: Vec<Arc<Message>>) {
        running.context.unstored = 0;
        let heartbeats = running.plan.turn_loop == TurnLoop::Heartbeat;
        for message in written {
            running.context.messages.push(if heartbeats {
                heartbeat::recalled(&message, running.plan.thinks_in_arguments)
            } else {
                message
            });
        }
    }

    // ── between turns

    /// A cancel says no to all that waits.
    fn deny_pending(&mut self) {
        let Some(pending) = Pending::of(&self.window()) else {
            return;
        };
        let reason = "the run was cancelled";
        let answers = Answers {
            approvals: pending.denial(reason),
            otid: None,
        };
        let words = pending.words(&answers.approvals);
        let returns = words.iter().map(|(call, _)| {
            let failure = step::denied_call(Some(reason));
            self.pack(&call.id, &ToolResult::failure(&call.name, failure))
        });
        let returns = returns.collect();
        let response = pending.response(RunId::new(), answers);
        let mut ends = self.message(Role::Tool);
        ends.step_id = response.step_id;
        ends.model.clone_from(&response.model);
        let first = words.first().map_or("", |(call, _)| &call.name);
        let ends = step::tool_message(ends, first, returns);
        self.store(response, true);
        self.store(ends, true);
    }

    fn compact(&mut self, config: LlmConfig, wanted: &Compaction) -> Broken {
        let window = self.window();
        let weigh = |message: &Arc<Message>| tokens::approximate(&format!("{message:?}")) / 8;
        let weights: Vec<u64> = window.iter().map(weigh).collect();
        let counted = window.iter().zip(&weights);
        let counted: Vec<Counted<'_>> = counted
            .map(|(message, tokens)| Counted {
                message,
                tokens: *tokens,
            })
            .collect();
        let Ok(plan) = compaction::plan(&counted, wanted.window, wanted.mode, wanted.share) else {
            return Ok(());
        };
        self.cast.check(
            &self.summariser(config, wanted, &window, &plan),
            &self.given,
        )?;
        let stats = summary::Stats::new(
            Trigger::Requested,
            wanted.window,
            (2, 1),
            (window.len(), window.len() - plan.summarise.len() + 1),
        );
        let zone = self.agent.timezone.clone();
        let summary = summary::message(self.agent.id, "So far.", Some(&stats), clock::now(), &zone);
        let summary = self.store(summary, false);
        let after = plan.apply(&window, summary);
        let sequences = after.iter().map(|message| message.sequence);
        self.head.default_lane.replace(sequences);
        self.compactions += 1;
        Ok(())
    }

    /// What the model is asked that writes the summary.
    fn summariser(
        &self,
        config: LlmConfig,
        wanted: &Compaction,
        window: &[Arc<Message>],
        plan: &compaction::Plan,
    ) -> ModelRequest {
        let evicted = &window[plan.summarise.clone()];
        let settings = &self.agent.compaction;
        if !plan.mode.asks_itself() {
            let form = compaction::request::Form::Whole;
            let now = clock::now();
            let asked =
                compaction::request::about(evicted, settings, plan.mode, form, wanted.window, now);
            return ModelRequest {
                config: Arc::new(compaction::request::plain(config)),
                system: asked.system.into(),
                messages: asked.messages,
                tools: Arc::new([]),
                choice: ToolChoice::None,
                parallel_calls: false,
                stream: false,
                user: "user-1".to_owned(),
            };
        }
        let mut context = self.context(config, &self.inbox(&[]));
        let planned = request::plan(&mut context);
        ModelRequest {
            config: context.config.clone(),
            system: context.system.clone(),
            messages: compaction::request::in_place(evicted, settings, plan.mode, clock::now()),
            tools: planned.schemas.clone(),
            choice: ToolChoice::Free,
            parallel_calls: request::parallel_calls(&context, &planned.rules),
            stream: false,
            user: "user-1".to_owned(),
        }
    }
}

/// What is written at once.
#[derive(Default)]
struct Commit {
    said: Vec<Message>,
    returns: Vec<ToolReturn>,
    first_tool: String,
    reminder: Option<String>,
    /// `None` ends the turn.
    then: Option<Then>,
    failed: bool,
}

impl Commit {
    fn ending(said: Vec<Message>) -> Self {
        Self {
            said,
            ..Self::default()
        }
    }

    fn following(decision: heartbeat::Decision) -> Self {
        match decision {
            heartbeat::Decision::GoesOn { reason } => Self {
                reminder: Some(reason),
                then: Some(Then::GoesOn),
                ..Self::default()
            },
            heartbeat::Decision::Ends(_) => Self::default(),
        }
    }
}

fn then(after: &After) -> Option<Then> {
    match after {
        After::Ends(_) => None,
        After::GoesOn | After::Owes(_) => Some(Then::GoesOn),
    }
}

/// What follows when no further step may be taken.
fn bounded(after: After, last: bool) -> After {
    match after {
        After::GoesOn | After::Owes(_) if last => After::Ends(StopReason::MaxSteps),
        after => after,
    }
}

/// New words begin a context anew; an answer to what it asked does not.
fn brings_words(inbox: &Inbox) -> bool {
    inbox.answer.is_none() && !inbox.inputs.is_empty()
}

/// An answer for each call that waits.
fn decided(pending: &Pending, words: &[Decision]) -> Vec<Approval> {
    let calls = pending.request.tool_calls.iter();
    let decided = calls.zip(words.iter().cycle()).map(|(call, word)| {
        let decision = |approve| Approval::Decision {
            tool_call_id: call.id.clone(),
            approve,
            reason: Some("for no reason".to_owned()),
        };
        match *word {
            // The client's own tools cannot run here.
            Decision::Approves if call.name == CLIENT_TOOL => decision(false),
            Decision::Approves => decision(true),
            Decision::Denies => decision(false),
            Decision::Returns { ok, image } => Approval::Return(ToolReturn {
                tool_call_id: call.id.clone(),
                status: if ok {
                    ToolStatus::Success
                } else {
                    ToolStatus::Error
                },
                output: if image {
                    ToolOutput::Parts(vec![Part::of_text("look:"), picture()])
                } else {
                    ToolOutput::Packed(String::new())
                },
                stdout: None,
                stderr: None,
            }),
        }
    });
    decided.collect()
}

fn client_tool() -> ToolSchema {
    ToolSchema {
        name: CLIENT_TOOL.to_owned(),
        description: "Asks around.".to_owned(),
        parameters: json!({"type": "object", "properties": {"whom": {"type": "string"}}, "required": []}),
    }
}

fn picture() -> Part {
    Part::Image(Image::Stored {
        file_id: None,
        media_type: Some("image/png".to_owned()),
        data: Some("QUJD".to_owned()),
        detail: None,
    })
}

impl Said {
    fn input(self) -> Input {
        let (role, content) = match self {
            Self::User(text) => (InputRole::User, vec![Part::of_text(text)]),
            Self::Image(text) => (InputRole::User, vec![Part::of_text(text), picture()]),
            Self::System(text) => (InputRole::System, vec![Part::of_text(text)]),
            Self::Assistant(text) => (InputRole::Assistant, vec![Part::of_text(text)]),
        };
        Input {
            role,
            content,
            name: None,
            otid: None,
            sender_id: None,
            group_id: None,
            batch_item_id: None,
        }
    }
}

impl CallEnd {
    fn result(self, tool: &str) -> ToolResult {
        match self {
            Self::Text(text) => ToolResult::success(Value::from(text)),
            Self::Nothing => ToolResult::success(Value::Null),
            Self::Object => ToolResult::success(json!({"found": [1, null, {"deep": true}]})),
            Self::Long => ToolResult::success(Value::from("é".repeat(6_001))),
            Self::Fails => ToolResult::failure(tool, ToolFailure::value("it does not work")),
            Self::Crashes => ToolResult::failure(tool, step::crashed_call()),
        }
    }
}
