//! A loss that an operator accepted offline is in the audit log of the store that goes on.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rekindle_database::{Database, Env, Options, RepairOptions, repair, verify};
use rekindle_env::{Disk, ManualClock, ReadDisk, SeededRandom, SimulatedDisk, Survival, durable};
use rekindle_recovery::{Finding, Place, Verdict};

use crate::store::{START_MS, Store, disk};

const JOURNAL: &str = "store/shards/0/journal";

/// Flips a bit of this text, wherever it stands in the journal.
fn damage(disk: &SimulatedDisk, text: &[u8]) {
    for entry in disk.list(Path::new(JOURNAL)).unwrap() {
        let path = Path::new(JOURNAL).join(&entry.name);
        let bytes = durable::read_file(disk, &path, 1 << 30).unwrap();
        let Some(at) = bytes.windows(text.len()).position(|window| window == text) else {
            continue;
        };
        let file = disk.open_write(&path).unwrap();
        file.write_at(&[bytes[at] ^ 1], at as u64).unwrap();
        file.sync_all().unwrap();
    }
}

fn env(disk: &SimulatedDisk, clock: &Arc<ManualClock>) -> Env {
    Env {
        disk: Arc::new(disk.clone()),
        clock: Arc::clone(clock) as Arc<dyn rekindle_env::Clock>,
        random: Arc::new(SeededRandom::new(5)),
    }
}

/// Repairs what `verify` finds; answers the accepted place.
fn repaired(disk: &SimulatedDisk) -> Place {
    let env = env(disk, &Arc::new(ManualClock::new(START_MS + 1_000)));
    let report = verify("store", &env).unwrap();
    let corrupt = |finding: &&Finding| finding.verdict == Some(Verdict::Corrupt);
    let place = report.findings().find(corrupt).unwrap().place.clone();
    let options = RepairOptions {
        accept: vec![std::ops::Range { start: place.from, end: place.to }],
        who: "ada".to_owned(),
        reason: "the disk\nwas replaced".to_owned(),
        program: "rekindle".to_owned(),
    };
    repair("store", &options, &env).unwrap();
    place
}

/// Who gave up what, and why, is recorded by the first start behind the repair, and by no later
/// one.
///
/// proves: L11
#[test]
fn an_accepted_loss_is_recorded_once() {
    let store = Store::new();
    store.create("q");
    for number in 0..8 {
        store.send("q", &format!("message {number}"));
    }
    let disk = store.disk.crash(Survival::None, 1);
    drop(store);
    damage(&disk, b"message 4");
    let place = repaired(&disk);

    let mut store = Store::on(disk.clone(), Arc::new(ManualClock::new(START_MS + 2_000)));
    for _ in 0..2 {
        let records = store.services.audit().list(None, 9).unwrap().records;
        assert_eq!(records.len(), 1, "{records:?}");
        let record = &records[0];
        assert_eq!(
            (record.action.as_str(), record.who.as_str()),
            ("repair.accept_loss", "ada (repair)")
        );
        assert_eq!(record.target, format!("lsn {}..{}", place.from, place.to));
        assert_eq!(record.why, "the disk was replaced");
        assert!(record.result.contains(&format!("accepted at {}", START_MS + 1_000)));
        assert_eq!(store.ready("q").len(), 7);
        store = store.crash(1_000);
    }
}

/// A store with a lost message whose loss was accepted, and which no start has seen since.
fn given_up(messages: usize) -> SimulatedDisk {
    given_up_on(disk(1), messages)
}

fn given_up_on(disk: SimulatedDisk, messages: usize) -> SimulatedDisk {
    let store = Store::on(disk, Arc::new(ManualClock::new(START_MS)));
    store.create("q");
    for number in 0..messages {
        store.send("q", &format!("message {number} {}", "x".repeat(500)));
    }
    let disk = store.disk.crash(Survival::None, 1);
    drop(store);
    damage(&disk, b"message 4 ");
    repaired(&disk);
    disk
}

fn told(store: &Store) -> usize {
    let records = store.services.audit().list(None, 9).unwrap().records;
    records.iter().filter(|record| record.action == "repair.accept_loss").count()
}

/// The keeper works from the first moment of an open database, so a checkpoint may be due before
/// the services have recovered. A process that dies in between is told of the loss nevertheless.
///
/// proves: L11
#[test]
fn no_checkpoint_goes_past_a_loss_that_is_not_in_the_audit_log() {
    let disk = given_up(8);
    let clock = Arc::new(ManualClock::new(START_MS + 2_000));
    let options = Options {
        background: false,
        segment_bytes: 1024 * 1024,
        max_state_bytes: Some(1 << 28),
        max_recovery: Duration::from_millis(2),
        ..Options::default()
    };
    let env = env(&disk, &clock);
    let due = |clean: bool| {
        let database = Database::open_with("store", options.clone(), env.clone()).unwrap();
        assert!(database.has_untold_losses());
        let keyspace = database.keyspace("things").unwrap();
        for n in 0..2_000 {
            let mut transaction = database.begin();
            transaction.put(keyspace, format!("k{n}").as_bytes(), b"1");
            drop(transaction.submit().unwrap());
        }
        database.flush().unwrap();
        database.tick().unwrap();
        assert_eq!(database.stats().checkpoints, 0, "it would hide the loss");
        if clean {
            database.close().unwrap();
            assert_eq!(database.stats().checkpoints, 0, "it would hide the loss");
        }
        database
    };
    drop(due(true));
    let waits = due(false);
    // Who embeds the database may never say it: that must not let replay grow for ever.
    clock.advance_ms(10 * 60 * 1_000 - 1);
    waits.tick().unwrap();
    assert_eq!(waits.stats().checkpoints, 0);
    let died = disk.crash(Survival::None, 2);
    clock.advance_ms(1);
    waits.tick().unwrap();
    assert_eq!(waits.stats().checkpoints, 1);
    drop(waits);

    let store = Store::on(died.clone(), Arc::new(ManualClock::new(START_MS + 900_000)));
    assert_eq!(told(&store), 1);
    assert!(!store.database.has_untold_losses());
    drop(store);
    let options = Options { max_recovery: Duration::from_millis(2), ..options };
    let database = Database::open_with("store", options, self::env(&died, &clock)).unwrap();
    database.losses_told();
    database.tick().unwrap();
    assert_eq!(database.stats().checkpoints, 1, "it is told");
}

/// A store in which there is no room for the record opens, and the timer tries again.
///
/// fault: S17
#[test]
fn a_loss_that_could_not_be_recorded_is_recorded_later() {
    // On the memory engine, as all that counts bytes (full.rs).
    let disk = given_up_on(SimulatedDisk::new(1), 200);
    let clock = Arc::new(ManualClock::new(START_MS + 2_000));
    let store = Store::limited(disk, clock, 64 * 1024).unwrap();
    assert_eq!(told(&store), 0, "the store is full");
    store.services.tick().unwrap();
    assert!(store.database.has_untold_losses());
    store.queues().delete("q", None).unwrap();
    assert_eq!(told(&store), 0);
    store.pass(5_000);
    assert_eq!(told(&store), 1);
    assert!(!store.database.has_untold_losses());
    let store = store.crash(1_000);
    assert_eq!(told(&store), 1);
}
