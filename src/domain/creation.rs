//! Making an agent from what a client asked for (agents-admin §1): pure, with every default filled in.

use super::agent::{
    Agent, AgentType, CompactionChange, CompactionMode, CompactionSettings, NewAgent, Secret,
    check_name, sorted,
};
use super::block::NewBlock;
use super::clock;
use super::id::{AgentId, BlockId, IdentityId, SecretId, ToolId, UserId};
use super::message::{Message, Part, Role, ToolCall};
use super::model::{EmbeddingConfig, LlmConfig, ModelSettings, OverBudget, ResponseFormat};
use super::rules::check::{self, BadRule, Conflict};
use super::run::InputRole;
use super::step;
use super::stock;
use super::tool::{Tool, ToolResult, ToolRule, ToolRuleKind};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;

/// An agent as it is asked for; the model is resolved already.
#[derive(Debug, Clone)]
pub struct CreateAgent {
    pub name: Option<String>,
    pub agent_type: AgentType,
    pub system: Option<String>,
    pub description: Option<String>,
    pub metadata: Option<Value>,
    pub tags: Vec<String>,
    pub llm_config: LlmConfig,
    pub embedding_config: Option<EmbeddingConfig>,
    pub context_window: Option<u64>,
    pub max_tokens: Option<u64>,
    pub max_reasoning_tokens: Option<u64>,
    pub reasoning: Option<bool>,
    pub parallel_tool_calls: Option<bool>,
    pub model_settings: Option<ModelSettings>,
    pub compaction: Option<CompactionChange>,
    pub response_format: Option<ResponseFormat>,
    pub tool_names: Vec<String>,
    pub tool_ids: Vec<ToolId>,
    pub tool_rules: Option<Vec<ToolRule>>,
    pub include_base_tools: bool,
    pub include_multi_agent_tools: bool,
    pub include_base_tool_rules: Option<bool>,
    pub block_ids: Vec<BlockId>,
    pub blocks: Vec<NewBlock>,
    pub secrets: Vec<(String, String)>,
    pub identities: Vec<IdentityId>,
    /// `None`: what the type starts with; empty: nothing.
    pub initial_messages: Option<Vec<(InputRole, String)>>,
    pub timezone: Option<String>,
    pub hidden: Option<bool>,
    pub message_buffer_autoclear: bool,
    pub enable_sleeptime: Option<bool>,
    pub max_files_open: Option<u64>,
    pub per_file_view_window_char_limit: Option<u64>,
    pub project_id: Option<String>,
    pub template_id: Option<String>,
    pub base_template_id: Option<String>,
}

