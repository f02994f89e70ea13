//! Merging files, and what a merge that failed leaves.
//!
//! Invariants: values are moved out of a blob file only after all of it was read and is what was
//! written; what an error or a panic of the crate leaves half done is named by no manifest, and is
//! removed.

use std::any::Any;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use lsm_tree::compaction::Leveled;
use lsm_tree::{AbstractTree, AnyTree, InternalValue, ValueType};
use rekindle_env::{Disk, ReadDisk, RealDisk, durable};

use super::manifest::{Kind, Manifest, Named};
use super::row::{self, STAND_KEY};
use super::values::Unsynced;
use super::{LsmEngine, check, lock, tables, values};
use crate::api::EngineError;
use crate::files::Wrong;

/// So many flushed tables are merged at a time; a read of a row that is in none of them asks the
/// filter of each.
const FLUSHED_TO_MERGE: u8 = 8;
/// So many where all of them together are smaller than one memtable: work that is done soon leaves
/// little in each, and what a merge brings is not worth writing the level below again.
const SMALL_TO_MERGE: u8 = 24;
/// So many deletions in flushed tables are worth a merge: what they hide takes space; fewer where
/// they are a quarter of all rows.
const DELETIONS_TO_MERGE: u64 = 100_000;
const DELETIONS_TO_MERGE_MIN: u64 = 1_000;
/// So much that lies in blob files for nobody is worth another merge, if it is half of them.
const STALE_BYTES: u64 = 16 << 20;
/// What the level holds that they are merged into.
const FIRST_LEVEL_BYTES: u64 = 512 << 20;
/// The same where large values lie apart: a table holds so many more keys.
const FIRST_LEVEL_APART_BYTES: u64 = 128 << 20;

/// What is known between two merges.
#[derive(Debug, Default)]
pub(super) struct Merging {
    /// In this version, with or without pressing, nothing was to be merged.
    idle: Option<(u64, bool)>,
    /// Blob files that were read whole, and are.
    whole: BTreeSet<u64>,
    /// One that is not.
    damaged: Option<(u64, Wrong)>,
    /// Stale bytes for which a merge was brought about.
    nudged: u64,
    /// Whether files may lie there that only older manifests name.
    kept_back: bool,
    /// The highest number of a row, where the last merge kept rows because somebody could read
    /// below it.
    missed: Option<u64>,
}

/// Names of tables and blob files.
pub(super) type Names = BTreeSet<(Kind, u64)>;

impl LsmEngine {
    /// Merges files where that is due; whether it did something.
    pub(super) fn merge(&self, pressing: bool) -> Result<bool, EngineError> {
        let merged = self.try_merge(pressing);
        let is_hindered = matches!(merged, Err(EngineError::Corrupt { .. }));
        self.is_hindered.store(is_hindered, Ordering::Relaxed);
        merged
    }

    fn try_merge(&self, pressing: bool) -> Result<bool, EngineError> {
        self.check_failed()?;
        let mut merging = lock(&self.merging);
        self.let_go(&mut merging)?;
        let before = self.tree.current_version().id();
        let again = pressing && self.can_drop(&merging);
        if merging.idle == Some((before, pressing)) && !again {
            return Ok(false);
        }
        self.check_movable(&mut merging)?;
        self.merge_at(&mut merging, self.tables_to_merge(pressing))?;
        if self.tree.current_version().id() == before {
            self.nudge(&mut merging, pressing)?;
        }
        self.written.merged(&self.tree);
        self.note_files();
        let after = self.tree.current_version().id();
        if after == before {
            merging.idle = Some((before, pressing));
        } else {
            merging.kept_back = true;
        }
        Ok(after != before)
    }

    /// Removes what only older manifests name, once nobody reads by them any more. The crate does
    /// so behind its next manifest, and where nothing else comes there is none: what was merged
    /// while somebody still read would stay. This one names what the one before it names.
    fn let_go(&self, merging: &mut Merging) -> Result<(), EngineError> {
        if !merging.kept_back || self.needed() < self.tags.get() {
            return Ok(());
        }
        if self.tree.version_free_list_len() > 0 {
            let _writing = self.writing.read().unwrap_or_else(PoisonError::into_inner);
            // No flush comes in between: it would be another version with other files.
            let _flush = self.tree.get_flush_lock();
            let before = self.tree.current_version().id();
            self.name_flushed(&[], None, &[])?;
            if let Some((version, _)) = merging.idle.as_mut().filter(|(idle, _)| *idle == before) {
                *version = self.tree.current_version().id();
            }
        }
        merging.kept_back = false;
        Ok(())
    }

