//! What Anthropic answers, whole or in events: both go through one accumulator.

use crate::domain::message::{Part, ToolCall};
use crate::domain::model::{Answer, Finish, Usage};
use crate::providers::accumulator::{Accumulator, CallFragment, Misfit};
use crate::providers::failure::Complaint;
use crate::providers::protocol::{self, Fault};
use serde::Deserialize;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A whole answer, or one event of a stream.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event<'a> {
    Message(#[serde(borrow)] Message<'a>),
    MessageStart {
        #[serde(borrow)]
        message: Message<'a>,
    },
    ContentBlockStart {
        index: u32,
        #[serde(borrow)]
        content_block: Block<'a>,
    },
    ContentBlockDelta {
        index: u32,
        #[serde(borrow)]
        delta: BlockDelta<'a>,
    },
    ContentBlockStop {
        index: u32,
    },
    MessageDelta {
        #[serde(borrow)]
        delta: End<'a>,
        #[serde(default)]
        usage: Value,
    },
    MessageStop,
    Error {
        error: Value,
    },
    /// `ping`, and what does not exist yet.
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    model: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    content: Vec<Block<'a>>,
    #[serde(borrow, default)]
    stop_reason: Option<Cow<'a, str>>,
    #[serde(default)]
    usage: Value,
}

#[derive(Deserialize)]
struct End<'a> {
    #[serde(borrow, default)]
    stop_reason: Option<Cow<'a, str>>,
}

/// A block of a whole answer, or the start of one in a stream.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block<'a> {
    Text {
        #[serde(borrow, default)]
        text: Cow<'a, str>,
    },
    Thinking {
        #[serde(borrow, default)]
        thinking: Cow<'a, str>,
        #[serde(borrow, default)]
        signature: Option<Cow<'a, str>>,
    },
    RedactedThinking {
        #[serde(borrow)]
        data: Cow<'a, str>,
    },
    ToolUse {
        #[serde(borrow, default)]
        id: Option<Cow<'a, str>>,
        #[serde(borrow)]
        name: Cow<'a, str>,
        #[serde(default)]
        input: Value,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum BlockDelta<'a> {
    TextDelta {
        #[serde(borrow)]
        text: Cow<'a, str>,
    },
    InputJsonDelta {
        #[serde(borrow)]
        partial_json: Cow<'a, str>,
    },
    ThinkingDelta {
        #[serde(borrow)]
        thinking: Cow<'a, str>,
    },
    SignatureDelta {
        #[serde(borrow)]
        signature: Cow<'a, str>,
    },
    #[serde(other)]
    Other,
}

/// Reads the answer of one call.
pub(crate) struct Reader<'d> {
    accumulator: Accumulator<'d>,
    /// What the calls that got no arguments yet get if none come: by block.
    unfilled: BTreeMap<u32, String>,
    head: Head,
    is_over: bool,
}

/// What is said of an answer beside its content.
#[derive(Debug, Default)]
struct Head {
    id: Option<String>,
    model: Option<String>,
    stop_reason: Option<String>,
    counts: Counts,
}

impl<'d> Reader<'d> {
    pub(crate) fn new(accumulator: Accumulator<'d>) -> Self {
        Self {
            accumulator,
            unfilled: BTreeMap::new(),
            head: Head::default(),
            is_over: false,
        }
    }

    fn event(&mut self, event: Event<'_>) -> Result<(), Fault> {
        match event {
            Event::Message(message) | Event::MessageStart { message } => self.message(message)?,
            Event::ContentBlockStart {
                index,
                content_block,
            } => self.start(index, &content_block)?,
            Event::ContentBlockDelta { index, delta } => self.more(index, &delta)?,
            Event::ContentBlockStop { index } => self.stop(index)?,
            Event::MessageDelta { delta, usage } => self.end(delta.stop_reason, &usage),
            Event::MessageStop => self.is_over = true,
            Event::Error { error } => return Err(Fault::Refused(Complaint::of(&error))),
            Event::Other => (),
        }
        Ok(())
    }

