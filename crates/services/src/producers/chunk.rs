//! A chunk of a producer's results as it is stored, the producer's floor, and the era.
//!
//! ```text
//! chunk: format 1 (2), newest_ms 8, count 1, per result:
//!        offset 1, [version varint,] fingerprint 4, answer (lengths 1, bytes)
//!        format 1: offset 1, version 8, fingerprint 4, answer (length 2, bytes)
//! floor: format 1, first kept sequence 8, newest_ms 8
//! era:   format 1, made_ms 8
//! ```
//! The highest bit of an offset says that a version follows. Without one (in format 1: where it is
//! 0) it is the version of this row. A result keeps the version of the transaction that had the
//! effect when the chunk is written again for the next result. Format 1 is only read.
//! An answer begins as the one before it in the chunk: the high half of its lengths says for how
//! many bytes, the low half how many bytes follow; where one of these is above 14 the byte is 0xFF,
//! and both follow as varints.

use crate::bytes::{Malformed, Reader, put_varint};
use crate::keys::producer::RESULTS;

/// The format of floors, of the era, and of older chunks; persisted.
const FORMAT: u8 = 1;
/// The format of chunks; persisted.
const SHORT: u8 = 2;
/// In the place of lengths: both follow.
const LONG: u8 = 0xFF;
/// The longest of lengths that go together into one byte.
const SHORT_MAX: u8 = 14;
/// In an offset: a version follows.
const VERSION: u8 = 0x80;

/// A set of places is one byte.
const _: () = assert!(RESULTS == 8);

/// Where `newest_ms` and `count` stand.
const NEWEST_AT: usize = 1;
const COUNT_AT: usize = 9;
/// Bytes before the first result.
const HEAD_BYTES: usize = 10;
/// Bytes that a result with its answer usually takes.
const ENTRY_BYTES: usize = 16;

/// One result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The sequence's place in the chunk.
    pub(crate) offset: u8,
    /// The transaction that had the effect; 0: the one that writes this.
    pub(crate) version: u64,
    /// What was asked for.
    pub(crate) fingerprint: u32,
    /// What was answered.
    pub(crate) answer: Vec<u8>,
}

impl Entry {
    /// Becomes the next one.
    fn read(&mut self, reader: &mut Reader<'_>, format: u8) -> Option<()> {
        let (shared, rest);
        if format == FORMAT {
            (self.offset, self.version) = (reader.u8()?, reader.u64()?);
            self.fingerprint = reader.u32()?;
            (shared, rest) = (0, usize::from(reader.u16()?));
        } else {
            let offset = reader.u8()?;
            self.version = if offset & VERSION == 0 { 0 } else { reader.varint()? };
            self.offset = offset & !VERSION;
            self.fingerprint = reader.u32()?;
            (shared, rest) = match reader.u8()? {
                LONG => (
                    usize::try_from(reader.varint()?).ok()?,
                    usize::try_from(reader.varint()?).ok()?,
                ),
                lengths => (usize::from(lengths >> 4), usize::from(lengths & 0xF)),
            };
        }
        let rest = reader.take(rest)?;
        self.answer.get(..shared)?;
        self.answer.truncate(shared);
        self.answer.extend_from_slice(rest);
        Some(())
    }

    fn put(&self, bytes: &mut Vec<u8>, before: &[u8]) {
        debug_assert!(self.offset < VERSION, "a chunk has few places");
        match self.version {
            0 => bytes.push(self.offset),
            version => {
                bytes.push(self.offset | VERSION);
                put_varint(bytes, version);
            }
        }
        bytes.extend_from_slice(&self.fingerprint.to_le_bytes());
        let shared = self.answer.iter().zip(before).take_while(|(one, other)| one == other).count();
        let rest = self.answer.get(shared..).unwrap_or_default();
        match (u8::try_from(shared), u8::try_from(rest.len())) {
            (Ok(shared @ ..=SHORT_MAX), Ok(rest @ ..=SHORT_MAX)) => bytes.push(shared << 4 | rest),
            _ => {
                bytes.push(LONG);
                put_varint(bytes, shared as u64);
                put_varint(bytes, rest.len() as u64);
            }
        }
        bytes.extend_from_slice(rest);
    }
}

/// Shows the results in stored bytes one after the other; `None` where these are not whole.
fn each(stored: &[u8], mut see: impl FnMut(&mut Entry)) -> Option<()> {
    let format = stored.first().copied().filter(|format| [FORMAT, SHORT].contains(format))?;
    let (_, count) = Chunk::parse_head(stored)?;
    let mut reader = Reader::new(stored.get(HEAD_BYTES..)?);
    let mut entry = Entry::default();
    let mut places = 0_u8;
    for _ in 0..count {
        entry.read(&mut reader, format)?;
        // Each place has one result, so there are never more than places.
        let place = 1_u8.checked_shl(u32::from(entry.offset)).filter(|it| places & it == 0)?;
        places |= place;
        see(&mut entry);
    }
    reader.end()
}

