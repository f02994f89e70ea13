//! Engines with files of their own: what they have in common, and which there are.
//!
//! Such an engine collects what is applied in memory, in *memtables*. [`FileEngine::seal`] closes
//! one between two records and says where the state stands with it; once the journal is synced as
//! far as that, [`FileEngine::flush`] writes it out in one step that lasts or did not happen. A
//! start finds exactly the state at one mark, and the journal behind the mark is replayed on top.
//!
//! Invariants: nothing reaches the files above the durable position (the caller syncs between seal
//! and flush); rows keep the versions that wrote them, so equal states have equal hashes on every
//! engine; each kind has a folder of its own, so that a store can be moved from one to another.

mod at_rest;
mod memtables;
mod past;
mod stand;

use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rekindle_env::{NativeFolder, ReadDisk};

use crate::api::{Engine, EngineError, KeyspaceId, Mark};
use crate::checkpoint::RowStream;
use crate::lsm;
#[cfg(feature = "rocksdb")]
use crate::rocks;
pub use at_rest::{AtRest, Pace};
pub(crate) use memtables::Memtables;
pub(crate) use past::Past;
pub(crate) use stand::{Stand, split_value, with_version};

/// The folder of the lsm engine, inside the shard.
const LSM_FOLDER: &str = "engine";

/// That of the engine rocksdb.
const ROCKSDB_FOLDER: &str = "rocksdb";

/// How large the parts of it may be in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileOptions {
    /// A memtable of this size is due to be flushed, bytes.
    pub memtable_bytes: u64,
    /// Blocks of files that are kept, bytes.
    pub cache_bytes: u64,
    /// Values from this size on lie apart from their keys, in a new engine that can; `None`: all
    /// lie with them.
    pub large_value_bytes: Option<u32>,
}

impl Default for FileOptions {
    fn default() -> Self {
        Self { memtable_bytes: 64 << 20, cache_bytes: 256 << 20, large_value_bytes: Some(1 << 10) }
    }
}

/// What a folder holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Files {
    /// No engine was ever there.
    None,
    /// An engine with a whole manifest.
    There,
}

/// A file that is not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Relative to the folder of the engine.
    pub file: String,
    /// What should be there.
    pub expected: String,
    /// What is there.
    pub found: String,
}

/// What a flush wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flush {
    /// Where the state on disk stands now.
    pub mark: Mark,
    /// Where replay on top of it begins.
    pub replay_from: u64,
    /// Bytes of the rows that were written.
    pub bytes: u64,
}

/// A part of an engine's files that holds one keyspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Family {
    /// Its name: that of the keyspace, where it can be one.
    pub name: String,
    /// Keys in its files, about.
    pub keys: u64,
    /// Bytes of its files.
    pub bytes: u64,
}

/// An engine with files of its own.
pub trait FileEngine: Engine + Debug {
    /// The state that lasts: where it stands, and where replay on top of it begins (0: nothing was
    /// ever flushed, replay begins at 1).
    fn flushed(&self) -> (Mark, u64);

    /// Bytes in memory that are not yet flushed, about.
    fn unflushed_bytes(&self) -> u64;

    /// Whether the memtable is as large as it should become.
    fn is_flush_due(&self) -> bool;

    /// Whether writers are so far ahead of the disk that they should wait.
    fn is_behind(&self) -> bool;

    /// Bytes of its files.
    fn disk_bytes(&self) -> u64;

    /// Closes the memtable; what is applied from here on goes to a new one. Call it between two
    /// records; `replay_from` is where replay on top of the state would begin. Answers where the
    /// state stands; `None` when no version was applied since the last call.
    ///
    /// # Panics
    /// When `replay_from` lies behind the state.
    fn seal(&self, replay_from: u64) -> Option<Mark>;

    /// Writes out what is sealed, which is durable in the journal by now; `None` when nothing is.
    /// Writers and readers go on meanwhile.
    ///
    /// # Errors
    /// `Io` when the disk refused. It may be tried again, unless [`Engine::failed`] says that
    /// writing is over.
    fn flush(&self) -> Result<Option<Flush>, EngineError>;

    /// Whether a flush of the whole database writes its memtables out too: who looks into the files
    /// with RocksDB's own tools after a clean stop finds everything.
    fn writes_out_at_flush(&self) -> bool {
        false
    }

    /// Does what is due with the files beside flushing; whether it merged some. `pressing`: the
    /// disk is nearly full, and what a merge gives back is wanted now.
    ///
    /// # Errors
    /// As [`FileEngine::flush`].
    fn compact(&self, pressing: bool) -> Result<bool, EngineError>;

    /// All rows at the current mark, in order. Call it between two records. They hold what they
    /// read, and nothing that is written later: however long they are read, memory does not grow.
    ///
    /// # Errors
    /// `Compacted` never: the newest version can always be read.
    fn rows(&self) -> Result<Box<dyn RowStream + Send + '_>, EngineError>;

