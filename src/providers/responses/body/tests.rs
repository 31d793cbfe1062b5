use super::*;
use crate::domain::clock;
use crate::domain::id::AgentId;
use crate::domain::message::{Image, Role, ToolCall, ToolStatus};
use crate::providers::testing::histories::{history, step_of};
use crate::providers::testing::{config, request};
use proptest::prelude::*;
use std::sync::Arc;

const MODEL: &str = "gpt-5";

fn sent(request: &ModelRequest) -> Value {
    serde_json::from_slice(&bytes(request)).unwrap()
}

fn input(request: &ModelRequest) -> Vec<Value> {
    sent(request)["input"].as_array().unwrap().clone()
}

fn configured(model: &str, change: impl FnOnce(&mut LlmConfig)) -> ModelRequest {
    let mut request = request(model, "go");
    let mut config = config(model);
    change(&mut config);
    request.config = Arc::new(config);
    request
}

fn thought(id: &str, encrypted: Option<&str>) -> Part {
    Part::SummarizedReasoning {
        id: id.to_owned(),
        summary: vec!["hm".to_owned()],
        encrypted_content: encrypted.map(str::to_owned),
    }
}

/// What a model answered, and one message with the returns of its calls.
fn step(model: &str, content: Vec<Part>, calls: &[&str]) -> [Arc<Message>; 2] {
    let message = |role| Message::new(AgentId::new(), role, clock::now());
    let mut said = message(Role::Assistant);
    said.model = Some(model.to_owned());
    said.content = content;
    let call = |id: &&str| ToolCall {
        id: (*id).to_owned(),
        name: "look up".to_owned(),
        arguments: "{\"b\":1, \"a\":2}".to_owned(),
    };
    said.tool_calls = calls.iter().map(call).collect();
    let mut returned = message(Role::Tool);
    let end = |id: &&str| ToolReturn {
        tool_call_id: (*id).to_owned(),
        status: ToolStatus::Success,
        output: ToolOutput::Packed("{\"status\":\"OK\"}".to_owned()),
        stdout: None,
        stderr: None,
    };
    returned.tool_returns = calls.iter().map(end).collect();
    [Arc::new(said), Arc::new(returned)]
}

fn image(data: Option<&str>, detail: Option<&str>) -> Part {
    let owned = |text: Option<&str>| text.map(str::to_owned);
    Part::Image(Image::Stored {
        file_id: None,
        media_type: owned(Some("image/jpeg")),
        data: owned(data),
        detail: owned(detail),
    })
}

#[test]
fn a_plain_request_is_what_openai_documents() {
    let expected = json!({
        "model": "o3-mini",
        "input": [
            {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "You are a test."}]},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]},
        ],
        "max_output_tokens": 16384,
        "reasoning": {"effort": "medium", "summary": "detailed"},
        "include": ["reasoning.encrypted_content"],
        "user": "user-1",
        "store": false,
        "stream": true,
    });
    assert_eq!(sent(&request("o3-mini", "hello")), expected);
}

