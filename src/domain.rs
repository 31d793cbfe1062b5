//! What the words mean: plain values and pure functions. No async, no I/O, no serde derives;
//! `serde_json::Value` only as the type of free-form JSON. Every other folder may use this one, it uses none.

pub mod agent;
pub mod approval;
pub mod block;
pub mod clock;
pub mod compaction;
pub mod conversation;
pub mod creation;
pub mod error;
pub mod frame;
pub mod heartbeat;
pub mod history;
pub mod id;
pub mod memory;
pub mod message;
pub mod model;
pub mod page;
pub mod piece;
pub mod prompt;
pub mod provider;
pub mod recovery;
pub mod rules;
pub mod run;
pub mod step;
pub mod stock;
pub mod tokens;
pub mod tool;
