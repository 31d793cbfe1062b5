//! Every option, read once at start.
//!
//! `config/greenroom.toml` is compiled in and *is* the defaults; a file, the environment and the flags override it, option
//! by option, in this order. Nothing that is wrong is skipped: all problems are reported together.

mod key;
mod sources;
#[cfg(test)]
mod tests;

pub use key::{KeyError, KeySource, MasterKey, master_key};
pub use sources::{Flags, Sources};

use serde::Deserialize;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The defaults, with the reason of each.
pub const DEFAULTS: &str = include_str!("../config/greenroom.toml");

/// Everything that can be configured. What an option means, its unit and its default stand in `config/greenroom.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub server: Server,
    pub data: Data,
    pub agents: Agents,
    pub runs: Runs,
    pub memory: Memory,
    pub egress: Egress,
    pub sandbox: SandboxOptions,
    pub providers: ProvidersConfig,
    pub log: Log,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    pub listen: SocketAddr,
    pub password: Option<Secret>,
    pub cors_origins: Vec<String>,
    pub max_body_mib: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// Always set in a `Config` that was loaded: the platform's data folder where nobody named one.
    pub path: PathBuf,
    pub durability: Durability,
    pub cache_mib: u64,
    pub reserve_mib: u64,
    pub trace_days: u64,
    pub trace_mib: u64,
    pub stream_retention_h: u64,
    pub encryption_key: Option<Secret>,
}

/// What an acknowledgement is worth (decisions 16).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Forced to the disk.
    Sync,
    /// Handed to the operating system.
    Flush,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agents {
    pub passivate_after_s: u64,
    pub queue_depth: usize,
    pub max_starting: usize,
    pub restart_limit: usize,
    pub restart_window_s: u64,
    pub restart_delay_s: u64,
    pub restart_delay_max_s: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Runs {
    pub cancel_grace_ms: u64,
    pub drain_s: u64,
    pub max_steps: u64,
    pub frames_mib: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    pub strict_block_limits: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Egress {
    pub allowed_hosts: Vec<String>,
}

/// Where the sources of tools run.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SandboxOptions {
    pub isolation: Isolation,
    pub network: Network,
    pub python: PathBuf,
    pub timeout_s: u64,
    pub memory_mib: u64,
    pub file_mib: u64,
    pub output_kib: u64,
    pub max_at_once: usize,
}

pub use crate::providers::config::ProvidersConfig;
use crate::tools::sandbox::{self, Isolation, Network};

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    pub level: String,
    pub format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// One thing that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// `section.option`.
    pub option: String,
    /// As it was given; absent for secrets, and where the option and not its value is wrong.
    pub value: Option<String>,
    /// Who said so: a file, a variable, a flag.
    pub origin: Option<String>,
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.option)?;
        if let Some(value) = &self.value {
            write!(f, " = {value}")?;
        }
        if let Some(origin) = &self.origin {
            write!(f, " (from {origin})")?;
        }
        write!(f, ": {}", self.reason)
    }
}

/// All that is wrong with the configuration, a line each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the configuration cannot be used:{}", .0.iter().map(|problem| format!("\n  {problem}")).collect::<String>())]
pub struct Problems(pub Vec<Problem>);

impl Config {
    /// What is wrong although each value is of the right type. Empty when the configuration can be used.
    pub fn validate(&self) -> Vec<Problem> {
        let mut problems = self.out_of_bounds();
        problems.extend(self.unsafe_listen());
        problems.extend(self.endless_restarts());
        problems.extend(self.unusable_texts());
        problems
    }

    /// For a daemon inside another command, whose terminal belongs to that command: it logs from `warn` up, unless
    /// somebody chose a level.
    pub fn embedded(mut self) -> Self {
        if self.log.level == "info" {
            self.log.level = "warn".to_owned();
        }
        self
    }

