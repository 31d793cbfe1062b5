use super::*;
use crate::domain::clock;
use crate::domain::heartbeat;
use crate::domain::id::AgentId;
use crate::domain::message::ToolStatus;
use crate::domain::step;
use crate::domain::tool::ToolResult;

fn view(use_assistant_message: bool) -> View {
    View {
        use_assistant_message,
        ..View::default()
    }
}

fn message(role: Role, step: StepId) -> Message {
    let mut message = Message::new(AgentId::new(), role, clock::now());
    message.step_id = Some(step);
    message
}

fn thought(text: &str, native: bool) -> Part {
    Part::Reasoning {
        native,
        reasoning: text.to_owned(),
        signature: None,
    }
}

fn call(id: &str, tool: &str, arguments: &str) -> ToolCall {
    ToolCall {
        id: id.to_owned(),
        name: tool.to_owned(),
        arguments: arguments.to_owned(),
    }
}

fn returned(id: &str) -> ToolReturn {
    let result = ToolResult::success(Value::from("done"));
    step::pack(id, &result, None, clock::now(), "UTC")
}

/// One step of the heartbeat loop; `content` is what the model thought.
fn step_of(content: Vec<Part>, tool: &str, goes_on: bool) -> Vec<Message> {
    let id = StepId::new();
    let mut spoken = message(Role::Assistant, id);
    spoken.content = content;
    let arguments = format!(r#"{{"message":"hi","request_heartbeat":{goes_on}}}"#);
    spoken.tool_calls = vec![call("call_1", tool, &arguments)];
    let end = step::tool_message(message(Role::Tool, id), tool, vec![returned("call_1")]);
    let mut messages = vec![spoken, end];
    if goes_on {
        let reason = "request_heartbeat=true";
        messages.push(heartbeat::message(
            message(Role::User, id),
            reason,
            clock::now(),
            "UTC",
        ));
    }
    messages
}

fn types(pieces: &[Piece]) -> Vec<&'static str> {
    let name = |piece: &Piece| piece.body.message_type();
    pieces
        .iter()
        .map(|piece| name(piece).strip_suffix("_message").unwrap())
        .collect()
}

