//! A whole Greenroom in a temporary folder: the real binary on a free port, started, killed and started again.

use crate::model::Model;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The longest wait for anything that is expected to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct World {
    folder: TempDir,
    pub(crate) model: Model,
    pub(crate) base: String,
    port: u16,
    /// Environment variables of the next start.
    pub(crate) settings: Vec<(String, String)>,
    disk: Option<SmallDisk>,
    /// Whom the daemon runs as, if not as the tests.
    user: Option<u32>,
    process: Option<Child>,
    pub(crate) http: Client,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(&[]).await
    }

    /// With environment variables for the daemon.
    pub(crate) async fn with(settings: &[(&str, &str)]) -> Self {
        Self::build(settings, tempfile::tempdir().unwrap(), None).await
    }

    /// As an ordinary user, where the tests run as root.
    pub(crate) async fn as_ordinary_user(settings: &[(&str, &str)]) -> Self {
        const NOBODY: u32 = 65_534;
        let user = rustix::process::geteuid().is_root().then_some(NOBODY);
        let folder = tempfile::tempdir().unwrap();
        if let Some(user) = user {
            std::os::unix::fs::chown(folder.path(), Some(user), Some(user)).unwrap();
        }
        Self::build_as(user, settings, folder, None).await
    }

    /// With a data folder on a file system of its own that holds so many MiB.
    pub(crate) async fn on_small_disk(mib: u64, settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        let disk = SmallDisk::mount(&data, mib);
        Self::build(settings, folder, Some(disk)).await
    }

    async fn build(settings: &[(&str, &str)], folder: TempDir, disk: Option<SmallDisk>) -> Self {
        Self::build_as(None, settings, folder, disk).await
    }

    async fn build_as(
        user: Option<u32>,
        settings: &[(&str, &str)],
        folder: TempDir,
        disk: Option<SmallDisk>,
    ) -> Self {
        static TLS: Once = Once::new();
        TLS.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
        let port = free_port();
        let settings = settings
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let mut world = Self {
            folder,
            model: Model::start().await,
            base: format!("http://127.0.0.1:{port}"),
            port,
            settings,
            disk,
            user,
            process: None,
            http: Client::new(),
        };
        world.start().await;
        world
    }

    pub(crate) fn data(&self) -> &Path {
        self.folder.path()
    }

    /// Starts the daemon on the same folder and waits until it answers.
    pub(crate) async fn start(&mut self) {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.path().join("log"))
            .unwrap();
        let program = env!("CARGO_BIN_EXE_greenroom");
        let mut command = match (&self.disk, self.user) {
            (Some(disk), _) => disk.command(program),
            (None, None) => Command::new(program),
            (None, Some(user)) => {
                // The folder of the build may be closed to others.
                let copy = self.folder.path().join("greenroom");
                if !copy.exists() {
                    std::fs::copy(program, &copy).unwrap();
                }
                let mut command = Command::new(copy);
                command.uid(user).gid(user);
                command
            }
        };
        command
            .args([
                "serve",
                "--listen",
                &format!("127.0.0.1:{}", self.port),
                "--data",
            ])
            .arg(self.folder.path().join("data"))
            .env("OPENAI_API_BASE", &self.model.base_url)
            .env("GREENROOM__EGRESS__ALLOWED_HOSTS", "[\"127.0.0.1\"]")
            .env("RUST_BACKTRACE", "0")
            .envs(self.settings.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        self.process = Some(command.spawn().unwrap());
        let since = Instant::now();
        while self
            .http
            .get(format!("{}/v1/ready", self.base))
            .send()
            .await
            .is_ok_and(|answer| answer.status().is_success())
            .eq(&false)
        {
            assert!(
                since.elapsed() < PATIENCE,
                "the daemon did not start:\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.as_ref().unwrap().id()
    }

    /// Whom the daemon runs as, if not as the tests.
    pub(crate) fn user(&self) -> Option<u32> {
        self.user
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Starts the daemon again once it has ended by itself.
    pub(crate) async fn start_after_its_end(&mut self) {
        let status = self.process.as_mut().unwrap().wait().unwrap();
        assert!(!status.success(), "{status}");
        self.start().await;
    }

    pub(crate) fn disk(&self) -> &SmallDisk {
        self.disk.as_ref().unwrap()
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// SIGTERM; the daemon's exit code.
    pub(crate) fn terminate(&mut self) -> Option<i32> {
        let mut process = self.process.take()?;
        let pid = rustix::process::Pid::from_child(&process);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        process.wait().unwrap().code()
    }

    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.base))
            .header("x-stainless-package-version", "1.12.1");
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        (
            status,
            serde_json::from_str(&text).unwrap_or(Value::String(text)),
        )
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, body) = self.call(Method::GET, path, None).await;
        assert!(
            status.is_success(),
            "GET {path}: {status} {body}\n{}",
            self.log()
        );
        body
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.call(Method::POST, path, Some(body)).await;
        assert!(
            status.is_success(),
            "POST {path}: {status} {answer}\n{}",
            self.log()
        );
        answer
    }

    /// An agent on the scripted model, with two blocks and the named tools besides the base ones.
    pub(crate) async fn agent(&self, tools: &[&str]) -> String {
        self.agent_with(json!({"tools": tools})).await
    }

    /// An agent on the scripted model, with two blocks and these fields of the request.
    pub(crate) async fn agent_with(&self, fields: Value) -> String {
        let mut body = json!({
            "model": "openai/scripted",
            "memory_blocks": [
                {"label": "human", "value": "Name: unknown"},
                {"label": "persona", "value": "I am a helper."},
            ],
        });
        let fields = fields.as_object().unwrap().clone();
        body.as_object_mut().unwrap().extend(fields);
        let agent = self.post("/v1/agents/", body).await;
        agent["id"].as_str().unwrap().to_owned()
    }

    /// The value of an agent's block.
    pub(crate) async fn block(&self, agent: &str, label: &str) -> String {
        let path = format!("/v1/agents/{agent}/core-memory/blocks/{label}");
        self.get(&path).await["value"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn send(&self, agent: &str, text: &str) -> Value {
        self.post(
            &format!("/v1/agents/{agent}/messages"),
            json!({"messages": [{"role": "user", "content": text}]}),
        )
        .await
    }

    /// Starts a background run.
    pub(crate) async fn start_run(&self, agent: &str, text: &str) -> String {
        let run = self
            .post(
                &format!("/v1/agents/{agent}/messages/async"),
                json!({"messages": [{"role": "user", "content": text}]}),
            )
            .await;
        run["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn run(&self, run: &str) -> Value {
        self.get(&format!("/v1/runs/{run}")).await
    }

    /// Waits until the run has ended.
    pub(crate) async fn ended(&self, run: &str) -> Value {
        let since = Instant::now();
        loop {
            let record = self.run(run).await;
            if ["completed", "failed", "cancelled"].contains(&record["status"].as_str().unwrap()) {
                return record;
            }
            assert!(
                since.elapsed() < PATIENCE,
                "the run did not end: {record}\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the condition holds.
    pub(crate) async fn until<F: Future<Output = bool>>(
        &self,
        what: &str,
        condition: impl Fn() -> F,
    ) {
        let since = Instant::now();
        while !condition().await {
            assert!(
                since.elapsed() < PATIENCE,
                "{what} did not happen\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// All messages of an agent, page by page.
    pub(crate) async fn history(&self, agent: &str) -> Vec<Value> {
        self.history_as(agent, "").await
    }

    /// The same with these parameters besides.
    async fn history_as(&self, agent: &str, query: &str) -> Vec<Value> {
        let path =
            format!("/v1/agents/{agent}/messages?limit=1000&order=asc&include_err=true{query}");
        let mut history: Vec<Value> = Vec::new();
        loop {
            let after = history.last().map_or_else(String::new, |last| {
                format!("&after={}", last["id"].as_str().unwrap())
            });
            let page = self.get(&format!("{path}{after}")).await;
            let page = page.as_array().unwrap();
            if page.is_empty() {
                return history;
            }
            history.extend(page.iter().cloned());
        }
    }

    /// Every stored call has exactly one return (runs-and-streaming §14, 2).
    pub(crate) async fn assert_paired(&self, agent: &str) {
        let mut open: Vec<String> = Vec::new();
        let plain = "&use_assistant_message=false";
        for message in self.history_as(agent, plain).await {
            let ids = |list: &str, key: &str| -> Vec<String> {
                message[list]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|item| item[key].as_str().unwrap().to_owned())
                    .collect()
            };
            open.extend(ids("tool_calls", "tool_call_id"));
            for id in ids("tool_returns", "tool_call_id") {
                let place = open
                    .iter()
                    .position(|call| *call == id)
                    .unwrap_or_else(|| panic!("return of {id} without an open call"));
                open.swap_remove(place);
            }
        }
        assert!(open.is_empty(), "calls without a return: {open:?}");
    }

    pub(crate) async fn node(&self, name: &str) -> Option<Value> {
        let tree = self.get("/v1/greenroom/tree").await;
        tree["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .find(|node| node["name"] == name)
            .cloned()
    }

    pub(crate) async fn panic_at(&self, points: &str) {
        self.post("/v1/greenroom/faults", json!({"panic": points}))
            .await;
    }
}

/// A port that nobody listens on, below those that the system gives to connections of other tests: such a one could be
/// taken between its choice and the start of the daemon, or while the daemon is down.
fn free_port() -> u16 {
    let random = || u16::from_le_bytes(uuid::Uuid::new_v4().into_bytes()[..2].try_into().unwrap());
    std::iter::repeat_with(|| 20_000 + random() % 12_000)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .unwrap()
}

impl Drop for World {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A file system in memory, seen by its own processes only: in a mount namespace, which needs no rights where user
/// namespaces are allowed. Gone with this value.
pub(crate) struct SmallDisk {
    holder: Child,
    as_root: bool,
    folder: PathBuf,
}

impl SmallDisk {
    fn mount(folder: &Path, mib: u64) -> Self {
        let as_root = rustix::process::geteuid().is_root();
        let script = "mount -t tmpfs -o size=$1m tmpfs \"$2\" && echo mounted && exec cat";
        let mut holder = Command::new("unshare")
            .arg("--mount")
            .args((!as_root).then_some("--map-root-user"))
            .args(["sh", "-c", script, "sh", &mib.to_string()])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare (util-linux) is there");
        let mut said = String::new();
        let output = holder.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut said).unwrap();
        assert_eq!(
            said, "mounted\n",
            "a small file system cannot be mounted: this test needs root or user namespaces"
        );
        Self {
            holder,
            as_root,
            folder: folder.to_owned(),
        }
    }

    /// A command that runs `program` where the file system is seen.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--target", &self.holder.id().to_string()]);
        if !self.as_root {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.arg(program);
        command
    }

    fn filler(&self) -> PathBuf {
        let inside = self.folder.strip_prefix("/").unwrap().join("filler");
        Path::new(&format!("/proc/{}/root", self.holder.id())).join(inside)
    }

    /// Leaves so many bytes free.
    pub(crate) fn fill(&self, free: u64) {
        let mut file = File::create(self.filler()).unwrap();
        let piece = vec![0; 64 * 1024];
        let left = || {
            let found = rustix::fs::statvfs(self.filler()).unwrap();
            found.f_bavail * found.f_frsize
        };
        while left() > free {
            let size = piece.len().min(usize::try_from(left() - free).unwrap());
            if file.write_all(&piece[..size]).is_err() {
                break;
            }
        }
    }

    pub(crate) fn empty(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(self.holder.kill());
        drop(self.holder.wait());
    }
}

/// The data lines of an event stream.
pub(crate) fn events(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(str::to_owned)
        .collect()
}
