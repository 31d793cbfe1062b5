//! What Responses answer, whole or as events. The pieces of a stream come again whole when they are done, and all of
//! them once more at its end: of everything that is read, what is not known yet goes to one accumulator.

use crate::domain::message::{Part, ToolCall};
use crate::domain::model::{Answer, Finish, Usage};
use crate::providers::accumulator::{Accumulator, CallFragment, Misfit};
use crate::providers::failure::Complaint;
use crate::providers::protocol::{self, Fault};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::HashMap;

/// Bits of a slot that number the texts of one item.
const CONTENT_BITS: u32 = 8;

/// Tells an event from a whole response, which has no type.
#[derive(Deserialize)]
struct Kind {
    #[serde(default)]
    r#type: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum Event<'a> {
    #[serde(rename = "response.created", alias = "response.in_progress")]
    Begun {
        #[serde(borrow)]
        response: Response<'a>,
    },
    #[serde(rename = "response.output_item.added")]
    ItemAdded {
        output_index: u32,
        #[serde(borrow)]
        item: Item<'a>,
    },
    #[serde(rename = "response.output_item.done")]
    ItemDone {
        output_index: u32,
        #[serde(borrow)]
        item: Item<'a>,
    },
    #[serde(
        rename = "response.output_text.delta",
        alias = "response.refusal.delta"
    )]
    TextDelta {
        output_index: u32,
        #[serde(default)]
        content_index: u32,
        #[serde(borrow)]
        delta: Cow<'a, str>,
    },
    #[serde(rename = "response.output_text.done", alias = "response.refusal.done")]
    TextDone {
        output_index: u32,
        #[serde(default)]
        content_index: u32,
        #[serde(borrow, alias = "refusal")]
        text: Cow<'a, str>,
    },
    #[serde(rename = "response.reasoning_summary_text.delta")]
    SummaryDelta {
        output_index: u32,
        #[serde(default)]
        summary_index: u32,
        #[serde(borrow)]
        delta: Cow<'a, str>,
    },
    #[serde(rename = "response.reasoning_summary_text.done")]
    SummaryDone {
        output_index: u32,
        #[serde(default)]
        summary_index: u32,
        #[serde(borrow)]
        text: Cow<'a, str>,
    },
    #[serde(rename = "response.function_call_arguments.delta")]
    ArgumentsDelta {
        output_index: u32,
        #[serde(borrow)]
        delta: Cow<'a, str>,
    },
    #[serde(rename = "response.function_call_arguments.done")]
    ArgumentsDone {
        output_index: u32,
        #[serde(borrow)]
        arguments: Cow<'a, str>,
    },
    #[serde(
        rename = "response.completed",
        alias = "response.incomplete",
        alias = "response.failed"
    )]
    Ended {
        #[serde(borrow)]
        response: Response<'a>,
    },
    #[serde(rename = "error")]
    Error(Value),
    /// Beginnings and ends of what other events bring, and what is not asked for.
    #[serde(other)]
    Other,
}

