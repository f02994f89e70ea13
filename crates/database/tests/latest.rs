//! Transactions that read `latest`: the pending overlay over the engine, pipelining, own writes.

use std::future::Future;
use std::ops::Bound;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use rekindle_database::{Database, Error, KeyspaceId, Transaction};
use rekindle_journal::Outcome;

use crate::support::journal::{MemoryJournal, database};
use crate::support::{ALL, get, quiet, rows, text};

struct NoWake;

impl Wake for NoWake {
    fn wake(self: Arc<Self>) {}
}

fn poll<F: Future>(future: F) -> Poll<F::Output> {
    let waker = Waker::from(Arc::new(NoWake));
    pin!(future).poll(&mut Context::from_waker(&waker))
}

fn held() -> (Database, Arc<MemoryJournal>, KeyspaceId) {
    let (database, journal, _) = database(quiet());
    let keyspace = database.keyspace("things").unwrap();
    journal.hold();
    (database, journal, keyspace)
}

fn value(transaction: &mut Transaction, keyspace: KeyspaceId, key: &str) -> Option<String> {
    transaction.get(keyspace, key.as_bytes()).unwrap().map(|value| text(&value.bytes))
}

/// A hot key is not limited to one transaction per sync: each reads what the one before wrote.
#[test]
fn transactions_pipeline_over_pending_writes() {
    let (database, journal, keyspace) = held();
    let mut pending = Vec::new();
    for n in 1..=10 {
        let mut transaction = database.begin();
        let before = value(&mut transaction, keyspace, "counter");
        assert_eq!(before, (n > 1).then(|| (n - 1).to_string()));
        transaction.put(keyspace, b"counter", n.to_string().as_bytes());
        pending.push(transaction.submit().unwrap());
    }
    assert_eq!(get(&database, keyspace, "counter"), None, "nothing of it is visible yet");
    assert_eq!((database.current_version(), database.stats().latest_version), (1, 11));
    journal.step();
    for (n, pending) in pending.into_iter().enumerate() {
        let version = pending.version();
        assert_eq!(version, n as u64 + 2);
        let commit = pending.wait().unwrap();
        assert_eq!((commit.version, commit.outcome), (version, Outcome::Durable));
    }
    assert_eq!(get(&database, keyspace, "counter").as_deref(), Some("10"));
    assert_eq!(database.stats().window_bytes, 0, "the overlay is empty again");
}

/// An answer that shows what is pending waits until it is durable.
#[test]
fn a_read_only_answer_waits_for_what_it_saw() {
    let (database, journal, keyspace) = held();
    let mut writer = database.begin();
    writer.put(keyspace, b"a", b"1");
    let write = writer.submit().unwrap();

    let mut blind = database.begin();
    assert_eq!(value(&mut blind, keyspace, "other"), None);
    blind.commit().unwrap();

    let mut reader = database.begin();
    assert_eq!(value(&mut reader, keyspace, "a").as_deref(), Some("1"));
    let mut answer = reader.submit().unwrap();
    assert!(matches!(poll(&mut answer), Poll::Pending));
    journal.step();
    assert_eq!(answer.wait().unwrap().version, write.version());
    write.wait().unwrap();
}

/// A deletion that is pending is seen, and waited for too.
#[test]
fn pending_deletions_are_seen() {
    let (database, journal, keyspace) = held();
    let mut writer = database.begin();
    for key in ["a", "b", "c", "d"] {
        writer.put(keyspace, key.as_bytes(), b"1");
    }
    drop(writer.submit().unwrap());
    journal.step();
    let mut remover = database.begin();
    remover.delete(keyspace, b"a");
    remover.delete_range(keyspace, b"c", b"");
    remover.put(keyspace, b"d", b"again");
    let removal = remover.submit().unwrap();
    let mut reader = database.begin();
    assert_eq!(value(&mut reader, keyspace, "a"), None);
    assert_eq!(value(&mut reader, keyspace, "c"), None);
    assert_eq!(rows(&reader.scan(keyspace, ALL, 9, false).unwrap()), vec!["b=1", "d=again"]);
    assert_eq!(rows(&reader.scan(keyspace, ALL, 9, true).unwrap()), vec!["d=again", "b=1"]);
    let mut answer = reader.submit().unwrap();
    assert!(matches!(poll(&mut answer), Poll::Pending));
    journal.step();
    answer.wait().unwrap();
    removal.wait().unwrap();
}

