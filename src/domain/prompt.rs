//! The system message: base text, core memory, metadata. One function for create, rebuild and preview.
//!
//! Tags, metadata keys and the order of the parts are contract (memory-and-blocks §7–8); the sentences are ours.
//! Not here: files and folders, git-backed memory, archives.

use super::agent::{Agent, AgentType};
use super::block::Block;
use super::clock;
use super::id::ConversationId;
use super::tool::{ToolRule, ToolRuleKind};
use jiff::Timestamp;
use std::sync::Arc;

/// Everything the text depends on: equal inputs give equal bytes.
#[derive(Debug, Clone)]
pub struct PromptInput<'a> {
    pub agent: &'a Agent,
    /// In order of attachment.
    pub blocks: &'a [Arc<Block>],
    pub conversation_id: Option<ConversationId>,
    /// Shown as the time of the last recompile.
    pub compiled_at: Timestamp,
    /// Messages stored and not in context.
    pub recall_messages: u64,
}

/// Where the system text wants its memory. No other brace is special.
const PLACEHOLDER: &str = "{CORE_MEMORY}";

const BLOCKS_INTRODUCTION: &str =
    "These blocks are your core memory. They are with you in every conversation:";

/// Stands before each numbered value; memory tools refuse text that was copied together with it.
pub(super) const LINE_NUMBERS_WARNING: &str = "# The numbers before the arrows only say which line it is. They are not part of the value: never write them in an edit.";

const RULES_INTRODUCTION: &str = "Follow these rules when you choose the next tool:";

/// The full system message.
pub fn compile(input: &PromptInput<'_>) -> String {
    let memory = sections([core_memory(input.agent, input.blocks), metadata(input)]);
    let system = &input.agent.system;
    if system.contains(PLACEHOLDER) {
        system.replace(PLACEHOLDER, &memory)
    } else {
        sections([system.clone(), memory])
    }
}

/// Parts that are not empty, a blank line between them.
fn sections<const N: usize>(parts: [String; N]) -> String {
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("\n\n")
}

fn core_memory(agent: &Agent, blocks: &[Arc<Block>]) -> String {
    let blocks = match agent.agent_type {
        AgentType::ReactAgent | AgentType::WorkflowAgent => String::new(),
        _ => memory_blocks(blocks, shows_line_numbers(agent)),
    };
    sections([blocks, tool_usage_rules(&agent.tool_rules)])
}

/// Anthropic models of these agents see each line of a block with its number.
fn shows_line_numbers(agent: &Agent) -> bool {
    use AgentType::{LettaV1Agent, MemgptV2Agent, SleeptimeAgent};
    agent.llm_config.model_endpoint_type == "anthropic"
        && matches!(
            agent.agent_type,
            SleeptimeAgent | MemgptV2Agent | LettaV1Agent
        )
}

fn memory_blocks(blocks: &[Arc<Block>], numbered: bool) -> String {
    if blocks.is_empty() && !numbered {
        return String::new();
    }
    let blocks: Vec<String> = blocks
        .iter()
        .map(|block| memory_block(block, numbered))
        .collect();
    let body = sections([BLOCKS_INTRODUCTION.to_owned(), blocks.join("\n\n")]);
    format!("<memory_blocks>\n{body}\n</memory_blocks>")
}

fn memory_block(block: &Block, numbered: bool) -> String {
    let label = &block.label;
    let description = block.description.as_deref().unwrap_or_default();
    let read_only = if block.read_only {
        "- read_only=true\n"
    } else {
        ""
    };
    let length = block.value.chars().count();
    let limit = block.limit;
    let (warning, lines) = if numbered {
        (
            format!("<warning>\n{LINE_NUMBERS_WARNING}\n</warning>\n"),
            numbered_lines(&block.value),
        )
    } else {
        (String::new(), format!("{}\n", block.value))
    };
    format!(
        "<{label}>\n\
         <description>\n{description}\n</description>\n\
         <metadata>\n{read_only}- chars_current={length}\n- chars_limit={limit}\n</metadata>\n\
         {warning}<value>\n{lines}</value>\n\
         </{label}>"
    )
}

