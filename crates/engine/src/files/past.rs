//! Which versions can be read: the floor, and what is pinned.
//!
//! Invariant: the floor only rises. What a reader of an old version needs stays, because the engine
//! keeps the files (and the memtables) that such a reader sees.

use std::collections::BTreeMap;

use crate::api::EngineError;

#[derive(Debug)]
pub(crate) struct Past {
    floor: u64,
    pins: BTreeMap<u64, u64>,
}

impl Past {
    pub(crate) fn new(floor: u64) -> Self {
        Self { floor, pins: BTreeMap::new() }
    }

    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    pub(crate) fn raise(&mut self, floor: u64) {
        self.floor = self.floor.max(floor);
    }

    /// Refuses a version that cannot be read any more.
    pub(crate) fn check(&self, at: u64) -> Result<(), EngineError> {
        if at >= self.floor || self.pins.contains_key(&at) {
            return Ok(());
        }
        Err(EngineError::Compacted { asked: at, oldest: self.floor })
    }

    pub(crate) fn pin(&mut self, at: u64) -> Result<(), EngineError> {
        self.check(at)?;
        *self.pins.entry(at).or_default() += 1;
        Ok(())
    }

    pub(crate) fn unpin(&mut self, at: u64) {
        let count = self.pins.get_mut(&at).expect("each unpin ends one pin of that version");
        *count -= 1;
        if *count == 0 {
            self.pins.remove(&at);
        }
    }

    /// Whether somebody may read one of the versions from `from` on and below `end`.
    #[cfg(feature = "rocksdb")]
    pub(crate) fn is_readable(&self, from: u64, end: u64) -> bool {
        from < end && (self.floor < end || self.pins.range(from..end).next().is_some())
    }

    /// The oldest version that somebody may read.
    pub(crate) fn oldest(&self) -> u64 {
        let pinned = self.pins.keys().next().copied().unwrap_or(u64::MAX);
        pinned.min(self.floor)
    }
}
