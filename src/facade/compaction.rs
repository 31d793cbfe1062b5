//! A compaction that somebody asks for. A run of its own, so it waits for its turn, can be cancelled, and is seen in the tree.

use super::Facade;
use super::error::ApiError;
use super::turn::{Repeat, failed, run_of};
use crate::actors::agent::Started;
use crate::actors::reads::Relations;
use crate::domain::agent::CompactionChange;
use crate::domain::compaction::{self, summary};
use crate::domain::id::AgentId;
use crate::domain::run::{LaneId, RunRequest, RunStatus};
use crate::wire::compaction::Compacted;

/// Puts a summary in the place of older messages of a thread. `refuse_busy`: a busy thread is refused instead of waited for.
pub(super) async fn compact(
    facade: &Facade,
    agent: AgentId,
    lane: LaneId,
    change: Option<CompactionChange>,
    refuse_busy: bool,
    repeat: Repeat,
) -> Result<Compacted, ApiError> {
    let (reads, directory) = (&facade.handles.reads, &facade.handles.directory);
    let view = reads.agent(agent, Relations::default()).await?;
    let settings = compaction::overridden(&view.agent.compaction, change);
    let request = repeat.of(RunRequest::compaction(settings, lane));
    let handle = directory.agent(agent).await?;
    let started = handle.start_run(request, refuse_busy).await?;
    // A compaction leaves no record: its end is told by the run itself.
    let told = match &started {
        Started::Live { run, .. } => run.finished().await.ok(),
        Started::Ended(_) => None,
    };
    let outcome = match told {
        Some(outcome) => outcome,
        None => directory.outcome(run_of(&started)).await?,
    };
    if let Some(error) = &outcome.run.error {
        return Err(failed(error));
    }
    if outcome.run.status != RunStatus::Completed {
        return Err(ApiError::argument("the compaction was cancelled"));
    }
    let mut messages = outcome.messages.iter();
    let made = messages.find_map(|message| summary::read(message));
    if let Some((summary, stats)) = made.and_then(|made| Some((made.text, made.stats?))) {
        return Ok(Compacted {
            summary,
            num_messages_before: stats.messages_count_before,
            num_messages_after: stats.messages_count_after,
        });
    }
    // There was nothing to summarise but, perhaps, a summary.
    let context = reads.context(agent, lane).await?;
    let summary = context.iter().find_map(summary::read);
    if summary.is_none() && lane != LaneId::Default {
        return Err(ApiError::argument("the conversation has no messages yet"));
    }
    Ok(Compacted {
        summary: summary.map(|summary| summary.text).unwrap_or_default(),
        num_messages_before: context.len() as u64,
        num_messages_after: context.len() as u64,
    })
}
