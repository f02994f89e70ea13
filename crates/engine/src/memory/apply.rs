//! Changing the engine: one transaction at a time, and the sweeping that goes with it.
//!
//! Invariants: only the holder of `writer` changes rows; `visible` moves after the last row of a
//! transaction; each apply sweeps more garbage than it makes, and never more than a bounded amount.

use std::ops::Bound;
use std::sync::atomic::Ordering;
use std::sync::{RwLockWriteGuard, TryLockError};

use super::key::Key;
use super::past::Garbage;
use super::slot::Tally;
use super::tree::{Tree, Walk};
use super::{BATCH_ROWS, MemoryEngine, SWEEP_ENTRIES, Writer, lock};
use crate::api::{KeyspaceId, Mark, Operation};

/// Garbage swept by an apply beside twice what it made.
const SWEEP_SHARE: usize = 8;

/// The keyspace that the last operations of a transaction changed, still locked.
struct Held<'a> {
    keyspace: KeyspaceId,
    tree: RwLockWriteGuard<'a, Tree>,
    before: Tally,
    rows: usize,
}

impl Held<'_> {
    /// Adds to the totals what changed while the lock was held.
    fn settle(self, totals: &mut Tally) {
        totals.add(self.tree.totals());
        totals.subtract(self.before);
    }
}

impl MemoryEngine {
    pub(super) fn apply_transaction(
        &self,
        mark: Mark,
        operations: &mut dyn Iterator<Item = Operation<'_>>,
    ) {
        let mut writer = lock(&self.writer);
        let writer = &mut *writer;
        if mark.version <= writer.mark.version {
            return;
        }
        assert!(mark.position >= writer.mark.position, "a newer version at an older position");
        debug_assert!(
            writer.garbage.back().is_none_or(|last| last.until <= writer.mark.version),
            "garbage is queued in the order of what replaced it"
        );
        let garbage_before = writer.garbage.len();
        let mut held: Option<Held<'_>> = None;
        for operation in operations {
            self.apply_operation(writer, &mut held, mark.version, operation);
        }
        if let Some(held) = held {
            held.settle(&mut writer.totals);
        }
        let made = writer.garbage.len() - garbage_before;
        self.move_mark(writer, mark);
        self.sweep(writer, SWEEP_SHARE + made.saturating_mul(2).min(SWEEP_ENTRIES));
        self.publish_totals(writer.totals);
    }

