//! `greenroom/rehearsal`: the model that is built in, so that the first command, the demo and the tests need neither
//! network nor key. It is a few rules and says so. The same context always gives the same answer.
//!
//! What it does with the last user message:
//!
//! | message | answer |
//! | --- | --- |
//! | lines that begin with `call`: `call <tool> {json}` | calls those tools, several lines in parallel, arguments as written |
//! | `my name is Ada`, `call me Ada`, `remember that …`, `my … is …`, `I like …`, `I love …`, `I live …`, `I work …` | stores it with `memory_insert` or `core_memory_append`, whichever is offered, in the block `human` (or the first block there is) |
//! | `what is my name?`, `who am I?` | the name, from the memory in the system prompt |
//! | `what do you remember about tea?`, `what do you know about me?` | the lines of memory with that word, or all |
//! | any other question | lines of memory that share a word with it, if there are any |
//! | a `<transcript>` to summarise | an earlier summary, and what the user said, shortened |
//! | anything else | says what it is and repeats the message |
//!
//! After a tool's return it says in a sentence how that went. Where it has to call something it says so with
//! `send_message`, or, where that is not on offer, calls what is with what fits.

mod forms;

use super::Model;
use super::accumulator::{Accumulator, CallFragment, Misfit};
use super::openai;
use crate::domain::heartbeat::{self, REQUEST_HEARTBEAT, THINKING};
use crate::domain::message::{Message, Role, ToolOutput, ToolStatus};
use crate::domain::model::{
    Answer, Delta, Handle, ModelError, ModelErrorClass, ModelRequest, ToolChoice, Usage,
};
use futures_util::future::BoxFuture;
use serde_json::{Map, Value, json};
use std::hash::{DefaultHasher, Hash, Hasher};

pub(crate) const PROVIDER: &str = "greenroom";
pub(crate) const MODEL: &str = "rehearsal";

/// The handle of the model that is always there.
pub(crate) fn handle() -> Handle {
    Handle {
        provider: PROVIDER.to_owned(),
        model: MODEL.to_owned(),
    }
}

/// The tools that it keeps facts with, the better one first.
const INSERT: &str = "memory_insert";
const APPEND: &str = "core_memory_append";

const ABOUT: &str =
    "I am the rehearsal model, a small set of rules built into Greenroom and no language model.";

/// The built-in model.
#[derive(Debug)]
pub(crate) struct Rehearsal;

impl Model for Rehearsal {
    fn body(&self, request: &ModelRequest) -> Vec<u8> {
        openai::body_without_server(request)
    }

    fn answer<'a>(
        &'a self,
        request: &'a ModelRequest,
        deltas: &'a mut (dyn FnMut(Delta) + Send),
    ) -> BoxFuture<'a, Result<Answer, ModelError>> {
        Box::pin(perform(request, deltas))
    }
}

/// What it has decided to do.
#[derive(Debug, PartialEq)]
enum Part {
    Say(String),
    /// Tool names with their arguments as JSON text.
    Call(Vec<(String, String)>),
}

async fn perform(
    request: &ModelRequest,
    deltas: &mut (dyn FnMut(Delta) + Send),
) -> Result<Answer, ModelError> {
    let part = as_forced(decide(request), request);
    let mut accumulator = Accumulator::new(deltas);
    speak(&part, request, &mut accumulator)
        .await
        .map_err(too_large)?;
    accumulator.usage(usage(request, &part));
    let mut answer = accumulator.into_answer().map_err(too_large)?;
    answer.trace = openai::trace_without_server(request, &answer);
    Ok(answer)
}

