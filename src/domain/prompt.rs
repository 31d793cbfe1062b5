//! The system message: base text, core memory, metadata. One function for create, rebuild and preview.

use super::agent::Agent;
use super::block::Block;
use super::id::ConversationId;
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

/// The full system message.
pub fn compile(input: &PromptInput<'_>) -> String {
    input.agent.system.clone()
}
