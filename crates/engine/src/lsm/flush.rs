//! Sealing a memtable, writing it out, and merging files.
//!
//! The crate's own flush keeps every deletion. Ours writes of each key only the newest version, and
//! nothing at all of a key that came and went within the memtable and that no file has: work that
//! is done within seconds costs no writes beyond the journal. Readers of older versions do not miss
//! what is left out: they see the manifest before, which still holds the memtable.
//!
//! Invariants: memtables are flushed in the order in which they were sealed; a memtable leaves
//! memory in the same change of the manifest that names its files.

use std::any::Any;
use std::iter::Peekable;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use lsm_tree::compaction::Leveled;
use lsm_tree::{AbstractTree, AnyTree, InternalValue, Memtable};
use rekindle_env::{ReadDisk, RealDisk};

use super::manifest::{Kind, Named};
use super::row::{self, STAND_KEY};
use super::tables::{self, Tables};
use super::values::Unsynced;
use super::{LsmEngine, check, lock, values, written};
use crate::api::{EngineError, Mark};
use crate::files::{Flush, Wrong};

/// So many flushed tables are merged at a time; a read of a row that is in none of them asks the
/// filter of each.
const FLUSHED_TO_MERGE: u8 = 8;
/// So many where all of them together are smaller than one memtable: work that is done soon leaves
/// little in each, and what a merge brings is not worth writing the level below again.
const SMALL_TO_MERGE: u8 = 24;
/// What the level holds that they are merged into.
const FIRST_LEVEL_BYTES: u64 = 512 << 20;
/// The same where large values lie apart: a table holds so many more keys.
const FIRST_LEVEL_APART_BYTES: u64 = 128 << 20;

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
            values::sync_folder(&self.folder.path)
                .map_err(|error| self.fail(format!("sync the folder of blob files: {error}")))?;
        }
        let files = written::files(&tables, blobs.as_deref());
        self.written.flushed(&files);
        let named = self.tag().map(|needed| {
            self.tree.register_tables(&tables, blobs.as_deref(), None, &[memtable.id()], needed)
        });
        self.written.settled(&files);
        named?.map_err(|error| self.doubt("name flushed files", &error))?;
        Ok(written)
    }

    /// Merges files where that is due; whether it did something.
    pub(super) fn merge(&self) -> Result<bool, EngineError> {
        self.check_failed()?;
        let before = self.tree.current_version().id();
        self.check_movable()?;
        let needed = self.tag()?;
        // The product is the size of the first level: it stays.
        let count = self.tables_to_merge();
        let merge = Leveled::default().with_l0_threshold(count);
        let first_level = match self.tree {
            AnyTree::Standard(_) => FIRST_LEVEL_BYTES,
            AnyTree::Blob(_) => FIRST_LEVEL_APART_BYTES,
        };
        let merge = merge.with_table_target_size(first_level / u64::from(count));
        let merged = catch_unwind(AssertUnwindSafe(|| self.tree.compact(Arc::new(merge), needed)));
        merged
            .map_err(|panic| self.fail(format!("merge files: {}", reason_of(&*panic))))?
            .map_err(|error| self.doubt("merge files", &error))?;
        self.written.merged(&self.tree);
        self.note_files();
        Ok(self.tree.current_version().id() != before)
    }

    /// A merge moves values out of blob files without looking at all that lies beside them: each is
    /// read whole before that.
    fn check_movable(&self) -> Result<(), EngineError> {
        if !matches!(self.tree, AnyTree::Blob(_)) {
            return Ok(());
        }
        let (disk, dir) = (RealDisk::new(), &self.folder.path);
        let Some(manifest) = check::manifest(&disk, dir)? else { return Ok(()) };
        let mut whole = lock(&self.whole);
        for (number, stale) in manifest.stale {
            let blob = |file: &&Named| (file.kind, file.number) == (Kind::Blob, number);
            let Some(named) = manifest.files.iter().copied().find(|file| blob(&file)) else {
                continue;
            };
            let path = dir.join(named.path());
            let bytes = disk.stat(&path).ok().flatten().map_or(0, |entry| entry.len);
            if !values::may_move(stale, bytes) || whole.contains(&number) {
                continue;
            }
            if let Some(Wrong { file, expected, found }) = check::check_file(&disk, dir, named)? {
                let place = dir.join(file).display().to_string();
                return Err(EngineError::Corrupt {
                    place,
                    found: format!("{found}, not {expected}"),
                });
            }
            whole.insert(number);
        }
        whole.retain(|number| manifest.files.iter().any(|file| file.number == *number));
        Ok(())
    }

    fn tables_to_merge(&self) -> u8 {
        let version = self.tree.current_version();
        let flushed = version.l0().iter().flat_map(|run| run.iter());
        let bytes: u64 = flushed.map(|table| table.metadata.file_size).sum();
        match bytes < self.memtables.full_bytes() {
            true => SMALL_TO_MERGE,
            false => FLUSHED_TO_MERGE,
        }
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
        Ok(row::below(lock(&self.past).oldest()))
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
        let held = self.tree.current_version().id();
        match tables::named_manifest(&RealDisk::new(), &self.folder.path) {
            Ok(Some(named)) if named == held => refused,
            _ => self.fail(format!("{refused}; the manifest on disk may be another one")),
        }
    }
}

/// What a panic says.
fn reason_of(panic: &(dyn Any + Send)) -> String {
    if let Some(Unsynced(reason)) = panic.downcast_ref() {
        return reason.clone();
    }
    let said = panic.downcast_ref::<String>().map(String::as_str);
    said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
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
