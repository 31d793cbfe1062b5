//! What came of a call: the value or the error that its source gave, or how its process ended.

use super::process::{Ended, MOST_RESULT};
use super::{Network, SandboxConfig, refused};
use crate::domain::memory::{Edit, EditKind};
use crate::domain::tool::{ToolFailure, ToolResult};
use serde::Deserialize;
use serde_json::Value;

/// How a source ended that was run.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Answer {
    Value {
        value: Value,
        edits: Vec<(String, String)>,
    },
    Error {
        error: Raised,
    },
}

#[derive(Debug, Deserialize)]
pub(super) struct Raised {
    name: String,
    message: String,
}

impl Raised {
    /// What the walls refused says so, and how it can be allowed.
    fn into_failure(self, network: Network) -> ToolFailure {
        const REFUSED: [&str; 4] = ["[Errno 1]", "[Errno -3]", "[Errno 111]", "name resolution"];
        let Self { name, mut message } = self;
        let refused = REFUSED.iter().any(|sign| message.contains(sign));
        match network {
            Network::Off if refused => message.push_str(
                " (tools start no programs here and have no network: sandbox.network in the configuration)",
            ),
            Network::Public if refused => message.push_str(
                " (tools start no programs here and reach public addresses over HTTP and HTTPS only: sandbox.network and egress.allowed_hosts in the configuration)",
            ),
            _ => (),
        }
        ToolFailure::new(name, message)
    }
}

impl Ended {
    /// What went wrong outside the source.
    pub(super) fn complaint(&self) -> String {
        let said = self.stderr.trim();
        match (&self.answer, said.lines().last()) {
            (Some(Answer::Error { error }), _) => format!("{}: {}", error.name, error.message),
            (_, Some(last)) => last.to_owned(),
            _ => self.how.to_string(),
        }
    }

    pub(super) fn into_result(self, tool: &str, config: &SandboxConfig) -> ToolResult {
        let told = |text: String| {
            let some = (!text.is_empty()).then_some(text);
            some.into_iter().collect::<Vec<String>>()
        };
        let complaint = self.complaint();
        let (stdout, stderr) = (told(self.stdout), told(self.stderr));
        let failure = match self.answer {
            Some(Answer::Value { value, edits }) => {
                let edits = edits.into_iter().map(|(label, text)| Edit {
                    label,
                    kind: EditKind::Set { text },
                });
                return ToolResult {
                    stdout: Some(stdout),
                    stderr: Some(stderr),
                    edits: edits.collect(),
                    ..ToolResult::success(value)
                };
            }
            Some(Answer::Error { error }) => error.into_failure(config.network),
            None if self.timed_out => {
                let text = format!("it did not end within {} s", config.timeout.as_secs());
                ToolFailure::new("TimeoutError", text)
            }
            None if self.too_much => ToolFailure::new(
                "ValueError",
                format!("its result is longer than {} MiB", MOST_RESULT >> 20),
            ),
            None if self.not_started => refused(complaint),
            None => ToolFailure::new(
                "ProcessError",
                format!("its process ended without a result: {}", self.how),
            ),
        };
        let failed = ToolResult::failure(tool, failure);
        let long = failed.stderr.clone().unwrap_or_default();
        // Programs look for the long form; the traceback stands behind it.
        let stderr = match stderr.first() {
            Some(traceback) => vec![format!("{}\n{traceback}", long.concat())],
            None => long,
        };
        ToolResult {
            stdout: Some(stdout),
            stderr: Some(stderr),
            ..failed
        }
    }
}
