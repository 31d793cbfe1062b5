//! Steps, what they cost and what was said to the provider, as JSON.

use super::run::{CompletionDetails, PromptDetails};
use crate::domain::id::{OrgId, TraceId, UserId};
use crate::domain::model::Trace;
use crate::domain::run::{Feedback, Step as Domain, StopReason};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A step as it is listed.
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
    completion_tokens_details: Option<CompletionDetails>,
    prompt_tokens_details: Option<PromptDetails>,
    stop_reason: Option<&'static str>,
    tags: Vec<String>,
    tid: Option<String>,
    trace_id: Option<String>,
    request_id: Option<String>,
    /// Deprecated: always empty.
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
        Self {
            id: step.id.to_string(),
            origin: None,
            provider_id: step.provider_id.map(|id| id.to_string()),
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
            cached_input_tokens: usage.cached_input_tokens,
            cache_write_tokens: usage.cache_write_tokens,
            reasoning_tokens: usage.reasoning_tokens,
            completion_tokens_details: CompletionDetails::of(&usage),
            prompt_tokens_details: PromptDetails::of(&usage),
            stop_reason: step.stop_reason.map(StopReason::name),
            tags: step.tags,
            tid: step.tid,
            trace_id: step.trace_id,
            request_id: step.request_id,
            messages: [],
            feedback: step.feedback.map(feedback_name),
            project_id: step.project_id,
            error_type: step.error.as_ref().map(|error| error.error_type()),
            error_data: step
                .error
                .as_ref()
                .map(|error| json!({"message": error.message(), "detail": error.detail})),
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

/// `GET …/steps/{id}/metrics`.
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
            provider_id: step.provider_id.map(|id| id.to_string()),
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
#[derive(Debug, Serialize)]
pub struct ProviderTrace {
    created_by_id: String,
    last_updated_by_id: String,
    created_at: String,
    updated_at: String,
    id: String,
    request_json: Value,
    response_json: Value,
    step_id: String,
    agent_id: String,
    agent_tags: Option<Vec<String>>,
    call_type: &'static str,
    run_id: Option<String>,
    source: Option<String>,
    org_id: String,
    compaction_settings: Option<Value>,
    llm_config: Option<Value>,
    billing_context: Option<Value>,
}

impl ProviderTrace {
    pub fn new(step: &Domain, trace: &Trace) -> Self {
        let time = super::time(step.created_at);
        Self {
            created_by_id: UserId::DEFAULT.to_string(),
            last_updated_by_id: UserId::DEFAULT.to_string(),
            created_at: time.clone(),
            updated_at: time,
            // A step has one trace: the same id at every read.
            id: TraceId::from_bytes(*step.id.bytes()).to_string(),
            request_json: object(&trace.request),
            response_json: object(&trace.response),
            step_id: step.id.to_string(),
            agent_id: step.agent_id.to_string(),
            agent_tags: None,
            call_type: "agent_step",
            run_id: step.run_id.map(|id| id.to_string()),
            source: None,
            org_id: OrgId::DEFAULT.to_string(),
            compaction_settings: None,
            llm_config: None,
            billing_context: None,
        }
    }
}

/// Clients require an object; a provider that answered something else is shown word for word.
fn object(text: &str) -> Value {
    let parsed = serde_json::from_str(text).ok().filter(Value::is_object);
    parsed.unwrap_or_else(|| json!({"text": text}))
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

/// What a client thinks of a step; null takes it back.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct FeedbackIn {
    pub feedback: Option<FeedbackWord>,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::{AgentId, StepId};
    use crate::domain::model::{ModelErrorClass, Usage};
    use crate::domain::run::{ErrorClass, RunError, StepStatus, StepTiming};

    fn step() -> Domain {
        Domain {
            id: "step-d94ca867-2557-4bdd-84ae-172807b1b0d9"
                .parse::<StepId>()
                .unwrap(),
            agent_id: AgentId::new(),
            run_id: None,
            number: 1,
            status: StepStatus::Failed,
            provider_id: None,
            provider_name: Some("openai".to_owned()),
            provider_category: Some("base".to_owned()),
            model: Some("gpt-4o-mini".to_owned()),
            model_handle: Some("openai/gpt-4o-mini".to_owned()),
            model_endpoint: None,
            context_window_limit: Some(128_000),
            usage: Usage::default(),
            stop_reason: Some(StopReason::LlmApiError),
            error: Some(RunError {
                class: ErrorClass::Model(ModelErrorClass::RateLimit),
                detail: "slow down".to_owned(),
            }),
            tags: Vec::new(),
            tid: None,
            trace_id: None,
            request_id: None,
            feedback: Some(Feedback::Positive),
            project_id: None,
            created_at: "2026-11-22T09:55:39.407279Z".parse().unwrap(),
            timing: StepTiming::default(),
        }
    }

    #[test]
    fn a_step_has_the_recorded_keys_in_their_order() {
        let shown = serde_json::to_value(Step::from(step())).unwrap();
        let keys: Vec<&str> = shown
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let recorded = "id origin provider_id run_id agent_id provider_name provider_category model model_handle \
             model_endpoint context_window_limit completion_tokens prompt_tokens total_tokens cached_input_tokens \
             cache_write_tokens reasoning_tokens completion_tokens_details prompt_tokens_details stop_reason tags tid \
             trace_id request_id messages feedback project_id error_type error_data status";
        assert_eq!(keys, recorded.split_whitespace().collect::<Vec<_>>());
        assert_eq!(
            (&shown["error_type"], &shown["error_data"]["detail"]),
            (&json!("llm_rate_limit"), &json!("slow down"))
        );
        assert_eq!(
            (&shown["feedback"], &shown["status"], &shown["messages"]),
            (&json!("positive"), &json!("failed"), &json!([]))
        );
    }

    #[test]
    fn a_trace_is_an_object_whatever_the_provider_said() {
        let trace = Trace {
            request: r#"{"model":"x"}"#.to_owned(),
            response: "<html>".to_owned(),
        };
        let shown = serde_json::to_value(ProviderTrace::new(&step(), &trace)).unwrap();
        assert_eq!(
            (&shown["request_json"], &shown["response_json"]),
            (&json!({"model": "x"}), &json!({"text": "<html>"}))
        );
        assert_eq!(
            shown["id"],
            "provider_trace-d94ca867-2557-4bdd-84ae-172807b1b0d9"
        );
    }
}
