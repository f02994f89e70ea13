//! How a database is opened: everything that may be chosen, with the server's defaults.

use std::time::Duration;

use crate::engines::EngineKind;
use crate::error::Error;

/// What an acknowledgement promises; a mode of the whole store.
pub use rekindle_journal::Durability as DurabilityMode;

/// Longest key in bytes. Long enough for any name, short enough that an index stays small.
/// With the number of its keyspace it is a key of the lsm engine, which takes 65,535.
pub const KEY_BYTES_MAX: usize = 65_533;

/// Largest encoded transaction in bytes; a larger one would have to be streamed.
pub const TRANSACTION_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Longest name of a keyspace in bytes.
pub const KEYSPACE_NAME_BYTES_MAX: usize = 249;

/// How long a commit waits for room in the journal before it answers `Full`.
pub const ROOM_WAIT_MAX: Duration = Duration::from_secs(30);

/// Smallest segment: a header and a few frames.
pub const SEGMENT_BYTES_MIN: u64 = 16 * 1024;

/// Largest segment: what a start carries over into the next one is counted in 32 bits, and a repair
/// reckons with 4 GiB for a segment of which nothing is known.
pub const SEGMENT_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// The choices of [`Database::open_with`](crate::Database::open_with).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// What an acknowledgement promises (default: strict).
    pub durability: DurabilityMode,
    /// How often `batched` syncs and `relaxed` writes (default: 100 ms).
    pub sync_interval: Duration,
    /// Size of a journal segment (default: 64 MiB).
    pub segment_bytes: u64,
    /// Longest replay that a start may need; decides when a checkpoint is due (default: 5 s).
    pub max_recovery: Duration,
    /// Largest state in bytes; growth beyond it is refused as `Full`, deletes go on. `None`: 60 %
    /// of the memory that this process may use.
    pub max_state_bytes: Option<u64>,
    /// Bytes of old versions kept for readers of the past (default: 256 MiB).
    pub max_history_bytes: u64,
    /// Oldest age of a snapshot or reading transaction; an older one answers `Compacted`
    /// (default: 60 s).
    pub max_snapshot_age: Duration,
    /// Longest wait for room in the journal; then a commit answers `Full` (default: 30 s).
    pub max_room_wait: Duration,
    /// How often what lies on disk is read whole, the first time right after the open; `None`:
    /// never (default: a day).
    pub scrub_every: Option<Duration>,
    /// How fast, bytes in a second, at least 1 (default: 16 MiB).
    pub scrub_bytes_per_second: u64,
    /// The engine of the store; a store on another one is refused. `None`: whatever the store has
    /// (default: `None`).
    pub engine: Option<EngineKind>,
    /// The engine of a new store, where `engine` does not say it (default: memory).
    pub new_engine: EngineKind,
    /// What the lsm engine collects in memory before it writes it out, bytes (default: 64 MiB).
    pub memtable_bytes: u64,
    /// What the lsm engine keeps of its files in memory, bytes (default: 256 MiB).
    pub cache_bytes: u64,
    /// Values of this size and more lie apart from their keys in the files of a new lsm engine, so
    /// that merges do not write them again; `None`: all lie with their keys (default: 1 KiB).
    pub large_value_bytes: Option<u32>,
    /// Whether a missing or empty directory becomes a new store (default: true).
    pub create: bool,
    /// Whether threads work in the background. Without them the owner calls
    /// [`Database::tick`](crate::Database::tick), and everything is deterministic on one thread.
    pub background: bool,
}

impl Options {
    /// Refuses what cannot work.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        let may = SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX;
        if !may.contains(&self.segment_bytes) || !self.segment_bytes.is_multiple_of(4_096) {
            return Err(Error::Invalid(format!(
                "a segment has {SEGMENT_BYTES_MIN} to {SEGMENT_BYTES_MAX} bytes, and a multiple of \
                 4096; not {}",
                self.segment_bytes
            )));
        }
        if self.sync_interval.is_zero() {
            return Err(Error::Invalid("the sync interval must not be zero".to_owned()));
        }
        Ok(())
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            durability: DurabilityMode::Strict,
            sync_interval: Duration::from_millis(100),
            segment_bytes: 64 * 1024 * 1024,
            max_recovery: Duration::from_secs(5),
            max_state_bytes: None,
            max_history_bytes: 256 * 1024 * 1024,
            max_snapshot_age: Duration::from_secs(60),
            max_room_wait: ROOM_WAIT_MAX,
            scrub_every: Some(Duration::from_secs(24 * 60 * 60)),
            scrub_bytes_per_second: 16 * 1024 * 1024,
            engine: None,
            new_engine: EngineKind::Memory,
            memtable_bytes: 64 * 1024 * 1024,
            cache_bytes: 256 * 1024 * 1024,
            large_value_bytes: Some(1024),
            create: true,
            background: true,
        }
    }
}
