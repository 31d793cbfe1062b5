//! Language models as an agent is configured with them, and what one call of them takes and gives.

use super::message::{Message, Part, ToolCall};
use super::token_data::TokenData;
use serde_json::Value;
use std::sync::Arc;

/// `provider/model`: split at the first slash.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Handle {
    pub provider: String,
    pub model: String,
}

impl Handle {
    /// `None` when a side of the slash is missing.
    pub fn parse(text: &str) -> Option<Self> {
        let (provider, model) = text.split_once('/')?;
        let whole = !provider.is_empty() && !model.is_empty();
        whole.then(|| Self {
            provider: provider.to_owned(),
            model: model.to_owned(),
        })
    }
}

impl std::fmt::Display for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.provider, self.model)
    }
}

/// The whole configuration of a model for one agent (`llm_config` on the wire).
#[derive(Debug, Clone, PartialEq)]
pub struct LlmConfig {
    pub model: String,
    pub display_name: Option<String>,
    /// The dialect: `openai`, `anthropic` …
    pub model_endpoint_type: String,
    pub model_endpoint: Option<String>,
    pub provider_name: Option<String>,
    pub provider_category: Option<String>,
    pub model_wrapper: Option<String>,
    pub context_window: u64,
    pub put_inner_thoughts_in_kwargs: Option<bool>,
    pub handle: Option<String>,
    pub temperature: f64,
    pub max_tokens: Option<u64>,
    pub enable_reasoner: bool,
    pub reasoning_effort: Option<String>,
    pub max_reasoning_tokens: u64,
    pub effort: Option<String>,
    pub frequency_penalty: Option<f64>,
    pub compatibility_type: Option<String>,
    pub verbosity: Option<String>,
    pub tier: Option<String>,
    /// `None`: never set. Shown as false here and as true in the settings (`schemas.md`, ModelSettings).
    pub parallel_tool_calls: Option<bool>,
    pub response_format: Option<ResponseFormat>,
    pub strict: bool,
    pub return_logprobs: bool,
    pub top_logprobs: Option<u64>,
    pub return_token_ids: bool,
    pub tool_call_parser: Option<String>,
}

/// Handles that stand for the default model, whichever that is (decisions 24).
pub const DEFAULT_ALIASES: [&str; 2] = ["letta/auto", "letta/letta-free"];

impl LlmConfig {
    /// Whether it names the default model by an alias.
    pub fn names_default(&self) -> bool {
        let handle = self.handle.as_deref();
        handle.is_some_and(|handle| DEFAULT_ALIASES.contains(&handle))
    }

    /// The same settings for the model that another configuration names.
    pub fn of_model(self, named: Self) -> Self {
        Self {
            model: named.model,
            display_name: named.display_name,
            model_endpoint_type: named.model_endpoint_type,
            model_endpoint: named.model_endpoint,
            provider_name: named.provider_name,
            provider_category: named.provider_category,
            handle: named.handle,
            ..self
        }
    }

    /// Which model this names: the handle, or endpoint type and name for configurations given without one.
    pub fn handle(&self) -> Handle {
        self.handle
            .as_deref()
            .and_then(Handle::parse)
            .unwrap_or_else(|| Handle {
                provider: self
                    .provider_name
                    .clone()
                    .unwrap_or_else(|| self.model_endpoint_type.clone()),
                model: self.model.clone(),
            })
    }

