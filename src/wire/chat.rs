//! `POST /v1/chat/completions`: requests, answers and chunks as OpenAI's clients know them. Field names of both sides meet
//! here: a run's events are translated as they are read, so that a run is rendered once, whoever listens.

use super::content::{ContentIn, ImageIn, PartIn};
use super::run::{CompletionDetails, PromptDetails};
use super::send::Send;
use super::stream::DONE;
use crate::domain::id::RunId;
use crate::domain::model::Usage as Tokens;
use crate::domain::piece::{Body, Piece};
use crate::domain::run::{Run, StopReason};
use crate::domain::token_data::TokenReport;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::num::NonZeroU64;

/// What is asked for. Settings of the model are the agent's own: those of a request are ignored.
#[derive(Debug, Deserialize)]
pub struct Request {
    /// An agent's id.
    pub model: String,
    messages: Vec<MessageIn>,
    pub stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    n: Option<NonZeroU64>,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

/// Clients send the whole conversation each time. An agent remembers it: of the others only the role is read.
#[derive(Debug, Deserialize)]
#[serde(tag = "role", rename_all = "snake_case")]
enum MessageIn {
    User {
        content: UserContent,
        #[serde(default)]
        name: Option<String>,
    },
    Developer {},
    System {},
    Assistant {},
    Tool {},
    Function {},
}

#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "Input should be a string or a list of content parts"
)]
enum UserContent {
    Text(String),
    Parts(Vec<UserPart>),
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum UserPart {
    Text { text: String },
    ImageUrl { image_url: ImageUrl },
    InputAudio {},
    File {},
}

#[derive(Debug, Deserialize)]
struct ImageUrl {
    url: String,
}

/// Why a request fits the schema and cannot become a run (400).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadChat {
    #[error("messages: none of them is from the user")]
    NoUserMessage,
    #[error("n: an agent gives one answer, not {0}")]
    Answers(NonZeroU64),
    #[error("messages.{index}: a part of type {kind} cannot be read, send text or images")]
    Part { index: usize, kind: &'static str },
}

impl Request {
    /// Whether the last chunk of a stream tells the tokens.
    pub fn include_usage(&self) -> bool {
        let options = self.stream_options.as_ref();
        options.and_then(|options| options.include_usage) == Some(true)
    }

    /// The last user message as a send of its own.
    ///
    /// # Errors
    /// See `BadChat`.
    pub fn into_send(self) -> Result<Send, BadChat> {
        if let Some(answers) = self.n.filter(|answers| answers.get() != 1) {
            return Err(BadChat::Answers(answers));
        }
        let newest_first = self.messages.into_iter().enumerate().rev();
        let mut said = newest_first.filter_map(|(index, message)| match message {
            MessageIn::User { content, name } => Some((index, content, name)),
            _ => None,
        });
        let (index, content, name) = said.next().ok_or(BadChat::NoUserMessage)?;
        let content = content.into_content(index)?;
        let streaming = self.stream == Some(true);
        Ok(Send::said(content, name, index, streaming))
    }
}

impl UserContent {
    fn into_content(self, index: usize) -> Result<ContentIn, BadChat> {
        let part = |part| match part {
            UserPart::Text { text } => Ok(PartIn::Text {
                text,
                signature: None,
            }),
            UserPart::ImageUrl { image_url } => Ok(PartIn::Image {
                source: ImageIn::Url { url: image_url.url },
            }),
            UserPart::InputAudio {} => Err("input_audio"),
            UserPart::File {} => Err("file"),
        };
        match self {
            Self::Text(text) => Ok(ContentIn::Text(text)),
            Self::Parts(parts) => {
                let parts: Result<_, _> = parts.into_iter().map(part).collect();
                parts
                    .map(ContentIn::Parts)
                    .map_err(|kind| BadChat::Part { index, kind })
            }
        }
    }
}

/// What all answers of one run share.
#[derive(Debug, Clone, Serialize)]
struct Head {
    id: String,
    object: &'static str,
    created: i64,
    model: String,
}

impl Head {
    fn of(run: &Run, object: &'static str) -> Self {
        Self {
            id: completion_id(run.id),
            object,
            created: run.created_at.as_second(),
            model: run.agent_id.to_string(),
        }
    }
}

fn completion_id(run: RunId) -> String {
    format!("chatcmpl-{run}")
}

/// The whole answer.
#[derive(Debug, Serialize)]
pub struct Completion {
    #[serde(flatten)]
    head: Head,
    choices: [Choice; 1],
    usage: Usage,
}

#[derive(Debug, Serialize)]
struct Choice {
    index: u8,
    message: Message,
    logprobs: Option<Value>,
    finish_reason: &'static str,
}

#[derive(Debug, Serialize)]
struct Message {
    role: &'static str,
    content: String,
    refusal: Option<()>,
}

#[derive(Debug, Serialize)]
struct Usage {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    prompt_tokens_details: Option<PromptDetails>,
    completion_tokens_details: Option<CompletionDetails>,
}

impl From<&Tokens> for Usage {
    fn from(tokens: &Tokens) -> Self {
        Self {
            prompt_tokens: tokens.prompt_tokens,
            completion_tokens: tokens.completion_tokens,
            total_tokens: tokens.total_tokens,
            prompt_tokens_details: PromptDetails::of(tokens),
            completion_tokens_details: CompletionDetails::of(tokens),
        }
    }
}

/// Stands between two messages of one answer.
const BETWEEN: &str = "\n\n";

/// What ends the answer, in OpenAI's words.
fn finish_reason(stop_reason: &str) -> &'static str {
    if stop_reason == StopReason::MaxTokensExceeded.name() {
        "length"
    } else {
        "stop"
    }
}

