//! What chat completions answer, whole or in chunks: both go through one accumulator.

use crate::domain::message::{Part, ToolCall};
use crate::domain::model::{Answer, Finish, Usage};
use crate::domain::token_data::TokenData;
use crate::providers::accumulator::{Accumulator, CallFragment, Misfit};
use crate::providers::failure::Complaint;
use crate::providers::protocol::{self, Fault};
use serde::Deserialize;
use serde_json::{Value, json};
use std::borrow::Cow;

/// The parts of an answer in the order in which they are stored.
const REASONING: u32 = 0;
const TEXT: u32 = 1;

/// A whole answer, or one chunk of it. Everything may be missing: servers leave out what they have nothing to say of.
#[derive(Deserialize)]
struct Completion<'a> {
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    model: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    choices: Option<Vec<Choice<'a>>>,
    #[serde(default)]
    usage: Option<Value>,
    /// Where Groq puts the usage of a stream.
    #[serde(default)]
    x_groq: Option<Value>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(default)]
    index: Option<u64>,
    #[serde(borrow, default)]
    message: Option<Said<'a>>,
    /// In a stream.
    #[serde(borrow, default)]
    delta: Option<Said<'a>>,
    #[serde(borrow, default)]
    finish_reason: Option<Cow<'a, str>>,
    #[serde(default)]
    logprobs: Option<Value>,
    /// vLLM, SGLang, if they are asked.
    #[serde(default)]
    token_ids: Option<Value>,
}

#[derive(Deserialize)]
struct Said<'a> {
    #[serde(borrow, default)]
    content: Option<Text<'a>>,
    #[serde(borrow, default)]
    refusal: Option<Cow<'a, str>>,
    /// DeepSeek, vLLM, SGLang, llama.cpp.
    #[serde(borrow, default)]
    reasoning_content: Option<Cow<'a, str>>,
    /// OpenRouter, Groq, Ollama, newer vLLM.
    #[serde(default)]
    reasoning: Option<Value>,
    #[serde(borrow, default)]
    tool_calls: Option<Vec<Call<'a>>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Text<'a> {
    Plain(#[serde(borrow)] Cow<'a, str>),
    Parts(Vec<TextPart>),
}

#[derive(Deserialize)]
struct TextPart {
    #[serde(default)]
    text: String,
}

#[derive(Deserialize)]
struct Call<'a> {
    #[serde(default)]
    index: Option<u64>,
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    function: Option<Function<'a>>,
}

#[derive(Deserialize)]
struct Function<'a> {
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
    /// JSON text; some servers send the object itself.
    #[serde(default)]
    arguments: Option<Value>,
}

/// Reads the answer of one call.
pub(crate) struct Reader<'d> {
    accumulator: Accumulator<'d>,
    /// The model thinks and, in this dialect, does not show it.
    thinks: bool,
    id: Option<String>,
    model: Option<String>,
    tokens: Tokens,
}

/// What was told of the tokens so far.
#[derive(Default)]
struct Tokens {
    content: Vec<Value>,
    refusal: Vec<Value>,
    ids: Vec<u64>,
}

impl<'d> Reader<'d> {
    pub(crate) fn new(accumulator: Accumulator<'d>, thinks: bool) -> Self {
        Self {
            accumulator,
            thinks,
            id: None,
            model: None,
            tokens: Tokens::default(),
        }
    }

    fn completion(&mut self, completion: Completion<'_>) -> Result<(), Misfit> {
        keep_first(&mut self.id, completion.id);
        keep_first(&mut self.model, completion.model);
        let groq = || {
            completion
                .x_groq
                .as_ref()
                .and_then(|extra| extra.get("usage"))
        };
        if let Some(counts) = completion
            .usage
            .as_ref()
            .filter(|usage| usage.is_object())
            .or_else(groq)
        {
            self.accumulator.usage(usage(counts));
        }
        let mut choices = completion.choices.unwrap_or_default().into_iter();
        let Some(choice) = choices.find(|choice| choice.index.unwrap_or(0) == 0) else {
            return Ok(());
        };
        self.tokens.add(choice.logprobs, choice.token_ids)?;
        if let Some(said) = choice.message {
            self.said(&said, true)?;
        }
        if let Some(said) = choice.delta {
            self.said(&said, false)?;
        }
        if let Some(reason) = choice.finish_reason {
            self.accumulator.finish(finish(&reason));
        }
        Ok(())
    }

