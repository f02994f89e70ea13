//! Bytes and calls in flight: what was received and is not yet answered.
//!
//! Invariants: what a call takes it gives back, at the latest when its [`Flight`] is dropped; above
//! a limit nothing is taken and the call is refused, so memory is bounded whatever callers do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Notify, Semaphore};

use super::connections::Peer;
use super::limits::{Limits, REQUEST_BYTES_MAX};

/// The bytes and calls of both fronts: gRPC, and the work routes of HTTP.
#[derive(Debug)]
pub struct Budget {
    limit_bytes: u64,
    limit_bytes_per_connection: u64,
    inflight_bytes: AtomicU64,
    calls: AtomicU64,
    /// Woken when bytes were given back while somebody waited, or the last call ended.
    changed: Notify,
    /// Receive calls that may wait.
    pub(super) long_polls: Semaphore,
    long_polls_max: u64,
}

impl Budget {
    /// A budget with these limits.
    #[must_use]
    pub fn new(limits: &Limits) -> Arc<Self> {
        let permits = usize::try_from(limits.long_polls).unwrap_or(Semaphore::MAX_PERMITS);
        Arc::new(Self {
            limit_bytes: limits.inflight_bytes,
            limit_bytes_per_connection: limits.inflight_bytes_per_connection,
            inflight_bytes: AtomicU64::new(0),
            calls: AtomicU64::new(0),
            changed: Notify::new(),
            long_polls: Semaphore::new(permits.min(Semaphore::MAX_PERMITS)),
            long_polls_max: limits.long_polls,
        })
    }

    /// Bytes in flight.
    #[must_use]
    pub fn inflight_bytes(&self) -> u64 {
        self.inflight_bytes.load(Ordering::Relaxed)
    }

    /// Calls in flight.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Receive calls that wait.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        let free = u64::try_from(self.long_polls.available_permits()).unwrap_or(u64::MAX);
        self.long_polls_max.saturating_sub(free)
    }

    /// Waits until no call is in flight.
    pub async fn idle(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.calls.load(Ordering::Acquire) == 0 {
                return;
            }
            changed.await;
        }
    }

    /// Begins a call of this peer.
    #[must_use]
    pub fn begin(self: &Arc<Self>, peer: Peer) -> Flight {
        self.calls.fetch_add(1, Ordering::Relaxed);
        Flight { budget: Arc::clone(self), peer, held: AtomicU64::new(0) }
    }
}

/// One call and the bytes that it holds.
#[derive(Debug)]
pub struct Flight {
    budget: Arc<Budget>,
    peer: Peer,
    held: AtomicU64,
}

/// Adds within a limit; says whether it did.
fn add_within(counter: &AtomicU64, bytes: u64, limit: u64) -> bool {
    let within = |now: u64| now.checked_add(bytes).filter(|after| *after <= limit);
    counter.fetch_update(Ordering::AcqRel, Ordering::Relaxed, within).is_ok()
}

impl Flight {
    /// Takes `bytes`, or nothing where that is above a limit.
    #[must_use]
    pub fn take(&self, bytes: u64) -> bool {
        let budget = &self.budget;
        if !add_within(&budget.inflight_bytes, bytes, budget.limit_bytes) {
            return false;
        }
        let connection = &self.peer.inflight_bytes;
        if !add_within(connection, bytes, budget.limit_bytes_per_connection) {
            budget.inflight_bytes.fetch_sub(bytes, Ordering::AcqRel);
            return false;
        }
        self.held.fetch_add(bytes, Ordering::AcqRel);
        true
    }

    /// Gives up to `bytes` back, never more than the call holds.
    pub fn give_back(&self, bytes: u64) {
        let less = |held: u64| Some(held.saturating_sub(bytes));
        let held = self.held.fetch_update(Ordering::AcqRel, Ordering::Relaxed, less);
        let given = held.unwrap_or(0).min(bytes);
        self.peer.inflight_bytes.fetch_sub(given, Ordering::AcqRel);
        self.budget.inflight_bytes.fetch_sub(given, Ordering::AcqRel);
        self.budget.changed.notify_waiters();
    }

    /// Waits until one more request of the largest size fits: what a stream does before it reads
    /// on.
    pub async fn room(&self) {
        loop {
            if self.has_room() {
                return;
            }
            let changed = self.budget.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.has_room() {
                return;
            }
            changed.await;
        }
    }

    /// Whether one more request of the largest size fits.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let request = REQUEST_BYTES_MAX as u64;
        let budget = &self.budget;
        let mine = self.peer.inflight_bytes.load(Ordering::Acquire);
        let all = budget.inflight_bytes.load(Ordering::Acquire);
        mine + request <= budget.limit_bytes_per_connection && all + request <= budget.limit_bytes
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.give_back(u64::MAX);
        debug_assert_eq!(self.held.load(Ordering::Relaxed), 0);
        self.budget.calls.fetch_sub(1, Ordering::AcqRel);
        self.budget.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(all: u64, each: u64) -> Arc<Budget> {
        let limits = Limits {
            inflight_bytes: all,
            inflight_bytes_per_connection: each,
            ..Limits::default()
        };
        Budget::new(&limits)
    }

    /// At the limit bytes are taken, above it none; the connection's and the common limit both
    /// hold.
    #[test]
    fn nothing_is_taken_above_a_limit() {
        let budget = budget(100, 60);
        let (a, b) = (Peer::default(), Peer::default());
        let first = budget.begin(a.clone());
        assert!(first.take(60), "at the limit of the connection");
        assert!(!first.take(1), "above it");
        let same_connection = budget.begin(a);
        assert!(!same_connection.take(1), "its calls share the limit");
        let second = budget.begin(b);
        assert!(second.take(40), "at the common limit");
        assert!(!second.take(1), "above it");
        for hostile in [1 << 31, 1 << 63, u64::MAX] {
            assert!(!second.take(hostile));
        }
        assert_eq!((budget.inflight_bytes(), budget.calls()), (100, 3));
        first.give_back(10);
        assert!(second.take(10));
        drop((first, same_connection, second));
        assert_eq!((budget.inflight_bytes(), budget.calls()), (0, 0));
    }

    /// A call cannot give back what it does not hold.
    #[test]
    fn no_more_is_given_back_than_is_held() {
        let budget = budget(100, 100);
        let (a, b) = (budget.begin(Peer::default()), budget.begin(Peer::default()));
        assert!(a.take(30) && b.take(30));
        a.give_back(50);
        assert_eq!(budget.inflight_bytes(), 30);
        drop(a);
        assert_eq!(budget.inflight_bytes(), 30);
    }
}
