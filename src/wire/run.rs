//! Runs, their answers and their callback as JSON.

use super::message::Message;
use super::stream::UsageStatistics;
use crate::domain::piece::Piece;
use crate::domain::run::{Run as Domain, StopReason, View};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Debug, Serialize)]
pub struct Run {
    id: String,
    status: &'static str,
    created_at: String,
    completed_at: Option<String>,
    agent_id: String,
    conversation_id: Option<String>,
    base_template_id: Option<String>,
    background: bool,
    metadata: Value,
    request_config: RequestConfig,
    stop_reason: Option<&'static str>,
    callback_url: Option<String>,
    callback_sent_at: Option<String>,
    callback_status_code: Option<u16>,
    callback_error: Option<String>,
    ttft_ns: Option<u64>,
    total_duration_ns: Option<u64>,
}

#[derive(Debug, Serialize)]
struct RequestConfig {
    use_assistant_message: bool,
    assistant_message_tool_name: String,
    assistant_message_tool_kwarg: String,
    include_return_message_types: Option<Vec<String>>,
}

impl From<View> for RequestConfig {
    fn from(view: View) -> Self {
        Self {
            use_assistant_message: view.use_assistant_message,
            assistant_message_tool_name: view.assistant_message_tool_name,
            assistant_message_tool_kwarg: view.assistant_message_tool_kwarg,
            include_return_message_types: view.include_return_message_types,
        }
    }
}

impl From<Domain> for Run {
    fn from(run: Domain) -> Self {
        let callback = run.callback;
        Self {
            id: run.id.to_string(),
            status: run.status.name(),
            created_at: super::time(run.created_at),
            completed_at: run.completed_at.map(super::time),
            agent_id: run.agent_id.to_string(),
            conversation_id: run.conversation_id.map(|id| id.to_string()),
            base_template_id: None,
            background: run.background,
            metadata: run.metadata,
            request_config: run.view.into(),
            stop_reason: run.stop_reason.map(StopReason::name),
            callback_url: callback.as_ref().map(|callback| callback.url.clone()),
            callback_sent_at: callback
                .as_ref()
                .and_then(|callback| callback.sent_at)
                .map(super::time),
            callback_status_code: callback.as_ref().and_then(|callback| callback.status_code),
            callback_error: callback.and_then(|callback| callback.error),
            ttft_ns: run.ttft_ns,
            total_duration_ns: run.total_duration_ns,
        }
    }
}

/// The answer of a blocking send.
#[derive(Debug, Serialize)]
pub struct LettaResponse {
    messages: Vec<Message>,
    stop_reason: Value,
    usage: UsageStatistics,
    logprobs: Option<Value>,
    turns: Option<Value>,
}

impl LettaResponse {
    pub fn new(run: &Domain, pieces: Vec<Piece>) -> Self {
        let reason = run.stop_reason.unwrap_or(StopReason::Error);
        Self {
            messages: pieces.into_iter().map(Message::from).collect(),
            stop_reason: json!({"message_type": "stop_reason", "stop_reason": reason.name()}),
            usage: UsageStatistics {
                usage: run.usage,
                steps: run.steps,
                context_tokens: run.context_tokens,
            },
            logprobs: None,
            turns: None,
        }
    }
}

/// What is posted to a run's callback address (runs-and-streaming §2); `pieces` are those of `GET …/runs/{id}/messages`.
pub fn callback(run: &Domain, pieces: Vec<Piece>) -> String {
    let mut metadata = run.metadata.clone();
    if let Some(fields) = metadata.as_object_mut() {
        let result = serde_json::to_value(LettaResponse::new(run, pieces)).unwrap_or(Value::Null);
        fields.insert("result".to_owned(), result);
    }
    let completed_at = run.completed_at.map(super::time);
    json!({"run_id": run.id.to_string(), "status": run.status.name(), "completed_at": completed_at, "metadata": metadata}).to_string()
}

/// `GET …/runs/{id}/usage`: nested as OpenAI does, and the flat fields that newer clients read.
#[derive(Debug, Serialize)]
pub struct Usage {
    completion_tokens: u64,
    prompt_tokens: u64,
    total_tokens: u64,
    prompt_tokens_details: Option<Value>,
    completion_tokens_details: Option<Value>,
    step_count: u64,
    cached_input_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
    reasoning_tokens: Option<u64>,
    context_tokens: Option<u64>,
}

impl From<&Domain> for Usage {
    fn from(run: &Domain) -> Self {
        let usage = run.usage;
        let cached = usage.cached_input_tokens.is_some() || usage.cache_write_tokens.is_some();
        let read = usage.cached_input_tokens;
        let prompt = json!({"cached_tokens": read, "cache_read_tokens": read, "cache_creation_tokens": usage.cache_write_tokens});
        Self {
            completion_tokens: usage.completion_tokens,
            prompt_tokens: usage.prompt_tokens,
            total_tokens: usage.total_tokens,
            prompt_tokens_details: cached.then_some(prompt),
            completion_tokens_details: usage
                .reasoning_tokens
                .map(|tokens| json!({"reasoning_tokens": tokens})),
            step_count: run.steps,
            cached_input_tokens: usage.cached_input_tokens,
            cache_write_tokens: usage.cache_write_tokens,
            reasoning_tokens: usage.reasoning_tokens,
            context_tokens: run.context_tokens,
        }
    }
}

/// `GET …/runs/{id}/metrics`.
#[derive(Debug, Serialize)]
pub struct Metrics {
    id: String,
    agent_id: String,
    project_id: Option<String>,
    run_start_ns: i64,
    run_ns: Option<u64>,
    num_steps: u64,
    tools_used: Vec<String>,
    template_id: Option<String>,
    base_template_id: Option<String>,
}

impl From<&Domain> for Metrics {
    fn from(run: &Domain) -> Self {
        Self {
            id: run.id.to_string(),
            agent_id: run.agent_id.to_string(),
            project_id: None,
            run_start_ns: run.created_at.as_microsecond().saturating_mul(1_000),
            run_ns: run.total_duration_ns,
            num_steps: run.steps,
            tools_used: run.tools_used.iter().map(ToString::to_string).collect(),
            template_id: None,
            base_template_id: None,
        }
    }
}

/// Which runs a cancel names.
#[derive(Debug, Default, Deserialize)]
pub struct CancelRuns {
    #[serde(default)]
    pub run_ids: Option<Vec<String>>,
}

/// From where a stream is read again.
#[derive(Debug, Deserialize)]
pub struct RetrieveStream {
    #[serde(default)]
    pub starting_after: Option<u64>,
    #[serde(default)]
    pub include_pings: Option<bool>,
}
