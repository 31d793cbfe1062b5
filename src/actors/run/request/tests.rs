mod histories;

use super::*;
use crate::domain::agent::{Agent, AgentType};
use crate::domain::approval::Pending;
use crate::domain::clock;
use crate::domain::id::StepId;
use crate::domain::message::{Approval, Part, ToolCall, ToolOutput};
use crate::domain::model::{LlmConfig, ToolChoice};
use crate::domain::run::Answers;
use crate::domain::tool::{ToolRule, ToolRuleKind};
use crate::egress::Gate;
use crate::providers::Providers;
use crate::store::testing;
use crate::tools::toolbox::Toolbox;
use serde_json::{Map, json};

/// Provider, endpoint type, model; and the list of messages in the requests of its protocol.
const PROTOCOLS: [(&str, &str, &str, &str); 4] = [
    ("openai", "openai", "gpt-4o-mini", "messages"),
    ("openai", "openai", "gpt-5-mini", "input"),
    ("anthropic", "anthropic", "claude-sonnet-4-5", "messages"),
    ("google_ai", "google_ai", "gemini-2.5-flash", "contents"),
];

fn providers() -> Providers {
    let keys = ["OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"];
    let find = |name: &str| keys.contains(&name).then(|| "key".to_owned());
    let config = serde_json::from_value(json!({})).unwrap();
    Providers::new(config, Gate::new(Vec::new()), find).unwrap()
}

fn config(provider: &str, endpoint_type: &str, model: &str) -> LlmConfig {
    LlmConfig {
        model: model.to_owned(),
        model_endpoint_type: endpoint_type.to_owned(),
        provider_name: Some(provider.to_owned()),
        handle: Some(format!("{provider}/{model}")),
        response_format: None,
        ..testing::llm_config()
    }
}

fn context(config: LlmConfig, rules: Vec<ToolRule>) -> Context {
    let agent = Agent {
        agent_type: AgentType::LettaV1Agent,
        llm_config: config.clone(),
        tool_rules: rules,
        ..testing::agent()
    };
    let toolbox = Toolbox::builtin();
    let tools = ["conversation_search", "memory_insert", "memory_replace"];
    let tools = tools.map(|name| toolbox.by_name(name).unwrap().clone());
    Context {
        agent: Arc::new(agent),
        config: Arc::new(config),
        system: "Be kind.\n\n<memory_blocks>\n</memory_blocks>".into(),
        skills: Arc::default(),
        messages: Vec::new(),
        tools: tools.to_vec(),
        client_tools: Arc::default(),
        committed: Vec::new(),
        settling: None,
        unstored: 0,
        version: 0,
        system_overridden: false,
        compaction: testing::agent().compaction,
        room: Arc::default(),
        only_compacts: false,
        max_steps: 50,
        committed_steps: 0,
    }
}

#[test]
fn a_request_is_lent_the_history_and_copies_nothing_of_it() {
    let mut context = context(config("openai", "openai", "gpt-4o-mini"), Vec::new());
    let message = Arc::new(said(&context, Role::User, "hello"));
    context.messages = vec![message.clone(); 1_000];
    let (place, shared) = (context.messages.as_ptr(), Arc::strong_count(&message));
    let plan = plan(&mut context);
    let request = next(&mut context, &plan.rules, plan.rules.offer(), false);
    assert_eq!(
        (request.messages.as_ptr(), request.messages.len()),
        (place, 1_000)
    );
    assert_eq!(Arc::strong_count(&message), shared);
}

fn said(context: &Context, role: Role, text: &str) -> Message {
    let mut message = Message::new(context.agent.id, role, clock::now());
    message
        .content
        .extend((!text.is_empty()).then(|| Part::of_text(text)));
    message.model = Some(context.config.model.clone());
    message
}

fn call(id: &str) -> ToolCall {
    ToolCall {
        id: id.to_owned(),
        name: "memory_insert".to_owned(),
        arguments: "{\"label\":\"human\",\"new_string\":\"x\"}".to_owned(),
    }
}

/// What one step leaves behind: a thought as this protocol keeps it, a call, its return.
fn step(context: &Context, number: usize) -> [Message; 2] {
    let id = format!("call_{number}");
    let mut assistant = said(context, Role::Assistant, "one moment");
    let thought = if context.config.model.starts_with("gpt") {
        Part::SummarizedReasoning {
            id: format!("rs_{number}"),
            summary: vec!["hm".to_owned()],
            encrypted_content: Some("c2VhbGVk".to_owned()),
        }
    } else {
        Part::Reasoning {
            native: true,
            reasoning: "hm".to_owned(),
            signature: Some("c2ln".to_owned()),
        }
    };
    assistant.content.insert(0, thought);
    assistant.tool_calls = vec![call(&id)];
    assistant.step_id = Some(StepId::new());
    let result = ToolResult::success(Value::from("done"));
    let end = step::pack(&id, &result, None, clock::now(), "UTC");
    let mut ends = said(context, Role::Tool, "");
    ends.step_id = assistant.step_id;
    [
        assistant,
        step::tool_message(ends, "memory_insert", vec![end]),
    ]
}

