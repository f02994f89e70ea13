//! The named tests of requirement B10, at the level of the services.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use rekindle_database::{Database, DurabilityMode, Options as DatabaseOptions};
use rekindle_env::{Env, ManualClock, SeededRandom, SimulatedDisk, Survival};
use rekindle_services::keys::lease_expiry::{LeaseExpiry, encode, parse_lease_expiry_key};
use rekindle_services::queues::{NewMessage, QueueSettings, ReceiveRequest};
use rekindle_services::{Kind, Options, Services};

use crate::store::{Store, bodies, disk, engine};

/// proves: B1, B3, B7, B10
#[test]
fn recovery_preserves_messages_after_restart() {
    let store = Store::new();
    store.create("q");
    for body in ["one", "two", "three", "four", "five"] {
        store.send("q", body);
    }
    let store = store.crash(1_000);
    assert_eq!(store.figure("messages"), 5);
    assert_eq!(bodies(&store.receive("q", 10)), ["one", "two", "three", "four", "five"]);
}

/// proves: B2, B10
#[test]
fn recovery_preserves_queue_definitions() {
    let store = Store::new();
    let settings = |visibility_ms, max_attempts| QueueSettings {
        visibility_ms,
        max_attempts,
        dead_letter: None,
    };
    store.queues().create("a", &settings(1_000, 0), None).unwrap();
    store.queues().create("b", &settings(2_000, 3), None).unwrap();
    store.queues().create("c", &settings(3_000, 0), None).unwrap();
    let before = store.queues().list("", 0).unwrap();
    let store = store.crash(0);
    assert_eq!(store.queues().list("", 0).unwrap(), before);
    let names: Vec<_> = before.0.iter().map(|queue| queue.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "b.dead", "c"]);
    assert_eq!(store.queues().show("b").unwrap().settings.max_attempts, 3);
}

/// The lease ran out while the server was down: the message is ready, its attempt was counted when
/// the lease was granted.
///
/// produces: queue-3
/// proves: B5, B10
#[test]
fn recovery_reclaims_expired_leases() {
    let store = Store::new();
    store.create("q");
    store.send("q", "work");
    let lease = store.receive("q", 1).remove(0);
    let store = store.crash(30_001);
    assert_eq!((store.figure("leases_reclaimed"), store.figure("leases_kept")), (1, 0));
    assert!(store.actions().contains(&"queue-3"));
    assert!(store.rows("leases").is_empty() && store.rows("lease_expiry").is_empty());
    let again = store.receive("q", 1).remove(0);
    assert_eq!((again.attempt, again.id), (2, lease.id));
    assert_eq!(store.ack(lease.token).unwrap_err().kind(), Kind::Fenced);
    store.ack(again.token).unwrap();
}

/// produces: queue-2
/// proves: B4, B10
#[test]
fn recovery_preserves_non_expired_leases() {
    let store = Store::new();
    store.create("q");
    store.send("q", "work");
    let lease = store.receive("q", 1).remove(0);
    let store = store.crash(29_000);
    assert_eq!((store.figure("leases_reclaimed"), store.figure("leases_kept")), (0, 1));
    assert!(store.actions().contains(&"queue-2"));
    assert!(store.receive("q", 1).is_empty(), "not redelivered early");
    let stats = store.queues().show("q").unwrap().stats;
    assert_eq!(
        (stats.leased, stats.next_expiry_ms),
        (1, Some(1_000)),
        "the deadline is the old one"
    );
    store.ack(lease.token).unwrap();
    assert!(store.rows("messages").is_empty() && store.rows("lease_expiry").is_empty());
}

/// proves: B7, B10
#[test]
fn recovery_does_not_duplicate_reclaimed_messages() {
    let store = Store::new();
    store.create("q");
    for body in ["a", "b", "c"] {
        store.send("q", body);
    }
    store.receive("q", 2);
    let first = store.crash(60_000);
    assert_eq!(first.figure("leases_reclaimed"), 2);
    let hash = first.database.state_hash();
    // Recovering what was recovered finds nothing to do and changes nothing.
    let second = first.crash(0);
    assert_eq!(second.figure("leases_reclaimed"), 0);
    assert_eq!(second.database.state_hash(), hash);
    assert_eq!(bodies(&second.receive("q", 10)), ["a", "b", "c"]);
    assert!(second.receive("q", 10).is_empty());
}

