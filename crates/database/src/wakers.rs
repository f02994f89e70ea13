//! Wakers in an order: of who waits for a version, or for a time.
//!
//! Invariant: a waker is here at most once for each who waits, and only while it waits.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};

use crate::apply::lock;

/// What is waited for, and a number that tells apart who waits for the same.
type Key = (u64, u64);

/// What the mutex guards.
#[derive(Debug, Default)]
struct Waiting {
    wakers: BTreeMap<Key, Waker>,
    next: u64,
}

/// The wakers of all who wait.
#[derive(Debug, Default)]
pub(crate) struct Wakers {
    waiting: Mutex<Waiting>,
}

impl Wakers {
    /// Wakes those who wait for `reached` or less.
    pub(crate) fn wake_to(&self, reached: u64) {
        let due = {
            let mut waiting = lock(&self.waiting);
            if waiting.wakers.first_key_value().is_none_or(|((first, _), _)| *first > reached) {
                return;
            }
            let later = waiting.wakers.split_off(&(reached.saturating_add(1), 0));
            std::mem::replace(&mut waiting.wakers, later)
        };
        due.into_values().for_each(Waker::wake);
    }

    /// Wakes all.
    pub(crate) fn wake_all(&self) {
        let all = std::mem::take(&mut lock(&self.waiting).wakers);
        all.into_values().for_each(Waker::wake);
    }
}

/// As one waker, it stands for all of them.
impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        self.wake_all();
    }
}

/// One who waits; dropping it ends that.
#[derive(Debug)]
pub(crate) struct Wait {
    wakers: Arc<Wakers>,
    key: Key,
}

impl Wait {
    /// Begins to wait for `goal`.
    pub(crate) fn new(wakers: &Arc<Wakers>, goal: u64) -> Self {
        let mut waiting = lock(&wakers.waiting);
        waiting.next += 1;
        let key = (goal, waiting.next);
        drop(waiting);
        Self { wakers: Arc::clone(wakers), key }
    }

    /// Leaves a waker, in the place of the one before.
    pub(crate) fn leave(&self, waker: &Waker) {
        lock(&self.wakers.waiting).wakers.insert(self.key, waker.clone());
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        lock(&self.wakers.waiting).wakers.remove(&self.key);
    }
}
