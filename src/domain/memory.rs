//! Edits of core memory by the agent's own tools: intents, applied to the newest value (decisions 32).

use super::block::{Block, BlockChange};
use super::id::UserId;
use super::prompt;
use super::tool::{ToolFailure, ToolResult};
use jiff::Timestamp;
use serde_json::Value;
use std::fmt::Write;
use std::sync::Arc;

/// What a memory tool wants of one block. Pure: the same intent on the same value gives the same result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    pub label: String,
    pub kind: EditKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EditKind {
    /// `core_memory_append`
    Append { content: String },
    /// `core_memory_replace`: every occurrence.
    ReplaceAll { old: String, new: String },
    /// `memory_replace`: exactly one occurrence.
    ReplaceOne { old: String, new: String },
    /// `memory_insert`: after that line, 0 is the start, -1 the end.
    Insert { text: String, line: i64 },
    /// `memory_rethink`
    Rethink { text: String },
    /// By a source through its agent's state: the value as it is.
    Set { text: String },
}

impl EditKind {
    /// The new value. All but the two `core_` edits refuse text that was copied with the prompt's line numbers, and
    /// expand tabs in their texts and in the block (tools-and-sandbox §3).
    ///
    /// # Errors
    /// A sentence for the model when the edit does not fit the value.
    pub fn apply(&self, label: &str, value: &str) -> Result<String, ToolFailure> {
        match self {
            Self::Append { content } => Ok(format!("{value}\n{content}")),
            Self::ReplaceAll { old, new } => replace_all(label, value, old, new),
            Self::ReplaceOne { old, new } => {
                replace_one(label, &expand_tabs(value), &clean(old)?, &clean(new)?)
            }
            Self::Insert { text, line } => insert(label, &expand_tabs(value), &clean(text)?, *line),
            Self::Rethink { text } => clean(text),
            Self::Set { text } => Ok(text.clone()),
        }
    }
}

fn replace_all(label: &str, value: &str, old: &str, new: &str) -> Result<String, ToolFailure> {
    check_old_text(label, value, old)?;
    Ok(value.replace(old, new))
}

fn replace_one(label: &str, value: &str, old: &str, new: &str) -> Result<String, ToolFailure> {
    check_old_text(label, value, old)?;
    let places: Vec<usize> = value.match_indices(old).map(|(at, _)| at).collect();
    if let [at] = places[..] {
        return Ok([&value[..at], new, &value[at + old.len()..]].concat());
    }
    let line = |at: &usize| (value[..*at].matches('\n').count() + 1).to_string();
    let lines: Vec<String> = places.iter().map(line).collect();
    Err(ToolFailure::value(format!(
        "block '{label}' has {} places with that text, on lines {}; give more of the text around the one that is meant: {old}",
        places.len(),
        lines.join(", "),
    )))
}

fn check_old_text(label: &str, value: &str, old: &str) -> Result<(), ToolFailure> {
    if old.is_empty() {
        return Err(ToolFailure::value(
            "the text to replace is empty; to add text, insert or append it",
        ));
    }
    if value.contains(old) {
        return Ok(());
    }
    Err(ToolFailure::value(format!(
        "nothing was replaced: block '{label}' does not contain this exact text: {old}"
    )))
}

fn insert(label: &str, value: &str, text: &str, line: i64) -> Result<String, ToolFailure> {
    // As in the numbered prompt, an empty value has no lines.
    let mut lines: Vec<&str> = if value.is_empty() {
        Vec::new()
    } else {
        value.split('\n').collect()
    };
    let last = lines.len();
    let at = if line == -1 {
        Some(last)
    } else {
        usize::try_from(line).ok().filter(|at| *at <= last)
    };
    let at = at.ok_or_else(|| {
        ToolFailure::value(format!(
            "there is no line {line} in block '{label}': insert_line goes from 0 (the start) to {last}, or is -1 (the end)"
        ))
    })?;
    lines.insert(at, text);
    Ok(lines.join("\n"))
}

/// Text as the model meant it: without tabs, and not copied together with what only the prompt shows.
fn clean(text: &str) -> Result<String, ToolFailure> {
    if text.contains(prompt::LINE_NUMBERS_WARNING) {
        return Err(ToolFailure::value(
            "the text holds the prompt's warning about line numbers, which is not part of the block; leave it out",
        ));
    }
    if text.split('\n').any(is_numbered) {
        return Err(ToolFailure::value(
            "a line of the text starts with a line number (as in '1→ '); the numbers are not part of the block, leave them out",
        ));
    }
    Ok(expand_tabs(text))
}

