//! Making room in a context that is too full: the worker asks a summariser, the agent replaces what it summarises.
//! A compaction that fails costs nothing that was committed; it is tried again before a later step.

use super::{Turn, WorkerEnd, nanos};
use crate::actors::agent::{self, Compaction};
use crate::domain::agent::{CompactionMode, CompactionSettings};
use crate::domain::clock;
use crate::domain::compaction::request::{self, Form};
use crate::domain::compaction::{
    self, Breaker, Counted, NoPlan, Plan, Sizes, Trigger, Verdict, summary,
};
use crate::domain::id::{MessageId, StepId};
use crate::domain::message::{Message, Part, Role};
use crate::domain::model::{LlmConfig, ModelError, ModelErrorClass, ModelRequest, ToolChoice};
use crate::domain::run::{End, ErrorClass, RunError, Step, StepStatus, StopReason};
use crate::domain::tokens::Counter;
use std::collections::HashSet;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

/// How full a lane is, as far as that outlasts a step.
#[derive(Debug, Default)]
pub(crate) struct Room {
    breaker: Breaker,
    /// What the context cost when it was found too full and nothing has been done about that.
    due: Option<u64>,
}

/// Why nothing was replaced.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unmade {
    #[error(transparent)]
    NoPlan(#[from] NoPlan),
    #[error("the summary would not make the context smaller")]
    NotSmaller,
    #[error("the system message alone fills the context window")]
    SystemTooLarge,
    #[error("the summariser failed: {0}")]
    Summariser(ModelError),
    #[error("the summary could not be stored")]
    Store(WorkerEnd),
}

/// The stored part of a context, counted.
struct Context {
    /// The system message first.
    messages: Vec<Arc<Message>>,
    tokens: Vec<u64>,
    tools: u64,
    counter: Counter,
}

impl Context {
    fn counted(&self) -> Vec<Counted<'_>> {
        let pairs = self.messages.iter().zip(&self.tokens);
        pairs
            .map(|(message, tokens)| Counted {
                message,
                tokens: *tokens,
            })
            .collect()
    }

    fn system(&self) -> u64 {
        self.tokens.first().copied().unwrap_or(0)
    }

    fn total(&self) -> u64 {
        self.tools + self.tokens.iter().sum::<u64>()
    }
}

impl Turn {
    /// After a step: makes room when its call came close to the window. What fails is tried again before a later step.
    pub(super) async fn check_room(&mut self, step: StepId, total_tokens: u64) {
        let window = self.context.config.context_window;
        if compaction::due(total_tokens, window) {
            self.room(|room| room.due = Some(total_tokens));
        }
        self.make_room(step).await;
    }

    /// Makes room if that is due and the breaker lets it.
    pub(super) async fn make_room(&mut self, step: StepId) {
        let Some(tokens) = self.room(|room| room.due) else {
            return;
        };
        if !self.room(|room| room.breaker.may_check()) {
            return;
        }
        let known = Some(tokens);
        match self.compact(Trigger::PostStepCheck, step, known).await {
            Ok(()) | Err(Unmade::NoPlan(_)) => self.room(|room| room.due = None),
            Err(unmade) => {
                tracing::warn!(run = %self.record.id, %unmade, "the context is nearly full and could not be compacted");
            }
        }
    }

    /// The provider refused the request for its size: makes room, so that the step can ask again.
    pub(super) async fn after_overflow(
        &mut self,
        step: StepId,
        error: ModelError,
    ) -> Result<(), WorkerEnd> {
        if !self.room(|room| room.breaker.overflowed()) {
            return Err(WorkerEnd::Failed(error.into()));
        }
        match self.compact(Trigger::Overflow, step, None).await {
            Ok(()) => Ok(()),
            Err(Unmade::SystemTooLarge) => Err(WorkerEnd::Failed(End::failed(
                StopReason::ContextWindowOverflowInSystemPrompt,
                RunError {
                    class: ErrorClass::SystemTooLarge,
                    detail: Unmade::SystemTooLarge.to_string(),
                },
            ))),
            Err(Unmade::Store(end)) => Err(end),
            Err(unmade) => {
                let mut end = End::from(error);
                if let Some(error) = &mut end.error {
                    error.detail = format!("{}; {unmade}", error.detail);
                }
                Err(WorkerEnd::Failed(end))
            }
        }
    }

