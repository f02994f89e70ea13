//! What a sender knows: bookkeeping, no I/O; of time only how old its producer id is.
//!
//! Invariants: `order` holds the unresolved messages, numbers ascending; the first `handed` of them
//! were handed to the current stream, in `batches`; there are never more of them than the server
//! keeps results for; each has one slot, which lives until it is resolved *and* its ticket is gone.
//! All unresolved messages are of one producer, which changes only while there are none.

use std::collections::VecDeque;
use std::task::{Poll, Waker};

use rekindle_wire::limits::{ITEMS_MAX, PRODUCER_RESULTS_MIN};
use rekindle_wire::v1::{Kind, Message, RequestIdentity, SendAcks, SendBatch};
use tokio::time::Instant;

use super::{Ack, SenderOptions};
use crate::error::Error;
use crate::identity::ProducerId;

/// A batch is cut here: large enough to share the cost of a batch, small enough that the server
/// works on one while the next one arrives.
const BATCH_BYTES: usize = 128 << 10;
const BATCH_ITEMS: usize = 512;

/// An unresolved message.
#[derive(Debug)]
struct Entry {
    sequence: u64,
    slot: usize,
    deadline: Instant,
    /// It was handed to a stream: its outcome is unknown until it is answered.
    tried: bool,
    /// It was handed to a stream that ended without an answer: whatever a later one says of itself,
    /// the earlier one may have done it.
    doubtful: bool,
    message: Message,
}

/// Where a ticket finds its result.
#[derive(Debug)]
enum Slot {
    Free,
    Waiting(Option<Waker>),
    Done(Result<Ack, Error>),
    /// The ticket was dropped; the message is sent all the same.
    Abandoned,
}

#[derive(Debug)]
pub(super) struct State {
    queue: String,
    producer: ProducerId,
    in_flight_max: usize,
    bytes_max: usize,
    slots: Vec<Slot>,
    free: Vec<usize>,
    order: VecDeque<Entry>,
    handed: usize,
    /// Unanswered batches of the current stream: number and count of messages.
    batches: VecDeque<(u64, usize)>,
    bytes: usize,
    next_sequence: u64,
    next_batch: u64,
    /// Counts streams; a batch source of an older one ends.
    epoch: u64,
    stream: Option<Waker>,
    /// Submitters that wait for room, first come first served.
    waiting: VecDeque<(u64, Waker)>,
    next_waiter: u64,
    pub(super) closed: bool,
}

impl State {
    pub(super) fn new(queue: String, producer: ProducerId, options: &SenderOptions) -> Self {
        Self {
            queue,
            producer,
            // The server must still know the result of everything that may be sent again.
            in_flight_max: options.in_flight.clamp(1, PRODUCER_RESULTS_MIN),
            bytes_max: options.in_flight_bytes,
            slots: Vec::new(),
            free: Vec::new(),
            order: VecDeque::new(),
            handed: 0,
            batches: VecDeque::new(),
            bytes: 0,
            next_sequence: 1,
            next_batch: 1,
            epoch: 0,
            stream: None,
            waiting: VecDeque::new(),
            next_waiter: 0,
            closed: false,
        }
    }

