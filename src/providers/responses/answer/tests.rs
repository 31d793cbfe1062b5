use super::*;
use crate::domain::model::{Delta, ModelErrorClass};
use crate::providers::protocol::Reader as _;
use proptest::collection::vec;
use proptest::prelude::*;

fn read(documents: &[Value]) -> (Answer, Vec<Delta>) {
    let mut deltas = Vec::new();
    let mut push = |delta| deltas.push(delta);
    let mut reader = Box::new(Reader::new(Accumulator::new(&mut push)));
    for document in documents {
        assert!(!reader.is_over());
        reader.take(document.to_string().as_bytes()).unwrap();
    }
    assert!(reader.is_over() && reader.is_finished());
    (reader.into_answer().unwrap(), deltas)
}

fn fault(document: &str) -> Fault {
    let mut ignore = |_| ();
    let mut reader = Reader::new(Accumulator::new(&mut ignore));
    reader.take(document.as_bytes()).unwrap_err()
}

fn whole(output: &[Value]) -> Value {
    json!({
        "id": "resp_1",
        "object": "response",
        "model": "gpt-5",
        "status": "completed",
        "error": null,
        "text": {"format": {"type": "text"}},
        "output": output,
        "usage": {
            "input_tokens": 70,
            "input_tokens_details": {"cached_tokens": 60},
            "output_tokens": 30,
            "output_tokens_details": {"reasoning_tokens": 20},
            "total_tokens": 100,
        },
    })
}

fn completed(output: &[Value]) -> Value {
    json!({"type": "response.completed", "response": whole(output)})
}

fn created() -> Value {
    json!({"type": "response.created", "response": {"id": "resp_1", "object": "response", "model": "gpt-5", "status": "in_progress", "output": []}})
}

fn thought(id: &str, summary: &[&str]) -> Value {
    let text = |text: &&str| json!({"type": "summary_text", "text": text});
    let summary: Vec<Value> = summary.iter().map(text).collect();
    json!({"type": "reasoning", "id": id, "summary": summary, "encrypted_content": format!("hidden {id}")})
}

fn said(text: &str) -> Value {
    json!({"type": "message", "id": "msg_1", "role": "assistant", "content": [{"type": "output_text", "text": text, "annotations": []}]})
}

fn called(id: &str, arguments: &str) -> Value {
    json!({"type": "function_call", "id": "fc_1", "call_id": id, "name": "look", "arguments": arguments})
}

/// An event of the item at this place.
fn event(kind: &str, at: usize, more: Value) -> Value {
    let mut event = json!({"type": format!("response.{kind}"), "output_index": at});
    for (field, value) in more.as_object().unwrap() {
        event[field] = value.clone();
    }
    event
}

#[test]
fn a_stream_gives_its_deltas_and_the_same_answer_as_the_whole() {
    let output = [
        thought("rs_1", &["First.", "Then."]),
        said("I look."),
        called("call_1", "{\"a\":1}"),
        thought("rs_2", &[]),
        called("call_2", "{}"),
    ];
    let begun = |item: Value| json!({"item": item});
    let summary = |index: u32, delta: &str| {
        let more = json!({"summary_index": index, "delta": delta});
        event("reasoning_summary_text.delta", 0, more)
    };
    let text = |delta: &str| {
        let more = json!({"content_index": 0, "delta": delta});
        event("output_text.delta", 1, more)
    };
    let arguments = |at, delta: &str| {
        let more = json!({"delta": delta});
        event("function_call_arguments.delta", at, more)
    };
    let early =
        json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "not yet"});
    let part = json!({"summary_index": 1, "part": {"type": "summary_text", "text": ""}});
    let stream = [
        created(),
        event("output_item.added", 0, begun(early)),
        summary(0, "First."),
        event("reasoning_summary_part.added", 0, part),
        summary(1, "Then"),
        summary(1, "."),
        event("output_item.done", 0, begun(output[0].clone())),
        text("I "),
        text("look."),
        event(
            "output_text.done",
            1,
            json!({"content_index": 0, "text": "I look."}),
        ),
        event("output_item.done", 1, begun(output[1].clone())),
        event("output_item.added", 2, begun(called("call_1", ""))),
        arguments(2, "{\"a\""),
        arguments(2, ":1}"),
        event(
            "function_call_arguments.done",
            2,
            json!({"arguments": "{\"a\":1}"}),
        ),
        event("output_item.done", 3, begun(output[3].clone())),
        event("output_item.done", 4, begun(output[4].clone())),
        completed(&output),
    ];
    let (answer, deltas) = read(&stream);
    assert_eq!(answer, read(&[whole(&output)]).0);

    let name = |id: &str| Delta::CallName {
        call_id: id.to_owned(),
        name: "look".to_owned(),
    };
    let fragment = |id: &str, fragment: &str| Delta::CallArguments {
        call_id: id.to_owned(),
        fragment: fragment.to_owned(),
    };
    let reasoning = |text: &str| Delta::Reasoning(text.to_owned());
    let expected = [
        reasoning("First."),
        reasoning("\n\nThen"),
        reasoning("."),
        Delta::Text("I ".to_owned()),
        Delta::Text("look.".to_owned()),
        name("call_1"),
        fragment("call_1", "{\"a\""),
        fragment("call_1", ":1}"),
        name("call_2"),
        fragment("call_2", "{}"),
    ];
    assert_eq!(deltas, expected);

    let reasoning = |id: &str, summary: &[&str]| Part::SummarizedReasoning {
        id: id.to_owned(),
        summary: summary.iter().map(|text| (*text).to_owned()).collect(),
        encrypted_content: Some(format!("hidden {id}")),
    };
    let parts = [
        reasoning("rs_1", &["First.", "Then."]),
        Part::of_text("I look."),
        reasoning("rs_2", &[]),
    ];
    assert_eq!(answer.parts, parts);
    let ids: Vec<&str> = answer.calls.iter().map(|call| call.id.as_str()).collect();
    assert_eq!(
        (ids, answer.finish),
        (vec!["call_1", "call_2"], Finish::ToolCalls)
    );
    let Usage {
        prompt_tokens,
        completion_tokens,
        total_tokens,
        cached_input_tokens,
        reasoning_tokens,
        ..
    } = answer.usage;
    assert_eq!(
        (prompt_tokens, completion_tokens, total_tokens),
        (70, 30, 100)
    );
    assert_eq!(
        (cached_input_tokens, reasoning_tokens),
        (Some(60), Some(20))
    );
}

