//! Patches of memory blocks (tools-and-sandbox §3): of one block, or of several under headings.

use super::{Edit, EditKind, clean, expand_tabs};
use crate::domain::tool::ToolFailure;

const ADD: &str = "*** Add Block:";
const DELETE: &str = "*** Delete Block:";
const UPDATE: &str = "*** Update Block:";
const MOVE: &str = "*** Move to:";
const DESCRIPTION: &str = "Description:";

/// The value after a patch of one block. Each hunk must fit exactly one place.
pub(super) fn apply(label: &str, value: &str, patch: &str) -> Result<String, ToolFailure> {
    let value = expand_tabs(value);
    let mut lines: Vec<String> = match value.as_str() {
        "" => Vec::new(),
        value => value.split('\n').map(str::to_owned).collect(),
    };
    let mut any = false;
    for hunk in hunks(patch)? {
        any |= hunk.changes;
        if hunk.old.is_empty() {
            lines.extend(hunk.new);
            continue;
        }
        let length = hunk.old.len();
        let mut places = lines
            .windows(length)
            .enumerate()
            .filter(|(_, window)| *window == hunk.old)
            .map(|(at, _)| at);
        let (first, more) = (places.next(), places.count());
        let told = hunk.old.join("\n");
        match first {
            None => {
                return Err(ToolFailure::value(format!(
                    "block '{label}' does not have these lines one after another: {told}"
                )));
            }
            Some(_) if more > 0 => {
                return Err(ToolFailure::value(format!(
                    "block '{label}' has these lines at {} places, give more of the lines around the one that is meant: {told}",
                    more + 1
                )));
            }
            Some(at) => drop(lines.splice(at..at + length, hunk.new)),
        }
    }
    if any {
        Ok(lines.join("\n"))
    } else {
        Err(ToolFailure::value("the patch adds and removes nothing"))
    }
}

#[derive(Debug, Default)]
struct Hunk {
    old: Vec<String>,
    new: Vec<String>,
    changes: bool,
}

fn hunks(patch: &str) -> Result<Vec<Hunk>, ToolFailure> {
    let mut hunks = vec![Hunk::default()];
    for line in patch.split('\n') {
        let line = line.strip_suffix('\r').unwrap_or(line);
        if ["*** ", "---", "+++"]
            .iter()
            .any(|mark| line.starts_with(mark))
        {
            continue;
        }
        if line.starts_with("@@") {
            hunks.push(Hunk::default());
            continue;
        }
        let Some(hunk) = hunks.last_mut() else {
            continue;
        };
        match line.split_at_checked(1) {
            Some(("+", text)) => {
                hunk.new.push(clean(text)?);
                hunk.changes = true;
            }
            Some(("-", text)) => {
                hunk.old.push(clean(text)?);
                hunk.changes = true;
            }
            Some((" ", text)) => {
                let text = clean(text)?;
                hunk.old.push(text.clone());
                hunk.new.push(text);
            }
            None => {
                hunk.old.push(String::new());
                hunk.new.push(String::new());
            }
            Some(_) => (),
        }
    }
    for hunk in &mut hunks {
        // The end of the text, and lines left empty around a heading, are no context.
        while hunk.old.last().is_some_and(String::is_empty)
            && hunk.new.last().is_some_and(String::is_empty)
        {
            hunk.old.pop();
            hunk.new.pop();
        }
    }
    hunks.retain(|hunk| !hunk.old.is_empty() || !hunk.new.is_empty());
    Ok(hunks)
}

