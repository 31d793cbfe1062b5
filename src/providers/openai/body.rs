//! The request of chat completions (providers-and-context §5): a stored conversation to JSON, straight into bytes.
//! Equal requests give equal bytes, and a longer conversation begins with the bytes of the shorter one, so that
//! providers find their prefix caches.

use crate::domain::message::{Image, Message, Part, ToolOutput, ToolReturn};
use crate::domain::model::{LlmConfig, ModelRequest, ResponseFormat, ToolChoice, ToolSchema};
use crate::providers::catalog;
use crate::providers::transcript::{self, CallIds, Entry, Turn};
use crate::providers::vendors::{Dialect, OutputLimit, Replay};
use serde::Serialize;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::fmt;

/// Characters of a function's name that OpenAI takes.
const MAX_NAME_CHARS: usize = 64;

/// What stands where a model cannot see an image.
const IMAGE_PLACEHOLDER: &str = "[image]";

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
    url: Address<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

/// Where an image is: its address, or the image itself.
enum Address<'a> {
    Url(&'a str),
    Inline { media_type: &'a str, data: &'a str },
}

impl Serialize for Address<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Address<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => f.write_str(url),
            Self::Inline { media_type, data } => write!(f, "data:{media_type};base64,{data}"),
        }
    }
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
    arguments: &'a str,
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
        let offered: &[ToolSchema] = if request.choice == ToolChoice::None {
            &[]
        } else {
            &request.tools
        };
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
            parallel_tool_calls: (!offered.is_empty() && !reasons).then(|| config.parallel_calls()),
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
            prompt_cache_retention: (official && keeps_caches(&config.model)).then_some("24h"),
            service_tier: fast.map(|_| "priority"),
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

fn keeps_caches(model: &str) -> bool {
    catalog::is_family(model, "gpt-4.1")
        || (catalog::is_family(model, "gpt-5") && !catalog::is_family(model, "gpt-5-mini"))
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
        let parameters = if strict {
            Cow::Owned(strictly(tool.parameters.clone()))
        } else {
            Cow::Borrowed(&tool.parameters)
        };
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

/// The schema in its strict form: every property required, the optional ones nullable, no others allowed.
fn strictly(mut schema: Value) -> Value {
    let Value::Object(object) = &mut schema else {
        return schema;
    };
    if let Some(items) = object.get_mut("items") {
        *items = strictly(items.take());
    }
    let required: Vec<Value> = object
        .get("required")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        for (name, property) in properties.iter_mut() {
            *property = strictly(property.take());
            if !required.iter().any(|required| required == name.as_str()) {
                make_nullable(property);
            }
        }
        let names: Vec<Value> = properties.keys().map(|name| json!(name)).collect();
        object.insert("required".to_owned(), Value::Array(names));
        object.insert("additionalProperties".to_owned(), json!(false));
    }
    schema
}

fn make_nullable(property: &mut Value) {
    let Some(object) = property.as_object_mut() else {
        return;
    };
    match object.get_mut("type") {
        Some(Value::String(name)) => {
            let both = json!([name, "null"]);
            object.insert("type".to_owned(), both);
        }
        Some(Value::Array(names)) if !names.contains(&json!("null")) => names.push(json!("null")),
        _ => (),
    }
    if let Some(Value::Array(values)) = object.get_mut("enum")
        && !values.contains(&Value::Null)
    {
        values.push(Value::Null);
    }
}

/// What holds for every message of one request.
struct Conversation<'a> {
    config: &'a LlmConfig,
    dialect: &'a Dialect,
    /// The system role is `developer`.
    developer: bool,
    /// Text beside calls is left out: reasoning is fully off, and that text would be taken for it (agent-loop §4).
    mutes_calls: bool,
    ids: CallIds<'a>,
    return_limit: usize,
}

