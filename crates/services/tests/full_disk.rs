//! A disk that somebody else fills to the last byte and gives back, again and again, under load.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::ScopedJoinHandle;

use rekindle_database::{Database, Env, Options as DatabaseOptions};
use rekindle_services::queues::{Delivery, Nack, NewMessage, QueueSettings, ReceiveRequest};
use rekindle_services::{Error, Kind, Options, Services};

use super::small_disk::SmallDisk;

/// Small, so that many are needed while the disk is full.
const SEGMENT_BYTES: u64 = 128 << 10;
/// No lease runs out in a test.
const VISIBILITY_MS: u64 = 3_600_000;

fn options() -> DatabaseOptions {
    DatabaseOptions {
        segment_bytes: SEGMENT_BYTES,
        max_state_bytes: Some(1 << 28),
        ..DatabaseOptions::default()
    }
}

fn env(disk: &SmallDisk) -> Env {
    Env { disk: Arc::new(disk.clone()), ..Env::real() }
}

/// What was acknowledged, and what came out.
#[derive(Default)]
struct Oracle {
    sent: Mutex<BTreeSet<String>>,
    received: Mutex<BTreeMap<String, u32>>,
    refused: AtomicU64,
    settled: AtomicU64,
    stop: AtomicBool,
}

impl Oracle {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Sends until it is stopped; a refusal is `full` and leaves nothing.
    fn send(&self, services: &Services, sender: u64) {
        let mut number = 0;
        while !self.stopped() {
            let body = format!("{sender}-{number:08}-{}", "x".repeat(300));
            let message = NewMessage { body: body.as_bytes(), ..NewMessage::default() };
            match services.queues().send("q", &message, None) {
                Ok(_) => {
                    assert!(self.sent.lock().unwrap().insert(body));
                }
                Err(error) => {
                    assert_eq!(error.kind(), Kind::Full, "{error}");
                    self.refused.fetch_add(1, Ordering::Relaxed);
                    std::thread::yield_now();
                }
            }
            number += 1;
        }
    }

    /// Receives, gives most back, acks the others: nothing of it is ever refused.
    fn consume(&self, services: &Services) {
        let mut round = 0_u64;
        while !self.stopped() {
            let deliveries = receive(services).unwrap_or_else(|error| panic!("blocked: {error}"));
            for delivery in &deliveries {
                round += 1;
                if !round.is_multiple_of(4) {
                    let release = Nack { release: true, ..Nack::default() };
                    let token = [delivery.token];
                    services.queues().nack(Some("q"), &token, &release, None).unwrap();
                } else {
                    self.finish(services, delivery);
                }
                self.settled.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn finish(&self, services: &Services, delivery: &Delivery) {
        let mut done = services.queues().ack(None, &[delivery.token], None).unwrap().value;
        done.remove(0).unwrap();
        let body = String::from_utf8(delivery.body().to_vec()).unwrap();
        *self.received.lock().unwrap().entry(body).or_default() += 1;
    }

    /// Each acknowledged message came out once; nothing else did.
    fn check(&self) {
        let (sent, received) = (self.sent.lock().unwrap(), self.received.lock().unwrap());
        let twice = received.iter().find(|(_, times)| **times != 1);
        assert_eq!(twice, None);
        let out: BTreeSet<String> = received.keys().cloned().collect();
        assert_eq!(sent.len(), out.len(), "lost or invented");
        assert!(*sent == out);
    }
}

/// Ends the threads, also when the test fails.
struct Stop<'a>(&'a Oracle);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

fn receive(services: &Services) -> Result<Vec<Delivery>, Error> {
    let visibility_ms = Some(VISIBILITY_MS);
    let request = ReceiveRequest { queue: "q", max: 16, visibility_ms, owner: "test" };
    Ok(services.queues().receive(&request)?.value)
}

/// Waits until something holds; answers how long that took, milliseconds.
fn until(what: &str, holds: impl Fn() -> bool, alive: &[&ScopedJoinHandle<'_, ()>]) -> u64 {
    let clock = Env::real().clock;
    let began = clock.boot_ms();
    while !holds() {
        assert!(clock.boot_ms() - began < 20_000, "{what}: it never came to that");
        assert!(alive.iter().all(|thread| !thread.is_finished()), "{what}: a thread gave up");
        std::thread::yield_now();
    }
    clock.boot_ms() - began
}

/// Whether what the full disk took from the reserve was given back.
fn reserve_is_whole(database: &Database) -> bool {
    let disk = database.stats().disk;
    !disk.low && disk.reserve_bytes + SEGMENT_BYTES >= disk.low_mark_bytes
}

/// Filled to the last byte and drained under load: sends are refused as full before anything is
/// written, consumers go on through many segments and checkpoints, service resumes by itself, and
/// nothing acknowledged is lost or comes twice. A start on the full disk works as well.
///
/// fault: S17
#[test]
fn a_disk_is_filled_and_drained_under_load() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let disk = SmallDisk::new(40 << 20);
    let oracle = Oracle::default();
    let open = || {
        let database = Database::open_with(&path, options(), env(&disk)).unwrap();
        let (services, _) = Services::lead(&database, Options::default()).unwrap();
        (database, services)
    };
    let (database, services) = open();
    services.queues().create("q", &QueueSettings::default(), None).unwrap();
    let mut slowest_ms = 0;
    std::thread::scope(|scope| {
        let (oracle, services) = (&oracle, &services);
        let stop = Stop(oracle);
        let senders = [1, 2].map(|sender| scope.spawn(move || oracle.send(services, sender)));
        let consumer = scope.spawn(move || oracle.consume(services));
        let alive = [&senders[0], &senders[1], &consumer];
        for round in 0..3 {
            let sent = || oracle.sent.lock().unwrap().len();
            let before = sent();
            // More than is worked off until there is a checkpoint: that takes some 600 deliveries.
            until("load", || sent() > before + 1_000, &alive);
            until("a reserve", || reserve_is_whole(&database), &alive);
            disk.fill();
            until("refusals", || database.stats().disk.low, &alive);
            let (refused, settled) = (&oracle.refused, &oracle.settled);
            let (refused_before, settled_before) =
                (refused.load(Ordering::Relaxed), settled.load(Ordering::Relaxed));
            let checkpoints = database.stats().checkpoints;
            // Several segments: each settled delivery takes some 200 bytes of journal.
            let goes_on = || {
                settled.load(Ordering::Relaxed) > settled_before + 600
                    && refused.load(Ordering::Relaxed) > refused_before
            };
            until("consumers", goes_on, &alive);
            // They give segments back; a thread of their own writes them.
            until("a checkpoint", || database.stats().checkpoints > checkpoints, &alive);
            let before = sent();
            disk.drain();
            let took = until("service", || sent() > before, &alive);
            slowest_ms = slowest_ms.max(took);
            assert_eq!(database.poisoned(), None, "round {round}");
        }
        drop(stop);
    });
    assert!(slowest_ms < 2_000, "service came back after {slowest_ms} ms");
    // Killed on a full disk, it starts there, and is worked off: with the reserve that it had.
    until("a reserve", || reserve_is_whole(&database), &[]);
    disk.fill();
    drop(services);
    drop(database);
    let (database, services) = open();
    loop {
        let deliveries = receive(&services).unwrap();
        if deliveries.is_empty() {
            break;
        }
        deliveries.iter().for_each(|delivery| oracle.finish(&services, delivery));
    }
    oracle.check();
    assert_eq!(database.poisoned(), None);
}
