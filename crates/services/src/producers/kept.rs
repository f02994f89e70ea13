//! The table of producers as it is kept beside the files of an engine.
//!
//! ```text
//! format 1 (2), then each producer:
//!   id 16, newest, unreadable 1 (0 or 1), number of chunks, per chunk:
//!   distance from the chunk before, newest less that of the chunk before, bytes, results 1
//! ```
//! Where no size is given a number is a varint; the difference of times is zigzag. In format 1,
//! which is only read, the newest of a chunk is a time. Chunks whose rows changed since, and all
//! rows of producers with one that cannot be read, are read. Invariant: what cannot be read is no
//! table.

use std::collections::BTreeSet;

use rekindle_database::Changes;

use crate::bytes::{Reader, put_varint};
use crate::keys::Keyspaces;
use crate::producers::table::Held;

/// The format; persisted.
const FORMAT: u8 = 2;
/// The one before; persisted.
const OLDER: u8 = 1;

/// One producer as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remembered {
    pub(crate) id: [u8; 16],
    pub(crate) newest_ms: u64,
    /// It has a row that cannot be read.
    pub(crate) unreadable: bool,
    pub(crate) chunks: Vec<Held>,
}

/// What an earlier run knew, and which rows are to be looked at again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) producers: Vec<Remembered>,
    /// Keys whose rows changed.
    pub(crate) changed: BTreeSet<Box<[u8]>>,
}

impl Kept {
    /// Reads it; `None` when it says nothing that can be used.
    pub(crate) fn of(bytes: &[u8], changes: &Changes, keyspaces: &Keyspaces) -> Option<Self> {
        let Changes { keys, ranges } = changes;
        if ranges.contains_key(&keyspaces.producers) {
            return None;
        }
        let changed = keys.get(&keyspaces.producers).into_iter().flatten().cloned().collect();
        Some(Self { producers: read(bytes)?, changed })
    }
}

/// Appends producers, the first of which begins the table.
pub(crate) fn begin(bytes: &mut Vec<u8>) {
    bytes.push(FORMAT);
}

/// Appends a producer.
pub(crate) fn put<'a>(
    bytes: &mut Vec<u8>,
    id: &[u8; 16],
    (newest_ms, unreadable): (u64, bool),
    chunks: impl ExactSizeIterator<Item = &'a Held>,
) {
    bytes.extend_from_slice(id);
    put_varint(bytes, newest_ms);
    bytes.push(u8::from(unreadable));
    put_varint(bytes, chunks.len() as u64);
    let (mut before, mut newest) = (0, 0);
    for held in chunks {
        put_varint(bytes, held.chunk - before);
        // They are of about the same time.
        put_varint(bytes, zigzag(held.newest_ms.wrapping_sub(newest)));
        put_varint(bytes, held.bytes.into());
        bytes.push(held.count);
        (before, newest) = (held.chunk, held.newest_ms);
    }
}

/// Small differences as small numbers: 0, -1, 1, -2, 2, …
fn zigzag(difference: u64) -> u64 {
    let sign = if difference >> 63 == 0 { 0 } else { u64::MAX };
    (difference << 1) ^ sign
}

fn unzigzag(number: u64) -> u64 {
    let sign = if number & 1 == 0 { 0 } else { u64::MAX };
    (number >> 1) ^ sign
}

fn read(bytes: &[u8]) -> Option<Vec<Remembered>> {
    let mut reader = Reader::new(bytes);
    let is_absolute = match reader.u8()? {
        OLDER => true,
        FORMAT => false,
        _ => return None,
    };
    let mut producers: Vec<Remembered> = Vec::new();
    while reader.end().is_none() {
        let id = reader.array()?;
        let newest_ms = reader.varint()?;
        let unreadable = reader.u8()? != 0;
        let (mut chunks, mut before, mut newest) = (Vec::new(), 0_u64, 0_u64);
        for nth in 0..reader.varint()? {
            let apart = reader.varint()?;
            let chunk = before.checked_add(apart).filter(|_| nth == 0 || apart > 0)?;
            let newest_ms = match is_absolute {
                true => reader.varint()?,
                false => newest.wrapping_add(unzigzag(reader.varint()?)),
            };
            let bytes = u32::try_from(reader.varint()?).ok()?;
            chunks.push(Held { chunk, newest_ms, bytes, count: reader.u8()? });
            (before, newest) = (chunk, newest_ms);
        }
        if producers.last().is_some_and(|last| last.id >= id) {
            return None;
        }
        producers.push(Remembered { id, newest_ms, unreadable, chunks });
    }
    Some(producers)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn tables_come_back_and_hostile_bytes_do_not_panic(
            chunks in proptest::collection::btree_map(any::<u64>(), any::<(u64, u32, u8)>(), 0..9),
            newest_ms: u64,
            unreadable: bool,
            noise in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let held = |(chunk, (newest_ms, bytes, count)): (&u64, &(u64, u32, u8))| Held {
                chunk: *chunk,
                newest_ms: *newest_ms,
                bytes: *bytes,
                count: *count,
            };
            let chunks: Vec<Held> = chunks.iter().map(held).collect();
            let mut bytes = Vec::new();
            begin(&mut bytes);
            put(&mut bytes, &[1; 16], (0, false), [].iter());
            put(&mut bytes, &[2; 16], (newest_ms, unreadable), chunks.iter());
            let producers = read(&bytes).unwrap();
            let expected = Remembered { id: [2; 16], newest_ms, unreadable, chunks };
            prop_assert_eq!(producers.last(), Some(&expected));
            for len in 0..bytes.len() {
                let _ = read(bytes.get(..len).unwrap());
            }
            let _ = read(&noise);
            let _ = read(&[&[FORMAT], &noise[..]].concat());
        }
    }

    #[test]
    fn both_formats_are_read() {
        let held = |chunk, newest_ms| Held { chunk, newest_ms, bytes: 90, count: 8 };
        let chunks = vec![held(3, 70), held(4, 71), held(9, 60)];
        let expected = Remembered { id: [2; 16], newest_ms: 71, unreadable: false, chunks };
        let mut bytes = Vec::new();
        begin(&mut bytes);
        put(&mut bytes, &[2; 16], (71, false), expected.chunks.iter());
        let of = |format: u8, newest: [&[u8]; 3]| {
            let mut bytes = [&[format], &[2; 16][..], &[71, 0, 3]].concat();
            for (distance, newest) in [3, 1, 5].into_iter().zip(newest) {
                bytes.push(distance);
                bytes.extend_from_slice(newest);
                bytes.extend_from_slice(&[90, 8]);
            }
            bytes
        };
        assert_eq!(bytes, of(2, [&[0x8C, 0x01], &[2], &[21]]));
        assert_eq!(read(&bytes), Some(vec![expected]));
        assert_eq!(read(&of(1, [&[70], &[71], &[60]])), read(&bytes));
    }
}