/// A finding, not a crash and not silence; the row stays, everything else goes on.
///
/// produces: queue-11
/// proves: B7, B10
#[test]
fn recovery_skips_corrupt_lease_expiry_key() {
    let store = Store::new();
    store.create("q");
    store.send("q", "work");
    store.receive("q", 1);
    let good = store.rows("lease_expiry").remove(0).0;
    store.put("lease_expiry", &good[..27], b"");
    store.put("lease_expiry", b"not a key", b"");
    let store = store.crash(60_000);
    assert_eq!(store.findings(), ["queue-11", "queue-11"]);
    assert_eq!(store.figure("leases_reclaimed"), 1);
    assert_eq!(store.rows("lease_expiry").len(), 2, "left to a person");
    assert_eq!(bodies(&store.receive("q", 1)), ["work"]);
}

/// The index by time is what its key says it is.
///
/// proves: B1, B5
#[test]
fn the_row_of_a_lease_begins_with_its_deadline() {
    let store = Store::new();
    store.create("q");
    store.send("q", "work");
    let lease = store.receive("q", 1).remove(0);
    let key = store.rows("lease_expiry").remove(0).0;
    let expiry: LeaseExpiry = parse_lease_expiry_key(&key).unwrap();
    assert_eq!((expiry.deadline_ms, expiry.subject), (lease.deadline_ms, lease.id));
    assert_eq!(encode(expiry).as_slice(), key);
}

/// A store in which nothing is applied or synced before somebody asks for it.
fn relaxed(disk: &SimulatedDisk, clock: &Arc<ManualClock>) -> Services {
    let env = Env {
        disk: Arc::new(disk.clone()),
        clock: Arc::clone(clock) as Arc<dyn rekindle_env::Clock>,
        random: Arc::new(SeededRandom::new(3)),
    };
    let options = DatabaseOptions {
        engine: engine(disk),
        durability: DurabilityMode::Relaxed,
        background: false,
        segment_bytes: 1024 * 1024,
        ..DatabaseOptions::default()
    };
    let database = Database::open_with("store", options, env).unwrap();
    Services::lead(&database, Options { background: false, ..Options::default() }).unwrap().0
}

/// What was acknowledged from memory is there for the next call: a queue for its first receiver, a
/// message for who asks without waiting, and for who waits.
///
/// proves: B2
#[test]
fn what_is_acknowledged_from_memory_is_received() {
    let services = relaxed(&disk(1), &Arc::new(ManualClock::new(5_000)));
    let queues = services.queues();
    let request = ReceiveRequest { queue: "q", max: 9, visibility_ms: None, owner: "" };
    let message = NewMessage { body: b"one", ..NewMessage::default() };
    queues.create("q", &QueueSettings::default(), None).unwrap();
    assert!(queues.receive(&request).unwrap().value.is_empty());
    queues.send("q", &message, None).unwrap();
    assert_eq!(queues.receive(&request).unwrap().value.len(), 1);
    queues.create("other", &QueueSettings::default(), None).unwrap();
    queues.send("q", &message, None).unwrap();
    now(queues.settled()).unwrap();
    assert_eq!(queues.list("", 0).unwrap().0.len(), 2);
    assert_eq!(queues.show("q").unwrap().stats.ready, 1);
    queues.send("q", &message, None).unwrap();
    let received = now(queues.receive_wait(&request, std::future::ready(())));
    assert_eq!(received.unwrap().value.len(), 2);
}

/// Polls what must be ready at once: without threads the journal is led by who asks.
fn now<T>(future: impl Future<Output = T>) -> T {
    let mut context = Context::from_waker(Waker::noop());
    let mut future = pin!(future);
    for _ in 0..2 {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
    }
    panic!("it waits for something");
}

/// proves: B8, B10
#[test]
fn shutdown_flushes_wal() {
    let disk = disk(1);
    let clock = Arc::new(ManualClock::new(5_000));
    let services = relaxed(&disk, &clock);
    services.queues().create("q", &QueueSettings::default(), None).unwrap();
    for _ in 0..5 {
        services.queues().send("q", &NewMessage::default(), None).unwrap();
    }
    services.shutdown().unwrap();
    let store = Store::on(disk.crash(Survival::None, 1), clock);
    assert_eq!(store.receive("q", 10).len(), 5);
}
