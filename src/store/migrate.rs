//! What is done once, at open: the format of the folder, numbered migrations, and the mark of a clean end.
//!
//! Migration `n` turns format `n - 1` into format `n`. Each is applied together with its mark, or, when it is too large
//! for one write, can be repeated. A folder of a newer format is refused: there is no way back.

use super::StoreError;
use super::codec::{self, Kind, Stored};
use super::disk::Disk;
use super::engine::{Changes, EngineError};
use super::keys::{self, KeyRange};
use super::record::record;
use crate::domain::page::Order;
use bincode::{Decode, Encode};
use std::path::Path;

/// A number the store keeps about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) number: u32,
}

record! {
    #[derive(Encode, Decode)]
    struct MarkV1 for Mark { number: u32 }
}

impl Stored for Mark {
    const KIND: Kind = Kind::Mark;
    const VERSION: u8 = 1;
    type Newest = MarkV1;
}

const FORMAT: &str = "format";
const CLEAN: &str = "clean";

type Migration = fn(&Disk) -> Result<Changes, EngineError>;

/// In order; the first makes format 1 of an empty database.
const MIGRATIONS: [Migration; 1] = [|_| Ok(Changes::new())];

/// Checks the format, brings it up to date and notes that the store is open. Whether the folder was empty, and whether
/// it was closed well.
pub(super) fn begin(disk: &Disk, path: &Path) -> Result<(bool, bool), StoreError> {
    let failed = |detail: String| StoreError::Failed {
        path: path.to_owned(),
        detail,
    };
    let mark = |name| {
        disk.record::<Mark>(&keys::meta(name))
            .map_err(|error| failed(error.to_string()))
    };
    let found = match mark(FORMAT)? {
        Some(format) => format.number,
        None if is_empty(disk).map_err(|error| failed(error.to_string()))? => 0,
        None => return Err(StoreError::Foreign(path.to_owned())),
    };
    let known = u32::try_from(MIGRATIONS.len()).expect("there are few migrations");
    if found > known {
        return Err(StoreError::Newer { found, known });
    }
    let clean = mark(CLEAN)?.is_some_and(|clean| clean.number == 1);
    let open = || -> Result<(), EngineError> {
        for (number, migration) in (1..).zip(MIGRATIONS).skip(found as usize) {
            let mut changes = migration(disk)?;
            changes.extend(changed_mark(FORMAT, number));
            disk.with(|engine| engine.apply(&changes))?;
        }
        disk.with(|engine| {
            engine.apply(&clean_mark(false))?;
            engine.flush()?;
            engine.sync()
        })
    };
    open().map_err(|error| failed(error.to_string()))?;
    Ok((found == 0, clean || found == 0))
}

fn is_empty(disk: &Disk) -> Result<bool, EngineError> {
    let everything = KeyRange {
        from: Vec::new(),
        to: vec![0xFF; 32],
    };
    let mut found = Vec::new();
    disk.with(|engine| engine.scan(&everything, Order::Ascending, 1, &mut found))?;
    Ok(found.is_empty())
}

/// The change that notes whether the store was closed well.
pub(super) fn clean_mark(clean: bool) -> Changes {
    changed_mark(CLEAN, u32::from(clean))
}

fn changed_mark(name: &str, number: u32) -> Changes {
    let record = codec::encode(&Mark { number }).expect("a number is never too large");
    Changes::from([(keys::meta(name), Some(record))])
}
