//! Identities of requests: one producer per client, numbers in order, a bounded window.
//!
//! Invariant: no number is given out that is [`PRODUCER_RESULTS_MIN`] or more above the oldest
//! unfinished one; so the server still knows the result of everything that may be repeated.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rekindle_wire::limits::{PRODUCER_ID_BYTES, PRODUCER_RESULTS_MIN};
use rekindle_wire::v1::RequestIdentity;
use tokio::sync::Notify;

/// The most items of one identified request: several requests fit into the window at once.
pub(crate) const ITEMS_PER_REQUEST: usize = PRODUCER_RESULTS_MIN / 4;

/// A new producer's id.
#[allow(
    clippy::disallowed_methods,
    reason = "ids of producers must differ between all clients; nothing here is replayed"
)]
pub(crate) fn new_producer_id() -> [u8; PRODUCER_ID_BYTES] {
    let mut id = [0; PRODUCER_ID_BYTES];
    getrandom::fill(&mut id).expect("getrandom fails only on kernels that lack it (before 3.17)");
    id
}

/// Gives out identities.
#[derive(Debug)]
pub(crate) struct Producer {
    id: Bytes,
    window: Mutex<Window>,
    finished: Notify,
}

#[derive(Debug)]
struct Window {
    next: u64,
    /// Given out and not all finished: first number, and whether it is finished.
    open: VecDeque<(u64, bool)>,
}

/// One request's numbers; dropping it says that the request will not be repeated any more.
#[derive(Debug)]
pub(crate) struct Reservation<'a> {
    producer: &'a Producer,
    first: u64,
}

impl Producer {
    /// A producer of its own.
    pub(crate) fn new() -> Self {
        Self {
            id: Bytes::copy_from_slice(&new_producer_id()),
            window: Mutex::new(Window { next: 1, open: VecDeque::new() }),
            finished: Notify::new(),
        }
    }

    /// Reserves `count` numbers in a row; waits while the window is full.
    pub(crate) async fn reserve(&self, count: usize) -> Reservation<'_> {
        assert!(count <= ITEMS_PER_REQUEST, "callers split longer requests");
        let count = u64::try_from(count).expect("bounded above");
        loop {
            let finished = self.finished.notified();
            if let Some(first) = self.lock().take(count) {
                return Reservation { producer: self, first };
            }
            finished.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Window {
    fn take(&mut self, count: u64) -> Option<u64> {
        let oldest = self.open.front().map_or(self.next, |(first, _)| *first);
        let limit = u64::try_from(PRODUCER_RESULTS_MIN).expect("a small constant");
        if self.next + count - oldest > limit {
            return None;
        }
        let first = self.next;
        self.next += count;
        self.open.push_back((first, false));
        Some(first)
    }

    fn finish(&mut self, first: u64) {
        if let Some(entry) = self.open.iter_mut().find(|entry| entry.0 == first) {
            entry.1 = true;
        }
        while self.open.front().is_some_and(|(_, finished)| *finished) {
            self.open.pop_front();
        }
    }
}

impl Reservation<'_> {
    /// The identity for the wire.
    pub(crate) fn identity(&self) -> RequestIdentity {
        RequestIdentity { producer_id: self.producer.id.clone(), sequence: self.first }
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.producer.lock().finish(self.first);
        self.producer.finished.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    #[test]
    fn numbers_are_in_a_row_and_the_window_is_bounded() {
        let producer = Producer::new();
        let take = |count| producer.reserve(count).now_or_never();
        let first = take(ITEMS_PER_REQUEST).expect("room");
        let rest: Vec<_> = (0..3).map(|_| take(ITEMS_PER_REQUEST).expect("room")).collect();
        assert_eq!(first.identity().sequence, 1);
        assert_eq!(rest.last().map(|last| last.identity().sequence), Some(769));
        assert!(take(1).is_none(), "the oldest is unfinished: nothing more");
        drop(rest);
        assert!(take(1).is_none(), "the oldest is still unfinished");
        drop(first);
        assert_eq!(take(1).map(|next| next.identity().sequence), Some(1_025));
    }

    #[test]
    fn producers_differ() {
        assert_ne!(new_producer_id(), new_producer_id());
    }
}
