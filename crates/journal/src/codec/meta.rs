//! `meta.a` and `meta.b`: which segments and checkpoints there must be.
//!
//! ```text
//!    0 magic "RKMETA\0\0"  8 format 2  10 min_reader 2  12 shard 4   16 sequence 8
//!   24 store_id 16        40 node 8   48 incarnation 8  56 oldest_segment 8  64 newest_segment 8
//!   72 newest_checkpoint 8  80 older_checkpoint 8 (0: none)
//!   88 vote_term 8        96 voted_for 8  104 vote_committed 1  105 voter_state 1  106 zero 6
//!  112 unproven_end 8    120 clean_end_lsn 8 (0: not closed)   128 zeros    4092 crc 4
//! ```
//!
//! The copy with the higher sequence is the newest; the older one is overwritten. The vote belongs
//! to clusters and is zero on a single node.

use rekindle_recovery::numbers::STORED_MAX;

use super::bytes::{all_zero, id_at, put, u8_at, u16_at, u32_at, u64_at};
use super::{Bad, FORMAT, MIN_READER, check_run};

const LEN: usize = 4096;
const CRC_AT: usize = LEN - 4;
const MAGIC: &[u8; 8] = b"RKMETA\0\0";

/// A node's vote (clusters).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vote {
    /// The term.
    pub term: u64,
    /// For whom.
    pub voted_for: u64,
    /// Whether that leader is established.
    pub committed: bool,
}

/// The contents of a meta copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// Grows by one with each write; odd numbers go to `meta.a`.
    pub sequence: u64,
    /// The store.
    pub store_id: [u8; 16],
    /// The node.
    pub node: u64,
    /// The shard.
    pub shard: u32,
    /// The run that wrote it.
    pub incarnation: u64,
    /// The first segment that must exist.
    pub oldest_segment: u64,
    /// The last segment that must exist.
    pub newest_segment: u64,
    /// Ids of the checkpoints, newest first; 0: none.
    pub checkpoints: [u64; 2],
    /// The vote.
    pub vote: Vote,
    /// 0 normal, 1 unproven tail, 2 non-voter.
    pub voter_state: u8,
    /// End of the unproven tail that keeps this node from voting.
    pub unproven_end: u64,
    /// Where the journal ended when it was closed; 0 while it is open.
    pub clean_end_lsn: u64,
}

