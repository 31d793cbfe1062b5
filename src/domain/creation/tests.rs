use super::*;
use crate::domain::agent::{AgentChange, TurnLoop};
use crate::domain::model::OverBudget;
use crate::domain::tool::{SourceType, ToolType};

const KNOWN: [&str; 10] = [
    "send_message",
    "conversation_search",
    "memory_replace",
    "memory_insert",
    "core_memory_append",
    "core_memory_replace",
    "memory",
    "memory_apply_patch",
    "memory_rethink",
    "memory_finish_edits",
];

fn known() -> Vec<Arc<Tool>> {
    KNOWN
        .map(|name| Arc::new(tool(name, ToolType::Core)))
        .to_vec()
}

fn tool(name: &str, tool_type: ToolType) -> Tool {
    Tool {
        id: ToolId::new(),
        name: name.to_owned(),
        tool_type,
        description: String::new(),
        source_type: SourceType::Python,
        source_code: None,
        tags: Vec::new(),
        json_schema: Value::Null,
        args_json_schema: None,
        pip_requirements: None,
        npm_requirements: None,
        return_char_limit: 50_000,
        default_requires_approval: None,
        enable_parallel_execution: false,
        created_by: None,
        updated_by: None,
        metadata: json!({}),
        project_id: None,
        created_at: clock::now(),
        updated_at: clock::now(),
        version: 0,
    }
}