    /// `whole`: each of its calls is one, whatever their ids are; else they are fragments of some.
    fn said(&mut self, said: &Said<'_>, whole: bool) -> Result<(), Misfit> {
        let shown = said
            .reasoning_content
            .as_deref()
            .or(said.reasoning.as_ref().and_then(Value::as_str));
        self.accumulator.reasoning(REASONING, shown.unwrap_or(""))?;
        let joined;
        let text = match &said.content {
            Some(Text::Plain(text)) => text,
            Some(Text::Parts(parts)) => {
                joined = parts
                    .iter()
                    .map(|part| part.text.as_str())
                    .collect::<String>();
                joined.as_str()
            }
            None => "",
        };
        let calls = said.tool_calls.as_deref().unwrap_or(&[]);
        if self.thinks && !(text.is_empty() && calls.is_empty()) {
            self.accumulator.omitted_reasoning(REASONING);
        }
        self.accumulator.text(TEXT, text)?;
        self.accumulator
            .text(TEXT, said.refusal.as_deref().unwrap_or(""))?;
        for (place, call) in (0..).zip(calls) {
            let index = if whole { Some(place) } else { call.index };
            self.call(call, index)?;
        }
        Ok(())
    }

    fn call(&mut self, call: &Call<'_>, index: Option<u64>) -> Result<(), Misfit> {
        let function = call.function.as_ref();
        let arguments = match function.and_then(|function| function.arguments.as_ref()) {
            None | Some(Value::Null) => Cow::Borrowed(""),
            Some(Value::String(text)) => Cow::Borrowed(text.as_str()),
            Some(object) => Cow::Owned(object.to_string()),
        };
        self.accumulator.call(CallFragment {
            index,
            id: call.id.as_deref(),
            name: function.and_then(|function| function.name.as_deref()),
            arguments: &arguments,
        })
    }
}

/// Tokens of one answer that are kept.
const MAX_TOKENS: usize = 1_000_000;

impl Tokens {
    fn add(&mut self, logprobs: Option<Value>, ids: Option<Value>) -> Result<(), Misfit> {
        if let Some(Value::Object(mut lists)) = logprobs {
            for (name, kept) in [
                ("content", &mut self.content),
                ("refusal", &mut self.refusal),
            ] {
                if let Some(Value::Array(tokens)) = lists.get_mut(name).map(Value::take) {
                    kept.extend(tokens.into_iter().filter_map(token));
                }
            }
        }
        if let Some(Value::Array(ids)) = ids {
            self.ids.extend(ids.iter().filter_map(Value::as_u64));
        }
        let most = [self.content.len(), self.refusal.len(), self.ids.len()];
        if most.into_iter().any(|count| count > MAX_TOKENS) {
            return Err(Misfit::TooLarge);
        }
        Ok(())
    }

    fn told(self) -> Option<TokenData> {
        let list = |tokens: Vec<Value>| Some(tokens).filter(|tokens| !tokens.is_empty());
        let (content, refusal) = (list(self.content), list(self.refusal));
        let any = content.is_some() || refusal.is_some();
        let data = TokenData {
            logprobs: any.then(|| json!({"content": content, "refusal": refusal})),
            ids: self.ids,
        };
        (data != TokenData::default()).then_some(data)
    }
}

/// A token as strict clients take it.
fn token(mut token: Value) -> Option<Value> {
    let whole = token.get("token")?.is_string() && token.get("logprob")?.is_number();
    let alternatives = token.as_object_mut()?.entry("top_logprobs");
    let alternatives = alternatives.or_insert_with(|| json!([]));
    if !alternatives.is_array() {
        *alternatives = json!([]);
    }
    whole.then_some(token)
}

