//! Backups while several threads write, against what was acknowledged.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rekindle_database::{Database, DurabilityMode, Env, Moment, Options, restore, verify_backup};

use crate::support::put;

const WRITERS: usize = 4;

/// What a backup must hold: every version acknowledged before it began.
struct Taken {
    acknowledged: u64,
    version: u64,
    position: u64,
}

/// A restored moment is a prefix of the history: the keys are those of the versions up to its own,
/// and everything acknowledged before the backup began is in it.
fn is_prefix(history: &BTreeMap<u64, String>, from: &Path, to: &Path, taken: &Taken) {
    let env = Env::real();
    let moment = Moment::Position(taken.position);
    let restored = restore(from, to, moment, &env).unwrap();
    assert_eq!(restored.version, taken.version, "as the manifest says");
    assert!(restored.version >= taken.acknowledged, "what was acknowledged is in it");
    let keyspace = restored.view.keyspace("things").unwrap().unwrap();
    let all = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
    let rows = restored.view.scan(keyspace, all, usize::MAX).unwrap();
    let found: BTreeMap<u64, String> = rows
        .iter()
        .map(|row| (row.version, String::from_utf8(row.key.to_vec()).unwrap()))
        .collect();
    let expected: BTreeMap<u64, String> =
        history.range(..=taken.version).map(|(version, key)| (*version, key.clone())).collect();
    assert_eq!(found, expected);
}

/// Backups under load, links and all, in this mode.
fn under_load(durability: DurabilityMode) {
    let dir = tempfile::tempdir().unwrap();
    let (store, backups) = (dir.path().join("store"), dir.path().join("backups"));
    let options = Options {
        durability,
        segment_bytes: 256 * 1024,
        max_state_bytes: Some(1 << 30),
        ..Options::default()
    };
    let database = Database::open_with(&store, options, Env::real()).unwrap();
    let keyspace = database.keyspace("things").unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let history = Arc::new(Mutex::new(BTreeMap::new()));
    let highest = Arc::new(AtomicU64::new(0));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (database, stop) = (database.clone(), Arc::clone(&stop));
            let (history, highest) = (Arc::clone(&history), Arc::clone(&highest));
            std::thread::spawn(move || {
                let mut n = 0;
                while !stop.load(Ordering::Relaxed) {
                    let key = format!("w{writer}-{n:06}");
                    let version = put(&database, keyspace, &key, &"v".repeat(500));
                    highest.fetch_max(version, Ordering::SeqCst);
                    history.lock().unwrap().insert(version, key);
                    n += 1;
                }
            })
        })
        .collect();
    let mut taken = Vec::new();
    for round in 0..6 {
        while highest.load(Ordering::SeqCst) < (round + 1) * 200 {
            std::thread::yield_now();
        }
        let acknowledged = highest.load(Ordering::SeqCst);
        let backup = database.backup(&backups).unwrap();
        let manifest = backup.manifest;
        taken.push(Taken { acknowledged, version: manifest.version, position: manifest.position });
        if round % 2 == 1 {
            database.checkpoint().unwrap();
        }
    }
    stop.store(true, Ordering::Relaxed);
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    let history = history.lock().unwrap().clone();
    assert_eq!(history.len() as u64 + 1, database.current_version());
    assert_eq!(verify_backup(&backups, &Env::real()).unwrap().findings, []);
    for (n, taken) in taken.iter().enumerate() {
        is_prefix(&history, &backups, &dir.path().join(format!("restored-{n}")), taken);
    }
}

#[test]
fn a_backup_under_load_is_a_prefix_with_everything_acknowledged() {
    under_load(DurabilityMode::Strict);
}

#[test]
fn in_the_lazy_modes_too() {
    under_load(DurabilityMode::Batched);
    under_load(DurabilityMode::Relaxed);
}
