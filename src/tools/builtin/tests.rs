use super::*;
use crate::domain::id::AgentId;
use crate::domain::memory::{Edit, EditKind};
use crate::domain::message::Message;
use crate::egress::Egress;
use crate::tools::sandbox::{AgentView, Sandbox};
use crate::tools::toolbox::Toolbox;
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;

/// An agent that remembers nothing.
struct Nobody;

impl Host for Nobody {
    fn agent_id(&self) -> AgentId {
        AgentId::new()
    }

    fn timezone(&self) -> &str {
        "UTC"
    }

    fn search_messages<'a>(
        &'a self,
        _keep: Arc<dyn Fn(&Message) -> bool + Send + Sync>,
        _limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Message>, ToolFailure>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn tell<'a>(
        &'a self,
        _to: AgentId,
        _text: &'a str,
        _wait: bool,
    ) -> BoxFuture<'a, Result<Vec<String>, ToolFailure>> {
        unreachable!("nobody is told")
    }

    fn tagged<'a>(
        &'a self,
        _all: &'a [String],
        _some: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<AgentId>, ToolFailure>> {
        unreachable!("nobody is told")
    }

    fn sandbox(&self) -> &Sandbox {
        unreachable!("nothing is run")
    }

    fn egress(&self) -> &Egress {
        unreachable!("nothing is fetched")
    }

    fn sources(&self) -> Vec<String> {
        Vec::new()
    }

    fn view(&self) -> BoxFuture<'_, Result<AgentView, ToolFailure>> {
        unreachable!("no built-in tool asks")
    }
}

fn start(name: &str, arguments: Value) -> Work {
    let Value::Object(arguments) = arguments else {
        panic!("a test passes an object")
    };
    Toolbox::builtin()
        .by_name(name)
        .unwrap()
        .start(arguments, Arc::new(Nobody))
}

fn edit(name: &str, arguments: Value) -> EditKind {
    match start(name, arguments) {
        Work::Edit(Edit { label, kind }) if label == "human" => kind,
        _ => panic!("{name} is an edit of the block"),
    }
}

fn result(name: &str, arguments: Value) -> ToolResult {
    match start(name, arguments) {
        Work::Done(result) => result,
        _ => panic!("{name} is done at once"),
    }
}

#[test]
fn memory_tools_turn_into_intents() {
    let (a, b) = (|| "a".to_owned(), || "b".to_owned());
    let table = [
        (
            "core_memory_append",
            json!({"label": "human", "content": "a"}),
            EditKind::Append { content: a() },
        ),
        (
            "core_memory_replace",
            json!({"label": "human", "old_content": "a", "new_content": "b"}),
            EditKind::ReplaceAll { old: a(), new: b() },
        ),
        (
            "memory_replace",
            json!({"label": "human", "old_string": "a", "new_string": "b"}),
            EditKind::ReplaceOne { old: a(), new: b() },
        ),
        (
            "memory_insert",
            json!({"label": "human", "new_string": "a"}),
            EditKind::Insert {
                text: a(),
                line: -1,
            },
        ),
        (
            "memory_insert",
            json!({"label": "human", "new_string": "a", "insert_line": 2}),
            EditKind::Insert { text: a(), line: 2 },
        ),
        (
            "memory_rethink",
            json!({"label": "human", "new_memory": "a"}),
            EditKind::Rethink { text: a() },
        ),
    ];
    for (name, arguments, expected) in table {
        assert_eq!(edit(name, arguments), expected, "{name}");
    }
}

#[test]
fn simple_tools_answer_at_once() {
    assert_eq!(
        result("send_message", json!({"message": "hi"})),
        ToolResult::success(Value::from("Sent message successfully."))
    );
    assert_eq!(
        result("memory_finish_edits", json!({})),
        ToolResult::success(Value::Null)
    );
}