impl protocol::Reader for Reader<'_> {
    fn take(&mut self, data: &[u8]) -> Result<(), Fault> {
        let completion: Completion<'_> =
            serde_json::from_slice(data).map_err(|_| Fault::Unreadable("chat completion"))?;
        if let Some(error) = completion.error.as_ref().filter(|error| !error.is_null()) {
            return Err(Fault::Refused(Complaint::of(error)));
        }
        Ok(self.completion(completion)?)
    }

    fn emitted(&self) -> bool {
        self.accumulator.emitted()
    }

    fn is_finished(&self) -> bool {
        self.accumulator.is_finished()
    }

    fn into_answer(self: Box<Self>) -> Result<Answer, Misfit> {
        let mut answer = self.accumulator.into_answer()?;
        answer.tokens = self.tokens.told();
        answer.trace.response = response(self.id, self.model, &answer).to_string();
        Ok(answer)
    }
}

fn keep_first(field: &mut Option<String>, value: Option<Cow<'_, str>>) {
    if field.is_none() {
        *field = value.map(Cow::into_owned);
    }
}

/// A word that is not known ends an answer like `stop`: it must not fail the step.
fn finish(reason: &str) -> Finish {
    match reason {
        "length" | "max_tokens" => Finish::Length,
        "tool_calls" | "function_call" => Finish::ToolCalls,
        "content_filter" => Finish::ContentFilter,
        _ => Finish::Stop,
    }
}

/// Counts that are missing or are no whole numbers are not there.
fn usage(counts: &Value) -> Usage {
    let count = |path: &str| counts.pointer(path).and_then(Value::as_u64);
    let prompt_tokens = count("/prompt_tokens").unwrap_or(0);
    let completion_tokens = count("/completion_tokens").unwrap_or(0);
    Usage {
        prompt_tokens,
        completion_tokens,
        total_tokens: count("/total_tokens").unwrap_or(prompt_tokens + completion_tokens),
        cached_input_tokens: count("/prompt_tokens_details/cached_tokens")
            .or(count("/prompt_cache_hit_tokens")),
        cache_write_tokens: None,
        reasoning_tokens: count("/completion_tokens_details/reasoning_tokens"),
    }
}

