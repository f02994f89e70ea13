//! The ordered index of the overlay: what was written to a range of keys.
//!
//! Built only when somebody scans, and then up to the version that the scan sees.
//!
//! Invariant: an entry's key is the bytes of a transaction that the entry keeps alive.

use std::borrow::Borrow;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use rekindle_engine::KeyspaceId;

use super::KeyRange;
use crate::encode::{Encoded, OpSpan, Span};
use crate::own::covers;

/// A key at a version, ordered by (keyspace, key, newest first).
type SlotKey<'a> = (KeyspaceId, &'a [u8], Reverse<u64>);

/// Something that stands where a [`Slot`] would: looked-up keys need not own their bytes.
trait AsSlot {
    fn slot(&self) -> SlotKey<'_>;
}

impl PartialEq for dyn AsSlot + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.slot() == other.slot()
    }
}
impl Eq for dyn AsSlot + '_ {}
impl PartialOrd for dyn AsSlot + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for dyn AsSlot + '_ {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.slot().cmp(&other.slot())
    }
}

impl AsSlot for SlotKey<'_> {
    fn slot(&self) -> SlotKey<'_> {
        *self
    }
}

/// An entry's key: bytes of a transaction that is kept alive by it.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) keyspace: KeyspaceId,
    pub(super) version: u64,
    key: Span,
    source: Arc<Encoded>,
}

impl Slot {
    /// The key.
    pub(super) fn key(&self) -> &[u8] {
        self.source.slice(self.key)
    }

    /// The value in a span of the same transaction.
    pub(super) fn value(&self, span: Option<Span>) -> Option<&[u8]> {
        span.map(|span| self.source.slice(span))
    }
}

impl AsSlot for Slot {
    fn slot(&self) -> SlotKey<'_> {
        (self.keyspace, self.source.slice(self.key), Reverse(self.version))
    }
}
impl<'a> Borrow<dyn AsSlot + 'a> for Slot {
    fn borrow(&self) -> &(dyn AsSlot + 'a) {
        self
    }
}
impl PartialEq for Slot {
    fn eq(&self, other: &Self) -> bool {
        self.slot() == other.slot()
    }
}
impl Eq for Slot {}
impl PartialOrd for Slot {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Slot {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.slot().cmp(&other.slot())
    }
}

/// The writes of all transactions up to a version, by key.
#[derive(Debug)]
pub(super) struct Ordered {
    entries: BTreeMap<Slot, Option<Span>>,
    until: u64,
}

impl Ordered {
    /// An index behind `version`.
    pub(super) fn new(version: u64) -> Self {
        Self { entries: BTreeMap::new(), until: version }
    }

    /// The last version that is in it.
    pub(super) fn until(&self) -> u64 {
        self.until
    }

    /// Adds the next transaction.
    pub(super) fn insert(&mut self, version: u64, source: &Arc<Encoded>) {
        assert!(version > self.until, "transactions come in their order");
        self.until = version;
        for operation in source.operations() {
            let (keyspace, key, value) = match operation {
                OpSpan::Put(keyspace, key, value) => (keyspace, key, Some(value)),
                OpSpan::Delete(keyspace, key) => (keyspace, key, None),
                OpSpan::DeleteRange(keyspace, start, end) => {
                    self.uncover(version, source, keyspace, (start, end));
                    continue;
                }
            };
            let slot = Slot { keyspace, version, key, source: Arc::clone(source) };
            self.entries.insert(slot, value);
        }
    }

    /// What the same transaction wrote into a range before it removed the range is gone.
    fn uncover(
        &mut self,
        version: u64,
        source: &Encoded,
        keyspace: KeyspaceId,
        (start, end): (Span, Span),
    ) {
        for (written, key) in written_keys(source) {
            let key = source.slice(key);
            let (start, end) = (source.slice(start), source.slice(end));
            if written == keyspace && covers(start, end, key) {
                let slot: SlotKey<'_> = (keyspace, key, Reverse(version));
                self.entries.remove(&slot as &dyn AsSlot);
            }
        }
    }

    /// Takes the oldest transaction out; one that is not in it was never asked for.
    pub(super) fn remove(&mut self, version: u64, source: &Encoded) {
        if version > self.until {
            debug_assert_eq!(version, self.until + 1, "transactions leave in their order");
            self.until = version;
            return;
        }
        for (keyspace, key) in written_keys(source) {
            let slot: SlotKey<'_> = (keyspace, source.slice(key), Reverse(version));
            self.entries.remove(&slot as &dyn AsSlot);
        }
    }

    /// Whether nothing is in it.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The newest entry of a key at or below `at`.
    pub(super) fn newest(
        &self,
        keyspace: KeyspaceId,
        key: &[u8],
        at: u64,
    ) -> Option<(&Slot, Option<Span>)> {
        let from: SlotKey<'_> = (keyspace, key, Reverse(at));
        let from = Bound::Included(&from as &dyn AsSlot);
        let (slot, value) = self.entries.range::<dyn AsSlot, _>((from, Bound::Unbounded)).next()?;
        (slot.keyspace == keyspace && slot.key() == key).then_some((slot, *value))
    }

    /// All entries of a range, ascending, newest first for each key.
    pub(super) fn slots_in<'a>(
        &'a self,
        keyspace: KeyspaceId,
        range: KeyRange<'_>,
    ) -> impl DoubleEndedIterator<Item = (&'a Slot, Option<Span>)> + use<'a> {
        let (first, first_excluded) = match range.0 {
            Bound::Unbounded => (&[][..], false),
            Bound::Included(key) => (key, false),
            Bound::Excluded(key) => (key, true),
        };
        // Version 0 sorts behind all entries of a key, the highest before them.
        let edge = if first_excluded { 0 } else { u64::MAX };
        let from: SlotKey<'_> = (keyspace, first, Reverse(edge));
        let until: Option<(&[u8], bool)> = match range.1 {
            Bound::Unbounded => None,
            Bound::Included(key) => Some((key, true)),
            Bound::Excluded(key) => Some((key, false)),
        };
        let empty = until.is_some_and(|(key, included)| {
            key < first || (key == first && (first_excluded || !included))
        });
        let last: SlotKey<'_> = match until {
            Some((key, true)) => (keyspace, key, Reverse(0)),
            Some((key, false)) => (keyspace, key, Reverse(u64::MAX)),
            None => (KeyspaceId(keyspace.0.saturating_add(1)), &[], Reverse(u64::MAX)),
        };
        let unbounded = until.is_none() && keyspace.0 == u16::MAX;
        let from = Bound::Excluded(&from as &dyn AsSlot);
        let to = match unbounded {
            true => Bound::Unbounded,
            false => Bound::Excluded(&last as &dyn AsSlot),
        };
        let slots = (!empty).then(|| self.entries.range::<dyn AsSlot, _>((from, to)));
        slots.into_iter().flatten().map(|(slot, value)| (slot, *value))
    }
}

/// The keys that a transaction writes one by one.
fn written_keys(source: &Encoded) -> impl Iterator<Item = (KeyspaceId, Span)> {
    source.operations().filter_map(|operation| match operation {
        OpSpan::Put(keyspace, key, _) | OpSpan::Delete(keyspace, key) => Some((keyspace, key)),
        OpSpan::DeleteRange(..) => None,
    })
}
