//! A chunk of a producer's results as it is stored, the producer's floor, and the era.
//!
//! ```text
//! chunk: format 1, newest_ms 8, count 1, per result:
//!        offset 1, version 8, fingerprint 4, answer (length 2, bytes)
//! floor: format 1, first kept sequence 8, newest_ms 8
//! era:   format 1, newest_ms 8
//! ```
//! `version` 0 means: the version of this row. A result keeps the version of the transaction that
//! had the effect when the chunk is written again for the next result.

use crate::bytes::{Malformed, Reader};
use crate::keys::producer::RESULTS;

/// The format of both values; persisted.
const FORMAT: u8 = 1;

/// One result.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// A chunk of results.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// Log time of the newest result.
    pub(crate) newest_ms: u64,
    /// The results, in the order in which they came.
    pub(crate) entries: Vec<Entry>,
}

impl Chunk {
    /// The stored bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let answers: usize = self.entries.iter().map(|entry| 15 + entry.answer.len()).sum();
        let mut bytes = Vec::with_capacity(10 + answers);
        bytes.push(FORMAT);
        bytes.extend_from_slice(&self.newest_ms.to_le_bytes());
        bytes.push(u8::try_from(self.entries.len()).expect("a chunk has fewer than 256 results"));
        for entry in &self.entries {
            bytes.push(entry.offset);
            bytes.extend_from_slice(&entry.version.to_le_bytes());
            bytes.extend_from_slice(&entry.fingerprint.to_le_bytes());
            let len = u16::try_from(entry.answer.len()).expect("answers are a few dozen bytes");
            bytes.extend_from_slice(&len.to_le_bytes());
            bytes.extend_from_slice(&entry.answer);
        }
        bytes
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

    fn read(bytes: &[u8], row_version: u64) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let format = reader.u8()?;
        let newest_ms = reader.u64()?;
        let count = reader.u8()?;
        let mut entries = Vec::with_capacity(usize::from(count).min(8) + 1);
        for _ in 0..count {
            let offset = reader.u8()?;
            let version = reader.u64()?;
            let version = if version == 0 { row_version } else { version };
            let fingerprint = reader.u32()?;
            let len = reader.u16()?;
            let answer = reader.take(usize::from(len))?.to_vec();
            entries.push(Entry { offset, version, fingerprint, answer });
        }
        reader.end()?;
        (format == FORMAT).then_some(Self { newest_ms, entries })
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

/// The stored bytes of the era: the newest moment that a forgotten producer may have spoken.
pub(crate) fn encode_era(newest_ms: u64) -> Vec<u8> {
    let mut bytes = vec![FORMAT];
    bytes.extend_from_slice(&newest_ms.to_le_bytes());
    bytes
}

/// The era in stored bytes.
pub(crate) fn parse_era(bytes: &[u8]) -> Result<u64, Malformed> {
    let read = || {
        let mut reader = Reader::new(bytes);
        let format = reader.u8()?;
        let newest_ms = reader.u64()?;
        reader.end()?;
        (format == FORMAT).then_some(newest_ms)
    };
    read().ok_or_else(|| Malformed::new("the era of producers", bytes))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn results_round_trip_and_learn_their_version_from_the_row() {
        let entry = |offset, version| Entry { offset, version, fingerprint: 7, answer: vec![1, 2] };
        let mut chunk = Chunk { newest_ms: 5, entries: vec![entry(0, 40), entry(3, 0)] };
        let bytes = chunk.encode();
        assert_eq!(Chunk::parse_head(&bytes), Some((5, 2)));
        let parsed = Chunk::parse(&bytes, 44).unwrap();
        chunk.entries.last_mut().unwrap().version = 44;
        assert_eq!(parsed, chunk);
        for len in 0..bytes.len() {
            Chunk::parse(bytes.get(..len).unwrap(), 1).unwrap_err();
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
