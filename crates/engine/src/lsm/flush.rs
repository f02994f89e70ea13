//! Sealing a memtable, and writing it out.
//!
//! The crate's own flush keeps every deletion. Ours writes of each key only the newest version, and
//! nothing at all of a key that came and went within the memtable and that no file has: work that
//! is done within seconds costs no writes beyond the journal. Readers of older versions do not miss
//! what is left out: they see the manifest before, which still holds the memtable.
//!
//! Invariants: memtables are flushed in the order in which they were sealed; a memtable leaves
//! memory in the same change of the manifest that names its files.

use std::iter::Peekable;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use lsm_tree::{AbstractTree, BlobFile, InternalValue, Memtable, Table};
use rekindle_env::RealDisk;

use super::row::{self, STAND_KEY};
use super::tables::{self, Tables};
use super::{LsmEngine, lock, written};
use crate::api::{EngineError, Mark};
use crate::files::Flush;

impl LsmEngine {
    /// See [`crate::files::FileEngine::seal`].
    pub(super) fn seal_memtable(&self, replay_from: u64) -> Option<Mark> {
        let writer = lock(&self.writer);
        if self.failed.get().is_some() {
            return None;
        }
        self.memtables.seal(*writer, replay_from, |stand| {
            self.tree.insert(STAND_KEY, stand.encode(), row::number(stand.mark.version));
            self.tree.rotate_memtable().expect("the stand is in it")
        })
    }

    /// See [`crate::files::FileEngine::flush`].
    pub(super) fn flush_sealed(&self) -> Result<Option<Flush>, EngineError> {
        self.memtables.flush(|memtable, _| self.flush_one(memtable), |_| self.note_files())
    }

    pub(super) fn flush_one(&self, memtable: &Memtable) -> Result<u64, EngineError> {
        self.check_failed()?;
        let before = self.there();
        let flushed = self.write_out(memtable);
        // A merge that goes on has files that are not named, too: then it stays for the next start.
        if flushed.is_err()
            && let Ok(_no_merge) = self.merging.try_lock()
        {
            self.clear_up(&before);
        }
        flushed
    }

    fn write_out(&self, memtable: &Memtable) -> Result<u64, EngineError> {
        let _writing = self.writing.read().unwrap_or_else(PoisonError::into_inner);
        let _flush = self.tree.get_flush_lock();
        let tables = Tables::of(&self.tree);
        let mut written = 0;
        let rows = Newest { rows: memtable.iter().peekable(), tables: &tables };
        let rows = rows.inspect(|row| {
            if let Ok(row) = row {
                written += bytes_of(row);
            }
        });
        let flushed = self.tree.flush_to_tables(rows);
        let flushed =
            flushed.map_err(|error| tables::refused(&self.folder.path, "flush", &error))?;
        let (tables, blobs) = flushed.expect("a memtable that is flushed has rows");
        if blobs.as_ref().is_some_and(|blobs| !blobs.is_empty()) {
            // The folder of the tables is synced by the crate.
            (self.sync_blobs)()
                .map_err(|error| self.fail(format!("sync the folder of blob files: {error}")))?;
        }
        self.name_flushed(&tables, blobs.as_deref(), &[memtable.id()])?;
        Ok(written)
    }

    /// Has the manifest name what a flush wrote, in the place of these memtables.
    pub(super) fn name_flushed(
        &self,
        tables: &[Table],
        blobs: Option<&[BlobFile]>,
        memtables: &[u64],
    ) -> Result<(), EngineError> {
        let files = written::files(tables, blobs);
        self.written.flushed(&files);
        let named = self
            .tag()
            .map(|needed| self.tree.register_tables(tables, blobs, None, memtables, needed));
        self.written.settled(&files);
        named?.map_err(|error| self.doubt("name flushed files", &error))
    }

    /// Sees to it that the next manifest belongs to the newest version. Answers below which number
    /// the oldest reader is.
    pub(super) fn tag(&self) -> Result<u64, EngineError> {
        let first = row::number(self.visible.load(Ordering::Acquire));
        self.tags.fetch_max(first);
        if self.tags.get() >= first + row::MANIFESTS_MAX {
            let text = "as many manifests as one version has numbers for; they wait for the next";
            return Err(EngineError::Io(text.to_owned()));
        }
        Ok(self.needed())
    }

    /// Below which number the oldest reader is.
    pub(super) fn needed(&self) -> u64 {
        row::below(lock(&self.past).oldest())
    }

    pub(super) fn note_files(&self) {
        self.disk_bytes.store(self.tree.disk_space(), Ordering::Relaxed);
        let runs = u64::try_from(self.tree.l0_run_count()).unwrap_or(u64::MAX);
        self.runs.store(runs, Ordering::Relaxed);
    }

    pub(super) fn check_failed(&self) -> Result<(), EngineError> {
        match self.failed.get() {
            Some(reason) => Err(EngineError::Io(reason.clone())),
            None => Ok(()),
        }
    }

    /// An error after which another attempt is safe only where the manifest on disk is the one in
    /// memory: the crate would write the next one over the file that the disk may already name.
    pub(super) fn doubt(&self, what: &str, error: &lsm_tree::Error) -> EngineError {
        let refused = tables::refused(&self.folder.path, what, error);
        loop {
            let held = self.tree.current_version().id();
            let named = tables::named_manifest(&RealDisk::new(), &self.folder.path);
            match named {
                Ok(Some(named)) if named == held => return refused,
                // A flush or a merge was done in between.
                _ if self.tree.current_version().id() != held => {}
                _ => {
                    return self
                        .fail(format!("{refused}; the manifest on disk may be another one"));
                }
            }
        }
    }
}

fn bytes_of(row: &InternalValue) -> u64 {
    u64::try_from(row.key.user_key.len() + row.value.len()).unwrap_or(u64::MAX)
}

/// Of each key the newest version, and of a key that is gone only what hides something.
struct Newest<'a, I: Iterator<Item = InternalValue>> {
    rows: Peekable<I>,
    tables: &'a Tables,
}

impl<I: Iterator<Item = InternalValue>> Iterator for Newest<'_, I> {
    type Item = lsm_tree::Result<InternalValue>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let newest = self.rows.next()?;
            let same = |row: &InternalValue| row.key.user_key == newest.key.user_key;
            while self.rows.next_if(same).is_some() {}
            if !newest.is_tombstone() {
                return Some(Ok(newest));
            }
            match self.tables.may_have(&newest.key.user_key) {
                Ok(false) => {}
                Ok(true) => return Some(Ok(newest)),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
