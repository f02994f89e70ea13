//! Numbers: what a replay did, and how a running database stands.

use std::fmt;

use crate::space::DiskSpace;

/// What one replay did. `discarded_txns` is the sum of `incomplete_txns` and `aborted_txns`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplayStats {
    /// Committed transactions applied.
    pub txns_applied: u64,
    /// Keys set by them.
    pub writes_applied: u64,
    /// Keys and ranges removed by them.
    pub deletes_applied: u64,
    /// Transactions discarded whole.
    pub discarded_txns: u64,
    /// Of those: begun and never ended.
    pub incomplete_txns: u64,
    /// Of those: given up by their writer.
    pub aborted_txns: u64,
    /// Entries of a transaction that never began, discarded.
    pub orphaned_entries: u64,
    /// Version of the last committed transaction.
    pub final_version: u64,
}

impl fmt::Display for ReplayStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} transactions applied ({} writes, {} deletes), {} discarded ({} incomplete, {} \
             aborted), {} orphaned entries, version {}",
            self.txns_applied,
            self.writes_applied,
            self.deletes_applied,
            self.discarded_txns,
            self.incomplete_txns,
            self.aborted_txns,
            self.orphaned_entries,
            self.final_version
        )
    }
}

/// How a running database stands. Counters count from `open`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Version of the last transaction that reads see.
    pub visible_version: u64,
    /// Version of the last transaction that was ordered; those behind `visible_version` are
    /// pending.
    pub latest_version: u64,
    /// Transactions that took a version.
    pub commits: u64,
    /// Transactions refused because something they read had changed.
    pub conflicts: u64,
    /// Commits refused because a limit was reached.
    pub refused_full: u64,
    /// Bytes of the newest state.
    pub state_bytes: u64,
    /// The most that `state_bytes` may become.
    pub max_state_bytes: u64,
    /// The most that what is kept in memory may become: the state, where the engine keeps it there.
    pub max_memory_bytes: u64,
    /// Bytes that the engine holds in memory: the state, where it is kept there, otherwise what is
    /// not yet written and what is kept of its files.
    pub engine_memory_bytes: u64,
    /// Bytes that the state took in files: checkpoints, and what the engine flushed and merged. The
    /// journal is not in it.
    pub state_written_bytes: u64,
    /// Bytes of old versions kept for readers.
    pub history_bytes: u64,
    /// Bytes of writes that are ordered and not yet applied, or kept to validate readers.
    pub window_bytes: u64,
    /// The oldest version that can be read.
    pub oldest_version: u64,
    /// Snapshots and reading transactions that are open.
    pub readers: u64,
    /// Readers that were told `Compacted` because they were too old.
    pub readers_expired: u64,
    /// Checkpoints written.
    pub checkpoints: u64,
    /// Checkpoints that failed; the next one tries again.
    pub checkpoints_failed: u64,
    /// How long the last checkpoint took, microseconds; 0 before the first.
    pub checkpoint_micros: u64,
    /// How long a start would probably take now (loading and replay), microseconds.
    pub predicted_recovery_micros: u64,
    /// Of that the replay, which is what `max_recovery` bounds, microseconds.
    pub predicted_replay_micros: u64,
    /// How long this start took to check and replay the journal, microseconds.
    pub replay_micros: u64,
    /// Times the wall clock jumped while running.
    pub wall_jumps: u64,
    /// Log time, milliseconds.
    pub log_time_ms: u64,
    /// The last synced position of the journal.
    pub durable_position: u64,
    /// Space on disk.
    pub disk: DiskSpace,
}