/// Word by word, like a model that streams; others may run between two words.
async fn speak(
    part: &Part,
    request: &ModelRequest,
    accumulator: &mut Accumulator<'_>,
) -> Result<(), Misfit> {
    match part {
        Part::Say(text) => {
            for word in text.split_inclusive(' ') {
                accumulator.text(0, word)?;
                tokio::task::yield_now().await;
            }
        }
        Part::Call(calls) => {
            for (index, (name, arguments)) in (0..).zip(calls) {
                let id = call_id(request, index);
                accumulator.call(CallFragment {
                    index: Some(index),
                    id: Some(&id),
                    name: Some(name),
                    arguments: "",
                })?;
                for fragment in arguments.split_inclusive([' ', ',']) {
                    accumulator.call(CallFragment {
                        index: Some(index),
                        id: None,
                        name: None,
                        arguments: fragment,
                    })?;
                    tokio::task::yield_now().await;
                }
            }
        }
    }
    Ok(())
}

fn too_large(misfit: Misfit) -> ModelError {
    ModelError {
        class: ModelErrorClass::Unreadable,
        detail: format!("the rehearsal model gave {misfit}"),
    }
}

/// The same for the same place in the same conversation, different elsewhere.
fn call_id(request: &ModelRequest, index: u64) -> String {
    let mut hasher = DefaultHasher::new();
    request
        .messages
        .last()
        .map(|message| message.id)
        .hash(&mut hasher);
    (request.messages.len(), index).hash(&mut hasher);
    format!("call_{:016x}", hasher.finish())
}

/// Four bytes a token, as nobody counts here.
fn usage(request: &ModelRequest, part: &Part) -> Usage {
    let tokens = |bytes: usize| bytes.div_ceil(4) as u64;
    let said = request.messages.iter().map(|message| {
        message
            .content
            .iter()
            .filter_map(|part| part.text())
            .map(str::len)
            .sum::<usize>()
    });
    let prompt_tokens = tokens(request.system.len() + said.sum::<usize>());
    let completion_tokens = match part {
        Part::Say(text) => tokens(text.len()),
        Part::Call(calls) => calls
            .iter()
            .map(|(name, arguments)| tokens(name.len() + arguments.len()))
            .sum(),
    };
    Usage {
        prompt_tokens,
        completion_tokens,
        total_tokens: prompt_tokens + completion_tokens,
        cached_input_tokens: Some(0),
        cache_write_tokens: None,
        reasoning_tokens: Some(0),
    }
}

/// Tools by which a turn is ended that may not end in words, the better one first.
const ENDS: [&str; 2] = ["send_message", "memory_finish_edits"];

/// What it wanted to say as a call, where words are not taken.
fn as_forced(part: Part, request: &ModelRequest) -> Part {
    let forced = matches!(request.choice, ToolChoice::Must | ToolChoice::Named(_));
    let text = match part {
        Part::Say(text) if forced => text,
        part => return goes_on(part, request),
    };
    let offered = || {
        let tools = request.tools.iter();
        tools.filter(|tool| offers(request, &tool.name))
    };
    let ends = |name: &&str| offered().find(|tool| tool.name == *name);
    match ENDS.iter().find_map(ends).or_else(|| offered().next()) {
        Some(tool) => {
            let arguments = forms::filled(&tool.parameters, &text);
            Part::Call(vec![(tool.name.clone(), arguments.to_string())])
        }
        None => Part::Say(text),
    }
}

/// A call asks for another step where it can, because the answer is still to be given; and gives the thought that is
/// wanted with it. Arguments that cannot be read stay as they were written.
fn goes_on(part: Part, request: &ModelRequest) -> Part {
    let Part::Call(mut calls) = part else {
        return part;
    };
    for (name, arguments) in &mut calls {
        let tool = request.tools.iter().find(|tool| tool.name == *name);
        let wants = |argument: &str| {
            tool.is_some_and(|tool| tool.parameters["properties"].get(argument).is_some())
        };
        let mut filled = Vec::new();
        if wants(THINKING) {
            filled.push((THINKING, json!("I go by my rules.")));
        }
        if wants(REQUEST_HEARTBEAT) {
            filled.push((REQUEST_HEARTBEAT, json!(true)));
        }
        let written = serde_json::from_str::<Map<String, Value>>(arguments);
        if let (Ok(mut written), false) = (written, filled.is_empty()) {
            for (argument, value) in filled {
                written.entry(argument).or_insert(value);
            }
            *arguments = Value::Object(written).to_string();
        }
    }
    Part::Call(calls)
}

