use super::*;
use crate::domain::clock;
use crate::domain::heartbeat;
use crate::domain::id::AgentId;
use crate::domain::message::{
    Image, Message, Part, Role, ToolCall, ToolOutput, ToolReturn, ToolStatus,
};
use crate::providers::provider::config_for;
use crate::providers::testing::histories::history;
use crate::providers::testing::{self, user};
use proptest::prelude::*;
use std::collections::HashSet;
use std::sync::Arc;

const SONNET: &str = "claude-sonnet-4-5";
const OPUS: &str = "claude-opus-4-6";

fn config(model: &str) -> LlmConfig {
    config_for("anthropic", "anthropic", None, model, 200_000)
}

fn request(model: &str, change: impl FnOnce(&mut LlmConfig)) -> ModelRequest {
    let mut config = config(model);
    change(&mut config);
    ModelRequest {
        config: Arc::new(config),
        ..testing::request(model, "hello")
    }
}

fn without_thinking(model: &str) -> ModelRequest {
    request(model, |config| config.enable_reasoner = false)
}

fn tool(name: &str) -> ToolSchema {
    ToolSchema {
        name: name.to_owned(),
        description: "Does something.".to_owned(),
        parameters: json!({"type": "object", "properties": {}}),
    }
}

fn sent(request: &ModelRequest) -> Value {
    let body = serde_json::from_slice(&bytes(request)).unwrap();
    check(&body).unwrap();
    body
}

fn message(role: Role, content: Vec<Part>) -> Message {
    let mut message = Message::new(AgentId::new(), role, clock::now());
    message.content = content;
    message
}

fn said(model: &str, content: Vec<Part>, calls: &[(&str, &str)]) -> Message {
    let mut said = message(Role::Assistant, content);
    said.model = Some(model.to_owned());
    let call = |(id, arguments): &(&str, &str)| ToolCall {
        id: (*id).to_owned(),
        name: "look up".to_owned(),
        arguments: (*arguments).to_owned(),
    };
    said.tool_calls = calls.iter().map(call).collect();
    said
}

fn returned(ends: &[(&str, ToolOutput)]) -> Message {
    let mut returned = message(Role::Tool, Vec::new());
    let end = |(id, output): &(&str, ToolOutput)| ToolReturn {
        tool_call_id: (*id).to_owned(),
        status: ToolStatus::Success,
        output: output.clone(),
        stdout: None,
        stderr: None,
    };
    returned.tool_returns = ends.iter().map(end).collect();
    returned
}

fn packed(text: &str) -> ToolOutput {
    ToolOutput::Packed(text.to_owned())
}

fn thought(text: &str, signature: Option<&str>) -> Part {
    Part::Reasoning {
        native: true,
        reasoning: text.to_owned(),
        signature: signature.map(str::to_owned),
    }
}

fn image(media_type: &str, data: &str) -> Part {
    Part::Image(Image::Stored {
        file_id: None,
        media_type: Some(media_type.to_owned()),
        data: Some(data.to_owned()),
        detail: None,
    })
}

fn shared(messages: impl IntoIterator<Item = Message>) -> Vec<Arc<Message>> {
    messages.into_iter().map(Arc::new).collect()
}

/// The content of the messages after the first, with their roles, without the mark for the cache.
fn after_first(request: &ModelRequest) -> Value {
    let mut body = sent(request);
    unmark(&mut body);
    json!(body["messages"].as_array().unwrap()[1..])
}

fn unmark(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.shift_remove("cache_control");
            object.values_mut().for_each(unmark);
        }
        Value::Array(values) => values.iter_mut().for_each(unmark),
        _ => (),
    }
}

