//! The filling batch: what will become the body of one frame.
//!
//! Invariants: the buffer begins with room for the frame header; every record but the open `Txns`
//! group is complete; positions inside are dense.

use crate::api::{Entry, RecordKind};
use crate::codec::frame::{FRAME_HEADER_LEN, MAX_BODY_LEN};
use crate::codec::padded;
use crate::codec::record::{RECORD_HEADER_LEN, TXNS_PREFIX_LEN, TxnsPrefix, seal_record};

/// The open `Txns` record of a batch.
#[derive(Clone, Copy, Debug)]
struct Group {
    /// Where its record header stands in the buffer.
    start: usize,
    prefix: TxnsPrefix,
}

/// A batch of records.
#[derive(Debug)]
pub struct Batch {
    /// Its number in this run, from 1.
    pub number: u64,
    /// Entries in it.
    pub entries: u32,
    /// Records in it.
    pub records: u16,
    /// Position of its first record.
    pub first_position: u64,
    buffer: Vec<u8>,
    group: Option<Group>,
}

/// More records than a frame header can count.
const RECORDS_MAX: u16 = u16::MAX;

impl Batch {
    /// An empty batch that uses `buffer` again.
    #[must_use]
    pub fn new(number: u64, first_position: u64, mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        buffer.resize(FRAME_HEADER_LEN, 0);
        Self { number, entries: 0, records: 0, first_position, buffer, group: None }
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Bytes of the frame so far, header included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Position of the next record.
    #[must_use]
    pub fn next_position(&self) -> u64 {
        self.first_position + u64::from(self.records)
    }

    /// The most bytes that an entry of `len` bytes can add.
    #[must_use]
    pub fn cost(len: usize) -> usize {
        RECORD_HEADER_LEN + TXNS_PREFIX_LEN + len + 16
    }

    /// The longest entry that a frame can hold.
    #[must_use]
    pub fn entry_len_max() -> usize {
        MAX_BODY_LEN as usize - Self::cost(0)
    }

    /// Whether an entry of `len` bytes fits below `limit` bytes; an empty batch takes any entry.
    #[must_use]
    pub fn has_room(&self, len: usize, limit: usize) -> bool {
        self.is_empty() || (self.len() + Self::cost(len) <= limit && self.records < RECORDS_MAX)
    }

    /// Adds an entry; the caller has checked [`Batch::has_room`].
    pub fn push(&mut self, entry: Entry<'_>) {
        debug_assert!(entry.bytes.len() <= Self::entry_len_max());
        debug_assert!(self.records < RECORDS_MAX, "the caller looked for room");
        debug_assert_eq!(entry.kind == RecordKind::Txns, entry.version > 0);
        self.entries += 1;
        if entry.kind != RecordKind::Txns {
            self.close_group();
            let start = self.open_record();
            self.buffer.extend_from_slice(entry.bytes);
            self.close_record(start, entry.kind);
            return;
        }
        let mut group = match self.group {
            Some(group) => group,
            None => self.open_group(entry.version),
        };
        debug_assert_eq!(group.prefix.base_version + u64::from(group.prefix.count), entry.version);
        debug_assert!(group.prefix.log_time_ms <= entry.log_time_ms);
        group.prefix.count += 1;
        group.prefix.log_time_ms = entry.log_time_ms;
        self.group = Some(group);
        self.buffer.extend_from_slice(entry.bytes);
    }

    /// Completes the last record; returns the whole frame with room for its header.
    pub fn seal(&mut self) -> &mut [u8] {
        self.close_group();
        debug_assert_eq!(self.buffer.len() % 8, 0, "records end on the alignment");
        debug_assert!(self.buffer.len() - FRAME_HEADER_LEN <= MAX_BODY_LEN as usize);
        &mut self.buffer
    }

    /// The records behind the frame header, after [`Batch::seal`].
    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.buffer.get(FRAME_HEADER_LEN..).unwrap_or_default()
    }

    /// The buffer, to be used again.
    #[must_use]
    pub fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }

    fn open_group(&mut self, base_version: u64) -> Group {
        let start = self.open_record();
        self.buffer.resize(self.buffer.len() + TXNS_PREFIX_LEN, 0);
        Group { start, prefix: TxnsPrefix { base_version, log_time_ms: 0, count: 0 } }
    }

    fn close_group(&mut self) {
        if let Some(group) = self.group.take() {
            let at = group.start + RECORD_HEADER_LEN;
            group
                .prefix
                .encode(self.buffer.get_mut(at..).expect("the group's prefix was reserved"));
            self.close_record(group.start, RecordKind::Txns);
        }
    }

    fn open_record(&mut self) -> usize {
        let start = self.buffer.len();
        self.buffer.resize(start + RECORD_HEADER_LEN, 0);
        // Counted when it is opened, so that `next_position` is right while the group is open.
        self.records += 1;
        start
    }

    fn close_record(&mut self, start: usize, kind: RecordKind) {
        debug_assert!(self.records > 0 && start >= FRAME_HEADER_LEN && start.is_multiple_of(8));
        let position = self.first_position + u64::from(self.records) - 1;
        let len = self.buffer.len() - start - RECORD_HEADER_LEN;
        let len = u32::try_from(len).expect("a frame is smaller than 4 GiB");
        let record = self.buffer.get_mut(start..).expect("the record was opened in the buffer");
        seal_record(record, len, position, 0, kind);
        let end = usize::try_from(padded(self.buffer.len() as u64)).expect("an in-memory length");
        self.buffer.resize(end, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::record::decode_record;

    fn txn(version: u64, bytes: &[u8]) -> Entry<'_> {
        Entry { kind: RecordKind::Txns, version, log_time_ms: version * 10, bytes }
    }

    #[test]
    fn transactions_share_a_record_and_other_kinds_stand_alone() {
        let mut batch = Batch::new(1, 7, Vec::new());
        batch.push(txn(3, b"abc"));
        batch.push(txn(4, b"de"));
        let part = Entry { kind: RecordKind::Part, version: 0, log_time_ms: 0, bytes: b"part" };
        batch.push(part);
        batch.push(txn(5, b"f"));
        assert_eq!((batch.entries, batch.records, batch.next_position()), (4, 3, 10));
        batch.seal();
        let body = batch.body();
        let (first, taken) = decode_record(body).unwrap();
        let (prefix, entries) = TxnsPrefix::decode(first.payload).unwrap();
        assert_eq!(prefix, TxnsPrefix { base_version: 3, log_time_ms: 40, count: 2 });
        assert_eq!((first.position, entries), (7, &b"abcde"[..]));
        let (second, more) = decode_record(&body[taken..]).unwrap();
        assert_eq!((second.position, second.payload), (8, &b"part"[..]));
        let (third, last) = decode_record(&body[taken + more..]).unwrap();
        assert_eq!((third.position, third.kind), (9, RecordKind::Txns));
        assert_eq!(taken + more + last, body.len());
    }
}