    fn apply_operation<'a>(
        &'a self,
        writer: &mut Writer,
        held: &mut Option<Held<'a>>,
        version: u64,
        operation: Operation<'_>,
    ) {
        match operation {
            Operation::Put { keyspace, key, value } => {
                writer.heap.takes(key.len() + value.len());
                let tree = &mut self.hold(writer, held, keyspace).tree;
                if let Some(from) = tree.put(key, version, value.into()) {
                    writer.garbage.push_back(garbage(keyspace, Key::new(key), from, version));
                }
            }
            Operation::Delete { keyspace, key } => {
                let tree = &mut self.hold(writer, held, keyspace).tree;
                if let Some(from) = tree.delete(key, version) {
                    writer.garbage.push_back(garbage(keyspace, Key::new(key), from, version));
                }
            }
            Operation::DeleteRange { keyspace, start, end } => {
                if let Some(held) = held.take() {
                    held.settle(&mut writer.totals);
                }
                self.erase(writer, keyspace, start, end, version);
            }
        }
    }

    /// The locked keyspace of the next operation; the lock is kept for a run of operations on one
    /// keyspace, but no longer than a batch.
    fn hold<'a, 'h>(
        &'a self,
        writer: &mut Writer,
        held: &'h mut Option<Held<'a>>,
        keyspace: KeyspaceId,
    ) -> &'h mut Held<'a> {
        if let Some(last) = held.take_if(|held| held.keyspace != keyspace || held.rows == 0) {
            last.settle(&mut writer.totals);
        }
        let held = held.get_or_insert_with(|| {
            let tree = self.spaces.make(keyspace).write();
            let before = tree.totals();
            Held { keyspace, tree, before, rows: BATCH_ROWS }
        });
        debug_assert!(held.keyspace == keyspace && held.rows > 0, "the keyspace of this operation");
        held.rows -= 1;
        held
    }

    /// Deletes a range in batches, so that readers get in between; they read below `version`.
    fn erase(
        &self,
        writer: &mut Writer,
        keyspace: KeyspaceId,
        start: &[u8],
        end: &[u8],
        version: u64,
    ) {
        let Some(space) = self.spaces.get(keyspace) else { return };
        let end = if end.is_empty() { Bound::Unbounded } else { Bound::Excluded(end) };
        let mut behind: Option<Key> = None;
        loop {
            let start = match &behind {
                Some(key) => Bound::Excluded(key.as_slice()),
                None => Bound::Included(start),
            };
            let mut tree = space.write();
            let before = tree.totals();
            let queue = &mut writer.garbage;
            let walk = tree.delete_range(start, end, version, BATCH_ROWS, |key, from| {
                queue.push_back(garbage(keyspace, key.clone(), from, version));
            });
            writer.totals.add(tree.totals());
            writer.totals.subtract(before);
            drop(tree);
            match walk {
                Walk::Done => return,
                Walk::More(key) => {
                    debug_assert!(key.is_behind(behind.as_ref()), "a walk goes on");
                    behind = Some(key);
                }
            }
        }
    }

    pub(super) fn advance_mark(&self, mark: Mark) {
        let mut writer = lock(&self.writer);
        if mark.position <= writer.mark.position {
            return;
        }
        let mark = writer.mark.advanced(mark);
        self.move_mark(&mut writer, mark);
        self.sweep(&mut writer, SWEEP_SHARE);
        self.publish_totals(writer.totals);
    }

    fn move_mark(&self, writer: &mut Writer, mark: Mark) {
        assert!(mark.version >= writer.mark.version, "what is visible never goes back");
        assert!(mark.position >= writer.mark.position, "records are never taken back");
        // Before the mark says so: who reads at the version that it names must find it.
        self.visible.store(mark.version, Ordering::Release);
        let published = std::mem::replace(&mut *lock(&self.mark), mark);
        debug_assert_eq!(published, writer.mark, "only the writer moves the mark");
        writer.mark = mark;
    }

    /// Sweeps where no writer is busy; a busy one sweeps by itself.
    pub(super) fn sweep_if_idle(&self) {
        match self.writer.try_lock() {
            Ok(mut writer) => {
                self.sweep(&mut writer, SWEEP_ENTRIES);
                self.publish_totals(writer.totals);
            }
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Poisoned(_)) => {
                panic!("a panic while the engine was changed left it undefined")
            }
        }
    }

    /// Reclaims up to `budget` replaced versions that nobody can read any more.
    fn sweep(&self, writer: &mut Writer, budget: usize) {
        let floor = self.floor.load(Ordering::Acquire);
        let due = writer.garbage.front().is_some_and(|garbage| garbage.until <= floor);
        if !due && !self.released.load(Ordering::Acquire) {
            return;
        }
        let mut sweeping = std::mem::take(&mut writer.sweeping);
        let floor = self.collect(writer, budget, &mut sweeping);
        let mut held: Option<Held<'_>> = None;
        for garbage in sweeping.drain(..) {
            let tree = &mut self.hold(writer, &mut held, garbage.keyspace).tree;
            tree.reclaim(&garbage, floor);
        }
        if let Some(held) = held {
            held.settle(&mut writer.totals);
        }
        writer.sweeping = sweeping;
    }

    /// Takes garbage off the queues; what a pin still holds goes to that pin.
    fn collect(&self, writer: &mut Writer, budget: usize, sweeping: &mut Vec<Garbage>) -> u64 {
        let mut past = lock(&self.past);
        let floor = past.floor();
        debug_assert!(floor <= writer.mark.version, "the floor never passes what is applied");
        for _ in 0..budget {
            let due = writer.garbage.front().is_some_and(|garbage| garbage.until <= floor);
            let next = if due { writer.garbage.pop_front() } else { past.take_released() };
            let Some(garbage) = next else { break };
            sweeping.extend(past.hold(garbage));
        }
        debug_assert!(sweeping.len() <= budget, "a sweep is bounded");
        self.released.store(past.has_released(), Ordering::Release);
        floor
    }
}

fn garbage(keyspace: KeyspaceId, key: Key, from: u64, until: u64) -> Garbage {
    debug_assert!(from <= until);
    Garbage { keyspace, key, from, until }
}
