//! Model configurations as JSON: the deprecated whole ones, the settings that replace them, the lists.

use crate::domain::agent::{CompactionChange, CompactionMode, CompactionSettings};
use crate::domain::conversation::SentSettings;
use crate::domain::model::{
    EmbeddingConfig as DomainEmbedding, EmbeddingInfo, LlmConfig as DomainLlm, ModelInfo,
    ModelSettings as DomainSettings, ResponseFormat as DomainFormat,
};
use crate::domain::tool::{ChildArgs, ToolRule as DomainRule, ToolRuleKind};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

/// `llm_config`, both ways.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LlmConfig {
    model: String,
    display_name: Option<String>,
    model_endpoint_type: String,
    model_endpoint: Option<String>,
    provider_name: Option<String>,
    provider_category: Option<String>,
    model_wrapper: Option<String>,
    #[serde(deserialize_with = "positive")]
    context_window: u64,
    put_inner_thoughts_in_kwargs: Option<bool>,
    handle: Option<String>,
    temperature: Option<f64>,
    max_tokens: Option<u64>,
    enable_reasoner: Option<bool>,
    reasoning_effort: Option<String>,
    max_reasoning_tokens: Option<u64>,
    effort: Option<String>,
    frequency_penalty: Option<f64>,
    compatibility_type: Option<String>,
    verbosity: Option<String>,
    tier: Option<String>,
    parallel_tool_calls: Option<bool>,
    response_format: Option<ResponseFormat>,
    strict: Option<bool>,
    return_logprobs: Option<bool>,
    top_logprobs: Option<u64>,
    return_token_ids: Option<bool>,
    tool_call_parser: Option<String>,
}

impl From<&DomainLlm> for LlmConfig {
    fn from(config: &DomainLlm) -> Self {
        let config = config.clone();
        Self {
            model: config.model,
            display_name: config.display_name,
            model_endpoint_type: config.model_endpoint_type,
            model_endpoint: config.model_endpoint,
            provider_name: config.provider_name,
            provider_category: config.provider_category,
            model_wrapper: config.model_wrapper,
            context_window: config.context_window,
            put_inner_thoughts_in_kwargs: config.put_inner_thoughts_in_kwargs.or(Some(false)),
            handle: config.handle,
            temperature: Some(config.temperature),
            max_tokens: config.max_tokens,
            enable_reasoner: Some(config.enable_reasoner),
            reasoning_effort: config.reasoning_effort,
            max_reasoning_tokens: Some(config.max_reasoning_tokens),
            effort: config.effort,
            frequency_penalty: config.frequency_penalty,
            compatibility_type: config.compatibility_type,
            verbosity: config.verbosity,
            tier: config.tier,
            parallel_tool_calls: config.parallel_tool_calls.or(Some(false)),
            response_format: config.response_format.map(ResponseFormat::from),
            strict: Some(config.strict),
            return_logprobs: Some(config.return_logprobs),
            top_logprobs: config.top_logprobs,
            return_token_ids: Some(config.return_token_ids),
            tool_call_parser: config.tool_call_parser,
        }
    }
}

