//! The engine `rocksdb`: state larger than memory, on RocksDB, each keyspace in a column family.
//!
//! Behind the cargo feature `rocksdb`: RocksDB is C++. Its log is off, our journal is its log. What
//! is applied is collected in memtables of ours (`memtable.rs`), which keep all versions that
//! somebody may read; [`FileEngine::flush`] writes the newest of each key, together with the row
//! that says where the state stands, as ONE write batch, and has RocksDB flush all families in one
//! step (`atomic_flush`). So its files hold the state at exactly one mark, whatever RocksDB flushes
//! or merges by itself, and never anything above the durable position of the journal.
//!
//! A reader of an older version reads a [`View`]: a snapshot of RocksDB and the memtables on top of
//! it. What was decided, and why, is in docs/decisions/0030.

mod base;
mod bulk;
mod check;
mod families;
mod flush;
mod memtable;
mod read;
mod settings;
mod view;
mod walk;

use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rekindle_env::{NativeFolder, RealDisk};
use rocksdb::{ColumnFamilyDescriptor, DBWithThreadMode, MultiThreaded};

use crate::api::{Engine, EngineError, KeyspaceId, Mark, Operation, Row, Versioned};
use crate::checkpoint::RowStream;
use crate::files::{
    AtRest, Family, FileEngine, FileOptions, Files, Flush, Memtables, Pace, Past, Stand, Wrong,
    split_value,
};
use base::Base;
use families::Families;
use memtable::Memtable;
use settings::Settings;
use view::{View, Views};

pub(crate) use check::{check, families, look};

/// The database of the crate; families can be made while it is read.
type Db = DBWithThreadMode<MultiThreaded>;

/// The row of the family `default` that says where the flushed state stands.
const STAND_KEY: &[u8] = b"stand";

/// Sorted keyspaces in column families.
pub struct RocksEngine {
    views: Mutex<Views>,
    db: Arc<Db>,
    families: Families,
    settings: Settings,
    /// A view of files that must stay as they are: nothing is flushed.
    is_view: bool,
    /// Where it stands, and what is written to; also: one writer at a time.
    writer: Mutex<Writer>,
    mark: Mutex<Mark>,
    visible: AtomicU64,
    memtables: Memtables<Arc<Memtable>>,
    disk_bytes: AtomicU64,
    failed: OnceLock<String>,
    /// The folder; a view ends with the engine.
    folder: NativeFolder,
}

struct Writer {
    mark: Mark,
    active: Arc<Memtable>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for RocksEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RocksEngine").field("folder", &self.folder.path).finish_non_exhaustive()
    }
}

impl RocksEngine {
    /// Opens the engine in this folder, which is there; a view of files is only read.
    ///
    /// # Errors
    /// `Io` when the disk refused, `Corrupt` when the manifest, or what it names, is not what was
    /// written.
    pub fn open(folder: NativeFolder, options: FileOptions) -> Result<Self, EngineError> {
        let settings = Settings::new(options);
        let there = look(&RealDisk::new(), &folder.path)?;
        let is_view = folder.is_view() && there == Files::There;
        let db = Arc::new(open_files(&folder.path, &settings, there, is_view)?);
        let refused = |what: &str, error| check::refused(&folder.path, what, &error);
        let stand = match db.get(STAND_KEY).map_err(|error| refused("read the mark", error))? {
            Some(bytes) => Stand::decode(&bytes).ok_or_else(|| EngineError::Corrupt {
                place: folder.path.display().to_string(),
                found: "a mark that is none".to_owned(),
            })?,
            None => Stand::default(),
        };
        let families = Families::read(&db, &folder.path)?;
        let active = Arc::new(Memtable::default());
        let base = Arc::new(Base::of(Arc::clone(&db)));
        let view = View { from: stand.mark.version, base, tables: vec![Arc::clone(&active)] };
        let engine = Self {
            views: Mutex::new(Views::new(view, Past::new(stand.mark.version))),
            db,
            families,
            settings,
            is_view,
            writer: Mutex::new(Writer { mark: stand.mark, active }),
            mark: Mutex::new(stand.mark),
            visible: AtomicU64::new(stand.mark.version),
            memtables: Memtables::new(stand, options.memtable_bytes),
            disk_bytes: AtomicU64::new(0),
            failed: OnceLock::new(),
            folder,
        };
        engine.note_files();
        Ok(engine)
    }

    /// Notes that writing is over.
    fn fail(&self, reason: String) -> EngineError {
        let reason = self.failed.get_or_init(|| reason).clone();
        EngineError::Io(reason)
    }

