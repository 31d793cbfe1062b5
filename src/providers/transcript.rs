//! From stored messages to what a model may be shown (providers-and-context §4): a call stands with exactly one
//! return, a return never without its call, and nothing is empty. Pure; borrows everything.

use crate::domain::message::{Message, Part, Role, ToolCall, ToolOutput, ToolReturn};
use crate::domain::model::LlmConfig;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

/// What stands where a model cannot see an image.
pub(crate) const IMAGE_PLACEHOLDER: &str = "[image]";

/// One entry of the conversation as every dialect knows it.
#[derive(Debug)]
pub(crate) enum Entry<'a> {
    System(&'a Message),
    User(&'a Message),
    Assistant(Turn<'a>),
}

/// What the model said in one step, and how its calls ended.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    pub(crate) parts: Vec<&'a Part>,
    /// The model that said it.
    pub(crate) model: Option<&'a str>,
    /// In call order.
    pub(crate) calls: Vec<(&'a ToolCall, &'a ToolReturn)>,
}

impl<'a> Turn<'a> {
    pub(crate) fn texts(&self) -> impl Iterator<Item = &'a str> {
        self.parts
            .iter()
            .filter_map(|part| part.text())
            .filter(|text| !text.is_empty())
    }

    /// Whether the model that is asked now said it: no other is shown this reasoning.
    pub(crate) fn is_by(&self, config: &LlmConfig) -> bool {
        self.model.is_some()
            && (self.model == Some(&config.model) || self.model == config.handle.as_deref())
    }
}

/// The conversation that `messages` hold. Approval responses are left out, an approval request joins the calls of
/// its step, calls that were never answered and turns that say nothing are left out.
pub(crate) fn entries<'a>(messages: &[&'a Message]) -> Vec<Entry<'a>> {
    let mut entries = Vec::with_capacity(messages.len());
    let mut rest = messages;
    while let [message, after @ ..] = rest {
        rest = after;
        match message.role {
            // Some vendors refuse a system message that says nothing; of a user's they can be given the place.
            Role::System if text(message).trim().is_empty() => entries.push(Entry::User(message)),
            Role::System => entries.push(Entry::System(message)),
            Role::User | Role::Summary => entries.push(Entry::User(message)),
            Role::Assistant | Role::Approval => {
                let joined = requests_of_step(message, after);
                rest = &after[joined.len()..];
                entries.extend(turn(message, joined, rest).map(Entry::Assistant));
            }
            // Shown with its call, or not at all.
            Role::Tool => (),
        }
    }
    entries
}

/// The approval requests that directly follow a message with calls: the same answer of the model.
fn requests_of_step<'m, 'a>(message: &Message, after: &'m [&'a Message]) -> &'m [&'a Message] {
    let is_request =
        |message: &&&Message| message.role == Role::Approval && !message.tool_calls.is_empty();
    let count = if message.tool_calls.is_empty() {
        0
    } else {
        after.iter().take_while(is_request).count()
    };
    &after[..count]
}

/// What a message and the requests of its step said, with the returns found `after` them.
fn turn<'a>(
    message: &'a Message,
    joined: &[&'a Message],
    after: &[&'a Message],
) -> Option<Turn<'a>> {
    let step = || std::iter::once(message).chain(joined.iter().copied());
    let mut calls = in_order(message, joined);
    let mut seen = HashSet::new();
    calls.retain(|call| seen.insert(call.id.as_str()));
    let returns = returns(&seen, after);
    let turn = Turn {
        parts: step().flat_map(|message| &message.content).collect(),
        model: message.model.as_deref(),
        calls: calls
            .into_iter()
            .filter_map(|call| Some((call, *returns.get(call.id.as_str())?)))
            .collect(),
    };
    let says_something = !turn.calls.is_empty() || turn.texts().next().is_some();
    says_something.then_some(turn)
}

