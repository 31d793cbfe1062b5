//! Google's Gemini: `generateContent`, whole and as a stream.

mod answer;
mod body;

use super::accumulator::Accumulator;
use super::endpoint::Endpoint;
use super::protocol::{Protocol, Reader};
use crate::domain::model::ModelRequest;
use url::form_urlencoded::byte_serialize;

#[derive(Debug)]
pub(crate) struct Gemini;

impl Protocol for Gemini {
    fn path(&self, request: &ModelRequest) -> String {
        let model = &*request.config.model;
        // Encoded: a client names the model, and must not choose another path by it.
        let model: String =
            byte_serialize(model.strip_prefix("models/").unwrap_or(model).as_bytes()).collect();
        if request.stream {
            format!("/models/{model}:streamGenerateContent?alt=sse")
        } else {
            format!("/models/{model}:generateContent")
        }
    }

    fn body(&self, request: &ModelRequest, _endpoint: &Endpoint) -> Vec<u8> {
        body::bytes(request)
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

#[cfg(test)]
mod tests;