    fn change(
        &self,
        active: &Memtable,
        operation: Operation<'_>,
        version: u64,
    ) -> Result<u64, EngineError> {
        Ok(match operation {
            Operation::Put { keyspace, key, value } => {
                active.put(keyspace, key, version, Some(value))
            }
            Operation::Delete { keyspace, key } => active.put(keyspace, key, version, None),
            Operation::DeleteRange { keyspace, start, end } => {
                let keys = self.keys_between(keyspace, (start, end), version)?;
                keys.iter().map(|key| active.put(keyspace, key, version, None)).sum()
            }
        })
    }

    /// Shows what was applied. It can be read before the mark says so: who asks for the version of
    /// the mark must never get the one before.
    fn publish(&self, mark: Mark) {
        self.visible.store(mark.version, Ordering::Release);
        *lock(&self.mark) = mark;
    }

    /// Lets go of views that nobody can ask for any more; their memtables go outside of the lock.
    fn change_past<T>(&self, change: impl FnOnce(&mut Past) -> T) -> T {
        let mut views = lock(&self.views);
        let changed = change(&mut views.past);
        let gone = views.trim();
        drop(views);
        drop(gone);
        changed
    }
}

fn open_files(
    dir: &std::path::Path,
    settings: &Settings,
    there: Files,
    is_view: bool,
) -> Result<Db, EngineError> {
    let options = settings.of_database();
    let names = match there {
        Files::None => vec![families::DEFAULT.to_owned()],
        Files::There => Db::list_cf(&options, dir)
            .map_err(|error| check::refused(dir, "list the families", &error))?,
    };
    let descriptors =
        names.into_iter().map(|name| ColumnFamilyDescriptor::new(name, settings.of_family()));
    let opened = match is_view {
        true => Db::open_cf_descriptors_read_only(&options, dir, descriptors, false),
        false => Db::open_cf_descriptors(&options, dir, descriptors),
    };
    opened.map_err(|error| check::refused(dir, "open", &error))
}

impl Engine for RocksEngine {
    fn apply(&self, mark: Mark, operations: &mut dyn Iterator<Item = Operation<'_>>) {
        let mut writer = lock(&self.writer);
        if mark.version <= writer.mark.version || self.failed.get().is_some() {
            return;
        }
        assert!(mark.position >= writer.mark.position, "positions rise");
        let mut bytes = 0;
        for operation in operations {
            match self.change(&writer.active, operation, mark.version) {
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
        writer.mark = mark;
        self.publish(mark);
    }

    fn advance(&self, mark: Mark) {
        let mut writer = lock(&self.writer);
        if mark.position <= writer.mark.position || self.failed.get().is_some() {
            return;
        }
        let next = writer.mark.advanced(mark);
        writer.mark = next;
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
        lock(&self.views).past.pin(at)
    }

    fn unpin(&self, at: u64) {
        self.change_past(|past| past.unpin(at));
    }

    fn set_floor(&self, floor: u64) {
        let floor = floor.min(self.visible.load(Ordering::Acquire));
        self.change_past(|past| past.raise(floor));
    }

    fn floor(&self) -> u64 {
        lock(&self.views).past.floor()
    }

    fn state_bytes(&self) -> (u64, u64) {
        (self.disk_bytes() + self.unflushed_bytes(), 0)
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

impl FileEngine for RocksEngine {
    fn flushed(&self) -> (Mark, u64) {
        self.memtables.flushed()
    }

    fn unflushed_bytes(&self) -> u64 {
        self.memtables.bytes()
    }

    fn is_flush_due(&self) -> bool {
        self.memtables.is_flush_due()
    }

    /// Merges that are behind hold up the flush itself: RocksDB lets it wait.
    fn is_behind(&self) -> bool {
        self.memtables.are_many()
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

    fn writes_out_at_flush(&self) -> bool {
        true
    }

    /// RocksDB merges by itself; its figures are read again.
    fn compact(&self, _pressing: bool) -> Result<bool, EngineError> {
        self.note_files();
        Ok(false)
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

    fn families(&self) -> Result<Vec<Family>, EngineError> {
        self.families.figures(&self.db, &self.folder.path)
    }

    /// RocksDB has no checksums of whole files; each block that a row is in has one.
    fn at_rest(&self) -> Result<Vec<AtRest>, EngineError> {
        let families = self.families()?.into_iter();
        Ok(families.map(|family| AtRest { file: family.name, bytes: family.bytes }).collect())
    }

    fn is_at_rest(&self, file: &str) -> bool {
        self.db.cf_handle(file).is_some()
    }

    fn check_at_rest(&self, file: &str, pace: &dyn Pace) -> std::io::Result<Option<Wrong>> {
        check::check_family(&self.db, &self.folder.path, file, &mut |bytes| pace.read(bytes))
    }
}
