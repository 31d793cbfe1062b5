//! Edits of core memory by the agent's own tools: intents, applied to the newest value (decisions 32).

use super::tool::ToolFailure;

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
}

impl EditKind {
    /// The new value.
    ///
    /// # Errors
    /// A sentence for the model when the edit does not fit the value.
    pub fn apply(&self, label: &str, value: &str) -> Result<String, ToolFailure> {
        let _ = (label, value);
        Err(ToolFailure::value("not built"))
    }
}
