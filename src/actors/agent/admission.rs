//! Admission: whether a request becomes a run, waits for its lane, or belongs to a run that is there already.

use super::commits::InFlight;
use super::{Live, OpenRun, State};
use crate::actors::refused::Refused;
use crate::actors::run::worker::Context;
use crate::actors::run::{self, RunHandle};
use crate::domain::agent::TurnLoop;
use crate::domain::approval::{self, Answer, Pending};
use crate::domain::clock;
use crate::domain::id::{AgentId, MessageId, RunId};
use crate::domain::message::{Message, Part, Role};
use crate::domain::model::Usage;
use crate::domain::page::{Order, Stretch};
use crate::domain::run::{
    Answers, Callback, ErrorClass, Inbox, Input, InputRole, LaneId, Phase, Progress, Run, RunError,
    RunRequest, RunStatus, Task,
};
use crate::store::{Batch, IdempotencyRecord};
use ractor::{ActorId, ActorProcessingErr};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

/// What came of a request to run: a run of its own, or the run of the first send of the same request (decisions 25, 34).
#[derive(Debug, Clone)]
pub enum Started {
    /// `fresh`: this request made the run.
    Live { run: RunHandle, fresh: bool },
    /// The first send's run has already ended; it is answered from the store.
    Ended(RunId),
}

/// Newest messages among which a bare context looks for its last returns.
const SEARCHED: usize = 1_000;
/// Hours that an idempotency key is kept.
const KEY_HOURS: i64 = 24;
/// Hours in which a send that is known by its `otid`s attaches to the first.
const OTID_HOURS: i64 = 3;
/// Seconds in which a marked retry without `otid`s is known by its body.
const RETRY_SECONDS: i64 = 10 * 60;
/// The newest runs, of any age, whose `otid`s a marked retry is compared with …
const RETRY_RUNS: usize = 32;
/// … and most of all runs of those seconds: it is the agent that looks.
const RETRY_LOOKS: usize = 10_000;

/// What is said of a run beside its fields.
fn metadata(run_type: &str, chain: &[AgentId]) -> Value {
    let mut metadata = json!({"run_type": run_type});
    if !chain.is_empty() {
        let chain = chain.iter().map(ToString::to_string);
        metadata["call_chain"] = chain.collect();
    }
    metadata
}

impl State {
    /// Accepts a run: inputs and record in one durable batch, then an actor for it, queued or not (a queued run must be
    /// reachable for a cancel).
    pub(super) async fn start_run(
        &mut self,
        request: RunRequest,
        refuse_busy: bool,
    ) -> Result<Started, InFlight> {
        if self.deleted {
            return Err(Refused::NoSuchAgent(self.id()).into());
        }
        // Asked again because the answer was late: the first of the two was taken.
        if self.house.store.run_of(self.id(), request.id)?.is_some() {
            return Ok(self.attach(request.id));
        }
        let first = self.first_send(&request)?;
        let first = match first {
            Some(first) if is_restart(&first) => Some(first),
            Some(first) => return Ok(self.attach(first.id)),
            None => None,
        };
        if !request.client_tools.is_empty()
            && self.settings.agent_type.turn_loop() != TurnLoop::Native
        {
            let kind = self.settings.agent_type.name();
            let text = format!(
                "client_tools: an agent of type {kind} has none, its calls are the server's own"
            );
            return Err(Refused::Argument(text).into());
        }
        let lane = request.lane;
        self.open_thread(lane).await?;
        let thread = self.threads.get(lane).ok_or(Refused::Overloaded)?;
        if let Some(busy) = thread.lane.current.filter(|_| refuse_busy) {
            return Err(Refused::LaneBusy { run: busy }.into());
        }
        let waiting = thread.lane.queue.len();
        if waiting >= self.house.settings.queue_depth {
            let agent = self.id();
            return Err(Refused::QueueFull { agent, waiting }.into());
        }
        if thread.lane.is_free() && request.task == Task::Turn {
            self.check_answer(lane, request.answer.as_ref())
                .map_err(refusal)?;
        }
        let mut conversation = thread.conversation.clone();
        let repeats = by_otids(&request);
        let (record, inbox) = self.accept(request, first.as_ref());
        let mut head = self.head.clone();
        head.next_acceptance += 1;
        let mut batch = Batch::of_agent(self.id(), self.live.epoch);
        batch.put_run(&record);
        batch.put_inbox(self.id(), &inbox.0);
        batch.put_head(self.id(), &head);
        if let Some(conversation) = conversation.as_mut().filter(|_| inbox.0.task == Task::Turn) {
            conversation.last_message_at = Some(record.created_at);
            batch.put_conversation(conversation);
        }
        if let Some(key) = repeats {
            let expires_at = clock::now() + jiff::SignedDuration::from_hours(OTID_HOURS);
            let first = IdempotencyRecord {
                run: record.id,
                body_hash: record.body_hash,
                expires_at,
            };
            batch.put_idempotency(self.id(), key, &first);
        }
        if let Some(key) = inbox.1 {
            let expires_at = clock::now() + jiff::SignedDuration::from_hours(KEY_HOURS);
            batch.put_idempotency(
                self.id(),
                key,
                &IdempotencyRecord {
                    run: record.id,
                    body_hash: record.body_hash,
                    expires_at,
                },
            );
        }
        self.write(batch).await?;
        self.head = head;
        if let Some(thread) = self.threads.get_mut(lane) {
            thread.conversation = conversation;
        }
        let handle = self
            .open_run(record, inbox.0, 0, Vec::new(), HashMap::new())
            .await
            .map_err(|error| InFlight::Untrusted(error.to_string()))?;
        self.threads.enqueue(lane, handle.id());
        self.start_next(lane)
            .await
            .map_err(|error| InFlight::Untrusted(error.to_string()))?;
        Ok(Started::Live {
            run: handle,
            fresh: true,
        })
    }