/// The answer, or what there is of it.
#[derive(Deserialize)]
struct Response<'a> {
    #[serde(borrow, default)]
    object: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    model: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    status: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    output: Vec<Item<'a>>,
    #[serde(default)]
    usage: Option<Value>,
    #[serde(borrow, default)]
    incomplete_details: Option<IncompleteDetails<'a>>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct IncompleteDetails<'a> {
    #[serde(borrow, default)]
    reason: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Item<'a> {
    Message {
        #[serde(borrow, default)]
        content: Vec<Content<'a>>,
    },
    Reasoning {
        #[serde(borrow)]
        id: Cow<'a, str>,
        #[serde(borrow, default)]
        summary: Vec<Summary<'a>>,
        #[serde(borrow, default)]
        encrypted_content: Option<Cow<'a, str>>,
    },
    FunctionCall {
        #[serde(borrow)]
        call_id: Cow<'a, str>,
        #[serde(borrow)]
        name: Cow<'a, str>,
        #[serde(borrow, default)]
        arguments: Cow<'a, str>,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Content<'a> {
    OutputText {
        #[serde(borrow)]
        text: Cow<'a, str>,
    },
    Refusal {
        #[serde(borrow)]
        refusal: Cow<'a, str>,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Summary<'a> {
    #[serde(borrow, default)]
    text: Cow<'a, str>,
}

/// One string of an item that comes in pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Piece {
    Text(u32),
    Summary(u32),
    Encrypted,
    Arguments,
}

/// What has been read of a piece.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    bytes: usize,
    whole: bool,
}

/// Reads the answer of one call.
pub(crate) struct Reader<'d> {
    accumulator: Accumulator<'d>,
    /// By the item's place in the answer.
    progress: HashMap<(u32, Piece), Progress>,
    id: Option<String>,
    model: Option<String>,
    over: bool,
}

impl<'d> Reader<'d> {
    pub(crate) fn new(accumulator: Accumulator<'d>) -> Self {
        Self {
            accumulator,
            progress: HashMap::new(),
            id: None,
            model: None,
            over: false,
        }
    }

    fn event(&mut self, event: Event<'_>) -> Result<(), Fault> {
        match event {
            Event::Begun { response } => self.begin(&response),
            Event::ItemAdded { output_index, item } => self.announce(output_index, &item)?,
            Event::ItemDone { output_index, item } => self.item(output_index, &item)?,
            Event::TextDelta {
                output_index,
                content_index,
                delta,
            } => self.more(output_index, Piece::Text(content_index), &delta)?,
            Event::TextDone {
                output_index,
                content_index,
                text,
            } => self.whole(output_index, Piece::Text(content_index), &text)?,
            Event::SummaryDelta {
                output_index,
                summary_index,
                delta,
            } => self.more(output_index, Piece::Summary(summary_index), &delta)?,
            Event::SummaryDone {
                output_index,
                summary_index,
                text,
            } => self.whole(output_index, Piece::Summary(summary_index), &text)?,
            Event::ArgumentsDelta {
                output_index,
                delta,
            } => self.more(output_index, Piece::Arguments, &delta)?,
            Event::ArgumentsDone {
                output_index,
                arguments,
            } => self.whole(output_index, Piece::Arguments, &arguments)?,
            Event::Ended { response } => self.end(&response)?,
            Event::Error(error) => {
                let error = error.get("error").unwrap_or(&error);
                return Err(Fault::Refused(Complaint::of(error)));
            }
            Event::Other => (),
        }
        Ok(())
    }

    fn begin(&mut self, response: &Response<'_>) {
        keep_first(&mut self.id, response.id.as_deref());
        keep_first(&mut self.model, response.model.as_deref());
    }

    /// The answer with everything in it, or why there is none.
    fn end(&mut self, response: &Response<'_>) -> Result<(), Fault> {
        if let Some(error) = response.error.as_ref().filter(|error| !error.is_null()) {
            return Err(Fault::Refused(Complaint::of(error)));
        }
        if let Some(status @ ("failed" | "cancelled")) = response.status.as_deref() {
            let message = format!("the response is {status}, no reason given");
            return Err(Fault::Refused(Complaint::of(&json!(message))));
        }
        self.begin(response);
        for (at, item) in (0..).zip(&response.output) {
            self.item(at, item)?;
        }
        if let Some(counts) = response.usage.as_ref().filter(|usage| usage.is_object()) {
            self.accumulator.usage(usage(counts));
        }
        let details = response.incomplete_details.as_ref();
        let reason = details.and_then(|details| details.reason.as_deref());
        self.accumulator.finish(finish(reason));
        self.over = true;
        Ok(())
    }

    /// An item whose content is still to come.
    fn announce(&mut self, at: u32, item: &Item<'_>) -> Result<(), Misfit> {
        match item {
            Item::Reasoning { id, .. } => {
                self.accumulator.summarized_reasoning(slot(at, 0), id, None)
            }
            Item::FunctionCall { call_id, name, .. } => self.accumulator.call(CallFragment {
                index: Some(at.into()),
                id: Some(call_id),
                name: Some(name),
                arguments: "",
            }),
            Item::Message { .. } | Item::Other => Ok(()),
        }
    }

    /// A whole item.
    fn item(&mut self, at: u32, item: &Item<'_>) -> Result<(), Misfit> {
        self.announce(at, item)?;
        match item {
            Item::Message { content } => {
                for (index, content) in (0..).zip(content) {
                    match content {
                        Content::OutputText { text } | Content::Refusal { refusal: text } => {
                            self.whole(at, Piece::Text(index), text)?
                        }
                        Content::Other => (),
                    }
                }
            }
            Item::Reasoning {
                summary,
                encrypted_content,
                ..
            } => {
                for (index, summary) in (0..).zip(summary) {
                    self.whole(at, Piece::Summary(index), &summary.text)?;
                }
                // Only here: what an item begins with is not what it is replayed with.
                if let Some(encrypted) = encrypted_content {
                    self.whole(at, Piece::Encrypted, encrypted)?;
                }
            }
            Item::FunctionCall { arguments, .. } => self.whole(at, Piece::Arguments, arguments)?,
            Item::Other => (),
        }
        Ok(())
    }

    /// A fragment of a piece.
    fn more(&mut self, at: u32, piece: Piece, fragment: &str) -> Result<(), Misfit> {
        let progress = self.progress.entry((at, piece)).or_default();
        if progress.whole {
            return Ok(());
        }
        progress.bytes += fragment.len();
        self.pass_on(at, piece, fragment)
    }

    /// A piece from its beginning to its end, whatever of it came before.
    fn whole(&mut self, at: u32, piece: Piece, text: &str) -> Result<(), Misfit> {
        let progress = self.progress.entry((at, piece)).or_default();
        if progress.whole {
            return Ok(());
        }
        let rest = text.get(progress.bytes..).unwrap_or("");
        progress.whole = true;
        self.pass_on(at, piece, rest)
    }

    fn pass_on(&mut self, at: u32, piece: Piece, text: &str) -> Result<(), Misfit> {
        if text.is_empty() {
            return Ok(());
        }
        match piece {
            Piece::Text(index) => self.accumulator.text(slot(at, index), text),
            Piece::Summary(index) => self.accumulator.summary(slot(at, 0), index as usize, text),
            Piece::Encrypted => self
                .accumulator
                .summarized_reasoning(slot(at, 0), "", Some(text)),
            Piece::Arguments => self.accumulator.call(CallFragment {
                index: Some(at.into()),
                arguments: text,
                ..CallFragment::default()
            }),
        }
    }
}

impl protocol::Reader for Reader<'_> {
    fn take(&mut self, data: &[u8]) -> Result<(), Fault> {
        let unreadable = |_| Fault::Unreadable("response");
        let kind: Kind = serde_json::from_slice(data).map_err(unreadable)?;
        if kind.r#type.is_some() {
            return self.event(serde_json::from_slice(data).map_err(unreadable)?);
        }
        let response: Response<'_> = serde_json::from_slice(data).map_err(unreadable)?;
        if response.error.is_none() && response.object.as_deref() != Some("response") {
            return Err(Fault::Unreadable("response"));
        }
        self.end(&response)
    }

    fn emitted(&self) -> bool {
        self.accumulator.emitted()
    }

    fn is_finished(&self) -> bool {
        self.accumulator.is_finished()
    }

    fn is_over(&self) -> bool {
        self.over
    }

    fn into_answer(self: Box<Self>) -> Result<Answer, Misfit> {
        let mut answer = self.accumulator.into_answer()?;
        answer.trace.response = response(self.id, self.model, &answer).to_string();
        Ok(answer)
    }
}

