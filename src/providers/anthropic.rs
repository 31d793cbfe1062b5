//! Anthropic's messages: Claude in its own words.

mod answer;
mod body;

use super::accumulator::Accumulator;
use super::counting::Question;
use super::endpoint::Endpoint;
use super::protocol::{Protocol, Reader};
use crate::domain::model::ModelRequest;

#[derive(Debug)]
pub(crate) struct Messages;

impl Protocol for Messages {
    fn path(&self, _request: &ModelRequest) -> String {
        "/messages".to_owned()
    }

    fn headers(&self, request: &ModelRequest) -> Vec<(&'static str, String)> {
        let betas = body::betas(request).join(",");
        if betas.is_empty() {
            Vec::new()
        } else {
            vec![("anthropic-beta", betas)]
        }
    }

    fn body(&self, request: &ModelRequest, _endpoint: &Endpoint) -> Vec<u8> {
        body::bytes(request)
    }

    fn count(&self, request: &ModelRequest) -> Option<Question> {
        Some(Question {
            path: "/messages/count_tokens".to_owned(),
            body: body::counted(request),
            answer: "input_tokens",
        })
    }

    fn forces(&self, request: &ModelRequest) -> bool {
        !body::thinks(&request.config)
    }

    fn reader<'d>(
        &self,
        _request: &ModelRequest,
        accumulator: Accumulator<'d>,
    ) -> Box<dyn Reader + 'd> {
        Box::new(answer::Reader::new(accumulator))
    }
}

/// The body as Bedrock takes it.
pub(crate) fn body_for_bedrock(request: &ModelRequest) -> Vec<u8> {
    body::for_bedrock(request)
}

#[cfg(test)]
mod tests;
