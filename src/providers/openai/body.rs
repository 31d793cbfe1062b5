//! The request of chat completions (providers-and-context §5): a stored conversation to JSON, straight into bytes.
//! Equal requests give equal bytes, and a longer conversation begins with the bytes of the shorter one, so that
//! providers find their prefix caches.

use super::MAX_NAME_CHARS;
use crate::domain::message::{Image, Message, Part};
use crate::domain::model::{LlmConfig, ModelRequest, ResponseFormat, ToolChoice, ToolSchema};
use crate::domain::token_data::TokenWish;
use crate::providers::catalog;
use crate::providers::image::{self, Picture};
use crate::providers::schema;
use crate::providers::transcript::{
    self, CallIds, Entry, IMAGE_PLACEHOLDER, Turn, cut, joined, return_limit, return_text, text,
};
use crate::providers::vendors::{Dialect, OutputLimit, Replay};
use serde::Serialize;
use serde_json::{Value, json};
use std::borrow::Cow;

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: Vec<ChatMessage<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verbosity: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_cache_retention: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_logprobs: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    return_token_ids: Option<bool>,
    user: &'a str,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Serialize)]
#[serde(tag = "role", rename_all = "lowercase")]
enum ChatMessage<'a> {
    System {
        content: Cow<'a, str>,
    },
    /// The system role of reasoning models.
    Developer {
        content: Cow<'a, str>,
    },
    User {
        content: Content<'a>,
    },
    Assistant {
        /// `null` beside calls when nothing was said.
        content: Option<Cow<'a, str>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reasoning_content: Option<Cow<'a, str>>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<Call<'a>>,
    },
    Tool {
        content: Cow<'a, str>,
        tool_call_id: String,
    },
}

#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Text(Cow<'a, str>),
    Parts(Vec<ContentPart<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ContentPart<'a> {
    Text { text: &'a str },
    ImageUrl { image_url: ImageUrl<'a> },
}

#[derive(Serialize)]
struct ImageUrl<'a> {
    url: Picture<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

#[derive(Serialize)]
struct Call<'a> {
    id: String,
    r#type: &'static str,
    function: Function<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: String,
    arguments: Cow<'a, str>,
}

#[derive(Serialize)]
struct Tool<'a> {
    r#type: &'static str,
    function: Schema<'a>,
}

#[derive(Serialize)]
struct Schema<'a> {
    name: &'a str,
    description: &'a str,
    parameters: Cow<'a, Value>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    strict: bool,
}

/// The body of one call. `official`: the server is OpenAI's own.
pub(crate) fn bytes(request: &ModelRequest, dialect: &Dialect, official: bool) -> Vec<u8> {
    let body = Body::new(request, dialect, official);
    serde_json::to_vec(&body).expect("strings, numbers and JSON values always serialise")
}

