use super::*;
use crate::domain::clock;
use crate::domain::id::AgentId;
use crate::domain::message::{Role, ToolCall, ToolOutput, ToolReturn, ToolStatus};
use crate::providers::testing::histories::history;
use crate::providers::testing::{config, request};
use crate::providers::transcript::return_limit;
use crate::providers::vendors::PLAIN;
use proptest::prelude::*;
use std::collections::HashSet;
use std::sync::Arc;

fn sent(request: &ModelRequest) -> Value {
    serde_json::from_slice(&bytes(request, &PLAIN, false)).unwrap()
}

fn step(text: &str, output: &str) -> [Arc<Message>; 2] {
    let mut said = Message::new(AgentId::new(), Role::Assistant, clock::now());
    said.content = vec![Part::of_text(text)];
    said.tool_calls = vec![ToolCall {
        id: "call.1".to_owned(),
        name: "look up".to_owned(),
        arguments: "{\"b\":1, \"a\":2}".to_owned(),
    }];
    let mut returned = Message::new(AgentId::new(), Role::Tool, clock::now());
    returned.tool_returns = vec![ToolReturn {
        tool_call_id: "call.1".to_owned(),
        status: ToolStatus::Success,
        output: ToolOutput::Packed(output.to_owned()),
        stdout: None,
        stderr: None,
    }];
    [Arc::new(said), Arc::new(returned)]
}

#[test]
fn a_plain_request_is_what_openai_documents() {
    let mut request = request("gpt-4o-mini", "hello");
    request.stream = false;
    let expected = json!({
        "model": "gpt-4o-mini",
        "messages": [{"role": "system", "content": "You are a test."}, {"role": "user", "content": "hello"}],
        "temperature": 1.0,
        "max_completion_tokens": 16384,
        "user": "user-1",
        "stream": false,
    });
    assert_eq!(sent(&request), expected);
}

#[test]
fn a_step_is_sent_as_call_and_return_with_names_that_fit() {
    let mut request = request("gpt-4o-mini", "go");
    request
        .messages
        .extend(step("thinking aloud", "{\"status\":\"OK\"}"));
    let expected = json!([
        {"role": "assistant", "content": null, "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": "{\"b\":1, \"a\":2}"}},
        ]},
        {"role": "tool", "content": "{\"status\":\"OK\"}", "tool_call_id": "call_1"},
    ]);
    assert_eq!(
        sent(&request)["messages"].as_array().unwrap()[2..],
        expected.as_array().unwrap()[..]
    );
}

#[test]
fn text_beside_calls_is_kept_while_the_model_may_think() {
    let mut request = request("gpt-4o-mini", "go");
    request.config = Arc::new(LlmConfig {
        enable_reasoner: true,
        ..config("gpt-4o-mini")
    });
    request.messages.extend(step("thinking aloud", "{}"));
    assert_eq!(sent(&request)["messages"][2]["content"], "thinking aloud");
}

#[test]
fn tools_bring_their_choice_and_none_are_sent_when_none_may_be_called() {
    let mut request = request("gpt-4o-mini", "go");
    request.tools = Arc::new([ToolSchema {
        name: "look".to_owned(),
        description: "Looks.".to_owned(),
        parameters: json!({"type": "object", "properties": {}}),
    }]);
    let body = sent(&request);
    assert_eq!(
        (&body["tool_choice"], &body["parallel_tool_calls"]),
        (&json!("auto"), &json!(true))
    );
    request.choice = ToolChoice::None;
    let body = sent(&request);
    assert!(body.get("tools").is_none() && body.get("tool_choice").is_none());
    assert!(body.get("parallel_tool_calls").is_none());
}

#[test]
fn reasoning_models_get_their_own_parameters() {
    let body = sent(&request("o3-mini", "go"));
    assert_eq!(body["messages"][0]["role"], "developer");
    assert_eq!(
        (&body["reasoning_effort"], &body["temperature"]),
        (&json!("medium"), &json!(1.0))
    );
    let mut minimal = config("gpt-5");
    minimal.reasoning_effort = Some("minimal".to_owned());
    let mut request = request("gpt-5", "go");
    request.config = Arc::new(minimal);
    assert_eq!(sent(&request)["reasoning_effort"], "minimal");
}

