//! Asking, answering, and counting what waits: the words that actors share.

use ractor::rpc::CallResult;
use ractor::{ActorRef, Message, RpcReplyPort};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Longest wait for an answer from an actor that only waits for the store.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Why there was no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The actor is gone, or died over the question: whether it was carried out has to be looked up (decisions 30).
    #[error("the actor is gone")]
    Gone,
    #[error("no answer in time")]
    Late,
}

/// Asks one question. The timeout ends the wait, not the work.
pub(crate) async fn ask<M: Message, T: Send + 'static>(
    actor: &ActorRef<M>,
    patience: Option<Duration>,
    question: impl FnOnce(RpcReplyPort<T>) -> M,
) -> Result<T, AskError> {
    match actor.call(question, patience).await {
        Ok(CallResult::Success(answer)) => Ok(answer),
        Ok(CallResult::Timeout) => Err(AskError::Late),
        Ok(CallResult::SenderError) | Err(_) => Err(AskError::Gone),
    }
}

/// Answers. A caller who has gone home must not take the actor with them.
pub(crate) fn answer<T>(reply: RpcReplyPort<T>, value: T) {
    let _ = reply.send(value);
}

/// Tells something to an actor that may be gone; then nobody needs to know.
pub(crate) fn tell<M: Message>(actor: &ActorRef<M>, news: M) {
    let _ = actor.send_message(news);
}

/// What waits in one actor's mailbox. ractor does not say, so senders and the handler count (stack.md, trap 15).
#[derive(Debug, Default)]
pub(crate) struct Mailbox(Mutex<VecDeque<Instant>>);

/// Holds a message's place in the count until it is handled, or lost with its actor.
#[derive(Debug)]
pub(crate) struct Waiting(Arc<Mailbox>);

impl Mailbox {
    pub(crate) fn enter(self: &Arc<Self>) -> Waiting {
        self.times().push_back(Instant::now());
        Waiting(self.clone())
    }

    pub(crate) fn depth(&self) -> usize {
        self.times().len()
    }

    /// How long the oldest message has waited.
    pub(crate) fn age(&self) -> Duration {
        self.times()
            .front()
            .map_or(Duration::ZERO, Instant::elapsed)
    }

    fn times(&self) -> std::sync::MutexGuard<'_, VecDeque<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.times().pop_front();
    }
}
