//! Frames as server-sent events (wire-rules §8). Rendered once a frame, whoever reads: one call a token, written straight
//! to text.

use super::message::{CallDelta, Common, Line, Own};
use crate::domain::frame::{DeltaFrame, Frame};
use crate::domain::id::{MessageId, PingId, RunId};
use crate::domain::model::{Delta, Usage};
use crate::domain::run::{RunError, StopReason as Reason};
use jiff::Timestamp;
use serde::Serialize;

/// The last event of every stream.
pub const DONE: &str = "data: [DONE]\n\n";

/// The message that an event is of; `None` for pings and ends.
pub fn message_of(event: &[u8]) -> Option<MessageId> {
    let text = std::str::from_utf8(event).ok()?;
    let (id, _) = text.strip_prefix("data: {\"id\":\"")?.split_once('"')?;
    id.parse().ok()
}

/// The text of one event. `seq` is the frame's number in streams that can be resumed; stop reasons, usage and the end
/// consume a number and do not show it.
pub fn event(frame: &Frame, seq: Option<u64>) -> String {
    match frame {
        Frame::Ping { id, run_id, date } => ping(*id, *run_id, *date, seq),
        Frame::Piece(piece) => event_of("data: ", &Line::of(piece, seq)),
        Frame::Delta(delta) => delta_event(delta, seq),
        Frame::Stop(reason) => event_of("data: ", &StopReason::from(*reason)),
        Frame::Usage {
            usage,
            steps,
            context_tokens,
        } => event_of(
            "data: ",
            &UsageStatistics::new(*usage, *steps, *context_tokens),
        ),
        Frame::Error { run_id, error } => event_of(
            "event: error\ndata: ",
            &ErrorMessage::new(*run_id, error, seq),
        ),
        Frame::Done => DONE.to_owned(),
    }
}

/// A sign of life; also the first event of every stream, which tells the run's id.
pub fn ping(id: PingId, run_id: RunId, date: Timestamp, seq_id: Option<u64>) -> String {
    let run_id = Some(run_id);
    let ping = Common {
        id: &id,
        date,
        name: None,
        message_type: "ping",
        otid: None,
        sender_id: None,
        step_id: None,
        is_err: None,
        seq_id,
        run_id,
    };
    event_of("data: ", &ping)
}

/// A part of a message that is still being written: a whole message object that holds only what is new.
fn delta_event(frame: &DeltaFrame, seq_id: Option<u64>) -> String {
    let otid = if frame.waits {
        frame.message_id.to_string()
    } else {
        frame.message_id.piece_otid(frame.index)
    };
    let common = Common {
        id: &frame.message_id,
        date: frame.date,
        name: None,
        message_type: frame.message_type(),
        otid: Some(&otid),
        sender_id: None,
        step_id: Some(frame.step_id),
        is_err: None,
        seq_id,
        run_id: Some(frame.run_id),
    };
    event_of(
        "data: ",
        &Line {
            common,
            own: Own::from(&frame.delta),
        },
    )
}

impl<'a> From<&'a Delta> for Own<'a> {
    fn from(delta: &'a Delta) -> Self {
        let call = |call| Self::CallDelta {
            tool_call: call,
            tool_calls: call,
        };
        match delta {
            Delta::Text(content) => Self::Text { content },
            Delta::Reasoning(reasoning) => Self::Reasoning {
                source: "reasoner_model",
                reasoning,
                signature: None,
            },
            Delta::Thought(reasoning) => Self::Reasoning {
                source: "non_reasoner_model",
                reasoning,
                signature: None,
            },
            Delta::OmittedReasoning => Self::Hidden {
                state: "omitted",
                hidden_reasoning: None,
            },
            Delta::RedactedReasoning(data) => Self::Hidden {
                state: "redacted",
                hidden_reasoning: Some(data),
            },
            Delta::CallName { call_id, name } => call(CallDelta {
                name: Some(name),
                arguments: None,
                tool_call_id: call_id,
            }),
            Delta::CallArguments { call_id, fragment } => call(CallDelta {
                name: None,
                arguments: Some(fragment),
                tool_call_id: call_id,
            }),
        }
    }
}