    /// The whole message, or its head at the start of a stream.
    fn message(&mut self, message: Message<'_>) -> Result<(), Misfit> {
        self.head.id = message.id.map(Cow::into_owned);
        self.head.model = message.model.map(Cow::into_owned);
        for (index, block) in (0..).zip(&message.content) {
            self.start(index, block)?;
            self.stop(index)?;
        }
        self.end(message.stop_reason, &message.usage);
        Ok(())
    }

    fn start(&mut self, index: u32, block: &Block<'_>) -> Result<(), Misfit> {
        match block {
            Block::Text { text } => self.accumulator.text(index, text),
            Block::Thinking {
                thinking,
                signature,
            } => {
                self.accumulator.reasoning(index, thinking)?;
                self.accumulator
                    .signature(index, signature.as_deref().unwrap_or(""))
            }
            Block::RedactedThinking { data } => self.accumulator.redacted_reasoning(index, data),
            Block::ToolUse { id, name, input } => {
                self.unfilled.insert(index, arguments(input));
                self.accumulator.call(CallFragment {
                    index: Some(index.into()),
                    id: id.as_deref(),
                    name: Some(name),
                    arguments: "",
                })
            }
            Block::Other => Ok(()),
        }
    }

    fn more(&mut self, index: u32, delta: &BlockDelta<'_>) -> Result<(), Misfit> {
        match delta {
            BlockDelta::TextDelta { text } => self.accumulator.text(index, text),
            BlockDelta::ThinkingDelta { thinking } => self.accumulator.reasoning(index, thinking),
            BlockDelta::SignatureDelta { signature } => {
                self.accumulator.signature(index, signature)
            }
            // The first fragment is empty, and the only one when there are no arguments.
            BlockDelta::InputJsonDelta { partial_json } if partial_json.is_empty() => Ok(()),
            BlockDelta::InputJsonDelta { partial_json } => {
                self.unfilled.remove(&index);
                self.fill(index, partial_json)
            }
            BlockDelta::Other => Ok(()),
        }
    }

    fn stop(&mut self, index: u32) -> Result<(), Misfit> {
        match self.unfilled.remove(&index) {
            Some(arguments) => self.fill(index, &arguments),
            None => Ok(()),
        }
    }

    fn fill(&mut self, index: u32, arguments: &str) -> Result<(), Misfit> {
        self.accumulator.call(CallFragment {
            index: Some(index.into()),
            arguments,
            ..CallFragment::default()
        })
    }

    fn end(&mut self, stop_reason: Option<Cow<'_, str>>, usage: &Value) {
        self.head.counts.raise(usage);
        self.accumulator.usage(self.head.counts.usage());
        if let Some(reason) = stop_reason {
            self.accumulator.finish(finish(&reason));
            self.head.stop_reason = Some(reason.into_owned());
        }
    }
}

impl protocol::Reader for Reader<'_> {
    fn take(&mut self, data: &[u8]) -> Result<(), Fault> {
        match serde_json::from_slice(data) {
            Ok(event) => self.event(event),
            // Proxies leave the type of an error out.
            Err(_) => Err(complaint(data).map_or(Fault::Unreadable("message"), Fault::Refused)),
        }
    }

    fn emitted(&self) -> bool {
        self.accumulator.emitted()
    }

    fn is_finished(&self) -> bool {
        self.accumulator.is_finished()
    }

    fn is_over(&self) -> bool {
        self.is_over
    }

    fn into_answer(mut self: Box<Self>) -> Result<Answer, Misfit> {
        while let Some((&index, _)) = self.unfilled.first_key_value() {
            self.stop(index)?;
        }
        let Self {
            accumulator, head, ..
        } = *self;
        let mut answer = accumulator.into_answer()?;
        answer.calls.iter_mut().for_each(compact);
        answer.trace.response = head.response(&answer).to_string();
        Ok(answer)
    }
}