    fn merge_at(&self, merging: &mut Merging, count: u8) -> Result<(), EngineError> {
        let needed = self.tag()?;
        // The product is the size of the first level: it stays.
        let merge = Leveled::default().with_l0_threshold(count);
        let first_level = match self.tree {
            AnyTree::Standard(_) => FIRST_LEVEL_BYTES,
            AnyTree::Blob(_) => FIRST_LEVEL_APART_BYTES,
        };
        let merge = merge.with_table_target_size(first_level / u64::from(count));
        let (version, before) = (self.tree.current_version().id(), self.there());
        let merged = catch_unwind(AssertUnwindSafe(|| self.tree.compact(Arc::new(merge), needed)));
        let merged =
            merged.map_err(|panic| self.fail(format!("merge files: {}", reason_of(&*panic))))?;
        merged.map_err(|error| {
            let error = self.doubt("merge files", &error);
            self.clear_up(&before);
            error
        })?;
        if self.tree.current_version().id() != version {
            let highest = self.tree.get_highest_persisted_seqno();
            merging.missed = highest.filter(|highest| *highest >= needed);
        }
        Ok(())
    }

    /// Whether another merge can drop what the last one had to keep for a reader.
    fn can_drop(&self, merging: &Merging) -> bool {
        merging.missed.is_some_and(|highest| highest < self.needed())
    }

    /// How many flushed tables make a merge due.
    fn tables_to_merge(&self, pressing: bool) -> u8 {
        let version = self.tree.current_version();
        let flushed = || version.l0().iter().flat_map(|run| run.iter());
        let deletions: u64 = flushed().map(|table| table.metadata.tombstone_count).sum();
        let rows = || version.iter_tables().map(|table| table.metadata.item_count).sum::<u64>();
        let many = deletions >= DELETIONS_TO_MERGE
            || (deletions >= DELETIONS_TO_MERGE_MIN && deletions.saturating_mul(4) >= rows());
        if pressing || many {
            return 1;
        }
        // With what lies apart: a merge tells which of it nothing needs any more.
        let bytes = flushed().map(|table| {
            let apart = table.list_blob_file_references().ok().flatten().unwrap_or_default();
            table.metadata.file_size + apart.iter().map(|blob| blob.on_disk_bytes).sum::<u64>()
        });
        match bytes.sum::<u64>() < self.memtables.full_bytes() {
            true => SMALL_TO_MERGE,
            false => FLUSHED_TO_MERGE,
        }
    }

    /// A blob file that nothing needs goes with the merge behind the one that told so. Where
    /// nothing else comes, and the disk is nearly full or much is stale, the row that says where
    /// the files stand is written once more and merged.
    fn nudge(&self, merging: &mut Merging, pressing: bool) -> Result<(), EngineError> {
        let stale = self.tree.stale_blob_bytes();
        let all = self.tree.current_version().blob_files.on_disk_size();
        let much = stale >= STALE_BYTES && stale.saturating_mul(2) >= all;
        let told = stale != merging.nudged && stale > 0;
        if !(told || self.can_drop(merging)) || !(pressing || much) {
            return Ok(());
        }
        merging.nudged = stale;
        let before = self.there();
        self.flush_stand().inspect_err(|_| self.clear_up(&before))?;
        self.merge_at(merging, 1)
    }

    /// Writes the row that says where the files stand once more, so that there is something to
    /// merge.
    fn flush_stand(&self) -> Result<(), EngineError> {
        // No flush comes in between: its stand would be above this one.
        let (_alone, stand) = self.memtables.hold();
        let number = row::number(stand.mark.version);
        if number == 0 {
            return Ok(());
        }
        let row =
            InternalValue::from_components(STAND_KEY, stand.encode(), number, ValueType::Value);
        let _writing = self.writing.read().unwrap_or_else(PoisonError::into_inner);
        let _flush = self.tree.get_flush_lock();
        let refused = |error| tables::refused(&self.folder.path, "flush", &error);
        let flushed = self.tree.flush_to_tables(std::iter::once(Ok(row))).map_err(refused)?;
        let (tables, _) = flushed.expect("one row");
        self.name_flushed(&tables, None, &[])
    }

    /// What the manifest on disk says. Another one may take its place while it is read.
    fn manifest(&self) -> Result<Option<Manifest>, EngineError> {
        loop {
            let held = self.tree.current_version().id();
            let read = check::manifest(&RealDisk::new(), &self.folder.path);
            if read.is_ok() || self.tree.current_version().id() == held {
                return read;
            }
        }
    }

    /// A merge moves values out of blob files without looking at all that lies beside them: each is
    /// read whole before that.
    fn check_movable(&self, merging: &mut Merging) -> Result<(), EngineError> {
        if !matches!(self.tree, AnyTree::Blob(_)) || self.tree.stale_blob_bytes() == 0 {
            return Ok(());
        }
        let (disk, dir) = (RealDisk::new(), &self.folder.path);
        let Some(Manifest { files, stale, .. }) = self.manifest()? else { return Ok(()) };
        let blob = |number: u64| {
            let is_it = |file: &&Named| (file.kind, file.number) == (Kind::Blob, number);
            files.iter().find(is_it).copied()
        };
        merging.whole.retain(|number| blob(*number).is_some());
        merging.damaged.take_if(|(number, _)| blob(*number).is_none());
        for (number, stale) in stale {
            if merging.damaged.is_some() {
                break;
            }
            let Some(named) = blob(number).filter(|_| !merging.whole.contains(&number)) else {
                continue;
            };
            let entry = disk.stat(&dir.join(named.path())).ok().flatten();
            if !values::may_move(stale, entry.map_or(0, |entry| entry.len)) {
                continue;
            }
            match check::check_file(&disk, dir, named)? {
                None => drop(merging.whole.insert(number)),
                Some(wrong) => merging.damaged = Some((number, wrong)),
            }
        }
        let Some((_, Wrong { file, expected, found })) = &merging.damaged else { return Ok(()) };
        Err(EngineError::Corrupt {
            place: dir.join(file).display().to_string(),
            found: format!("{found}, not {expected}"),
        })
    }

