use super::*;
use crate::domain::clock;
use crate::domain::frame::PieceIndex;
use crate::domain::heartbeat::{self, Next};
use crate::domain::id::AgentId;
use crate::domain::message::{Message, Part, Role, ToolCall};
use crate::domain::model::{Answer, Finish, ToolChoice, Trace, Usage};
use crate::domain::piece::{Body, Reading, pieces};
use crate::domain::step;
use proptest::prelude::*;
use serde_json::{Map, json};

fn view(use_assistant_message: bool) -> View {
    View {
        use_assistant_message,
        ..View::default()
    }
}

fn name(name: &str) -> Delta {
    Delta::CallName {
        call_id: "call_1".to_owned(),
        name: name.to_owned(),
    }
}

fn arguments(fragment: &str) -> Delta {
    Delta::CallArguments {
        call_id: "call_1".to_owned(),
        fragment: fragment.to_owned(),
    }
}

fn text(text: &str) -> Delta {
    Delta::Text(text.to_owned())
}

fn thought(text: &str) -> Delta {
    Delta::Thought(text.to_owned())
}

/// What is shown, delta by delta as it came in; the last entry is what was held back to the end.
fn shown(view: &View, thinks: bool, deltas: Vec<Delta>) -> Vec<Vec<Delta>> {
    let mut live = Live::new(view, thinks);
    let mut shown: Vec<Vec<Delta>> = deltas.into_iter().map(|delta| live.show(delta)).collect();
    shown.push(live.finish());
    shown
}

/// All that is shown, with neighbours of one kind joined.
fn whole(view: &View, thinks: bool, deltas: Vec<Delta>) -> Vec<Delta> {
    let mut joined = Vec::new();
    for delta in shown(view, thinks, deltas).into_iter().flatten() {
        append(&mut joined, 0, delta);
    }
    joined
}

