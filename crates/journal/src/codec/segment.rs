//! The segment header, 4,096 bytes at the start of each file of the journal.
//!
//! ```text
//!    0 magic "RKSEGMNT"       8 format 2   10 min_reader 2   12 required features 4
//!   16 store_id 16           32 node_id 8  40 shard 4        44 header_len 4 (4096)
//!   48 seq 8                 56 base_lsn 8 64 file_size 8    72 nonce 8
//!   80 first_position 8      88 prev_seq 8 96 prev_end_lsn 8 104 prev_chain 4
//!  108 open_reason 1, zero 3 112 carried_len 4, zero 4       120 incarnation 8
//!  128 wall_ms 8            136 zeros                       4092 crc 4 (CRC-32C of 0..4092)
//! ```
//!
//! The byte at file offset `o` has the address `base_lsn + o`; `base_lsn` is the previous segment's
//! `base_lsn + file_size`, so no address is ever used twice. `prev_end_lsn` declares where the
//! valid part of the previous segment ends: what lies behind it there is dead. `carried_len` bytes
//! from offset 4,096 repeat frames that lay unproven behind that end, under this nonce and new
//! addresses.
//! `first_position` is the position of the first record in this file, carried ones included.

use rekindle_recovery::numbers::STORED_MAX;

use super::bytes::{all_zero, id_at, put, u8_at, u16_at, u32_at, u64_at};
use super::{Bad, FORMAT, KNOWN_FEATURES, MIN_READER, check_run};

/// Bytes of a segment header; the first frame follows.
pub const HEADER_LEN: u64 = 4096;
/// The same as an array length.
const LEN: usize = 4096;
const CRC_AT: usize = LEN - 4;
const MAGIC: &[u8; 8] = b"RKSEGMNT";

/// Why a segment was opened; persisted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum OpenReason {
    /// The one before was full.
    Rotate = 1,
    /// A start.
    Start = 2,
    /// A start that cut a torn tail.
    Torn = 3,
    /// After a failed write or sync.
    Poison = 4,
    /// An operator's repair.
    Repair = 5,
}

impl OpenReason {
    fn from_u8(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Rotate,
            2 => Self::Start,
            3 => Self::Torn,
            4 => Self::Poison,
            5 => Self::Repair,
            _ => return None,
        })
    }
}

/// A segment's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The store it belongs to.
    pub store_id: [u8; 16],
    /// The node that wrote it.
    pub node: u64,
    /// The shard it belongs to.
    pub shard: u32,
    /// Its number; the file's name; never reused.
    pub seq: u64,
    /// The address of its first byte.
    pub base_lsn: u64,
    /// The length that the file was given before its first frame.
    pub file_size: u64,
    /// Random; seeds the checksum of every frame header.
    pub nonce: u64,
    /// Position of its first record, carried ones included.
    pub first_position: u64,
    /// The segment before (0: none).
    pub prev_seq: u64,
    /// Where the valid part of that segment ends.
    pub prev_end_lsn: u64,
    /// Header checksum of the last frame before that end (0: none).
    pub prev_chain: u32,
    /// Why it was opened.
    pub open_reason: OpenReason,
    /// Bytes of carried frames.
    pub carried_len: u32,
    /// The run that opened it.
    pub incarnation: u64,
    /// When, milliseconds since the Unix epoch.
    pub wall_ms: u64,
}

/// What a block of 4,096 bytes is, read as a segment header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SegmentHeaderRead {
    /// A header.
    Valid(SegmentHeader),
    /// Its checksum is right, but a newer version wrote it.
    Newer(Bad),
    /// Damaged.
    Bad(Bad),
}

impl SegmentHeader {
    /// The address behind the file.
    #[must_use]
    pub fn end_lsn(&self) -> u64 {
        self.base_lsn + self.file_size
    }

    /// The address of the first frame.
    #[must_use]
    pub fn first_frame_lsn(&self) -> u64 {
        self.base_lsn + HEADER_LEN
    }

