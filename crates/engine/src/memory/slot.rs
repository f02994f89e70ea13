//! One key with its versions, and what they cost.
//!
//! Invariants: the newest version is in place, older ones ascend in `older`; every version there is
//! below the newest; each change of a slot changes the tally by exactly the difference of
//! [`Slot::costs`], so that the totals can be checked by counting again.

use std::collections::VecDeque;
use std::sync::Arc;

use super::key::Key;

/// What an allocation costs beyond its bytes: the allocator's header and rounding.
pub(super) const ALLOCATION_BYTES: u64 = 16;

/// The two counters in front of a shared value, and its allocation.
const SHARED_BYTES: u64 = 16 + ALLOCATION_BYTES;

/// A key and its slot in a leaf that is on average three quarters full.
const SLOT_BYTES: u64 = (size_of::<Key>() as u64 + size_of::<Slot>() as u64) * 4 / 3;

/// An older version, its share of the queue that holds it, and its entry in the garbage queue.
const OLD_BYTES: u64 = (size_of::<Old>() as u64) + 48 + 48;

/// The versions of a key, which stands beside it in its leaf.
#[derive(Debug)]
pub(super) struct Slot {
    /// The newest version.
    pub(super) version: u64,
    /// Its value; `None` is a deletion.
    pub(super) value: Option<Arc<[u8]>>,
    /// Boxed, because most keys have no past.
    older: Option<Box<Older>>,
}

/// Older versions, ascending.
#[derive(Debug)]
struct Older {
    versions: VecDeque<Old>,
}

#[derive(Debug)]
struct Old {
    version: u64,
    value: Option<Arc<[u8]>>,
}

/// Changes of the totals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Bytes of live rows.
    pub(super) state: i64,
    /// Bytes of older versions and of deletions that are still remembered.
    pub(super) history: i64,
    /// Live rows.
    pub(super) live: i64,
}

impl Tally {
    pub(super) fn add(&mut self, other: Self) {
        self.state += other.state;
        self.history += other.history;
        self.live += other.live;
    }

    pub(super) fn subtract(&mut self, other: Self) {
        self.state -= other.state;
        self.history -= other.history;
        self.live -= other.live;
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).expect("no key or value has 2^63 bytes")
}

impl Slot {
    /// A key that was not there before.
    pub(super) fn new(version: u64, value: Arc<[u8]>) -> Self {
        debug_assert!(version > 0, "versions begin at 1");
        Self { version, value: Some(value), older: None }
    }

    /// The newest version at or below `at`.
    pub(super) fn at(&self, at: u64) -> Option<(u64, Option<&Arc<[u8]>>)> {
        if self.version <= at {
            return Some((self.version, self.value.as_ref()));
        }
        let versions = &self.older.as_ref()?.versions;
        let last = versions.back().map(|last| last.version);
        debug_assert!(last.is_some_and(|last| last < self.version), "older versions lie below");
        let behind = versions.partition_point(|old| old.version <= at);
        let old = versions.get(behind.checked_sub(1)?)?;
        Some((old.version, old.value.as_ref()))
    }

    /// Makes `value` the newest version. Answers the version from which on the slot now holds
    /// something to reclaim once `version` is below the floor.
    pub(super) fn replace(
        &mut self,
        key: &Key,
        version: u64,
        value: Option<Arc<[u8]>>,
        tally: &mut Tally,
    ) -> Option<u64> {
        assert!(version >= self.version, "versions of a key rise");
        let garbage_from =
            if version == self.version && value.is_some() { None } else { Some(self.version) };
        tally.subtract(self.newest_cost(key));
        let before = std::mem::replace(&mut self.value, value);
        if version > self.version {
            let old = Old { version: self.version, value: before };
            tally.history += old.cost(key);
            let older = self
                .older
                .get_or_insert_with(|| Box::new(Older { versions: VecDeque::with_capacity(1) }));
            debug_assert!(older.versions.back().is_none_or(|last| last.version < old.version));
            older.versions.push_back(old);
            self.version = version;
        }
        tally.add(self.newest_cost(key));
        garbage_from
    }

