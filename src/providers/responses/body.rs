//! The request of Responses (providers-and-context §5): a stored conversation to a list of items, straight into bytes.

use crate::domain::message::{Message, Part, ToolOutput, ToolReturn};
use crate::domain::model::{LlmConfig, ModelRequest, ResponseFormat, ToolChoice, ToolSchema};
use crate::providers::catalog;
use crate::providers::image::{self, Picture};
use crate::providers::openai::MAX_NAME_CHARS;
use crate::providers::schema;
use crate::providers::transcript::{
    self, CallIds, Entry, IMAGE_PLACEHOLDER, Turn, cut, cutter, return_limit, return_text, text,
};
use serde::Serialize;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::HashSet;

/// A smaller limit is refused.
const MIN_OUTPUT_TOKENS: u64 = 16;

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    input: Vec<Item<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<TextOptions<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<Reasoning<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    include: &'static [&'static str],
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_cache_retention: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<&'static str>,
    user: &'a str,
    store: bool,
    stream: bool,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Item<'a> {
    Message {
        role: Role,
        content: Vec<Content<'a>>,
    },
    /// What the model thought before the item that follows.
    Reasoning {
        id: &'a str,
        summary: Vec<Content<'a>>,
        encrypted_content: &'a str,
    },
    FunctionCall {
        call_id: String,
        name: String,
        arguments: Cow<'a, str>,
    },
    FunctionCallOutput {
        call_id: String,
        output: Output<'a>,
    },
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Role {
    Developer,
    User,
    Assistant,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Content<'a> {
    InputText {
        text: Cow<'a, str>,
    },
    InputImage {
        image_url: Picture<'a>,
        detail: &'a str,
    },
    OutputText {
        text: &'a str,
    },
    SummaryText {
        text: &'a str,
    },
}

#[derive(Serialize)]
#[serde(untagged)]
enum Output<'a> {
    Text(Cow<'a, str>),
    Parts(Vec<Content<'a>>),
}

#[derive(Serialize)]
struct Tool<'a> {
    r#type: &'static str,
    name: &'a str,
    description: &'a str,
    parameters: Cow<'a, Value>,
    /// Said either way: here a function is strict unless it says otherwise.
    strict: bool,
}

#[derive(Serialize)]
struct TextOptions<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verbosity: Option<&'a str>,
}

#[derive(Serialize)]
struct Reasoning<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    effort: Option<&'a str>,
    summary: &'static str,
}

/// The body of one call.
pub(crate) fn bytes(request: &ModelRequest) -> Vec<u8> {
    let body = Body::new(request);
    serde_json::to_vec(&body).expect("strings, numbers and JSON values always serialise")
}

impl<'a> Body<'a> {
    fn new(request: &'a ModelRequest) -> Self {
        let config = &*request.config;
        let reasons = catalog::reasons(&config.model);
        let offered = request.offered();
        let fast = config.model.strip_suffix("-fast");
        let tool = |tool| Tool::new(tool, config.strict);
        Self {
            model: fast.unwrap_or(&config.model),
            input: Conversation::new(config).items(request),
            tools: offered.iter().map(tool).collect(),
            tool_choice: if offered.is_empty() {
                None
            } else {
                tool_choice(&request.choice)
            },
            parallel_tool_calls: (!offered.is_empty() && !reasons)
                .then_some(request.parallel_calls),
            text: TextOptions::new(config),
            temperature: (!reasons).then_some(config.temperature),
            max_output_tokens: config.max_tokens.map(|limit| limit.max(MIN_OUTPUT_TOKENS)),
            reasoning: reasons.then(|| Reasoning {
                effort: effort(config),
                summary: "detailed",
            }),
            // Other models refuse it.
            include: if reasons {
                &["reasoning.encrypted_content"]
            } else {
                &[]
            },
            prompt_cache_retention: catalog::keeps_caches(&config.model).then_some("24h"),
            service_tier: fast.map(|_| "priority"),
            user: &request.user,
            store: false,
            stream: request.stream,
        }
    }
}

impl<'a> Tool<'a> {
    fn new(tool: &'a ToolSchema, strict: bool) -> Self {
        let (parameters, strict) = schema::of_function(&tool.parameters, strict);
        Self {
            r#type: "function",
            name: &tool.name,
            description: &tool.description,
            parameters,
            strict,
        }
    }
}

impl<'a> TextOptions<'a> {
    fn new(config: &'a LlmConfig) -> Option<Self> {
        let format = format(config.response_format.as_ref());
        let verbosity = config
            .verbosity
            .as_deref()
            .filter(|_| catalog::is_family(&config.model, "gpt-5"));
        let says_something = format.is_some() || verbosity.is_some();
        says_something.then_some(Self { format, verbosity })
    }
}

/// As chat completions take it, but without a box around the schema and its name.
fn format(format: Option<&ResponseFormat>) -> Option<Value> {
    match format? {
        ResponseFormat::Text => None,
        ResponseFormat::JsonObject => Some(json!({"type": "json_object"})),
        ResponseFormat::JsonSchema(schema) => {
            let mut format = json!({"type": "json_schema"});
            for (field, value) in schema.as_object().into_iter().flatten() {
                format[field] = value.clone();
            }
            Some(format)
        }
    }
}

