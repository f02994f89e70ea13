//! The sorted rows of one keyspace: leaves of up to 64 slots under a map of their first keys.
//!
//! Why not one `BTreeMap` of rows: ascending keys (journals, queues, logs) append to the last leaf
//! without a search and leave every leaf full; a leaf is one cache-friendly block for scans; a search
//! in a leaf compares inline keys.
//!
//! Invariants: a leaf's separator is at or below all of its keys and above all keys of the leaf
//! before; the first separator is the empty key, so every key has a leaf; only the first leaf may be
//! empty. `totals` equals the sum of [`Slot::costs`].

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use super::key::Key;
use super::past::Garbage;
use super::slot::{Slot, Tally};

/// Slots of a full leaf: 3.5 KiB, about what one insertion in the middle may move.
const LEAF_SLOTS: usize = 64;

/// Below this a leaf looks for a neighbour to join.
const LEAF_SLOTS_LOW: usize = LEAF_SLOTS / 4;

/// All rows of a keyspace.
#[derive(Debug)]
pub(super) struct Tree {
    leaves: BTreeMap<Key, Vec<Slot>>,
    totals: Tally,
}

/// How far a bounded walk came.
#[derive(Debug)]
pub(super) enum Walk {
    /// The range ended, or the visitor stopped.
    Done,
    /// The budget ended; go on behind this key (in the direction of the walk).
    More(Key),
}

impl Tree {
    pub(super) fn new() -> Self {
        Self { leaves: BTreeMap::from([(Key::new(&[]), Vec::new())]), totals: Tally::default() }
    }

    /// Bytes and live rows.
    pub(super) fn totals(&self) -> Tally {
        self.totals
    }

    /// The slot of a key.
    pub(super) fn find(&self, key: &[u8]) -> Option<&Slot> {
        let (_, leaf) = self.leaves.range::<[u8], _>(up_to(key)).next_back()?;
        let index = leaf.binary_search_by(|slot| slot.key.as_slice().cmp(key)).ok()?;
        leaf.get(index)
    }

    fn leaf_mut(&mut self, key: &[u8]) -> &mut Vec<Slot> {
        let found = self.leaves.range_mut::<[u8], _>(up_to(key)).next_back();
        found.expect("the first separator is the empty key").1
    }

    /// Sets a key. Answers like [`Slot::replace`].
    pub(super) fn put(&mut self, key: &[u8], version: u64, value: Arc<[u8]>) -> Option<u64> {
        if self.appends(key) {
            self.append(Slot::new(Key::new(key), version, value, &mut Tally::default()));
            return None;
        }
        let mut tally = Tally::default();
        let leaf = self.leaf_mut(key);
        let garbage = match leaf.binary_search_by(|slot| slot.key.as_slice().cmp(key)) {
            Ok(index) => {
                let slot = leaf.get_mut(index).expect("the search found it");
                slot.replace(version, Some(value), &mut tally)
            }
            Err(index) => {
                let slot = Slot::new(Key::new(key), version, value, &mut tally);
                if let Some(right) = insert(leaf, index, slot) {
                    let separator = right.first().expect("a half of a full leaf").key.clone();
                    let before = self.leaves.insert(separator, right);
                    assert!(before.is_none(), "two leaves with one separator");
                }
                None
            }
        };
        self.totals.add(tally);
        garbage
    }

    /// Whether a key lies behind all others.
    fn appends(&self, key: &[u8]) -> bool {
        let last = self.leaves.last_key_value().and_then(|(_, leaf)| leaf.last());
        last.is_none_or(|slot| slot.key.as_slice() < key)
    }

    /// Adds a slot behind all others.
    pub(super) fn append(&mut self, slot: Slot) {
        debug_assert!(self.appends(slot.key.as_slice()));
        self.totals.add(slot.costs());
        let mut last = self.leaves.last_entry().expect("there is always a first leaf");
        if last.get().len() < LEAF_SLOTS {
            last.get_mut().push(slot);
            return;
        }
        let separator = slot.key.clone();
        let mut leaf = Vec::with_capacity(LEAF_SLOTS);
        leaf.push(slot);
        self.leaves.insert(separator, leaf);
    }

