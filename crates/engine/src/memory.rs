//! The memory engine: versioned rows in sorted leaves, made durable by checkpoints and the journal.
//!
//! Who waits for whom: one writer at a time (`writer`); it takes a keyspace's lock for at most
//! [`BATCH_ROWS`] rows and lets readers in between. A reader takes it for one page. Readers see a
//! transaction as a whole because they read at a version: `visible` moves only after all rows of
//! the transaction are in, and no read goes above it.
//!
//! Invariants: lock order is writer, then keyspace or past, never both of the latter; a version
//! that somebody may read (at or above the floor, or pinned) is never reclaimed, because a reader
//! checks the floor under the keyspace's lock and the floor is raised before anything below it
//! goes.

mod apply;
mod bulk;
mod freeze;
mod heap;
mod key;
mod past;
mod read;
mod slot;
mod sorted;
mod space;
mod tree;

use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use crate::api::{Engine, EngineError, KeyspaceId, Mark, Operation, Row, Versioned};
use heap::HeapRoom;
use past::{Garbage, Past};
use slot::Tally;
use space::Spaces;

pub(crate) use bulk::Bulk;
pub use freeze::Frozen;
pub(crate) use freeze::RowCursor;

/// Rows that are changed or visited under one hold of a keyspace's lock: about 50 microseconds.
const BATCH_ROWS: usize = 512;

/// Garbage that one move of the floor, or one last unpin, sweeps at most.
const SWEEP_ENTRIES: usize = 1024;

/// Sorted keyspaces in memory.
#[derive(Debug)]
pub struct MemoryEngine {
    spaces: Spaces,
    writer: Mutex<Writer>,
    mark: Mutex<Mark>,
    /// The version of `mark`.
    visible: AtomicU64,
    past: Mutex<Past>,
    /// The floor of `past`, for readers.
    floor: AtomicU64,
    /// Whether `past` has garbage that its pin let go.
    released: AtomicBool,
    state_bytes: AtomicU64,
    history_bytes: AtomicU64,
}

/// What only the one writer touches.
#[derive(Debug, Default)]
struct Writer {
    mark: Mark,
    totals: Tally,
    /// Replaced versions, ascending by the version that replaced them.
    garbage: VecDeque<Garbage>,
    /// Reused between sweeps.
    sweeping: Vec<Garbage>,
    heap: HeapRoom,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("a panic while the engine was changed left it undefined")
}

impl Default for MemoryEngine {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryEngine {
    /// An empty engine at position and version 0.
    #[must_use]
    pub fn new() -> Self {
        Self::with_spaces(Spaces::new(), Mark::default(), Tally::default())
    }

    /// An engine that stands at `mark`, with nothing of the past below it.
    fn with_spaces(spaces: Spaces, mark: Mark, totals: Tally) -> Self {
        let engine = Self {
            spaces,
            writer: Mutex::new(Writer { mark, totals, ..Writer::default() }),
            mark: Mutex::new(mark),
            visible: AtomicU64::new(mark.version),
            past: Mutex::new(Past::new(mark.version)),
            floor: AtomicU64::new(mark.version),
            released: AtomicBool::new(false),
            state_bytes: AtomicU64::new(0),
            history_bytes: AtomicU64::new(0),
        };
        engine.publish_totals(totals);
        engine
    }

    fn publish_totals(&self, totals: Tally) {
        debug_assert_eq!(totals.live == 0, totals.state == 0, "only live rows cost state");
        let bytes = |total: i64| u64::try_from(total).expect("totals never fall below zero");
        self.state_bytes.store(bytes(totals.state), Ordering::Relaxed);
        self.history_bytes.store(bytes(totals.history), Ordering::Relaxed);
    }

    /// All keyspaces that were ever written to, ascending.
    #[must_use]
    pub fn keyspaces(&self) -> Vec<KeyspaceId> {
        self.spaces.iter().map(|(id, _)| id).collect()
    }

    /// Checks the internal invariants by counting everything again; linear, for tests.
    ///
    /// # Panics
    /// When one does not hold.
    pub fn check_invariants(&self) {
        let writer = lock(&self.writer);
        let mut totals = Tally::default();
        for (_, space) in self.spaces.iter() {
            let tree = space.read();
            tree.check();
            totals.add(tree.totals());
        }
        assert_eq!(totals, writer.totals, "the engine's totals are those of its keyspaces");
        assert_eq!(writer.mark, *lock(&self.mark));
        assert_eq!(writer.mark.version, self.visible.load(Ordering::Acquire));
        let floor = lock(&self.past).floor();
        assert_eq!(floor, self.floor.load(Ordering::Acquire));
        assert!(floor <= writer.mark.version, "the floor never passes what is applied");
        let mut until = writer.garbage.iter().map(|garbage| garbage.until);
        assert!(until.by_ref().is_sorted(), "garbage is swept in order");
        let last = writer.garbage.back().map_or(0, |garbage| garbage.until);
        assert!(last <= writer.mark.version, "only what is applied replaces anything");
        let waits = !writer.garbage.is_empty() || lock(&self.past).holds_garbage();
        assert!(totals.history == 0 || waits, "history waits for a sweep");
    }
}

impl Engine for MemoryEngine {
    fn apply(&self, mark: Mark, operations: &mut dyn Iterator<Item = Operation<'_>>) {
        self.apply_transaction(mark, operations);
    }

    fn advance(&self, mark: Mark) {
        self.advance_mark(mark);
    }

    fn mark(&self) -> Mark {
        *lock(&self.mark)
    }

    fn get(
        &self,
        keyspace: KeyspaceId,
        key: &[u8],
        at: u64,
    ) -> Result<Option<Versioned>, EngineError> {
        self.read_row(keyspace, key, at)
    }

    fn scan(
        &self,
        keyspace: KeyspaceId,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        at: u64,
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<Row>, EngineError> {
        self.read_rows(keyspace, range, at, limit, reverse)
    }

    fn pin(&self, at: u64) -> Result<(), EngineError> {
        lock(&self.past).pin(at)
    }

    fn unpin(&self, at: u64) {
        let mut past = lock(&self.past);
        past.unpin(at);
        self.released.store(past.has_released(), Ordering::Release);
        drop(past);
        self.sweep_if_idle();
    }

    fn set_floor(&self, floor: u64) {
        let floor = floor.min(self.visible.load(Ordering::Acquire));
        let mut past = lock(&self.past);
        let raised = past.raise(floor);
        debug_assert!(self.floor.load(Ordering::Relaxed) <= raised, "the floor only rises");
        assert!(
            raised <= self.visible.load(Ordering::Acquire),
            "the floor follows what is applied"
        );
        self.floor.store(raised, Ordering::Release);
        drop(past);
        self.sweep_if_idle();
    }

    fn floor(&self) -> u64 {
        self.floor.load(Ordering::Acquire)
    }

    fn state_bytes(&self) -> (u64, u64) {
        (self.state_bytes.load(Ordering::Relaxed), self.history_bytes.load(Ordering::Relaxed))
    }

    fn len(&self, keyspace: KeyspaceId) -> u64 {
        let live = self.spaces.get(keyspace).map_or(0, |space| space.read().totals().live);
        u64::try_from(live).expect("no keyspace has fewer than no rows")
    }

    fn state_hash(&self) -> u128 {
        self.freeze().state_hash()
    }
}
