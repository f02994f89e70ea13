//! The sender's bookkeeping, step by step.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::time::Duration;

use futures::task::noop_waker;
use rekindle_wire::error::item;
use rekindle_wire::v1::Durability;

use super::*;

struct Bench {
    state: State,
    wake: Vec<Waker>,
    now: Instant,
    epoch: u64,
}

impl Bench {
    fn new(in_flight: usize) -> Self {
        let options = SenderOptions { in_flight, in_flight_bytes: 100, ..Default::default() };
        let mut state = State::new("q".into(), ProducerId::new(), &options);
        let mut wake = Vec::new();
        let epoch = state.begin_stream(&mut wake);
        Self { state, wake, now: Instant::now(), epoch }
    }

    fn submit(&mut self, body: &'static str, waiter: &mut Option<u64>) -> Poll<usize> {
        let mut message = Some(Message::new(body));
        let deadline = self.now + Duration::from_secs(5);
        self.state.submit(&mut message, waiter, &noop_waker(), || deadline, &mut self.wake)
    }

    fn send(&mut self, body: &'static str) -> usize {
        match self.submit(body, &mut None) {
            Poll::Ready(slot) => slot,
            Poll::Pending => panic!("no room"),
        }
    }

    fn batch(&mut self) -> Option<SendBatch> {
        match self.state.poll_batch(self.epoch, &noop_waker()) {
            Poll::Ready(batch) => batch,
            Poll::Pending => None,
        }
    }

    fn answer(&mut self, sequence: u64, ids: &[&str], errors: &[u32]) -> Result<(), String> {
        let errors = errors.iter().map(|&index| item(index as usize, Kind::Full, "full"));
        let acks = SendAcks {
            sequence,
            durability: Durability::Disk.into(),
            ids: ids.iter().map(|id| (*id).to_owned()).collect(),
            errors: errors.collect(),
        };
        self.state.answer(acks, &mut self.wake)
    }

    fn result(&mut self, slot: usize) -> Option<Result<Ack, Error>> {
        match self.state.poll_slot(slot, &noop_waker()) {
            Poll::Ready(result) => Some(result),
            Poll::Pending => None,
        }
    }

    fn bodies(batch: &SendBatch) -> Vec<&str> {
        let bodies = batch.messages.iter().map(|message| message.body.as_ref());
        bodies.map(|body| std::str::from_utf8(body).unwrap()).collect()
    }
}

fn ack(id: &str) -> Option<Result<Ack, Error>> {
    Some(Ok(Ack { id: id.to_owned(), durability: Durability::Disk }))
}

#[test]
fn what_is_ready_becomes_one_batch_and_each_ticket_gets_its_result() {
    let mut bench = Bench::new(10);
    let (a, b, c) = (bench.send("a"), bench.send("b"), bench.send("c"));
    let batch = bench.batch().unwrap();
    assert_eq!((batch.sequence, batch.queue.as_str()), (1, "q"));
    assert_eq!(batch.identity.as_ref().unwrap().sequence, 1);
    assert_eq!(Bench::bodies(&batch), ["a", "b", "c"]);
    let d = bench.send("d");
    let batch = bench.batch().unwrap();
    assert_eq!((batch.sequence, batch.queue.as_str()), (2, ""));
    assert_eq!(batch.identity.as_ref().unwrap().sequence, 4);
    assert_eq!(bench.batch(), None, "nothing is ready");
    assert_eq!(bench.result(a), None);
    bench.answer(1, &["1", "", "3"], &[1]).unwrap();
    assert_eq!(bench.result(a), ack("1"));
    assert_eq!(bench.result(b), Some(Err(Error::Full("full".into()))));
    assert_eq!(bench.result(c), ack("3"));
    assert_eq!(bench.result(d), None);
}

