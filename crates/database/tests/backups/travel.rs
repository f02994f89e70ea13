//! Backups hold what was acknowledged, and a restore goes to any moment between them.

use std::path::Path;

use rekindle_database::{Error, Kind, Manifest, Moment, list_backups, verify, verify_backup};
use rekindle_env::{Disk, Env, ReadDisk, SimulatedDisk};

use super::{BACKUPS, RESTORED, back_up, bring_back, open_at};
use crate::support::{get, open, put, simulated};

/// Everything acknowledged before comes back, the store goes on behind it in a lineage of its own,
/// and starts clean.
#[test]
fn a_restored_store_goes_on() {
    let (_, env, clock) = simulated(1);
    let database = open(&env);
    let keyspace = database.keyspace("things").unwrap();
    for n in 0..50 {
        put(&database, keyspace, &format!("k{n:02}"), "1");
        clock.advance_ms(10);
    }
    let backup = back_up(&database);
    let manifest = &backup.manifest;
    assert_eq!((manifest.number, manifest.version, manifest.earlier), (1, 51, None));
    assert!(backup.continuous && backup.linked > 0 && backup.copied == 0);
    let (hash, incarnation) = (database.state_hash(), database.incarnation());
    put(&database, keyspace, "later", "1");

    let restored = bring_back(&env, RESTORED, Moment::Newest).unwrap();
    assert_eq!((restored.version, restored.next_version, restored.backup), (51, 52, 1));
    assert_eq!(restored.next_position, restored.position + 1);
    assert_eq!((restored.state_hash, restored.store_id.as_str()), (hash, &*manifest.store_id));
    assert_ne!(restored.lineage, manifest.lineage);
    assert_eq!(restored.keyspaces, [("things".to_owned(), 50)]);
    let value = restored.view.get(keyspace, b"k49").unwrap().unwrap();
    assert_eq!(&*value.bytes, b"1");

    assert_eq!(verify(RESTORED, &env).unwrap().code, 0);
    let again = open_at(&env, RESTORED);
    assert_eq!((again.report().code, again.state_hash()), (0, hash));
    assert_eq!(again.incarnation(), incarnation + 1, "runs are never used again");
    assert_eq!(get(&again, keyspace, "later"), None);
    assert!(again.log_time_ms() >= restored.log_time_ms);
    assert_eq!(put(&again, keyspace, "more", "1"), 52);
    again.checkpoint().unwrap();
    drop(again);
    let again = open_at(&env, RESTORED);
    assert_eq!((again.report().code, again.current_version()), (0, 52));
    // A backup of the new lineage does not go where the old one's are.
    let error = again.backup(Path::new(BACKUPS)).unwrap_err();
    assert!(error.to_string().contains("lineage"), "{error}");
    let second = again.backup(Path::new("/others")).unwrap();
    assert_eq!(second.manifest.lineage, restored.lineage);
}

/// Show 2: sends, a backup, more sends, an incremental one; each moment between is brought back as
/// it was.
#[test]
fn every_moment_between_backups_comes_back() {
    let (disk, env, clock) = simulated(2);
    let database = open(&env);
    let keyspace = database.keyspace("things").unwrap();
    let mut moments = Vec::new();
    let mut live = Vec::new();
    let mut remember = |database: &rekindle_database::Database| {
        let stats = database.stats();
        let hash = database.state_hash();
        moments.push((database.current_version(), stats.durable_position, hash));
    };
    for n in 0..10 {
        put(&database, keyspace, &format!("a{n}"), "1");
    }
    let first = back_up(&database);
    for n in 0..30 {
        clock.advance_ms(100);
        put(&database, keyspace, &format!("b{n:02}"), &"x".repeat(5_000));
        live.push(database.log_time_ms());
        remember(&database);
        if n % 10 == 4 {
            clock.advance_ms(1);
            let backup = back_up(&database);
            assert!(backup.continuous, "{backup:?}");
        }
        if n == 12 || n == 22 {
            database.checkpoint().unwrap();
        }
    }
    clock.advance_ms(1);
    let last = back_up(&database);
    assert_eq!((last.manifest.number, list_backups(BACKUPS.as_ref(), &env).unwrap().len()), (5, 5));
    assert_eq!(verify_backup(BACKUPS.as_ref(), &env).unwrap().findings, []);
    let hash = database.state_hash();
    drop(database);
    // What comes back comes from the backups alone.
    disk.rename(Path::new("/store"), Path::new("/lost")).unwrap();

    let mut count = 0;
    let mut at = |moment: Moment, expected: (u64, u128)| {
        count += 1;
        let restored = bring_back(&env, &format!("/restored-{count}"), moment).unwrap();
        assert_eq!((restored.version, restored.state_hash), expected, "{moment}");
        assert!(restored.next_version > last.manifest.version);
        assert!(restored.next_position > last.manifest.position);
        count
    };
    for (index, (version, position, hash)) in moments.iter().copied().enumerate() {
        at(Moment::Version(version), (version, hash));
        at(Moment::Position(position), (version, hash));
        at(Moment::Time(live[index]), (version, hash));
        let until = (live[index] + 99).min(last.manifest.until_ms);
        at(Moment::Time(until), (version, hash));
    }
    let number = at(Moment::Newest, (last.manifest.version, hash));
    let again = open_at(&env, &format!("/restored-{number}"));
    assert_eq!(again.state_hash(), hash);
    drop(again);
    let again = open_at(&env, "/restored-1");
    let version = put(&again, keyspace, "on", "1");
    assert_eq!(version, last.manifest.version + 1, "no version is used twice");

    outside_is_refused(&disk, &env, &first.manifest, &last.manifest);
}