    fn out_of_bounds(&self) -> Vec<Problem> {
        const MIB: u64 = 1 << 20; // of MiB: 1 TiB, so that bytes never overflow
        const SECONDS: u64 = 10 * 365 * 86_400;
        let (agents, runs, data) = (&self.agents, &self.runs, &self.data);
        let bounds = [
            ("server.max_body_mib", self.server.max_body_mib, 1, 1024),
            ("data.cache_mib", data.cache_mib, 1, MIB),
            ("data.reserve_mib", data.reserve_mib, 0, MIB),
            ("data.trace_days", data.trace_days, 1, 3650),
            ("data.trace_mib", data.trace_mib, 1, MIB),
            (
                "data.stream_retention_h",
                data.stream_retention_h,
                1,
                24 * 365,
            ),
            (
                "agents.passivate_after_s",
                agents.passivate_after_s,
                1,
                SECONDS,
            ),
            ("agents.queue_depth", agents.queue_depth as u64, 1, 100_000),
            (
                "agents.max_starting",
                agents.max_starting as u64,
                1,
                100_000,
            ),
            ("agents.restart_limit", agents.restart_limit as u64, 1, 60),
            (
                "agents.restart_window_s",
                agents.restart_window_s,
                1,
                SECONDS,
            ),
            (
                "agents.restart_delay_s",
                agents.restart_delay_s,
                1,
                agents.restart_delay_max_s.max(1),
            ),
            (
                "agents.restart_delay_max_s",
                agents.restart_delay_max_s,
                1,
                SECONDS,
            ),
            ("runs.cancel_grace_ms", runs.cancel_grace_ms, 0, 60_000),
            ("runs.drain_s", runs.drain_s, 0, 86_400),
            ("runs.max_steps", runs.max_steps, 1, 100_000),
            ("runs.frames_mib", runs.frames_mib, 1, MIB),
            ("sandbox.timeout_s", self.sandbox.timeout_s, 1, 86_400),
            ("sandbox.memory_mib", self.sandbox.memory_mib, 64, MIB),
            ("sandbox.file_mib", self.sandbox.file_mib, 1, MIB),
            ("sandbox.output_kib", self.sandbox.output_kib, 1, 64 << 10),
            (
                "sandbox.max_at_once",
                self.sandbox.max_at_once as u64,
                1,
                sandbox::MOST_AT_ONCE as u64,
            ),
        ];
        bounds
            .into_iter()
            .filter(|(_, value, least, most)| !(*least..=*most).contains(value))
            .map(|(option, value, least, most)| {
                wrong(option, value, format!("must be between {least} and {most}"))
            })
            .collect()
    }

    fn unsafe_listen(&self) -> Option<Problem> {
        let Server {
            listen, password, ..
        } = &self.server;
        let open = !listen.ip().is_loopback() && password.is_none();
        open.then(|| {
            wrong(
                "server.listen",
                listen,
                "an address that other machines can reach needs server.password (or LETTA_SERVER_PASSWORD)",
            )
        })
    }

    /// Delays that fill the window would spread the crashes so far that the limit is never reached.
    fn endless_restarts(&self) -> Option<Problem> {
        let agents = &self.agents;
        let delay = |restart| {
            agents
                .restart_delay_s
                .saturating_mul(1u64 << restart)
                .min(agents.restart_delay_max_s)
        };
        let waited = (0..agents.restart_limit.min(60))
            .map(delay)
            .fold(0, u64::saturating_add);
        (waited >= agents.restart_window_s).then(|| {
            let reason = format!("must be longer than the {waited} s that its restarts wait");
            wrong("agents.restart_window_s", agents.restart_window_s, reason)
        })
    }

    fn unusable_texts(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let secrets = [
            ("server.password", &self.server.password),
            ("data.encryption_key", &self.data.encryption_key),
        ];
        for (option, secret) in secrets {
            if secret
                .as_ref()
                .is_some_and(|secret| secret.expose().trim().is_empty())
            {
                problems.push(Problem {
                    value: None,
                    ..wrong(option, "", "is empty; leave it out to have none")
                });
            }
        }
        for origin in self
            .server
            .cors_origins
            .iter()
            .filter(|origin| !is_origin(origin))
        {
            problems.push(wrong(
                "server.cors_origins",
                origin,
                "must be \"*\" or an origin such as https://example.org",
            ));
        }
        for host in self
            .egress
            .allowed_hosts
            .iter()
            .filter(|host| !is_host(host))
        {
            problems.push(wrong(
                "egress.allowed_hosts",
                host,
                "must be a host or host:port, without scheme and path",
            ));
        }
        if let Err(error) = tracing_subscriber::EnvFilter::try_new(&self.log.level) {
            problems.push(wrong("log.level", &self.log.level, error));
        }
        problems
    }
}

fn wrong(option: &str, value: impl fmt::Display, reason: impl fmt::Display) -> Problem {
    Problem {
        option: option.to_owned(),
        value: Some(value.to_string()),
        origin: None,
        reason: reason.to_string(),
    }
}

/// `*`, or scheme, host and port and nothing else.
fn is_origin(text: &str) -> bool {
    text == "*" || url::Url::parse(text).is_ok_and(|url| url.origin().ascii_serialization() == text)
}

/// `host` or `host:port`.
fn is_host(text: &str) -> bool {
    url::Url::parse(&format!("http://{text}")).is_ok_and(|url| {
        let bare = url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty();
        bare && !text.ends_with('/') && url.has_host()
    })
}
