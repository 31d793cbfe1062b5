//! The agent's part of compaction: what was summarised gives way in one batch.

use super::State;
use super::commits::InFlight;
use super::threads;
use crate::actors::refused::Refused;
use crate::domain::id::{MessageId, RunId};
use crate::domain::message::Message;
use crate::domain::run::Step;
use crate::store::Batch;
use std::collections::HashSet;
use std::sync::Arc;

/// Numbers of the steps that stand for summaries: behind all steps of any run.
const SUMMARIES: u64 = 1 << 32;

/// A summary that is to take the place of a part of a lane's context.
#[derive(Debug, Clone)]
pub(crate) struct Compaction {
    pub(crate) run: RunId,
    /// The lane's when the summary was begun: one that was replaced since is left alone (decisions 27).
    pub(crate) version: u64,
    /// The messages that give way. What joined the context since the summary was begun stays.
    pub(crate) evicted: HashSet<MessageId>,
    pub(crate) summary: Message,
    /// The summariser's calls.
    pub(crate) call: Step,
    /// Of the context that is left.
    pub(crate) tokens: u64,
}

/// The context as it is now, for the worker's next step.
#[derive(Debug)]
pub(crate) struct Compacted {
    pub(crate) version: u64,
    pub(crate) system: Arc<str>,
    /// Without the system message.
    pub(crate) messages: Vec<Arc<Message>>,
}

impl State {
    /// One batch: the summary, the list, and the system message, compiled anew with the time of now. What is left out stays
    /// stored.
    pub(super) async fn compact(&mut self, compaction: Compaction) -> Result<Compacted, InFlight> {
        let Compaction {
            run,
            version,
            evicted,
            mut summary,
            mut call,
            tokens,
        } = compaction;
        let open = self.open.get(&run).ok_or(Refused::NoSuchRun(run))?;
        let lane = open.inbox.lane;
        let thread = self.threads.get(lane).ok_or_else(replaced)?;
        let Some((system, others)) = thread.window.split_first() else {
            return Err(replaced().into());
        };
        if self.version(lane) != version {
            return Err(replaced().into());
        }
        let stays = |message: &&Arc<Message>| !evicted.contains(&message.id);
        let kept: Vec<Arc<Message>> = others.iter().filter(stays).cloned().collect();
        let now = self.stamp();
        let mut record = open.record.clone();
        record.usage.add(call.usage);
        record.context_tokens = Some(tokens);
        let mut head = self.head.clone();
        let mut conversation = thread.conversation.clone();
        let mut batch = Batch::of_agent(self.id(), self.live.epoch);
        threads::place(
            &mut batch,
            &mut head,
            conversation.as_mut(),
            &mut summary,
            now,
            false,
        );
        let sequences = kept.iter().map(|message| message.sequence);
        let sequences = [system.sequence, summary.sequence]
            .into_iter()
            .chain(sequences);
        match &mut conversation {
            Some(conversation) => conversation.window.replace(sequences),
            None => head.default_lane.replace(sequences),
        }
        let (head, fresh) = self.compiled_anew(lane, &head, Some(now))?;
        let system = fresh.unwrap_or_else(|| system.clone());
        call.run_id = summary.run_id;
        call.number = SUMMARIES + summary.sequence;
        batch.put_message(&system);
        batch.put_head(self.id(), &head);
        if let Some(conversation) = &conversation {
            batch.put_conversation(conversation);
        }
        batch.put_run(&record);
        batch.put_step(&call);
        self.write(batch).await?;
        let summary = Arc::new(summary);
        let messages: Vec<Arc<Message>> = std::iter::once(summary.clone()).chain(kept).collect();
        self.head = head;
        if let Some(thread) = self.threads.get_mut(lane) {
            thread.conversation = conversation;
            thread.window = std::iter::once(system.clone())
                .chain(messages.clone())
                .collect();
        }
        if let Some(open) = self.open.get_mut(&run) {
            open.record = record;
            open.handle.compacted(summary);
        }
        Ok(Compacted {
            version: self.version(lane),
            system: system.text().into(),
            messages,
        })
    }
}

fn replaced() -> Refused {
    Refused::Argument("the context was replaced while it was summarised".to_owned())
}
