//! The floors of speed and size: far below what is reached, and never relaxed.

use std::path::Path;

use rekindle_database::{Database, KeyspaceId, Options, Transaction};
use rekindle_env::{Env, ReadDisk};
use rekindle_journal::RecordKind;

use crate::support::raw::{self, Op};
use crate::support::{simulated, timed};

fn options() -> Options {
    Options { max_state_bytes: Some(4 << 30), ..Options::default() }
}

/// Fills a store, and gives what a start on it, and its replay, took; milliseconds.
fn reopen(
    fill: impl Fn(usize, &mut Transaction, KeyspaceId),
    transactions: usize,
) -> (Database, u64) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    {
        let database = Database::open_with(&path, options(), Env::real()).unwrap();
        let keyspace = database.keyspace("things").unwrap();
        for n in 0..transactions {
            let mut transaction = database.begin();
            fill(n, &mut transaction, keyspace);
            drop(transaction.submit().unwrap());
        }
        database.flush().unwrap();
        // No clean stop: everything is in the journal, nothing in a checkpoint.
    }
    let (database, took) = timed(|| Database::open_with(&path, options(), Env::real()).unwrap());
    assert_eq!(database.current_version(), transactions as u64 + 1);
    (database, took)
}

/// Floors: 10,000 transactions in 5 s; 2,000 transactions/s replayed.
///
/// proves: D9, D13
#[test]
fn test_10k_transactions_in_5_seconds() {
    let (database, took) = reopen(
        |n, transaction, keyspace| {
            transaction.put(keyspace, format!("key{n}").as_bytes(), b"value")
        },
        10_000,
    );
    assert_eq!(database.replay_stats().txns_applied, 10_001);
    assert!(took < 5_000, "{took} ms");
    assert!(10_000_000 / took.max(1) > 2_000, "transactions per second");
}

/// Floor: 1,000 incomplete discarded in 2 s.
///
/// proves: D9, D13
#[test]
fn test_1k_incomplete_transactions_discarded_efficiently() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    raw::store(&path, &Env::real(), |journal| {
        for id in 1..=1_000 {
            journal.append(RecordKind::Begin, &raw::id(id));
            journal.append(RecordKind::Part, &raw::part(id, &[Op::Put("key", "value")]));
        }
    });
    let (database, took) = timed(|| Database::open(&path).unwrap());
    assert_eq!(database.replay_stats().discarded_txns, 1_000);
    assert_eq!(database.report().findings().count(), 1_000, "all are listed");
    assert!(took < 2_000, "{took} ms");
}

/// Floor: 1,000 x 10 KB in 3 s.
///
/// proves: D9, D13
#[test]
fn test_large_values_performance() {
    let value = vec![7; 10 * 1024];
    let (database, took) = reopen(
        |n, transaction, keyspace| transaction.put(keyspace, format!("key{n}").as_bytes(), &value),
        1_000,
    );
    assert_eq!(database.replay_stats().writes_applied, 1_001);
    assert!(took < 3_000, "{took} ms");
}

/// Floor: 5,000 of 3 writes and 1 delete in 5 s.
///
/// proves: D9, D13
#[test]
fn test_mixed_workload_performance() {
    let (database, took) = reopen(
        |n, transaction, keyspace| {
            for part in 0..3 {
                transaction.put(keyspace, format!("key{n}-{part}").as_bytes(), b"value");
            }
            transaction.delete(keyspace, format!("key{}-0", n / 2).as_bytes());
        },
        5_000,
    );
    let stats = database.replay_stats();
    assert_eq!((stats.writes_applied, stats.deletes_applied), (15_001, 5_000));
    assert!(took < 5_000, "{took} ms");
}

/// Floor: a 100 MB journal of 10,000 small transactions. One transaction per sync group is the
/// worst case: a frame for each.
///
/// proves: D9, D13
#[test]
fn test_wal_file_size_reasonable() {
    let (disk, env, _) = simulated(1);
    disk.stop_recording();
    let database = Database::open_with("/store", options(), env).unwrap();
    let keyspace = database.keyspace("things").unwrap();
    for n in 0..10_000 {
        let mut transaction = database.begin();
        transaction.put(keyspace, format!("key{n}").as_bytes(), b"value");
        transaction.commit().unwrap();
    }
    database.close().unwrap();
    let files = disk.list(Path::new("/store/shards/0/journal")).unwrap();
    let size: u64 = files.iter().map(|file| file.len).sum();
    assert!(size < 100_000_000, "{size} bytes");
}

/// Replay keeps no more than the state and what is open: not the journal.
///
/// proves: D10
#[test]
fn replay_keeps_the_state_not_the_journal() {
    let value = vec![7; 10 * 1024];
    let (database, _) = reopen(
        |n, transaction, keyspace| transaction.put(keyspace, &[n as u8 % 10], &value),
        10_000,
    );
    let stats = database.stats();
    assert!(stats.state_bytes < 200 * 1024, "{stats:?}");
    assert!(stats.history_bytes < 40 << 20, "100 MB were replayed: {stats:?}");
}
