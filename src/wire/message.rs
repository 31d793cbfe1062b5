//! The message union: pieces of stored messages as JSON (wire-rules §10), and content parts both ways.

use crate::domain::message::{Approval, Image, Part, ToolCall, ToolOutput, ToolReturn, ToolStatus};
use crate::domain::piece::{Body, Content, Piece, return_text};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value, json};

/// One message as clients read it.
#[derive(Debug, Clone)]
pub struct Message {
    pub piece: Piece,
    /// Number of the frame, in streams that can be resumed.
    pub seq_id: Option<u64>,
}

impl From<Piece> for Message {
    fn from(piece: Piece) -> Self {
        Self {
            piece,
            seq_id: None,
        }
    }
}

/// The keys that every message has, in their order.
pub(super) struct Common<'a> {
    pub(super) id: &'a str,
    pub(super) date: &'a str,
    pub(super) name: Option<&'a str>,
    pub(super) message_type: &'a str,
    pub(super) otid: Option<&'a str>,
    pub(super) sender_id: Option<&'a str>,
    pub(super) step_id: Option<&'a str>,
    pub(super) is_err: bool,
    pub(super) seq_id: Option<u64>,
    pub(super) run_id: Option<&'a str>,
}

impl Common<'_> {
    pub(super) fn write<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        map.serialize_entry("id", self.id)?;
        map.serialize_entry("date", self.date)?;
        map.serialize_entry("name", &self.name)?;
        map.serialize_entry("message_type", self.message_type)?;
        map.serialize_entry("otid", &self.otid)?;
        map.serialize_entry("sender_id", &self.sender_id)?;
        map.serialize_entry("step_id", &self.step_id)?;
        // True or null, never false.
        map.serialize_entry("is_err", &self.is_err.then_some(true))?;
        map.serialize_entry("seq_id", &self.seq_id)?;
        map.serialize_entry("run_id", &self.run_id)
    }
}

impl Serialize for Message {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let piece = &self.piece;
        let (step_id, run_id) = (
            piece.step_id.map(|id| id.to_string()),
            piece.run_id.map(|id| id.to_string()),
        );
        let common = Common {
            id: &piece.message_id.to_string(),
            date: &super::date(piece.created_at),
            name: piece.name.as_deref(),
            message_type: piece.body.message_type(),
            otid: piece.otid.as_deref(),
            sender_id: piece.sender_id.as_deref(),
            step_id: step_id.as_deref(),
            is_err: piece.is_err,
            seq_id: self.seq_id,
            run_id: run_id.as_deref(),
        };
        let mut map = serializer.serialize_map(None)?;
        common.write(&mut map)?;
        body(&mut map, &piece.body)?;
        map.end()
    }
}

fn body<M: SerializeMap>(map: &mut M, body: &Body) -> Result<(), M::Error> {
    match body {
        Body::System { content } | Body::Assistant { content } => {
            map.serialize_entry("content", content)
        }
        Body::User {
            content: Content::Text(text),
        } => map.serialize_entry("content", text),
        Body::User {
            content: Content::Parts(parts),
        } => map.serialize_entry("content", &Parts(parts)),
        Body::Reasoning {
            reasoning,
            native,
            signature,
        } => {
            map.serialize_entry(
                "source",
                if *native {
                    "reasoner_model"
                } else {
                    "non_reasoner_model"
                },
            )?;
            map.serialize_entry("reasoning", reasoning)?;
            map.serialize_entry("signature", signature)
        }
        Body::RedactedReasoning { data } => {
            map.serialize_entry("state", "redacted")?;
            map.serialize_entry("hidden_reasoning", data)
        }
        Body::OmittedReasoning => {
            map.serialize_entry("state", "omitted")?;
            map.serialize_entry("hidden_reasoning", &None::<&str>)
        }
        Body::ToolCalls(calls) | Body::ApprovalRequest(calls) => {
            map.serialize_entry("tool_call", &calls.first().map(Call))?;
            map.serialize_entry("tool_calls", &calls.iter().map(Call).collect::<Vec<_>>())
        }
        Body::ToolReturns(returns) => tool_returns(map, returns),
        Body::ApprovalResponse(approvals) => approval_response(map, approvals),
    }
}