/// proves: D2
#[test]
fn a_transaction_sees_its_own_writes() {
    let (database, journal, keyspace) = held();
    let mut setup = database.begin();
    for key in ["a", "b", "c", "d", "e"] {
        setup.put(keyspace, key.as_bytes(), b"old");
    }
    drop(setup.submit().unwrap());
    journal.step();
    let mut transaction = database.begin();
    transaction.put(keyspace, b"b", b"new");
    transaction.delete(keyspace, b"c");
    assert_eq!(transaction.get(keyspace, b"b").unwrap().unwrap().version, 0);
    assert_eq!(value(&mut transaction, keyspace, "c"), None);
    let all =
        |transaction: &mut Transaction| rows(&transaction.scan(keyspace, ALL, 9, false).unwrap());
    assert_eq!(all(&mut transaction), vec!["a=old", "b=new", "d=old", "e=old"]);
    transaction.delete_range(keyspace, b"a", b"e");
    transaction.put(keyspace, b"d", b"later");
    assert_eq!(all(&mut transaction), vec!["d=later", "e=old"]);
    transaction.delete_range(keyspace, b"d", b"d");
    transaction.delete_range(keyspace, b"e", b"d");
    assert_eq!(all(&mut transaction), vec!["d=later", "e=old"], "empty ranges remove nothing");
    assert_eq!(rows(&transaction.scan(keyspace, ALL, 1, true).unwrap()), vec!["e=old"]);
    assert!(transaction.scan(keyspace, ALL, 0, false).unwrap().is_empty());
    drop(transaction.submit().unwrap());
    let mut after = database.begin();
    assert_eq!(all(&mut after), vec!["d=later", "e=old"]);
    journal.step();
    drop(after);
    let mut after = database.begin();
    assert_eq!(all(&mut after), vec!["d=later", "e=old"]);
}

/// A conflict names the key and the version; blind writes never conflict.
#[test]
fn conflicts_name_what_was_changed() {
    let (database, _, keyspace) = held();
    let mut reader = database.begin();
    assert_eq!(value(&mut reader, keyspace, "a"), None);
    reader.put(keyspace, b"b", b"1");
    let mut other = database.begin();
    other.put(keyspace, b"a", b"1");
    let version = other.submit().unwrap().version();
    let mut blind = database.begin();
    blind.put(keyspace, b"a", b"2");
    drop(blind.submit().unwrap());
    let error = reader.submit().unwrap_err();
    let Error::Conflict { keyspace: at, key, version: by } = &error else { panic!("{error}") };
    assert_eq!((*at, key.as_slice(), *by), (keyspace, &b"a"[..], version + 1));
    assert_eq!(database.stats().conflicts, 1);
}

/// Phantoms: a key that appears in a range that was read is a conflict; beyond what was read it is
/// not.
#[test]
fn ranges_are_validated_as_far_as_they_were_read() {
    let (database, journal, keyspace) = held();
    let mut setup = database.begin();
    for key in ["b", "d", "f"] {
        setup.put(keyspace, key.as_bytes(), b"1");
    }
    drop(setup.submit().unwrap());
    journal.step();
    let cases: [(usize, bool, &str, bool); 6] = [
        (2, false, "a", true),
        (2, false, "c", true),
        (2, false, "e", false),
        (1, true, "e", false),
        (1, true, "g", true),
        (9, false, "z", true),
    ];
    for (limit, reverse, key, conflicts) in cases {
        let mut reader = database.begin();
        reader.scan(keyspace, ALL, limit, reverse).unwrap();
        reader.put(keyspace, b"out", b"1");
        let mut writer = database.begin();
        writer.put(keyspace, key.as_bytes(), b"1");
        drop(writer.submit().unwrap());
        let outcome = reader.submit();
        assert_eq!(outcome.is_err(), conflicts, "{limit} {reverse} {key}");
        drop(outcome);
        let mut undo = database.begin();
        undo.delete(keyspace, key.as_bytes());
        undo.delete(keyspace, b"out");
        drop(undo.submit().unwrap());
        journal.step();
    }
}

