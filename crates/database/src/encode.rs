//! A running transaction's operations, encoded in place, once: the writing half of [`codec`].
//!
//! Invariants: the first bytes of a buffer are room for the header, which is known only at the end,
//! so nothing is moved; spans point into the buffer that they were made of.

use rekindle_engine::{KeyspaceId, Operation};

use crate::codec::{DELETE, DELETE_RANGE, ENTRY_HEAD_BYTES, PUT, Reader, VARINT_BYTES_MAX};

/// Room that an entry's header may need.
const HEADER_ROOM: usize = ENTRY_HEAD_BYTES + VARINT_BYTES_MAX;

/// Room for what a transaction writes beside its first row, often a small row more: without it the
/// first one, which may be large, would be copied.
const FURTHER_ROOM: usize = 256;

/// A varint and its length.
fn varint(mut value: u32) -> ([u8; VARINT_BYTES_MAX], usize) {
    let mut bytes = [0; VARINT_BYTES_MAX];
    let mut len = 0;
    for byte in &mut bytes {
        len += 1;
        let seven = u8::try_from(value & 0x7F).expect("seven bits fit");
        value >>= 7;
        *byte = if value == 0 { seven } else { seven | 0x80 };
        if value == 0 {
            break;
        }
    }
    (bytes, len)
}

/// Appends a varint.
fn push_varint(bytes: &mut Vec<u8>, value: u32) {
    let (varint, len) = varint(value);
    bytes.extend_from_slice(varint.get(..len).unwrap_or_default());
}

/// The operations of a transaction while it runs, encoded in place.
///
/// The first bytes are room for the header, which is known only at the end.
#[derive(Debug, Default)]
pub(crate) struct EntryBuffer {
    bytes: Vec<u8>,
    count: u32,
}

impl EntryBuffer {
    /// Whether nothing was written.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the encoded entry, header included at its longest.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Sets a key.
    pub(crate) fn put(&mut self, keyspace: KeyspaceId, key: &[u8], value: &[u8]) {
        self.push(PUT, keyspace, key, value);
    }

    /// Removes a key.
    pub(crate) fn delete(&mut self, keyspace: KeyspaceId, key: &[u8]) {
        self.push(DELETE, keyspace, key, &[]);
    }

    /// Removes a range.
    pub(crate) fn delete_range(&mut self, keyspace: KeyspaceId, start: &[u8], end: &[u8]) {
        self.push(DELETE_RANGE, keyspace, start, end);
    }

    fn push(&mut self, kind: u8, keyspace: KeyspaceId, key: &[u8], value: &[u8]) {
        let need = 3 + 2 * VARINT_BYTES_MAX + key.len() + value.len();
        if self.bytes.is_empty() {
            self.bytes.reserve(HEADER_ROOM + need + FURTHER_ROOM);
            self.bytes.resize(HEADER_ROOM, 0);
        } else {
            self.bytes.reserve(need);
        }
        self.bytes.push(kind);
        self.bytes.extend_from_slice(&keyspace.0.to_le_bytes());
        for length in [key.len(), value.len()] {
            let length = u32::try_from(length).expect("callers check lengths against limits");
            push_varint(&mut self.bytes, length);
        }
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        self.count += 1;
        debug_assert!(self.bytes.len() > HEADER_ROOM, "the header's room is in front");
    }

    /// The operations from byte `from` on (0: all), and where they end. For a running transaction
    /// that reads its own writes.
    pub(crate) fn operations_from(&self, from: usize) -> impl Iterator<Item = (OpSpan, usize)> {
        spans(&self.bytes, from.max(HEADER_ROOM))
    }

    /// The bytes of a span.
    pub(crate) fn slice(&self, span: Span) -> &[u8] {
        slice(&self.bytes, span)
    }

    /// Writes the header in front of the operations.
    pub(crate) fn finish(mut self, txn_id: u64) -> Encoded {
        assert!(self.count > 0, "an empty transaction is never encoded");
        let (count, count_len) = varint(self.count);
        let start = VARINT_BYTES_MAX - count_len;
        let len = u32::try_from(self.bytes.len() - start - 4).expect("callers check the size");
        let header = len.to_le_bytes().into_iter().chain(txn_id.to_le_bytes());
        let header = header.chain([0]).chain(count.into_iter().take(count_len));
        for (to, from) in self.bytes.iter_mut().skip(start).zip(header) {
            *to = from;
        }
        let encoded = Encoded { bytes: self.bytes, start, count: self.count };
        debug_assert!(start < VARINT_BYTES_MAX, "a count has at least one byte");
        debug_assert_eq!(encoded.entry().len(), usize::try_from(len).unwrap_or(0) + 4);
        debug_assert_eq!(encoded.operations().count(), usize::try_from(self.count).unwrap_or(0));
        encoded
    }
}

/// An encoded transaction, ready to be appended.
#[derive(Debug, Default)]
pub(crate) struct Encoded {
    bytes: Vec<u8>,
    start: usize,
    count: u32,
}

