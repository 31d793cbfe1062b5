//! Carrying out calls: what is refused, what runs together, what is journalled before it starts.

use super::host::{self, AgentHost};
use super::{Turn, WorkerEnd, nanos};
use crate::actors::agent::{self, CallEnd, CallResult};
use crate::actors::ask::tell;
use crate::actors::run::Msg as RunMsg;
use crate::domain::approval::Pending;
use crate::domain::clock;
use crate::domain::id::StepId;
use crate::domain::message::{Message, ToolReturn};
use crate::domain::model::Answer;
use crate::domain::rules::{self, Called, Outcome};
use crate::domain::run::Step;
use crate::domain::step::{self, PlannedCall};
use crate::domain::tokens;
use crate::domain::tool::{Effects, ToolFailure, ToolResult};
use crate::tools::{Tool, Work};
use futures_util::future::join_all;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

impl Turn {
    /// Each call of an answer, with why it is not run; the arguments that rules fix are in it and in the answer.
    pub(super) fn hold_against_rules(
        &self,
        answer: &mut Answer,
        planned: Vec<PlannedCall>,
    ) -> Vec<Due> {
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

    /// Why calls that need nobody's word, and waited beside others that do, are not run now either: they are held once more
    /// against the rules as those were when the model made them. `before`: what the turn had committed until then.
    pub(super) fn refused_of_free(
        &self,
        pending: &Pending,
        before: &[Arc<Message>],
    ) -> HashMap<String, Refusal> {
        let mut rules = self.rules.clone();
        rules.replay(before.iter().map(AsRef::as_ref));
        let names = pending.free.iter().map(|call| call.name.as_str());
        let violations = rules.violations(names);
        let refused = pending
            .free
            .iter()
            .zip(violations)
            .filter_map(|(call, violation)| {
                let refusal = match violation {
                    Some(failure) => Some(Refusal::NotRun(failure)),
                    None => rules
                        .fill(&call.name, Map::new())
                        .err()
                        .map(Refusal::Misfilled),
                };
                Some((call.id.clone(), refusal?))
            });
        refused.collect()
    }

    /// Carries out calls: those that may run together first, the rest one by one; ends in call order. `step`: the step that
    /// made them; `None` for calls of an earlier one that an answer let through.
    pub(super) async fn run_tools(
        &self,
        step: Option<&mut Step>,
        said: &[Message],
        due: Vec<Due>,
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
                step: step.as_deref().cloned().map(Box::new),
                said: said_now,
                calls,
            },
        );
        let started = Instant::now();
        let mut ends = Vec::with_capacity(due.len());
        let (together, one_by_one): (Vec<Due>, Vec<Due>) = due
            .into_iter()
            .partition(|due| self.runs_together(&due.call.name));
        let step_id = step.as_ref().map(|step| step.id);
        let origin = step_id.as_ref().zip(said.first());
        let together = together.into_iter().map(|due| self.call(origin, due));
        for end in join_all(together).await {
            ends.push(end?);
        }
        for due in one_by_one {
            ends.push(self.call(origin, due).await?);
        }
        ends.sort_by_key(|(end, _)| order.get(&end.call_id).copied());
        if let Some(step) = step {
            step.timing.tool_execution_ns = Some(nanos(started.elapsed()));
        }
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

    async fn execute(&self, name: &str, arguments: Map<String, Value>) -> CallResult {
        let Some(tool) = self.tool(name) else {
            return CallResult::Ended(ToolResult::failure(name, self.unknown_tool(name)));
        };
        let host = AgentHost::new(
            &self.house,
            &self.context.agent,
            self.record.lane(),
            self.record.chain(),
        );
        match host::start(&**tool, arguments, host) {
            Work::Done(result) => CallResult::Ended(result),
            Work::Edit(edit) => CallResult::Edit(edit),
            Work::Wait(work) => CallResult::Ended(host::outcome(name, work).await),
        }
    }

    /// For a call that was let through although no tool here answers to its name.
    fn unknown_tool(&self, name: &str) -> ToolFailure {
        ToolFailure {
            name: "ToolConstraintError".into(),
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
}

/// A call that is about to be carried out, or why it is not.
pub(super) struct Due {
    pub(super) call: PlannedCall,
    pub(super) refused: Option<Refusal>,
}

/// Why a call is not carried out, and what stands in the place of its end.
pub(super) enum Refusal {
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
