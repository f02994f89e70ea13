//! The sorted rows of one keyspace: leaves of up to 64 slots, branches of up to 128 leaves, and an
//! array of branches.
//!
//! Why not one `BTreeMap` of rows: ascending keys (journals, queues, logs) append to the last leaf
//! without a search and leave every leaf full; a leaf is one cache-friendly block for scans; a
//! search compares inline keys as numbers. The array of branches stays small: ten million rows
//! need some two thousand entries.
//!
//! Invariants: keys ascend over all leaves; the separator of a leaf (of a branch) is at or below
//! its keys and above those before it, except that the first of its array stands for everything
//! below; there is always a first leaf, and only it may be empty; `totals` equals the sum of
//! [`Slot::costs`].

use std::cmp::Ordering;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use super::key::{Key, Probe};
use super::past::Garbage;
use super::slot::{Slot, Tally};
use super::sorted::Sorted;

/// Slots of a full leaf: 3.5 KiB, about what one insertion in the middle may move.
const LEAF_SLOTS: usize = 64;

/// Leaves of a full branch.
const BRANCH_LEAVES: usize = 128;

type Leaf = Sorted<Slot>;
type Branch = Sorted<Leaf>;

/// All rows of a keyspace.
#[derive(Debug)]
pub(super) struct Tree {
    branches: Sorted<Branch>,
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

/// Where a leaf is.
#[derive(Clone, Copy)]
struct Place {
    branch: usize,
    leaf: usize,
}

impl Tree {
    pub(super) fn new() -> Self {
        let mut branch = Branch::new();
        branch.push(Key::new(&[]), Leaf::new());
        let mut branches = Sorted::new();
        branches.push(Key::new(&[]), branch);
        Self { branches, totals: Tally::default() }
    }

    /// Bytes and live rows.
    pub(super) fn totals(&self) -> Tally {
        self.totals
    }

    fn place(&self, probe: &Probe<'_>) -> Place {
        let branch = self.branches.covering(probe);
        Place { branch, leaf: self.branches.item(branch).covering(probe) }
    }

    fn leaf_mut(&mut self, place: Place) -> &mut Leaf {
        self.branches.item_mut(place.branch).item_mut(place.leaf)
    }

    /// The slot of a key.
    pub(super) fn find(&self, key: &[u8]) -> Option<&Slot> {
        let probe = Probe::new(key);
        let place = self.place(&probe);
        let leaf = self.branches.item(place.branch).item(place.leaf);
        leaf.search(&probe).ok().map(|index| leaf.item(index))
    }

    /// Sets a key. Answers like [`Slot::replace`].
    pub(super) fn put(&mut self, key: &[u8], version: u64, value: Arc<[u8]>) -> Option<u64> {
        let probe = Probe::new(key);
        if self.appends(&probe) {
            self.append(probe.key(), Slot::new(version, value));
            return None;
        }
        let place = self.place(&probe);
        let leaf = self.leaf_mut(place);
        match leaf.search(&probe) {
            Ok(index) => {
                let mut tally = Tally::default();
                let slot = leaf.item_mut(index);
                let garbage = slot.replace(&probe.key(), version, Some(value), &mut tally);
                self.totals.add(tally);
                garbage
            }
            Err(index) => {
                let (key, slot) = (probe.key(), Slot::new(version, value));
                self.totals.add(slot.costs(&key));
                self.insert(place, index, key, slot);
                None
            }
        }
    }

