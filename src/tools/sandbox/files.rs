//! Which files a call may see, by Landlock: what its interpreter needs to read, and its own folder.

#![cfg(target_os = "linux")]

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use std::path::{Path, PathBuf};

/// The least that isolates: from here on cutting a file short is a right of its own (Linux 6.2).
const LEAST: ABI = ABI::V3;
/// What is used where the kernel has it: signals and abstract sockets stay inside as well.
const MOST: ABI = ABI::V6;

/// Devices that say or swallow nothing of others.
const DEVICES: [&str; 5] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
];

#[derive(Debug, thiserror::Error)]
pub(super) enum FilesError {
    #[error(transparent)]
    Ruleset(#[from] RulesetError),
    #[error("the working folder: {0}")]
    Folder(landlock::PathFdError),
    #[error("the kernel does not enforce it")]
    NotEnforced,
}

/// Opens what is on the list; `enforce` puts it into force.
pub(super) fn list(
    readable: &[PathBuf],
    folder: &Path,
    network: bool,
) -> Result<RulesetCreated, FilesError> {
    let rules = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(LEAST))?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(MOST))?
        .scope(Scope::from_all(MOST))?;
    let rules = if network {
        rules
    } else {
        rules.handle_access(AccessNet::from_all(MOST))?
    };
    let mut rules = rules.create()?;
    let read = AccessFs::from_read(MOST);
    for path in readable {
        // What is not there cannot be read either way.
        if let Ok(open) = PathFd::new(path) {
            let rights = if path.is_dir() {
                read
            } else {
                read & AccessFs::from_file(MOST)
            };
            rules = rules.add_rule(PathBeneath::new(open, rights))?;
        }
    }
    for device in DEVICES {
        if let Ok(open) = PathFd::new(device) {
            let rights = AccessFs::ReadFile | AccessFs::WriteFile;
            rules = rules.add_rule(PathBeneath::new(open, rights))?;
        }
    }
    let open = PathFd::new(folder).map_err(FilesError::Folder)?;
    let everything = AccessFs::from_all(MOST) & !(AccessFs::MakeChar | AccessFs::MakeBlock);
    Ok(rules.add_rule(PathBeneath::new(open, everything))?)
}

/// From here on nothing else can be opened, by this process or what it becomes.
pub(super) fn enforce(rules: RulesetCreated) -> Result<(), FilesError> {
    let status = rules.restrict_self()?;
    if status.ruleset == RulesetStatus::NotEnforced || !status.no_new_privs {
        return Err(FilesError::NotEnforced);
    }
    Ok(())
}
