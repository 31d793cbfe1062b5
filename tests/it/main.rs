//! The whole of Greenroom from the outside: the real binary, real processes that are killed, the official SDKs as clients.
//! Only the paid models are played by a script (`model.rs`), each vendor's protocol in detail in `dialects.rs` and
//! `tests/vendors`.

#![allow(
    clippy::unwrap_used,
    reason = "these are tests, their helpers included"
)]

mod approvals;
mod bad_input;
mod cancel;
mod chat;
mod client_tools;
mod compaction;
mod context;
mod conversations;
mod crash;
mod damage;
mod decisions;
mod dialects;
mod endings;
mod full_disk;
mod heartbeat;
mod layers;
mod model;
mod output;
mod providers;
mod retries;
mod rules;
mod sandbox;
mod sdk;
mod streams;
mod supervision;
mod tools;
mod turns;
#[path = "../vendors/mod.rs"]
mod vendors;
mod waiting;
mod world;
