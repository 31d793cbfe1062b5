use super::*;
use crate::domain::clock;
use crate::domain::id::AgentId;
use crate::domain::message::{Role, ToolStatus};
use crate::providers::provider::config_for;
use crate::providers::testing::histories::{SIGNATURE, history};
use crate::providers::testing::user;
use proptest::prelude::*;
use serde_json::json;
use std::sync::Arc;

const MODEL: &str = "gemini-2.5-flash";

fn config(model: &str) -> LlmConfig {
    config_for("google_ai", "google_ai", None, model, 128_000)
}

fn request(messages: Vec<Arc<Message>>) -> ModelRequest {
    ModelRequest {
        config: Arc::new(config(MODEL)),
        messages,
        ..crate::providers::testing::request(MODEL, "")
    }
}

fn sent(request: &ModelRequest) -> Value {
    serde_json::from_slice(&bytes(request)).unwrap()
}

fn message(role: Role, content: Vec<Part>) -> Message {
    let mut message = Message::new(AgentId::new(), role, clock::now());
    message.content = content;
    message
}

fn call(id: &str, name: &str, arguments: &str) -> ToolCall {
    ToolCall {
        id: id.to_owned(),
        name: name.to_owned(),
        arguments: arguments.to_owned(),
    }
}

fn end(id: &str, output: ToolOutput) -> ToolReturn {
    ToolReturn {
        tool_call_id: id.to_owned(),
        status: ToolStatus::Success,
        output,
        stdout: None,
        stderr: None,
    }
}

fn packed(text: &str) -> ToolOutput {
    ToolOutput::Packed(text.to_owned())
}

fn thought(signature: &str) -> Part {
    Part::Reasoning {
        native: true,
        reasoning: "hm".to_owned(),
        signature: Some(signature.to_owned()),
    }
}

fn image(data: Option<&str>) -> Part {
    Part::Image(Image::Stored {
        file_id: None,
        media_type: Some("image/jpeg".to_owned()),
        data: data.map(str::to_owned),
        detail: None,
    })
}

/// A step with two calls by `model`, and its returns in the wrong order.
fn step(content: Vec<Part>, model: &str) -> [Arc<Message>; 2] {
    let mut said = message(Role::Assistant, content);
    said.model = Some(model.to_owned());
    said.tool_calls = vec![
        call("1", "look", "{\"b\":1, \"a\":2}"),
        call("2", "2 look", "oops"),
    ];
    let mut returned = message(Role::Tool, Vec::new());
    returned.tool_returns = vec![end("2", packed("two")), end("1", packed("one"))];
    [Arc::new(said), Arc::new(returned)]
}

fn tools() -> Arc<[ToolSchema]> {
    let tool = |name: &str, parameters: Value| ToolSchema {
        name: name.to_owned(),
        description: "Looks.".to_owned(),
        parameters,
    };
    let schema = json!({"type": "object", "properties": {"at": {"type": "string", "title": "At"}}, "additionalProperties": false});
    Arc::new([
        tool("look", schema),
        tool("wait", json!({"type": "object", "properties": {}})),
    ])
}

#[test]
fn a_plain_request_is_what_google_documents() {
    let mut request = request(vec![user("hello")]);
    request.tools = tools();
    let expected = json!({
        "systemInstruction": {"parts": [{"text": "You are a test."}]},
        "contents": [{"role": "user", "parts": [{"text": "hello"}]}],
        "tools": [{"functionDeclarations": [
            {"name": "look", "description": "Looks.", "parameters": {"type": "object", "properties": {"at": {"type": "string"}}}},
            {"name": "wait", "description": "Looks."},
        ]}],
        "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}},
        "generationConfig": {
            "temperature": 1.0,
            "maxOutputTokens": 65_536,
            "thinkingConfig": {"thinkingBudget": 1_024, "includeThoughts": true},
        },
    });
    assert_eq!(sent(&request), expected);
}

