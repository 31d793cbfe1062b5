use super::*;
use crate::domain::frame::{DeltaFrame, Frame};
use crate::domain::id::{MessageId, PingId, StepId};
use crate::domain::model::{Delta as Said, ModelErrorClass};
use crate::domain::run::{ErrorClass, RunError};
use crate::wire::run::tests::run;
use crate::wire::stream;
use serde_json::{Value, json};

const ID: &str = "chatcmpl-run-740506fc-285e-483b-a61e-59767dd2b0d2";
const MODEL: &str = "agent-4848cdce-de44-4e9b-bc2a-99db02512a5b";

/// The last chunk but for `[DONE]`, or whatever one event becomes.
fn told(chunks: &mut Chunks, frame: &Frame) -> Option<String> {
    chunks.of(stream::event(frame, Some(7)).as_bytes())
}

fn json_of(event: &str) -> Value {
    let json = event.split("data: ").nth(1).unwrap();
    serde_json::from_str(json.trim_end()).unwrap()
}

fn delta(message_id: MessageId, delta: Said) -> Frame {
    Frame::Delta(DeltaFrame {
        waits: false,
        message_id,
        run_id: run().id,
        step_id: StepId::new(),
        date: run().created_at,
        index: 0,
        delta,
    })
}

fn text(message_id: MessageId, text: &str) -> Frame {
    delta(message_id, Said::Text(text.to_owned()))
}

fn ending() -> [Frame; 2] {
    let usage = Frame::Usage {
        usage: run().usage,
        steps: 1,
        context_tokens: None,
    };
    [Frame::Stop(StopReason::EndTurn), usage]
}

#[test]
fn only_what_the_agent_says_becomes_a_chunk() {
    let mut chunks = Chunks::new(&run(), false);
    let ping = Frame::Ping {
        id: PingId::new(),
        run_id: run().id,
        date: run().created_at,
    };
    let message = MessageId::new();
    let call = Said::CallName {
        call_id: "call_1".to_owned(),
        name: "memory_insert".to_owned(),
    };
    let thought = Said::Reasoning("hm".to_owned());
    for silent in [ping, delta(message, thought), delta(message, call)] {
        assert_eq!(told(&mut chunks, &silent), None);
    }
    assert_eq!(
        told(&mut chunks, &text(message, "a \"b\"\n")).unwrap(),
        format!(
            "data: {{\"id\":\"{ID}\",\"object\":\"chat.completion.chunk\",\"created\":1795341335,\"model\":\"{MODEL}\",\
             \"choices\":[{{\"index\":0,\"delta\":{{\"role\":\"assistant\",\"content\":\"a \\\"b\\\"\\n\"}},\
             \"logprobs\":null,\"finish_reason\":null}}]}}\n\n"
        )
    );
    let more = json_of(&told(&mut chunks, &text(message, "c")).unwrap());
    assert_eq!(more["choices"][0]["delta"], json!({"content": "c"}));
    let other = json_of(&told(&mut chunks, &text(MessageId::new(), "d")).unwrap());
    assert_eq!(other["choices"][0]["delta"], json!({"content": "\n\nd"}));
}

#[test]
fn the_last_chunk_is_empty_and_tells_the_tokens_to_who_asked() {
    for asked in [false, true] {
        let mut chunks = Chunks::new(&run(), asked);
        for frame in ending() {
            assert_eq!(told(&mut chunks, &frame), None);
        }
        let end = told(&mut chunks, &Frame::Done).unwrap();
        let last = end.strip_suffix(DONE).map(json_of).unwrap();
        assert_eq!(
            last["choices"],
            json!([{"index": 0, "delta": {}, "logprobs": null, "finish_reason": "stop"}])
        );
        assert_eq!(last["usage"]["total_tokens"] == 8376, asked, "{end}");
        assert_eq!(last.get("usage").is_some(), asked, "{end}");
    }
}

