//! Crashes where they hurt: inside of recovery, and a journal that fails while work is in flight.

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use rekindle_env::{Fault, ManualClock, SimulatedDisk, Survival};
use rekindle_services::Kind;
use rekindle_services::queues::{NewMessage, QueueSettings, ReceiveRequest};

use crate::store::{START_MS, Store};

const MESSAGES: usize = 6;

/// Six messages of which four have leases that run out, two of those for the last time.
fn prepared() -> SimulatedDisk {
    let store = Store::new();
    let limited = QueueSettings { max_attempts: 1, ..QueueSettings::default() };
    store.queues().create("limited", &limited, None).unwrap();
    store.create("q");
    for queue in ["q", "limited"] {
        for body in ["a", "b", "c"] {
            store.send(queue, body);
        }
        assert_eq!(store.receive(queue, 2).len(), 2);
    }
    store.disk.crash(Survival::None, 1)
}

fn later() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(START_MS + 60_000))
}

/// Recovery dies at each of its disk operations, under each survival model, and is run again:
/// nothing is lost, nothing is there twice, and the end is always the same.
///
/// proves: B5, B7
/// fault: S20
#[test]
fn recovery_survives_its_own_crash_at_every_operation() {
    let prepared = prepared();
    let whole = Store::on(prepared.crash(Survival::None, 1), later());
    let operations = whole.disk.operations();
    assert!(operations > 10, "{operations} operations are no recovery");
    for stop in 0..operations {
        for survival in Survival::EVERY {
            let disk = prepared.crash(Survival::None, 1);
            disk.stop_after(stop);
            let died = Store::try_on(disk.clone(), later());
            assert!(died.is_err() || disk.is_off(), "it was not stopped");
            drop(died);
            let store = Store::on(disk.crash(survival, stop), later());
            let at = format!("stopped after {stop}, {survival:?}");
            assert!(store.findings().is_empty(), "{at}");
            let count = |queue| store.queues().show(queue).unwrap().stats;
            assert_eq!(count("q").ready, 3, "{at}");
            assert_eq!((count("limited").ready, count("limited.dead").ready), (1, 2), "{at}");
            assert_eq!(store.rows("messages").len(), MESSAGES, "{at}");
            assert!(store.rows("leases").is_empty(), "{at}");
            assert!(store.rows("lease_expiry").is_empty(), "{at}");
            let attempts: Vec<_> = store.receive("q", 9).iter().map(|one| one.attempt).collect();
            assert_eq!(attempts, [2, 2, 1], "{at}");
        }
    }
}

/// A sync fails: what was in flight is unknown, everything later is refused, and whoever waits is
/// told.
///
/// fault: S15
#[test]
fn a_failed_sync_ends_the_service() {
    let store = Store::new();
    store.create("q");
    store.send("q", "before");
    store.create("empty");
    let request = ReceiveRequest { queue: "empty", max: 1, visibility_ms: None, owner: "" };
    let queues = store.queues().clone();
    let mut waiting = pin!(queues.receive_wait(&request, pending()));
    let mut context = Context::from_waker(Waker::noop());
    assert!(waiting.as_mut().poll(&mut context).is_pending());

    store.disk.inject(Fault::failed_sync());
    let unknown = store.queues().send("q", &NewMessage::default(), None).unwrap_err();
    assert_eq!(unknown.kind(), Kind::Unknown);
    let refused = |error: rekindle_services::Error| assert_eq!(error.kind(), Kind::Poisoned);
    refused(store.queues().send("q", &NewMessage::default(), None).unwrap_err());
    refused(store.try_receive("q", 1).unwrap_err());
    refused(store.queues().show("q").unwrap_err());
    refused(store.queues().list("", 0).unwrap_err());
    match waiting.as_mut().poll(&mut context) {
        std::task::Poll::Ready(answer) => refused(answer.unwrap_err()),
        std::task::Poll::Pending => panic!("a waiting receiver was not told"),
    }
    store.services.tick().unwrap();
    let store = store.crash(0);
    assert_eq!(store.ready("q")[0], "before");
}