#[test]
fn a_plain_request_is_what_anthropic_documents() {
    let mut request = without_thinking(SONNET);
    request.stream = false;
    let cache = json!({"type": "ephemeral"});
    let expected = json!({
        "model": SONNET,
        "max_tokens": 16_384,
        "temperature": 1.0,
        "stream": false,
        "system": [{"type": "text", "text": "You are a test.", "cache_control": cache}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hello", "cache_control": cache}]}],
    });
    assert_eq!(sent(&request), expected);
}

#[test]
fn a_step_is_sent_as_calls_and_results_before_the_users_next_words() {
    let mut request = request(SONNET, |_| ());
    let own = said(
        SONNET,
        vec![thought("hm", Some("sig")), Part::of_text("I look.")],
        &[("call.1", "{\"b\": 1, \"a\": 2}"), ("call_1", "")],
    );
    let ends = [("call_1", packed("two")), ("call.1", packed("one"))];
    request.messages.extend(shared([own, returned(&ends)]));
    request.messages.push(user("and?"));
    let expected = json!([
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": "sig"},
            {"type": "text", "text": "I look."},
            {"type": "tool_use", "id": "call_1", "name": "look_up", "input": {"b": 1, "a": 2}},
            {"type": "tool_use", "id": "call_1_2", "name": "look_up", "input": {}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "call_1", "content": [{"type": "text", "text": "one"}]},
            {"type": "tool_result", "tool_use_id": "call_1_2", "content": [{"type": "text", "text": "two"}]},
            {"type": "text", "text": "and?"},
        ]},
    ]);
    assert_eq!(after_first(&request), expected);
}

#[test]
fn thinking_goes_back_to_the_model_that_thought_it_while_it_thinks() {
    let parts = || {
        vec![
            thought("a", Some("sig")),
            Part::RedactedReasoning {
                data: "data".to_owned(),
            },
            thought("unsigned", None),
            Part::OmittedReasoning {
                signature: Some("hidden".to_owned()),
            },
            Part::of_text("yes"),
        ]
    };
    let kinds = |model: &str, own: &str, thinks: bool| -> Vec<String> {
        let mut request = request(model, |config| config.enable_reasoner = thinks);
        request.messages.extend(shared([said(own, parts(), &[])]));
        request.messages.push(user("go on"));
        let blocks = &after_first(&request)[0]["content"];
        let kind = |block: &Value| block["type"].as_str().unwrap().to_owned();
        blocks.as_array().unwrap().iter().map(kind).collect()
    };
    let all = ["thinking", "redacted_thinking", "thinking", "text"];
    assert_eq!(kinds(SONNET, SONNET, true), all);
    assert_eq!(kinds(OPUS, "anthropic/claude-opus-4-6", true), all);
    assert_eq!(kinds(SONNET, OPUS, true), ["text"]);
    assert_eq!(kinds(SONNET, SONNET, false), ["text"]);
}

#[test]
fn a_turn_that_began_without_thinking_goes_on_without() {
    let step = |parts| {
        [
            said(SONNET, parts, &[("a", "{}")]),
            returned(&[("a", packed("x"))]),
        ]
    };
    let thinks = |messages: Vec<Message>, model: &str| {
        let mut request = request(model, |_| ());
        request.messages.extend(shared(messages));
        sent(&request).get("thinking").is_some()
    };
    let signed = || vec![thought("hm", Some("sig"))];
    assert!(thinks(step(signed()).to_vec(), SONNET));
    assert!(thinks([step(signed()), step(Vec::new())].concat(), SONNET));
    assert!(!thinks(step(Vec::new()).to_vec(), SONNET));
    assert!(!thinks([step(Vec::new()), step(signed())].concat(), SONNET));
    // A model that decides by itself may have decided against it.
    assert!(thinks(step(Vec::new()).to_vec(), OPUS));
    // The next turn begins afresh.
    let mut later = step(Vec::new()).to_vec();
    later.push(said(SONNET, vec![Part::of_text("done")], &[]));
    later.push(message(Role::User, vec![Part::of_text("more")]));
    assert!(thinks([later, step(signed()).to_vec()].concat(), SONNET));
}

