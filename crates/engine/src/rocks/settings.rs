//! How RocksDB is set up.
//!
//! Invariant: every handle of one engine is made with the same settings; what counts for safety is
//! set here and nowhere else: no log of its own, families flushed together, checks on.

use rocksdb::{BlockBasedOptions, Cache, FlushOptions, LogLevel, Options, WriteOptions};

use crate::files::FileOptions;

/// Files that are kept open.
const OPEN_FILES: i32 = 512;

/// Of a block, bytes: rows are small, and a message is read with its neighbours.
const BLOCK_BYTES: usize = 16 << 10;

/// Of the filter, for each key: one read in a hundred of a key that is not there reads a block.
const FILTER_BITS: f64 = 10.0;

/// Of its diary, which says what it did and holds no state.
const DIARY_BYTES_MAX: usize = 1 << 20;

/// What an engine is opened with.
pub(super) struct Settings {
    pub(super) options: FileOptions,
    cache: Cache,
}

impl Settings {
    pub(super) fn new(options: FileOptions) -> Self {
        let bytes = usize::try_from(options.cache_bytes).unwrap_or(usize::MAX);
        Self { options, cache: Cache::new_lru_cache(bytes) }
    }

    /// Of the database.
    pub(super) fn of_database(&self) -> Options {
        let mut options = self.of_family();
        options.create_if_missing(true);
        options.set_atomic_flush(true);
        options.set_max_open_files(OPEN_FILES);
        options.set_keep_log_file_num(2);
        options.set_max_log_file_size(DIARY_BYTES_MAX);
        options.set_log_level(LogLevel::Warn);
        options.set_stats_dump_period_sec(0);
        options.set_stats_persist_period_sec(0);
        options
    }

    /// Of a family.
    pub(super) fn of_family(&self) -> Options {
        let mut blocks = BlockBasedOptions::default();
        blocks.set_block_cache(&self.cache);
        blocks.set_block_size(BLOCK_BYTES);
        blocks.set_bloom_filter(FILTER_BITS, false);
        let mut options = Options::default();
        options.set_block_based_table_factory(&blocks);
        options.set_paranoid_checks(true);
        // Its own memtables hold one batch at a time, and are flushed by us right behind it. Should
        // it flush one earlier, that is no harm: what it has is durable, and ends at a stand.
        let room = usize::try_from(self.options.memtable_bytes).unwrap_or(usize::MAX);
        options.set_write_buffer_size(room.saturating_mul(4).max(64 << 20));
        // Hidden rows are passed one by one, so that a scan for damage reads every block.
        options.set_max_sequential_skip_in_iterations(u64::MAX);
        options
    }
}

/// Our journal is the log.
pub(super) fn without_log() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.disable_wal(true);
    options
}

/// Returns once the files last.
pub(super) fn flush_and_wait() -> FlushOptions {
    let mut options = FlushOptions::default();
    options.set_wait(true);
    options
}
