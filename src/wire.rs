//! JSON of the Letta V1 API, one file a resource. Field names live here and nowhere else.

pub mod agent;
pub mod block;
pub mod capture;
pub mod chat;
pub mod compaction;
pub mod content;
pub mod context;
pub mod conversation;
pub mod edit;
pub mod generate;
pub mod message;
pub mod model;
pub mod provider;
pub mod run;
pub mod send;
pub mod step;
pub mod stream;
pub mod tool;
pub mod tree;

use jiff::Timestamp;

/// A record's time: UTC, `Z`, six digits.
pub fn time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

/// A message's date: whole seconds, numeric offset.
pub fn date(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string()
}
