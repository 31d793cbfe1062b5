//! One call as a process: started with its plan and its request, read while it runs, ended at the latest by the clock.

use super::launcher::{self, Plan};
use super::network;
use super::result::Answer;
use crate::egress::Gate;
use serde_json::Value;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::os::unix::net::UnixStream as Pair;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// Most bytes of a result.
pub(super) const MOST_RESULT: usize = 8 << 20;
/// What a process may still say when it has ended, or its time is over.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// How a process ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) answer: Option<Answer>,
    pub(super) stdout: String,
    pub(super) stderr: String,
    pub(super) timed_out: bool,
    /// It sent more than anybody reads, and was killed for that.
    pub(super) too_much: bool,
    /// The launcher could not become the interpreter.
    pub(super) not_started: bool,
    pub(super) how: ExitStatus,
}

/// A running call. Dropping it kills it.
pub(super) struct Process {
    child: Child,
    channel: UnixStream,
    request: Vec<u8>,
}

impl Process {
    /// Must be called on a thread that lives as long as the daemon (a worker of the runtime): the process dies with the
    /// thread that started it.
    pub(super) fn start(plan: &Plan, request: &Value) -> io::Result<Self> {
        let (ours, theirs) = Pair::pair()?;
        ours.set_nonblocking(true)?;
        let child = Command::new(program()?)
            .arg(launcher::ARGUMENT)
            .env_clear()
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let mut bytes = Vec::new();
        for part in [serde_json::to_vec(plan)?, serde_json::to_vec(request)?] {
            let length = u32::try_from(part.len()).map_err(io::Error::other)?;
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend(part);
        }
        Ok(Self {
            child,
            channel: UnixStream::from_std(ours)?,
            request: bytes,
        })
    }

    /// Waits for its result and its end. After `timeout` it is killed. `gate`: the daemon connects for it.
    pub(super) async fn end(
        self,
        timeout: Duration,
        output: usize,
        gate: Option<Gate>,
    ) -> io::Result<Ended> {
        let Self {
            mut child,
            mut channel,
            request,
        } = self;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        // Ends with the call.
        let mut connections = JoinSet::new();
        let too_much = Notify::new();
        let talk = async {
            let mut result = Vec::new();
            // One that dies early reads no request: its end tells.
            let _ = channel.write_all(&request).await;
            if let Some(gate) = gate
                && let Ok(Some(questions)) = network::question_socket(&channel).await
            {
                connections.spawn(network::serve(questions, gate));
            }
            let _ = (&mut channel)
                .take(MOST_RESULT as u64 + 1)
                .read_to_end(&mut result)
                .await;
            // It would wait for ever for somebody who reads the rest.
            if result.len() > MOST_RESULT {
                too_much.notify_one();
            }
            result
        };
        let all = async { tokio::join!(talk, keep(out, output), keep(err, output)) };
        let mut all = std::pin::pin!(all);
        let mut told = None;
        let ended = tokio::time::timeout(timeout, async {
            tokio::select! {
                how = child.wait() => how,
                () = too_much.notified() => {
                    child.start_kill()?;
                    child.wait().await
                }
                parts = &mut all => {
                    told = Some(parts);
                    child.wait().await
                }
            }
        });
        let (how, timed_out) = match ended.await {
            Ok(how) => (how?, false),
            Err(_) => {
                child.start_kill()?;
                (child.wait().await?, true)
            }
        };
        if told.is_none() {
            told = tokio::time::timeout(LAST_WORDS, &mut all).await.ok();
        }
        let (result, stdout, stderr) = told.unwrap_or_default();
        let too_much = result.len() > MOST_RESULT;
        let answer = (!too_much)
            .then(|| serde_json::from_slice(&result).ok())
            .flatten();
        Ok(Ended {
            answer,
            stdout: text(stdout),
            stderr: text(stderr),
            timed_out,
            too_much,
            not_started: how.code() == Some(i32::from(launcher::FAILED)),
            how,
        })
    }
}

/// This program, also when its file was replaced meanwhile.
fn program() -> io::Result<PathBuf> {
    let own = PathBuf::from("/proc/self/exe");
    if own.exists() {
        Ok(own)
    } else {
        std::env::current_exe()
    }
}

/// Keeps the beginning of what is written and throws the rest away, so that nobody waits for a full pipe.
async fn keep(from: Option<impl AsyncRead + Unpin>, most: usize) -> Vec<u8> {
    let mut kept = Vec::new();
    let Some(mut from) = from else { return kept };
    let mut buffer = vec![0; 64 << 10];
    loop {
        match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return kept,
            Ok(read) => {
                let room = most.saturating_sub(kept.len()).min(read);
                kept.extend_from_slice(&buffer[..room]);
            }
        }
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// The folder of one call; removed with what is in it.
pub(super) struct Folder(PathBuf);

impl Folder {
    /// Only this user can enter it.
    pub(super) async fn make(place: &Path, user: Option<u32>) -> io::Result<Self> {
        let path = place.join(uuid::Uuid::new_v4().simple().to_string());
        let folder = Self(path.clone());
        tokio::task::spawn_blocking(move || {
            std::fs::DirBuilder::new().mode(0o700).create(&path)?;
            match user {
                Some(user) => chown(&path, Some(user), Some(user)),
                None => Ok(()),
            }
        })
        .await
        .map_err(io::Error::other)??;
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let path = std::mem::take(&mut self.0);
        let remove = move || {
            if let Err(error) = std::fs::remove_dir_all(&path)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(path = %path.display(), %error, "the folder of a tool was not removed");
            }
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}

/// The place for the folders of calls, with nothing in it: what a daemon that was killed left there is removed.
pub(super) async fn prepared(place: PathBuf) -> io::Result<PathBuf> {
    tokio::task::spawn_blocking(|| {
        match std::fs::DirBuilder::new().mode(0o711).create(&place) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => (),
            made => return made.map(|()| place),
        }
        let found = place.symlink_metadata()?;
        let own = found.uid() == rustix::process::geteuid().as_raw() && found.is_dir();
        if !own || found.mode() & 0o022 != 0 {
            let text = format!("{} is somebody else's", place.display());
            return Err(io::Error::other(text));
        }
        for left in std::fs::read_dir(&place)? {
            std::fs::remove_dir_all(left?.path())?;
        }
        Ok(place)
    })
    .await
    .map_err(io::Error::other)?
}