impl From<LlmConfig> for DomainLlm {
    fn from(config: LlmConfig) -> Self {
        Self {
            model: config.model,
            display_name: config.display_name,
            model_endpoint_type: config.model_endpoint_type,
            model_endpoint: config.model_endpoint,
            provider_name: config.provider_name,
            provider_category: config.provider_category,
            model_wrapper: config.model_wrapper,
            context_window: config.context_window,
            put_inner_thoughts_in_kwargs: config.put_inner_thoughts_in_kwargs,
            handle: config.handle,
            temperature: config.temperature.unwrap_or(1.0),
            max_tokens: config.max_tokens,
            enable_reasoner: config.enable_reasoner.unwrap_or(true),
            reasoning_effort: config.reasoning_effort,
            max_reasoning_tokens: config.max_reasoning_tokens.unwrap_or(0),
            effort: config.effort,
            frequency_penalty: config.frequency_penalty,
            compatibility_type: config.compatibility_type,
            verbosity: config.verbosity,
            tier: config.tier,
            // An echo of a shown configuration says false where nothing was ever set.
            parallel_tool_calls: config.parallel_tool_calls.filter(|parallel| *parallel),
            response_format: config.response_format.map(DomainFormat::from),
            strict: config.strict.unwrap_or(false),
            return_logprobs: config.return_logprobs.unwrap_or(false),
            top_logprobs: config.top_logprobs,
            return_token_ids: config.return_token_ids.unwrap_or(false),
            tool_call_parser: config.tool_call_parser,
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ResponseFormat {
    Text,
    JsonObject,
    JsonSchema { json_schema: Value },
}

impl From<DomainFormat> for ResponseFormat {
    fn from(format: DomainFormat) -> Self {
        match format {
            DomainFormat::Text => Self::Text,
            DomainFormat::JsonObject => Self::JsonObject,
            DomainFormat::JsonSchema(json_schema) => Self::JsonSchema { json_schema },
        }
    }
}

impl From<ResponseFormat> for DomainFormat {
    fn from(format: ResponseFormat) -> Self {
        match format {
            ResponseFormat::Text => Self::Text,
            ResponseFormat::JsonObject => Self::JsonObject,
            ResponseFormat::JsonSchema { json_schema } => Self::JsonSchema(json_schema),
        }
    }
}

fn positive<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    std::num::NonZeroU64::deserialize(deserializer).map(std::num::NonZeroU64::get)
}

/// `model_settings` of a request: one union of all providers' members; only what is there is laid over the configuration.
#[derive(Debug, Clone, Deserialize)]
pub struct ModelSettings {
    #[serde(rename = "provider_type")]
    _provider_type: Option<String>,
    max_output_tokens: Option<u64>,
    parallel_tool_calls: Option<bool>,
    temperature: Option<f64>,
    reasoning: Option<Reasoning>,
    thinking: Option<Thinking>,
    thinking_config: Option<ThinkingConfig>,
    effort: Option<String>,
    verbosity: Option<String>,
    #[serde(alias = "response_schema")]
    response_format: Option<ResponseFormat>,
    strict: Option<bool>,
    tool_call_parser: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Reasoning {
    reasoning_effort: Option<Effort>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Effort {
    None,
    Minimal,
    Low,
    Medium,
    High,
    Xhigh,
}

impl Effort {
    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Xhigh => "xhigh",
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
struct Thinking {
    #[serde(rename = "type")]
    switch: Option<Switch>,
    budget_tokens: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Switch {
    Enabled,
    Disabled,
}

#[derive(Debug, Clone, Deserialize)]
struct ThinkingConfig {
    include_thoughts: Option<bool>,
    thinking_budget: Option<u64>,
}

impl From<ModelSettings> for DomainSettings {
    fn from(settings: ModelSettings) -> Self {
        let anthropic = settings.thinking.map(|thinking| {
            let on = thinking.switch.map(|switch| switch == Switch::Enabled);
            (on, thinking.budget_tokens)
        });
        let google = settings
            .thinking_config
            .map(|config| (config.include_thoughts, config.thinking_budget));
        let (enable_reasoner, budget) = anthropic.or(google).unwrap_or_default();
        // Off is fully off: a budget that is left says that the model thinks (agent-loop §4).
        let off = enable_reasoner == Some(false);
        let max_reasoning_tokens = if off { Some(0) } else { budget };
        Self {
            max_output_tokens: settings.max_output_tokens,
            parallel_tool_calls: settings.parallel_tool_calls,
            temperature: settings.temperature,
            reasoning_effort: settings
                .reasoning
                .and_then(|reasoning| reasoning.reasoning_effort)
                .map(|effort| effort.name().to_owned()),
            enable_reasoner,
            max_reasoning_tokens,
            effort: settings.effort,
            verbosity: settings.verbosity,
            response_format: settings.response_format.map(DomainFormat::from),
            strict: settings.strict,
            tool_call_parser: settings.tool_call_parser,
        }
    }
}

/// `model_settings` of an answer: derived, with exactly the keys of the provider's member (`schemas.md`, ModelSettings).
pub fn model_settings(config: &DomainLlm) -> Value {
    let kind = config.model_endpoint_type.as_str();
    let google = matches!(kind, "google_ai" | "google_vertex");
    let format = config.response_format.clone().map(ResponseFormat::from);
    let thinking = if config.enable_reasoner {
        "enabled"
    } else {
        "disabled"
    };
    let budget = if config.max_reasoning_tokens > 0 {
        config.max_reasoning_tokens
    } else {
        1_024
    };
    let mut settings = Map::new();
    let mut put = |key: &str, value: Value| settings.insert(key.to_owned(), value);
    put(
        "max_output_tokens",
        json!(
            config
                .max_tokens
                .unwrap_or(if google { 65_536 } else { 4_096 })
        ),
    );
    put("parallel_tool_calls", json!(config.parallel_calls()));
    put("provider_type", json!(kind));
    put("temperature", json!(config.temperature));
    match kind {
        "openai" | "sglang" => {
            put(
                "reasoning",
                json!({"reasoning_effort": config.reasoning_effort.as_deref().unwrap_or("minimal")}),
            );
            put("response_format", json!(format));
            put("strict", json!(config.strict));
            if kind == "sglang" {
                put("tool_call_parser", json!(config.tool_call_parser));
            }
        }
        "anthropic" => {
            put(
                "thinking",
                json!({"type": thinking, "budget_tokens": budget}),
            );
            put("effort", json!(config.effort));
            put("verbosity", json!(config.verbosity));
            put("response_format", json!(format));
            put("strict", json!(config.strict));
        }
        "google_ai" | "google_vertex" => {
            // Not whether there is a budget: without one the model thinks too.
            put(
                "thinking_config",
                json!({"include_thoughts": config.enable_reasoner, "thinking_budget": budget}),
            );
            put("response_schema", json!(format));
        }
        "zai" => {
            put(
                "thinking",
                json!({"type": thinking, "clear_thinking": false}),
            );
            put("response_format", json!(format));
        }
        "chatgpt_oauth" => {
            put(
                "reasoning",
                json!({"reasoning_effort": config.reasoning_effort.as_deref().unwrap_or("medium")}),
            );
        }
        "baseten" => (),
        _ => {
            put("response_format", json!(format));
        }
    }
    Value::Object(settings)
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EmbeddingConfig {
    embedding_endpoint_type: String,
    embedding_endpoint: Option<String>,
    embedding_model: String,
    embedding_dim: u64,
    embedding_chunk_size: Option<u64>,
    handle: Option<String>,
    batch_size: Option<u64>,
    azure_endpoint: Option<String>,
    azure_version: Option<String>,
    azure_deployment: Option<String>,
}

impl From<&DomainEmbedding> for EmbeddingConfig {
    fn from(config: &DomainEmbedding) -> Self {
        let config = config.clone();
        Self {
            embedding_endpoint_type: config.embedding_endpoint_type,
            embedding_endpoint: config.embedding_endpoint,
            embedding_model: config.embedding_model,
            embedding_dim: config.embedding_dim,
            embedding_chunk_size: config.embedding_chunk_size,
            handle: config.handle,
            batch_size: Some(config.batch_size),
            azure_endpoint: config.azure_endpoint,
            azure_version: config.azure_version,
            azure_deployment: config.azure_deployment,
        }
    }
}

impl From<EmbeddingConfig> for DomainEmbedding {
    fn from(config: EmbeddingConfig) -> Self {
        Self {
            embedding_endpoint_type: config.embedding_endpoint_type,
            embedding_endpoint: config.embedding_endpoint,
            embedding_model: config.embedding_model,
            embedding_dim: config.embedding_dim,
            embedding_chunk_size: config.embedding_chunk_size.or(Some(300)),
            handle: config.handle,
            batch_size: config.batch_size.unwrap_or(32),
            azure_endpoint: config.azure_endpoint,
            azure_version: config.azure_version,
            azure_deployment: config.azure_deployment,
        }
    }
}

/// `compaction_settings` of an answer.
pub fn compaction(settings: &CompactionSettings) -> Value {
    json!({
        "model": settings.model,
        "model_settings": settings.model_settings,
        "prompt": settings.prompt,
        "prompt_acknowledgement": settings.prompt_acknowledgement,
        "clip_chars": settings.clip_chars,
        "mode": settings.mode.name(),
        "sliding_window_percentage": settings.sliding_window_percentage,
    })
}

/// `compaction_settings` of a request: only what is there changes.
#[derive(Debug, Clone, Deserialize)]
pub struct CompactionIn {
    #[serde(default, deserialize_with = "given")]
    model: Option<Option<String>>,
    #[serde(default, deserialize_with = "settings_object")]
    model_settings: Option<Option<Value>>,
    #[serde(default, deserialize_with = "given")]
    prompt: Option<Option<String>>,
    prompt_acknowledgement: Option<bool>,
    #[serde(default, deserialize_with = "given")]
    clip_chars: Option<Option<i64>>,
    #[serde(default, deserialize_with = "mode")]
    mode: Option<CompactionMode>,
    #[serde(default, deserialize_with = "share")]
    sliding_window_percentage: Option<f64>,
}

/// Kept as it was sent; only what reads as settings of a model is taken.
pub(super) fn settings_object<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<Value>>, D::Error> {
    let sent = Option::<Value>::deserialize(deserializer)?;
    if let Some(sent) = &sent {
        if !sent.is_object() {
            return Err(D::Error::custom("expected an object of model settings"));
        }
        ModelSettings::deserialize(sent).map_err(D::Error::custom)?;
    }
    Ok(Some(sent))
}

/// Settings that were taken by `settings_object`, with what they mean.
pub(super) fn sent_settings(sent: Value) -> SentSettings {
    let read = ModelSettings::deserialize(&sent).ok();
    SentSettings {
        read: read.map_or_else(DomainSettings::default, DomainSettings::from),
        sent,
    }
}

/// The settings of a summariser, as they were kept, for laying over its configuration.
pub fn compaction_model_settings(settings: &CompactionSettings) -> DomainSettings {
    let sent = settings.model_settings.as_ref();
    let read = sent.and_then(|sent| ModelSettings::deserialize(sent).ok());
    read.map_or_else(DomainSettings::default, DomainSettings::from)
}

fn share<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let share = Option::<f64>::deserialize(deserializer)?;
    match share {
        Some(share) if !(0.0..=1.0).contains(&share) => Err(D::Error::custom(format_args!(
            "expected a share of the messages from 0 to 1, found {share}"
        ))),
        share => Ok(share),
    }
}

fn mode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<CompactionMode>, D::Error> {
    named(
        deserializer,
        CompactionMode::parse,
        &CompactionMode::ALL.map(CompactionMode::name),
    )
}

/// A value that the domain knows by its name; null is as good as absent.
pub(super) fn named<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    parse: fn(&str) -> Option<T>,
    names: &[&str],
) -> Result<Option<T>, D::Error> {
    let Some(name) = Option::<String>::deserialize(deserializer)? else {
        return Ok(None);
    };
    let unknown = || {
        D::Error::custom(format_args!(
            "unknown variant `{name}`, expected one of {}",
            names.join(", ")
        ))
    };
    parse(&name).map(Some).ok_or_else(unknown)
}

/// A field that may be null on purpose: absent is `None`, null is `Some(None)`.
pub(super) fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(deserializer).map(Some)
}

impl From<CompactionIn> for CompactionChange {
    fn from(change: CompactionIn) -> Self {
        Self {
            model: change.model,
            model_settings: change.model_settings,
            prompt: change.prompt,
            prompt_acknowledgement: change.prompt_acknowledgement,
            clip_chars: change.clip_chars,
            mode: change.mode,
            sliding_window_percentage: change.sliding_window_percentage,
        }
    }
}

/// One rule on the order of tools.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ToolRule {
    tool_name: String,
    #[serde(flatten)]
    kind: RuleKind,
    #[serde(default)]
    prompt_template: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum RuleKind {
    RunFirst {
        #[serde(default)]
        args: Option<Value>,
    },
    ExitLoop,
    ContinueLoop,
    ConstrainChildTools {
        children: Vec<String>,
        #[serde(default)]
        child_arg_nodes: Option<Vec<ChildNode>>,
    },
    ParentLastTool {
        children: Vec<String>,
    },
    Conditional {
        #[serde(deserialize_with = "names")]
        child_output_mapping: Map<String, Value>,
        #[serde(default)]
        default_child: Option<String>,
        #[serde(default)]
        require_output_mapping: bool,
    },
    MaxCountPerStep {
        max_count_limit: u64,
    },
    RequiredBeforeExit,
    RequiresApproval,
}

/// A map to the names of tools, in the order it was written in.
fn names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Map<String, Value>, D::Error> {
    let map = Map::<String, Value>::deserialize(deserializer)?;
    match map.iter().find(|(_, name)| !name.is_string()) {
        Some((output, name)) => Err(D::Error::custom(format_args!(
            "child_output_mapping: the tool of '{output}' has to be a name and is {name}"
        ))),
        None => Ok(map),
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct ChildNode {
    name: String,
    #[serde(default)]
    args: Option<Value>,
}

impl From<ToolRule> for DomainRule {
    fn from(rule: ToolRule) -> Self {
        let kind = match rule.kind {
            RuleKind::RunFirst { args } => ToolRuleKind::RunFirst { args },
            RuleKind::ExitLoop => ToolRuleKind::ExitLoop,
            RuleKind::ContinueLoop => ToolRuleKind::ContinueLoop,
            RuleKind::ConstrainChildTools {
                children,
                child_arg_nodes,
            } => {
                let node = |node: ChildNode| ChildArgs {
                    name: node.name,
                    args: node.args,
                };
                ToolRuleKind::ConstrainChildTools {
                    children,
                    child_arg_nodes: child_arg_nodes
                        .map(|nodes| nodes.into_iter().map(node).collect()),
                }
            }
            RuleKind::ParentLastTool { children } => ToolRuleKind::ParentLastTool { children },
            RuleKind::Conditional {
                child_output_mapping,
                default_child,
                require_output_mapping,
            } => {
                let tool = |value: Value| {
                    value
                        .as_str()
                        .map_or_else(|| value.to_string(), str::to_owned)
                };
                let child_output_mapping = child_output_mapping
                    .into_iter()
                    .map(|(output, child)| (output, tool(child)))
                    .collect();
                ToolRuleKind::Conditional {
                    child_output_mapping,
                    default_child,
                    require_output_mapping,
                }
            }
            RuleKind::MaxCountPerStep { max_count_limit } => {
                ToolRuleKind::MaxCountPerStep { max_count_limit }
            }
            RuleKind::RequiredBeforeExit => ToolRuleKind::RequiredBeforeExit,
            RuleKind::RequiresApproval => ToolRuleKind::RequiresApproval,
        };
        Self {
            tool_name: rule.tool_name,
            prompt_template: rule.prompt_template,
            kind,
        }
    }
}

impl From<&DomainRule> for ToolRule {
    fn from(rule: &DomainRule) -> Self {
        let kind = match rule.kind.clone() {
            ToolRuleKind::RunFirst { args } => RuleKind::RunFirst { args },
            ToolRuleKind::ExitLoop => RuleKind::ExitLoop,
            ToolRuleKind::ContinueLoop => RuleKind::ContinueLoop,
            ToolRuleKind::ConstrainChildTools {
                children,
                child_arg_nodes,
            } => {
                let node = |node: ChildArgs| ChildNode {
                    name: node.name,
                    args: node.args,
                };
                RuleKind::ConstrainChildTools {
                    children,
                    child_arg_nodes: child_arg_nodes
                        .map(|nodes| nodes.into_iter().map(node).collect()),
                }
            }
            ToolRuleKind::ParentLastTool { children } => RuleKind::ParentLastTool { children },
            ToolRuleKind::Conditional {
                child_output_mapping,
                default_child,
                require_output_mapping,
            } => {
                let child_output_mapping = child_output_mapping
                    .into_iter()
                    .map(|(output, child)| (output, Value::from(child)))
                    .collect();
                RuleKind::Conditional {
                    child_output_mapping,
                    default_child,
                    require_output_mapping,
                }
            }
            ToolRuleKind::MaxCountPerStep { max_count_limit } => {
                RuleKind::MaxCountPerStep { max_count_limit }
            }
            ToolRuleKind::RequiredBeforeExit => RuleKind::RequiredBeforeExit,
            ToolRuleKind::RequiresApproval => RuleKind::RequiresApproval,
        };
        Self {
            tool_name: rule.tool_name.clone(),
            kind,
            prompt_template: rule.prompt_template.clone(),
        }
    }
}

/// An item of `GET /v1/models/`: the configuration and what the lists add to it.
pub fn model(info: &ModelInfo) -> Value {
    let mut item = serde_json::to_value(LlmConfig::from(&info.config)).unwrap_or_default();
    if let Some(item) = item.as_object_mut() {
        let name = info
            .config
            .display_name
            .clone()
            .unwrap_or_else(|| info.config.model.clone());
        item.insert("name".to_owned(), json!(info.config.model));
        item.insert("display_name".to_owned(), json!(name));
        item.insert("provider_type".to_owned(), json!(info.provider_type));
        item.insert("model_type".to_owned(), json!("llm"));
        item.insert(
            "max_context_window".to_owned(),
            json!(info.max_context_window),
        );
    }
    item
}

/// An item of `GET /v1/models/embedding`.
pub fn embedding_model(info: &EmbeddingInfo) -> Value {
    let mut item = serde_json::to_value(EmbeddingConfig::from(&info.config)).unwrap_or_default();
    if let Some(item) = item.as_object_mut() {
        item.insert("name".to_owned(), json!(info.config.embedding_model));
        item.insert(
            "display_name".to_owned(),
            json!(info.config.embedding_model),
        );
        item.insert("provider_type".to_owned(), json!(info.provider_type));
        item.insert("provider_name".to_owned(), json!(info.provider_name));
        item.insert("model_type".to_owned(), json!("embedding"));
    }
    item
}

#[cfg(test)]
mod tests;
