//! Google's Gemini: `generateContent`, whole and as a stream.

mod answer;
mod body;

use super::accumulator::Accumulator;
use super::counting::Question;
use super::endpoint::Endpoint;
use super::protocol::{Protocol, Reader};
use crate::domain::model::ModelRequest;
use serde_json::{Value, json};
use url::form_urlencoded::byte_serialize;

#[derive(Debug)]
pub(crate) struct Gemini;

impl Protocol for Gemini {
    fn path(&self, request: &ModelRequest) -> String {
        let model = encoded(request);
        if request.stream {
            format!("/models/{model}:streamGenerateContent?alt=sse")
        } else {
            format!("/models/{model}:generateContent")
        }
    }

    fn body(&self, request: &ModelRequest, _endpoint: &Endpoint) -> Vec<u8> {
        body::bytes(request)
    }

    fn count(&self, request: &ModelRequest) -> Option<Question> {
        let model = encoded(request);
        let mut whole = serde_json::from_slice::<Value>(&body::bytes(request)).ok()?;
        whole["model"] = format!("models/{model}").into();
        Some(Question {
            path: format!("/models/{model}:countTokens"),
            body: json!({"generateContentRequest": whole}),
            answer: "totalTokens",
        })
    }

    /// It is overloaded, and gets a call wrong, more often than others.
    fn repeats(&self) -> u32 {
        5
    }

    fn reader<'d>(
        &self,
        request: &ModelRequest,
        accumulator: Accumulator<'d>,
    ) -> Box<dyn Reader + 'd> {
        let single = !request.parallel_calls;
        Box::new(answer::Reader::new(accumulator, single))
    }
}

/// The model's name for a path: a client names it, and must not choose another path by it.
fn encoded(request: &ModelRequest) -> String {
    let model = &*request.config.model;
    byte_serialize(model.strip_prefix("models/").unwrap_or(model).as_bytes()).collect()
}

#[cfg(test)]
mod tests;