#[test]
fn a_step_is_sent_as_calls_and_returns_in_call_order() {
    let mut request = request(vec![user("go")]);
    request
        .messages
        .extend(step(vec![thought("c2ln"), Part::of_text("so")], MODEL));
    request.messages.extend([user("and?"), user("now?")]);
    let returned = |name: &str, text: &str| json!({"functionResponse": {"name": name, "response": {"name": name, "content": text}}});
    let expected = json!([
        {"role": "user", "parts": [{"text": "go"}]},
        {"role": "model", "parts": [
            {"text": "hm", "thought": true},
            {"text": "so"},
            {"functionCall": {"name": "look", "args": {"b": 1, "a": 2}}, "thoughtSignature": "c2ln"},
            {"functionCall": {"name": "_2_look", "args": {"arguments": "oops"}}},
        ]},
        {"role": "user", "parts": [returned("look", "one"), returned("_2_look", "two")]},
        {"role": "model", "parts": [{"text": RETURNS_SEEN}]},
        {"role": "user", "parts": [{"text": "and?"}, {"text": "now?"}]},
    ]);
    assert_eq!(sent(&request)["contents"], expected);
}

#[test]
fn thinking_goes_back_to_the_model_whose_it_is_and_to_no_other() {
    let omitted = || Part::OmittedReasoning {
        signature: Some("c2ln".to_owned()),
    };
    let replayed = |model: &str, by: &str| {
        let mut request = request(vec![user("go")]);
        request.config = Arc::new(config(model));
        request.messages.extend(step(vec![omitted()], by));
        sent(&request)["contents"][1]["parts"][0]["thoughtSignature"].clone()
    };
    assert_eq!(replayed(MODEL, MODEL), "c2ln");
    assert_eq!(replayed(MODEL, "google_ai/gemini-2.5-flash"), "c2ln");
    assert_eq!(replayed(MODEL, "gemini-2.5-pro"), Value::Null);
    assert_eq!(replayed("gemini-3-pro", "gemini-3-pro"), "c2ln");
    assert_eq!(replayed("gemini-3-pro", MODEL), UNSIGNED);
    let mut other = request(vec![user("go")]);
    other
        .messages
        .extend(step(vec![thought("c2ln"), Part::of_text("so")], "o3"));
    assert_eq!(
        sent(&other)["contents"][1]["parts"][0],
        json!({"text": "so"})
    );
}

#[test]
fn a_text_keeps_its_signature_and_gives_it_to_the_call_when_it_is_left_out() {
    let text = Part::Text {
        text: "so".to_owned(),
        signature: Some("dHh0".to_owned()),
    };
    let mut request = request(vec![user("go")]);
    request.messages.extend(step(vec![text], MODEL));
    let parts = |request: &ModelRequest| sent(request)["contents"][1]["parts"].clone();
    assert_eq!(
        parts(&request)[0],
        json!({"text": "so", "thoughtSignature": "dHh0"})
    );
    Arc::make_mut(&mut request.config).enable_reasoner = false;
    assert_eq!(parts(&request)[0]["functionCall"]["name"], "look");
    assert_eq!(parts(&request)[0]["thoughtSignature"], "dHh0");
}

#[test]
fn a_conversation_begins_and_ends_with_the_user() {
    let said = Arc::new(message(Role::Assistant, vec![Part::of_text("hi")]));
    let contents = sent(&request(vec![said]))["contents"].clone();
    assert_eq!(
        contents,
        json!([
            {"role": "user", "parts": [{"text": BEGINNING}]},
            {"role": "model", "parts": [{"text": "hi"}]},
            {"role": "user", "parts": [{"text": GO_ON}]},
        ])
    );
    assert_eq!(
        sent(&request(Vec::new()))["contents"][0]["parts"][0]["text"],
        GO_ON
    );
}

#[test]
fn images_stand_where_they_were_said_and_beside_the_return_they_came_with() {
    let parts = || vec![Part::of_text("look:"), image(Some("QUJD")), image(None)];
    let mut said = message(Role::Assistant, Vec::new());
    said.tool_calls = vec![call("1", "look", "{}")];
    let mut returned = message(Role::Tool, Vec::new());
    returned.tool_returns = vec![end("1", ToolOutput::Parts(parts()))];
    let request = request(vec![
        Arc::new(message(Role::User, parts())),
        Arc::new(said),
        Arc::new(returned),
    ]);
    let contents = sent(&request)["contents"].clone();
    let inline = json!({"inlineData": {"mimeType": "image/jpeg", "data": "QUJD"}});
    assert_eq!(
        contents[0]["parts"],
        json!([{"text": "look:"}, inline, {"text": "[image]"}])
    );
    let response =
        json!({"name": "look", "response": {"name": "look", "content": "look:\n[image]"}});
    assert_eq!(
        contents[2]["parts"],
        json!([{"functionResponse": response}, inline])
    );
}

