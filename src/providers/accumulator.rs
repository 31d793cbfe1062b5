//! Puts an answer together from its pieces, whether they come one by one or all at once: a streamed and a blocking
//! call of the same model store the same message.

use crate::domain::message::{Part, SUMMARY_GAP, ToolCall};
use crate::domain::model::{Answer, Delta, Finish, Trace, Usage};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use uuid::Uuid;

/// Bytes of text, reasoning, names and arguments that one answer may hold: fewer than a record on disk may have.
pub(crate) const MAX_ANSWER_BYTES: usize = 12 * 1024 * 1024;
/// The last summary of one piece of reasoning that is kept; models give a handful.
const MAX_SUMMARIES: usize = 1_000;
/// Calls that one answer may make; more is a model that repeats itself.
const MAX_CALLS: usize = 1_024;

/// Why the pieces are no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Misfit {
    #[error("an answer with neither text nor a tool call")]
    Empty,
    #[error("an answer of more than {} MiB", MAX_ANSWER_BYTES / (1024 * 1024))]
    TooLarge,
    #[error("more than {MAX_CALLS} calls of tools")]
    TooManyCalls,
}

/// An answer that is still coming in. Deltas are passed on as soon as they may be.
pub(crate) struct Accumulator<'d> {
    deltas: &'d mut (dyn FnMut(Delta) + Send),
    /// By slot: the dialect numbers its parts in the order in which they are stored, however they arrive.
    parts: BTreeMap<u32, Part>,
    /// In order of arrival; by index in the end.
    calls: Vec<OpenCall>,
    finish: Option<Finish>,
    usage: Usage,
    bytes: usize,
    emitted: bool,
    /// The last delta was of reasoning.
    thinking: bool,
}

/// One fragment of a call, as dialects send them: every field may be missing.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CallFragment<'a> {
    pub(crate) index: Option<u64>,
    pub(crate) id: Option<&'a str>,
    pub(crate) name: Option<&'a str>,
    pub(crate) arguments: &'a str,
}

#[derive(Debug, Default)]
struct OpenCall {
    index: Option<u64>,
    /// As the provider calls it.
    given_id: String,
    /// The same, unless another call of the answer has it.
    id: String,
    name: String,
    arguments: String,
    /// Bytes of `arguments` that were passed on; `None` while the call has no id or no name to show them under.
    shown: Option<usize>,
}

impl<'d> Accumulator<'d> {
    pub(crate) fn new(deltas: &'d mut (dyn FnMut(Delta) + Send)) -> Self {
        Self {
            deltas,
            parts: BTreeMap::new(),
            calls: Vec::new(),
            finish: None,
            usage: Usage::default(),
            bytes: 0,
            emitted: false,
            thinking: false,
        }
    }

    /// Whether somebody has seen a delta: from then on the call must not be repeated.
    pub(crate) fn emitted(&self) -> bool {
        self.emitted
    }

    /// Whether the model said why it stopped.
    pub(crate) fn is_finished(&self) -> bool {
        self.finish.is_some()
    }

    /// More text of the part in `slot`.
    pub(crate) fn text(&mut self, slot: u32, fragment: &str) -> Result<(), Misfit> {
        if fragment.is_empty() {
            return Ok(());
        }
        self.count(fragment.len())?;
        match self.parts.get_mut(&slot) {
            Some(Part::Text { text, .. }) => text.push_str(fragment),
            _ => drop(self.parts.insert(slot, Part::of_text(fragment))),
        }
        self.emit(Delta::Text(fragment.to_owned()));
        Ok(())
    }

    /// More shown reasoning of the part in `slot`; takes the place of omitted reasoning there.
    pub(crate) fn reasoning(&mut self, slot: u32, fragment: &str) -> Result<(), Misfit> {
        if fragment.is_empty() {
            return Ok(());
        }
        self.count(fragment.len())?;
        if let Some(Part::Reasoning { reasoning, .. }) = self.parts.get_mut(&slot) {
            reasoning.push_str(fragment);
        } else {
            let part = Part::Reasoning {
                native: true,
                reasoning: fragment.to_owned(),
                signature: None,
            };
            self.parts.insert(slot, part);
        }
        self.emit(Delta::Reasoning(fragment.to_owned()));
        Ok(())
    }

    /// Notes that the model thought and kept it to itself, unless `slot` already says what it thought.
    pub(crate) fn omitted_reasoning(&mut self, slot: u32) {
        if let Entry::Vacant(slot) = self.parts.entry(slot) {
            slot.insert(Part::OmittedReasoning { signature: None });
            self.emit(Delta::OmittedReasoning);
        }
    }

