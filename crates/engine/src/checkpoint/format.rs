//! Header, block and footer as bytes; the layout is drawn in `checkpoint.rs`.
//!
//! Invariant: decoding gives exactly what encoding took, or says what it expected and found; it
//! neither panics nor allocates by an unchecked length, whatever the bytes are.

use rekindle_recovery::numbers::STORED_MAX;

use crate::api::Mark;
use crate::row::{field, put};

pub(super) const MAGIC: [u8; 8] = *b"RKDLCKPT";
pub(super) const FORMAT: u16 = 1;
/// The bit of the features that says: the rows are in the files of the engine, none are here.
const FEATURE_ELSEWHERE: u32 = 1;
const FEATURE_DERIVED: u32 = 2;
const FEATURES: u32 = FEATURE_ELSEWHERE | FEATURE_DERIVED;

pub(super) const HEADER_BYTES_MIN: usize = 512;
pub(super) const HEADER_BYTES_MAX: usize = 1 << 20;

/// Membership that a header can carry.
pub const MEMBERSHIP_BYTES_MAX: usize = 512 << 10;

const MEMBERSHIP_AT: usize = 100;

pub(super) const BLOCK_MAGIC: [u8; 4] = *b"RKBL";
pub(super) const BLOCK_HEADER: usize = 16;
/// A block is closed once it holds this much.
pub(super) const BLOCK_BYTES: usize = 64 << 10;
/// One block and the largest row.
pub(super) const BLOCK_BYTES_MAX: usize = 17 << 20;

pub(super) const FOOTER_MAGIC: [u8; 4] = *b"RKFT";
pub(super) const FOOTER_BYTES: usize = 80;

const _: () =
    assert!(BLOCK_BYTES + crate::row::ROW_HEADER + crate::row::ROW_BYTES_MAX <= BLOCK_BYTES_MAX);
const _: () = assert!(MEMBERSHIP_AT + MEMBERSHIP_BYTES_MAX + 4 <= HEADER_BYTES_MAX);

/// What the header of a checkpoint says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The store it belongs to.
    pub store_id: [u8; 16],
    /// Its id, also its name.
    pub id: u64,
    /// Where its state stands.
    pub mark: Mark,
    /// The first position that must be replayed on top of it.
    pub replay_from: u64,
    /// Feature level of the records that led to it.
    pub feature_level: u32,
    /// Cluster membership; empty on a single node.
    pub membership: Vec<u8>,
    /// Whether the rows lie in the files of an engine that has its own: none are here, and the
    /// state there stands at the mark or above it.
    pub elsewhere: bool,
    /// Whether the blocks hold what was derived from the rows, which are elsewhere.
    pub derived: bool,
}

/// What the footer of a checkpoint says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footer {
    /// Number of blocks.
    pub blocks: u64,
    /// Number of rows.
    pub rows: u64,
    /// Bytes of rows.
    pub content_bytes: u64,
    /// The state hash.
    pub state_hash: u128,
    /// The header's version.
    pub version: u64,
    /// The header's position.
    pub position: u64,
    /// Length of the whole file.
    pub file_len: u64,
}

/// What a decoder expected and found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mismatch {
    pub(super) expected: String,
    pub(super) found: String,
    /// The file is whole, but of a format that this program does not know.
    pub(super) newer: bool,
}

pub(super) fn mismatch(expected: impl Into<String>, found: impl Into<String>) -> Mismatch {
    Mismatch { expected: expected.into(), found: found.into(), newer: false }
}

/// The part of every checksum that ties a block to its file.
pub(super) fn seed(store_id: &[u8; 16], id: u64) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(store_id), &id.to_le_bytes())
}

/// The checksum of block `number`, or of a footer behind that many, from byte 8 on.
pub(super) fn part_crc(seed: u32, number: u64, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(seed, &number.to_le_bytes()), bytes)
}

impl Header {
    pub(super) fn encode(&self) -> Vec<u8> {
        assert!(self.membership.len() <= MEMBERSHIP_BYTES_MAX, "membership has a limit");
        assert!(self.id != 0, "0 means that there is no checkpoint");
        let len = (MEMBERSHIP_AT + self.membership.len() + 4).next_multiple_of(HEADER_BYTES_MIN);
        let number = |len: usize| u32::try_from(len).expect("below HEADER_BYTES_MAX").to_le_bytes();
        let mut out = vec![0_u8; len];
        put(&mut out, 0, &MAGIC);
        put(&mut out, 8, &FORMAT.to_le_bytes());
        put(&mut out, 10, &FORMAT.to_le_bytes());
        put(&mut out, 12, &self.features().to_le_bytes());
        put(&mut out, 16, &number(len));
        put(&mut out, 20, &self.feature_level.to_le_bytes());
        put(&mut out, 24, &self.store_id);
        put(&mut out, 40, &self.id.to_le_bytes());
        put(&mut out, 48, &self.mark.position.to_le_bytes());
        put(&mut out, 56, &self.mark.term.to_le_bytes());
        put(&mut out, 64, &self.replay_from.to_le_bytes());
        put(&mut out, 72, &self.mark.version.to_le_bytes());
        put(&mut out, 80, &self.mark.log_time_ms.to_le_bytes());
        put(&mut out, 88, &self.mark.version.to_le_bytes());
        put(&mut out, 96, &number(self.membership.len()));
        put(&mut out, MEMBERSHIP_AT, &self.membership);
        let (covered, _) = out.split_at(len - 4);
        let crc = crc32c::crc32c(covered);
        put(&mut out, len - 4, &crc.to_le_bytes());
        out
    }

