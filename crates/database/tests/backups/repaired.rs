//! A repaired store, whose journal has records that stand for what is lost, is backed up and
//! restored like any other.

use std::path::Path;

use rekindle_database::{
    Database, KeyspaceId, Moment, RepairOptions, RestoredBy, list_backups, repair, restore_as,
    verify, verify_backup,
};
use rekindle_env::{Env, Fault, FaultError, OperationKind, ReadDisk, SimulatedDisk};
use rekindle_recovery::{Verdict, exit};

use super::{BACKUPS, RESTORED, back_up, bring_back, open_at};
use crate::support::{get, open, put, simulated};

/// Damages the second frame of a segment, and goes on without it.
fn mend(disk: &SimulatedDisk, env: &Env, segment: usize) {
    mend_at(disk, env, segment, &[21_000]);
}

/// The same at these places of a segment, which make one range.
fn mend_at(disk: &SimulatedDisk, env: &Env, segment: usize, places: &[u64]) {
    let segments = disk.list(Path::new("/store/shards/0/journal")).unwrap();
    assert!(segments.len() > 3, "{segments:?}");
    let segment = format!("/store/shards/0/journal/{}", segments[segment].name);
    for place in places {
        disk.flip_bit(&segment, 4_096 + place, 1).unwrap();
    }
    let found = verify("/store", env).unwrap();
    assert_eq!(found.code, exit::CORRUPT);
    let corrupt = found.findings().filter(|it| it.verdict == Some(Verdict::Corrupt));
    let accept: Vec<_> = corrupt.map(|it| it.place.from..it.place.to).collect();
    assert_eq!(accept.len(), 1);
    repair("/store", &RepairOptions { accept, ..RepairOptions::default() }, env).unwrap();
}

/// A store of several segments without a checkpoint behind the first, damaged in one of them, and
/// repaired without what was there.
fn mended(damaged: usize) -> (Env, Database, KeyspaceId) {
    let (disk, env, clock) = simulated(12);
    let database = open(&env);
    let keyspace = database.keyspace("things").unwrap();
    put(&database, keyspace, "first", "1");
    database.checkpoint().unwrap();
    for n in 0..12 {
        put(&database, keyspace, &format!("k{n:02}"), &"x".repeat(20_000));
        clock.advance_ms(10);
    }
    database.close().unwrap();
    drop(database);
    mend(&disk, &env, damaged);
    let database = open(&env);
    assert!(!database.accepted_losses().is_empty(), "the loss is still to be replayed");
    (env, database, keyspace)
}

/// Position, version and state hash.
type Standing = (u64, u64, u128);

fn standing(database: &Database) -> Standing {
    let position = database.stats().durable_position;
    (position, database.current_version(), database.state_hash())
}

/// So many values, of which a few fill a segment.
fn put_large(database: &Database, keyspace: KeyspaceId, name: &str, count: u64) {
    for n in 0..count {
        put(database, keyspace, &format!("{name}{n}"), &"x".repeat(20_000));
    }
}

/// Each of these is brought back as it was, by its version and by its position.
fn comes_back(env: &Env, states: &[Standing]) {
    for (position, version, hash) in states {
        for moment in [Moment::Version(*version), Moment::Position(*position)] {
            let back = bring_back(env, &format!("/{moment}"), moment).unwrap();
            assert_eq!((back.version, back.state_hash), (*version, *hash), "{moment}");
        }
    }
}

