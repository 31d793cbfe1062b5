//! What clients change on an agent besides sending messages.

use super::commits::InFlight;
use super::threads::place;
use super::{State, StepCommit};
use crate::actors::refused::Refused;
use crate::domain::agent::{Agent, AgentChange};
use crate::domain::approval::Pending;
use crate::domain::block::BlockLink;
use crate::domain::clock;
use crate::domain::creation::BadAgent;
use crate::domain::id::{BlockId, MessageId, RunId, StepId, UserId};
use crate::domain::message::{Message, Part, Role};
use crate::domain::rules::check;
use crate::domain::run::{Answers, End, Feedback, LaneId, RunStatus, Step, StopReason};
use crate::domain::step;
use crate::domain::tool::ToolResult;
use crate::store::{Batch, Condition};
use serde_json::Value;
use std::sync::Arc;

/// New text for a stored message (`PATCH …/messages/{id}`, decisions 2).
#[derive(Debug, Clone, PartialEq)]
pub enum TextEdit {
    System(String),
    User(Vec<Part>),
    Assistant(String),
    Reasoning(String),
}

impl State {
    /// Settings, block links and the in-context list in one batch.
    pub(super) async fn modify(
        &mut self,
        change: &AgentChange,
        by: UserId,
    ) -> Result<(), InFlight> {
        self.alive()?;
        let mut settings = Agent::clone(&self.settings);
        change.apply(&mut settings, by, clock::now());
        if change.tool_rules.is_some() {
            self.check_rules(&settings)?;
        }
        if settings.llm_config != self.settings.llm_config {
            settings.llm_config.check().map_err(Refused::from)?;
        }
        let mut head = self.head.clone();
        head.last_run_completion = change.last_run_completion.or(head.last_run_completion);
        head.last_run_duration_ms = change.last_run_duration_ms.or(head.last_run_duration_ms);
        head.last_stop_reason = change.last_stop_reason.or(head.last_stop_reason);
        let mut batch = Batch::of_agent(self.id(), self.live.epoch);
        let window = match &change.message_ids {
            Some(ids) => {
                let window = self.named_window(ids)?;
                head.default_lane
                    .replace(window.iter().map(|message| message.sequence));
                Some(window)
            }
            None => None,
        };
        if let Some(blocks) = &change.blocks {
            self.replace_links(&mut batch, blocks)?;
        }
        batch.put_agent(&settings);
        batch.put_head(self.id(), &head);
        self.write(batch).await?;
        self.settings = Arc::new(settings);
        self.head = head;
        if let Some(window) = window {
            self.threads.default.window = window;
        }
        if change.blocks.is_some() {
            self.compared = None;
        }
        Ok(())
    }

    /// New rules have to make sense together, on the model and with the tools that the agent is going to have.
    fn check_rules(&self, settings: &Agent) -> Result<(), Refused> {
        let toolbox = &self.house.toolbox;
        let attached = settings.tools.iter().filter_map(|id| toolbox.get(*id));
        let attached: Vec<_> = attached.collect();
        let names = attached.iter().map(|tool| tool.definition().name.as_str());
        check::together(&settings.tool_rules, names, &settings.llm_config.model)
            .map_err(|conflict| Refused::Argument(BadAgent::Rules(conflict).to_string()))
    }

    /// The messages of a new in-context list: all must exist, be this agent's, and a system message comes first.
    fn named_window(&self, ids: &[MessageId]) -> Result<Vec<Arc<Message>>, InFlight> {
        let mut window = Vec::with_capacity(ids.len());
        for id in ids {
            let missing =
                || Refused::Argument(format!("message_ids: {id} is not a message of this agent"));
            let (agent, sequence) = self
                .house
                .store
                .message_location(*id)?
                .ok_or_else(missing)?;
            if agent != self.id() {
                return Err(missing().into());
            }
            window.push(Arc::new(
                self.house
                    .store
                    .message_at(agent, sequence)?
                    .ok_or_else(missing)?,
            ));
        }
        match window.first() {
            // A system message belongs to one thread: it is compiled for that.
            Some(first) if first.role == Role::System && first.conversation_id.is_none() => {
                Ok(window)
            }
            _ => Err(Refused::Argument(
                "message_ids: the first message has to be a system message".to_owned(),
            )
            .into()),
        }
    }

    fn replace_links(&self, batch: &mut Batch, blocks: &[BlockId]) -> Result<(), InFlight> {
        let old = self.house.store.links(self.id())?;
        for link in old.iter().filter(|link| !blocks.contains(&link.block_id)) {
            batch.require(Condition::LinkIs {
                agent: self.id(),
                block: link.block_id,
                present: true,
            });
            batch.delete_link(self.id(), link.block_id);
        }
        let next = old.iter().map(|link| link.ordinal + 1).max().unwrap_or(0);
        let mut labels: Vec<String> = old
            .iter()
            .filter(|link| blocks.contains(&link.block_id))
            .map(|link| link.label.clone())
            .collect();
        let added = blocks
            .iter()
            .filter(|id| old.iter().all(|link| link.block_id != **id));
        for (ordinal, id) in (next..).zip(added) {
            let block = self
                .house
                .store
                .block(*id)?
                .ok_or(Refused::NoSuchBlock(*id))?;
            if labels.contains(&block.label) {
                return Err(Refused::LabelTaken {
                    agent: self.id(),
                    label: block.label,
                }
                .into());
            }
            batch.require(Condition::BlockVersion {
                block: *id,
                version: block.version,
            });
            labels.push(block.label.clone());
            batch.put_link(
                self.id(),
                &BlockLink {
                    block_id: *id,
                    label: block.label,
                    ordinal,
                },
            );
        }
        Ok(())
    }

