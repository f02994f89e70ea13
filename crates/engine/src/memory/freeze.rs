//! A consistent view that stays while writers go on: what checkpoints and state hashes read.
//!
//! Invariants: the version of the view is pinned from [`MemoryEngine::freeze`] to the drop of
//! [`Frozen`]; rows come out ascending by keyspace and key; no lock is held longer than one batch.

use std::ops::{Bound, ControlFlow};

use super::key::Key;
use super::tree::Walk;
use super::{BATCH_ROWS, MemoryEngine};
use crate::api::{Engine, KeyspaceId, Mark};
use crate::row::{self, EncodedRow, StateHash};

/// Rows are hashed in pieces of this size.
const HASH_BYTES: usize = 64 << 10;

/// A view of an engine at one mark.
#[derive(Debug)]
pub struct Frozen<'a> {
    engine: &'a MemoryEngine,
    mark: Mark,
}

/// How far a reader of a [`Frozen`] view is.
#[derive(Debug)]
pub(crate) struct RowCursor {
    /// The keyspace that is read; `None` behind the last.
    keyspace: Option<KeyspaceId>,
    /// The last key that was seen in it.
    behind: Option<Key>,
}

impl RowCursor {
    /// Before the first row.
    pub(crate) fn new() -> Self {
        Self { keyspace: Some(KeyspaceId(0)), behind: None }
    }
}

impl MemoryEngine {
    /// A view at the current mark, kept readable until it is dropped. For a checkpoint, call this
    /// between two records (under the lock that orders applies): in the middle of a record with
    /// several transactions the position would claim the whole of it.
    #[must_use]
    pub fn freeze(&self) -> Frozen<'_> {
        loop {
            let mark = self.mark();
            // The floor can pass this mark only when another transaction was applied meanwhile.
            if self.pin(mark.version).is_ok() {
                return Frozen { engine: self, mark };
            }
        }
    }
}

impl Frozen<'_> {
    /// Where the view stands.
    #[must_use]
    pub fn mark(&self) -> Mark {
        if cfg!(planted = "applied-outside-batch") { self.engine.mark() } else { self.mark }
    }

    /// The state hash at this view; see [`Engine::state_hash`].
    #[must_use]
    pub fn state_hash(&self) -> u128 {
        let mut hash = StateHash::default();
        let mut cursor = RowCursor::new();
        let mut rows = Vec::with_capacity(HASH_BYTES);
        loop {
            rows.clear();
            if self.fill(&mut cursor, &mut rows, HASH_BYTES) == 0 {
                return hash.digest();
            }
            hash.update(&rows);
        }
    }

    /// Appends encoded rows behind the cursor until `out` grew by `bytes` or more, or no row is
    /// left. Answers the number of rows; 0 only at the end.
    pub(crate) fn fill(&self, cursor: &mut RowCursor, out: &mut Vec<u8>, bytes: usize) -> u32 {
        let full = out.len() + bytes;
        let mut count = 0;
        while let Some(id) = cursor.keyspace {
            let Some(next) = self.engine.spaces.next(id) else {
                cursor.keyspace = None;
                break;
            };
            assert!(next == id || cursor.behind.is_none(), "a keyspace, once used, stays");
            cursor.keyspace = Some(next);
            count += self.fill_from(next, cursor, out, full);
            if out.len() >= full {
                break;
            }
        }
        assert!(count > 0 || cursor.keyspace.is_none(), "no row means the end of all rows");
        count
    }

    /// One hold of a keyspace's lock.
    fn fill_from(
        &self,
        id: KeyspaceId,
        cursor: &mut RowCursor,
        out: &mut Vec<u8>,
        full: usize,
    ) -> u32 {
        let Some(space) = self.engine.spaces.get(id) else { return 0 };
        let start = match &cursor.behind {
            Some(key) => Bound::Excluded(key.as_slice()),
            None => Bound::Unbounded,
        };
        let mut count = 0;
        let mut last: Option<Key> = None;
        let walk = space.read().ascend(start, Bound::Unbounded, BATCH_ROWS, |key, slot| {
            if let Some((version, Some(value))) = slot.at(self.mark.version) {
                let row = EncodedRow { keyspace: id.0, version, key: key.as_slice(), value };
                row::encode(out, &row);
                count += 1;
            }
            if out.len() < full {
                return ControlFlow::Continue(());
            }
            last = Some(key.clone());
            ControlFlow::Break(())
        });
        match (walk, last) {
            (Walk::More(key), _) | (Walk::Done, Some(key)) => {
                assert!(key.is_behind(cursor.behind.as_ref()), "no row is read twice");
                cursor.behind = Some(key);
            }
            (Walk::Done, None) => {
                cursor.behind = None;
                cursor.keyspace = id.0.checked_add(1).map(KeyspaceId);
            }
        }
        count
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        self.engine.unpin(self.mark.version);
    }
}
