//! What an answer leads to: words that are kept, calls that are carried out, a request that waits, the turn's end.

use super::calls::{Due, Refusal};
use super::{Draft, Settling, Turn, WorkerEnd};
use crate::actors::agent::{CallEnd, Proviso, StepCommit};
use crate::actors::run::request;
use crate::domain::agent::TurnLoop;
use crate::domain::approval::Word;
use crate::domain::clock;
use crate::domain::heartbeat;
use crate::domain::id::StepId;
use crate::domain::message::{Message, Role, ToolCall};
use crate::domain::model::{Answer, ModelErrorClass, ToolChoice};
use crate::domain::rules::{After, Called, Outcome};
use crate::domain::run::{End, ErrorClass, RunError, Step, StopReason};
use crate::domain::step::{self, Next, PlannedCall};
use serde_json::Value;
use std::collections::HashSet;

impl Turn {
    /// What an answer leads to: words, calls that are run, or a request where one of them waits.
    pub(super) async fn carry_out(
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
        let names: Vec<&str> = due.iter().map(|due| due.call.name.as_str()).collect();
        let waits: HashSet<&str> = std::iter::zip(&due, self.rules.wait(&self.waiting, &names))
            .filter(|(_, waits)| *waits)
            .map(|(due, _)| due.call.id.as_str())
            .collect();
        if waits.is_empty() {
            step::empty_unreadable(answer);
        } else {
            // Nothing is run while one call waits (agent-loop §9).
            let waits = |call: &ToolCall| waits.contains(call.id.as_str());
            let said = step::request_messages(message, answer, waits);
            let after = After::Ends(StopReason::RequiresApproval);
            return Ok(StepOutcome::of_words(said, &after));
        }
        let said: Vec<Message> = step::assistant_message(message, answer)
            .into_iter()
            .collect();
        let ends = self.run_tools(Some(&mut draft.step), &said, due).await?;
        let called: Vec<Called> = ends.iter().map(|(_, called)| called.clone()).collect();
        let after = self.bounded(self.rules.after(&called), last);
        Ok(StepOutcome {
            proviso: self.proviso(&after, &ends, last),
            calls: ends.into_iter().map(|(end, _)| end).collect(),
            ..StepOutcome::of_words(said, &after)
        })
    }

    /// What an answer of the heartbeat loop leads to: its one call, or a request where that waits (agent-loop §13).
    pub(super) async fn carry_out_one(
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
        let ends = self.run_tools(Some(&mut draft.step), &said, due).await?;
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
    pub(super) async fn settle(
        &mut self,
        settling: Settling,
        number: u64,
    ) -> Result<Option<StopReason>, WorkerEnd> {
        let Settling {
            pending,
            answers,
            follow_ups,
            before,
        } = settling;
        let asks = request::asks(&pending);
        let mut refused = self.refused_of_free(&pending, &before);
        let due = pending.words(&answers.approvals);
        let due = due.into_iter().map(|(call, word)| Due {
            call: PlannedCall::read(&call),
            refused: match word {
                Word::Run => refused.remove(&call.id),
                Word::Denied(reason) => Some(Refusal::Denied(step::denied_call(reason.as_deref()))),
                Word::Returned(end) => Some(Refusal::Returned(end)),
            },
        });
        let due = due.collect();
        let said = vec![pending.response(self.record.id, answers)];
        let ends = self.run_tools(None, &said, due).await?;
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
        // What edits came to shows in the returns alone; the names of the calls stand in what was asked.
        let asked = usize::try_from(pending.length()).unwrap_or(usize::MAX);
        let asked = self.context.messages.len().saturating_sub(asked);
        let asked = self.context.messages[asked..].iter();
        self.rules
            .replay(asked.chain(&committed.messages).map(AsRef::as_ref));
        self.remember(committed.messages);
        self.context.messages.extend(follow_ups);
        Ok(committed.stop)
    }

    /// The calls on whose success an end rests, and what follows if none of them succeeds: what an edit of memory comes to
    /// is known when it is committed.
    fn proviso(&self, decided: &After, calls: &[(CallEnd, Called)], last: bool) -> Option<Proviso> {
        ends(decided)?;
        let failed = calls.iter().map(|(end, called)| Called {
            tool: called.tool.clone(),
            outcome: if end.result.edits() {
                Outcome::Failed(Value::Null)
            } else {
                called.outcome.clone()
            },
        });
        let failed: Vec<Called> = failed.collect();
        let otherwise = self.bounded(self.rules.after(&failed), last);
        // Another edit that succeeds beside it is not the end that was meant.
        let meant =
            |(end, called): &&(CallEnd, Called)| end.result.edits() && self.rules.ends(called);
        let meant = calls.iter().filter(meant);
        (otherwise != *decided).then(|| Proviso {
            calls: meant.map(|(end, _)| end.call_id.clone()).collect(),
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
}

/// What a step, or an answer to a request, comes to before it is committed.
pub(super) struct StepOutcome {
    said: Vec<Message>,
    calls: Vec<CallEnd>,
    /// With which the turn ends.
    pub(super) stop: Option<StopReason>,
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

    pub(super) fn commit(self, turn: &Turn, step: Option<Step>, step_id: StepId) -> StepCommit {
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

/// The reason with which the turn ends.
fn ends(after: &After) -> Option<StopReason> {
    match after {
        After::Ends(reason) => Some(*reason),
        After::GoesOn | After::Owes(_) => None,
    }
}