#[test]
fn what_says_that_a_turn_goes_on_joins_the_result_before_it_while_the_model_thinks() {
    let goes_on = |reason: &str| {
        let empty = message(Role::User, Vec::new());
        heartbeat::message(empty, reason, clock::now(), "UTC")
    };
    let contents = |thinks: bool| {
        let mut request = request(SONNET, |config| config.enable_reasoner = thinks);
        let own = said(SONNET, vec![thought("hm", Some("sig"))], &[("a", "{}")]);
        let step = [own, returned(&[("a", packed("x"))]), goes_on("Go on.")];
        request.messages.extend(shared(step));
        let sent = sent(&request);
        assert_eq!(sent.get("thinking").is_some(), thinks);
        sent["messages"][2]["content"].as_array().unwrap().clone()
    };
    let joined = contents(true);
    assert_eq!(joined.len(), 1);
    let words = joined[0]["content"][1]["text"].as_str().unwrap();
    assert!(words.contains("Go on."), "{words}");
    assert_eq!(contents(false).len(), 2);
}

#[test]
fn thinking_has_its_budget_within_the_limit_and_its_own_temperature() {
    let body = |model: &str, change: fn(&mut LlmConfig)| sent(&request(model, change));
    let plain = body(SONNET, |config| config.temperature = 0.3);
    assert_eq!(
        plain["thinking"],
        json!({"type": "enabled", "budget_tokens": 1_024})
    );
    assert_eq!(plain["temperature"], 1.0);
    let tight = body(SONNET, |config| {
        (config.max_tokens, config.max_reasoning_tokens) = (Some(2_000), 5_000);
    });
    assert_eq!(
        (&tight["max_tokens"], &tight["thinking"]["budget_tokens"]),
        (&json!(7_000), &json!(5_000))
    );
    let unset = body(SONNET, |config| config.max_tokens = None);
    assert_eq!(unset["max_tokens"], 4_096);

    let adaptive = body(OPUS, |config| config.effort = Some("low".to_owned()));
    assert_eq!(adaptive["thinking"], json!({"type": "adaptive"}));
    assert_eq!(adaptive["output_config"], json!({"effort": "low"}));
    let newer = body("claude-opus-4-7", |_| ());
    assert_eq!(
        newer["thinking"],
        json!({"type": "adaptive", "display": "summarized"})
    );
    assert!(newer.get("temperature").is_none());

    let older = body("claude-3-5-haiku-latest", |config| {
        (config.enable_reasoner, config.temperature) = (true, 1.7);
        config.effort = Some("low".to_owned());
    });
    assert!(older.get("thinking").is_none() && older.get("output_config").is_none());
    assert_eq!(older["temperature"], 1.0);
}

#[test]
fn tools_are_chosen_freely_by_a_model_that_thinks_and_as_told_by_one_that_does_not() {
    let choice = |thinks: bool, choice: ToolChoice, parallel: bool| {
        let mut request = request(SONNET, |config| {
            config.enable_reasoner = thinks;
        });
        request.parallel_calls = parallel;
        (request.tools, request.choice) = (Arc::new([tool("a"), tool("b")]), choice);
        let body = sent(&request);
        (
            body["tool_choice"].clone(),
            body["tools"].as_array().unwrap().len(),
        )
    };
    let named = |name: &str| ToolChoice::Named(name.to_owned());
    for (thinks, wanted, expected, tools) in [
        (true, ToolChoice::Free, json!({"type": "auto"}), 2),
        (true, ToolChoice::Must, json!({"type": "auto"}), 2),
        (true, named("b"), json!({"type": "auto"}), 1),
        (true, ToolChoice::None, json!({"type": "none"}), 2),
        (false, ToolChoice::Free, json!({"type": "auto"}), 2),
        (false, ToolChoice::Must, json!({"type": "any"}), 2),
        (false, named("b"), json!({"type": "tool", "name": "b"}), 1),
        (false, named("gone"), json!({"type": "any"}), 2),
        (false, ToolChoice::None, json!({"type": "none"}), 2),
    ] {
        assert_eq!(
            choice(thinks, wanted.clone(), true),
            (expected, tools),
            "{wanted:?}"
        );
    }
    assert_eq!(
        choice(false, ToolChoice::Must, false).0,
        json!({"type": "any", "disable_parallel_tool_use": true})
    );
}