impl Encoded {
    /// The entry.
    pub(crate) fn entry(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// How many operations it has.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Where its operations are.
    pub(crate) fn operations(&self) -> impl Iterator<Item = OpSpan> {
        spans(&self.bytes, HEADER_ROOM).map(|(span, _)| span)
    }

    /// The bytes of a span.
    pub(crate) fn slice(&self, span: Span) -> &[u8] {
        slice(&self.bytes, span)
    }
}

/// A range of bytes in an [`Encoded`] or an [`EntryBuffer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// How many bytes.
    pub(crate) fn len(self) -> usize {
        usize::try_from(self.end - self.start).expect("a span lies in memory")
    }
}

/// Where an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpSpan {
    /// Sets a key.
    Put(KeyspaceId, Span, Span),
    /// Removes a key.
    Delete(KeyspaceId, Span),
    /// Removes a range.
    DeleteRange(KeyspaceId, Span, Span),
}

fn slice(bytes: &[u8], span: Span) -> &[u8] {
    let start = usize::try_from(span.start).expect("a span lies in memory");
    let end = usize::try_from(span.end).expect("a span lies in memory");
    bytes.get(start..end).expect("a span is used with the bytes that it was made of")
}

/// The operations in bytes that this module encoded, each with the byte behind it.
fn spans(bytes: &[u8], from: usize) -> impl Iterator<Item = (OpSpan, usize)> {
    let mut reader = Reader { bytes, at: from.min(bytes.len()) };
    std::iter::from_fn(move || {
        if reader.is_empty() {
            return None;
        }
        let operation = reader.operation().expect("encoded by this module");
        let span = |part: &[u8], behind: usize| {
            let end = u32::try_from(reader.at - behind).expect("callers check the size");
            Span { start: end - u32::try_from(part.len()).expect("as above"), end }
        };
        let span = match operation {
            Operation::Put { keyspace, key, value } => {
                OpSpan::Put(keyspace, span(key, value.len()), span(value, 0))
            }
            Operation::Delete { keyspace, key } => OpSpan::Delete(keyspace, span(key, 0)),
            Operation::DeleteRange { keyspace, start, end } => {
                OpSpan::DeleteRange(keyspace, span(start, end.len()), span(end, 0))
            }
        };
        Some((span, reader.at))
    })
}

