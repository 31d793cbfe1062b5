//! A stored conversation as Anthropic takes it: user and assistant in turns, beginning and ending with the user; each
//! call's result at the beginning of the message after it; nothing empty; thinking only by the model that is asked, and
//! only as it came.

use super::Thinking;
use crate::domain::heartbeat;
use crate::domain::message::{Image, Message, Part, ToolOutput, ToolReturn, ToolStatus};
use crate::domain::model::{LlmConfig, ModelRequest};
use crate::providers::image::{Picture, USUAL};
use crate::providers::transcript::{
    self, CallIds, Entry, IMAGE_PLACEHOLDER, Turn, cutter, return_limit,
};
use serde::Serialize;
use serde_json::{Map, Value};
use std::borrow::Cow;

/// Characters of a tool's name that Anthropic takes.
const MAX_NAME_CHARS: usize = 128;

/// Stands for the user's turn where there is none and must be one.
const OPENING: &str = "[start of the conversation]";
const GO_ON: &str = "[continue]";

/// One message.
#[derive(Debug, Serialize)]
pub(crate) struct Said<'a> {
    role: Role,
    pub(crate) content: Vec<Marked<Block<'a>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Role {
    User,
    Assistant,
}

/// Something up to which Anthropic may keep what it has read.
#[derive(Debug, Serialize)]
pub(crate) struct Marked<T> {
    #[serde(flatten)]
    pub(crate) item: T,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<CacheControl>,
}

#[derive(Debug, Serialize)]
struct CacheControl {
    r#type: &'static str,
}

impl<T> Marked<T> {
    pub(crate) fn new(item: T) -> Self {
        Self {
            item,
            cache_control: None,
        }
    }

    pub(crate) fn mark(&mut self) {
        self.cache_control = Some(CacheControl {
            r#type: "ephemeral",
        });
    }
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Block<'a> {
    Text {
        text: Cow<'a, str>,
    },
    Image {
        source: Source<'a>,
    },
    Thinking {
        thinking: &'a str,
        signature: &'a str,
    },
    RedactedThinking {
        data: &'a str,
    },
    ToolUse {
        id: String,
        name: String,
        input: Map<String, Value>,
    },
    ToolResult {
        tool_use_id: String,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        content: Vec<Block<'a>>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        is_error: bool,
    },
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum Source<'a> {
    Base64 { media_type: &'a str, data: &'a str },
    Url { url: &'a str },
}

impl Block<'_> {
    fn is_thinking(&self) -> bool {
        matches!(self, Self::Thinking { .. } | Self::RedactedThinking { .. })
    }

    fn is_result(&self) -> bool {
        matches!(self, Self::ToolResult { .. })
    }
}

impl Said<'_> {
    /// Whether it holds calls.
    pub(crate) fn calls(&self) -> bool {
        self.content
            .iter()
            .any(|block| matches!(block.item, Block::ToolUse { .. }))
    }

    fn results(&self) -> usize {
        self.content
            .iter()
            .filter(|block| block.item.is_result())
            .count()
    }

    fn begins_with_thinking(&self) -> bool {
        self.content
            .first()
            .is_some_and(|block| block.item.is_thinking())
    }
}

/// The messages, and whether the model may think as is `wanted`: within a turn it may only go on as it began.
pub(crate) fn messages(request: &ModelRequest, wanted: Option<Thinking>) -> (Vec<Said<'_>>, bool) {
    let mut messages = Conversation::new(&request.config, wanted.is_some()).messages(request);
    let has_budget = matches!(wanted, Some(Thinking::Enabled { .. }));
    let may_think = !(has_budget && goes_on_without_thinking(&messages));
    if !may_think {
        for said in &mut messages {
            said.content.retain(|block| !block.item.is_thinking());
        }
    }
    (messages, may_think)
}

