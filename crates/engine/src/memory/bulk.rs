//! Building an engine from rows that come in order: how a checkpoint is loaded.
//!
//! Invariant: rows ascend strictly by keyspace and key (the reader of the file refuses others), so
//! every row is appended and nothing is searched.

use super::MemoryEngine;
use super::heap::HeapRoom;
use super::key::Key;
use super::slot::{Slot, Tally};
use super::space::Spaces;
use super::tree::Tree;
use crate::api::{KeyspaceId, Mark};
use crate::row::EncodedRow;

/// An engine that is being built.
pub(crate) struct Bulk {
    spaces: Spaces,
    totals: Tally,
    /// The keyspace that is being filled.
    open: Option<(u16, Tree)>,
    heap: HeapRoom,
}

impl Bulk {
    pub(crate) fn new() -> Self {
        Self {
            spaces: Spaces::new(),
            totals: Tally::default(),
            open: None,
            heap: HeapRoom::default(),
        }
    }

    /// Adds the next row.
    pub(crate) fn push(&mut self, row: &EncodedRow<'_>) {
        self.heap.takes(row.key.len() + row.value.len());
        let (_, tree) = match &mut self.open {
            Some(open) if open.0 == row.keyspace => open,
            _ => {
                self.close();
                self.open.insert((row.keyspace, Tree::new()))
            }
        };
        tree.append(Key::new(row.key), Slot::new(row.version, row.value.into()));
    }

    fn close(&mut self) {
        let Some((id, tree)) = self.open.take() else { return };
        self.totals.add(tree.totals());
        assert!(self.spaces.get(KeyspaceId(id)).is_none(), "keyspaces come in order");
        self.spaces.make_with(KeyspaceId(id), || tree);
    }

    /// The engine with all `rows`, standing at `mark`, whose past begins there.
    pub(crate) fn finish(mut self, mark: Mark, rows: u64) -> MemoryEngine {
        self.close();
        assert_eq!(u64::try_from(self.totals.live), Ok(rows), "each row that was read is here");
        assert_eq!(self.totals.history, 0, "a checkpoint holds one version of each row");
        MemoryEngine::with_spaces(self.spaces, mark, self.totals)
    }
}