    fn features(&self) -> u32 {
        match (self.elsewhere, self.derived) {
            (false, _) => 0,
            (true, false) => FEATURE_ELSEWHERE,
            (true, true) => FEATURES,
        }
    }

    /// The length of the whole header, from its first 512 bytes.
    pub(super) fn peek_len(bytes: &[u8]) -> Result<usize, Mismatch> {
        let magic = field::<8>(bytes, 0);
        if magic != Some(MAGIC) {
            let found = magic.map(|magic| magic.escape_ascii().to_string());
            return Err(mismatch("RKDLCKPT", found.unwrap_or_else(|| "fewer bytes".to_owned())));
        }
        let len = field(bytes, 16).map_or(0, u32::from_le_bytes);
        let whole = usize::try_from(len).ok().filter(|len| {
            (HEADER_BYTES_MIN..=HEADER_BYTES_MAX).contains(len) && len % HEADER_BYTES_MIN == 0
        });
        whole.ok_or_else(|| mismatch("a header of 512 B to 1 MiB", format!("{len} B")))
    }

    /// Decodes a whole header.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Mismatch> {
        let cut = || mismatch("a whole header", format!("{} B", bytes.len()));
        let covered = bytes.len().checked_sub(4).ok_or_else(cut)?;
        let (content, crc) = bytes.split_at(covered);
        let stored = field(crc, 0).map(u32::from_le_bytes).ok_or_else(cut)?;
        let computed = crc32c::crc32c(content);
        if stored != computed {
            return Err(mismatch(format!("crc {stored:08x}"), format!("crc {computed:08x}")));
        }
        let u16_at = |at| field(content, at).map(u16::from_le_bytes).ok_or_else(cut);
        let u32_at = |at| field(content, at).map(u32::from_le_bytes).ok_or_else(cut);
        let u64_at = |at| field(content, at).map(u64::from_le_bytes).ok_or_else(cut);
        let (format, min_reader, features) = (u16_at(8)?, u16_at(10)?, u32_at(12)?);
        // What is derived from rows is never beside them.
        let known = matches!(features, 0 | FEATURE_ELSEWHERE) || features == FEATURES;
        if format == 0 || min_reader > FORMAT || !known {
            let expected = format!("format {FORMAT}, which this program reads, features 0, 1 or 3");
            let found =
                format!("format {format} for readers from {min_reader}, features {features}");
            return Err(Mismatch { expected, found, newer: true });
        }
        let membership_len = usize::try_from(u32_at(96)?).map_err(|_| cut())?;
        let membership = content.get(MEMBERSHIP_AT..).and_then(|rest| rest.get(..membership_len));
        let membership = membership.filter(|bytes| bytes.len() <= MEMBERSHIP_BYTES_MAX);
        let header = Self {
            store_id: field(content, 24).ok_or_else(cut)?,
            id: u64_at(40)?,
            mark: Mark {
                position: u64_at(48)?,
                term: u64_at(56)?,
                version: u64_at(72)?,
                log_time_ms: u64_at(80)?,
            },
            replay_from: u64_at(64)?,
            feature_level: u32_at(20)?,
            membership: membership
                .ok_or_else(|| {
                    mismatch("membership inside the header", membership_len.to_string())
                })?
                .to_vec(),
            elsewhere: features & FEATURE_ELSEWHERE != 0,
            derived: features & FEATURE_DERIVED != 0,
        };
        header.check_order(u64_at(88)?)?;
        Ok(header)
    }

    /// What must hold between the fields.
    fn check_order(&self, floor: u64) -> Result<(), Mismatch> {
        let Mark { position, version, log_time_ms, .. } = self.mark;
        let counters = [self.id, position, version, log_time_ms];
        if let Some(number) = counters.into_iter().find(|number| *number > STORED_MAX) {
            return Err(mismatch(format!("numbers up to {STORED_MAX}"), number.to_string()));
        }
        if floor != self.mark.version {
            let expected = format!("floor {}, the version", self.mark.version);
            return Err(mismatch(expected, format!("floor {floor}")));
        }
        if self.replay_from == 0 || self.replay_from > self.mark.position.saturating_add(1) {
            let expected = format!("replay_from 1 to {} + 1", self.mark.position);
            return Err(mismatch(expected, format!("replay_from {}", self.replay_from)));
        }
        Ok(())
    }
}

