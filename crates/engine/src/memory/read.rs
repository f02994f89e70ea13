//! Reading the engine: one row, or a page of rows, at a version.
//!
//! Invariant: whether a version may be read is decided under the keyspace's lock, once per hold, so
//! nothing that a reader needs is reclaimed between the decision and the read.

use std::ops::{Bound, ControlFlow};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::key::Key;
use super::slot::Slot;
use super::tree::Walk;
use super::{BATCH_ROWS, MemoryEngine, lock};
use crate::api::{EngineError, KeyspaceId, Row, Versioned};

impl MemoryEngine {
    /// Refuses versions that are gone. Call it while holding the lock of what is read.
    pub(super) fn check_readable(&self, at: u64) -> Result<(), EngineError> {
        let oldest = self.floor.load(Ordering::Acquire);
        if at >= oldest || lock(&self.past).is_pinned(at) {
            return Ok(());
        }
        Err(EngineError::Compacted { asked: at, oldest })
    }

    pub(super) fn read_row(
        &self,
        keyspace: KeyspaceId,
        key: &[u8],
        at: u64,
    ) -> Result<Option<Versioned>, EngineError> {
        let at = at.min(self.visible.load(Ordering::Acquire));
        let Some(space) = self.spaces.get(keyspace) else {
            return self.check_readable(at).map(|()| None);
        };
        let tree = space.read();
        self.check_readable(at)?;
        let found = tree.find(key).and_then(|slot| slot.at(at));
        Ok(found.map(|(version, value)| Versioned { version, value: value.cloned() }))
    }

    pub(super) fn read_rows(
        &self,
        keyspace: KeyspaceId,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        at: u64,
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<Row>, EngineError> {
        let at = at.min(self.visible.load(Ordering::Acquire));
        let Some(space) = self.spaces.get(keyspace) else {
            return self.check_readable(at).map(|()| Vec::new());
        };
        let mut rows = Vec::new();
        let mut behind: Option<Key> = None;
        loop {
            let edge = behind.as_ref().map(|key| Bound::Excluded(key.as_slice()));
            let tree = space.read();
            self.check_readable(at)?;
            let visit = |key: &Key, slot: &Slot| take(key, slot, at, limit, &mut rows);
            let walk = if reverse {
                tree.descend(range.0, edge.unwrap_or(range.1), BATCH_ROWS, visit)
            } else {
                tree.ascend(edge.unwrap_or(range.0), range.1, BATCH_ROWS, visit)
            };
            drop(tree);
            match walk {
                Walk::Done => return Ok(rows),
                Walk::More(key) => {
                    debug_assert!(
                        match &behind {
                            Some(last) if reverse => last.is_behind(Some(&key)),
                            last => key.is_behind(last.as_ref()),
                        },
                        "a walk goes on"
                    );
                    behind = Some(key);
                }
            }
        }
    }
}

/// Adds the slot's row at a version, until there are `limit` of them.
fn take(key: &Key, slot: &Slot, at: u64, limit: usize, rows: &mut Vec<Row>) -> ControlFlow<()> {
    if rows.len() == limit {
        return ControlFlow::Break(());
    }
    if let Some((version, Some(value))) = slot.at(at) {
        let row = Row { key: key.as_slice().into(), version, value: Arc::clone(value) };
        rows.push(row);
    }
    if rows.len() == limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}
