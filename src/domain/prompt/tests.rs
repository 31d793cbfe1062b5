use super::*;
use crate::domain::agent::{CompactionMode, CompactionSettings};
use crate::domain::block::NewBlock;
use crate::domain::id::{AgentId, UserId};
use crate::domain::model::LlmConfig;
use serde_json::Value;

const COMPILED_AT: &str = "2026-11-22T09:54:50Z";
const AGENT: &str = "agent-4848cdce-de44-4e9b-bc2a-99db02512a5b";

fn agent(agent_type: AgentType, endpoint_type: &str) -> Agent {
    let time: Timestamp = COMPILED_AT.parse().unwrap();
    Agent {
        id: AGENT.parse::<AgentId>().unwrap(),
        name: "Ada".into(),
        agent_type,
        system: "Be kind.".into(),
        description: None,
        metadata: None,
        tags: Vec::new(),
        llm_config: llm_config(endpoint_type),
        embedding_config: None,
        compaction: CompactionSettings {
            model: None,
            model_settings: None,
            prompt: None,
            prompt_acknowledgement: false,
            clip_chars: None,
            mode: CompactionMode::All,
            sliding_window_percentage: 0.3,
        },
        response_format: None,
        tool_rules: Vec::new(),
        tools: Vec::new(),
        secrets: Vec::new(),
        identities: Vec::new(),
        timezone: "Europe/Paris".into(),
        hidden: None,
        message_buffer_autoclear: false,
        enable_sleeptime: None,
        max_files_open: None,
        per_file_view_window_char_limit: None,
        project_id: None,
        template_id: None,
        base_template_id: None,
        deployment_id: None,
        entity_id: None,
        created_by: UserId::DEFAULT,
        updated_by: UserId::DEFAULT,
        created_at: time,
        updated_at: time,
        prompt_revision: 1,
    }
}

fn llm_config(endpoint_type: &str) -> LlmConfig {
    LlmConfig {
        model: "m".into(),
        display_name: None,
        model_endpoint_type: endpoint_type.into(),
        model_endpoint: None,
        provider_name: None,
        provider_category: None,
        model_wrapper: None,
        context_window: 8_000,
        put_inner_thoughts_in_kwargs: None,
        handle: None,
        temperature: 1.0,
        max_tokens: None,
        enable_reasoner: false,
        reasoning_effort: None,
        max_reasoning_tokens: 0,
        effort: None,
        frequency_penalty: None,
        compatibility_type: None,
        verbosity: None,
        tier: None,
        parallel_tool_calls: None,
        response_format: None,
        strict: false,
        return_logprobs: false,
        top_logprobs: None,
        return_token_ids: false,
        tool_call_parser: None,
    }
}

fn block(label: &str, value: &str, description: Option<&str>, read_only: bool) -> Arc<Block> {
    let new = NewBlock {
        label: label.into(),
        value: value.into(),
        limit: 200,
        description: description.map(str::to_owned),
        read_only,
        hidden: None,
        metadata: Value::Null,
        tags: Vec::new(),
        is_template: false,
        template_name: None,
        template_id: None,
        base_template_id: None,
        deployment_id: None,
        entity_id: None,
        preserve_on_migration: None,
        project_id: None,
    };
    Arc::new(new.create(UserId::DEFAULT, Timestamp::UNIX_EPOCH))
}

fn some_blocks() -> Vec<Arc<Block>> {
    vec![
        block(
            "human",
            "Née à Paris\r\nLikes {CORE_MEMORY} tea",
            Some("Who I talk to"),
            false,
        ),
        block("project/notes", "", None, true),
    ]
}

fn compiled(agent: &Agent, blocks: &[Arc<Block>]) -> String {
    let compiled_at = COMPILED_AT.parse().unwrap();
    compile(&PromptInput {
        agent,
        blocks,
        conversation_id: None,
        compiled_at,
        recall_messages: 7,
    })
}

const METADATA: &str = "<memory_metadata>
- AGENT_ID: agent-4848cdce-de44-4e9b-bc2a-99db02512a5b
- CONVERSATION_ID: default
- System prompt last recompiled: 2026-11-22 10:54:50 AM CET+0100
- 7 messages of recall memory are stored and not shown here
</memory_metadata>";

#[test]
fn the_plain_form_is_appended_after_the_system_text() {
    let golden = format!(
        "Be kind.

<memory_blocks>
{BLOCKS_INTRODUCTION}

<human>
<description>
Who I talk to
</description>
<metadata>
- chars_current=36
- chars_limit=200
</metadata>
<value>
Née à Paris\r\nLikes {{CORE_MEMORY}} tea
</value>
</human>

<project/notes>
<description>

</description>
<metadata>
- read_only=true
- chars_current=0
- chars_limit=200
</metadata>
<value>

</value>
</project/notes>
</memory_blocks>

{METADATA}"
    );
    assert_eq!(
        compiled(&agent(AgentType::LettaV1Agent, "openai"), &some_blocks()),
        golden
    );
    assert_eq!(
        compiled(&agent(AgentType::MemgptAgent, "anthropic"), &some_blocks()),
        golden
    );
}

