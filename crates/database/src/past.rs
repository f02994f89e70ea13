//! Views of the past that are rebuilt from the journal: stopped at a version, narrowed to a run.
//!
//! A running database answers for its recent past by itself (`snapshot_at`). This one reads a
//! directory, as far back as its journal and checkpoints reach, and changes no byte of it. Where
//! the state has files of its own they are read through a view of them, and the past begins where
//! they stand.

use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use rekindle_engine::{Engine, KeyspaceId, Operation, Row};
use rekindle_env::{Env, LockMode};

use crate::error::Error;
use crate::keyspaces::{self, REGISTRY};
use crate::namespace::Key;
use crate::namespace::RunId;
use crate::recovery::{Examination, lock_directory};
use crate::stats::ReplayStats;
use crate::transaction::Value;

/// What part of the past is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PastOptions {
    /// Stop behind this version; `None`: the last one.
    pub until_version: Option<u64>,
    /// Only keys of this run (keys that are [`Key`]s); `None`: all keys.
    pub run: Option<RunId>,
}

/// A read-only view of the past.
pub struct Past {
    engine: Arc<dyn Engine>,
    run: Option<RunId>,
    stats: ReplayStats,
}

impl std::fmt::Debug for Past {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Past").field("version", &self.version()).finish_non_exhaustive()
    }
}

impl Past {
    /// Rebuilds it from the directory, which no process may be changing meanwhile.
    ///
    /// # Errors
    /// `Compacted` when journal and checkpoints do not reach back that far, `Invalid` for a version
    /// that does not exist; `Corrupt`, `Locked`, `NotAStore`, `Io` as `open`.
    pub fn open(path: impl AsRef<Path>, options: PastOptions, env: &Env) -> Result<Self, Error> {
        let dir = path.as_ref();
        let _lock = lock_directory(dir, false, LockMode::Shared, env)?;
        let run = options.run;
        let only = |operation: &Operation<'_>| match operation {
            // A removed range is no key: it applies to every run that has keys in it.
            Operation::DeleteRange { .. } => true,
            Operation::Put { keyspace, key, .. } | Operation::Delete { keyspace, key } => {
                *keyspace == REGISTRY || run.as_ref().is_none_or(|run| belongs(key, run))
            }
        };
        let (engine, stats) = Examination::rebuild(dir, env, options.until_version, Some(&only))?;
        let reached = engine.mark().version;
        if let Some(asked) = options.until_version.filter(|asked| *asked > reached) {
            return Err(Error::Invalid(format!(
                "version {asked} does not exist; the last one is {reached}"
            )));
        }
        Ok(Self { engine, run, stats })
    }

    /// A view of this state.
    pub(crate) fn of(engine: Arc<dyn Engine>, stats: ReplayStats) -> Self {
        Self { engine, run: None, stats }
    }

    /// The version that it shows.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.engine.mark().version
    }

    /// What was replayed for it.
    #[must_use]
    pub fn replay_stats(&self) -> ReplayStats {
        self.stats
    }

    /// The keyspace that had this name.
    ///
    /// # Errors
    /// `Io` of the engine.
    pub fn keyspace(&self, name: &str) -> Result<Option<KeyspaceId>, Error> {
        let found = self.engine.get(REGISTRY, name.as_bytes(), u64::MAX)?;
        let value = found.and_then(|found| found.value);
        Ok(value.and_then(|value| keyspaces::number(&value)).map(KeyspaceId))
    }

    /// The value of a key.
    ///
    /// # Errors
    /// `Io` of the engine.
    pub fn get(&self, keyspace: KeyspaceId, key: &[u8]) -> Result<Option<Value>, Error> {
        if !self.shows(key) {
            return Ok(None);
        }
        let found = self.engine.get(keyspace, key, u64::MAX)?;
        Ok(found.and_then(|found| {
            let version = found.version;
            found.value.map(|bytes| Value { version, bytes })
        }))
    }

    /// Up to `limit` rows of a range, ascending.
    ///
    /// # Errors
    /// `Io` of the engine.
    pub fn scan(
        &self,
        keyspace: KeyspaceId,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        limit: usize,
    ) -> Result<Vec<Row>, Error> {
        let fetch = if self.run.is_some() { usize::MAX } else { limit };
        let mut rows = self.engine.scan(keyspace, range, u64::MAX, fetch, false)?;
        rows.retain(|row| self.shows(&row.key));
        rows.truncate(limit);
        Ok(rows)
    }

    /// Whether a key belongs to what is shown.
    fn shows(&self, key: &[u8]) -> bool {
        self.run.as_ref().is_none_or(|run| belongs(key, run))
    }
}

/// Whether these are the bytes of a key of that run.
fn belongs(key: &[u8], run: &RunId) -> bool {
    Key::decode(key).is_some_and(|key| key.namespace.run == *run)
}
