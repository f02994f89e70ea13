//! `tip`: how far the journal is synced, for the time when no later frame says so.
//!
//! ```text
//!   0 magic "RKTP"  4 crc 4 (CRC-32C of store_id and 8..512)  8 segment seq 8  16 durable_lsn 8
//!  24 chain 4 (header_crc of the last synced frame)  28 zeros to 512
//! ```
//!
//! It fits one sector and is overwritten in place: it is old, new or unreadable, and a bad or
//! missing one proves nothing.

use super::Bad;
use super::bytes::{all_zero, put, u32_at, u64_at};

const LEN: usize = 512;
const MAGIC: &[u8; 4] = b"RKTP";

/// The contents of `tip`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tip {
    /// The segment that was written.
    pub seq: u64,
    /// Everything below was synced.
    pub durable_lsn: u64,
    /// Header checksum of the frame that ends there.
    pub chain: u32,
}

impl Tip {
    /// The bytes.
    #[must_use]
    pub fn encode(&self, store_id: &[u8; 16]) -> Vec<u8> {
        let mut out = vec![0; LEN];
        put(&mut out, 0, MAGIC);
        put(&mut out, 8, &self.seq.to_le_bytes());
        put(&mut out, 16, &self.durable_lsn.to_le_bytes());
        put(&mut out, 24, &self.chain.to_le_bytes());
        let crc = tip_crc(store_id, &out);
        put(&mut out, 4, &crc.to_le_bytes());
        out
    }

    /// Reads it.
    pub fn decode(bytes: &[u8], store_id: &[u8; 16]) -> Result<Self, Bad> {
        if bytes.len() != LEN || bytes.get(..4) != Some(MAGIC) {
            let found = format!("{} bytes that are none", bytes.len());
            return Err(Bad::new("a tip of 512 bytes", found));
        }
        let (stored, crc) = (u32_at(bytes, 4), tip_crc(store_id, bytes));
        if stored != crc || !all_zero(bytes.get(28..).unwrap_or(&[1])) {
            return Err(Bad::new(format!("tip checksum {crc:08x}"), format!("{stored:08x}")));
        }
        let (seq, durable_lsn) = (u64_at(bytes, 8), u64_at(bytes, 16));
        Ok(Self { seq, durable_lsn, chain: u32_at(bytes, 24) })
    }
}

fn tip_crc(store_id: &[u8; 16], bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(store_id), bytes.get(8..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_detects_every_bit_flip_and_another_store() {
        let tip = Tip { seq: 2, durable_lsn: 12_345, chain: 6 };
        let bytes = tip.encode(&[1; 16]);
        assert_eq!(Tip::decode(&bytes, &[1; 16]), Ok(tip));
        assert!(Tip::decode(&bytes, &[2; 16]).is_err());
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Tip::decode(&damaged, &[1; 16]).is_err(), "bit {bit}");
        }
    }
}
