//! How many bytes of tables and blob files this process wrote.
//!
//! The crate does not count them, so they are told apart by their numbers, which it never gives
//! twice while it is open. Invariants: a file counts once, when it was written whole, whether a
//! flush or a merge wrote it; what lay there when the engine was opened, and what a merge only
//! moves to another level, does not count. A table is as large as the crate says: without its
//! description of itself at its end, which takes one or two KiB.

use std::collections::HashSet;
use std::sync::Mutex;

use lsm_tree::{AbstractTree, AnyTree, BlobFile, Table};
use rekindle_env::{ReadDisk, RealDisk};

use super::lock;
use super::manifest::Kind;

/// The count, and what it is made of.
#[derive(Debug, Default)]
pub(super) struct Written {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    bytes: u64,
    /// Files that were counted, or were there before.
    known: HashSet<Name>,
    /// Of those: flushed, and not yet in the manifest.
    unnamed: HashSet<Name>,
}

type Name = (Kind, u64);

/// A file with its size, bytes.
pub(super) type Sized = (Name, u64);

/// What a flush wrote.
pub(super) fn files(tables: &[Table], blobs: Option<&[BlobFile]>) -> Vec<Sized> {
    let tables = tables.iter().map(of_table);
    tables.chain(blobs.unwrap_or_default().iter().map(of_blob)).collect()
}

fn of_table(table: &Table) -> Sized {
    ((Kind::Table, table.id()), table.metadata.file_size)
}

fn of_blob(blob: &BlobFile) -> Sized {
    let entry = RealDisk::new().stat(blob.path()).ok().flatten();
    ((Kind::Blob, blob.id()), entry.map_or(0, |entry| entry.len))
}

impl Written {
    /// Nothing was written; what is in the tree is there.
    pub(super) fn since_open(tree: &AnyTree) -> Self {
        let version = tree.current_version();
        let tables = version.iter_tables().map(|table| (Kind::Table, table.id()));
        let known = tables.chain(version.blob_files.iter().map(|it| (Kind::Blob, it.id())));
        Self { inner: Mutex::new(Inner { known: known.collect(), ..Inner::default() }) }
    }

    /// A flush wrote these, and the manifest does not name them yet.
    pub(super) fn flushed(&self, files: &[Sized]) {
        let mut inner = lock(&self.inner);
        for (name, bytes) in files {
            inner.bytes += bytes;
            inner.unnamed.insert(*name);
        }
    }

    /// The manifest names these, or never will.
    pub(super) fn settled(&self, files: &[Sized]) {
        let mut inner = lock(&self.inner);
        for (name, _) in files {
            inner.unnamed.remove(name);
            inner.known.insert(*name);
        }
    }

    /// A merge is over: what is in the tree and nobody knows is its work.
    pub(super) fn merged(&self, tree: &AnyTree) {
        let version = tree.current_version();
        let blobs = version.blob_files.iter();
        let mut inner = lock(&self.inner);
        let Inner { bytes, known, unnamed } = &mut *inner;
        let is_new = |name: &Name| !known.contains(name) && !unnamed.contains(name);
        let mut there = HashSet::new();
        for table in version.iter_tables() {
            let (name, size) = of_table(table);
            *bytes += if is_new(&name) { size } else { 0 };
            there.insert(name);
        }
        for blob in blobs {
            let name = (Kind::Blob, blob.id());
            *bytes += if is_new(&name) { of_blob(blob).1 } else { 0 };
            there.insert(name);
        }
        *known = there;
    }

    /// Bytes of all of them.
    pub(super) fn bytes(&self) -> u64 {
        lock(&self.inner).bytes
    }
}
