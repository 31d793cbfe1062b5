use super::*;
use crate::domain::creation;
use crate::domain::history::{Compiled, Window};
use crate::domain::id::UserId;
use crate::domain::{clock, model};

const GOLDEN: &str = include_str!("../../../tests/golden/agent_create.json");

fn golden(part: &str) -> Value {
    serde_json::from_str::<Value>(GOLDEN).unwrap()[part].clone()
}

/// The agent that the recorded request asks for, on the configuration that was recorded.
fn made() -> (Agent, Vec<Arc<DomainBlock>>) {
    let body: CreateAgent = serde_json::from_value(golden("request")).unwrap();
    let recorded: LlmConfig =
        serde_json::from_value(golden("response")["llm_config"].clone()).unwrap();
    let secrets = body
        .tool_exec_environment_variables
        .unwrap_or_default()
        .into_iter()
        .collect();
    let request = creation::CreateAgent {
        name: body.name,
        agent_type: AgentType::LettaV1Agent,
        system: None,
        description: body.description,
        metadata: body.metadata.map(Value::Object),
        tags: body.tags.unwrap_or_default(),
        llm_config: model::LlmConfig::from(recorded),
        embedding_config: None,
        context_window: None,
        max_tokens: None,
        max_reasoning_tokens: None,
        reasoning: None,
        parallel_tool_calls: None,
        model_settings: None,
        compaction: None,
        response_format: None,
        tool_names: Vec::new(),
        tool_ids: Vec::new(),
        tool_rules: None,
        include_base_tools: false,
        include_multi_agent_tools: false,
        include_base_tool_rules: Some(false),
        block_ids: Vec::new(),
        blocks: body
            .memory_blocks
            .unwrap_or_default()
            .into_iter()
            .map(Into::into)
            .collect(),
        secrets,
        identities: Vec::new(),
        initial_messages: None,
        timezone: None,
        hidden: None,
        message_buffer_autoclear: false,
        enable_sleeptime: None,
        max_files_open: None,
        per_file_view_window_char_limit: None,
        project_id: None,
        template_id: None,
        base_template_id: None,
    };
    let new = creation::create(request, &[], UserId::DEFAULT).unwrap();
    let blocks = new
        .blocks
        .into_iter()
        .map(|block| Arc::new(block.create(UserId::DEFAULT, clock::now())));
    (new.agent, blocks.collect())
}

fn shown(shown: &Shown) -> Value {
    let (agent, blocks) = made();
    let head = Head {
        next_sequence: 1,
        next_acceptance: 0,
        stored_messages: 1,
        default_lane: Window::default(),
        compiled: Compiled::default(),
        last_created_at: agent.created_at,
        last_run_completion: None,
        last_run_duration_ms: None,
        last_stop_reason: None,
    };
    state(
        &agent,
        &head,
        &[MessageId::new()],
        &blocks,
        &[],
        None,
        shown,
    )
}

fn keys(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

#[test]
fn a_state_has_the_keys_and_the_values_of_the_recorded_one() {
    let (ours, recorded) = (shown(&Shown::EVERYTHING), golden("response"));
    assert_eq!(keys(&ours), keys(&recorded));
    for same in [
        "name",
        "tool_rules",
        "agent_type",
        "llm_config",
        "model",
        "model_settings",
        "description",
        "metadata",
        "tags",
        "timezone",
        "max_files_open",
        "per_file_view_window_char_limit",
        "hidden",
        "pending_approval",
        "managed_group",
    ] {
        assert_eq!(ours[same], recorded[same], "{same}");
    }
    assert_eq!(keys(&ours["memory"]), keys(&recorded["memory"]));
    assert_eq!(keys(&ours["blocks"][0]), keys(&recorded["blocks"][0]));
    assert_eq!(
        keys(&ours["compaction_settings"]),
        keys(&recorded["compaction_settings"])
    );
    assert_eq!(
        (
            &ours["secrets"][0]["value"],
            &ours["secrets"][0]["value_enc"]
        ),
        (&json!("b"), &Value::Null)
    );
}

#[test]
fn what_is_not_shown_is_there_and_empty() {
    let state = shown(&Shown::NOTHING);
    assert_eq!(keys(&state), keys(&golden("response")));
    for empty in [
        "blocks",
        "tools",
        "tags",
        "secrets",
        "tool_exec_environment_variables",
        "sources",
        "identities",
    ] {
        assert_eq!(state[empty], json!([]), "{empty}");
    }
    assert_eq!(state["memory"]["blocks"], json!([]));
}

#[test]
fn null_leaves_a_field_alone_but_clears_max_tokens() {
    let update: UpdateAgent =
        serde_json::from_value(json!({"description": null, "max_tokens": null, "unknown": 1}))
            .unwrap();
    assert_eq!((update.description, update.max_tokens), (None, Some(None)));
    let update: UpdateAgent = serde_json::from_value(json!({})).unwrap();
    assert_eq!(update.max_tokens, None);
}

#[test]
fn an_unknown_type_and_an_empty_window_are_refused() {
    let create =
        |body: Value| serde_json::from_value::<CreateAgent>(body).map(|body| body.agent_type);
    assert_eq!(
        create(json!({"agent_type": "react_agent"})).unwrap(),
        Some(AgentType::ReactAgent)
    );
    assert!(
        create(json!({"agent_type": "robot"}))
            .unwrap_err()
            .to_string()
            .starts_with("unknown variant `robot`")
    );
    assert!(create(json!({"context_window_limit": 0})).is_err());
}