/// A chunk of results: its stored bytes, whole at any time, so that a result is added without
/// taking the others apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    bytes: Vec<u8>,
}

impl Default for Chunk {
    fn default() -> Self {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + 3 * ENTRY_BYTES);
        bytes.push(SHORT);
        bytes.resize(HEAD_BYTES, 0);
        Self { bytes }
    }
}

impl Chunk {
    /// The stored bytes.
    pub(crate) fn stored(&self) -> &[u8] {
        &self.bytes
    }

    /// The chunk in the bytes of a row of that version.
    pub(crate) fn parse(bytes: &[u8], version: u64) -> Result<Self, Malformed> {
        Self::read(bytes, version).ok_or_else(|| Malformed::new("a chunk of results", bytes))
    }

    /// Only when its newest result came and how many there are, for the table in memory.
    pub(crate) fn parse_head(bytes: &[u8]) -> Option<(u64, u8)> {
        let mut reader = Reader::new(bytes);
        let _format = reader.u8()?;
        Some((reader.u64()?, reader.u8()?))
    }

    /// Whether these are the bytes of a chunk.
    pub(crate) fn is_whole(bytes: &[u8]) -> bool {
        each(bytes, |_| ()).is_some()
    }

    /// Log time of the newest result.
    pub(crate) fn newest_ms(&self) -> u64 {
        Self::parse_head(&self.bytes).map_or(0, |(newest_ms, _)| newest_ms)
    }

    /// The result in this place.
    pub(crate) fn find(&self, offset: u8) -> Option<Entry> {
        let mut found = None;
        each(&self.bytes, |entry| {
            if entry.offset == offset {
                found = Some(entry.clone());
            }
        })?;
        found
    }

    /// Adds a result at this log time; the transaction that has the effect is the one that writes
    /// the chunk.
    pub(crate) fn push(&mut self, now_ms: u64, offset: u8, fingerprint: u32, answer: &[u8]) {
        let mut before = Vec::new();
        let whole = each(&self.bytes, |entry| {
            assert_ne!(entry.offset, offset, "a place has one result");
            before.clone_from(&entry.answer);
        });
        whole.expect("it is whole");
        let (newest_ms, count) = Self::parse_head(&self.bytes).expect("it has a head");
        let newest_ms = newest_ms.max(now_ms).to_le_bytes();
        if let Some(newest) = self.bytes.get_mut(NEWEST_AT..COUNT_AT) {
            newest.copy_from_slice(&newest_ms);
        }
        if let Some(counted) = self.bytes.get_mut(COUNT_AT) {
            *counted = count.checked_add(1).expect("a chunk has fewer than 256 results");
        }
        let answer = answer.to_vec();
        Entry { offset, version: 0, fingerprint, answer }.put(&mut self.bytes, &before);
    }

    /// Checks the stored bytes and fills in the version of the row where a result has none.
    fn read(stored: &[u8], row_version: u64) -> Option<Self> {
        let mut bytes = Vec::with_capacity(stored.len() + 4 * ENTRY_BYTES);
        bytes.extend_from_slice(stored.get(..HEAD_BYTES)?);
        *bytes.first_mut()? = SHORT;
        let mut before = Vec::new();
        each(stored, |entry| {
            if entry.version == 0 {
                entry.version = row_version;
            }
            entry.put(&mut bytes, &before);
            before.clone_from(&entry.answer);
        })?;
        Some(Self { bytes })
    }
}

/// What is left of results that were trimmed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Floor {
    /// The first sequence whose result is kept.
    pub(crate) first_kept: u64,
    /// Log time of the newest result that was trimmed: how long the producer is remembered.
    pub(crate) newest_ms: u64,
}

impl Floor {
    /// The floor once this chunk is gone, too; it never goes back.
    pub(crate) fn above(self, chunk: u64, newest_ms: u64) -> Self {
        let first_kept = chunk.saturating_add(1).saturating_mul(RESULTS);
        Self {
            first_kept: self.first_kept.max(first_kept),
            newest_ms: self.newest_ms.max(newest_ms),
        }
    }

    /// The stored bytes.
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut bytes = vec![FORMAT];
        bytes.extend_from_slice(&self.first_kept.to_le_bytes());
        bytes.extend_from_slice(&self.newest_ms.to_le_bytes());
        bytes
    }

    /// The floor in stored bytes.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let read = || {
            let mut reader = Reader::new(bytes);
            let format = reader.u8()?;
            let floor = Self { first_kept: reader.u64()?, newest_ms: reader.u64()? };
            reader.end()?;
            (format == FORMAT).then_some(floor)
        };
        read().ok_or_else(|| Malformed::new("a producer's floor", bytes))
    }
}

/// The stored bytes of the era: the newest time in the id of a forgotten producer.
pub(crate) fn encode_era(made_ms: u64) -> Vec<u8> {
    let mut bytes = vec![FORMAT];
    bytes.extend_from_slice(&made_ms.to_le_bytes());
    bytes
}

