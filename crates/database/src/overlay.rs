//! The pending overlay: the writes of recent transactions, newest first for each key.
//!
//! It holds every write above its floor, which is the lower one of what the engine shows and of the
//! oldest running reader. So it answers two questions: what is `latest` (an entry that the engine
//! does not have yet), and did anything that a reader saw change (conflicts.rs).
//!
//! While nobody asks, transactions are only queued: the first question about a version sorts
//! everything up to it into the index, so writers that never read pay nothing for those who do.
//!
//! Invariants: versions are pushed densely and pruned from the front; what is asked was indexed; a
//! key's entry and a range of the same version: the entry is newer, because a later range removes
//! the entries before it.

use std::borrow::Borrow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use rekindle_engine::KeyspaceId;
use rekindle_journal::Ticket;

use crate::encode::{Encoded, OpSpan, Span};

/// What an entry costs beside its bytes; an estimate that errs upwards.
const ENTRY_OVERHEAD_BYTES: u64 = 112;

/// A range of keys as it is scanned.
pub(crate) type KeyRange<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

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
struct Slot {
    keyspace: KeyspaceId,
    version: u64,
    key: Span,
    source: Arc<Encoded>,
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

/// A removed range that is still pending.
#[derive(Debug)]
struct RangeWrite {
    version: u64,
    keyspace: KeyspaceId,
    start: Span,
    end: Span,
    source: Arc<Encoded>,
}

impl RangeWrite {
    fn covers(&self, keyspace: KeyspaceId, key: &[u8]) -> bool {
        let end = self.source.slice(self.end);
        self.keyspace == keyspace
            && key >= self.source.slice(self.start)
            && (end.is_empty() || key < end)
    }

    fn meets(&self, keyspace: KeyspaceId, range: KeyRange<'_>) -> bool {
        let (start, end) = (self.source.slice(self.start), self.source.slice(self.end));
        let begins_before_our_end = match range.1 {
            Bound::Unbounded => true,
            Bound::Included(last) => start <= last,
            Bound::Excluded(behind) => start < behind,
        };
        let ends_behind_our_start = end.is_empty()
            || match range.0 {
                Bound::Unbounded => true,
                Bound::Included(first) | Bound::Excluded(first) => end > first,
            };
        self.keyspace == keyspace && begins_before_our_end && ends_behind_our_start
    }
}

/// One transaction above the floor.
#[derive(Debug)]
struct Recent {
    ticket: Ticket,
    source: Source,
}

/// Its writes.
#[derive(Debug)]
enum Source {
    /// Not in the index yet.
    Queued(Encoded),
    /// In the index, whose entries share it.
    Indexed(Arc<Encoded>),
}

impl Source {
    fn encoded(&self) -> &Encoded {
        match self {
            Self::Queued(encoded) => encoded,
            Self::Indexed(encoded) => encoded,
        }
    }
}

/// What the overlay knows of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found<'a> {
    /// The transaction that wrote it.
    pub(crate) version: u64,
    /// Its value; `None` when it was removed.
    pub(crate) value: Option<&'a [u8]>,
}

/// The writes of recent transactions.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    entries: BTreeMap<Slot, Option<Span>>,
    ranges: VecDeque<RangeWrite>,
    recent: VecDeque<Recent>,
    /// Version of the last transaction that was pruned: everything above it is here.
    floor: u64,
    /// Version of the last transaction that is in the index.
    indexed: u64,
    bytes: u64,
}

impl Overlay {
    /// An overlay behind `version`.
    pub(crate) fn new(version: u64) -> Self {
        Self { floor: version, indexed: version, ..Self::default() }
    }

    /// Version of the last transaction, or of the last pruned one.
    pub(crate) fn latest(&self) -> u64 {
        self.floor + u64::try_from(self.recent.len()).expect("a usize fits a u64")
    }

    /// Everything above this version is here.
    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds the next transaction.
    pub(crate) fn push(&mut self, version: u64, ticket: Ticket, encoded: Encoded) {
        assert_eq!(version, self.latest() + 1, "versions are pushed densely");
        assert!(encoded.count() > 0, "a transaction that writes nothing has no version");
        debug_assert!(
            self.recent.back().is_none_or(|last| last.ticket <= ticket),
            "versions and batches rise together"
        );
        self.bytes += cost(&encoded);
        self.recent.push_back(Recent { ticket, source: Source::Queued(encoded) });
    }