#[test]
fn a_new_stream_gets_everything_unresolved_in_order_with_the_same_identities() {
    let mut bench = Bench::new(10);
    let slots = ["a", "b", "c"].map(|body| bench.send(body));
    bench.batch().unwrap();
    let d = bench.send("d");
    bench.batch().unwrap();
    bench.answer(1, &["1", "2", "3"], &[]).unwrap();
    let e = bench.send("e");
    let old = bench.epoch;
    bench.epoch = bench.state.begin_stream(&mut bench.wake);
    let ended = bench.state.poll_batch(old, &noop_waker());
    assert!(matches!(ended, Poll::Ready(None)), "the old stream ends");
    let batch = bench.batch().unwrap();
    assert_eq!(Bench::bodies(&batch), ["d", "e"]);
    assert_eq!(batch.identity.as_ref().unwrap().sequence, 4);
    assert_eq!((batch.sequence, batch.queue.as_str()), (1, "q"), "a stream begins with its queue");
    bench.answer(1, &["4", "5"], &[]).unwrap();
    assert_eq!((bench.result(d), bench.result(e)), (ack("4"), ack("5")));
    assert_eq!(slots.map(|slot| bench.result(slot)), [ack("1"), ack("2"), ack("3")]);
}

#[test]
fn an_answer_that_does_not_fit_changes_nothing() {
    let mut bench = Bench::new(10);
    let a = bench.send("a");
    bench.batch().unwrap();
    assert!(bench.answer(2, &["1"], &[]).is_err(), "not the oldest batch");
    assert!(bench.answer(1, &["1", "2"], &[]).is_err(), "more results than messages");
    assert_eq!(bench.result(a), None);
    bench.answer(1, &["1"], &[]).unwrap();
    assert!(bench.answer(1, &["1"], &[]).is_err(), "answered already");
}

#[test]
fn room_is_bounded_in_messages_and_given_in_order_of_arrival() {
    let mut bench = Bench::new(2);
    let (a, _b) = (bench.send("a"), bench.send("b"));
    let (mut first, mut second) = (None, None);
    assert!(bench.submit("c", &mut first).is_pending());
    assert!(bench.submit("d", &mut second).is_pending());
    bench.batch().unwrap();
    bench.answer(1, &["1", "2"], &[]).unwrap();
    assert!(bench.submit("d", &mut second).is_pending(), "not its turn");
    assert!(bench.submit("x", &mut None).is_pending(), "a newcomer waits behind the others");
    assert!(bench.submit("c", &mut first).is_ready());
    assert!(bench.submit("d", &mut second).is_ready());
    assert_eq!(bench.result(a), ack("1"));
}

#[test]
fn a_submitter_that_gives_up_blocks_nobody() {
    let mut bench = Bench::new(1);
    bench.send("a");
    let (mut first, mut second) = (None, None);
    assert!(bench.submit("b", &mut first).is_pending());
    assert!(bench.submit("c", &mut second).is_pending());
    bench.batch().unwrap();
    bench.answer(1, &["1"], &[]).unwrap();
    bench.state.forget_waiter(first.unwrap(), &mut bench.wake);
    assert!(bench.submit("c", &mut second).is_ready());
}

#[test]
fn room_is_bounded_in_bytes_but_one_message_always_fits() {
    let mut bench = Bench::new(10);
    let large = "x".repeat(101).leak();
    bench.send(large);
    assert!(bench.submit("a", &mut None).is_pending());
    bench.batch().unwrap();
    bench.answer(1, &["1"], &[]).unwrap();
    let mut waiter = Some(0);
    assert!(bench.submit("a", &mut waiter).is_ready());
}

#[test]
fn past_its_deadline_the_sent_is_unknown_and_the_unsent_was_not_done() {
    let mut bench = Bench::new(10);
    let a = bench.send("a");
    bench.batch().unwrap();
    let b = bench.send("b");
    let not_sent = Error::Retry("down".into());
    let (now, later) = (bench.now, bench.now + Duration::from_secs(5));
    assert!(!bench.state.expire(now, &not_sent, "lost", &mut bench.wake));
    assert!(bench.state.expire(later, &not_sent, "lost", &mut bench.wake));
    assert_eq!(bench.result(a), Some(Err(Error::Unknown("lost".into()))));
    assert_eq!(bench.result(b), Some(Err(not_sent)));
    assert!(bench.state.is_empty());
    assert_eq!(bench.batch(), None, "the stream that carried them is over");
}

