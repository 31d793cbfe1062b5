//! When a context is too full, which of its messages are summarised and which stay, and whether the outcome may replace
//! what was there. Decisions only: the model is called by the worker, the window is replaced by the agent.
//!
//! `request` says what the summariser is asked, `summary` how its answer is stored and read back.

use super::agent::{CompactionChange, CompactionMode, CompactionSettings};
use super::error::Kind;
use super::id::MessageId;
use super::message::{Message, Role};
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

pub mod request;
pub mod summary;

/// Why a context is compacted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trigger {
    /// The last call came close to the window.
    PostStepCheck,
    /// The provider refused the request for its size.
    Overflow,
    /// Somebody asked for it.
    Requested,
}

impl Trigger {
    pub fn name(self) -> &'static str {
        match self {
            Self::PostStepCheck => "post_step_context_check",
            Self::Overflow => "context_window_exceeded",
            Self::Requested => "requested",
        }
    }
}

/// Tokens from which on a context counts as full: nine tenths of the window.
pub fn threshold(window: u64) -> u64 {
    let tenth = window / 10;
    // Not `window * 9 / 10`: a window has no upper bound.
    window - tenth - u64::from(!window.is_multiple_of(10))
}

/// Whether a context is to be compacted after a call that cost this many tokens in all.
pub fn due(total_tokens: u64, window: u64) -> bool {
    total_tokens > threshold(window)
}

/// The settings of one request: those of the agent, but for what was sent.
pub fn overridden(
    settings: &CompactionSettings,
    change: Option<CompactionChange>,
) -> CompactionSettings {
    let mut settings = settings.clone();
    if let Some(change) = change {
        change.apply(&mut settings);
    }
    settings
}

impl CompactionMode {
    /// Whether the newer messages stay as they are.
    pub fn keeps_recent(self) -> bool {
        matches!(self, Self::SlidingWindow | Self::SelfCompactSlidingWindow)
    }

    /// Whether the agent's own model writes the summary, in place.
    pub fn asks_itself(self) -> bool {
        matches!(self, Self::SelfCompactAll | Self::SelfCompactSlidingWindow)
    }

    /// What is tried when this mode gave no usable summary.
    pub fn fallback(self) -> Option<Self> {
        match self {
            Self::SelfCompactAll => Some(Self::SelfCompactSlidingWindow),
            Self::SelfCompactSlidingWindow | Self::SlidingWindow => Some(Self::All),
            Self::All => None,
        }
    }
}

/// A message of the context and what it costs.
#[derive(Debug, Clone, Copy)]
pub struct Counted<'a> {
    pub message: &'a Message,
    pub tokens: u64,
}

/// Which messages of a context give way to a summary. Ranges are positions in the context; what stands before
/// `summarise` is the system message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The mode that this plan follows: the one asked for, or `All` where that found no cut.
    pub mode: CompactionMode,
    /// At least two messages: the summary takes the place of one.
    pub summarise: Range<usize>,
    pub keep: Range<usize>,
}

impl Plan {
    /// The new context: system message, summary, what was kept.
    pub fn apply<T: Clone>(&self, context: &[T], summary: T) -> Vec<T> {
        let mut after = context[..self.summarise.start].to_vec();
        after.push(summary);
        after.extend_from_slice(&context[self.keep.clone()]);
        after
    }

    /// What gives way to the summary.
    pub fn evicted(&self, context: &[Arc<Message>]) -> HashSet<MessageId> {
        let gone = |place: &usize| *place >= self.summarise.start && !self.keep.contains(place);
        let places = (0..context.len()).filter(gone);
        places.map(|place| context[place].id).collect()
    }

    /// Tokens of the messages that stay, the system message included.
    pub fn kept_tokens(&self, context: &[Counted<'_>]) -> u64 {
        let stays = context[..self.summarise.start]
            .iter()
            .chain(&context[self.keep.clone()]);
        stays.map(|counted| counted.tokens).sum()
    }
}

/// Why a context cannot be made shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoPlan {
    #[error("there is nothing to summarise: the context holds its system message only")]
    Empty,
    /// It stands at this position.
    #[error("there is nothing to summarise: the context holds a summary only")]
    OnlySummary(usize),
    #[error(
        "there is too little to summarise: {0} message(s) could be left out and the summary would take the place of one"
    )]
    TooShort(usize),
}

impl NoPlan {
    pub fn kind(self) -> Kind {
        Kind::Argument
    }
}

