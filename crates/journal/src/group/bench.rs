//! Where the threads of a batch wait for its resolution.
//!
//! A resolved batch wakes all its threads at once. They would meet at the group's lock only to
//! learn that they may go, and most would sleep a second time; so each generation of batches has a
//! lock of its own, which nobody holds for longer than a look.
//!
//! Invariants: a thread takes the bench's lock before it gives up the group's, and whoever wakes it
//! changed the group's state before the bench's, so no wake is lost; batches that share a bench are
//! so far apart that the older one is resolved before the younger one exists.

use crate::sync::{Condvar, Mutex, MutexGuard};

/// Why a thread does not wait any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Woken {
    /// Its batch is resolved.
    Resolved,
    /// It should look at the group's state: a leader is called, or the journal failed.
    Look,
}

#[derive(Debug, Default)]
struct Seen {
    /// All batches of this bench up to this one are resolved.
    resolved: u64,
    /// Nobody leads, and one of the threads here should.
    leader_called: bool,
    failed: bool,
    /// Threads that sleep here, or are about to look because they were woken.
    asleep: u32,
}

/// The waiting threads of one generation of batches.
#[derive(Debug)]
pub(super) struct Bench {
    seen: Mutex<Seen>,
    changed: Condvar,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self { seen: Mutex::new(Seen::default()), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("no thread panics while it holds a bench")
    }

    /// Waits for the batch. `state` is the group's lock, given up before waiting.
    pub(super) fn wait<T>(&self, state: MutexGuard<'_, T>, batch: u64) -> Woken {
        let mut seen = self.lock();
        drop(state);
        loop {
            if seen.resolved >= batch {
                return Woken::Resolved;
            }
            if seen.failed || std::mem::take(&mut seen.leader_called) {
                return Woken::Look;
            }
            seen.asleep += 1;
            seen = self.changed.wait(seen).expect("see lock");
            seen.asleep -= 1;
        }
    }

    /// Whether the batch is resolved already.
    pub(super) fn look(&self, batch: u64) -> Woken {
        if self.lock().resolved >= batch { Woken::Resolved } else { Woken::Look }
    }

    /// Notes that a batch is resolved; says whether a [`Bench::wake`] must follow. Called before
    /// the next batch can be resolved, so that no thread of this one takes the call to lead a later
    /// one.
    pub(super) fn resolve(&self, batch: u64) -> bool {
        let mut seen = self.lock();
        debug_assert!(seen.resolved < batch, "a batch resolves once");
        seen.resolved = batch;
        seen.leader_called = false;
        seen.asleep > 0
    }

    /// Wakes all threads. A call to lead that met a thread of the resolved batch is heard again.
    pub(super) fn wake(&self) {
        self.changed.notify_all();
    }

    /// Wakes one thread to lead.
    pub(super) fn call_leader(&self) {
        self.lock().leader_called = true;
        self.changed.notify_one();
    }

    /// Lets all threads look, now and for ever.
    pub(super) fn fail(&self) {
        self.lock().failed = true;
        self.changed.notify_all();
    }
}