impl<'a> Body<'a> {
    fn new(request: &'a ModelRequest, dialect: &'a Dialect, official: bool) -> Self {
        let config = &*request.config;
        let reasons = catalog::reasons(&config.model);
        let offered = request.offered();
        // Models that think tell nothing of their tokens.
        let tells_logprobs = config.return_logprobs && !reasons;
        let alternatives = config.top_logprobs;
        let alternatives = alternatives.map(|most| most.min(TokenWish::MOST_ALTERNATIVES));
        let limit = |field| config.max_tokens.filter(|_| dialect.output_limit == field);
        let fast = if official {
            config.model.strip_suffix("-fast")
        } else {
            None
        };
        Self {
            model: fast.unwrap_or(&config.model),
            messages: Conversation::new(config, dialect, reasons).messages(request),
            tools: offered
                .iter()
                .map(|tool| Tool::new(tool, config.strict))
                .collect(),
            tool_choice: if offered.is_empty() {
                None
            } else {
                tool_choice(&request.choice, dialect)
            },
            parallel_tool_calls: (!offered.is_empty() && !reasons)
                .then_some(request.parallel_calls),
            response_format: response_format(config.response_format.as_ref()),
            temperature: temperature(config, reasons),
            frequency_penalty: config.frequency_penalty.filter(|_| !reasons),
            max_completion_tokens: limit(OutputLimit::MaxCompletionTokens),
            max_tokens: limit(OutputLimit::MaxTokens),
            reasoning_effort: effort(config),
            verbosity: config
                .verbosity
                .as_deref()
                .filter(|_| catalog::is_family(&config.model, "gpt-5")),
            prompt_cache_retention: (official && catalog::keeps_caches(&config.model))
                .then_some("24h"),
            service_tier: fast.map(|_| "priority"),
            logprobs: tells_logprobs.then_some(true),
            top_logprobs: alternatives.filter(|_| tells_logprobs),
            // Servers of one's own know it; OpenAI would refuse it.
            return_token_ids: (config.return_token_ids && dialect.tells_token_ids && !official)
                .then_some(true),
            user: &request.user,
            stream: request.stream,
            stream_options: request.stream.then_some(StreamOptions {
                include_usage: true,
            }),
        }
    }
}

/// Reasoning models take no temperature but 1, DeepSeek's take none.
fn temperature(config: &LlmConfig, reasons: bool) -> Option<f64> {
    if catalog::is_family(&config.model, "deepseek-reasoner") {
        return None;
    }
    Some(if reasons { 1.0 } else { config.temperature })
}

/// How hard the model is asked to think, or `None` for models that take no such word and for `none`.
pub(crate) fn effort(config: &LlmConfig) -> Option<&str> {
    let given = config.reasoning_effort.as_deref();
    if catalog::reasons(&config.model) {
        let effort = given.unwrap_or_else(|| catalog::default_effort(&config.model));
        return (effort != "none").then_some(effort);
    }
    let open_weights = catalog::is_family(&config.model, "gpt-oss");
    given.filter(|effort| open_weights && ["low", "medium", "high"].contains(effort))
}

fn tool_choice(choice: &ToolChoice, dialect: &Dialect) -> Option<Value> {
    match choice {
        ToolChoice::Free => Some(json!("auto")),
        ToolChoice::Named(name) if dialect.names_tools => {
            Some(json!({"type": "function", "function": {"name": name}}))
        }
        ToolChoice::Must | ToolChoice::Named(_) => Some(json!("required")),
        ToolChoice::None => None,
    }
}

fn response_format(format: Option<&ResponseFormat>) -> Option<Value> {
    match format? {
        ResponseFormat::Text => None,
        ResponseFormat::JsonObject => Some(json!({"type": "json_object"})),
        ResponseFormat::JsonSchema(schema) => {
            Some(json!({"type": "json_schema", "json_schema": schema}))
        }
    }
}

impl<'a> Tool<'a> {
    fn new(tool: &'a ToolSchema, strict: bool) -> Self {
        let (parameters, strict) = schema::of_function(&tool.parameters, strict);
        let function = Schema {
            name: &tool.name,
            description: &tool.description,
            parameters,
            strict,
        };
        Self {
            r#type: "function",
            function,
        }
    }
}

/// What holds for every message of one request.
struct Conversation<'a> {
    config: &'a LlmConfig,
    dialect: &'a Dialect,
    /// The system role is `developer`.
    developer: bool,
    /// Text beside calls is left out.
    mutes_calls: bool,
    ids: CallIds,
    return_limit: usize,
}

impl<'a> Conversation<'a> {
    fn new(config: &'a LlmConfig, dialect: &'a Dialect, developer: bool) -> Self {
        Self {
            config,
            dialect,
            developer,
            mutes_calls: transcript::mutes_calls(config),
            ids: CallIds::default(),
            return_limit: return_limit(config.context_window),
        }
    }

