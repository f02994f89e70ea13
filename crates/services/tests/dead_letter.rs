//! Attempts that are used up: the dead-letter queue.

use rekindle_services::queues::{Nack, NewMessage, QueueSettings, Settled};

use crate::store::{Store, bodies};

fn limited(max_attempts: u32) -> Store {
    let store = Store::new();
    let settings = QueueSettings { max_attempts, ..QueueSettings::default() };
    store.queues().create("q", &settings, None).unwrap();
    store
}

fn nack(store: &Store, release: bool) -> Settled {
    let lease = store.receive("q", 1).remove(0);
    let nack = Nack { delay_ms: 0, reason: "exit 1", release };
    store.queues().nack(None, &[lease.token], &nack, None).unwrap().value.remove(0).unwrap()
}

/// fault: T7
#[test]
fn a_message_that_fails_too_often_is_set_aside_with_its_story() {
    let store = limited(2);
    let headers = [("trace", "x")];
    let message = NewMessage { headers: &headers, fairness_key: "k", ..NewMessage::default() };
    store.send_with("q", "poison", &message);
    assert_eq!(nack(&store, false), Settled::Returned);
    assert_eq!(nack(&store, true), Settled::Returned, "a release is not charged");
    assert_eq!(nack(&store, false), Settled::DeadLettered);
    assert!(store.receive("q", 1).is_empty());
    for keyspace in ["leases", "lease_expiry", "attempts"] {
        assert!(store.rows(keyspace).is_empty(), "{keyspace}");
    }

    let store = store.crash(0);
    let dead = store.receive("q.dead", 1).remove(0);
    assert_eq!((dead.body(), dead.attempt), (&b"poison"[..], 1));
    assert_eq!(dead.fairness_key, "k");
    let header = |name: &str| {
        let found = dead.headers.iter().find(|(other, _)| other == name);
        found.map_or("", |(_, value)| value.as_str())
    };
    assert_eq!(header("trace"), "x");
    assert_eq!(header("rekindle-dead-queue"), "q");
    assert_eq!(header("rekindle-dead-attempts"), "3");
    assert_eq!(header("rekindle-dead-cause"), "failed");
    assert_eq!(header("rekindle-dead-reason"), "exit 1");
    assert!(header("rekindle-dead-id").starts_with('m'));
}

/// The last lease ran out: while running, and while down.
///
/// produces: queue-3
/// fault: T7
#[test]
fn a_lease_that_ran_out_uses_attempts_up_too() {
    let store = limited(1);
    store.send("q", "a");
    store.receive("q", 1);
    let ticked = store.pass(30_000);
    assert_eq!((ticked.dead_lettered, ticked.reclaimed), (1, 0));
    store.send("q", "b");
    store.receive("q", 1);
    let store = store.crash(30_000);
    assert_eq!((store.figure("dead_lettered"), store.figure("leases_reclaimed")), (1, 0));
    assert!(store.receive("q", 1).is_empty());
    assert_eq!(bodies(&store.receive("q.dead", 9)), ["a", "b"]);
}

#[test]
fn a_named_dead_letter_queue_is_used_and_its_token_of_before_is_fenced() {
    let store = Store::new();
    let settings = QueueSettings {
        max_attempts: 1,
        dead_letter: Some("graveyard".into()),
        ..QueueSettings::default()
    };
    store.queues().create("q", &settings, None).unwrap();
    store.send("q", "a");
    let lease = store.receive("q", 1).remove(0);
    store.pass(30_000);
    assert!(store.ack(lease.token).is_err(), "finished here, it lives elsewhere");
    assert_eq!(bodies(&store.receive("graveyard", 1)), ["a"]);
}

#[test]
fn no_limit_means_no_limit() {
    let store = Store::new();
    store.create("q");
    store.send("q", "a");
    for attempt in 1..=30 {
        let lease = store.receive("q", 1).remove(0);
        assert_eq!(lease.attempt, attempt);
        store.pass(30_000);
    }
    let (queues, _) = store.queues().list("", 0).unwrap();
    assert_eq!(queues.len(), 1, "and no dead-letter queue");
}