/// The message types of a turn as it is answered and streamed: no user messages, each message alone.
fn live(messages: &[Message], reading: &Reading<'_>) -> Vec<&'static str> {
    let own = |message: &&Message| matches!(message.role, Role::Assistant | Role::Tool);
    let shown: Vec<Piece> = messages
        .iter()
        .filter(own)
        .flat_map(|message| pieces(message, reading))
        .collect();
    for piece in &shown {
        let otid = piece.otid.as_deref().unwrap();
        let before = shown
            .iter()
            .take_while(|other| !std::ptr::eq(*other, piece));
        let index = before
            .filter(|other| other.message_id == piece.message_id)
            .count();
        assert_eq!(
            otid,
            piece.message_id.piece_otid(u8::try_from(index).unwrap())
        );
    }
    types(&shown)
}

fn listed(messages: &[Message], reading: &Reading<'_>) -> Vec<&'static str> {
    let messages: Vec<Box<Message>> = messages.iter().cloned().map(Box::new).collect();
    types(&page_pieces(&messages, reading))
}

#[test]
fn a_turn_of_the_heartbeat_loop_is_shown_by_the_table() {
    let text = || vec![Part::of_text("hm")];
    let reply = |content| step_of(content, "send_message", false);
    let tool = |content| step_of(content, "look", true);
    type Row = (&'static str, Vec<Message>, &'static str, &'static str);
    let table: Vec<Row> = vec![
        (
            "reply only",
            reply(vec![]),
            "assistant",
            "tool_call tool_return",
        ),
        (
            "reply only, with thought",
            reply(text()),
            "reasoning assistant",
            "reasoning tool_call tool_return",
        ),
        (
            "with the thought of an argument",
            reply(vec![thought("so", false)]),
            "reasoning assistant",
            "reasoning tool_call tool_return",
        ),
        (
            "with both",
            reply(vec![Part::of_text("hm"), thought("so", false)]),
            "reasoning assistant",
            "reasoning tool_call tool_return",
        ),
        (
            "one tool, then reply",
            [tool(text()), reply(text())].concat(),
            "reasoning tool_call tool_return HEART reasoning assistant",
            "reasoning tool_call tool_return HEART reasoning tool_call tool_return",
        ),
        (
            "one tool, then reply, without thoughts",
            [tool(vec![]), reply(vec![])].concat(),
            "tool_call tool_return HEART assistant",
            "tool_call tool_return HEART tool_call tool_return",
        ),
        (
            "two replies",
            [step_of(vec![], "send_message", true), reply(vec![])].concat(),
            "assistant HEART assistant",
            "tool_call tool_return HEART tool_call tool_return",
        ),
    ];
    for (case, messages, spoken, called) in table {
        for (says, expected) in [(true, spoken), (false, called)] {
            let view = view(says);
            let row = |heart: &str| {
                let row = expected.replace("HEART", heart);
                row.split_whitespace()
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            };
            let live = live(&messages, &Reading::live(&view, TurnLoop::Heartbeat));
            assert_eq!(live, row(""), "{case}, live, {says}");
            let listed = listed(&messages, &Reading::listed(&view, false));
            assert_eq!(listed, row("user"), "{case}, listed, {says}");
        }
    }
}

#[test]
fn the_native_loops_show_calls_of_the_message_tool_as_they_are() {
    let messages = step_of(vec![Part::of_text("hm")], "send_message", false);
    for turn_loop in [TurnLoop::Native, TurnLoop::NativeForced] {
        let view = view(true);
        let live = live(&messages, &Reading::live(&view, turn_loop));
        assert_eq!(live, ["assistant", "tool_call", "tool_return"]);
    }
}

#[test]
fn a_heartbeat_is_listed_as_the_text_it_is() {
    let messages = step_of(vec![], "look", true);
    let view = view(true);
    let pieces = pieces(&messages[2], &Reading::listed(&view, false));
    let Body::User {
        content: Content::Text(text),
    } = &pieces[0].body
    else {
        panic!("{pieces:?}")
    };
    assert_eq!(*text, messages[2].text());
    assert!(text.starts_with(r#"{"type":"heartbeat","reason":"request_heartbeat=true","time":"#));
}

#[test]
fn thoughts_of_one_kind_are_one_piece_and_keep_their_source() {
    let mut spoken = message(Role::Assistant, StepId::new());
    spoken.content = vec![
        thought("a", true),
        thought("b", true),
        Part::of_text("c"),
        Part::of_text("d"),
        thought("e", false),
    ];
    let view = view(true);
    let told = |reading: &Reading<'_>| -> Vec<(String, Option<bool>)> {
        let told = |piece: Piece| match piece.body {
            Body::Reasoning {
                reasoning, native, ..
            } => (reasoning, Some(native)),
            Body::Assistant { content } => (content, None),
            other => panic!("{other:?}"),
        };
        pieces(&spoken, reading).into_iter().map(told).collect()
    };
    let text = str::to_owned;
    assert_eq!(
        told(&Reading::heartbeat(&view)),
        [(text("ab"), Some(true)), (text("cd\n\ne"), Some(false))]
    );
    assert_eq!(
        told(&Reading::listed(&view, true)),
        [
            (text("ab"), Some(true)),
            (text("cd"), None),
            (text("e"), Some(false))
        ]
    );
}

#[test]
fn a_message_that_is_not_text_is_quoted_and_a_missing_one_is_no_piece() {
    for (arguments, said) in [
        (r#"{"message": "hi"}"#, Some("hi")),
        (r#"{"message": ""}"#, Some("")),
        (r#"{"message": {"a": 1}}"#, Some(r#"{"a":1}"#)),
        (r#"{"message": null}"#, None),
        (r#"{"request_heartbeat": true}"#, None),
        ("{", None),
    ] {
        let mut spoken = message(Role::Assistant, StepId::new());
        spoken.tool_calls = vec![call("call_1", "send_message", arguments)];
        let view = view(true);
        let bodies: Vec<Body> = pieces(&spoken, &Reading::heartbeat(&view))
            .into_iter()
            .map(|piece| piece.body)
            .collect();
        let expected = said.map(|said| Body::Assistant {
            content: said.to_owned(),
        });
        assert_eq!(
            bodies,
            expected.into_iter().collect::<Vec<_>>(),
            "{arguments}"
        );
    }
}

#[test]
fn a_list_hides_a_return_with_its_call_and_nothing_else() {
    let view = view(true);
    let listed = |messages: &[Message]| listed(messages, &Reading::listed(&view, false));
    let reply = step_of(vec![], "send_message", false);
    let alone: [&str; 0] = [];
    assert_eq!(listed(&reply[1..]), alone, "the call is on another page");
    let other = step_of(vec![], "look", false);
    assert_eq!(listed(&other[1..]), ["tool_return"]);
    let backwards: Vec<Message> = reply.iter().rev().cloned().collect();
    assert_eq!(listed(&backwards), ["assistant"]);

    let same_id = [step_of(vec![], "look", false), reply].concat();
    assert_eq!(
        listed(&same_id),
        ["tool_call", "tool_return", "assistant"],
        "models number their calls anew in each answer"
    );

    let id = StepId::new();
    let mut both = message(Role::Assistant, id);
    both.tool_calls = vec![
        call("a", "send_message", r#"{"message":"hi"}"#),
        call("b", "look", "{}"),
    ];
    let ends = vec![returned("a"), returned("b")];
    let ends = step::tool_message(message(Role::Tool, id), "send_message", ends);
    let messages = [Box::new(both), Box::new(ends)];
    let shown = page_pieces(&messages, &Reading::listed(&view, false));
    assert_eq!(types(&shown), ["assistant", "tool_call", "tool_return"]);
    let Body::ToolReturns(left) = &shown[2].body else {
        panic!("{shown:?}")
    };
    assert_eq!(left.len(), 1);
    assert_eq!(
        (left[0].tool_call_id.as_str(), left[0].status),
        ("b", ToolStatus::Success)
    );
}

#[test]
fn summaries_that_follow_each_other_are_one_piece_as_in_a_stream() {
    let thought = |summary: &[&str]| Part::SummarizedReasoning {
        id: "rs".to_owned(),
        summary: summary.iter().map(|text| (*text).to_owned()).collect(),
        encrypted_content: None,
    };
    let mut message = Message::new(AgentId::new(), Role::Assistant, clock::now());
    message.content = vec![
        thought(&["one", "", "two"]),
        thought(&[]),
        thought(&["three"]),
        Part::of_text("so"),
        thought(&["four"]),
    ];
    let reasoning = |text: &str| Body::Reasoning {
        reasoning: text.to_owned(),
        native: true,
        signature: None,
    };
    let said = Body::Assistant {
        content: "so".to_owned(),
    };
    let shown = pieces(&message, &Reading::native(&View::default()));
    let shown: Vec<Body> = shown.into_iter().map(|piece| piece.body).collect();
    let expected = [reasoning("one\n\ntwo\n\nthree"), said, reasoning("four")];
    assert_eq!(shown, expected);
}
