//! The scrub: what lies on disk and no start reads is read, and what is damaged is replaced while
//! the state is in memory.

use std::path::{Path, PathBuf};

use rekindle_database::{Database, Error, Options, Scrub, scrub_advice, verify};
use rekindle_env::{
    Disk as _, Env, Fault, FaultError, Image, OperationKind, Random as _, ReadDisk, SeededRandom,
    SimulatedDisk, Survival,
};
use rekindle_recovery::{Verdict, exit};
use tracing::Level;

use crate::support::logs::collect;
use crate::support::{around, open, put, quiet, simulated};

/// An open database with two checkpoints, sealed segments between and behind them, and more in the
/// active one.
fn specimen(seed: u64) -> (SimulatedDisk, Env, Database) {
    let (disk, env, _) = simulated(seed);
    let database = open(&env);
    let keyspace = database.keyspace("things").unwrap();
    let long = "x".repeat(20_000);
    for round in 0..3 {
        for n in 0..8 {
            put(&database, keyspace, &format!("{round} {n}"), &long);
        }
        if round < 2 {
            database.checkpoint().unwrap();
        }
    }
    (disk, env, database)
}

fn files(disk: &SimulatedDisk, dir: &str) -> Vec<PathBuf> {
    let entries = disk.list(Path::new(dir)).unwrap();
    entries.into_iter().map(|entry| Path::new(dir).join(entry.name)).collect()
}

fn checkpoints(disk: &SimulatedDisk) -> Vec<PathBuf> {
    files(disk, "/store/shards/0/checkpoints")
}

/// The sealed ones, oldest first.
fn sealed(disk: &SimulatedDisk) -> Vec<PathBuf> {
    let mut all = files(disk, "/store/shards/0/journal");
    all.retain(|path| path.file_name().unwrap() != "tip");
    all.pop();
    all
}

fn labels(scrub: &Scrub) -> Vec<(&'static str, Option<Verdict>)> {
    scrub.findings.iter().map(|it| (it.label.0, it.verdict)).collect()
}

const HEALED: Option<Verdict> = Some(Verdict::Healed);

/// What a power loss now leaves comes back to this state; answers what `verify` says of it.
fn comes_back(disk: &SimulatedDisk, hash: u128, what: &str) -> i32 {
    let after = disk.crash(Survival::None, 3);
    let (env, _) = around(&after, 4);
    let code = verify("/store", &env).unwrap().code;
    assert!([exit::CLEAN, exit::TORN, exit::HEALED].contains(&code), "{what}: {code}");
    assert_eq!(open(&env).state_hash(), hash, "{what}");
    code
}

#[test]
fn nothing_is_found_where_nothing_is_wrong() {
    let (disk, _, database) = specimen(1);
    let before = disk.operations();
    let scrub = database.scrub().unwrap();
    assert_eq!(scrub.findings, vec![]);
    assert_eq!(scrub.unread, 0);
    assert_eq!(scrub.files as usize, checkpoints(&disk).len() + sealed(&disk).len());
    assert!(scrub.bytes > 400_000, "{scrub:?}");
    assert_eq!(disk.operations(), before, "it only reads");
    let scrubs = database.scrubs();
    assert_eq!((scrubs.rounds, scrubs.bytes, scrubs.findings), (1, scrub.bytes, 0));
}

