//! The scrub: what lies on disk and no start reads is read, and what is damaged is replaced while
//! the state is in memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rekindle_database::{Database, Error, Options, Scrub, scrub_advice, verify};
use rekindle_env::{
    Disk as _, Env, Fault, FaultError, Image, ManualClock, OperationKind, Random as _, ReadDisk,
    SeededRandom, SimulatedDisk, Survival,
};
use rekindle_recovery::{Verdict, exit};
use tracing::Level;

use crate::support::logs::collect;
use crate::support::{around, open, put, quiet, simulated};

/// An open database with two checkpoints, sealed segments between and behind them, and more in the
/// active one.
fn specimen(seed: u64) -> (SimulatedDisk, Arc<ManualClock>, Database) {
    let (disk, env, clock) = simulated(seed);
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
    (disk, clock, database)
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

fn active(disk: &SimulatedDisk) -> PathBuf {
    let mut all = files(disk, "/store/shards/0/journal");
    all.retain(|path| path.file_name().unwrap() != "tip");
    all.pop().unwrap()
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
        assert!(scrub_advice(finding).contains("in its place"), "{finding}");
        assert_eq!(files(&disk, "/store/quarantine").len(), damaged.len());
        let left = checkpoints(&disk);
        assert!(damaged.iter().all(|at| !left.contains(&before[*at])), "{left:?}");
        assert_eq!(database.scrub().unwrap().findings, vec![], "all is well again");
        assert_eq!(comes_back(&disk, hash, "replaced"), exit::CLEAN);
    }
}

/// A checkpoint that is gone, or that the medium does not give, is damage like any other; an error
/// of the machine is none.
#[test]
fn what_cannot_be_read_is_replaced() {
    let (disk, _, database) = specimen(2);
    let before = checkpoints(&disk);
    let busy = FaultError::Kind(std::io::ErrorKind::ResourceBusy);
    disk.inject(Fault::error(OperationKind::Open, busy).on(".ckpt").forever());
    assert!(matches!(database.scrub(), Err(Error::Io { .. })), "too many open files, say");
    disk.clear_faults();
    assert_eq!(checkpoints(&disk), before, "nothing was judged");
    // What goes away at the second look was no damage.
    disk.inject(Fault::error(OperationKind::Open, FaultError::EIO).on(".ckpt"));
    assert_eq!(database.scrub().unwrap().findings, vec![]);

    disk.read_error(&before[0], 8_192..8_193).unwrap();
    let scrub = database.scrub().unwrap();
    assert_eq!(labels(&scrub), [("scrub-1", HEALED)]);
    assert!(scrub.findings[0].found.contains("the disk refused"), "{scrub:?}");
    disk.read_error(&sealed(&disk)[0], 8_192..8_193).unwrap();
    assert_eq!(labels(&database.scrub().unwrap()), [("scrub-2", HEALED)]);
    let hash = database.state_hash();
    assert_eq!(comes_back(&disk, hash, "unreadable"), exit::CLEAN, "given up");
}

/// Below the newest checkpoint nothing is lost; checkpoints are written until it is in use no more,
/// so that two whole ones stand above it.
///
/// produces: scrub-2
#[test]
fn a_damaged_segment_below_the_checkpoint_goes() {
    let (disk, _, database) = specimen(1);
    let hash = database.state_hash();
    let path = sealed(&disk)[0].clone();
    disk.flip_bit(&path, 9_000, 3).unwrap();
    assert_eq!(labels(&database.scrub().unwrap()), [("scrub-2", HEALED)]);
    assert!(!sealed(&disk).contains(&path), "given up");
    assert_eq!(comes_back(&disk, hash, "below"), exit::CLEAN);
    assert_eq!(database.scrub().unwrap().findings, vec![]);
}

/// Where nothing can be written in the place of what is damaged, and a start does without it, that
/// is said each time, and done when it can be.
///
/// produces: scrub-5
#[test]
fn what_could_not_be_replaced_yet_stays_noted() {
    let (disk, _, database) = specimen(1);
    let (hash, before) = (database.state_hash(), checkpoints(&disk));
    disk.flip_bit(&before[0], 9_000, 3).unwrap();
    disk.flip_bit(&sealed(&disk)[0], 9_000, 3).unwrap();
    full(&disk);
    for _ in 0..2 {
        let found = labels(&database.scrub().unwrap());
        assert_eq!(found, [("scrub-5", HEALED), ("scrub-5", HEALED)]);
    }
    assert_eq!(comes_back(&disk, hash, "not yet"), exit::HEALED);
    disk.clear_faults();
    assert_eq!(labels(&database.scrub().unwrap())[0], ("scrub-1", HEALED));
    assert_eq!(comes_back(&disk, hash, "replaced"), exit::CLEAN);
}

/// No checkpoint can be written.
fn full(disk: &SimulatedDisk) {
    disk.inject(Fault::error(OperationKind::Write, FaultError::ENOSPC).on(".tmp").forever());
}

