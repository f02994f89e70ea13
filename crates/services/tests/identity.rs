//! Requests with an identity: a retry has one effect and the same answer.

use rekindle_services::kv::{Expect, Scope};
use rekindle_services::limits::{PRODUCER_IDLE_MS_MAX, PRODUCER_RESULT_MS_MIN};
use rekindle_services::queues::{NewMessage, QueueSettings};
use rekindle_services::{Identity, Kind};

use crate::store::Store;

fn id(sequence: u64) -> Option<Identity> {
    Some(Identity { producer: [9; 16], sequence })
}

/// fault: T6
#[test]
fn a_retried_send_has_one_effect_also_after_a_crash() {
    let store = Store::new();
    store.create("q");
    let message = NewMessage { body: b"once", ..NewMessage::default() };
    let first = store.queues().send("q", &message, id(5)).unwrap();
    let again = store.queues().send("q", &message, id(5)).unwrap();
    assert_eq!((first.value, first.version), (again.value, again.version));
    let store = store.crash(1_000);
    let later = store.queues().send("q", &message, id(5)).unwrap();
    assert_eq!((first.value, first.version), (later.value, later.version));
    assert_eq!(store.ready("q"), ["once"]);
}

/// The retry comes while the first is still on its way: it waits for it and answers the same.
///
/// fault: T6
#[test]
fn a_retry_in_flight_waits_for_the_first() {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    let store = Store::new();
    store.create("q");
    let message = NewMessage { body: b"once", ..NewMessage::default() };
    let submit = || {
        let submitted = pin!(store.queues().submit_send("q", &message, id(5)));
        match submitted.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(ticket) => ticket.unwrap(),
            Poll::Pending => panic!("there is room"),
        }
    };
    let (first, second) = (submit(), submit());
    let second = second.wait().unwrap();
    let first = first.wait().unwrap();
    assert_eq!((first.value, first.version), (second.value, second.version));
    assert_eq!(store.ready("q"), ["once"]);
}

#[test]
fn the_same_identity_for_something_else_is_refused() {
    let store = Store::new();
    store.create("q");
    let message = NewMessage { body: b"one", ..NewMessage::default() };
    store.queues().send("q", &message, id(5)).unwrap();
    let other = NewMessage { body: b"other", ..NewMessage::default() };
    assert_eq!(store.queues().send("q", &other, id(5)).unwrap_err().kind(), Kind::Invalid);
    let error = store.queues().purge("q", id(5)).unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
}

#[test]
fn a_batch_takes_a_sequence_for_each_message() {
    let store = Store::new();
    store.create("q");
    let bodies: Vec<String> = (0..40).map(|number| format!("{number}")).collect();
    let batch: Vec<_> = bodies
        .iter()
        .map(|body| NewMessage { body: body.as_bytes(), ..NewMessage::default() })
        .collect();
    let first = store.queues().send_all("q", &batch[..30], id(100));
    // The retry of a client that does not know which ones arrived.
    let second = store.queues().send_all("q", &batch, id(100));
    for (first, second) in first.iter().zip(&second) {
        assert_eq!(first.as_ref().unwrap().value, second.as_ref().unwrap().value);
    }
    assert_eq!(store.ready("q"), bodies);
}

#[test]
fn repeated_acks_and_creates_are_answered_as_before() {
    let store = Store::new();
    let settings = QueueSettings::default();
    assert!(store.queues().create("q", &settings, id(1)).unwrap().value.new);
    assert!(store.queues().create("q", &settings, id(1)).unwrap().value.new);
    for body in ["a", "b"] {
        store.send("q", body);
    }
    let tokens: Vec<_> = store.receive("q", 2).iter().map(|lease| lease.token).collect();
    let first = store.queues().ack(None, &tokens, id(10)).unwrap().value;
    assert!(first.iter().all(Result::is_ok));
    let store = store.crash(0);
    assert_eq!(store.queues().ack(None, &tokens, id(10)).unwrap().value, first);
    let fresh = store.queues().ack(None, &tokens, id(20)).unwrap().value;
    assert!(fresh.iter().all(|one| one.as_ref().unwrap_err().kind() == Kind::Fenced));
}

#[test]
fn a_repeated_put_keeps_the_version_of_its_value() {
    let store = Store::new();
    let (kv, scope) = (store.services.kv(), Scope::default());
    let first = kv.put(&scope, b"k", b"v", Expect::Absent, id(1)).unwrap();
    kv.put(&scope, b"other", b"v", Expect::Any, id(2)).unwrap();
    let again = kv.put(&scope, b"k", b"v", Expect::Absent, id(1)).unwrap();
    assert_eq!(first.version, again.version);
    assert_eq!(kv.get(&scope, b"k", None).unwrap().unwrap().version, first.version);
}

/// A sequence older than what is kept is unknown, never run.
#[test]
fn what_is_too_old_is_unknown_and_not_run() {
    let store = Store::new();
    store.create("q");
    let message = NewMessage { body: b"x", ..NewMessage::default() };
    let send = |store: &Store, sequence| store.queues().send("q", &message, id(sequence));
    for sequence in 0..1_100 {
        send(&store, sequence).unwrap();
    }
    store.clock.advance_ms(PRODUCER_RESULT_MS_MIN);
    let messages = || store.queues().show("q").unwrap().stats.ready;
    let before = messages();
    send(&store, 0).unwrap();
    assert_eq!(messages(), before, "a day old, and kept until something new comes");
    for sequence in 1_100..1_200 {
        send(&store, sequence).unwrap();
    }
    assert_eq!(messages(), before + 100);
    assert_eq!(send(&store, 0).unwrap_err().kind(), Kind::Unknown);
    assert_eq!(send(&store, 70).unwrap_err().kind(), Kind::Unknown);
    send(&store, 1_199 - 1_023).unwrap();
    let store = store.crash(0);
    assert_eq!(send(&store, 0).unwrap_err().kind(), Kind::Unknown, "also after a crash");
    send(&store, 1_199 - 1_023).unwrap();
    assert_eq!(store.queues().show("q").unwrap().stats.ready, before + 100);
}

#[test]
fn a_producer_that_fell_silent_is_forgotten() {
    let store = Store::new();
    store.create("q");
    let message = NewMessage::default();
    for sequence in 0..20 {
        store.queues().send("q", &message, id(sequence)).unwrap();
    }
    store.pass(PRODUCER_IDLE_MS_MAX - 1);
    assert_eq!(store.rows("producers").len(), 3);
    store.pass(1);
    assert!(store.rows("producers").is_empty());
}
