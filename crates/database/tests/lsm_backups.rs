//! Backups of a store on the lsm engine are what those of a memory store are.
#![allow(
    clippy::disallowed_methods,
    reason = "crashes and damage are made behind the store's back"
)]

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rekindle_database::{
    Database, EngineKind, Env, KeyspaceId, Kind, Moment, Past, list_backups, prune_backups,
    restore, verify, verify_backup,
};

use crate::lsm::{copied, open};

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// Transaction `n`: puts a row, and deletes another one.
fn step(n: u64) -> ([u8; 8], Vec<u8>, [u8; 8]) {
    let value = vec![(n % 251) as u8; 100 + (n % 700) as usize];
    ((n * 31 % 400).to_be_bytes(), value, (n * 17 % 400 + 1).to_be_bytes())
}

fn commit(database: &Database, keyspace: KeyspaceId, n: u64) -> u64 {
    let (key, value, gone) = step(n);
    let mut transaction = database.begin();
    transaction.delete(keyspace, &gone);
    transaction.put(keyspace, &key, &value);
    transaction.commit().unwrap().version
}

/// The rows behind the first transactions.
fn expected(count: u64) -> Rows {
    let mut rows = Rows::new();
    for n in 0..count {
        let (key, value, gone) = step(n);
        rows.remove(gone.as_slice());
        rows.insert(key.to_vec(), value);
    }
    rows
}

fn rows_of(past: &Past) -> Rows {
    let keyspace = past.keyspace("rows").unwrap().unwrap();
    let all = (Bound::Unbounded, Bound::Unbounded);
    let rows = past.scan(keyspace, all, usize::MAX).unwrap();
    rows.iter().map(|row| (row.key.to_vec(), row.value.to_vec())).collect()
}

fn made(dir: &Path, count: u64) -> (Database, KeyspaceId) {
    let database = open(dir, Some(EngineKind::Lsm)).unwrap();
    let keyspace = database.keyspace("rows").unwrap();
    for n in 0..count {
        commit(&database, keyspace, n);
        database.tick().unwrap();
    }
    (database, keyspace)
}

/// Flips a bit of a data block of a table, where it has that many.
pub fn harm_block(path: &Path, number: usize) -> bool {
    let mut bytes = std::fs::read(path).unwrap();
    let blocks: Vec<usize> =
        bytes.windows(5).enumerate().filter(|(_, it)| *it == b"LSM\x03\0").map(|it| it.0).collect();
    let Some(block) = blocks.get(number) else { return false };
    bytes[block + 60] ^= 1;
    std::fs::write(path, bytes).unwrap();
    true
}

/// Flips a bit in each value of each blob file.
pub fn harm_values(store: &Path) {
    for entry in std::fs::read_dir(store.join("shards/0/engine/blobs")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        let values = bytes.windows(4).enumerate().filter(|(_, it)| *it == b"BLOB");
        for value in values.map(|it| it.0).collect::<Vec<_>>() {
            bytes[value + 60] ^= 1;
        }
        std::fs::write(&path, bytes).unwrap();
    }
}

/// Backups that are taken while others write hold what was acknowledged before, can be proved,
/// restored and pruned; and the restored store goes on, on the same engine.
#[test]
fn backups_are_taken_while_others_write() {
    let place = tempfile::tempdir().unwrap();
    let (dir, backups) = (place.path().join("store"), place.path().join("backups"));
    let (database, keyspace) = made(&dir, 500);
    // The name of the keyspace is the first transaction.
    let done = AtomicU64::new(500);
    let stop = AtomicBool::new(false);
    let mut taken = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 500.. {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                assert_eq!(commit(&database, keyspace, n), n + 2);
                done.store(n + 1, Ordering::SeqCst);
                database.tick().unwrap();
            }
        });
        for _ in 0..4 {
            let before = done.load(Ordering::SeqCst);
            while done.load(Ordering::SeqCst) < before + 150 {
                std::thread::yield_now();
            }
            let least = done.load(Ordering::SeqCst);
            let backup = database.backup(&backups).unwrap();
            taken.push((least, backup.manifest));
        }
        stop.store(true, Ordering::SeqCst);
    });
    assert!(database.stats().checkpoints > 4, "files were written meanwhile");
    database.close().unwrap();
    drop(database);
    assert_eq!(verify(&dir, &Env::real()).unwrap().code, 0);
    assert_eq!(list_backups(&backups, &Env::real()).unwrap().len(), 4);
    let report = verify_backup(&backups, &Env::real()).unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    assert!(report.backups.iter().all(|(_, restorable)| *restorable));
    for (n, (least, manifest)) in taken.iter().enumerate() {
        assert!(manifest.version > *least, "{} before {least}", manifest.version);
        assert_eq!(manifest.engine.as_deref(), Some("lsm"));
        let to = place.path().join(format!("restored-{n}"));
        let moment = Moment::Version(manifest.version);
        let restored = restore(&backups, &to, moment, &Env::real()).unwrap();
        assert_eq!(restored.engine, EngineKind::Lsm);
        assert_eq!(rows_of(&restored.view), expected(manifest.version - 1), "backup {n}");
        assert_eq!(verify(&to, &Env::real()).unwrap().code, 0, "backup {n}");
        let again = open(&to, Some(EngineKind::Lsm)).unwrap();
        assert_eq!(again.state_hash(), restored.state_hash, "backup {n}");
        assert_eq!(commit(&again, keyspace, 0), restored.next_version);
        again.checkpoint().unwrap();
        drop(again);
        open(&to, None).unwrap().close().unwrap();
    }
    let pruned = prune_backups(&backups, 1, &Env::real()).unwrap();
    assert_eq!((pruned.kept.len(), pruned.removed.len()), (1, 3));
    assert!(pruned.files.iter().any(|file| file.starts_with("checkpoints/")));
    assert_eq!(verify_backup(&backups, &Env::real()).unwrap().findings, []);
}

