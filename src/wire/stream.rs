//! Frames as server-sent events (wire-rules §8). One call a token: written straight to text.

use super::message::{Common, Message};
use crate::domain::frame::{DeltaFrame, Frame};
use crate::domain::id::RunId;
use crate::domain::model::{Delta, Usage};
use crate::domain::run::RunError;
use jiff::Timestamp;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::json;

/// The text of one event. `seq` is the frame's number in streams that can be resumed.
pub fn event(frame: &Frame, seq: Option<u64>) -> String {
    match frame {
        Frame::Ping { id, run_id, date } => ping(&id.to_string(), *run_id, *date, seq),
        Frame::Piece(piece) => data(&Message {
            piece: piece.clone(),
            seq_id: seq,
        }),
        Frame::Delta(delta) => data(&DeltaMessage { delta, seq }),
        Frame::Stop(reason) => {
            data(&json!({"message_type": "stop_reason", "stop_reason": reason.name()}))
        }
        Frame::Usage {
            usage,
            steps,
            context_tokens,
        } => data(&UsageStatistics {
            usage: *usage,
            steps: *steps,
            context_tokens: *context_tokens,
        }),
        Frame::Error { run_id, error } => format!(
            "event: error\n{}",
            data(&error_message(*run_id, error, seq))
        ),
        Frame::Done => "data: [DONE]\n\n".to_owned(),
    }
}

/// A sign of life; also the first event of every stream, which tells the run's id.
pub fn ping(id: &str, run_id: RunId, date: Timestamp, seq: Option<u64>) -> String {
    struct Ping<'a>(Common<'a>);
    impl Serialize for Ping<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(None)?;
            self.0.write(&mut map)?;
            map.end()
        }
    }
    data(&Ping(Common {
        id,
        date: &super::date(date),
        name: None,
        message_type: "ping",
        otid: None,
        sender_id: None,
        step_id: None,
        is_err: false,
        seq_id: seq,
        run_id: Some(&run_id.to_string()),
    }))
}

fn error_message(run_id: RunId, error: &RunError, seq: Option<u64>) -> serde_json::Value {
    json!({
        "message_type": "error_message",
        "run_id": run_id.to_string(),
        "error_type": error.error_type(),
        "message": error.message(),
        "detail": error.detail,
        "seq_id": seq,
    })
}

fn data(value: &impl Serialize) -> String {
    let mut text = b"data: ".to_vec();
    // Only a map with keys that are not text could fail, and there is none.
    let written = serde_json::to_writer(&mut text, value);
    debug_assert!(written.is_ok(), "{written:?}");
    text.extend_from_slice(b"\n\n");
    String::from_utf8(text).unwrap_or_default()
}

/// Tokens of a turn, as answers and streams show them.
#[derive(Debug, Clone, Copy)]
pub struct UsageStatistics {
    pub usage: Usage,
    pub steps: u64,
    pub context_tokens: Option<u64>,
}

impl Serialize for UsageStatistics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(10))?;
        map.serialize_entry("message_type", "usage_statistics")?;
        map.serialize_entry("completion_tokens", &self.usage.completion_tokens)?;
        map.serialize_entry("prompt_tokens", &self.usage.prompt_tokens)?;
        map.serialize_entry("total_tokens", &self.usage.total_tokens)?;
        map.serialize_entry("step_count", &self.steps)?;
        map.serialize_entry("run_ids", &None::<Vec<String>>)?;
        map.serialize_entry("cached_input_tokens", &self.usage.cached_input_tokens)?;
        map.serialize_entry("cache_write_tokens", &self.usage.cache_write_tokens)?;
        map.serialize_entry("reasoning_tokens", &self.usage.reasoning_tokens)?;
        map.serialize_entry("context_tokens", &self.context_tokens)?;
        map.end()
    }
}

/// A piece of a message that is still being written: a whole message object that holds only the new text.
struct DeltaMessage<'a> {
    delta: &'a DeltaFrame,
    seq: Option<u64>,
}