    /// Thinking that only the provider can read.
    pub(crate) fn redacted_reasoning(&mut self, slot: u32, data: &str) -> Result<(), Misfit> {
        self.count(data.len())?;
        let data = data.to_owned();
        self.parts
            .insert(slot, Part::RedactedReasoning { data: data.clone() });
        self.emit(Delta::RedactedReasoning(data));
        Ok(())
    }

    /// More of the signature of the text or reasoning in `slot`; a signature alone stands for thinking that was not shown.
    pub(crate) fn signature(&mut self, slot: u32, fragment: &str) -> Result<(), Misfit> {
        if fragment.is_empty() {
            return Ok(());
        }
        self.count(fragment.len())?;
        let part = self
            .parts
            .entry(slot)
            .or_insert(Part::OmittedReasoning { signature: None });
        if let Part::Text { signature, .. }
        | Part::Reasoning { signature, .. }
        | Part::OmittedReasoning { signature } = part
        {
            signature.get_or_insert_default().push_str(fragment);
        }
        Ok(())
    }

    /// Reasoning of which the provider gives summaries, under the id by which it is replayed.
    pub(crate) fn summarized_reasoning(
        &mut self,
        slot: u32,
        id: &str,
        encrypted: Option<&str>,
    ) -> Result<(), Misfit> {
        self.count(id.len() + encrypted.map_or(0, str::len))?;
        let vacant = Part::SummarizedReasoning {
            id: String::new(),
            summary: Vec::new(),
            encrypted_content: None,
        };
        if let Part::SummarizedReasoning {
            id: known,
            encrypted_content,
            ..
        } = self.parts.entry(slot).or_insert(vacant)
        {
            set_once(known, id);
            if encrypted.is_some() {
                *encrypted_content = encrypted.map(str::to_owned);
            }
        }
        Ok(())
    }

    /// More of the `index`-th summary of the reasoning in `slot`. Readers see a summary that directly follows other
    /// reasoning after a blank line.
    pub(crate) fn summary(
        &mut self,
        slot: u32,
        index: usize,
        fragment: &str,
    ) -> Result<(), Misfit> {
        if fragment.is_empty() || index > MAX_SUMMARIES {
            return Ok(());
        }
        self.summarized_reasoning(slot, "", None)?;
        self.count(fragment.len())?;
        let Some(Part::SummarizedReasoning { summary, .. }) = self.parts.get_mut(&slot) else {
            return Ok(());
        };
        if summary.len() <= index {
            summary.resize(index + 1, String::new());
        }
        let follows = self.thinking && summary[index].is_empty();
        summary[index].push_str(fragment);
        let gap = if follows { SUMMARY_GAP } else { "" };
        self.emit(Delta::Reasoning(format!("{gap}{fragment}")));
        Ok(())
    }

    /// A fragment of a call. Deltas are held until the call has an id and a name.
    pub(crate) fn call(&mut self, fragment: CallFragment<'_>) -> Result<(), Misfit> {
        let (id, name) = (fragment.id.unwrap_or(""), fragment.name.unwrap_or(""));
        self.count(id.len() + name.len() + fragment.arguments.len())?;
        let at = match self.position(&fragment) {
            Some(at) => at,
            None if self.calls.len() == MAX_CALLS => return Err(Misfit::TooManyCalls),
            None => {
                self.calls.push(OpenCall {
                    index: fragment.index,
                    ..OpenCall::default()
                });
                self.calls.len() - 1
            }
        };
        if self.calls[at].id.is_empty() && !id.is_empty() {
            self.calls[at].id = self.unique(id);
        }
        let call = &mut self.calls[at];
        set_once(&mut call.given_id, id);
        set_once(&mut call.name, name);
        call.arguments.push_str(fragment.arguments);
        if !call.id.is_empty() && !call.name.is_empty() {
            self.show(at);
        }
        Ok(())
    }

