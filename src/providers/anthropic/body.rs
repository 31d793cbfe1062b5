//! The request of Anthropic's messages (providers-and-context §5): a stored conversation to JSON, straight into bytes.
//! Equal requests give equal bytes. What stays the same from step to step comes first, and of a longer conversation all
//! but the mark for the cache begins like the shorter one.

mod conversation;

use crate::domain::model::{LlmConfig, ModelRequest, ToolChoice, ToolSchema};
use crate::providers::catalog::Claude;
use crate::providers::schema;
use conversation::{Block, Marked, Said};
use serde::Serialize;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::sync::Arc;

/// Every request needs a limit.
const DEFAULT_MAX_TOKENS: u64 = 4_096;
const MIN_BUDGET_TOKENS: u64 = 1_024;
/// Tools of one request that a model is held to the schemas of, and what these may leave open together: Anthropic makes
/// a grammar of all of them.
const MAX_STRICT_TOOLS: usize = 15;
const MAX_OPTIONAL: usize = 24;
/// The window of a model that nobody asked for more, in tokens.
const USUAL_WINDOW_TOKENS: u64 = 200_000;

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    max_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<Thinking>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<OutputConfig<'a>>,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Choice<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Marked<Tool<'a>>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system: Vec<Marked<Block<'a>>>,
    messages: Vec<Said<'a>>,
}

/// How the model is asked to think, if it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Thinking {
    Enabled {
        budget_tokens: u64,
    },
    Adaptive {
        #[serde(skip_serializing_if = "Option::is_none")]
        display: Option<&'static str>,
    },
}

#[derive(Serialize)]
struct OutputConfig<'a> {
    effort: &'a str,
}

#[derive(Serialize)]
struct Tool<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    input_schema: Value,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    strict: bool,
}

#[derive(Serialize)]
struct Choice<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    disable_parallel_tool_use: bool,
}

/// Stands for tools that are gone: a conversation with calls is refused when no tool is defined.
const NO_TOOL: &str = "unavailable";

/// The body of one call.
pub(crate) fn bytes(request: &ModelRequest) -> Vec<u8> {
    serde_json::to_vec(&Body::new(request))
        .expect("strings, numbers and JSON values always serialise")
}

/// The same for Bedrock, where model and stream are in the path, and what is asked for by name in the body. It refuses names
/// that it does not know.
pub(crate) fn for_bedrock(request: &ModelRequest) -> Vec<u8> {
    const KNOWN: [&str; 3] = ["interleaved-thinking", "effort", "context-1m"];
    let mut plain = request.clone();
    Arc::make_mut(&mut plain.config).strict = false;
    let mut betas = betas(&plain);
    betas.retain(|beta| KNOWN.iter().any(|known| beta.starts_with(known)));
    let body = serde_json::to_value(Body::new(&plain));
    let mut body = body.expect("strings, numbers and JSON values always serialise");
    if let Some(body) = body.as_object_mut() {
        body.shift_remove("model");
        body.shift_remove("stream");
        if !betas.is_empty() {
            body.shift_insert(0, "anthropic_beta".to_owned(), json!(betas));
        }
        let version = json!("bedrock-2023-05-31");
        body.shift_insert(0, "anthropic_version".to_owned(), version);
    }
    body.to_string().into_bytes()
}

/// What of the body costs something before there is an answer: all that may be sent to be counted.
pub(crate) fn counted(request: &ModelRequest) -> Value {
    const PARTS: [&str; 6] = [
        "model",
        "thinking",
        "tool_choice",
        "tools",
        "system",
        "messages",
    ];
    let body = serde_json::to_value(Body::new(request));
    let mut body = body.expect("strings, numbers and JSON values always serialise");
    if let Some(body) = body.as_object_mut() {
        body.retain(|part, _| PARTS.contains(&part.as_str()));
    }
    body
}

/// What of Anthropic's API must be asked for by name. Adaptive thinking needs no asking.
pub(crate) fn betas(request: &ModelRequest) -> Vec<&'static str> {
    let config = &*request.config;
    let claude = Claude::named(&config.model);
    let has_budget = matches!(thinking(config), Some(Thinking::Enabled { .. }));
    let is_long = config.context_window > USUAL_WINDOW_TOKENS;
    let named = [
        (
            request.stream && !request.tools.is_empty(),
            "fine-grained-tool-streaming-2025-05-14",
        ),
        (has_budget, "interleaved-thinking-2025-05-14"),
        (effort(config).is_some(), "effort-2025-11-24"),
        (
            tools(request).iter().any(|tool| tool.item.strict),
            "structured-outputs-2025-11-13",
        ),
        (
            is_long && claude.is_some_and(Claude::takes_a_million),
            "context-1m-2025-08-07",
        ),
    ];
    named
        .into_iter()
        .filter_map(|(wanted, beta)| wanted.then_some(beta))
        .collect()
}

