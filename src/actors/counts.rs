//! What messages cost in tokens, so that a window which is looked at again and again is counted once.
//!
//! In memory only, and bounded: a count is derived from its message and cheap to make again after a restart, while beside
//! each message on disk it would be one number for every vocabulary that the agent's models ever had.

use crate::domain::id::MessageId;
use crate::domain::message::Message;
use crate::domain::tokens::Counter;
use jiff::Timestamp;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Counts of one generation; two are kept, which is some 10 MB at most.
const MOST: usize = 40_000;

/// A message as one counter sees it. The time of its last edit is in the value: an edited message is counted anew, and
/// leaves nothing behind.
type Key = (MessageId, Counter);

#[derive(Debug)]
pub(crate) struct Counts {
    most: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    young: HashMap<Key, (Timestamp, u64)>,
    /// What was not looked at since `young` was begun is forgotten with this generation.
    old: HashMap<Key, (Timestamp, u64)>,
    /// Messages that were really counted.
    counted: u64,
}

impl Default for Counts {
    fn default() -> Self {
        Self::holding(MOST)
    }
}

impl Counts {
    fn holding(most: usize) -> Self {
        Self {
            most,
            kept: Mutex::default(),
        }
    }

    /// What the counter says of a message. May load a vocabulary and read a long text: not for a runtime thread.
    pub(crate) fn message(&self, counter: &Counter, message: &Message) -> u64 {
        let key = (message.id, *counter);
        let edited_at = message.updated_at;
        if let Some(tokens) = self.lock().get(&key, edited_at, self.most) {
            return tokens;
        }
        // Not under the lock: others look up what is known meanwhile.
        let tokens = counter.message(message);
        let mut kept = self.lock();
        kept.counted += 1;
        kept.put(key, (edited_at, tokens), self.most);
        tokens
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn get(&mut self, key: &Key, edited_at: Timestamp, most: usize) -> Option<u64> {
        let known = self.young.get(key).copied();
        let (at, tokens) = match known {
            Some(known) => known,
            None => {
                let known = self.old.remove(key)?;
                self.put(*key, known, most);
                known
            }
        };
        (at == edited_at).then_some(tokens)
    }

    fn put(&mut self, key: Key, value: (Timestamp, u64), most: usize) {
        if self.young.len() >= most {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::clock;
    use crate::domain::id::AgentId;
    use crate::domain::message::{Part, Role};
    use crate::domain::model::{LlmConfig, ModelRequest, ToolChoice};
    use crate::domain::overview::Overview;
    use crate::store::testing;
    use std::sync::Arc;

    /// No vocabulary is known for it.
    fn llm_config() -> LlmConfig {
        LlmConfig {
            model: "m".to_owned(),
            ..testing::llm_config()
        }
    }

    fn said(text: &str) -> Message {
        let mut message = Message::new(AgentId::new(), Role::User, clock::now());
        message.content = vec![Part::of_text(text)];
        message
    }

    fn counted(counts: &Counts) -> u64 {
        counts.lock().counted
    }

    #[test]
    fn a_message_is_counted_once_for_each_counter() {
        let counts = Counts::default();
        let counter = Counter::of(&llm_config());
        let message = said("one two three");
        for _ in 0..3 {
            let tokens = counts.message(&counter, &message);
            assert_eq!(tokens, counter.message(&message));
        }
        assert_eq!(counted(&counts), 1);
        counts.message(&counter.cautious(), &message);
        assert_eq!(counted(&counts), 2);
    }

    #[test]
    fn a_second_overview_of_a_window_counts_nothing_anew() {
        let counts = Counts::default();
        let stored = Message::new(AgentId::new(), Role::System, clock::now());
        let window = |length: usize| (0..length).map(|at| Arc::new(said(&at.to_string())));
        let mut request = ModelRequest {
            config: Arc::new(llm_config()),
            system: "Be kind.".into(),
            messages: window(500).collect(),
            tools: Arc::default(),
            choice: ToolChoice::Free,
            parallel_calls: true,
            stream: false,
            user: String::new(),
        };
        let overview = |request: &ModelRequest| {
            Overview::of(request, &stored, 0, |counter, message| {
                counts.message(counter, message)
            })
        };
        let first = overview(&request);
        assert_eq!(counted(&counts), 500);
        let second = overview(&request);
        assert_eq!(second.messages_tokens, first.messages_tokens);
        assert_eq!(counted(&counts), 500);
        request.messages.extend(window(2));
        assert!(overview(&request).messages_tokens > first.messages_tokens);
        assert_eq!(counted(&counts), 502);
    }

    #[test]
    fn an_edited_message_is_counted_anew() {
        let counts = Counts::default();
        let counter = Counter::of(&llm_config());
        let mut message = said("short");
        let before = counts.message(&counter, &message);
        message.content = vec![Part::of_text("a good deal longer than it was before")];
        message.updated_at += jiff::SignedDuration::from_micros(1);
        assert!(counts.message(&counter, &message) > before);
        assert_eq!(counted(&counts), 2);
    }

    #[test]
    fn what_is_looked_at_stays_and_what_is_not_is_forgotten() {
        let counts = Counts::holding(10);
        let counter = Counter::of(&llm_config());
        let favourite = said("favourite");
        for number in 0..100 {
            counts.message(&counter, &favourite);
            counts.message(&counter, &said(&number.to_string()));
        }
        assert_eq!(counted(&counts), 101);
        let kept = counts.lock();
        assert!(kept.young.len() + kept.old.len() <= 20);
    }
}
