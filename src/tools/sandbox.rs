//! Where the sources that clients write run: each call in a process of its own, which has nothing but its folder
//! (tools-and-sandbox §8). It fails closed (decisions 23): where a wall cannot be built, nothing runs.

#[cfg(target_os = "linux")]
mod files;
mod interpreter;
mod launcher;
mod network;
mod process;
mod result;
mod state;
#[cfg(target_os = "linux")]
mod syscalls;

use self::interpreter::{Interpreter, candidates};
pub use self::launcher::{ARGUMENT, launch};
use self::launcher::{Plan, Walls};
use self::process::{Ended, Process};
use self::result::Answer;
pub use self::state::SandboxState;
use crate::domain::tool::{SourceType, ToolFailure, ToolResult};
use crate::egress::Gate;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OnceCell, Semaphore};

/// The program that reads a request, runs a Python source and sends back what it gave.
const RUNNER: &str = concat!(
    include_str!("sandbox/network.py"),
    include_str!("sandbox/runner.py")
);

/// The first of the user ids that calls run as where the daemon is root, one for each call at once: a range that systems
/// leave alone (systemd's table of user ids calls 60578 to 61183 unused).
const FIRST_USER: u32 = 60_600;
/// Most calls at once, so that their users stay in that range.
pub const MOST_AT_ONCE: usize = 500;

/// Threads of one call, where its user is its own.
const THREADS: u64 = 128;
const OPEN_FILES: u64 = 256;
/// Wall time of the smallest program, to see whether an interpreter runs.
const PROBE: Duration = Duration::from_secs(20);

/// Whether sources run behind walls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// Behind all of them, or not at all.
    Required,
    /// As ordinary programs of the daemon's user: for sources that are trusted like the daemon.
    None,
}

/// What calls can reach (decisions 45).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    Off,
    /// Public addresses, at the ports of HTTP and HTTPS: the daemon connects, and checks whereto.
    Public,
    Open,
}

/// From the configuration.
#[derive(Debug, Clone)]
pub struct SandboxConfig {
    pub isolation: Isolation,
    pub network: Network,
    /// Where calls are connected to.
    pub gate: Gate,
    /// Where the folders of calls are made: a folder of this daemon's own, below one that other users can come to.
    pub place: PathBuf,
    /// A name that is looked for, or a path.
    pub python: PathBuf,
    /// Wall time of one call.
    pub timeout: Duration,
    pub memory_bytes: u64,
    pub file_bytes: u64,
    /// Kept of standard output, and of standard error.
    pub output_bytes: usize,
    pub most_at_once: usize,
}

/// One call of a source.
#[derive(Debug, Clone)]
pub struct Job {
    pub tool: String,
    pub part: Part,
    pub language: SourceType,
    pub source: String,
    pub arguments: Map<String, Value>,
    pub args_json_schema: Option<Value>,
    pub environment: BTreeMap<String, String>,
    pub agent: Option<AgentView>,
}

/// What of a source is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Its tool, with arguments.
    Function,
    /// All of it; the value of an expression at its end is its result.
    Script,
}

/// What a source sees of its agent.
#[derive(Debug, Clone, Serialize)]
pub struct AgentView {
    pub id: String,
    pub name: String,
    pub system: String,
    pub timezone: String,
    pub blocks: Vec<BlockView>,
    /// By name; in the environment of a call.
    #[serde(skip)]
    pub secrets: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Serialize)]
pub struct BlockView {
    pub id: String,
    pub label: String,
    pub value: String,
    pub limit: u64,
    pub description: Option<String>,
    pub read_only: bool,
}

/// Clones share it.
#[derive(Clone)]
pub struct Sandbox(Arc<Inner>);

struct Inner {
    config: SandboxConfig,
    gate: Semaphore,
    /// Users that no call has.
    users: Mutex<Vec<u32>>,
    /// Where the folders of calls are made.
    place: OnceCell<PathBuf>,
    python: OnceCell<Interpreter>,
    /// Why no interpreter could be isolated the last time that was tried.
    refused: Mutex<Option<String>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(place) = self.place.get() {
            // Only if nothing is left in it, which the next start would remove.
            let _ = std::fs::remove_dir(place);
        }
    }
}

impl Sandbox {
    pub fn new(config: SandboxConfig) -> Self {
        let most = config.most_at_once.clamp(1, MOST_AT_ONCE);
        let users = (0..).take(most).map(|number| FIRST_USER + number);
        Self(Arc::new(Inner {
            gate: Semaphore::new(most),
            users: Mutex::new(users.collect()),
            place: OnceCell::new(),
            python: OnceCell::new(),
            refused: Mutex::default(),
            config,
        }))
    }

    /// Tries whether sources can be run: runs the interpreter once.
    pub async fn check(&self) -> SandboxState {
        // What failed is in the state.
        let _ = self.python().await;
        self.state()
    }

    /// As it was seen last.
    pub fn state(&self) -> SandboxState {
        let refused = self
            .0
            .refused
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match (self.0.python.get(), &*refused) {
            (Some(python), _) => {
                let python = python.program.clone();
                match self.0.config.isolation {
                    Isolation::Required => SandboxState::Isolated { python },
                    Isolation::None => SandboxState::Bare { python },
                }
            }
            (None, Some(reason)) => SandboxState::Refused {
                reason: reason.clone(),
            },
            (None, None) => SandboxState::Untried,
        }
    }

    /// Runs a source; dropping the future ends its process. Waits while as many calls run as may at once.
    pub async fn run(&self, job: Job) -> ToolResult {
        let tool = job.tool.clone();
        self.tried(job)
            .await
            .unwrap_or_else(|failure| ToolResult::failure(&tool, failure))
    }