/// Lines end at `\n` only, so a carriage return stays with its line. An empty value has no lines.
fn numbered_lines(value: &str) -> String {
    if value.is_empty() {
        return String::new();
    }
    value
        .split('\n')
        .zip(1..)
        .map(|(line, number)| format!("{number}→ {line}\n"))
        .collect()
}

fn tool_usage_rules(rules: &[ToolRule]) -> String {
    let mut rules: Vec<&ToolRule> = rules.iter().collect();
    rules.sort_by_key(|rule| place(&rule.kind)); // stable: rules of one kind stay in the agent's order
    let hints: Vec<String> = rules.into_iter().filter_map(hint).collect();
    if hints.is_empty() {
        return String::new();
    }
    let hints = hints.join("\n");
    format!("<tool_usage_rules>\n{RULES_INTRODUCTION}\n\n{hints}\n</tool_usage_rules>")
}

/// Where the hints of a kind stand among the others.
fn place(kind: &ToolRuleKind) -> u8 {
    match kind {
        ToolRuleKind::ContinueLoop => 0,
        ToolRuleKind::ConstrainChildTools { .. } | ToolRuleKind::Conditional { .. } => 1,
        ToolRuleKind::ParentLastTool { .. } => 2,
        ToolRuleKind::ExitLoop => 3,
        _ => 4,
    }
}

/// What the model is told of a rule. Rules that the loop enforces by itself have no hint.
fn hint(rule: &ToolRule) -> Option<String> {
    let tool = &rule.tool_name;
    match &rule.kind {
        ToolRuleKind::ContinueLoop => {
            Some(format!("- {tool} does not end your turn: go on after it."))
        }
        ToolRuleKind::ConstrainChildTools { children, .. } => Some(format!(
            "- Right after {tool}, the next call is one of: {}.",
            children.join(", ")
        )),
        ToolRuleKind::Conditional {
            child_output_mapping,
            default_child,
            ..
        } => Some(conditional_hint(
            tool,
            child_output_mapping,
            default_child.as_deref(),
        )),
        ToolRuleKind::ParentLastTool { children } => Some(format!(
            "- Only right after {tool} may you call: {}.",
            children.join(", ")
        )),
        ToolRuleKind::ExitLoop => Some(format!("- {tool} ends your turn.")),
        ToolRuleKind::MaxCountPerStep { max_count_limit } => Some(format!(
            "- Calls of {tool} in one turn: at most {max_count_limit}."
        )),
        ToolRuleKind::RunFirst { .. }
        | ToolRuleKind::RequiredBeforeExit
        | ToolRuleKind::RequiresApproval => None,
    }
}

fn conditional_hint(tool: &str, outputs: &[(String, String)], default: Option<&str>) -> String {
    let mut cases: Vec<String> = outputs
        .iter()
        .map(|(output, child)| format!("{output} → {child}"))
        .collect();
    cases.extend(default.map(|child| format!("anything else → {child}")));
    format!(
        "- Right after {tool}, its output decides the next call: {}.",
        cases.join("; ")
    )
}

fn metadata(input: &PromptInput<'_>) -> String {
    let conversation = input
        .conversation_id
        .map_or_else(|| "default".to_owned(), |id| id.to_string());
    format!(
        "<memory_metadata>\n\
         - AGENT_ID: {}\n\
         - CONVERSATION_ID: {conversation}\n\
         - System prompt last recompiled: {}\n\
         - {} messages of recall memory are stored and not shown here\n\
         </memory_metadata>",
        input.agent.id,
        clock::spoken(input.compiled_at, &input.agent.timezone),
        input.recall_messages,
    )
}

#[cfg(test)]
mod tests;
