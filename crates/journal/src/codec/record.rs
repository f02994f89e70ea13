//! The record: portable, equal on all nodes, inside the body of an `Entries` frame.
//!
//! ```text
//!   0 len 4 (payload)  4 crc 4 (CRC-32C of 8..32+len)  8 position 8  16 term 8
//!  24 kind 1  25 flags 1  26 format 2  28 reserved 4   32 payload, zero-padded to 8 bytes
//! ```
//!
//! A `Txns` payload begins with `base_version 8, log_time_ms 8 (of its last transaction), n 4,
//! pad 4`; the rest of every payload belongs to the layer above.

use rekindle_recovery::numbers::NUMBER_MAX;

use super::bytes::{all_zero, put, u8_at, u16_at, u32_at, u64_at};
use super::{Bad, padded};
use crate::api::{Record, RecordKind};

/// Bytes of a record header.
pub const RECORD_HEADER_LEN: usize = 32;
/// Bytes before the entries of a `Txns` payload.
pub const TXNS_PREFIX_LEN: usize = 24;
/// The format of records that this version writes.
pub const RECORD_FORMAT: u16 = 1;

/// The prefix of a `Txns` payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxnsPrefix {
    /// Version of the first transaction.
    pub base_version: u64,
    /// Log time of the last transaction, milliseconds.
    pub log_time_ms: u64,
    /// Number of transactions.
    pub count: u32,
}

impl TxnsPrefix {
    /// Writes the 24 bytes at the start of `out`.
    pub fn encode(&self, out: &mut [u8]) {
        assert!(self.count > 0 && self.base_version > 0, "a transaction, and versions from 1");
        put(out, 0, &self.base_version.to_le_bytes());
        put(out, 8, &self.log_time_ms.to_le_bytes());
        put(out, 16, &self.count.to_le_bytes());
        put(out, 20, &[0; 4]);
    }

    /// Splits a `Txns` payload into prefix and entries.
    #[must_use]
    pub fn decode(payload: &[u8]) -> Option<(Self, &[u8])> {
        let entries = payload.get(TXNS_PREFIX_LEN..)?;
        let prefix = Self {
            base_version: u64_at(payload, 0),
            log_time_ms: u64_at(payload, 8),
            count: u32_at(payload, 16),
        };
        (u32_at(payload, 20) == 0).then_some((prefix, entries))
    }
}

/// The last position that a `Loss` payload stands for; the rest of it belongs to the layer above.
#[must_use]
pub fn loss_end(payload: &[u8]) -> Option<u64> {
    payload.get(..16).map(|head| u64_at(head, 8)).filter(|to| *to <= NUMBER_MAX)
}

/// Completes the record whose payload of `len` bytes stands behind 32 bytes at the start of `out`.
pub fn seal_record(out: &mut [u8], len: u32, position: u64, term: u64, kind: RecordKind) {
    assert!(position > 0, "positions begin at 1");
    put(out, 0, &len.to_le_bytes());
    put(out, 8, &position.to_le_bytes());
    put(out, 16, &term.to_le_bytes());
    put(out, 24, &[kind as u8, 0]);
    put(out, 26, &RECORD_FORMAT.to_le_bytes());
    put(out, 28, &[0; 4]);
    let end = RECORD_HEADER_LEN + len as usize;
    let crc = crc32c::crc32c(out.get(8..end).expect("the payload stands in the buffer"));
    put(out, 4, &crc.to_le_bytes());
}

/// Reads the record at the start of `bytes`; returns it and the padded bytes that it takes.
pub fn decode_record(bytes: &[u8]) -> Result<(Record<'_>, usize), Bad> {
    if bytes.len() < RECORD_HEADER_LEN {
        return Err(Bad::new("a record header of 32 bytes", format!("{} bytes", bytes.len())));
    }
    let len = u32_at(bytes, 0) as usize;
    let Some(payload) = bytes.get(RECORD_HEADER_LEN..).and_then(|rest| rest.get(..len)) else {
        return Err(Bad::new("a payload inside the frame", format!("a length of {len} bytes")));
    };
    let end = RECORD_HEADER_LEN + len;
    let (stored, crc) = (u32_at(bytes, 4), crc32c::crc32c(bytes.get(8..end).unwrap_or_default()));
    if stored != crc {
        return Err(Bad::new(format!("record checksum {crc:08x}"), format!("{stored:08x}")));
    }
    let format = u16_at(bytes, 26);
    let kind_number = u8_at(bytes, 24);
    let kind = RecordKind::from_u8(kind_number).filter(|_| format == RECORD_FORMAT);
    let Some(kind) = kind else {
        let found = format!("kind {kind_number} in format {format}");
        return Err(Bad::new("a known record kind", found));
    };
    let taken = usize::try_from(padded(end as u64)).unwrap_or(usize::MAX).min(bytes.len());
    if !all_zero(bytes.get(end..taken).unwrap_or_default()) {
        return Err(Bad::new("zeros behind a record", "other bytes"));
    }
    let record = Record { position: u64_at(bytes, 8), term: u64_at(bytes, 16), kind, payload };
    Ok((record, taken))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_detects_every_bit_flip() {
        let mut bytes = vec![0; 48];
        bytes[32..43].copy_from_slice(b"hello world");
        seal_record(&mut bytes, 11, 5, 2, RecordKind::Part);
        let (record, taken) = decode_record(&bytes).unwrap();
        assert_eq!((record.position, record.term, record.kind), (5, 2, RecordKind::Part));
        assert_eq!((record.payload, taken), (&b"hello world"[..], 48));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_record(&damaged).is_err(), "bit {bit}");
        }
        for len in 0..43 {
            assert!(decode_record(&bytes[..len]).is_err(), "cut to {len}");
        }
    }
}
