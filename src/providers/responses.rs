//! OpenAI's Responses: how its reasoning models are asked, because only here they get back what they thought before.
//! Spoken with OpenAI itself and nobody else; nothing is kept there (`store` is false).

mod answer;
mod body;

use super::accumulator::Accumulator;
use super::endpoint::Endpoint;
use super::protocol::{Protocol, Reader};
use crate::domain::model::ModelRequest;

#[derive(Debug)]
pub(crate) struct Responses;

impl Protocol for Responses {
    fn path(&self, _request: &ModelRequest) -> String {
        "/responses".to_owned()
    }

    fn body(&self, request: &ModelRequest, _endpoint: &Endpoint) -> Vec<u8> {
        body::bytes(request)
    }

    fn reader<'d>(
        &self,
        _request: &ModelRequest,
        accumulator: Accumulator<'d>,
    ) -> Box<dyn Reader + 'd> {
        Box::new(answer::Reader::new(accumulator))
    }
}

#[cfg(test)]
mod tests;
