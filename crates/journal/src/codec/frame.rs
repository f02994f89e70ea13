//! The frame: one sync group, local to this node, chained to the one before.
//!
//! ```text
//!   0 magic "RKFR"  4 header_crc 4     8 body_len 4      12 kind 1  13 flags 1  14 records 2
//!  16 lsn 8        24 first_position 8 32 durable_lsn 8  40 committed_position 8
//!  48 prev 4       52 body_crc 4      56 reserved 8      64 body, zero-padded to 8 bytes
//! ```
//!
//! `header_crc` is the CRC-32C of the segment's nonce, the frame's own lsn and bytes 8..64: a frame
//! is valid only at its own address under this segment's nonce, so stale, misdirected and
//! duplicated bytes never verify. `prev` is the `header_crc` of the frame before (the segment's
//! `prev_chain` for its first). `durable_lsn` is what was known to be synced when the frame was
//! written: it proves everything below it.

use rekindle_recovery::numbers::NUMBER_MAX;

use super::bytes::{put, u8_at, u16_at, u32_at, u64_at};
use super::{ALIGN, Bad, padded};

/// Bytes of a frame header.
pub const FRAME_HEADER_LEN: usize = 64;
/// The largest body.
pub const MAX_BODY_LEN: u32 = 16 << 20;
/// What a frame begins with.
pub const FRAME_MAGIC: &[u8; 4] = b"RKFR";
/// Flag: a reader that does not know this kind must refuse.
pub const FLAG_MUST_UNDERSTAND: u8 = 1;

/// The kinds of frames; persisted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameKind {
    /// Records.
    Entries = 1,
    /// Positions from one on are void (cluster).
    Truncate = 2,
    /// Positions up to one were given up (cluster).
    Purge = 3,
    /// A clean end: nothing follows in this segment.
    Seal = 4,
}

impl FrameKind {
    fn from_u8(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Entries,
            2 => Self::Truncate,
            3 => Self::Purge,
            4 => Self::Seal,
            _ => return None,
        })
    }
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Bytes of the body without padding.
    pub body_len: u32,
    /// Its kind.
    pub kind: FrameKind,
    /// Flags.
    pub flags: u8,
    /// Number of records in the body.
    pub records: u16,
    /// Its own address.
    pub lsn: u64,
    /// Position of its first record; 0 for control frames.
    pub first_position: u64,
    /// What was synced when it was written.
    pub durable_lsn: u64,
    /// What was committed when it was written.
    pub committed_position: u64,
    /// The chain: `header_crc` of the frame before.
    pub prev: u32,
    /// CRC-32C of the body without padding.
    pub body_crc: u32,
}

impl FrameHeader {
    /// Bytes of the whole frame, padding included.
    #[must_use]
    pub fn frame_len(&self) -> u64 {
        FRAME_HEADER_LEN as u64 + padded(u64::from(self.body_len))
    }

    /// The address behind it.
    #[must_use]
    pub fn end_lsn(&self) -> u64 {
        self.lsn + self.frame_len()
    }

    /// Writes the header into the first 64 bytes of `out`; returns `header_crc`.
    pub fn encode(&self, nonce: u64, out: &mut [u8]) -> u32 {
        assert!(self.lsn.is_multiple_of(ALIGN) && self.durable_lsn <= self.lsn, "{self:?}");
        debug_assert_eq!(self.first_position == 0, self.kind != FrameKind::Entries);
        debug_assert!(self.body_len <= MAX_BODY_LEN + 1, "tests write one more");
        put(out, 0, FRAME_MAGIC);
        put(out, 8, &self.body_len.to_le_bytes());
        put(out, 12, &[self.kind as u8, self.flags]);
        put(out, 14, &self.records.to_le_bytes());
        put(out, 16, &self.lsn.to_le_bytes());
        put(out, 24, &self.first_position.to_le_bytes());
        put(out, 32, &self.durable_lsn.to_le_bytes());
        put(out, 40, &self.committed_position.to_le_bytes());
        put(out, 48, &self.prev.to_le_bytes());
        put(out, 52, &self.body_crc.to_le_bytes());
        put(out, 56, &[0; 8]);
        let crc = header_crc(nonce, self.lsn, out);
        put(out, 4, &crc.to_le_bytes());
        crc
    }