    async fn tried(&self, job: Job) -> Result<ToolResult, ToolFailure> {
        if job.language != SourceType::Python {
            return Err(refused("sources in TypeScript cannot be run here yet"));
        }
        let python = self.python().await.map_err(|reason| {
            refused(format!(
                "tools cannot be run here, because they could not be isolated: {reason}"
            ))
        })?;
        let _turn = self
            .0
            .gate
            .acquire()
            .await
            .map_err(|_| refused("no call is run any more"))?;
        let config = &self.0.config;
        let request = json!({
            "source": job.source,
            "name": job.tool,
            "part": job.part,
            "arguments": job.arguments,
            "args_schema": job.args_json_schema,
            "agent": job.agent,
            "network": self.connects(),
        });
        let ended = self
            .process(python, job.environment, &request, config.timeout)
            .await
            .map_err(|error| refused(error.to_string()))?;
        Ok(ended.into_result(&job.tool, config))
    }

    /// Runs the runner with one request behind the walls.
    async fn process(
        &self,
        python: &Interpreter,
        environment: BTreeMap<String, String>,
        request: &Value,
        timeout: Duration,
    ) -> std::io::Result<Ended> {
        let config = &self.0.config;
        let isolated = config.isolation == Isolation::Required;
        let user = User::take(&self.0, isolated);
        let folder = process::Folder::make(self.place().await?, user.id).await?;
        let walls = isolated.then(|| Walls {
            readable: python.readable.clone(),
            user: user.id,
            network: config.network == Network::Open,
            memory_bytes: config.memory_bytes,
            cpu_seconds: timeout.as_secs().max(1),
            file_bytes: config.file_bytes,
            open_files: OPEN_FILES,
            threads: THREADS,
        });
        let arguments = ["-I", "-X", "utf8", "-c", RUNNER].map(str::to_owned);
        let plan = Plan {
            program: python.program.clone(),
            arguments: arguments.into(),
            environment: surroundings(folder.path(), environment),
            folder: folder.path().to_owned(),
            walls,
        };
        let process = Process::start(&plan, request)?;
        let gate = self.connects().then(|| config.gate.clone());
        let ended = process.end(timeout, config.output_bytes, gate).await;
        drop(folder);
        drop(user);
        ended
    }

    /// Whether the daemon connects for calls.
    fn connects(&self) -> bool {
        let config = &self.0.config;
        config.isolation == Isolation::Required && config.network == Network::Public
    }

    async fn place(&self) -> std::io::Result<&Path> {
        let place = self.0.config.place.clone();
        let made = self.0.place.get_or_try_init(|| process::prepared(place));
        Ok(made.await?)
    }

    /// The first interpreter that runs. What cannot be now is tried again with the next call.
    async fn python(&self) -> Result<&Interpreter, String> {
        let found = self.found().await;
        if let Err(reason) = &found {
            let mut refused = self
                .0
                .refused
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            *refused = Some(reason.clone());
        }
        found
    }

    async fn found(&self) -> Result<&Interpreter, String> {
        self.0
            .python
            .get_or_try_init(async || {
                let mut reasons = Vec::new();
                for candidate in candidates(&self.0.config.python) {
                    match self.probe(&candidate).await {
                        Ok(()) => return Ok(candidate),
                        Err(reason) => {
                            reasons.push(format!("{}: {reason}", candidate.program.display()))
                        }
                    }
                }
                match reasons.is_empty() {
                    true => Err(format!("there is no {}", self.0.config.python.display())),
                    false => Err(reasons.join("; ")),
                }
            })
            .await
    }

    async fn probe(&self, candidate: &Interpreter) -> Result<(), String> {
        let request = json!({
            "source": "def probe():\n    return 1\n",
            "name": "probe",
            "part": Part::Function,
            "arguments": {},
            "args_schema": null,
            "agent": null,
            "network": self.connects(),
        });
        let ended = self
            .process(candidate, BTreeMap::new(), &request, PROBE)
            .await;
        let ended = ended.map_err(|error| error.to_string())?;
        match &ended.answer {
            Some(Answer::Value { value, .. }) if *value == 1 => Ok(()),
            _ => Err(ended.complaint()),
        }
    }
}

fn refused(message: impl Into<String>) -> ToolFailure {
    ToolFailure::new("SandboxError", message)
}

/// A user that no other call has at the moment; `None` where the daemon is no root, or nothing is isolated.
struct User<'a> {
    id: Option<u32>,
    pool: &'a Inner,
}

impl<'a> User<'a> {
    fn take(pool: &'a Inner, isolated: bool) -> Self {
        let is_root = rustix::process::geteuid().is_root();
        let mut users = pool.users.lock().unwrap_or_else(PoisonError::into_inner);
        // The gate lets in no more calls than there are users; a probe beside them goes without one's own.
        let id = (isolated && is_root).then(|| users.pop().unwrap_or(FIRST_USER - 1));
        Self { id, pool }
    }
}

impl Drop for User<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id.filter(|id| *id >= FIRST_USER) {
            let mut users = self
                .pool
                .users
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            users.insert(0, id);
        }
    }
}

/// The environment of a call: nothing of the daemon's.
fn surroundings(folder: &Path, mut given: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let folder = folder.to_string_lossy().into_owned();
    for (name, value) in [
        ("PATH", "/usr/local/bin:/usr/bin:/bin".to_owned()),
        ("LANG", "C.UTF-8".to_owned()),
        ("HOME", folder.clone()),
        ("TMPDIR", folder),
    ] {
        given.entry(name.to_owned()).or_insert(value);
    }
    given.retain(|name, value| {
        !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0')
    });
    given
}
