//! What was pending is lost: poison, and the loss of leadership.

use rekindle_database::{Error, Kind};

use crate::support::journal::database;
use crate::support::{get, put, quiet};

/// On poison the overlay is dropped, what was pending is unknown, later commits are refused.
///
/// fault: S15
#[test]
fn poison_drops_the_overlay() {
    let (database, journal, _) = database(quiet());
    let keyspace = database.keyspace("things").unwrap();
    put(&database, keyspace, "a", "durable");
    journal.hold();
    let mut writer = database.begin();
    writer.put(keyspace, b"a", b"pending");
    let pending = writer.submit().unwrap();
    let mut reader = database.begin();
    assert_eq!(&*reader.get(keyspace, b"a").unwrap().unwrap().bytes, b"pending");
    let mut mixed = database.begin();
    mixed.get(keyspace, b"a").unwrap();
    mixed.put(keyspace, b"b", b"1");
    journal.fail();

    let error = pending.wait().unwrap_err();
    assert!(matches!(error, Error::Unknown));
    assert_eq!((error.kind(), error.exit_code()), (Kind::Unknown, 75));
    assert!(reader.get(keyspace, b"a").is_err(), "its view is of something that may not be");
    assert!(reader.commit().is_err());
    let error = mixed.commit().unwrap_err();
    assert!(matches!(&error, Error::Poisoned(why) if why == "the test said so"), "{error}");
    assert_eq!((error.kind(), error.exit_code()), (Kind::Unavailable, 70));
    let mut late = database.begin();
    late.put(keyspace, b"c", b"1");
    assert!(matches!(late.commit(), Err(Error::Poisoned(_))));

    // Reads of what is durable go on.
    assert_eq!(get(&database, keyspace, "a").as_deref(), Some("durable"));
    let mut fresh = database.begin();
    assert_eq!(&*fresh.get(keyspace, b"a").unwrap().unwrap().bytes, b"durable");
    fresh.commit().unwrap();
    assert_eq!(database.poisoned().as_deref(), Some("the test said so"));
    assert_eq!(database.stats().window_bytes, 0);
    assert!(database.flush().is_err());
    assert!(database.close().is_err());
}

/// A journal that loses its unresolved suffix with its leadership: those versions never were, and
/// are given out again.
#[test]
fn a_lost_suffix_is_unknown_and_its_versions_are_used_again() {
    let (database, journal, _) = database(quiet());
    let keyspace = database.keyspace("things").unwrap();
    put(&database, keyspace, "a", "old");
    journal.hold();
    let mut writer = database.begin();
    writer.put(keyspace, b"a", b"lost");
    let pending = writer.submit().unwrap();
    let version = pending.version();
    let mut reader = database.begin();
    reader.get(keyspace, b"a").unwrap();
    reader.put(keyspace, b"b", b"1");
    journal.lose_and_lead_again();
    assert!(matches!(pending.wait(), Err(Error::Unknown)));
    assert!(matches!(reader.commit(), Err(Error::Unknown)));
    assert_eq!(get(&database, keyspace, "a").as_deref(), Some("old"));

    let mut again = database.begin();
    assert_eq!(&*again.get(keyspace, b"a").unwrap().unwrap().bytes, b"old");
    again.put(keyspace, b"a", b"new");
    let pending = again.submit().unwrap();
    assert_eq!(pending.version(), version);
    journal.step();
    pending.wait().unwrap();
    assert_eq!(get(&database, keyspace, "a").as_deref(), Some("new"));
}

/// A record that cannot be applied poisons: state that cannot follow its log must not go on.
#[test]
fn a_record_that_cannot_be_applied_poisons() {
    use rekindle_journal::{Entry, Journal, RecordKind};
    let (database, journal, _) = database(quiet());
    let keyspace = database.keyspace("things").unwrap();
    let bytes = crate::support::raw::commit(9, 2, 1);
    let entry = Entry { kind: RecordKind::Commit, version: 0, log_time_ms: 0, bytes: &bytes };
    let ticket = journal.append(entry).unwrap();
    assert_eq!(journal.wait(ticket), rekindle_journal::Outcome::Unknown);
    let reason = database.poisoned().unwrap();
    assert!(reason.contains("database-7") && reason.contains("record 2"), "{reason}");
    let mut late = database.begin();
    late.put(keyspace, b"a", b"1");
    assert!(late.commit().is_err());
}

/// Without leadership commits are told to go elsewhere; what is visible stays readable.
#[test]
fn without_leadership_commits_go_elsewhere() {
    let (database, journal, _) = database(quiet());
    let keyspace = database.keyspace("things").unwrap();
    put(&database, keyspace, "a", "1");
    journal.lose();
    let mut late = database.begin();
    late.put(keyspace, b"a", b"2");
    let error = late.commit().unwrap_err();
    assert!(matches!(error, Error::NotLeading), "{error}");
    assert_eq!(get(&database, keyspace, "a").as_deref(), Some("1"));
}