    /// The address behind the carried frames.
    #[must_use]
    pub fn carried_end_lsn(&self) -> u64 {
        self.first_frame_lsn() + u64::from(self.carried_len)
    }

    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        assert!(self.seq > self.prev_seq && self.first_position > 0, "{self:?}");
        assert!(self.file_size >= HEADER_LEN + u64::from(self.carried_len), "{self:?}");
        debug_assert_eq!(self.base_lsn % super::ALIGN, 0);
        debug_assert!(self.prev_end_lsn <= self.base_lsn, "the previous segment lies below");
        let mut out = vec![0; LEN];
        put(&mut out, 0, MAGIC);
        put(&mut out, 8, &FORMAT.to_le_bytes());
        put(&mut out, 10, &MIN_READER.to_le_bytes());
        put(&mut out, 16, &self.store_id);
        put(&mut out, 32, &self.node.to_le_bytes());
        put(&mut out, 40, &self.shard.to_le_bytes());
        put(&mut out, 44, &4096_u32.to_le_bytes());
        put(&mut out, 48, &self.seq.to_le_bytes());
        put(&mut out, 56, &self.base_lsn.to_le_bytes());
        put(&mut out, 64, &self.file_size.to_le_bytes());
        put(&mut out, 72, &self.nonce.to_le_bytes());
        put(&mut out, 80, &self.first_position.to_le_bytes());
        put(&mut out, 88, &self.prev_seq.to_le_bytes());
        put(&mut out, 96, &self.prev_end_lsn.to_le_bytes());
        put(&mut out, 104, &self.prev_chain.to_le_bytes());
        put(&mut out, 108, &[self.open_reason as u8]);
        put(&mut out, 112, &self.carried_len.to_le_bytes());
        put(&mut out, 120, &self.incarnation.to_le_bytes());
        put(&mut out, 128, &self.wall_ms.to_le_bytes());
        let crc = crc32c::crc32c(out.get(..CRC_AT).unwrap_or_default());
        put(&mut out, CRC_AT, &crc.to_le_bytes());
        out
    }

    /// Reads 4,096 bytes.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> SegmentHeaderRead {
        if bytes.len() < LEN {
            let found = format!("{} bytes", bytes.len());
            return SegmentHeaderRead::Bad(Bad::new("a segment header of 4096 bytes", found));
        }
        if bytes.get(..8) != Some(MAGIC) {
            return SegmentHeaderRead::Bad(Bad::new("magic RKSEGMNT", "other bytes"));
        }
        let crc = crc32c::crc32c(bytes.get(..CRC_AT).unwrap_or_default());
        let stored = u32_at(bytes, CRC_AT);
        if crc != stored {
            let expected = format!("segment header checksum {crc:08x}");
            return SegmentHeaderRead::Bad(Bad::new(expected, format!("{stored:08x}")));
        }
        let (min_reader, features) = (u16_at(bytes, 10), u32_at(bytes, 12));
        if min_reader > FORMAT || features & !KNOWN_FEATURES != 0 {
            let expected = format!("format {FORMAT}, features {KNOWN_FEATURES:#x}");
            let found = format!("format for readers from {min_reader}, features {features:#x}");
            return SegmentHeaderRead::Newer(Bad::new(expected, found));
        }
        Self::fields(bytes).map_or_else(SegmentHeaderRead::Bad, SegmentHeaderRead::Valid)
    }

    /// The fields, once the checksum is known to be right.
    fn fields(bytes: &[u8]) -> Result<Self, Bad> {
        let reason = u8_at(bytes, 108);
        let open_reason = OpenReason::from_u8(reason)
            .ok_or_else(|| Bad::new("open_reason 1 to 5", reason.to_string()))?;
        let header = Self {
            store_id: id_at(bytes, 16),
            node: u64_at(bytes, 32),
            shard: u32_at(bytes, 40),
            seq: u64_at(bytes, 48),
            base_lsn: u64_at(bytes, 56),
            file_size: u64_at(bytes, 64),
            nonce: u64_at(bytes, 72),
            first_position: u64_at(bytes, 80),
            prev_seq: u64_at(bytes, 88),
            prev_end_lsn: u64_at(bytes, 96),
            prev_chain: u32_at(bytes, 104),
            open_reason,
            carried_len: u32_at(bytes, 112),
            incarnation: u64_at(bytes, 120),
            wall_ms: u64_at(bytes, 128),
        };
        if u32_at(bytes, 44) != 4096 || !all_zero(bytes.get(136..CRC_AT).unwrap_or(&[])) {
            return Err(Bad::new("a consistent segment header", "lengths that do not fit"));
        }
        check_run(header.incarnation)?;
        if header.is_consistent() {
            return Ok(header);
        }
        Err(Bad::new("a consistent segment header", "numbers that do not fit"))
    }

    /// Whether frames, segments and runs can be counted on from its numbers.
    fn is_consistent(&self) -> bool {
        let end = self.base_lsn.checked_add(self.file_size);
        let counters = [self.seq, self.first_position];
        let aligned = [self.base_lsn, self.file_size, u64::from(self.carried_len)];
        self.file_size >= HEADER_LEN + u64::from(self.carried_len)
            && end.is_some_and(|end| end <= STORED_MAX)
            && counters.into_iter().all(|number| number <= STORED_MAX)
            && aligned.into_iter().all(|bytes| bytes.is_multiple_of(super::ALIGN))
            && self.seq > self.prev_seq
            && self.first_position > 0
            && self.prev_end_lsn <= self.base_lsn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn example() -> SegmentHeader {
        SegmentHeader {
            store_id: [7; 16],
            node: 1,
            shard: 0,
            seq: 3,
            base_lsn: 1 << 27,
            file_size: 1 << 26,
            nonce: 0xDEAD_BEEF,
            first_position: 99,
            prev_seq: 2,
            prev_end_lsn: 77_000_000,
            prev_chain: 0x1234_5678,
            open_reason: OpenReason::Rotate,
            carried_len: 128,
            incarnation: 4,
            wall_ms: 1_700_000_000_000,
        }
    }

    #[test]
    fn round_trips_and_detects_every_bit_flip() {
        let header = example();
        let bytes = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes), SegmentHeaderRead::Valid(header.clone()));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(
                !matches!(SegmentHeader::decode(&damaged), SegmentHeaderRead::Valid(_)),
                "{bit}"
            );
        }
        for len in 0..bytes.len() {
            assert!(!matches!(SegmentHeader::decode(&bytes[..len]), SegmentHeaderRead::Valid(_)));
        }
    }

    #[test]
    fn a_newer_format_is_named_not_called_damage() {
        let mut bytes = example().encode();
        put(&mut bytes, 10, &2_u16.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..CRC_AT]);
        put(&mut bytes, CRC_AT, &crc.to_le_bytes());
        assert!(matches!(SegmentHeader::decode(&bytes), SegmentHeaderRead::Newer(_)));
    }
}