/// The answer as one chat completion, the same whether it came whole or in chunks.
pub(super) fn response(id: Option<String>, model: Option<String>, answer: &Answer) -> Value {
    let call = |call: &ToolCall| json!({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}});
    let calls: Vec<Value> = answer.calls.iter().map(call).collect();
    let mut message =
        json!({"role": "assistant", "content": answer.parts.iter().find_map(Part::text)});
    for part in &answer.parts {
        if let Part::Reasoning { reasoning, .. } = part {
            message["reasoning_content"] = json!(reasoning);
        }
    }
    if !calls.is_empty() {
        message["tool_calls"] = json!(calls);
    }
    let finish = match answer.finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
        Finish::ToolCalls => "tool_calls",
        Finish::ContentFilter => "content_filter",
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
        "object": "chat.completion",
        "model": model,
        "choices": [{"index": 0, "finish_reason": finish, "message": message}],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": total_tokens,
            "prompt_tokens_details": {"cached_tokens": cached_input_tokens},
            "completion_tokens_details": {"reasoning_tokens": reasoning_tokens},
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::model::Delta;
    use crate::providers::protocol::Reader as _;

    fn read(chunks: &[Value], thinks: bool) -> (Answer, Vec<Delta>) {
        let mut deltas = Vec::new();
        let mut push = |delta| deltas.push(delta);
        let mut reader = Box::new(Reader::new(Accumulator::new(&mut push), thinks));
        for chunk in chunks {
            reader.take(chunk.to_string().as_bytes()).unwrap();
        }
        (reader.into_answer().unwrap(), deltas)
    }

    #[test]
    fn tokens_are_told_alike_whole_and_in_chunks_as_strict_clients_take_them() {
        let token = |text: &str| json!({"token": text, "logprob": -0.5});
        let choice = |said: (&str, Value), tokens: Value, ids: Value| json!({"choices": [{"index": 0, said.0: said.1, "logprobs": {"content": tokens}, "token_ids": ids}]});
        let chunks = [
            choice(
                ("delta", json!({"content": "a"})),
                json!([token("a")]),
                json!([1]),
            ),
            choice(
                ("delta", json!({"content": "b"})),
                json!([token("b"), {"token": 1}]),
                json!([2]),
            ),
        ];
        let (streamed, _) = read(&chunks, false);
        let both = json!([token("a"), token("b")]);
        let whole = choice(("message", json!({"content": "ab"})), both, json!([1, 2]));
        let (answer, _) = read(&[whole], false);
        assert_eq!(answer.tokens, streamed.tokens);
        let told = answer.tokens.unwrap();
        assert_eq!(told.ids, [1, 2]);
        let content = &told.logprobs.unwrap()["content"];
        assert_eq!(
            content[1],
            json!({"token": "b", "logprob": -0.5, "top_logprobs": []})
        );
        let (plain, _) = read(&[chunk(json!({"content": "a"}))], false);
        assert_eq!(plain.tokens, None);
    }

    fn chunk(delta: Value) -> Value {
        json!({"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta}]})
    }

    #[test]
    fn chunks_and_the_whole_give_the_same_answer() {
        let usage = json!({"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 2}});
        let call = json!({"id": "x", "function": {"name": "f", "arguments": "{\"a\":1}"}});
        let message =
            json!({"content": "hi there", "reasoning_content": "hm", "tool_calls": [call]});
        let whole = json!({
            "id": "c", "model": "m", "usage": usage,
            "choices": [{"message": message, "finish_reason": "tool_calls"}],
        });
        let fragment = |id: Value, arguments: &str| {
            chunk(
                json!({"tool_calls": [{"index": 0, "id": id, "function": {"name": "f", "arguments": arguments}}]}),
            )
        };
        let chunks = [
            chunk(json!({"role": "assistant", "content": ""})),
            chunk(json!({"content": "hi "})),
            chunk(json!({"reasoning": "h"})),
            chunk(json!({"reasoning": "m"})),
            fragment(json!("x"), ""),
            chunk(json!({"content": "there"})),
            fragment(Value::Null, "{\"a\""),
            fragment(Value::Null, ":1}"),
            json!({"choices": [{"delta": {}, "finish_reason": "tool_calls"}]}),
            json!({"choices": [], "usage": usage}),
        ];
        let (streamed, deltas) = read(&chunks, false);
        assert_eq!(streamed, read(&[whole], false).0);
        assert_eq!(streamed.usage.total_tokens, 10);
        assert!(matches!(
            streamed.parts.as_slice(),
            [Part::Reasoning { .. }, Part::Text { .. }]
        ));
        assert_eq!(deltas.len(), 7);
    }

    #[test]
    fn hidden_thinking_is_noted_first_unless_it_is_shown() {
        let (answer, deltas) = read(
            &[
                chunk(json!({"content": "a"})),
                chunk(json!({"content": "b"})),
            ],
            true,
        );
        assert!(matches!(
            answer.parts.as_slice(),
            [Part::OmittedReasoning { .. }, Part::Text { .. }]
        ));
        assert_eq!(deltas[0], Delta::OmittedReasoning);
        let (shown, _) = read(
            &[chunk(json!({"reasoning_content": "hm", "content": "a"}))],
            true,
        );
        assert!(matches!(shown.parts[0], Part::Reasoning { .. }));
    }

    #[test]
    fn unknown_finish_reasons_and_odd_spellings_do_not_fail() {
        let odd = json!({"choices": [{
            "finish_reason": "eos",
            "message": {"content": [{"type": "text", "text": "a"}], "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1}}}]},
        }]});
        let (answer, _) = read(&[odd], false);
        assert_eq!(answer.finish, Finish::ToolCalls);
        assert_eq!(answer.calls[0].arguments, "{\"x\":1}");
        let (answer, _) = read(
            &[json!({"choices": [{"finish_reason": "eos", "message": {"content": "a"}}]})],
            false,
        );
        assert_eq!(answer.finish, Finish::Stop);
    }

    #[test]
    fn an_answer_that_a_filter_withheld_ends_as_such() {
        let withheld =
            json!({"choices": [{"finish_reason": "content_filter", "message": {"content": null}}]});
        let (answer, deltas) = read(&[withheld], false);
        assert_eq!(
            (answer.finish, answer.parts, deltas),
            (Finish::ContentFilter, Vec::new(), Vec::new())
        );
    }
}