impl Completion {
    /// `run` has ended well; only what the agent says is told of its pieces.
    pub fn new(run: &Run, pieces: Vec<Piece>, tokens: TokenReport) -> Self {
        let said = pieces.into_iter().filter_map(|piece| match piece.body {
            Body::Assistant { content } => Some(content),
            _ => None,
        });
        let content = said.collect::<Vec<_>>().join(BETWEEN);
        let message = Message {
            role: "assistant",
            content,
            refusal: None,
        };
        let stop_reason = run.stop_reason.unwrap_or(StopReason::EndTurn);
        Self {
            head: Head::of(run, "chat.completion"),
            choices: [Choice {
                index: 0,
                message,
                logprobs: tokens.logprobs,
                finish_reason: finish_reason(stop_reason.name()),
            }],
            usage: (&run.usage).into(),
        }
    }
}

/// One event of a stream.
#[derive(Serialize)]
struct Chunk<'a> {
    #[serde(flatten)]
    head: &'a Head,
    choices: [Change<'a>; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
}

#[derive(Serialize)]
struct Change<'a> {
    index: u8,
    delta: Delta<'a>,
    logprobs: Option<()>,
    finish_reason: Option<&'static str>,
}

#[derive(Default, Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<Cow<'a, str>>,
}

/// A failure, where a chunk would stand: clients raise it.
#[derive(Serialize)]
struct Failure<'a> {
    error: FailureBody<'a>,
}

#[derive(Serialize)]
struct FailureBody<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    message: &'a str,
    detail: &'a str,
}

/// The keys that are read of an event (see `stream`).
#[derive(Default, Deserialize)]
#[serde(default)]
struct Event<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    message_type: Cow<'a, str>,
    /// A text in what the agent says.
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    stop_reason: Cow<'a, str>,
    #[serde(borrow)]
    error_type: Cow<'a, str>,
    #[serde(borrow)]
    message: Cow<'a, str>,
    #[serde(borrow)]
    detail: Cow<'a, str>,
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    cached_input_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
    reasoning_tokens: Option<u64>,
}

/// Makes chunks of the events of one run, which have to come in their order.
#[derive(Debug)]
pub struct Chunks {
    head: Head,
    include_usage: bool,
    /// The message that was told last.
    message: Option<String>,
    finish_reason: &'static str,
    usage: Option<Tokens>,
    failed: bool,
}

impl Chunks {
    pub fn new(run: &Run, include_usage: bool) -> Self {
        Self {
            head: Head::of(run, "chat.completion.chunk"),
            include_usage,
            message: None,
            finish_reason: "stop",
            usage: None,
            failed: false,
        }
    }

    /// What a client of this form is shown of one event; nothing of most.
    pub fn of(&mut self, event: &[u8]) -> Option<String> {
        if event == DONE.as_bytes() {
            return Some(self.end());
        }
        let text = std::str::from_utf8(event).ok()?;
        let (_, json) = text.split_once("data: ")?;
        let event: Event<'_> = serde_json::from_str(json).ok()?;
        match &*event.message_type {
            "assistant_message" => return self.said(&event),
            "error_message" => return Some(self.failed(&event)),
            "stop_reason" => self.finish_reason = finish_reason(&event.stop_reason),
            "usage_statistics" => self.usage = Some(event.usage()),
            _ => (),
        }
        None
    }

    fn said(&mut self, event: &Event<'_>) -> Option<String> {
        let content: Cow<'_, str> = serde_json::from_str(event.content?.get()).ok()?;
        if content.is_empty() {
            return None;
        }
        let delta = match &self.message {
            None => Delta {
                role: Some("assistant"),
                content: Some(content),
            },
            Some(last) if *last == event.id => Delta {
                role: None,
                content: Some(content),
            },
            Some(_) => Delta {
                role: None,
                content: Some(format!("{BETWEEN}{content}").into()),
            },
        };
        if self.message.as_deref() != Some(&event.id) {
            self.message = Some(event.id.clone().into_owned());
        }
        Some(self.chunk(delta, None, None))
    }

    fn failed(&mut self, event: &Event<'_>) -> String {
        self.failed = true;
        let failure = Failure {
            error: FailureBody {
                kind: &event.error_type,
                message: &event.message,
                detail: &event.detail,
            },
        };
        format!("event: error\n{}", data(&failure))
    }

    /// A run that failed has told so: what it said before does not count as a finished answer.
    fn end(&mut self) -> String {
        if self.failed {
            return DONE.to_owned();
        }
        let usage = self.usage.as_ref().filter(|_| self.include_usage);
        let last = self.chunk(
            Delta::default(),
            Some(self.finish_reason),
            usage.map(Usage::from),
        );
        format!("{last}{DONE}")
    }

    fn chunk(
        &self,
        delta: Delta<'_>,
        finish_reason: Option<&'static str>,
        usage: Option<Usage>,
    ) -> String {
        data(&Chunk {
            head: &self.head,
            choices: [Change {
                index: 0,
                delta,
                logprobs: None,
                finish_reason,
            }],
            usage,
        })
    }
}

impl Event<'_> {
    fn usage(&self) -> Tokens {
        Tokens {
            prompt_tokens: self.prompt_tokens,
            completion_tokens: self.completion_tokens,
            total_tokens: self.total_tokens,
            cached_input_tokens: self.cached_input_tokens,
            cache_write_tokens: self.cache_write_tokens,
            reasoning_tokens: self.reasoning_tokens,
        }
    }
}

fn data(value: &impl Serialize) -> String {
    let json = serde_json::to_string(value).expect("all keys are text");
    format!("data: {json}\n\n")
}

#[cfg(test)]
mod tests;