    /// Fills a new engine, and writes everything out; replay on top of it begins at `replay_from`.
    /// Answers the number of rows.
    ///
    /// # Errors
    /// What reading the rows answers, and `Io`: then the engine is of no use.
    ///
    /// # Panics
    /// When something was applied to it before.
    fn fill(&self, rows: &mut dyn RowStream, replay_from: u64) -> Result<u64, EngineError>;

    /// The keyspaces that have rows, ascending.
    ///
    /// # Errors
    /// `Corrupt`, `Io`.
    fn keyspaces(&self) -> Result<Vec<KeyspaceId>, EngineError>;

    /// The families of its files, by name; none where its files are not apart by keyspaces.
    ///
    /// # Errors
    /// `Io`.
    fn families(&self) -> Result<Vec<Family>, EngineError> {
        Ok(Vec::new())
    }

    /// What a scrub reads of it, a part at a time.
    ///
    /// # Errors
    /// `Io`.
    fn at_rest(&self) -> Result<Vec<AtRest>, EngineError>;

    /// Whether this part is still in use.
    fn is_at_rest(&self, file: &str) -> bool;

    /// Reads a part; what is wrong with it, if anything.
    ///
    /// # Errors
    /// What the disk or the pace answers.
    fn check_at_rest(&self, file: &str, pace: &dyn Pace) -> io::Result<Option<Wrong>>;

    /// Writes a damaged part anew from memory; whether it could.
    ///
    /// # Errors
    /// As [`FileEngine::flush`].
    fn renew(&self, file: &str) -> Result<bool, EngineError> {
        let _ = file;
        Ok(false)
    }
}

/// The engines with files that this program has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilesKind {
    /// On the crate `lsm-tree`.
    Lsm,
    /// On the crate `rocksdb`.
    #[cfg(feature = "rocksdb")]
    Rocksdb,
}

impl FilesKind {
    /// The folders of all kinds, also of those that this program was built without.
    pub const FOLDERS: [&str; 2] = [LSM_FOLDER, ROCKSDB_FOLDER];

    /// The folder of its files, inside the shard.
    #[must_use]
    pub fn folder(self) -> &'static str {
        match self {
            Self::Lsm => LSM_FOLDER,
            #[cfg(feature = "rocksdb")]
            Self::Rocksdb => ROCKSDB_FOLDER,
        }
    }

    /// The folders inside of that which must be there before it is opened.
    #[must_use]
    pub fn inner_folders(self) -> &'static [&'static str] {
        match self {
            Self::Lsm => &[lsm::TABLES, lsm::BLOBS],
            #[cfg(feature = "rocksdb")]
            Self::Rocksdb => &[],
        }
    }

    /// Opens the engine in this folder, which is there; files that its manifest does not name are
    /// removed.
    ///
    /// # Errors
    /// `Io` when the disk refused, `Corrupt` when the manifest, or what it names, is not what was
    /// written.
    pub fn open(
        self,
        folder: NativeFolder,
        options: FileOptions,
    ) -> Result<Arc<dyn FileEngine>, EngineError> {
        Ok(match self {
            Self::Lsm => Arc::new(lsm::LsmEngine::open(folder, options)?),
            #[cfg(feature = "rocksdb")]
            Self::Rocksdb => Arc::new(rocks::RocksEngine::open(folder, options)?),
        })
    }

    /// Looks at the folder of an engine without opening it; its rows are checked when they are
    /// read.
    ///
    /// # Errors
    /// `Corrupt` for a manifest that is not what was written, `Io`.
    pub fn look(self, disk: &dyn ReadDisk, dir: &Path) -> Result<Files, EngineError> {
        match self {
            Self::Lsm => lsm::look(disk, dir),
            #[cfg(feature = "rocksdb")]
            Self::Rocksdb => rocks::look(disk, dir),
        }
    }

    /// Reads every file, and answers those that are not what was written.
    ///
    /// # Errors
    /// `Corrupt` for a manifest that is not what was written, `Io`.
    pub fn check(
        self,
        disk: &dyn ReadDisk,
        dir: &Path,
    ) -> Result<(Files, Vec<Wrong>), EngineError> {
        match self {
            Self::Lsm => lsm::check(disk, dir),
            #[cfg(feature = "rocksdb")]
            Self::Rocksdb => rocks::check(disk, dir),
        }
    }

    /// The families of the files in a folder that is not open.
    ///
    /// # Errors
    /// As [`FilesKind::open`].
    pub fn families(self, disk: &dyn ReadDisk, dir: &Path) -> Result<Vec<Family>, EngineError> {
        match self {
            Self::Lsm => {
                let _ = (disk, dir);
                Ok(Vec::new())
            }
            #[cfg(feature = "rocksdb")]
            Self::Rocksdb => rocks::families(disk, dir),
        }
    }
}
