//! Long values in pieces. sled puts values and leaves beyond 128 KiB into files of their own, which it never syncs;
//! so no value here is longer than 4 KiB. A longer record is cut: its key holds the first piece behind
//! `[FF][number of pieces, 2 bytes][crc32 of the whole record]`, the others follow under the keys of `keys::piece`.
//!
//! The checksum makes the first piece change whenever the record does. A reader who meets a write between two pieces
//! sees that, and reads again (`disk.rs`).

use super::engine::Value;

/// Most bytes of a value.
const MOST: usize = 4 << 10;
/// First byte of a record in pieces. No kind of record has this number.
const CUT: u8 = 0xFF;
const HEADER: usize = 7;

/// The values of a record: the one under its own key, then the other pieces in order.
pub(super) fn cut(record: Value) -> Vec<Value> {
    if record.len() <= MOST {
        return vec![record];
    }
    let (first, rest) = record.split_at(MOST - HEADER);
    let pieces = 1 + rest.len().div_ceil(MOST);
    let count = u16::try_from(pieces).expect("a record has at most 16 MiB, that is 4,097 pieces");
    let mut head = vec![CUT];
    head.extend_from_slice(&count.to_be_bytes());
    head.extend_from_slice(&crc32fast::hash(&record).to_be_bytes());
    head.extend_from_slice(first);
    std::iter::once(head)
        .chain(rest.chunks(MOST).map(<[u8]>::to_vec))
        .collect()
}

/// How many values the record takes whose key holds `value`.
pub(super) fn count(value: Option<&[u8]>) -> u16 {
    match value {
        Some([CUT, high, low, ..]) => u16::from_be_bytes([*high, *low]),
        Some(_) => 1,
        None => 0,
    }
}

/// How the record begins whose key holds `first`.
pub(super) fn beginning(first: &[u8]) -> &[u8] {
    match first {
        [CUT, rest @ ..] => rest.get(HEADER - 1..).unwrap_or_default(),
        whole => whole,
    }
}

/// The record whose key holds `first`; `None` when these pieces are not of one record.
pub(super) fn join(first: Value, others: impl Iterator<Item = Value>) -> Option<Value> {
    if first.first() != Some(&CUT) {
        return Some(first);
    }
    let checksum = u32::from_be_bytes(first.get(3..HEADER)?.try_into().ok()?);
    let mut record = first[HEADER..].to_vec();
    others.for_each(|piece| record.extend_from_slice(&piece));
    (crc32fast::hash(&record) == checksum).then_some(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_any_length_comes_back_whole() {
        for length in [
            0,
            1,
            MOST - 1,
            MOST,
            MOST + 1,
            2 * MOST - HEADER,
            2 * MOST,
            70_000,
        ] {
            let record: Value = (0..length).map(|at| (at % 251) as u8).collect();
            let mut pieces = cut(record.clone());
            assert!(pieces.iter().all(|piece| piece.len() <= MOST));
            assert_eq!(usize::from(count(Some(&pieces[0]))), pieces.len());
            let first = pieces.remove(0);
            assert_eq!(join(first, pieces.into_iter()), Some(record));
        }
    }

    #[test]
    fn pieces_of_two_records_do_not_join() {
        let (old, new) = (cut(vec![1; 10_000]), cut(vec![2; 10_000]));
        assert_eq!(join(old[0].clone(), new[1..].iter().cloned()), None);
        assert_eq!(join(old[0].clone(), std::iter::empty()), None);
    }
}
