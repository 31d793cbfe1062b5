//! What a run shows while it goes: numbered frames that every reader sees alike (decisions 31).

use super::id::{MessageId, PingId, RunId, StepId};
use super::model::{Delta, Usage};
use super::piece::Piece;
use super::run::{RunError, StopReason};
use jiff::Timestamp;

#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    /// The first frame of a stream: the run's id.
    Ping {
        id: PingId,
        run_id: RunId,
        date: Timestamp,
    },
    /// A committed message, or one piece of it.
    Piece(Piece),
    Delta(DeltaFrame),
    Stop(StopReason),
    Usage {
        usage: Usage,
        steps: u64,
        context_tokens: Option<u64>,
    },
    Error {
        run_id: RunId,
        error: RunError,
    },
    Done,
}

/// A piece of a message that is still being written. All deltas of one piece share `message_id` and `index`.
#[derive(Debug, Clone, PartialEq)]
pub struct DeltaFrame {
    pub message_id: MessageId,
    pub run_id: RunId,
    pub step_id: StepId,
    pub date: Timestamp,
    /// Grows each time the kind of piece changes; gives the `otid`.
    pub index: u8,
    /// Part of a call that waits for somebody's word: `message_id` is the request's, and so is the `otid`.
    pub waits: bool,
    pub delta: Delta,
}

impl DeltaFrame {
    /// Takes up the next delta of the same piece, up to `most` bytes together; else gives it back.
    pub fn join(&mut self, next: Self, most: usize) -> Option<Self> {
        let same_place = (self.message_id, self.step_id, self.index, self.waits)
            == (next.message_id, next.step_id, next.index, next.waits);
        let (text, more) = match (&mut self.delta, &next.delta) {
            (Delta::Text(text), Delta::Text(more))
            | (Delta::Reasoning(text), Delta::Reasoning(more))
            | (Delta::Thought(text), Delta::Thought(more)) => (text, more),
            (
                Delta::CallArguments { call_id, fragment },
                Delta::CallArguments {
                    call_id: same,
                    fragment: more,
                },
            ) if call_id == same => (fragment, more),
            _ => return Some(next),
        };
        if !same_place || text.len() + more.len() > most {
            return Some(next);
        }
        text.push_str(more);
        None
    }

    /// The message type this is a part of, as filters name it.
    pub fn message_type(&self) -> &'static str {
        match self.delta {
            Delta::Text(_) => "assistant_message",
            Delta::Reasoning(_) | Delta::Thought(_) => "reasoning_message",
            Delta::OmittedReasoning | Delta::RedactedReasoning(_) => "hidden_reasoning_message",
            Delta::CallName { .. } | Delta::CallArguments { .. } if self.waits => {
                "approval_request_message"
            }
            Delta::CallName { .. } | Delta::CallArguments { .. } => "tool_call_message",
        }
    }
}

/// Numbers the deltas of one message by the piece that they are a part of, as `piece::pieces` numbers those of the stored
/// message: what a model thinks in its own channel and what it thinks in words are two pieces of one message type.
#[derive(Debug, Default)]
pub struct PieceIndex {
    index: u8,
    kind: Option<Kind>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Reasoning,
    Thought,
    Hidden,
    Call,
}

impl PieceIndex {
    pub fn of(&mut self, delta: &Delta) -> u8 {
        let kind = match delta {
            Delta::Text(_) => Kind::Text,
            Delta::Reasoning(_) => Kind::Reasoning,
            Delta::Thought(_) => Kind::Thought,
            Delta::OmittedReasoning | Delta::RedactedReasoning(_) => Kind::Hidden,
            Delta::CallName { .. } | Delta::CallArguments { .. } => Kind::Call,
        };
        if self.kind.is_some_and(|before| before != kind) {
            self.index = self.index.saturating_add(1).min(127);
        }
        self.kind = Some(kind);
        self.index
    }
}
