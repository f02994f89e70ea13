//! What was applied and is not in RocksDB yet: rows in memory, each with all its versions.
//!
//! A deletion is a version without a value: it hides what RocksDB has. Invariants: the versions of
//! a key rise; a page shows each key at most once, with the newest version that its reader may see;
//! the lock is held for one row or one page.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use crate::api::KeyspaceId;

/// What a version costs beside its bytes, about: the maps, the counts of two shared slices.
const VERSION_OVERHEAD: u64 = 160;

/// A version of a key.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) version: u64,
    /// `None` for a deletion.
    pub(super) value: Option<Arc<[u8]>>,
}

/// A key, and the version that a reader sees.
pub(super) type Shown = (Arc<[u8]>, Entry);

/// A range of keys.
pub(super) type Range<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

type Rows = BTreeMap<Arc<[u8]>, Vec<Entry>>;

/// Rows by keyspace and key.
#[derive(Default)]
pub(super) struct Memtable {
    rows: RwLock<BTreeMap<KeyspaceId, Rows>>,
}

/// The newest version at or below `at`.
fn at_version(versions: &[Entry], at: u64) -> Option<&Entry> {
    versions.iter().rev().find(|entry| entry.version <= at)
}

/// Whether no key can be in a range.
pub(super) fn is_empty(range: Range<'_>) -> bool {
    match range {
        (Bound::Included(first), Bound::Included(last)) => first > last,
        (Bound::Included(first) | Bound::Excluded(first), Bound::Excluded(last))
        | (Bound::Excluded(first), Bound::Included(last)) => first >= last,
        _ => false,
    }
}

impl Memtable {
    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<KeyspaceId, Rows>> {
        self.rows.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a version; what it takes in memory.
    pub(super) fn put(
        &self,
        keyspace: KeyspaceId,
        key: &[u8],
        version: u64,
        value: Option<&[u8]>,
    ) -> u64 {
        let entry = Entry { version, value: value.map(Arc::from) };
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        let rows = rows.entry(keyspace).or_default();
        if let Some(versions) = rows.get_mut(key) {
            match versions.last_mut() {
                // A transaction that changes a key twice.
                Some(last) if last.version == version => *last = entry,
                last => {
                    debug_assert!(last.is_none_or(|last| last.version < version), "they rise");
                    versions.push(entry);
                }
            }
        } else {
            rows.insert(Arc::from(key), vec![entry]);
        }
        let bytes = key.len() + value.map_or(0, <[u8]>::len);
        VERSION_OVERHEAD + bytes as u64
    }

    /// What a reader of `at` sees of a key.
    pub(super) fn get(&self, keyspace: KeyspaceId, key: &[u8], at: u64) -> Option<Entry> {
        let rows = self.read();
        at_version(rows.get(&keyspace)?.get(key)?, at).cloned()
    }

    /// The first keys of a range that a reader of `at` sees, deletions too; from its end with
    /// `reverse`. Fewer than `limit` are the last ones.
    pub(super) fn page(
        &self,
        keyspace: KeyspaceId,
        range: Range<'_>,
        at: u64,
        limit: usize,
        reverse: bool,
    ) -> Vec<Shown> {
        let rows = self.read();
        let Some(rows) = rows.get(&keyspace).filter(|_| !is_empty(range)) else { return vec![] };
        let shown = |(key, versions): (&Arc<[u8]>, &Vec<Entry>)| {
            at_version(versions, at).map(|entry| (Arc::clone(key), entry.clone()))
        };
        let found = rows.range::<[u8], _>(range);
        match reverse {
            true => found.rev().filter_map(shown).take(limit).collect(),
            false => found.filter_map(shown).take(limit).collect(),
        }
    }

    /// The keyspaces that have something in it, ascending.
    pub(super) fn keyspaces(&self) -> Vec<KeyspaceId> {
        self.read().keys().copied().collect()
    }

    /// Hands over the newest version of each key, in order.
    pub(super) fn each_newest(&self, mut each: impl FnMut(KeyspaceId, &[u8], &Entry)) {
        for (keyspace, rows) in &*self.read() {
            for (key, versions) in rows {
                if let Some(newest) = versions.last() {
                    each(*keyspace, key, newest);
                }
            }
        }
    }
}