/// Whichever segment was damaged: the backup holds what stayed in front of it, what was written
/// anew, and the record that stands for the rest.
#[test]
fn a_repaired_store_is_backed_up_and_restored() {
    for damaged in 0..3 {
        let (env, database, keyspace) = mended(damaged);
        let first = back_up(&database);
        let (hash, version) = (database.state_hash(), database.current_version());
        assert_eq!(first.manifest.version, version);
        assert!(first.manifest.checkpoint.version < version, "it replays the loss");
        let is_there = |n: &usize| get(&database, keyspace, &format!("k{n:02}")).is_some();
        assert_eq!((0..12).filter(is_there).count(), 11, "one is lost, damage {damaged}");
        put(&database, keyspace, "more", "1");
        let second = back_up(&database);
        assert_eq!(verify_backup(BACKUPS.as_ref(), &env).unwrap().findings, []);
        assert_eq!(list_backups(BACKUPS.as_ref(), &env).unwrap().len(), 2);

        for (to, moment) in [
            ("/by-version", Moment::Version(version)),
            ("/by-position", Moment::Position(first.manifest.position)),
        ] {
            let back = bring_back(&env, to, moment).unwrap();
            assert_eq!((back.version, back.state_hash), (version, hash), "{moment}");
            assert_eq!(open_at(&env, to).state_hash(), hash);
        }
        let newest = bring_back(&env, RESTORED, Moment::Newest).unwrap();
        assert_eq!(newest.version, second.manifest.version);
        let again = open_at(&env, RESTORED);
        assert_eq!((again.report().code, again.state_hash()), (0, database.state_hash()));
    }
}

/// What a backup had before the damage comes back from it, not from the record of its loss.
#[test]
fn what_was_backed_up_in_time_is_not_lost() {
    let (disk, env, _) = simulated(15);
    let error = FaultError::Kind(std::io::ErrorKind::CrossesDevices);
    disk.inject(Fault::error(OperationKind::HardLink, error).forever());
    let database = open(&env);
    let keyspace = database.keyspace("things").unwrap();
    put(&database, keyspace, "first", "1");
    back_up(&database);
    let mut states = Vec::new();
    for n in 0..8 {
        put(&database, keyspace, &format!("b{n}"), &"x".repeat(20_000));
        states.push(standing(&database));
    }
    back_up(&database);
    database.close().unwrap();
    drop(database);
    mend(&disk, &env, 1);
    let database = open(&env);
    put(&database, keyspace, "more", "1");
    let last = back_up(&database);
    assert_eq!(verify_backup(BACKUPS.as_ref(), &env).unwrap().findings, []);
    comes_back(&env, &states);
    let back = bring_back(&env, RESTORED, Moment::Version(last.manifest.version)).unwrap();
    assert_eq!(back.state_hash, database.state_hash());
}

/// Backups from before the damage and behind the repair stand in one directory, and each moment
/// comes back as it was then.
#[test]
fn backups_go_on_behind_a_repair() {
    let (disk, env, _) = simulated(14);
    let database = open(&env);
    let keyspace = database.keyspace("things").unwrap();
    put_large(&database, keyspace, "a", 4);
    let before = back_up(&database);
    let before_hash = database.state_hash();
    put_large(&database, keyspace, "b", 7);
    database.close().unwrap();
    drop(database);
    mend(&disk, &env, 2);
    let database = open(&env);
    let after = back_up(&database);
    assert!(after.continuous, "{after:?}");
    put(&database, keyspace, "more", "1");
    back_up(&database);
    assert_eq!(verify_backup(BACKUPS.as_ref(), &env).unwrap().findings, []);
    let then = bring_back(&env, "/then", Moment::Version(before.manifest.version)).unwrap();
    assert_eq!(then.state_hash, before_hash);
    let now = bring_back(&env, RESTORED, Moment::Newest).unwrap();
    assert_eq!(now.state_hash, database.state_hash());
}