    /// Takes a message if there is room and nobody waited longer than waiter `waiter`.
    /// Gives its slot; wakers go to `wake`, to be woken without the lock.
    pub(super) fn submit(
        &mut self,
        message: &mut Option<Message>,
        waiter: &mut Option<u64>,
        waker: &Waker,
        deadline: impl FnOnce() -> Instant,
        wake: &mut Vec<Waker>,
    ) -> Poll<usize> {
        let first = match (self.waiting.front(), *waiter) {
            (Some((front, _)), Some(me)) => *front == me,
            (Some(_), None) => false,
            (None, _) => true,
        };
        let length = message.as_ref().map_or(0, |message| message.body.len());
        let room = self.order.len() < self.in_flight_max
            && (self.bytes + length <= self.bytes_max || self.order.is_empty());
        if !(first && room) {
            self.enqueue_waiter(waiter, waker);
            return Poll::Pending;
        }
        if waiter.take().is_some() {
            self.waiting.pop_front();
        }
        let message = message.take().expect("a submission is not polled after it is done");
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::Free);
            self.slots.len() - 1
        });
        self.set(slot, Slot::Waiting(None));
        self.bytes += length;
        if self.order.is_empty() {
            self.producer.renew();
        }
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let (tried, doubtful, deadline) = (false, false, deadline());
        self.order.push_back(Entry { sequence, slot, deadline, tried, doubtful, message });
        wake.extend(self.stream.take());
        wake.extend(self.waiting.front().map(|(_, waker)| waker.clone()));
        Poll::Ready(slot)
    }

    fn enqueue_waiter(&mut self, waiter: &mut Option<u64>, waker: &Waker) {
        if let Some(me) = *waiter {
            if let Some(entry) = self.waiting.iter_mut().find(|entry| entry.0 == me) {
                entry.1.clone_from(waker);
            }
            return;
        }
        *waiter = Some(self.next_waiter);
        self.waiting.push_back((self.next_waiter, waker.clone()));
        self.next_waiter += 1;
    }

    /// A submitter gave up; whoever stands behind it must not wait for its wake-up.
    pub(super) fn forget_waiter(&mut self, waiter: u64, wake: &mut Vec<Waker>) {
        self.waiting.retain(|entry| entry.0 != waiter);
        wake.extend(self.waiting.front().map(|(_, waker)| waker.clone()));
    }

    /// The result of a slot, which is free afterwards.
    pub(super) fn poll_slot(&mut self, slot: usize, waker: &Waker) -> Poll<Result<Ack, Error>> {
        let Some(place) = self.slots.get_mut(slot) else {
            unreachable!("slots never shrink");
        };
        match place {
            Slot::Waiting(Some(old)) => old.clone_from(waker),
            Slot::Waiting(none) => *none = Some(waker.clone()),
            Slot::Done(_) => {
                let Slot::Done(result) = std::mem::replace(place, Slot::Free) else {
                    unreachable!("matched above");
                };
                self.free.push(slot);
                return Poll::Ready(result);
            }
            Slot::Free | Slot::Abandoned => unreachable!("a ticket owns its slot until it is done"),
        }
        Poll::Pending
    }

    /// The ticket of this slot is gone.
    pub(super) fn abandon(&mut self, slot: usize) {
        if matches!(self.slots.get(slot), Some(Slot::Done(_))) {
            self.set(slot, Slot::Free);
            self.free.push(slot);
        } else {
            self.set(slot, Slot::Abandoned);
        }
    }

    fn set(&mut self, slot: usize, value: Slot) {
        *self.slots.get_mut(slot).expect("slots never shrink") = value;
    }

    /// A new stream begins: everything unresolved is to be handed to it, in order.
    pub(super) fn begin_stream(&mut self, wake: &mut Vec<Waker>) -> u64 {
        self.epoch += 1;
        for entry in self.order.iter_mut().take(self.handed) {
            entry.doubtful = true;
        }
        self.handed = 0;
        self.batches.clear();
        self.next_batch = 1;
        wake.extend(self.stream.take());
        self.epoch
    }

    /// The next batch of stream `epoch`; `None` ends that stream's sending half.
    pub(super) fn poll_batch(&mut self, epoch: u64, waker: &Waker) -> Poll<Option<SendBatch>> {
        if epoch != self.epoch {
            return Poll::Ready(None);
        }
        let Some(first) = self.order.get(self.handed) else {
            if self.closed {
                return Poll::Ready(None);
            }
            self.stream = Some(waker.clone());
            return Poll::Pending;
        };
        let first_sequence = first.sequence;
        let (mut messages, mut bytes, mut expected) = (Vec::new(), 0, first_sequence);
        messages.reserve((self.order.len() - self.handed).min(BATCH_ITEMS));
        for entry in self.order.range_mut(self.handed..) {
            let full = bytes + entry.message.body.len() > BATCH_BYTES
                || messages.len() >= BATCH_ITEMS.min(ITEMS_MAX);
            if (full && !messages.is_empty()) || entry.sequence != expected {
                break;
            }
            bytes += entry.message.body.len();
            expected += 1;
            entry.tried = true;
            messages.push(entry.message.clone());
        }
        let number = self.next_batch;
        self.next_batch += 1;
        self.handed += messages.len();
        self.batches.push_back((number, messages.len()));
        // The stream remembers the queue of its first batch.
        let queue = if number == 1 { self.queue.clone() } else { String::new() };
        let producer_id = self.producer.bytes().clone();
        let identity = Some(RequestIdentity { producer_id, sequence: first_sequence });
        Poll::Ready(Some(SendBatch { sequence: number, queue, messages, identity }))
    }

    /// Resolves the messages of the oldest unanswered batch. An answer that does not fit the batch
    /// changes nothing; that, and a message without a decided outcome, ends the stream.
    pub(super) fn answer(
        &mut self,
        mut acks: SendAcks,
        wake: &mut Vec<Waker>,
    ) -> Result<(), String> {
        let fits = self.batches.front() == Some(&(acks.sequence, acks.ids.len()));
        if !fits {
            let (sequence, ids) = (acks.sequence, acks.ids.len());
            return Err(format!("an answer with {ids} results to batch {sequence} out of order"));
        }
        let durability = acks.durability();
        acks.errors.sort_unstable_by_key(|error| error.index);
        let mut errors = acks.errors.iter().peekable();
        self.batches.pop_front();
        for (index, id) in (0_u32..).zip(acks.ids) {
            let error = errors.next_if(|error| error.index == index);
            if let Some(error) = error.filter(|error| undecided(error.kind())) {
                // It and what follows stay unresolved: the next stream learns what became of them.
                return Err(error.message.clone());
            }
            let entry = self.order.pop_front().expect("a batch holds unresolved messages");
            self.handed -= 1;
            let result = match error {
                Some(error) => Err(Error::of_item(error)),
                None => Ok(Ack { id, durability }),
            };
            self.resolve(&entry, result, wake);
        }
        wake.extend(self.waiting.front().map(|(_, waker)| waker.clone()));
        Ok(())
    }

    fn resolve(&mut self, entry: &Entry, result: Result<Ack, Error>, wake: &mut Vec<Waker>) {
        self.bytes -= entry.message.body.len();
        let place = self.slots.get_mut(entry.slot).expect("slots never shrink");
        match std::mem::replace(place, Slot::Done(result)) {
            Slot::Waiting(waker) => wake.extend(waker),
            Slot::Abandoned => {
                *place = Slot::Free;
                self.free.push(entry.slot);
            }
            Slot::Free | Slot::Done(_) => unreachable!("a message is resolved once"),
        }
    }

    /// Resolves what is past its deadline. If anything was, the stream must begin anew: its batches
    /// do not fit the order any more.
    pub(super) fn expire(
        &mut self,
        now: Instant,
        not_sent: &Error,
        reason: &str,
        wake: &mut Vec<Waker>,
    ) -> bool {
        let mut expired = false;
        while self.order.front().is_some_and(|entry| entry.deadline <= now) {
            let entry = self.order.pop_front().expect("looked at above");
            let error =
                if entry.tried { Error::Unknown(reason.to_owned()) } else { not_sent.clone() };
            self.resolve(&entry, Err(error), wake);
            self.handed = self.handed.saturating_sub(1);
            expired = true;
        }
        if expired {
            self.begin_stream(wake);
            wake.extend(self.waiting.front().map(|(_, waker)| waker.clone()));
        }
        expired
    }

    /// Resolves everything: the server refused the stream as such, and with it every batch that it
    /// did not answer.
    pub(super) fn refuse_all(&mut self, error: &Error, wake: &mut Vec<Waker>) {
        while let Some(entry) = self.order.pop_front() {
            let error =
                if entry.doubtful { Error::Unknown(error.to_string()) } else { error.clone() };
            self.resolve(&entry, Err(error), wake);
        }
        self.handed = 0;
        self.begin_stream(wake);
        wake.extend(self.waiting.front().map(|(_, waker)| waker.clone()));
    }

    /// The deadline of the oldest unresolved message.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.order.front().map(|entry| entry.deadline)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// No more messages will come.
    pub(super) fn close(&mut self, wake: &mut Vec<Waker>) {
        self.closed = true;
        wake.extend(self.stream.take());
    }
}

/// Whether a message may have another outcome when it is sent again with the same identity: its
/// journal failed before it answered, or the server was busy.
const fn undecided(kind: Kind) -> bool {
    matches!(kind, Kind::Unknown | Kind::Retry | Kind::Unspecified)
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