#[test]
fn a_step_is_sent_as_items_with_each_thought_before_what_it_led_to() {
    let mut request = request(MODEL, "go");
    let content = vec![
        thought("rs_1", Some("one")),
        Part::of_text("I look."),
        thought("rs_2", Some("two")),
    ];
    request
        .messages
        .extend(step(MODEL, content, &["call.1", "call.2"]));
    let reasoning = |id: &str, encrypted: &str| json!({"type": "reasoning", "id": id, "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": encrypted});
    let call = |id: &str| json!({"type": "function_call", "call_id": id, "name": "look_up", "arguments": "{\"b\":1, \"a\":2}"});
    let output = |id: &str| json!({"type": "function_call_output", "call_id": id, "output": "{\"status\":\"OK\"}"});
    let expected = [
        reasoning("rs_1", "one"),
        json!({"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]}),
        reasoning("rs_2", "two"),
        call("call_1"),
        call("call_2"),
        output("call_1"),
        output("call_2"),
    ];
    assert_eq!(input(&request)[2..], expected);
}

#[test]
fn reasoning_is_replayed_only_to_its_model_and_only_if_it_was_given_to_be() {
    let thoughts = |model: &str, part: Part| {
        let mut request = request(MODEL, "go");
        let content = vec![part, Part::of_text("hello")];
        request.messages.extend(step(model, content, &[]));
        let items = input(&request);
        items
            .iter()
            .filter(|item| item["type"] == "reasoning")
            .count()
    };
    assert_eq!(thoughts(MODEL, thought("rs_1", Some("x"))), 1);
    assert_eq!(thoughts("openai/gpt-5", thought("rs_1", Some("x"))), 1);
    assert_eq!(thoughts("o3", thought("rs_1", Some("x"))), 0);
    assert_eq!(thoughts(MODEL, thought("rs_1", None)), 0);
}

#[test]
fn reasoning_that_led_to_nothing_is_left_out() {
    let mut request = request(MODEL, "go");
    let content = vec![Part::of_text("hello"), thought("rs_1", Some("x"))];
    request.messages.extend(step(MODEL, content, &[]));
    assert_eq!(input(&request).last().unwrap()["role"], "assistant");
}

#[test]
fn tools_are_flat_and_say_whether_they_are_strict() {
    let mut request = request(MODEL, "go");
    request.tools = Arc::new([ToolSchema {
        name: "look".to_owned(),
        description: "Looks.".to_owned(),
        parameters: json!({"type": "object", "properties": {}}),
    }]);
    let body = sent(&request);
    let expected = json!([{
        "type": "function",
        "name": "look",
        "description": "Looks.",
        "parameters": {"type": "object", "properties": {}},
        "strict": false,
    }]);
    assert_eq!(
        (&body["tools"], &body["tool_choice"]),
        (&expected, &json!("auto"))
    );
    assert!(body.get("parallel_tool_calls").is_none());
    request.choice = ToolChoice::Named("look".to_owned());
    assert_eq!(
        sent(&request)["tool_choice"],
        json!({"type": "function", "name": "look"})
    );
    request.choice = ToolChoice::Must;
    assert_eq!(sent(&request)["tool_choice"], "required");
    request.choice = ToolChoice::None;
    let body = sent(&request);
    assert!(body.get("tools").is_none() && body.get("tool_choice").is_none());
    request.choice = ToolChoice::Free;
    request.config = Arc::new(LlmConfig {
        strict: true,
        ..config(MODEL)
    });
    let tool = &sent(&request)["tools"][0];
    assert_eq!(
        (&tool["strict"], &tool["parameters"]["additionalProperties"]),
        (&json!(true), &json!(false))
    );
}

#[test]
fn an_effort_is_sent_as_given_to_models_that_know_it() {
    let effort = |model: &str, given: Option<&str>| {
        let given = given.map(str::to_owned);
        let request = configured(model, |config| config.reasoning_effort = given);
        sent(&request)["reasoning"]["effort"].clone()
    };
    assert_eq!(effort("gpt-5", Some("minimal")), "minimal");
    assert_eq!(effort("gpt-5.2", Some("xhigh")), "xhigh");
    assert_eq!(effort("gpt-5.1", None), "none");
    assert_eq!(effort("gpt-5", Some("none")), Value::Null);
}

#[test]
fn the_form_of_the_text_is_asked_for_in_one_place() {
    let request = configured("gpt-5", |config| {
        config.verbosity = Some("low".to_owned());
        let schema = json!({"name": "answer", "schema": {"type": "object"}, "strict": true});
        config.response_format = Some(ResponseFormat::JsonSchema(schema));
    });
    let expected = json!({
        "format": {"type": "json_schema", "name": "answer", "schema": {"type": "object"}, "strict": true},
        "verbosity": "low",
    });
    assert_eq!(sent(&request)["text"], expected);
    let plain = configured("o3", |config| {
        config.verbosity = Some("low".to_owned());
        config.response_format = Some(ResponseFormat::Text);
    });
    assert!(sent(&plain).get("text").is_none());
}

#[test]
fn fast_models_are_the_same_ones_with_priority_and_caches_are_kept_where_they_can_be() {
    let body = sent(&request("gpt-5.2-fast", "go"));
    assert_eq!(
        (&body["model"], &body["service_tier"]),
        (&json!("gpt-5.2"), &json!("priority"))
    );
    assert_eq!(body["prompt_cache_retention"], "24h");
    let body = sent(&request("gpt-5-mini", "go"));
    assert!(body.get("service_tier").is_none() && body.get("prompt_cache_retention").is_none());
}

#[test]
fn models_that_do_not_reason_get_the_other_parameters() {
    let body = sent(&request("gpt-4o-mini", "go"));
    assert_eq!(body["temperature"], 1.0);
    assert!(body.get("reasoning").is_none() && body.get("include").is_none());
}

#[test]
fn images_stand_where_they_were_said_and_where_a_tool_returned_them() {
    let mut request = configured(MODEL, |config| config.context_window = 1_000);
    let mut shown = Message::new(AgentId::new(), Role::User, clock::now());
    shown.content = vec![
        Part::of_text("look:"),
        image(Some("QUJD"), Some("low")),
        image(None, None),
    ];
    let [said, mut returned] = step(MODEL, Vec::new(), &["a"]);
    Arc::make_mut(&mut returned).tool_returns[0].output = ToolOutput::Parts(vec![
        Part::of_text("x".repeat(4_999)),
        image(Some("QUJD"), None),
        Part::of_text("yyy"),
    ]);
    request.messages = vec![Arc::new(shown), said, returned];
    let items = input(&request);
    let url = "data:image/jpeg;base64,QUJD";
    let expected = json!([
        {"type": "input_text", "text": "look:"},
        {"type": "input_image", "image_url": url, "detail": "low"},
        {"type": "input_text", "text": "[image]"},
    ]);
    assert_eq!(items[1]["content"], expected);
    let output = items[3]["output"].as_array().unwrap();
    assert_eq!(
        output[1..],
        [
            json!({"type": "input_image", "image_url": url, "detail": "auto"}),
            json!({"type": "input_text", "text": "y... [truncated 2 chars]"}),
        ]
    );
}

#[test]
fn a_longer_conversation_begins_with_the_bytes_of_the_shorter_one() {
    let own = |id: &str, call: &str| step(MODEL, vec![thought(id, Some("x"))], &[call]);
    let mut request = request(MODEL, "go");
    request.messages.extend(own("rs_1", "call_0"));
    let short = bytes(&request);
    assert_eq!(short, bytes(&request.clone()));
    request.messages.extend(own("rs_2", "call_0"));
    request.messages.push(request.messages[0].clone());
    let long = bytes(&request);
    let after = b"],\"max_output_tokens\"";
    let input = short.windows(after.len()).position(|bytes| bytes == after);
    assert!(long.starts_with(&short[..input.unwrap()]));
}

/// OpenAI's rules for items: each call has an id of its own and exactly one output, after it; reasoning is there once
/// and leads to an item of its own step; an assistant's message says something.
fn assert_valid(items: &[Value]) {
    let (mut called, mut open, mut thoughts) = (HashSet::new(), HashSet::new(), HashSet::new());
    for (at, item) in items.iter().enumerate() {
        match item["type"].as_str().unwrap() {
            "message" => assert_speaks(item),
            "function_call" => {
                let id = item["call_id"].as_str().unwrap();
                assert!(called.insert(id) && open.insert(id), "called twice: {id}");
            }
            "function_call_output" => {
                let id = item["call_id"].as_str().unwrap();
                assert!(open.remove(id), "answers no open call: {id}");
            }
            "reasoning" => {
                let id = item["id"].as_str().unwrap();
                assert!(thoughts.insert(id), "thought twice: {id}");
                let mut after = items[at..].iter();
                let led_to = after
                    .find(|item| item["type"] != "reasoning")
                    .expect("something follows");
                if let Some(step) = spoken(led_to).and_then(step_of) {
                    assert_eq!(item["encrypted_content"], step, "{led_to}");
                }
            }
            kind => panic!("{kind}"),
        }
    }
    assert!(open.is_empty(), "never answered: {open:?}");
}

fn assert_speaks(message: &Value) {
    let content = message["content"].as_array().unwrap();
    assert!(!content.is_empty());
    for part in content {
        let kind = part["type"].as_str().unwrap();
        if message["role"] == "assistant" {
            assert!(kind == "output_text" && part["text"] != "", "{message}");
        } else {
            assert!(kind == "input_text" || kind == "input_image", "{message}");
        }
    }
}

/// What carries the number of the step.
fn spoken(item: &Value) -> Option<&str> {
    if item["role"] == "assistant" {
        item["content"][0]["text"].as_str()
    } else {
        item["arguments"].as_str()
    }
}

proptest! {
    #[test]
    fn whatever_the_history_openai_takes_it(history in history(&[MODEL, "openai/gpt-5"])) {
        let mut request = request(MODEL, "go");
        request.messages = history;
        assert_valid(&input(&request));
    }
}