    /// Puts everything that was pushed into the index, so that it can be asked.
    pub(crate) fn index(&mut self) {
        let latest = self.latest();
        while self.indexed < latest {
            let at = usize::try_from(self.indexed - self.floor).expect("an index of a queue");
            self.indexed += 1;
            let recent = self.recent.get_mut(at).expect("all above the floor are queued");
            let Source::Queued(encoded) = &mut recent.source else {
                unreachable!("what is above `indexed` is queued")
            };
            let shared = Arc::new(std::mem::take(encoded));
            recent.source = Source::Indexed(Arc::clone(&shared));
            self.insert(self.indexed, &shared);
        }
        debug_assert_eq!(self.indexed, latest);
    }

    /// Adds a transaction to the index.
    fn insert(&mut self, version: u64, source: &Arc<Encoded>) {
        for operation in source.operations() {
            match operation {
                OpSpan::Put(keyspace, key, value) => {
                    let slot = Slot { keyspace, version, key, source: Arc::clone(source) };
                    self.entries.insert(slot, Some(value));
                }
                OpSpan::Delete(keyspace, key) => {
                    let slot = Slot { keyspace, version, key, source: Arc::clone(source) };
                    self.entries.insert(slot, None);
                }
                OpSpan::DeleteRange(keyspace, start, end) => {
                    let source = Arc::clone(source);
                    self.push_range(RangeWrite { version, keyspace, start, end, source });
                }
            }
        }
    }

    /// Adds a removed range; what the same transaction wrote into it before is gone.
    fn push_range(&mut self, range: RangeWrite) {
        let operations = range.source.operations();
        let keys = operations.filter_map(|operation| match operation {
            OpSpan::Put(keyspace, key, _) | OpSpan::Delete(keyspace, key) => Some((keyspace, key)),
            OpSpan::DeleteRange(..) => None,
        });
        for (keyspace, key) in keys {
            let key = range.source.slice(key);
            if range.covers(keyspace, key) {
                let slot: SlotKey<'_> = (keyspace, key, Reverse(range.version));
                self.entries.remove(&slot as &dyn AsSlot);
            }
        }
        self.ranges.push_back(range);
    }

    /// Forgets the transactions up to `version`.
    pub(crate) fn prune(&mut self, version: u64) {
        while self.floor < version {
            let Some(oldest) = self.recent.pop_front() else { break };
            self.floor += 1;
            self.bytes -= cost(oldest.source.encoded());
            if let Source::Indexed(source) = &oldest.source {
                self.remove(self.floor, source);
            }
        }
        self.indexed = self.indexed.max(self.floor);
        debug_assert!(self.indexed <= self.latest(), "only what was pushed is indexed");
        while self.ranges.front().is_some_and(|range| range.version <= self.floor) {
            self.ranges.pop_front();
        }
        debug_assert!(!self.recent.is_empty() || self.entries.is_empty(), "entries have a source");
        debug_assert!(!self.recent.is_empty() || self.bytes == 0, "bytes have a source");
    }

    /// Takes a transaction out of the index.
    fn remove(&mut self, version: u64, source: &Encoded) {
        for operation in source.operations() {
            let (OpSpan::Put(keyspace, key, _) | OpSpan::Delete(keyspace, key)) = operation else {
                continue;
            };
            let slot: SlotKey<'_> = (keyspace, source.slice(key), Reverse(version));
            self.entries.remove(&slot as &dyn AsSlot);
        }
    }

    /// Drops everything: what was pending is unknown. The engine stands at `version`.
    pub(crate) fn drop_pending(&mut self, version: u64) {
        assert!(version <= self.latest(), "what is visible was ordered");
        *self = Self::new(version);
    }

    /// The ticket of a transaction that is still here.
    pub(crate) fn ticket(&self, version: u64) -> Option<Ticket> {
        debug_assert!(version <= self.latest(), "a ticket of a version that was given out");
        let index = usize::try_from(version.checked_sub(self.floor + 1)?).ok()?;
        self.recent.get(index).map(|recent| recent.ticket)
    }

