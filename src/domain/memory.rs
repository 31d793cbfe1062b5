//! Edits of core memory by the agent's own tools: intents, applied to the newest value (decisions 32).

mod patch;

pub use self::patch::of_several;
use super::block::{self, Block, BlockChange, NewBlock};
use super::id::{BlockId, UserId};
use super::prompt;
use super::tool::{ToolFailure, ToolResult};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::HashSet;
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
    Append {
        content: String,
    },
    /// `core_memory_replace`: every occurrence.
    ReplaceAll {
        old: String,
        new: String,
    },
    /// `memory_replace`: exactly one occurrence.
    ReplaceOne {
        old: String,
        new: String,
    },
    /// `memory_insert`: after that line, 0 is the start, -1 the end.
    Insert {
        text: String,
        line: i64,
    },
    /// `memory_rethink`
    Rethink {
        text: String,
    },
    /// `memory_apply_patch`
    Patch {
        patch: String,
    },
    /// By a source through its agent's state: the value as it is.
    Set {
        text: String,
    },
    /// A new block of this label, attached.
    Create {
        description: Option<String>,
        value: String,
    },
    /// The agent loses the block; others keep it.
    Detach,
    /// Another label, on every agent that has the block.
    Rename {
        to: String,
    },
    Describe {
        description: String,
    },
}

impl EditKind {
    /// The new value. All but the two `core_` edits refuse text that was copied with the prompt's line numbers, and
    /// expand tabs in their texts and in the block (tools-and-sandbox §3).
    ///
    /// # Errors
    /// A sentence for the model when the edit does not fit the value.
    fn apply(&self, label: &str, value: &str) -> Result<String, ToolFailure> {
        match self {
            Self::Append { content } => Ok(format!("{value}\n{content}")),
            Self::ReplaceAll { old, new } => replace_all(label, value, old, new),
            Self::ReplaceOne { old, new } => {
                replace_one(label, &expand_tabs(value), &clean(old)?, &clean(new)?)
            }
            Self::Insert { text, line } => insert(label, &expand_tabs(value), &clean(text)?, *line),
            Self::Rethink { text } => clean(text),
            Self::Patch { patch } => patch::apply(label, value, patch),
            Self::Set { text } => Ok(text.clone()),
            // These leave the value.
            Self::Create { .. } | Self::Detach | Self::Rename { .. } | Self::Describe { .. } => {
                Ok(value.to_owned())
            }
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
    label: String,
    description: Option<String>,
    value: String,
    /// Made by an edit: there is no record of it.
    is_new: bool,
    /// Taken away by an edit.
    is_gone: bool,
    /// Seen by one conversation only: it is no agent's to be detached or renamed.
    is_isolated: bool,
    /// Other agents have it as well, by the same label.
    is_shared: bool,
}

impl Draft {
    fn of(block: Arc<Block>) -> Self {
        Self {
            label: block.label.clone(),
            description: block.description.clone(),
            value: block.value.clone(),
            block,
            is_new: false,
            is_gone: false,
            is_isolated: false,
            is_shared: false,
        }
    }
}

/// What the edits of one step come to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MemoryChange {
    /// New versions of blocks that are there.
    pub written: Vec<Block>,
    /// First versions, to be attached.
    pub made: Vec<Block>,
    pub detached: Vec<BlockId>,
    /// Of those in `written` and in `detached`, which have another label than before.
    pub renamed: Vec<BlockId>,
}

impl MemoryChange {
    pub fn is_empty(&self) -> bool {
        self.written.is_empty() && self.made.is_empty() && self.detached.is_empty()
    }
}

impl CoreMemory {
    /// `strict_limits`: an edit that leaves a block over its limit fails (`strict_block_limits`, decisions 7).
    pub fn new(blocks: impl IntoIterator<Item = Arc<Block>>, strict_limits: bool) -> Self {
        Self {
            drafts: blocks.into_iter().map(Draft::of).collect(),
            strict_limits,
        }
    }

    /// The blocks that are not among `agents` are a conversation's own.
    pub fn isolating(mut self, agents: &[Arc<Block>]) -> Self {
        let agents: HashSet<BlockId> = agents.iter().map(|block| block.id).collect();
        for draft in &mut self.drafts {
            draft.is_isolated = !agents.contains(&draft.block.id);
        }
        self
    }