/// Whether the last user message holds results of a turn that was begun without thinking: by another model, or before
/// thinking was switched on. Anthropic refuses to think on in it.
fn goes_on_without_thinking(messages: &[Said<'_>]) -> bool {
    if messages.last().is_none_or(|last| last.results() == 0) {
        return false;
    }
    // User and assistant take turns, and the user begins: each assistant message has a user message before it.
    let steps = messages.windows(2).rev().skip(1).step_by(2);
    for (before, said) in steps.map(|pair| (&pair[0], &pair[1])) {
        let results = before.results();
        if results < before.content.len() && !said.begins_with_thinking() {
            return true;
        }
        if results == 0 {
            return false;
        }
    }
    false
}

/// What holds for every message of one request.
struct Conversation<'a> {
    config: &'a LlmConfig,
    /// The model's own thinking is shown to it again.
    replays: bool,
    /// Text beside calls is left out.
    mutes_calls: bool,
    ids: CallIds,
    return_limit: usize,
    said: Vec<Said<'a>>,
}

impl<'a> Conversation<'a> {
    fn new(config: &'a LlmConfig, replays: bool) -> Self {
        Self {
            config,
            replays,
            mutes_calls: transcript::mutes_calls(config),
            ids: CallIds::default(),
            return_limit: return_limit(config.context_window),
            said: Vec::new(),
        }
    }

    fn messages(mut self, request: &'a ModelRequest) -> Vec<Said<'a>> {
        let stored: Vec<&Message> = request.messages.iter().map(AsRef::as_ref).collect();
        for entry in transcript::entries(&stored) {
            match entry {
                Entry::System(message) => self.say(Role::User, event(message)),
                Entry::User(message) if self.goes_on(message) => {
                    self.append_to_result(message);
                }
                Entry::User(message) => {
                    let blocks = message.content.iter().filter_map(block);
                    self.say(Role::User, blocks.collect());
                }
                Entry::Assistant(turn) => self.assistant(&turn),
            }
        }
        match self.said.last() {
            None => self.say(Role::User, vec![filler(OPENING)]),
            Some(last) if last.role == Role::Assistant => {
                self.say(Role::User, vec![filler(GO_ON)]);
            }
            Some(_) => (),
        }
        self.said
    }

    /// Adds to the message of this role, or begins one.
    fn say(&mut self, role: Role, blocks: Vec<Block<'a>>) {
        if blocks.is_empty() {
            return;
        }
        let blocks = blocks.into_iter().map(Marked::new);
        match self.said.last_mut() {
            Some(last) if last.role == role => last.content.extend(blocks),
            _ => self.said.push(Said {
                role,
                content: blocks.collect(),
            }),
        }
    }

    /// Whether a message only says that the turn goes on after a call. To a model that thinks, words of the user would
    /// begin another turn, in which it is not shown what it thought before the call.
    fn goes_on(&self, message: &Message) -> bool {
        let last = self.said.last().and_then(|last| last.content.last());
        let after_result = last.is_some_and(|block| block.item.is_result());
        self.replays && after_result && heartbeat::is_message(message)
    }

    fn append_to_result(&mut self, message: &'a Message) {
        let last = self
            .said
            .last_mut()
            .and_then(|last| last.content.last_mut());
        if let Some(Block::ToolResult { content, .. }) = last.map(|block| &mut block.item) {
            content.extend(message.content.iter().filter_map(block));
        }
    }

    /// What was said in one step, then the results of its calls.
    fn assistant(&mut self, turn: &Turn<'a>) {
        let ids = self.ids.of(turn);
        let blocks = self.blocks(turn, &ids);
        if blocks.iter().all(Block::is_thinking) {
            return;
        }
        match self.said.last() {
            None => self.say(Role::User, vec![filler(OPENING)]),
            // Thinking begins a message and belongs to all of it: such answers are not joined.
            Some(last)
                if last.role == Role::Assistant
                    && (blocks[0].is_thinking() || last.begins_with_thinking()) =>
            {
                self.say(Role::User, vec![filler(GO_ON)]);
            }
            Some(_) => (),
        }
        self.say(Role::Assistant, blocks);
        let limit = self.return_limit;
        let results = turn
            .calls
            .iter()
            .zip(ids)
            .map(|((_, end), id)| result(id, end, limit));
        self.say(Role::User, results.collect());
    }

    fn blocks(&self, turn: &Turn<'a>, ids: &[String]) -> Vec<Block<'a>> {
        let own = self.replays && turn.is_by(self.config);
        let muted = self.mutes_calls && !turn.calls.is_empty();
        let mut blocks: Vec<Block<'a>> = Vec::new();
        for part in &turn.parts {
            let block = match part {
                Part::Text { text, .. } if !muted => text_block(text),
                part if own => thought(part),
                _ => None,
            };
            blocks.extend(block);
        }
        // Without its beginning it is not as it came.
        if blocks.first().is_some_and(|first| !first.is_thinking()) {
            blocks.retain(|block| !block.is_thinking());
        }
        let calls = turn.calls.iter().zip(ids);
        blocks.extend(calls.map(|((call, _), id)| Block::ToolUse {
            id: id.clone(),
            name: transcript::name(&call.name, MAX_NAME_CHARS),
            input: transcript::arguments(&call.arguments),
        }));
        blocks
    }
}

fn filler(text: &str) -> Block<'_> {
    Block::Text {
        text: Cow::Borrowed(text),
    }
}

/// A system message after the first: only the first one is a system message to Anthropic.
fn event(message: &Message) -> Vec<Block<'_>> {
    let text = transcript::text(message);
    if text.trim().is_empty() {
        return Vec::new();
    }
    let text = format!("<system_event>\n{text}\n</system_event>").into();
    vec![Block::Text { text }]
}

