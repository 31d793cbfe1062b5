//! What `generateContent` answers, whole or in pieces of the same shape: both go through one accumulator.

use crate::domain::message::Part;
use crate::domain::model::{Answer, Finish, Usage};
use crate::providers::accumulator::{Accumulator, CallFragment, Misfit, new_call_id};
use crate::providers::failure::Complaint;
use crate::providers::protocol::{self, Fault};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::borrow::Cow;

/// A whole answer, or one piece of it. Everything may be missing.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    #[serde(borrow, default)]
    candidates: Option<Vec<Candidate<'a>>>,
    #[serde(borrow, default)]
    prompt_feedback: Option<PromptFeedback<'a>>,
    #[serde(default)]
    usage_metadata: Option<Value>,
    #[serde(borrow, default)]
    model_version: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    response_id: Option<Cow<'a, str>>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PromptFeedback<'a> {
    #[serde(borrow, default)]
    block_reason: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate<'a> {
    #[serde(default)]
    index: Option<u64>,
    #[serde(borrow, default)]
    content: Option<Content<'a>>,
    #[serde(borrow, default)]
    finish_reason: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Content<'a> {
    #[serde(borrow, default)]
    parts: Option<Vec<Said<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Said<'a> {
    #[serde(borrow, default)]
    text: Option<Cow<'a, str>>,
    #[serde(default)]
    thought: Option<bool>,
    #[serde(borrow, default, alias = "thought_signature")]
    thought_signature: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    function_call: Option<FunctionCall<'a>>,
}

#[derive(Deserialize)]
struct FunctionCall<'a> {
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
    #[serde(default)]
    args: Option<Map<String, Value>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Thought,
    Text,
}

/// Reads the answer of one call.
pub(crate) struct Reader<'d> {
    accumulator: Accumulator<'d>,
    /// Only the first call is kept: several cannot be forbidden.
    single: bool,
    calls: u64,
    /// The latest part. Text that goes on is the same part, however it was cut into pieces.
    latest: Option<(Kind, u32)>,
    /// Where the latest of each kind is.
    thought: Option<u32>,
    text: Option<u32>,
    /// The signature that came with a text or a thought: the last one may come with an empty text.
    signature: Option<(Kind, String)>,
    signed_call: bool,
    told: Told,
}

/// What is only for the trace.
#[derive(Default)]
struct Told {
    response_id: Option<String>,
    model_version: Option<String>,
    finish_reason: Option<String>,
    block_reason: Option<String>,
    usage: Option<Value>,
}

impl<'d> Reader<'d> {
    pub(crate) fn new(accumulator: Accumulator<'d>, single: bool) -> Self {
        Self {
            accumulator,
            single,
            calls: 0,
            latest: None,
            thought: None,
            text: None,
            signature: None,
            signed_call: false,
            told: Told::default(),
        }
    }

    fn response(&mut self, response: Response<'_>) -> Result<(), Fault> {
        if let Some(error) = response.error.filter(|error| !error.is_null()) {
            return Err(Fault::Refused(Complaint::of(&error)));
        }
        keep(&mut self.told.response_id, response.response_id);
        keep(&mut self.told.model_version, response.model_version);
        if let Some(counts) = response.usage_metadata.filter(Value::is_object) {
            self.accumulator.usage(usage(&counts));
            self.told.usage = Some(counts);
        }
        let blocked = response
            .prompt_feedback
            .and_then(|feedback| feedback.block_reason);
        if let Some(reason) = blocked {
            self.accumulator.finish(Finish::ContentFilter);
            self.told.block_reason = Some(reason.into_owned());
        }
        let mut candidates = response.candidates.unwrap_or_default().into_iter();
        match candidates.find(|candidate| candidate.index.unwrap_or(0) == 0) {
            Some(candidate) => self.candidate(candidate),
            None => Ok(()),
        }
    }

    fn candidate(&mut self, candidate: Candidate<'_>) -> Result<(), Fault> {
        let reason = candidate
            .finish_reason
            .filter(|reason| !reason.is_empty() && reason != "FINISH_REASON_UNSPECIFIED");
        // Before anything of it is shown: then it may still be asked again.
        let finish = reason.as_deref().map(finish).transpose()?;
        let parts = candidate.content.and_then(|content| content.parts);
        for said in parts.unwrap_or_default() {
            self.said(said)?;
        }
        if let Some(finish) = finish {
            self.accumulator.finish(finish);
            self.told.finish_reason = reason.map(Cow::into_owned);
        }
        Ok(())
    }

