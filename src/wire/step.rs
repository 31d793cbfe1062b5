//! Steps as JSON.

use crate::domain::id::TraceId;
use crate::domain::model::Trace;
use crate::domain::run::{Feedback, Step as Domain, StopReason};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Debug, Serialize)]
pub struct Step {
    id: String,
    origin: Option<String>,
    provider_id: Option<String>,
    run_id: Option<String>,
    agent_id: String,
    provider_name: Option<String>,
    provider_category: Option<String>,
    model: Option<String>,
    model_handle: Option<String>,
    model_endpoint: Option<String>,
    context_window_limit: Option<u64>,
    completion_tokens: u64,
    prompt_tokens: u64,
    total_tokens: u64,
    cached_input_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
    reasoning_tokens: Option<u64>,
    completion_tokens_details: Option<Value>,
    prompt_tokens_details: Option<Value>,
    stop_reason: Option<&'static str>,
    tags: Vec<String>,
    tid: Option<String>,
    trace_id: Option<String>,
    request_id: Option<String>,
    messages: [Value; 0],
    feedback: Option<&'static str>,
    project_id: Option<String>,
    error_type: Option<&'static str>,
    error_data: Option<Value>,
    status: &'static str,
}

impl From<Domain> for Step {
    fn from(step: Domain) -> Self {
        let usage = step.usage;
        let cached = usage.cached_input_tokens;
        Self {
            id: step.id.to_string(),
            origin: None,
            provider_id: None,
            run_id: step.run_id.map(|id| id.to_string()),
            agent_id: step.agent_id.to_string(),
            provider_name: step.provider_name,
            provider_category: step.provider_category,
            model: step.model,
            model_handle: step.model_handle,
            model_endpoint: step.model_endpoint,
            context_window_limit: step.context_window_limit,
            completion_tokens: usage.completion_tokens,
            prompt_tokens: usage.prompt_tokens,
            total_tokens: usage.total_tokens,
            cached_input_tokens: cached,
            cache_write_tokens: usage.cache_write_tokens,
            reasoning_tokens: usage.reasoning_tokens,
            completion_tokens_details: usage.reasoning_tokens.map(|tokens| json!({"reasoning_tokens": tokens})),
            prompt_tokens_details: cached.map(|tokens| json!({"cached_tokens": tokens, "cache_read_tokens": tokens, "cache_creation_tokens": usage.cache_write_tokens})),
            stop_reason: step.stop_reason.map(StopReason::name),
            tags: step.tags,
            tid: step.tid,
            trace_id: step.trace_id,
            request_id: step.request_id,
            messages: [],
            feedback: step.feedback.map(feedback_name),
            project_id: step.project_id,
            error_type: step.error.as_ref().map(|error| error.error_type()),
            error_data: step.error.as_ref().map(|error| json!({"message": error.message(), "detail": error.detail})),
            status: step.status.name(),
        }
    }
}

fn feedback_name(feedback: Feedback) -> &'static str {
    match feedback {
        Feedback::Positive => "positive",
        Feedback::Negative => "negative",
    }
}

#[derive(Debug, Serialize)]
pub struct Metrics {
    id: String,
    provider_id: Option<String>,
    run_id: Option<String>,
    agent_id: String,
    step_start_ns: Option<i64>,
    llm_request_start_ns: Option<i64>,
    llm_request_ns: Option<u64>,
    tool_execution_ns: Option<u64>,
    step_ns: Option<u64>,
    base_template_id: Option<String>,
    template_id: Option<String>,
    project_id: Option<String>,
}

impl From<Domain> for Metrics {
    fn from(step: Domain) -> Self {
        Self {
            id: step.id.to_string(),
            provider_id: None,
            run_id: step.run_id.map(|id| id.to_string()),
            agent_id: step.agent_id.to_string(),
            step_start_ns: step.timing.step_start_ns,
            llm_request_start_ns: step.timing.llm_request_start_ns,
            llm_request_ns: step.timing.llm_request_ns,
            tool_execution_ns: step.timing.tool_execution_ns,
            step_ns: step.timing.step_ns,
            base_template_id: None,
            template_id: None,
            project_id: step.project_id,
        }
    }
}

/// What was sent to the provider and what came back, as far as it is kept.
pub fn trace(step: &Domain, trace: &Trace) -> Value {
    let json =
        |text: &str| serde_json::from_str::<Value>(text).unwrap_or_else(|_| json!({"text": text}));
    json!({
        "created_at": super::time(step.created_at),
        // One trace a step: the same id at every read.
        "id": TraceId::from_bytes(*step.id.bytes()).to_string(),
        "request_json": json(&trace.request),
        "response_json": json(&trace.response),
        "step_id": step.id.to_string(),
        "agent_id": step.agent_id.to_string(),
        "run_id": step.run_id.map(|id| id.to_string()),
        "agent_tags": null,
        "call_type": "agent_step",
        "source": null,
        "org_id": null,
        "compaction_settings": null,
        "llm_config": null,
        "billing_context": null,
        "created_by_id": null,
        "last_updated_by_id": null,
        "updated_at": super::time(step.created_at),
    })
}

/// A step as a span of its run.
pub fn span(step: &Domain) -> Value {
    json!({
        "span_id": step.id.to_string(),
        "name": "agent_step",
        "trace_id": step.run_id.map(|id| id.to_string()),
        "start_time_ns": step.timing.step_start_ns,
        "duration_ns": step.timing.step_ns,
        "status": step.status.name(),
        "attributes": {
            "model": step.model_handle,
            "llm_request_ns": step.timing.llm_request_ns,
            "tool_execution_ns": step.timing.tool_execution_ns,
        },
    })
}

#[derive(Debug, Deserialize)]
pub struct FeedbackIn {
    pub feedback: Option<FeedbackWord>,
    #[serde(default)]
    pub tags: Option<Vec<String>>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeedbackWord {
    Positive,
    Negative,
}

impl From<FeedbackWord> for Feedback {
    fn from(word: FeedbackWord) -> Self {
        match word {
            FeedbackWord::Positive => Self::Positive,
            FeedbackWord::Negative => Self::Negative,
        }
    }
}