    /// The context becomes a fresh system message and the given first messages. Stored messages stay listed.
    pub(super) async fn reset(&mut self, first: Vec<Message>) -> Result<(), InFlight> {
        self.alive()?;
        let Some(system) = self.head.default_lane.first() else {
            return Err(Refused::Argument("the agent has no system message".to_owned()).into());
        };
        let now = self.stamp();
        let blocks = self.newest_blocks()?;
        let mut head = self.head.clone();
        head.default_lane.replace([system]);
        let (mut head, fresh) = self.recompiled(&head, &blocks, Some(now))?;
        let mut batch = Batch::of_agent(self.id(), self.live.epoch);
        let mut window: Vec<Arc<Message>> = fresh
            .clone()
            .into_iter()
            .chain(self.threads.default.window.first().cloned())
            .take(1)
            .collect();
        if let Some(fresh) = &fresh {
            batch.put_message(fresh);
        }
        for mut message in first {
            message.agent_id = self.id();
            message.created_at = now;
            head.place(&mut message, now, true);
            batch.put_message(&message);
            window.push(Arc::new(message));
        }
        batch.put_head(self.id(), &head);
        self.write(batch).await?;
        self.head = head;
        self.threads.default.window = window;
        Ok(())
    }

    /// Stores messages outside the context.
    pub(super) async fn capture(&mut self, messages: Vec<Message>) -> Result<(), InFlight> {
        self.alive()?;
        let now = self.stamp();
        let mut head = self.head.clone();
        let mut batch = Batch::of_agent(self.id(), self.live.epoch);
        for mut message in messages {
            message.agent_id = self.id();
            place(&mut batch, &mut head, None, &mut message, now, false);
        }
        batch.put_head(self.id(), &head);
        self.write(batch).await?;
        self.head = head;
        Ok(())
    }

    /// Says no to the calls that wait at the end of a thread, and to those that wait with them: one answer, one message
    /// with all their returns (runs-and-streaming §7). The run that asked counts as cancelled.
    pub(super) async fn deny_pending(&mut self, lane: LaneId) -> Result<Option<RunId>, InFlight> {
        self.alive()?;
        self.open_thread(lane).await?;
        if self.is_answering(lane) {
            return Ok(None);
        }
        let Some(pending) = Pending::of(self.threads.window(lane)) else {
            return Ok(None);
        };
        let now = self.stamp();
        let reason = "the run was cancelled";
        let answers = Answers {
            approvals: pending.denial(reason),
            otid: None,
        };
        let owner = pending.request.run_id;
        let run = owner.map_or(Ok(None), |run| self.house.store.run_of(self.id(), run))?;
        let words = pending.words(&answers.approvals);
        let returns = words.iter().map(|(call, _)| {
            let result = ToolResult::failure(&call.name, step::denied_call(Some(reason)));
            step::pack(&call.id, &result, None, now, &self.settings.timezone)
        });
        let returns = returns.collect();
        let response = pending.response(owner.unwrap_or_else(RunId::new), answers);
        let mut ends = Message::new(self.id(), Role::Tool, now);
        ends.step_id = response.step_id;
        ends.run_id = response.run_id;
        ends.conversation_id = response.conversation_id;
        ends.model.clone_from(&response.model);
        let first = words.first().map_or("", |(call, _)| &call.name);
        let ends = step::tool_message(ends, first, returns);
        let mut head = self.head.clone();
        let thread = self.threads.get(lane);
        let mut conversation = thread.and_then(|thread| thread.conversation.clone());
        let mut batch = Batch::of_agent(self.id(), self.live.epoch);
        let mut written = Vec::new();
        for mut message in [response, ends] {
            let conversation = conversation.as_mut();
            place(&mut batch, &mut head, conversation, &mut message, now, true);
            written.push(Arc::new(message));
        }
        if let Some(conversation) = &conversation {
            batch.put_conversation(conversation);
        }
        // A fork holds the request of a run that is another thread's.
        if let Some(mut run) = run.filter(|run| run.lane() == lane) {
            run.status = RunStatus::Cancelled;
            run.stop_reason = Some(StopReason::Cancelled);
            batch.put_run(&run);
            head.last_stop_reason = Some(StopReason::Cancelled);
        }
        batch.put_head(self.id(), &head);
        self.write(batch).await?;
        self.head = head;
        if let Some(thread) = self.threads.get_mut(lane) {
            thread.window.extend(written);
            thread.conversation = conversation;
        }
        Ok(owner)
    }