fn decide(request: &ModelRequest) -> Part {
    let spoken = |message: &&Message| {
        matches!(message.role, Role::User | Role::System | Role::Summary)
            && !heartbeat::is_message(message)
    };
    let last = request.messages.iter().rev();
    let mut last = last.skip_while(|message| heartbeat::is_message(message));
    match last.next().map(AsRef::as_ref) {
        Some(message) if message.role == Role::Tool => Part::Say(after_tools(message)),
        _ => {
            let last = request
                .messages
                .iter()
                .rev()
                .map(AsRef::as_ref)
                .find(spoken);
            let text = last.map(Message::text).unwrap_or_default();
            if text.starts_with("<transcript>") {
                return Part::Say(summary(&text));
            }
            reply(&text, request)
        }
    }
}

/// Characters of a transcript's summary.
const SUMMARY_CHARS: usize = 1_500;

/// A transcript in short: what was summarised before, and the newest of what the user said that still fits.
fn summary(transcript: &str) -> String {
    let said = |role| {
        transcript
            .lines()
            .filter_map(move |line: &str| line.strip_prefix(role))
    };
    let before: Vec<&str> = said("[summary] ").collect();
    let mut summary = before.join(" ");
    let mut newest: Vec<&str> = Vec::new();
    let mut chars = summary.chars().count();
    for line in said("[user] ").collect::<Vec<_>>().into_iter().rev() {
        chars += line.chars().count() + 1;
        if chars > SUMMARY_CHARS {
            break;
        }
        newest.push(line);
    }
    if !newest.is_empty() {
        newest.reverse();
        summary.push_str(" The user said: ");
        summary.push_str(&newest.join(" / "));
    }
    let kept: String = summary.trim().chars().take(SUMMARY_CHARS).collect();
    if kept.is_empty() {
        "Nothing was said that could be summarised.".to_owned()
    } else {
        kept
    }
}

fn after_tools(message: &Message) -> String {
    let returns = &message.tool_returns;
    let failed = returns.iter().filter(|end| end.status == ToolStatus::Error);
    let reasons: Vec<String> = failed.map(|end| outcome(&end.output)).collect();
    let stored = [INSERT, APPEND]
        .map(Some)
        .contains(&message.name.as_deref());
    match (returns.len(), reasons.as_slice()) {
        (1, []) if stored => "I have written that down in my memory.".to_owned(),
        (1, []) => "Done.".to_owned(),
        (count, []) => format!("Done, all {count} of them."),
        (1, [reason]) => format!("That did not work: {reason}"),
        (count, reasons) => format!(
            "{} of {count} calls did not work: {}",
            reasons.len(),
            reasons.join("; ")
        ),
    }
}

/// The message inside a packed return.
fn outcome(output: &ToolOutput) -> String {
    let text = match output {
        ToolOutput::Packed(text) => text.clone(),
        ToolOutput::Parts(parts) => parts.iter().filter_map(|part| part.text()).collect(),
    };
    let packed: Option<Value> = serde_json::from_str(&text).ok();
    let message = packed
        .as_ref()
        .and_then(|packed| packed.get("message")?.as_str());
    message.map_or(text.clone(), str::to_owned)
}

fn reply(message: &str, request: &ModelRequest) -> Part {
    let asked = asked_calls(message);
    if !asked.is_empty() {
        return perform_calls(asked, request);
    }
    let memory = Memory::read(&request.system);
    let facts = facts(message);
    if !facts.is_empty() {
        return store(&facts, &memory, request);
    }
    Part::Say(
        memory
            .answer(message)
            .unwrap_or_else(|| format!("{ABOUT} You said: “{}”", start(message, 200))),
    )
}