    /// Which call a fragment goes on with. An index may be missing, or be the same for calls whose ids differ
    /// (Ollama numbered all parallel calls 0); a fragment with neither index nor id goes on with the last call,
    /// unless it has a name of its own.
    fn position(&self, fragment: &CallFragment<'_>) -> Option<usize> {
        let id = fragment.id.filter(|id| !id.is_empty());
        let same_id =
            |call: &OpenCall| id.is_none_or(|id| call.given_id.is_empty() || call.given_id == id);
        match (fragment.index, id) {
            (Some(index), _) => {
                let at = self
                    .calls
                    .iter()
                    .rposition(|call| call.index == Some(index))?;
                same_id(&self.calls[at]).then_some(at)
            }
            (None, Some(id)) => self.calls.iter().rposition(|call| call.given_id == id),
            (None, None) if fragment.name.is_some_and(|name| !name.is_empty()) => None,
            (None, None) => self.calls.len().checked_sub(1),
        }
    }

    /// An id that no other call of the answer has: what is shown of a call and what is stored have the same.
    fn unique(&self, id: &str) -> String {
        let same = self.calls.iter().filter(|call| call.given_id == id).count();
        let taken = |id: &str| self.calls.iter().any(|call| call.id == id);
        let (mut unique, mut number) = (id.to_owned(), same.max(1));
        while taken(&unique) {
            number += 1;
            unique = format!("{id}_{number}");
        }
        unique
    }

    fn show(&mut self, at: usize) {
        let OpenCall {
            id,
            name,
            arguments,
            shown,
            ..
        } = &mut self.calls[at];
        let from = *shown.get_or_insert_with(|| {
            (self.deltas)(Delta::CallName {
                call_id: id.clone(),
                name: name.clone(),
            });
            0
        });
        self.emitted = true;
        self.thinking = false;
        if from < arguments.len() {
            (self.deltas)(Delta::CallArguments {
                call_id: id.clone(),
                fragment: arguments[from..].to_owned(),
            });
            *shown = Some(arguments.len());
        }
    }

    pub(crate) fn finish(&mut self, finish: Finish) {
        self.finish = Some(finish);
    }

    /// The counts so far: a later report replaces an earlier one.
    pub(crate) fn usage(&mut self, usage: Usage) {
        self.usage = usage;
    }

    fn emit(&mut self, delta: Delta) {
        self.emitted = true;
        self.thinking = matches!(delta, Delta::Reasoning(_));
        (self.deltas)(delta);
    }

    fn count(&mut self, bytes: usize) -> Result<(), Misfit> {
        self.bytes += bytes;
        if self.bytes > MAX_ANSWER_BYTES {
            Err(Misfit::TooLarge)
        } else {
            Ok(())
        }
    }

    /// The whole answer. A call that never got an id is given one, and what was held of it is passed on.
    ///
    /// # Errors
    /// `Empty` for neither text nor calls, unless the output limit or a filter cut the answer off before either.
    pub(crate) fn into_answer(mut self) -> Result<Answer, Misfit> {
        self.calls
            .retain(|call| !(call.name.is_empty() && call.arguments.is_empty()));
        self.calls.sort_by_key(|call| call.index);
        for at in 0..self.calls.len() {
            let call = &mut self.calls[at];
            if call.id.is_empty() {
                call.id = new_call_id();
            }
            if call.shown.is_none() {
                self.show(at);
            }
        }
        let finish = match self.finish {
            None | Some(Finish::Stop) if !self.calls.is_empty() => Finish::ToolCalls,
            finish => finish.unwrap_or(Finish::Stop),
        };
        let spoken = self.parts.values().any(|part| part.text().is_some());
        let cut_off = matches!(finish, Finish::Length | Finish::ContentFilter);
        if !spoken && self.calls.is_empty() && !cut_off {
            return Err(Misfit::Empty);
        }
        let calls = self.calls.into_iter();
        Ok(Answer {
            parts: self.parts.into_values().collect(),
            calls: calls
                .map(
                    |OpenCall {
                         id,
                         name,
                         arguments,
                         ..
                     }| ToolCall {
                        id,
                        name,
                        arguments,
                    },
                )
                .collect(),
            finish,
            usage: self.usage,
            tokens: None,
            request_id: None,
            trace: Trace::default(),
        })
    }
}

/// Keeps the first: servers repeat ids and names in later fragments.
fn set_once(field: &mut String, value: &str) {
    if field.is_empty() {
        field.push_str(value);
    }
}