    /// Inserts into a leaf; a full one is halved first.
    fn insert(&mut self, place: Place, index: usize, key: Key, slot: Slot) {
        const HALF: usize = LEAF_SLOTS / 2;
        let leaf = self.leaf_mut(place);
        if leaf.len() < LEAF_SLOTS {
            leaf.insert(index, key, slot);
            return;
        }
        debug_assert_eq!(leaf.len(), LEAF_SLOTS, "a leaf is split before it overflows");
        let mut right = leaf.split(HALF, LEAF_SLOTS);
        match index.checked_sub(HALF) {
            Some(behind) if behind > 0 => right.insert(behind, key, slot),
            _ => leaf.insert(index, key, slot),
        }
        let branch = self.branches.item_mut(place.branch);
        debug_assert!(branch.len() <= BRANCH_LEAVES, "a branch is split when it overflows");
        branch.insert(place.leaf + 1, right.key(0).clone(), right);
        if branch.len() > BRANCH_LEAVES {
            let right = branch.split(BRANCH_LEAVES / 2, BRANCH_LEAVES + 1);
            self.branches.insert(place.branch + 1, right.key(0).clone(), right);
        }
    }

    /// Whether a key lies behind all others.
    fn appends(&self, probe: &Probe<'_>) -> bool {
        let leaf = self.branches.last().and_then(|(_, branch)| branch.last());
        let last = leaf.and_then(|(_, leaf)| leaf.last());
        last.is_none_or(|(key, _)| key.compare(probe).is_lt())
    }

    /// Adds a slot behind all others.
    pub(super) fn append(&mut self, key: Key, slot: Slot) {
        debug_assert!(self.appends(&key.probe()));
        self.totals.add(slot.costs(&key));
        let branch = self.branches.last_mut().expect("there is always a first leaf");
        let leaf = branch.last_mut().expect("there is always a first leaf");
        if leaf.len() < LEAF_SLOTS {
            leaf.push(key, slot);
            return;
        }
        let separator = key.clone();
        let mut leaf = Leaf::with_capacity(LEAF_SLOTS);
        leaf.push(key, slot);
        if branch.len() < BRANCH_LEAVES {
            branch.push(separator, leaf);
            return;
        }
        let mut branch = Branch::with_capacity(BRANCH_LEAVES + 1);
        branch.push(separator.clone(), leaf);
        self.branches.push(separator, branch);
    }

    /// Deletes a key. Answers like [`Slot::replace`]; `None` where there is nothing to delete.
    pub(super) fn delete(&mut self, key: &[u8], version: u64) -> Option<u64> {
        let probe = Probe::new(key);
        let place = self.place(&probe);
        let leaf = self.leaf_mut(place);
        let index = leaf.search(&probe).ok()?;
        let slot = leaf.item_mut(index);
        slot.value.as_ref()?;
        let mut tally = Tally::default();
        let garbage = slot.replace(&probe.key(), version, None, &mut tally);
        self.totals.add(tally);
        garbage
    }

    /// Deletes the live keys of a range, visiting at most `budget` slots; tells each deleted key
    /// and what [`Slot::replace`] answered.
    pub(super) fn delete_range(
        &mut self,
        start: Bound<&[u8]>,
        end: Bound<&[u8]>,
        version: u64,
        budget: usize,
        mut deleted: impl FnMut(&Key, u64),
    ) -> Walk {
        let mut left = budget;
        let (mut tally, mut told) = (Tally::default(), 0_i64);
        let mut walk = Walk::Done;
        let (start, end) = (Edge::new(start), Edge::new(end));
        let place = start.first_place(self);
        let mut first_leaf = place.leaf;
        'walk: for (_, branch) in self.branches.walk_mut(place.branch) {
            for (_, leaf) in branch.walk_mut(std::mem::take(&mut first_leaf)) {
                let skip = start.first_slot(leaf);
                for (key, slot) in leaf.walk_mut(skip) {
                    if end.is_passed_by(key) {
                        break 'walk;
                    }
                    if slot.value.is_some()
                        && let Some(from) = slot.replace(key, version, None, &mut tally)
                    {
                        deleted(key, from);
                        told += 1;
                    }
                    left -= 1;
                    if left == 0 {
                        walk = Walk::More(key.clone());
                        break 'walk;
                    }
                }
            }
        }
        debug_assert_eq!(tally.live, -told, "each deleted row is told, so that it is swept");
        self.totals.add(tally);
        walk
    }