#[test]
fn a_long_return_is_cut_in_the_request_only() {
    let mut request = request("gpt-4o-mini", "go");
    request.config = Arc::new(LlmConfig {
        context_window: 1_000,
        ..config("gpt-4o-mini")
    });
    request.messages.extend(step("", &"é".repeat(5_003)));
    let body = sent(&request);
    let shown = body["messages"][3]["content"].as_str().unwrap();
    assert_eq!(
        shown,
        format!("{}... [truncated 3 chars]", "é".repeat(5_000))
    );
    assert_eq!(return_limit(128_000), 102_400);
}

#[test]
fn images_stand_where_they_were_said() {
    let mut request = request("gpt-4o-mini", "");
    let mut message = Message::new(AgentId::new(), Role::User, clock::now());
    let image = |data: Option<&str>| {
        let [media_type, detail] = ["image/jpeg", "low"].map(|text| Some(text.to_owned()));
        Part::Image(Image::Stored {
            file_id: None,
            media_type,
            data: data.map(str::to_owned),
            detail,
        })
    };
    message.content = vec![Part::of_text("look:"), image(Some("QUJD")), image(None)];
    request.messages = vec![Arc::new(message)];
    let expected = json!([
        {"type": "text", "text": "look:"},
        {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,QUJD", "detail": "low"}},
        {"type": "text", "text": "[image]"},
    ]);
    assert_eq!(sent(&request)["messages"][1]["content"], expected);
}

#[test]
fn own_reasoning_of_this_turn_goes_back_and_no_other() {
    let mut request = request("deepseek-chat", "go");
    let [mut said, returned] = step("", "{}");
    let reasoning = Part::Reasoning {
        native: true,
        reasoning: "hm".to_owned(),
        signature: None,
    };
    let message = Arc::make_mut(&mut said);
    message.content.push(reasoning);
    message.model = Some("deepseek-chat".to_owned());
    request.messages.extend([said.clone(), returned]);
    assert_eq!(sent(&request)["messages"][2]["reasoning_content"], "hm");
    request.messages.push(request.messages[0].clone());
    assert!(
        sent(&request)["messages"][2]
            .get("reasoning_content")
            .is_none()
    );
}

#[test]
fn a_longer_conversation_begins_with_the_bytes_of_the_shorter_one() {
    let mut request = request("gpt-4o-mini", "go");
    let short = bytes(&request, &PLAIN, false);
    request.messages.extend(step("", "{}"));
    let long = bytes(&request, &PLAIN, false);
    let shared = short.iter().zip(&long).take_while(|(a, b)| a == b).count();
    let messages = short.windows(2).position(|pair| pair == b"}]").unwrap();
    assert_eq!(shared, messages + 1);
}

/// OpenAI's rules for messages: each call has an id of its own and is answered once, directly after its message;
/// nothing else is answered; an assistant says something or calls something.
fn assert_valid(messages: &[Value]) {
    let mut called = HashSet::new();
    let mut rest = messages.iter();
    while let Some(message) = rest.next() {
        let content = message["content"].as_str();
        match message["role"].as_str().unwrap() {
            "assistant" => {
                let calls = message["tool_calls"]
                    .as_array()
                    .map_or(&[][..], Vec::as_slice);
                let speaks = content.is_some_and(|text| !text.is_empty());
                assert!(speaks || !calls.is_empty(), "says nothing: {message}");
                let mut open = HashSet::new();
                for call in calls {
                    let id = call["id"].as_str().unwrap();
                    assert!(open.insert(id) && called.insert(id), "called twice: {id}");
                }
                for _ in calls {
                    let answer = rest.next().expect("every call is answered");
                    assert_eq!(answer["role"], "tool", "not answered yet: {open:?}");
                    let id = answer["tool_call_id"].as_str().unwrap();
                    assert!(open.remove(id), "answers no open call: {id}");
                }
            }
            "tool" => panic!("answers no call: {message}"),
            "system" | "user" => assert!(!message["content"].is_null()),
            role => panic!("{role}"),
        }
    }
}

proptest! {
    #[test]
    fn whatever_the_history_openai_takes_it(history in history(&["gpt-4o-mini"]), thinks in any::<bool>()) {
        let mut request = request("gpt-4o-mini", "go");
        request.config = Arc::new(LlmConfig { enable_reasoner: thinks, ..config("gpt-4o-mini") });
        request.messages = history;
        assert_valid(sent(&request)["messages"].as_array().unwrap());
    }
}