struct Call<'a>(&'a ToolCall);

impl Serialize for Call<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("name", &self.0.name)?;
        map.serialize_entry("arguments", &self.0.arguments)?;
        map.serialize_entry("tool_call_id", &self.0.id)?;
        map.end()
    }
}

fn tool_returns<M: SerializeMap>(map: &mut M, returns: &[ToolReturn]) -> Result<(), M::Error> {
    if let Some(first) = returns.first() {
        map.serialize_entry("tool_return", &return_text(&first.output))?;
        map.serialize_entry("status", status(first.status))?;
        map.serialize_entry("tool_call_id", &first.tool_call_id)?;
        map.serialize_entry("stdout", &first.stdout)?;
        map.serialize_entry("stderr", &first.stderr)?;
    }
    map.serialize_entry(
        "tool_returns",
        &returns.iter().map(Return).collect::<Vec<_>>(),
    )
}

struct Return<'a>(&'a ToolReturn);

impl Serialize for Return<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(6))?;
        map.serialize_entry("type", "tool")?;
        match &self.0.output {
            ToolOutput::Packed(_) => {
                map.serialize_entry("tool_return", &return_text(&self.0.output))?
            }
            ToolOutput::Parts(parts) => map.serialize_entry("tool_return", &Parts(parts))?,
        }
        map.serialize_entry("status", status(self.0.status))?;
        map.serialize_entry("tool_call_id", &self.0.tool_call_id)?;
        map.serialize_entry("stdout", &self.0.stdout)?;
        map.serialize_entry("stderr", &self.0.stderr)?;
        map.end()
    }
}

fn status(status: ToolStatus) -> &'static str {
    match status {
        ToolStatus::Success => "success",
        ToolStatus::Error => "error",
    }
}

fn approval_response<M: SerializeMap>(map: &mut M, approvals: &[Approval]) -> Result<(), M::Error> {
    let item = |approval: &Approval| match approval {
        Approval::Decision {
            tool_call_id,
            approve,
            reason,
        } => {
            json!({"type": "approval", "tool_call_id": tool_call_id, "approve": approve, "reason": reason})
        }
        Approval::Return(end) => serde_json::to_value(Return(end)).unwrap_or(Value::Null),
    };
    let first = approvals.iter().find_map(|approval| match approval {
        Approval::Decision {
            tool_call_id,
            approve,
            reason,
        } => Some((tool_call_id, approve, reason)),
        Approval::Return(_) => None,
    });
    map.serialize_entry("approvals", &approvals.iter().map(item).collect::<Vec<_>>())?;
    map.serialize_entry("approve", &first.map(|(_, approve, _)| approve))?;
    map.serialize_entry("approval_request_id", &first.map(|(id, _, _)| id))?;
    map.serialize_entry("reason", &first.and_then(|(_, _, reason)| reason.as_ref()))
}

struct Parts<'a>(&'a [Part]);

impl Serialize for Parts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        for part in self.0 {
            list.serialize_element(&part_json(part))?;
        }
        list.end()
    }
}