impl Head {
    /// The answer as one message, the same whether it came whole or in events.
    fn response(&self, answer: &Answer) -> Value {
        let blocks = answer.parts.iter().filter_map(block);
        let calls = answer.calls.iter().map(tool_use);
        json!({
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": blocks.chain(calls).collect::<Vec<_>>(),
            "stop_reason": self.stop_reason,
            "usage": {
                "input_tokens": self.counts.input,
                "cache_creation_input_tokens": self.counts.cache_creation,
                "cache_read_input_tokens": self.counts.cache_read,
                "output_tokens": self.counts.output,
            },
        })
    }
}

fn complaint(data: &[u8]) -> Option<Complaint> {
    let value: Value = serde_json::from_slice(data).ok()?;
    value
        .get("error")
        .filter(|error| !error.is_null())
        .map(Complaint::of)
}

fn arguments(input: &Value) -> String {
    match input {
        Value::Null => "{}".to_owned(),
        Value::String(text) => text.clone(),
        object => object.to_string(),
    }
}

/// Streamed arguments have the model's own spaces, whole ones the server's.
fn compact(call: &mut ToolCall) {
    if let Ok(arguments) = serde_json::from_str::<Value>(&call.arguments) {
        call.arguments = arguments.to_string();
    }
}

/// A word that is not known ends an answer like `end_turn`: it must not fail the step.
fn finish(reason: &str) -> Finish {
    match reason {
        "max_tokens" | "model_context_window_exceeded" => Finish::Length,
        "tool_use" => Finish::ToolCalls,
        "refusal" => Finish::ContentFilter,
        _ => Finish::Stop,
    }
}

/// Counts that are missing or are no whole numbers are not there.
#[derive(Debug, Default)]
struct Counts {
    input: Option<u64>,
    output: Option<u64>,
    cache_creation: Option<u64>,
    cache_read: Option<u64>,
}

impl Counts {
    /// Counts grow while an answer is streamed; a later report may leave some out, or have them as 0.
    fn raise(&mut self, usage: &Value) {
        let raise = |count: &mut Option<u64>, field| {
            let reported = usage.get(field).and_then(Value::as_u64);
            *count = (*count).max(reported);
        };
        raise(&mut self.input, "input_tokens");
        raise(&mut self.output, "output_tokens");
        raise(&mut self.cache_creation, "cache_creation_input_tokens");
        raise(&mut self.cache_read, "cache_read_input_tokens");
    }

    /// Anthropic counts cached input apart from the rest.
    fn usage(&self) -> Usage {
        let prompt_tokens = [self.input, self.cache_creation, self.cache_read]
            .into_iter()
            .flatten()
            .fold(0, u64::saturating_add);
        let completion_tokens = self.output.unwrap_or(0);
        Usage {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens.saturating_add(completion_tokens),
            cached_input_tokens: self.cache_read,
            cache_write_tokens: self.cache_creation,
            reasoning_tokens: None,
        }
    }
}

fn block(part: &Part) -> Option<Value> {
    match part {
        Part::Text { text, .. } => Some(json!({"type": "text", "text": text})),
        Part::Reasoning {
            reasoning,
            signature,
            ..
        } => Some(json!({"type": "thinking", "thinking": reasoning, "signature": signature})),
        Part::OmittedReasoning { signature } => {
            Some(json!({"type": "thinking", "thinking": "", "signature": signature}))
        }
        Part::RedactedReasoning { data } => {
            Some(json!({"type": "redacted_thinking", "data": data}))
        }
        Part::Image(_) | Part::SummarizedReasoning { .. } => None,
    }
}

fn tool_use(call: &ToolCall) -> Value {
    let input: Value =
        serde_json::from_str(&call.arguments).unwrap_or_else(|_| json!(call.arguments));
    json!({"type": "tool_use", "id": call.id, "name": call.name, "input": input})
}

#[cfg(test)]
mod tests;
