//! The processes that are measured, and what they cost.

use crate::client::Client;
use crate::model;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A process that ends with this value.
struct Process(Child);

impl Process {
    /// Processor time so far, of all its threads.
    fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        // The name in parentheses may hold spaces; user and system time are the 12th and 13th field after it.
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
    }

    /// Resident memory in KiB.
    fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        line.unwrap()
            .split_whitespace()
            .nth(1)
            .unwrap()
            .parse()
            .unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// This program as the model server.
pub(crate) struct Model {
    process: Process,
    pub(crate) address: SocketAddr,
}

impl Model {
    pub(crate) fn start() -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg(model::ARGUMENT)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        Self {
            process: Process(child),
            address: line.trim().parse().unwrap(),
        }
    }

    pub(crate) fn cpu(&self) -> Duration {
        self.process.cpu()
    }
}

/// A data folder on the disk that the build is on, and the daemon on it.
pub(crate) struct Daemon {
    process: Option<Process>,
    pub(crate) address: SocketAddr,
    model: SocketAddr,
    folder: TempDir,
    /// Options as environment variables.
    options: &'static [(&'static str, &'static str)],
}

impl Daemon {
    pub(crate) async fn start(model: &Model) -> Self {
        Self::start_with(model, &[]).await
    }

    pub(crate) async fn start_with(
        model: &Model,
        options: &'static [(&'static str, &'static str)],
    ) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = port.local_addr().unwrap();
        drop(port);
        let mut daemon = Self {
            process: None,
            address,
            model: model.address,
            folder: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap(),
            options,
        };
        daemon.again().await;
        daemon
    }

    /// Starts it on its folder; the time until it answers `/v1/ready`.
    pub(crate) async fn again(&mut self) -> Duration {
        let since = Instant::now();
        let child = Command::new(env!("CARGO_BIN_EXE_greenroom"))
            .args(["serve", "--listen", &self.address.to_string(), "--data"])
            .arg(self.folder.path().join("data"))
            .env("OPENAI_API_BASE", format!("http://{}/v1", self.model))
            .env("GREENROOM__LOG__LEVEL", "error")
            .envs(self.options.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        self.process = Some(Process(child));
        loop {
            if let Ok(mut client) = Client::connect(self.address).await {
                let answer = client.open(hyper::Method::GET, "/v1/ready", bytes::Bytes::new());
                if answer
                    .await
                    .is_ok_and(|answer| answer.status().is_success())
                {
                    return since.elapsed();
                }
            }
            assert!(
                since.elapsed() < Duration::from_mins(1),
                "the daemon does not start"
            );
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
    }

    /// SIGTERM, and its end.
    pub(crate) fn stop(&mut self) {
        let mut process = self.process.take().unwrap();
        let pid = rustix::process::Pid::from_child(&process.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let status = process.0.wait().unwrap();
        assert!(status.success(), "the daemon ended with {status}");
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.address).await.unwrap()
    }

    pub(crate) fn cpu(&self) -> Duration {
        self.process.as_ref().unwrap().cpu()
    }

    pub(crate) fn resident_kib(&self) -> u64 {
        self.process.as_ref().unwrap().resident_kib()
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}
