//! The pending overlay: the writes of recent transactions, newest first for each key.
//!
//! It holds every write above its floor, which is the lower one of what the engine shows and of the
//! oldest running reader. So it answers two questions: what is `latest` (an entry that the engine
//! does not have yet), and did anything that a reader saw change (conflicts.rs).
//!
//! While nobody asks, transactions are only queued: the first question about a version puts
//! everything up to it into the index by hash, the first scan into the ordered one too, so writers
//! that never read pay nothing for those who do, and readers of keys nothing for those who scan.
//!
//! Invariants: versions are pushed densely and pruned from the front; what is asked was indexed; a
//! key's entry and a range of the same version: the entry is newer, because a later range hides
//! the entries before it.

mod ordered;
mod points;

use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;

use rekindle_engine::KeyspaceId;
use rekindle_journal::Ticket;

use crate::encode::{Encoded, OpSpan, Span};
use crate::own::covers;
use ordered::Ordered;
use points::{Heads, Link, Place};

/// What an operation costs beside its bytes: its link, its head, and its entry once somebody scans;
/// an estimate that errs upwards.
const ENTRY_OVERHEAD_BYTES: u64 = 208;
/// What a transaction costs beside that: its place in the queue with slack, its allocations.
const TXN_OVERHEAD_BYTES: u64 = 208;

/// Links of a chain that are followed before the ordered index is asked: a reader of the past of a
/// key that changes all the time must not walk through all of its changes.
const LINKS_MAX: usize = 64;

/// A range of keys as it is scanned.
pub(crate) type KeyRange<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

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
        let (start, end) = (self.source.slice(self.start), self.source.slice(self.end));
        self.keyspace == keyspace && covers(start, end, key)
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
    /// Its operations on single keys; empty until it is in the index by hash.
    links: Vec<Link>,
}

/// What it wrote.
#[derive(Debug)]
enum Source {
    /// Only here.
    Own(Encoded),
    /// Kept by ranges and ordered entries, too.
    Shared(Arc<Encoded>),
}

impl Source {
    fn encoded(&self) -> &Encoded {
        match self {
            Self::Own(encoded) => encoded,
            Self::Shared(encoded) => encoded,
        }
    }

    fn share(&mut self) -> Arc<Encoded> {
        let shared = match self {
            Self::Own(encoded) => Arc::new(std::mem::take(encoded)),
            Self::Shared(encoded) => Arc::clone(encoded),
        };
        *self = Self::Shared(Arc::clone(&shared));
        shared
    }
}

/// Where the chain of a key led.
enum Chain {
    /// To this entry.
    Entry(Place),
    /// To its end.
    Ended,
    /// Through too many entries that were not looked for.
    TooLong,
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
#[derive(Debug)]
pub(crate) struct Overlay {
    recent: VecDeque<Recent>,
    heads: Heads,
    ordered: Ordered,
    ranges: VecDeque<RangeWrite>,
    /// Version of the last transaction that was pruned: everything above it is here.
    floor: u64,
    /// Version of the last transaction that is in the index by hash.
    indexed: u64,
    bytes: u64,
}

impl Overlay {
    /// An overlay behind `version`. The seed is that of its hashes.
    pub(crate) fn new(version: u64, seed: u64) -> Self {
        Self {
            recent: VecDeque::new(),
            heads: Heads::new(seed),
            ordered: Ordered::new(version),
            ranges: VecDeque::new(),
            floor: version,
            indexed: version,
            bytes: 0,
        }
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
        self.recent.push_back(Recent { ticket, source: Source::Own(encoded), links: Vec::new() });
    }

    /// Puts everything that was pushed into the index by hash, so that keys can be asked for.
    pub(crate) fn index(&mut self) {
        let latest = self.latest();
        while self.indexed < latest {
            self.indexed += 1;
            self.link(self.indexed);
        }
        debug_assert_eq!(self.indexed, latest);
    }

    /// Puts everything that was pushed into the ordered index too, so that ranges can be asked for.
    pub(crate) fn order(&mut self) {
        let whole = self.order_some(self.latest(), usize::MAX);
        debug_assert!(whole, "without a limit all of it is done");
    }

    /// The same up to a version, for at most `limit` transactions; whether that was all.
    pub(crate) fn order_some(&mut self, version: u64, limit: usize) -> bool {
        self.index();
        let last = version.min(self.latest());
        for version in (self.ordered.until() + 1..=last).take(limit) {
            let at = self.place(version);
            let recent = self.recent.get_mut(at).expect("all above the floor are here");
            self.ordered.insert(version, &recent.source.share());
        }
        self.ordered.until() >= last
    }

