//! A full store: what brings work is refused, what works it off goes on.

use std::sync::Arc;

use rekindle_env::{ManualClock, SimulatedDisk};
use rekindle_services::kv::{Expect, Scope};
use rekindle_services::queues::{Nack, NewMessage, QueueSettings, Token};
use rekindle_services::{Identity, Kind};

use crate::store::{START_MS, Store};

const STATE_BYTES: u64 = 1024 * 1024;

/// On the memory engine whatever is tested: a limit on an engine with files counts its files and
/// memtables, which get smaller only when they are merged.
fn small() -> Store {
    let clock = Arc::new(ManualClock::new(START_MS));
    Store::limited(SimulatedDisk::new(1), clock, STATE_BYTES).unwrap()
}

/// Why a message is refused, if it is.
fn refused(store: &Store, body: &[u8]) -> Option<Kind> {
    let message = NewMessage { body, ..NewMessage::default() };
    store.queues().send("q", &message, None).err().map(|error| error.kind())
}

/// Sends until no more is accepted.
fn fill(store: &Store) -> usize {
    let body = [7; 500];
    let sent = (0..10_000).take_while(|_| refused(store, &body).is_none()).count();
    assert_eq!(refused(store, &body), Some(Kind::Full));
    sent
}

/// All that brings work is refused.
fn refuses_growth(store: &Store) {
    assert_eq!(refused(store, &[7; 500]), Some(Kind::Full));
    let put = store.services.kv().put(&Scope::default(), b"k", &[7; 500], Expect::Any, None);
    assert_eq!(put.unwrap_err().kind(), Kind::Full);
    let settings = QueueSettings { dead_letter: Some("d".repeat(200)), ..Default::default() };
    let name = "n".repeat(200);
    let created = store.queues().create(&name, &settings, None);
    assert_eq!(created.unwrap_err().kind(), Kind::Full);
}

/// Receives and acknowledges, with identities, until nothing is left.
fn drain(store: &Store) -> usize {
    let mut done = 0;
    loop {
        let deliveries = store.receive("q", 10);
        if deliveries.is_empty() {
            return done;
        }
        let tokens: Vec<Token> = deliveries.iter().map(|delivery| delivery.token).collect();
        let identity = Identity { producer: [9; 16], sequence: 1 + done as u64 };
        let acked = store.queues().ack(Some("q"), &tokens, Some(identity)).unwrap();
        assert!(acked.value.iter().all(Result::is_ok));
        done += deliveries.len();
    }
}

/// fault: S17
/// fault: S17
#[test]
fn a_full_store_is_worked_off() {
    let store = small();
    store.create("q");
    let sent = fill(&store);
    refuses_growth(&store);
    assert_eq!(drain(&store), sent);
    assert_eq!(refused(&store, &[7; 500]), None);
}

/// Of messages that do not fit together, those that fit are taken.
///
/// fault: S17
#[test]
fn of_many_messages_those_that_fit_are_taken() {
    let store = small();
    store.create("q");
    let message = NewMessage { body: &[7; 500], ..NewMessage::default() };
    let mut sent = 0;
    loop {
        let outcomes = store.queues().send_all("q", &[message; 64], None);
        let taken = outcomes.iter().take_while(|one| one.is_ok()).count();
        sent += taken;
        if taken < 64 {
            assert!(taken > 0, "some of the last ones fit");
            let rest = outcomes.into_iter().skip(taken);
            assert!(rest.map(|one| one.unwrap_err().kind()).all(|kind| kind == Kind::Full));
            break;
        }
    }
    // What is on its way counts more than what is applied, so a few more fit now.
    sent += fill(&store);
    refuses_growth(&store);
    let alone = small();
    alone.create("q");
    assert_eq!(sent, fill(&alone));
    assert_eq!(drain(&store), sent);
}

/// fault: S17
/// fault: S17
#[test]
fn a_nearly_full_disk_is_worked_off() {
    let store = Store::new();
    store.create("q");
    for _ in 0..100 {
        store.send("q", "work");
    }
    store.disk.set_available_bytes(10_000);
    store.database.tick().unwrap();
    refuses_growth(&store);
    assert_eq!(drain(&store), 100);
    refuses_growth(&store);
    store.disk.set_available_bytes(1 << 40);
    store.database.tick().unwrap();
    store.send("q", "more");
}

/// Leases have a reserve of their own, which ends; what ends them has more than that.
///
/// fault: S17
/// fault: S17
#[test]
fn leases_of_a_full_store_end_in_every_way() {
    let store = small();
    let settings = QueueSettings { max_attempts: 2, ..QueueSettings::default() };
    store.queues().create("q", &settings, None).unwrap();
    let sent = fill(&store);
    let mut held = vec![];
    let full = loop {
        match store.try_receive("q", 10) {
            Ok(deliveries) if deliveries.is_empty() => break None,
            Ok(deliveries) => held.extend(deliveries.into_iter().map(|one| one.token)),
            Err(error) => break Some(error.kind()),
        }
    };
    assert_eq!(full, Some(Kind::Full), "memory stays bounded");
    assert!(held.len() >= 100, "{} of {sent}", held.len());
    refuses_growth(&store);
    let nack = Nack { reason: "failed", ..Nack::default() };
    let nacked = store.queues().nack(Some("q"), &held[..20], &nack, None).unwrap();
    assert!(nacked.value.iter().all(Result::is_ok));
    let extended = store.queues().extend(Some("q"), &held[20..40], Some(60_000), None).unwrap();
    assert!(extended.value.iter().all(Result::is_ok));
    assert_eq!(store.pass(30_000).reclaimed as usize, held.len() - 40);
    // The second attempt of all is the last.
    let mut dead = 0;
    while dead < held.len() - 20 {
        assert!(!store.receive("q", 10).is_empty());
        dead += store.pass(30_000).dead_lettered as usize;
        let stats = store.queues().show("q").unwrap().stats;
        if stats.ready == 0 {
            break;
        }
    }
    assert!(dead > 0, "dead-lettering works");
    let rest = drain(&store);
    let stats = store.queues().show("q.dead").unwrap().stats;
    assert_eq!(rest + stats.ready as usize, sent);
}

/// Recovery takes leases back in a full store.
///
/// fault: S17
/// fault: S17
#[test]
fn a_full_store_recovers() {
    let store = small();
    store.create("q");
    let sent = fill(&store);
    let leased = store.receive("q", 50).len() as u64;
    let disk = store.disk.crash(rekindle_env::Survival::None, 7);
    let clock = Arc::new(ManualClock::new(START_MS + 60_000));
    let store = Store::limited(disk, clock, STATE_BYTES).unwrap();
    assert_eq!(store.figure("leases_reclaimed"), leased);
    refuses_growth(&store);
    assert_eq!(drain(&store), sent);
    assert_eq!(refused(&store, &[7; 500]), None);
}
