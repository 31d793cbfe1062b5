//! Claude at Amazon Bedrock: Anthropic's messages, with the model in the path, AWS's way of showing who asks (`signature`)
//! and its frames around the events of a stream (`frames`). A key of Bedrock's own is sent like any other.

pub(crate) mod frames;
pub(crate) mod signature;

use super::accumulator::Accumulator;
use super::anthropic::{self, Messages};
use super::endpoint::Endpoint;
use super::protocol::{Protocol, Reader};
use crate::domain::model::ModelRequest;
use url::form_urlencoded::byte_serialize;

/// Where the models of a region are asked.
pub(crate) fn base_url(region: &str) -> String {
    format!("https://bedrock-runtime.{region}.amazonaws.com")
}

/// Whether a name can be one of a region: it becomes a part of an address.
pub(crate) fn is_region(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !name.is_empty() && name.bytes().all(fits)
}

#[derive(Debug)]
pub(crate) struct Bedrock;

impl Protocol for Bedrock {
    fn path(&self, request: &ModelRequest) -> String {
        // Encoded: a client names the model, and must not choose another path by it.
        let model: String = byte_serialize(request.config.model.as_bytes()).collect();
        let way = if request.stream {
            "invoke-with-response-stream"
        } else {
            "invoke"
        };
        format!("/model/{model}/{way}")
    }

    fn body(&self, request: &ModelRequest, _endpoint: &Endpoint) -> Vec<u8> {
        anthropic::body_for_bedrock(request)
    }

    fn forces(&self, request: &ModelRequest) -> bool {
        Messages.forces(request)
    }

    fn reader<'d>(
        &self,
        request: &ModelRequest,
        accumulator: Accumulator<'d>,
    ) -> Box<dyn Reader + 'd> {
        Messages.reader(request, accumulator)
    }
}

#[cfg(test)]
mod tests;
