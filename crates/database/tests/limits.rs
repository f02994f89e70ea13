//! Limits: state, disk, keys, transactions, room in the journal, keyspaces. Refused before the
//! journal is touched, with the limit in the message.

use std::time::Duration;

use rekindle_database::{
    Database, Error, KEY_BYTES_MAX, KEYSPACE_NAME_BYTES_MAX, KeyspaceId, Kind, Options,
    TRANSACTION_BYTES_MAX,
};

use crate::support::journal::database;
use crate::support::{ALL, get, put, quiet, simulated};

fn refused(database: &Database, fill: impl FnOnce(&mut rekindle_database::Transaction)) -> Error {
    let (before, commits) = (database.current_version(), database.stats().commits);
    let mut transaction = database.begin();
    fill(&mut transaction);
    let error = transaction.commit().unwrap_err();
    assert_eq!((database.current_version(), database.stats().commits), (before, commits));
    error
}

/// Growth is refused, deletes and overwrites go on, and then there is room again.
///
/// fault: S17
#[test]
fn a_full_state_refuses_growth_only() {
    let (database, _, _) = database(Options { max_state_bytes: Some(200_000), ..quiet() });
    let keyspace = database.keyspace("things").unwrap();
    let value = "x".repeat(10_000);
    let mut filled = 0;
    let error = loop {
        let mut transaction = database.begin();
        transaction.put(keyspace, format!("k{filled}").as_bytes(), value.as_bytes());
        match transaction.commit() {
            Ok(_) => filled += 1,
            Err(error) => break error,
        }
    };
    assert!((15..20).contains(&filled), "{filled}");
    assert_eq!((error.kind(), error.exit_code()), (Kind::Full, 1));
    assert!(error.to_string().contains("max_state_bytes"), "{error}");
    assert_eq!(database.stats().refused_full, 1);
    // An overwrite that does not grow, and a delete with a small note beside it.
    put(&database, keyspace, "k0", &value);
    let mut acknowledge = database.begin();
    acknowledge.delete(keyspace, b"k1");
    acknowledge.put(keyspace, b"note", b"done");
    acknowledge.commit().unwrap();
    let grow = |transaction: &mut rekindle_database::Transaction| {
        transaction.put(keyspace, b"k2", "x".repeat(30_000).as_bytes());
    };
    assert_eq!(refused(&database, grow).kind(), Kind::Full);
    let mut clear = database.begin();
    clear.delete_range(keyspace, b"k", b"l");
    clear.commit().unwrap();
    put(&database, keyspace, "new", &value);
}

/// A nearly full disk is the same: growth is refused before the journal is touched.
///
/// fault: S17
#[test]
fn a_nearly_full_disk_refuses_growth_only() {
    let (disk, env, _) = simulated(3);
    let database = Database::open_with("/store", quiet(), env).unwrap();
    let keyspace = database.keyspace("things").unwrap();
    put(&database, keyspace, "a", "1");
    disk.set_available_bytes(10_000);
    database.tick().unwrap();
    let error = refused(&database, |transaction| transaction.put(keyspace, b"b", b"1"));
    assert_eq!(error.kind(), Kind::Full, "{error}");
    assert!(error.to_string().contains("disk"), "{error}");
    let mut cleanup = database.begin();
    cleanup.delete(keyspace, b"a");
    cleanup.commit().unwrap();
    disk.set_available_bytes(1 << 40);
    database.tick().unwrap();
    put(&database, keyspace, "b", "1");
}