    /// The run is nothing but a compaction that somebody asked for.
    pub(super) async fn compact_as_asked(&mut self) -> WorkerEnd {
        match self.compact(Trigger::Requested, StepId::new(), None).await {
            Ok(()) | Err(Unmade::NoPlan(NoPlan::Empty | NoPlan::OnlySummary(_))) => (),
            Err(Unmade::Store(end)) => return end,
            Err(unmade) => {
                let error = RunError {
                    detail: unmade.to_string(),
                    class: ErrorClass::NotCompacted(unmade.to_string()),
                };
                return WorkerEnd::Failed(End::failed(StopReason::Error, error));
            }
        }
        let end = End::of(StopReason::EndTurn);
        match self
            .commit(agent::StepCommit::closing(self.record.id, end))
            .await
        {
            Ok(_) => WorkerEnd::Committed,
            Err(end) => end,
        }
    }

    pub(super) fn step_began(&self) {
        self.room(|room| room.breaker.step_began());
    }

    fn room<T>(&self, act: impl FnOnce(&mut Room) -> T) -> T {
        let room = self.context.room.lock();
        act(&mut room.unwrap_or_else(PoisonError::into_inner))
    }

    /// `known`: what the context cost in the last call, if that is why.
    async fn compact(
        &mut self,
        trigger: Trigger,
        step: StepId,
        known: Option<u64>,
    ) -> Result<(), Unmade> {
        let result = self.try_to_compact(trigger, step, known).await;
        self.room(|room| match &result {
            Ok(()) => room.breaker.succeeded(),
            Err(_) => room.breaker.failed(),
        });
        result
    }

    async fn try_to_compact(
        &mut self,
        trigger: Trigger,
        step: StepId,
        known: Option<u64>,
    ) -> Result<(), Unmade> {
        let settings = self.context.compaction.clone();
        let window = self.context.config.context_window;
        let context = self.counted().await;
        // Nothing that gives way would help.
        if context.system() >= window {
            return Err(Unmade::SystemTooLarge);
        }
        let mut mode = self.room(|room| room.breaker.mode(settings.mode));
        let mut call = self.begin(0).step;
        let began = Instant::now();
        loop {
            let counted = context.counted();
            let plan =
                compaction::plan(&counted, window, mode, settings.sliding_window_percentage)?;
            let evicted = &context.messages[plan.summarise.clone()];
            let text = match self
                .summarise(evicted, &settings, plan.mode, &mut call)
                .await
            {
                Ok(text) => text,
                Err(error) => match plan.mode.fallback() {
                    Some(next) => {
                        tracing::debug!(%error, ?next, "another way to summarise is tried");
                        mode = next;
                        continue;
                    }
                    None => return Err(Unmade::Summariser(error)),
                },
            };
            let text = summary::clip(&text, settings.clip_chars);
            let before = known.unwrap_or_else(|| context.total());
            let (summary, after) = self.summary(&text, trigger, &plan, &context, before);
            let sizes = Sizes {
                before: context.total(),
                after,
                system: context.system(),
                window,
            };
            match compaction::judge(plan.mode, trigger, &sizes) {
                Verdict::Replace => {
                    call.status = StepStatus::Success;
                    call.timing.step_ns = Some(nanos(began.elapsed()));
                    let evicted = plan.evicted(&context.messages);
                    return self.replace(summary, evicted, step, call, after).await;
                }
                Verdict::AllOfTheRest => mode = CompactionMode::All,
                Verdict::NotSmaller => return Err(Unmade::NotSmaller),
                Verdict::SystemTooLarge => return Err(Unmade::SystemTooLarge),
            }
        }
    }