#[test]
fn without_a_reasoning_item_there_is_no_reasoning_and_an_empty_one_is_not_shown() {
    let (answer, _) = read(&[whole(&[said("hi")])]);
    assert_eq!(answer.parts, [Part::of_text("hi")]);
    let (answer, deltas) = read(&[whole(&[thought("rs_1", &[]), said("hi")])]);
    assert!(matches!(answer.parts[0], Part::SummarizedReasoning { .. }));
    assert_eq!(deltas, [Delta::Text("hi".to_owned())]);
}

#[test]
fn thoughts_that_follow_each_other_are_shown_apart() {
    let (_, deltas) = read(&[whole(&[
        thought("rs_1", &["a"]),
        thought("rs_2", &["b"]),
        said("c"),
    ])]);
    let shown = ["a", "\n\nb"].map(|text| Delta::Reasoning(text.to_owned()));
    assert_eq!(deltas[..2], shown);
}

#[test]
fn a_refusal_is_what_the_model_said() {
    let refusal = json!({"type": "message", "content": [{"type": "refusal", "refusal": "No."}]});
    let more = json!({"content_index": 0, "delta": "No"});
    let stream = [
        event("refusal.delta", 0, more),
        completed(std::slice::from_ref(&refusal)),
    ];
    let mut streamed = read(&stream).0;
    assert_eq!(streamed.parts, [Part::of_text("No.")]);
    streamed.trace.response.clear();
    let mut blocked = read(&[whole(&[refusal])]).0;
    blocked.trace.response.clear();
    assert_eq!(streamed, blocked);
}

#[test]
fn an_answer_that_was_cut_off_says_why() {
    let finish = |reason: &str, output: &[Value]| {
        let mut cut = whole(output);
        cut["status"] = json!("incomplete");
        cut["incomplete_details"] = json!({"reason": reason});
        let event = json!({"type": "response.incomplete", "response": cut});
        let (answer, _) = read(&[event]);
        assert_eq!(answer, read(&[cut]).0);
        answer.finish
    };
    assert_eq!(finish("max_output_tokens", &[]), Finish::Length);
    for output in [&[][..], &[said("a")]] {
        assert_eq!(finish("content_filter", output), Finish::ContentFilter);
    }
    assert_eq!(finish("something new", &[said("a")]), Finish::Stop);
}

