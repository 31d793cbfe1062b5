use super::*;
use crate::domain::clock;
use crate::domain::id::{AgentId, RunId, StepId};
use crate::domain::message::{Image, Part, ToolStatus};
use crate::domain::model::{ModelRequest, ToolChoice};
use crate::domain::tokens::Counter;
use crate::store::testing::llm_config;
use serde_json::json;
use std::sync::Arc;

fn message(role: Role, content: Vec<Part>) -> Domain {
    let mut message = Domain::new(AgentId::new(), role, clock::now());
    message.content = content;
    message
}

fn end(output: ToolOutput) -> ToolReturn {
    ToolReturn {
        tool_call_id: "call_1".to_owned(),
        status: ToolStatus::Error,
        output,
        stdout: None,
        stderr: Some(vec!["no".to_owned()]),
    }
}

/// One message of each kind.
fn window() -> Vec<Domain> {
    let image = Part::Image(Image::Stored {
        file_id: Some("file-1".to_owned()),
        media_type: Some("image/png".to_owned()),
        data: Some("aGk=".to_owned()),
        detail: None,
    });
    let thought = Part::Reasoning {
        native: true,
        reasoning: "hm".to_owned(),
        signature: None,
    };
    let call = ToolCall {
        id: "call_1".to_owned(),
        name: "look".to_owned(),
        arguments: "{}".to_owned(),
    };
    let mut assistant = message(Role::Assistant, vec![thought, Part::of_text("hi")]);
    assistant.tool_calls = vec![call.clone()];
    assistant.step_id = Some(StepId::new());
    assistant.run_id = Some(RunId::new());
    let mut request = message(Role::Approval, Vec::new());
    request.tool_calls = vec![call];
    let mut response = message(Role::Approval, Vec::new());
    response.approvals = vec![
        Approval::Decision {
            tool_call_id: "call_1".to_owned(),
            approve: false,
            reason: Some("not now".to_owned()),
        },
        Approval::Return(end(ToolOutput::Packed("{}".to_owned()))),
    ];
    let mut ends = message(Role::Tool, Vec::new());
    ends.tool_returns = vec![
        end(ToolOutput::Packed("{\"status\":\"OK\"}".to_owned())),
        end(ToolOutput::Parts(vec![Part::of_text("seen")])),
    ];
    vec![
        message(Role::Summary, vec![Part::of_text("Earlier, tea.")]),
        message(Role::User, vec![Part::of_text("look"), image]),
        assistant,
        request,
        response,
        ends,
    ]
}

fn shown() -> Value {
    let request = ModelRequest {
        config: Arc::new(llm_config()),
        system: "Be kind.".into(),
        messages: window().into_iter().map(Arc::new).collect(),
        tools: Arc::new([ToolSchema {
            name: "look".to_owned(),
            description: "Looks.".to_owned(),
            parameters: json!({"type": "object"}),
        }]),
        choice: ToolChoice::Free,
        parallel_calls: true,
        stream: false,
        user: "user-1".to_owned(),
    };
    let stored = message(Role::System, Vec::new());
    let overview = DomainOverview::of(&request, &stored, 9, |_: &Counter, _| 5);
    serde_json::to_value(Overview::from(&overview)).unwrap()
}

#[test]
fn an_overview_fits_the_contract_whatever_is_in_the_window() {
    let contract: Value =
        serde_json::from_str(include_str!("../../../tests/golden/openapi.json")).unwrap();
    let schema = json!({
        "$ref": "#/components/schemas/ContextWindowOverview",
        "components": contract["components"],
    });
    let validator = jsonschema::validator_for(&schema).unwrap();
    let shown = shown();
    let misfits: Vec<String> = validator
        .iter_errors(&shown)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(misfits.is_empty(), "{misfits:#?}\n{shown}");
    let declared = contract["components"]["schemas"]["ContextWindowOverview"]["properties"].clone();
    let names =
        |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    assert_eq!(names(&shown), names(&declared));
}

#[test]
fn messages_are_whole_and_each_key_is_there() {
    let shown = shown();
    let messages = shown["messages"].as_array().unwrap();
    let roles: Vec<&str> = messages
        .iter()
        .map(|message| message["role"].as_str().unwrap())
        .collect();
    assert_eq!(
        roles,
        [
            "system",
            "summary",
            "user",
            "assistant",
            "approval",
            "approval",
            "tool"
        ]
    );
    assert!(
        messages
            .iter()
            .all(|message| message.as_object().unwrap().len() == 25)
    );
    let [system, .., response, ends] = messages.as_slice() else {
        panic!("{messages:?}")
    };
    assert_eq!(system["content"][0]["text"], "Be kind.");
    assert_eq!(
        (&response["approve"], &response["denial_reason"]),
        (&json!(false), &json!("not now"))
    );
    assert_eq!(response["approvals"][1]["func_response"], "{}");
    assert_eq!(ends["tool_call_id"], "call_1");
    assert_eq!(ends["content"][1]["text"], "seen");
    assert_eq!(ends["tool_returns"][1]["func_response"][0]["text"], "seen");
}

#[test]
fn what_is_absent_is_null_or_empty_and_costs_nothing() {
    let shown = shown();
    assert_eq!(shown["core_memory"], "");
    for name in ["memory_filesystem", "tool_usage_rules", "directories"] {
        assert_eq!(shown[name], Value::Null);
        assert_eq!(shown[format!("num_tokens_{name}")], 0);
    }
    assert_eq!(shown["summary_memory"], "Earlier, tea.");
    assert_eq!(
        (
            &shown["num_tokens_summary_memory"],
            &shown["num_tokens_messages"],
            &shown["num_messages"],
            &shown["num_recall_memory"],
        ),
        (&json!(5), &json!(25), &json!(7), &json!(9))
    );
}
