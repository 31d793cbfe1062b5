//! What a model would be sent for an agent now, in its parts, and what each of them costs (providers-and-context §9).

use super::clock;
use super::compaction::summary;
use super::id::AgentId;
use super::message::{Message, Part, Role};
use super::model::{ModelRequest, ToolChoice, ToolSchema};
use super::tokens::Counter;
use std::ops::Range;
use std::sync::Arc;

/// One part of the system message or of the context: what is not there costs nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Section {
    pub text: Option<String>,
    pub tokens: u64,
}

#[derive(Debug, Clone)]
pub struct Overview {
    /// Tokens that the model takes at most.
    pub window: u64,
    pub system_prompt: Section,
    pub core_memory: Section,
    pub memory_filesystem: Section,
    pub tool_usage_rules: Section,
    pub directories: Section,
    pub external_memory: Section,
    pub summary: Section,
    pub tools: Vec<ToolSchema>,
    pub tools_tokens: u64,
    /// In context, the system message first.
    pub messages: Vec<Arc<Message>>,
    /// Without the system message and the summary, which have counts of their own.
    pub messages_tokens: u64,
    /// Messages stored, in context or not.
    pub stored_messages: u64,
    pub archived_passages: u64,
}

impl Overview {
    /// The parts of a request. `stored`: the system message as it is stored, which may hold an older text than the request.
    /// `count` says what a message costs.
    pub fn of(
        request: &ModelRequest,
        stored: &Message,
        stored_messages: u64,
        count: impl Fn(&Counter, &Message) -> u64,
    ) -> Self {
        let counter = Counter::of(&request.config);
        let section = |text: Option<&str>| Section {
            text: text.map(str::to_owned),
            tokens: text.map_or(0, |text| counter.text(text)),
        };
        let cut = Sections::cut(&request.system);
        let (summary, rest) = match request.messages.split_first() {
            Some((first, rest)) if summary::is(first) => (Some(first), rest),
            _ => (None, request.messages.as_slice()),
        };
        let mut system = stored.clone();
        system.content = vec![Part::of_text(&*request.system)];
        let messages = request.messages.iter().cloned();
        Self {
            window: request.config.context_window,
            system_prompt: section(Some(cut.system_prompt)),
            core_memory: section(cut.core_memory),
            memory_filesystem: section(cut.memory_filesystem),
            tool_usage_rules: section(cut.tool_usage_rules),
            directories: section(cut.directories),
            external_memory: section(cut.external_memory),
            summary: Section {
                text: summary.map(|summary| summary.text()),
                tokens: summary.map_or(0, |summary| count(&counter, summary)),
            },
            tools: request.offered().to_vec(),
            tools_tokens: counter.tools(request.offered()),
            messages: std::iter::once(Arc::new(system)).chain(messages).collect(),
            messages_tokens: rest.iter().map(|message| count(&counter, message)).sum(),
            stored_messages,
            archived_passages: 0,
        }
    }

    /// Takes over what the model's provider counted; each part keeps its share of it.
    pub fn settle(&mut self, counted: &Counted) {
        let system = [
            &mut self.system_prompt,
            &mut self.core_memory,
            &mut self.memory_filesystem,
            &mut self.tool_usage_rules,
            &mut self.directories,
            &mut self.external_memory,
        ];
        let system = system.into_iter().map(|section| &mut section.tokens);
        share(counted.system, system.collect());
        share(
            counted.with_tools.saturating_sub(counted.system),
            vec![&mut self.tools_tokens],
        );
        let spoken = vec![&mut self.summary.tokens, &mut self.messages_tokens];
        share(counted.all.saturating_sub(counted.with_tools), spoken);
    }

    /// Tokens of all parts.
    pub fn tokens(&self) -> u64 {
        let sections = [
            &self.system_prompt,
            &self.core_memory,
            &self.memory_filesystem,
            &self.tool_usage_rules,
            &self.directories,
            &self.external_memory,
            &self.summary,
        ];
        let sections: u64 = sections.iter().map(|section| section.tokens).sum();
        sections + self.tools_tokens + self.messages_tokens
    }
}

/// What a provider counted of a request: its beginning, its beginning with the tools, all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    pub system: u64,
    pub with_tools: u64,
    pub all: u64,
}

