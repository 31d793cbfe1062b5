//! What a model sees of an agent, as JSON: the overview of a context, with its messages in their raw form.

use super::content::PartOut;
use super::message::status;
use crate::domain::message::{Approval, Message as Domain, Role, ToolCall, ToolOutput, ToolReturn};
use crate::domain::model::ToolSchema;
use crate::domain::overview::{Overview as DomainOverview, Section};
use serde::Serialize;
use serde_json::Value;

/// `GET …/agents/{id}/context`.
#[derive(Serialize)]
pub struct Overview<'a> {
    context_window_size_max: u64,
    context_window_size_current: u64,
    num_messages: usize,
    num_archival_memory: u64,
    num_recall_memory: u64,
    num_tokens_external_memory_summary: u64,
    external_memory_summary: &'a str,
    num_tokens_system: u64,
    system_prompt: &'a str,
    num_tokens_core_memory: u64,
    core_memory: &'a str,
    num_tokens_memory_filesystem: u64,
    memory_filesystem: Option<&'a str>,
    num_tokens_tool_usage_rules: u64,
    tool_usage_rules: Option<&'a str>,
    num_tokens_directories: u64,
    directories: Option<&'a str>,
    num_tokens_summary_memory: u64,
    summary_memory: Option<&'a str>,
    num_tokens_functions_definitions: u64,
    functions_definitions: Vec<FunctionTool<'a>>,
    num_tokens_messages: u64,
    messages: Vec<RawMessage<'a>>,
}

impl<'a> From<&'a DomainOverview> for Overview<'a> {
    fn from(overview: &'a DomainOverview) -> Self {
        let text = |section: &'a Section| section.text.as_deref();
        let messages = overview.messages.iter();
        Self {
            context_window_size_max: overview.window,
            context_window_size_current: overview.tokens(),
            num_messages: overview.messages.len(),
            num_archival_memory: overview.archived_passages,
            num_recall_memory: overview.stored_messages,
            num_tokens_external_memory_summary: overview.external_memory.tokens,
            external_memory_summary: text(&overview.external_memory).unwrap_or_default(),
            num_tokens_system: overview.system_prompt.tokens,
            system_prompt: text(&overview.system_prompt).unwrap_or_default(),
            num_tokens_core_memory: overview.core_memory.tokens,
            core_memory: text(&overview.core_memory).unwrap_or_default(),
            num_tokens_memory_filesystem: overview.memory_filesystem.tokens,
            memory_filesystem: text(&overview.memory_filesystem),
            num_tokens_tool_usage_rules: overview.tool_usage_rules.tokens,
            tool_usage_rules: text(&overview.tool_usage_rules),
            num_tokens_directories: overview.directories.tokens,
            directories: text(&overview.directories),
            num_tokens_summary_memory: overview.summary.tokens,
            summary_memory: text(&overview.summary),
            num_tokens_functions_definitions: overview.tools_tokens,
            functions_definitions: overview.tools.iter().map(FunctionTool::from).collect(),
            num_tokens_messages: overview.messages_tokens,
            messages: messages
                .map(|message| RawMessage::from(&**message))
                .collect(),
        }
    }
}

#[derive(Serialize)]
struct FunctionTool<'a> {
    r#type: &'static str,
    function: FunctionDefinition<'a>,
}

#[derive(Serialize)]
struct FunctionDefinition<'a> {
    name: &'a str,
    description: &'a str,
    parameters: &'a Value,
}

impl<'a> From<&'a ToolSchema> for FunctionTool<'a> {
    fn from(tool: &'a ToolSchema) -> Self {
        Self {
            r#type: "function",
            function: FunctionDefinition {
                name: &tool.name,
                description: &tool.description,
                parameters: &tool.parameters,
            },
        }
    }
}

/// A message as it is stored, not cut into the pieces that other lists show.
#[derive(Serialize)]
struct RawMessage<'a> {
    /// Who wrote a record is not kept of messages.
    created_by_id: Option<&'a str>,
    last_updated_by_id: Option<&'a str>,
    created_at: String,
    updated_at: String,
    id: String,
    agent_id: String,
    model: Option<&'a str>,
    role: &'static str,
    content: Option<Vec<PartOut<'a>>>,
    name: Option<&'a str>,
    tool_calls: Option<Vec<RawCall<'a>>>,
    tool_call_id: Option<&'a str>,
    step_id: Option<String>,
    run_id: Option<String>,
    otid: Option<&'a str>,
    tool_returns: Option<Vec<RawReturn<'a>>>,
    group_id: Option<&'a str>,
    sender_id: Option<&'a str>,
    batch_item_id: Option<&'a str>,
    conversation_id: Option<String>,
    /// True or null, never false.
    is_err: Option<bool>,
    approval_request_id: Option<&'a str>,
    approve: Option<bool>,
    denial_reason: Option<&'a str>,
    approvals: Option<Vec<RawApproval<'a>>>,
}

