use super::*;
use crate::domain::model::Delta;
use crate::providers::protocol::Reader as _;

fn read(pieces: &[Value]) -> (Answer, Vec<Delta>) {
    let mut deltas = Vec::new();
    let mut push = |delta| deltas.push(delta);
    let mut reader = Box::new(Reader::new(Accumulator::new(&mut push)));
    for piece in pieces {
        assert!(!reader.is_over());
        reader.take(piece.to_string().as_bytes()).unwrap();
    }
    (reader.into_answer().unwrap(), deltas)
}

fn take(data: &str) -> Result<(), Fault> {
    Reader::new(Accumulator::new(&mut |_| ())).take(data.as_bytes())
}

fn started() -> Value {
    let usage = json!({"input_tokens": 10, "cache_creation_input_tokens": 20, "cache_read_input_tokens": 300, "output_tokens": 1});
    json!({"type": "message_start", "message": {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": usage,
    }})
}

fn block(index: u32, block: Value, deltas: &[Value]) -> Vec<Value> {
    let start = json!({"type": "content_block_start", "index": index, "content_block": block});
    let deltas = deltas
        .iter()
        .map(|delta| json!({"type": "content_block_delta", "index": index, "delta": delta}));
    let stop = json!({"type": "content_block_stop", "index": index});
    std::iter::once(start).chain(deltas).chain([stop]).collect()
}

fn ended(reason: &str) -> [Value; 2] {
    [
        json!({"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": null}, "usage": {"output_tokens": 42}}),
        json!({"type": "message_stop"}),
    ]
}

fn text(text: &str) -> Value {
    json!({"type": "text_delta", "text": text})
}

fn json_piece(piece: &str) -> Value {
    json!({"type": "input_json_delta", "partial_json": piece})
}

fn call(id: &str, input: Value) -> Value {
    json!({"type": "tool_use", "id": id, "name": "look", "input": input})
}

/// A stream with every kind of block, and the whole message that says the same.
fn both() -> (Vec<Value>, Value) {
    let thinking = |piece: &str| json!({"type": "thinking_delta", "thinking": piece});
    let signature = |piece: &str| json!({"type": "signature_delta", "signature": piece});
    let empty_thought = || json!({"type": "thinking", "thinking": "", "signature": ""});
    let redacted = json!({"type": "redacted_thinking", "data": "secret"});
    let empty_text = || json!({"type": "text", "text": ""});
    let stream = [
        vec![started(), json!({"type": "ping"})],
        block(
            0,
            empty_thought(),
            &[thinking("let me "), thinking("see"), signature("abc=")],
        ),
        block(1, redacted.clone(), &[]),
        block(2, empty_thought(), &[signature("def=")]),
        block(3, empty_text(), &[text("First, "), text("this.")]),
        block(
            4,
            json!({"type": "some_day"}),
            &[json!({"type": "some_day_delta"})],
        ),
        block(5, empty_text(), &[text("Second.")]),
        block(
            6,
            call("toolu_1", json!({})),
            &[
                json_piece(""),
                json_piece("{\"place\": \"A"),
                json_piece("msterdam\", \"n\": 1.50}"),
            ],
        ),
        block(7, call("toolu_2", json!({})), &[json_piece("")]),
        block(8, call("toolu_3", json!({})), &[]),
        block(9, empty_text(), &[]),
        vec![json!({"type": "some_day_event", "index": 3})],
        ended("tool_use").to_vec(),
    ];
    let whole = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude",
        "content": [
            {"type": "thinking", "thinking": "let me see", "signature": "abc="},
            redacted,
            {"type": "thinking", "thinking": "", "signature": "def="},
            {"type": "text", "text": "First, this.", "citations": null},
            {"type": "some_day"},
            {"type": "text", "text": "Second."},
            call("toolu_1", json!({"place": "Amsterdam", "n": 1.5})),
            call("toolu_2", json!({})),
            call("toolu_3", json!({})),
            {"type": "text", "text": ""},
        ],
        "stop_reason": "tool_use", "stop_sequence": null,
        "usage": {"input_tokens": 10, "cache_creation_input_tokens": 20, "cache_read_input_tokens": 300, "output_tokens": 42},
    });
    (stream.concat(), whole)
}