/// Why an agent cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAgent {
    #[error("name: {}", bad_name(.0))]
    Name(Vec<char>),
    #[error("a voice_convo_agent needs enable_sleeptime")]
    VoiceWithoutSleeptime,
    #[error("a {0} has no stock prompt: give 'system'")]
    NoSystem(&'static str),
    #[error("tools: no tool is called '{0}'")]
    UnknownTool(String),
    #[error("tool_ids: {0} is not a tool")]
    UnknownToolId(ToolId),
    #[error(transparent)]
    Reasoning(#[from] OverBudget),
    #[error("{field} is {found}, at most {most} are possible")]
    TooMany {
        field: &'static str,
        found: u64,
        most: u64,
    },
    #[error("timezone: '{0}' is not an IANA time zone")]
    Timezone(String),
    #[error("{0}")]
    Rule(BadRule),
    #[error("tool_rules: {0}")]
    Rules(Conflict),
}

impl BadAgent {
    /// Whether the request does not fit the schema, as against making no sense here.
    pub fn is_invalid(&self) -> bool {
        matches!(
            self,
            Self::Name(_) | Self::VoiceWithoutSleeptime | Self::Timezone(_) | Self::Rule(_)
        )
    }
}

fn bad_name(characters: &[char]) -> String {
    if characters.is_empty() {
        return "must not be empty".to_owned();
    }
    let listed: Vec<String> = characters.iter().map(|c| format!("'{c}'")).collect();
    format!(
        "{} cannot be in a name; letters, digits, spaces, underscores, apostrophes and hyphens can",
        listed.join(", ")
    )
}

/// The whole new agent. `known` are the tools that the program has.
///
/// # Errors
/// The field and the reason; nothing has happened then.
pub fn create(request: CreateAgent, known: &[Arc<Tool>], by: UserId) -> Result<NewAgent, BadAgent> {
    let id = AgentId::new();
    let now = clock::now();
    check(&request)?;
    let tools = tools(&request, known)?;
    let tool_rules = tool_rules(&request, &tools)?;
    let name = request.name.clone().unwrap_or_else(|| stock::name(id));
    let system = match request.system.clone() {
        Some(system) => system,
        None => stock::system_prompt(request.agent_type)
            .ok_or(BadAgent::NoSystem(request.agent_type.name()))?,
    };
    let llm_config = llm_config(&request)?;
    let compaction = compaction(&llm_config, request.compaction.clone());
    let timezone = request.timezone.clone().unwrap_or_else(|| "UTC".to_owned());
    let describe = |mut block: NewBlock| {
        block.description = block
            .description
            .or_else(|| stock::block_description(&block.label).map(str::to_owned));
        block
    };
    let agent = Agent {
        id,
        name,
        agent_type: request.agent_type,
        system,
        description: request.description,
        metadata: request.metadata,
        hidden: if request.tags.iter().any(|tag| tag == "role:subagent") {
            Some(true)
        } else {
            request.hidden
        },
        tags: sorted(request.tags),
        llm_config,
        embedding_config: request.embedding_config,
        compaction,
        response_format: request.response_format,
        tool_rules,
        tools: tools.iter().map(|tool| tool.id).collect(),
        secrets: request
            .secrets
            .into_iter()
            .map(|(key, value)| Secret {
                id: SecretId::new(),
                key,
                value,
                created_at: now,
            })
            .collect(),
        identities: request.identities,
        timezone,
        message_buffer_autoclear: request.message_buffer_autoclear || request.agent_type.forgets(),
        enable_sleeptime: request.enable_sleeptime,
        max_files_open: request.max_files_open,
        per_file_view_window_char_limit: request.per_file_view_window_char_limit,
        project_id: request.project_id,
        template_id: request.template_id,
        base_template_id: request.base_template_id,
        deployment_id: None,
        entity_id: None,
        created_by: by,
        updated_by: by,
        created_at: now,
        updated_at: now,
        prompt_revision: 1,
    };
    let first_messages =
        first_messages(&agent, request.include_base_tools, request.initial_messages);
    Ok(NewAgent {
        agent,
        block_ids: request.block_ids,
        blocks: request.blocks.into_iter().map(describe).collect(),
        first_messages,
    })
}

fn check(request: &CreateAgent) -> Result<(), BadAgent> {
    if request.agent_type == AgentType::VoiceConvoAgent && request.enable_sleeptime != Some(true) {
        return Err(BadAgent::VoiceWithoutSleeptime);
    }
    check_scalars(
        request.name.as_deref(),
        request.timezone.as_deref(),
        request.max_files_open,
        request.per_file_view_window_char_limit,
    )
}

/// The bounds of what a client may set, at creation and later alike; `None` was not set.
///
/// # Errors
/// The first field that is out of bounds.
pub fn check_scalars(
    name: Option<&str>,
    timezone: Option<&str>,
    files_open: Option<u64>,
    chars_a_file: Option<u64>,
) -> Result<(), BadAgent> {
    if let Some(name) = name {
        check_name(name).map_err(BadAgent::Name)?;
    }
    if let Some(zone) = timezone.filter(|zone| jiff::tz::TimeZone::get(zone).is_err()) {
        return Err(BadAgent::Timezone(zone.to_owned()));
    }
    let at_most = |field, found: Option<u64>, most| match found {
        Some(found) if found > most => Err(BadAgent::TooMany { field, found, most }),
        _ => Ok(()),
    };
    at_most("max_files_open", files_open, 1_000)?;
    at_most(
        "per_file_view_window_char_limit",
        chars_a_file,
        (1 << 31) - 1,
    )
}

fn llm_config(request: &CreateAgent) -> Result<LlmConfig, BadAgent> {
    let mut config = request.llm_config.clone();
    config.context_window = request.context_window.unwrap_or(config.context_window);
    config.max_tokens = request.max_tokens.or(config.max_tokens);
    config.max_reasoning_tokens = request
        .max_reasoning_tokens
        .unwrap_or(config.max_reasoning_tokens);
    config.enable_reasoner = request.reasoning.unwrap_or(config.enable_reasoner);
    config.parallel_tool_calls = request.parallel_tool_calls.or(config.parallel_tool_calls);
    if request.agent_type == AgentType::LettaV1Agent {
        // Its models think in their own channel, never in arguments.
        config.put_inner_thoughts_in_kwargs = Some(false);
    }
    if let Some(settings) = request.model_settings.clone() {
        settings.apply(&mut config);
    }
    config.check()?;
    Ok(config)
}

/// Settings with the stock summariser and the prompt of the mode, but for what was asked for.
fn compaction(config: &LlmConfig, change: Option<CompactionChange>) -> CompactionSettings {
    let mut settings = CompactionSettings {
        model: Some(stock::summariser(config)),
        model_settings: None,
        prompt: None,
        prompt_acknowledgement: false,
        clip_chars: Some(50_000),
        mode: CompactionMode::SlidingWindow,
        sliding_window_percentage: 0.3,
    };
    if let Some(change) = change {
        change.apply(&mut settings);
    }
    settings
        .model
        .get_or_insert_with(|| stock::summariser(config));
    settings
        .prompt
        .get_or_insert_with(|| stock::compaction_prompt(settings.mode).to_owned());
    settings
}

/// The names of the tools that a type has without being asked.
fn base_tools(agent_type: AgentType, enable_sleeptime: bool) -> &'static [&'static str] {
    match agent_type {
        AgentType::VoiceSleeptimeAgent => &[
            "store_memories",
            "rethink_user_memory",
            "finish_rethinking_memory",
        ],
        AgentType::VoiceConvoAgent => &["send_message", "search_memory"],
        AgentType::SleeptimeAgent => &[
            "memory_replace",
            "memory_insert",
            "memory_rethink",
            "memory_finish_edits",
        ],
        _ if enable_sleeptime => &[
            "send_message",
            "conversation_search",
            "archival_memory_search",
        ],
        AgentType::MemgptV2Agent => &[
            "send_message",
            "conversation_search",
            "memory_replace",
            "memory_insert",
        ],
        AgentType::LettaV1Agent => &["conversation_search", "memory_replace", "memory_insert"],
        AgentType::ReactAgent | AgentType::WorkflowAgent => &[],
        AgentType::MemgptAgent | AgentType::SplitThreadAgent => &[
            "send_message",
            "conversation_search",
            "core_memory_append",
            "core_memory_replace",
            "memory",
            "memory_apply_patch",
        ],
    }
}

