//! Closing, dropping and opening again.

use rekindle_database::{Database, DurabilityMode, Error, Kind, Options};
use rekindle_env::Env;
use std::collections::BTreeSet;

use crate::support::{get, open, put, quiet, simulated};

/// proves: D1, D13
#[test]
fn test_database_open_creates_directory() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b/store");
    let database = Database::open(&path).unwrap();
    assert_eq!((database.current_version(), database.report().code), (0, 0));
    assert_eq!(database.options().durability, DurabilityMode::Strict, "the default");
    database.close().unwrap();
    // An empty journal is fine too.
    let again = Database::open(&path).unwrap();
    assert_eq!((again.current_version(), again.incarnation()), (0, 2));
}

/// proves: D1, D6, D13
#[test]
fn test_recovery_after_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (hash, version) = {
        let database = Database::open(dir.path().join("store")).unwrap();
        let keyspace = database.keyspace("things").unwrap();
        for n in 0..50 {
            put(&database, keyspace, &format!("k{n:02}"), &n.to_string());
        }
        database.close().unwrap();
        (database.state_hash(), database.current_version())
    };
    let database = Database::open(dir.path().join("store")).unwrap();
    assert_eq!((database.state_hash(), database.current_version()), (hash, version));
    let keyspace = database.keyspace("things").unwrap();
    assert_eq!(get(&database, keyspace, "k49").as_deref(), Some("49"));
    assert_eq!(put(&database, keyspace, "next", "1"), version + 1);
}

/// A transaction that was begun, written to and never committed leaves nothing, whether it was
/// dropped or the process stopped.
///
/// proves: D3, D13
#[test]
fn test_incomplete_transaction_discarded() {
    let (_, env, _) = simulated(1);
    let database = open(&env);
    let keyspace = database.keyspace("things").unwrap();
    let mut open_one = database.begin();
    open_one.put(keyspace, b"a", b"1");
    let mut dropped = database.begin();
    dropped.put(keyspace, b"b", b"1");
    drop(dropped);
    drop(database);
    drop(open_one);
    let database = open(&env);
    assert_eq!(get(&database, keyspace, "a"), None);
    assert_eq!(get(&database, keyspace, "b"), None);
    assert_eq!(database.current_version(), 1);
}

/// proves: D6
#[test]
fn transaction_ids_are_never_reused() {
    let (_, env, _) = simulated(1);
    let mut seen = BTreeSet::new();
    for run in 1..=5 {
        let database = open(&env);
        assert_eq!(database.incarnation(), run);
        for _ in 0..10 {
            assert!(seen.insert(database.begin().id()), "an id was used twice");
        }
        // Some runs end in a crash.
        if run % 2 == 0 {
            database.close().unwrap();
        }
    }
    assert!(seen.iter().all(|id| (1..=5).contains(&(id >> 40))));
}

/// Dropping without closing loses nothing that was acknowledged.
///
/// proves: D8
#[test]
fn dropping_is_a_crash_that_loses_nothing_acknowledged() {
    let (_, env, _) = simulated(1);
    let mut expected = 0;
    for run in 0..4 {
        let database = open(&env);
        assert_eq!(database.current_version(), expected);
        let keyspace = database.keyspace("things").unwrap();
        expected = put(&database, keyspace, &format!("run{run}"), "x");
    }
}

/// proves: D1
#[test]
fn flush_makes_lazy_modes_durable() {
    for mode in [DurabilityMode::Batched, DurabilityMode::Relaxed] {
        let (disk, env, _) = simulated(1);
        let options = Options { durability: mode, ..quiet() };
        let database = Database::open_with("/store", options.clone(), env.clone()).unwrap();
        let keyspace = database.keyspace("things").unwrap();
        let mut transaction = database.begin();
        transaction.put(keyspace, b"a", b"1");
        let outcome = transaction.commit().unwrap();
        assert_eq!(get(&database, keyspace, "a").as_deref(), Some("1"), "acknowledged, so visible");
        assert_eq!(outcome.version, database.current_version());
        database.flush().unwrap();
        let after = disk.crash(rekindle_env::Survival::None, 1);
        let (env, _) = crate::support::around(&after, 2);
        let database = Database::open_with("/store", options, env).unwrap();
        assert_eq!(get(&database, keyspace, "a").as_deref(), Some("1"));
    }
}

/// Closing twice is fine; afterwards reads go on, commits do not, and the directory is free.
///
/// proves: B8
#[test]
fn shutdown_flushes_wal() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let options = Options { durability: DurabilityMode::Relaxed, ..Options::default() };
    let database = Database::open_with(&path, options, Env::real()).unwrap();
    let keyspace = database.keyspace("things").unwrap();
    put(&database, keyspace, "a", "1");
    let locked = Database::open(&path).unwrap_err();
    assert_eq!((locked.kind(), locked.exit_code()), (Kind::Locked, 73));
    database.close().unwrap();
    database.close().unwrap();
    assert_eq!(get(&database, keyspace, "a").as_deref(), Some("1"));
    let mut late = database.begin();
    late.put(keyspace, b"b", b"1");
    assert!(matches!(late.commit(), Err(Error::Poisoned(_))));
    let again = Database::open(&path).unwrap();
    assert_eq!(again.report().code, 0, "a clean end");
    assert_eq!(get(&again, keyspace, "a").as_deref(), Some("1"));
}

/// A directory with something else in it is left alone.
#[test]
fn a_directory_that_is_no_store_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let env = Env::real();
    let file = dir.path().join("letter.txt");
    rekindle_env::durable::create_file(&*env.disk, &file, b"dear").unwrap();
    let error = Database::open(dir.path()).unwrap_err();
    assert_eq!((error.kind(), error.exit_code()), (Kind::Configuration, 78), "{error}");
    assert_eq!(env.disk.list(dir.path()).unwrap().len(), 1, "nothing was made");
}

/// Options that cannot work are refused before anything is touched.
#[test]
fn impossible_options_are_refused() {
    let (_, env, _) = simulated(1);
    let small = Options { segment_bytes: 100, ..quiet() };
    let odd = Options { segment_bytes: 100_001, ..quiet() };
    let large = Options { segment_bytes: (2 << 30) + 4_096, ..quiet() };
    let never = Options { sync_interval: std::time::Duration::ZERO, ..quiet() };
    for options in [small, odd, large, never] {
        let error = Database::open_with("/store", options, env.clone()).unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{error}");
    }
    assert!(env.disk.stat("/store".as_ref()).unwrap().is_none());
}