/// The calls of a step as the model made them: some vendors seal what belongs to the first of them.
fn in_order<'a>(message: &'a Message, joined: &[&'a Message]) -> Vec<&'a ToolCall> {
    let mut calls: Vec<&ToolCall> = message.tool_calls.iter().collect();
    for request in joined {
        for (at, call) in request.tool_calls.iter().enumerate() {
            let place = request.call_places.get(at).map(|place| *place as usize);
            calls.insert(place.unwrap_or(calls.len()).min(calls.len()), call);
        }
    }
    calls
}

/// The first return of each of `ids`. Some servers number their calls anew in every answer, so the search ends where
/// an id is called again.
fn returns<'a>(ids: &HashSet<&str>, after: &[&'a Message]) -> HashMap<&'a str, &'a ToolReturn> {
    let mut found: HashMap<&str, &ToolReturn> = HashMap::new();
    for message in after {
        let called_again = message
            .tool_calls
            .iter()
            .any(|call| ids.contains(call.id.as_str()));
        if found.len() == ids.len() || called_again {
            break;
        }
        let returns = if message.role == Role::Tool {
            message.tool_returns.as_slice()
        } else {
            &[]
        };
        for end in returns
            .iter()
            .filter(|end| ids.contains(end.tool_call_id.as_str()))
        {
            found.entry(&end.tool_call_id).or_insert(end);
        }
    }
    found
}

/// All text parts of a message, copied only when there are several.
pub(crate) fn text(message: &Message) -> Cow<'_, str> {
    joined(message.content.iter().filter_map(Part::text), "\n").unwrap_or_default()
}

/// A return as text alone.
pub(crate) fn return_text(end: &ToolReturn) -> Cow<'_, str> {
    match &end.output {
        ToolOutput::Packed(text) => Cow::Borrowed(text),
        ToolOutput::Parts(parts) => joined(
            parts
                .iter()
                .map(|part| part.text().unwrap_or(IMAGE_PLACEHOLDER)),
            "\n",
        )
        .unwrap_or_default(),
    }
}

/// `None` when there is nothing to join.
pub(crate) fn joined<'a>(
    mut texts: impl Iterator<Item = &'a str>,
    separator: &'a str,
) -> Option<Cow<'a, str>> {
    let first = texts.next()?;
    Some(texts.fold(Cow::Borrowed(first), |joined, text| {
        joined + separator + text
    }))
}

/// Whether text beside calls is left out: with reasoning fully off it would be taken for reasoning (agent-loop §4).
pub(crate) fn mutes_calls(config: &LlmConfig) -> bool {
    let thinks = config.enable_reasoner
        || config.put_inner_thoughts_in_kwargs == Some(true)
        || config.max_reasoning_tokens > 0;
    !thinks
}

/// Characters of a tool return that the model is shown (agent-loop §4): a fifth of the window, four characters a token.
pub(crate) fn return_limit(context_window: u64) -> usize {
    usize::try_from(context_window.saturating_mul(4) / 5)
        .unwrap_or(usize::MAX)
        .max(5_000)
}

/// The first `limit` characters, and how many were left out.
pub(crate) fn cut(text: Cow<'_, str>, limit: usize) -> Cow<'_, str> {
    // Bytes are at least characters: short texts need no counting.
    let end = if text.len() <= limit {
        None
    } else {
        text.char_indices().nth(limit)
    };
    match end {
        None => text,
        Some((end, _)) => format!(
            "{}... [truncated {} chars]",
            &text[..end],
            text[end..].chars().count()
        )
        .into(),
    }
}

/// Cuts the texts of one return one after the other: together they have at most `limit` characters.
pub(crate) fn cutter<'a>(limit: usize) -> impl FnMut(Cow<'a, str>) -> Cow<'a, str> {
    let mut left = limit;
    move |text| {
        let length = text.chars().count();
        let text = cut(text, left);
        left = left.saturating_sub(length);
        text
    }
}

/// Characters of a call's id that every provider takes.
const MAX_ID_CHARS: usize = 29;

/// Call ids as providers take them: each for one call of the request and its return. Ids that differ stay different,
/// and an id that a later step uses again is sent as another.
#[derive(Debug, Default)]
pub(crate) struct CallIds {
    /// What was given out, each with the last number that a namesake got.
    taken: HashMap<String, usize>,
}

impl CallIds {
    /// The ids to send for the calls of a turn, and for their returns. An id that already fits goes as it is unless
    /// another took it first.
    pub(crate) fn of(&mut self, turn: &Turn<'_>) -> Vec<String> {
        let calls = turn.calls.iter();
        calls
            .map(|(call, _)| self.free(name(&call.id, MAX_ID_CHARS)))
            .collect()
    }

