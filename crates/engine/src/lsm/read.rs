//! Reading the tree at a version.
//!
//! The crate picks the manifest that belongs to the version. Invariant: a version is held for as
//! long as it is read, or a flush in between could drop the manifest that shows it.

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use lsm_tree::{AbstractTree, Guard};

use super::{LsmEngine, lock, row};
use crate::api::{Engine, EngineError, KeyspaceId, Row, Versioned};
use crate::files::split_value;
use crate::row::{EncodedRow, StateHash, encode};

/// Rows are hashed in pieces of about this size.
const HASH_BYTES: usize = 64 << 10;

/// A version that is held.
struct Held<'a> {
    engine: &'a LsmEngine,
    at: u64,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        lock(&self.engine.past).unpin(self.at);
    }
}

impl LsmEngine {
    /// Holds the version that a reader of `at` sees.
    fn hold(&self, at: u64) -> Result<Held<'_>, EngineError> {
        let mut past = lock(&self.past);
        // The floor is never above what is visible; it does not move meanwhile.
        let at = at.min(self.visible.load(Ordering::Acquire));
        past.pin(at)?;
        Ok(Held { engine: self, at })
    }

    pub(super) fn unreadable(&self, error: &lsm_tree::Error) -> EngineError {
        super::tables::refused(&self.folder.path, "read", error)
    }

    pub(super) fn no_value(&self) -> EngineError {
        let place = self.folder.path.display().to_string();
        EngineError::Corrupt { place, found: "a row without a version".to_owned() }
    }

    pub(super) fn read_row(
        &self,
        keyspace: KeyspaceId,
        key: &[u8],
        at: u64,
    ) -> Result<Option<Versioned>, EngineError> {
        let held = self.hold(at)?;
        let found = self.tree.get(row::key(keyspace, key), row::below(held.at));
        let Some(found) = found.map_err(|error| self.unreadable(&error))? else { return Ok(None) };
        let (version, bytes) = split_value(&found).ok_or_else(|| self.no_value())?;
        Ok(Some(Versioned { version, value: Some(Arc::from(bytes)) }))
    }

    pub(super) fn read_rows(
        &self,
        keyspace: KeyspaceId,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        at: u64,
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<Row>, EngineError> {
        let held = self.hold(at)?;
        let Some(range) = row::range(keyspace, range) else { return Ok(vec![]) };
        let found = self.tree.range(range, row::below(held.at), None);
        let row = |guard: lsm_tree::IterGuardImpl| {
            let (key, value) = guard.into_inner().map_err(|error| self.unreadable(&error))?;
            let (_, key) = row::split(&key).ok_or_else(|| self.no_value())?;
            let (version, bytes) = split_value(&value).ok_or_else(|| self.no_value())?;
            Ok(Row { key: Arc::from(key), version, value: Arc::from(bytes) })
        };
        if reverse {
            found.rev().take(limit).map(row).collect()
        } else {
            found.take(limit).map(row).collect()
        }
    }

    /// Hands over all rows at a version, in order.
    pub(super) fn each_row(
        &self,
        at: u64,
        mut each: impl FnMut(&EncodedRow<'_>),
    ) -> Result<(), EngineError> {
        let held = self.hold(at)?;
        for guard in self.tree.iter(row::below(held.at), None) {
            let (key, value) = guard.into_inner().map_err(|error| self.unreadable(&error))?;
            let Some((keyspace, key)) = row::split(&key) else { continue };
            let (version, value) = split_value(&value).ok_or_else(|| self.no_value())?;
            each(&EncodedRow { keyspace: keyspace.0, version, key, value });
        }
        Ok(())
    }

    /// The keyspaces that have rows, ascending.
    pub(super) fn used_keyspaces(&self) -> Result<Vec<KeyspaceId>, EngineError> {
        let held = self.hold(u64::MAX)?;
        let (mut found, mut next) = (Vec::new(), Some(KeyspaceId(0)));
        while let Some(from) = next {
            let range = (Bound::Included(row::key(from, &[])), Bound::Unbounded);
            let first = self.tree.range::<Vec<u8>, _>(range, row::below(held.at), None).next();
            let Some(guard) = first else { break };
            let key = guard.key().map_err(|error| self.unreadable(&error))?;
            let (keyspace, _) = row::split(&key).ok_or_else(|| self.no_value())?;
            found.push(keyspace);
            next = keyspace.0.checked_add(1).map(KeyspaceId);
        }
        Ok(found)
    }

    pub(super) fn count_rows(&self, keyspace: KeyspaceId) -> u64 {
        let everything = (Bound::Unbounded, Bound::Unbounded);
        let counted = self.hold(u64::MAX).and_then(|held| {
            let Some(range) = row::range(keyspace, everything) else { return Ok(0) };
            let keys = self.tree.range(range, row::below(held.at), None);
            keys.map(|guard| guard.key().map_err(|error| self.unreadable(&error))).try_fold(
                0,
                |count, key| {
                    key?;
                    Ok(count + 1)
                },
            )
        });
        counted.unwrap_or_else(|error| panic!("counting rows: {error}"))
    }

    pub(super) fn hash_rows(&self) -> u128 {
        let mut hash = StateHash::default();
        let mut rows = Vec::with_capacity(HASH_BYTES);
        let read = self.each_row(self.mark().version, |row| {
            encode(&mut rows, row);
            if rows.len() >= HASH_BYTES {
                hash.update(&rows);
                rows.clear();
            }
        });
        read.unwrap_or_else(|error| panic!("hashing the state: {error}"));
        hash.update(&rows);
        hash.digest()
    }
}