    /// Where a version above the floor is.
    fn place(&self, version: u64) -> usize {
        usize::try_from(version - self.floor - 1).expect("an index of a queue")
    }

    /// Puts a transaction into the index by hash.
    fn link(&mut self, version: u64) {
        let at = self.place(version);
        let recent = self.recent.get_mut(at).expect("all above the floor are here");
        let encoded = recent.source.encoded();
        let mut links = Vec::with_capacity(usize::try_from(encoded.count()).unwrap_or(0));
        let mut removed = Vec::new();
        for operation in encoded.operations() {
            let (keyspace, key, value) = match operation {
                OpSpan::Put(keyspace, key, value) => (keyspace, key, Some(value)),
                OpSpan::Delete(keyspace, key) => (keyspace, key, None),
                OpSpan::DeleteRange(keyspace, start, end) => {
                    let (first, behind) = (encoded.slice(start), encoded.slice(end));
                    hide(&mut links, encoded, keyspace, (first, behind));
                    removed.push((keyspace, start, end));
                    continue;
                }
            };
            let hash = self.heads.hash(keyspace, encoded.slice(key));
            let nth = u32::try_from(links.len()).expect("a transaction has fewer operations");
            let older = self.heads.lead(hash, Place { version, nth });
            links.push(Link { hash, keyspace, key, value, older, hidden: false });
        }
        for (keyspace, start, end) in removed {
            let source = recent.source.share();
            self.ranges.push_back(RangeWrite { version, keyspace, start, end, source });
        }
        debug_assert!(recent.links.is_empty(), "a transaction is indexed once");
        recent.links = links;
    }

    /// Forgets the transactions up to `version`.
    pub(crate) fn prune(&mut self, version: u64) {
        while self.floor < version {
            let Some(oldest) = self.recent.pop_front() else { break };
            self.floor += 1;
            let version = self.floor;
            self.bytes -= cost(oldest.source.encoded());
            for (nth, link) in (0..).zip(&oldest.links) {
                self.heads.forget(link.hash, Place { version, nth });
            }
            self.ordered.remove(version, oldest.source.encoded());
        }
        self.indexed = self.indexed.max(self.floor);
        debug_assert!(self.indexed <= self.latest(), "only what was pushed is indexed");
        while self.ranges.front().is_some_and(|range| range.version <= self.floor) {
            self.ranges.pop_front();
        }
        let empty = self.heads.is_empty() && self.ordered.is_empty();
        debug_assert!(!self.recent.is_empty() || empty, "entries have a source");
        debug_assert!(!self.recent.is_empty() || self.bytes == 0, "bytes have a source");
    }

    /// Drops everything: what was pending is unknown. The engine stands at `version`.
    pub(crate) fn drop_pending(&mut self, version: u64) {
        assert!(version <= self.latest(), "what is visible was ordered");
        self.restart(version);
    }

    /// Begins anew: the engine stands at `version`, and nothing is pending.
    pub(crate) fn restart(&mut self, version: u64) {
        *self = Self::new(version, self.heads.seed());
    }

    /// The ticket of a transaction that is still here.
    pub(crate) fn ticket(&self, version: u64) -> Option<Ticket> {
        debug_assert!(version <= self.latest(), "a ticket of a version that was given out");
        let index = usize::try_from(version.checked_sub(self.floor + 1)?).ok()?;
        self.recent.get(index).map(|recent| recent.ticket)
    }

    /// What it knows of a key at version `at`.
    pub(crate) fn get(&mut self, keyspace: KeyspaceId, key: &[u8], at: u64) -> Option<Found<'_>> {
        debug_assert!(at.min(self.latest()) <= self.indexed, "what is asked was indexed");
        let mut ranges = self.ranges.iter().rev().filter(|range| range.version <= at);
        let range = ranges.find(|range| range.covers(keyspace, key)).map(|range| range.version);
        match (self.newest_entry(keyspace, key, at), range) {
            (Some(entry), Some(range)) if range > entry.version => {
                Some(Found { version: range, value: None })
            }
            (Some(entry), _) => Some(entry),
            (None, Some(version)) => Some(Found { version, value: None }),
            (None, None) => None,
        }
    }