    fn free(&mut self, clean: String) -> String {
        let mut number = self.taken.get(&clean).copied().unwrap_or(1);
        let mut candidate = clean.clone();
        while self.taken.contains_key(&candidate) {
            number += 1;
            let suffix = format!("_{number}");
            let kept = clean.len().min(MAX_ID_CHARS - suffix.len());
            candidate = format!("{}{suffix}", &clean[..kept]);
        }
        self.taken.insert(clean, number);
        self.taken.entry(candidate.clone()).or_insert(1);
        candidate
    }
}

/// A name as providers take it: `[A-Za-z0-9_-]`, at least one and at most `limit` characters.
pub(crate) fn name(text: &str, limit: usize) -> String {
    let allowed = |c: char| {
        if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') {
            c
        } else {
            '_'
        }
    };
    let name: String = text.chars().map(allowed).take(limit).collect();
    if name.is_empty() {
        "unnamed".to_owned()
    } else {
        name
    }
}

/// The arguments of a call for providers that take nothing but an object.
pub(crate) fn arguments(text: &str) -> Map<String, Value> {
    if text.trim().is_empty() {
        return Map::new();
    }
    serde_json::from_str(text)
        .unwrap_or_else(|_| Map::from_iter([("arguments".to_owned(), json!(text))]))
}