/// Moments behind the last backup and before the first are refused with what there is.
fn outside_is_refused(disk: &SimulatedDisk, env: &Env, first: &Manifest, end: &Manifest) {
    for behind in [
        Moment::Version(end.version + 1),
        Moment::Position(end.position + 1),
        Moment::Time(end.until_ms.max(end.log_time_ms) + 1),
        Moment::Version(0),
        Moment::Position(first.checkpoint.position - 1),
        Moment::Time(first.checkpoint.log_time_ms - 1),
    ] {
        let error = bring_back(env, "/never", behind).unwrap_err();
        assert_eq!((error.kind(), error.exit_code()), (Kind::Invalid, 1), "{error}");
        assert!(error.to_string().contains("what can be restored is version"), "{error}");
        assert!(disk.stat(Path::new("/never")).unwrap().is_none());
    }
}

/// What the server gave back between two backups is a gap, and it is told.
#[test]
fn a_gap_between_backups_is_told() {
    let (_, env, clock) = simulated(3);
    let database = open(&env);
    let keyspace = database.keyspace("things").unwrap();
    put(&database, keyspace, "a", "1");
    let first = back_up(&database);
    let (mut inside, value) = (0, "x".repeat(30_000));
    for round in 0..6 {
        for n in 0..6 {
            clock.advance_ms(10);
            let version = put(&database, keyspace, &format!("k{n}"), &format!("{round}{value}"));
            inside = if round == 1 { version } else { inside };
        }
        database.checkpoint().unwrap();
    }
    let second = back_up(&database);
    assert!(!second.continuous);
    assert_eq!(verify_backup(BACKUPS.as_ref(), &env).unwrap().findings, []);
    let (one, two) = (first.manifest.version, second.manifest.version);
    let error = bring_back(&env, "/never", Moment::Version(inside)).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::Invalid(_)) && text.contains(", and version"), "{text}");
    let moments = [one, two, second.manifest.checkpoint.version];
    for (index, version) in moments.into_iter().enumerate() {
        let to = format!("/restored-{index}");
        assert_eq!(bring_back(&env, &to, Moment::Version(version)).unwrap().version, version);
    }
}

/// Two backups with nothing in between: the second one has no new files, and no new segment is
/// made.
#[test]
fn a_backup_of_nothing_new_costs_nothing() {
    let (_, env, _) = simulated(4);
    let database = open(&env);
    let keyspace = database.keyspace("things").unwrap();
    put(&database, keyspace, "a", "1");
    let first = back_up(&database);
    let second = back_up(&database);
    assert_eq!((second.linked, second.copied), (0, 0));
    assert_eq!(second.manifest.segments, first.manifest.segments);
    assert_eq!((second.manifest.number, second.manifest.earlier), (2, Some(1)));
    // And after a clean end and another start.
    database.close().unwrap();
    drop(database);
    let database = open(&env);
    let third = back_up(&database);
    assert_eq!((third.manifest.version, third.manifest.incarnation), (2, 2));
    assert!(third.continuous);
    assert_eq!(verify_backup(BACKUPS.as_ref(), &env).unwrap().findings, []);
    let restored = bring_back(&env, RESTORED, Moment::Newest).unwrap();
    assert_eq!(restored.state_hash, database.state_hash());
    assert_eq!(restored.next_incarnation, 3);
}