#[test]
fn a_model_is_held_to_schemas_that_allow_it_when_the_configuration_says_so() {
    let held = |model: &str, strict: bool, open: usize| {
        let mut request = request(model, |config| config.strict = strict);
        let numbered = (0..20).map(|number| tool(&format!("t{number}")));
        let mut tools: Vec<ToolSchema> = numbered.collect();
        for tool in &mut tools[..open] {
            tool.parameters = json!({"type": "object", "additionalProperties": {"type": "string"}});
        }
        request.tools = tools.into();
        let asked = betas(&request).contains(&"structured-outputs-2025-11-13");
        let tools = sent(&request)["tools"].as_array().unwrap().clone();
        let strict = tools.iter().filter(|tool| tool["strict"] == true);
        let count = strict
            .inspect(|tool| assert_eq!(tool["input_schema"]["additionalProperties"], false))
            .count();
        assert_eq!(asked, count > 0);
        count
    };
    assert_eq!(held(SONNET, true, 0), 15);
    assert_eq!(held(SONNET, true, 10), 10);
    assert_eq!(held(SONNET, false, 0), 0);
    assert_eq!(held("claude-3-7-sonnet-latest", true, 0), 0);
}

#[test]
fn a_conversation_with_calls_defines_a_tool_when_all_are_gone() {
    let mut request = without_thinking(SONNET);
    let step = [
        said(SONNET, Vec::new(), &[("a", "{}")]),
        returned(&[("a", packed("x"))]),
    ];
    request.messages.extend(shared(step));
    let body = sent(&request);
    assert_eq!(body["tools"][0]["name"], NO_TOOL);
    assert_eq!(body["tool_choice"], json!({"type": "none"}));
}

#[test]
fn images_are_what_their_bytes_say_and_results_keep_theirs() {
    let mut request = request(OPUS, |_| ());
    let jpeg = || image("image/png", "/9j/4AAQ");
    request.messages = shared([
        message(Role::User, vec![Part::of_text(" "), jpeg()]),
        said(OPUS, Vec::new(), &[("a", "[]")]),
        returned(&[("a", ToolOutput::Parts(vec![Part::of_text("see"), jpeg()]))]),
    ]);
    let source = json!({"type": "base64", "media_type": "image/jpeg", "data": "/9j/4AAQ"});
    let shown = json!({"type": "image", "source": source});
    let mut body = sent(&request);
    unmark(&mut body);
    assert_eq!(body["messages"][0]["content"], json!([shown]));
    assert_eq!(
        body["messages"][1]["content"][0]["input"],
        json!({"arguments": "[]"})
    );
    assert_eq!(
        body["messages"][2]["content"][0]["content"],
        json!([{"type": "text", "text": "see"}, shown])
    );
}

#[test]
fn a_failed_call_says_so_unless_it_shows_images() {
    let failed = |output: ToolOutput| {
        let mut request = without_thinking(SONNET);
        let mut end = returned(&[("a", output)]);
        end.tool_returns[0].status = ToolStatus::Error;
        request
            .messages
            .extend(shared([said(SONNET, Vec::new(), &[("a", "{}")]), end]));
        after_first(&request)[1]["content"][0]["is_error"].clone()
    };
    assert_eq!(failed(packed("no")), json!(true));
    let seen = vec![Part::of_text("no"), image("image/png", "iVBORw0KGgo")];
    assert_eq!(failed(ToolOutput::Parts(seen)), Value::Null);
}