#[test]
fn a_long_return_is_cut_in_the_request_only() {
    let mut request = request(vec![user("go")]);
    Arc::make_mut(&mut request.config).context_window = 1_000;
    let [said, mut returned] = step(Vec::new(), MODEL);
    Arc::make_mut(&mut returned).tool_returns[1].output = packed(&"é".repeat(5_003));
    request.messages.extend([said, returned]);
    let shown =
        sent(&request)["contents"][2]["parts"][0]["functionResponse"]["response"]["content"]
            .clone();
    assert_eq!(
        shown,
        format!("{}... [truncated 3 chars]", "é".repeat(5_000))
    );
}

#[test]
fn tools_are_chosen_in_geminis_words() {
    let calling = |choice: ToolChoice| {
        let mut request = request(vec![user("go")]);
        request.tools = tools();
        request.choice = choice;
        sent(&request)["toolConfig"]["functionCallingConfig"].clone()
    };
    let any = |names: &[&str]| json!({"mode": "ANY", "allowedFunctionNames": names});
    assert_eq!(calling(ToolChoice::Must), any(&["look", "wait"]));
    assert_eq!(
        calling(ToolChoice::Named("wait".to_owned())),
        any(&["wait"])
    );
    assert_eq!(
        calling(ToolChoice::Named("gone".to_owned())),
        any(&["look", "wait"])
    );
    assert_eq!(calling(ToolChoice::None), json!({"mode": "NONE"}));
    let without = sent(&request(vec![user("go")]));
    assert!(without.get("tools").is_none() && without.get("toolConfig").is_none());
}

#[test]
fn thinking_is_asked_for_as_the_model_takes_it() {
    let thinking = |model: &str, on: bool, tokens: u64, limit: u64| {
        let mut request = request(vec![user("go")]);
        request.config = Arc::new(LlmConfig {
            enable_reasoner: on,
            max_reasoning_tokens: tokens,
            max_tokens: Some(limit),
            ..config(model)
        });
        sent(&request)["generationConfig"]["thinkingConfig"].clone()
    };
    let budget =
        |tokens: u64, shown: bool| json!({"thinkingBudget": tokens, "includeThoughts": shown});
    assert_eq!(thinking(MODEL, true, 0, 8_192), budget(1_024, true));
    assert_eq!(thinking(MODEL, true, 0, 512), budget(256, true));
    assert_eq!(thinking(MODEL, true, 50, 8_192), budget(50, true));
    assert_eq!(thinking(MODEL, false, 50, 8_192), budget(0, false));
    assert_eq!(
        thinking("gemini-2.5-pro", true, 50, 8_192),
        budget(128, true)
    );
    assert_eq!(
        thinking("gemini-2.5-pro", false, 0, 8_192),
        budget(128, false)
    );
    assert_eq!(
        thinking("gemini-3-pro-preview", true, 50, 8_192),
        json!({"includeThoughts": true})
    );
    assert_eq!(thinking("gemini-2.0-flash", true, 50, 8_192), Value::Null);
}

#[test]
fn structured_output_is_asked_for_without_tools() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": false});
    let wrapped = json!({"name": "n", "schema": schema, "strict": true});
    for given in [schema, wrapped] {
        let mut request = request(vec![user("go")]);
        Arc::make_mut(&mut request.config).response_format =
            Some(ResponseFormat::JsonSchema(given));
        let expected = json!({"type": "object", "properties": {"a": {"type": "string"}}});
        let generation = sent(&request)["generationConfig"].clone();
        assert_eq!(generation["responseMimeType"], "application/json");
        assert_eq!(generation["responseSchema"], expected);
        request.tools = tools();
        let beside_tools = sent(&request);
        assert!(
            beside_tools["generationConfig"]
                .get("responseMimeType")
                .is_none()
        );
        request.choice = ToolChoice::None;
        let body = sent(&request);
        assert!(body.get("tools").is_none());
        assert_eq!(
            body["generationConfig"]["responseMimeType"],
            "application/json"
        );
    }
}

#[test]
fn a_longer_conversation_begins_with_the_bytes_of_the_shorter_one() {
    let mut request = request(vec![user("go")]);
    let short = bytes(&request);
    request.messages.extend(step(Vec::new(), MODEL));
    let long = bytes(&request);
    let shared = short.iter().zip(&long).take_while(|(a, b)| a == b).count();
    let contents = short.windows(3).position(|end| end == b"]}]").unwrap();
    assert_eq!(shared, contents + 2);
}

