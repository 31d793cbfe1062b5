//! Free space on the disk, noticed before a write reaches the engine: a full disk would break the engine as a whole
//! (decisions 37).

use super::Shared;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tracing::warn;

/// How long an answer is good for. A group writes a few MiB at most, the reserve is far above that.
const GOOD_FOR: Duration = Duration::from_millis(50);

/// Bytes that may still be written to the file system of `path`.
pub(super) fn free(path: &Path) -> std::io::Result<u64> {
    let found = rustix::fs::statvfs(path)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// The committer's view of the free space.
pub(super) struct Space {
    shared: Arc<Shared>,
    asked: Option<Instant>,
}

impl Space {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: Arc::clone(shared),
            asked: None,
        }
    }

    /// Whether less than the reserve is free.
    pub(super) fn is_full(&mut self) -> bool {
        if self.asked.is_none_or(|asked| asked.elapsed() >= GOOD_FOR) {
            self.asked = Some(Instant::now());
            self.shared.is_full();
        }
        self.shared.full.load(Ordering::Relaxed)
    }
}

impl Shared {
    /// Asks the file system now. One that does not answer is no reason to refuse writes: the engine will fail if it
    /// must.
    pub(super) fn is_full(&self) -> bool {
        let full = match free(&self.path) {
            Ok(free) => free < self.reserve_bytes.load(Ordering::Relaxed),
            Err(error) => {
                warn!(%error, path = %self.path.display(), "the free space is unknown");
                false
            }
        };
        self.full.store(full, Ordering::Relaxed);
        full
    }
}