fn event_of(prefix: &str, value: &impl Serialize) -> String {
    let mut text = Vec::with_capacity(512);
    text.extend_from_slice(prefix.as_bytes());
    serde_json::to_writer(&mut text, value)
        .expect("objects with text keys can be written to memory");
    text.extend_from_slice(b"\n\n");
    String::from_utf8(text).expect("JSON is written as UTF-8")
}

/// Why a turn ended, in answers and streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct StopReason {
    message_type: &'static str,
    stop_reason: &'static str,
}

impl From<Reason> for StopReason {
    fn from(reason: Reason) -> Self {
        Self {
            message_type: "stop_reason",
            stop_reason: reason.name(),
        }
    }
}

/// Tokens of a turn, in answers and streams.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UsageStatistics {
    message_type: &'static str,
    completion_tokens: u64,
    prompt_tokens: u64,
    total_tokens: u64,
    step_count: u64,
    /// Background runs that the turn started: none are built yet.
    run_ids: Option<Vec<String>>,
    cached_input_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
    reasoning_tokens: Option<u64>,
    context_tokens: Option<u64>,
}

impl UsageStatistics {
    pub fn new(usage: Usage, steps: u64, context_tokens: Option<u64>) -> Self {
        Self {
            message_type: "usage_statistics",
            completion_tokens: usage.completion_tokens,
            prompt_tokens: usage.prompt_tokens,
            total_tokens: usage.total_tokens,
            step_count: steps,
            run_ids: None,
            cached_input_tokens: usage.cached_input_tokens,
            cache_write_tokens: usage.cache_write_tokens,
            reasoning_tokens: usage.reasoning_tokens,
            context_tokens,
        }
    }
}

#[derive(Serialize)]
struct ErrorMessage<'a> {
    message_type: &'static str,
    run_id: String,
    error_type: &'static str,
    message: &'static str,
    detail: &'a str,
    seq_id: Option<u64>,
}