    /// Tables and blob files that lie in their folders.
    pub(super) fn there(&self) -> Names {
        let kinds = [Kind::Table, Kind::Blob].into_iter();
        let names = kinds.flat_map(|kind| {
            let folder = self.folder.path.join(kind.folder());
            let entries = durable::list_folder(&RealDisk::new(), &folder).ok().flatten();
            let numbers = entries.into_iter().flatten().map(|entry| entry.name.parse().ok());
            numbers.flatten().map(move |number| (kind, number)).collect::<Vec<_>>()
        });
        names.collect()
    }

    /// Removes what was written since and is named by no manifest: the crate leaves it until the
    /// next start, and it takes the space for whose want a merge failed. Whoever calls it holds
    /// `merging`: what a merge is writing is not named either.
    pub(super) fn clear_up(&self, before: &Names) {
        if self.failed.get().is_some() {
            return;
        }
        let _alone = self.writing.write().unwrap_or_else(PoisonError::into_inner);
        let named: Names = self.named().iter().map(|it| (it.kind, it.number)).collect();
        for (kind, number) in self.there() {
            if !before.contains(&(kind, number)) && !named.contains(&(kind, number)) {
                let path = self.folder.path.join(kind.folder()).join(number.to_string());
                // What stays is removed by the next start.
                let _ = RealDisk::new().remove_file(&path);
            }
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::disallowed_methods)]
mod tests {
    use std::io;
    use std::sync::atomic::AtomicBool;

    use rekindle_env::NativeMode;

    use super::*;
    use crate::api::{Engine, KeyspaceId, Mark, Operation};
    use crate::files::{FileEngine, FileOptions};

    /// What moved is named by no manifest where its name may not last, and writing is over.
    #[test]
    fn a_merge_whose_folder_cannot_be_synced_is_the_last() {
        let dir = tempfile::tempdir().unwrap();
        let folder = RealDisk::new().native(dir.path(), NativeMode::InPlace).unwrap();
        let refuses = Arc::new(AtomicBool::new(false));
        let sync: values::Sync = Arc::new({
            let refuses = Arc::clone(&refuses);
            move || match refuses.load(Ordering::Relaxed) {
                true => Err(io::ErrorKind::StorageFull.into()),
                false => Ok(()),
            }
        });
        let options = FileOptions { large_value_bytes: Some(16), ..FileOptions::default() };
        let engine = LsmEngine::open_with(folder, options, sync).unwrap();
        let put = |version: u64| {
            let (key, value) = (version.to_be_bytes(), [1; 100]);
            let put = Operation::Put { keyspace: KeyspaceId(3), key: &key, value: &value };
            let mark = Mark { position: version, version, ..Mark::default() };
            engine.apply(mark, &mut std::iter::once(put));
            engine.seal(1).unwrap();
        };
        for version in 1..=30 {
            put(version);
            engine.flush().unwrap();
        }
        let current = || std::fs::read(dir.path().join("current")).unwrap();
        let before = current();
        refuses.store(true, Ordering::Relaxed);
        let refused = engine.compact(false).unwrap_err().to_string();
        assert!(refused.contains("sync the folder of blob files"), "{refused}");
        assert_eq!(current(), before);
        refuses.store(false, Ordering::Relaxed);
        assert!(engine.failed().is_some());
        assert!(engine.compact(false).is_err(), "writing is over");
    }

    /// The same of a flush.
    #[test]
    fn a_flush_whose_folder_cannot_be_synced_is_the_last() {
        let dir = tempfile::tempdir().unwrap();
        let folder = RealDisk::new().native(dir.path(), NativeMode::InPlace).unwrap();
        let sync: values::Sync = Arc::new(|| Err(io::ErrorKind::StorageFull.into()));
        let options = FileOptions { large_value_bytes: Some(16), ..FileOptions::default() };
        let engine = LsmEngine::open_with(folder, options, sync).unwrap();
        let put = Operation::Put { keyspace: KeyspaceId(3), key: b"key", value: &[1; 100] };
        let mark = Mark { position: 1, version: 1, ..Mark::default() };
        engine.apply(mark, &mut std::iter::once(put));
        engine.seal(1).unwrap();
        assert!(engine.flush().is_err());
        assert!(engine.failed().is_some_and(|it| it.contains("sync the folder")));
        assert!(engine.flush().is_err(), "writing is over");
    }
}