    fn messages(mut self, request: &'a ModelRequest) -> Vec<ChatMessage<'a>> {
        let stored: Vec<&Message> = request.messages.iter().map(AsRef::as_ref).collect();
        let entries = transcript::entries(&stored);
        let this_turn = entries
            .iter()
            .rposition(|entry| matches!(entry, Entry::User(_)))
            .unwrap_or(0);
        let mut messages = vec![self.system(Cow::Borrowed(&*request.system))];
        for (at, entry) in entries.into_iter().enumerate() {
            match entry {
                Entry::System(message) => messages.push(self.system(text(message))),
                Entry::User(message) => messages.push(ChatMessage::User {
                    content: user_content(message),
                }),
                Entry::Assistant(turn) => self.assistant(&turn, at > this_turn, &mut messages),
            }
        }
        messages
    }

    fn system(&self, content: Cow<'a, str>) -> ChatMessage<'a> {
        if self.developer {
            ChatMessage::Developer { content }
        } else {
            ChatMessage::System { content }
        }
    }

    /// The message of one step, then the return of each of its calls.
    fn assistant(&mut self, turn: &Turn<'a>, this_turn: bool, messages: &mut Vec<ChatMessage<'a>>) {
        let muted = self.mutes_calls && !turn.calls.is_empty();
        let spoken = if muted {
            None
        } else {
            joined(turn.texts(), "\n")
        };
        // gpt-oss's template has no place for a null.
        let content = spoken.or_else(|| {
            catalog::is_family(&self.config.model, "gpt-oss").then_some(Cow::Borrowed(""))
        });
        let ids = self.ids.of(turn);
        let tool_calls = turn.calls.iter().zip(&ids).map(|((call, _), id)| Call {
            id: id.clone(),
            r#type: "function",
            function: Function {
                name: transcript::name(&call.name, MAX_NAME_CHARS),
                arguments: transcript::arguments_text(&call.arguments),
            },
        });
        let tool_calls = tool_calls.collect();
        let reasoning_content = if this_turn { self.replayed(turn) } else { None };
        messages.push(ChatMessage::Assistant {
            content,
            reasoning_content,
            tool_calls,
        });
        for ((_, end), tool_call_id) in turn.calls.iter().zip(ids) {
            let content = cut(return_text(end), self.return_limit);
            messages.push(ChatMessage::Tool {
                content,
                tool_call_id,
            });
        }
    }

    /// The model's own reasoning; another model's is not shown to it.
    fn replayed(&self, turn: &Turn<'a>) -> Option<Cow<'a, str>> {
        let reasoning = turn.parts.iter().filter_map(|part| match part {
            Part::Reasoning {
                native: true,
                reasoning,
                ..
            } => Some(reasoning.as_str()),
            _ => None,
        });
        let reasoning = joined(reasoning, "").filter(|_| turn.is_by(self.config));
        match self.dialect.replay {
            Replay::Never => None,
            Replay::WhenKnown => reasoning,
            Replay::WithCalls if turn.calls.is_empty() => None,
            Replay::WithCalls => Some(reasoning.unwrap_or_default()),
        }
    }
}

fn user_content<'a>(message: &'a Message) -> Content<'a> {
    if !message
        .content
        .iter()
        .any(|part| matches!(part, Part::Image(_)))
    {
        return Content::Text(text(message));
    }
    let part = |part: &'a Part| match part {
        Part::Image(image) => Some(image_part(image)),
        part => part.text().map(|text| ContentPart::Text { text }),
    };
    Content::Parts(message.content.iter().filter_map(part).collect())
}

fn image_part(image: &Image) -> ContentPart<'_> {
    match Picture::of(image, image::USUAL) {
        Some(url) => ContentPart::ImageUrl {
            image_url: ImageUrl {
                url,
                detail: image::detail(image),
            },
        },
        None => ContentPart::Text {
            text: IMAGE_PLACEHOLDER,
        },
    }
}

#[cfg(test)]
mod tests;
