//! The lsm engine: state larger than memory, on the crate `lsm-tree`, which has no log of its own.
//!
//! Our journal is its log and our version makes its sequence numbers. All keyspaces lie in one
//! tree; a key is the keyspace, 2 bytes big-endian, and the key; a value is the version that wrote
//! it, 8 bytes little-endian, and the bytes. Large values lie apart from their keys ([`values`]).
//! One more row, under a key that no keyspace has, says where the engine stands.
//!
//! Writes go to a memtable. [`LsmEngine::seal`] closes it between two records and puts the mark
//! into it; [`LsmEngine::flush`] writes it out with one change of the crate's manifest. So a start
//! finds exactly the state at one mark, and the journal behind the mark is replayed into a new
//! memtable.
//!
//! What the crate promises, and what it does not, is in docs/decisions/0029. Invariants: nothing is
//! sealed above the durable position (the caller syncs first); an error after which the manifest on
//! disk may not be the one in memory ends all writing ([`Engine::failed`]).

mod at_rest;
mod bulk;
mod check;
mod flush;
mod manifest;
mod merge;
mod read;
mod readable;
mod row;
mod tables;
mod values;
mod written;

use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use lsm_tree::{
    AbstractTree, AnyTree, Cache, Config, DescriptorTable, Guard, Memtable, SequenceNumberCounter,
};
use rekindle_env::{NativeFolder, RealDisk, durable};

use crate::api::{Engine, EngineError, KeyspaceId, Mark, Operation, Row, Versioned};
use crate::checkpoint::RowStream;
use crate::files::{
    AtRest, FileEngine, FileOptions, Flush, Memtables, Pace, Past, Stand, Wrong, with_version,
};
use merge::Merging;
use written::Written;

pub(crate) use check::check;
pub(crate) use manifest::{BLOBS, TABLES};
pub use readable::Readable;
pub(crate) use tables::look;

/// What a row of a memtable costs beside its bytes, about.
const ROW_OVERHEAD: u64 = 96;

/// Runs of files that wait to be merged before writers wait.
const RUNS_MAX: u64 = 48;

/// The same while merges end at damage: readers look into more files, and writers go on until
/// somebody sees to it. The crate counts runs in a byte.
const RUNS_HINDERED_MAX: u64 = 200;

/// Files that are kept open.
const OPEN_FILES: usize = 512;

/// Sorted keyspaces in files.
pub struct LsmEngine {
    tree: AnyTree,
    /// The folder; a view ends with the engine.
    folder: NativeFolder,
    options: FileOptions,
    /// The crate tags its manifests with numbers from here ([`row::number`]).
    tags: SequenceNumberCounter,
    /// Where it stands; also: one writer at a time.
    writer: Mutex<Mark>,
    mark: Mutex<Mark>,
    visible: AtomicU64,
    past: Mutex<Past>,
    memtables: Memtables<Arc<Memtable>>,
    disk_bytes: AtomicU64,
    written: Written,
    cache: Arc<Cache>,
    /// Runs of files that readers look into one by one.
    runs: AtomicU64,
    failed: OnceLock<String>,
    /// The last merge met damage.
    is_hindered: AtomicBool,
    sync_blobs: values::Sync,
    merging: Mutex<Merging>,
    /// A flush is shared, clearing up after a failed one is not.
    writing: RwLock<()>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for LsmEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LsmEngine").field("folder", &self.folder.path).finish_non_exhaustive()
    }
}

impl LsmEngine {
    /// Opens the engine in this folder, which is made where it is missing; files that the crate's
    /// manifest does not name are removed.
    ///
    /// # Errors
    /// `Io` when the disk refused, `Corrupt` when the manifest, or what it names, is not what was
    /// written.
    pub fn open(folder: NativeFolder, options: FileOptions) -> Result<Self, EngineError> {
        let blobs = folder.path.join(BLOBS);
        let context = |error| EngineError::Io(format!("open {}: {error}", blobs.display()));
        // The caller made it last, or it is that of a tree without such files.
        durable::create_dir_all(&RealDisk::new(), &blobs).map_err(context)?;
        let sync = values::sync_of(&folder.path).map_err(context)?;
        Self::open_with(folder, options, sync)
    }