/// Who restored a store, and why, stands in it until it was told; a second restore over an
/// interrupted one tells of itself.
#[test]
fn a_restored_store_knows_who_restored_it() {
    let (disk, env, _) = simulated(13);
    let database = open(&env);
    let keyspace = database.keyspace("things").unwrap();
    put(&database, keyspace, "a", "1");
    let backup = back_up(&database);
    assert_eq!(database.restored_by().unwrap(), None);
    database.forget_restore().unwrap_err();
    let from = Path::new(BACKUPS);
    let by = RestoredBy { who: "ada".to_owned(), reason: "the disk \"died\"\n".repeat(200) };
    let restored = restore_as(from, RESTORED.as_ref(), Moment::Newest, &by, &env).unwrap();
    let again = open_at(&env, RESTORED);
    let note = again.restored_by().unwrap().unwrap();
    assert_eq!((note.who.as_str(), note.reason.len()), ("ada", 1_024), "{note:?}");
    assert_eq!((note.backup, note.version), (1, backup.manifest.version));
    assert_eq!(
        (note.lineage, note.of_lineage),
        (restored.lineage.clone(), backup.manifest.lineage)
    );
    again.forget_restore().unwrap();
    assert_eq!(again.restored_by().unwrap(), None);
    drop(again);

    // A note of another store, and one that says nothing: it was restored, that is all.
    let mut image = disk.image();
    for text in ["{\"who\":\"eve\",\"lineage\":\"00\",\"version\":9}", "{", &"x".repeat(70_000)] {
        image.write_file(format!("{RESTORED}/restored.json"), text.as_bytes()).unwrap();
        let disk = rekindle_env::SimulatedDisk::from_image(image.clone(), 1);
        let (env, _) = crate::support::around(&disk, 1);
        let note = open_at(&env, RESTORED).restored_by().unwrap().unwrap();
        assert_eq!((note.who.as_str(), note.version), ("", 0));
        assert_eq!(note.lineage, restored.lineage);
    }
}

/// A moment inside of what was given up is nowhere, and no damage: it is refused with what there
/// is. The moments behind it come back, although an earlier backup has the segment that the repair
/// replaced, and no checkpoint lies between.
#[test]
fn a_moment_in_a_loss_is_refused_and_those_behind_it_come_back() {
    let (disk, env, _) = simulated(16);
    let error = FaultError::Kind(std::io::ErrorKind::CrossesDevices);
    disk.inject(Fault::error(OperationKind::HardLink, error).forever());
    let database = open(&env);
    let keyspace = database.keyspace("things").unwrap();
    put(&database, keyspace, "first", "1");
    let first = back_up(&database).manifest;
    put_large(&database, keyspace, "b", 8);
    database.close().unwrap();
    drop(database);
    mend_at(&disk, &env, 2, &[21_000, 41_000]);
    let database = open(&env);
    let loss = database.accepted_losses()[0].clone();
    let mut states = Vec::new();
    for n in 0..3 {
        put(&database, keyspace, &format!("c{n}"), "1");
        states.push(standing(&database));
    }
    back_up(&database);
    assert!(loss.from_position < loss.to_position, "{loss:?}");
    // The last one of the range is the moment of the record that stands for it.
    let mut lost = vec![Moment::Version(loss.next_version - 2)];
    lost.extend((loss.from_position..loss.to_position).map(Moment::Position));
    for moment in lost {
        let error = bring_back(&env, "/never", moment).map(|it| it.version).unwrap_err();
        let text = error.to_string();
        assert_eq!(error.exit_code(), exit::REFUSED, "{text}");
        assert!(text.contains("lies in what a repair gave up"), "{text}");
        assert!(text.contains("what can be restored is version"), "{text}");
        assert!(disk.stat(Path::new("/never")).unwrap().is_none());
    }
    assert!(states.iter().all(|(_, version, _)| *version > first.version));
    comes_back(&env, &states);
}

/// The segment that an earlier backup has is replaced by a repair: the moments between the repair
/// and the next checkpoint come back by way of what replaced it.
#[test]
fn what_replaced_a_backed_up_segment_is_no_gap() {
    let (disk, env, _) = simulated(17);
    let error = FaultError::Kind(std::io::ErrorKind::CrossesDevices);
    disk.inject(Fault::error(OperationKind::HardLink, error).forever());
    let database = open(&env);
    let keyspace = database.keyspace("things").unwrap();
    put(&database, keyspace, "first", "1");
    back_up(&database);
    put_large(&database, keyspace, "b", 8);
    back_up(&database);
    database.close().unwrap();
    drop(database);
    mend(&disk, &env, 1);
    let database = open(&env);
    let mut states = Vec::new();
    for n in 0..4 {
        put(&database, keyspace, &format!("c{n}"), "1");
        states.push(standing(&database));
    }
    database.checkpoint().unwrap();
    put(&database, keyspace, "more", "1");
    back_up(&database);
    assert_eq!(verify_backup(BACKUPS.as_ref(), &env).unwrap().findings, []);
    comes_back(&env, &states);
}
