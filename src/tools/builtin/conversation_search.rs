//! `conversation_search`: a case-insensitive search for a text in everything the agent has stored, newest first.
//!
//! Hidden are system messages and summaries, heartbeats, tool returns unless they are asked for, and earlier
//! searches with what they returned: a search that finds searches soon finds nothing else (messages-and-search §10).

use super::{Builtin, Parameter, send_message};
use crate::domain::clock;
use crate::domain::message::{Message, Part, Role, ToolOutput, ToolReturn};
use crate::domain::tool::{ToolFailure, ToolResult, ToolType};
use crate::tools::{Host, Work};
use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;

const NAME: &str = "conversation_search";
const DEFAULT_LIMIT: usize = 5;
const MOST: usize = 100;

pub(super) fn tool() -> Builtin {
    Builtin::new(
        2,
        ToolType::Core,
        NAME,
        "Searches your conversation history, also what is no longer in your context. Messages come newest first. \
         Without a query you get the newest messages that fit the other arguments.",
        vec![
            Parameter::text("query", "A text that the messages contain; case does not matter.").optional(),
            Parameter::choices(
                "roles",
                &["assistant", "user", "tool"],
                "Who wrote the messages; assistant and user when left out.",
            )
            .optional(),
            Parameter::integer("limit", "Most results, 1 to 100; 5 when left out.").optional(),
            Parameter::text(
                "start_date",
                "Only messages from then on: an ISO date or date-time, as in 2026-03-01 or 2026-03-01T14:30. Your own \
                 time zone counts unless another is given.",
            )
            .optional(),
            Parameter::text(
                "end_date",
                "Only messages up to then, in the same forms; a date includes the whole day.",
            )
            .optional(),
        ],
        |arguments, host| {
            let (search, limit) = read(arguments, host.timezone())?;
            Ok(Work::Wait(Box::pin(run(search, limit, host))))
        },
    )
    .parallel()
    .uncut()
}

#[derive(Deserialize)]
struct Arguments {
    query: Option<String>,
    roles: Option<Vec<String>>,
    limit: Option<i64>,
    start_date: Option<String>,
    end_date: Option<String>,
}

struct Search {
    /// Lower case; empty finds everything.
    needle: String,
    roles: Vec<String>,
    from: Timestamp,
    to: Timestamp,
}

fn read(arguments: Arguments, timezone: &str) -> Result<(Search, usize), ToolFailure> {
    let limit = match arguments.limit {
        None => DEFAULT_LIMIT,
        Some(limit) => usize::try_from(limit)
            .ok()
            .filter(|limit| (1..=MOST).contains(limit))
            .ok_or_else(|| {
                ToolFailure::value(format!("limit must be from 1 to {MOST}, not {limit}"))
            })?,
    };
    let zone = clock::zone(timezone);
    let from = arguments
        .start_date
        .map(|text| read_date("start_date", &text, &zone))
        .transpose()?;
    let to = arguments
        .end_date
        .map(|text| read_end(&text, &zone))
        .transpose()?;
    let roles = arguments.roles.filter(|roles| !roles.is_empty());
    let search = Search {
        needle: arguments.query.unwrap_or_default().trim().to_lowercase(),
        roles: roles.unwrap_or_else(|| vec!["assistant".to_owned(), "user".to_owned()]),
        from: from.map_or(Timestamp::MIN, |from| from.timestamp()),
        to: to.unwrap_or(Timestamp::MAX),
    };
    Ok((search, limit))
}

/// A time with an offset, or a date or date-time of the agent's zone.
fn read_date(argument: &str, text: &str, zone: &TimeZone) -> Result<Zoned, ToolFailure> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time.to_zoned(zone.clone()));
    }
    let bad = |error: jiff::Error| {
        ToolFailure::value(format!(
            "{argument} is not an ISO date or date-time: {error}"
        ))
    };
    text.parse::<DateTime>()
        .map_err(bad)?
        .to_zoned(zone.clone())
        .map_err(bad)
}

/// The last moment that is still meant: midnight, written or not, stands for the whole day.
fn read_end(text: &str, zone: &TimeZone) -> Result<Timestamp, ToolFailure> {
    let end = read_date("end_date", text, zone)?;
    if end.time() != Time::midnight() {
        return Ok(end.timestamp());
    }
    let end = end
        .end_of_day()
        .map_err(|error| ToolFailure::value(format!("end_date is out of range: {error}")))?;
    Ok(end.timestamp())
}

async fn run(search: Search, limit: usize, host: Arc<dyn Host>) -> ToolResult {
    let search = Arc::new(search);
    let keep = {
        let search = search.clone();
        move |message: &Message| search.finds(message)
    };
    match host.search_messages(Arc::new(keep), limit).await {
        Ok(messages) => ToolResult::success(search.answer(
            &messages,
            &clock::zone(host.timezone()),
            clock::now(),
        )),
        Err(failure) => ToolResult::failure(NAME, failure),
    }
}

impl Search {
    fn finds(&self, message: &Message) -> bool {
        (self.from..=self.to).contains(&message.created_at)
            && self.roles.iter().any(|role| role == message.role.name())
            && Wording::of(message).is_some_and(|wording| wording.contains(&self.needle))
    }