    /// The run that the first send of this request made, if this is a repeat.
    fn first_send(&self, request: &RunRequest) -> Result<Option<Run>, Refused> {
        if let Some(key) = request.idempotency_key {
            let Some(known) = self.house.store.idempotency(self.id(), &key)? else {
                return Ok(None);
            };
            if known.expires_at < clock::now() {
                return Ok(None);
            }
            if known.body_hash != request.body_hash {
                return Err(Refused::KeyReused);
            }
            return Ok(self.house.store.run_of(self.id(), known.run)?);
        }
        if let Some(key) = by_otids(request)
            && let Some(known) = self.house.store.idempotency(self.id(), &key)?
            && known.expires_at >= clock::now()
        {
            return Ok(self.house.store.run_of(self.id(), known.run)?);
        }
        if request.retry {
            self.retried(request)
        } else {
            Ok(None)
        }
    }

    /// The newest run of the lane that a request with the client's retry mark repeats (decisions 34).
    fn retried(&self, request: &RunRequest) -> Result<Option<Run>, Refused> {
        let otids = otids(request.answer.as_ref(), &request.inputs);
        let now = clock::now();
        let newest = Stretch::all(Order::Descending);
        let runs = self.house.store.runs(Some(self.id()), newest)?;
        for (looks, run) in runs.take(RETRY_LOOKS).enumerate() {
            let run = run?;
            let fresh = now.duration_since(run.created_at).as_secs() <= RETRY_SECONDS;
            if !fresh && looks >= RETRY_RUNS {
                break;
            }
            let known = if otids.is_empty() {
                fresh && run.body_hash == request.body_hash
            } else {
                run.otids == otids
            };
            if known && run.lane() == request.lane && !run.delivered {
                return Ok(Some(run));
            }
        }
        Ok(None)
    }

    fn attach(&self, run: RunId) -> Started {
        let live = self
            .open
            .get(&run)
            .map(|open| open.handle.clone())
            .or_else(|| self.house.runs.get(&run).map(|run| run.value().clone()));
        live.map_or(Started::Ended(run), |run| Started::Live {
            run,
            fresh: false,
        })
    }