#[test]
fn the_words_of_the_message_tool_are_the_reply_while_they_come_in() {
    let deltas = vec![
        name("send_message"),
        arguments(r#"{"mes"#),
        arguments(r#"sage": "He"#),
        arguments(r#"llo \"yo"#),
        arguments(r#"u\"", "request_heart"#),
        arguments(r#"beat": false}"#),
    ];
    assert_eq!(
        shown(&view(true), false, deltas.clone()),
        [
            vec![],
            vec![],
            vec![text("He")],
            vec![text("llo \"yo")],
            vec![text("u\"")],
            vec![],
            vec![]
        ]
    );
    let as_it_is = r#"{"message": "Hello \"you\"", "request_heartbeat": false}"#;
    assert_eq!(
        whole(&view(false), false, deltas),
        [name("send_message"), arguments(as_it_is)]
    );
}

#[test]
fn another_name_for_the_message_tool_is_the_views() {
    let view = View {
        assistant_message_tool_name: "tell".to_owned(),
        assistant_message_tool_kwarg: "words".to_owned(),
        ..View::default()
    };
    let said = |tool| vec![name(tool), arguments(r#"{"message": "a", "words": "b"}"#)];
    assert_eq!(whole(&view, false, said("tell")), [text("b")]);
    assert_eq!(
        whole(&view, false, said("send_message")),
        said("send_message")
    );
}

#[test]
fn the_thought_of_a_call_stands_before_it_and_is_not_among_its_arguments() {
    let deltas = |written: &str| vec![name("look"), arguments(written)];
    let expected = |rest: &str| vec![thought("so"), name("look"), arguments(rest)];
    for (written, rest) in [
        (r#"{"thinking": "so", "a": 1}"#, r#"{ "a": 1}"#),
        (r#"{"thinking":"so"}"#, "{}"),
        (r#"{"a": 1, "thinking": "so"}"#, r#"{"a": 1}"#),
        (
            r#"{"a": 1, "thinking" : "so" , "b": [1, {"x": "}"}] }"#,
            r#"{"a": 1, "b": [1, {"x": "}"}] }"#,
        ),
        (r#"{"th\u0069nking": "so", "a": "\"}"}"#, r#"{ "a": "\"}"}"#),
        (r#""{\"thinking\": \"so\", \"a\": 1}""#, r#"{ "a": 1}"#),
        (r#"{"thinking": "so", "a": 1}{"a": 2}"#, r#"{ "a": 1}"#),
    ] {
        assert_eq!(
            whole(&view(true), true, deltas(written)),
            expected(rest),
            "{written}"
        );
        let unasked = whole(&view(true), false, deltas(written));
        assert_eq!(unasked, expected(rest)[1..], "{written}");
    }
}

#[test]
fn a_call_is_held_back_until_its_thought_is_known_and_not_longer() {
    let first = vec![
        name("look"),
        arguments(r#"{"thin"#),
        arguments(r#"king": "s"#),
        arguments(r#"o""#),
        arguments(r#", "a":"#),
        arguments(" 1}"),
    ];
    assert_eq!(
        shown(&view(true), true, first),
        [
            vec![],
            vec![],
            vec![thought("s")],
            vec![thought("o"), name("look"), arguments("{")],
            vec![arguments(r#" "a":"#)],
            vec![arguments(" 1}")],
            vec![]
        ]
    );
    let last = vec![
        name("send_message"),
        arguments(r#"{"message": "a"#),
        arguments(r#"b", "#),
        arguments(r#""thinking": "so"}"#),
    ];
    assert_eq!(
        shown(&view(true), true, last),
        [
            vec![],
            vec![],
            vec![],
            vec![thought("so"), text("a"), text("b")],
            vec![]
        ],
        "what was held comes in its own fragments"
    );
    let never = vec![name("look"), arguments(r#"{"a": 1"#), arguments("}")];
    assert_eq!(
        shown(&view(true), true, never),
        [
            vec![],
            vec![],
            vec![name("look"), arguments(r#"{"a": 1"#), arguments("}")],
            vec![]
        ]
    );
    let cut = vec![name("look"), arguments(r#"{"a": "#)];
    assert_eq!(shown(&view(true), true, cut.clone())[2], cut);
}

#[test]
fn text_is_thought_and_the_models_own_channel_stays_what_it_is() {
    let deltas = vec![
        Delta::OmittedReasoning,
        Delta::Reasoning("r".to_owned()),
        text("hm"),
        name("look"),
        arguments(r#"{"thinking": "so"}"#),
    ];
    let expected = [
        Delta::OmittedReasoning,
        Delta::Reasoning("r".to_owned()),
        thought("hm\n\nso"),
        name("look"),
        arguments("{}"),
    ];
    assert_eq!(whole(&view(true), true, deltas), expected);
}

#[test]
fn only_the_first_call_is_shown() {
    let second = |id: &str| {
        let call_id = || id.to_owned();
        vec![
            name("look"),
            arguments("{"),
            Delta::CallName {
                call_id: call_id(),
                name: "send_message".to_owned(),
            },
            Delta::CallArguments {
                call_id: call_id(),
                fragment: r#"{"message": "a"}"#.to_owned(),
            },
        ]
    };
    for id in ["call_1", "call_2"] {
        let shown = whole(&view(true), false, second(id));
        assert_eq!(shown, [name("look"), arguments("{")], "{id}");
    }
}

#[test]
fn a_second_call_that_comes_in_side_by_side_disturbs_nothing() {
    let second = |fragment: &str| Delta::CallArguments {
        call_id: "call_2".to_owned(),
        fragment: fragment.to_owned(),
    };
    let deltas = vec![
        name("look"),
        arguments(r#"{"a""#),
        Delta::CallName {
            call_id: "call_2".to_owned(),
            name: "look".to_owned(),
        },
        second(r#"{"b""#),
        arguments(": 1}"),
        second(": 2}"),
    ];
    let shown = whole(&view(true), false, deltas);
    assert_eq!(shown, [name("look"), arguments(r#"{"a": 1}"#)]);
}

#[test]
fn what_is_meant_to_be_text_and_is_not_is_quoted() {
    for (written, expected) in [
        ("12", vec![text("12")]),
        (r#"{"a": [1, "}"]}"#, vec![text(r#"{"a":[1,"}"]}"#)]),
        ("null", vec![]),
        (r#""""#, vec![text("")]),
        (r#""\u00e9\ud83d\ude00\/\n""#, vec![text("é😀/\n")]),
    ] {
        for end in ["}", " }", r#", "x": 1}"#] {
            let deltas = vec![
                name("send_message"),
                arguments(&format!(r#"{{"message": {written}{end}"#)),
            ];
            assert_eq!(
                whole(&view(true), false, deltas),
                expected,
                "{written}{end}"
            );
        }
    }
}

#[test]
fn nonsense_is_survived() {
    for written in [
        "null",
        "[1]",
        "{",
        "{,}",
        "{:}",
        r#"{"a"}"#,
        r#"{"a":}"#,
        r#"{"a":,"b"}"#,
        r#"{"a":]}"#,
        "}}",
        r#""x"#,
        r#"{"message": "\ud83d\ud83d\uZZZZ\q"#,
        r#"{"message": 1 2}"#,
        r#"{"message": tru}"#,
    ] {
        for tool in ["send_message", "look"] {
            whole(&view(true), true, vec![name(tool), arguments(written)]);
        }
    }
}

// ── however it is cut

/// Text with everything that JSON escapes, and characters of all lengths.
fn any_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        3 => "[a-z ]{1,4}",
        1 => Just("\"".to_owned()),
        1 => Just("\\".to_owned()),
        1 => Just("}{,:]".to_owned()),
        1 => Just("\n\t\u{1}".to_owned()),
        1 => Just("é漢😀".to_owned()),
    ];
    prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => any_text().prop_map(Value::from),
        1 => any::<i32>().prop_map(Value::from),
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        1 => prop::collection::vec(any_text(), 0..3).prop_map(Value::from),
        1 => (any_text(), any_text()).prop_map(|(key, text)| json!({key: {"x": text}})),
    ]
}

/// Arguments in any order of names.
fn any_arguments() -> impl Strategy<Value = Vec<(String, Value)>> {
    let names = ["thinking", "message", "request_heartbeat", "a", "b\"\\"];
    let names = prop::sample::subsequence(names.to_vec(), 0..=5).prop_shuffle();
    (names, prop::collection::vec(any_value(), 5))
        .prop_map(|(names, values)| names.into_iter().map(str::to_owned).zip(values).collect())
}

#[derive(Debug, Clone, Copy)]
enum Writing {
    Compact,
    Pretty,
    /// All but ASCII is escaped, characters beyond the basic plane as two.
    Ascii,
    Twice,
    /// Another object follows.
    Followed,
}

fn written(members: &[(String, Value)], writing: Writing) -> String {
    let object: Map<String, Value> = members.iter().cloned().collect();
    let object = Value::Object(object);
    match writing {
        Writing::Compact => object.to_string(),
        Writing::Pretty => serde_json::to_string_pretty(&object).unwrap(),
        Writing::Ascii => {
            let mut ascii = String::new();
            for c in object.to_string().chars() {
                if c.is_ascii() {
                    ascii.push(c);
                } else {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        ascii.push_str(&format!("\\u{unit:04x}"));
                    }
                }
            }
            ascii
        }
        Writing::Twice => Value::from(object.to_string()).to_string(),
        Writing::Followed => format!("{object}{{\"message\": \"again\"}}"),
    }
}

fn any_writing() -> impl Strategy<Value = Writing> {
    prop::sample::select(vec![
        Writing::Compact,
        Writing::Pretty,
        Writing::Ascii,
        Writing::Twice,
        Writing::Followed,
    ])
}

/// The text in fragments; the cuts are made at characters.
fn fragments(text: &str, cuts: &[prop::sample::Index]) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(chars.len() + 1)).collect();
    at.sort_unstable();
    at.insert(0, 0);
    at.push(chars.len());
    at.windows(2)
        .map(|bounds| chars[bounds[0]..bounds[1]].iter().collect())
        .collect()
}

#[derive(Debug, Clone)]
struct Given {
    reasoning: Option<String>,
    text: String,
    tool: &'static str,
    arguments: String,
}

fn given() -> impl Strategy<Value = Given> {
    let tool = prop::sample::select(vec!["send_message", "look"]);
    let written =
        (any_arguments(), any_writing()).prop_map(|(members, writing)| written(&members, writing));
    let reasoning = prop::option::of("[a-z]{1,5}");
    (reasoning, any_text(), tool, written).prop_map(|(reasoning, text, tool, arguments)| Given {
        reasoning,
        text,
        tool,
        arguments,
    })
}

impl Given {
    fn deltas(&self, cuts: &[prop::sample::Index]) -> Vec<Delta> {
        let mut deltas: Vec<Delta> = self
            .reasoning
            .iter()
            .cloned()
            .map(Delta::Reasoning)
            .collect();
        let texts = fragments(&self.text, cuts).into_iter();
        deltas.extend(texts.filter(|text| !text.is_empty()).map(Delta::Text));
        deltas.push(name(self.tool));
        deltas.extend(
            fragments(&self.arguments, cuts)
                .iter()
                .map(|text| arguments(text)),
        );
        deltas
    }

    /// The stored message.
    fn stored(&self, thinks: bool) -> Message {
        let mut parts: Vec<Part> = Vec::new();
        parts.extend(self.reasoning.iter().map(|reasoning| Part::Reasoning {
            native: true,
            reasoning: reasoning.clone(),
            signature: None,
        }));
        parts.push(Part::of_text(self.text.as_str()));
        let mut answer = Answer {
            parts,
            calls: vec![ToolCall {
                id: "call_1".to_owned(),
                name: self.tool.to_owned(),
                arguments: self.arguments.clone(),
            }],
            finish: Finish::ToolCalls,
            usage: Usage::default(),
            tokens: None,
            request_id: None,
            trace: Trace::default(),
        };
        let next = heartbeat::next(&mut answer, &ToolChoice::Must, thinks);
        assert!(matches!(next, Next::Call(_)));
        let message = Message::new(AgentId::new(), Role::Assistant, clock::now());
        step::assistant_message(message, &answer).unwrap()
    }
}

/// A piece as the deltas of it tell, or as the stored message does.
#[derive(Debug, PartialEq)]
enum Told {
    Reasoning(String),
    Thought(String),
    Reply(String),
    /// Without the argument whose stored value is the decision.
    Call(String, Value),
}

fn call_told(name: &str, arguments: &str) -> Told {
    let mut arguments: Map<String, Value> = serde_json::from_str(arguments).unwrap();
    arguments.shift_remove("request_heartbeat");
    Told::Call(name.to_owned(), Value::Object(arguments))
}

fn told_by_deltas(deltas: Vec<Delta>) -> Vec<Told> {
    let mut index = PieceIndex::default();
    let mut by_piece: Vec<Vec<Delta>> = Vec::new();
    for delta in deltas {
        let at = usize::from(index.of(&delta));
        if at == by_piece.len() {
            by_piece.push(Vec::new());
        }
        append(&mut by_piece[at], 0, delta);
    }
    let told = |deltas: Vec<Delta>| match deltas.as_slice() {
        [Delta::Reasoning(text)] => Told::Reasoning(text.clone()),
        [Delta::Thought(text)] => Told::Thought(text.clone()),
        [Delta::Text(text)] => Told::Reply(text.clone()),
        [Delta::CallName { name, .. }] => call_told(name, "{}"),
        [
            Delta::CallName { name, .. },
            Delta::CallArguments { fragment, .. },
        ] => call_told(name, fragment),
        other => panic!("{other:?}"),
    };
    by_piece.into_iter().map(told).collect()
}

fn told_by_pieces(message: &Message, view: &View) -> Vec<Told> {
    let told = |body: Body| match body {
        Body::Reasoning {
            reasoning,
            native: true,
            ..
        } => Told::Reasoning(reasoning),
        Body::Reasoning { reasoning, .. } => Told::Thought(reasoning),
        Body::Assistant { content } => Told::Reply(content),
        Body::ToolCalls(calls) => call_told(&calls[0].name, &calls[0].arguments),
        other => panic!("{other:?}"),
    };
    pieces(message, &Reading::heartbeat(view))
        .into_iter()
        .map(|piece| told(piece.body))
        .collect()
}

proptest! {
    #[test]
    fn however_an_answer_is_cut_the_same_is_shown(
        given in given(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        says in any::<bool>(),
        thinks in any::<bool>(),
    ) {
        let view = view(says);
        let cut = whole(&view, thinks, given.deltas(&cuts));
        prop_assert_eq!(cut, whole(&view, thinks, given.deltas(&[])));
    }

    #[test]
    fn what_was_shown_is_what_is_stored_piece_by_piece(
        given in given(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        says in any::<bool>(),
        thinks in any::<bool>(),
    ) {
        let view = view(says);
        let deltas = shown(&view, thinks, given.deltas(&cuts)).into_iter().flatten().collect();
        let stored = given.stored(thinks);
        prop_assert_eq!(told_by_deltas(deltas), told_by_pieces(&stored, &view));
    }

    #[test]
    fn any_text_at_all_is_survived(text in ".{0,40}", json in r#"[{}\[\]":,\\u0-9a-d ]{0,40}"#) {
        for written in [text, json] {
            for tool in ["send_message", "look"] {
                whole(&view(true), true, vec![name(tool), arguments(&written)]);
            }
        }
    }
}