/// The same as text, unchanged if it is an object: many servers read it, and refuse a request in which they cannot.
pub(crate) fn arguments_text(text: &str) -> Cow<'_, str> {
    match serde_json::from_str::<Map<String, Value>>(text) {
        Ok(_) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(Value::Object(arguments(text)).to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::clock;
    use crate::domain::id::AgentId;
    use crate::domain::message::{ToolOutput, ToolStatus};
    use proptest::prelude::*;

    fn message(role: Role, text: &str, calls: &[&str], returns: &[&str]) -> Message {
        let mut message = Message::new(AgentId::new(), role, clock::now());
        message.content = vec![Part::of_text(text)];
        let call = |id: &&str| ToolCall {
            id: (*id).to_owned(),
            name: "tool".to_owned(),
            arguments: "{}".to_owned(),
        };
        message.tool_calls = calls.iter().map(call).collect();
        let end = |id: &&str| ToolReturn {
            tool_call_id: (*id).to_owned(),
            status: ToolStatus::Success,
            output: ToolOutput::Packed("{}".to_owned()),
            stdout: None,
            stderr: None,
        };
        message.tool_returns = returns.iter().map(end).collect();
        message
    }

    /// `u`, `s`, `a(text)[ids]`: the conversation in short.
    fn shape(messages: &[Message]) -> Vec<String> {
        let messages: Vec<&Message> = messages.iter().collect();
        let short = |entry: &Entry<'_>| match entry {
            Entry::System(_) => "s".to_owned(),
            Entry::User(_) => "u".to_owned(),
            Entry::Assistant(turn) => {
                let ids: Vec<&str> = turn
                    .calls
                    .iter()
                    .map(|(call, _)| call.id.as_str())
                    .collect();
                format!("a{}[{}]", turn.texts().collect::<String>(), ids.join(" "))
            }
        };
        entries(&messages).iter().map(short).collect()
    }

    #[test]
    fn orphans_repeats_and_silence_are_left_out() {
        let history = [
            message(Role::Tool, "", &[], &["gone"]),
            message(Role::User, "hello", &[], &[]),
            message(Role::Assistant, "", &["a", "a", "b", "never"], &[]),
            message(Role::Tool, "", &[], &["b", "a", "b"]),
            message(Role::Assistant, "", &[], &[]),
            message(Role::Assistant, "", &["open"], &[]),
        ];
        assert_eq!(shape(&history), ["u", "a[a b]"]);
    }

    #[test]
    fn an_approval_request_joins_its_step_and_an_unanswered_one_is_dropped() {
        let mut history = vec![
            message(Role::Assistant, "ok", &["free"], &[]),
            message(Role::Approval, "", &["gated"], &[]),
            message(Role::Approval, "", &[], &[]),
            message(Role::Tool, "", &[], &["free", "gated"]),
        ];
        assert_eq!(shape(&history), ["aok[free gated]"]);
        history.truncate(2);
        assert_eq!(shape(&history), ["aok[]"]);
    }

    #[test]
    fn an_id_that_is_used_again_gets_the_return_of_its_own_step() {
        let history = [
            message(Role::Assistant, "", &["call_0"], &[]),
            message(Role::Assistant, "", &["call_0"], &[]),
            message(Role::Tool, "", &[], &["call_0"]),
        ];
        assert_eq!(shape(&history), ["a[call_0]"]);
    }

    /// The ids that are sent for steps that call these.
    fn sent_ids(steps: &[&[&str]]) -> Vec<Vec<String>> {
        let step = |ids: &&[&str]| {
            [
                message(Role::Assistant, "", ids, &[]),
                message(Role::Tool, "", &[], ids),
            ]
        };
        let history: Vec<Message> = steps.iter().flat_map(step).collect();
        let history: Vec<&Message> = history.iter().collect();
        let mut ids = CallIds::default();
        let turn = |entry: &Entry<'_>| match entry {
            Entry::Assistant(turn) => ids.of(turn),
            _ => panic!("{entry:?}"),
        };
        entries(&history).iter().map(turn).collect()
    }

    #[test]
    fn ids_are_made_to_fit_and_stay_different() {
        let long = "chatcmpl-tool-0123456789abcdef0123456789abcdef";
        let other = "chatcmpl-tool-0123456789abcdefffffffffffffffff";
        let [sent] = &sent_ids(&[&[long, other, "a.b", "a_b"]])[..] else {
            panic!("one step")
        };
        assert_eq!(sent[0].len(), MAX_ID_CHARS);
        assert_eq!(sent[1].len(), MAX_ID_CHARS);
        assert_ne!(sent[0], sent[1]);
        assert_eq!(sent[2..], ["a_b", "a_b_2"]);
    }

    #[test]
    fn an_id_that_a_later_step_uses_again_is_sent_as_another() {
        let sent = sent_ids(&[&["call_0"], &["call_0", "call_1"], &["call_0_2", "call_0"]]);
        let expected: [&[&str]; 3] = [
            &["call_0"],
            &["call_0_2", "call_1"],
            &["call_0_2_2", "call_0_3"],
        ];
        assert_eq!(sent, expected);
    }

    #[test]
    fn arguments_are_an_object_whatever_the_model_wrote() {
        let object = |text| Value::Object(arguments(text));
        assert_eq!(object(" "), json!({}));
        assert_eq!(object("{\"b\": 1, \"a\": [2]}"), json!({"b": 1, "a": [2]}));
        for text in ["[1]", "{\"a\":", "\"\\ud83d\""] {
            assert_eq!(object(text), json!({"arguments": text}));
            assert_eq!(arguments_text(text), json!({"arguments": text}).to_string());
        }
    }

    fn any_message() -> impl Strategy<Value = Message> {
        let roles = [
            Role::System,
            Role::User,
            Role::Assistant,
            Role::Assistant,
            Role::Tool,
            Role::Tool,
            Role::Approval,
            Role::Summary,
        ];
        let ids = || prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 0..3);
        (
            prop::sample::select(roles.to_vec()),
            ids(),
            ids(),
            any::<bool>(),
        )
            .prop_map(|(role, calls, returns, spoken)| {
                let calls = if matches!(role, Role::Assistant | Role::Approval) {
                    calls
                } else {
                    Vec::new()
                };
                message(role, if spoken { "text" } else { "" }, &calls, &returns)
            })
    }

    proptest! {
        #[test]
        fn whatever_the_history_calls_are_unique_answered_and_turns_are_not_empty(
            history in prop::collection::vec(any_message(), 0..12)
        ) {
            let messages: Vec<&Message> = history.iter().collect();
            for entry in entries(&messages) {
                let Entry::Assistant(turn) = entry else { continue };
                let ids: HashSet<&str> = turn.calls.iter().map(|(call, _)| call.id.as_str()).collect();
                prop_assert_eq!(ids.len(), turn.calls.len());
                prop_assert!(turn.calls.iter().all(|(call, end)| call.id == end.tool_call_id));
                prop_assert!(!turn.calls.is_empty() || turn.texts().next().is_some());
            }
        }
    }
}
