//! The request of `generateContent` (providers-and-context §5). Gemini's rules for a conversation: it begins with the
//! user, sides take turns, and a turn of the model with calls is followed by a turn of the user that holds their returns,
//! one for each call, in call order, and nothing said. By that order they belong together: ids of calls are not sent.

use crate::domain::message::{Image, Message, Part, ToolCall, ToolOutput, ToolReturn};
use crate::domain::model::{LlmConfig, ModelRequest, ResponseFormat, ToolChoice, ToolSchema};
use crate::providers::catalog::{self, GeminiThinking};
use crate::providers::image::Picture;
use crate::providers::schema::openapi;
use crate::providers::transcript::{self, Entry, IMAGE_PLACEHOLDER, Turn, cut, joined};
use serde::Serialize;
use serde_json::{Map, Value};
use std::borrow::Cow;

/// Characters of a function's name.
const MAX_NAME_CHARS: usize = 64;

/// Kinds of images that it can look at.
const KINDS: &[&str] = &[
    "image/png",
    "image/jpeg",
    "image/webp",
    "image/heic",
    "image/heif",
];

/// The thinking that is asked for when nobody says how much, in tokens.
const DEFAULT_BUDGET: u64 = 1_024;

/// Said by the user where a conversation begins with the model.
const BEGINNING: &str = "(The conversation was begun by you.)";
/// Said by the user where a conversation ends with the model: only the user is answered.
const GO_ON: &str = "(Go on.)";
/// Said by the model between the returns of its calls and what the user says next.
const RETURNS_SEEN: &str = "(Results received.)";

/// What Google documents for calls that no model of the new generation made: it refuses a step whose first call has no
/// signature.
const UNSIGNED: &str = "skip_thought_signature_validator";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    system_instruction: Option<Instruction<'a>>,
    contents: Vec<Content<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<[Tools<'a>; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_config: Option<ToolConfig<'a>>,
    generation_config: GenerationConfig,
}

#[derive(Serialize)]
struct Instruction<'a> {
    parts: [Piece<'a>; 1],
}

#[derive(Serialize)]
struct Content<'a> {
    role: Side,
    parts: Vec<Piece<'a>>,
}

#[derive(Serialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Side {
    User,
    Model,
}

#[derive(Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
enum Piece<'a> {
    Text {
        text: &'a str,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        thought: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        thought_signature: Option<&'a str>,
    },
    Image {
        inline_data: Blob<'a>,
    },
    Call {
        function_call: FunctionCall<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        thought_signature: Option<&'a str>,
    },
    Return {
        function_response: FunctionResponse<'a>,
    },
}

impl<'a> Piece<'a> {
    fn text(text: &'a str) -> Self {
        Self::Text {
            text,
            thought: false,
            thought_signature: None,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Blob<'a> {
    mime_type: &'a str,
    data: &'a str,
}

#[derive(Serialize)]
struct FunctionCall<'a> {
    name: Cow<'a, str>,
    args: Map<String, Value>,
}

#[derive(Serialize)]
struct FunctionResponse<'a> {
    name: Cow<'a, str>,
    response: Returned<'a>,
}

#[derive(Serialize)]
struct Returned<'a> {
    name: Cow<'a, str>,
    content: Cow<'a, str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Tools<'a> {
    function_declarations: Vec<Declaration<'a>>,
}

#[derive(Serialize)]
struct Declaration<'a> {
    name: &'a str,
    description: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ToolConfig<'a> {
    function_calling_config: Calling<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Calling<'a> {
    mode: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allowed_function_names: Vec<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GenerationConfig {
    temperature: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_config: Option<ThinkingConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_mime_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_schema: Option<Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ThinkingConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_budget: Option<u64>,
    include_thoughts: bool,
}

pub(crate) fn bytes(request: &ModelRequest) -> Vec<u8> {
    serde_json::to_vec(&Body::new(request))
        .expect("strings, numbers and JSON values always serialise")
}

impl<'a> Body<'a> {
    fn new(request: &'a ModelRequest) -> Self {
        let config = &*request.config;
        let format = config
            .response_format
            .as_ref()
            .filter(|format| **format != ResponseFormat::Text);
        // Declared and forbidden is as good as not declared, and keeps the start of the request as it was; an answer in
        // JSON is refused beside declarations.
        let declared: &[ToolSchema] = if request.choice == ToolChoice::None && format.is_some() {
            &[]
        } else {
            &request.tools
        };
        let format = format.filter(|_| declared.is_empty());
        Self {
            system_instruction: (!request.system.is_empty()).then(|| Instruction {
                parts: [Piece::text(&request.system)],
            }),
            contents: Conversation::new(config).contents(request),
            tools: (!declared.is_empty()).then(|| {
                [Tools {
                    function_declarations: declared.iter().map(Declaration::new).collect(),
                }]
            }),
            tool_config: (!declared.is_empty()).then(|| ToolConfig {
                function_calling_config: Calling::new(&request.choice, declared),
            }),
            generation_config: GenerationConfig {
                temperature: config.temperature,
                max_output_tokens: config.max_tokens,
                thinking_config: thinking(config),
                response_mime_type: format.map(|_| "application/json"),
                response_schema: format.and_then(response_schema),
            },
        }
    }
}