    /// Deletes a key. Answers like [`Slot::replace`]; `None` where there is nothing to delete.
    pub(super) fn delete(&mut self, key: &[u8], version: u64) -> Option<u64> {
        let mut tally = Tally::default();
        let leaf = self.leaf_mut(key);
        let index = leaf.binary_search_by(|slot| slot.key.as_slice().cmp(key)).ok()?;
        let slot = leaf.get_mut(index).expect("the search found it");
        slot.value.as_ref()?;
        let garbage = slot.replace(version, None, &mut tally);
        self.totals.add(tally);
        garbage
    }

    /// Deletes the live keys of a range, visiting at most `budget` slots; tells each deleted key and
    /// what [`Slot::replace`] answered.
    pub(super) fn delete_range(
        &mut self,
        start: Bound<&[u8]>,
        end: Bound<&[u8]>,
        version: u64,
        budget: usize,
        mut deleted: impl FnMut(&Key, u64),
    ) -> Walk {
        let mut left = budget;
        let mut tally = Tally::default();
        let mut walk = Walk::Done;
        let first = self.first_leaf(start);
        let leaves =
            self.leaves.range_mut::<[u8], _>((Bound::Included(first.as_slice()), Bound::Unbounded));
        'leaves: for (_, leaf) in leaves {
            let skip = leaf.partition_point(|slot| before_start(slot.key.as_slice(), start));
            for slot in leaf.iter_mut().skip(skip) {
                if behind_end(slot.key.as_slice(), end) {
                    break 'leaves;
                }
                if slot.value.is_some()
                    && let Some(from) = slot.replace(version, None, &mut tally)
                {
                    deleted(&slot.key, from);
                }
                left -= 1;
                if left == 0 {
                    walk = Walk::More(slot.key.clone());
                    break 'leaves;
                }
            }
        }
        self.totals.add(tally);
        walk
    }

    /// Forgets one older version of a key, and the key itself once nobody can miss it.
    pub(super) fn reclaim(&mut self, garbage: &Garbage, floor: u64) {
        let mut tally = Tally::default();
        let key = garbage.key.as_slice();
        let leaf = self.leaf_mut(key);
        let Ok(index) = leaf.binary_search_by(|slot| slot.key.as_slice().cmp(key)) else { return };
        let slot = leaf.get_mut(index).expect("the search found it");
        if garbage.from < garbage.until {
            slot.forget(garbage.from, &mut tally);
        }
        let mut shrunk = false;
        if slot.is_dead(floor) {
            tally.subtract(slot.newest_cost());
            leaf.remove(index);
            shrunk = leaf.len() < LEAF_SLOTS_LOW;
        }
        self.totals.add(tally);
        if shrunk {
            self.join(key);
        }
    }

    /// Joins the leaf of `key` with the one behind it where both are small, or removes it when it
    /// is empty, so that deleted ranges cost nothing to scan.
    fn join(&mut self, key: &[u8]) {
        let separator = self.first_leaf(Bound::Included(key));
        let len = self.leaves.get(separator.as_slice()).map_or(0, Vec::len);
        if len == 0 && !separator.as_slice().is_empty() {
            self.leaves.remove(separator.as_slice());
            return;
        }
        let behind = (Bound::Excluded(separator.as_slice()), Bound::Unbounded);
        let Some((next, next_leaf)) = self.leaves.range::<[u8], _>(behind).next() else { return };
        if len + next_leaf.len() > LEAF_SLOTS / 2 {
            return;
        }
        let next = next.clone();
        let moved = self.leaves.remove(next.as_slice()).expect("it was just found");
        self.leaves.get_mut(separator.as_slice()).expect("it was just found").extend(moved);
    }

    /// The separator of the leaf in which a walk from `start` begins.
    fn first_leaf(&self, start: Bound<&[u8]>) -> Key {
        let from = match start {
            Bound::Included(key) | Bound::Excluded(key) => key,
            Bound::Unbounded => &[],
        };
        let found = self.leaves.range::<[u8], _>(up_to(from)).next_back();
        found.expect("the first separator is the empty key").0.clone()
    }

    /// Visits slots of a range in ascending order until the visitor breaks or `budget` slots were
    /// seen.
    pub(super) fn ascend(
        &self,
        start: Bound<&[u8]>,
        end: Bound<&[u8]>,
        budget: usize,
        mut visit: impl FnMut(&Slot) -> ControlFlow<()>,
    ) -> Walk {
        let mut left = budget;
        let first = self.first_leaf(start);
        let from = (Bound::Included(first.as_slice()), Bound::Unbounded);
        for (_, leaf) in self.leaves.range::<[u8], _>(from) {
            let skip = leaf.partition_point(|slot| before_start(slot.key.as_slice(), start));
            for slot in leaf.iter().skip(skip) {
                if behind_end(slot.key.as_slice(), end) {
                    return Walk::Done;
                }
                if visit(slot).is_break() {
                    return Walk::Done;
                }
                left -= 1;
                if left == 0 {
                    return Walk::More(slot.key.clone());
                }
            }
        }
        Walk::Done
    }

    /// The same in descending order.
    pub(super) fn descend(
        &self,
        start: Bound<&[u8]>,
        end: Bound<&[u8]>,
        budget: usize,
        mut visit: impl FnMut(&Slot) -> ControlFlow<()>,
    ) -> Walk {
        let mut left = budget;
        let to = match end {
            Bound::Included(key) | Bound::Excluded(key) => Bound::Included(key),
            Bound::Unbounded => Bound::Unbounded,
        };
        for (_, leaf) in self.leaves.range::<[u8], _>((Bound::Unbounded, to)).rev() {
            let keep = leaf.partition_point(|slot| !behind_end(slot.key.as_slice(), end));
            for slot in leaf.iter().take(keep).rev() {
                if before_start(slot.key.as_slice(), start) {
                    return Walk::Done;
                }
                if visit(slot).is_break() {
                    return Walk::Done;
                }
                left -= 1;
                if left == 0 {
                    return Walk::More(slot.key.clone());
                }
            }
        }
        Walk::Done
    }

    /// Checks the invariants of this file; for tests and debug builds.
    pub(super) fn check(&self) {
        let mut totals = Tally::default();
        let mut last: Option<&[u8]> = None;
        for (index, (separator, leaf)) in self.leaves.iter().enumerate() {
            assert_eq!(index == 0, separator.as_slice().is_empty(), "only the first is empty");
            assert!(index == 0 || !leaf.is_empty(), "an empty leaf in the middle");
            assert!(leaf.len() <= LEAF_SLOTS, "an overfull leaf");
            assert!(last.is_none_or(|last| index == 0 || last < separator.as_slice()));
            for slot in leaf {
                assert!(separator <= &slot.key, "a key before its separator");
                assert!(last.is_none_or(|last| last < slot.key.as_slice()), "keys ascend");
                last = Some(slot.key.as_slice());
                totals.add(slot.costs());
            }
        }
        assert_eq!(totals, self.totals, "the totals are those of a fresh count");
    }
}

/// Inserts into a leaf; a full one is halved first, and its right half is given back.
fn insert(leaf: &mut Vec<Slot>, index: usize, slot: Slot) -> Option<Vec<Slot>> {
    if leaf.len() < LEAF_SLOTS {
        leaf.insert(index, slot);
        return None;
    }
    let half = LEAF_SLOTS / 2;
    let mut right = Vec::with_capacity(LEAF_SLOTS);
    right.extend(leaf.drain(half..));
    match index.checked_sub(half) {
        Some(behind) if behind > 0 => right.insert(behind, slot),
        _ => leaf.insert(index, slot),
    }
    Some(right)
}

fn up_to(key: &[u8]) -> (Bound<&[u8]>, Bound<&[u8]>) {
    (Bound::Unbounded, Bound::Included(key))
}

fn before_start(key: &[u8], start: Bound<&[u8]>) -> bool {
    match start {
        Bound::Included(start) => key < start,
        Bound::Excluded(start) => key <= start,
        Bound::Unbounded => false,
    }
}

fn behind_end(key: &[u8], end: Bound<&[u8]>) -> bool {
    match end {
        Bound::Included(end) => key > end,
        Bound::Excluded(end) => key >= end,
        Bound::Unbounded => false,
    }
}