/// Behind it a start would be refused. While the state is in memory checkpoints of it take its
/// place; where none can be written that is said each time, and done when it can be: by the next
/// scrub, by the clock, or by a clean end.
///
/// produces: scrub-3, scrub-4
/// fault: S6
#[test]
fn damage_that_a_start_would_refuse_is_replaced() {
    enum By {
        Scrub,
        Clock,
        Close,
    }
    let segment: &dyn Fn(&SimulatedDisk) -> Vec<PathBuf> =
        &|disk| sealed(disk).split_off(sealed(disk).len() - 1);
    let both: &dyn Fn(&SimulatedDisk) -> Vec<PathBuf> = &|disk| checkpoints(disk);
    for damaged in [segment, both] {
        for by in [By::Scrub, By::Clock, By::Close] {
            let (disk, clock, database) = specimen(1);
            let hash = database.state_hash();
            let paths = damaged(&disk);
            paths.iter().for_each(|path| disk.flip_bit(path, 9_000, 3).unwrap());
            let (after, _) = around(&disk.crash(Survival::None, 3), 4);
            assert_eq!(verify("/store", &after).unwrap().code, exit::CORRUPT, "without a scrub");

            full(&disk);
            let (scrub, lines) = collect(|| database.scrub().unwrap());
            let corrupt = ("scrub-4", Some(Verdict::Corrupt));
            assert_eq!(labels(&scrub), vec![corrupt; paths.len()]);
            let told = |line: &str| line.starts_with("scrub: scrub-4 corrupt: shards/0/");
            let told = lines.iter().find(|(level, line)| *level == Level::ERROR && told(line));
            assert!(told.unwrap().1.contains("Do not kill it before"), "{told:?}");
            assert!(lines.contains(&(Level::INFO, "scrub done".to_owned())), "{lines:?}");
            let (scrub, lines) = collect(|| database.scrub().unwrap());
            assert_eq!(labels(&scrub), vec![corrupt; paths.len()], "it stays noted");
            assert!(lines.iter().all(|(level, _)| *level != Level::ERROR), "told once: {lines:?}");

            disk.clear_faults();
            match by {
                By::Scrub => {
                    let label = if paths.len() == 1 { "scrub-3" } else { "scrub-1" };
                    let scrub = database.scrub().unwrap();
                    // Both were noted: the first look has both replaced.
                    assert_eq!(labels(&scrub), [(label, HEALED)]);
                }
                By::Clock => {
                    clock.advance_ms(61_000);
                    database.tick().unwrap();
                }
                By::Close => database.close().unwrap(),
            }
            assert_eq!(comes_back(&disk, hash, "replaced"), exit::CLEAN);
        }
    }
}

/// A damaged header, a missing file, another length, two neighbours, the active segment: whatever
/// it is, it is out of use after one scrub, also on a store in which nothing happens.
#[test]
fn every_kind_of_damage_is_found_and_replaced() {
    type Do = dyn Fn(&SimulatedDisk, &[PathBuf]);
    let damages: [(&str, usize, &Do); 7] = [
        ("the header", 1, &|disk, all| disk.flip_bit(&all[all.len() - 2], 30, 1).unwrap()),
        ("a frame", 1, &|disk, all| disk.flip_bit(&all[all.len() - 2], 5_000, 1).unwrap()),
        ("missing", 1, &|disk, all| disk.remove_file(&all[all.len() - 2]).unwrap()),
        ("cut", 1, &|disk, all| {
            let file = disk.open_write(&all[all.len() - 2]).unwrap();
            file.set_len(file.len().unwrap() - 1).unwrap();
        }),
        ("two neighbours", 1, &|disk, all| {
            disk.flip_bit(&all[all.len() - 2], 30, 1).unwrap();
            disk.flip_bit(&all[all.len() - 3], 30, 1).unwrap();
        }),
        ("the frames in front of a header", 1, &|disk, all| {
            disk.flip_bit(&all[all.len() - 2], 30, 1).unwrap();
            disk.flip_bit(&all[all.len() - 3], 5_000, 1).unwrap();
        }),
        ("the active one's header", 1, &|disk, all| {
            disk.flip_bit(&all[all.len() - 1], 30, 1).unwrap();
        }),
    ];
    for (what, findings, damage) in damages {
        for idle in [false, true] {
            let (disk, _, database) = specimen(1);
            if idle {
                database.checkpoint().unwrap();
            }
            let hash = database.state_hash();
            let mut all = sealed(&disk);
            all.push(active(&disk));
            damage(&disk, &all);
            let what = format!("{what} (idle: {idle})");
            let scrub = database.scrub().unwrap();
            assert_eq!(scrub.findings.len(), findings, "{what}: {scrub:?}");
            assert_eq!(scrub.findings[0].verdict, HEALED, "{what}: {scrub:?}");
            assert_eq!(comes_back(&disk, hash, &what), exit::CLEAN, "{what}");
            assert_eq!(database.scrub().unwrap().findings, vec![], "{what}");
        }
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

/// A crash at every operation of a scrub that replaces a checkpoint loses nothing: there is always
/// another one.
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

/// Waits, and no longer than a machine that does other things needs.
fn await_that(holds: impl Fn() -> bool) {
    let clock = Env::real().clock;
    let began_ms = clock.boot_ms();
    while !holds() {
        assert!(clock.boot_ms() - began_ms < 60_000, "it does not come");
        std::thread::yield_now();
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
    await_that(|| database.scrubs().rounds >= 3);
    assert_eq!(database.scrubs().findings, 0);
    database.close().unwrap();

    let slow = Options { scrub_bytes_per_second: 1, ..options.clone() };
    let database = Database::open_with(&store, slow, Env::real()).unwrap();
    // In the middle of the first read that may take a day.
    await_that(|| database.scrubs().begun == 1);
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