impl<'a> Conversation<'a> {
    fn new(config: &'a LlmConfig, dialect: &'a Dialect, developer: bool) -> Self {
        let thinks = config.enable_reasoner
            || config.put_inner_thoughts_in_kwargs == Some(true)
            || config.max_reasoning_tokens > 0;
        let return_limit = return_limit(config.context_window);
        Self {
            config,
            dialect,
            developer,
            mutes_calls: !thinks,
            ids: CallIds::default(),
            return_limit,
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
        let tool_calls = turn.calls.iter().map(|(call, _)| Call {
            id: self.ids.id(&call.id),
            r#type: "function",
            function: Function {
                name: transcript::name(&call.name, MAX_NAME_CHARS),
                arguments: &call.arguments,
            },
        });
        let tool_calls = tool_calls.collect();
        let reasoning_content = if this_turn { self.replayed(turn) } else { None };
        messages.push(ChatMessage::Assistant {
            content,
            reasoning_content,
            tool_calls,
        });
        for (call, end) in &turn.calls {
            let content = cut(return_text(end), self.return_limit);
            messages.push(ChatMessage::Tool {
                content,
                tool_call_id: self.ids.id(&call.id),
            });
        }
    }

    /// The model's own reasoning; another model's is not shown to it.
    fn replayed(&self, turn: &Turn<'a>) -> Option<Cow<'a, str>> {
        let own = turn.model.is_some()
            && (turn.model == Some(&self.config.model)
                || turn.model == self.config.handle.as_deref());
        let reasoning = turn.parts.iter().filter_map(|part| match part {
            Part::Reasoning {
                native: true,
                reasoning,
                ..
            } => Some(reasoning.as_str()),
            _ => None,
        });
        let reasoning = joined(reasoning, "").filter(|_| own);
        match self.dialect.replay {
            Replay::Never => None,
            Replay::WhenKnown => reasoning,
            Replay::WithCalls if turn.calls.is_empty() => None,
            Replay::WithCalls => Some(reasoning.unwrap_or_default()),
        }
    }
}

/// Characters of a tool return that the model is shown (agent-loop §4): a fifth of the window, four characters a token.
fn return_limit(context_window: u64) -> usize {
    usize::try_from(context_window.saturating_mul(4) / 5)
        .unwrap_or(usize::MAX)
        .max(5_000)
}

fn cut(text: Cow<'_, str>, limit: usize) -> Cow<'_, str> {
    // Bytes are at least characters: short texts need no counting.
    let end = if text.len() <= limit {
        None
    } else {
        text.char_indices().nth(limit)
    };
    match end {
        None => text,
        Some((end, _)) => format!(
            "{}... [truncated {} chars]",
            &text[..end],
            text[end..].chars().count()
        )
        .into(),
    }
}

fn return_text(end: &ToolReturn) -> Cow<'_, str> {
    match &end.output {
        ToolOutput::Packed(text) => Cow::Borrowed(text),
        ToolOutput::Parts(parts) => joined(
            parts
                .iter()
                .map(|part| part.text().unwrap_or(IMAGE_PLACEHOLDER)),
            "\n",
        )
        .unwrap_or_default(),
    }
}

/// All text parts of a message, copied only when there are several.
fn text(message: &Message) -> Cow<'_, str> {
    joined(message.content.iter().filter_map(Part::text), "\n").unwrap_or_default()
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
    match image {
        Image::Url { url } => ContentPart::ImageUrl {
            image_url: ImageUrl {
                url: Address::Url(url),
                detail: None,
            },
        },
        Image::Stored {
            data: Some(data),
            media_type,
            detail,
            ..
        } => {
            let media_type = media_type.as_deref().unwrap_or("image/png");
            let image_url = ImageUrl {
                url: Address::Inline { media_type, data },
                detail: detail.as_deref(),
            };
            ContentPart::ImageUrl { image_url }
        }
        Image::Stored { data: None, .. } => ContentPart::Text {
            text: IMAGE_PLACEHOLDER,
        },
    }
}

/// `None` when there is nothing to join.
fn joined<'a>(
    mut texts: impl Iterator<Item = &'a str>,
    separator: &'a str,
) -> Option<Cow<'a, str>> {
    let first = texts.next()?;
    Some(texts.fold(Cow::Borrowed(first), |joined, text| {
        joined + separator + text
    }))
}

#[cfg(test)]
mod tests;