/// A budget that is given goes as it is, unless the model takes no such number.
fn thinking(config: &LlmConfig) -> Option<ThinkingConfig> {
    let include_thoughts = config.enable_reasoner;
    let thinking_budget = match catalog::gemini_thinking(&config.model)? {
        GeminiThinking::Level => None,
        GeminiThinking::Budget { optional: true, .. } if !include_thoughts => Some(0),
        GeminiThinking::Budget { least, .. } if !include_thoughts => Some(least),
        GeminiThinking::Budget { least, .. } => Some(budget(config).max(least)),
    };
    Some(ThinkingConfig {
        thinking_budget,
        include_thoughts,
    })
}

fn budget(config: &LlmConfig) -> u64 {
    if config.max_reasoning_tokens > 0 {
        return config.max_reasoning_tokens;
    }
    // Thoughts count as output: a small limit must leave room for the answer.
    let half = config.max_tokens.map_or(u64::MAX, |limit| limit / 2);
    DEFAULT_BUDGET.min(half)
}

/// The schema itself, or the one inside OpenAI's wrapping `{"name", "schema", "strict"}`.
fn response_schema(format: &ResponseFormat) -> Option<Value> {
    let ResponseFormat::JsonSchema(given) = format else {
        return None;
    };
    let inner = given.get("schema").filter(|schema| schema.is_object());
    Some(openapi::simplified(inner.unwrap_or(given)))
}

impl<'a> Declaration<'a> {
    fn new(tool: &'a ToolSchema) -> Self {
        Self {
            name: &tool.name,
            description: &tool.description,
            parameters: openapi::parameters(&tool.parameters),
        }
    }
}

impl<'a> Calling<'a> {
    fn new(choice: &'a ToolChoice, declared: &'a [ToolSchema]) -> Self {
        let all = || declared.iter().map(|tool| tool.name.as_str());
        let (mode, allowed_function_names) = match choice {
            ToolChoice::Free => ("AUTO", Vec::new()),
            ToolChoice::None => ("NONE", Vec::new()),
            // A name that is not declared would be refused.
            ToolChoice::Named(name) if all().any(|declared| declared == name) => {
                ("ANY", vec![name.as_str()])
            }
            ToolChoice::Must | ToolChoice::Named(_) => ("ANY", all().collect()),
        };
        Self {
            mode,
            allowed_function_names,
        }
    }
}

/// The turns of one request, as far as they are written.
struct Conversation<'a> {
    config: &'a LlmConfig,
    mutes_calls: bool,
    return_limit: usize,
    /// Steps without a signature of this model are refused.
    needs_signatures: bool,
    contents: Vec<Content<'a>>,
}

impl<'a> Conversation<'a> {
    fn new(config: &'a LlmConfig) -> Self {
        Self {
            config,
            mutes_calls: transcript::mutes_calls(config),
            return_limit: transcript::return_limit(config.context_window),
            needs_signatures: catalog::gemini_thinking(&config.model)
                == Some(GeminiThinking::Level),
            contents: Vec::new(),
        }
    }

