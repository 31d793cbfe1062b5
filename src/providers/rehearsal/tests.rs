use super::*;
use crate::domain::clock;
use crate::domain::id::AgentId;
use crate::domain::message::ToolReturn;
use crate::domain::model::ToolSchema;
use crate::providers::testing;
use std::sync::Arc;

fn request(text: &str, memory: &str) -> ModelRequest {
    let tool = |name: &str| ToolSchema {
        name: name.to_owned(),
        description: String::new(),
        parameters: json!({}),
    };
    let mut request = testing::request(MODEL, text);
    request.tools = ["memory_insert", "core_memory_append", "conversation_search"]
        .map(tool)
        .into();
    request.system = format!(
        "Base <text>.\n<memory_blocks>\nYour blocks:\n\n<persona>\n<value>\nI am a helper.\n</value>\n</persona>\n\n\
         <human>\n<description>\n\n</description>\n<value>\n{memory}\n</value>\n</human>\n</memory_blocks>"
    )
    .into();
    request
}

fn said(text: &str, memory: &str) -> String {
    match decide(&request(text, memory)) {
        Part::Say(text) => text,
        Part::Call(calls) => format!("{calls:?}"),
    }
}

fn called(text: &str) -> Vec<(String, String)> {
    match decide(&request(text, "")) {
        Part::Call(calls) => calls,
        Part::Say(text) => panic!("said: {text}"),
    }
}

fn call(name: &str, arguments: &str) -> (String, String) {
    (name.to_owned(), arguments.to_owned())
}

#[test]
fn it_says_what_it_is() {
    let answer = said("Hello there", "");
    assert!(
        answer.starts_with("I am the rehearsal model") && answer.contains("“Hello there”"),
        "{answer}"
    );
}

#[test]
fn it_keeps_what_it_is_told() {
    for (text, fact) in [
        ("Hi! My name is Ada.", "The user's name is Ada."),
        ("call me Ishmael", "The user's name is Ishmael."),
        (
            "my name is Ada and I like tea",
            "The user's name is Ada.\nThe user said: I like tea.",
        ),
        (
            "My favourite colour is green.",
            "The user said: My favourite colour is green.",
        ),
        (
            "Please remember that I like green tea",
            "The user said: I like green tea.",
        ),
        (
            "my name is Ada. Remember that I fly",
            "The user's name is Ada.\nThe user said: I fly.",
        ),
    ] {
        assert_eq!(
            called(text),
            [call(
                "memory_insert",
                &json!({"label": "human", "new_string": fact}).to_string()
            )]
        );
    }
}

#[test]
fn it_keeps_with_the_tool_it_has_or_says_that_it_has_none() {
    let mut request = request("my name is Ada", "");
    request.tools = request.tools[1..].into();
    let Part::Call(calls) = decide(&request) else {
        panic!()
    };
    assert_eq!(calls[0].0, "core_memory_append");
    request.choice = ToolChoice::None;
    assert!(matches!(decide(&request), Part::Say(_)));
}

#[test]
fn it_answers_from_memory() {
    let memory = "Name: Bob\nThe user's name is Ada.\nThe user said: I like green tea.";
    for (question, answer) in [
        ("What is my name?", "Your name is Ada."),
        ("do you know my name?", "Your name is Ada."),
        (
            "What do you remember about tea?",
            "I remember: The user said: I like green tea.",
        ),
        (
            "What do you know about rockets?",
            "I remember nothing about that.",
        ),
        (
            "Do I like tea?",
            "From my memory: The user said: I like green tea.",
        ),
    ] {
        assert_eq!(said(question, memory), answer, "{question}");
    }
    assert!(said("what do you know about me?", memory).contains("I am a helper."));
    assert_eq!(said("What's my name?", "Name: Bob"), "Your name is Bob.");
    assert!(said("what is my name?", "").starts_with("I do not know"));
    assert_eq!(said("My name is Ada.", memory), "I know that already.");
}

#[test]
fn it_calls_what_it_is_asked_to_call() {
    let lines =
        "please\ncall conversation_search {\"query\": \"tea\"}\ncall memory_insert {\"label\":";
    assert_eq!(
        called(lines),
        [
            call("conversation_search", "{\"query\": \"tea\"}"),
            call("memory_insert", "{\"label\":")
        ]
    );
    assert_eq!(
        called("call conversation_search"),
        [call("conversation_search", "{}")]
    );
    assert!(said("call no_such_tool {}", "").contains("not offered a tool named no_such_tool"));
}

