//! A transaction's own writes, as its own reads see them.
//!
//! The operations lie encoded in one buffer; the index is built only when somebody reads.

use std::collections::BTreeMap;
use std::ops::Bound;

use rekindle_engine::KeyspaceId;

use crate::encode::{EntryBuffer, OpSpan, Span};
use crate::overlay::KeyRange;

/// An index over the writes of one transaction.
#[derive(Debug, Default)]
pub(crate) struct OwnWrites {
    entries: BTreeMap<(KeyspaceId, Vec<u8>), Option<Span>>,
    ranges: Vec<(KeyspaceId, Vec<u8>, Vec<u8>)>,
    /// Bytes of the buffer that are indexed.
    indexed: usize,
}

/// What a transaction wrote to a key: a value, or that it is gone.
pub(crate) type OwnWrite<'a> = Option<&'a [u8]>;

impl OwnWrites {
    /// Takes in what was written since the last call.
    pub(crate) fn index(&mut self, writes: &EntryBuffer) {
        if self.indexed == writes.len() {
            return;
        }
        assert!(self.indexed <= writes.len(), "what was written is only added to");
        for (operation, behind) in writes.operations_from(self.indexed) {
            match operation {
                OpSpan::Put(keyspace, key, value) => {
                    self.entries.insert((keyspace, writes.slice(key).to_vec()), Some(value));
                }
                OpSpan::Delete(keyspace, key) => {
                    self.entries.insert((keyspace, writes.slice(key).to_vec()), None);
                }
                OpSpan::DeleteRange(keyspace, start, end) => {
                    let (start, end) = (writes.slice(start), writes.slice(end));
                    let from = (keyspace, start.to_vec());
                    let covered = self.entries.range(from..).map(|(key, _)| key);
                    let covered =
                        covered.take_while(|(at, key)| *at == keyspace && covers(start, end, key));
                    for key in covered.cloned().collect::<Vec<_>>() {
                        self.entries.remove(&key);
                    }
                    self.ranges.push((keyspace, start.to_vec(), end.to_vec()));
                }
            }
            self.indexed = behind;
        }
        debug_assert_eq!(self.indexed, writes.len(), "a transaction sees all of its writes");
    }

    /// What was written to a key, if anything.
    pub(crate) fn get<'a>(
        &self,
        writes: &'a EntryBuffer,
        keyspace: KeyspaceId,
        key: &[u8],
    ) -> Option<OwnWrite<'a>> {
        if self.entries.is_empty() && self.ranges.is_empty() {
            return None;
        }
        match self.entries.get(&(keyspace, key.to_vec())) {
            Some(value) => Some(value.map(|value| writes.slice(value))),
            None => self.removes(keyspace, key).then_some(None),
        }
    }

    /// Whether a key lies in a range that was removed (and was not written after that).
    pub(crate) fn removes(&self, keyspace: KeyspaceId, key: &[u8]) -> bool {
        self.ranges.iter().any(|(at, start, end)| *at == keyspace && covers(start, end, key))
    }

    /// Whether nothing was written.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.ranges.is_empty()
    }

    /// The written keys of a range, ascending.
    pub(crate) fn entries_in<'a>(
        &'a self,
        writes: &'a EntryBuffer,
        keyspace: KeyspaceId,
        range: KeyRange<'_>,
    ) -> impl Iterator<Item = (&'a [u8], OwnWrite<'a>)> {
        let start = match range.0 {
            Bound::Included(key) => Bound::Included((keyspace, key.to_vec())),
            Bound::Excluded(key) => Bound::Excluded((keyspace, key.to_vec())),
            Bound::Unbounded => Bound::Included((keyspace, Vec::new())),
        };
        let end: Bound<Vec<u8>> = range.1.map(<[u8]>::to_vec);
        self.entries
            .range((start, Bound::Unbounded))
            .take_while(move |((at, key), _)| {
                let inside = match &end {
                    Bound::Included(last) => key <= last,
                    Bound::Excluded(behind) => key < behind,
                    Bound::Unbounded => true,
                };
                *at == keyspace && inside
            })
            .map(|((_, key), value)| (key.as_slice(), value.map(|value| writes.slice(value))))
    }
}

/// Whether a removed range holds a key; an empty end has no bound.
pub(crate) fn covers(start: &[u8], end: &[u8], key: &[u8]) -> bool {
    key >= start && (end.is_empty() || key < end)
}
