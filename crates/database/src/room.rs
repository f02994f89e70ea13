//! Deadlines of commits that await room in the journal.
//!
//! An awaited commit has no thread that could wait for a time, and the journal wakes it only when
//! there is room: on a disk whose sync hangs, never. So it leaves its waker here, and whoever looks
//! at the clock wakes it. The journal knows one waker for all of them, so it keeps nothing of those
//! who gave up. Invariant: a waker is here exactly while its commit awaits room.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};

use crate::apply::lock;

/// What the mutex guards.
#[derive(Debug, Default)]
struct Waiting {
    /// By deadline (boot time) and number.
    wakers: BTreeMap<(u64, u64), Waker>,
    next: u64,
}

/// All commits that await room.
#[derive(Debug, Default)]
pub(crate) struct RoomDeadlines {
    waiting: Mutex<Waiting>,
}

/// One of them; dropping it ends its wait.
#[derive(Debug)]
pub(crate) struct RoomWait<'a> {
    deadlines: &'a RoomDeadlines,
    key: (u64, u64),
}

impl RoomDeadlines {
    /// A commit begins to await room, until then.
    pub(crate) fn begin(&self, until_ns: u64) -> RoomWait<'_> {
        let mut waiting = lock(&self.waiting);
        waiting.next += 1;
        RoomWait { deadlines: self, key: (until_ns, waiting.next) }
    }

    /// Wakes those whose time is over.
    pub(crate) fn sweep(&self, now_ns: u64) {
        let over = {
            let mut waiting = lock(&self.waiting);
            let left = waiting.wakers.split_off(&(now_ns.saturating_add(1), 0));
            std::mem::replace(&mut waiting.wakers, left)
        };
        for waker in over.into_values() {
            waker.wake();
        }
    }
}

/// There is room: everybody looks.
impl Wake for RoomDeadlines {
    fn wake(self: Arc<Self>) {
        let all = std::mem::take(&mut lock(&self.waiting).wakers);
        all.into_values().for_each(Waker::wake);
    }
}

impl RoomWait<'_> {
    /// Whether the time is over; otherwise `waker` is woken when it is.
    pub(crate) fn is_over(&self, now_ns: u64, waker: &Waker) -> bool {
        if now_ns >= self.key.0 {
            return true;
        }
        lock(&self.deadlines.waiting).wakers.insert(self.key, waker.clone());
        false
    }
}

impl Drop for RoomWait<'_> {
    fn drop(&mut self) {
        lock(&self.deadlines.waiting).wakers.remove(&self.key);
    }
}
