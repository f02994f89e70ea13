//! How many bytes of tables this process wrote.
//!
//! The crate does not count them, so they are told apart by the numbers of the tables, which it
//! never gives twice. Invariants: a table counts once, when it was written whole, whether a flush
//! or a merge wrote it; what lay there when the engine was opened, and what a merge only moves to
//! another level, does not count. A table is as large as the crate says: without its description of
//! itself at its end, which takes one or two KiB.

use std::collections::HashSet;
use std::sync::Mutex;

use lsm_tree::{AbstractTree, AnyTree, Table};

use super::lock;

/// The count, and what it is made of.
#[derive(Debug, Default)]
pub(super) struct Written {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    bytes: u64,
    /// Tables that were counted, or were there before.
    known: HashSet<u64>,
    /// Of those: flushed, and not yet in the manifest.
    unnamed: HashSet<u64>,
}

impl Written {
    /// Nothing was written; these tables are there.
    pub(super) fn since_open(tree: &AnyTree) -> Self {
        let known = tree.current_version().iter_tables().map(Table::id).collect();
        Self { inner: Mutex::new(Inner { known, ..Inner::default() }) }
    }

    /// A flush wrote these, and the manifest does not name them yet.
    pub(super) fn flushed(&self, tables: &[Table]) {
        let mut inner = lock(&self.inner);
        for table in tables {
            inner.bytes += table.metadata.file_size;
            inner.unnamed.insert(table.id());
        }
    }

    /// The manifest names these, or never will.
    pub(super) fn settled(&self, tables: &[Table]) {
        let mut inner = lock(&self.inner);
        for table in tables {
            inner.unnamed.remove(&table.id());
            inner.known.insert(table.id());
        }
    }

    /// A merge is over: what is in the tree and nobody knows is its work.
    pub(super) fn merged(&self, tree: &AnyTree) {
        let mut inner = lock(&self.inner);
        let Inner { bytes, known, unnamed } = &mut *inner;
        let version = tree.current_version();
        let mut there = HashSet::new();
        for table in version.iter_tables() {
            there.insert(table.id());
            if !known.contains(&table.id()) && !unnamed.contains(&table.id()) {
                *bytes += table.metadata.file_size;
            }
        }
        *known = there;
    }

    /// Bytes of all of them.
    pub(super) fn bytes(&self) -> u64 {
        lock(&self.inner).bytes
    }
}
