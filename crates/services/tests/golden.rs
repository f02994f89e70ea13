//! Whole store directories as version 1 wrote them, in `fixtures/v1`: every later version opens
//! them, reads everything in them, and keeps what they promised.
//!
//! A store that cannot be read any more is a broken promise: it needs a migration, not a new
//! fixture. `make_the_fixtures` wrote them once and writes over none.

#![allow(clippy::disallowed_methods, reason = "fixtures are read from the repository")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rekindle_database::{Database, Env, Options as DatabaseOptions};
use rekindle_env::{Image, ManualClock, RealDisk, SeededRandom, SimulatedDisk};
use rekindle_services::claims::Traces;
use rekindle_services::kv::{Expect, Scope};
use rekindle_services::queues::{Nack, NewMessage, QueueSettings, ReceiveRequest, Token};
use rekindle_services::{Identity, Kind, Options, Services};

/// The wall clock when the fixtures were made.
pub(crate) const MADE_MS: u64 = 1_790_000_000_000;

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/v1").join(name)
}

pub(crate) fn open(disk: &SimulatedDisk, wall_ms: u64) -> (Database, Services, Arc<ManualClock>) {
    open_with(disk, wall_ms, Traces::new())
}

/// The same, where executors of an earlier run left something.
pub(crate) fn open_with(
    disk: &SimulatedDisk,
    wall_ms: u64,
    traces: Traces,
) -> (Database, Services, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(wall_ms));
    let env = Env {
        disk: Arc::new(disk.clone()),
        clock: Arc::clone(&clock) as Arc<dyn rekindle_env::Clock>,
        random: Arc::new(SeededRandom::new(8)),
    };
    let options = DatabaseOptions {
        background: false,
        segment_bytes: 64 * 1024,
        max_state_bytes: Some(1 << 28),
        ..DatabaseOptions::default()
    };
    let database = Database::open_with("store", options, env).unwrap();
    let options = Options { background: false, traces, ..Options::default() };
    let (services, _) = Services::lead(&database, options).unwrap();
    (database, services, clock)
}

pub(crate) fn identity(sequence: u64) -> Option<Identity> {
    Some(Identity { producer: [9; 16], sequence })
}

/// The token of the lease that the fixtures hold.
fn held_token() -> Token {
    std::fs::read_to_string(fixture("token.txt")).unwrap().trim().parse().unwrap()
}

/// A store in which every keyspace has rows, over two checkpoints and several segments.
fn fill(database: &Database, services: &Services, clock: &ManualClock) -> Token {
    let queues = services.queues();
    let settings = QueueSettings { max_attempts: 2, ..QueueSettings::default() };
    queues.create("orders", &settings, None).unwrap();
    queues.create("orders.dead", &QueueSettings::default(), None).unwrap();
    let headers = [("trace", "a b"), ("leer", "")];
    for number in 0..4_u64 {
        let body = format!("order {number}");
        let key = if number % 2 == 0 { "" } else { "eu" };
        let message =
            NewMessage { body: body.as_bytes(), headers: &headers, fairness_key: key, delay_ms: 0 };
        queues.send("orders", &message, identity(number)).unwrap();
    }
    database.checkpoint().unwrap();
    let later = NewMessage { body: b"later", delay_ms: 86_400_000, ..NewMessage::default() };
    queues.send("orders", &later, None).unwrap();
    let receive = |max| {
        let request = ReceiveRequest {
            queue: "orders",
            max,
            visibility_ms: Some(3_600_000),
            owner: "golden",
        };
        queues.receive(&request).unwrap().value
    };
    // One failed once, one is dead, one is leased, one is acked.
    let first = receive(1).remove(0).token;
    let failed = Nack { reason: "no such address", ..Nack::default() };
    queues.nack(None, &[first], &failed, None).unwrap();
    for _ in 0..2 {
        let again = receive(4);
        let dead = again.iter().find(|one| one.body() == b"order 1").unwrap().token;
        queues.nack(None, &[dead], &failed, None).unwrap();
        let others: Vec<_> =
            again.iter().filter(|one| one.token != dead).map(|one| one.token).collect();
        let release = Nack { release: true, ..Nack::default() };
        queues.nack(None, &others, &release, None).unwrap();
    }
    let held = receive(2);
    assert_eq!(held.len(), 2);
    queues.ack(None, &[held[1].token], identity(100)).unwrap().value.remove(0).unwrap();
    let (kv, scope) = (services.kv(), Scope::default());
    for number in 0..40_u8 {
        kv.put(&scope, &[b'k', number], &vec![number; 2_000], Expect::Any, None).unwrap();
        clock.advance_ms(10);
    }
    database.checkpoint().unwrap();
    kv.delete(&scope, &[b'k', 7], Expect::Any, None).unwrap();
    kv.put(&scope, "ключ".as_bytes(), "значение".as_bytes(), Expect::Absent, identity(200))
        .unwrap();
    held[0].token
}