    /// Reads a header that should stand at `lsn`; returns it with its checksum.
    pub fn decode(bytes: &[u8], nonce: u64, lsn: u64) -> Result<(Self, u32), Bad> {
        if bytes.len() < FRAME_HEADER_LEN {
            return Err(Bad::new("a frame header of 64 bytes", format!("{} bytes", bytes.len())));
        }
        if bytes.get(..4) != Some(FRAME_MAGIC) {
            return Err(Bad::new("a frame (magic RKFR)", "other bytes"));
        }
        let (stored, crc) = (u32_at(bytes, 4), header_crc(nonce, lsn, bytes));
        if stored != crc {
            return Err(Bad::new(
                format!("frame header checksum {crc:08x}"),
                format!("{stored:08x}"),
            ));
        }
        let kind_number = u8_at(bytes, 12);
        let kind = FrameKind::from_u8(kind_number)
            .ok_or_else(|| Bad::new("a known frame kind", kind_number.to_string()))?;
        let header = Self {
            body_len: u32_at(bytes, 8),
            kind,
            flags: u8_at(bytes, 13),
            records: u16_at(bytes, 14),
            lsn: u64_at(bytes, 16),
            first_position: u64_at(bytes, 24),
            durable_lsn: u64_at(bytes, 32),
            committed_position: u64_at(bytes, 40),
            prev: u32_at(bytes, 48),
            body_crc: u32_at(bytes, 52),
        };
        let numbered = header.first_position <= NUMBER_MAX
            && (header.first_position == 0) == (header.kind != FrameKind::Entries);
        let placed = header.lsn == lsn && header.durable_lsn <= lsn;
        if header.body_len > MAX_BODY_LEN || !placed || !numbered {
            return Err(Bad::new("a consistent frame header", format!("{header:?}")));
        }
        if header.flags & !FLAG_MUST_UNDERSTAND != 0 {
            return Err(Bad::new("known frame flags", format!("{:#x}", header.flags)));
        }
        Ok((header, stored))
    }
}

fn header_crc(nonce: u64, lsn: u64, bytes: &[u8]) -> u32 {
    let mut seed = [0; 16];
    put(&mut seed, 0, &nonce.to_le_bytes());
    put(&mut seed, 8, &lsn.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c(&seed), bytes.get(8..FRAME_HEADER_LEN).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> FrameHeader {
        FrameHeader {
            body_len: 100,
            kind: FrameKind::Entries,
            flags: FLAG_MUST_UNDERSTAND,
            records: 1,
            lsn: 4096,
            first_position: 1,
            durable_lsn: 4096,
            committed_position: 0,
            prev: 9,
            body_crc: 5,
        }
    }

    #[test]
    fn valid_only_at_its_own_address_under_its_own_nonce() {
        let mut bytes = [0; FRAME_HEADER_LEN];
        let crc = example().encode(42, &mut bytes);
        assert_eq!(FrameHeader::decode(&bytes, 42, 4096), Ok((example(), crc)));
        assert!(FrameHeader::decode(&bytes, 43, 4096).is_err(), "stale: another segment's nonce");
        assert!(FrameHeader::decode(&bytes, 42, 4104).is_err(), "misdirected");
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(FrameHeader::decode(&damaged, 42, 4096).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_even_with_a_right_checksum() {
        let mut bytes = [0; FRAME_HEADER_LEN];
        FrameHeader { body_len: MAX_BODY_LEN + 1, ..example() }.encode(42, &mut bytes);
        assert!(FrameHeader::decode(&bytes, 42, 4096).is_err());
    }
}
