use super::Message;
use crate::domain::clock;
use crate::domain::id::{AgentId, StepId};
use crate::domain::message::{
    Approval, Message as Stored, Part, Role, ToolCall, ToolOutput, ToolReturn, ToolStatus,
};
use crate::domain::piece::{Reading, pieces};
use crate::domain::run::View;
use serde_json::{Value, json};

/// A stored message of run and step, as the recorded exchanges show them.
fn stored(role: Role, id: &str) -> Stored {
    let mut message = Stored::new(
        AgentId::new(),
        role,
        "2026-11-22T09:54:56.999Z".parse().unwrap(),
    );
    message.id = id.parse().unwrap();
    message.run_id = Some("run-71596161-e0b9-400f-95b6-6fe5eb368ed2".parse().unwrap());
    message.step_id = Some(
        "step-cb39de19-8fe0-4816-b369-08362b108254"
            .parse::<StepId>()
            .unwrap(),
    );
    message
}

fn shown(message: &Stored) -> Vec<String> {
    let view = View::default();
    let pieces = pieces(message, &Reading::native(&view));
    pieces
        .into_iter()
        .map(|piece| serde_json::to_string(&Message::from(piece)).unwrap())
        .collect()
}

fn common(id: &str, name: &str, message_type: &str, otid: &str) -> String {
    format!(
        concat!(
            r#"{{"id":"{}","date":"2026-11-22T09:54:56+00:00","name":{},"message_type":"{}","otid":"{}","sender_id":null,"#,
            r#""step_id":"step-cb39de19-8fe0-4816-b369-08362b108254","is_err":null,"seq_id":null,"#,
            r#""run_id":"run-71596161-e0b9-400f-95b6-6fe5eb368ed2","#,
        ),
        id, name, message_type, otid
    )
}

#[test]
fn a_thought_a_reply_and_a_call_are_three_pieces_of_one_message() {
    let id = "message-cff6c0b2-29e0-4c24-a276-33f76cd08813";
    let mut message = stored(Role::Assistant, id);
    message.content = vec![
        Part::Reasoning {
            native: true,
            reasoning: "thinking hard".to_owned(),
            signature: Some("ZmFrZQ==".to_owned()),
        },
        Part::of_text("one moment"),
    ];
    message.tool_calls = vec![ToolCall {
        id: "call_1".to_owned(),
        name: "memory_replace".to_owned(),
        arguments: r#"{"label": "human"}"#.to_owned(),
    }];
    let call =
        r#"{"name":"memory_replace","arguments":"{\"label\": \"human\"}","tool_call_id":"call_1"}"#;
    let otid = |index: u8| format!("cff6c0b2-29e0-4c24-a276-33f76cd0880{index}");
    assert_eq!(
        shown(&message),
        [
            common(id, "null", "reasoning_message", &otid(0))
                + r#""source":"reasoner_model","reasoning":"thinking hard","signature":"ZmFrZQ=="}"#,
            common(id, "null", "assistant_message", &otid(1)) + r#""content":"one moment"}"#,
            common(id, "null", "tool_call_message", &otid(2))
                + &format!(r#""tool_call":{call},"tool_calls":[{call}]}}"#),
        ]
    );
}

#[test]
fn a_return_repeats_its_first_entry_in_the_deprecated_keys() {
    let id = "message-4405fc91-efc5-4480-97d7-2cb4357eec2b";
    let mut message = stored(Role::Tool, id);
    message.name = Some("memory_replace".to_owned());
    message.tool_returns = vec![ToolReturn {
        tool_call_id: "call_1".to_owned(),
        status: ToolStatus::Error,
        output: ToolOutput::Packed(
            r#"{"status":"Failed","message":"not there","time":"now"}"#.to_owned(),
        ),
        stdout: None,
        stderr: Some(vec!["ValueError: not there".to_owned()]),
    }];
    let own = r#""tool_return":"not there","status":"error","tool_call_id":"call_1","stdout":null,"stderr":["ValueError: not there"]"#;
    let expected = common(
        id,
        "\"memory_replace\"",
        "tool_return_message",
        "4405fc91-efc5-4480-97d7-2cb4357eec00",
    ) + &format!(r#"{own},"tool_returns":[{{"type":"tool",{own}}}]}}"#);
    assert_eq!(shown(&message), [expected]);
}

#[test]
fn user_content_is_flat_when_it_is_one_text_and_parts_otherwise() {
    let mut message = stored(Role::User, "message-2f9352a9-03b3-480e-b495-ba5bc02f55c4");
    message.otid = Some("11111111-2222-4333-8444-555555555555".to_owned());
    message.content = vec![Part::of_text("part one")];
    let content = |message: &Stored| {
        serde_json::from_str::<Value>(&shown(message)[0]).unwrap()["content"].clone()
    };
    assert_eq!(content(&message), json!("part one"));
    message.content.push(Part::of_text("part two"));
    assert_eq!(
        content(&message),
        json!([{"type": "text", "text": "part one", "signature": null}, {"type": "text", "text": "part two", "signature": null}])
    );
}

#[test]
fn an_approval_request_has_its_own_id_as_otid() {
    let mut message = stored(
        Role::Approval,
        "message-e0a4455c-e6e8-4059-a04f-d428630ecd66",
    );
    message.tool_calls = vec![ToolCall {
        id: "call_1".to_owned(),
        name: "client_ping".to_owned(),
        arguments: "{}".to_owned(),
    }];
    let request: Value = serde_json::from_str(&shown(&message)[0]).unwrap();
    assert_eq!(
        (&request["message_type"], &request["otid"]),
        (&json!("approval_request_message"), &request["id"])
    );
    assert_eq!(request["tool_calls"][0], request["tool_call"]);
}

#[test]
fn the_deprecated_keys_of_an_answer_follow_its_first_entry() {
    let decision = Approval::Decision {
        tool_call_id: "call_1".to_owned(),
        approve: false,
        reason: Some("not now".to_owned()),
    };
    let end = Approval::Return(ToolReturn {
        tool_call_id: "call_2".to_owned(),
        status: ToolStatus::Success,
        output: ToolOutput::Packed("pong".to_owned()),
        stdout: None,
        stderr: None,
    });
    let answer = |approvals: Vec<Approval>| -> Value {
        let mut message = stored(
            Role::Approval,
            "message-e0a4455c-e6e8-4059-a04f-d428630ecd66",
        );
        message.approvals = approvals;
        serde_json::from_str(&shown(&message)[0]).unwrap()
    };
    let decided = answer(vec![decision.clone(), end.clone()]);
    assert_eq!(
        (
            &decided["approve"],
            &decided["approval_request_id"],
            &decided["reason"]
        ),
        (&json!(false), &json!("call_1"), &json!("not now"))
    );
    assert_eq!(
        decided["approvals"][1],
        json!({"type": "tool", "tool_return": "pong", "status": "success", "tool_call_id": "call_2", "stdout": null, "stderr": null})
    );
    let returned = answer(vec![end, decision]);
    assert_eq!(
        (
            &returned["approve"],
            &returned["approval_request_id"],
            &returned["reason"]
        ),
        (&Value::Null, &Value::Null, &Value::Null)
    );
}

#[test]
fn an_error_mark_is_true_or_null() {
    let mut message = Stored::new(AgentId::new(), Role::User, clock::now());
    message.content = vec![Part::of_text("x")];
    message.is_err = true;
    let marked: Value = serde_json::from_str(&shown(&message)[0]).unwrap();
    assert_eq!(
        (&marked["is_err"], &marked["run_id"]),
        (&json!(true), &Value::Null)
    );
}
