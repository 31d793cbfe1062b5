//! Language models over the network, and the one that is built in.
//!
//! `registry` knows which providers there are and what a handle stands for: those of the configuration (`setup`) and those
//! that clients added with keys of their own (`added`). A [`Model`] makes one call. What differs between protocols is in a
//! file for each (`openai`, `azure`, `responses`, `anthropic`, `bedrock`, `gemini`); how a call is made is in `call`,
//! and all of them put their answers together in `accumulator`.

mod accumulator;
mod added;
mod anthropic;
mod azure;
mod bedrock;
mod call;
mod catalog;
pub mod config;
mod counting;
mod endpoint;
mod failure;
mod gemini;
mod google;
mod image;
mod listing;
mod openai;
mod protocol;
mod provider;
mod registry;
mod rehearsal;
mod responses;
mod schema;
mod setup;
mod sse;
#[cfg(test)]
pub(crate) mod testing;
mod transcript;
mod vendors;

pub use added::Prepared;
pub use registry::{Identity, ProviderSummary, Providers, UnknownHandle};

use crate::domain::model::{Answer, Delta, ModelError, ModelRequest};
use futures_util::future::BoxFuture;

/// One model of one provider.
pub trait Model: Send + Sync {
    /// The request as its provider gets it, byte for byte what `answer` sends.
    fn body(&self, request: &ModelRequest) -> Vec<u8>;

    /// Whether its provider makes the model call something where the request says that it must.
    fn forces(&self, _request: &ModelRequest) -> bool {
        true
    }

    /// Asks the model. Deltas come in order while it answers; the whole answer is the same whether it was streamed or not.
    /// Dropping the future closes the connection.
    fn answer<'a>(
        &'a self,
        request: &'a ModelRequest,
        deltas: &'a mut (dyn FnMut(Delta) + Send),
    ) -> BoxFuture<'a, Result<Answer, ModelError>>;
}