/// Another checkpoint takes the place of one that is damaged, also when nothing happened since, and
/// the damaged one is set aside. Both of them, and the journal no longer whole: the state in memory
/// is all there is, and it is saved.
///
/// produces: scrub-1
/// fault: S9
#[test]
fn a_damaged_checkpoint_is_replaced() {
    for (damaged, more) in
        [(vec![0], true), (vec![1], true), (vec![0, 1], true), (vec![0], false), (vec![1], false)]
    {
        let (disk, _, database) = specimen(1);
        if !more {
            database.checkpoint().unwrap();
        }
        let hash = database.state_hash();
        let before = checkpoints(&disk);
        for at in &damaged {
            disk.flip_bit(&before[*at], 9_000, 3).unwrap();
        }
        let scrub = database.scrub().unwrap();
        assert_eq!(labels(&scrub), vec![("scrub-1", HEALED); damaged.len()], "{scrub:?}");
        let finding = &scrub.findings[0];
        assert!(finding.place.file.starts_with("shards/0/checkpoints/"), "{finding}");
        assert!(scrub_advice(finding).contains("stands in"), "{finding}");
        assert_eq!(files(&disk, "/store/quarantine").len(), damaged.len());
        let left = checkpoints(&disk);
        assert!(damaged.iter().all(|at| !left.contains(&before[*at])), "{left:?}");
        assert_eq!(database.scrub().unwrap().findings, vec![], "all is well again");
        assert_eq!(comes_back(&disk, hash, "replaced"), exit::CLEAN);
    }
}

/// A checkpoint that is gone, or that the medium does not give, is damage like any other.
#[test]
fn what_cannot_be_read_is_replaced() {
    let (disk, _, database) = specimen(2);
    disk.read_error(&checkpoints(&disk)[0], 8_192..8_193).unwrap();
    let scrub = database.scrub().unwrap();
    assert_eq!(labels(&scrub), [("scrub-1", HEALED)]);
    assert!(scrub.findings[0].found.contains("the disk refused"), "{scrub:?}");
    disk.read_error(&sealed(&disk)[0], 8_192..8_193).unwrap();
    assert_eq!(labels(&database.scrub().unwrap()), [("scrub-2", HEALED)]);
    let keyspace = database.keyspace("things").unwrap();
    put(&database, keyspace, "more", "1");
    database.checkpoint().unwrap();
    let hash = database.state_hash();
    assert_eq!(comes_back(&disk, hash, "unreadable"), exit::CLEAN, "given back");
}

/// Below the newest checkpoint nothing is lost, and nothing has to be done.
///
/// produces: scrub-2
#[test]
fn a_damaged_segment_below_the_checkpoint_goes() {
    let (disk, _, database) = specimen(1);
    let hash = database.state_hash();
    let (path, written) = (sealed(&disk)[0].clone(), database.stats().checkpoints);
    disk.flip_bit(&path, 9_000, 3).unwrap();
    assert_eq!(labels(&database.scrub().unwrap()), [("scrub-2", HEALED)]);
    assert_eq!(database.stats().checkpoints, written, "the newest one has it");
    assert_eq!(comes_back(&disk, hash, "below"), exit::HEALED);
    assert_eq!(labels(&database.scrub().unwrap()), [("scrub-2", HEALED)], "it is still there");
    database.checkpoint().unwrap();
    assert_eq!(database.scrub().unwrap().findings, vec![], "given back");
}

/// Behind it a start would be refused. While the state is in memory a checkpoint of it passes the
/// damage by; where none can be written that is said, and tried again.
///
/// produces: scrub-3, scrub-4
/// fault: S6
#[test]
fn damage_that_a_start_would_refuse_is_passed_by() {
    let (disk, _, database) = specimen(1);
    let hash = database.state_hash();
    let path = sealed(&disk).last().unwrap().clone();
    disk.flip_bit(&path, 9_000, 3).unwrap();
    let (env, _) = around(&disk.crash(Survival::None, 3), 4);
    assert_eq!(verify("/store", &env).unwrap().code, exit::CORRUPT, "without a scrub");

    disk.inject(Fault::error(OperationKind::Write, FaultError::ENOSPC).on(".tmp").forever());
    let (scrub, lines) = collect(|| database.scrub().unwrap());
    assert_eq!(labels(&scrub), [("scrub-4", Some(Verdict::Corrupt))]);
    let told = |line: &str| line.starts_with("scrub: scrub-4 corrupt: shards/0/journal/");
    let told = lines.iter().find(|(level, line)| *level == Level::ERROR && told(line));
    assert!(told.unwrap().1.contains("Do not end it before"), "{told:?}");
    assert!(lines.contains(&(Level::INFO, "scrub done".to_owned())), "{lines:?}");

    disk.clear_faults();
    assert_eq!(labels(&database.scrub().unwrap()), [("scrub-3", HEALED)]);
    assert_eq!(comes_back(&disk, hash, "rescued"), exit::HEALED);
    assert_eq!(labels(&database.scrub().unwrap()), [("scrub-2", HEALED)]);
}