#[test]
fn turns_that_are_missing_are_filled_in_and_later_system_messages_are_the_users() {
    let mut request = without_thinking(SONNET);
    request.system = " ".into();
    request.messages = shared([
        said(SONNET, vec![Part::of_text("hi")], &[]),
        said(SONNET, vec![Part::of_text("there")], &[]),
        message(Role::System, vec![Part::of_text("a day has passed")]),
        message(Role::Summary, vec![Part::of_text("it was a day")]),
        said(SONNET, vec![Part::of_text("so?")], &[]),
    ]);
    let mut body = sent(&request);
    unmark(&mut body);
    assert!(body.get("system").is_none());
    let text = |text: &str| json!({"type": "text", "text": text});
    let expected = json!([
        {"role": "user", "content": [text("[start of the conversation]")]},
        {"role": "assistant", "content": [text("hi"), text("there")]},
        {"role": "user", "content": [text("<system_event>\na day has passed\n</system_event>"), text("it was a day")]},
        {"role": "assistant", "content": [text("so?")]},
        {"role": "user", "content": [text("[continue]")]},
    ]);
    assert_eq!(body["messages"], expected);
    request.messages.clear();
    assert_eq!(sent(&request)["messages"].as_array().unwrap().len(), 1);
}

#[test]
fn a_long_return_is_cut_in_the_request_only() {
    let mut request = request(OPUS, |config| config.context_window = 1_000);
    let step = [
        said(OPUS, Vec::new(), &[("a", "{}")]),
        returned(&[("a", packed(&"é".repeat(5_003)))]),
    ];
    request.messages.extend(shared(step));
    let shown = &after_first(&request)[1]["content"][0]["content"][0]["text"];
    let expected = format!("{}... [truncated 3 chars]", "é".repeat(5_000));
    assert_eq!(shown, &expected);
}

#[test]
fn betas_are_asked_for_where_they_matter() {
    let mut request = request(SONNET, |_| ());
    assert_eq!(betas(&request), ["interleaved-thinking-2025-05-14"]);
    request.tools = Arc::new([tool("a")]);
    request.config = Arc::new(LlmConfig {
        enable_reasoner: false,
        context_window: 900_000,
        ..config(SONNET)
    });
    assert_eq!(
        betas(&request),
        [
            "fine-grained-tool-streaming-2025-05-14",
            "context-1m-2025-08-07"
        ]
    );
    request.stream = false;
    request.config = Arc::new(LlmConfig {
        effort: Some("high".to_owned()),
        ..config(OPUS)
    });
    assert_eq!(betas(&request), ["effort-2025-11-24"]);
}

#[test]
fn all_but_the_mark_of_a_longer_conversation_begins_like_the_shorter_one() {
    let mut request = request(SONNET, |_| ());
    request.tools = Arc::new([tool("a")]);
    let signed = || vec![thought("hm", Some("sig"))];
    let steps = [
        vec![
            said(SONNET, signed(), &[("call_0", "{\"b\":1,\"a\":2}")]),
            returned(&[("call_0", packed("x"))]),
        ],
        vec![
            said(SONNET, Vec::new(), &[("call_0", "{}")]),
            returned(&[("call_0", packed("y"))]),
        ],
        vec![
            said(
                SONNET,
                [signed(), vec![Part::of_text("done")]].concat(),
                &[],
            ),
            message(Role::User, vec![Part::of_text("more")]),
        ],
    ];
    const MARK: &str = ",\"cache_control\":{\"type\":\"ephemeral\"}}";
    let mut before = String::from_utf8(bytes(&request)).unwrap();
    for step in steps {
        assert_eq!(before.as_bytes(), bytes(&request));
        request.messages.extend(shared(step));
        let after = String::from_utf8(bytes(&request)).unwrap();
        let shared = &before[..before.rfind(MARK).unwrap()];
        assert!(after.starts_with(shared), "{after}\n{shared}");
        before = after;
    }
}