#[test]
fn keys_and_transactions_have_limits() {
    let (database, _, _) = database(quiet());
    let keyspace = database.keyspace("things").unwrap();
    let longest = vec![b'k'; KEY_BYTES_MAX];
    let mut at_limit = database.begin();
    at_limit.put(keyspace, &longest, b"1");
    at_limit.commit().unwrap();
    let error = refused(&database, |transaction| {
        transaction.put(keyspace, &[&longest[..], b"k"].concat(), b"1");
        transaction.put(keyspace, b"fine", b"1");
    });
    assert_eq!(error.kind(), Kind::Invalid, "{error}");
    assert!(error.to_string().contains(&KEY_BYTES_MAX.to_string()), "{error}");
    assert_eq!(get(&database, keyspace, "fine"), None, "all or nothing");

    let most = vec![b'v'; TRANSACTION_BYTES_MAX - 100];
    let mut at_limit = database.begin();
    at_limit.put(keyspace, b"large", &most);
    at_limit.commit().unwrap();
    let error = refused(&database, |transaction| {
        transaction.put(keyspace, b"larger", &vec![b'v'; TRANSACTION_BYTES_MAX + 1]);
    });
    assert!(error.to_string().contains(&TRANSACTION_BYTES_MAX.to_string()), "{error}");
    let error = refused(&database, |transaction| {
        let megabyte = vec![b'v'; 1 << 20];
        (0..9_u8).for_each(|n| transaction.put(keyspace, &[n], &megabyte));
    });
    assert_eq!(error.kind(), Kind::Invalid, "{error}");
}

#[test]
fn keyspaces_are_created_once_and_checked() {
    let (database, journal, _) = database(quiet());
    let ids: Vec<KeyspaceId> =
        ["a", "b", "a", "c", "b"].iter().map(|name| database.keyspace(name).unwrap()).collect();
    assert_eq!(ids, [1, 2, 1, 3, 2].map(KeyspaceId));
    assert_eq!(database.current_version(), 3);
    let longest = "n".repeat(KEYSPACE_NAME_BYTES_MAX);
    database.keyspace(&longest).unwrap();
    for name in ["", &format!("{longest}n")] {
        assert!(matches!(database.keyspace(name), Err(Error::Invalid(_))));
    }
    for unknown in [0, 5, u16::MAX] {
        let error = refused(&database, |t| t.put(KeyspaceId(unknown), b"a", b"1"));
        assert_eq!(error.kind(), Kind::Invalid, "{error}");
    }
    // Somebody else's damage: an entry that is no number.
    drop(journal);
    let mut names = database.begin();
    assert_eq!(names.scan(KeyspaceId(0), ALL, 9, false).unwrap().len(), 4);
}

/// A commit waits for room, not for ever; then it answers `Full` and has written nothing.
#[test]
fn waiting_for_room_has_an_end() {
    let options = Options { max_room_wait: Duration::ZERO, ..quiet() };
    let (database, journal, _) = database(options);
    let keyspace = database.keyspace("things").unwrap();
    journal.hold();
    journal.set_room(100);
    let mut first = database.begin();
    first.put(keyspace, b"a", &[0; 90]);
    let pending = first.submit().unwrap();
    let error = refused(&database, |transaction| transaction.put(keyspace, b"b", &[0; 90]));
    assert_eq!(error.kind(), Kind::Full, "{error}");
    journal.step();
    pending.wait().unwrap();
    let mut second = database.begin();
    second.put(keyspace, b"b", &[0; 90]);
    drop(second.submit().unwrap());
}

/// With room to come, it waits and validates again: what was read may have changed meanwhile.
#[test]
fn a_commit_that_waited_for_room_is_validated_again() {
    let (database, journal, _) = database(quiet());
    let keyspace = database.keyspace("things").unwrap();
    journal.hold();
    journal.set_room(100);
    let mut first = database.begin();
    first.put(keyspace, b"a", &[0; 90]);
    drop(first.submit().unwrap());
    let waiting = {
        let database = database.clone();
        let mut reader = database.begin();
        reader.get(keyspace, b"b").unwrap();
        reader.put(keyspace, b"c", &[0; 90]);
        std::thread::spawn(move || reader.submit().map(|pending| pending.version()))
    };
    let mut other = database.begin();
    other.put(keyspace, b"b", &[0; 90]);
    let other = std::thread::spawn(move || other.submit().map(|pending| pending.version()));
    while !(waiting.is_finished() && other.is_finished()) {
        journal.step();
        std::thread::yield_now();
    }
    let other = other.join().unwrap().unwrap();
    match waiting.join().unwrap() {
        Ok(version) => assert!(version < other, "it was first"),
        Err(error) => assert!(matches!(error, Error::Conflict { version, .. } if version == other)),
    }
}

