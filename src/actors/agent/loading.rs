//! Activation: from disk to a live agent, and what becomes of runs that were under way (runs-and-streaming §13).

use super::commits::InFlight;
use super::threads::{Threads, context, place};
use super::{Arguments, CallEnd, Live, Mail, State, StepCommit};
use crate::actors::ask::Mailbox;
use crate::actors::house::House;
use crate::actors::refused::Refused;
use crate::domain::approval::{Pending, Word};
use crate::domain::clock;
use crate::domain::id::{AgentId, MessageId, RunId};
use crate::domain::message::{Message, ToolCall, ToolReturn};
use crate::domain::recovery::{self, Recovery};
use crate::domain::run::{End, Inbox, Phase, Run, StepStatus};
use crate::domain::step;
use crate::domain::tokens;
use crate::store::{Batch, ReadError};
use ractor::{ActorProcessingErr, ActorRef, SpawnErr};
use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// What is read from disk.
struct Loaded {
    settings: crate::domain::agent::Agent,
    head: crate::domain::history::Head,
    window: Vec<Arc<Message>>,
    inboxes: Vec<Inbox>,
    active: Vec<Run>,
}

/// Fences off earlier incarnations, reads, settles the runs that have no end, goes live.
pub(super) async fn load(
    myself: ActorRef<Mail>,
    arguments: Arguments,
) -> Result<State, ActorProcessingErr> {
    let Arguments {
        house,
        id,
        restarts,
    } = arguments;
    // First the epoch, then the reads: what an older incarnation had queued is applied by then, and nothing of it later.
    let epoch = house
        .store
        .fence(id)
        .await
        .map_err(|error| Refused::Internal(error.to_string()))?;
    let store_house = house.clone();
    let loaded = crate::actors::reads::blocking(move || read(&store_house, id)).await?;
    let mailbox: Arc<Mailbox> = Arc::default();
    let plate = house.board.hang(
        "agent",
        Some(id.to_string()),
        Some("agents".to_owned()),
        restarts,
        mailbox.clone(),
    );
    let live = Arc::new(Live {
        id,
        epoch,
        actor: myself.clone(),
        mailbox,
        leases: AtomicUsize::new(0),
        runs: Mutex::default(),
    });
    let mut state = State {
        house,
        live,
        settings: Arc::new(loaded.settings),
        head: loaded.head,
        threads: Threads::new(loaded.window),
        compared: None,
        open: HashMap::new(),
        deleted: false,
        last_used: Instant::now(),
        plate,
    };
    let mut orphans = loaded.active;
    for inbox in loaded.inboxes {
        let place = orphans.iter().position(|run| run.id == inbox.run_id);
        if let Some(place) = place {
            match state.open_thread(inbox.lane).await {
                // Its conversation is gone.
                Err(Refused::NoSuchConversation(_)) => continue,
                opened => opened?,
            }
            let run = orphans.swap_remove(place);
            state.recover(run, inbox, restarts > 0).await?;
        }
    }
    state.fail_orphans(orphans).await?;
    state.house.went_live(myself.get_id(), state.live.clone());
    state.idle(&myself);
    Ok(state)
}

fn read(house: &House, id: AgentId) -> Result<Loaded, Refused> {
    let store = &house.store;
    let settings = store.agent(id)?.ok_or(Refused::NoSuchAgent(id))?;
    let head = store.head(id)?.ok_or_else(|| Refused::Damaged {
        agent: Some(id),
        detail: "its head record is missing".to_owned(),
    })?;
    let window = context(house, id, &head.default_lane)?;
    if window.len() as u64 != head.default_lane.len() {
        let detail = format!(
            "{} of {} messages in context can be read",
            window.len(),
            head.default_lane.len()
        );
        return Err(Refused::Damaged {
            agent: Some(id),
            detail,
        });
    }
    let inboxes = store.inbox(id)?;
    let active = store.active_runs_of(id)?;
    Ok(Loaded {
        settings,
        head,
        window,
        inboxes,
        active,
    })
}

/// Frames that are looked at together.
const FRAMES_AT_ONCE: usize = 1_000;