fn is_numbered(line: &str) -> bool {
    let line = line.trim_start_matches([' ', '\t']);
    let rest = line.trim_start_matches(|c: char| c.is_ascii_digit());
    rest.len() < line.len() && rest.starts_with('→')
}

/// Each tab becomes the spaces up to the next multiple of eight columns.
fn expand_tabs(text: &str) -> String {
    const STOP: usize = 8;
    let mut expanded = String::with_capacity(text.len());
    let mut column = 0;
    for c in text.chars() {
        match c {
            '\t' => {
                let spaces = STOP - column % STOP;
                let _ = write!(expanded, "{:spaces$}", "");
                column += spaces;
                continue;
            }
            '\n' | '\r' => column = 0,
            _ => column += 1,
        }
        expanded.push(c);
    }
    expanded
}

/// A working copy of an agent's blocks, for the edits of one step: each edit sees the ones before it. When the
/// committer refuses the result (another agent wrote meanwhile), make a new copy of the newest blocks and apply
/// the same edits again.
#[derive(Debug, Clone)]
pub struct CoreMemory {
    drafts: Vec<Draft>,
    strict_limits: bool,
}

#[derive(Debug, Clone)]
struct Draft {
    block: Arc<Block>,
    value: String,
}

impl CoreMemory {
    /// `strict_limits`: an edit that leaves a block over its limit fails (`strict_block_limits`, decisions 7).
    pub fn new(blocks: impl IntoIterator<Item = Arc<Block>>, strict_limits: bool) -> Self {
        let draft = |block: Arc<Block>| Draft {
            value: block.value.clone(),
            block,
        };
        Self {
            drafts: blocks.into_iter().map(draft).collect(),
            strict_limits,
        }
    }

    /// Applies one edit and gives the return of the tool `tool`: the whole new value, or why nothing was changed.
    pub fn apply(&mut self, tool: &str, edit: &Edit) -> ToolResult {
        match self.edit(edit) {
            Ok(value) => ToolResult::success(Value::from(value)),
            Err(failure) => ToolResult::failure(tool, failure),
        }
    }

    /// Applies what a call wants beside its return: all of it, or the call fails and nothing of it is kept.
    pub fn settle(&mut self, tool: &str, result: &ToolResult) -> ToolResult {
        let before = self.drafts.clone();
        let mut edits = result.edits.iter();
        match edits.try_for_each(|edit| self.edit(edit).map(drop)) {
            Ok(()) => result.clone(),
            Err(failure) => {
                self.drafts = before;
                ToolResult {
                    stdout: result.stdout.clone(),
                    ..ToolResult::failure(tool, failure)
                }
            }
        }
    }

    /// One write for each block whose value is now another, however many edits it took.
    pub fn changed(self, by: UserId, now: Timestamp) -> Vec<Block> {
        let write = |Draft { block, value }| {
            BlockChange {
                value: Some(value),
                ..BlockChange::default()
            }
            .apply(&block, by, now)
        };
        self.drafts.into_iter().filter_map(write).collect()
    }

    fn edit(&mut self, edit: &Edit) -> Result<&str, ToolFailure> {
        let Some(at) = self
            .drafts
            .iter()
            .position(|draft| draft.block.label == edit.label)
        else {
            return Err(self.no_such_block(&edit.label));
        };
        let draft = &mut self.drafts[at];
        if draft.block.read_only {
            return Err(ToolFailure::value(format!(
                "block '{}' is read-only",
                edit.label
            )));
        }
        // Blocks hold no NUL, whoever writes them (memory-and-blocks §1).
        let value = edit
            .kind
            .apply(&edit.label, &draft.value)?
            .replace('\0', "");
        if self.strict_limits {
            check_limit(&draft.block, &value)?;
        }
        draft.value = value;
        Ok(&draft.value)
    }

    fn no_such_block(&self, label: &str) -> ToolFailure {
        let labels: Vec<&str> = self
            .drafts
            .iter()
            .map(|draft| draft.block.label.as_str())
            .collect();
        let known = if labels.is_empty() {
            "there are none".to_owned()
        } else {
            labels.join(", ")
        };
        ToolFailure::value(format!(
            "there is no memory block '{label}'; available labels: {known}"
        ))
    }
}

fn check_limit(block: &Block, value: &str) -> Result<(), ToolFailure> {
    let length = value.chars().count() as u64;
    if length <= block.limit {
        return Ok(());
    }
    Err(ToolFailure::value(format!(
        "block '{}' holds at most {} characters, the new value has {length}",
        block.label, block.limit
    )))
}

#[cfg(test)]
mod tests;