/// Where the journal still goes back to the checkpoint of the backup before, that serves again; a
/// damaged one is written anew, and numbers are never given twice, also over restarts.
#[test]
fn an_incremental_backup_takes_what_is_new() {
    let place = tempfile::tempdir().unwrap();
    let (dir, backups) = (place.path().join("store"), place.path().join("backups"));
    let (mut database, keyspace) = made(&dir, 300);
    let mut checkpoints = Vec::new();
    for round in 0..4_u64 {
        let backup = database.backup(&backups).unwrap();
        let manifest = backup.manifest;
        checkpoints.push(manifest.checkpoint.id);
        assert_eq!(backup.copied, u64::from(round != 1), "round {round}");
        let version = commit(&database, keyspace, 300 + round);
        assert_eq!(version, manifest.version + 1, "round {round}");
        if round == 1 {
            // Of no use any more.
            std::fs::write(backups.join(&manifest.checkpoint.file), b"nothing").unwrap();
            let report = verify_backup(&backups, &Env::real()).unwrap();
            assert_eq!(report.findings[0].file, manifest.checkpoint.file);
        }
        if round == 2 {
            for n in 304..700 {
                commit(&database, keyspace, n);
                database.tick().unwrap();
            }
            database.close().unwrap();
            drop(database);
            database = open(&dir, None).unwrap();
        }
    }
    assert_eq!(checkpoints[0], checkpoints[1]);
    assert!(checkpoints[1] < checkpoints[2] && checkpoints[2] < checkpoints[3], "{checkpoints:?}");
    let to = place.path().join("restored");
    let restored = restore(&backups, &to, Moment::Newest, &Env::real()).unwrap();
    assert_eq!(restored.version, database.current_version() - 1);
}

/// Rows that cannot be read are no backup, and the earlier ones stay.
#[test]
fn a_damaged_store_is_not_backed_up() {
    let place = tempfile::tempdir().unwrap();
    let (dir, backups) = (place.path().join("store"), place.path().join("backups"));
    let (database, _) = made(&dir, 400);
    database.backup(&backups).unwrap();
    database.close().unwrap();
    drop(database);
    harm_values(&dir);
    let database = open(&dir, None).unwrap();
    let keyspace = KeyspaceId(1);
    commit(&database, keyspace, 400);
    // The earlier one goes on with the journal, a new one reads all rows.
    database.backup(&backups).unwrap();
    let error = database.backup(&place.path().join("another")).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt, "{error:?}");
    drop(database);
    assert_eq!(verify_backup(&backups, &Env::real()).unwrap().findings, []);
}

/// A restore that was cut off is begun again, whatever engine it was of.
#[test]
fn an_interrupted_restore_is_begun_again() {
    let place = tempfile::tempdir().unwrap();
    let (dir, backups) = (place.path().join("store"), place.path().join("backups"));
    let (database, _) = made(&dir, 300);
    database.backup(&backups).unwrap();
    let hash = database.state_hash();
    let (whole, to) = (place.path().join("whole"), place.path().join("again"));
    restore(&backups, &whole, Moment::Newest, &Env::real()).unwrap();
    copied(&whole, &to);
    std::fs::rename(to.join("store.a"), to.join("restoring")).unwrap();
    std::fs::remove_file(to.join("shards/0/engine/current")).unwrap();
    let restored = restore(&backups, &to, Moment::Newest, &Env::real()).unwrap();
    assert_eq!(restored.state_hash, hash);
    assert_eq!(open(&to, None).unwrap().state_hash(), hash);
}