impl State {
    /// How many of the stored frames of a run are of each message.
    fn shown(&self, run: RunId, last: u64) -> Result<HashMap<MessageId, usize>, ReadError> {
        let (mut shown, mut after) = (HashMap::new(), 0);
        while after < last {
            let store = &self.house.store;
            let frames = store.frames(self.id(), run, after, FRAMES_AT_ONCE)?;
            let Some((newest, _)) = frames.last() else {
                break;
            };
            after = *newest;
            let of = frames
                .iter()
                .filter_map(|(_, frame)| self.house.render.message_of(frame));
            of.for_each(|message| *shown.entry(message).or_insert(0) += 1);
        }
        Ok(shown)
    }

    /// Settles one accepted run without an end: back into its lane, or closed.
    pub(super) async fn recover(
        &mut self,
        run: Run,
        mut inbox: Inbox,
        waited_for: bool,
    ) -> Result<(), ActorProcessingErr> {
        let age = clock::now().duration_since(run.created_at).as_secs();
        let decision = recovery::recover(&inbox, waited_for, age);
        inbox.recoveries += 1;
        let (id, lane) = (run.id, inbox.lane);
        let stored = if run.background {
            self.house.store.last_frame(self.id(), id)?
        } else {
            0
        };
        // The count is written before the run is picked up: a run that kills its agent is not picked up for ever.
        let mut batch = Batch::of_agent(self.id(), self.live.epoch);
        batch.put_inbox(self.id(), &inbox);
        self.house.store.commit(batch).await?;
        let interrupted = self.interrupted_step(&inbox)?;
        let written = self.house.store.run_messages(self.id(), id)?;
        let written = written.into_iter().map(Arc::new).collect();
        let shown = self.shown(id, stored)?;
        let handle = self.open_run(run, inbox, stored, written, shown).await?;
        match decision {
            Recovery::Resume => self.threads.enqueue(lane, handle.id()),
            Recovery::CloseCallsAndResume => {
                if let Some(commit) = interrupted {
                    self.commit_recovered(commit).await?;
                }
                if self.open.contains_key(&id) {
                    self.threads.enqueue(lane, handle.id());
                }
            }
            Recovery::End(end) => {
                self.commit_recovered(StepCommit::closing(id, end)).await?;
            }
            Recovery::Fail(end) => {
                let mut commit =
                    interrupted.unwrap_or_else(|| StepCommit::closing(id, end.clone()));
                commit.stop = Some(end);
                self.commit_recovered(commit).await?;
            }
        }
        Ok(())
    }

    /// The calls that were under way: what came back is kept, everything else has an unknown outcome or never ran.
    fn interrupted_step(&self, inbox: &Inbox) -> Result<Option<StepCommit>, Refused> {
        let mut commit = StepCommit {
            run: inbox.run_id,
            step: None,
            said: Vec::new(),
            calls: Vec::new(),
            reminders: Vec::new(),
            stop: None,
            proviso: None,
            then: None,
        };
        match &inbox.progress.phase {
            Phase::Tools {
                step_id,
                assistant,
                started,
                finished,
            } => {
                commit.step = self.house.store.step(*step_id)?.map(|mut step| {
                    step.status = StepStatus::Failed;
                    step.error = End::server_restart().error;
                    step
                });
                let calls = assistant.tool_calls.iter();
                commit.calls = calls
                    .map(|call| interrupted(call, started, finished))
                    .collect();
                commit.said = vec![Message::clone(assistant)];
            }
            Phase::Settling { started, finished } => {
                let window = self.threads.window(inbox.lane);
                let waiting = Pending::of(window).zip(inbox.answer.clone());
                let Some((pending, answers)) = waiting else {
                    return Ok(None);
                };
                let end = |(call, word): (ToolCall, Word)| match word {
                    Word::Run => interrupted(&call, started, finished),
                    Word::Denied(reason) => {
                        CallEnd::failed(&call.id, &call.name, step::denied_call(reason.as_deref()))
                    }
                    Word::Returned(end) => CallEnd::packed(
                        &call,
                        step::pack_client(
                            &end,
                            tokens::return_chars(self.settings.llm_config.context_window),
                            clock::now(),
                            &self.settings.timezone,
                        ),
                    ),
                };
                let words = pending.words(&answers.approvals);
                commit.calls = words.into_iter().map(end).collect();
                commit.said = vec![pending.response(inbox.run_id, answers)];
            }
            Phase::Idle | Phase::Model { .. } | Phase::Ending(_) => return Ok(None),
        }
        Ok(Some(commit))
    }

