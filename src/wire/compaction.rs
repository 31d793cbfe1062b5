//! Compaction as JSON: the request of the two endpoints, their answer, and what messages tell about it.

use super::model::CompactionIn;
use crate::domain::agent::CompactionChange;
use crate::domain::compaction::summary::Stats as DomainStats;
use crate::domain::piece::Compaction;
use serde::{Deserialize, Serialize};

/// Body of `POST /v1/agents/{agent_id}/summarize` and `POST /v1/conversations/{conversation_id}/compact`; may be absent.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Compact {
    /// Whose default thread, where the conversation is `default`.
    pub agent_id: Option<String>,
    compaction_settings: Option<CompactionIn>,
}

impl Compact {
    /// What was sent of the settings: the rest is the agent's.
    pub fn into_change(self) -> Option<CompactionChange> {
        self.compaction_settings.map(Into::into)
    }
}

/// Their answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Compacted {
    pub summary: String,
    pub num_messages_before: u64,
    pub num_messages_after: u64,
}

/// `compaction_stats` of a summary.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Stats<'a> {
    trigger: &'a str,
    context_tokens_before: Option<u64>,
    context_tokens_after: Option<u64>,
    context_window: u64,
    messages_count_before: u64,
    messages_count_after: u64,
}

impl<'a> From<&'a DomainStats> for Stats<'a> {
    fn from(stats: &'a DomainStats) -> Self {
        Self {
            trigger: &stats.trigger,
            context_tokens_before: stats.context_tokens_before,
            context_tokens_after: stats.context_tokens_after,
            context_window: stats.context_window,
            messages_count_before: stats.messages_count_before,
            messages_count_after: stats.messages_count_after,
        }
    }
}

/// `event_data` of the event that stands before a summary.
#[derive(Debug, Clone, Serialize)]
pub(super) struct CompactionEvent<'a> {
    trigger: &'a str,
    context_token_estimate: Option<u64>,
    context_window: u64,
}

impl<'a> From<&'a Compaction> for CompactionEvent<'a> {
    fn from(news: &'a Compaction) -> Self {
        Self {
            trigger: &news.trigger,
            context_token_estimate: news.context_token_estimate,
            context_window: news.context_window,
        }
    }
}

#[cfg(test)]
mod tests;
