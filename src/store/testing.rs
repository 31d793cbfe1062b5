//! A store in a temporary folder, and one of everything to put into it, each field with something in it.

use super::engine::faults::Plan;
use super::engine::sled::SledEngine;
use super::engine::{Engine, Opener};
use super::{Batch, DATABASE, Durability, OpenReport, Store, StoreConfig, StoreError};
use crate::domain::agent::{Agent, AgentType, CompactionMode, CompactionSettings, Secret};
use crate::domain::block::Block;
use crate::domain::clock;
use crate::domain::conversation::{Conversation, SentSettings};
use crate::domain::history::{Compiled, Head, Window};
use crate::domain::id::{
    AgentId, BlockId, ConversationId, IdentityId, MessageId, ProviderId, RunId, SecretId, StepId,
    ToolId, UserId,
};
use crate::domain::message::{
    Approval, Image, Message, Part, Role, ToolCall, ToolOutput, ToolReturn, ToolStatus,
};
use crate::domain::model::{
    EmbeddingConfig, LlmConfig, ModelErrorClass, ModelSettings, ResponseFormat, ToolSchema, Usage,
};
use crate::domain::provider::{Provider, ProviderKey, ProviderType};
use crate::domain::run::{
    Answers, Callback, ErrorClass, Feedback, Inbox, Input, InputRole, LaneId, Phase, Progress, Run,
    RunError, RunOptions, RunStatus, Step, StepStatus, StepTiming, StopReason, StreamMode, Task,
    View,
};
use crate::domain::skill::ClientSkill;
use crate::domain::token_data::TokenWish;
use crate::domain::tool::{
    ChildArgs, Requirement, SourceType, Tool, ToolRule, ToolRuleKind, ToolType,
};
use jiff::Timestamp;
use serde_json::json;
use std::ops::Deref;
use std::path::Path;

/// A store whose folder goes with it.
pub struct TestStore {
    pub(super) store: Store,
    dir: tempfile::TempDir,
}

impl Deref for TestStore {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

/// An empty store.
pub fn store() -> TestStore {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(config(dir.path())).unwrap();
    TestStore { store, dir }
}

/// The settings of the stores here.
pub fn config(path: &Path) -> StoreConfig {
    StoreConfig {
        path: path.to_owned(),
        durability: Durability::Sync,
        cache_bytes: 16 << 20,
        reserve_bytes: 1 << 20,
        master_key: [7; 32],
    }
}

impl TestStore {
    /// A store whose engine has the faults of `plan`.
    pub(super) fn with_faults(plan: &Plan) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let (path, cache, plan) = (config.path.join(DATABASE), config.cache_bytes, plan.share());
        let opener: Opener = Box::new(move || {
            Ok(Box::new(plan.wrap(SledEngine::open(&path, cache)?)) as Box<dyn Engine>)
        });
        let (store, _) = Store::open_with(config, opener).unwrap();
        Self { store, dir }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Closes the store and opens it again.
    pub async fn reopened(self) -> (Self, OpenReport) {
        self.store.close().await.unwrap();
        let (store, report) = Store::open(config(self.dir.path())).unwrap();
        (
            Self {
                store,
                dir: self.dir,
            },
            report,
        )
    }

    /// What opening the folder once more says.
    pub fn open_again(&self) -> Result<(Store, OpenReport), StoreError> {
        Store::open(config(self.dir.path()))
    }

