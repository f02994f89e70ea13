//! The trait [`Engine`]: versioned, sorted keyspaces that stand at a journal position.

use std::ops::Bound;
use std::sync::Arc;

/// The number of a keyspace; persisted. 0 is the registry of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyspaceId(pub u16);

/// Where an engine stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Journal position of the last applied record.
    pub position: u64,
    /// Its Raft term (0 locally).
    pub term: u64,
    /// Version of the last applied transaction.
    pub version: u64,
    /// Log time of that transaction, milliseconds.
    pub log_time_ms: u64,
}

impl Mark {
    /// Behind a record at `mark` that changes nothing: versions and log time never go back.
    pub(crate) fn advanced(self, mark: Self) -> Self {
        Self {
            version: mark.version.max(self.version),
            log_time_ms: mark.log_time_ms.max(self.log_time_ms),
            ..mark
        }
    }
}

/// One change. A transaction's changes all carry its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation<'a> {
    /// Sets a key.
    Put {
        /// Where.
        keyspace: KeyspaceId,
        /// The key.
        key: &'a [u8],
        /// Its value.
        value: &'a [u8],
    },
    /// Removes a key; removing what is not there is no error.
    Delete {
        /// Where.
        keyspace: KeyspaceId,
        /// The key.
        key: &'a [u8],
    },
    /// Removes all keys from `start` up to, not including, `end`; an empty `end` has no bound.
    DeleteRange {
        /// Where.
        keyspace: KeyspaceId,
        /// First key.
        start: &'a [u8],
        /// Behind the last key.
        end: &'a [u8],
    },
}

/// A value and the version that wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// The transaction that wrote it.
    pub version: u64,
    /// The bytes; `None` marks a deletion that readers of older versions still need.
    pub value: Option<Arc<[u8]>>,
}

/// A row of a scan: never a deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The key.
    pub key: Arc<[u8]>,
    /// The version that wrote it.
    pub version: u64,
    /// The bytes.
    pub value: Arc<[u8]>,
}

/// What an engine can answer instead of a result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// That past is gone; the oldest readable version is named.
    #[error("version {asked} is compacted; the oldest readable version is {oldest}")]
    Compacted {
        /// The version asked for.
        asked: u64,
        /// The oldest that can be read.
        oldest: u64,
    },
    /// The disk refused.
    #[error("{0}")]
    Io(String),
    /// The disk has no room for it; nothing was named, and it may be tried again.
    #[error("{0}")]
    Full(String),
    /// What lies on disk is not what was written.
    #[error("{place} is damaged: {found}")]
    Corrupt {
        /// Which file or folder.
        place: String,
        /// What was found.
        found: String,
    },
}

/// Versioned, sorted keyspaces. Readers never wait for writers longer than one bounded batch.
///
/// A version can be read when it is at or above [`Engine::floor`], or pinned. Reading above the
/// applied version reads the applied one, so nobody sees a part of a transaction.
pub trait Engine: Send + Sync {
    /// Applies the changes of one committed transaction at `mark`. Marks rise; a transaction whose
    /// version is at or below the applied one changes nothing (replay repeats).
    fn apply(&self, mark: Mark, operations: &mut dyn Iterator<Item = Operation<'_>>);

    /// Moves the mark over a record that changes nothing; a position at or below the applied one
    /// changes nothing at all. Its version and log time count only where they are higher (an
    /// accepted loss skips versions).
    fn advance(&self, mark: Mark);

    /// Where it stands.
    fn mark(&self) -> Mark;

    /// The newest value of a key at or below version `at`. A deletion answers `value: None` with
    /// its version where the engine remembers it, and `None` where it does not.
    fn get(
        &self,
        keyspace: KeyspaceId,
        key: &[u8],
        at: u64,
    ) -> Result<Option<Versioned>, EngineError>;

    /// Up to `limit` rows of a range at version `at`, ascending (or descending with `reverse`).
    fn scan(
        &self,
        keyspace: KeyspaceId,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        at: u64,
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<Row>, EngineError>;

    /// Keeps version `at` readable until [`Engine::unpin`]; `Compacted` when it is already gone.
    fn pin(&self, at: u64) -> Result<(), EngineError>;

    /// Ends one [`Engine::pin`] of that version.
    ///
    /// # Panics
    /// When that version is not pinned: somebody else's pin would be lost.
    fn unpin(&self, at: u64);

    /// Versions below `floor` need not be readable any more (pins still hold theirs). The floor
    /// only rises, and never above the applied version.
    fn set_floor(&self, floor: u64);

    /// From here on every version can be read; below it only pinned ones.
    fn floor(&self) -> u64;

    /// Bytes of the newest state (keys, values, overhead), and of history kept for older versions.
    fn state_bytes(&self) -> (u64, u64);

    /// Bytes that the engine holds in memory, about: of the state what is there, and what it keeps
    /// of its files to read them faster.
    fn memory_bytes(&self) -> u64 {
        let (state, history) = self.state_bytes();
        state + history
    }

    /// Bytes of files of its own that the engine wrote since it was opened, merges included; 0
    /// where it has none.
    fn written_bytes(&self) -> u64 {
        0
    }

    /// Number of live keys of a keyspace.
    fn len(&self, keyspace: KeyspaceId) -> u64;

    /// A hash over keyspace, key, version and value of all live rows in order (XXH3, 128 bits, over
    /// the row encoding of docs/format.md). Equal states on any engine have equal hashes.
    fn state_hash(&self) -> u128;

    /// Why nothing can be applied any more, if so: what was handed to [`Engine::apply`] since is
    /// missing. The state stays as it was before.
    fn failed(&self) -> Option<String> {
        None
    }
}
