//! The message union: pieces of stored messages as JSON (wire-rules §10).

use super::compaction::{CompactionEvent, Stats};
use super::content::PartOut;
use crate::domain::id::{RunId, StepId};
use crate::domain::message::{Approval, Part, ToolCall, ToolOutput, ToolReturn, ToolStatus};
use crate::domain::piece::{Body, Content, Piece, return_text};
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use std::fmt::Display;

/// One message as clients read it outside of streams.
#[derive(Debug, Clone, PartialEq)]
pub struct Message(Piece);

impl From<Piece> for Message {
    fn from(piece: Piece) -> Self {
        Self(piece)
    }
}

impl Serialize for Message {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Line::of(&self.0, None).serialize(serializer)
    }
}

/// The object of one message, or of one part of a message that is still being written.
#[derive(Serialize)]
pub(super) struct Line<'a> {
    #[serde(flatten)]
    pub(super) common: Common<'a>,
    #[serde(flatten)]
    pub(super) own: Own<'a>,
}

impl<'a> Line<'a> {
    pub(super) fn of(piece: &'a Piece, seq_id: Option<u64>) -> Self {
        let common = Common {
            id: &piece.message_id,
            date: piece.created_at,
            name: piece.name.as_deref(),
            message_type: piece.body.message_type(),
            otid: piece.otid.as_deref(),
            sender_id: piece.sender_id.as_deref(),
            step_id: piece.step_id,
            is_err: piece.is_err.then_some(true),
            seq_id,
            run_id: piece.run_id,
        };
        Self {
            common,
            own: Own::from(&piece.body),
        }
    }
}

/// The keys that every message has, in their order.
#[derive(Serialize)]
pub(super) struct Common<'a> {
    #[serde(serialize_with = "text")]
    pub(super) id: &'a dyn Display,
    #[serde(serialize_with = "date")]
    pub(super) date: Timestamp,
    pub(super) name: Option<&'a str>,
    pub(super) message_type: &'static str,
    pub(super) otid: Option<&'a str>,
    pub(super) sender_id: Option<&'a str>,
    #[serde(serialize_with = "text_or_null")]
    pub(super) step_id: Option<StepId>,
    /// True or null, never false.
    pub(super) is_err: Option<bool>,
    pub(super) seq_id: Option<u64>,
    #[serde(serialize_with = "text_or_null")]
    pub(super) run_id: Option<RunId>,
}

fn text<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn text_or_null<S: Serializer>(
    value: &Option<impl Display>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}

fn date<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&super::date(*time))
}

/// The keys of one message type, after the common ones. The deprecated twins of lists are their first entries.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Own<'a> {
    Text {
        content: &'a str,
    },
    Parts {
        content: Vec<PartOut<'a>>,
    },
    Reasoning {
        source: &'static str,
        reasoning: &'a str,
        signature: Option<&'a str>,
    },
    Hidden {
        state: &'static str,
        hidden_reasoning: Option<&'a str>,
    },
    Calls {
        tool_call: Option<Call<'a>>,
        tool_calls: Vec<Call<'a>>,
    },
    Returns(Returns<'a>),
    Answers(Answers<'a>),
    Summary {
        summary: &'a str,
        compaction_stats: Option<Stats<'a>>,
    },
    Event {
        event_type: &'static str,
        event_data: CompactionEvent<'a>,
    },
    /// In deltas both keys hold the same object.
    CallDelta {
        tool_call: CallDelta<'a>,
        tool_calls: CallDelta<'a>,
    },
}

impl<'a> From<&'a Body> for Own<'a> {
    fn from(body: &'a Body) -> Self {
        match body {
            Body::System { content }
            | Body::Assistant { content }
            | Body::User {
                content: Content::Text(content),
            } => Self::Text { content },
            Body::User {
                content: Content::Parts(content),
            } => Self::Parts {
                content: parts(content),
            },
            Body::Reasoning {
                reasoning,
                native,
                signature,
            } => {
                let source = if *native {
                    "reasoner_model"
                } else {
                    "non_reasoner_model"
                };
                Self::Reasoning {
                    source,
                    reasoning,
                    signature: signature.as_deref(),
                }
            }
            Body::RedactedReasoning { data } => Self::Hidden {
                state: "redacted",
                hidden_reasoning: Some(data),
            },
            Body::OmittedReasoning => Self::Hidden {
                state: "omitted",
                hidden_reasoning: None,
            },
            Body::ToolCalls(calls) | Body::ApprovalRequest(calls) => Self::Calls {
                tool_call: calls.first().map(Call::from),
                tool_calls: calls.iter().map(Call::from).collect(),
            },
            Body::ToolReturns(returns) => Self::Returns(returns.as_slice().into()),
            Body::ApprovalResponse(approvals) => Self::Answers(approvals.as_slice().into()),
            Body::Summary { summary, stats } => Self::Summary {
                summary,
                compaction_stats: stats.as_ref().map(Stats::from),
            },
            Body::Compaction(news) => Self::Event {
                event_type: "compaction",
                event_data: news.into(),
            },
        }
    }
}

