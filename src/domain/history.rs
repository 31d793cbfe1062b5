//! What an agent lived through: its counters and which stored messages stand in each lane's context.

use super::id::BlockId;
use super::message::Message;
use super::run::StopReason;
use jiff::Timestamp;

/// The small record that every commit of an agent rewrites.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    /// The sequence of the next message; survives deletion of the newest.
    pub next_sequence: u64,
    /// Number the next accepted run gets.
    pub next_acceptance: u64,
    /// Messages stored, in context or not; a check compares it with what can be read.
    pub stored_messages: u64,
    pub default_lane: Window,
    pub compiled: Compiled,
    /// An agent never stamps a message earlier than this.
    pub last_created_at: Timestamp,
    pub last_run_completion: Option<Timestamp>,
    pub last_run_duration_ms: Option<u64>,
    pub last_stop_reason: Option<StopReason>,
}

impl Head {
    /// Gives a message its place at the end of the history, and of the default lane's context if it belongs there. Its time
    /// is neither before the last message's nor after `now`, but for a clock that went back.
    pub fn place(&mut self, message: &mut Message, now: Timestamp, in_context: bool) {
        message.sequence = self.next_sequence;
        message.created_at = message
            .created_at
            .max(self.last_created_at)
            .min(now.max(self.last_created_at));
        message.updated_at = message.created_at;
        self.next_sequence += 1;
        self.stored_messages += 1;
        self.last_created_at = message.created_at;
        if in_context {
            self.default_lane.append(message.sequence);
        }
    }
}

/// What the system message was compiled from (decisions 33).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compiled {
    /// In prompt order.
    pub blocks: Vec<(BlockId, u64)>,
    pub prompt_revision: u64,
}

/// The in-context list of a lane, as runs of consecutive sequences in context order; the system message is first.
/// A step's commit appends, which costs nothing however long the history is; compaction and reset replace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Window {
    /// Rises when the list is replaced: a step that began before is appended after (decisions 27).
    pub version: u64,
    spans: Vec<Span>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub first: u64,
    pub count: u64,
}

impl Window {
    pub fn from_spans(version: u64, spans: Vec<Span>) -> Self {
        Self { version, spans }
    }

    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    pub fn append(&mut self, sequence: u64) {
        match self.spans.last_mut() {
            Some(last) if last.first + last.count == sequence => last.count += 1,
            _ => self.spans.push(Span {
                first: sequence,
                count: 1,
            }),
        }
    }

    /// Places a message before the last `behind` ones.
    pub fn insert_before(&mut self, behind: u64, sequence: u64) {
        let tail = self.last(behind);
        let mut left = self.len() - tail.len();
        self.spans.retain_mut(|span| {
            span.count = span.count.min(left);
            left -= span.count;
            span.count > 0
        });
        self.append(sequence);
        for sequence in tail.sequences() {
            self.append(sequence);
        }
    }

    /// A new list in place of the old one.
    pub fn replace(&mut self, sequences: impl IntoIterator<Item = u64>) {
        self.version += 1;
        self.spans.clear();
        for sequence in sequences {
            self.append(sequence);
        }
    }

    pub fn sequences(&self) -> impl Iterator<Item = u64> + '_ {
        self.spans
            .iter()
            .flat_map(|span| span.first..span.first + span.count)
    }

    pub fn contains(&self, sequence: u64) -> bool {
        let holds = |span: &Span| span.first <= sequence && sequence - span.first < span.count;
        self.spans.iter().any(holds)
    }

    pub fn len(&self) -> u64 {
        self.spans.iter().map(|span| span.count).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Its last `most` messages.
    pub fn last(&self, most: u64) -> Self {
        let mut skipped = self.len().saturating_sub(most);
        let mut spans = Vec::new();
        for span in &self.spans {
            let skip = skipped.min(span.count);
            skipped -= skip;
            if skip < span.count {
                spans.push(Span {
                    first: span.first + skip,
                    count: span.count - skip,
                });
            }
        }
        Self::from_spans(self.version, spans)
    }

    /// The sequence of the system message.
    pub fn first(&self) -> Option<u64> {
        self.spans.first().map(|span| span.first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_keeps_order_and_counts() {
        let mut window = Window::default();
        for sequence in [0, 1, 2, 5, 6, 3] {
            window.append(sequence);
        }
        assert_eq!(window.sequences().collect::<Vec<_>>(), [0, 1, 2, 5, 6, 3]);
        assert_eq!(
            (window.len(), window.spans().len(), window.version),
            (6, 3, 0)
        );
        for (most, last) in [(0, vec![]), (2, vec![6, 3]), (4, vec![2, 5, 6, 3])] {
            assert_eq!(window.last(most).sequences().collect::<Vec<_>>(), last);
        }
        assert_eq!(window.last(9), window);
        for (behind, expected) in [(0, vec![0, 1, 9]), (1, vec![0, 9, 1]), (5, vec![9, 0, 1])] {
            let mut window = Window::default();
            window.append(0);
            window.append(1);
            window.insert_before(behind, 9);
            assert_eq!(window.sequences().collect::<Vec<_>>(), expected);
        }
        window.replace([0, 9]);
        assert_eq!(
            (window.sequences().collect::<Vec<_>>(), window.version),
            (vec![0, 9], 1)
        );
    }
}
