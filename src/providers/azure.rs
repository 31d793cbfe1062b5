//! Azure's OpenAI service: chat completions, where a deployment has the place of the model, in the path. The version of
//! the API is in the query of every call (`Endpoint::post`).

use super::accumulator::Accumulator;
use super::endpoint::Endpoint;
use super::openai::ChatCompletions;
use super::protocol::{Protocol, Reader};
use crate::domain::model::ModelRequest;
use url::form_urlencoded::byte_serialize;

/// The version of the API that is asked for when nobody names one.
pub(crate) const API_VERSION: &str = "2024-10-21";

#[derive(Debug)]
pub(crate) struct Azure;

impl Protocol for Azure {
    fn path(&self, request: &ModelRequest) -> String {
        // Encoded: a client names the model, and must not choose another path by it.
        let deployment: String = byte_serialize(request.config.model.as_bytes()).collect();
        format!("/openai/deployments/{deployment}/chat/completions")
    }

    fn body(&self, request: &ModelRequest, endpoint: &Endpoint) -> Vec<u8> {
        ChatCompletions.body(request, endpoint)
    }

    fn reader<'d>(
        &self,
        request: &ModelRequest,
        accumulator: Accumulator<'d>,
    ) -> Box<dyn Reader + 'd> {
        ChatCompletions.reader(request, accumulator)
    }
}