/// Where a text, or the reasoning, of the `at`-th item stands among the stored parts.
fn slot(at: u32, content: u32) -> u32 {
    let (items, contents) = (u32::MAX >> CONTENT_BITS, (1 << CONTENT_BITS) - 1);
    (at.min(items) << CONTENT_BITS) | content.min(contents)
}

fn keep_first(field: &mut Option<String>, value: Option<&str>) {
    if field.is_none() {
        *field = value.map(str::to_owned);
    }
}

/// A reason that is not known ends an answer like none: it must not fail the step.
fn finish(incomplete: Option<&str>) -> Finish {
    match incomplete {
        Some("max_output_tokens") => Finish::Length,
        Some("content_filter") => Finish::ContentFilter,
        _ => Finish::Stop,
    }
}

/// Counts that are missing or are no whole numbers are not there.
fn usage(counts: &Value) -> Usage {
    let count = |path: &str| counts.pointer(path).and_then(Value::as_u64);
    let prompt_tokens = count("/input_tokens").unwrap_or(0);
    let completion_tokens = count("/output_tokens").unwrap_or(0);
    Usage {
        prompt_tokens,
        completion_tokens,
        total_tokens: count("/total_tokens").unwrap_or(prompt_tokens + completion_tokens),
        cached_input_tokens: count("/input_tokens_details/cached_tokens"),
        cache_write_tokens: None,
        reasoning_tokens: count("/output_tokens_details/reasoning_tokens"),
    }
}

/// The answer as one response, the same whether it came whole or as events.
fn response(id: Option<String>, model: Option<String>, answer: &Answer) -> Value {
    let call = |call: &ToolCall| json!({"type": "function_call", "call_id": call.id, "name": call.name, "arguments": call.arguments});
    let said = answer.parts.iter().filter_map(said);
    let output: Vec<Value> = said.chain(answer.calls.iter().map(call)).collect();
    let incomplete = match answer.finish {
        Finish::Stop | Finish::ToolCalls => None,
        Finish::Length => Some("max_output_tokens"),
        Finish::ContentFilter => Some("content_filter"),
    };
    let status = if incomplete.is_some() {
        "incomplete"
    } else {
        "completed"
    };
    let Usage {
        prompt_tokens,
        completion_tokens,
        total_tokens,
        cached_input_tokens,
        reasoning_tokens,
        ..
    } = answer.usage;
    json!({
        "id": id,
        "object": "response",
        "model": model,
        "status": status,
        "incomplete_details": incomplete.map(|reason| json!({"reason": reason})),
        "output": output,
        "usage": {
            "input_tokens": prompt_tokens,
            "output_tokens": completion_tokens,
            "total_tokens": total_tokens,
            "input_tokens_details": {"cached_tokens": cached_input_tokens},
            "output_tokens_details": {"reasoning_tokens": reasoning_tokens},
        },
    })
}

/// The item that a part of the answer came in.
fn said(part: &Part) -> Option<Value> {
    match part {
        Part::Text { text, .. } => Some(
            json!({"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}),
        ),
        Part::SummarizedReasoning {
            id,
            summary,
            encrypted_content,
        } => {
            let text = |text: &String| json!({"type": "summary_text", "text": text});
            let summary: Vec<Value> = summary.iter().map(text).collect();
            Some(
                json!({"type": "reasoning", "id": id, "summary": summary, "encrypted_content": encrypted_content}),
            )
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