/// The era in stored bytes.
pub(crate) fn parse_era(bytes: &[u8]) -> Result<u64, Malformed> {
    let read = || {
        let mut reader = Reader::new(bytes);
        let format = reader.u8()?;
        let made_ms = reader.u64()?;
        reader.end()?;
        (format == FORMAT).then_some(made_ms)
    };
    read().ok_or_else(|| Malformed::new("the era of producers", bytes))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn results_round_trip_and_learn_their_version_from_the_row() {
        let mut chunk = Chunk::default();
        chunk.push(5, 0, 7, &[1, 2]);
        chunk = Chunk::parse(chunk.stored(), 40).unwrap();
        chunk.push(4, 3, 8, &[]);
        let bytes = chunk.stored().to_vec();
        assert_eq!(Chunk::parse_head(&bytes), Some((5, 2)));
        let parsed = Chunk::parse(&bytes, 44).unwrap();
        let first = Entry { offset: 0, version: 40, fingerprint: 7, answer: vec![1, 2] };
        let second = Entry { offset: 3, version: 44, fingerprint: 8, answer: vec![] };
        assert_eq!((parsed.find(0), parsed.find(3)), (Some(first), Some(second)));
        assert_eq!(parsed.find(1), None);
        for len in 0..bytes.len() {
            Chunk::parse(bytes.get(..len).unwrap(), 1).unwrap_err();
        }
        let golden = [1, 5, 0, 0, 0, 0, 0, 0, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 1, 0, 6];
        let frozen = Chunk::parse(&golden, 1).unwrap();
        let entry = Entry { offset: 0, version: 9, fingerprint: 7, answer: vec![6] };
        assert_eq!(frozen.find(0), Some(entry));
        // It is format 2 once it is written again, which is frozen, too.
        let golden = [2, 5, 0, 0, 0, 0, 0, 0, 0, 1, 0x80, 9, 7, 0, 0, 0, 0x01, 6];
        assert_eq!(frozen.stored(), golden);
        assert_eq!(Chunk::parse(&golden, 1).unwrap(), frozen);
        let fresh = [2, 5, 0, 0, 0, 0, 0, 0, 0, 1, 0, 7, 0, 0, 0, 1, 6];
        let fresh = Chunk::parse(&fresh, 9).unwrap();
        assert_eq!(fresh, frozen, "the version of its row");
        // What is shared with the answer before is not written again.
        let mut chunk = fresh;
        chunk.push(5, 2, 8, &[6, 7]);
        chunk.push(5, 1, 9, &[6, 7]);
        let behind = [2, 8, 0, 0, 0, 0x11, 7, 1, 9, 0, 0, 0, 0x20];
        assert_eq!(chunk.stored().get(18..), Some(&behind[..]));
        let long = vec![3; 300];
        chunk.push(5, 5, 1, &long);
        chunk.push(5, 6, 1, &long);
        let chunk = Chunk::parse(chunk.stored(), 11).unwrap();
        for offset in [5, 6] {
            assert_eq!(chunk.find(offset).unwrap().answer, long);
        }
        assert_eq!(
            (chunk.find(1).unwrap().answer, chunk.find(2).unwrap().version),
            (vec![6, 7], 11)
        );
    }

    #[test]
    fn hostile_chunks_are_refused() {
        let of = |format: u8, entries: &[&[u8]]| {
            let count = u8::try_from(entries.len()).unwrap();
            let head = [&[format, 5, 0, 0, 0, 0, 0, 0, 0, count], &entries.concat()[..]].concat();
            Chunk::parse(&head, 1)
        };
        of(2, &[&[7, 7, 0, 0, 0, 0], &[0, 7, 0, 0, 0, 0]]).unwrap();
        let before = of(2, &[&[0, 7, 0, 0, 0, 0x10]]);
        let place = of(2, &[&[8, 7, 0, 0, 0, 0]]);
        let twice = of(2, &[&[3, 7, 0, 0, 0, 0], &[3, 7, 0, 0, 0, 0]]);
        let older = of(1, &[&[0x83, 9, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0]]);
        let long = of(2, &[&[0, 7, 0, 0, 0, 0xFF, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F]]);
        for wrong in [before, place, twice, older, long] {
            wrong.unwrap_err();
        }
        let floor = Floor { first_kept: 3, newest_ms: 9 }.above(0, 7);
        assert_eq!(floor, Floor { first_kept: 8, newest_ms: 9 });
        assert_eq!(Floor::parse(&floor.encode()).unwrap(), floor);
        assert_eq!(parse_era(&encode_era(9)).unwrap(), 9);
        for len in 0..9 {
            Floor::parse(floor.encode().get(..len).unwrap()).unwrap_err();
            parse_era(encode_era(9).get(..len).unwrap()).unwrap_err();
        }
    }
}
