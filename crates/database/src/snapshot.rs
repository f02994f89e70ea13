//! A consistent read view: one version, as long as it is held and not too old.
//!
//! Invariant: its version is pinned in the engine from `snapshot` to the drop, or until the sweeper
//! gives it up because of its age or the history's size; then every read answers `Compacted`.

use std::ops::Bound;
use std::sync::Arc;

use rekindle_engine::{KeyspaceId, Row};

use crate::apply::lock;
use crate::core::Handle;
use crate::error::Error;
use crate::transaction::Value;

/// A read view at one version; it does not change while the database goes on.
///
/// A snapshot costs nothing but the old versions that it keeps. It may be shared between threads.
#[derive(Debug)]
pub struct Snapshot {
    core: Arc<Handle>,
    id: u64,
    version: u64,
}

impl Snapshot {
    /// A view of `version`; `None`: of what is visible now.
    pub(crate) fn new(core: &Arc<Handle>, version: Option<u64>) -> Result<Self, Error> {
        let state = &core.state;
        let version = match version {
            Some(asked) if asked > state.visible() => {
                let newest = state.visible();
                return Err(Error::Invalid(format!(
                    "version {asked} does not exist yet; the newest is {newest}"
                )));
            }
            Some(asked) => {
                state.engine.pin(asked)?;
                asked
            }
            None => loop {
                // The floor can pass a version only when a newer one became visible meanwhile.
                let newest = state.visible();
                if state.engine.pin(newest).is_ok() {
                    break newest;
                }
            },
        };
        debug_assert!(version <= state.visible(), "a snapshot shows what is visible");
        let id = lock(&state.snapshots).register(version, core.env.clock.boot_ms());
        Ok(Self { core: Arc::clone(core), id, version })
    }

    /// The version that it shows.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The value of a key.
    ///
    /// # Errors
    /// `Compacted` when the snapshot became too old.
    pub fn get(&self, keyspace: KeyspaceId, key: &[u8]) -> Result<Option<Value>, Error> {
        self.check()?;
        let found = self.core.state.engine.get(keyspace, key, self.version)?;
        Ok(found.and_then(|found| {
            let version = found.version;
            found.value.map(|bytes| Value { version, bytes })
        }))
    }

    /// Up to `limit` rows of a range, ascending, or descending with `reverse`.
    ///
    /// # Errors
    /// `Compacted` when the snapshot became too old.
    pub fn scan(
        &self,
        keyspace: KeyspaceId,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<Row>, Error> {
        self.check()?;
        Ok(self.core.state.engine.scan(keyspace, range, self.version, limit, reverse)?)
    }

    /// Refuses when it was given up.
    fn check(&self) -> Result<(), Error> {
        if lock(&self.core.state.snapshots).is_open(self.id) {
            return Ok(());
        }
        let oldest = self.core.state.engine.floor().max(self.version + 1);
        Err(Error::Compacted { asked: self.version, oldest })
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        let held = lock(&self.core.state.snapshots).release(self.id);
        if held {
            self.core.state.engine.unpin(self.version);
        }
    }
}