fn tool_choice(choice: &ToolChoice) -> Option<Value> {
    match choice {
        ToolChoice::Free => Some(json!("auto")),
        ToolChoice::Must => Some(json!("required")),
        ToolChoice::Named(name) => Some(json!({"type": "function", "name": name})),
        ToolChoice::None => None,
    }
}

/// How hard a reasoning model is asked to think. The models that do not know `none` are asked nothing in its place.
fn effort(config: &LlmConfig) -> Option<&str> {
    let default = catalog::default_effort(&config.model);
    let effort = config.reasoning_effort.as_deref().unwrap_or(default);
    (effort != "none" || default == "none").then_some(effort)
}

/// What holds for every item of one request. Text beside calls always stays: it is left out where reasoning is fully
/// off, and the reasoning of these models never is.
struct Conversation<'a> {
    config: &'a LlmConfig,
    ids: CallIds,
    /// Ids of reasoning that is in the request: none may be there twice.
    replayed: HashSet<&'a str>,
    return_limit: usize,
}

impl<'a> Conversation<'a> {
    fn new(config: &'a LlmConfig) -> Self {
        Self {
            config,
            ids: CallIds::default(),
            replayed: HashSet::new(),
            return_limit: return_limit(config.context_window),
        }
    }

    fn items(mut self, request: &'a ModelRequest) -> Vec<Item<'a>> {
        let stored: Vec<&Message> = request.messages.iter().map(AsRef::as_ref).collect();
        let mut items = vec![developer(Cow::Borrowed(&*request.system))];
        for entry in transcript::entries(&stored) {
            match entry {
                Entry::System(message) => items.push(developer(text(message))),
                Entry::User(message) => items.push(user(message)),
                Entry::Assistant(turn) => self.assistant(&turn, &mut items),
            }
        }
        items
    }

    /// What was thought and said in one step, its calls, then their returns.
    fn assistant(&mut self, turn: &Turn<'a>, items: &mut Vec<Item<'a>>) {
        let own = turn.is_by(self.config);
        // Held until the item that it led to: OpenAI refuses reasoning that nothing follows.
        let mut thoughts = Vec::new();
        for part in &turn.parts {
            match part {
                Part::SummarizedReasoning {
                    id,
                    summary,
                    encrypted_content: Some(encrypted_content),
                } if own && !id.is_empty() && self.replayed.insert(id) => {
                    let summary = summary.iter().map(|text| Content::SummaryText { text });
                    thoughts.push(Item::Reasoning {
                        id,
                        summary: summary.collect(),
                        encrypted_content,
                    });
                }
                Part::Text { text, .. } if !text.is_empty() => {
                    items.append(&mut thoughts);
                    items.push(Item::Message {
                        role: Role::Assistant,
                        content: vec![Content::OutputText { text }],
                    });
                }
                _ => (),
            }
        }
        if !turn.calls.is_empty() {
            items.append(&mut thoughts);
        }
        let ids = self.ids.of(turn);
        for ((call, _), call_id) in turn.calls.iter().zip(&ids) {
            items.push(Item::FunctionCall {
                call_id: call_id.clone(),
                name: transcript::name(&call.name, MAX_NAME_CHARS),
                arguments: transcript::arguments_text(&call.arguments),
            });
        }
        for ((_, end), call_id) in turn.calls.iter().zip(ids) {
            items.push(Item::FunctionCallOutput {
                call_id,
                output: output(end, self.return_limit),
            });
        }
    }
}

fn developer(text: Cow<'_, str>) -> Item<'_> {
    Item::Message {
        role: Role::Developer,
        content: vec![Content::InputText { text }],
    }
}

fn user(message: &Message) -> Item<'_> {
    let mut content: Vec<Content<'_>> = message.content.iter().filter_map(input).collect();
    if content.is_empty() {
        let text = Cow::Borrowed("");
        content.push(Content::InputText { text });
    }
    Item::Message {
        role: Role::User,
        content,
    }
}

/// What was said or shown to the model.
fn input(part: &Part) -> Option<Content<'_>> {
    let text = match part {
        Part::Image(image) => match Picture::of(image, image::USUAL) {
            Some(image_url) => {
                let detail = image::detail(image).unwrap_or("auto");
                return Some(Content::InputImage { image_url, detail });
            }
            None => IMAGE_PLACEHOLDER,
        },
        part => part.text().filter(|text| !text.is_empty())?,
    };
    let text = Cow::Borrowed(text);
    Some(Content::InputText { text })
}

/// How a call ended, of its text at most `limit` characters.
fn output(end: &ToolReturn, limit: usize) -> Output<'_> {
    match &end.output {
        ToolOutput::Parts(parts) if parts.iter().any(|part| matches!(part, Part::Image(_))) => {
            let mut cut = cutter(limit);
            let shown = parts.iter().filter_map(input).map(|content| match content {
                Content::InputText { text } => Content::InputText { text: cut(text) },
                content => content,
            });
            Output::Parts(shown.collect())
        }
        _ => Output::Text(cut(return_text(end), limit)),
    }
}

#[cfg(test)]
mod tests;