    fn open_with(
        folder: NativeFolder,
        options: FileOptions,
        sync: values::Sync,
    ) -> Result<Self, EngineError> {
        let dir = &folder.path;
        let manifest = check::before_open(&RealDisk::new(), dir)?;
        let tags = SequenceNumberCounter::default();
        let cache = Arc::new(Cache::with_capacity_bytes(options.cache_bytes));
        let config = Config::new(dir, tags.clone(), SequenceNumberCounter::default())
            .use_cache(Arc::clone(&cache))
            .use_descriptor_table(Some(Arc::new(DescriptorTable::new(OPEN_FILES))));
        // A tree stays what it was made as.
        let is_apart = manifest.map_or(options.large_value_bytes.is_some(), |found| found.is_apart);
        let config = match is_apart {
            true => {
                let from_bytes = options.large_value_bytes.unwrap_or(u32::MAX);
                values::apart(config, Arc::clone(&sync), from_bytes)
            }
            false => config,
        };
        let tree = config.open().map_err(|error| tables::refused(dir, "open", &error))?;
        let stand = match tree.get(row::STAND_KEY, u64::MAX) {
            Ok(Some(value)) => Stand::decode(&value).ok_or_else(|| EngineError::Corrupt {
                place: dir.display().to_string(),
                found: "a mark that is none".to_owned(),
            })?,
            Ok(None) => Stand::default(),
            Err(error) => return Err(tables::refused(dir, "read the mark", &error)),
        };
        let engine = Self {
            disk_bytes: AtomicU64::new(tree.disk_space()),
            written: Written::since_open(&tree),
            cache,
            tree,
            folder,
            options,
            tags,
            writer: Mutex::new(stand.mark),
            mark: Mutex::new(stand.mark),
            visible: AtomicU64::new(stand.mark.version),
            past: Mutex::new(Past::new(stand.mark.version)),
            memtables: Memtables::new(stand, options.memtable_bytes),
            runs: AtomicU64::new(0),
            failed: OnceLock::new(),
            is_hindered: AtomicBool::new(false),
            sync_blobs: sync,
            merging: Mutex::default(),
            writing: RwLock::default(),
        };
        Ok(engine)
    }

    /// Notes that writing is over.
    fn fail(&self, reason: String) -> EngineError {
        let reason = self.failed.get_or_init(|| reason).clone();
        EngineError::Io(reason)
    }

    fn put(&self, keyspace: KeyspaceId, key: &[u8], value: &[u8], version: u64) -> u64 {
        let key = row::key(keyspace, key);
        self.tree.insert(key, with_version(version, value), row::number(version)).0 + ROW_OVERHEAD
    }

    fn delete(&self, keyspace: KeyspaceId, key: &[u8], version: u64) -> u64 {
        self.tree.remove(row::key(keyspace, key), row::number(version)).0 + ROW_OVERHEAD
    }

    fn delete_range(
        &self,
        keyspace: KeyspaceId,
        range: (&[u8], &[u8]),
        version: u64,
    ) -> Result<u64, EngineError> {
        let mut bytes = 0;
        let range = row::removed(keyspace, range);
        for found in self.tree.range(range, row::below(version), None) {
            let key = found.key().map_err(|error| self.unreadable(&error))?;
            bytes += self.tree.remove(key, row::number(version)).0 + ROW_OVERHEAD;
        }
        Ok(bytes)
    }

    fn change(&self, operation: Operation<'_>, version: u64) -> Result<u64, EngineError> {
        Ok(match operation {
            Operation::Put { keyspace, key, value } => self.put(keyspace, key, value, version),
            Operation::Delete { keyspace, key } => self.delete(keyspace, key, version),
            Operation::DeleteRange { keyspace, start, end } => {
                self.delete_range(keyspace, (start, end), version)?
            }
        })
    }

    /// Shows what was applied. It can be read before the mark says so: who asks for the version of
    /// the mark must never get the one before.
    fn publish(&self, mark: Mark) {
        self.visible.store(mark.version, Ordering::Release);
        *lock(&self.mark) = mark;
    }
}