/// The payload of a `Txns` record with these entries, as a journal builds it.
#[cfg(test)]
pub(crate) fn txns_payload(base_version: u64, log_time_ms: u64, entries: &[&[u8]]) -> Vec<u8> {
    let mut payload = Vec::new();
    payload.extend_from_slice(&base_version.to_le_bytes());
    payload.extend_from_slice(&log_time_ms.to_le_bytes());
    payload.extend_from_slice(&u32::try_from(entries.len()).expect("few").to_le_bytes());
    payload.extend_from_slice(&[0; 4]);
    for entry in entries {
        payload.extend_from_slice(entry);
    }
    payload
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::{CommitMark, Loss, Part, Txns};

    #[derive(Clone, Debug, PartialEq)]
    enum Op {
        Put(u16, Vec<u8>, Vec<u8>),
        Delete(u16, Vec<u8>),
        DeleteRange(u16, Vec<u8>, Vec<u8>),
    }

    fn own(operation: Operation<'_>) -> Op {
        match operation {
            Operation::Put { keyspace, key, value } => {
                Op::Put(keyspace.0, key.to_vec(), value.to_vec())
            }
            Operation::Delete { keyspace, key } => Op::Delete(keyspace.0, key.to_vec()),
            Operation::DeleteRange { keyspace, start, end } => {
                Op::DeleteRange(keyspace.0, start.to_vec(), end.to_vec())
            }
        }
    }

    fn buffer(operations: &[Op]) -> EntryBuffer {
        let mut buffer = EntryBuffer::default();
        for operation in operations {
            match operation {
                Op::Put(ks, key, value) => buffer.put(KeyspaceId(*ks), key, value),
                Op::Delete(ks, key) => buffer.delete(KeyspaceId(*ks), key),
                Op::DeleteRange(ks, a, b) => buffer.delete_range(KeyspaceId(*ks), a, b),
            }
        }
        buffer
    }

    fn operations() -> impl Strategy<Value = Vec<Op>> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..300);
        let operation = prop_oneof![
            (any::<u16>(), bytes(), bytes()).prop_map(|(ks, k, v)| Op::Put(ks, k, v)),
            (any::<u16>(), bytes()).prop_map(|(ks, k)| Op::Delete(ks, k)),
            (any::<u16>(), bytes(), bytes()).prop_map(|(ks, a, b)| Op::DeleteRange(ks, a, b)),
        ];
        proptest::collection::vec(operation, 1..200)
    }

    proptest! {
        /// proves: D2
        #[test]
        fn what_was_encoded_is_decoded(first in operations(), second in operations(), id: u64) {
            let one = buffer(&first).finish(id);
            let two = buffer(&second).finish(!id);
            let payload = txns_payload(7, 11, &[one.entry(), two.entry()]);
            let txns = Txns::decode(&payload).unwrap();
            prop_assert_eq!((txns.base_version, txns.last_version(), txns.log_time_ms), (7, 8, 11));
            let mut decoded = txns.entries();
            let (version, entry) = decoded.next().unwrap();
            prop_assert_eq!((version, entry.txn_id), (7, id));
            prop_assert_eq!(entry.operations.size_hint().0, first.len());
            prop_assert_eq!(entry.operations.map(own).collect::<Vec<_>>(), first);
            let (version, entry) = decoded.next().unwrap();
            prop_assert_eq!((version, entry.txn_id), (8, !id));
            prop_assert_eq!(entry.operations.map(own).collect::<Vec<_>>(), second);
            prop_assert!(decoded.next().is_none());
        }

        /// A cut, lengthened or changed payload is refused or decodes to something; no panic.
        ///
        /// proves: D2
        #[test]
        fn hostile_payloads_never_panic(
            operations in operations(),
            at in any::<proptest::sample::Index>(),
            byte: u8,
        ) {
            let entry = buffer(&operations).finish(3);
            let good = txns_payload(1, 2, &[entry.entry()]);
            let cut = good.get(..at.index(good.len())).unwrap();
            prop_assert!(Txns::decode(cut).is_err());
            let mut changed = good.clone();
            *changed.get_mut(at.index(good.len())).unwrap() = byte;
            if let Ok(txns) = Txns::decode(&changed) {
                let _ = txns.entries().flat_map(|(_, entry)| entry.operations).count();
            }
            let longer: Vec<u8> = good.iter().copied().chain([byte]).collect();
            prop_assert!(Txns::decode(&longer).is_err());
        }

        /// proves: D2
        #[test]
        fn hostile_noise_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Txns::decode(&bytes).map(|txns| txns.entries().count());
            let _ = Part::decode(&bytes).map(|part| part.operations.count());
            let _ = CommitMark::decode(&bytes);
            let _ = Loss::decode(&bytes);
        }

        #[test]
        fn spans_name_what_was_encoded(operations in operations()) {
            let encoded = buffer(&operations).finish(1);
            let bytes = |span| encoded.slice(span).to_vec();
            let seen = encoded.operations().map(|operation| match operation {
                OpSpan::Put(ks, key, value) => Op::Put(ks.0, bytes(key), bytes(value)),
                OpSpan::Delete(ks, key) => Op::Delete(ks.0, bytes(key)),
                OpSpan::DeleteRange(ks, a, b) => Op::DeleteRange(ks.0, bytes(a), bytes(b)),
            });
            prop_assert_eq!(seen.collect::<Vec<_>>(), operations);
        }
    }

    #[test]
    fn a_commit_and_a_loss_round_trip() {
        let mark = CommitMark { txn_id: 1, version: 2, log_time_ms: 3, parts: 4 };
        assert_eq!(CommitMark::decode(&mark.encode()).unwrap(), mark);
        let loss = Loss {
            from_position: 1,
            to_position: 2,
            from_lsn: 3,
            end_lsn: 4,
            next_version: 5,
            audit: b"me",
        };
        assert_eq!(Loss::decode(&loss.encode()).unwrap(), loss);
        let backwards = Loss { from_position: 3, ..loss };
        assert!(Loss::decode(&backwards.encode()).is_err());
    }

    /// A varint must have its shortest form: one state, one encoding.
    #[test]
    fn malformed_payloads_are_named() {
        let entry = |head: &[u8]| {
            let mut bytes = u32::try_from(head.len()).unwrap().to_le_bytes().to_vec();
            bytes.extend_from_slice(head);
            txns_payload(1, 1, &[&bytes])
        };
        let named = |payload: &[u8]| Txns::decode(payload).unwrap_err().what;
        let id = [0_u8; 8];
        let with = |rest: &[u8]| entry(&[&id, rest].concat());
        assert_eq!(named(&with(&[1, 0])), "unknown flags");
        assert_eq!(named(&with(&[0, 0x80, 0])), "a varint longer than it must be");
        assert_eq!(named(&with(&[0, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F])), "a varint above 32 bits");
        assert_eq!(named(&with(&[0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF])), "a varint without an end");
        assert_eq!(named(&with(&[0, 1, 9, 0, 0, 0, 0])), "an unknown operation");
        assert_eq!(named(&with(&[0, 1, 2, 0, 0, 0, 1, 7])), "a delete with a value");
        assert_eq!(named(&with(&[0, 0, 7])), "bytes behind the last operation");
        assert_eq!(named(&txns_payload(1, 1, &[])), "no transactions");
        assert_eq!(named(&txns_payload(0, 1, &[])), "a version or time out of range");
        let mut pad = txns_payload(1, 1, &[]);
        *pad.last_mut().unwrap() = 1;
        assert_eq!(named(&pad), "a pad that is not zero");
    }
}
