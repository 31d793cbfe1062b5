//! What a message stream says, as far as a chat shows it.

use serde_json::Value;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Event {
    /// Sent first and in every silence; names the run.
    Ping {
        run: Option<String>,
    },
    /// Words of the agent, a piece at a time.
    Said(String),
    /// Its reasoning, a piece at a time.
    Thought(String),
    /// A tool call: its name comes first, its arguments in pieces after.
    Called {
        name: Option<String>,
        arguments: String,
    },
    Returned {
        success: bool,
        text: String,
    },
    Stopped {
        reason: String,
    },
    Failed {
        detail: String,
    },
    /// Something that a chat has no form for.
    Other {
        kind: String,
    },
    /// Nothing to show.
    Silent,
}

impl Event {
    pub(super) fn parse(data: &str) -> Self {
        let Ok(frame) = serde_json::from_str::<Value>(data) else {
            return Self::Other {
                kind: "a frame that is not JSON".to_owned(),
            };
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        match frame["message_type"].as_str().unwrap_or_default() {
            "ping" => Self::Ping {
                run: frame["run_id"].as_str().map(str::to_owned),
            },
            "assistant_message" => Self::Said(content(&frame["content"])),
            "reasoning_message" => Self::Thought(text(&frame["reasoning"])),
            "tool_call_message" => {
                let call = &frame["tool_call"];
                Self::Called {
                    name: call["name"].as_str().map(str::to_owned),
                    arguments: text(&call["arguments"]),
                }
            }
            "tool_return_message" => Self::Returned {
                success: frame["status"] == "success",
                text: text(&frame["tool_return"]),
            },
            "stop_reason" => Self::Stopped {
                reason: text(&frame["stop_reason"]),
            },
            "error_message" => Self::Failed {
                detail: first_text(&frame, &["detail", "message", "error_type"]),
            },
            "usage_statistics" | "user_message" | "system_message" | "hidden_reasoning_message" => {
                Self::Silent
            }
            kind => Self::Other {
                kind: kind.to_owned(),
            },
        }
    }

    /// Why the run failed, if this says so.
    pub(super) fn failure(&self) -> Option<String> {
        match self {
            Self::Failed { detail } => Some(detail.clone()),
            _ => None,
        }
    }
}

/// The text of a message whose content is a text or a list of parts.
fn content(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts
            .iter()
            .filter_map(|part| part["text"].as_str())
            .collect(),
        _ => String::new(),
    }
}

fn first_text(frame: &Value, names: &[&str]) -> String {
    let found = names
        .iter()
        .find_map(|name| frame[*name].as_str().filter(|text| !text.is_empty()));
    found.unwrap_or("no reason was given").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_frame_of_a_stream_is_understood() {
        let frames = [
            (
                r#"{"message_type":"ping","run_id":"run-1"}"#,
                Event::Ping {
                    run: Some("run-1".to_owned()),
                },
            ),
            (
                r#"{"message_type":"assistant_message","content":"echo: "}"#,
                Event::Said("echo: ".to_owned()),
            ),
            (
                r#"{"message_type":"assistant_message","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}"#,
                Event::Said("ab".to_owned()),
            ),
            (
                r#"{"message_type":"tool_call_message","tool_call":{"name":"memory_insert","tool_call_id":"c"}}"#,
                Event::Called {
                    name: Some("memory_insert".to_owned()),
                    arguments: String::new(),
                },
            ),
            (
                r#"{"message_type":"tool_call_message","tool_call":{"arguments":"{\"l","tool_call_id":"c"}}"#,
                Event::Called {
                    name: None,
                    arguments: "{\"l".to_owned(),
                },
            ),
            (
                r#"{"message_type":"tool_return_message","tool_return":"done","status":"error"}"#,
                Event::Returned {
                    success: false,
                    text: "done".to_owned(),
                },
            ),
            (
                r#"{"message_type":"stop_reason","stop_reason":"end_turn"}"#,
                Event::Stopped {
                    reason: "end_turn".to_owned(),
                },
            ),
            (
                r#"{"message_type":"error_message","message":"no","detail":"because"}"#,
                Event::Failed {
                    detail: "because".to_owned(),
                },
            ),
            (
                r#"{"message_type":"usage_statistics","total_tokens":1}"#,
                Event::Silent,
            ),
            (
                r#"{"message_type":"approval_request_message"}"#,
                Event::Other {
                    kind: "approval_request_message".to_owned(),
                },
            ),
        ];
        for (data, event) in frames {
            assert_eq!(Event::parse(data), event);
        }
        assert!(matches!(Event::parse("{"), Event::Other { .. }));
    }
}