impl<'a> From<&'a Domain> for RawMessage<'a> {
    fn from(message: &'a Domain) -> Self {
        let (approval_request_id, approve, denial_reason) = match message.approvals.first() {
            Some(Approval::Decision {
                tool_call_id,
                approve,
                reason,
            }) => (
                Some(tool_call_id.as_str()),
                Some(*approve),
                reason.as_deref(),
            ),
            Some(Approval::Return(_)) | None => (None, None, None),
        };
        let returns = &message.tool_returns;
        Self {
            created_by_id: None,
            last_updated_by_id: None,
            created_at: super::time(message.created_at),
            updated_at: super::time(message.updated_at),
            id: message.id.to_string(),
            agent_id: message.agent_id.to_string(),
            model: message.model.as_deref(),
            role: message.role.name(),
            content: content(message),
            name: message.name.as_deref(),
            tool_calls: list(&message.tool_calls),
            tool_call_id: returns.first().map(|end| end.tool_call_id.as_str()),
            step_id: message.step_id.map(|id| id.to_string()),
            run_id: message.run_id.map(|id| id.to_string()),
            otid: message.otid.as_deref(),
            tool_returns: list(returns),
            group_id: message.group_id.as_deref(),
            sender_id: message.sender_id.as_deref(),
            batch_item_id: message.batch_item_id.as_deref(),
            conversation_id: message.conversation_id.map(|id| id.to_string()),
            is_err: message.is_err.then_some(true),
            approval_request_id,
            approve,
            denial_reason,
            approvals: list(&message.approvals),
        }
    }
}

/// Null in the place of an empty list.
fn list<'a, T, U: From<&'a T>>(items: &'a [T]) -> Option<Vec<U>> {
    (!items.is_empty()).then(|| items.iter().map(U::from).collect())
}

/// A tool's returns stand in the content as well, where older readers look for them.
fn content(message: &Domain) -> Option<Vec<PartOut<'_>>> {
    if message.role != Role::Tool {
        return list(&message.content);
    }
    let mut parts = Vec::new();
    for end in &message.tool_returns {
        match &end.output {
            ToolOutput::Packed(text) => parts.push(PartOut::Text {
                text,
                signature: None,
            }),
            ToolOutput::Parts(output) => parts.extend(output.iter().map(PartOut::from)),
        }
    }
    (!parts.is_empty()).then_some(parts)
}

#[derive(Serialize)]
struct RawCall<'a> {
    id: &'a str,
    function: RawFunction<'a>,
    r#type: &'static str,
}

#[derive(Serialize)]
struct RawFunction<'a> {
    arguments: &'a str,
    name: &'a str,
}

impl<'a> From<&'a ToolCall> for RawCall<'a> {
    fn from(call: &'a ToolCall) -> Self {
        Self {
            id: &call.id,
            function: RawFunction {
                arguments: &call.arguments,
                name: &call.name,
            },
            r#type: "function",
        }
    }
}

#[derive(Serialize)]
struct RawReturn<'a> {
    tool_call_id: &'a str,
    status: &'static str,
    stdout: Option<&'a [String]>,
    stderr: Option<&'a [String]>,
    func_response: Response<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Response<'a> {
    Text(&'a str),
    Parts(Vec<PartOut<'a>>),
}

impl<'a> From<&'a ToolReturn> for RawReturn<'a> {
    fn from(end: &'a ToolReturn) -> Self {
        Self {
            tool_call_id: &end.tool_call_id,
            status: status(end.status),
            stdout: end.stdout.as_deref(),
            stderr: end.stderr.as_deref(),
            func_response: match &end.output {
                ToolOutput::Packed(text) => Response::Text(text),
                ToolOutput::Parts(parts) => {
                    Response::Parts(parts.iter().map(PartOut::from).collect())
                }
            },
        }
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum RawApproval<'a> {
    Decision {
        r#type: &'static str,
        tool_call_id: &'a str,
        approve: bool,
        reason: Option<&'a str>,
    },
    Return(RawReturn<'a>),
}

impl<'a> From<&'a Approval> for RawApproval<'a> {
    fn from(approval: &'a Approval) -> Self {
        match approval {
            Approval::Decision {
                tool_call_id,
                approve,
                reason,
            } => Self::Decision {
                r#type: "approval",
                tool_call_id,
                approve: *approve,
                reason: reason.as_deref(),
            },
            Approval::Return(end) => Self::Return(end.into()),
        }
    }
}

#[cfg(test)]
mod tests;