    /// Forgets the older version that began at `from`, if it is still there.
    pub(super) fn forget(&mut self, key: &Key, from: u64, tally: &mut Tally) {
        debug_assert!(from < self.version, "the newest version is never forgotten");
        let Some(older) = self.older.as_mut() else { return };
        let Ok(index) = older.versions.binary_search_by_key(&from, |old| old.version) else {
            return;
        };
        if let Some(old) = older.versions.remove(index) {
            tally.history -= old.cost(key);
        }
        if older.versions.is_empty() {
            self.older = None;
        }
    }

    /// Whether nobody who reads at or above `floor`, or at a pin, could miss this slot.
    pub(super) fn is_dead(&self, floor: u64) -> bool {
        debug_assert!(
            self.older.as_ref().is_none_or(|older| !older.versions.is_empty()),
            "an empty past would keep the slot for ever"
        );
        self.value.is_none() && self.older.is_none() && self.version <= floor
    }

    /// What the newest version costs.
    pub(super) fn newest_cost(&self, key: &Key) -> Tally {
        let key = SLOT_BYTES + key.heap_bytes();
        match &self.value {
            Some(value) => {
                let state = signed(key + SHARED_BYTES + value.len() as u64);
                Tally { state, history: 0, live: 1 }
            }
            None => Tally { state: 0, history: signed(key), live: 0 },
        }
    }

    /// What the whole slot costs, counted again.
    pub(super) fn costs(&self, key: &Key) -> Tally {
        let mut tally = self.newest_cost(key);
        if let Some(older) = &self.older {
            tally.history += older.versions.iter().map(|old| old.cost(key)).sum::<i64>();
        }
        tally
    }
}

impl Old {
    fn cost(&self, key: &Key) -> i64 {
        let value = self.value.as_ref().map_or(0, |value| SHARED_BYTES + value.len() as u64);
        signed(OLD_BYTES + key.heap_bytes() + value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Arc<[u8]> {
        text.as_bytes().into()
    }

    fn read(slot: &Slot, at: u64) -> Option<(u64, Option<&str>)> {
        let text = |value: &Arc<[u8]>| std::str::from_utf8(value).map(str::to_owned).ok();
        let (version, found) = slot.at(at)?;
        Some((version, found.and_then(text).map(|text| &*text.leak())))
    }

    #[test]
    fn each_version_is_seen_until_it_is_forgotten() {
        let key = &Key::new(b"k");
        let mut slot = Slot::new(3, value("a"));
        let mut tally = slot.costs(key);
        assert_eq!(slot.replace(key, 5, Some(value("b")), &mut tally), Some(3));
        assert_eq!(slot.replace(key, 9, None, &mut tally), Some(5));
        assert_eq!(tally, slot.costs(key));
        assert_eq!(read(&slot, 2), None);
        assert_eq!(read(&slot, 4), Some((3, Some("a"))));
        assert_eq!(read(&slot, 8), Some((5, Some("b"))));
        assert_eq!(read(&slot, 9), Some((9, None)));
        slot.forget(key, 5, &mut tally);
        slot.forget(key, 5, &mut tally);
        assert_eq!(read(&slot, 8), Some((3, Some("a"))), "a pin below 5 still reads 3");
        assert!(!slot.is_dead(9));
        slot.forget(key, 3, &mut tally);
        assert!(slot.is_dead(9));
        assert!(!slot.is_dead(8), "a deletion above the floor is remembered");
        assert_eq!(tally, slot.costs(key));
        assert_eq!((tally.state, tally.live), (0, 0));
    }

    #[test]
    fn one_transaction_leaves_one_version() {
        let key = &Key::new(&[7; 100]);
        let mut slot = Slot::new(3, value("a"));
        let mut tally = slot.costs(key);
        assert_eq!(slot.replace(key, 3, Some(value("bb")), &mut tally), None);
        assert_eq!(slot.replace(key, 3, None, &mut tally), Some(3), "a deletion must be swept");
        assert_eq!(read(&slot, 3), Some((3, None)));
        assert_eq!(slot.replace(key, 3, Some(value("c")), &mut tally), None);
        assert_eq!(tally, slot.costs(key));
        assert_eq!(tally.history, 0);
        assert_eq!(size_of::<Slot>(), 32, "a larger slot slows every insertion");
    }
}
