//! Making room in a context that is too full: the worker asks a summariser, the agent replaces what it summarises.
//! A compaction that fails costs nothing that was committed; it is tried again before a later step.

use super::{ModelRequest, Turn, WorkerEnd};
use crate::actors::agent::{self, Compaction};
use crate::domain::agent::{CompactionMode, CompactionSettings};
use crate::domain::clock;
use crate::domain::compaction::request::{self, Form};
use crate::domain::compaction::{
    self, Breaker, Counted, NoPlan, Plan, Sizes, Trigger, Verdict, summary,
};
use crate::domain::id::StepId;
use crate::domain::message::{Message, Part, Role};
use crate::domain::model::{LlmConfig, ModelError, ModelErrorClass, ToolChoice, Usage};
use crate::domain::run::{End, ErrorClass, RunError, StopReason};
use crate::domain::tokens::Counter;
use std::sync::{Arc, PoisonError};

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

    fn total(&self) -> u64 {
        self.tools + self.tokens.iter().sum::<u64>()
    }
}

impl Turn {
    /// After a step: makes room when its call came close to the window, or when an earlier try failed.
    pub(super) async fn check_room(&mut self, step: StepId, total_tokens: u64) {
        let window = self.context.config.context_window;
        let due = compaction::due(total_tokens, window) && self.breaker(Breaker::may_check);
        if !due {
            return;
        }
        if let Err(unmade) = self.compact(Trigger::PostStepCheck, step).await {
            tracing::warn!(run = %self.record.id, %unmade, "the context is nearly full and could not be compacted");
        }
    }

    /// The provider refused the request for its size: makes room, so that the step can ask again.
    pub(super) async fn after_overflow(
        &mut self,
        step: StepId,
        error: ModelError,
    ) -> Result<(), WorkerEnd> {
        if !self.breaker(Breaker::overflowed) {
            return Err(WorkerEnd::Failed(error.into()));
        }
        match self.compact(Trigger::Overflow, step).await {
            Ok(()) => Ok(()),
            Err(Unmade::SystemTooLarge) => Err(WorkerEnd::Failed(End::failed(
                StopReason::ContextWindowOverflowInSystemPrompt,
                RunError {
                    class: ErrorClass::Model(ModelErrorClass::ContextOverflow),
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
        match self.compact(Trigger::Requested, StepId::new()).await {
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

    pub(super) fn breaker_step_began(&self) {
        self.breaker(Breaker::step_began);
    }

    fn breaker<T>(&self, act: impl FnOnce(&mut Breaker) -> T) -> T {
        let mut breaker = self
            .context
            .breaker
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        act(&mut breaker)
    }

    async fn compact(&mut self, trigger: Trigger, step: StepId) -> Result<(), Unmade> {
        let result = self.try_to_compact(trigger, step).await;
        match &result {
            Ok(()) => self.breaker(Breaker::succeeded),
            Err(_) => self.breaker(Breaker::failed),
        }
        result
    }

    async fn try_to_compact(&mut self, trigger: Trigger, step: StepId) -> Result<(), Unmade> {
        let settings = self.context.compaction.clone();
        let window = self.context.config.context_window;
        let context = self.counted().await;
        let mut mode = self.breaker(|breaker| breaker.mode(settings.mode));
        let mut usage = Usage::default();
        loop {
            let counted = context.counted();
            let plan =
                compaction::plan(&counted, window, mode, settings.sliding_window_percentage)?;
            let evicted = &context.messages[plan.summarise.clone()];
            let text = match self
                .summarise(evicted, &settings, plan.mode, &mut usage)
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
            let (summary, after) = self.summary(&text, trigger, &plan, &context);
            let sizes = Sizes {
                before: context.total(),
                after,
                system: context.tokens.first().copied().unwrap_or(0),
                window,
            };
            match compaction::judge(plan.mode, trigger, &sizes) {
                Verdict::Replace => return self.replace(summary, plan, step, usage).await,
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
    ) -> (Message, u64) {
        let (before, kept) = (context.total(), plan.kept_tokens(&context.counted()));
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
        usage: &mut Usage,
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
            return self.words(request, usage).await;
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
            match (self.words(request, usage).await, form.shorter()) {
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
    async fn words(&self, request: ModelRequest, usage: &mut Usage) -> Result<String, ModelError> {
        let model = self.house.providers.model(&request.config)?;
        let answer = model.answer(&request, &mut |_| ()).await?;
        usage.add(answer.usage);
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
        plan: Plan,
        step: StepId,
        usage: Usage,
    ) -> Result<(), Unmade> {
        summary.step_id = Some(step);
        summary.run_id = Some(self.record.id);
        summary.conversation_id = self.record.conversation_id;
        let compaction = Compaction {
            run: self.record.id,
            version: self.context.version,
            keep: plan.keep,
            summary,
            usage,
        };
        let compacted = self
            .ask_agent(|reply| agent::Msg::Compact(Box::new(compaction.clone()), reply))
            .await
            .map_err(Unmade::Store)?;
        let inputs = self.context.messages.len() - self.unstored;
        let inputs = self.context.messages.split_off(inputs);
        self.context.version = compacted.version;
        if !self.context.system_overridden {
            self.context.system = compacted.system;
        }
        self.context.messages.clear();
        self.remember(compacted.messages);
        self.context.messages.extend(inputs);
        Ok(())
    }
}