impl Footer {
    pub(super) fn encode(&self, seed: u32) -> Vec<u8> {
        let mut out = vec![0_u8; FOOTER_BYTES];
        put(&mut out, 0, &FOOTER_MAGIC);
        put(&mut out, 8, &self.blocks.to_le_bytes());
        put(&mut out, 16, &self.rows.to_le_bytes());
        put(&mut out, 24, &self.content_bytes.to_le_bytes());
        put(&mut out, 32, &self.state_hash.to_le_bytes());
        put(&mut out, 48, &self.version.to_le_bytes());
        put(&mut out, 56, &self.position.to_le_bytes());
        put(&mut out, 64, &self.file_len.to_le_bytes());
        let (_, covered) = out.split_at(8);
        let crc = part_crc(seed, self.blocks, covered);
        put(&mut out, 4, &crc.to_le_bytes());
        out
    }

    pub(super) fn decode(bytes: &[u8], seed: u32) -> Result<Self, Mismatch> {
        let cut = || mismatch("a footer of 80 B", format!("{} B", bytes.len()));
        if bytes.len() != FOOTER_BYTES {
            return Err(cut());
        }
        if field(bytes, 0) != Some(FOOTER_MAGIC) {
            return Err(mismatch("a footer", "other bytes"));
        }
        let u64_at = |at| field(bytes, at).map(u64::from_le_bytes).ok_or_else(cut);
        let blocks = u64_at(8)?;
        let stored = field(bytes, 4).map(u32::from_le_bytes).ok_or_else(cut)?;
        let computed = part_crc(seed, blocks, bytes.get(8..).ok_or_else(cut)?);
        if stored != computed {
            return Err(mismatch(format!("crc {stored:08x}"), format!("crc {computed:08x}")));
        }
        Ok(Self {
            blocks,
            rows: u64_at(16)?,
            content_bytes: u64_at(24)?,
            state_hash: field(bytes, 32).map(u128::from_le_bytes).ok_or_else(cut)?,
            version: u64_at(48)?,
            position: u64_at(56)?,
            file_len: u64_at(64)?,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn header(membership: usize) -> Header {
        Header {
            store_id: [7; 16],
            id: 3,
            mark: Mark { position: 10, term: 2, version: 40, log_time_ms: 99 },
            replay_from: 8,
            feature_level: 1,
            membership: vec![0xEE; membership],
            elsewhere: membership % 2 == 1,
            derived: membership % 4 == 1,
        }
    }

    /// Gives a header with one field changed its right checksum.
    fn forged(offset: usize, bytes: &[u8]) -> Vec<u8> {
        let mut out = header(5).encode();
        put(&mut out, offset, bytes);
        let end = out.len() - 4;
        let crc = crc32c::crc32c(&out[..end]);
        put(&mut out, end, &crc.to_le_bytes());
        out
    }

    #[test]
    fn headers_round_trip_with_any_membership() {
        for len in [0, 1, 408, 409, 5_000, MEMBERSHIP_BYTES_MAX] {
            let header = header(len);
            let bytes = header.encode();
            assert_eq!(Header::peek_len(&bytes).unwrap(), bytes.len());
            assert_eq!(Header::decode(&bytes).unwrap(), header);
        }
    }

    #[test]
    fn a_newer_format_is_told_from_damage() {
        for (offset, value) in [(10, [2_u8, 0]), (12, [0, 1]), (12, [2, 0]), (8, [0, 0])] {
            let wrong = Header::decode(&forged(offset, &value)).unwrap_err();
            assert!(wrong.newer, "{wrong:?}");
        }
        let later = Header::decode(&forged(8, &[9, 0])).unwrap();
        assert_eq!(later.id, 3, "a later format that format 1 can read is read");
    }

    /// fault: S9
    #[test]
    fn hostile_fields_with_a_right_checksum_are_refused() {
        let wrong = [
            (88, 41_u64.to_le_bytes().to_vec()),
            (64, 12_u64.to_le_bytes().to_vec()),
            (64, 0_u64.to_le_bytes().to_vec()),
            (96, u32::MAX.to_le_bytes().to_vec()),
        ];
        for (offset, value) in wrong {
            assert!(!Header::decode(&forged(offset, &value)).unwrap_err().newer, "{offset}");
        }
        for len in [0_u32, 511, 513, 1 << 21, u32::MAX] {
            assert!(Header::peek_len(&forged(16, &len.to_le_bytes())).is_err(), "{len}");
        }
        assert!(Header::decode(&[]).is_err());
        assert!(Header::peek_len(&[]).is_err());
    }

    #[test]
    fn every_flipped_bit_of_header_and_footer_is_seen() {
        let bytes = header(3).encode();
        let footer = Footer { blocks: 2, rows: 9, file_len: 4_000, ..Footer::default() };
        let seed = seed(&[7; 16], 3);
        let footer_bytes = footer.encode(seed);
        assert_eq!(Footer::decode(&footer_bytes, seed).unwrap(), footer);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let read = Header::peek_len(&flipped).and_then(|_| Header::decode(&flipped));
            assert!(read.is_err(), "header bit {bit}");
        }
        for bit in 0..footer_bytes.len() * 8 {
            let mut flipped = footer_bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Footer::decode(&flipped, seed).is_err(), "footer bit {bit}");
        }
        assert!(Footer::decode(&footer_bytes[1..], seed).is_err());
    }
}