/// Chooses what to summarise. `context` begins with its system message; `share` is the part of the messages that a
/// sliding window starts with, 0 to 1.
///
/// # Errors
/// See `NoPlan`.
pub fn plan(
    context: &[Counted<'_>],
    window: u64,
    mode: CompactionMode,
    share: f64,
) -> Result<Plan, NoPlan> {
    let shape = Shape::of(context);
    let (first, end) = (shape.first, context.len());
    match &context[first..] {
        [] => return Err(NoPlan::Empty),
        [only] if summary::is(only.message) => return Err(NoPlan::OnlySummary(first)),
        _ => (),
    }
    let sliding = mode.keeps_recent();
    if let Some(cut) = sliding
        .then(|| sliding_cut(context, &shape, window, share))
        .flatten()
    {
        return Ok(Plan {
            mode,
            summarise: first..cut,
            keep: cut..end,
        });
    }
    let evicted = shape.pending - first;
    if evicted < MIN_EVICTED {
        return Err(NoPlan::TooShort(evicted));
    }
    Ok(Plan {
        mode: if sliding { CompactionMode::All } else { mode },
        summarise: first..shape.pending,
        keep: shape.pending..end,
    })
}

/// The summary adds a message, so that many have to go.
const MIN_EVICTED: usize = 2;

/// The first position that is kept, or `None` when no cut leaves few enough tokens (providers-and-context §10). The
/// share grows by tenths until what is kept fits; the whole list is tried last.
fn sliding_cut(context: &[Counted<'_>], shape: &Shape, window: u64, share: f64) -> Option<usize> {
    let count = context.len();
    let share = if share.is_finite() {
        share.clamp(0.0, 1.0)
    } else {
        0.3
    };
    let goal = (1.0 - share) * window as f64;
    let system: u64 = context[..shape.first].iter().map(|of| of.tokens).sum();
    let kept = tokens_from(context);
    // Cutting at the last message, or between the pending calls and what led to them, is what `All` does.
    let last = if shape.pending < count {
        shape.pending.min(count.saturating_sub(2))
    } else {
        count.saturating_sub(1)
    };
    let cuts: Vec<usize> = (shape.first + MIN_EVICTED..last)
        .filter(|cut| shape.may_cut[*cut])
        .collect();
    let shares = (0..).map(|tenths| share + f64::from(tenths) * 0.1);
    let below_one = |share: &f64| *share < 1.0;
    for share in shares.take_while(below_one).chain([1.0]) {
        let furthest = (share * count as f64).round_ties_even() as usize;
        let cut = cuts.iter().rev().find(|cut| **cut <= furthest);
        let fits = |cut: &&usize| ((system + kept[**cut]) as f64) < goal;
        if let Some(cut) = cut.filter(fits) {
            return Some(*cut);
        }
    }
    None
}

/// For each position the tokens from there to the end.
fn tokens_from(context: &[Counted<'_>]) -> Vec<u64> {
    let mut sums = vec![0; context.len() + 1];
    for (at, counted) in context.iter().enumerate().rev() {
        sums[at] = sums[at + 1] + counted.tokens;
    }
    sums
}

/// Where a context may be cut.
struct Shape {
    /// The first message after the system message.
    first: usize,
    /// The first message of a step whose calls wait for an answer; the length when none does.
    pending: usize,
    /// Whether the list may begin at a position: with something the model said, and with no return whose call is left
    /// behind.
    may_cut: Vec<bool>,
}

impl Shape {
    fn of(context: &[Counted<'_>]) -> Self {
        let messages: Vec<&Message> = context.iter().map(|counted| counted.message).collect();
        let first = usize::from(
            messages
                .first()
                .is_some_and(|message| message.role == Role::System),
        );
        let inside = inside_calls(&messages);
        let may_cut = |at: usize| {
            let said = messages[at].role == Role::Assistant || is_request(messages[at]);
            said && !inside[at] && !(at > first && same_answer(messages[at - 1], messages[at]))
        };
        Self {
            first,
            pending: pending(&messages, first),
            may_cut: (0..messages.len()).map(may_cut).collect(),
        }
    }
}

fn is_request(message: &Message) -> bool {
    message.role == Role::Approval && !message.tool_calls.is_empty()
}

fn is_response(message: &Message) -> bool {
    message.role == Role::Approval && message.tool_calls.is_empty()
}

/// Whether an approval request belongs to the answer that the message before it holds: its free calls, or its text.
fn same_answer(before: &Message, message: &Message) -> bool {
    let one_step = before.step_id.is_some() && before.step_id == message.step_id;
    let said = before.role == Role::Assistant || is_request(before);
    is_request(message) && said && (one_step || !before.tool_calls.is_empty())
}

/// For each position whether a call stands before it and the call's return at it or after it. An id that is called again
/// means the newer call.
fn inside_calls(messages: &[&Message]) -> Vec<bool> {
    let mut opened: HashMap<&str, usize> = HashMap::new();
    let mut starts_and_ends = vec![0_i64; messages.len() + 1];
    for (at, message) in messages.iter().enumerate() {
        for end in &message.tool_returns {
            if let Some(call) = opened.get(end.tool_call_id.as_str()) {
                starts_and_ends[call + 1] += 1;
                starts_and_ends[at + 1] -= 1;
            }
        }
        opened.extend(message.tool_calls.iter().map(|call| (call.id.as_str(), at)));
    }
    let depth = starts_and_ends.iter().scan(0, |depth, change| {
        *depth += change;
        Some(*depth > 0)
    });
    depth.take(messages.len()).collect()
}

/// Where the calls begin that nobody has answered yet. Everything from there on stays: the approval request, the free
/// calls of the same answer, and an approval that has not been acted on.
fn pending(messages: &[&Message], first: usize) -> usize {
    let back_while = |from: usize, holds: &dyn Fn(usize) -> bool| {
        (first..from)
            .rev()
            .take_while(|at| holds(*at))
            .last()
            .unwrap_or(from)
    };
    let calls = |at: usize| {
        matches!(messages[at].role, Role::Assistant | Role::Approval)
            && !messages[at].tool_calls.is_empty()
    };
    let responses = back_while(messages.len(), &|at| is_response(messages[at]));
    let start = back_while(responses, &calls);
    if start == responses {
        return messages.len();
    }
    let text_before = start > first && same_answer(messages[start - 1], messages[start]);
    start - usize::from(text_before)
}

/// Tokens around a compaction, by one counter: system message, messages and tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    pub before: u64,
    pub after: u64,
    /// The system message alone.
    pub system: u64,
    pub window: u64,
}

/// What becomes of a summary that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It replaces what it summarises.
    Replace,
    /// The context is still full: summarise all of what is left.
    AllOfTheRest,
    /// It would not make the context smaller: nothing is replaced.
    NotSmaller,
    /// Nothing that is left out can help: the system message alone fills the window.
    SystemTooLarge,
}

/// Judges a summary. Who asks for a compaction gets fewer messages, which a plan grants; without being asked a context
/// is only ever replaced by a smaller one.
pub fn judge(mode: CompactionMode, trigger: Trigger, sizes: &Sizes) -> Verdict {
    let still_full = sizes.after >= threshold(sizes.window);
    if still_full && mode.keeps_recent() {
        Verdict::AllOfTheRest
    } else if still_full && sizes.system >= sizes.window {
        Verdict::SystemTooLarge
    } else if trigger != Trigger::Requested && sizes.after >= sizes.before {
        Verdict::NotSmaller
    } else {
        Verdict::Replace
    }
}

/// How often one lane may try to make room: a bound within each step, and a growing pause after failures in a row, so that
/// a summariser that does not work is not paid for at every step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Breaker {
    tries: u8,
    failures: u8,
    pause: u32,
}

impl Breaker {
    /// Compactions within one step, for requests that the provider refused for their size.
    pub const TRIES: u8 = 3;
    /// Failures in a row from which on checks are left out.
    pub const TRIPS_AT: u8 = 3;
    const LONGEST_PAUSE: u32 = 32;

    pub fn step_began(&mut self) {
        self.tries = 0;
    }

    /// The provider refused a request for its size: whether to compact and try again. While the breaker is open, once.
    pub fn overflowed(&mut self) -> bool {
        let allowed = if self.is_open() { 1 } else { Self::TRIES };
        let again = self.tries < allowed;
        self.tries += u8::from(again);
        again
    }

    /// A compaction is due between steps: whether to try it now.
    pub fn may_check(&mut self) -> bool {
        let now = self.pause == 0;
        self.pause = self.pause.saturating_sub(1);
        now
    }

    /// How the next try is made: where the provider refused a compacted context as well, nothing recent is kept.
    pub fn mode(&self, asked: CompactionMode) -> CompactionMode {
        if self.tries > 1 {
            CompactionMode::All
        } else {
            asked
        }
    }

    pub fn succeeded(&mut self) {
        self.failures = 0;
        self.pause = 0;
    }

    pub fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
        if self.is_open() {
            let doublings = u32::from(self.failures - Self::TRIPS_AT);
            self.pause = 1_u32
                .checked_shl(doublings)
                .unwrap_or(Self::LONGEST_PAUSE)
                .min(Self::LONGEST_PAUSE);
        }
    }

    pub fn is_open(&self) -> bool {
        self.failures >= Self::TRIPS_AT
    }
}

#[cfg(test)]
mod tests;
