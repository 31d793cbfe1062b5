//! Runs, their answers and their callback as JSON.

use super::message::Message;
use super::stream::{StopReason, UsageStatistics};
use crate::domain::model::Usage as Tokens;
use crate::domain::piece::Piece;
use crate::domain::run::{Run as Domain, StopReason as Reason, View};
use crate::domain::token_data::{self, Speaker, TokenReport};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A run as it is listed.
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
            stop_reason: run.stop_reason.map(Reason::name),
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
    stop_reason: StopReason,
    usage: UsageStatistics,
    logprobs: Option<Value>,
    turns: Option<Vec<TokenTurn>>,
}

/// An answer with its tokens, or what a tool returned.
#[derive(Debug, Serialize)]
struct TokenTurn {
    role: &'static str,
    output_ids: Option<Vec<u64>>,
    /// Of each token: its log probability, its id if that is known, its text.
    output_token_logprobs: Option<Vec<Value>>,
    content: String,
    tool_name: Option<String>,
}

impl From<token_data::TokenTurn> for TokenTurn {
    fn from(turn: token_data::TokenTurn) -> Self {
        let content = turn.content;
        match turn.speaker {
            Speaker::Tool(tool_name) => Self {
                role: "tool",
                output_ids: None,
                output_token_logprobs: None,
                content,
                tool_name,
            },
            Speaker::Model(data) => Self {
                role: "assistant",
                output_token_logprobs: data.logprobs.as_ref().and_then(|logprobs| {
                    let tokens = logprobs.get("content")?.as_array()?;
                    let ids = data.ids.iter().map(Some).chain(std::iter::repeat(None));
                    let triple = |(token, id): (&Value, Option<&u64>)| {
                        json!([token["logprob"], id, token["token"]])
                    };
                    Some(tokens.iter().zip(ids).map(triple).collect())
                }),
                output_ids: Some(data.ids),
                content,
                tool_name: None,
            },
        }
    }
}

impl LettaResponse {
    /// `run` has ended.
    pub fn new(run: &Domain, pieces: Vec<Piece>, tokens: TokenReport) -> Self {
        let turns = tokens.turns.into_iter().map(TokenTurn::from);
        let turns: Vec<TokenTurn> = turns.collect();
        Self {
            messages: pieces.into_iter().map(Message::from).collect(),
            stop_reason: run.stop_reason.unwrap_or(Reason::Error).into(),
            usage: UsageStatistics::new(run.usage, run.steps, run.context_tokens),
            logprobs: tokens.logprobs,
            turns: Some(turns).filter(|turns| !turns.is_empty()),
        }
    }
}

/// What is posted to a run's callback address (runs-and-streaming §2).
#[derive(Serialize)]
struct Callback<'a> {
    run_id: String,
    status: &'static str,
    completed_at: Option<String>,
    metadata: CallbackMetadata<'a>,
}

#[derive(Serialize)]
struct CallbackMetadata<'a> {
    #[serde(flatten)]
    run: &'a Value,
    result: LettaResponse,
}

/// The body of a run's callback; `pieces` are those of `GET …/runs/{id}/messages`.
pub fn callback(run: &Domain, pieces: Vec<Piece>) -> String {
    let body = Callback {
        run_id: run.id.to_string(),
        status: run.status.name(),
        completed_at: run.completed_at.map(super::time),
        metadata: CallbackMetadata {
            run: &run.metadata,
            result: LettaResponse::new(run, pieces, TokenReport::default()),
        },
    };
    serde_json::to_string(&body).expect("the metadata of a run is an object, and all keys are text")
}

/// Tokens of the input in OpenAI's form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct PromptDetails {
    cached_tokens: Option<u64>,
    cache_read_tokens: Option<u64>,
    cache_creation_tokens: Option<u64>,
}

/// Tokens of the output in OpenAI's form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct CompletionDetails {
    reasoning_tokens: u64,
}

impl PromptDetails {
    /// `None` when the provider said nothing about its cache.
    pub(super) fn of(usage: &Tokens) -> Option<Self> {
        let (read, created) = (usage.cached_input_tokens, usage.cache_write_tokens);
        let said = read.is_some() || created.is_some();
        said.then_some(Self {
            cached_tokens: read,
            cache_read_tokens: read,
            cache_creation_tokens: created,
        })
    }
}

impl CompletionDetails {
    pub(super) fn of(usage: &Tokens) -> Option<Self> {
        usage
            .reasoning_tokens
            .map(|reasoning_tokens| Self { reasoning_tokens })
    }
}

/// `GET …/runs/{id}/usage`: nested as OpenAI does, and the flat fields that newer clients read.
#[derive(Debug, Serialize)]
pub struct Usage {
    completion_tokens: u64,
    prompt_tokens: u64,
    total_tokens: u64,
    prompt_tokens_details: Option<PromptDetails>,
    completion_tokens_details: Option<CompletionDetails>,
    step_count: u64,
    cached_input_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
    reasoning_tokens: Option<u64>,
    context_tokens: Option<u64>,
}