/// Anthropic's own rules, as far as it refuses requests that break them.
fn check(body: &Value) -> Result<(), String> {
    let messages = body["messages"].as_array().ok_or("no messages")?;
    let mut ids = HashSet::new();
    let mut open: Vec<&str> = Vec::new();
    let mut marks = usize::from(body["system"][0].get("cache_control").is_some());
    for (at, message) in messages.iter().enumerate() {
        let role = if at % 2 == 0 { "user" } else { "assistant" };
        if message["role"] != role {
            return Err(format!("message {at} is not the {role}'s"));
        }
        let blocks = message["content"].as_array().ok_or("no content")?;
        if blocks.is_empty() {
            return Err(format!("message {at} is empty"));
        }
        let mut answered: Vec<&str> = Vec::new();
        let mut results_over = false;
        for (place, block) in blocks.iter().enumerate() {
            check_block(role, block)?;
            marks += usize::from(block.get("cache_control").is_some());
            let kind = block["type"].as_str().unwrap();
            if kind == "tool_result" {
                if results_over {
                    return Err(format!("a result after other content in message {at}"));
                }
                answered.push(block["tool_use_id"].as_str().ok_or("a result of nothing")?);
            } else {
                results_over = true;
            }
            if kind.ends_with("thinking") {
                if body.get("thinking").is_none() {
                    return Err("thinking without thinking".to_owned());
                }
                let first = blocks[0]["type"].as_str().unwrap();
                if !first.ends_with("thinking") {
                    return Err(format!("message {at} thinks at {place}, not at first"));
                }
            }
        }
        if open != answered {
            return Err(format!("message {at} answers {answered:?}, not {open:?}"));
        }
        open = Vec::new();
        for call in blocks.iter().filter(|block| block["type"] == "tool_use") {
            let id = call["id"].as_str().ok_or("a call without id")?;
            let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            if id.is_empty() || !id.chars().all(fits) || !ids.insert(id) {
                return Err(format!("the id '{id}' is odd or taken"));
            }
            open.push(id);
        }
    }
    if messages.len() % 2 == 0 {
        return Err("the user has no last word, or no first one".to_owned());
    }
    let tools = body["tools"].as_array().map_or(&[][..], Vec::as_slice);
    marks += tools
        .iter()
        .filter(|tool| tool.get("cache_control").is_some())
        .count();
    if marks > 4 {
        return Err(format!("{marks} marks for the cache"));
    }
    if !ids.is_empty() && tools.is_empty() {
        return Err("calls and no tools".to_owned());
    }
    check_thinking(body, messages)
}

fn check_block(role: &str, block: &Value) -> Result<(), String> {
    let filled = |field: &str| match block[field].as_str() {
        Some(text) if !text.trim().is_empty() => Ok(()),
        _ => Err(format!("no {field} in {block}")),
    };
    match (role, block["type"].as_str().ok_or("a block of no type")?) {
        (_, "text") => filled("text"),
        ("assistant", "thinking") => filled("signature"),
        ("assistant", "redacted_thinking") => filled("data"),
        ("assistant", "tool_use") if block["input"].is_object() => filled("name"),
        ("user", "image") if block["source"]["data"] != "" => Ok(()),
        ("user", "tool_result") => {
            let content = block.get("content").map_or(Some(&[][..]), |content| {
                content.as_array().map(Vec::as_slice)
            });
            for inner in content.ok_or("no list of content")? {
                if !["text", "image"].map(Value::from).contains(&inner["type"]) {
                    return Err(format!("{inner} in a result"));
                }
                check_block(role, inner)?;
            }
            Ok(())
        }
        (_, kind) => Err(format!("{kind} in a message of the {role}")),
    }
}

/// A turn that is not over goes on as it began, with room for the answer.
fn check_thinking(body: &Value, messages: &[Value]) -> Result<(), String> {
    let is = |block: &Value, ending: &str| block["type"].as_str().unwrap().ends_with(ending);
    let Some(budget) = body["thinking"]["budget_tokens"].as_u64() else {
        return Ok(());
    };
    if budget < 1_024 || body["max_tokens"].as_u64() <= Some(budget) || body["temperature"] != 1.0 {
        return Err(format!("a budget of {budget} does not fit"));
    }
    if !["auto", "none"].contains(&body["tool_choice"]["type"].as_str().unwrap_or("auto")) {
        return Err("thinking under force".to_owned());
    }
    let has_results = |message: &Value| is(&message["content"][0], "tool_result");
    let begun = messages
        .iter()
        .rposition(|message| message["role"] == "user" && !has_results(message));
    let first = messages.get(begun.map_or(1, |at| at + 1));
    match first {
        Some(first) if !is(&first["content"][0], "thinking") => {
            Err("a turn goes on with thinking and did not begin with it".to_owned())
        }
        _ => Ok(()),
    }
}