    /// What it knows of a key at version `at`.
    pub(crate) fn get(&self, keyspace: KeyspaceId, key: &[u8], at: u64) -> Option<Found<'_>> {
        debug_assert!(at.min(self.latest()) <= self.indexed, "what is asked was indexed");
        let entry = self.newest_entry(keyspace, key, at);
        let mut ranges = self.ranges.iter().rev().filter(|range| range.version <= at);
        let range = ranges.find(|range| range.covers(keyspace, key)).map(|range| range.version);
        match (entry, range) {
            (Some(entry), Some(range)) if range > entry.version => {
                Some(Found { version: range, value: None })
            }
            (Some(entry), _) => Some(entry),
            (None, Some(version)) => Some(Found { version, value: None }),
            (None, None) => None,
        }
    }

    fn newest_entry(&self, keyspace: KeyspaceId, key: &[u8], at: u64) -> Option<Found<'_>> {
        if self.entries.is_empty() {
            return None;
        }
        let from: SlotKey<'_> = (keyspace, key, Reverse(at));
        let from = Bound::Included(&from as &dyn AsSlot);
        let (slot, value) = self.entries.range::<dyn AsSlot, _>((from, Bound::Unbounded)).next()?;
        let same = slot.keyspace == keyspace && slot.source.slice(slot.key) == key;
        same.then(|| Found {
            version: slot.version,
            value: value.map(|value| slot.source.slice(value)),
        })
    }

    /// The newest entry at or below `at` of each key in a range, ascending. Removed ranges are not
    /// looked at; see [`Overlay::ranges_meeting`].
    pub(crate) fn entries_in<'a>(
        &'a self,
        keyspace: KeyspaceId,
        range: KeyRange<'_>,
        at: u64,
    ) -> impl Iterator<Item = (&'a [u8], Found<'a>)> + use<'a> {
        debug_assert!(at.min(self.latest()) <= self.indexed, "what is asked was indexed");
        let mut last: Option<&'a [u8]> = None;
        self.slots_in(keyspace, range).filter_map(move |(slot, value)| {
            let key = slot.source.slice(slot.key);
            if slot.version > at || last == Some(key) {
                return None;
            }
            last = Some(key);
            let value = value.map(|value| slot.source.slice(value));
            Some((key, Found { version: slot.version, value }))
        })
    }

    /// All entries of a range, ascending, newest first for each key.
    fn slots_in<'a>(
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

    /// The same, descending.
    pub(crate) fn entries_in_reverse<'a>(
        &'a self,
        keyspace: KeyspaceId,
        range: KeyRange<'_>,
        at: u64,
    ) -> impl Iterator<Item = (&'a [u8], Found<'a>)> + use<'a> {
        // Descending, a key's oldest entry comes first: the last one that is visible counts.
        let visible = self.slots_in(keyspace, range).rev();
        let mut visible = visible.filter(move |(slot, _)| slot.version <= at).peekable();
        std::iter::from_fn(move || {
            let (mut slot, mut value) = visible.next()?;
            let key = slot.source.slice(slot.key);
            while let Some(newer) =
                visible.next_if(|(newer, _)| newer.source.slice(newer.key) == key)
            {
                (slot, value) = newer;
            }
            let value = value.map(|value| slot.source.slice(value));
            Some((key, Found { version: slot.version, value }))
        })
    }

    /// The removed ranges at or below `at` that meet a scanned one: version, first key, key behind
    /// the last.
    pub(crate) fn ranges_meeting(
        &self,
        keyspace: KeyspaceId,
        range: KeyRange<'_>,
        at: u64,
    ) -> Vec<(u64, Vec<u8>, Vec<u8>)> {
        let written = self.ranges.iter().filter(|written| written.version <= at);
        let meeting = written.filter(|written| written.meets(keyspace, range));
        let bytes = |written: &RangeWrite, span| written.source.slice(span).to_vec();
        meeting
            .map(|written| {
                (written.version, bytes(written, written.start), bytes(written, written.end))
            })
            .collect()
    }

    /// A change in a range above version `since`: the key (the range's first one for a removed
    /// range) and the version.
    pub(crate) fn change_in(
        &self,
        keyspace: KeyspaceId,
        range: KeyRange<'_>,
        since: u64,
    ) -> Option<(&[u8], u64)> {
        debug_assert_eq!(self.indexed, self.latest(), "validation sees everything ordered");
        let mut written = self.ranges.iter().rev().take_while(|written| written.version > since);
        if let Some(written) = written.find(|written| written.meets(keyspace, range)) {
            return Some((written.source.slice(written.start), written.version));
        }
        let mut slots = self.slots_in(keyspace, range);
        let (slot, _) = slots.find(|(slot, _)| slot.version > since)?;
        Some((slot.source.slice(slot.key), slot.version))
    }
}

/// What a transaction costs while it is here.
fn cost(source: &Encoded) -> u64 {
    let bytes = u64::try_from(source.entry().len()).expect("a usize fits a u64");
    bytes + ENTRY_OVERHEAD_BYTES * u64::from(source.count())
}
