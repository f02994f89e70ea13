//! The handle of an open database.
use std::path::Path;
use std::sync::Arc;

use rekindle_engine::{KeyspaceId, Operation};
use rekindle_env::Env;
use rekindle_recovery::Report;

use crate::error::Error;
use crate::options::{DurabilityMode, Options};
use crate::snapshot::Snapshot;
use crate::stats::{ReplayStats, Stats};
use crate::transaction::Transaction;

/// Derived state that follows the transactions.
pub trait Observer: Send + Sync {
    /// A transaction was applied; called in version order under the apply lock, before reads see it.
    fn applied(
        &self,
        version: u64,
        log_time_ms: u64,
        operations: &mut dyn Iterator<Item = Operation<'_>>,
    );

    /// The journal is poisoned, or leadership is lost: pending transactions are unknown.
    fn lost(&self);
}

/// An open database. Clones share it.
#[derive(Clone, Debug)]
pub struct Database {}

#[allow(unused_variables, reason = "the bodies land with the next commit")]
impl Database {
    /// Opens, strict; creates the directory when it is missing.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_with(path, Options::default(), Env::real())
    }

    /// Opens in this mode.
    pub fn open_with_mode(path: impl AsRef<Path>, mode: DurabilityMode) -> Result<Self, Error> {
        let options = Options { durability: mode, ..Options::default() };
        Self::open_with(path, options, Env::real())
    }

    /// Opens with everything chosen.
    pub fn open_with(path: impl AsRef<Path>, options: Options, env: Env) -> Result<Self, Error> {
        unimplemented!("lands with the next commit")
    }

    /// What recovery saw and did.
    #[must_use]
    pub fn report(&self) -> &Report {
        unimplemented!("lands with the next commit")
    }

    /// What replay did.
    #[must_use]
    pub fn replay_stats(&self) -> ReplayStats {
        unimplemented!("lands with the next commit")
    }

    /// The number of this run.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        unimplemented!("lands with the next commit")
    }

    /// The environment it runs in.
    #[must_use]
    pub fn env(&self) -> &Env {
        unimplemented!("lands with the next commit")
    }

    /// The keyspace with this name; created durably when it is new.
    pub fn keyspace(&self, name: &str) -> Result<KeyspaceId, Error> {
        unimplemented!("lands with the next commit")
    }

    /// A read-write transaction.
    #[must_use]
    pub fn begin(&self) -> Transaction {
        unimplemented!("lands with the next commit")
    }

    /// A read view of what is visible now.
    pub fn snapshot(&self) -> Result<Snapshot, Error> {
        unimplemented!("lands with the next commit")
    }

    /// A read view of an older version.
    pub fn snapshot_at(&self, version: u64) -> Result<Snapshot, Error> {
        unimplemented!("lands with the next commit")
    }

    /// Runs `body` in transactions until one commits without a conflict.
    pub fn transact<T>(
        &self,
        body: impl FnMut(&mut Transaction) -> Result<T, Error>,
    ) -> Result<T, Error> {
        unimplemented!("lands with the next commit")
    }

    /// The version that reads see.
    #[must_use]
    pub fn current_version(&self) -> u64 {
        unimplemented!("lands with the next commit")
    }

    /// Log time now, milliseconds.
    #[must_use]
    pub fn log_time_ms(&self) -> u64 {
        unimplemented!("lands with the next commit")
    }

    /// Writes and syncs everything that was submitted, whatever the mode.
    pub fn flush(&self) -> Result<(), Error> {
        unimplemented!("lands with the next commit")
    }

    /// Writes a checkpoint now.
    pub fn checkpoint(&self) -> Result<(), Error> {
        unimplemented!("lands with the next commit")
    }

    /// Does background work that is due; for `background: false`.
    pub fn tick(&self) -> Result<(), Error> {
        unimplemented!("lands with the next commit")
    }

    /// Flushes, marks a clean end and stops. Repeatable.
    pub fn close(&self) -> Result<(), Error> {
        unimplemented!("lands with the next commit")
    }

    /// A hash over the visible state.
    #[must_use]
    pub fn state_hash(&self) -> u128 {
        unimplemented!("lands with the next commit")
    }

    /// How it stands.
    #[must_use]
    pub fn stats(&self) -> Stats {
        unimplemented!("lands with the next commit")
    }

    /// Why it is poisoned, if it is.
    #[must_use]
    pub fn poisoned(&self) -> Option<String> {
        unimplemented!("lands with the next commit")
    }

    /// Adds derived state that follows the transactions from the next one on.
    pub fn observe(&self, observer: Arc<dyn Observer>) {
        unimplemented!("lands with the next commit")
    }
}