/// A damaged header, a missing file, another length; and what lies in front of a damaged header
/// cannot be read to its end.
#[test]
fn every_kind_of_damage_is_found() {
    type Do = dyn Fn(&SimulatedDisk, &Path);
    let damages: [(&str, &Do); 4] = [
        ("the header", &|disk, path| disk.flip_bit(path, 30, 1).unwrap()),
        ("a frame", &|disk, path| disk.flip_bit(path, 5_000, 1).unwrap()),
        ("missing", &|disk, path| disk.remove_file(path).unwrap()),
        ("cut", &|disk, path| {
            let file = disk.open_write(path).unwrap();
            file.set_len(file.len().unwrap() - 1).unwrap();
        }),
    ];
    for (what, damage) in damages {
        let (disk, _, database) = specimen(1);
        let hash = database.state_hash();
        let all = sealed(&disk);
        damage(&disk, &all[all.len() - 2]);
        let scrub = database.scrub().unwrap();
        assert_eq!(scrub.findings.len(), 1, "{what}: {scrub:?}");
        assert_eq!(scrub.findings[0].verdict, HEALED, "{what}: {scrub:?}");
        let hidden = u64::from(what == "the header" || what == "missing");
        assert_eq!(scrub.unread, hidden, "{what}");
        comes_back(&disk, hash, what);
    }
}

/// Random damage to what lies at rest, several bits at a time: all of it is found, and after that a
/// power loss takes nothing.
#[test]
fn whatever_rots_is_found_and_replaced() {
    let (disk, _, database) = specimen(5);
    drop(database);
    let image = disk.image();
    for seed in 0..60 {
        let random = SeededRandom::new(seed);
        let disk = SimulatedDisk::from_image(image.clone(), seed);
        let (env, _) = around(&disk, seed);
        let database = open(&env);
        let hash = database.state_hash();
        let at_rest: Vec<_> = checkpoints(&disk).into_iter().chain(sealed(&disk)).collect();
        let mut hit = Vec::new();
        for _ in 0..=random.next_u64() % 4 {
            let path = &at_rest[random.next_u64() as usize % at_rest.len()];
            let len = disk.stat(path).unwrap().unwrap().len;
            disk.flip_bit(path, random.next_u64() % len, (random.next_u64() % 8) as u8).unwrap();
            hit.push(path.file_name().unwrap().to_str().unwrap().to_owned());
        }
        let scrub = database.scrub().unwrap();
        let verdicts = scrub.findings.iter().map(|finding| finding.verdict);
        assert!(verdicts.clone().all(|verdict| verdict == HEALED), "{seed}: {scrub:?}");
        for finding in &scrub.findings {
            assert!(hit.iter().any(|name| finding.place.file.ends_with(name)), "{seed}: {finding}");
        }
        // Behind the end of a segment's frames no byte means anything; a checkpoint has none such.
        for name in hit.iter().filter(|name| name.ends_with(".ckpt")) {
            let found = scrub.findings.iter().any(|it| it.place.file.ends_with(name.as_str()));
            assert!(found, "{seed}: {name}: {scrub:?}");
        }
        comes_back(&disk, hash, &format!("{seed}: {hit:?}"));
    }
}

