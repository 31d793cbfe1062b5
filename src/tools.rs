//! Tools that agents call: what they are, and how they run.

mod arguments;
pub mod builtin;
pub mod custom;
pub mod sandbox;
pub mod source;
#[cfg(feature = "faults")]
pub mod testing;
pub mod toolbox;

use crate::domain::id::AgentId;
use crate::domain::memory::Edit;
use crate::domain::message::Message;
use crate::domain::tool::{Effects, Tool as Definition, ToolFailure, ToolResult};
use crate::egress::Egress;
use futures_util::future::BoxFuture;
use sandbox::{AgentView, Sandbox};
use serde_json::{Map, Value};
use std::sync::Arc;

/// What a tool needs of the agent that calls it; implemented by the worker.
pub trait Host: Send + Sync {
    fn agent_id(&self) -> AgentId;
    /// IANA zone of the agent.
    fn timezone(&self) -> &str;
    /// All stored messages of the agent that are not errors, newest first, at most `limit`; only those that `keep`.
    fn search_messages<'a>(
        &'a self,
        keep: Arc<dyn Fn(&Message) -> bool + Send + Sync>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Message>, ToolFailure>>;
    /// Where programs run.
    fn sandbox(&self) -> &Sandbox;
    /// The way to addresses that a model names.
    fn egress(&self) -> &Egress;
    /// Of the Python tools that the agent has.
    fn sources(&self) -> Vec<String>;
    /// Sends a message to another agent; what it said, or nothing where nobody waits.
    fn tell<'a>(
        &'a self,
        to: AgentId,
        text: &'a str,
        wait: bool,
    ) -> BoxFuture<'a, Result<Vec<String>, ToolFailure>>;
    /// The other agents with all of the first tags and one of the second.
    fn tagged<'a>(
        &'a self,
        all: &'a [String],
        some: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<AgentId>, ToolFailure>>;
    /// What a source sees of the agent.
    fn view(&self) -> BoxFuture<'_, Result<AgentView, ToolFailure>>;
}

/// What a call turns into.
pub enum Work {
    /// Finished already: pure, or refused.
    Done(ToolResult),
    /// An intent on core memory: applied to the newest value in the step's own commit (decisions 32); the return shows the new value.
    Edit(Edit),
    /// Something that takes time. Dropping the future cancels it.
    Wait(BoxFuture<'static, ToolResult>),
}

pub trait Tool: Send + Sync {
    fn definition(&self) -> &Arc<Definition>;
    fn effects(&self) -> Effects;
    /// Whether its returns are never cut (`conversation_search`, `archival_memory_search`).
    fn uncut(&self) -> bool {
        false
    }
    /// Starts a call. Bad arguments give `Work::Done` with a failure that names them.
    fn start(&self, arguments: Map<String, Value>, host: Arc<dyn Host>) -> Work;
}
