//! Reading the engine at a version.
//!
//! Invariant: a reader holds its view until it is done, so nothing that it reads goes away.

use std::ops::{Bound, ControlFlow};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::memtable::Range;
use super::view::View;
use super::walk::{Each, Unreadable, Walk};
use super::{RocksEngine, check, lock, split_value};
use crate::api::{Engine, EngineError, KeyspaceId, Row, Versioned};
use crate::row::{EncodedRow, StateHash, encode};

/// Rows are hashed in pieces of about this size.
const HASH_BYTES: usize = 64 << 10;

/// All keys.
pub(super) const EVERYTHING: Range<'static> = (Bound::Unbounded, Bound::Unbounded);

impl RocksEngine {
    /// The view that a reader of `at` reads, and the version that it reads there.
    fn view(&self, at: u64) -> Result<(Arc<View>, u64), EngineError> {
        let views = lock(&self.views);
        // The floor is never above what is visible; it does not move meanwhile.
        let at = at.min(self.visible.load(Ordering::Acquire));
        Ok((views.at(at)?, at))
    }

    pub(super) fn refused(&self, what: &str, error: &rocksdb::Error) -> EngineError {
        check::refused(&self.folder.path, what, error)
    }

    fn no_value(&self) -> EngineError {
        let place = self.folder.path.display().to_string();
        EngineError::Corrupt { place, found: "a row without a version".to_owned() }
    }

    pub(super) fn read_row(
        &self,
        keyspace: KeyspaceId,
        key: &[u8],
        at: u64,
    ) -> Result<Option<Versioned>, EngineError> {
        let (view, at) = self.view(at)?;
        let newest = view.tables.iter().find_map(|table| table.get(keyspace, key, at));
        if let Some(entry) = newest {
            return Ok(Some(Versioned { version: entry.version, value: entry.value }));
        }
        let Some(family) = self.families.name(keyspace) else { return Ok(None) };
        let found = view.base.get(&family, key).map_err(|error| self.refused("read", &error))?;
        let Some(found) = found else { return Ok(None) };
        let (version, bytes) = split_value(&found).ok_or_else(|| self.no_value())?;
        Ok(Some(Versioned { version, value: Some(Arc::from(bytes)) }))
    }

    /// Hands over rows of a keyspace until `each` breaks.
    pub(super) fn walk(
        &self,
        view: &View,
        (keyspace, range): (KeyspaceId, Range<'_>),
        (at, reverse): (u64, bool),
        each: &mut Each<'_>,
    ) -> Result<(), EngineError> {
        let family = self.families.name(keyspace);
        let walk = Walk { keyspace, family: family.as_deref(), range, at, reverse };
        walk.each(view, each).map_err(|unreadable| match unreadable {
            Unreadable::Refused(error) => self.refused("read", &error),
            Unreadable::NoValue => self.no_value(),
        })
    }

    pub(super) fn read_rows(
        &self,
        keyspace: KeyspaceId,
        range: Range<'_>,
        at: u64,
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<Row>, EngineError> {
        let (view, at) = self.view(at)?;
        let mut rows = Vec::new();
        if limit == 0 {
            return Ok(rows);
        }
        self.walk(&view, (keyspace, range), (at, reverse), &mut |key, version, value| {
            rows.push(Row { key: Arc::from(key), version, value: Arc::from(value) });
            if rows.len() == limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(rows)
    }

    /// The keys that [`crate::Operation::DeleteRange`] removes: those that are there at `version`,
    /// what the transaction itself wrote before included. An empty end has no bound.
    pub(super) fn keys_between(
        &self,
        keyspace: KeyspaceId,
        (start, end): (&[u8], &[u8]),
        version: u64,
    ) -> Result<Vec<Vec<u8>>, EngineError> {
        let view = lock(&self.views).current();
        let end = if end.is_empty() { Bound::Unbounded } else { Bound::Excluded(end) };
        let (mut keys, range) = (Vec::new(), (Bound::Included(start), end));
        self.walk(&view, (keyspace, range), (version, false), &mut |key, _, _| {
            keys.push(key.to_vec());
            ControlFlow::Continue(())
        })?;
        Ok(keys)
    }

    /// Every keyspace that a view may have rows of, ascending.
    pub(super) fn keyspaces_of(&self, view: &View) -> Vec<KeyspaceId> {
        let mut all = self.families.keyspaces();
        all.extend(view.tables.iter().flat_map(|table| table.keyspaces()));
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The keyspaces that have rows, ascending.
    pub(super) fn used_keyspaces(&self) -> Result<Vec<KeyspaceId>, EngineError> {
        let (view, at) = self.view(u64::MAX)?;
        let mut used = Vec::new();
        for keyspace in self.keyspaces_of(&view) {
            self.walk(&view, (keyspace, EVERYTHING), (at, false), &mut |_, _, _| {
                used.push(keyspace);
                ControlFlow::Break(())
            })?;
        }
        Ok(used)
    }

    pub(super) fn count_rows(&self, keyspace: KeyspaceId) -> u64 {
        let counted = self.view(u64::MAX).and_then(|(view, at)| {
            let mut count = 0;
            self.walk(&view, (keyspace, EVERYTHING), (at, false), &mut |_, _, _| {
                count += 1;
                ControlFlow::Continue(())
            })?;
            Ok(count)
        });
        counted.unwrap_or_else(|error| panic!("counting rows: {error}"))
    }

    pub(super) fn hash_rows(&self) -> u128 {
        let mut hash = StateHash::default();
        let mut rows = Vec::with_capacity(HASH_BYTES);
        let read = self.view(self.mark().version).and_then(|(view, at)| {
            for keyspace in self.keyspaces_of(&view) {
                let number = keyspace.0;
                let range = (keyspace, EVERYTHING);
                self.walk(&view, range, (at, false), &mut |key, version, value| {
                    encode(&mut rows, &EncodedRow { keyspace: number, version, key, value });
                    if rows.len() >= HASH_BYTES {
                        hash.update(&rows);
                        rows.clear();
                    }
                    ControlFlow::Continue(())
                })?;
            }
            Ok(())
        });
        read.unwrap_or_else(|error| panic!("hashing the state: {error}"));
        hash.update(&rows);
        hash.digest()
    }
}
