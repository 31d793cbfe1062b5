//! What differs between the ways in which models are spoken to. All else about a call is in `call`.

use super::accumulator::{Accumulator, Misfit};
use super::counting::Question;
use super::endpoint::Endpoint;
use super::failure::Complaint;
use crate::domain::model::{Answer, ModelRequest};

/// One way of asking a model over HTTP.
pub(crate) trait Protocol: std::fmt::Debug + Send + Sync {
    /// Where to post, after the endpoint's base.
    fn path(&self, request: &ModelRequest) -> String;

    /// Headers besides those of every request to the endpoint.
    fn headers(&self, _request: &ModelRequest) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// The request as JSON. Equal requests give equal bytes, and a longer conversation begins with the bytes of the
    /// shorter one, so that providers find their prefix caches.
    fn body(&self, request: &ModelRequest, endpoint: &Endpoint) -> Vec<u8>;

    /// Whether the model is made to call something where the request says that it must.
    fn forces(&self, _request: &ModelRequest) -> bool {
        true
    }

    /// How the provider is asked what a request costs, where it can be.
    fn count(&self, _request: &ModelRequest) -> Option<Question> {
        None
    }

    /// Tries after the first (runs-and-streaming §9).
    fn repeats(&self) -> u32 {
        3
    }

    fn reader<'d>(
        &self,
        request: &ModelRequest,
        accumulator: Accumulator<'d>,
    ) -> Box<dyn Reader + 'd>;
}

/// Reads the answer to one request.
pub(crate) trait Reader: Send {
    /// Takes a whole answer, or the data of one event of a stream: which of the two shows in the JSON itself.
    fn take(&mut self, data: &[u8]) -> Result<(), Fault>;

    /// Whether somebody has seen a delta: from then on the call must not be repeated.
    fn emitted(&self) -> bool;

    /// Whether what came so far may stand as the answer if the connection ends here.
    fn is_finished(&self) -> bool;

    /// Whether the provider said that nothing follows, in another way than `[DONE]`.
    fn is_over(&self) -> bool {
        false
    }

    /// The answer, with the response put together for the trace: the same whether it was streamed or not.
    fn into_answer(self: Box<Self>) -> Result<Answer, Misfit>;
}

/// What can be wrong with an answer.
#[derive(Debug)]
pub(crate) enum Fault {
    /// It is not what this protocol sends here, in words: "chat completion".
    Unreadable(&'static str),
    /// It is an error in the place of an answer.
    Refused(Complaint),
    /// The model itself got its answer wrong, in words: another try may come out right.
    Garbled(&'static str),
    Misfit(Misfit),
}

impl From<Misfit> for Fault {
    fn from(misfit: Misfit) -> Self {
        Self::Misfit(misfit)
    }
}
