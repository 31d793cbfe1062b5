//! The bytes of each version of each record, as committed in `golden/`: what was once written is read for ever.
//!
//! A new version adds a file and keeps the old ones. `GREENROOM_GOLDEN=write` writes files that are missing; an
//! existing one is never changed.

use super::agents::Tombstone;
use super::blocks::{BlockVersion, Link};
use super::callbacks::CallbackEntry;
use super::codec::{self, Stored};
use super::frames::StoredFrame;
use super::idempotency::IdempotencyRecord;
use super::migrate::Mark;
use super::seal::{Sealed, SealedProvider};
use super::testing;
use super::tools::ToolStamp;
use crate::domain::block::BlockLink;
use crate::domain::clock;
use crate::domain::id::{BlockId, RunId};
use crate::domain::model::Trace;
use crate::domain::provider::ProviderKey;
use crate::domain::run::{Step, Task};
use crate::domain::token_data::TokenWish;
use bytes::Bytes;
use std::fmt::{Debug, Write};
use std::path::Path;

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for line in bytes.chunks(32) {
        line.iter()
            .for_each(|byte| write!(text, "{byte:02x}").unwrap());
        text.push('\n');
    }
    text
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<char> = hex.chars().filter(char::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap())
        .collect()
}

/// The newest version writes exactly these bytes, and they read back as the value.
fn stands<T: Stored + PartialEq + Debug>(value: &T) {
    let name = format!("{:?}_v{}.hex", T::KIND, T::VERSION).to_lowercase();
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/store/golden")
        .join(name);
    let written = codec::encode(value).unwrap();
    if !path.exists() && std::env::var_os("GREENROOM_GOLDEN").is_some() {
        std::fs::write(&path, hex(&written)).unwrap();
    }
    let golden = bytes(&std::fs::read_to_string(&path).unwrap());
    assert_eq!(written, golden, "{}", path.display());
    assert_eq!(&codec::decode::<T>(&golden).unwrap(), value);
}

/// What an older version wrote reads as `value`.
fn is_still_read<T: Stored + PartialEq + Debug>(version: u8, value: &T) {
    let name = format!("{:?}_v{version}.hex", T::KIND).to_lowercase();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/golden");
    let golden = bytes(&std::fs::read_to_string(path.join(name)).unwrap());
    assert_eq!(&codec::decode::<T>(&golden).unwrap(), value);
}

#[test]
fn older_versions_are_still_read() {
    let mut message = testing::fixed_message();
    message.call_places = Vec::new();
    is_still_read(1, &message);
    let mut inbox = testing::fixed_inbox();
    inbox.options.client_skills = Vec::new();
    inbox.options.tokens = TokenWish::default();
    is_still_read(2, &inbox);
    inbox.task = Task::Turn;
    inbox.answer = None;
    inbox.client_tools = Vec::new();
    is_still_read(1, &inbox);
    let step = Step {
        provider_id: None,
        ..testing::fixed_step()
    };
    is_still_read(1, &step);
    let mut provider = testing::fixed_provider();
    provider.key = ProviderKey::new("v1:AAAA");
    provider.access_key = None;
    is_still_read(1, &SealedProvider(provider));
}

#[test]
fn every_record_is_written_and_read_as_it_always_was() {
    let mut agent = testing::fixed_agent();
    agent.secrets = vec![testing::secret("API_KEY", "v1:AAAA")];
    stands(&Sealed(agent));
    stands(&Mark { number: 1 });
    stands(&testing::head());
    stands(&Tombstone {
        created_at: clock::from_micros(-1),
    });
    stands(&testing::fixed_message());
    stands(&Link(BlockLink {
        block_id: BlockId::from_bytes([4; 16]),
        label: "human".to_owned(),
        ordinal: 2,
    }));
    stands(&testing::fixed_run());
    stands(&testing::fixed_inbox());
    stands(&testing::fixed_conversation());
    stands(&testing::fixed_step());
    stands(&StoredFrame(Bytes::from_static(b"data: [DONE]\n\n")));
    let (run, expires_at) = (
        RunId::from_bytes([7; 16]),
        clock::from_micros(1_790_000_000_000_000),
    );
    stands(&IdempotencyRecord {
        run,
        body_hash: [11; 32],
        expires_at,
    });
    stands(&CallbackEntry {
        attempts: 2,
        next_try: expires_at,
    });
    stands(&testing::fixed_block());
    stands(&BlockVersion {
        version: 7,
        created_at: expires_at,
    });
    let mut provider = testing::fixed_provider();
    provider.key = ProviderKey::new("v1:AAAA");
    provider.access_key = Some(ProviderKey::new("v1:BBBB"));
    stands(&SealedProvider(provider));
    stands(&testing::fixed_tool());
    stands(&ToolStamp {
        name: "add".to_owned(),
        version: 3,
    });
    stands(&Trace {
        request: "{}".to_owned(),
        response: "[]".to_owned(),
    });
}