    /// Counting reads every text: work for the blocking pool.
    async fn counted(&self) -> Context {
        let counter = Counter::of(&self.context.config).cautious();
        let mut system = Message::new(self.record.agent_id, Role::System, clock::now());
        system.content = vec![Part::of_text(&*self.context.system)];
        let stored = self.context.messages.len() - self.unstored;
        let messages: Vec<Arc<Message>> = std::iter::once(Arc::new(system))
            .chain(self.context.messages[..stored].iter().cloned())
            .collect();
        let schemas = self.schemas.clone();
        let count = move || {
            let tokens = messages.iter().map(|message| counter.message(message));
            Context {
                tokens: tokens.collect(),
                tools: counter.tools(&schemas),
                messages,
                counter,
            }
        };
        match tokio::task::spawn_blocking(count).await {
            Ok(context) => context,
            // Counting has no failure but a panic, which is this worker's then.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// The message that takes the place of what it summarises, and the tokens of the context with it.
    fn summary(
        &self,
        text: &str,
        trigger: Trigger,
        plan: &Plan,
        context: &Context,
        before: u64,
    ) -> (Message, u64) {
        let kept = plan.kept_tokens(&context.counted());
        let counts = (
            context.messages.len(),
            context.messages.len() - plan.summarise.len() + 1,
        );
        let message = |after: u64| {
            let window = self.context.config.context_window;
            let stats = summary::Stats::new(trigger, window, (before, after), counts);
            let timezone = &self.context.agent.timezone;
            let now = clock::now();
            summary::message(self.record.agent_id, text, Some(&stats), now, timezone)
        };
        // The number stands inside the message that it counts.
        let after = kept + context.tools + context.counter.message(&message(before));
        (message(after), after)
    }

    async fn summarise(
        &self,
        evicted: &[Arc<Message>],
        settings: &CompactionSettings,
        mode: CompactionMode,
        call: &mut Step,
    ) -> Result<String, ModelError> {
        if mode.asks_itself() {
            let request = ModelRequest {
                config: self.context.config.clone(),
                system: self.context.system.clone(),
                messages: request::in_place(evicted, settings, mode, clock::now()),
                tools: self.schemas.clone(),
                choice: ToolChoice::Free,
                parallel_calls: self.parallel_calls(),
                stream: false,
                user: self.context.agent.created_by.to_string(),
            };
            return self.words(request, call).await;
        }
        let config = Arc::new(self.summariser(settings).await);
        let mut form = Form::Whole;
        loop {
            let (window, now) = (config.context_window, clock::now());
            let asked = request::about(evicted, settings, mode, form, window, now);
            let request = ModelRequest {
                config: config.clone(),
                system: asked.system.into(),
                messages: asked.messages,
                tools: Arc::new([]),
                choice: ToolChoice::None,
                parallel_calls: false,
                stream: false,
                user: self.context.agent.created_by.to_string(),
            };
            match (self.words(request, call).await, form.shorter()) {
                (Err(error), Some(shorter)) if error.class == ModelErrorClass::ContextOverflow => {
                    form = shorter;
                }
                (result, _) => return result,
            }
        }
    }

    /// The model that the settings name, as far as it can be had; else the agent's own.
    async fn summariser(&self, settings: &CompactionSettings) -> LlmConfig {
        let own = &self.context.config;
        let named = settings
            .model
            .as_deref()
            .filter(|named| own.handle.as_deref() != Some(named));
        let config = match named {
            Some(named) => self.house.providers.configure(Some(named)).await.ok(),
            None => None,
        };
        let mut config = request::plain(config.unwrap_or_else(|| LlmConfig::clone(own)));
        let over = self.house.render.summariser_settings(settings);
        over.apply(&mut config);
        config
    }

    /// What a model answers in words; calls are ignored.
    async fn words(&self, request: ModelRequest, call: &mut Step) -> Result<String, ModelError> {
        let model = self.house.providers.model(&request.config)?;
        let answer = model.answer(&request, &mut |_| ()).await?;
        call.usage.add(answer.usage);
        call.model = Some(request.config.model.clone());
        call.model_handle.clone_from(&request.config.handle);
        call.provider_name.clone_from(&request.config.provider_name);
        call.model_endpoint
            .clone_from(&request.config.model_endpoint);
        let texts: Vec<&str> = answer.parts.iter().filter_map(Part::text).collect();
        let text = texts.join("\n");
        if text.trim().is_empty() {
            return Err(ModelError {
                class: ModelErrorClass::EmptyAnswer,
                detail: "it said nothing".to_owned(),
            });
        }
        Ok(text)
    }

    async fn replace(
        &mut self,
        mut summary: Message,
        evicted: HashSet<MessageId>,
        step: StepId,
        call: Step,
        tokens: u64,
    ) -> Result<(), Unmade> {
        // A run that only compacts is forgotten when it has ended.
        let lasting = (!self.context.only_compacts).then_some(self.record.id);
        summary.step_id = lasting.map(|_| step);
        summary.run_id = lasting;
        summary.conversation_id = self.record.conversation_id;
        let compaction = Compaction {
            run: self.record.id,
            version: self.context.version,
            evicted,
            summary,
            call,
            tokens,
        };
        let compacted = self
            .ask_agent(|reply| agent::Msg::Compact(Box::new(compaction.clone()), reply))
            .await
            .map_err(Unmade::Store)?;
        let unstored = self.unstored;
        let inputs = self.context.messages.len() - unstored;
        let inputs = self.context.messages.split_off(inputs);
        self.context.version = compacted.version;
        if !self.context.system_overridden {
            self.context.system = compacted.system;
        }
        self.context.messages.clear();
        self.remember(compacted.messages);
        self.context.messages.extend(inputs);
        self.unstored = unstored;
        Ok(())
    }
}