impl<'a> ErrorMessage<'a> {
    fn new(run_id: RunId, error: &'a RunError, seq_id: Option<u64>) -> Self {
        let run_id = run_id.to_string();
        Self {
            message_type: "error_message",
            run_id,
            error_type: error.error_type(),
            message: error.message(),
            detail: &error.detail,
            seq_id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::model::ModelErrorClass;
    use crate::domain::run::ErrorClass;

    const HEAD: &str = concat!(
        r#"data: {"id":"message-d4b15067-c24f-48f5-847a-a567fd01c1c9","date":"2026-11-22T09:55:16+00:00","name":null,"#,
        r#""message_type":"{type}","otid":"d4b15067-c24f-48f5-847a-a567fd01c181","sender_id":null,"#,
        r#""step_id":"step-3c6abbbe-7c04-4bf5-a844-ca10da7f5fd1","is_err":null,"seq_id":{seq},"#,
        r#""run_id":"run-bd4fab5c-bf6e-4dba-aff4-cf4e159d76f8","#,
    );

    fn rendered(delta: Delta, seq: Option<u64>) -> String {
        let frame = DeltaFrame {
            message_id: "message-d4b15067-c24f-48f5-847a-a567fd01c1c9"
                .parse()
                .unwrap(),
            run_id: "run-bd4fab5c-bf6e-4dba-aff4-cf4e159d76f8".parse().unwrap(),
            step_id: "step-3c6abbbe-7c04-4bf5-a844-ca10da7f5fd1".parse().unwrap(),
            date: "2026-11-22T09:55:16.9Z".parse().unwrap(),
            index: 1,
            waits: false,
            delta,
        };
        event(&Frame::Delta(frame), seq)
    }

    fn expected(message_type: &str, seq: &str, own: &str) -> String {
        format!(
            "{}{own}}}\n\n",
            HEAD.replace("{type}", message_type).replace("{seq}", seq)
        )
    }

    #[test]
    fn deltas_are_messages_that_hold_only_what_is_new() {
        let id = || "call_1".to_owned();
        let cases = [
            (
                Delta::Text("a\n\"b\"".to_owned()),
                "assistant_message",
                r#""content":"a\n\"b\"""#,
            ),
            (
                Delta::Reasoning("hm".to_owned()),
                "reasoning_message",
                r#""source":"reasoner_model","reasoning":"hm","signature":null"#,
            ),
            (
                Delta::Thought("hm".to_owned()),
                "reasoning_message",
                r#""source":"non_reasoner_model","reasoning":"hm","signature":null"#,
            ),
            (
                Delta::OmittedReasoning,
                "hidden_reasoning_message",
                r#""state":"omitted","hidden_reasoning":null"#,
            ),
            (
                Delta::CallName {
                    call_id: id(),
                    name: "memory_insert".to_owned(),
                },
                "tool_call_message",
                r#""tool_call":{"name":"memory_insert","tool_call_id":"call_1"},"tool_calls":{"name":"memory_insert","tool_call_id":"call_1"}"#,
            ),
            (
                Delta::CallArguments {
                    call_id: id(),
                    fragment: "{\"x\"".to_owned(),
                },
                "tool_call_message",
                r#""tool_call":{"arguments":"{\"x\"","tool_call_id":"call_1"},"tool_calls":{"arguments":"{\"x\"","tool_call_id":"call_1"}"#,
            ),
        ];
        for (delta, message_type, own) in cases {
            assert_eq!(
                rendered(delta.clone(), None),
                expected(message_type, "null", own)
            );
            assert_eq!(rendered(delta, Some(7)), expected(message_type, "7", own));
        }
    }

    #[test]
    fn a_ping_names_the_run_and_its_number() {
        let ping = ping(
            "ping-3865defa-0fdc-45e9-86c0-d7df6f978e94".parse().unwrap(),
            "run-f42d261f-b696-4469-9654-9270fc9004a1".parse().unwrap(),
            "2026-11-22T09:55:22Z".parse().unwrap(),
            Some(1),
        );
        let expected = concat!(
            r#"data: {"id":"ping-3865defa-0fdc-45e9-86c0-d7df6f978e94","date":"2026-11-22T09:55:22+00:00","name":null,"message_type":"ping","#,
            r#""otid":null,"sender_id":null,"step_id":null,"is_err":null,"seq_id":1,"run_id":"run-f42d261f-b696-4469-9654-9270fc9004a1"}"#,
            "\n\n"
        );
        assert_eq!(ping, expected);
    }

    #[test]
    fn the_last_frames_have_no_common_keys() {
        let usage = Usage {
            prompt_tokens: 4056,
            completion_tokens: 5,
            total_tokens: 4061,
            cached_input_tokens: Some(0),
            cache_write_tokens: None,
            reasoning_tokens: Some(0),
        };
        let usage = Frame::Usage {
            usage,
            steps: 1,
            context_tokens: Some(4061),
        };
        assert_eq!(
            event(&Frame::Stop(Reason::EndTurn), Some(3)),
            "data: {\"message_type\":\"stop_reason\",\"stop_reason\":\"end_turn\"}\n\n"
        );
        let expected = concat!(
            r#"data: {"message_type":"usage_statistics","completion_tokens":5,"prompt_tokens":4056,"total_tokens":4061,"step_count":1,"#,
            r#""run_ids":null,"cached_input_tokens":0,"cache_write_tokens":null,"reasoning_tokens":0,"context_tokens":4061}"#,
            "\n\n"
        );
        assert_eq!(event(&usage, Some(4)), expected);
        assert_eq!(event(&Frame::Done, Some(5)), DONE);
    }

    #[test]
    fn a_failure_is_an_event_of_its_own_kind() {
        let error = RunError {
            class: ErrorClass::Model(ModelErrorClass::BadRequest),
            detail: "no\nsuch thing".to_owned(),
        };
        let run_id = "run-6294dde9-7b0d-41c2-9014-be9e195d0a52".parse().unwrap();
        let text = event(&Frame::Error { run_id, error }, Some(9));
        let data = text
            .strip_prefix("event: error\ndata: ")
            .and_then(|rest| rest.strip_suffix("\n\n"))
            .unwrap();
        let data: serde_json::Value = serde_json::from_str(data).unwrap();
        let keys: Vec<&str> = data
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(
            keys,
            [
                "message_type",
                "run_id",
                "error_type",
                "message",
                "detail",
                "seq_id"
            ]
        );
        assert_eq!(
            (&data["error_type"], &data["detail"], &data["seq_id"]),
            (&"llm_error".into(), &"no\nsuch thing".into(), &9.into())
        );
    }
}