impl Meta {
    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        assert!(self.oldest_segment <= self.newest_segment, "{self:?}");
        debug_assert!(self.checkpoints.is_sorted_by(|a, b| a >= b), "newest first");
        debug_assert!(self.sequence > 0 && self.voter_state <= 2);
        let mut out = vec![0; LEN];
        put(&mut out, 0, MAGIC);
        put(&mut out, 8, &FORMAT.to_le_bytes());
        put(&mut out, 10, &MIN_READER.to_le_bytes());
        put(&mut out, 12, &self.shard.to_le_bytes());
        put(&mut out, 16, &self.sequence.to_le_bytes());
        put(&mut out, 24, &self.store_id);
        put(&mut out, 40, &self.node.to_le_bytes());
        put(&mut out, 48, &self.incarnation.to_le_bytes());
        put(&mut out, 56, &self.oldest_segment.to_le_bytes());
        put(&mut out, 64, &self.newest_segment.to_le_bytes());
        let [newest, older] = self.checkpoints;
        put(&mut out, 72, &newest.to_le_bytes());
        put(&mut out, 80, &older.to_le_bytes());
        put(&mut out, 88, &self.vote.term.to_le_bytes());
        put(&mut out, 96, &self.vote.voted_for.to_le_bytes());
        put(&mut out, 104, &[u8::from(self.vote.committed), self.voter_state]);
        put(&mut out, 112, &self.unproven_end.to_le_bytes());
        put(&mut out, 120, &self.clean_end_lsn.to_le_bytes());
        let crc = crc32c::crc32c(out.get(..CRC_AT).unwrap_or_default());
        put(&mut out, CRC_AT, &crc.to_le_bytes());
        out
    }

    /// What a copy asks for that this program does not know; `None` for one that is damaged or
    /// ours. Magic, format, reader and checksum keep their places in every later format.
    #[must_use]
    pub fn newer(bytes: &[u8]) -> Option<Bad> {
        let crc = crc32c::crc32c(bytes.get(..CRC_AT)?);
        let whole = bytes.len() == LEN && bytes.get(..8) == Some(MAGIC);
        if !whole || crc != u32_at(bytes, CRC_AT) {
            return None;
        }
        let (format, min_reader) = (u16_at(bytes, 8), u16_at(bytes, 10));
        let found = format!("format {format}, which needs a reader of format {min_reader}");
        let newer = min_reader > FORMAT;
        newer.then(|| Bad::new(format!("format {FORMAT} or older"), found))
    }

    /// Reads a copy.
    pub fn decode(bytes: &[u8]) -> Result<Self, Bad> {
        if bytes.len() != LEN {
            return Err(Bad::new("4096 bytes", format!("{} bytes", bytes.len())));
        }
        if bytes.get(..8) != Some(MAGIC) {
            return Err(Bad::new("magic RKMETA", "other bytes"));
        }
        let crc = crc32c::crc32c(bytes.get(..CRC_AT).unwrap_or_default());
        let stored = u32_at(bytes, CRC_AT);
        if crc != stored {
            return Err(Bad::new(format!("meta checksum {crc:08x}"), format!("{stored:08x}")));
        }
        if let Some(newer) = Self::newer(bytes) {
            return Err(newer);
        }
        let (committed, voter_state) = (u8_at(bytes, 104), u8_at(bytes, 105));
        let zeros = all_zero(bytes.get(106..112).unwrap_or(&[1]))
            && all_zero(bytes.get(128..CRC_AT).unwrap_or(&[1]));
        if committed > 1 || voter_state > 2 || !zeros {
            return Err(Bad::new("a consistent meta copy", "values out of range"));
        }
        let vote = Vote {
            term: u64_at(bytes, 88),
            voted_for: u64_at(bytes, 96),
            committed: committed == 1,
        };
        let meta = Self {
            sequence: u64_at(bytes, 16),
            store_id: id_at(bytes, 24),
            node: u64_at(bytes, 40),
            shard: u32_at(bytes, 12),
            incarnation: u64_at(bytes, 48),
            oldest_segment: u64_at(bytes, 56),
            newest_segment: u64_at(bytes, 64),
            checkpoints: [u64_at(bytes, 72), u64_at(bytes, 80)],
            vote,
            voter_state,
            unproven_end: u64_at(bytes, 112),
            clean_end_lsn: u64_at(bytes, 120),
        };
        check_run(meta.incarnation)?;
        if meta.is_consistent() {
            return Ok(meta);
        }
        Err(Bad::new("a consistent meta copy", "numbers that do not fit"))
    }

    /// Whether writes, segments, runs and checkpoints can be counted on from its numbers.
    fn is_consistent(&self) -> bool {
        let [newest, older] = self.checkpoints;
        let counters = [self.sequence, self.newest_segment, newest];
        counters.into_iter().all(|number| number <= STORED_MAX)
            && self.sequence > 0
            && self.oldest_segment <= self.newest_segment
            && (self.oldest_segment == 0) == (self.newest_segment == 0)
            && older <= newest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_detects_every_bit_flip() {
        let meta = Meta {
            sequence: 9,
            store_id: [3; 16],
            node: 1,
            shard: 0,
            incarnation: 2,
            oldest_segment: 1,
            newest_segment: 4,
            checkpoints: [8, 7],
            vote: Vote { term: 5, voted_for: 1, committed: true },
            voter_state: 1,
            unproven_end: 77,
            clean_end_lsn: 88,
        };
        let bytes = meta.encode();
        assert_eq!(Meta::decode(&bytes), Ok(meta));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Meta::decode(&damaged).is_err(), "bit {bit}");
        }
    }
}