/// The two beginnings of a request. No provider counts one in which nothing is said.
pub fn beginnings(request: &ModelRequest, agent: AgentId) -> [ModelRequest; 2] {
    let mut said = Message::new(agent, Role::User, clock::now());
    said.content = vec![Part::of_text(".")];
    let with_tools = ModelRequest {
        messages: vec![Arc::new(said)],
        ..request.clone()
    };
    let system = ModelRequest {
        tools: Arc::default(),
        choice: ToolChoice::None,
        ..with_tools.clone()
    };
    [system, with_tools]
}

/// Gives each part its share of a sum, and the first that has any what is left by rounding.
fn share(sum: u64, mut parts: Vec<&mut u64>) {
    let before: u64 = parts.iter().map(|part| **part).sum();
    if before == 0 {
        return;
    }
    for part in &mut parts {
        let share = u128::from(**part) * u128::from(sum) / u128::from(before);
        **part = u64::try_from(share).unwrap_or(u64::MAX);
    }
    let left = sum.saturating_sub(parts.iter().map(|part| **part).sum());
    if let Some(first) = parts.into_iter().find(|part| **part > 0) {
        *first += left;
    }
}

/// A compiled system message, cut by its tags (agents-admin §9). Sections hold their tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sections<'a> {
    /// The element of base instructions, else all before the first of the others.
    system_prompt: &'a str,
    core_memory: Option<&'a str>,
    memory_filesystem: Option<&'a str>,
    tool_usage_rules: Option<&'a str>,
    directories: Option<&'a str>,
    external_memory: Option<&'a str>,
}

impl<'a> Sections<'a> {
    /// Tags count where they have a line of their own. What stands in a block of memory may look like any tag, so a closing
    /// tag of the blocks is the last one before the metadata, and other sections are looked for outside of them only.
    fn cut(text: &'a str) -> Self {
        let all = 0..text.len();
        let external = last_line(text, "<memory_metadata>", all.clone())
            .and_then(|start| element(text, "memory_metadata", start..text.len()));
        let before_metadata = 0..external.as_ref().map_or(text.len(), |found| found.start);
        let core = first_line(text, "<memory_blocks>", before_metadata.clone()).and_then(|start| {
            let rest = start..before_metadata.end;
            let end = last_line(text, "</memory_blocks>", rest)?;
            Some(start..end + "</memory_blocks>".len())
        });
        let outside = |tag: &str| {
            let (before, after) = match &core {
                Some(core) => (0..core.start, core.end..text.len()),
                None => (all.clone(), all.end..all.end),
            };
            element(text, tag, after).or_else(|| element(text, tag, before))
        };
        let filesystem = outside("memory_filesystem");
        let rules = outside("tool_usage_rules");
        let directories = outside("directories");
        let found = [&external, &core, &filesystem, &rules, &directories];
        let first = found.iter().filter_map(|found| Some(found.as_ref()?.start));
        let first = first.min().unwrap_or(text.len());
        let base = element(text, "base_instructions", 0..first).unwrap_or(0..first);
        let show = |range: Option<Range<usize>>| range.map(|range| &text[range]);
        Self {
            system_prompt: text[base].trim_end(),
            core_memory: show(core),
            memory_filesystem: show(filesystem),
            tool_usage_rules: show(rules),
            directories: show(directories),
            external_memory: show(external),
        }
    }
}

/// The first element of this tag within `range`, tags included.
fn element(text: &str, tag: &str, range: Range<usize>) -> Option<Range<usize>> {
    let start = first_line(text, &format!("<{tag}>"), range.clone())?;
    let close = format!("</{tag}>");
    let end = first_line(text, &close, start..range.end)? + close.len();
    Some(start..end)
}

/// Where the first line that is `line` begins.
fn first_line(text: &str, line: &str, range: Range<usize>) -> Option<usize> {
    lines(text, line, range).next()
}

fn last_line(text: &str, line: &str, range: Range<usize>) -> Option<usize> {
    lines(text, line, range).last()
}

fn lines(text: &str, line: &str, range: Range<usize>) -> impl Iterator<Item = usize> {
    let within = text.get(range.clone()).unwrap_or_default();
    let found = within.match_indices(line);
    found
        .map(move |(at, _)| range.start + at)
        .filter(move |at| {
            let starts = *at == 0 || text[..*at].ends_with('\n');
            let rest = &text[at + line.len()..];
            starts && (rest.is_empty() || rest.starts_with(['\n', '\r']))
        })
}

#[cfg(test)]
mod tests;