    /// Runs that are listed as active and were never journalled, or whose journal is gone.
    async fn fail_orphans(&mut self, orphans: Vec<Run>) -> Result<(), ActorProcessingErr> {
        for mut run in orphans {
            let end = End::internal("the inputs of the run are not there any more");
            run.close(&end, clock::now());
            let mut batch = Batch::of_agent(self.id(), self.live.epoch);
            batch.put_run(&run);
            batch.delete_inbox(self.id(), run.id);
            self.house.store.commit(batch).await?;
        }
        Ok(())
    }

    async fn commit_recovered(&mut self, commit: StepCommit) -> Result<(), ActorProcessingErr> {
        match self.commit_end(commit).await {
            Ok(_) => Ok(()),
            Err(InFlight::Refused(refused)) => Err(refused.into()),
            Err(InFlight::Untrusted(reason)) => Err(super::Untrusted(reason).into()),
        }
    }
}

/// The end of a call that a crash may have cut off.
fn interrupted(call: &ToolCall, started: &[String], finished: &[ToolReturn]) -> CallEnd {
    let known = finished.iter().find(|end| end.tool_call_id == call.id);
    match known {
        Some(packed) => CallEnd::packed(call, packed.clone()),
        None if started.contains(&call.id) => {
            CallEnd::failed(&call.id, &call.name, step::interrupted_call())
        }
        // Whatever reaches outside is written down before it begins, and an edit is made when it is committed.
        None => CallEnd::failed(&call.id, &call.name, step::unstarted_call()),
    }
}

/// Closes every run of an agent that is out of service, under a fresh epoch and without its actor (decisions 36). What was
/// accepted and never answered is kept, outside the context.
pub(crate) async fn close_runs_of_faulted(
    house: &Arc<House>,
    id: AgentId,
    reason: &str,
) -> Result<(), Refused> {
    let epoch = house
        .store
        .fence(id)
        .await
        .map_err(|error| Refused::Internal(error.to_string()))?;
    let store_house = house.clone();
    let (runs, inboxes, head) = crate::actors::reads::blocking(move || {
        let store = &store_house.store;
        Ok((store.active_runs_of(id)?, store.inbox(id)?, store.head(id)?))
    })
    .await?;
    let mut head = head;
    for mut run in runs {
        let end = End::internal(format!("its agent is out of service: {reason}"));
        run.close(&end, clock::now());
        let mut batch = Batch::of_agent(id, epoch);
        if let Some(inbox) = inboxes.iter().find(|inbox| inbox.run_id == run.id) {
            batch.delete_inbox(id, run.id);
            if let Some(head) = head
                .as_mut()
                .filter(|_| inbox.progress.committed_steps == 0)
            {
                let conversation = inbox.lane.conversation();
                let mut conversation = match conversation {
                    Some(conversation) => house.store.conversation_of(id, conversation)?,
                    None => None,
                };
                for mut message in inbox.messages(id) {
                    message.is_err = true;
                    let conversation = conversation.as_mut();
                    let now = clock::now();
                    place(&mut batch, head, conversation, &mut message, now, false);
                }
                batch.put_head(id, head);
            }
        }
        batch.put_run(&run);
        house
            .store
            .commit(batch)
            .await
            .map_err(|error| Refused::Internal(error.to_string()))?;
    }
    house.store.release(id, epoch);
    Ok(())
}

/// What those who wait are told when an agent could not start.
pub(super) fn refusal(error: SpawnErr) -> Refused {
    match error {
        SpawnErr::StartupFailed(inner) => match inner.downcast::<Refused>() {
            Ok(refused) => *refused,
            Err(other) => Refused::Internal(other.to_string()),
        },
        other => Refused::Internal(other.to_string()),
    }
}