    fn said(&mut self, said: Said<'_>) -> Result<(), Misfit> {
        let signature = said.thought_signature.filter(|text| !text.is_empty());
        if let Some(call) = said.function_call {
            return self.call(&call, signature.as_deref());
        }
        let kind = if said.thought == Some(true) {
            Kind::Thought
        } else {
            Kind::Text
        };
        if let Some(text) = said.text.filter(|text| !text.is_empty()) {
            let slot = self.slot(kind);
            match kind {
                Kind::Thought => self.accumulator.reasoning(slot, &text)?,
                Kind::Text => self.accumulator.text(slot, &text)?,
            }
        }
        if let Some(signature) = signature {
            self.signature = Some((kind, signature.into_owned()));
        }
        Ok(())
    }

    fn call(&mut self, call: &FunctionCall<'_>, signature: Option<&str>) -> Result<(), Misfit> {
        if self.single && self.calls > 0 {
            return Ok(());
        }
        if let Some(signature) = signature.filter(|_| !self.signed_call) {
            self.sign(signature)?;
            self.signed_call = true;
        }
        let arguments = call
            .args
            .as_ref()
            .map_or("{}".to_owned(), |args| json!(args).to_string());
        let index = Some(self.calls);
        self.calls += 1;
        self.accumulator.call(CallFragment {
            index,
            id: Some(&new_call_id()),
            name: call.name.as_deref(),
            arguments: &arguments,
        })
    }

    /// Keeps the signature of a step with the thinking it stands for, shown or not.
    fn sign(&mut self, signature: &str) -> Result<(), Misfit> {
        let slot = self.thought.unwrap_or_else(|| {
            let slot = self.slot(Kind::Thought);
            self.accumulator.omitted_reasoning(slot);
            slot
        });
        self.accumulator.signature(slot, signature)
    }

    /// Where a piece of this kind belongs that comes now.
    fn slot(&mut self, kind: Kind) -> u32 {
        let slot = match self.latest {
            Some((latest, slot)) if latest == kind => slot,
            Some((_, slot)) => slot + 1,
            None => 0,
        };
        self.latest = Some((kind, slot));
        match kind {
            Kind::Thought => self.thought = Some(slot),
            Kind::Text => self.text = Some(slot),
        }
        slot
    }

    /// Puts the signature of a text or a thought where it belongs. A call's takes precedence over a thought's.
    fn settle_signature(&mut self) -> Result<(), Misfit> {
        match (self.signature.take(), self.text) {
            (Some((Kind::Text, signature)), Some(slot)) => {
                self.accumulator.signature(slot, &signature)
            }
            (Some((_, signature)), _) if !self.signed_call => self.sign(&signature),
            _ => Ok(()),
        }
    }
}

impl protocol::Reader for Reader<'_> {
    fn take(&mut self, data: &[u8]) -> Result<(), Fault> {
        let unreadable = |_| Fault::Unreadable("answer of Gemini");
        // A stream that was not asked for as events is an array; so are some errors.
        if data.trim_ascii_start().starts_with(b"[") {
            let responses: Vec<Response<'_>> = serde_json::from_slice(data).map_err(unreadable)?;
            responses
                .into_iter()
                .try_for_each(|response| self.response(response))
        } else {
            self.response(serde_json::from_slice(data).map_err(unreadable)?)
        }
    }

    fn emitted(&self) -> bool {
        self.accumulator.emitted()
    }

    fn is_finished(&self) -> bool {
        self.accumulator.is_finished()
    }

    fn into_answer(mut self: Box<Self>) -> Result<Answer, Misfit> {
        self.settle_signature()?;
        let mut answer = self.accumulator.into_answer()?;
        answer.trace.response = self.told.response(&answer).to_string();
        Ok(answer)
    }
}

impl Told {
    /// The answer as one response, the same whether it came whole or in pieces.
    fn response(self, answer: &Answer) -> Value {
        let mut parts = Vec::new();
        let mut of_call = None;
        for part in &answer.parts {
            match part {
                Part::Text { text, signature } => {
                    parts.push(signed(json!({"text": text}), signature.as_deref()))
                }
                Part::Reasoning {
                    reasoning,
                    signature,
                    ..
                } => {
                    parts.push(json!({"text": reasoning, "thought": true}));
                    of_call = of_call.or(signature.as_deref());
                }
                Part::OmittedReasoning { signature } => of_call = of_call.or(signature.as_deref()),
                _ => (),
            }
        }
        for call in &answer.calls {
            let args: Value = serde_json::from_str(&call.arguments).unwrap_or_default();
            let part = json!({"functionCall": {"name": call.name, "args": args}});
            parts.push(signed(part, of_call.take()));
        }
        let mut response = json!({
            "candidates": [{
                "content": {"role": "model", "parts": parts},
                "finishReason": self.finish_reason,
                "index": 0,
            }],
            "usageMetadata": self.usage,
            "modelVersion": self.model_version,
            "responseId": self.response_id,
        });
        if let Some(reason) = self.block_reason {
            response["promptFeedback"] = json!({"blockReason": reason});
        }
        response
    }
}