    fn newest_entry(&mut self, keyspace: KeyspaceId, key: &[u8], at: u64) -> Option<Found<'_>> {
        match self.follow(keyspace, key, at) {
            Chain::Ended => None,
            Chain::Entry(place) => {
                let (recent, link) = self.linked(place)?;
                let value = link.value.map(|value| recent.source.encoded().slice(value));
                Some(Found { version: place.version, value })
            }
            Chain::TooLong => {
                self.order_some(at, usize::MAX);
                let (slot, value) = self.ordered.newest(keyspace, key, at)?;
                Some(Found { version: slot.version, value: slot.value(value) })
            }
        }
    }

    /// Follows the chain of a key to its newest entry at or below `at`.
    fn follow(&self, keyspace: KeyspaceId, key: &[u8], at: u64) -> Chain {
        let mut place = self.heads.newest(self.heads.hash(keyspace, key));
        for _ in 0..LINKS_MAX {
            let Some((recent, link)) = self.linked(place) else { return Chain::Ended };
            let same = link.keyspace == keyspace && recent.source.encoded().slice(link.key) == key;
            if same && !link.hidden && place.version <= at {
                return Chain::Entry(place);
            }
            place = link.older;
        }
        Chain::TooLong
    }

    /// The operation in a place; none below the floor.
    fn linked(&self, place: Place) -> Option<(&Recent, &Link)> {
        if place.version <= self.floor {
            return None;
        }
        let recent = self.recent.get(self.place(place.version))?;
        Some((recent, recent.links.get(usize::try_from(place.nth).ok()?)?))
    }

    /// The newest entry at or below `at` of each key in a range, ascending. Removed ranges are not
    /// looked at; see [`Overlay::ranges_meeting`].
    pub(crate) fn entries_in<'a>(
        &'a self,
        keyspace: KeyspaceId,
        range: KeyRange<'_>,
        at: u64,
    ) -> impl Iterator<Item = (&'a [u8], Found<'a>)> + use<'a> {
        debug_assert!(at.min(self.latest()) <= self.ordered.until(), "what is asked was ordered");
        let mut last: Option<&'a [u8]> = None;
        self.ordered.slots_in(keyspace, range).filter_map(move |(slot, value)| {
            let key = slot.key();
            if slot.version > at || last == Some(key) {
                return None;
            }
            last = Some(key);
            Some((key, Found { version: slot.version, value: slot.value(value) }))
        })
    }

    /// The same, descending.
    pub(crate) fn entries_in_reverse<'a>(
        &'a self,
        keyspace: KeyspaceId,
        range: KeyRange<'_>,
        at: u64,
    ) -> impl Iterator<Item = (&'a [u8], Found<'a>)> + use<'a> {
        debug_assert!(at.min(self.latest()) <= self.ordered.until(), "what is asked was ordered");
        // Descending, a key's oldest entry comes first: the last one that is visible counts.
        let visible = self.ordered.slots_in(keyspace, range).rev();
        let mut visible = visible.filter(move |(slot, _)| slot.version <= at).peekable();
        std::iter::from_fn(move || {
            let (mut slot, mut value) = visible.next()?;
            let key = slot.key();
            while let Some(newer) = visible.next_if(|(newer, _)| newer.key() == key) {
                (slot, value) = newer;
            }
            Some((key, Found { version: slot.version, value: slot.value(value) }))
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
        debug_assert_eq!(self.ordered.until(), self.latest(), "validation sees everything");
        let mut written = self.ranges.iter().rev().take_while(|written| written.version > since);
        if let Some(written) = written.find(|written| written.meets(keyspace, range)) {
            return Some((written.source.slice(written.start), written.version));
        }
        let mut slots = self.ordered.slots_in(keyspace, range);
        let (slot, _) = slots.find(|(slot, _)| slot.version > since)?;
        Some((slot.key(), slot.version))
    }
}

/// Hides what a transaction wrote into a range before it removed the range.
fn hide(links: &mut [Link], encoded: &Encoded, keyspace: KeyspaceId, (start, end): (&[u8], &[u8])) {
    for link in links.iter_mut().filter(|link| link.keyspace == keyspace) {
        link.hidden |= covers(start, end, encoded.slice(link.key));
    }
}

/// What a transaction costs while it is here.
fn cost(source: &Encoded) -> u64 {
    let bytes = u64::try_from(source.entry().len()).expect("a usize fits a u64");
    bytes + TXN_OVERHEAD_BYTES + ENTRY_OVERHEAD_BYTES * u64::from(source.count())
}

#[cfg(test)]
mod tests;