#[test]
fn a_dropped_ticket_leaves_its_message_and_frees_its_slot_once() {
    let mut bench = Bench::new(10);
    let (a, b) = (bench.send("a"), bench.send("b"));
    bench.state.abandon(a);
    assert_eq!(Bench::bodies(&bench.batch().unwrap()), ["a", "b"]);
    bench.answer(1, &["1", "2"], &[]).unwrap();
    bench.state.abandon(b);
    let slots = [bench.send("c"), bench.send("d"), bench.send("e")];
    let mut distinct = slots.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), 3, "no slot is given out twice: {slots:?}");
}

#[test]
fn a_closed_sender_sends_what_it_has_and_ends() {
    let mut bench = Bench::new(10);
    bench.send("a");
    bench.state.close(&mut bench.wake);
    assert_eq!(Bench::bodies(&bench.batch().unwrap()), ["a"]);
    let end = bench.state.poll_batch(bench.epoch, &noop_waker());
    assert!(matches!(end, Poll::Ready(None)));
}

#[test]
fn a_refused_stream_refuses_everything_but_what_an_earlier_one_may_have_done() {
    let mut bench = Bench::new(10);
    let a = bench.send("a");
    bench.batch().unwrap();
    bench.epoch = bench.state.begin_stream(&mut bench.wake);
    let b = bench.send("b");
    bench.batch().unwrap();
    let denied = Error::Denied("no".into());
    bench.state.refuse_all(&denied, &mut bench.wake);
    assert!(matches!(bench.result(a), Some(Err(Error::Unknown(_)))));
    assert_eq!(bench.result(b), Some(Err(denied)));
    assert!(bench.state.is_empty());
}

#[test]
fn an_undecided_message_and_what_follows_it_are_sent_again() {
    let mut bench = Bench::new(10);
    let (a, b, c) = (bench.send("a"), bench.send("b"), bench.send("c"));
    bench.batch().unwrap();
    let acks = SendAcks {
        sequence: 1,
        durability: Durability::Disk.into(),
        ids: vec!["1".into(), String::new(), "3".into()],
        errors: vec![item(1, Kind::Unknown, "the sync failed")],
    };
    assert_eq!(bench.state.answer(acks, &mut bench.wake), Err("the sync failed".to_owned()));
    assert_eq!(bench.result(a), ack("1"));
    assert_eq!((bench.result(b), bench.result(c)), (None, None));
    bench.epoch = bench.state.begin_stream(&mut bench.wake);
    let batch = bench.batch().unwrap();
    assert_eq!(Bench::bodies(&batch), ["b", "c"]);
    assert_eq!(batch.identity.unwrap().sequence, 2);
}

/// After a day of silence a message is of another producer, unless there is one that may have to be
/// sent again.
#[test]
fn an_idle_sender_takes_another_producer() {
    let mut bench = Bench::new(10);
    let long_ago = ProducerId::at(std::time::SystemTime::UNIX_EPOCH);
    let old = long_ago.bytes().clone();
    bench.state.producer = long_ago;
    bench.send("a");
    let id = |batch: SendBatch| batch.identity.unwrap().producer_id;
    let new = id(bench.batch().unwrap());
    assert_ne!(new, old);
    bench.state.producer = ProducerId::at(std::time::SystemTime::UNIX_EPOCH);
    let kept = bench.state.producer.bytes().clone();
    bench.send("b");
    assert_eq!(id(bench.batch().unwrap()), kept, "the first is unresolved");
    bench.answer(1, &["x"], &[]).unwrap();
    bench.answer(2, &["y"], &[]).unwrap();
    bench.send("c");
    assert_ne!(id(bench.batch().unwrap()), kept);
}