/// Text or an image; `None` for text with nothing in it, which is refused, and for what is neither.
fn block(part: &Part) -> Option<Block<'_>> {
    match part {
        Part::Text { text, .. } => text_block(text),
        Part::Image(image) => Some(image_block(image)),
        _ => None,
    }
}

fn text_block(text: &str) -> Option<Block<'_>> {
    let text = Cow::Borrowed(text);
    (!text.trim().is_empty()).then_some(Block::Text { text })
}

/// Thinking as Anthropic signed it. Unsigned thinking is refused; what was signed and not shown has no text.
fn thought(part: &Part) -> Option<Block<'_>> {
    let (thinking, signature) = match part {
        Part::Reasoning {
            reasoning,
            signature,
            ..
        } => (reasoning.as_str(), signature.as_deref()),
        Part::OmittedReasoning { signature } => ("", signature.as_deref()),
        Part::RedactedReasoning { data } => return Some(Block::RedactedThinking { data }),
        Part::Text { .. } | Part::Image(_) | Part::SummarizedReasoning { .. } => return None,
    };
    let signature = signature.filter(|signature| !signature.is_empty())?;
    Some(Block::Thinking {
        thinking,
        signature,
    })
}

fn image_block(image: &Image) -> Block<'_> {
    let source = match Picture::of(image, USUAL) {
        Some(Picture::Url(url)) => Source::Url { url },
        Some(Picture::Inline { media_type, data }) => Source::Base64 { media_type, data },
        None => return filler(IMAGE_PLACEHOLDER),
    };
    Block::Image { source }
}

fn result<'a>(tool_use_id: String, end: &'a ToolReturn, limit: usize) -> Block<'a> {
    let mut cut = cutter(limit);
    let mut text = |text: &'a str| {
        let text = cut(Cow::Borrowed(text));
        (!text.trim().is_empty()).then_some(Block::Text { text })
    };
    let content: Vec<Block<'a>> = match &end.output {
        ToolOutput::Packed(packed) => text(packed).into_iter().collect(),
        ToolOutput::Parts(parts) => {
            let shown = parts.iter().filter_map(|part| match part {
                Part::Text { text: said, .. } => text(said),
                part => block(part),
            });
            shown.collect()
        }
    };
    // An error that shows images is refused.
    let only_text = content
        .iter()
        .all(|block| matches!(block, Block::Text { .. }));
    Block::ToolResult {
        tool_use_id,
        content,
        is_error: end.status == ToolStatus::Error && only_text,
    }
}
