//! The table of producers as it is kept beside the files of an engine.
//!
//! ```text
//! format 1 (3), then each producer:
//!   id 16, newest, unreadable 1 (0 or 1), number of chunks, per chunk one of
//!   1 bit 1, 2 bits newest less that of the chunk before, 5 bits bytes less those of it (zigzag):
//!     the next chunk, with 8 results
//!   0 (1), distance from the chunk before, newest less that of the chunk before, bytes, results 1
//! ```
//! Where no size is given a number is a varint; the difference of times is zigzag. The table is
//! written whole with each anchor, and most chunks of a busy producer take the one byte. Formats 1
//! and 2 are only read: they have the second form without its 0, and in format 1 the newest of a
//! chunk is a time. Chunks whose rows changed since, and all rows of producers with one that cannot
//! be read, are read. Invariant: what cannot be read is no table.

use std::collections::BTreeSet;

use rekindle_database::Changes;

use crate::bytes::{Reader, put_varint};
use crate::keys::Keyspaces;
use crate::producers::table::Held;

/// The format; persisted.
const FORMAT: u8 = 3;
/// Those before; persisted.
const TIMES: u8 = 1;
const LONG: u8 = 2;

/// A chunk of one byte.
const SHORT: u8 = 0x80;
/// So many results are in it.
const SHORT_RESULTS: u8 = 8;
/// The most that its difference of times and that of bytes may be.
const SHORT_LATER_MAX: u64 = 3;
const SHORT_BYTES_MAX: u64 = 31;

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
    let mut before = Held::default();
    for held in chunks {
        if let Some(short) = short(&before, held) {
            bytes.push(short);
        } else {
            bytes.push(0);
            put_varint(bytes, held.chunk - before.chunk);
            // They are of about the same time.
            put_varint(bytes, zigzag(held.newest_ms.wrapping_sub(before.newest_ms)));
            put_varint(bytes, held.bytes.into());
            bytes.push(held.count);
        }
        before = *held;
    }
}

/// The one byte of a chunk, where it has one.
fn short(before: &Held, held: &Held) -> Option<u8> {
    let later = held.newest_ms.checked_sub(before.newest_ms)?;
    let more = zigzag(u64::from(held.bytes).wrapping_sub(before.bytes.into()));
    let is_next = before.chunk.checked_add(1) == Some(held.chunk) && held.count == SHORT_RESULTS;
    let fits = later <= SHORT_LATER_MAX && more <= SHORT_BYTES_MAX;
    let (later, more) = (u8::try_from(later).ok()?, u8::try_from(more).ok()?);
    (is_next && fits).then_some(SHORT | later << 5 | more)
}

/// The chunk behind another one that this byte says.
fn long(before: &Held, short: u8) -> Option<Held> {
    let more = unzigzag(u64::from(short & 0x1f));
    Some(Held {
        chunk: before.chunk.checked_add(1)?,
        newest_ms: before.newest_ms.checked_add(u64::from(short >> 5 & 3))?,
        bytes: u32::try_from(u64::from(before.bytes).wrapping_add(more)).ok()?,
        count: SHORT_RESULTS,
    })
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

fn read_long(reader: &mut Reader<'_>, format: u8, before: &Held, is_first: bool) -> Option<Held> {
    let apart = reader.varint()?;
    let chunk = before.chunk.checked_add(apart).filter(|_| is_first || apart > 0)?;
    let newest_ms = match format {
        TIMES => reader.varint()?,
        _ => before.newest_ms.wrapping_add(unzigzag(reader.varint()?)),
    };
    let bytes = u32::try_from(reader.varint()?).ok()?;
    Some(Held { chunk, newest_ms, bytes, count: reader.u8()? })
}

fn read(bytes: &[u8]) -> Option<Vec<Remembered>> {
    let mut reader = Reader::new(bytes);
    let format = reader.u8()?;
    if ![TIMES, LONG, FORMAT].contains(&format) {
        return None;
    }
    let mut producers: Vec<Remembered> = Vec::new();
    while reader.end().is_none() {
        let id = reader.array()?;
        let newest_ms = reader.varint()?;
        let unreadable = reader.u8()? != 0;
        let (mut chunks, mut before) = (Vec::new(), Held::default());
        for nth in 0..reader.varint()? {
            let kind = if format == FORMAT { reader.u8()? } else { 0 };
            before = match kind {
                0 => read_long(&mut reader, format, &before, nth == 0)?,
                short if short & SHORT != 0 => long(&before, short)?,
                _ => return None,
            };
            chunks.push(before);
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
    fn all_formats_are_read() {
        let held = |chunk, newest_ms| Held { chunk, newest_ms, bytes: 90, count: 8 };
        let chunks = vec![held(3, 70), held(5, 71), held(9, 60)];
        let expected = Remembered { id: [2; 16], newest_ms: 71, unreadable: false, chunks };
        let mut bytes = Vec::new();
        begin(&mut bytes);
        put(&mut bytes, &[2; 16], (71, false), expected.chunks.iter());
        let of = |format: u8, newest: [&[u8]; 3]| {
            let mut bytes = [&[format], &[2; 16][..], &[71, 0, 3]].concat();
            for (distance, newest) in [3, 2, 4].into_iter().zip(newest) {
                bytes.extend_from_slice(if format == FORMAT { &[0][..] } else { &[] });
                bytes.push(distance);
                bytes.extend_from_slice(newest);
                bytes.extend_from_slice(&[90, 8]);
            }
            bytes
        };
        let differences: [&[u8]; 3] = [&[0x8C, 0x01], &[2], &[21]];
        assert_eq!(bytes, of(3, differences));
        assert_eq!(read(&bytes), Some(vec![expected]));
        assert_eq!(read(&of(2, differences)), read(&bytes));
        assert_eq!(read(&of(1, [&[70], &[71], &[60]])), read(&bytes));
        assert_eq!(read(&of(4, differences)), None);
    }

    /// A busy producer fills its chunks one by one: a byte each.
    #[test]
    fn chunks_in_a_row_take_a_byte() {
        let held = |chunk, newest_ms, bytes| Held { chunk, newest_ms, bytes, count: 8 };
        let chunks = vec![held(7, 70, 90), held(8, 70, 90), held(9, 73, 75), held(10, 74, 90)];
        let mut bytes = Vec::new();
        begin(&mut bytes);
        put(&mut bytes, &[2; 16], (74, false), chunks.iter());
        let first = [0, 7, 0x8C, 0x01, 90, 8];
        let others = [0x80, 0x80 | 3 << 5 | 29, 0x80 | 1 << 5 | 30];
        assert_eq!(bytes, [&[3], &[2; 16][..], &[74, 0, 4], &first, &others].concat());
        let expected = Remembered { id: [2; 16], newest_ms: 74, unreadable: false, chunks };
        assert_eq!(read(&bytes), Some(vec![expected.clone()]));
        for far in [held(12, 74, 90), held(11, 78, 90), held(11, 74, 106), held(11, 73, 90)] {
            let mut longer = expected.clone();
            longer.chunks.push(far);
            let mut bytes = Vec::new();
            begin(&mut bytes);
            put(&mut bytes, &[2; 16], (74, false), longer.chunks.iter());
            assert_eq!(read(&bytes), Some(vec![longer]));
        }
        // Bytes below zero, a byte that is no form.
        let hostile = |last| [&[3], &[2; 16][..], &[74, 0, 1, last]].concat();
        assert_eq!(read(&hostile(0x81)), None);
        assert_eq!(read(&hostile(0x01)), None);
    }
}