/// A crash at every operation of a scrub that replaces both checkpoints' damage loses nothing that
/// was not lost before: with one damaged there is always another one.
#[test]
fn a_crash_inside_a_replacing_scrub_loses_nothing() {
    for damaged in [0, 1] {
        let (disk, _, database) = specimen(1);
        drop(database);
        let mut image: Image = disk.crash(Survival::All, 1).image();
        let before = {
            let disk = SimulatedDisk::from_image(image.clone(), 1);
            let (env, _) = around(&disk, 2);
            let database = open(&env);
            let hash = database.state_hash();
            database.close().unwrap();
            image = disk.crash(Survival::All, 1).image();
            hash
        };
        let disk = SimulatedDisk::from_image(image.clone(), 1);
        let (env, _) = around(&disk, 2);
        let database = open(&env);
        disk.flip_bit(&checkpoints(&disk)[damaged], 9_000, 3).unwrap();
        let begun = disk.operations();
        assert_eq!(labels(&database.scrub().unwrap()), [("scrub-1", HEALED)]);
        let mut points = disk.trace().crash_points(image);
        let mut crashes = 0;
        while points.advance().is_some() {
            if (points.position() as u64) < begun {
                continue;
            }
            for survival in Survival::EVERY {
                let disk = SimulatedDisk::from_image(points.survivors(survival, 1), 1);
                let (env, _) = around(&disk, 5);
                let what = format!("{damaged}: operation {}, {survival:?}", points.position());
                assert_eq!(open(&env).state_hash(), before, "{what}");
                crashes += 1;
            }
        }
        assert!(crashes > 20, "{crashes}");
    }
}

/// Threads scrub by themselves, slowly, and end at once when the database is closed.
#[test]
fn threads_scrub_and_stop_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let options = Options { segment_bytes: 64 * 1024, ..Options::default() };
    let database = Database::open_with(&store, options.clone(), Env::real()).unwrap();
    let keyspace = database.keyspace("things").unwrap();
    let long = "x".repeat(20_000);
    for n in 0..30 {
        put(&database, keyspace, &format!("{n}"), &long);
    }
    database.checkpoint().unwrap();
    database.close().unwrap();

    let often = Some(std::time::Duration::from_millis(1));
    let fast = Options { scrub_every: often, ..options.clone() };
    let database = Database::open_with(&store, fast, Env::real()).unwrap();
    while database.scrubs().rounds < 3 {
        std::thread::yield_now();
    }
    assert_eq!(database.scrubs().findings, 0);
    database.close().unwrap();

    let slow = Options { scrub_bytes_per_second: 1, ..options.clone() };
    let database = Database::open_with(&store, slow, Env::real()).unwrap();
    let (closed, took_ms) = crate::support::timed(|| database.close());
    closed.unwrap();
    assert!(took_ms < 5_000, "{took_ms} ms");
    assert_eq!(database.scrubs().rounds, 0, "it had no time");

    let never = Options { scrub_every: None, ..options };
    let database = Database::open_with(&store, never, Env::real()).unwrap();
    assert_eq!(database.scrub().unwrap().findings, vec![], "by hand it goes on");
    database.close().unwrap();
}

/// On a disk that is nearly full a second checkpoint of the same state takes the place of a much
/// smaller older one: without anything that happened in between.
#[test]
fn the_same_state_is_written_twice_on_a_low_disk() {
    let (disk, env, clock) = simulated(1);
    let options = Options { segment_bytes: 1 << 20, ..quiet() };
    let database = Database::open_with("/store", options, env).unwrap();
    let keyspace = database.keyspace("things").unwrap();
    put(&database, keyspace, "small", "1");
    database.checkpoint().unwrap();
    let long = "x".repeat(500_000);
    for n in 0..6 {
        put(&database, keyspace, &format!("{n}"), &long);
    }
    database.checkpoint().unwrap();
    let hash = database.state_hash();
    disk.set_available_bytes(3 << 20);
    for _ in 0..4 {
        clock.advance_ms(6_000);
        match database.tick() {
            Ok(()) | Err(Error::Full(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert!(database.stats().disk.low);
    let bytes: Vec<u64> =
        checkpoints(&disk).iter().map(|path| disk.stat(path).unwrap().unwrap().len).collect();
    assert!(bytes.len() == 2 && bytes[0] == bytes[1], "{bytes:?}");
    assert_eq!(comes_back(&disk, hash, "twice"), exit::CLEAN);
}