    /// Whether the request at the end of a thread has its answer: the run that carries it out has the lane, and a cancel of
    /// that run ends the calls.
    fn is_answering(&self, lane: LaneId) -> bool {
        let current = self
            .threads
            .get(lane)
            .and_then(|thread| thread.lane.current);
        let open = current.and_then(|run| self.open.get(&run));
        open.is_some_and(|open| open.inbox.answer.is_some())
    }

    /// Closes the runs as cancelled, then one batch: tombstone, list and name indexes, active-run entries (decisions 35).
    pub(super) async fn delete(&mut self) -> Result<(), InFlight> {
        self.alive()?;
        let open: Vec<RunId> = self.open.keys().copied().collect();
        for run in open {
            self.commit(StepCommit::closing(run, End::of(StopReason::Cancelled)))
                .await?;
        }
        let mut batch = Batch::of_agent(self.id(), self.live.epoch);
        for block in self.all_isolated()? {
            batch.delete_block(block);
        }
        batch.bury(&self.settings);
        self.write(batch).await?;
        self.deleted = true;
        Ok(())
    }

    pub(super) async fn edit_message(
        &mut self,
        id: MessageId,
        edit: TextEdit,
    ) -> Result<Message, InFlight> {
        self.alive()?;
        let located = self
            .house
            .store
            .message_location(id)?
            .filter(|(agent, _)| *agent == self.id());
        let (agent, sequence) = located.ok_or(Refused::NoSuchMessage(id))?;
        let mut message = self
            .house
            .store
            .message_at(agent, sequence)?
            .ok_or(Refused::NoSuchMessage(id))?;
        edited(&mut message, edit)?;
        message.updated_at = clock::now();
        let mut batch = Batch::of_agent(self.id(), self.live.epoch);
        batch.put_message(&message);
        self.write(batch).await?;
        self.threads.replace(&Arc::new(message.clone()));
        Ok(message)
    }

    pub(super) async fn set_feedback(
        &mut self,
        id: StepId,
        feedback: Option<Feedback>,
        tags: Option<Vec<String>>,
    ) -> Result<Step, InFlight> {
        let step = self
            .house
            .store
            .step(id)?
            .filter(|step| step.agent_id == self.id());
        let mut step = step.ok_or(Refused::NoSuchStep(id))?;
        step.feedback = feedback;
        if let Some(tags) = tags {
            step.tags = tags;
        }
        let mut batch = Batch::of_agent(self.id(), self.live.epoch);
        batch.put_step(&step);
        self.write(batch).await?;
        Ok(step)
    }

    pub(super) async fn delete_run(&mut self, id: RunId) -> Result<(), InFlight> {
        if self.open.contains_key(&id) {
            return Err(Refused::RunActive(id).into());
        }
        let run = self
            .house
            .store
            .run_of(self.id(), id)?
            .ok_or(Refused::NoSuchRun(id))?;
        let mut batch = Batch::of_agent(self.id(), self.live.epoch);
        for mut message in self.house.store.run_messages(self.id(), id)? {
            message.run_id = None;
            batch.put_message(&message);
        }
        batch.delete_run(&run);
        self.write(batch).await?;
        Ok(())
    }

    pub(super) fn alive(&self) -> Result<(), Refused> {
        if self.deleted {
            Err(Refused::NoSuchAgent(self.id()))
        } else {
            Ok(())
        }
    }
}

/// Replaces the text of a message (messages-and-search §6).
fn edited(message: &mut Message, edit: TextEdit) -> Result<(), Refused> {
    let unfit = || Refused::Argument(format!("{} has no text of that kind", message.id));
    match (message.role, edit) {
        (Role::System, TextEdit::System(text)) => message.content = vec![Part::of_text(text)],
        (Role::User, TextEdit::User(parts)) => message.content = parts,
        (Role::Assistant, TextEdit::Assistant(text)) => {
            let refusal = unfit();
            if !say(message, &text) {
                let part = message
                    .content
                    .iter_mut()
                    .find(|part| matches!(part, Part::Text { .. }));
                *part.ok_or(refusal)? = Part::of_text(text);
            }
        }
        (Role::Assistant, TextEdit::Reasoning(text)) => {
            let refusal = unfit();
            let part = message
                .content
                .iter_mut()
                .find(|part| matches!(part, Part::Reasoning { .. }));
            *part.ok_or(refusal)? = Part::Reasoning {
                native: true,
                reasoning: text,
                signature: None,
            };
        }
        _ => return Err(unfit()),
    }
    Ok(())
}

/// In a message that calls `send_message` the text is that call's argument.
fn say(message: &mut Message, text: &str) -> bool {
    let Some(call) = message
        .tool_calls
        .iter_mut()
        .find(|call| call.name == "send_message")
    else {
        return false;
    };
    let Ok(Value::Object(mut arguments)) = serde_json::from_str(&call.arguments) else {
        return false;
    };
    arguments.insert("message".to_owned(), Value::from(text));
    call.arguments = Value::Object(arguments).to_string();
    true
}
