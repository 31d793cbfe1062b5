use super::EditKind::{Append, Insert, ReplaceAll, ReplaceOne, Rethink};
use super::*;
use crate::domain::block::NewBlock;

fn append(content: &str) -> EditKind {
    Append {
        content: content.into(),
    }
}

fn replace_all(old: &str, new: &str) -> EditKind {
    ReplaceAll {
        old: old.into(),
        new: new.into(),
    }
}

fn replace_one(old: &str, new: &str) -> EditKind {
    ReplaceOne {
        old: old.into(),
        new: new.into(),
    }
}

fn insert(text: &str, line: i64) -> EditKind {
    Insert {
        text: text.into(),
        line,
    }
}

fn rethink(text: &str) -> EditKind {
    Rethink { text: text.into() }
}

#[test]
fn edits_that_fit_give_the_new_value() {
    let table = [
        (append("b"), "a", "a\nb"),
        (append("1→ kept\tas it is"), "", "\n1→ kept\tas it is"),
        (replace_all("a", "b"), "a-a", "b-b"),
        (replace_all("\ta", ""), "x\ta", "x"),
        (replace_one("two", "2"), "one two three", "one 2 three"),
        (replace_one("é→", "e"), "caf é→!", "caf e!"),
        (replace_one("a\tb", "c"), "a       b", "c"),
        (insert("new", -1), "a\nb", "a\nb\nnew"),
        (insert("new", 0), "a\nb", "new\na\nb"),
        (insert("new", 1), "a\r\nb", "a\r\nnew\nb"),
        (insert("new", 2), "a\nb", "a\nb\nnew"),
        (insert("x\ny", 1), "a\nb", "a\nx\ny\nb"),
        (insert("first", -1), "", "first"),
        (insert("new", -1), "a\tb", "a       b\nnew"),
        (rethink("all\tnew"), "old", "all     new"),
        (rethink(""), "old", ""),
    ];
    for (edit, value, expected) in table {
        assert_eq!(
            edit.apply("human", value).as_deref(),
            Ok(expected),
            "{edit:?} on {value:?}"
        );
    }
}

#[test]
fn edits_that_do_not_fit_say_why() {
    let copied = format!("a\n{}\nb", prompt::LINE_NUMBERS_WARNING);
    let table = [
        (
            replace_all("x", "y"),
            "abc",
            "'human' does not contain this exact text: x",
        ),
        (replace_all("", "y"), "abc", "is empty"),
        (
            replace_one("x", "y"),
            "abc",
            "'human' does not contain this exact text: x",
        ),
        (replace_one("", "y"), "", "is empty"),
        (
            replace_one("a", "b"),
            "a\nx\na a",
            "3 places with that text, on lines 1, 3, 3",
        ),
        (replace_one("a\nb", "c"), "a\nb\na\nb", "on lines 1, 3"),
        (
            replace_one("12→ a", "b"),
            "12→ a",
            "starts with a line number",
        ),
        (replace_one("a", " \t7→b"), "a", "starts with a line number"),
        (insert("x\n  3→y", 0), "a", "starts with a line number"),
        (insert("x", 3), "a\nb", "from 0 (the start) to 2"),
        (insert("x", -2), "a\nb", "no line -2"),
        (insert("x", 1), "", "from 0 (the start) to 0"),
        (rethink("1→ a"), "a", "starts with a line number"),
        (rethink(&copied), "a", "warning about line numbers"),
    ];
    for (edit, value, expected) in table {
        let failure = edit.apply("human", value).unwrap_err();
        assert_eq!(failure.name, "ValueError");
        assert!(
            failure.message.contains(expected),
            "{edit:?} on {value:?}: {failure}"
        );
    }
}

#[test]
fn only_a_number_before_an_arrow_at_the_start_of_a_line_counts_as_a_line_number() {
    for harmless in ["→ a", "step 1→2", "1 → 2", "12", ""] {
        assert_eq!(
            rethink(harmless).apply("human", "").as_deref(),
            Ok(harmless)
        );
    }
}