const MULTI_AGENT_TOOLS: [&str; 3] = [
    "send_message_to_agent_and_wait_for_reply",
    "send_message_to_agents_matching_tags",
    "send_message_to_agent_async",
];

fn tools(request: &CreateAgent, known: &[Arc<Tool>]) -> Result<Vec<Arc<Tool>>, BadAgent> {
    let named = |name: &str| {
        known
            .iter()
            .find(|tool| tool.name == name)
            .cloned()
            .ok_or_else(|| BadAgent::UnknownTool(name.to_owned()))
    };
    let mut tools: Vec<Arc<Tool>> = Vec::new();
    let mut add = |tool: Arc<Tool>| {
        if tools.iter().all(|other| other.id != tool.id) {
            tools.push(tool);
        }
    };
    if request.include_base_tools {
        for name in base_tools(request.agent_type, request.enable_sleeptime == Some(true)) {
            add(named(name)?);
        }
    }
    if request.include_multi_agent_tools {
        for name in MULTI_AGENT_TOOLS {
            add(named(name)?);
        }
    }
    for name in &request.tool_names {
        add(named(name)?);
    }
    for id in &request.tool_ids {
        add(known
            .iter()
            .find(|tool| tool.id == *id)
            .cloned()
            .ok_or(BadAgent::UnknownToolId(*id))?);
    }
    Ok(tools)
}

const TERMINAL: [&str; 3] = [
    "send_message",
    "send_message_to_agent_async",
    "memory_finish_edits",
];

/// The rules that were asked for, then those that base tools and gated tools bring along. Equal rules are kept once.
fn tool_rules(request: &CreateAgent, tools: &[Arc<Tool>]) -> Result<Vec<ToolRule>, BadAgent> {
    use super::tool::ToolType;
    let mut rules = request.tool_rules.clone().unwrap_or_default();
    check::each(&rules).map_err(BadAgent::Rule)?;
    if wants_base_rules(request) {
        for tool in tools {
            let base = matches!(
                tool.tool_type,
                ToolType::Core
                    | ToolType::MemoryCore
                    | ToolType::SleeptimeCore
                    | ToolType::VoiceSleeptimeCore
            );
            let kind = if TERMINAL.contains(&tool.name.as_str()) {
                Some(ToolRuleKind::ExitLoop)
            } else {
                base.then_some(ToolRuleKind::ContinueLoop)
            };
            rules.extend(kind.map(|kind| ToolRule {
                tool_name: tool.name.clone(),
                prompt_template: None,
                kind,
            }));
        }
    }
    for tool in tools
        .iter()
        .filter(|tool| tool.default_requires_approval == Some(true))
    {
        rules.push(ToolRule {
            tool_name: tool.name.clone(),
            prompt_template: None,
            kind: ToolRuleKind::RequiresApproval,
        });
    }
    let rules = distinct(rules);
    let names = tools.iter().map(|tool| tool.name.as_str());
    check::together(&rules, names, &request.llm_config.model).map_err(BadAgent::Rules)?;
    Ok(rules)
}

