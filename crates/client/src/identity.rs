//! Identities of requests: one producer per client, numbers in order, a bounded window.
//!
//! Invariants: a producer that was idle for a day numbers nothing new: the server may forget it,
//! and would call what it asks for later unknown. A repeated request keeps its identity. No number
//! is given out that is [`PRODUCER_RESULTS_MIN`] or more above the oldest unfinished one; so the
//! server still knows the result of everything that may be repeated.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use rekindle_wire::limits::{PRODUCER_ID_BYTES, PRODUCER_RESULTS_MIN};
use rekindle_wire::v1::RequestIdentity;
use tokio::sync::Notify;

/// The most items of one identified request: several requests fit into the window at once.
pub(crate) const ITEMS_PER_REQUEST: usize = PRODUCER_RESULTS_MIN / 4;

/// How long a producer may be idle before its next request is another producer's.
const IDLE_MAX: Duration = Duration::from_hours(24);

/// A new producer's id: a UUIDv7, whose time tells the server that it is none that it forgot.
#[allow(
    clippy::disallowed_methods,
    reason = "ids of producers must differ between all clients; nothing here is replayed"
)]
fn new_producer_id(now: SystemTime) -> [u8; PRODUCER_ID_BYTES] {
    let mut id = [0; PRODUCER_ID_BYTES];
    getrandom::fill(&mut id).expect("getrandom fails only on kernels that lack it (before 3.17)");
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX).to_be_bytes();
    for (byte, ms) in id.iter_mut().zip(ms.iter().skip(2)) {
        *byte = *ms;
    }
    id[6] = 0x70 | (id[6] & 0x0F);
    id[8] = 0x80 | (id[8] & 0x3F);
    id
}

/// A producer's id and how long it may be used for something new.
#[derive(Debug)]
pub(crate) struct ProducerId {
    bytes: Bytes,
    /// When something was numbered last, by the clock that goes on while the machine sleeps.
    used: SystemTime,
}

impl ProducerId {
    /// A new one.
    pub(crate) fn new() -> Self {
        Self::at(now())
    }

    /// The same at this time.
    pub(crate) fn at(now: SystemTime) -> Self {
        Self { bytes: Bytes::copy_from_slice(&new_producer_id(now)), used: now }
    }

    /// The id of what was numbered under it.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Something new is numbered: true when that is under another id, because this one was idle for
    /// too long, or the clock was set back so far that nobody can say.
    pub(crate) fn renew(&mut self) -> bool {
        self.renew_at(now())
    }

    /// The same at this time.
    pub(crate) fn renew_at(&mut self, now: SystemTime) -> bool {
        let idle = now.duration_since(self.used).unwrap_or_else(|back| back.duration());
        let renewed = idle >= IDLE_MAX;
        if renewed {
            *self = Self::at(now);
        }
        self.used = now;
        renewed
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "the id's time is that of the world; nothing here is replayed"
)]
fn now() -> SystemTime {
    SystemTime::now()
}

/// Gives out identities.
#[derive(Debug)]
pub(crate) struct Producer {
    window: Mutex<Window>,
    finished: Notify,
}

#[derive(Debug)]
struct Window {
    id: ProducerId,
    next: u64,
    /// Given out and not all finished: first number, and whether it is finished.
    open: VecDeque<(u64, bool)>,
}

/// One request's numbers; dropping it says that the request will not be repeated any more.
#[derive(Debug)]
pub(crate) struct Reservation<'a> {
    producer: &'a Producer,
    id: Bytes,
    first: u64,
}

impl Producer {
    /// A producer of its own.
    pub(crate) fn new() -> Self {
        let window = Window { id: ProducerId::new(), next: 1, open: VecDeque::new() };
        Self { window: Mutex::new(window), finished: Notify::new() }
    }

    /// Reserves `count` numbers in a row; waits while the window is full.
    pub(crate) async fn reserve(&self, count: usize) -> Reservation<'_> {
        assert!(count <= ITEMS_PER_REQUEST, "callers split longer requests");
        let count = u64::try_from(count).expect("bounded above");
        loop {
            let finished = self.finished.notified();
            if let Some((id, first)) = self.lock().take(count, now()) {
                return Reservation { producer: self, id, first };
            }
            finished.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Window {
    fn take(&mut self, count: u64, now: SystemTime) -> Option<(Bytes, u64)> {
        if self.id.renew_at(now) {
            // Numbers go on, so that what is unfinished under the old id stays apart from these.
            self.open.clear();
        }
        let oldest = self.open.front().map_or(self.next, |(first, _)| *first);
        let limit = u64::try_from(PRODUCER_RESULTS_MIN).expect("a small constant");
        if self.next + count - oldest > limit {
            return None;
        }
        let first = self.next;
        self.next += count;
        self.open.push_back((first, false));
        Some((self.id.bytes().clone(), first))
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
        RequestIdentity { producer_id: self.id.clone(), sequence: self.first }
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
    fn ids_are_uuids_of_version_seven_and_differ() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_645_557_742_000);
        let (a, b) = (new_producer_id(now), new_producer_id(now));
        assert_ne!(a, b);
        for id in [a, b] {
            assert_eq!(id[..6], [0x01, 0x7F, 0x22, 0xE2, 0x79, 0xB0]);
            assert_eq!((id[6] >> 4, id[8] >> 6), (7, 2));
        }
        assert_ne!(ProducerId::new().bytes(), ProducerId::new().bytes());
    }

    /// After a day of silence new requests are another producer's; an old one keeps its identity.
    #[test]
    fn a_day_of_silence_makes_another_producer() {
        let producer = Producer::new();
        let old = producer.reserve(ITEMS_PER_REQUEST).now_or_never().expect("room");
        let before = old.identity();
        let start = producer.lock().id.used;
        let take = |seconds| {
            let taken = producer.lock().take(1, start + Duration::from_secs(seconds));
            taken.expect("room")
        };
        let day = IDLE_MAX.as_secs();
        assert_eq!(take(day - 1), (before.producer_id.clone(), 257));
        let (id, first) = take(2 * day - 1);
        assert_eq!(first, 258, "a day after the last one");
        assert_ne!(id, before.producer_id);
        assert_eq!(old.identity(), before, "a retry is the same request");
        drop(old);
        assert_eq!(take(2 * day), (id, 259));
        assert_ne!(take(0).0, before.producer_id, "a clock that was set back");
    }
}