    /// Blocks that other agents have, which keep their labels.
    pub fn sharing(mut self, shared: HashSet<BlockId>) -> Self {
        for draft in &mut self.drafts {
            draft.is_shared = shared.contains(&draft.block.id);
        }
        self
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

    /// One write for each block that is now another, however many edits it took.
    pub fn changed(self, by: UserId, now: Timestamp) -> MemoryChange {
        let mut change = MemoryChange::default();
        for draft in self.drafts {
            let Draft { block, label, .. } = &draft;
            match (draft.is_new, draft.is_gone) {
                (true, true) => continue,
                (true, false) => {
                    change.made.push(Block {
                        label: label.clone(),
                        description: draft.description.clone(),
                        value: draft.value.clone(),
                        created_by: Some(by),
                        updated_by: Some(by),
                        created_at: now,
                        updated_at: now,
                        ..Block::clone(block)
                    });
                    continue;
                }
                (false, true) => change.detached.push(block.id),
                (false, false) => (),
            }
            let written = BlockChange {
                label: Some(label.clone()),
                description: draft.description.clone(),
                value: Some(draft.value.clone()),
                ..BlockChange::default()
            };
            if let Some(written) = written.apply(block, by, now) {
                if written.label != block.label {
                    change.renamed.push(block.id);
                }
                change.written.push(written);
            }
        }
        change
    }

    /// The return of an edit: the new value, or what was done.
    fn edit(&mut self, edit: &Edit) -> Result<String, ToolFailure> {
        let label = &edit.label;
        let at = self.place(label);
        if let EditKind::Create { description, value } = &edit.kind {
            return match at {
                Some(_) => Err(ToolFailure::value(format!(
                    "there is a block '{label}' already"
                ))),
                None => self.create(label, description.as_deref(), value),
            };
        }
        let Some(at) = at else {
            return Err(self.no_such_block(label));
        };
        if let EditKind::Rename { to } = &edit.kind
            && self.place(to).is_some()
        {
            return Err(ToolFailure::value(format!(
                "there is a block '{to}' already"
            )));
        }
        let draft = &mut self.drafts[at];
        if draft.block.read_only {
            return Err(ToolFailure::value(format!("block '{label}' is read-only")));
        }
        let of_one_thread = || {
            ToolFailure::value(format!(
                "block '{label}' belongs to this conversation alone, and stays as it is but for its value"
            ))
        };
        match &edit.kind {
            EditKind::Detach | EditKind::Rename { .. } if draft.is_isolated => Err(of_one_thread()),
            EditKind::Rename { .. } if draft.is_shared => Err(ToolFailure::value(format!(
                "block '{label}' is shared with other agents, and keeps its label"
            ))),
            EditKind::Detach => {
                draft.is_gone = true;
                Ok(format!("Successfully deleted memory block '{label}'"))
            }
            EditKind::Rename { to } => {
                draft.label = checked_label(to)?;
                Ok(format!(
                    "Successfully renamed memory block '{label}' to '{to}'"
                ))
            }
            EditKind::Describe { description } => {
                draft.description = Some(description.replace('\0', ""));
                Ok(format!(
                    "Successfully updated description of memory block '{label}'"
                ))
            }
            kind => {
                // Blocks hold no NUL, whoever writes them (memory-and-blocks §1).
                let value = kind.apply(label, &draft.value)?.replace('\0', "");
                if self.strict_limits {
                    check_limit(&draft.block, &value)?;
                }
                draft.value.clone_from(&value);
                Ok(value)
            }
        }
    }

    fn place(&self, label: &str) -> Option<usize> {
        let is_it = |draft: &Draft| draft.label == *label && !draft.is_gone;
        self.drafts.iter().position(is_it)
    }

    fn create(
        &mut self,
        label: &str,
        description: Option<&str>,
        value: &str,
    ) -> Result<String, ToolFailure> {
        let new = NewBlock {
            label: checked_label(label)?,
            value: value.replace('\0', ""),
            limit: block::DEFAULT_LIMIT,
            description: description.map(|text| text.replace('\0', "")),
            read_only: false,
            hidden: None,
            metadata: json!({}),
            tags: Vec::new(),
            is_template: false,
            template_name: None,
            template_id: None,
            base_template_id: None,
            deployment_id: None,
            entity_id: None,
            preserve_on_migration: None,
            project_id: None,
        };
        // Who makes it and when is filled in by `changed`.
        let block = new.create(UserId::DEFAULT, Timestamp::UNIX_EPOCH);
        if self.strict_limits {
            check_limit(&block, &block.value)?;
        }
        self.drafts.push(Draft {
            is_new: true,
            ..Draft::of(Arc::new(block))
        });
        Ok(format!("Successfully created memory block '{label}'"))
    }

    fn no_such_block(&self, label: &str) -> ToolFailure {
        let labels: Vec<&str> = self
            .drafts
            .iter()
            .filter(|draft| !draft.is_gone)
            .map(|draft| draft.label.as_str())
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

/// A label that a model made up: one line, not empty, and no longer than a screen.
fn checked_label(label: &str) -> Result<String, ToolFailure> {
    let label = label.trim();
    if label.is_empty() || label.chars().count() > MOST_LABEL || label.chars().any(char::is_control)
    {
        return Err(ToolFailure::value(format!(
            "'{label}' cannot be the label of a block: one line of 1 to {MOST_LABEL} characters can"
        )));
    }
    Ok(label.to_owned())
}

/// Characters of a label that a tool gives.
const MOST_LABEL: usize = 200;

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
