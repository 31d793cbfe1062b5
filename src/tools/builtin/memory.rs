//! The tools that edit core memory. A call becomes an intent; `domain::memory` says what it does to a value.

use super::{Builtin, Parameter};
use crate::domain::memory::{Edit, EditKind};
use crate::domain::tool::{ToolResult, ToolType};
use crate::tools::Work;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

pub(super) fn tools() -> [Builtin; 6] {
    [
        append(),
        replace_all(),
        replace_one(),
        insert(),
        rethink(),
        finish_edits(),
    ]
}

fn label() -> Parameter {
    Parameter::text("label", "The label of the memory block to edit.")
}

fn edit(label: String, kind: EditKind) -> Work {
    Work::Edit(Edit { label, kind })
}

fn append() -> Builtin {
    #[derive(Deserialize)]
    struct Arguments {
        label: String,
        content: String,
    }
    Builtin::new(
        5,
        ToolType::MemoryCore,
        "core_memory_append",
        "Adds text at the end of a memory block, on a new line. Returns the whole new value.",
        vec![label(), Parameter::text("content", "The text to add.")],
        |Arguments { label, content }, _| Ok(edit(label, EditKind::Append { content })),
    )
}

fn replace_all() -> Builtin {
    #[derive(Deserialize)]
    struct Arguments {
        label: String,
        old_content: String,
        new_content: String,
    }
    Builtin::new(
        6,
        ToolType::MemoryCore,
        "core_memory_replace",
        "Replaces a text in a memory block wherever it occurs; an empty new text deletes it. \
         Returns the whole new value.",
        vec![
            label(),
            Parameter::text(
                "old_content",
                "The text to replace, exactly as it stands in the block.",
            ),
            Parameter::text("new_content", "The text to put in its place."),
        ],
        |Arguments {
             label,
             old_content: old,
             new_content: new,
         },
         _| Ok(edit(label, EditKind::ReplaceAll { old, new })),
    )
}

fn replace_one() -> Builtin {
    #[derive(Deserialize)]
    struct Arguments {
        label: String,
        old_string: String,
        new_string: String,
    }
    Builtin::new(
        9,
        ToolType::SleeptimeCore,
        "memory_replace",
        "Replaces one place in a memory block. The old text must occur exactly once, spaces and line breaks included: \
         take enough of the text around the place to make it unique, and leave out line numbers. An empty new text \
         deletes the old one. Returns the whole new value.",
        vec![
            label(),
            Parameter::text(
                "old_string",
                "The text to replace, exactly as it stands in the block.",
            ),
            Parameter::text("new_string", "The text to put in its place."),
        ],
        |Arguments {
             label,
             old_string: old,
             new_string: new,
         },
         _| Ok(edit(label, EditKind::ReplaceOne { old, new })),
    )
}

fn insert() -> Builtin {
    #[derive(Deserialize)]
    struct Arguments {
        label: String,
        new_string: String,
        insert_line: Option<i64>,
    }
    const END: i64 = -1;
    Builtin::new(
        10,
        ToolType::SleeptimeCore,
        "memory_insert",
        "Inserts text into a memory block, as new lines after a given one or at the end. Leave out line numbers. \
         Returns the whole new value.",
        vec![
            label(),
            Parameter::text("new_string", "The text to insert."),
            Parameter::integer(
                "insert_line",
                "The line to insert after: 0 is the start of the block, -1 (the default) its end.",
            )
            .optional(),
        ],
        |Arguments {
             label,
             new_string: text,
             insert_line,
         },
         _| {
            Ok(edit(
                label,
                EditKind::Insert {
                    text,
                    line: insert_line.unwrap_or(END),
                },
            ))
        },
    )
}

fn rethink() -> Builtin {
    #[derive(Deserialize)]
    struct Arguments {
        label: String,
        new_memory: String,
    }
    Builtin::new(
        11,
        ToolType::SleeptimeCore,
        "memory_rethink",
        "Writes a memory block anew, to reorganise it or to condense it. What the new text leaves out is gone; for a \
         small change use memory_replace or memory_insert. Returns the new value.",
        vec![
            label(),
            Parameter::text(
                "new_memory",
                "The whole new value of the block, without line numbers.",
            ),
        ],
        |Arguments {
             label,
             new_memory: text,
         },
         _| Ok(edit(label, EditKind::Rethink { text })),
    )
}

fn finish_edits() -> Builtin {
    Builtin::new(
        12,
        ToolType::SleeptimeCore,
        "memory_finish_edits",
        "Says that you are done with editing memory for now.",
        Vec::new(),
        |_: IgnoredAny, _| Ok(Work::Done(ToolResult::success(Value::Null))),
    )
}
