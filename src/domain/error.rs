//! The failures a caller can tell apart. Each layer has its own errors and says of each which `Kind` it is;
//! kinds become status codes in one place (`facade/error.rs`).

/// What went wrong, as far as the caller has to act differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The named thing does not exist.
    NotFound,
    /// The request does not fit the schema.
    Invalid,
    /// The request fits the schema and makes no sense here.
    Argument,
    /// A model provider refuses the key.
    KeyRefused,
    /// The request contradicts what is there.
    Conflict,
    /// An approval is pending; a retry cannot help.
    PendingApproval,
    /// What was asked for is gone for good (a stream after its retention).
    Expired,
    /// Nothing is wrong with the request, come back later.
    Busy,
    /// The answer did not come in time.
    Timeout,
    /// The model's provider failed or refused.
    Provider,
    /// The disk is full; nothing was written.
    Full,
    /// Part of the data folder cannot be read.
    Damaged,
    /// The operation is part of the contract and not built yet.
    Missing,
    /// A bug or a failure of ours.
    Internal,
}
