//! What the files of an engine say besides rows: where the state in them stands.
//!
//! ```text
//! value  version 8, bytes
//!
//! stand
//!    0  magic 4        "RKEN"
//!    4  crc 4          CRC-32C over bytes 8..
//!    8  position 8     of the last record in the state
//!   16  term 8
//!   24  version 8      of the last transaction in it
//!   32  log_time_ms 8  of that transaction
//!   40  replay_from 8  replay begins here: at most position + 1
//! ```
//!
//! Numbers are little-endian. Invariant: bytes that are not exactly a stand are none.

use crate::api::Mark;
use crate::row::{field, put};

const MAGIC: [u8; 4] = *b"RKEN";
const STAND_BYTES: usize = 48;
const VERSION_BYTES: usize = 8;

/// Where a flushed state stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stand {
    pub(crate) mark: Mark,
    /// The first position that must be replayed on top of it; 0 where nothing was ever flushed.
    pub(crate) replay_from: u64,
}

impl Stand {
    pub(crate) fn encode(&self) -> [u8; STAND_BYTES] {
        let mut out = [0; STAND_BYTES];
        put(&mut out, 0, &MAGIC);
        put(&mut out, 8, &self.mark.position.to_le_bytes());
        put(&mut out, 16, &self.mark.term.to_le_bytes());
        put(&mut out, 24, &self.mark.version.to_le_bytes());
        put(&mut out, 32, &self.mark.log_time_ms.to_le_bytes());
        put(&mut out, 40, &self.replay_from.to_le_bytes());
        let (_, covered) = out.split_at(8);
        let crc = crc32c::crc32c(covered);
        put(&mut out, 4, &crc.to_le_bytes());
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (_, covered) = bytes.split_at_checked(8).filter(|_| bytes.len() == STAND_BYTES)?;
        let crc = u32::from_le_bytes(field(bytes, 4)?);
        let whole = field(bytes, 0) == Some(MAGIC) && crc == crc32c::crc32c(covered);
        let number = |at| field(bytes, at).map(u64::from_le_bytes);
        let mark = Mark {
            position: number(8)?,
            term: number(16)?,
            version: number(24)?,
            log_time_ms: number(32)?,
        };
        whole.then_some(Self { mark, replay_from: number(40)? })
    }
}

/// The value of a row.
pub(crate) fn with_version(version: u64, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(VERSION_BYTES + bytes.len());
    out.extend_from_slice(&version.to_le_bytes());
    out.extend_from_slice(bytes);
    out
}

/// The version that wrote a row, and its bytes; `None` for a value that is none.
pub(crate) fn split_value(value: &[u8]) -> Option<(u64, &[u8])> {
    let (version, bytes) = value.split_first_chunk::<VERSION_BYTES>()?;
    Some((u64::from_le_bytes(*version), bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stand_comes_back_or_is_refused() {
        let mark = Mark { position: 7, term: 1, version: 9, log_time_ms: 11 };
        let stand = Stand { mark, replay_from: 5 };
        let bytes = stand.encode();
        assert_eq!(Stand::decode(&bytes), Some(stand));
        for at in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[at / 8] ^= 1 << (at % 8);
            assert_eq!(Stand::decode(&flipped), None, "bit {at}");
        }
        assert_eq!(Stand::decode(&bytes[..47]), None);
        assert_eq!(Stand::decode(&[]), None);
    }
}