#[test]
fn a_failure_is_a_refusal_with_its_code() {
    let failed = json!({"type": "response.failed", "response": {
        "object": "response", "status": "failed", "output": [],
        "error": {"code": "rate_limit_exceeded", "message": "slower"},
    }});
    let cases = [
        (failed.to_string(), 429, ModelErrorClass::RateLimit),
        (failed["response"].to_string(), 429, ModelErrorClass::RateLimit),
        (
            r#"{"type": "error", "code": "context_length_exceeded", "message": "slower", "param": null, "sequence_number": 3}"#.to_owned(),
            400,
            ModelErrorClass::ContextOverflow,
        ),
        (
            r#"{"type": "error", "error": {"type": "invalid_request_error", "message": "slower"}}"#.to_owned(),
            400,
            ModelErrorClass::BadRequest,
        ),
        (r#"{"error": {"message": "slower"}}"#.to_owned(), 500, ModelErrorClass::Server),
    ];
    for (document, status, class) in cases {
        let Fault::Refused(complaint) = fault(&document) else {
            panic!("{document}")
        };
        assert_eq!(complaint.message, "slower");
        assert_eq!(complaint.implied_status(), status, "{document}");
        assert_eq!(complaint.class(status), class, "{document}");
    }
    let Fault::Refused(unsaid) = fault(r#"{"object": "response", "status": "failed"}"#) else {
        panic!("a failure without a reason is one")
    };
    assert_eq!(unsaid.implied_status(), 500);
}

#[test]
fn what_is_new_is_passed_over_and_what_is_no_response_is_not() {
    let search = json!({"type": "web_search_call", "id": "ws_1", "status": "completed"});
    let stream = [
        created(),
        json!({"type": "response.something.new", "output_index": "odd"}),
        event("output_item.added", 0, json!({"item": search})),
        completed(&[search, said("hi")]),
    ];
    assert_eq!(read(&stream).0.parts, [Part::of_text("hi")]);
    for rubbish in [
        "[1",
        "{}",
        r#"{"object": "chat.completion", "choices": []}"#,
    ] {
        assert!(matches!(fault(rubbish), Fault::Unreadable(_)), "{rubbish}");
    }
}

/// An item of an answer, in the pieces in which its text comes, and which of its events come at all: the last one
/// brings everything again.
#[derive(Debug, Clone)]
struct Plan {
    kind: usize,
    pieces: Vec<String>,
    announced: bool,
    deltas: bool,
    closed: bool,
    done: bool,
}

impl Plan {
    fn text(&self) -> String {
        self.pieces.concat()
    }

    fn item(&self, at: usize) -> Value {
        match self.kind {
            0 => said(&self.text()),
            1 => called(&format!("call_{at}"), &self.text()),
            // Each piece is a summary of its own.
            _ => {
                let summary: Vec<&str> = self.pieces.iter().map(String::as_str).collect();
                thought(&format!("rs_{at}"), &summary)
            }
        }
    }

    fn events(&self, at: usize) -> Vec<Value> {
        let mut events = Vec::new();
        if self.announced {
            let empty = Self {
                pieces: Vec::new(),
                ..self.clone()
            };
            events.push(event(
                "output_item.added",
                at,
                json!({"item": empty.item(at)}),
            ));
        }
        let (deltas, closed) = match self.kind {
            0 => ("output_text.delta", ("output_text.done", "text")),
            1 => (
                "function_call_arguments.delta",
                ("function_call_arguments.done", "arguments"),
            ),
            _ => (
                "reasoning_summary_text.delta",
                ("reasoning_summary_text.done", "text"),
            ),
        };
        let summaries = self.kind == 2;
        for (index, piece) in self.pieces.iter().enumerate().filter(|_| self.deltas) {
            let index = if summaries { index } else { 0 };
            let more = json!({"summary_index": index, "content_index": 0, "delta": piece});
            events.push(event(deltas, at, more));
        }
        if self.closed && !summaries {
            events.push(event(closed.0, at, json!({closed.1: self.text()})));
        }
        if self.done {
            events.push(event(
                "output_item.done",
                at,
                json!({"item": self.item(at)}),
            ));
        }
        // What is known whole is not added to by what comes late.
        if self.done && self.deltas && !summaries {
            events.push(event(deltas, at, json!({"delta": "late"})));
        }
        events
    }
}

fn plan() -> impl Strategy<Value = Plan> {
    (0..3_usize, vec("[aé\"]{0,3}", 0..4), any::<[bool; 4]>()).prop_map(
        |(kind, pieces, [announced, deltas, closed, done])| Plan {
            kind,
            pieces,
            announced,
            deltas,
            closed,
            done,
        },
    )
}

/// Some items, and the order in which their events come: those of one item stay in theirs.
fn plans() -> impl Strategy<Value = (Vec<Plan>, Vec<usize>)> {
    vec(plan(), 0..6).prop_flat_map(|plans| {
        let places = |(at, plan): (usize, &Plan)| vec![at; plan.events(at).len()];
        let order: Vec<usize> = plans.iter().enumerate().flat_map(places).collect();
        (Just(plans), Just(order).prop_shuffle())
    })
}

proptest! {
    #[test]
    fn whatever_the_order_of_events_the_answer_is_that_of_the_whole((plans, order) in plans()) {
        let mut output: Vec<Value> = plans.iter().enumerate().map(|(at, plan)| plan.item(at)).collect();
        output.push(said("the end"));
        let mut events: Vec<_> = plans.iter().enumerate().map(|(at, plan)| plan.events(at).into_iter()).collect();
        let mut stream = vec![created()];
        stream.extend(order.into_iter().filter_map(|at| events[at].next()));
        stream.push(completed(&output));
        let (streamed, deltas) = read(&stream);
        let (blocked, _) = read(&[whole(&output)]);
        prop_assert_eq!(&streamed, &blocked);

        for call in &streamed.calls {
            let mut shown = String::new();
            for delta in &deltas {
                if let Delta::CallArguments { call_id, fragment } = delta && *call_id == call.id {
                    shown.push_str(fragment);
                }
            }
            prop_assert_eq!(&shown, &call.arguments);
        }
    }
}