fn parts(parts: &[Part]) -> Vec<PartOut<'_>> {
    parts.iter().map(PartOut::from).collect()
}

#[derive(Serialize)]
pub(super) struct Call<'a> {
    name: &'a str,
    arguments: &'a str,
    tool_call_id: &'a str,
}

impl<'a> From<&'a ToolCall> for Call<'a> {
    fn from(call: &'a ToolCall) -> Self {
        Self {
            name: &call.name,
            arguments: &call.arguments,
            tool_call_id: &call.id,
        }
    }
}

/// What is new of a call; keys without news are left out.
#[derive(Clone, Copy, Serialize)]
pub(super) struct CallDelta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) arguments: Option<&'a str>,
    pub(super) tool_call_id: &'a str,
}

#[derive(Serialize)]
pub(super) struct Returns<'a> {
    tool_return: Option<String>,
    status: Option<&'static str>,
    tool_call_id: Option<&'a str>,
    stdout: Option<&'a [String]>,
    stderr: Option<&'a [String]>,
    tool_returns: Vec<Return<'a>>,
}

impl<'a> From<&'a [ToolReturn]> for Returns<'a> {
    fn from(returns: &'a [ToolReturn]) -> Self {
        let first = returns.first();
        Self {
            tool_return: first.map(|end| return_text(&end.output)),
            status: first.map(|end| status(end.status)),
            tool_call_id: first.map(|end| end.tool_call_id.as_str()),
            stdout: first.and_then(|end| end.stdout.as_deref()),
            stderr: first.and_then(|end| end.stderr.as_deref()),
            tool_returns: returns.iter().map(Return::from).collect(),
        }
    }
}

#[derive(Serialize)]
pub(super) struct Return<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    tool_return: Output<'a>,
    status: &'static str,
    tool_call_id: &'a str,
    stdout: Option<&'a [String]>,
    stderr: Option<&'a [String]>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Output<'a> {
    Text(String),
    Parts(Vec<PartOut<'a>>),
}

impl<'a> From<&'a ToolReturn> for Return<'a> {
    fn from(end: &'a ToolReturn) -> Self {
        Self {
            kind: "tool",
            tool_return: match &end.output {
                packed @ ToolOutput::Packed(_) => Output::Text(return_text(packed)),
                ToolOutput::Parts(content) => Output::Parts(parts(content)),
            },
            status: status(end.status),
            tool_call_id: &end.tool_call_id,
            stdout: end.stdout.as_deref(),
            stderr: end.stderr.as_deref(),
        }
    }
}

pub(super) fn status(status: ToolStatus) -> &'static str {
    match status {
        ToolStatus::Success => "success",
        ToolStatus::Error => "error",
    }
}

/// Answers to an approval request. The deprecated keys repeat the first entry if it is a decision.
#[derive(Serialize)]
pub(super) struct Answers<'a> {
    approvals: Vec<Answer<'a>>,
    approve: Option<bool>,
    approval_request_id: Option<&'a str>,
    reason: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Answer<'a> {
    Decision {
        #[serde(rename = "type")]
        kind: &'static str,
        tool_call_id: &'a str,
        approve: bool,
        reason: Option<&'a str>,
    },
    Return(Return<'a>),
}

impl<'a> From<&'a [Approval]> for Answers<'a> {
    fn from(approvals: &'a [Approval]) -> Self {
        let (approve, approval_request_id, reason) = match approvals.first() {
            Some(Approval::Decision {
                tool_call_id,
                approve,
                reason,
            }) => (
                Some(*approve),
                Some(tool_call_id.as_str()),
                reason.as_deref(),
            ),
            Some(Approval::Return(_)) | None => (None, None, None),
        };
        Self {
            approvals: approvals.iter().map(Answer::from).collect(),
            approve,
            approval_request_id,
            reason,
        }
    }
}

impl<'a> From<&'a Approval> for Answer<'a> {
    fn from(approval: &'a Approval) -> Self {
        match approval {
            Approval::Decision {
                tool_call_id,
                approve,
                reason,
            } => Self::Decision {
                kind: "approval",
                tool_call_id,
                approve: *approve,
                reason: reason.as_deref(),
            },
            Approval::Return(end) => Self::Return(end.into()),
        }
    }
}

#[cfg(test)]
mod tests;