/// `call_` and eight hexadecimal digits (agent-loop §5).
pub(crate) fn new_call_id() -> String {
    let mut random = Uuid::new_v4().simple().to_string();
    random.truncate(8);
    format!("call_{random}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answer to some fragments of calls, with the deltas it gave.
    fn calls(fragments: &[CallFragment<'_>]) -> (Vec<ToolCall>, Vec<Delta>) {
        let mut deltas = Vec::new();
        let mut push = |delta| deltas.push(delta);
        let mut accumulator = Accumulator::new(&mut push);
        for fragment in fragments {
            accumulator.call(*fragment).unwrap();
        }
        let answer = accumulator.into_answer().unwrap();
        assert_eq!(answer.finish, Finish::ToolCalls);
        (answer.calls, deltas)
    }

    fn fragment<'a>(
        index: impl Into<Option<u64>>,
        id: &'a str,
        name: &'a str,
        arguments: &'a str,
    ) -> CallFragment<'a> {
        CallFragment {
            index: index.into(),
            id: Some(id),
            name: Some(name),
            arguments,
        }
    }

    fn call(id: &str, name: &str, arguments: &str) -> ToolCall {
        ToolCall {
            id: id.to_owned(),
            name: name.to_owned(),
            arguments: arguments.to_owned(),
        }
    }

    #[test]
    fn calls_come_out_by_index_however_their_fragments_are_mixed() {
        let (calls, _) = calls(&[
            fragment(1, "b", "two", "{\"x\""),
            fragment(0, "a", "one", "{"),
            fragment(1, "", "", ":1}"),
            fragment(0, "", "", "}"),
        ]);
        assert_eq!(
            calls,
            [call("a", "one", "{}"), call("b", "two", "{\"x\":1}")]
        );
    }

    #[test]
    fn calls_that_share_an_index_are_told_apart_by_their_ids() {
        let (calls, _) = calls(&[fragment(0, "a", "one", "{}"), fragment(0, "b", "one", "{}")]);
        assert_eq!(calls, [call("a", "one", "{}"), call("b", "one", "{}")]);
    }

    #[test]
    fn fragments_without_index_and_id_are_told_apart_by_their_names() {
        let (calls, _) = calls(&[
            fragment(None, "", "one", "{"),
            fragment(None, "", "", "}"),
            fragment(None, "", "two", "{}"),
        ]);
        let [first, second] = calls.as_slice() else {
            panic!("{calls:?}")
        };
        assert_eq!(
            (first.arguments.as_str(), second.name.as_str()),
            ("{}", "two")
        );
        assert_ne!(first.id, second.id);
    }

    #[test]
    fn deltas_of_a_call_are_held_until_its_id_is_known() {
        let (_, deltas) = calls(&[
            fragment(0, "", "one", "{\"a\""),
            fragment(0, "late", "", ":"),
            fragment(0, "late", "", "1}"),
        ]);
        let call_id = || "late".to_owned();
        let expected = [
            Delta::CallName {
                call_id: call_id(),
                name: "one".to_owned(),
            },
            Delta::CallArguments {
                call_id: call_id(),
                fragment: "{\"a\":".to_owned(),
            },
            Delta::CallArguments {
                call_id: call_id(),
                fragment: "1}".to_owned(),
            },
        ];
        assert_eq!(deltas, expected);
    }

    #[test]
    fn a_call_that_never_gets_an_id_is_given_the_one_its_deltas_carry() {
        let (calls, deltas) = calls(&[fragment(0, "", "one", "{}")]);
        assert!(calls[0].id.starts_with("call_") && calls[0].id.len() == 13);
        assert_eq!(
            deltas[0],
            Delta::CallName {
                call_id: calls[0].id.clone(),
                name: "one".to_owned()
            }
        );
    }

    #[test]
    fn an_answer_needs_text_or_a_call_unless_it_was_cut_off() {
        let mut ignore = |_| ();
        let mut only_thought = Accumulator::new(&mut ignore);
        only_thought.reasoning(0, "hm").unwrap();
        assert_eq!(only_thought.into_answer().unwrap_err(), Misfit::Empty);

        for finish in [Finish::Length, Finish::ContentFilter] {
            let mut ignore = |_| ();
            let mut cut = Accumulator::new(&mut ignore);
            cut.finish(finish);
            assert_eq!(cut.into_answer().unwrap().finish, finish);
        }
    }

    #[test]
    fn an_answer_has_a_size_it_cannot_pass() {
        let mut ignore = |_| ();
        let mut accumulator = Accumulator::new(&mut ignore);
        let half = "x".repeat(MAX_ANSWER_BYTES / 2);
        accumulator.text(1, &half).unwrap();
        accumulator.text(1, &half).unwrap();
        assert_eq!(accumulator.text(1, "x"), Err(Misfit::TooLarge));
    }
}