#[test]
fn a_bad_call_is_an_error_return_in_both_forms() {
    let refused = result("memory_insert", json!({"label": "human"}));
    assert_eq!(
        refused.outcome.unwrap_err().message,
        "argument 'new_string' is missing"
    );
    let long =
        "Error executing function memory_insert: TypeError: argument 'new_string' is missing";
    assert_eq!(refused.stderr.unwrap(), [long]);

    let unbuilt = result("web_search", json!({"query": "q"}))
        .outcome
        .unwrap_err();
    assert_eq!(
        (&*unbuilt.name, unbuilt.message.as_str()),
        ("NotImplementedError", "this tool is not built yet")
    );
}

#[test]
fn the_set_is_the_one_of_the_contract() {
    let mut found: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for tool in &all() {
        let definition = tool.definition();
        found
            .entry(definition.tool_type.name())
            .or_default()
            .push(definition.name.clone());
    }
    let contract = [
        (
            "letta_builtin",
            "run_code run_code_with_tools web_search fetch_webpage",
        ),
        (
            "letta_core",
            "send_message conversation_search archival_memory_insert archival_memory_search",
        ),
        (
            "letta_files_core",
            "open_files grep_files semantic_search_files",
        ),
        (
            "letta_memory_core",
            "core_memory_append core_memory_replace memory memory_apply_patch",
        ),
        (
            "letta_multi_agent_core",
            "send_message_to_agent_and_wait_for_reply send_message_to_agents_matching_tags send_message_to_agent_async",
        ),
        (
            "letta_sleeptime_core",
            "memory_replace memory_insert memory_rethink memory_finish_edits",
        ),
        (
            "letta_voice_sleeptime_core",
            "store_memories rethink_user_memory finish_rethinking_memory search_memory",
        ),
    ];
    let found: Vec<(&str, String)> = found
        .into_iter()
        .map(|(kind, names)| (kind, names.join(" ")))
        .collect();
    assert_eq!(
        found,
        contract.map(|(kind, names)| (kind, names.to_owned()))
    );
}

#[test]
fn parallel_tools_and_uncut_ones_are_those_of_the_contract() {
    let names = |chosen: fn(&Arc<dyn Tool>) -> bool| -> Vec<String> {
        all()
            .iter()
            .filter(|tool| chosen(tool))
            .map(|tool| tool.definition().name.clone())
            .collect()
    };
    assert_eq!(
        names(|tool| tool.definition().enable_parallel_execution),
        [
            "conversation_search",
            "archival_memory_search",
            "grep_files",
            "semantic_search_files",
            "run_code",
            "web_search",
            "fetch_webpage"
        ]
    );
    assert_eq!(
        names(|tool| tool.uncut()),
        ["conversation_search", "archival_memory_search"]
    );
}

#[test]
fn a_definition_is_a_schema_that_models_understand() {
    for tool in all() {
        let definition = tool.definition();
        let schema = &definition.json_schema;
        assert_eq!(schema["name"], definition.name.as_str());
        assert_eq!(schema["description"], definition.description.as_str());
        assert!(
            jsonschema::meta::is_valid(&schema["parameters"]),
            "{}",
            definition.name
        );
    }
    let toolbox = Toolbox::builtin();
    assert_eq!(
        toolbox
            .by_name("memory_insert")
            .unwrap()
            .definition()
            .json_schema["parameters"],
        json!({
            "type": "object",
            "properties": {
                "label": {"type": "string", "description": "The label of the memory block to edit."},
                "new_string": {"type": "string", "description": "The text to insert."},
                "insert_line": {
                    "type": "integer",
                    "description": "The line to insert after: 0 is the start of the block, -1 (the default) its end.",
                },
            },
            "required": ["label", "new_string"],
        })
    );
    assert_eq!(
        toolbox
            .by_name("memory_insert")
            .unwrap()
            .definition()
            .id
            .to_string(),
        "tool-00000000-0000-4000-8000-00000000000a"
    );
}