impl Engine for LsmEngine {
    fn apply(&self, mark: Mark, operations: &mut dyn Iterator<Item = Operation<'_>>) {
        let mut writer = lock(&self.writer);
        if mark.version <= writer.version || self.failed.get().is_some() {
            return;
        }
        assert!(mark.position >= writer.position, "positions rise");
        let mut bytes = 0;
        for operation in operations {
            match self.change(operation, mark.version) {
                Ok(added) => bytes += added,
                Err(error) => {
                    // A part of it lies in the memtable, above everything that can be read; the
                    // memtable goes with the process.
                    self.fail(format!("applying version {}: {error}", mark.version));
                    return;
                }
            }
        }
        self.memtables.grew(bytes);
        *writer = mark;
        self.publish(mark);
    }

    fn advance(&self, mark: Mark) {
        let mut writer = lock(&self.writer);
        if mark.position <= writer.position || self.failed.get().is_some() {
            return;
        }
        let next = writer.advanced(mark);
        *writer = next;
        self.publish(next);
    }

    fn mark(&self) -> Mark {
        *lock(&self.mark)
    }

    fn get(
        &self,
        keyspace: KeyspaceId,
        key: &[u8],
        at: u64,
    ) -> Result<Option<Versioned>, EngineError> {
        self.read_row(keyspace, key, at)
    }

    fn scan(
        &self,
        keyspace: KeyspaceId,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        at: u64,
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<Row>, EngineError> {
        self.read_rows(keyspace, range, at, limit, reverse)
    }

    fn pin(&self, at: u64) -> Result<(), EngineError> {
        lock(&self.past).pin(at)
    }

    fn unpin(&self, at: u64) {
        lock(&self.past).unpin(at);
    }

    fn set_floor(&self, floor: u64) {
        let floor = floor.min(self.visible.load(Ordering::Acquire));
        lock(&self.past).raise(floor);
    }

    fn floor(&self) -> u64 {
        lock(&self.past).floor()
    }

    fn state_bytes(&self) -> (u64, u64) {
        (self.disk_bytes() + self.unflushed_bytes(), 0)
    }

    fn memory_bytes(&self) -> u64 {
        self.cache.size() + self.unflushed_bytes()
    }

    fn written_bytes(&self) -> u64 {
        self.written.bytes()
    }

    fn len(&self, keyspace: KeyspaceId) -> u64 {
        self.count_rows(keyspace)
    }

    fn state_hash(&self) -> u128 {
        self.hash_rows()
    }

    fn failed(&self) -> Option<String> {
        self.failed.get().cloned()
    }
}

impl FileEngine for LsmEngine {
    fn flushed(&self) -> (Mark, u64) {
        self.memtables.flushed()
    }

    fn unflushed_bytes(&self) -> u64 {
        self.memtables.bytes()
    }

    fn is_flush_due(&self) -> bool {
        self.memtables.is_flush_due()
    }

    fn is_behind(&self) -> bool {
        let most = match self.is_hindered.load(Ordering::Relaxed) {
            true => RUNS_HINDERED_MAX,
            false => RUNS_MAX,
        };
        self.memtables.are_many() || self.runs.load(Ordering::Relaxed) > most
    }

    fn disk_bytes(&self) -> u64 {
        self.disk_bytes.load(Ordering::Relaxed)
    }

    fn seal(&self, replay_from: u64) -> Option<Mark> {
        self.seal_memtable(replay_from)
    }

    fn flush(&self) -> Result<Option<Flush>, EngineError> {
        self.flush_sealed()
    }

    fn compact(&self, pressing: bool) -> Result<bool, EngineError> {
        self.merge(pressing)
    }

    fn rows(&self) -> Result<Box<dyn RowStream + Send + '_>, EngineError> {
        Ok(Box::new(self.all_rows()?))
    }

    fn fill(&self, rows: &mut dyn RowStream, replay_from: u64) -> Result<u64, EngineError> {
        self.fill_with(rows, replay_from)
    }

    fn keyspaces(&self) -> Result<Vec<KeyspaceId>, EngineError> {
        self.used_keyspaces()
    }

    fn at_rest(&self) -> Result<Vec<AtRest>, EngineError> {
        Ok(self.files_at_rest())
    }

    fn is_at_rest(&self, file: &str) -> bool {
        self.is_named(file)
    }

    fn check_at_rest(&self, file: &str, pace: &dyn Pace) -> std::io::Result<Option<Wrong>> {
        self.check_named(file, pace)
    }

    fn renew(&self, file: &str) -> Result<bool, EngineError> {
        self.renew_manifest(file)
    }
}