fn part_json(part: &Part) -> Value {
    match part {
        Part::Text { text, signature } => {
            json!({"type": "text", "text": text, "signature": signature})
        }
        Part::Image(Image::Url { url }) => {
            json!({"type": "image", "source": {"type": "url", "url": url}})
        }
        Part::Image(Image::Stored {
            file_id,
            media_type,
            data,
            detail,
        }) => {
            json!({"type": "image", "source": {"type": "letta", "file_id": file_id, "media_type": media_type, "data": data, "detail": detail}})
        }
        Part::Reasoning {
            native,
            reasoning,
            signature,
        } => {
            json!({"type": "reasoning", "is_native": native, "reasoning": reasoning, "signature": signature})
        }
        Part::RedactedReasoning { data } => json!({"type": "redacted_reasoning", "data": data}),
        Part::OmittedReasoning { signature } => {
            json!({"type": "omitted_reasoning", "signature": signature})
        }
        Part::SummarizedReasoning {
            id,
            summary,
            encrypted_content,
        } => {
            let summary: Vec<Value> = summary
                .iter()
                .enumerate()
                .map(|(index, text)| json!({"index": index, "text": text}))
                .collect();
            json!({"type": "summarized_reasoning", "id": id, "summary": summary, "encrypted_content": encrypted_content})
        }
    }
}

/// Content as clients send it: a text, or parts.
#[derive(Debug, Clone, Deserialize)]
#[serde(
    untagged,
    expecting = "Input should be a string or a list of content parts"
)]
pub enum ContentIn {
    Text(String),
    Parts(Vec<PartIn>),
}

#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum PartIn {
    Text {
        text: String,
        #[serde(default)]
        signature: Option<String>,
    },
    Image {
        source: ImageIn,
    },
}

#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ImageIn {
    Url {
        url: String,
    },
    Base64 {
        media_type: String,
        data: String,
        #[serde(default)]
        detail: Option<String>,
    },
    Letta {
        #[serde(default)]
        file_id: Option<String>,
        #[serde(default)]
        media_type: Option<String>,
        #[serde(default)]
        data: Option<String>,
        #[serde(default)]
        detail: Option<String>,
    },
}

/// Why content cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadContent {
    #[error("content must not be empty")]
    Empty,
    #[error("images by address are not fetched yet: send the image as base64")]
    ImageByUrl,
    #[error("the data of an image is not base64")]
    ImageData,
    #[error("image source '{0}' is not http, https or data")]
    ImageScheme(String),
}

impl ContentIn {
    /// # Errors
    /// Empty content, images that would have to be fetched.
    pub fn into_domain(self) -> Result<Vec<Part>, BadContent> {
        let parts = match self {
            Self::Text(text) => vec![Part::of_text(text)],
            Self::Parts(parts) => parts
                .into_iter()
                .map(PartIn::into_domain)
                .collect::<Result<_, _>>()?,
        };
        let empty = parts
            .iter()
            .all(|part| matches!(part, Part::Text { text, .. } if text.is_empty()));
        if empty {
            Err(BadContent::Empty)
        } else {
            Ok(parts)
        }
    }
}

impl PartIn {
    fn into_domain(self) -> Result<Part, BadContent> {
        Ok(match self {
            Self::Text { text, signature } => Part::Text { text, signature },
            Self::Image {
                source: ImageIn::Url { url },
            } => return Err(by_url(&url)),
            Self::Image {
                source:
                    ImageIn::Base64 {
                        media_type,
                        data,
                        detail,
                    },
            } => Part::Image(Image::Stored {
                file_id: None,
                media_type: Some(media_type),
                data: Some(base64(data)?),
                detail,
            }),
            Self::Image {
                source:
                    ImageIn::Letta {
                        file_id,
                        media_type,
                        data,
                        detail,
                    },
            } => Part::Image(Image::Stored {
                file_id,
                media_type,
                data: data.map(base64).transpose()?,
                detail,
            }),
        })
    }
}

/// A provider would refuse every later turn of an agent that keeps an image it cannot read.
fn base64(data: String) -> Result<String, BadContent> {
    use ::base64::Engine;
    let read = ::base64::engine::general_purpose::STANDARD.decode(&data);
    read.map(|_| data).map_err(|_| BadContent::ImageData)
}

fn by_url(url: &str) -> BadContent {
    let known = ["http://", "https://", "data:"]
        .iter()
        .any(|scheme| url.starts_with(scheme));
    if known {
        BadContent::ImageByUrl
    } else {
        BadContent::ImageScheme(url.split(':').next().unwrap_or_default().to_owned())
    }
}