    /// Whether the model may answer with several calls at once.
    pub fn parallel_calls(&self) -> bool {
        self.parallel_tool_calls.unwrap_or(true)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum ResponseFormat {
    Text,
    JsonObject,
    JsonSchema(Value),
}

/// What a client set in `model_settings`, laid over a configuration: `None` was not sent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ModelSettings {
    pub max_output_tokens: Option<u64>,
    pub parallel_tool_calls: Option<bool>,
    pub temperature: Option<f64>,
    pub reasoning_effort: Option<String>,
    pub enable_reasoner: Option<bool>,
    pub max_reasoning_tokens: Option<u64>,
    pub effort: Option<String>,
    pub verbosity: Option<String>,
    pub response_format: Option<ResponseFormat>,
    pub strict: Option<bool>,
    pub tool_call_parser: Option<String>,
}

impl ModelSettings {
    /// Lays these settings over `config`.
    pub fn apply(self, config: &mut LlmConfig) {
        if self.max_output_tokens.is_some() {
            config.max_tokens = self.max_output_tokens;
        }
        config.parallel_tool_calls = self.parallel_tool_calls.or(config.parallel_tool_calls);
        config.temperature = self.temperature.unwrap_or(config.temperature);
        config.reasoning_effort = self.reasoning_effort.or(config.reasoning_effort.take());
        config.enable_reasoner = self.enable_reasoner.unwrap_or(config.enable_reasoner);
        config.max_reasoning_tokens = self
            .max_reasoning_tokens
            .unwrap_or(config.max_reasoning_tokens);
        config.effort = self.effort.or(config.effort.take());
        config.verbosity = self.verbosity.or(config.verbosity.take());
        config.response_format = self.response_format.or(config.response_format.take());
        config.strict = self.strict.unwrap_or(config.strict);
        config.tool_call_parser = self.tool_call_parser.or(config.tool_call_parser.take());
    }
}

/// A model may not think for longer than it may answer (`agents-admin.md` §1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("max_reasoning_tokens ({reasoning}) is more than max_tokens ({max})")]
pub struct OverBudget {
    pub reasoning: u64,
    pub max: u64,
}

impl LlmConfig {
    /// # Errors
    /// `OverBudget`.
    pub fn check(&self) -> Result<(), OverBudget> {
        let reasoning = self.max_reasoning_tokens;
        match self.max_tokens {
            Some(max) if reasoning > max => Err(OverBudget { reasoning, max }),
            _ => Ok(()),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct EmbeddingConfig {
    pub embedding_endpoint_type: String,
    pub embedding_endpoint: Option<String>,
    pub embedding_model: String,
    pub embedding_dim: u64,
    pub embedding_chunk_size: Option<u64>,
    pub handle: Option<String>,
    pub batch_size: u64,
    pub azure_endpoint: Option<String>,
    pub azure_version: Option<String>,
    pub azure_deployment: Option<String>,
}

/// One model that a provider offers, for the lists.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelInfo {
    pub config: LlmConfig,
    pub provider_type: String,
    /// The most the model itself takes, in tokens.
    pub max_context_window: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct EmbeddingInfo {
    pub config: EmbeddingConfig,
    pub provider_name: String,
    pub provider_type: String,
}

/// What one model call is asked. Built once a step; the messages are shared, never cloned.
#[derive(Debug, Clone)]
pub struct ModelRequest {
    pub config: Arc<LlmConfig>,
    /// The system text of this turn; stands for the first message of the context.
    pub system: Arc<str>,
    /// The context without its system message, then the inputs of the turn.
    pub messages: Vec<Arc<Message>>,
    pub tools: Arc<[ToolSchema]>,
    pub choice: ToolChoice,
    /// Whether several calls at once are asked for.
    pub parallel_calls: bool,
    /// Whether somebody reads deltas: with false the provider may be asked for one whole answer.
    pub stream: bool,
    /// The user on whose behalf the call is made, as providers want to know it.
    pub user: String,
}

impl ModelRequest {
    /// The tools that may be called.
    pub fn offered(&self) -> &[ToolSchema] {
        if self.choice == ToolChoice::None {
            &[]
        } else {
            &self.tools
        }
    }
}

/// A tool as it is offered to a model.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolSchema {
    pub name: String,
    pub description: String,
    /// JSON schema of the arguments.
    pub parameters: Value,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolChoice {
    /// The model decides.
    Free,
    /// The model must call something.
    Must,
    /// The model must call this.
    Named(String),
    /// No tools are offered (decisions 13).
    None,
}

/// A piece of an answer as it comes in. Deltas of one call carry its id, from the first on.
#[derive(Debug, Clone, PartialEq)]
pub enum Delta {
    Text(String),
    /// From the model's own channel.
    Reasoning(String),
    /// What a model of the heartbeat loop thinks in words. No provider sends it: `heartbeat::live` makes it.
    Thought(String),
    /// Thinking happened and is not shown.
    OmittedReasoning,
    RedactedReasoning(String),
    CallName {
        call_id: String,
        name: String,
    },
    CallArguments {
        call_id: String,
        fragment: String,
    },
}

/// A whole answer: the same value whether it was streamed or not.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub parts: Vec<Part>,
    pub calls: Vec<ToolCall>,
    pub finish: Finish,
    pub usage: Usage,
    /// Of its single tokens, where that was asked for and the server knows them.
    pub tokens: Option<TokenData>,
    /// By which the provider knows the call, for questions to it.
    pub request_id: Option<String>,
    /// What was sent and what came back, for `GET /v1/steps/{id}/trace`.
    pub trace: Trace,
}

/// Provider request and response as JSON text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    pub request: String,
    pub response: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    Stop,
    Length,
    ToolCalls,
    ContentFilter,
}

/// Tokens of one call, or of several added up. `None`: the provider did not say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    pub total_tokens: u64,
    pub cached_input_tokens: Option<u64>,
    pub cache_write_tokens: Option<u64>,
    pub reasoning_tokens: Option<u64>,
}

impl Usage {
    /// Adds another call's tokens.
    pub fn add(&mut self, other: Usage) {
        let sum = |a: Option<u64>, b: Option<u64>| {
            if a.is_none() && b.is_none() {
                None
            } else {
                Some(a.unwrap_or(0) + b.unwrap_or(0))
            }
        };
        self.prompt_tokens += other.prompt_tokens;
        self.completion_tokens += other.completion_tokens;
        self.total_tokens += other.total_tokens;
        self.cached_input_tokens = sum(self.cached_input_tokens, other.cached_input_tokens);
        self.cache_write_tokens = sum(self.cache_write_tokens, other.cache_write_tokens);
        self.reasoning_tokens = sum(self.reasoning_tokens, other.reasoning_tokens);
    }
}

/// Why a model call gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct ModelError {
    pub class: ModelErrorClass,
    /// For people; names the provider and what it said, never a key.
    pub detail: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ModelErrorClass {
    ContextOverflow,
    Credits,
    RateLimit,
    Timeout,
    Authentication,
    Permission,
    NotFound,
    BadRequest,
    Overloaded,
    Connection,
    Server,
    /// An answer with neither text nor calls.
    EmptyAnswer,
    /// An answer that is not one of this dialect.
    Unreadable,
}