    fn answer(&self, messages: &[Message], zone: &TimeZone, now: Timestamp) -> Value {
        let results: Vec<Value> = messages
            .iter()
            .zip(1..)
            .filter_map(|(message, rank)| self.result(message, rank, zone, now))
            .collect();
        let message = match results.len() {
            0 => "No results found.".to_owned(),
            1 => "Found 1 message.".to_owned(),
            found => format!("Found {found} messages, newest first."),
        };
        json!({"message": message, "results": results})
    }

    fn result(
        &self,
        message: &Message,
        rank: u32,
        zone: &TimeZone,
        now: Timestamp,
    ) -> Option<Value> {
        let time = message.created_at.to_zoned(zone.clone());
        let mut result = Map::new();
        result.insert(
            "timestamp".to_owned(),
            time.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string().into(),
        );
        result.insert("time_ago".to_owned(), ago(message.created_at, now).into());
        result.insert("role".to_owned(), message.role.name().into());
        if !self.needle.is_empty() {
            // One list only, so its rank makes the score.
            let score = 1.0 / f64::from(rank);
            let relevance = json!({"rrf_score": score, "vector_rank": null, "fts_rank": rank, "search_mode": "fts"});
            result.insert("relevance".to_owned(), relevance);
        }
        for (field, value) in Wording::of(message)?.into_fields() {
            result.entry(field).or_insert(value);
        }
        Some(Value::Object(result))
    }
}

fn ago(then: Timestamp, now: Timestamp) -> String {
    match now.duration_since(then).as_secs().max(0) {
        seconds @ ..60 => format!("{seconds}s ago"),
        seconds @ ..3_600 => format!("{}m ago", seconds / 60),
        seconds @ ..86_400 => format!("{}h ago", seconds / 3_600),
        seconds => format!("{}d ago", seconds / 86_400),
    }
}

/// The words of a message that a search looks at and shows.
#[derive(Debug, PartialEq)]
enum Wording {
    Text(String),
    /// What an agent said through `send_message`, and what it thought.
    Sent {
        thinking: String,
        content: String,
    },
}

impl Wording {
    /// `None`: nothing of this message is ever shown.
    fn of(message: &Message) -> Option<Self> {
        let wording = match message.role {
            Role::User => Self::Text(message.text()).not_a_heartbeat()?,
            Role::Assistant => said(message)?,
            Role::Tool => Self::Text(returned(message)),
            Role::System | Role::Approval | Role::Summary => return None,
        };
        (!wording.is_empty()).then_some(wording)
    }

    fn not_a_heartbeat(self) -> Option<Self> {
        let heartbeat = self
            .object()
            .is_some_and(|object| object.get("type").is_some_and(|kind| kind == "heartbeat"));
        (!heartbeat).then_some(self)
    }

    /// The object that a text is, if it is one.
    fn object(&self) -> Option<Map<String, Value>> {
        match self {
            Self::Text(text) if text.starts_with('{') => serde_json::from_str(text).ok(),
            _ => None,
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::Sent { thinking, content } => thinking.is_empty() && content.is_empty(),
        }
    }

    fn contains(&self, needle: &str) -> bool {
        let contains = |text: &str| text.to_lowercase().contains(needle);
        match self {
            Self::Text(text) => contains(text),
            Self::Sent { thinking, content } => contains(thinking) || contains(content),
        }
    }

    fn into_fields(self) -> Map<String, Value> {
        if let Some(object) = self.object() {
            return object;
        }
        let fields = match self {
            Self::Text(text) => vec![("content", text)],
            Self::Sent { thinking, content } => vec![("thinking", thinking), ("content", content)],
        };
        fields
            .into_iter()
            .map(|(field, text)| (field.to_owned(), Value::from(text)))
            .collect()
    }
}

fn said(message: &Message) -> Option<Wording> {
    if message.tool_calls.iter().any(|call| call.name == NAME) {
        return None;
    }
    let sent = message
        .tool_calls
        .iter()
        .find(|call| call.name == send_message::NAME);
    let Some(sent) = sent else {
        return Some(Wording::Text(message.text()));
    };
    let arguments: Value = serde_json::from_str(&sent.arguments).unwrap_or_default();
    let content = arguments["message"].as_str().unwrap_or_default().to_owned();
    Some(Wording::Sent {
        thinking: message.text(),
        content,
    })
}

/// What the tools gave back, without their envelopes.
fn returned(message: &Message) -> String {
    if message.name.as_deref() == Some(NAME) {
        return String::new();
    }
    let texts: Vec<String> = message.tool_returns.iter().filter_map(output).collect();
    texts.join("\n")
}

fn output(call: &ToolReturn) -> Option<String> {
    match &call.output {
        ToolOutput::Parts(parts) => Some(
            parts
                .iter()
                .filter_map(Part::text)
                .collect::<Vec<_>>()
                .join("\n"),
        ),
        ToolOutput::Packed(envelope) => {
            let envelope: Value = serde_json::from_str(envelope).unwrap_or_default();
            match &envelope["message"] {
                Value::String(text) => Some(text.clone()),
                answer if is_search_answer(answer) => None,
                other => Some(other.to_string()),
            }
        }
    }
}

/// A search beside other calls: the message carries the name of its first call only.
fn is_search_answer(value: &Value) -> bool {
    value
        .as_object()
        .is_some_and(|object| object.keys().eq(["message", "results"]))
}

#[cfg(test)]
mod tests;