#[test]
fn it_tells_how_a_call_went() {
    let mut message = Message::new(AgentId::new(), Role::Tool, clock::now());
    let end = |status, text: &str| ToolReturn {
        tool_call_id: "call_1".to_owned(),
        status,
        output: ToolOutput::Packed(json!({"status": "x", "message": text}).to_string()),
        stdout: None,
        stderr: None,
    };
    message.tool_returns = vec![end(ToolStatus::Success, "ok")];
    message.name = Some(INSERT.to_owned());
    assert_eq!(
        after_tools(&message),
        "I have written that down in my memory."
    );
    message.name = None;
    assert_eq!(after_tools(&message), "Done.");
    message
        .tool_returns
        .push(end(ToolStatus::Error, "no such block"));
    let mut request = request("x", "");
    request.messages.push(Arc::new(message));
    assert_eq!(
        decide(&request),
        Part::Say("1 of 2 calls did not work: no such block".to_owned())
    );
}

#[tokio::test]
async fn it_streams_word_by_word_what_it_answers() {
    let mut streamed = String::new();
    let mut pieces = 0;
    let request = request("hello", "");
    let mut push = |delta| {
        let Delta::Text(text) = delta else {
            panic!("{delta:?}")
        };
        streamed.push_str(&text);
        pieces += 1;
    };
    let answer = Rehearsal.answer(&request, &mut push).await.unwrap();
    assert_eq!(answer.parts[0].text(), Some(streamed.as_str()));
    assert!(pieces > 5 && answer.usage.total_tokens > 0);
    let again = Rehearsal.answer(&request, &mut |_| ()).await.unwrap();
    assert_eq!(answer, again);
}

/// What it answers as it comes to the loop.
async fn answered(request: &ModelRequest) -> Answer {
    Rehearsal.answer(request, &mut |_| ()).await.unwrap()
}

#[tokio::test]
async fn where_words_are_not_taken_it_speaks_with_the_message_tool() {
    let mut request = request("What is my name?", "The user's name is Ada.");
    let properties = json!({"thinking": {"type": "string"}, "message": {"type": "string"}});
    let says = ToolSchema {
        name: "send_message".to_owned(),
        description: String::new(),
        parameters: json!({"type": "object", "properties": properties, "required": ["thinking", "message"]}),
    };
    request.tools = request.tools.iter().cloned().chain([says]).collect();
    request.choice = ToolChoice::Must;
    let answer = answered(&request).await;
    assert_eq!((answer.calls.len(), answer.parts.len()), (1, 0));
    assert_eq!(answer.calls[0].name, "send_message");
    let arguments: Value = serde_json::from_str(&answer.calls[0].arguments).unwrap();
    assert_eq!(arguments["message"], "Your name is Ada.");
    request.choice = ToolChoice::Free;
    assert!(answered(&request).await.calls.is_empty());
}

#[tokio::test]
async fn it_asks_for_another_step_after_a_call_and_then_says_how_that_went() {
    let mut request = request("my name is Ada", "");
    let mut tools = request.tools.to_vec();
    tools[0].parameters =
        json!({"type": "object", "properties": {"request_heartbeat": {"type": "boolean"}}});
    request.tools = tools.into();
    request.choice = ToolChoice::Must;
    let call = answered(&request).await.calls.remove(0);
    let arguments: Value = serde_json::from_str(&call.arguments).unwrap();
    assert_eq!(
        (call.name.as_str(), &arguments["request_heartbeat"]),
        (INSERT, &json!(true))
    );
    let mut returned = Message::new(AgentId::new(), Role::Tool, clock::now());
    returned.name = Some(INSERT.to_owned());
    returned.tool_returns = vec![ToolReturn {
        tool_call_id: call.id,
        status: ToolStatus::Success,
        output: ToolOutput::Packed("ok".to_owned()),
        stdout: None,
        stderr: None,
    }];
    let reminder = Message::new(AgentId::new(), Role::User, clock::now());
    let reminder = heartbeat::message(reminder, "Go on.", clock::now(), "UTC");
    request.messages.extend([returned, reminder].map(Arc::new));
    assert!(matches!(decide(&request), Part::Say(text) if text.contains("written that down")));
}

#[tokio::test]
async fn a_form_that_is_asked_for_is_filled() {
    let mut request = request("Tell me something.", "");
    let parameters = json!({"type": "object", "properties": {"mood": {"enum": ["good", "bad"]}, "why": {"type": "string"}}, "required": ["mood", "why"]});
    request.tools = Arc::new([ToolSchema {
        name: "answer".to_owned(),
        description: String::new(),
        parameters: parameters.clone(),
    }]);
    request.choice = ToolChoice::Named("answer".to_owned());
    let call = answered(&request).await.calls.remove(0);
    let arguments: Value = serde_json::from_str(&call.arguments).unwrap();
    assert!(jsonschema::is_valid(&parameters, &arguments), "{arguments}");
}