#[test]
fn an_answer_that_was_cut_says_so() {
    let mut chunks = Chunks::new(&run(), false);
    told(&mut chunks, &Frame::Stop(StopReason::MaxTokensExceeded));
    let end = told(&mut chunks, &Frame::Done).unwrap();
    assert_eq!(
        json_of(end.strip_suffix(DONE).unwrap())["choices"][0]["finish_reason"],
        "length"
    );
    let mut cut = run();
    cut.stop_reason = Some(StopReason::MaxTokensExceeded);
    let whole =
        serde_json::to_value(Completion::new(&cut, Vec::new(), TokenReport::default())).unwrap();
    assert_eq!(whole["choices"][0]["finish_reason"], "length");
}

#[test]
fn a_failure_ends_a_stream_without_a_finished_answer() {
    let mut chunks = Chunks::new(&run(), false);
    told(&mut chunks, &text(MessageId::new(), "half"));
    assert_eq!(
        told(&mut chunks, &Frame::Stop(StopReason::LlmApiError)),
        None
    );
    let error = RunError {
        class: ErrorClass::Model(ModelErrorClass::RateLimit),
        detail: "slow\ndown".to_owned(),
    };
    let run_id = run().id;
    let failure = told(&mut chunks, &Frame::Error { run_id, error }).unwrap();
    assert!(failure.starts_with("event: error\ndata: {"), "{failure}");
    let error = &json_of(&failure)["error"];
    assert_eq!(
        (&error["type"], &error["detail"]),
        (&json!("llm_rate_limit"), &json!("slow\ndown"))
    );
    assert!(error["message"].is_string(), "{failure}");
    assert_eq!(told(&mut chunks, &Frame::Done).as_deref(), Some(DONE));
}

#[test]
fn a_whole_answer_joins_what_the_agent_said() {
    let said = |content: &str| Piece {
        message_id: MessageId::new(),
        created_at: run().created_at,
        name: None,
        otid: None,
        sender_id: None,
        step_id: None,
        run_id: None,
        conversation_id: None,
        is_err: false,
        body: Body::Assistant {
            content: content.to_owned(),
        },
    };
    let thought = Piece {
        body: Body::OmittedReasoning,
        ..said("")
    };
    let whole = Completion::new(
        &run(),
        vec![thought, said("One."), said("Two.")],
        TokenReport::default(),
    );
    assert_eq!(
        serde_json::to_value(whole).unwrap(),
        json!({
            "id": ID,
            "object": "chat.completion",
            "created": 1_795_341_335,
            "model": MODEL,
            "choices": [{
                "index": 0,
                "message": {"role": "assistant", "content": "One.\n\nTwo.", "refusal": null},
                "logprobs": null,
                "finish_reason": "stop",
            }],
            "usage": {
                "prompt_tokens": 8364,
                "completion_tokens": 12,
                "total_tokens": 8376,
                "prompt_tokens_details": {"cached_tokens": 7, "cache_read_tokens": 7, "cache_creation_tokens": null},
                "completion_tokens_details": null,
            },
        })
    );
}

#[test]
fn the_last_user_message_is_taken_and_the_rest_is_what_the_agent_remembers() {
    let read = |body: Value| serde_json::from_value::<Request>(body).unwrap().into_send();
    let talk = json!({"model": MODEL, "messages": [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": null, "tool_calls": [], "refusal": null},
        {"role": "user", "content": [{"type": "text", "text": "last"}], "name": "ada"},
        {"role": "tool", "tool_call_id": "call_1", "content": "x"},
    ]});
    let taken = format!("{:?}", read(talk).unwrap());
    for (part, there) in [
        ("last", true),
        ("ada", true),
        ("first", false),
        ("brief", false),
    ] {
        assert_eq!(taken.contains(part), there, "{part}: {taken}");
    }
    let nobody = read(json!({"model": MODEL, "messages": [{"role": "system", "content": "x"}]}));
    assert_eq!(nobody.unwrap_err(), BadChat::NoUserMessage);
    let user = json!([{"role": "user", "content": "x"}]);
    let three = read(json!({"model": MODEL, "messages": user, "n": 3}));
    assert_eq!(three.unwrap_err(), BadChat::Answers(3.try_into().unwrap()));
    let audio = json!([{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]);
    let audio = read(json!({"model": MODEL, "messages": audio}));
    assert_eq!(
        audio.unwrap_err(),
        BadChat::Part {
            index: 0,
            kind: "input_audio"
        }
    );
}