/// What a patch of several blocks wants, and a line about each; `None` for one without headings.
///
/// # Errors
/// A heading without a label, or a new name without a block.
pub fn of_several(patch: &str) -> Result<Option<(Vec<Edit>, String)>, ToolFailure> {
    let mut edits: Vec<Edit> = Vec::new();
    let mut told: Vec<String> = Vec::new();
    let mut last: Option<String> = None;
    let heading = |line: &str, mark: &str| {
        let label = line.strip_prefix(mark)?.trim();
        Some(label.to_owned())
    };
    let named = |label: String| match label.is_empty() {
        true => Err(ToolFailure::value("a heading of the patch names no block")),
        false => Ok(label),
    };
    let lines: Vec<&str> = patch.lines().collect();
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        at += 1;
        let end = at
            + lines[at..]
                .iter()
                .take_while(|line| !is_heading(line))
                .count();
        let body = &lines[at..end];
        if let Some(label) = heading(line, ADD) {
            let label = named(label)?;
            let description = body.first().and_then(|line| heading(line, DESCRIPTION));
            let value = body.iter().filter_map(|line| line.strip_prefix('+'));
            let value: Vec<&str> = value.collect();
            told.push(format!("added block '{label}'"));
            last = Some(label.clone());
            let kind = EditKind::Create {
                description,
                value: clean(&value.join("\n"))?,
            };
            edits.push(Edit { label, kind });
        } else if let Some(label) = heading(line, DELETE) {
            let label = named(label)?;
            told.push(format!("deleted block '{label}'"));
            last = Some(label.clone());
            let kind = EditKind::Detach;
            edits.push(Edit { label, kind });
        } else if let Some(label) = heading(line, UPDATE) {
            let label = named(label)?;
            last = Some(label.clone());
            let patch = body.join("\n");
            // One that only renames has no hunks.
            if !hunks(&patch)?.is_empty() {
                told.push(format!("updated block '{label}'"));
                let kind = EditKind::Patch { patch };
                edits.push(Edit { label, kind });
            }
        } else if let Some(to) = heading(line, MOVE) {
            let to = named(to)?;
            let label = last.clone().ok_or_else(|| {
                ToolFailure::value(format!("'{MOVE} {to}' stands behind no block"))
            })?;
            told.push(format!("renamed block '{label}' to '{to}'"));
            // What follows in the same part means the block by its new name.
            last = Some(to.clone());
            edits.push(Edit {
                label: label.clone(),
                kind: EditKind::Rename { to: to.clone() },
            });
            if !hunks(&body.join("\n"))?.is_empty() {
                told.push(format!("updated block '{to}'"));
                let kind = EditKind::Patch {
                    patch: body.join("\n"),
                };
                edits.push(Edit { label: to, kind });
            }
        }
    }
    if edits.is_empty() {
        return Ok(None);
    }
    Ok(Some((edits, told.join("\n"))))
}

fn is_heading(line: &str) -> bool {
    [ADD, DELETE, UPDATE, MOVE]
        .iter()
        .any(|mark| line.starts_with(mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hunk_fits_one_place_or_none() {
        let value = "one\ntwo\nthree\ntwo\n\nlast";
        for (patch, result) in [
            ("-two\n+2\n three", Ok("one\n2\nthree\ntwo\n\nlast")),
            (
                "*** Begin Patch\n@@\n one\n+1.5\n@@ here\n-last\n*** End Patch",
                Ok("one\n1.5\ntwo\nthree\ntwo\n"),
            ),
            (
                "+more\n+lines",
                Ok("one\ntwo\nthree\ntwo\n\nlast\nmore\nlines"),
            ),
            (" two\n\n-last\n+end", Ok("one\ntwo\nthree\ntwo\n\nend")),
            ("-two", Err("2 places")),
            ("-four", Err("does not have these lines")),
            (" one", Err("adds and removes nothing")),
            ("", Err("adds and removes nothing")),
            ("+1→ numbered", Err("line number")),
        ] {
            let found = apply("b", value, patch);
            match (found, result) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{patch}"),
                (Err(failure), Err(part)) => {
                    assert!(failure.message.contains(part), "{patch}: {failure}");
                }
                (found, _) => panic!("{patch}: {found:?}"),
            }
        }
        assert_eq!(apply("b", "", "+first"), Ok("first".to_owned()));
    }

    #[test]
    fn headings_name_blocks() {
        let patch = "*** Begin Patch\n*** Add Block: new\nDescription: what for\n+a\n+b\n*** Update Block: old\n-x\n+y\n*** Move to: older\n*** Delete Block: gone\n*** End Patch";
        let (edits, told) = of_several(patch).unwrap().unwrap();
        let edit = |label: &str, kind| Edit {
            label: label.to_owned(),
            kind,
        };
        assert_eq!(
            edits,
            [
                edit(
                    "new",
                    EditKind::Create {
                        description: Some("what for".to_owned()),
                        value: "a\nb".to_owned()
                    }
                ),
                edit(
                    "old",
                    EditKind::Patch {
                        patch: "-x\n+y".to_owned()
                    }
                ),
                edit(
                    "old",
                    EditKind::Rename {
                        to: "older".to_owned()
                    }
                ),
                edit("gone", EditKind::Detach),
            ]
        );
        assert_eq!(told.lines().count(), 4);
        assert_eq!(of_several("-x\n+y"), Ok(None));
        assert!(of_several("*** Add Block:").is_err());
        assert!(of_several("*** Move to: x").is_err());
    }
}