    fn contents(mut self, request: &'a ModelRequest) -> Vec<Content<'a>> {
        let stored: Vec<&Message> = request.messages.iter().map(AsRef::as_ref).collect();
        for entry in transcript::entries(&stored) {
            match entry {
                Entry::System(message) | Entry::User(message) => self.user(&message.content),
                Entry::Assistant(turn) => self.step(&turn),
            }
        }
        if self.last() != Some(Side::User) {
            self.add(Side::User, vec![Piece::text(GO_ON)]);
        }
        self.contents
    }

    fn last(&self) -> Option<Side> {
        self.contents.last().map(|content| content.role)
    }

    /// Adds to the turn of this side, or begins it.
    fn add(&mut self, role: Side, parts: Vec<Piece<'a>>) {
        match self.contents.last_mut() {
            Some(last) if last.role == role => last.parts.extend(parts),
            _ => self.contents.push(Content { role, parts }),
        }
    }

    fn user(&mut self, content: &'a [Part]) {
        let parts: Vec<Piece<'_>> = content.iter().filter_map(shown).collect();
        if parts.is_empty() {
            return;
        }
        let after_returns = self
            .contents
            .last()
            .is_some_and(|last| matches!(last.parts.first(), Some(Piece::Return { .. })));
        if after_returns {
            self.add(Side::Model, vec![Piece::text(RETURNS_SEEN)]);
        }
        self.add(Side::User, parts);
    }

    /// What the model said in one step, then the returns of its calls.
    fn step(&mut self, turn: &Turn<'a>) {
        if self.contents.is_empty() {
            self.add(Side::User, vec![Piece::text(BEGINNING)]);
        }
        let own = turn.is_by(self.config);
        let muted = self.mutes_calls && !turn.calls.is_empty();
        let without_calls = turn.calls.is_empty();
        let stored = turn.parts.iter().copied();
        let mut parts: Vec<Piece<'_>> = stored
            .filter_map(|part| said(part, own, muted, without_calls))
            .collect();
        let mut signature = self.signature(turn, own, muted);
        for (call, _) in &turn.calls {
            parts.push(Piece::Call {
                function_call: FunctionCall {
                    name: name(call),
                    args: transcript::arguments(&call.arguments),
                },
                thought_signature: signature.take(),
            });
        }
        self.add(Side::Model, parts);
        let returns: Vec<Piece<'_>> = turn
            .calls
            .iter()
            .flat_map(|(call, end)| returned(call, end, self.return_limit))
            .collect();
        if !returns.is_empty() {
            self.add(Side::User, returns);
        }
    }

    /// What the first call of a step is signed with.
    fn signature(&self, turn: &Turn<'a>, own: bool, muted: bool) -> Option<&'a str> {
        let of = |part: &'a Part| match part {
            Part::Reasoning { signature, .. } | Part::OmittedReasoning { signature } => {
                signature.as_deref()
            }
            Part::Text { signature, .. } if muted => signature.as_deref(),
            _ => None,
        };
        let own = turn.parts.iter().copied().find_map(of).filter(|_| own);
        own.or(self.needs_signatures.then_some(UNSIGNED))
    }
}

/// A part of an answer as its model is shown it again; thinking only if it was its own.
fn said(part: &Part, own: bool, muted: bool, without_calls: bool) -> Option<Piece<'_>> {
    match part {
        Part::Text { text, signature } if !text.is_empty() && !muted => Some(Piece::Text {
            text,
            thought: false,
            thought_signature: signature.as_deref().filter(|_| own),
        }),
        Part::Reasoning {
            native: true,
            reasoning,
            signature,
        } if own && !reasoning.is_empty() => Some(Piece::Text {
            text: reasoning,
            thought: true,
            // With calls, it belongs to the first of them.
            thought_signature: signature.as_deref().filter(|_| without_calls),
        }),
        _ => None,
    }
}

/// A part of what the user says.
fn shown(part: &Part) -> Option<Piece<'_>> {
    match part {
        Part::Image(image) => Some(inline(image).unwrap_or(Piece::text(IMAGE_PLACEHOLDER))),
        part => part.text().filter(|text| !text.is_empty()).map(Piece::text),
    }
}

/// An image whose data we have.
fn inline(image: &Image) -> Option<Piece<'_>> {
    match Picture::of(image, KINDS)? {
        Picture::Inline { media_type, data } => Some(Piece::Image {
            inline_data: Blob {
                mime_type: media_type,
                data,
            },
        }),
        Picture::Url(_) => None,
    }
}

/// The return of one call, and the images in it.
fn returned<'a>(call: &'a ToolCall, end: &'a ToolReturn, limit: usize) -> Vec<Piece<'a>> {
    let (content, images) = match &end.output {
        ToolOutput::Packed(text) => (Cow::Borrowed(text.as_str()), Vec::new()),
        ToolOutput::Parts(parts) => {
            let text = |part: &'a Part| match part {
                Part::Image(image) => inline(image).is_none().then_some(IMAGE_PLACEHOLDER),
                part => part.text(),
            };
            let image = |part: &'a Part| match part {
                Part::Image(image) => inline(image),
                _ => None,
            };
            let content = joined(parts.iter().filter_map(text), "\n").unwrap_or_default();
            (content, parts.iter().filter_map(image).collect())
        }
    };
    let response = Returned {
        name: name(call),
        content: cut(content, limit),
    };
    let function_response = FunctionResponse {
        name: name(call),
        response,
    };
    let mut pieces = vec![Piece::Return { function_response }];
    pieces.extend(images);
    pieces
}

/// The name as Gemini takes it: it begins with a letter or an underscore.
fn name(call: &ToolCall) -> Cow<'_, str> {
    let name = transcript::name(&call.name, MAX_NAME_CHARS);
    let begins_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if name == call.name && begins_well {
        Cow::Borrowed(&call.name)
    } else if begins_well {
        name.into()
    } else {
        format!("_{}", &name[..name.len().min(MAX_NAME_CHARS - 1)]).into()
    }
}

#[cfg(test)]
mod tests;