/// The same without blocking a thread.
#[test]
fn awaiting_room_does_not_block() {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    let (database, journal, _) = database(quiet());
    let keyspace = database.keyspace("things").unwrap();
    journal.hold();
    journal.set_room(100);
    let mut first = database.begin();
    first.put(keyspace, b"a", &[0; 90]);
    drop(first.submit().unwrap());
    let mut second = database.begin();
    second.put(keyspace, b"b", &[0; 90]);
    let mut submitting = pin!(second.submit_async());
    let mut context = Context::from_waker(Waker::noop());
    assert!(submitting.as_mut().poll(&mut context).is_pending());
    journal.step();
    let Poll::Ready(Ok(pending)) = submitting.as_mut().poll(&mut context) else {
        panic!("there is room now");
    };
    let mut pending = pin!(pending);
    assert!(pending.as_mut().poll(&mut context).is_pending());
    journal.step();
    let Poll::Ready(Ok(commit)) = pending.as_mut().poll(&mut context) else {
        panic!("it was resolved");
    };
    assert_eq!(commit.version, 3);
    let mut reader = database.begin();
    reader.get(keyspace, b"a").unwrap();
    let Poll::Ready(Ok(answer)) = pin!(reader.submit_async()).poll(&mut context) else {
        panic!("nothing to wait for");
    };
    assert!(pin!(answer).poll(&mut context).is_ready());
}

/// A disk whose sync hangs makes no room: the time of an awaited commit ends all the same.
#[test]
fn awaiting_room_has_an_end() {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    let (database, journal, clock) = database(quiet());
    let keyspace = database.keyspace("things").unwrap();
    journal.hold();
    journal.set_room(100);
    let mut first = database.begin();
    first.put(keyspace, b"a", &[0; 90]);
    drop(first.submit().unwrap());
    let mut second = database.begin();
    second.put(keyspace, b"b", &[0; 90]);
    let mut submitting = pin!(second.submit_async());
    let mut context = Context::from_waker(Waker::noop());
    assert!(submitting.as_mut().poll(&mut context).is_pending());
    let wait_ms = u64::try_from(quiet().max_room_wait.as_millis()).unwrap();
    clock.advance_ms(wait_ms - 1);
    assert!(submitting.as_mut().poll(&mut context).is_pending());
    clock.advance_ms(1);
    let Poll::Ready(Err(error)) = submitting.as_mut().poll(&mut context) else {
        panic!("its time is over");
    };
    assert_eq!(error.kind(), Kind::Full, "{error}");
    assert!(error.to_string().contains("had no room for 30s"), "{error}");
    assert_eq!(database.stats().refused_full, 1);
}

/// Somebody looks at the clock for it: it is woken, whatever the disk does.
#[test]
fn awaiting_room_is_woken_when_its_time_is_over() {
    use std::future::Future;
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::{Context, Poll, Wake};
    use std::thread::Thread;

    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let (database, journal, clock) = database(Options { background: true, ..quiet() });
    let keyspace = database.keyspace("things").unwrap();
    journal.hold();
    journal.set_room(100);
    let mut first = database.begin();
    first.put(keyspace, b"a", &[0; 90]);
    drop(first.submit().unwrap());
    let mut second = database.begin();
    second.put(keyspace, b"b", &[0; 90]);
    let mut submitting = pin!(second.submit_async());
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = Context::from_waker(&waker);
    assert!(submitting.as_mut().poll(&mut context).is_pending());
    clock.advance_ms(30_000);
    let refused = loop {
        std::thread::park();
        if let Poll::Ready(outcome) = submitting.as_mut().poll(&mut context) {
            break outcome;
        }
    };
    assert_eq!(refused.unwrap_err().kind(), Kind::Full);
    journal.step();
}
