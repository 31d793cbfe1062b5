//! OpenAI's chat completions, the protocol nearly everybody speaks.

mod answer;
mod body;

use super::accumulator::Accumulator;
use super::call::text;
use super::catalog;
use super::endpoint::Endpoint;
use super::protocol::{Protocol, Reader};
use super::vendors::PLAIN;
use crate::domain::model::{Answer, ModelRequest, Trace};

/// Characters of a function's name that OpenAI takes.
pub(crate) const MAX_NAME_CHARS: usize = 64;

#[derive(Debug)]
pub(crate) struct ChatCompletions;

impl Protocol for ChatCompletions {
    fn path(&self, _request: &ModelRequest) -> String {
        "/chat/completions".to_owned()
    }

    fn body(&self, request: &ModelRequest, endpoint: &Endpoint) -> Vec<u8> {
        body::bytes(request, &endpoint.dialect, endpoint.is_official())
    }

    fn reader<'d>(
        &self,
        request: &ModelRequest,
        accumulator: Accumulator<'d>,
    ) -> Box<dyn Reader + 'd> {
        let thinks = body::effort(&request.config).is_some_and(|effort| effort != "minimal")
            && catalog::reasons(&request.config.model);
        Box::new(answer::Reader::new(accumulator, thinks))
    }
}

/// A request that no server gets, as one that speaks this protocol would.
pub(crate) fn body_without_server(request: &ModelRequest) -> Vec<u8> {
    body::bytes(request, &PLAIN, false)
}

/// The trace of an answer that no server gave, as if one that speaks this protocol had.
pub(crate) fn trace_without_server(request: &ModelRequest, answer: &Answer) -> Trace {
    let response = answer::response(None, Some(request.config.model.clone()), answer);
    Trace {
        request: text(body_without_server(request)),
        response: response.to_string(),
    }
}