fn block(label: &str, value: &str) -> Block {
    let new = NewBlock {
        label: label.into(),
        value: value.into(),
        limit: 10,
        description: None,
        read_only: false,
        hidden: None,
        metadata: Value::Null,
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
    new.create(UserId::DEFAULT, Timestamp::UNIX_EPOCH)
}

fn memory(strict_limits: bool) -> CoreMemory {
    let system = Block {
        read_only: true,
        ..block("system", "fixed")
    };
    let blocks = [block("human", "Ada"), block("persona", "calm"), system];
    CoreMemory::new(blocks.map(Arc::new), strict_limits)
}

fn edit(label: &str, kind: EditKind) -> Edit {
    Edit {
        label: label.into(),
        kind,
    }
}

fn message(result: ToolResult) -> String {
    match result.outcome {
        Ok(value) => value.as_str().unwrap().to_owned(),
        Err(failure) => failure.message,
    }
}

#[test]
fn edits_of_a_step_see_each_other_and_make_one_write_a_block() {
    let now: Timestamp = "2026-11-22T09:54:50Z".parse().unwrap();
    let mut memory = memory(false);
    assert_eq!(
        message(memory.apply("t", &edit("human", append("tea")))),
        "Ada\ntea"
    );
    assert_eq!(
        message(memory.apply("t", &edit("human", replace_one("tea", "rye\0")))),
        "Ada\nrye"
    );
    memory.apply("t", &edit("persona", rethink("bold")));
    memory.apply("t", &edit("persona", rethink("calm")));

    let changed = memory.changed(UserId::DEFAULT, now).written;
    let seen: Vec<_> = changed
        .iter()
        .map(|b| (b.label.as_str(), b.value.as_str(), b.version))
        .collect();
    assert_eq!(seen, [("human", "Ada\nrye", 2)]);
    assert_eq!(changed[0].updated_at, now);
}

#[test]
fn a_refused_edit_changes_nothing_and_names_the_reason() {
    let mut memory = memory(false);
    let unknown = memory.apply("memory_insert", &edit("humans", append("x")));
    assert_eq!(
        unknown.stderr.as_ref().unwrap()[0],
        format!(
            "Error executing function memory_insert: ValueError: {}",
            message(unknown.clone())
        )
    );
    assert!(message(unknown).ends_with("available labels: human, persona, system"));
    assert_eq!(
        message(memory.apply("t", &edit("system", append("x")))),
        "block 'system' is read-only"
    );
    assert!(
        memory
            .changed(UserId::DEFAULT, Timestamp::UNIX_EPOCH)
            .is_empty()
    );
}

#[test]
fn limits_bind_only_when_they_are_strict_and_count_characters() {
    let long = edit("human", rethink("éééééééééé!"));
    let exact = edit("human", rethink("éééééééééé"));
    assert!(memory(false).apply("t", &long).outcome.is_ok());
    assert!(memory(true).apply("t", &exact).outcome.is_ok());
    assert_eq!(
        message(memory(true).apply("t", &long)),
        "block 'human' holds at most 10 characters, the new value has 11"
    );
}

#[test]
fn blocks_are_made_named_and_dropped_within_a_step() {
    let create = |label: &str| {
        let kind = EditKind::Create {
            description: Some("d".into()),
            value: "v".into(),
        };
        edit(label, kind)
    };
    let rename = |label: &str, to: &str| edit(label, EditKind::Rename { to: to.into() });
    let mut memory = memory(false);
    for wanted in [
        create("plan"),
        rename("plan", "steps"),
        edit("steps", append("more")),
        create("passing"),
        edit("passing", EditKind::Detach),
        rename("human", "user"),
        create("human"),
        edit("persona", EditKind::Detach),
    ] {
        let result = memory.apply("t", &wanted);
        assert!(result.outcome.is_ok(), "{wanted:?}: {result:?}");
    }
    for wanted in [
        create("user"),
        create(""),
        create("a\nb"),
        rename("user", "steps"),
        rename("user", ""),
        edit("persona", append("x")),
        edit("system", EditKind::Detach),
        rename("system", "x"),
        edit(
            "system",
            EditKind::Describe {
                description: "x".into(),
            },
        ),
    ] {
        let result = memory.apply("t", &wanted);
        assert!(result.outcome.is_err(), "{wanted:?}: {result:?}");
    }
    let persona = memory.drafts[1].block.id;
    let change = memory.changed(UserId::DEFAULT, Timestamp::UNIX_EPOCH);
    let labels = |blocks: &[Block]| -> Vec<String> {
        blocks.iter().map(|block| block.label.clone()).collect()
    };
    assert_eq!(labels(&change.made), ["steps", "human"]);
    assert_eq!(change.made[0].value, "v\nmore");
    assert_eq!(labels(&change.written), ["user"]);
    assert_eq!(change.renamed, [change.written[0].id]);
    assert_eq!(change.detached, [persona]);
}

#[test]
fn what_a_call_wants_happens_as_a_whole_or_not_at_all() {
    let mut memory = memory(false);
    let result = ToolResult {
        edits: vec![edit("human", append("x")), edit("system", append("x"))],
        ..ToolResult::success(Value::from("done"))
    };
    assert!(memory.settle("t", &result).outcome.is_err());
    assert!(
        memory
            .clone()
            .changed(UserId::DEFAULT, Timestamp::UNIX_EPOCH)
            .is_empty()
    );
    let result = ToolResult {
        edits: vec![edit("human", append("x"))],
        ..ToolResult::success(Value::from("done"))
    };
    assert_eq!(message(memory.settle("t", &result)), "done");
    assert_eq!(
        memory
            .changed(UserId::DEFAULT, Timestamp::UNIX_EPOCH)
            .written
            .len(),
        1
    );
}

#[test]
fn a_conversations_own_block_and_a_shared_one_keep_their_names() {
    let agents = [Arc::new(block("human", "Ada"))];
    let own = Arc::new(block("persona", "calm"));
    let shared = HashSet::from([agents[0].id]);
    let seen = [agents[0].clone(), own];
    let mut memory = CoreMemory::new(seen, false)
        .isolating(&agents)
        .sharing(shared);
    let rename = |label: &str| edit(label, EditKind::Rename { to: "x".into() });
    assert!(message(memory.apply("t", &rename("persona"))).contains("this conversation"));
    assert!(
        message(memory.apply("t", &edit("persona", EditKind::Detach)))
            .contains("this conversation")
    );
    assert!(message(memory.apply("t", &rename("human"))).contains("shared"));
    assert_eq!(
        message(memory.apply("t", &edit("persona", append("b")))),
        "calm\nb"
    );
}
