//! `check`: reports on a data folder without changing it. The engine cannot open a database without writing to it, so
//! what is opened is a copy. It is made inside the folder, where nobody else may read, and removed afterwards.

use super::audit::{Audit, CheckReport};
use super::disk::Disk;
use super::engine::sled::SledEngine;
use super::engine::{Engine, OpenError};
use super::{DATABASE, StoreError};
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const CACHE_BYTES: u64 = 64 << 20;

/// Reads every record of the data folder `path` and compares the indexes with them. Takes as much free space as the
/// database, and seconds for a million records. Traces are not looked at: they may be lost.
///
/// # Errors
/// The folder is in use (a copy of a database that is written to would be worth nothing), or cannot be copied, or the
/// copy cannot be opened at all.
pub fn check(path: &Path) -> Result<CheckReport, StoreError> {
    let failed = |detail: String| StoreError::Failed {
        path: path.to_owned(),
        detail,
    };
    let copy = Copy::make(path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => StoreError::InUse(path.to_owned()),
        _ => failed(error.to_string()),
    })?;
    let database = copy.0.clone();
    let opener = Box::new(move || -> Result<Box<dyn Engine>, OpenError> {
        Ok(Box::new(SledEngine::open(&database, CACHE_BYTES)?))
    });
    let disk = Disk::open(opener).map_err(|error| failed(error.to_string()))?;
    let disk = Arc::new(disk);
    let report = Audit::new(Arc::clone(&disk)).everything();
    disk.close();
    Ok(report)
}

/// A copy of the database, removed when it is dropped.
struct Copy(PathBuf);

impl Copy {
    fn make(path: &Path) -> io::Result<Self> {
        let database = path.join(DATABASE);
        // The lock that the engine takes: while it is ours, nobody writes.
        let lock = File::open(database.join("db"))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        let copy = Self(path.join(format!("check-{}", std::process::id())));
        copy_folder(&database, &copy.0)?;
        Ok(copy)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, path = %self.0.display(), "the copy made for the check is still there");
        }
    }
}

/// Copies a folder with everything in it; `to` must not exist.
pub(super) fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}