/// The rules of an update: each is looked at by itself, the agent looks at them together with what it has.
///
/// # Errors
/// The first rule that does not fit the schema.
pub fn new_rules(rules: Vec<ToolRule>) -> Result<Vec<ToolRule>, BadAgent> {
    check::each(&rules).map_err(BadAgent::Rule)?;
    Ok(distinct(rules))
}

/// Rules that are equal in all fields are kept once, at their first place.
fn distinct(rules: Vec<ToolRule>) -> Vec<ToolRule> {
    let mut kept: Vec<ToolRule> = Vec::with_capacity(rules.len());
    for rule in rules {
        if !kept.contains(&rule) {
            kept.push(rule);
        }
    }
    kept
}

/// What was asked for; else base rules are left out where the type or the model does well without them.
fn wants_base_rules(request: &CreateAgent) -> bool {
    let model = request.llm_config.model.as_str();
    let capable = [
        "claude-4-sonnet",
        "claude-3-5-sonnet",
        "gpt-5",
        "gemini-2.5-pro",
    ]
    .iter()
    .any(|name| model.contains(name))
        && !model.contains("mini");
    let no_rules = request.tool_rules.as_ref().is_none_or(Vec::is_empty);
    let free =
        request.agent_type == AgentType::LettaV1Agent && request.include_base_tools && no_rules;
    request
        .include_base_tool_rules
        .unwrap_or(!free && (!capable || request.agent_type == AgentType::SleeptimeAgent))
}

/// What stands in the context after the system message (messages-and-search §7).
fn first_messages(
    agent: &Agent,
    base_tools: bool,
    given: Option<Vec<(InputRole, String)>>,
) -> Vec<Message> {
    let starts_empty = match agent.agent_type {
        AgentType::LettaV1Agent => true,
        AgentType::SleeptimeAgent | AgentType::VoiceSleeptimeAgent => base_tools,
        _ => false,
    };
    match given {
        Some(given) => given
            .into_iter()
            .flat_map(|(role, text)| given_message(agent, role, &text))
            .collect(),
        None if starts_empty => Vec::new(),
        None => boot_sequence(agent, agent.created_at),
    }
}

/// A greeting and the user's arrival; used again by a reset that asks for it. Who only keeps memory greets nobody.
pub fn boot_sequence(agent: &Agent, now: Timestamp) -> Vec<Message> {
    let time = clock::spoken(now, &agent.timezone);
    let login = json!({"type": "login", "last_login": "Never (first login)", "time": time});
    let login = packed(agent.id, Role::User, &login, now);
    let greeting = || spoken(agent, stock::GREETING, now);
    match agent.agent_type {
        AgentType::SleeptimeAgent => vec![login],
        _ if is_lmstudio(agent) => std::iter::once(login).chain(greeting()).collect(),
        _ => greeting().into_iter().chain([login]).collect(),
    }
}

/// LM Studio wants the user to speak first, and call ids of nine characters.
fn is_lmstudio(agent: &Agent) -> bool {
    agent.llm_config.handle().provider == "lmstudio_openai"
}

fn given_message(agent: &Agent, role: InputRole, text: &str) -> Vec<Message> {
    let now = agent.created_at;
    let envelope = |kind: &str| json!({"type": kind, "message": text, "time": clock::spoken(now, &agent.timezone)});
    match role {
        InputRole::User => vec![packed(agent.id, Role::User, &envelope("user_message"), now)],
        InputRole::System => vec![packed(
            agent.id,
            Role::System,
            &envelope("system_alert"),
            now,
        )],
        InputRole::Assistant => spoken(agent, text, now),
    }
}

fn packed(agent: AgentId, role: Role, envelope: &Value, now: Timestamp) -> Message {
    let mut message = Message::new(agent, role, now);
    message.otid = Some(message.id.piece_otid(0));
    message.content = vec![Part::of_text(envelope.to_string())];
    message
}

/// A call of `send_message` and its return.
fn spoken(agent: &Agent, text: &str, now: Timestamp) -> Vec<Message> {
    let mut call = Message::new(agent.id, Role::Assistant, now);
    let random = call.id.piece_otid(0).replace('-', "");
    let id = if is_lmstudio(agent) {
        random[..9].to_owned()
    } else {
        format!("call_{}", &random[..24])
    };
    call.tool_calls = vec![ToolCall {
        id: id.clone(),
        name: "send_message".to_owned(),
        arguments: json!({"message": text}).to_string(),
    }];
    let result = ToolResult::success(Value::from("Sent message successfully."));
    let end = step::pack(&id, &result, None, now, &agent.timezone);
    vec![
        call,
        step::tool_message(
            Message::new(agent.id, Role::Tool, now),
            "send_message",
            vec![end],
        ),
    ]
}

#[cfg(test)]
mod tests;