fn signed(mut part: Value, signature: Option<&str>) -> Value {
    if let Some(signature) = signature {
        part["thoughtSignature"] = json!(signature);
    }
    part
}

/// Keeps the first.
fn keep(field: &mut Option<String>, value: Option<Cow<'_, str>>) {
    if field.is_none() {
        *field = value.map(Cow::into_owned);
    }
}

/// A word that is not known ends an answer like `STOP`: it must not fail the step.
fn finish(reason: &str) -> Result<Finish, Fault> {
    Ok(match reason {
        "MAX_TOKENS" => Finish::Length,
        "SAFETY" | "RECITATION" | "LANGUAGE" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII" => {
            Finish::ContentFilter
        }
        "MALFORMED_FUNCTION_CALL" => return Err(Fault::Garbled("a malformed function call")),
        "UNEXPECTED_TOOL_CALL" => return Err(Fault::Garbled("a call of a tool it does not have")),
        "MALFORMED_RESPONSE" => return Err(Fault::Garbled("a malformed response")),
        _ => Finish::Stop,
    })
}

/// Counts that are missing are not there. What was thought is part of what was written.
fn usage(counts: &Value) -> Usage {
    let count = |name: &str| counts.get(name).and_then(Value::as_u64);
    let reasoning_tokens = count("thoughtsTokenCount");
    let prompt_tokens = count("promptTokenCount").unwrap_or(0);
    let completion_tokens =
        count("candidatesTokenCount").unwrap_or(0) + reasoning_tokens.unwrap_or(0);
    Usage {
        prompt_tokens,
        completion_tokens,
        total_tokens: count("totalTokenCount").unwrap_or(prompt_tokens + completion_tokens),
        cached_input_tokens: count("cachedContentTokenCount"),
        cache_write_tokens: None,
        reasoning_tokens,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::model::Delta;
    use crate::providers::protocol::Reader as _;

    fn piece(parts: Value) -> Value {
        json!({"candidates": [{"content": {"role": "model", "parts": parts}, "index": 0}], "responseId": "r", "modelVersion": "m"})
    }

    fn ended(mut piece: Value, reason: &str) -> Value {
        piece["candidates"][0]["finishReason"] = json!(reason);
        piece
    }

    fn tried(pieces: &[Value], single: bool) -> Result<(Answer, Vec<Delta>), Fault> {
        let mut deltas = Vec::new();
        let mut push = |delta| deltas.push(delta);
        let mut reader = Box::new(Reader::new(Accumulator::new(&mut push), single));
        for piece in pieces {
            reader.take(piece.to_string().as_bytes())?;
        }
        let mut answer = reader.into_answer()?;
        for (at, call) in answer.calls.iter_mut().enumerate() {
            assert!(call.id.starts_with("call_"));
            call.id = format!("call_{at}");
        }
        Ok((answer, deltas))
    }

    fn read(pieces: &[Value]) -> (Answer, Vec<Delta>) {
        tried(pieces, false).unwrap()
    }

    fn call(name: &str) -> Value {
        json!({"functionCall": {"name": name, "args": {"b": 1, "a": [2.5]}}})
    }

    fn signed_call(name: &str) -> Value {
        signed(call(name), Some("c2ln"))
    }

    fn thought(text: &str) -> Value {
        json!({"text": text, "thought": true})
    }

    #[test]
    fn pieces_and_the_whole_give_the_same_answer() {
        let counts = json!({
            "promptTokenCount": 7, "candidatesTokenCount": 3, "thoughtsTokenCount": 5,
            "cachedContentTokenCount": 2, "totalTokenCount": 15,
        });
        let mut last = ended(piece(json!([call("g")])), "STOP");
        last["usageMetadata"] = counts.clone();
        let mut early = piece(json!([thought("h")]));
        early["usageMetadata"] = json!({"promptTokenCount": 7, "totalTokenCount": 7});
        let pieces = [
            early,
            piece(json!([thought("m"), {"text": "hi "}])),
            piece(json!([{"text": "there"}, signed_call("f")])),
            last,
        ];
        let mut whole = ended(
            piece(json!([thought("hm"), {"text": "hi there"}, signed_call("f"), call("g")])),
            "STOP",
        );
        whole["usageMetadata"] = counts;
        let (streamed, deltas) = read(&pieces);
        assert_eq!(streamed, read(std::slice::from_ref(&whole)).0);
        assert_eq!(streamed, read(&[Value::from(pieces.to_vec())]).0);
        assert_eq!(deltas.len(), 8);
        let expected = [
            Part::Reasoning {
                native: true,
                reasoning: "hm".to_owned(),
                signature: Some("c2ln".to_owned()),
            },
            Part::of_text("hi there"),
        ];
        assert_eq!(streamed.parts, expected);
        assert_eq!(streamed.calls[0].arguments, r#"{"b":1,"a":[2.5]}"#);
        assert_eq!(
            (streamed.calls.len(), streamed.finish),
            (2, Finish::ToolCalls)
        );
        let usage = Usage {
            prompt_tokens: 7,
            completion_tokens: 8,
            total_tokens: 15,
            cached_input_tokens: Some(2),
            cache_write_tokens: None,
            reasoning_tokens: Some(5),
        };
        assert_eq!(streamed.usage, usage);
        assert_eq!(
            serde_json::from_str::<Value>(&streamed.trace.response).unwrap(),
            whole
        );
    }

    #[test]
    fn a_signature_without_shown_thinking_stands_for_thinking_that_was_not_shown() {
        let (answer, deltas) = read(&[ended(piece(json!([signed_call("f"), call("g")])), "STOP")]);
        let omitted = Part::OmittedReasoning {
            signature: Some("c2ln".to_owned()),
        };
        assert_eq!(answer.parts, [omitted]);
        assert_eq!(deltas[0], Delta::OmittedReasoning);
        assert_eq!(deltas.len(), 5);
    }

    #[test]
    fn a_signature_after_the_text_is_the_texts() {
        let pieces = [
            piece(json!([thought("hm")])),
            piece(json!([{"text": "hi"}])),
            ended(
                piece(json!([{"text": "", "thoughtSignature": "dHh0"}])),
                "STOP",
            ),
        ];
        let (streamed, _) = read(&pieces);
        let text = Part::Text {
            text: "hi".to_owned(),
            signature: Some("dHh0".to_owned()),
        };
        assert_eq!(streamed.parts[1], text);
        let whole = ended(
            piece(json!([thought("hm"), {"text": "hi", "thoughtSignature": "dHh0"}])),
            "STOP",
        );
        assert_eq!(streamed, read(&[whole]).0);
    }

    #[test]
    fn only_the_first_call_is_kept_where_there_may_be_one() {
        let pieces = [
            piece(json!([signed_call("f"), call("g")])),
            ended(piece(json!([call("h")])), "STOP"),
        ];
        let (answer, deltas) = tried(&pieces, true).unwrap();
        assert_eq!((answer.calls.len(), deltas.len()), (1, 3));
        assert_eq!(answer.calls[0].name, "f");
    }

    #[test]
    fn every_end_has_its_meaning() {
        let text = || piece(json!([{"text": "a"}]));
        for (reason, finish) in [
            ("STOP", Finish::Stop),
            ("MAX_TOKENS", Finish::Length),
            ("SAFETY", Finish::ContentFilter),
            ("RECITATION", Finish::ContentFilter),
            ("SOMETHING_NEW", Finish::Stop),
        ] {
            assert_eq!(read(&[ended(text(), reason)]).0.finish, finish, "{reason}");
        }
        let blocked = json!({"promptFeedback": {"blockReason": "SAFETY"}});
        let (answer, deltas) = read(&[blocked]);
        assert_eq!(
            (answer.finish, answer.parts, deltas),
            (Finish::ContentFilter, Vec::new(), Vec::new())
        );
        let silent =
            json!({"candidates": [{"content": {"role": "model"}, "finishReason": "STOP"}]});
        assert!(matches!(
            tried(&[silent], false),
            Err(Fault::Misfit(Misfit::Empty))
        ));
        let garbled = ended(piece(json!([call("f")])), "MALFORMED_FUNCTION_CALL");
        assert!(matches!(tried(&[garbled], false), Err(Fault::Garbled(_))));
    }

    #[test]
    fn an_error_in_the_place_of_a_piece_is_a_refusal() {
        let error = json!({"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}});
        for error in [error.clone(), json!([error])] {
            let Err(Fault::Refused(complaint)) = tried(&[error], false) else {
                panic!("an error is no answer")
            };
            assert_eq!(complaint.implied_status(), 503);
        }
    }
}