impl<'a> Body<'a> {
    fn new(request: &'a ModelRequest) -> Self {
        let config = &*request.config;
        let wanted = thinking(config);
        let (mut messages, may_think) = conversation::messages(request, wanted);
        let thinking = wanted.filter(|_| may_think);

        let mut tools = tools(request);
        let mut tool_choice = tool_choice(request, thinking.is_some());
        if tools.is_empty() && messages.iter().any(Said::calls) {
            tools.push(Marked::new(Tool::unavailable()));
            tool_choice = Some(Choice::of("none"));
        }
        let mut system = Vec::new();
        if !request.system.trim().is_empty() {
            let text = Cow::Borrowed(&*request.system);
            system.push(Marked::new(Block::Text { text }));
        }
        let last = messages.last_mut().and_then(|said| said.content.last_mut());
        last.map(Marked::mark);
        system.last_mut().map(Marked::mark);
        tools.last_mut().map(Marked::mark);
        Self {
            model: &config.model,
            max_tokens: max_tokens(config, thinking),
            temperature: temperature(config, thinking.is_some()),
            thinking,
            output_config: effort(config).map(|effort| OutputConfig { effort }),
            stream: request.stream,
            tool_choice,
            tools,
            system,
            messages,
        }
    }
}

/// The tools on offer: all of them, or the one that must be called.
fn tools(request: &ModelRequest) -> Vec<Marked<Tool<'_>>> {
    let all = request.tools.iter();
    let offered: Vec<&ToolSchema> = match &request.choice {
        ToolChoice::Named(name) if has_tool(request, name) => {
            all.filter(|tool| tool.name == *name).collect()
        }
        _ => all.collect(),
    };
    let mut tools: Vec<Tool<'_>> = offered.into_iter().map(Tool::new).collect();
    let takes_strict = Claude::named(&request.config.model).is_some_and(Claude::takes_strict);
    if request.config.strict && takes_strict {
        make_strict(&mut tools);
    }
    tools.into_iter().map(Marked::new).collect()
}

/// Has the model held to the schemas of those tools whose schemas it can be held to, as far as one request may.
fn make_strict(tools: &mut [Tool<'_>]) {
    let (mut left, mut optional) = (MAX_STRICT_TOOLS, MAX_OPTIONAL);
    for tool in tools {
        let Some(closed) = schema::closed(&tool.input_schema) else {
            continue;
        };
        if left == 0 || closed.optional > optional {
            continue;
        }
        (left, optional) = (left - 1, optional - closed.optional);
        (tool.input_schema, tool.strict) = (closed.schema, true);
    }
}

fn has_tool(request: &ModelRequest, name: &str) -> bool {
    request.tools.iter().any(|tool| tool.name == name)
}

/// A model that thinks can be forced to nothing. One that may call nothing still sees its tools: they are at the
/// beginning of what is cached.
fn tool_choice(request: &ModelRequest, thinks: bool) -> Option<Choice<'_>> {
    if request.tools.is_empty() {
        return None;
    }
    let choice = match &request.choice {
        ToolChoice::None => return Some(Choice::of("none")),
        ToolChoice::Must | ToolChoice::Named(_) if thinks => Choice::of("auto"),
        ToolChoice::Free => Choice::of("auto"),
        ToolChoice::Named(name) if has_tool(request, name) => Choice {
            name: Some(name),
            ..Choice::of("tool")
        },
        ToolChoice::Must | ToolChoice::Named(_) => Choice::of("any"),
    };
    Some(Choice {
        disable_parallel_tool_use: !request.parallel_calls,
        ..choice
    })
}

impl Choice<'_> {
    fn of(r#type: &'static str) -> Self {
        Self {
            r#type,
            name: None,
            disable_parallel_tool_use: false,
        }
    }
}

impl<'a> Tool<'a> {
    fn new(tool: &'a ToolSchema) -> Self {
        Self {
            name: &tool.name,
            description: &tool.description,
            input_schema: schema::non_null(&tool.parameters),
            strict: false,
        }
    }

    fn unavailable() -> Self {
        Self {
            name: NO_TOOL,
            description: "",
            input_schema: json!({"type": "object"}),
            strict: false,
        }
    }
}

/// Whether the model is asked to think: then it can be forced to nothing.
pub(crate) fn thinks(config: &LlmConfig) -> bool {
    thinking(config).is_some()
}

/// How the model is to think: as far as it can, and if the configuration says so.
fn thinking(config: &LlmConfig) -> Option<Thinking> {
    let claude = Claude::named(&config.model).filter(|claude| claude.thinks())?;
    let thinking = if claude.adapts() {
        Thinking::Adaptive {
            display: claude.hides_thinking().then_some("summarized"),
        }
    } else {
        Thinking::Enabled {
            budget_tokens: config.max_reasoning_tokens.max(MIN_BUDGET_TOKENS),
        }
    };
    config.enable_reasoner.then_some(thinking)
}

/// The limit holds for thinking and answer together. One that leaves no room for an answer is taken to mean the answer.
fn max_tokens(config: &LlmConfig, thinking: Option<Thinking>) -> u64 {
    let limit = config.max_tokens.unwrap_or(DEFAULT_MAX_TOKENS).max(1);
    match thinking {
        Some(Thinking::Enabled { budget_tokens }) if limit <= budget_tokens => {
            budget_tokens.saturating_add(limit)
        }
        _ => limit,
    }
}

/// Anthropic's scale ends at 1, and a model that thinks takes nothing else.
fn temperature(config: &LlmConfig, thinks: bool) -> Option<f64> {
    let takes_any = Claude::named(&config.model).is_none_or(Claude::takes_temperature);
    let temperature = if thinks {
        1.0
    } else {
        config.temperature.clamp(0.0, 1.0)
    };
    takes_any.then_some(temperature)
}

fn effort(config: &LlmConfig) -> Option<&str> {
    let takes_effort = Claude::named(&config.model).is_some_and(Claude::takes_effort);
    config.effort.as_deref().filter(|_| takes_effort)
}

#[cfg(test)]
mod tests;