/// A removed range is a write to every key in it.
#[test]
fn a_removed_range_conflicts_with_reads_in_it() {
    let (database, _, keyspace) = held();
    let mut point = database.begin();
    value(&mut point, keyspace, "m");
    point.put(keyspace, b"x", b"1");
    let mut range = database.begin();
    let bounds = (Bound::Excluded(&b"f"[..]), Bound::Included(&b"k"[..]));
    range.scan(keyspace, bounds, 9, false).unwrap();
    range.put(keyspace, b"y", b"1");
    let mut beside = database.begin();
    let bounds = (Bound::Included(&b"n"[..]), Bound::Excluded(&b"p"[..]));
    beside.scan(keyspace, bounds, 9, false).unwrap();
    beside.put(keyspace, b"z", b"1");
    let mut remover = database.begin();
    remover.delete_range(keyspace, b"k", b"n");
    drop(remover.submit().unwrap());
    assert!(matches!(point.submit(), Err(Error::Conflict { .. })));
    assert!(matches!(range.submit(), Err(Error::Conflict { .. })));
    drop(beside.submit().unwrap());
}

/// Scans take several steps where much is pending, in both directions.
#[test]
fn long_scans_over_much_that_is_pending_are_complete() {
    let (database, journal, keyspace) = held();
    let mut expected = Vec::new();
    for n in 0..3_000 {
        let mut transaction = database.begin();
        let key = format!("{n:05}");
        transaction.put(keyspace, key.as_bytes(), b"x");
        drop(transaction.submit().unwrap());
        if n % 3 == 0 {
            let mut transaction = database.begin();
            transaction.delete(keyspace, key.as_bytes());
            drop(transaction.submit().unwrap());
        } else {
            expected.push(key);
        }
        if n % 1_000 == 500 {
            journal.step();
        }
    }
    let mut reader = database.begin();
    let keys = |rows: Vec<rekindle_database::Row>| -> Vec<String> {
        rows.iter().map(|row| text(&row.key)).collect()
    };
    assert_eq!(keys(reader.scan(keyspace, ALL, usize::MAX, false).unwrap()), expected);
    let seven = keys(reader.scan(keyspace, ALL, 7, false).unwrap());
    assert_eq!(seven, expected[..7]);
    let mut reversed = expected.clone();
    reversed.reverse();
    assert_eq!(keys(reader.scan(keyspace, ALL, usize::MAX, true).unwrap()), reversed);
    assert_eq!(keys(reader.scan(keyspace, ALL, 1_500, true).unwrap()), reversed[..1_500]);
}

/// `transact` runs again after a conflict, and hands an error of the body back.
#[test]
fn transact_retries_conflicts() {
    let (database, _, _) = database(quiet());
    let keyspace = database.keyspace("things").unwrap();
    let mut runs = 0;
    let seen = database
        .transact(|transaction| {
            runs += 1;
            let seen = transaction.get(keyspace, b"a")?.map(|value| text(&value.bytes));
            if runs == 1 {
                crate::support::put(&database, keyspace, "a", "other");
            }
            transaction.put(keyspace, b"b", b"1");
            Ok(seen)
        })
        .unwrap();
    assert_eq!((runs, seen.as_deref()), (2, Some("other")));
    let refused: Result<(), Error> = database.transact(|transaction| {
        transaction.put(keyspace, b"c", b"1");
        Err(Error::Invalid("no".to_owned()))
    });
    assert!(matches!(refused, Err(Error::Invalid(_))));
    assert_eq!(get(&database, keyspace, "c"), None);
}

/// proves: D2
#[test]
fn observers_follow_in_version_order_before_reads_see_it() {
    use std::sync::Mutex;

    use rekindle_database::{Observer, Operation};

    #[derive(Default)]
    struct Follower {
        seen: Mutex<Vec<(u64, usize)>>,
        lost: Mutex<u32>,
    }
    impl Observer for Follower {
        fn applied(
            &self,
            version: u64,
            _: u64,
            operations: &mut dyn Iterator<Item = Operation<'_>>,
        ) {
            self.seen.lock().unwrap().push((version, operations.count()));
        }
        fn lost(&self) {
            *self.lost.lock().unwrap() += 1;
        }
    }

    let (database, journal, keyspace) = held();
    let follower = Arc::new(Follower::default());
    database.observe(follower.clone());
    for n in 1..=3 {
        let mut transaction = database.begin();
        (0..n).for_each(|n| transaction.put(keyspace, &[n], b"x"));
        drop(transaction.submit().unwrap());
    }
    assert!(follower.seen.lock().unwrap().is_empty());
    journal.step();
    assert_eq!(*follower.seen.lock().unwrap(), vec![(2, 1), (3, 2), (4, 3)]);
    journal.fail();
    assert_eq!(*follower.lost.lock().unwrap(), 1);
}
