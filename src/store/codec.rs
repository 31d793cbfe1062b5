//! Bytes of a record: `[kind][version][flags][payload][crc32 of all before]`, the payload in bincode's standard form.
//!
//! A record type is never changed once it was written by a released program: a new shape is a new version, and the old
//! one is read for ever. Nothing outside this module and the record types it serves names bincode.

use super::record::Record;
use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::{Decode, Encode};

/// Most bytes of one record.
pub(super) const MOST_BYTES: usize = 16 << 20;

const CONFIG: Configuration<LittleEndian, Varint, Limit<MOST_BYTES>> =
    bincode::config::standard().with_limit::<MOST_BYTES>();
const HEADER: usize = 3;
const CHECKSUM: usize = 4;
/// No flag has a meaning yet (compressed and sealed are foreseen); one that is set is from a newer program.
const NO_FLAGS: u8 = 0;

/// What a record is about; the first byte of its value. Numbers are never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Mark = 1,
    Agent = 2,
    Head = 3,
    Tombstone = 4,
    Message = 5,
    Link = 6,
    Run = 7,
    Inbox = 8,
    Step = 9,
    Frame = 10,
    Idempotency = 11,
    Callback = 12,
    Block = 13,
    BlockVersion = 14,
    Trace = 15,
    Provider = 16,
    Conversation = 17,
    Tool = 18,
    ToolStamp = 19,
}

/// A value of the domain that is kept as a record.
pub(super) trait Stored: Sized {
    const KIND: Kind;
    /// The version that is written.
    const VERSION: u8;
    /// The shape of that version.
    type Newest: Record<Self>;

    /// Reads the payload of a version before `VERSION`.
    fn older(version: u8, payload: &[u8]) -> Result<Self, Unreadable> {
        let _ = payload;
        Err(Unreadable(format!(
            "{:?} record of version {version}, which no program has written",
            Self::KIND
        )))
    }
}

/// Why bytes are not the record they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unreadable(pub(super) String);

/// A record that could be written and never read again, so it is not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLarge {
    pub(super) bytes: usize,
}

/// The bytes of a record, in the newest version.
pub(super) fn encode<T: Stored>(value: &T) -> Result<Vec<u8>, TooLarge> {
    let mut bytes = vec![T::KIND as u8, T::VERSION, NO_FLAGS];
    let written = bincode::encode_into_std_write(T::Newest::of(value), &mut bytes, CONFIG);
    // Memory takes what it is given, and the derived encoders have no failure of their own.
    written.expect("writing to memory cannot fail");
    if bytes.len() + CHECKSUM > MOST_BYTES {
        return Err(TooLarge { bytes: bytes.len() });
    }
    let checksum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&checksum.to_be_bytes());
    Ok(bytes)
}

/// The record in `bytes`, whichever version it was written in.
pub(super) fn decode<T: Stored>(bytes: &[u8]) -> Result<T, Unreadable> {
    let (body, checksum) = bytes
        .split_last_chunk::<CHECKSUM>()
        .ok_or_else(|| Unreadable("the record is cut off".to_owned()))?;
    if crc32fast::hash(body) != u32::from_be_bytes(*checksum) {
        return Err(Unreadable("the checksum does not fit".to_owned()));
    }
    let Some((&[kind, version, flags], payload)) = body.split_first_chunk::<HEADER>() else {
        return Err(Unreadable("the record is cut off".to_owned()));
    };
    if kind != T::KIND as u8 {
        return Err(Unreadable(format!(
            "a record of kind {kind} stands where {:?} should",
            T::KIND
        )));
    }
    if version > T::VERSION || flags != NO_FLAGS {
        return Err(Unreadable(format!(
            "{:?} record of version {version} (flags {flags}) was written by a newer program",
            T::KIND
        )));
    }
    if version == T::VERSION {
        read::<T::Newest>(payload)?.into_domain()
    } else {
        T::older(version, payload)
    }
}

/// The first bytes of the payload of a record in the newest version, out of its first piece; the checksum is not looked at.
pub(super) fn peek<T: Stored, const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    let (&[kind, version, _], payload) = bytes.split_first_chunk::<HEADER>()?;
    let newest = kind == T::KIND as u8 && version == T::VERSION;
    payload.first_chunk().filter(|_| newest).copied()
}

/// The payload as this version's shape. All bytes must be used.
pub(super) fn read<R: Decode<()> + Encode>(payload: &[u8]) -> Result<R, Unreadable> {
    match bincode::decode_from_slice(payload, CONFIG) {
        Ok((record, used)) if used == payload.len() => Ok(record),
        Ok((_, used)) => Err(Unreadable(format!(
            "{} bytes follow the record",
            payload.len() - used
        ))),
        Err(error) => Err(Unreadable(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::frames::StoredFrame;
    use bytes::Bytes;

    fn frame() -> Vec<u8> {
        encode(&StoredFrame(Bytes::from_static(b"data: x\n\n"))).unwrap()
    }

    fn seal(mut body: Vec<u8>) -> Vec<u8> {
        let checksum = crc32fast::hash(&body);
        body.extend_from_slice(&checksum.to_be_bytes());
        body
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let bytes = frame();
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode::<StoredFrame>(&bad).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(decode::<StoredFrame>(&bytes[..length]).is_err());
        }
    }

    #[test]
    fn a_record_from_the_future_and_trailing_bytes_are_refused() {
        let bytes = frame();
        let body = &bytes[..bytes.len() - CHECKSUM];
        let mut newer = body.to_vec();
        newer[1] = StoredFrame::VERSION + 1;
        assert!(
            decode::<StoredFrame>(&seal(newer))
                .unwrap_err()
                .0
                .contains("newer program")
        );
        assert!(
            decode::<StoredFrame>(&seal([body, &[0]].concat()))
                .unwrap_err()
                .0
                .contains("1 bytes follow")
        );
    }

    #[test]
    fn a_record_that_could_not_be_read_again_is_not_written() {
        let large = StoredFrame(Bytes::from(vec![0; MOST_BYTES]));
        assert!(encode(&large).is_err());
    }
}
