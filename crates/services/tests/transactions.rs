//! Transactions over everything: all or nothing, with fencing checked inside, once for one
//! identity.

use rekindle_services::jobs::{ClaimRequest, Claimed, Done, NewJob, Status};
use rekindle_services::kv::{Expect, Scope, Write};
use rekindle_services::queues::{Delivery, NewMessage, Settled};
use rekindle_services::transact::{Effect, Operation};
use rekindle_services::{Identity, Kind};

use crate::store::Store;

/// A leased message and a claimed job.
fn held() -> (Store, Delivery, Claimed) {
    let store = Store::new();
    store.create("q");
    store.send("q", "work");
    store.services.jobs().submit("t", &NewJob::default(), None).unwrap();
    let lease = store.receive("q", 1).remove(0);
    let request = ClaimRequest { types: &["t"], max: 1, lease_ms: None, worker: "w" };
    let claimed = store.services.jobs().claim(&request).unwrap().value.remove(0);
    (store, lease, claimed)
}

/// Ack, complete, check, put, send and submit.
fn all<'a>(scope: &'a Scope, lease: &Delivery, claimed: &Claimed) -> Vec<Operation<'a>> {
    vec![
        Operation::Check { scope, key: b"balance", expect: Expect::Absent },
        Operation::Ack(lease.token),
        Operation::Job(claimed.token, Done::Complete(b"1")),
        Operation::Write { scope, write: Write::Put { key: b"balance", value: b"7" } },
        Operation::Send {
            queue: "q",
            message: NewMessage { body: b"next", ..NewMessage::default() },
        },
        Operation::Submit { kind: "u", job: NewJob::default() },
    ]
}

fn value(store: &Store) -> Option<Vec<u8>> {
    let entry = store.services.kv().get(&Scope::default(), b"balance", None).unwrap();
    entry.map(|entry| entry.value.to_vec())
}

#[test]
fn all_of_it_happens_once() {
    let (store, lease, claimed) = held();
    let scope = Scope::default();
    let identity = Some(Identity { producer: [4; 16], sequence: 1 });
    let operations = all(&scope, &lease, &claimed);
    let done = store.services.transactions().run(&operations, identity).unwrap();
    assert!(matches!(done.value[1], Effect::Settled(Settled::Acked)), "{:?}", done.value);
    let store = store.crash(0);
    let again = store.services.transactions().run(&operations, identity).unwrap();
    assert_eq!(again, done);
    assert_eq!(value(&store).as_deref(), Some(&b"7"[..]));
    assert_eq!(store.ready("q"), ["next"]);
    let job = store.services.jobs().show(claimed.id).unwrap();
    assert_eq!(job.info.status, Status::Completed);
    let Effect::Submitted(submitted) = done.value[5] else { panic!("{:?}", done.value) };
    let job = store.services.jobs().show(submitted.id).unwrap();
    assert_eq!((job.info.status, job.info.kind.as_str()), (Status::Pending, "u"));
    assert_eq!(job.info.version, done.version);
}

/// Whichever operation is refused, wherever it stands: nothing is done, and its place is named.
#[test]
fn a_refused_operation_refuses_the_whole() {
    let scope = Scope::default();
    for place in 0..=6 {
        for refusal in 0..4 {
            let (store, lease, claimed) = held();
            let mut operations = all(&scope, &lease, &claimed);
            let (refused, kind) = match refusal {
                0 => {
                    let stale = store.pass(60_000);
                    assert_eq!(stale.reclaimed, 2);
                    store.receive("q", 1);
                    (Operation::Ack(lease.token), Kind::Fenced)
                }
                1 => {
                    let expect = Expect::Version(99);
                    (Operation::Check { scope: &scope, key: b"other", expect }, Kind::Conflict)
                }
                2 => {
                    let message = NewMessage::default();
                    (Operation::Send { queue: "none", message }, Kind::NotFound)
                }
                _ => {
                    store.services.jobs().cancel(claimed.id, "", "me", None).unwrap();
                    (Operation::Job(claimed.token, Done::Release("")), Kind::Fenced)
                }
            };
            operations.insert(place, refused);
            let hash = store.database.state_hash();
            let error = store.services.transactions().run(&operations, None).unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.message().starts_with("operation "), "{error}");
            assert_eq!(store.database.state_hash(), hash, "place {place}, refusal {refusal}");
            let store = store.crash(0);
            assert_eq!(value(&store), None);
            let counts = store.services.jobs().counts(Some("u")).unwrap();
            assert_eq!((counts.pending, store.rows("messages").len()), (0, 1));
        }
    }
}

/// An operation sees what those in front of it did.
#[test]
fn operations_see_each_other() {
    let store = Store::new();
    let scope = Scope::default();
    let put = |value| Operation::Write { scope: &scope, write: Write::Put { key: b"k", value } };
    let absent = Operation::Check { scope: &scope, key: b"k", expect: Expect::Absent };
    let run = |operations: &[Operation<'_>]| store.services.transactions().run(operations, None);
    let refused = run(&[put(b"1"), absent.clone()]).unwrap_err();
    assert_eq!(refused.kind(), Kind::Conflict);
    run(&[absent, put(b"1")]).unwrap();
    run(&[]).unwrap();
}

#[test]
fn transactions_stand_at_their_limits() {
    use rekindle_services::limits::{TRANSACT_BYTES_MAX, TRANSACT_OPERATIONS_MAX};
    let store = Store::new();
    let scope = Scope::default();
    let check = || Operation::Check { scope: &scope, key: b"k", expect: Expect::Absent };
    let run = |operations: &[Operation<'_>]| store.services.transactions().run(operations, None);
    let mut many: Vec<_> = (0..TRANSACT_OPERATIONS_MAX).map(|_| check()).collect();
    run(&many).unwrap();
    many.push(check());
    assert_eq!(run(&many).unwrap_err().kind(), Kind::Invalid);
    let part = vec![b'x'; TRANSACT_BYTES_MAX / 4];
    let put = |key, value| Operation::Write { scope: &scope, write: Write::Put { key, value } };
    let most = [
        put(&b"a"[..], &part[4..]),
        put(b"b", &part[..]),
        put(b"c", &part[..]),
        put(b"d", &part[..]),
    ];
    run(&most).unwrap();
    let mut above = most.to_vec();
    above.push(put(b"e", b""));
    assert_eq!(run(&above).unwrap_err().kind(), Kind::Full);
}
