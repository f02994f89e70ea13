//! Repair: what an operator accepts is given up, everything else stays; crashed at every operation.

// What is accepted is a list of ranges, often of one.
#![allow(clippy::single_range_in_vec_init)]

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use rekindle_database::{
    Database, DumpLine, Error, KeyspaceId, Kind, Operation, Repair, RepairOptions, dump,
    plan_repair, repair, verify,
};
use rekindle_env::{Env, Image, ReadDisk, SimulatedDisk, Survival};
use rekindle_recovery::{Finding, Report, Verdict, exit};

use crate::support::{ALL, around, get, open, put, simulated};

const STORE: &str = "/store";

/// What a transaction did, and where its frame stands.
#[derive(Clone, Debug)]
struct Written {
    version: u64,
    frame: Range<u64>,
    /// Key and value; `None`: deleted.
    changes: Vec<(u16, Vec<u8>, Option<Vec<u8>>)>,
}

/// A directory and the whole truth about it.
struct Specimen {
    image: Image,
    written: Vec<Written>,
    /// The version that the newest checkpoint holds.
    checkpoint: u64,
    /// The last position and version.
    last: (u64, u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Closed,
    Idle,
    Killed,
}

fn at(image: &Image) -> (SimulatedDisk, Env) {
    let disk = SimulatedDisk::from_image(image.clone(), 1);
    let env = around(&disk, 2).0;
    (disk, env)
}

/// A few runs of puts and deletes of different sizes, with or without checkpoints.
fn specimen(seed: u64, checkpoints: bool, ending: Ending) -> Specimen {
    let mut random = fastrand::Rng::with_seed(seed);
    let (disk, env, _) = simulated(seed);
    let mut checkpoint = 0;
    for run in 0..3 {
        let database = open(&env);
        let keyspaces = ["things", "others"].map(|name| database.keyspace(name).unwrap());
        for round in 0..24 {
            let mut transaction = database.begin();
            for _ in 0..random.u8(1..4) {
                let keyspace = keyspaces[random.usize(0..2)];
                let key = format!("key {}", random.u8(0..30));
                if random.u8(0..5) == 0 {
                    transaction.delete(keyspace, key.as_bytes());
                } else {
                    let value = vec![random.u8(..); random.usize(1..6_000)];
                    transaction.put(keyspace, key.as_bytes(), &value);
                }
            }
            transaction.commit().unwrap();
            if checkpoints && run < 2 && round == 12 {
                database.checkpoint().unwrap();
                checkpoint = database.current_version();
            }
        }
        match (run, ending) {
            (2, Ending::Killed) => {}
            (2, Ending::Idle) => (0..2).for_each(|_| database.tick().unwrap()),
            _ => database.close().unwrap(),
        }
    }
    let image = disk.crash(Survival::All, seed).image();
    let (written, position) = written(&image);
    let version = written.last().unwrap().version;
    Specimen { image, written, checkpoint, last: (position, version) }
}

/// Every transaction of the journal, with the frame that it stands in.
fn written(image: &Image) -> (Vec<Written>, u64) {
    let (mut all, mut frame, mut last) = (Vec::<Written>::new(), 0..0, 0);
    dump(STORE, &at(image).1, &mut |line| {
        match line {
            DumpLine::Frame { place, .. } => frame = place.from..place.to,
            DumpLine::Record { position, .. } => last = position,
            DumpLine::Transaction { version, .. } => {
                let version = version.unwrap();
                all.push(Written { version, frame: frame.clone(), changes: Vec::new() });
            }
            DumpLine::Operation(operation) => {
                let change = match operation {
                    Operation::Put { keyspace, key, value } => {
                        (keyspace.0, key.to_vec(), Some(value.to_vec()))
                    }
                    Operation::Delete { keyspace, key } => (keyspace.0, key.to_vec(), None),
                    Operation::DeleteRange { .. } => panic!("none is written here"),
                };
                all.last_mut().unwrap().changes.push(change);
            }
            _ => {}
        }
        Ok(())
    })
    .unwrap();
    (all, last)
}

type Rows = BTreeMap<(u16, Vec<u8>), (u64, Vec<u8>)>;

/// The rows that must be there: of the checkpoint, and of every frame outside of these ranges.
fn expected(base: &Rows, specimen: &Specimen, lost: &[Range<u64>]) -> Rows {
    let mut rows = base.clone();
    for one in &specimen.written {
        let hit = lost.iter().any(|it| it.start < one.frame.end && one.frame.start < it.end);
        if one.version <= specimen.checkpoint || hit {
            continue;
        }
        for (keyspace, key, value) in &one.changes {
            match value {
                Some(value) => {
                    rows.insert((*keyspace, key.clone()), (one.version, value.clone()));
                }
                None => {
                    rows.remove(&(*keyspace, key.clone()));
                }
            }
        }
    }
    rows
}

fn rows_at(database: &Database, version: Option<u64>) -> Rows {
    let snapshot = match version {
        Some(version) => database.snapshot_at(version).unwrap(),
        None => database.snapshot().unwrap(),
    };
    let mut rows = Rows::new();
    for keyspace in 0..3 {
        let found = snapshot.scan(KeyspaceId(keyspace), ALL, 10_000, false).unwrap();
        rows.extend(
            found
                .into_iter()
                .map(|row| ((keyspace, row.key.to_vec()), (row.version, row.value.to_vec()))),
        );
    }
    rows
}

/// What the newest checkpoint holds.
fn base(specimen: &Specimen) -> Rows {
    if specimen.checkpoint == 0 {
        return Rows::new();
    }
    let database = open(&at(&specimen.image).1);
    rows_at(&database, Some(specimen.checkpoint))
}

fn corrupt(report: &Report) -> Vec<&Finding> {
    report.findings().filter(|it| it.verdict == Some(Verdict::Corrupt)).collect()
}

fn ranges(report: &Report, verdict: Verdict) -> Vec<Range<u64>> {
    let found = report.findings().filter(|it| it.verdict == Some(verdict));
    found.map(|it| it.place.from..it.place.to).collect()
}

fn accepting(accept: Vec<Range<u64>>) -> RepairOptions {
    let text = |text: &str| text.to_owned();
    RepairOptions { accept, who: text("me"), reason: text("a \"test\""), program: text("0.1") }
}

/// Repairs by what `verify` says; answers what was done and what it accepted.
fn repaired(env: &Env) -> Result<(Repair, Vec<Range<u64>>), Error> {
    let report = verify(STORE, env).unwrap();
    assert_eq!(report.code, exit::CORRUPT);
    let accept = ranges(&report, Verdict::Corrupt);
    let plan = plan_repair(STORE, &accepting(accept.clone()), env)?;
    let done = repair(STORE, &accepting(accept.clone()), env)?;
    assert_eq!((&plan.losses, plan.version), (&done.losses, done.version), "the plan is done");
    assert!(plan.segments.is_empty() && !done.segments.is_empty());
    let again = repair(STORE, &accepting(accept.clone()), env).unwrap_err();
    assert_eq!((again.kind(), again.exit_code()), (Kind::Invalid, 1), "{again}");
    assert!(again.to_string().contains("nothing to repair"), "{again}");
    Ok((done, accept))
}

/// A damage of the journal.
fn damage(image: &mut Image, random: &mut fastrand::Rng) -> String {
    let of = |(path, len): (PathBuf, u64)| {
        path.to_string_lossy().contains("/journal/").then_some((path, len))
    };
    let segments: Vec<(PathBuf, u64)> = image.files().into_iter().filter_map(of).collect();
    let (path, len) = segments[random.usize(0..segments.len())].clone();
    let used = image.read(&path).unwrap().iter().rposition(|byte| *byte != 0).unwrap() as u64 + 1;
    let what = match random.u8(0..9) {
        0 => {
            image.remove(&path).unwrap();
            "missing".to_owned()
        }
        1 => {
            let len = random.u64(4096..len);
            image.truncate(&path, len).unwrap();
            format!("cut to {len}")
        }
        2 => {
            image.flip(&path, random.u64(0..4096 * 8)).unwrap();
            "a damaged header".to_owned()
        }
        3 => {
            let from = random.u64(4096..used.max(4097));
            image.zero(&path, from..len).unwrap();
            format!("zero from {from}")
        }
        4 | 5 => {
            let from = random.u64(8..used / 512 + 9) * 512;
            let to = (from + 512 * random.u64(1..40)).min(len);
            image.zero(&path, from.min(to)..to).unwrap();
            format!("zero in {from}..{to}")
        }
        _ => {
            let bit = random.u64(4096 * 8..used.max(4097) * 8);
            image.flip(&path, bit).unwrap();
            format!("bit {bit}")
        }
    };
    format!("{}: {what}", path.display())
}

/// No position, version or run is used twice, over a crash and a close.
fn goes_on(env: &Env, what: &str) {
    let database = open(env);
    let (hash, version) = (database.state_hash(), database.current_version());
    drop(database);
    let database = open(env);
    assert_eq!(database.state_hash(), hash, "{what}: recovered twice");
    let things = database.keyspace("things").unwrap();
    let first = put(&database, things, "after", "1");
    assert!(first > version, "{what}");
    let position = database.stats().durable_position;
    database.checkpoint().unwrap();
    let second = put(&database, things, "behind", "1");
    drop(database);
    let database = open(env);
    assert_eq!(get(&database, things, "behind").as_deref(), Some("1"), "{what}");
    assert_eq!(database.current_version(), second);
    assert!(database.stats().durable_position > position, "{what}");
    database.close().unwrap();
    let report = verify(STORE, env).unwrap();
    let found: Vec<&Finding> = report.findings().filter(|it| it.verdict.is_some()).collect();
    assert!([exit::CLEAN, exit::HEALED].contains(&report.code), "{what}: {found:?}");
}

/// Random histories, random damage: everything outside of the accepted ranges stays, with its
/// version, and nothing of what stood inside comes back.
///
/// fault: S7, S9, S12, S13
#[test]
fn what_was_not_accepted_stays() {
    let mut tally = BTreeMap::<&str, u32>::new();
    for seed in 0..120 {
        let mut random = fastrand::Rng::with_seed(seed);
        let ending = [Ending::Closed, Ending::Idle, Ending::Killed][seed as usize % 3];
        let specimen = specimen(seed / 6, seed % 2 == 0, ending);
        let base = base(&specimen);
        for _ in 0..6 {
            let mut image = specimen.image.clone();
            let damages: Vec<String> =
                (0..random.u8(1..3)).map(|_| damage(&mut image, &mut random)).collect();
            let what = format!("seed {seed}, {ending:?}, {}", damages.join("; "));
            let (_, env) = at(&image);
            let report = verify(STORE, &env).unwrap();
            if report.code != exit::CORRUPT {
                *tally.entry("not corrupt").or_default() += 1;
                continue;
            }
            let torn = ranges(&report, Verdict::Torn);
            let (done, accepted) = match repaired(&env) {
                Ok(done) => done,
                Err(error) => panic!("{what}: {error}"),
            };
            let after = verify(STORE, &env).unwrap();
            assert!([exit::CLEAN, exit::HEALED].contains(&after.code), "{what}: {after:?}");
            let database = open(&env);
            let lost = [accepted, torn].concat();
            let found = rows_at(&database, None);
            assert!(found == expected(&base, &specimen, &lost), "{what}: {done:?}");
            assert_eq!(database.current_version(), done.version, "{what}");
            // Where the end is lost, everything that it can have held is behind.
            let lost_end = done.losses.last().is_some_and(|loss| !loss.exact);
            let position = database.stats().durable_position;
            assert!(!lost_end || position >= specimen.last.0, "{what}: {position}");
            assert!(!lost_end || done.version >= specimen.last.1, "{what}: {done:?}");
            // Each decision leaves a trace; only where something is lost does it say so.
            let losses = database.accepted_losses();
            assert!(!losses.is_empty(), "{what}");
            let held = losses.iter().any(|loss| loss.held_records);
            assert_eq!(held, !done.losses.is_empty(), "{what}: {losses:?}");
            *tally.entry("repaired").or_default() += 1;
            *tally.entry("lost nothing").or_default() += u32::from(done.losses.is_empty());
            *tally.entry("lost its end").or_default() += u32::from(lost_end);
            drop(database);
            goes_on(&env, &what);
        }
    }
    println!("{tally:?}");
    assert!(tally["repaired"] > 100 && tally["lost nothing"] > 3 && tally["lost its end"] > 10);
}

fn journal(image: &Image) -> Vec<PathBuf> {
    let files = image.files().into_iter().map(|(path, _)| path);
    files.filter(|path| path.to_string_lossy().contains("/journal/")).collect()
}

/// A crash at every operation leaves the corrupt store, which is repaired as before, or the
/// repaired one; never a third.
///
/// fault: S20
#[test]
fn a_crash_inside_a_repair_leaves_one_of_two_stores() {
    let mut crashes = 0;
    let whole = specimen(5, true, Ending::Idle);
    let bad_meta: &dyn Fn(&mut Image) = &|image| {
        image.flip(Path::new(STORE).join("shards/0/meta.a"), 900).unwrap();
    };
    let nothing: &dyn Fn(&mut Image) = &|_| {};
    for (also, name) in [(nothing, "meta whole"), (bad_meta, "a meta copy damaged")] {
        for damaged in 0..4 {
            let mut image = whole.image.clone();
            let segments = journal(&image);
            let (first, last) = (&segments[segments.len() - 3], segments.last().unwrap());
            match damaged {
                0 => image.flip(first, 5_000 * 8).unwrap(),
                1 => image.remove(first).unwrap(),
                2 => image.truncate(last, 5_000).unwrap(),
                _ => image.remove(last).unwrap(),
            }
            also(&mut image);
            // A segment that only the damaged copy names may never have served: no range says that.
            let named = ranges(&verify(STORE, &at(&image).1).unwrap(), Verdict::Corrupt);
            let report = verify(STORE, &at(&image).1).unwrap();
            if corrupt(&report).iter().any(|it| it.label.0 == "journal-14") {
                let error = repair(STORE, &accepting(named), &at(&image).1).unwrap_err();
                assert_eq!(error.exit_code(), exit::CORRUPT, "{error}");
                continue;
            }
            crashes += crash_everywhere(&image, &format!("damage {damaged}, {name}"));
        }
    }
    println!("{crashes} crashes");
    assert!(crashes > 1_000, "{crashes}");
}

fn crash_everywhere(damaged: &Image, what: &str) -> u64 {
    let (disk, env) = at(damaged);
    let (done, accepted) = repaired(&env).unwrap_or_else(|error| panic!("{what}: {error}"));
    let mut points = disk.trace().crash_points(damaged.clone());
    let hash = open(&env).state_hash();
    let mut crashes = 0;
    let judge = |image: Image, what: &str| {
        let (disk, env) = at(&image);
        let before = verify(STORE, &env).unwrap();
        match before.code {
            exit::CORRUPT => {
                assert_eq!(ranges(&before, Verdict::Corrupt), accepted, "{what}: other ranges");
                let again = repair(STORE, &accepting(accepted.clone()), &env);
                let again = again.unwrap_or_else(|error| panic!("{what}: {error}"));
                assert_eq!((&again.losses, again.version), (&done.losses, done.version), "{what}");
            }
            exit::CLEAN | exit::HEALED => {
                let again = repair(STORE, &accepting(accepted.clone()), &env).unwrap_err();
                assert!(again.to_string().contains("nothing to repair"), "{what}: {again}");
            }
            code => panic!("{what}: {code}: {:?}", before.findings().collect::<Vec<_>>()),
        }
        let database = open(&env);
        assert_eq!(database.state_hash(), hash, "{what}");
        drop(database);
        assert_eq!(verify(STORE, &env).unwrap().code, exit::CLEAN, "{what}");
        let kept = disk.list(&Path::new(STORE).join("quarantine")).unwrap();
        let folders = kept.iter().filter(|entry| entry.name.ends_with("-repair"));
        assert_eq!(folders.count(), 1, "{what}: {kept:?}");
    };
    while points.advance().is_some() {
        let at = points.position();
        for survival in Survival::EVERY {
            judge(points.survivors(survival, at as u64), &format!("{what}: at {at}, {survival:?}"));
            crashes += 1;
        }
        judge(points.after_kill(1).image(), &format!("{what}: killed at {at}"));
    }
    crashes
}

/// What was replaced is kept whole, with a note; and a range that is not named exactly is refused,
/// with what to accept, and nothing changes.
#[test]
fn only_named_ranges_are_given_up() {
    let whole = specimen(9, false, Ending::Closed);
    let refuse = |image: &Image, accept: Vec<Range<u64>>, says: &[&str]| {
        let (disk, env) = at(image);
        let error = repair(STORE, &accepting(accept), &env).unwrap_err();
        for part in says {
            assert!(error.to_string().contains(part), "{error}");
        }
        assert!(disk.trace().operations().is_empty(), "nothing is written");
        error.exit_code()
    };
    assert_eq!(refuse(&whole.image, vec![0..8], &["nothing to repair"]), 1);
    let mut image = whole.image.clone();
    let segments = journal(&image);
    image.flip(&segments[0], 5_000 * 8).unwrap();
    image.flip(&segments[1], 9_000 * 8).unwrap();
    let report = verify(STORE, &at(&image).1).unwrap();
    let found = ranges(&report, Verdict::Corrupt);
    let [first, second] = &found[..] else { panic!("{found:?}") };
    let flags = found.iter().map(|it| format!("--accept-loss {}..{}", it.start, it.end));
    let flags: Vec<String> = flags.collect();
    let says: Vec<&str> = flags.iter().map(String::as_str).chain(["journal-5"]).collect();
    for accept in [vec![], vec![first.clone()], vec![first.start..first.end + 8, second.clone()]] {
        assert_eq!(refuse(&image, accept, &says), 1);
    }
    let too_many = vec![first.clone(), second.clone(), 8..16];
    assert_eq!(refuse(&image, too_many, &["8..16 is not a corrupt range"]), 1);

    let (disk, env) = at(&image);
    let (done, _) = repaired(&env).unwrap();
    assert_eq!(done.losses.len(), 2);
    assert_eq!(corrupt(&verify(STORE, &env).unwrap()).len(), 0);
    let kept = Path::new(STORE).join(&done.kept);
    for seq in &done.replaced {
        let name = format!("{seq:016x}");
        let original = image.read(Path::new(STORE).join("shards/0/journal").join(&name));
        assert_eq!(disk.image().read(kept.join(&name)).unwrap(), original.unwrap());
    }
    let note = String::from_utf8(disk.image().read(kept.join("repair.json")).unwrap()).unwrap();
    assert!(note.contains(r#""who":"me","reason":"a \"test\"","#), "{note}");
    let database = open(&env);
    let losses = database.accepted_losses();
    let found = losses.iter().map(|loss| loss.from_lsn..loss.end_lsn).collect::<Vec<_>>();
    assert_eq!(found, [first.clone(), second.clone()]);
    for loss in losses {
        let (from, to, next) = (loss.from_position, loss.to_position, loss.next_version);
        let of_loss =
            format!("{{\"from_position\":{from},\"to_position\":{to},\"next_version\":{next},");
        assert_eq!(String::from_utf8_lossy(&loss.audit), of_loss + &note[1..]);
    }
}

/// Damage that no range names: metadata, checkpoints, segments of a newer program.
#[test]
fn what_no_range_passes_is_refused_with_the_ways_on() {
    let whole = specimen(11, true, Ending::Closed);
    let in_store = |path: &str| Path::new(STORE).join(path);
    let refuse = |damage: &dyn Fn(&mut Image)| {
        let mut image = whole.image.clone();
        damage(&mut image);
        let (disk, env) = at(&image);
        let error = repair(STORE, &accepting(vec![0..8]), &env).unwrap_err();
        assert!(disk.trace().operations().is_empty(), "nothing is written");
        (error.exit_code(), error.to_string())
    };
    let both = |names: [&'static str; 2]| {
        move |image: &mut Image| {
            names.iter().for_each(|name| image.flip(in_store(name), 300).unwrap());
        }
    };
    let checkpoints = |image: &mut Image| {
        let files = image.files().into_iter().map(|(path, _)| path);
        let named = files.filter(|path| path.extension().is_some_and(|it| it == "ckpt"));
        named.collect::<Vec<_>>().iter().for_each(|path| image.flip(path, 300).unwrap());
    };
    for damage in [
        &both(["shards/0/meta.a", "shards/0/meta.b"]) as &dyn Fn(&mut Image),
        &both(["store.a", "store.b"]),
        &checkpoints,
    ] {
        let (code, text) = refuse(damage);
        assert_eq!(code, exit::CORRUPT, "{text}");
        assert!(text.contains("restore a backup") && text.contains("salvage"), "{text}");
    }
}