fn start(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// `call <tool> {json}`, one a line.
fn asked_calls(message: &str) -> Vec<(String, String)> {
    let call = |line: &str| {
        let (name, arguments) = match line
            .trim()
            .strip_prefix("call ")?
            .trim()
            .split_once(char::is_whitespace)
        {
            Some((name, arguments)) => (name, arguments.trim()),
            None => (line.trim().strip_prefix("call ")?.trim(), "{}"),
        };
        let is_name = !name.is_empty()
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
        (is_name && arguments.starts_with('{')).then(|| (name.to_owned(), arguments.to_owned()))
    };
    message.lines().filter_map(call).collect()
}

fn perform_calls(calls: Vec<(String, String)>, request: &ModelRequest) -> Part {
    let missing = calls.iter().find(|(name, _)| !offers(request, name));
    match missing {
        Some((name, _)) => Part::Say(format!(
            "I was not offered a tool named {name}, so I cannot call it."
        )),
        None => Part::Call(calls),
    }
}

fn offers(request: &ModelRequest, name: &str) -> bool {
    let may_call = match &request.choice {
        ToolChoice::None => false,
        ToolChoice::Named(only) => only == name,
        ToolChoice::Free | ToolChoice::Must => true,
    };
    may_call && request.tools.iter().any(|tool| tool.name == name)
}

/// What the message tells about its author, as lines to keep.
fn facts(message: &str) -> Vec<String> {
    sentences(message).flat_map(told).collect()
}

/// Sentences and lines, without the mark at their end; questions are none.
fn sentences(message: &str) -> impl Iterator<Item = &str> {
    let sentences = message
        .split_inclusive(['.', '!', '?', '\n'])
        .map(str::trim);
    sentences
        .filter(|sentence| !sentence.ends_with('?'))
        .map(|sentence| sentence.trim_end_matches(['.', '!']))
}

/// What one sentence tells: a name, something to remember, or both ("my name is Ada and I like tea").
fn told(sentence: &str) -> Vec<String> {
    let first = |phrases: &[&str]| phrases.iter().find_map(|phrase| after(sentence, phrase));
    if let Some(told_name) = first(&["my name is ", "call me ", "i am called "]) {
        let cut = told_name
            .split_once(" and ")
            .or_else(|| told_name.split_once(','));
        let (name, rest) = cut.unwrap_or((told_name, ""));
        let name = format!("The user's name is {}.", name.trim_end_matches(" please"));
        return std::iter::once(name).chain(told(rest)).collect();
    }
    let asked = first(&[
        "remember that ",
        "remember this: ",
        "remember: ",
        "please remember ",
    ]);
    let said = asked.or_else(|| speaks_of_itself(sentence).then_some(sentence));
    said.map(|said| format!("The user said: {said}."))
        .into_iter()
        .collect()
}

/// "My cat is Tom", "I live in Paris".
fn speaks_of_itself(sentence: &str) -> bool {
    let lower = sentence.to_lowercase();
    let begins = |phrases: &[&str]| phrases.iter().any(|phrase| lower.starts_with(phrase));
    begins(&["i like ", "i love ", "i live ", "i work "])
        || (begins(&["my "]) && lower.contains(" is "))
}

/// What follows `phrase` in the sentence, whatever its case.
fn after<'a>(sentence: &'a str, phrase: &str) -> Option<&'a str> {
    // ASCII case keeps every byte in its place.
    let at = sentence.to_ascii_lowercase().find(phrase)?;
    let starts_a_word = !sentence[..at].ends_with(char::is_alphanumeric);
    let rest = sentence[at + phrase.len()..].trim();
    (starts_a_word && !rest.is_empty()).then_some(rest)
}

fn store(facts: &[String], memory: &Memory<'_>, request: &ModelRequest) -> Part {
    let known = |fact: &&String| memory.lines().any(|line| line == fact.as_str());
    let new: Vec<&str> = facts
        .iter()
        .filter(|fact| !known(fact))
        .map(String::as_str)
        .collect();
    if new.is_empty() {
        return Part::Say("I know that already.".to_owned());
    }
    let Some(label) = memory.label() else {
        return Part::Say("I have no memory block to keep that in.".to_owned());
    };
    let text = new.join("\n");
    let calls = [
        (INSERT, json!({"label": label, "new_string": text})),
        (
            "core_memory_append",
            json!({"label": label, "content": text}),
        ),
    ];
    match calls.into_iter().find(|(tool, _)| offers(request, tool)) {
        Some((tool, arguments)) => Part::Call(vec![(tool.to_owned(), arguments.to_string())]),
        None => Part::Say("I was offered no tool to keep that with.".to_owned()),
    }
}