    /// The records of a new run. The inputs of a first send that a restart interrupted are not appended twice.
    fn accept(&self, request: RunRequest, first: Option<&Run>) -> (Run, (Inbox, Option<[u8; 32]>)) {
        let now = clock::now();
        let in_context = |first: &Run| {
            let of_first = |message: &Arc<Message>| message.run_id == Some(first.id);
            first.steps > 0 || self.threads.window(request.lane).iter().any(of_first)
        };
        let committed_before = first.is_some_and(in_context);
        let otids = otids(request.answer.as_ref(), &request.inputs);
        let inputs = if committed_before {
            Vec::new()
        } else {
            request.inputs
        };
        let record = Run {
            id: request.id,
            agent_id: self.id(),
            conversation_id: request.lane.conversation(),
            status: RunStatus::Created,
            stop_reason: None,
            background: request.background,
            metadata: metadata(&request.run_type, &request.chain),
            view: request.options.view.clone(),
            created_at: now,
            completed_at: None,
            callback: request.callback_url.map(|url| Callback {
                url,
                sent_at: None,
                status_code: None,
                error: None,
            }),
            ttft_ns: None,
            total_duration_ns: None,
            error: None,
            usage: Usage::default(),
            steps: 0,
            context_tokens: None,
            tools_used: Vec::new(),
            otids,
            body_hash: request.body_hash,
            delivered: false,
        };
        let inbox = Inbox {
            run_id: request.id,
            lane: request.lane,
            task: request.task,
            accepted: self.head.next_acceptance,
            answer: request.answer,
            client_tools: request.client_tools,
            input_ids: inputs.iter().map(|_| MessageId::new()).collect(),
            inputs,
            options: request.options,
            resume: request.background,
            progress: Progress {
                committed_steps: 0,
                phase: Phase::Idle,
            },
            recoveries: 0,
        };
        (record, (inbox, request.idempotency_key))
    }

    /// What an answer, or none, means for a thread as it stands.
    fn check_answer(
        &self,
        lane: LaneId,
        answer: Option<&Answers>,
    ) -> Result<Option<Answer>, ErrorClass> {
        let window = self.threads.window(lane);
        match answer {
            Some(answers) => {
                let newest = self.newest_return(lane);
                approval::read(window, newest.as_ref(), &answers.approvals)
                    .map(Some)
                    .map_err(|bad| ErrorClass::BadAnswer(bad.to_string()))
            }
            None => match Pending::of(window) {
                Some(pending) => Err(ErrorClass::PendingApproval(pending.id())),
                None => Ok(None),
            },
        }
    }

    /// The newest stored returns, for a context that holds none because it was compacted.
    fn newest_return(&self, lane: LaneId) -> Option<Message> {
        let talks = |message: &Arc<Message>| !matches!(message.role, Role::System | Role::Summary);
        if self.threads.window(lane).iter().any(talks) {
            return None;
        }
        let mut newest = self
            .house
            .store
            .messages(self.id(), Stretch::all(Order::Descending))
            .take(SEARCHED);
        newest.find_map(|message| {
            message.ok().filter(|message| {
                message.role == Role::Tool && message.conversation_id == lane.conversation()
            })
        })
    }

    /// Settles what the answer of a run whose turn it is means. One that was given before is forgotten: the turn goes on with
    /// what came with it, or with a word that keeps it going (agent-loop §9).
    pub(super) fn read_answer(&mut self, run: RunId) -> Result<(), RunError> {
        let Some(open) = self.open.get(&run) else {
            return Ok(());
        };
        if open.inbox.progress.committed_steps > 0 || open.inbox.task != Task::Turn {
            return Ok(());
        }
        let lane = open.inbox.lane;
        let meant = self.check_answer(lane, open.inbox.answer.as_ref());
        let meant = meant.map_err(|class| RunError {
            detail: class.detail(),
            class,
        })?;
        let window = self.threads.window(lane);
        if let Some(open) = self.open.get_mut(&run) {
            understand(&mut open.inbox, meant, window);
        }
        Ok(())
    }

    /// What a run on this request would start from if it had its turn now. Nothing is accepted or written.
    pub(super) async fn preview(&mut self, request: RunRequest) -> Result<Context, InFlight> {
        self.alive()?;
        let lane = request.lane;
        self.open_thread(lane).await?;
        // The text that it would get: the system message is compared before anybody sees it (decisions 33).
        if lane == LaneId::Default {
            self.refresh().await?;
        }
        let meant = self.check_answer(lane, request.answer.as_ref());
        let meant = meant.map_err(refusal)?;
        let (_, (mut inbox, _)) = self.accept(request, None);
        let thread = self.threads.get(lane).ok_or(Refused::Overloaded)?;
        let forgets = self.forgets(&inbox, inbox.answer.is_some());
        understand(&mut inbox, meant, &thread.window);
        Ok(self.context(thread, &inbox, forgets))
    }