    /// Forgets one older version of a key, and the key itself once nobody can miss it.
    pub(super) fn reclaim(&mut self, garbage: &Garbage, floor: u64) {
        let mut tally = Tally::default();
        let probe = garbage.key.probe();
        let place = self.place(&probe);
        let leaf = self.leaf_mut(place);
        let Ok(index) = leaf.search(&probe) else { return };
        let slot = leaf.item_mut(index);
        debug_assert!(slot.version >= garbage.until, "what replaced it is here");
        if garbage.from < garbage.until {
            slot.forget(&garbage.key, garbage.from, &mut tally);
        }
        let mut shrunk = false;
        if slot.is_dead(floor) {
            tally.subtract(slot.newest_cost(&garbage.key));
            leaf.remove(index);
            shrunk = leaf.len() < LEAF_SLOTS / 4;
        }
        self.totals.add(tally);
        if shrunk {
            self.shrink(place);
        }
    }

    /// Removes a leaf that is empty, or joins it with the one behind it where both are small, and
    /// the same for its branch, so that deleted ranges cost nothing to scan.
    fn shrink(&mut self, place: Place) {
        let is_first = place.branch == 0 && place.leaf == 0;
        let branch = self.branches.item_mut(place.branch);
        if !is_first && branch.item(place.leaf).is_empty() {
            branch.remove(place.leaf);
        } else if can_join(branch, place.leaf, LEAF_SLOTS / 2) {
            let (_, behind) = branch.remove(place.leaf + 1);
            branch.item_mut(place.leaf).join(behind);
        }
        if branch.is_empty() {
            self.branches.remove(place.branch);
        } else if branch.len() < BRANCH_LEAVES / 4
            && can_join(&self.branches, place.branch, BRANCH_LEAVES / 2)
        {
            let (separator, mut behind) = self.branches.remove(place.branch + 1);
            behind.set_first_key(separator);
            self.branches.item_mut(place.branch).join(behind);
        }
        debug_assert!(!self.branches.item(0).is_empty(), "there is always a first leaf");
    }