impl Serialize for DeltaMessage<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let frame = self.delta;
        let common = Common {
            id: &frame.message_id.to_string(),
            date: &super::date(frame.date),
            name: None,
            message_type: frame.message_type(),
            otid: Some(&frame.message_id.piece_otid(frame.index)),
            sender_id: None,
            step_id: Some(&frame.step_id.to_string()),
            is_err: false,
            seq_id: self.seq,
            run_id: Some(&frame.run_id.to_string()),
        };
        let mut map = serializer.serialize_map(None)?;
        common.write(&mut map)?;
        match &frame.delta {
            Delta::Text(text) => map.serialize_entry("content", text)?,
            Delta::Reasoning(text) => {
                map.serialize_entry("source", "reasoner_model")?;
                map.serialize_entry("reasoning", text)?;
                map.serialize_entry("signature", &None::<&str>)?;
            }
            Delta::OmittedReasoning => {
                map.serialize_entry("state", "omitted")?;
                map.serialize_entry("hidden_reasoning", &None::<&str>)?;
            }
            Delta::RedactedReasoning(data) => {
                map.serialize_entry("state", "redacted")?;
                map.serialize_entry("hidden_reasoning", data)?;
            }
            Delta::CallName { call_id, name } => {
                call(&mut map, &json!({"name": name, "tool_call_id": call_id}))?
            }
            Delta::CallArguments { call_id, fragment } => call(
                &mut map,
                &json!({"arguments": fragment, "tool_call_id": call_id}),
            )?,
        }
        map.end()
    }
}

/// In deltas both keys hold the same object, without the keys that have nothing new.
fn call<M: SerializeMap>(map: &mut M, call: &serde_json::Value) -> Result<(), M::Error> {
    map.serialize_entry("tool_call", call)?;
    map.serialize_entry("tool_calls", call)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::{MessageId, StepId};
    use crate::domain::run::StopReason;

    #[test]
    fn a_delta_has_the_shape_that_clients_concatenate() {
        let frame = DeltaFrame {
            message_id: "message-d4b15067-c24f-48f5-847a-a567fd01c1c9"
                .parse::<MessageId>()
                .unwrap(),
            run_id: "run-bd4fab5c-bf6e-4dba-aff4-cf4e159d76f8".parse().unwrap(),
            step_id: "step-3c6abbbe-7c04-4bf5-a844-ca10da7f5fd1"
                .parse::<StepId>()
                .unwrap(),
            date: "2026-11-22T09:55:16.5Z".parse().unwrap(),
            index: 0,
            delta: Delta::CallName {
                call_id: "call_1".to_owned(),
                name: "memory_insert".to_owned(),
            },
        };
        let expected = concat!(
            r#"data: {"id":"message-d4b15067-c24f-48f5-847a-a567fd01c1c9","date":"2026-11-22T09:55:16+00:00","name":null,"#,
            r#""message_type":"tool_call_message","otid":"d4b15067-c24f-48f5-847a-a567fd01c180","sender_id":null,"#,
            r#""step_id":"step-3c6abbbe-7c04-4bf5-a844-ca10da7f5fd1","is_err":null,"seq_id":7,"run_id":"run-bd4fab5c-bf6e-4dba-aff4-cf4e159d76f8","#,
            r#""tool_call":{"name":"memory_insert","tool_call_id":"call_1"},"tool_calls":{"name":"memory_insert","tool_call_id":"call_1"}}"#,
            "\n\n"
        );
        assert_eq!(event(&Frame::Delta(frame), Some(7)), expected);
    }

    #[test]
    fn the_last_frames_have_no_common_keys() {
        assert_eq!(
            event(&Frame::Stop(StopReason::EndTurn), Some(3)),
            "data: {\"message_type\":\"stop_reason\",\"stop_reason\":\"end_turn\"}\n\n"
        );
        assert_eq!(event(&Frame::Done, Some(5)), "data: [DONE]\n\n");
    }
}