impl From<&Domain> for Usage {
    fn from(run: &Domain) -> Self {
        let usage = run.usage;
        Self {
            completion_tokens: usage.completion_tokens,
            prompt_tokens: usage.prompt_tokens,
            total_tokens: usage.total_tokens,
            prompt_tokens_details: PromptDetails::of(&usage),
            completion_tokens_details: CompletionDetails::of(&usage),
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

/// Which runs a cancel names; none are all that are active.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct CancelRuns {
    pub run_ids: Option<Vec<String>>,
}

/// From where a stream is read again. Readers are told of news, so how often to look is not asked.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RetrieveStream {
    /// Whose default thread, where the conversation is `default`.
    pub agent_id: Option<String>,
    pub run_id: Option<String>,
    pub otid: Option<String>,
    /// Number of the last frame that the client has.
    pub starting_after: Option<u64>,
    pub include_pings: Option<bool>,
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::domain::id::{AgentId, RunId};
    use crate::domain::run::{Callback as CallbackState, RunStatus};

    #[test]
    fn turns_tell_each_token_with_its_probability_and_id() {
        let turn = |speaker| token_data::TokenTurn {
            content: "a b".to_owned(),
            speaker,
        };
        let logprobs =
            json!({"content": [{"token": "a ", "logprob": -0.5}, {"token": "b", "logprob": -1}]});
        let data = token_data::TokenData {
            logprobs: Some(logprobs.clone()),
            ids: vec![7],
        };
        let report = TokenReport {
            logprobs: Some(logprobs),
            turns: vec![
                turn(Speaker::Model(data)),
                turn(Speaker::Tool(Some("look".to_owned()))),
            ],
        };
        let answer = serde_json::to_value(LettaResponse::new(&run(), Vec::new(), report)).unwrap();
        let expected = json!([
            {"role": "assistant", "output_ids": [7], "output_token_logprobs": [[-0.5, 7, "a "], [-1, null, "b"]], "content": "a b", "tool_name": null},
            {"role": "tool", "output_ids": null, "output_token_logprobs": null, "content": "a b", "tool_name": "look"},
        ]);
        assert_eq!(answer["turns"], expected);
    }

    pub(in crate::wire) fn run() -> Domain {
        Domain {
            id: "run-740506fc-285e-483b-a61e-59767dd2b0d2"
                .parse::<RunId>()
                .unwrap(),
            agent_id: "agent-4848cdce-de44-4e9b-bc2a-99db02512a5b"
                .parse::<AgentId>()
                .unwrap(),
            conversation_id: None,
            status: RunStatus::Completed,
            stop_reason: Some(Reason::EndTurn),
            background: true,
            metadata: json!({"run_type": "send_message_async"}),
            view: View::default(),
            created_at: "2026-11-22T09:55:35.409123Z".parse().unwrap(),
            completed_at: Some("2026-11-22T09:55:40.23825Z".parse().unwrap()),
            callback: Some(CallbackState {
                url: "https://example.org/".to_owned(),
                sent_at: None,
                status_code: None,
                error: None,
            }),
            ttft_ns: None,
            total_duration_ns: Some(5_763_219_712),
            error: None,
            usage: Tokens {
                prompt_tokens: 8364,
                completion_tokens: 12,
                total_tokens: 8376,
                cached_input_tokens: Some(7),
                cache_write_tokens: None,
                reasoning_tokens: None,
            },
            steps: 2,
            context_tokens: Some(4237),
            tools_used: Vec::new(),
            otids: Vec::new(),
            body_hash: [0; 32],
            delivered: false,
        }
    }

    #[test]
    fn a_run_has_the_recorded_keys_and_times() {
        let expected = concat!(
            r#"{"id":"run-740506fc-285e-483b-a61e-59767dd2b0d2","status":"completed","created_at":"2026-11-22T09:55:35.409123Z","#,
            r#""completed_at":"2026-11-22T09:55:40.238250Z","agent_id":"agent-4848cdce-de44-4e9b-bc2a-99db02512a5b","conversation_id":null,"#,
            r#""base_template_id":null,"background":true,"metadata":{"run_type":"send_message_async"},"#,
            r#""request_config":{"use_assistant_message":true,"assistant_message_tool_name":"send_message","#,
            r#""assistant_message_tool_kwarg":"message","include_return_message_types":null},"stop_reason":"end_turn","#,
            r#""callback_url":"https://example.org/","callback_sent_at":null,"callback_status_code":null,"callback_error":null,"#,
            r#""ttft_ns":null,"total_duration_ns":5763219712}"#,
        );
        assert_eq!(serde_json::to_string(&Run::from(run())).unwrap(), expected);
    }

    #[test]
    fn an_answer_has_the_recorded_keys() {
        let answer = serde_json::to_value(LettaResponse::new(
            &run(),
            Vec::new(),
            TokenReport::default(),
        ))
        .unwrap();
        let keys: Vec<&str> = answer
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(
            keys,
            ["messages", "stop_reason", "usage", "logprobs", "turns"]
        );
        assert_eq!(
            answer["stop_reason"],
            json!({"message_type": "stop_reason", "stop_reason": "end_turn"})
        );
        assert_eq!(
            (
                &answer["usage"]["step_count"],
                &answer["usage"]["context_tokens"]
            ),
            (&json!(2), &json!(4237))
        );
    }

    #[test]
    fn a_callback_carries_the_answer_beside_the_metadata_of_its_run() {
        let body: Value = serde_json::from_str(&callback(&run(), Vec::new())).unwrap();
        assert_eq!(
            (&body["run_id"], &body["status"], &body["completed_at"]),
            (
                &json!("run-740506fc-285e-483b-a61e-59767dd2b0d2"),
                &json!("completed"),
                &json!("2026-11-22T09:55:40.238250Z")
            )
        );
        assert_eq!(body["metadata"]["run_type"], "send_message_async");
        assert_eq!(
            body["metadata"]["result"]["stop_reason"]["stop_reason"],
            "end_turn"
        );
    }

    #[test]
    fn usage_says_of_the_cache_what_the_provider_said() {
        let usage = serde_json::to_value(Usage::from(&run())).unwrap();
        assert_eq!(
            usage["prompt_tokens_details"],
            json!({"cached_tokens": 7, "cache_read_tokens": 7, "cache_creation_tokens": null})
        );
        assert_eq!(usage["completion_tokens_details"], Value::Null);
    }
}