    /// Visits slots of a range in ascending order until the visitor breaks or `budget` slots were
    /// seen.
    pub(super) fn ascend(
        &self,
        start: Bound<&[u8]>,
        end: Bound<&[u8]>,
        budget: usize,
        mut visit: impl FnMut(&Key, &Slot) -> ControlFlow<()>,
    ) -> Walk {
        let mut left = budget;
        let (start, end) = (Edge::new(start), Edge::new(end));
        let place = start.first_place(self);
        let mut first_leaf = place.leaf;
        for (_, branch) in self.branches.walk(place.branch) {
            for (_, leaf) in branch.walk(std::mem::take(&mut first_leaf)) {
                for (key, slot) in leaf.walk(start.first_slot(leaf)) {
                    if end.is_passed_by(key) || visit(key, slot).is_break() {
                        return Walk::Done;
                    }
                    left -= 1;
                    if left == 0 {
                        return Walk::More(key.clone());
                    }
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
        mut visit: impl FnMut(&Key, &Slot) -> ControlFlow<()>,
    ) -> Walk {
        let mut left = budget;
        let (start, end) = (Edge::new(start), Edge::new(end));
        let place = end.last_place(self);
        let mut last_leaf = Some(place.leaf);
        for (_, branch) in self.branches.walk_up_to(place.branch + 1).rev() {
            let leaves = last_leaf.take().map_or(branch.len(), |last| last + 1);
            for (_, leaf) in branch.walk_up_to(leaves).rev() {
                for (key, slot) in leaf.walk_up_to(end.behind_last_slot(leaf)).rev() {
                    if start.is_not_reached_by(key) || visit(key, slot).is_break() {
                        return Walk::Done;
                    }
                    left -= 1;
                    if left == 0 {
                        return Walk::More(key.clone());
                    }
                }
            }
        }
        Walk::Done
    }

    /// Checks the invariants of this file by counting again; for tests.
    pub(super) fn check(&self) {
        let mut totals = Tally::default();
        let mut last: Option<&Key> = None;
        let ascends = |last: Option<&Key>, key: &Key, equal: bool| {
            let order = last.map_or(Ordering::Less, |last| last.compare(&key.probe()));
            order.is_lt() || (equal && order.is_eq())
        };
        for (branch_index, (branch_key, branch)) in self.branches.walk(0).enumerate() {
            assert!(branch.len() <= BRANCH_LEAVES && !branch.is_empty());
            assert!(branch_index == 0 || ascends(last, branch_key, false), "branches ascend");
            for (index, (leaf_key, leaf)) in branch.walk(0).enumerate() {
                let is_first = branch_index == 0 && index == 0;
                assert!(is_first || !leaf.is_empty(), "only the first leaf may be empty");
                assert!(leaf.len() <= LEAF_SLOTS, "an overfull leaf");
                let separator = if index == 0 { branch_key } else { leaf_key };
                assert!(is_first || ascends(last, separator, false), "leaves ascend");
                for (nth, (key, slot)) in leaf.walk(0).enumerate() {
                    let is_new = nth == 0 && !is_first;
                    assert!(!is_new || ascends(Some(separator), key, true), "before its leaf");
                    assert!(ascends(last, key, false), "keys ascend");
                    last = Some(key);
                    totals.add(slot.costs(key));
                }
            }
        }
        assert_eq!(totals, self.totals, "the totals are those of a fresh count");
    }
}

/// Whether a child and the one behind it have at most `limit` children together.
fn can_join<T>(parent: &Sorted<Sorted<T>>, index: usize, limit: usize) -> bool {
    index + 1 < parent.len() && parent.item(index).len() + parent.item(index + 1).len() <= limit
}

/// One end of a range.
struct Edge<'a> {
    probe: Option<Probe<'a>>,
    included: bool,
}

impl<'a> Edge<'a> {
    fn new(bound: Bound<&'a [u8]>) -> Self {
        match bound {
            Bound::Included(key) => Self { probe: Some(Probe::new(key)), included: true },
            Bound::Excluded(key) => Self { probe: Some(Probe::new(key)), included: false },
            Bound::Unbounded => Self { probe: None, included: false },
        }
    }

    /// As a start: the leaf in which a walk begins.
    fn first_place(&self, tree: &Tree) -> Place {
        self.probe.as_ref().map_or(Place { branch: 0, leaf: 0 }, |probe| tree.place(probe))
    }

    /// As an end: the leaf in which a walk backwards begins.
    fn last_place(&self, tree: &Tree) -> Place {
        self.probe.as_ref().map_or_else(
            || {
                let branch = tree.branches.len() - 1;
                Place { branch, leaf: tree.branches.item(branch).len() - 1 }
            },
            |probe| tree.place(probe),
        )
    }

    /// As a start: the first slot of a leaf inside the range.
    fn first_slot(&self, leaf: &Leaf) -> usize {
        match self.probe.as_ref().map(|probe| leaf.search(probe)) {
            None => 0,
            Some(Ok(index)) => index + usize::from(!self.included),
            Some(Err(index)) => index,
        }
    }

    /// As an end: the place behind the last slot of a leaf inside the range.
    fn behind_last_slot(&self, leaf: &Leaf) -> usize {
        match self.probe.as_ref().map(|probe| leaf.search(probe)) {
            None => leaf.len(),
            Some(Ok(index)) => index + usize::from(self.included),
            Some(Err(index)) => index,
        }
    }

    /// As an end: whether a key lies behind it.
    fn is_passed_by(&self, key: &Key) -> bool {
        self.probe.as_ref().is_some_and(|probe| match key.compare(probe) {
            Ordering::Less => false,
            Ordering::Equal => !self.included,
            Ordering::Greater => true,
        })
    }

    /// As a start: whether a key lies before it.
    fn is_not_reached_by(&self, key: &Key) -> bool {
        self.probe.as_ref().is_some_and(|probe| match key.compare(probe) {
            Ordering::Less => true,
            Ordering::Equal => !self.included,
            Ordering::Greater => false,
        })
    }
}