/// What Gemini would refuse in a conversation.
fn broken_rule(contents: &[Value]) -> Option<String> {
    let parts = |content: &Value| content["parts"].as_array().cloned().unwrap_or_default();
    let names = |content: &Value, kind: &str| -> Vec<Value> {
        let of_kind = parts(content)
            .into_iter()
            .filter_map(|part| part.get(kind).cloned());
        of_kind.map(|inner| inner["name"].clone()).collect()
    };
    let (Some(first), Some(last)) = (contents.first(), contents.last()) else {
        return Some("nothing is said".to_owned());
    };
    // So there are no calls at the end either.
    if first["role"] != "user" || last["role"] != "user" {
        return Some("the user neither begins nor is answered".to_owned());
    }
    for (at, content) in contents.iter().enumerate() {
        let before = at.checked_sub(1).map(|before| &contents[before]);
        if before.is_some_and(|before| before["role"] == content["role"]) {
            return Some(format!("{at}: the same side twice"));
        }
        if parts(content).is_empty() {
            return Some(format!("{at}: no parts"));
        }
        let by_model = content["role"] == "model";
        for part in parts(content) {
            let well_formed = match (part.get("text"), part.get("functionCall")) {
                (Some(text), None) => {
                    text.as_str().is_some_and(|text| !text.is_empty())
                        && (by_model || part.get("thought").is_none())
                }
                (None, Some(call)) => by_model && call["args"].is_object(),
                (None, None) if part.get("inlineData").is_some() => {
                    !by_model && part["inlineData"]["data"] != ""
                }
                (None, None) => !by_model && part["functionResponse"]["response"].is_object(),
                (Some(_), Some(_)) => false,
            };
            if !well_formed {
                return Some(format!("{at}: the part {part}"));
            }
        }
        let called = before.map_or(Vec::new(), |before| names(before, "functionCall"));
        let returned = names(content, "functionResponse");
        if called != returned {
            return Some(format!("{at}: {called:?} got returns of {returned:?}"));
        }
        if !returned.is_empty() && parts(content).iter().any(|part| part.get("text").is_some()) {
            return Some(format!("{at}: something said beside returns"));
        }
        let calls = parts(content)
            .into_iter()
            .filter(|part| part.get("functionCall").is_some());
        if calls
            .skip(1)
            .any(|part| part.get("thoughtSignature").is_some())
        {
            return Some(format!("{at}: a signature on a later call"));
        }
    }
    None
}

#[test]
fn the_checker_sees_what_gemini_refuses() {
    let user = json!({"role": "user", "parts": [{"text": "go"}]});
    let called = json!({"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]});
    let returned = |name: &str| json!({"role": "user", "parts": [{"functionResponse": {"name": name, "response": {}}}]});
    let model = json!({"role": "model", "parts": [{"text": "hi"}]});
    assert_eq!(
        broken_rule(&[user.clone(), called.clone(), returned("f")]),
        None
    );
    for contents in [
        vec![],
        vec![model.clone(), user.clone()],
        vec![user.clone(), model.clone()],
        vec![user.clone(), user.clone()],
        vec![user.clone(), called.clone(), user.clone()],
        vec![user.clone(), called, returned("g")],
        vec![returned("f")],
        vec![json!({"role": "user", "parts": []})],
        vec![json!({"role": "user", "parts": [{"text": ""}]})],
    ] {
        assert!(broken_rule(&contents).is_some(), "{contents:?}");
    }
}

/// As messages name them, with and without the provider.
const MODELS: &[&str] = &[
    MODEL,
    "google_ai/gemini-2.5-flash",
    "gemini-2.0-flash",
    "gemini-3-pro-preview",
];

proptest! {
    #[test]
    fn whatever_the_history_gemini_takes_it(
        history in history(MODELS),
        reasons in any::<bool>(),
        model in prop::sample::select(vec![MODEL, "gemini-2.0-flash", "gemini-3-pro-preview"]),
    ) {
        let own = history.iter().any(|message| message.model.as_deref().is_some_and(|by| by.ends_with(model)));
        let mut request = request(history);
        request.config = Arc::new(LlmConfig { enable_reasoner: reasons, ..config(model) });
        let body = sent(&request);
        let contents = body["contents"].as_array().unwrap();
        prop_assert_eq!(broken_rule(contents), None, "{}", body["contents"]);
        let text = body.to_string();
        prop_assert!(own || !(text.contains(SIGNATURE) || text.contains("\"thought\"")));
    }
}