fn any_request() -> impl Strategy<Value = ModelRequest> {
    let choices = vec![
        ToolChoice::Free,
        ToolChoice::Must,
        ToolChoice::Named("a".to_owned()),
        ToolChoice::None,
    ];
    (
        history(&[
            SONNET,
            OPUS,
            "claude-3-5-haiku-latest",
            "anthropic/claude-opus-4-6",
        ]),
        prop::sample::select(vec![SONNET, OPUS, "claude-3-5-haiku-latest"]),
        any::<bool>(),
        (prop::sample::select(choices), 0..3_usize),
        prop::sample::select(vec![None, Some(100), Some(1_024), Some(9_000)]),
    )
        .prop_map(|(messages, model, thinks, (choice, tools), max_tokens)| {
            let mut request = request(model, |config| {
                (config.enable_reasoner, config.max_tokens) = (thinks, max_tokens);
            });
            request.messages = messages;
            request.tools = ["a", "b"].into_iter().take(tools).map(tool).collect();
            request.choice = choice;
            request
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn whatever_the_history_anthropic_takes_it(request in any_request()) {
        let first = bytes(&request);
        let body: Value = serde_json::from_slice(&first).unwrap();
        prop_assert_eq!(check(&body), Ok(()), "{}", body);
        prop_assert_eq!(first, bytes(&request));
    }
}

#[test]
fn the_check_sees_what_is_wrong() {
    let text = |text: &str| json!({"type": "text", "text": text});
    let call = |id: &str| json!({"type": "tool_use", "id": id, "name": "f", "input": {}});
    let result = |id: &str| json!({"type": "tool_result", "tool_use_id": id});
    let thought = json!({"type": "thinking", "thinking": "", "signature": "s"});
    let ok = |messages: Vec<Vec<Value>>, thinks: bool| {
        let roles = ["user", "assistant"].into_iter().cycle();
        let messages = roles
            .zip(messages)
            .map(|(role, content)| json!({"role": role, "content": content}));
        let mut body = json!({"messages": messages.collect::<Vec<_>>(), "tools": [{}], "max_tokens": 2_000, "temperature": 1.0});
        if thinks {
            body["thinking"] = json!({"type": "enabled", "budget_tokens": 1_024});
        }
        check(&body).is_ok()
    };
    let hi = || vec![text("hi")];
    assert!(ok(vec![hi(), vec![call("a")], vec![result("a")]], false));
    assert!(ok(
        vec![hi(), vec![thought.clone(), call("a")], vec![result("a")]],
        true
    ));
    for (wrong, thinks) in [
        (vec![], false),
        (vec![hi(), hi()], false),
        (vec![vec![]], false),
        (vec![vec![text(" ")]], false),
        (vec![hi(), vec![call("a")], hi()], false),
        (
            vec![hi(), vec![call("a")], vec![text("x"), result("a")]],
            false,
        ),
        (vec![hi(), vec![call("a.b")], vec![result("a.b")]], false),
        (
            vec![
                hi(),
                vec![call("a"), call("a")],
                vec![result("a"), result("a")],
            ],
            false,
        ),
        (vec![hi(), hi(), vec![result("a")]], false),
        (vec![hi(), vec![thought.clone()], hi()], false),
        (vec![hi(), vec![text("x"), thought.clone()], hi()], true),
        (vec![hi(), vec![call("a")], vec![result("a")]], true),
    ] {
        assert!(!ok(wrong.clone(), thinks), "{wrong:?}");
    }
}