fn model(handle: &str) -> LlmConfig {
    let (provider, model) = handle.split_once('/').unwrap();
    LlmConfig {
        model: model.to_owned(),
        display_name: None,
        model_endpoint_type: provider.to_owned(),
        model_endpoint: None,
        provider_name: Some(provider.to_owned()),
        provider_category: None,
        model_wrapper: None,
        context_window: 128_000,
        put_inner_thoughts_in_kwargs: Some(true),
        handle: Some(handle.to_owned()),
        temperature: 1.0,
        max_tokens: Some(4_096),
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

fn request(agent_type: AgentType) -> CreateAgent {
    CreateAgent {
        name: None,
        agent_type,
        system: None,
        description: None,
        metadata: None,
        tags: Vec::new(),
        llm_config: model("openai/gpt-4o-mini"),
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
        include_base_tools: true,
        include_multi_agent_tools: false,
        include_base_tool_rules: None,
        block_ids: Vec::new(),
        blocks: Vec::new(),
        secrets: Vec::new(),
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
    }
}

fn made(request: CreateAgent) -> NewAgent {
    create(request, &known(), UserId::DEFAULT).unwrap()
}

fn refused(request: CreateAgent) -> BadAgent {
    create(request, &known(), UserId::DEFAULT).unwrap_err()
}

fn roles(new: &NewAgent) -> Vec<Role> {
    new.first_messages
        .iter()
        .map(|message| message.role)
        .collect()
}

fn rules(new: &NewAgent) -> Vec<(&str, &ToolRuleKind)> {
    new.agent
        .tool_rules
        .iter()
        .map(|rule| (rule.tool_name.as_str(), &rule.kind))
        .collect()
}

#[test]
fn an_agent_that_asks_for_nothing_is_a_v1_agent_with_memory_tools_and_no_rules() {
    let new = made(request(AgentType::LettaV1Agent));
    assert_eq!(
        (new.agent.tools.len(), rules(&new), roles(&new)),
        (3, vec![], vec![])
    );
    assert_eq!(new.agent.name.split(' ').count(), 2);
    assert_eq!(new.agent.timezone, "UTC");
    assert_eq!(
        new.agent.llm_config.put_inner_thoughts_in_kwargs,
        Some(false)
    );
    assert!(new.agent.compaction.prompt.is_some());
    assert_eq!(
        new.agent.compaction.model.as_deref(),
        Some("openai/gpt-4o-mini")
    );
}

#[test]
fn stock_prompts_are_short_and_wrapped() {
    for agent_type in AgentType::ALL
        .into_iter()
        .filter(|agent_type| *agent_type != AgentType::SplitThreadAgent)
    {
        let prompt = stock::system_prompt(agent_type).unwrap();
        assert!(
            prompt.starts_with("<base_instructions>") && prompt.len() < 2_500,
            "{}",
            agent_type.name()
        );
    }
    assert_eq!(
        refused(request(AgentType::SplitThreadAgent)),
        BadAgent::NoSystem("split_thread_agent")
    );
}

#[test]
fn older_types_greet_and_memory_keepers_only_note_the_login() {
    assert_eq!(
        roles(&made(request(AgentType::MemgptAgent))),
        [Role::Assistant, Role::Tool, Role::User]
    );
    assert_eq!(roles(&made(request(AgentType::SleeptimeAgent))), []);
    assert_eq!(
        roles(&made(CreateAgent {
            include_base_tools: false,
            ..request(AgentType::SleeptimeAgent)
        })),
        [Role::User]
    );
    assert_eq!(
        roles(&made(CreateAgent {
            initial_messages: Some(Vec::new()),
            ..request(AgentType::MemgptAgent)
        })),
        []
    );

    let lmstudio = made(CreateAgent {
        llm_config: model("lmstudio_openai/qwen"),
        ..request(AgentType::MemgptAgent)
    });
    assert_eq!(roles(&lmstudio), [Role::User, Role::Assistant, Role::Tool]);
    assert_eq!(lmstudio.first_messages[1].tool_calls[0].id.len(), 9);
}

#[test]
fn each_type_has_its_loop_its_tools_and_its_first_messages() {
    const GREETS: [Role; 3] = [Role::Assistant, Role::Tool, Role::User];
    let known: Vec<Arc<Tool>> = KNOWN
        .into_iter()
        .chain([
            "archival_memory_search",
            "search_memory",
            "store_memories",
            "rethink_user_memory",
            "finish_rethinking_memory",
        ])
        .map(|name| Arc::new(tool(name, ToolType::Core)))
        .collect();
    let older = "send_message conversation_search core_memory_append core_memory_replace memory memory_apply_patch";
    let keeper = "memory_replace memory_insert memory_rethink memory_finish_edits";
    let voice_keeper = "store_memories rethink_user_memory finish_rethinking_memory";
    let newer = "send_message conversation_search memory_replace memory_insert";
    type Row = (AgentType, TurnLoop, &'static str, &'static [Role], bool);
    let table: [Row; 9] = [
        (
            AgentType::LettaV1Agent,
            TurnLoop::Native,
            "conversation_search memory_replace memory_insert",
            &[],
            false,
        ),
        (
            AgentType::SleeptimeAgent,
            TurnLoop::NativeForced,
            keeper,
            &[],
            false,
        ),
        (
            AgentType::MemgptV2Agent,
            TurnLoop::Heartbeat,
            newer,
            &GREETS,
            false,
        ),
        (
            AgentType::MemgptAgent,
            TurnLoop::Heartbeat,
            older,
            &GREETS,
            false,
        ),
        (
            AgentType::ReactAgent,
            TurnLoop::Heartbeat,
            "",
            &GREETS,
            false,
        ),
        (
            AgentType::WorkflowAgent,
            TurnLoop::Heartbeat,
            "",
            &GREETS,
            true,
        ),
        (
            AgentType::SplitThreadAgent,
            TurnLoop::Heartbeat,
            older,
            &GREETS,
            false,
        ),
        (
            AgentType::VoiceConvoAgent,
            TurnLoop::Heartbeat,
            "send_message search_memory",
            &GREETS,
            false,
        ),
        (
            AgentType::VoiceSleeptimeAgent,
            TurnLoop::Heartbeat,
            voice_keeper,
            &[],
            false,
        ),
    ];
    for (agent_type, turn_loop, names, first, forgets) in table {
        let row = agent_type.name();
        let request = CreateAgent {
            system: Some("Be kind.".to_owned()),
            enable_sleeptime: (agent_type == AgentType::VoiceConvoAgent).then_some(true),
            ..request(agent_type)
        };
        let new = create(request, &known, UserId::DEFAULT).unwrap();
        let has: Vec<&str> = new
            .agent
            .tools
            .iter()
            .map(|id| {
                known
                    .iter()
                    .find(|tool| tool.id == *id)
                    .unwrap()
                    .name
                    .as_str()
            })
            .collect();
        assert_eq!(has.join(" "), names, "{row}");
        assert_eq!(roles(&new), first, "{row}");
        assert_eq!(agent_type.turn_loop(), turn_loop, "{row}");
        assert_eq!(
            agent_type.must_call(),
            turn_loop != TurnLoop::Native,
            "{row}"
        );
        assert_eq!(new.agent.message_buffer_autoclear, forgets, "{row}");
    }
}

#[test]
fn a_workflow_agent_forgets_whatever_is_asked_of_it() {
    let forgets = |agent_type, wanted| {
        let mut agent = made(request(agent_type)).agent;
        let change = AgentChange {
            message_buffer_autoclear: Some(wanted),
            ..AgentChange::default()
        };
        change.apply(&mut agent, UserId::DEFAULT, clock::now());
        agent.message_buffer_autoclear
    };
    assert!(forgets(AgentType::WorkflowAgent, false));
    assert!(forgets(AgentType::MemgptAgent, true));
    assert!(!forgets(AgentType::MemgptAgent, false));
}

#[test]
fn given_first_messages_are_packed_by_role_and_every_call_has_its_return() {
    let given = [
        (InputRole::User, "hi"),
        (InputRole::System, "be brief"),
        (InputRole::Assistant, "hello"),
    ];
    let given = given.map(|(role, text)| (role, text.to_owned())).to_vec();
    let new = made(CreateAgent {
        initial_messages: Some(given),
        ..request(AgentType::LettaV1Agent)
    });
    assert_eq!(
        roles(&new),
        [Role::User, Role::System, Role::Assistant, Role::Tool]
    );
    assert!(
        new.first_messages[0]
            .text()
            .contains(r#""type":"user_message","message":"hi""#)
    );
    assert!(
        new.first_messages[1]
            .text()
            .contains(r#""type":"system_alert","message":"be brief""#)
    );
    assert_eq!(
        new.first_messages[2].tool_calls[0].id,
        new.first_messages[3].tool_returns[0].tool_call_id
    );
}

#[test]
fn base_rules_end_after_speaking_and_go_on_after_everything_else() {
    let new = made(request(AgentType::MemgptV2Agent));
    assert_eq!(
        rules(&new)[..2],
        [
            ("send_message", &ToolRuleKind::ExitLoop),
            ("conversation_search", &ToolRuleKind::ContinueLoop)
        ]
    );

    let capable = |agent_type| {
        made(CreateAgent {
            llm_config: model("openai/gpt-5"),
            ..request(agent_type)
        })
    };
    assert!(rules(&capable(AgentType::MemgptV2Agent)).is_empty());
    assert!(!rules(&capable(AgentType::SleeptimeAgent)).is_empty());
}

#[test]
fn a_v1_agent_gets_base_rules_when_it_brings_rules_or_asks_for_them() {
    let v1 = || request(AgentType::LettaV1Agent);
    let own = ToolRule {
        tool_name: "memory_insert".to_owned(),
        prompt_template: None,
        kind: ToolRuleKind::ContinueLoop,
    };
    let with_own = made(CreateAgent {
        tool_rules: Some(vec![own.clone(), own]),
        ..v1()
    });
    assert_eq!(
        rules(&with_own)
            .iter()
            .filter(|(name, _)| *name == "memory_insert")
            .count(),
        1,
        "equal rules are kept once"
    );
    assert_eq!(rules(&with_own).len(), 3);
    assert_eq!(
        rules(&made(CreateAgent {
            include_base_tool_rules: Some(true),
            ..v1()
        }))
        .len(),
        3
    );
    assert!(
        rules(&made(CreateAgent {
            tool_rules: Some(Vec::new()),
            ..v1()
        }))
        .is_empty()
    );
    let by_name = CreateAgent {
        include_base_tools: false,
        tool_names: vec!["send_message".to_owned()],
        ..v1()
    };
    assert_eq!(
        rules(&made(by_name)),
        [("send_message", &ToolRuleKind::ExitLoop)]
    );
}

#[test]
fn a_gated_tool_brings_its_rule() {
    let gated = Arc::new(Tool {
        default_requires_approval: Some(true),
        ..tool("launch", ToolType::Custom)
    });
    let request = CreateAgent {
        include_base_tools: false,
        tool_ids: vec![gated.id],
        ..request(AgentType::LettaV1Agent)
    };
    let new = create(request, &[gated], UserId::DEFAULT).unwrap();
    assert_eq!(rules(&new), [("launch", &ToolRuleKind::RequiresApproval)]);
}

#[test]
fn what_makes_no_sense_is_refused_with_its_field() {
    let v1 = || request(AgentType::LettaV1Agent);
    assert_eq!(
        refused(CreateAgent {
            name: Some("a.b/c".to_owned()),
            ..v1()
        }),
        BadAgent::Name(vec!['.', '/'])
    );
    assert_eq!(
        refused(CreateAgent {
            tool_names: vec!["nope".to_owned()],
            ..v1()
        }),
        BadAgent::UnknownTool("nope".to_owned())
    );
    assert_eq!(
        refused(request(AgentType::VoiceConvoAgent)),
        BadAgent::VoiceWithoutSleeptime
    );
    assert_eq!(
        refused(CreateAgent {
            max_reasoning_tokens: Some(4_097),
            ..v1()
        }),
        BadAgent::Reasoning(OverBudget {
            reasoning: 4_097,
            max: 4_096
        })
    );
    assert_eq!(
        made(CreateAgent {
            max_reasoning_tokens: Some(4_096),
            ..v1()
        })
        .agent
        .llm_config
        .max_reasoning_tokens,
        4_096
    );
    assert!(matches!(
        refused(CreateAgent {
            max_files_open: Some(1_001),
            ..v1()
        }),
        BadAgent::TooMany {
            field: "max_files_open",
            ..
        }
    ));
    assert!(
        refused(CreateAgent {
            timezone: Some("Mars/Olympus".to_owned()),
            ..v1()
        })
        .is_invalid()
    );
}

#[test]
fn rules_are_looked_at_one_by_one_and_together_with_those_that_tools_bring() {
    let v1 = || request(AgentType::LettaV1Agent);
    let rule = |tool: &str, kind| ToolRule {
        tool_name: tool.to_owned(),
        prompt_template: None,
        kind,
    };
    let with = |rules: Vec<ToolRule>| CreateAgent {
        tool_rules: Some(rules),
        ..v1()
    };
    let none = rule("a", ToolRuleKind::MaxCountPerStep { max_count_limit: 0 });
    let bad = refused(with(vec![rule("a", ToolRuleKind::ExitLoop), none]));
    assert!(bad.is_invalid());
    assert!(
        bad.to_string()
            .starts_with("tool_rules.1.max_count_limit: "),
        "{bad}"
    );
    let first = |tool| rule(tool, ToolRuleKind::RunFirst { args: None });
    let two = vec![first("memory_insert"), first("memory_replace")];
    assert!(create(with(two.clone()), &known(), UserId::DEFAULT).is_ok());
    let elsewhere = CreateAgent {
        llm_config: model("anthropic/claude-sonnet-4-5"),
        ..with(two)
    };
    let bad = refused(elsewhere);
    assert_eq!(bad, BadAgent::Rules(Conflict::TwoFirstTools));
    assert!(!bad.is_invalid());
    let later = rule(
        "attached_later",
        ToolRuleKind::ParentLastTool {
            children: vec!["so_is_this".to_owned()],
        },
    );
    assert_eq!(made(with(vec![later.clone()])).agent.tool_rules[0], later);
}

#[test]
fn the_rules_of_an_update_are_kept_once_and_named_by_their_place_in_it() {
    let gate = ToolRule {
        tool_name: "a".to_owned(),
        prompt_template: None,
        kind: ToolRuleKind::RequiresApproval,
    };
    let nameless = ToolRule {
        tool_name: String::new(),
        ..gate.clone()
    };
    let kept = new_rules(vec![gate.clone(), gate.clone()]).unwrap();
    assert_eq!(kept, std::slice::from_ref(&gate));
    let bad = new_rules(vec![gate.clone(), gate, nameless]).unwrap_err();
    assert!(bad.to_string().starts_with("tool_rules.2.tool_name: "));
}

#[test]
fn a_stock_summariser_follows_the_agent_to_another_provider_and_a_chosen_one_stays() {
    let moved = AgentChange {
        llm_config: Some(model("anthropic/claude-sonnet-4-5")),
        ..AgentChange::default()
    };
    let after = |mut agent: Agent| {
        moved.apply(&mut agent, UserId::DEFAULT, clock::now());
        agent.compaction.model.unwrap()
    };
    assert_eq!(
        after(made(request(AgentType::LettaV1Agent)).agent),
        "anthropic/claude-haiku-4-5"
    );
    let chosen = CompactionChange {
        model: Some(Some("openai/o3".to_owned())),
        ..CompactionChange::default()
    };
    assert_eq!(
        after(
            made(CreateAgent {
                compaction: Some(chosen),
                ..request(AgentType::LettaV1Agent)
            })
            .agent
        ),
        "openai/o3"
    );
}

#[test]
fn a_new_summary_mode_brings_its_prompt() {
    let mut agent = made(request(AgentType::LettaV1Agent)).agent;
    let mode = CompactionChange {
        mode: Some(CompactionMode::All),
        ..CompactionChange::default()
    };
    AgentChange {
        compaction: Some(mode),
        ..AgentChange::default()
    }
    .apply(&mut agent, UserId::DEFAULT, clock::now());
    assert_eq!(
        agent.compaction.prompt.as_deref(),
        Some(stock::compaction_prompt(CompactionMode::All))
    );
}

#[test]
fn a_null_among_the_compaction_settings_asks_for_the_default() {
    let mut agent = made(request(AgentType::LettaV1Agent)).agent;
    let before = agent.compaction.clone();
    let change = |change: CompactionChange| AgentChange {
        compaction: Some(change),
        ..AgentChange::default()
    };
    let own = CompactionChange {
        model: Some(Some("openai/o3".to_owned())),
        prompt: Some(Some("In rhymes.".to_owned())),
        model_settings: Some(Some(serde_json::json!({"temperature": 0.1}))),
        ..CompactionChange::default()
    };
    change(own).apply(&mut agent, UserId::DEFAULT, clock::now());
    assert_eq!(agent.compaction.prompt.as_deref(), Some("In rhymes."));
    let nulls = CompactionChange {
        model: Some(None),
        prompt: Some(None),
        model_settings: Some(None),
        ..CompactionChange::default()
    };
    change(nulls).apply(&mut agent, UserId::DEFAULT, clock::now());
    assert_eq!(agent.compaction, before);
}
