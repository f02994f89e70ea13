//! Snapshots: stable, of the past as far back as it is kept, given up when too old.

use std::time::Duration;

use rekindle_database::{Error, Kind, Options};

use crate::support::journal::database;
use crate::support::{ALL, get, put, quiet, rows};

#[test]
fn a_snapshot_does_not_change() {
    let (database, _, _) = database(quiet());
    let keyspace = database.keyspace("things").unwrap();
    put(&database, keyspace, "a", "1");
    let first = database.snapshot().unwrap();
    put(&database, keyspace, "a", "2");
    put(&database, keyspace, "b", "2");
    let second = database.snapshot().unwrap();
    assert_eq!((first.version(), second.version()), (2, 4));
    assert_eq!(rows(&first.scan(keyspace, ALL, 9, false).unwrap()), vec!["a=1"]);
    assert_eq!(rows(&second.scan(keyspace, ALL, 9, true).unwrap()), vec!["b=2", "a=2"]);
    assert_eq!(first.get(keyspace, b"b").unwrap(), None);
    let past = database.snapshot_at(3).unwrap();
    assert_eq!(rows(&past.scan(keyspace, ALL, 9, false).unwrap()), vec!["a=2"]);
    let error = database.snapshot_at(99).unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error}");
    assert_eq!(database.stats().readers, 3);
}

/// Too old is told, and what it held is let go; a reader of the newest version never is.
#[test]
fn old_readers_are_given_up() {
    let options = Options { max_snapshot_age: Duration::from_secs(10), ..quiet() };
    let (database, _, clock) = database(options);
    let keyspace = database.keyspace("things").unwrap();
    put(&database, keyspace, "a", "1");
    let snapshot = database.snapshot().unwrap();
    let mut reader = database.begin();
    reader.get(keyspace, b"a").unwrap();
    let mut writer = database.begin();
    writer.get(keyspace, b"a").unwrap();
    writer.put(keyspace, b"c", b"1");
    clock.advance_ms(11_000);
    database.tick().unwrap();
    assert!(snapshot.get(keyspace, b"a").is_ok(), "it shows the newest version");
    assert!(reader.get(keyspace, b"a").is_ok());

    put(&database, keyspace, "b", "1");
    database.tick().unwrap();
    let error = snapshot.get(keyspace, b"a").unwrap_err();
    assert_eq!((error.kind(), error.exit_code()), (Kind::Compacted, 1), "{error}");
    assert!(snapshot.scan(keyspace, ALL, 1, false).is_err());
    assert!(matches!(reader.get(keyspace, b"a"), Err(Error::Compacted { asked: 2, .. })));
    assert!(matches!(writer.commit(), Err(Error::Compacted { .. })));
    assert_eq!(database.stats().readers_expired, 3);
    drop((snapshot, reader));
    assert_eq!(database.stats().readers, 0);
    assert_eq!(get(&database, keyspace, "c"), None);
}

/// The history is bounded: what no reader needs goes first, then the oldest readers.
#[test]
fn history_is_bounded() {
    let options = Options { max_history_bytes: 64 * 1024, ..quiet() };
    let (database, _, _) = database(options);
    let keyspace = database.keyspace("things").unwrap();
    let value = "x".repeat(1_000);
    let early = database.current_version();
    for n in 0..200 {
        put(&database, keyspace, "hot", &format!("{n}{value}"));
    }
    assert!(database.stats().history_bytes < 200 * 1_000, "{:?}", database.stats());
    assert!(matches!(database.snapshot_at(early), Err(Error::Compacted { .. })));

    // A snapshot holds its own version only: overwriting one key costs it nothing more.
    let held = database.snapshot().unwrap();
    for n in 0..200 {
        put(&database, keyspace, "hot", &format!("{n}{value}"));
    }
    database.tick().unwrap();
    assert!(held.get(keyspace, b"hot").unwrap().is_some());

    // Many keys cost more than the limit: in the end it is given up.
    let keys: Vec<String> = (0..300).map(|n| format!("k{n}")).collect();
    keys.iter().for_each(|key| assert!(put(&database, keyspace, key, &value) > 0));
    let held = (held, database.snapshot().unwrap());
    for round in 0..3 {
        keys.iter()
            .for_each(|key| assert!(put(&database, keyspace, key, &format!("{round}{value}")) > 0));
        database.tick().unwrap();
    }
    (0..20).for_each(|_| database.tick().unwrap());
    assert!(held.1.get(keyspace, b"k1").is_err());
    for n in 0..2_000 {
        put(&database, keyspace, "small", &n.to_string());
    }
    let stats = database.stats();
    assert!(stats.history_bytes <= 2 * 64 * 1024, "{stats:?}");
}

/// The history may be large because something else holds it, a checkpoint that is written or a
/// snapshot; a transaction that has just begun is not what has to go for it.
#[test]
fn a_reader_that_has_just_begun_is_not_given_up_for_the_size() {
    let (database, _, clock) = database(Options { max_history_bytes: 16 << 10, ..quiet() });
    let keyspace = database.keyspace("things").unwrap();
    let value = "x".repeat(1_000);
    let overwrite = |round: u64| {
        (0..100).for_each(|n| {
            assert!(put(&database, keyspace, &format!("k{n}"), &format!("{round}{value}")) > 0)
        });
    };
    overwrite(0);
    let mut reader = database.begin();
    assert!(reader.get(keyspace, b"k1").unwrap().is_some());
    overwrite(1);
    database.tick().unwrap();
    assert!(database.stats().history_bytes > 16 << 10, "{:?}", database.stats());
    assert!(reader.get(keyspace, b"k2").unwrap().is_some());
    clock.advance_ms(1_000);
    database.tick().unwrap();
    assert!(matches!(reader.get(keyspace, b"k2"), Err(Error::Compacted { .. })), "but in the end");
}

/// A transaction that reads holds back what it may still read.
#[test]
fn a_running_reader_keeps_its_view() {
    let (database, _, _) = database(Options { max_history_bytes: 1 << 20, ..quiet() });
    let keyspace = database.keyspace("things").unwrap();
    put(&database, keyspace, "a", "old");
    let mut reader = database.begin();
    assert!(reader.get(keyspace, b"zzz").unwrap().is_none());
    for n in 0..100 {
        put(&database, keyspace, "a", &n.to_string());
    }
    assert_eq!(&*reader.get(keyspace, b"a").unwrap().unwrap().bytes, b"old");
    assert_eq!(rows(&reader.scan(keyspace, ALL, 9, false).unwrap()), vec!["a=old"]);
    assert!(database.stats().window_bytes > 0, "kept to validate it");
    reader.commit().unwrap();
    assert_eq!(database.stats().window_bytes, 0);
}