    /// Commits what `fill` puts into a batch of nobody in particular.
    pub async fn write(&self, fill: impl FnOnce(&mut Batch)) {
        let mut batch = Batch::shared();
        fill(&mut batch);
        self.commit(batch).await.unwrap();
    }
}

/// A fixed time, for values that must not change from run to run.
fn time(second: i64) -> Timestamp {
    clock::from_micros(1_790_000_000_000_000 + second * 1_000_000 + 123_456)
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

pub fn secret(key: &str, value: &str) -> Secret {
    Secret {
        id: SecretId::from_bytes([9; 16]),
        key: key.to_owned(),
        value: value.to_owned(),
        created_at: time(1),
    }
}

pub fn llm_config() -> LlmConfig {
    LlmConfig {
        model: "gpt-4o-mini".to_owned(),
        display_name: text("mini"),
        model_endpoint_type: "openai".to_owned(),
        model_endpoint: text("http://127.0.0.1/v1"),
        provider_name: text("openai"),
        provider_category: text("base"),
        model_wrapper: None,
        context_window: 128_000,
        put_inner_thoughts_in_kwargs: Some(false),
        handle: text("openai/gpt-4o-mini"),
        temperature: 0.7,
        max_tokens: Some(4_096),
        enable_reasoner: true,
        reasoning_effort: text("low"),
        max_reasoning_tokens: 1_024,
        effort: None,
        frequency_penalty: Some(0.1),
        compatibility_type: text("gguf"),
        verbosity: text("low"),
        tier: text("free"),
        parallel_tool_calls: Some(true),
        response_format: Some(ResponseFormat::JsonSchema(
            json!({"type": "object", "x": [1, 2.5, null]}),
        )),
        strict: true,
        return_logprobs: false,
        top_logprobs: Some(3),
        return_token_ids: true,
        tool_call_parser: text("none"),
    }
}

/// An agent with a fresh id, created now.
pub fn agent() -> Agent {
    Agent {
        id: AgentId::new(),
        created_at: clock::now(),
        ..fixed_agent()
    }
}

pub(super) fn fixed_agent() -> Agent {
    let rule = |kind| ToolRule {
        tool_name: "archive".to_owned(),
        prompt_template: text("{{ x }}"),
        kind,
    };
    Agent {
        id: AgentId::from_bytes([1; 16]),
        name: "Ada".to_owned(),
        agent_type: AgentType::LettaV1Agent,
        system: "Be brief.".to_owned(),
        description: text("an agent"),
        metadata: Some(json!({"b": 1, "a": {"c": [true]}})),
        tags: vec!["a".to_owned(), "b".to_owned()],
        llm_config: llm_config(),
        embedding_config: Some(EmbeddingConfig {
            embedding_endpoint_type: "openai".to_owned(),
            embedding_endpoint: text("http://127.0.0.1/v1"),
            embedding_model: "small".to_owned(),
            embedding_dim: 384,
            embedding_chunk_size: Some(300),
            handle: text("openai/small"),
            batch_size: 32,
            azure_endpoint: None,
            azure_version: None,
            azure_deployment: None,
        }),
        compaction: CompactionSettings {
            model: text("openai/gpt-4o-mini"),
            model_settings: Some(json!({"temperature": 0.1})),
            prompt: text("Sum up."),
            prompt_acknowledgement: true,
            clip_chars: Some(50_000),
            mode: CompactionMode::SlidingWindow,
            sliding_window_percentage: 0.3,
        },
        response_format: Some(ResponseFormat::JsonObject),
        tool_rules: vec![
            rule(ToolRuleKind::RunFirst {
                args: Some(json!({"q": 1})),
            }),
            rule(ToolRuleKind::ExitLoop),
            rule(ToolRuleKind::ConstrainChildTools {
                children: vec!["x".to_owned()],
                child_arg_nodes: Some(vec![ChildArgs {
                    name: "x".to_owned(),
                    args: Some(json!({})),
                }]),
            }),
            rule(ToolRuleKind::Conditional {
                child_output_mapping: vec![("yes".to_owned(), "x".to_owned())],
                default_child: text("y"),
                require_output_mapping: true,
            }),
            rule(ToolRuleKind::MaxCountPerStep { max_count_limit: 2 }),
            rule(ToolRuleKind::RequiresApproval),
        ],
        tools: vec![ToolId::from_bytes([2; 16])],
        secrets: Vec::new(),
        identities: vec![IdentityId::from_bytes([3; 16])],
        timezone: "Europe/Paris".to_owned(),
        hidden: Some(false),
        message_buffer_autoclear: true,
        enable_sleeptime: Some(false),
        max_files_open: Some(5),
        per_file_view_window_char_limit: Some(15_000),
        project_id: text("p"),
        template_id: text("t"),
        base_template_id: text("b"),
        deployment_id: text("d"),
        entity_id: text("e"),
        created_by: UserId::DEFAULT,
        updated_by: UserId::DEFAULT,
        created_at: time(0),
        updated_at: time(5),
        prompt_revision: 3,
    }
}

pub fn head() -> Head {
    let mut window = Window::default();
    window.replace([0, 1, 2, 5]);
    Head {
        next_sequence: 6,
        next_acceptance: 2,
        stored_messages: 4,
        default_lane: window,
        compiled: Compiled {
            blocks: vec![(BlockId::from_bytes([4; 16]), 7)],
            prompt_revision: 3,
        },
        last_created_at: time(9),
        last_run_completion: Some(time(10)),
        last_run_duration_ms: Some(1_500),
        last_stop_reason: Some(StopReason::EndTurn),
    }
}

fn ended() -> ToolReturn {
    ToolReturn {
        tool_call_id: "call_1".to_owned(),
        status: ToolStatus::Success,
        output: ToolOutput::Packed(r#"{"status":"OK","message":"4"}"#.to_owned()),
        stdout: Some(vec!["out".to_owned()]),
        stderr: Some(Vec::new()),
    }
}

/// A user's message of this agent at this sequence.
pub fn message(agent: AgentId, sequence: u64, said: &str) -> Message {
    let mut message = Message::new(agent, Role::User, clock::now());
    message.sequence = sequence;
    message.content = vec![Part::of_text(said)];
    message
}

pub(super) fn fixed_message() -> Message {
    let parts = vec![
        Part::Text {
            text: "four".to_owned(),
            signature: text("s"),
        },
        Part::Image(Image::Url {
            url: "https://example.org/x.png".to_owned(),
        }),
        Part::Image(Image::Stored {
            file_id: text("f"),
            media_type: text("image/png"),
            data: text("AA=="),
            detail: text("low"),
        }),
        Part::Reasoning {
            native: true,
            reasoning: "2+2".to_owned(),
            signature: None,
        },
        Part::RedactedReasoning {
            data: "zz".to_owned(),
        },
        Part::OmittedReasoning {
            signature: text("s"),
        },
        Part::SummarizedReasoning {
            id: "rs".to_owned(),
            summary: vec!["sum".to_owned()],
            encrypted_content: text("e"),
        },
    ];
    let of_parts = ToolReturn {
        status: ToolStatus::Error,
        output: ToolOutput::Parts(parts.clone()),
        stdout: None,
        stderr: None,
        ..ended()
    };
    Message {
        id: MessageId::from_bytes([5; 16]),
        agent_id: AgentId::from_bytes([1; 16]),
        sequence: 300,
        role: Role::Assistant,
        content: parts,
        name: text("Ada"),
        tool_calls: vec![ToolCall {
            id: "call_1".to_owned(),
            name: "add".to_owned(),
            arguments: r#"{"a": 2}"#.to_owned(),
        }],
        tool_returns: vec![ended(), of_parts],
        approvals: vec![
            Approval::Decision {
                tool_call_id: "call_1".to_owned(),
                approve: false,
                reason: text("no"),
            },
            Approval::Return(ended()),
        ],
        model: text("gpt-4o-mini"),
        otid: text("otid"),
        sender_id: text("sender"),
        group_id: text("group"),
        batch_item_id: text("batch"),
        step_id: Some(StepId::from_bytes([6; 16])),
        run_id: Some(RunId::from_bytes([7; 16])),
        conversation_id: Some(ConversationId::from_bytes([8; 16])),
        is_err: true,
        created_at: time(2),
        updated_at: time(3),
        call_places: vec![1],
    }
}

fn usage() -> Usage {
    Usage {
        prompt_tokens: 100,
        completion_tokens: 20,
        total_tokens: 120,
        cached_input_tokens: Some(64),
        cache_write_tokens: None,
        reasoning_tokens: Some(5),
    }
}

fn run_error() -> RunError {
    RunError {
        class: ErrorClass::Model(ModelErrorClass::RateLimit),
        detail: "slow down".to_owned(),
    }
}

/// A running run of this agent, accepted now.
pub fn run(agent: AgentId) -> Run {
    Run {
        id: RunId::new(),
        agent_id: agent,
        status: RunStatus::Running,
        created_at: clock::now(),
        ..fixed_run()
    }
}

pub(super) fn fixed_run() -> Run {
    Run {
        id: RunId::from_bytes([7; 16]),
        agent_id: AgentId::from_bytes([1; 16]),
        conversation_id: Some(ConversationId::from_bytes([8; 16])),
        status: RunStatus::Failed,
        stop_reason: Some(StopReason::LlmApiError),
        background: true,
        metadata: json!({"run_type": "send_message", "n": 1.5}),
        view: View {
            include_return_message_types: Some(vec!["user_message".to_owned()]),
            ..View::default()
        },
        created_at: time(1),
        completed_at: Some(time(4)),
        callback: Some(Callback {
            url: "https://example.org/done".to_owned(),
            sent_at: Some(time(5)),
            status_code: Some(204),
            error: text("none"),
        }),
        ttft_ns: Some(1_000_000),
        total_duration_ns: Some(3_000_000_000),
        error: Some(run_error()),
        usage: usage(),
        steps: 2,
        context_tokens: Some(900),
        tools_used: vec![ToolId::from_bytes([2; 16])],
        otids: vec!["otid".to_owned()],
        body_hash: [11; 32],
        delivered: true,
    }
}

pub fn inbox(run: RunId, accepted: u64) -> Inbox {
    Inbox {
        run_id: run,
        accepted,
        ..fixed_inbox()
    }
}

pub(super) fn fixed_inbox() -> Inbox {
    Inbox {
        run_id: RunId::from_bytes([7; 16]),
        lane: LaneId::Conversation(ConversationId::from_bytes([8; 16])),
        task: Task::Compact(Box::new(fixed_agent().compaction)),
        accepted: 1,
        answer: Some(Answers {
            approvals: vec![Approval::Decision {
                tool_call_id: "call_1".to_owned(),
                approve: true,
                reason: None,
            }],
            otid: text("answer"),
        }),
        inputs: vec![Input {
            role: InputRole::User,
            content: vec![Part::of_text("hello")],
            name: text("Bo"),
            otid: text("otid"),
            sender_id: None,
            group_id: None,
            batch_item_id: None,
        }],
        input_ids: vec![MessageId::from_bytes([5; 16])],
        client_tools: vec![ToolSchema {
            name: "look".to_owned(),
            description: "Looks.".to_owned(),
            parameters: json!({"type": "object", "properties": {}}),
        }],
        options: RunOptions {
            max_steps: 50,
            view: View::default(),
            stream: StreamMode::Tokens,
            include_compaction_messages: true,
            override_model: Some(llm_config()),
            override_system: text("Be long."),
            client_skills: vec![ClientSkill {
                name: "tea".to_owned(),
                description: "Makes tea.".to_owned(),
                location: "/skills/tea.md".to_owned(),
            }],
            tokens: TokenWish {
                logprobs: true,
                top_logprobs: Some(2),
                token_ids: true,
            },
        },
        resume: true,
        progress: Progress {
            committed_steps: 3,
            phase: Phase::Tools {
                step_id: StepId::from_bytes([6; 16]),
                assistant: Box::new(Message {
                    call_places: Vec::new(),
                    ..fixed_message()
                }),
                started: vec!["call_1".to_owned()],
                finished: vec![ended()],
            },
        },
        recoveries: 1,
    }
}

/// An empty conversation of this agent, made now.
pub fn conversation(agent: AgentId) -> Conversation {
    Conversation {
        id: ConversationId::new(),
        agent_id: agent,
        window: Window::default(),
        created_at: clock::now(),
        ..fixed_conversation()
    }
}

pub(super) fn fixed_conversation() -> Conversation {
    let mut window = Window::default();
    [12, 3, 4].into_iter().for_each(|at| window.append(at));
    Conversation {
        id: ConversationId::from_bytes([8; 16]),
        agent_id: AgentId::from_bytes([1; 16]),
        summary: text("about tea"),
        llm_config: Some(llm_config()),
        model_settings: Some(SentSettings {
            sent: json!({"provider_type": "openai", "temperature": 0.1}),
            read: ModelSettings {
                max_output_tokens: Some(7),
                parallel_tool_calls: Some(true),
                temperature: Some(0.1),
                reasoning_effort: text("low"),
                enable_reasoner: Some(false),
                max_reasoning_tokens: Some(8),
                effort: text("high"),
                verbosity: text("low"),
                response_format: Some(ResponseFormat::JsonObject),
                strict: Some(true),
                tool_call_parser: text("hermes"),
            },
        }),
        isolated_blocks: vec![BlockId::from_bytes([4; 16])],
        window,
        last_message_at: Some(time(3)),
        last_run_completion: Some(time(4)),
        created_by: UserId::DEFAULT,
        updated_by: UserId::from_bytes([3; 16]),
        created_at: time(0),
        updated_at: time(1),
    }
}

/// Step `number` of a run, begun now.
pub fn step(run: &Run, number: u64) -> Step {
    Step {
        id: StepId::new(),
        agent_id: run.agent_id,
        run_id: Some(run.id),
        number,
        created_at: clock::now(),
        ..fixed_step()
    }
}

pub(super) fn fixed_step() -> Step {
    Step {
        id: StepId::from_bytes([6; 16]),
        agent_id: AgentId::from_bytes([1; 16]),
        run_id: Some(RunId::from_bytes([7; 16])),
        number: 1,
        status: StepStatus::Failed,
        provider_id: Some(ProviderId::from_bytes([8; 16])),
        provider_name: text("openai"),
        provider_category: text("base"),
        model: text("gpt-4o-mini"),
        model_handle: text("openai/gpt-4o-mini"),
        model_endpoint: text("http://127.0.0.1/v1"),
        context_window_limit: Some(128_000),
        usage: usage(),
        stop_reason: Some(StopReason::Error),
        error: Some(run_error()),
        tags: vec!["t".to_owned()],
        tid: text("tid"),
        trace_id: text("trace"),
        request_id: text("request"),
        feedback: Some(Feedback::Negative),
        project_id: text("p"),
        created_at: time(2),
        timing: StepTiming {
            step_start_ns: Some(1),
            llm_request_start_ns: Some(-2),
            llm_request_ns: Some(3),
            tool_execution_ns: Some(4),
            step_ns: None,
        },
    }
}

/// The first version of a block with this label.
pub fn block(label: &str) -> Block {
    Block {
        id: BlockId::new(),
        label: label.to_owned(),
        version: 1,
        created_at: clock::now(),
        ..fixed_block()
    }
}

pub(super) fn fixed_block() -> Block {
    Block {
        id: BlockId::from_bytes([4; 16]),
        label: "human".to_owned(),
        value: "Likes größe.".to_owned(),
        limit: 5_000,
        description: text("about the user"),
        read_only: true,
        hidden: Some(true),
        metadata: json!({"a": [1, {"b": null}]}),
        tags: vec!["x".to_owned()],
        is_template: true,
        template_name: text("n"),
        template_id: text("t"),
        base_template_id: text("b"),
        deployment_id: text("d"),
        entity_id: text("e"),
        preserve_on_migration: Some(false),
        project_id: text("p"),
        created_by: Some(UserId::DEFAULT),
        updated_by: None,
        created_at: time(0),
        updated_at: time(1),
        version: 7,
    }
}

/// The first version of a provider with this name.
pub fn provider(name: &str) -> Provider {
    Provider {
        id: ProviderId::new(),
        name: name.to_owned(),
        version: 1,
        ..fixed_provider()
    }
}

pub(super) fn fixed_provider() -> Provider {
    Provider {
        id: ProviderId::from_bytes([9; 16]),
        name: "mine".to_owned(),
        provider_type: ProviderType::named("azure").unwrap(),
        key: ProviderKey::new("sk-swordfish"),
        access_key: Some(ProviderKey::new("AKIASWORDFISH")),
        base_url: text("https://mine.example.org"),
        region: text("eu"),
        api_version: text("2024-10-21"),
        created_by: UserId::DEFAULT,
        created_at: time(0),
        updated_at: time(1),
        last_synced: Some(time(2)),
        version: 7,
    }
}

pub(super) fn fixed_tool() -> Tool {
    let at = clock::from_micros(1_790_000_000_000_000);
    let requirement = |version: Option<&str>| Requirement {
        name: "requests".to_owned(),
        version: version.map(str::to_owned),
    };
    Tool {
        id: ToolId::from_bytes([10; 16]),
        name: "add".to_owned(),
        tool_type: ToolType::Custom,
        description: "Adds two numbers.".to_owned(),
        source_type: SourceType::Python,
        source_code: Some("def add(): ...".to_owned()),
        tags: vec!["math".to_owned()],
        json_schema: json!({"name": "add", "parameters": {"type": "object"}}),
        args_json_schema: Some(json!({"type": "object"})),
        pip_requirements: Some(vec![requirement(Some("2.32.0")), requirement(None)]),
        npm_requirements: None,
        return_char_limit: 50_000,
        default_requires_approval: Some(true),
        enable_parallel_execution: true,
        created_by: Some(UserId::DEFAULT),
        updated_by: None,
        metadata: json!({"a": 1}),
        project_id: Some("p".to_owned()),
        created_at: at,
        updated_at: at,
        version: 1,
    }
}