#[test]
fn anthropic_models_see_numbered_lines() {
    let golden = format!(
        "Be kind.

<memory_blocks>
{BLOCKS_INTRODUCTION}

<human>
<description>
Who I talk to
</description>
<metadata>
- chars_current=36
- chars_limit=200
</metadata>
<warning>
{LINE_NUMBERS_WARNING}
</warning>
<value>
1→ Née à Paris\r\n2→ Likes {{CORE_MEMORY}} tea
</value>
</human>

<project/notes>
<description>

</description>
<metadata>
- read_only=true
- chars_current=0
- chars_limit=200
</metadata>
<warning>
{LINE_NUMBERS_WARNING}
</warning>
<value>
</value>
</project/notes>
</memory_blocks>

{METADATA}"
    );
    assert_eq!(
        compiled(&agent(AgentType::LettaV1Agent, "anthropic"), &some_blocks()),
        golden
    );
}

#[test]
fn without_blocks_only_the_numbered_form_writes_the_wrapper() {
    let wrapper = format!("<memory_blocks>\n{BLOCKS_INTRODUCTION}\n</memory_blocks>");
    assert_eq!(
        compiled(&agent(AgentType::LettaV1Agent, "openai"), &[]),
        format!("Be kind.\n\n{METADATA}")
    );
    assert_eq!(
        compiled(&agent(AgentType::SleeptimeAgent, "anthropic"), &[]),
        format!("Be kind.\n\n{wrapper}\n\n{METADATA}")
    );
}

#[test]
fn react_and_workflow_agents_have_no_block_section() {
    for agent_type in [AgentType::ReactAgent, AgentType::WorkflowAgent] {
        assert_eq!(
            compiled(&agent(agent_type, "openai"), &some_blocks()),
            format!("Be kind.\n\n{METADATA}")
        );
    }
}

#[test]
fn the_placeholder_alone_is_special_in_the_system_text() {
    let mut agent = agent(AgentType::ReactAgent, "openai");
    agent.system = r#"{"a": {}} [{CORE_MEMORY}] {OTHER}"#.into();
    assert_eq!(
        compiled(&agent, &[]),
        format!(r#"{{"a": {{}}}} [{METADATA}] {{OTHER}}"#)
    );
}

#[test]
fn a_conversation_is_named_by_its_id() {
    let agent = agent(AgentType::LettaV1Agent, "openai");
    let id: ConversationId = "conv-4848cdce-de44-4e9b-bc2a-99db02512a5b".parse().unwrap();
    let compiled_at = COMPILED_AT.parse().unwrap();
    let text = compile(&PromptInput {
        agent: &agent,
        blocks: &[],
        conversation_id: Some(id),
        compiled_at,
        recall_messages: 0,
    });
    assert!(
        text.contains("\n- CONVERSATION_ID: conv-4848cdce-de44-4e9b-bc2a-99db02512a5b\n"),
        "{text}"
    );
}

#[test]
fn tool_rules_follow_the_blocks_in_the_order_of_their_kinds() {
    let mut agent = agent(AgentType::ReactAgent, "openai");
    let children = || vec!["b".to_owned(), "c".to_owned()];
    let kinds = [
        ToolRuleKind::RequiresApproval,
        ToolRuleKind::MaxCountPerStep { max_count_limit: 3 },
        ToolRuleKind::ExitLoop,
        ToolRuleKind::ParentLastTool {
            children: children(),
        },
        ToolRuleKind::Conditional {
            child_output_mapping: vec![("yes".into(), "b".into()), ("no".into(), "c".into())],
            default_child: Some("d".into()),
            require_output_mapping: false,
        },
        ToolRuleKind::ConstrainChildTools {
            children: children(),
            child_arg_nodes: None,
        },
        ToolRuleKind::RequiredBeforeExit,
        ToolRuleKind::RunFirst { args: None },
        ToolRuleKind::ContinueLoop,
    ];
    let rule = |kind| ToolRule {
        tool_name: "a".into(),
        prompt_template: None,
        kind,
    };
    agent.tool_rules = kinds.map(rule).into();
    let golden = format!(
        "Be kind.

<tool_usage_rules>
{RULES_INTRODUCTION}

- a does not end your turn: go on after it.
- Right after a, its output decides the next call: yes → b; no → c; anything else → d.
- Right after a, the next call is one of: b, c.
- Only right after a may you call: b, c.
- a ends your turn.
- Calls of a in one turn: at most 3.
</tool_usage_rules>

{METADATA}"
    );
    assert_eq!(compiled(&agent, &[]), golden);

    agent.tool_rules = vec![rule(ToolRuleKind::RequiresApproval)];
    assert_eq!(compiled(&agent, &[]), format!("Be kind.\n\n{METADATA}"));
}
