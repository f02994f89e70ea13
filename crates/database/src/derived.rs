//! Derived state that a checkpoint keeps, and what changed since, for a start that goes on with it.
//!
//! An observer may give up what it derived between two records; the next anchor keeps it. A start
//! that replays on top of that anchor notes which keys its transactions touch in the keyspaces that
//! it was derived from, also those that the engine has already. Invariant: both are handed out only
//! where replay met every version behind the anchor; otherwise the rows are all there is.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use rekindle_engine::checkpoint::Derived;
use rekindle_engine::recovery::Trusted;
use rekindle_engine::{KeyspaceId, Operation};
use rekindle_env::ReadDisk;
use rekindle_recovery::Failure;

use crate::apply::lock;

/// More bytes of changed keys are not noted: then all rows are read again.
const KEY_BYTES_MAX: usize = 256 << 20;

/// So long after a start no checkpoint is written by itself that would keep nothing in the place of
/// one that does, milliseconds.
const AWAITED_MS: u64 = 30_000;

/// What a key costs beside its bytes, about.
const KEY_OVERHEAD: usize = 32;

/// Keys that changed, by keyspace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Each key that was put or removed, in no order, perhaps several times.
    pub keys: BTreeMap<KeyspaceId, Vec<Box<[u8]>>>,
    /// The first key of each range that was removed.
    pub ranges: BTreeMap<KeyspaceId, Vec<Box<[u8]>>>,
}

/// What an observer derived from the rows at an earlier version, and which of them changed since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Earlier {
    /// As [`crate::Observer::freeze`] gave it up.
    pub derived: Derived,
    /// What transactions changed behind it.
    pub changes: Changes,
}

/// What a start found, until somebody goes on with it.
#[derive(Debug)]
pub(crate) struct Found {
    earlier: Mutex<Option<Earlier>>,
    awaited: AtomicBool,
    until_ms: u64,
}

impl Found {
    /// What a start found, at this boot time.
    pub(crate) fn new(earlier: Option<Earlier>, now_ms: u64) -> Self {
        let awaited = AtomicBool::new(earlier.is_some());
        let until_ms = now_ms.saturating_add(AWAITED_MS);
        Self { earlier: Mutex::new(earlier), awaited, until_ms }
    }

    /// Takes it.
    pub(crate) fn take(&self) -> Option<Earlier> {
        lock(&self.earlier).take()
    }

    /// An observer follows the transactions again.
    pub(crate) fn goes_on(&self) {
        self.awaited.store(false, Ordering::Release);
    }

    /// Whether a checkpoint that is written now would keep nothing where the one before did.
    pub(crate) fn holds(&self, now_ms: u64) -> bool {
        self.awaited.load(Ordering::Acquire) && now_ms < self.until_ms
    }
}

/// Notes what a replay changes.
pub(crate) struct Tracker {
    /// The version that the kept state stands at.
    from: u64,
    derived: Derived,
    keyspaces: BTreeSet<KeyspaceId>,
    noted: RefCell<Noted>,
}

#[derive(Default)]
struct Noted {
    /// The last version that was met; 0 before the first.
    last: u64,
    changes: Changes,
    bytes: usize,
    /// Something was missed.
    void: bool,
}

impl Tracker {
    /// What the checkpoint that a start begins with keeps; `None` where it keeps nothing.
    pub(crate) fn of(trusted: &Trusted, disk: &dyn ReadDisk) -> Result<Option<Self>, Failure> {
        let derived = trusted.derived(disk)?;
        Ok(derived.map(|derived| Self::new(trusted.mark().version, derived)))
    }

    fn new(from: u64, derived: Derived) -> Self {
        let keyspaces = derived.keyspaces.iter().copied().collect();
        Self { from, derived, keyspaces, noted: RefCell::default() }
    }

    /// A committed transaction, in the order of versions.
    pub(crate) fn note<'a>(&self, version: u64, operations: impl Iterator<Item = Operation<'a>>) {
        if version <= self.from {
            return;
        }
        let mut noted = self.noted.borrow_mut();
        noted.void |= version != noted.last.max(self.from) + 1 || noted.bytes > KEY_BYTES_MAX;
        noted.last = version;
        if noted.void {
            noted.changes = Changes::default();
            return;
        }
        for operation in operations {
            noted.operation(&self.keyspaces, operation);
        }
    }

    /// What there is to go on with, for an engine that stands at this version.
    pub(crate) fn finish(self, version: u64) -> Option<Earlier> {
        let noted = self.noted.into_inner();
        let met_all = !noted.void && noted.last.max(self.from) == version;
        met_all.then_some(Earlier { derived: self.derived, changes: noted.changes })
    }
}

impl Noted {
    fn operation(&mut self, keyspaces: &BTreeSet<KeyspaceId>, operation: Operation<'_>) {
        let (Operation::Put { keyspace, key, .. }
        | Operation::Delete { keyspace, key }
        | Operation::DeleteRange { keyspace, start: key, .. }) = operation;
        if !keyspaces.contains(&keyspace) {
            return;
        }
        let is_range = matches!(operation, Operation::DeleteRange { .. });
        let Changes { keys, ranges } = &mut self.changes;
        let list = if is_range { ranges } else { keys };
        list.entry(keyspace).or_default().push(key.into());
        self.bytes += key.len() + KEY_OVERHEAD;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: KeyspaceId = KeyspaceId(7);
    const OTHER: KeyspaceId = KeyspaceId(8);

    fn tracker() -> Tracker {
        Tracker::new(10, Derived { keyspaces: vec![KEPT], bytes: b"index".to_vec() })
    }

    fn put(tracker: &Tracker, version: u64, key: &[u8]) {
        let one = |keyspace| Operation::Put { keyspace, key, value: b"" };
        tracker.note(version, [one(KEPT), one(OTHER)].into_iter());
    }

    #[test]
    fn what_changed_behind_the_anchor_is_noted_where_it_matters() {
        let tracker = tracker();
        for (version, key) in [(9, "a"), (10, "b"), (11, "c"), (12, "d")] {
            put(&tracker, version, key.as_bytes());
        }
        let range = Operation::DeleteRange { keyspace: KEPT, start: b"e", end: b"f" };
        tracker.note(13, [range].into_iter());
        let Earlier { derived, changes } = tracker.finish(13).expect("all was met");
        assert_eq!(derived.bytes, b"index");
        let keys: Vec<Box<[u8]>> = vec![(*b"c").into(), (*b"d").into()];
        assert_eq!(changes.keys, BTreeMap::from([(KEPT, keys)]));
        assert_eq!(changes.ranges, BTreeMap::from([(KEPT, vec![(*b"e").into()])]));
    }

    /// A version that replay did not meet (an accepted loss, an engine above the journal) may have
    /// changed anything.
    #[test]
    fn with_a_version_missed_there_is_nothing_to_go_on_with() {
        assert!(tracker().finish(10).is_some());
        assert!(tracker().finish(11).is_none());
        let gap = tracker();
        put(&gap, 11, b"a");
        put(&gap, 13, b"b");
        put(&gap, 14, b"c");
        assert!(gap.finish(14).is_none());
        let short = tracker();
        put(&short, 11, b"a");
        assert!(short.finish(12).is_none());
    }
}
