//! A summary as it is stored: role `summary`, its text packed in an envelope that says how the context changed.

use super::Trigger;
use crate::domain::clock;
use crate::domain::id::AgentId;
use crate::domain::message::{Message, Part, Role};
use crate::domain::tokens::first_chars;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// Stands in the envelope before the summary, so that the model knows what it reads; clients are not shown it.
const INTRODUCTION: &str = "Earlier messages have left this window. They are stored and can be searched. What they were about:\n\n";

/// What a compaction changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// `Trigger::name`, or whatever an imported summary says.
    pub trigger: String,
    pub context_tokens_before: Option<u64>,
    pub context_tokens_after: Option<u64>,
    pub context_window: u64,
    pub messages_count_before: u64,
    pub messages_count_after: u64,
}

impl Stats {
    pub fn new(
        trigger: Trigger,
        window: u64,
        tokens: (u64, u64),
        messages: (usize, usize),
    ) -> Self {
        Self {
            trigger: trigger.name().to_owned(),
            context_tokens_before: Some(tokens.0),
            context_tokens_after: Some(tokens.1),
            context_window: window,
            messages_count_before: messages.0 as u64,
            messages_count_after: messages.1 as u64,
        }
    }

    fn pack(&self) -> Value {
        json!({
            "trigger": self.trigger,
            "context_tokens_before": self.context_tokens_before,
            "context_tokens_after": self.context_tokens_after,
            "context_window": self.context_window,
            "messages_count_before": self.messages_count_before,
            "messages_count_after": self.messages_count_after,
        })
    }

    fn read(packed: &Value) -> Option<Self> {
        let number = |key: &str| packed.get(key).and_then(Value::as_u64);
        Some(Self {
            trigger: packed.get("trigger")?.as_str()?.to_owned(),
            context_tokens_before: number("context_tokens_before"),
            context_tokens_after: number("context_tokens_after"),
            context_window: number("context_window")?,
            messages_count_before: number("messages_count_before")?,
            messages_count_after: number("messages_count_after")?,
        })
    }
}

/// The message that takes the place of what it summarises.
pub fn message(
    agent_id: AgentId,
    text: &str,
    stats: Option<&Stats>,
    now: Timestamp,
    timezone: &str,
) -> Message {
    let mut message = Message::new(agent_id, Role::Summary, now);
    message.otid = Some(message.id.piece_otid(0));
    message.content = vec![Part::of_text(pack(text, stats, now, timezone))];
    message
}

/// The envelope as JSON text.
pub fn pack(text: &str, stats: Option<&Stats>, now: Timestamp, timezone: &str) -> String {
    let mut envelope = json!({
        "type": "system_alert",
        "message": format!("{INTRODUCTION}{text}"),
        "time": clock::spoken(now, timezone),
    });
    if let Some(stats) = stats {
        envelope["compaction_stats"] = stats.pack();
    }
    envelope.to_string()
}

/// A summary as people read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    pub text: String,
    pub stats: Option<Stats>,
}

/// The summary that a message holds: by its role, or a user message with the envelope that older servers stored.
pub fn read(message: &Message) -> Option<Summary> {
    let envelope = match (message.role, message.content.as_slice()) {
        (Role::Summary | Role::User, [Part::Text { text, .. }]) => envelope(text),
        _ => None,
    };
    match (envelope, message.role) {
        (Some(envelope), _) => {
            let text = envelope.get("message")?.as_str()?;
            Some(Summary {
                text: text.strip_prefix(INTRODUCTION).unwrap_or(text).to_owned(),
                stats: envelope.get("compaction_stats").and_then(Stats::read),
            })
        }
        (None, Role::Summary) => Some(Summary {
            text: message.text(),
            stats: None,
        }),
        (None, _) => None,
    }
}

/// Whether a message is a summary.
pub fn is(message: &Message) -> bool {
    message.role == Role::Summary || read(message).is_some()
}

/// Told from other JSON by its keys, never by its wording.
fn envelope(text: &str) -> Option<Map<String, Value>> {
    const KEYS: [&str; 4] = ["type", "message", "time", "compaction_stats"];
    if !text.starts_with('{') {
        return None;
    }
    let Value::Object(envelope) = serde_json::from_str(text).ok()? else {
        return None;
    };
    let packed = envelope
        .get("type")
        .is_some_and(|kind| kind == "system_alert")
        && envelope.get("message").is_some_and(Value::is_string)
        && envelope.contains_key("time")
        && envelope.keys().all(|key| KEYS.contains(&key.as_str()));
    packed.then_some(envelope)
}

/// A summary cut to `chars` characters, with a mark where something is missing; `None` or a negative number cuts nothing.
pub fn clip(text: &str, chars: Option<i64>) -> String {
    let limit = chars.and_then(|chars| usize::try_from(chars).ok());
    let kept = limit.map_or(text, |limit| first_chars(text, limit));
    if kept.len() == text.len() {
        text.to_owned()
    } else {
        format!(
            "{kept}... [summary cut: {} more characters]",
            text[kept.len()..].chars().count()
        )
    }
}