/// A fixture on a disk of its own.
pub(crate) fn copy(name: &str) -> SimulatedDisk {
    let image = Image::load(&RealDisk, &fixture(name)).unwrap();
    let mut store = Image::new();
    for dir in image.directories() {
        store.create_dir_all(Path::new("store").join(dir)).unwrap();
    }
    for (path, _) in image.files() {
        store.write_file(Path::new("store").join(&path), &image.read(&path).unwrap()).unwrap();
    }
    SimulatedDisk::from_image(store, 1)
}

/// What every later version must read in them.
fn check(name: &str) {
    let disk = copy(name);
    let (database, services, clock) = open(&disk, MADE_MS + 60_000);
    let code = database.report().code;
    assert!(code == 0, "{name}: {code}, {:?}", database.report().findings().collect::<Vec<_>>());
    let queues = services.queues();
    let stats = queues.show("orders").unwrap().stats;
    assert_eq!((stats.ready, stats.leased, stats.delayed, stats.review), (1, 1, 1, 0), "{name}");
    assert_eq!(queues.show("orders.dead").unwrap().stats.ready, 1, "{name}");
    let (kv, scope) = (services.kv(), Scope::default());
    for number in (0..40_u8).filter(|number| *number != 7) {
        let value = kv.get(&scope, &[b'k', number], None).unwrap().unwrap().value;
        assert_eq!(value.to_vec(), vec![number; 2_000], "{name}");
    }
    assert!(kv.get(&scope, &[b'k', 7], None).unwrap().is_none(), "{name}");
    let found = kv.get(&scope, "ключ".as_bytes(), None).unwrap().unwrap();
    assert_eq!(&*found.value, "значение".as_bytes(), "{name}");
    // What was promised still counts: a lease, results of requests, the cause of a death.
    let repeated = NewMessage { body: b"other", ..NewMessage::default() };
    assert_eq!(queues.send("orders", &repeated, identity(2)).unwrap_err().kind(), Kind::Invalid);
    kv.put(&scope, "ключ".as_bytes(), "значение".as_bytes(), Expect::Absent, identity(200))
        .unwrap();
    queues.extend(None, &[held_token()], Some(60_000), None).unwrap().value.remove(0).unwrap();
    let request = ReceiveRequest { queue: "orders.dead", max: 9, visibility_ms: None, owner: "" };
    let dead = queues.receive(&request).unwrap().value;
    assert_eq!(dead.iter().map(|one| one.body()).collect::<Vec<_>>(), [b"order 1"], "{name}");
    assert_eq!(dead[0].fairness_key, "eu", "{name}");
    assert!(dead[0].headers.contains(&("trace".to_owned(), "a b".to_owned())), "{name}");
    queues.ack(None, &[held_token()], None).unwrap().value.remove(0).unwrap();
    clock.advance_ms(86_400_000);
    services.tick().unwrap();
    assert_eq!(queues.show("orders").unwrap().stats.ready, 2, "{name}: the delayed one is due");
}

/// proves: B1, D2
#[test]
fn a_store_that_was_closed_opens() {
    check("store-closed");
}

/// Killed: the last frames are valid and unproven, the end was never marked.
///
/// proves: B1, D2
#[test]
fn a_store_that_was_killed_opens() {
    check("store-killed");
}

/// Writes the fixtures where there are none.
#[test]
#[ignore = "writes into the repository"]
fn make_the_fixtures() {
    let disk = SimulatedDisk::new(41);
    let (database, services, clock) = open(&disk, MADE_MS);
    let token = fill(&database, &services, &clock);
    let killed = disk.kill(1);
    database.close().unwrap();
    for (disk, name) in [(&disk, "store-closed"), (&killed, "store-killed")] {
        assert!(!fixture(name).exists(), "{name} is frozen");
        let image = Image::load(disk, Path::new("store")).unwrap();
        image.save(&RealDisk, &fixture(name)).unwrap();
    }
    std::fs::write(fixture("token.txt"), format!("{token}\n")).unwrap();
}
