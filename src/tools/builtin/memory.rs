//! The tools that edit core memory. A call becomes an intent; `domain::memory` says what it does to a value.

use super::{Builtin, Parameter};
use crate::domain::memory::{self, Edit, EditKind};
use crate::domain::tool::{ToolFailure, ToolResult, ToolType};
use crate::tools::Work;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

pub(super) fn tools() -> [Builtin; 8] {
    [
        append(),
        replace_all(),
        replace_one(),
        insert(),
        rethink(),
        finish_edits(),
        memory(),
        apply_patch(),
    ]
}

fn label() -> Parameter {
    Parameter::text("label", "The label of the memory block to edit.")
}

fn edit(label: String, kind: EditKind) -> Work {
    Work::Edit(Edit { label, kind })
}

fn memory() -> Builtin {
    Builtin::new(
        7,
        ToolType::MemoryCore,
        "memory",
        "Manages memory blocks, each named by a path /memories/<label>. Commands: create (path, description, \
         file_text), str_replace (path, old_string, new_string), insert (path, insert_text, insert_line), delete \
         (path), rename (old_path and new_path for the label, or path and description for the description).",
        vec![
            Parameter::text("command", "create, str_replace, insert, delete or rename."),
            Parameter::text("path", "The block.").optional(),
            Parameter::text("file_text", "The value of a new block.").optional(),
            Parameter::text("description", "What the block is for.").optional(),
            Parameter::text(
                "old_string",
                "The text to replace; it must occur exactly once.",
            )
            .optional(),
            Parameter::text("new_string", "The text to put in its place.").optional(),
            Parameter::integer(
                "insert_line",
                "The line to insert after: 0 is the start, -1 the end.",
            )
            .optional(),
            Parameter::text("insert_text", "The text to insert.").optional(),
            Parameter::text("old_path", "The block to rename.").optional(),
            Parameter::text("new_path", "Its new path.").optional(),
        ],
        |command: Command, _| command.edit().map(Work::Edit),
    )
}

/// The arguments of `memory`; which of them count says the command.
#[derive(Deserialize)]
struct Command {
    command: String,
    path: Option<String>,
    file_text: Option<String>,
    description: Option<String>,
    old_string: Option<String>,
    new_string: Option<String>,
    insert_line: Option<i64>,
    insert_text: Option<String>,
    old_path: Option<String>,
    new_path: Option<String>,
}

impl Command {
    fn edit(self) -> Result<Edit, ToolFailure> {
        const END: i64 = -1;
        let command = self.command.clone();
        let needs =
            |what: &str| ToolFailure::value(format!("the command '{command}' needs {what}"));
        let path = self.path.as_deref().map(label_of);
        let at = |what: &str| path.clone().ok_or_else(|| needs(what));
        let edit = |label, kind| Ok(Edit { label, kind });
        match command.as_str() {
            "create" => {
                let what = "path and description";
                let kind = EditKind::Create {
                    description: Some(self.description.ok_or_else(|| needs(what))?),
                    value: self.file_text.unwrap_or_default(),
                };
                edit(at(what)?, kind)
            }
            "str_replace" => {
                let what = "path, old_string and new_string";
                let kind = EditKind::ReplaceOne {
                    old: self.old_string.ok_or_else(|| needs(what))?,
                    new: self.new_string.ok_or_else(|| needs(what))?,
                };
                edit(at(what)?, kind)
            }
            "insert" => {
                let what = "path and insert_text";
                let kind = EditKind::Insert {
                    text: self.insert_text.ok_or_else(|| needs(what))?,
                    line: self.insert_line.unwrap_or(END),
                };
                edit(at(what)?, kind)
            }
            "delete" => edit(at("path")?, EditKind::Detach),
            "rename" => match (self.old_path, self.new_path, path, self.description) {
                (Some(old), Some(new), _, _) => {
                    let to = label_of(&new);
                    edit(label_of(&old), EditKind::Rename { to })
                }
                (_, _, Some(label), Some(description)) => {
                    edit(label, EditKind::Describe { description })
                }
                _ => Err(needs("old_path and new_path, or path and description")),
            },
            _ => Err(ToolFailure::value(format!(
                "'{command}' is no command: there are create, str_replace, insert, delete and rename"
            ))),
        }
    }
}

/// The label in a path.
fn label_of(path: &str) -> String {
    let label = path.strip_prefix("/memories/");
    let label = label.or_else(|| path.strip_prefix('/'));
    label.unwrap_or(path).to_owned()
}

fn apply_patch() -> Builtin {
    #[derive(Deserialize)]
    struct Arguments {
        label: String,
        patch: String,
    }
    Builtin::new(
        8,
        ToolType::MemoryCore,
        "memory_apply_patch",
        "Applies a patch to memory. Lines start with a space (stays), - (goes) or + (comes), and @@ separates \
         hunks. To touch several blocks, head each part with *** Add Block:, *** Update Block: or \
         *** Delete Block: and the label; *** Move to: renames.",
        vec![
            Parameter::text("label", "The block to patch, when the patch names none."),
            Parameter::text("patch", "The patch."),
        ],
        |Arguments { label, patch }, _| match memory::of_several(&patch)? {
            None => Ok(edit(label, EditKind::Patch { patch })),
            Some((edits, told)) => Ok(Work::Done(ToolResult {
                edits,
                ..ToolResult::success(Value::from(told))
            })),
        },
    )
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
