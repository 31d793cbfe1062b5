//! The program itself started again for one call: it takes everything away from itself that the call must not have, and
//! then becomes the interpreter. So nothing of ours runs between a fork and an exec, and `unsafe` stays forbidden.
//!
//! In this order: what was asked for is read from standard input; working folder; limits; the list of files; another user
//! where it is root's; the list of files comes into force; system calls are cut down; the interpreter is executed. Whatever
//! cannot be done ends the process with `FAILED` and says why: the call is then refused, never run with less.

#[cfg(target_os = "linux")]
use super::{files, syscalls};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::PathBuf;
use std::process::ExitCode;

/// First argument of the program when it is to be a launcher.
pub const ARGUMENT: &str = "sandbox-launch";

/// Exit code of a launcher that could not become the interpreter. The reason is on standard error.
pub(super) const FAILED: u8 = 113;

/// Most bytes of a plan.
const MOST_PLAN: usize = 16 << 20;

/// What one call may have.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<String>,
    /// All of it: the launcher itself is started with nothing.
    pub(super) environment: BTreeMap<String, String>,
    /// The working folder, the only place to write.
    pub(super) folder: PathBuf,
    /// `None`: no isolation, because the configuration says so.
    pub(super) walls: Option<Walls>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Walls {
    /// Folders and files that can be read and executed. What is not there is passed over.
    pub(super) readable: Vec<PathBuf>,
    /// The user (and group) to become, where the daemon is root.
    pub(super) user: Option<u32>,
    /// Whether sockets may be opened.
    pub(super) network: bool,
    pub(super) memory_bytes: u64,
    pub(super) cpu_seconds: u64,
    pub(super) file_bytes: u64,
    pub(super) open_files: u64,
    pub(super) threads: u64,
}

/// Becomes what the plan on standard input says; returns only when that failed.
pub fn launch() -> ExitCode {
    let failure = match read_plan() {
        Ok(plan) => become_the_program(plan),
        Err(error) => format!("the plan cannot be read: {error}"),
    };
    eprintln!("{failure}");
    ExitCode::from(FAILED)
}

/// Exactly the plan, and not a byte of what comes behind it: that is for the interpreter.
fn read_plan() -> io::Result<Plan> {
    let mut file = Unbuffered;
    let mut length = [0; 4];
    file.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MOST_PLAN {
        return Err(io::Error::other("it is too long"));
    }
    let mut plan = vec![0; length];
    file.read_exact(&mut plan)?;
    serde_json::from_slice(&plan).map_err(io::Error::other)
}

struct Unbuffered;

impl Read for Unbuffered {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(io::stdin(), buffer)?)
    }
}

#[cfg(target_os = "linux")]
fn become_the_program(plan: Plan) -> String {
    use std::os::unix::process::CommandExt;
    let mut command = std::process::Command::new(&plan.program);
    command
        .args(&plan.arguments)
        .env_clear()
        .envs(&plan.environment);
    if let Err(error) = std::env::set_current_dir(&plan.folder) {
        return format!("the working folder: {error}");
    }
    if let Some(walls) = &plan.walls
        && let Err(missing) = build(walls, &plan.folder)
    {
        return missing;
    }
    // The daemon's end is this process's: set last, because another user forgets it.
    let kill = Some(rustix::process::Signal::KILL);
    if let Err(error) = rustix::process::set_parent_process_death_signal(kill) {
        return format!("the end with the daemon's: {error}");
    }
    let error = command.exec();
    format!("{} cannot be started: {error}", plan.program.display())
}

#[cfg(not(target_os = "linux"))]
fn become_the_program(plan: Plan) -> String {
    use std::os::unix::process::CommandExt;
    if plan.walls.is_some() {
        return "tools are isolated on Linux only".to_owned();
    }
    let mut command = std::process::Command::new(&plan.program);
    command
        .args(&plan.arguments)
        .env_clear()
        .envs(&plan.environment)
        .current_dir(&plan.folder);
    let error = command.exec();
    format!("{} cannot be started: {error}", plan.program.display())
}

#[cfg(target_os = "linux")]
fn build(walls: &Walls, folder: &std::path::Path) -> Result<(), String> {
    use rustix::process::{Gid, Resource, Rlimit, Uid, setrlimit};
    let limits = [
        ("no core files", Resource::Core, 0),
        ("memory", Resource::As, walls.memory_bytes),
        ("data", Resource::Data, walls.memory_bytes),
        ("processor time", Resource::Cpu, walls.cpu_seconds),
        ("file size", Resource::Fsize, walls.file_bytes),
        ("open files", Resource::Nofile, walls.open_files),
    ];
    for (what, resource, limit) in limits {
        let both = Rlimit {
            current: Some(limit),
            maximum: Some(limit),
        };
        setrlimit(resource, both).map_err(|error| format!("the limit of {what}: {error}"))?;
    }
    let files = files::list(&walls.readable, folder, walls.network)
        .map_err(|error| format!("the list of files (Landlock): {error}"))?;
    if let Some(user) = walls.user {
        let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
        // Counts the threads of this user alone, since nobody else is it.
        let threads = Rlimit {
            current: Some(walls.threads),
            maximum: Some(walls.threads),
        };
        setrlimit(Resource::Nproc, threads)
            .map_err(|error| format!("the limit of threads: {error}"))?;
        rustix::thread::set_thread_groups(&[gid])
            .and_then(|()| rustix::thread::set_thread_res_gid(gid, gid, gid))
            .and_then(|()| rustix::thread::set_thread_res_uid(uid, uid, uid))
            .map_err(|error| format!("another user: {error}"))?;
    }
    files::enforce(files).map_err(|error| format!("the list of files (Landlock): {error}"))?;
    syscalls::cut_down(walls.network, walls.user.is_some())
        .map_err(|error| format!("the system calls (seccomp): {error}"))
}
