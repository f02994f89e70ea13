//! A crash at every operation of a backup and of a restore.

use std::path::Path;

use rekindle_database::{Database, Moment, list_backups, verify, verify_backup};
use rekindle_env::{Env, Fault, FaultError, Image, OperationKind, SimulatedDisk, Survival};

use super::{BACKUPS, RESTORED, back_up, bring_back, open_at};
use crate::support::{around, get, open, put};

/// A store with one backup and more behind it, on a disk without a history.
fn prepared(linking: bool) -> (Image, u128) {
    let disk = SimulatedDisk::new(1);
    let (env, _) = around(&disk, 1);
    forbid_links(&disk, linking);
    let database = open(&env);
    let keyspace = database.keyspace("things").unwrap();
    put(&database, keyspace, "a", "1");
    back_up(&database);
    let hash = database.state_hash();
    put(&database, keyspace, "b", "1");
    drop(database);
    (disk.image(), hash)
}

fn forbid_links(disk: &SimulatedDisk, linking: bool) {
    if !linking {
        let error = FaultError::Kind(std::io::ErrorKind::CrossesDevices);
        disk.inject(Fault::error(OperationKind::HardLink, error).forever());
    }
}

/// The earlier backup is whole, perhaps there is a second one, the store has lost nothing, and the
/// next backup works.
fn still_right(crashed: &SimulatedDisk, first: u128, linking: bool, what: &str) -> usize {
    let (env, _) = around(crashed, 7);
    forbid_links(crashed, linking);
    let backups = list_backups(Path::new(BACKUPS), &env).unwrap_or_else(|e| panic!("{what}: {e}"));
    let count = backups.len();
    assert!((1..=2).contains(&count), "{what}: {count}");
    let report = verify_backup(Path::new(BACKUPS), &env).unwrap();
    assert_eq!(report.findings, [], "{what}");
    let moment = Moment::Position(backups[0].position);
    let restored = bring_back(&env, "/first", moment).unwrap_or_else(|e| panic!("{what}: {e}"));
    assert_eq!(restored.state_hash, first, "{what}");
    let database = open(&env);
    assert_eq!(database.poisoned(), None);
    let keyspace = database.keyspace("things").unwrap();
    assert_eq!(get(&database, keyspace, "c").as_deref(), Some("1"), "{what}");
    let next = database.backup(Path::new(BACKUPS)).unwrap_or_else(|e| panic!("{what}: {e}"));
    assert_eq!(next.manifest.number, count as u64 + 1, "{what}");
    let restored = bring_back(&env, RESTORED, Moment::Newest).unwrap();
    assert_eq!(restored.state_hash, database.state_hash(), "{what}");
    count
}

/// fault: S20
#[test]
fn a_crash_at_every_operation_of_a_backup_hurts_nothing() {
    for linking in [true, false] {
        let (start, first) = prepared(linking);
        let disk = SimulatedDisk::from_image(start.clone(), 2);
        let (env, _) = around(&disk, 2);
        forbid_links(&disk, linking);
        let database = open(&env);
        let keyspace = database.keyspace("things").unwrap();
        put(&database, keyspace, "c", "1");
        disk.mark(1);
        back_up(&database);
        disk.mark(2);
        let mut points = disk.trace().crash_points(start);
        let (mut mark, mut counts) = (0, [0; 3]);
        while let Some(operation) = points.advance() {
            mark = operation.mark().unwrap_or(mark);
            for survival in Survival::EVERY.into_iter().filter(|_| mark >= 1) {
                let what = format!("{linking} operation {}, {survival:?}", points.position());
                let image = points.survivors(survival, 3);
                let count =
                    still_right(&SimulatedDisk::from_image(image, 3), first, linking, &what);
                assert!(mark < 2 || count == 2, "{what}: what was answered is there");
                counts[count] += 1;
            }
        }
        assert!(counts[1] >= 50 && counts[2] >= 5, "{counts:?}");
    }
}

/// A failing disk in the middle of a backup: an error, or poison where the store's own file failed;
/// never a backup that is none.
///
/// fault: S15
#[test]
fn a_failed_sync_at_every_place_of_a_backup_hurts_nothing() {
    let (start, first) = prepared(false);
    for nth in 1..40 {
        let disk = SimulatedDisk::from_image(start.clone(), 2);
        let (env, _) = around(&disk, 2);
        forbid_links(&disk, false);
        let database = open(&env);
        let keyspace = database.keyspace("things").unwrap();
        put(&database, keyspace, "c", "1");
        disk.inject(Fault::failed_sync().nth(nth));
        let outcome = database.backup(Path::new(BACKUPS));
        drop(database);
        disk.clear_faults();
        let crashed = disk.crash(Survival::None, nth);
        let count = still_right(&crashed, first, false, &format!("sync {nth}: {outcome:?}"));
        assert_eq!(count == 2, outcome.is_ok());
        if outcome.is_ok() {
            assert!(nth > 5, "{nth}");
            return;
        }
    }
    panic!("a backup has fewer syncs");
}

/// Restores over what a crash left, twice: the second run finishes or finds the whole store.
fn finishes(env: &Env, hash: u128, what: &str) -> bool {
    let opened = Database::open_with(
        Path::new(RESTORED),
        rekindle_database::Options { create: false, ..crate::support::quiet() },
        env.clone(),
    );
    let whole = match opened {
        Ok(database) => {
            assert_eq!(database.state_hash(), hash, "{what}");
            true
        }
        Err(error) => {
            assert_eq!(error.exit_code(), 78, "{what}: {error}");
            let restored = bring_back(env, RESTORED, Moment::Newest);
            let restored = restored.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(restored.state_hash, hash, "{what}");
            false
        }
    };
    assert_eq!(verify(RESTORED, env).unwrap().code, 0, "{what}");
    let database = open_at(env, RESTORED);
    assert_eq!((database.state_hash(), database.report().code), (hash, 0), "{what}");
    whole
}

/// fault: S20
#[test]
fn a_crash_at_every_operation_of_a_restore_leaves_no_store_or_the_whole_one() {
    let (start, hash) = prepared(true);
    let disk = SimulatedDisk::from_image(start.clone(), 2);
    let (env, _) = around(&disk, 2);
    bring_back(&env, RESTORED, Moment::Newest).unwrap();
    let mut points = disk.trace().crash_points(start);
    let mut counts = [0; 2];
    loop {
        for survival in Survival::EVERY {
            for seed in 0..2 {
                let what = format!("operation {}, {survival:?} {seed}", points.position());
                let image = points.survivors(survival, seed);
                let crashed = SimulatedDisk::from_image(image.clone(), seed);
                let (env, _) = around(&crashed, 9);
                counts[usize::from(finishes(&env, hash, &what))] += 1;
                // And a crash of the second run.
                let second = SimulatedDisk::from_image(image, seed);
                second.stop_after(5 + (points.position() as u64 * 7 + seed) % 40);
                let (env, _) = around(&second, 9);
                let _ = bring_back(&env, RESTORED, Moment::Newest);
                let twice = second.crash(survival, seed);
                let (env, _) = around(&twice, 10);
                finishes(&env, hash, &format!("{what}, twice"));
            }
        }
        if points.advance().is_none() {
            break;
        }
    }
    assert!(counts[0] >= 100 && counts[1] >= 10, "{counts:?}");
}
