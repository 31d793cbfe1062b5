//! Whether sources run here, for operators.

use std::fmt;
use std::path::PathBuf;

/// Whether sources run, for operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SandboxState {
    /// No interpreter was tried yet.
    Untried,
    /// Behind all walls.
    Isolated { python: PathBuf },
    /// Without walls, because the configuration says so.
    Bare { python: PathBuf },
    /// Not at all, and why.
    Refused { reason: String },
}

impl SandboxState {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Untried => "untried",
            Self::Isolated { .. } => "isolated",
            Self::Bare { .. } => "bare",
            Self::Refused { .. } => "refused",
        }
    }
}

impl fmt::Display for SandboxState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Untried => write!(f, "not tried"),
            Self::Isolated { python } => write!(f, "isolated, with {}", python.display()),
            Self::Bare { python } => write!(
                f,
                "NOT ISOLATED (sandbox.isolation), with {}",
                python.display()
            ),
            Self::Refused { reason } => write!(f, "refused: {reason}"),
        }
    }
}