/// All of a request but its messages, and each of its messages. Anthropic's mark for the cache moves along and is no part
/// of what is cached.
fn parts(body: &[u8], list: &str) -> (String, Vec<String>) {
    let text = String::from_utf8(body.to_vec()).unwrap();
    let mut fields: Map<String, Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(
        serde_json::to_string(&fields).unwrap(),
        text,
        "taken apart, it is the same bytes"
    );
    let Some(Value::Array(messages)) = fields.insert(list.to_owned(), Value::Null) else {
        panic!("no {list}: {text}")
    };
    const MARK: &str = ",\"cache_control\":{\"type\":\"ephemeral\"}";
    let messages = messages
        .iter()
        .map(|message| message.to_string().replace(MARK, ""));
    (Value::Object(fields).to_string(), messages.collect())
}

#[test]
fn while_memory_stays_each_request_begins_with_all_of_the_one_before() {
    let providers = providers();
    for (provider, endpoint_type, model, list) in PROTOCOLS {
        let mut context = context(config(provider, endpoint_type, model), Vec::new());
        let client = providers.model(&context.config).unwrap();
        let ask = |context: &mut Context| {
            let rules = plan(context).rules;
            let request = next(context, &rules, rules.offer(), false);
            let body = client.body(&request);
            assert_eq!(body, client.body(&request), "equal requests, equal bytes");
            context.messages = request.messages;
            parts(&body, list)
        };
        let mut before: Option<(String, Vec<String>)> = None;
        for turn in 0..3 {
            let question = said(&context, Role::User, &format!("question {turn}"));
            context.messages.push(Arc::new(question));
            for number in 0..3 {
                let now = ask(&mut context);
                if let Some(before) = &before {
                    assert_eq!(before.0, now.0, "{model}: system, tools and options");
                    // Turns of one role are one message to some protocols: the last may have grown.
                    let (last, earlier) = before.1.split_last().unwrap();
                    assert_eq!(earlier, &now.1[..earlier.len()], "{model}");
                    let grown = last.trim_end_matches(['}', ']']);
                    assert!(now.1[earlier.len()].starts_with(grown), "{model}: {last}");
                    assert!(now.1.len() >= before.1.len(), "{model}");
                }
                before = Some(now);
                let step = step(&context, turn * 3 + number);
                context.messages.extend(step.map(Arc::new));
            }
            let answer = said(&context, Role::Assistant, "there you are");
            context.messages.push(Arc::new(answer));
        }
    }
}

fn rule(tool: &str, kind: ToolRuleKind) -> ToolRule {
    ToolRule {
        tool_name: tool.to_owned(),
        prompt_template: None,
        kind,
    }
}

/// A context that ends with a request for these calls, and the answer to it.
fn answered(rules: Vec<ToolRule>, ids: &[&str], approvals: Vec<Approval>) -> Context {
    let mut context = context(config("openai", "openai", "gpt-4o-mini"), rules);
    let question = said(&context, Role::User, "go");
    let mut request = said(&context, Role::Approval, "");
    request.tool_calls = ids.iter().map(|id| call(id)).collect();
    request.step_id = Some(StepId::new());
    context.messages = [question, request].map(Arc::new).to_vec();
    context.settling = Some(Settling {
        before: Vec::new(),
        pending: Pending::of(&context.messages).unwrap(),
        answers: Answers {
            approvals,
            otid: None,
        },
        follow_ups: vec![Arc::new(said(&context, Role::User, "and then"))],
    });
    context
}

fn decision(id: &str, approve: bool) -> Approval {
    Approval::Decision {
        tool_call_id: id.to_owned(),
        approve,
        reason: Some("not today".to_owned()),
    }
}

fn returned(message: &Message, id: &str) -> String {
    let mut ends = message.tool_returns.iter();
    match &ends.find(|end| end.tool_call_id == id).unwrap().output {
        ToolOutput::Packed(text) => text.clone(),
        ToolOutput::Parts(_) => panic!("no text"),
    }
}

#[test]
fn a_preview_of_an_answer_has_a_placeholder_for_what_would_be_run() {
    let approvals = vec![decision("a", true), decision("b", false)];
    let request = preview(
        answered(Vec::new(), &["a", "b"], approvals),
        true,
        clock::now(),
    );
    let roles: Vec<Role> = request
        .messages
        .iter()
        .map(|message| message.role)
        .collect();
    assert_eq!(
        roles,
        [
            Role::User,
            Role::Approval,
            Role::Approval,
            Role::Tool,
            Role::User
        ]
    );
    let ends = &request.messages[3];
    assert!(returned(ends, "a").contains(PLACEHOLDER));
    assert!(returned(ends, "b").contains("not today"));
    assert!(request.stream && request.tools.len() == 3);
}

#[test]
fn the_rules_of_a_preview_know_the_calls_that_an_answer_lets_through() {
    let children = ToolRuleKind::ConstrainChildTools {
        children: vec!["memory_replace".to_owned()],
        child_arg_nodes: None,
    };
    let offered = |approve| {
        let rules = vec![rule("memory_insert", children.clone())];
        let context = answered(rules, &["a"], vec![decision("a", approve)]);
        let request = preview(context, false, clock::now());
        (request.tools.len(), request.choice)
    };
    let only = ToolChoice::Named("memory_replace".to_owned());
    assert_eq!(offered(true), (1, only));
    assert_eq!(offered(false), (3, ToolChoice::Free));
}

#[test]
fn a_preview_depends_on_what_it_is_given_only() {
    let now = clock::now();
    let context = answered(Vec::new(), &["a"], vec![decision("a", true)]);
    let model = providers().model(&context.config).unwrap();
    let body = |context: &Context| model.body(&preview(context.clone(), false, now));
    assert_eq!(body(&context), body(&context));
}