#[test]
fn events_and_the_whole_give_the_same_answer() {
    let (stream, whole) = both();
    let (streamed, deltas) = read(&stream);
    let (blocked, _) = read(&[whole]);
    assert_eq!(streamed, blocked);

    let parts = [
        Part::Reasoning {
            native: true,
            reasoning: "let me see".to_owned(),
            signature: Some("abc=".to_owned()),
        },
        Part::RedactedReasoning {
            data: "secret".to_owned(),
        },
        Part::OmittedReasoning {
            signature: Some("def=".to_owned()),
        },
        Part::of_text("First, this."),
        Part::of_text("Second."),
    ];
    assert_eq!(streamed.parts, parts);
    let calls: Vec<(&str, &str)> = streamed
        .calls
        .iter()
        .map(|call| (call.id.as_str(), call.arguments.as_str()))
        .collect();
    assert_eq!(
        calls,
        [
            ("toolu_1", "{\"place\":\"Amsterdam\",\"n\":1.5}"),
            ("toolu_2", "{}"),
            ("toolu_3", "{}")
        ]
    );
    let spoken = deltas
        .iter()
        .filter(|delta| matches!(delta, Delta::Text(_)))
        .count();
    assert_eq!(spoken, 3);
    assert!(deltas.contains(&Delta::RedactedReasoning("secret".to_owned())));
}

#[test]
fn cached_input_counts_as_input_and_output_counts_are_not_added_up() {
    let (stream, _) = both();
    let expected = Usage {
        prompt_tokens: 330,
        completion_tokens: 42,
        total_tokens: 372,
        cached_input_tokens: Some(300),
        cache_write_tokens: Some(20),
        reasoning_tokens: None,
    };
    assert_eq!(read(&stream).0.usage, expected);
}

#[test]
fn every_reason_to_stop_has_its_meaning_and_an_unknown_one_does_not_fail() {
    for (reason, expected) in [
        ("end_turn", Finish::Stop),
        ("stop_sequence", Finish::Stop),
        ("pause_turn", Finish::Stop),
        ("some_day", Finish::Stop),
        ("max_tokens", Finish::Length),
        ("model_context_window_exceeded", Finish::Length),
        ("tool_use", Finish::ToolCalls),
        ("refusal", Finish::ContentFilter),
    ] {
        let said = block(0, json!({"type": "text", "text": ""}), &[text("a")]);
        let stream = [vec![started()], said, ended(reason).to_vec()].concat();
        assert_eq!(read(&stream).0.finish, expected, "{reason}");
    }
}

#[test]
fn a_server_that_gives_arguments_at_once_is_understood() {
    let stream = [
        vec![started()],
        block(0, call("a", json!({"x": 1})), &[]),
        ended("tool_use").to_vec(),
    ];
    assert_eq!(read(&stream.concat()).0.calls[0].arguments, "{\"x\":1}");
}

#[test]
fn a_call_that_is_cut_off_before_its_arguments_is_whole() {
    let mut cut = block(0, call("a", json!({})), &[]);
    cut.truncate(1);
    let stream = [vec![started()], cut, ended("max_tokens").to_vec()];
    let (answer, _) = read(&stream.concat());
    assert_eq!(
        (answer.calls[0].arguments.as_str(), answer.finish),
        ("{}", Finish::Length)
    );
}

#[test]
fn errors_in_the_place_of_an_answer_are_complaints() {
    let overloaded =
        r#"{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}"#;
    for (data, status) in [
        (overloaded, 529),
        (
            r#"{"error": {"message": "no", "type": "not_found_error"}}"#,
            404,
        ),
    ] {
        let Err(Fault::Refused(complaint)) = take(data) else {
            panic!("{data}")
        };
        assert_eq!(complaint.implied_status(), status);
    }
    for data in ["rubbish", "{}", r#"{"type": "content_block_delta"}"#] {
        assert!(
            matches!(take(data), Err(Fault::Unreadable("message"))),
            "{data}"
        );
    }
}

#[test]
fn a_message_with_nothing_in_it_is_no_answer() {
    let mut ignore = |_| ();
    let mut reader = Box::new(Reader::new(Accumulator::new(&mut ignore)));
    let empty = json!({"type": "message", "content": [], "stop_reason": "end_turn"});
    reader.take(empty.to_string().as_bytes()).unwrap();
    assert!(reader.is_finished());
    assert_eq!(reader.into_answer().unwrap_err(), Misfit::Empty);
}

#[test]
fn a_refusal_with_nothing_in_it_ends_as_such() {
    let stream = [vec![started()], ended("refusal").to_vec()].concat();
    let (answer, deltas) = read(&stream);
    assert_eq!(
        (answer.finish, answer.parts, deltas),
        (Finish::ContentFilter, Vec::new(), Vec::new())
    );
}
