//! The memtables of an engine: the one that takes rows, of which only the size is known here, and
//! those that are sealed and wait to be written out.
//!
//! Invariants: they are written out in the order in which they were sealed, by one at a time; the
//! stand that lasts never passes the one that was sealed last.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::api::{EngineError, Mark};
use crate::files::{Flush, Stand};

/// Memtables in memory before writers wait.
const MEMTABLES_MAX: u64 = 4;

/// Memtables of the kind `T`.
pub(crate) struct Memtables<T> {
    /// One of this size is due to be flushed, bytes.
    full_bytes: u64,
    /// Of the one that takes rows.
    active_bytes: AtomicU64,
    sealed_bytes: AtomicU64,
    sealed: Mutex<VecDeque<Sealed<T>>>,
    /// Held by whoever flushes.
    flushing: Mutex<()>,
    /// The last stand that was sealed and the last that lasts.
    stands: Mutex<Stands>,
}

/// A memtable that takes no more rows.
#[derive(Clone)]
struct Sealed<T> {
    table: T,
    stand: Stand,
    bytes: u64,
}

#[derive(Clone, Copy)]
struct Stands {
    sealed: Stand,
    flushed: Stand,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T: Clone> Memtables<T> {
    /// Those of an engine whose files stand there.
    pub(crate) fn new(stand: Stand, full_bytes: u64) -> Self {
        Self {
            full_bytes,
            active_bytes: AtomicU64::new(0),
            sealed_bytes: AtomicU64::new(0),
            sealed: Mutex::default(),
            flushing: Mutex::default(),
            stands: Mutex::new(Stands { sealed: stand, flushed: stand }),
        }
    }

    /// One of this size is due to be flushed, bytes.
    pub(crate) fn full_bytes(&self) -> u64 {
        self.full_bytes
    }

    /// The files were filled: they stand there.
    pub(crate) fn filled(&self, stand: Stand) {
        *lock(&self.stands) = Stands { sealed: stand, flushed: stand };
    }

    /// The one that takes rows grew.
    pub(crate) fn grew(&self, bytes: u64) {
        self.active_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The state that lasts: where it stands, and where replay on top of it begins.
    pub(crate) fn flushed(&self) -> (Mark, u64) {
        let Stand { mark, replay_from } = lock(&self.stands).flushed;
        (mark, replay_from)
    }

    /// Where the state stands that lasts; nothing is flushed as long as the guard lives.
    pub(crate) fn hold(&self) -> (MutexGuard<'_, ()>, Stand) {
        let alone = lock(&self.flushing);
        let stand = lock(&self.stands).flushed;
        (alone, stand)
    }

    /// Bytes of all of them, about.
    pub(crate) fn bytes(&self) -> u64 {
        self.active_bytes.load(Ordering::Relaxed) + self.sealed_bytes.load(Ordering::Relaxed)
    }

    /// Whether the one that takes rows is as large as it should become.
    pub(crate) fn is_flush_due(&self) -> bool {
        self.active_bytes.load(Ordering::Relaxed) >= self.full_bytes
    }

    /// Whether there is so much in them that writers should wait.
    pub(crate) fn are_many(&self) -> bool {
        self.bytes() > MEMTABLES_MAX * self.full_bytes
    }

    /// Seals the memtable of an engine that stands at `mark`, whose lock the caller holds; `close`
    /// changes it for a new one. `None` when no version was applied since the last call.
    ///
    /// # Panics
    /// When `replay_from` lies behind the state.
    pub(crate) fn seal(
        &self,
        mark: Mark,
        replay_from: u64,
        close: impl FnOnce(Stand) -> T,
    ) -> Option<Mark> {
        let mut stands = lock(&self.stands);
        if mark.version <= stands.sealed.mark.version {
            return None;
        }
        assert!((1..=mark.position + 1).contains(&replay_from), "replay begins in front");
        let stand = Stand { mark, replay_from };
        let table = close(stand);
        let bytes = self.active_bytes.swap(0, Ordering::Relaxed);
        self.sealed_bytes.fetch_add(bytes, Ordering::Relaxed);
        lock(&self.sealed).push_back(Sealed { table, stand, bytes });
        stands.sealed = stand;
        Some(mark)
    }

    /// Writes out all that are sealed: `write` makes one last and answers the bytes of its rows;
    /// `written` is told behind that, when it counts as flushed. `None` when there was none.
    pub(crate) fn flush(
        &self,
        mut write: impl FnMut(&T, Stand) -> Result<u64, EngineError>,
        mut written: impl FnMut(Stand),
    ) -> Result<Option<Flush>, EngineError> {
        let _alone = lock(&self.flushing);
        let mut last = None;
        loop {
            let next = lock(&self.sealed).front().cloned();
            let Some(Sealed { table, stand, bytes: freed }) = next else { return Ok(last) };
            let bytes = write(&table, stand)?;
            lock(&self.sealed).pop_front();
            lock(&self.stands).flushed = stand;
            written(stand);
            self.sealed_bytes.fetch_sub(freed, Ordering::Relaxed);
            last = Some(Flush { mark: stand.mark, replay_from: stand.replay_from, bytes });
        }
    }
}
