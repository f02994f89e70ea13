//! Requests with an identity: a retry has one effect and the same answer.

use std::sync::Arc;

use rekindle_env::{ManualClock, Survival};
use rekindle_services::kv::{Expect, Scope};
use rekindle_services::limits::{PRODUCER_IDLE_MS_MAX, PRODUCER_RESULT_MS_MIN};
use rekindle_services::queues::{NewMessage, QueueSettings};
use rekindle_services::{Identity, Kind};

use crate::store::{START_MS, Store, disk};

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

/// The answer was lost, the queue is gone: the retry is told what came of it all the same; who asks
/// for the first time is told that there is no queue.
///
/// fault: T6
#[test]
fn a_repeated_ack_is_answered_when_its_queue_is_gone() {
    let store = Store::new();
    store.create("q");
    store.send("q", "one");
    let token = store.receive("q", 1).remove(0).token;
    let first = store.queues().ack(Some("q"), &[token], id(7)).unwrap();
    store.queues().delete("q", None).unwrap();
    let again = store.queues().ack(Some("q"), &[token], id(7)).unwrap();
    assert_eq!(first.value, again.value);
    let late = store.queues().ack(Some("q"), &[token], id(8)).unwrap_err();
    assert_eq!(late.kind(), Kind::NotFound, "{late}");
    let late = store.queues().ack(Some("q"), &[token], None).unwrap_err();
    assert_eq!(late.kind(), Kind::NotFound, "{late}");
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

/// What is older than a day goes also when its producer says nothing more.
#[test]
fn the_results_of_a_quiet_producer_are_trimmed() {
    let store = Store::new();
    store.create("q");
    let message = NewMessage { body: b"x", ..NewMessage::default() };
    let send = |store: &Store, sequence| store.queues().send("q", &message, id(sequence));
    for sequence in 0..1_200 {
        send(&store, sequence).unwrap();
    }
    store.pass(PRODUCER_RESULT_MS_MIN - 1);
    assert_eq!(store.rows("producers").len(), 150);
    assert_eq!(store.services.producers().results, 1_200);
    store.pass(1);
    assert_eq!(store.rows("producers").len(), 1 + 128, "the floor, and the last 1,024");
    let figures = store.services.producers();
    assert_eq!((figures.producers, figures.results), (1, 1_024));
    let store = store.crash(0);
    let again = store.services.producers();
    assert_eq!(again, figures, "recovery builds the same table");
    assert_eq!(send(&store, 175).unwrap_err().kind(), Kind::Unknown);
    send(&store, 176).unwrap();
    assert_eq!(store.queues().show("q").unwrap().stats.ready, 1_200, "nothing ran again");
}

/// A producer id of version 7, made at this time.
fn made_at(ms: u64) -> Identity {
    let mut producer = [0x5A; 16];
    producer[..6].copy_from_slice(&ms.to_be_bytes()[2..]);
    (producer[6], producer[8]) = (0x7A, 0x9A);
    Identity { producer, sequence: 1 }
}

/// fault: T6
#[test]
fn the_retry_of_a_forgotten_producer_is_unknown_and_not_run() {
    let store = Store::new();
    store.create("q");
    let message = NewMessage { body: b"x", ..NewMessage::default() };
    let send = |store: &Store, identity: Identity| {
        let sent = store.queues().send("q", &message, Some(identity));
        sent.map(|_| store.queues().show("q").unwrap().stats.ready).map_err(|error| error.kind())
    };
    let (early, hour, year) = (START_MS, START_MS + 3_600_000, START_MS + 365 * 86_400_000);
    for (count, ms) in [early, hour, year].into_iter().enumerate() {
        assert_eq!(send(&store, made_at(ms)), Ok(1 + count as u64), "also by clocks ahead");
    }
    assert_eq!(send(&store, made_at(early - 1)), Ok(4), "nothing was forgotten: by one behind");
    store.pass(PRODUCER_IDLE_MS_MAX);
    assert_eq!(store.services.producers().producers, 0);
    assert_eq!(store.rows("producers").len(), 1, "the era");
    for _ in 0..2 {
        for ms in [early - 1, early, hour] {
            assert_eq!(send(&store, made_at(ms)), Err(Kind::Unknown));
            let next = Identity { sequence: 900, ..made_at(ms) };
            assert_eq!(send(&store, next), Err(Kind::Unknown), "nor anything else of it");
        }
    }
    let store = store.crash(1_000);
    assert_eq!(store.findings(), [""; 0]);
    assert_eq!(send(&store, made_at(early)), Err(Kind::Unknown), "also after a crash");
    assert_eq!(send(&store, made_at(hour + 1)), Ok(5), "an id of the time after is new");
    assert_eq!(send(&store, made_at(hour + 1)), Ok(5), "and is remembered");
    assert_eq!(send(&store, Identity { sequence: 70, ..made_at(hour + 1) }), Ok(6));
    // What the documents say of ids whose time lies days ahead, and of those without a time.
    assert_eq!(send(&store, made_at(year)), Ok(7));
}

/// A producer that goes on speaking is remembered, whatever the era.
#[test]
fn the_era_does_not_concern_who_is_remembered() {
    let store = Store::new();
    store.create("q");
    let message = NewMessage::default();
    let send = |identity| store.queues().send("q", &message, Some(identity)).map(drop);
    let old = made_at(START_MS - 5);
    send(made_at(START_MS)).unwrap();
    send(old).unwrap();
    store.pass(PRODUCER_IDLE_MS_MAX / 2);
    send(Identity { sequence: 2, ..old }).unwrap();
    store.pass(PRODUCER_IDLE_MS_MAX / 2);
    assert_eq!(send(made_at(START_MS)).unwrap_err().kind(), Kind::Unknown);
    send(Identity { sequence: 3, ..old }).unwrap();
    send(Identity { sequence: 300, ..old }).unwrap();
    assert_eq!(store.queues().show("q").unwrap().stats.ready, 5);
}

/// A token has its effect once with or without a producer: acknowledging is never held up.
#[test]
fn a_forgotten_producer_can_acknowledge() {
    let store = Store::new();
    store.create("q");
    let message = NewMessage::default();
    store.queues().send("q", &message, Some(made_at(START_MS))).unwrap();
    store.pass(PRODUCER_IDLE_MS_MAX);
    let token = store.receive("q", 1).remove(0).token;
    let ack = || store.queues().ack(None, &[token], Some(made_at(START_MS))).unwrap().value;
    ack().remove(0).unwrap();
    assert_eq!(ack().remove(0).unwrap_err().kind(), Kind::Fenced);
}

/// The server once started with its clock ten days ahead: log time stays there. Ids that clients
/// with right clocks make afterwards are not taken for forgotten ones.
///
/// fault: T6
#[test]
fn log_time_that_is_ahead_of_everybody_refuses_no_new_producer() {
    const DAY_MS: u64 = 24 * 3_600_000;
    let mut right_ms = START_MS + 40 * DAY_MS;
    let clock = ManualClock::new(right_ms + 10 * DAY_MS);
    let store = Store::on(disk(1), Arc::new(clock));
    store.create("q");
    let message = NewMessage { body: b"x", ..NewMessage::default() };
    let send = |store: &Store, id: Identity| store.queues().send("q", &message, Some(id));
    let old = made_at(right_ms);
    send(&store, old).unwrap();
    let store =
        Store::on(store.disk.crash(Survival::None, 1), Arc::new(ManualClock::new(right_ms)));
    assert!(store.database.log_time_ms() >= right_ms + 9 * DAY_MS, "log time goes on from there");
    for _ in 0..20 {
        right_ms += DAY_MS;
        store.pass(DAY_MS);
        send(&store, made_at(right_ms)).unwrap();
    }
    assert!(store.services.producers().producers < 20, "silent ones were forgotten");
    assert_eq!(send(&store, old).unwrap_err().kind(), Kind::Unknown);
}

/// A producer with a row that cannot be read stays, however long it is silent: the row may hold the
/// result that keeps a retry from a second effect.
#[test]
fn a_producer_that_cannot_be_read_is_not_forgotten() {
    let store = Store::new();
    store.create("q");
    let message = NewMessage { body: b"x", ..NewMessage::default() };
    store.queues().send("q", &message, id(5)).unwrap();
    let (key, _) = store.rows("producers").remove(0);
    store.put("producers", &key, b"damaged");
    let store = store.crash(0);
    assert_eq!(store.findings(), ["producer-2"]);
    for _ in 0..3 {
        store.pass(PRODUCER_IDLE_MS_MAX);
    }
    assert_eq!(store.rows("producers").len(), 1, "it is still there");
    assert_eq!(store.queues().send("q", &message, id(5)).unwrap_err().kind(), Kind::Corrupt);
    assert_eq!(store.queues().show("q").unwrap().stats.ready, 1, "and nothing ran again");
}

/// Items of a request are counted up to the largest number and not beyond it, where several would
/// be taken for one.
#[test]
fn no_two_items_share_the_last_sequence() {
    let store = Store::new();
    let job = rekindle_services::jobs::NewJob::default();
    let jobs = [("t", job), ("t", job), ("t", job)];
    let identity = Identity { producer: [9; 16], sequence: u64::MAX - 1 };
    let submitted = store.services.jobs().submit_all(&jobs, Some(identity));
    let kinds: Vec<_> =
        submitted.into_iter().map(|one| one.map(|_| ()).map_err(|it| it.kind())).collect();
    assert_eq!(kinds, [Ok(()), Err(Kind::Invalid), Err(Kind::Invalid)]);
}
