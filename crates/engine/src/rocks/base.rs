//! A snapshot of RocksDB that is owned: it keeps the database open.
//!
//! Invariant: what it shows never changes, whatever is written, flushed or merged.
#![allow(clippy::disallowed_methods, reason = "the macro forgets what it has moved elsewhere")]

use std::sync::Arc;

use rocksdb::{DBPinnableSlice, DBRawIteratorWithThreadMode, ReadOptions};
use rocksdb::{Error, SnapshotWithThreadMode};

use super::Db;
use super::memtable::Range;

type Snapshot<'a> = SnapshotWithThreadMode<'a, Db>;

self_cell::self_cell!(
    struct Owned {
        owner: Arc<Db>,
        #[covariant]
        dependent: Snapshot,
    }
);

/// The rows of RocksDB as they were at one moment.
pub(super) struct Base(Owned);

/// An iterator over rows of a snapshot.
pub(super) type Rows<'a> = DBRawIteratorWithThreadMode<'a, Db>;

/// The key behind this one: nothing lies between them.
fn behind(key: &[u8]) -> Vec<u8> {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next
}

/// Options that bound an iterator to a range.
pub(super) fn bounded(range: Range<'_>) -> ReadOptions {
    use std::ops::Bound::{Excluded, Included, Unbounded};
    let mut options = ReadOptions::default();
    match range.0 {
        Included(first) => options.set_iterate_lower_bound(first),
        Excluded(before) => options.set_iterate_lower_bound(behind(before)),
        Unbounded => {}
    }
    match range.1 {
        Included(last) => options.set_iterate_upper_bound(behind(last)),
        Excluded(end) => options.set_iterate_upper_bound(end),
        Unbounded => {}
    }
    options
}

impl Base {
    /// As it is now.
    pub(super) fn of(db: Arc<Db>) -> Self {
        Self(Owned::new(db, |db| db.snapshot()))
    }

    /// The value of a key; `None` also where there is no such family.
    pub(super) fn get(
        &self,
        family: &str,
        key: &[u8],
    ) -> Result<Option<DBPinnableSlice<'_>>, Error> {
        let Some(family) = self.0.borrow_owner().cf_handle(family) else { return Ok(None) };
        self.0.borrow_dependent().get_pinned_cf(&family, key)
    }

    /// The rows of a family, within the bounds of `options`; `None` where there is no such family.
    pub(super) fn rows(&self, family: &str, options: ReadOptions) -> Option<Rows<'_>> {
        let family = self.0.borrow_owner().cf_handle(family)?;
        Some(self.0.borrow_dependent().raw_iterator_cf_opt(&family, options))
    }
}
