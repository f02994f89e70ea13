//! Many threads at once, on a real disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rekindle_database::{Database, DurabilityMode, Options};
use rekindle_env::Env;

use crate::support::{ALL, text};

/// Transfers between accounts keep the sum, in every snapshot and after a restart.
///
/// proves: D12
#[test]
fn concurrent_transfers_keep_the_sum() {
    const ACCOUNTS: u64 = 8;
    let dir = tempfile::tempdir().unwrap();
    let database = Database::open(dir.path().join("store")).unwrap();
    let accounts = database.keyspace("accounts").unwrap();
    database
        .transact(|transaction| {
            (0..ACCOUNTS).for_each(|n| transaction.put(accounts, &[n as u8], b"100"));
            Ok(())
        })
        .unwrap();
    let sum = |database: &Database| -> i64 {
        let rows = database.snapshot().unwrap().scan(accounts, ALL, 99, false).unwrap();
        rows.iter().map(|row| text(&row.value).parse::<i64>().unwrap()).sum()
    };
    let done = Arc::new(AtomicU64::new(0));
    let threads: Vec<_> = (0..6_u64)
        .map(|thread| {
            let (database, done) = (database.clone(), done.clone());
            std::thread::spawn(move || {
                for n in 0..100 {
                    let from = [((thread + n) % ACCOUNTS) as u8];
                    let to = [((thread * 3 + n * 5 + 1) % ACCOUNTS) as u8];
                    database
                        .transact(|transaction| {
                            let mut read = |key: &[u8]| -> i64 {
                                let value = transaction.get(accounts, key).unwrap().unwrap();
                                text(&value.bytes).parse().unwrap()
                            };
                            let (a, b) = (read(&from), read(&to));
                            if from != to {
                                transaction.put(accounts, &from, (a - 1).to_string().as_bytes());
                                transaction.put(accounts, &to, (b + 1).to_string().as_bytes());
                            }
                            Ok(())
                        })
                        .unwrap();
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    while threads.iter().any(|thread| !thread.is_finished()) {
        assert_eq!(sum(&database), 800);
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!((done.load(Ordering::Relaxed), sum(&database)), (600, 800));
    let version = database.current_version();
    drop(database);
    let again = Database::open(dir.path().join("store")).unwrap();
    assert_eq!((sum(&again), again.current_version()), (800, version));
}

/// Blocking commits, tickets and checkpoints of many threads; every acknowledged one is there, in
/// every mode, after a clean stop.
#[test]
fn every_mode_keeps_what_a_clean_stop_wrote() {
    for mode in [DurabilityMode::Strict, DurabilityMode::Batched, DurabilityMode::Relaxed] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let options = Options { durability: mode, segment_bytes: 1 << 20, ..Options::default() };
        let database = Database::open_with(&path, options, Env::real()).unwrap();
        let keyspace = database.keyspace("things").unwrap();
        let threads: Vec<_> = (0..8_u8)
            .map(|thread| {
                let database = database.clone();
                std::thread::spawn(move || {
                    let mut pending = Vec::new();
                    for n in 0..200_u8 {
                        let mut transaction = database.begin();
                        transaction.put(keyspace, &[thread, n], &[7; 200]);
                        if thread % 2 == 0 {
                            transaction.commit().unwrap();
                        } else {
                            pending.push(transaction.submit().unwrap());
                        }
                    }
                    pending.into_iter().for_each(|pending| assert!(pending.wait().is_ok()));
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(database.current_version(), 1_601, "{mode:?}");
        let rows = database.snapshot().unwrap().scan(keyspace, ALL, 9_999, false).unwrap();
        assert_eq!(rows.len(), 1_600, "acknowledged implies visible in {mode:?}");
        database.close().unwrap();
        let hash = database.state_hash();
        drop(database);
        let again = Database::open(&path).unwrap();
        assert_eq!((again.state_hash(), again.report().code), (hash, 0), "{mode:?}");
    }
}