    /// An actor for an accepted run.
    pub(super) async fn open_run(
        &mut self,
        record: Run,
        inbox: Inbox,
        stored_frames: u64,
        written: Vec<Arc<Message>>,
        shown: HashMap<MessageId, usize>,
    ) -> Result<RunHandle, ActorProcessingErr> {
        let arguments = run::Arguments {
            house: self.house.clone(),
            agent: self.live.actor.clone(),
            agent_mailbox: self.live.mailbox.clone(),
            epoch: self.live.epoch,
            run: Arc::new(record.clone()),
            turn_loop: self.settings.agent_type.turn_loop(),
            stream: inbox.options.stream,
            shows_summaries: inbox.options.include_compaction_messages,
            stored_frames,
            written,
            shown,
        };
        let handle = run::spawn(arguments, self.live.actor.get_cell()).await?;
        self.live.enter(&handle);
        self.open.insert(
            record.id,
            OpenRun {
                answers: inbox.answer.is_some(),
                record,
                inbox,
                handle: handle.clone(),
                accepted_at: Instant::now(),
            },
        );
        Ok(handle)
    }

    /// A run's actor has ended. If its end is not written, the recovery table says what becomes of it: somebody waits
    /// (decisions 36).
    pub(super) async fn run_gone(
        &mut self,
        actor: ActorId,
        failure: Option<String>,
    ) -> Result<(), ActorProcessingErr> {
        let left = self.live.leave(actor);
        let Some(run) = left
            .map(|run| run.id())
            .filter(|run| self.open.contains_key(run))
        else {
            return Ok(());
        };
        if self.house.is_draining() {
            return Ok(());
        }
        tracing::error!(agent = %self.id(), %run, failure, "a run died before its end was written");
        let Some(open) = self.open.remove(&run) else {
            return Ok(());
        };
        let lane = open.inbox.lane;
        if let Some(thread) = self.threads.get_mut(lane) {
            thread.lane.forget(run);
        }
        self.recover(open.record, open.inbox, true).await?;
        self.start_next(lane).await
    }
}

impl Live {
    fn enter(&self, run: &RunHandle) {
        self.runs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(run.clone());
    }

    fn leave(&self, actor: ActorId) -> Option<RunHandle> {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        let place = runs.iter().position(|run| run.is_actor(actor))?;
        Some(runs.remove(place))
    }
}

/// Writes down what an answer means for the context it was given to.
fn understand(inbox: &mut Inbox, meant: Option<Answer>, window: &[Arc<Message>]) {
    match (meant, &mut inbox.answer) {
        (Some(Answer::Settles(_, approvals)), Some(answers)) => answers.approvals = approvals,
        (Some(Answer::Again), answer) => {
            *answer = None;
            let unanswered = window.last().is_some_and(|last| last.role == Role::User);
            if inbox.inputs.is_empty() && !unanswered {
                inbox.inputs.push(keep_alive());
                inbox.input_ids.push(MessageId::new());
            }
        }
        (None, _) | (_, None) => (),
    }
}

/// Stands for the input of a repeated answer that nothing came with. Programs look for the word.
fn keep_alive() -> Input {
    let text = "keep-alive: the answer was taken before, please go on";
    Input {
        role: InputRole::User,
        content: vec![Part::of_text(text)],
        name: None,
        otid: None,
        sender_id: None,
        group_id: None,
        batch_item_id: None,
    }
}

/// What a client is told whose answer, or whose message, does not fit the end of the context.
fn refusal(class: ErrorClass) -> Refused {
    match class {
        ErrorClass::PendingApproval(request) => Refused::PendingApproval { request },
        other => Refused::BadAnswer(other.detail()),
    }
}

fn otids(answer: Option<&Answers>, inputs: &[Input]) -> Vec<String> {
    let answer = answer.and_then(|answer| answer.otid.clone());
    let inputs = inputs.iter().filter_map(|input| input.otid.clone());
    answer.into_iter().chain(inputs).collect()
}

/// By what a send is known whose `otid`s are never used again: its lane and the whole list, in order (decisions 25).
fn by_otids(request: &RunRequest) -> Option<[u8; 32]> {
    let otids = otids(request.answer.as_ref(), &request.inputs);
    if !request.unique_otids || otids.is_empty() {
        return None;
    }
    let mut hash = Sha256::new();
    if let Some(conversation) = request.lane.conversation() {
        hash.update(conversation.bytes());
    }
    for otid in otids {
        // With its length: no two lists are spelt alike.
        hash.update(otid.len().to_be_bytes());
        hash.update(otid);
    }
    Some(hash.finalize().into())
}

fn is_restart(run: &Run) -> bool {
    run.error
        .as_ref()
        .is_some_and(|error| error.class == ErrorClass::ServerRestart)
}
