//! Calls that wait for somebody's word: the request at the end of a context, and what its answer comes to (agent-loop §9).
//! Whether an agent waits shows in the last message of its context, and nowhere else.

use super::clock;
use super::id::{MessageId, RunId};
use super::message::{Approval, Message, Role, ToolCall, ToolReturn};
use super::run::Answers;
use std::collections::HashSet;
use std::sync::Arc;

/// Messages at the end of a context among which the return of an earlier answer is looked for.
const REMEMBERED: usize = 10;

/// A request that nobody has answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Pending {
    /// The message with the calls that wait.
    pub request: Arc<Message>,
    /// Calls of the same answer that need nobody's word, and wait with it.
    pub free: Vec<ToolCall>,
}

/// What is done about one call of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Word {
    /// The client ran it.
    Returned(ToolReturn),
    Denied(Option<String>),
    Run,
}

/// What an answer means for a context.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// It settles the request at the end; every call is named by its own id.
    Settles(Pending, Vec<Approval>),
    /// It was given before and is given again.
    Again,
}

/// Why an answer is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswer {
    #[error("Invalid tool call IDs. Expected '{}', but received '{}'.", list(.expected), list(.received))]
    OtherCalls {
        expected: Vec<String>,
        received: Vec<String>,
    },
    #[error("No tool call is currently awaiting approval")]
    NothingPending,
}

fn list(ids: &[String]) -> String {
    let quoted: Vec<String> = ids.iter().map(|id| format!("\"{id}\"")).collect();
    format!("[{}]", quoted.join(", "))
}

impl Pending {
    /// The request at the end of a context.
    pub fn of(context: &[Arc<Message>]) -> Option<Self> {
        let (request, before) = context.split_last()?;
        if request.role != Role::Approval || request.tool_calls.is_empty() {
            return None;
        }
        let sibling = before.last().filter(|message| {
            message.role == Role::Assistant
                && message.step_id.is_some()
                && message.step_id == request.step_id
        });
        Some(Self {
            request: request.clone(),
            free: sibling.map_or_else(Vec::new, |message| message.tool_calls.clone()),
        })
    }

    /// Messages at the end of the context that it takes up.
    pub fn length(&self) -> u64 {
        1 + u64::from(!self.free.is_empty())
    }

    pub fn id(&self) -> MessageId {
        self.request.id
    }

    /// Every call with what is done about it, in the order of their returns: what the client ran, what was denied, what runs.
    pub fn words(&self, answers: &[Approval]) -> Vec<(ToolCall, Word)> {
        let word = |call: &ToolCall| {
            let answer = answers
                .iter()
                .find(|answer| call_of(answer) == call.id)
                .cloned();
            let word = match answer {
                Some(Approval::Return(end)) => Word::Returned(end),
                Some(Approval::Decision {
                    approve: false,
                    reason,
                    ..
                }) => Word::Denied(reason),
                Some(Approval::Decision { approve: true, .. }) | None => Word::Run,
            };
            (call.clone(), word)
        };
        let calls = self.request.tool_calls.iter().map(word);
        let free = self.free.iter().map(|call| (call.clone(), Word::Run));
        let mut words: Vec<(ToolCall, Word)> = calls.chain(free).collect();
        words.sort_by_key(|(_, word)| match word {
            Word::Returned(_) => 0,
            Word::Denied(_) => 1,
            Word::Run => 2,
        });
        words
    }

    /// The message that holds the answer, as a part of the step that asked.
    pub fn response(&self, run: RunId, answers: Answers) -> Message {
        let mut response = Message::new(self.request.agent_id, Role::Approval, clock::now());
        response.step_id = self.request.step_id;
        response.run_id = Some(run);
        response.conversation_id = self.request.conversation_id;
        response.model.clone_from(&self.request.model);
        response.otid = Some(answers.otid.unwrap_or_else(|| response.id.piece_otid(0)));
        response.approvals = answers.approvals;
        response
    }

    /// No to every call of the request.
    pub fn denial(&self, reason: &str) -> Vec<Approval> {
        let deny = |call: &ToolCall| Approval::Decision {
            tool_call_id: call.id.clone(),
            approve: false,
            reason: Some(reason.to_owned()),
        };
        self.request.tool_calls.iter().map(deny).collect()
    }

    /// The answers by the ids of their calls. One that names the message instead is an older client's, for its only call.
    fn named(&self, answers: &[Approval]) -> Vec<Approval> {
        match (self.request.tool_calls.as_slice(), answers) {
            (
                [call],
                [
                    Approval::Decision {
                        tool_call_id,
                        approve,
                        reason,
                    },
                ],
            ) if *tool_call_id == self.request.id.to_string() => vec![Approval::Decision {
                tool_call_id: call.id.clone(),
                approve: *approve,
                reason: reason.clone(),
            }],
            _ => answers.to_vec(),
        }
    }
}

fn call_of(answer: &Approval) -> &str {
    match answer {
        Approval::Decision { tool_call_id, .. } => tool_call_id,
        Approval::Return(end) => &end.tool_call_id,
    }
}

/// What these answers mean for a context. `newest_return`: the newest stored tool message, for a context that was compacted
/// since.
///
/// # Errors
/// The answers are for other calls than those that wait, or nothing waits.
pub fn read(
    context: &[Arc<Message>],
    newest_return: Option<&Message>,
    answers: &[Approval],
) -> Result<Answer, BadAnswer> {
    let Some(pending) = Pending::of(context) else {
        return if is_repeat(context, newest_return, answers) {
            Ok(Answer::Again)
        } else {
            Err(BadAnswer::NothingPending)
        };
    };
    let answers = pending.named(answers);
    let ids = |ids: &mut dyn Iterator<Item = &str>| {
        let mut ids: Vec<String> = ids.map(str::to_owned).collect();
        ids.sort_unstable();
        ids
    };
    let calls = &pending.request.tool_calls;
    let expected = ids(&mut calls.iter().map(|call| call.id.as_str()));
    let received = ids(&mut answers.iter().map(call_of));
    if expected == received {
        Ok(Answer::Settles(pending, answers))
    } else {
        Err(BadAnswer::OtherCalls { expected, received })
    }
}

/// Whether every call that is answered has its return already.
fn is_repeat(
    context: &[Arc<Message>],
    newest_return: Option<&Message>,
    answers: &[Approval],
) -> bool {
    let bare = !context
        .iter()
        .any(|message| !matches!(message.role, Role::System | Role::Summary));
    let recent = context.iter().rev().take(REMEMBERED);
    let recent: Vec<&Message> = recent.map(AsRef::as_ref).collect();
    let ends = recent.iter().copied().chain(newest_return.filter(|_| bare));
    let answered: HashSet<&str> = answers.iter().map(call_of).collect();
    let by_call = ends.into_iter().any(|message| {
        let ids: HashSet<&str> = message
            .tool_returns
            .iter()
            .map(|end| end.tool_call_id.as_str())
            .collect();
        !answered.is_empty() && answered.is_subset(&ids)
    });
    let by_request = || {
        recent.iter().any(|message| {
            let id = message.id.to_string();
            !message.tool_calls.is_empty()
                && message.role == Role::Approval
                && answered.len() == 1
                && answered.contains(id.as_str())
        })
    };
    by_call || by_request()
}

#[cfg(test)]
mod tests;