/// The memory blocks in a system prompt: label and value.
struct Memory<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Memory<'a> {
    /// Reads the `<memory_blocks>` section: each block is an element named by its label, with a `<value>` in it.
    fn read(system: &'a str) -> Self {
        let mut rest = between(system, "<memory_blocks>", "</memory_blocks>").unwrap_or("");
        let mut blocks = Vec::new();
        while let Some((_, from)) = rest.split_once('<') {
            let Some((label, inside)) = from.split_once('>') else {
                break;
            };
            let Some((block, next)) = inside.split_once(&format!("</{label}>")) else {
                break;
            };
            blocks.push((
                label,
                between(block, "<value>", "</value>").unwrap_or("").trim(),
            ));
            rest = next;
        }
        Self(blocks)
    }

    fn lines(&self) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .flat_map(|(_, value)| value.lines())
            .map(str::trim)
            .filter(|line| !line.is_empty())
    }

    /// Where facts about the user go.
    fn label(&self) -> Option<&'a str> {
        let human = self.0.iter().find(|(label, _)| *label == "human");
        human.or(self.0.first()).map(|(label, _)| *label)
    }

    /// The answer to a question, or `None` for what is none or has no answer here.
    fn answer(&self, message: &str) -> Option<String> {
        let question = message.trim().to_lowercase().replace('’', "'");
        let asks_name = [
            "what is my name",
            "what's my name",
            "who am i",
            "know my name",
            "remember my name",
        ];
        if asks_name.iter().any(|phrase| question.contains(phrase)) {
            let unknown = || "I do not know your name yet. Tell me: my name is …".to_owned();
            return Some(
                self.name()
                    .map_or_else(unknown, |name| format!("Your name is {name}.")),
            );
        }
        for phrase in ["remember about ", "know about "] {
            if let Some((_, topic)) = question.split_once(phrase) {
                return Some(self.about(topic));
            }
        }
        if !question.ends_with('?') {
            return None;
        }
        let lines = self.sharing(&question);
        (!lines.is_empty()).then(|| format!("From my memory: {}", lines.join(" ")))
    }

    /// The newest line that tells a name.
    fn name(&self) -> Option<&'a str> {
        let told = |line: &'a str| {
            let name =
                after(line, "name is ").or_else(|| line.strip_prefix("Name:").map(str::trim))?;
            Some(name.trim_end_matches('.')).filter(|name| !name.is_empty())
        };
        self.lines().filter_map(told).last()
    }

    fn about(&self, topic: &str) -> String {
        let all = words(topic).all(|word| word == "me");
        let lines = if all {
            self.lines().collect()
        } else {
            self.sharing(topic)
        };
        if lines.is_empty() {
            "I remember nothing about that.".to_owned()
        } else {
            format!("I remember: {}", lines.join(" "))
        }
    }

    /// Lines that share a word with the text; short words are in everything.
    fn sharing(&self, text: &str) -> Vec<&'a str> {
        const COMMON: [&str; 14] = [
            "what", "when", "where", "which", "does", "have", "with", "that", "this", "your",
            "about", "user", "said", "name",
        ];
        let wanted: Vec<String> = words(text)
            .filter(|word| word.chars().count() > 2 && !COMMON.contains(&word.as_str()))
            .collect();
        self.lines()
            .filter(|line| words(line).any(|word| wanted.contains(&word)))
            .collect()
    }
}

fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
}

fn between<'a>(text: &'a str, open: &str, close: &str) -> Option<&'a str> {
    let (_, from) = text.split_once(open)?;
    Some(from.split_once(close)?.0)
}

#[cfg(test)]
mod tests;
