//! Reviews: what waits for a person, with its evidence, and what the decisions do.

use rekindle_env::Survival;
use rekindle_services::Kind;
use rekindle_services::keys::{lease_expiry, queue, subject};
use rekindle_services::queues::{
    Decision, MessageId, NewMessage, QueueSettings, ReviewId, ReviewItem,
};

use crate::store::{START_MS, Store, bodies};

/// Three messages in `q`.
fn three() -> (Store, Vec<MessageId>) {
    let store = Store::new();
    store.create("q");
    let send = |body: &&[u8]| {
        let new = NewMessage { body, ..NewMessage::default() };
        store.queues().send("q", &new, None).unwrap().value
    };
    let ids = [&b"a"[..], b"b", b"c"].iter().map(send).collect();
    (store, ids)
}

fn reviews(store: &Store) -> Vec<ReviewItem> {
    let (items, more) = store.services.reviews().list(None, 100).unwrap();
    assert!(!more);
    items
}

fn labels(store: &Store) -> Vec<&'static str> {
    reviews(store).iter().map(|item| item.label).collect()
}

fn decide(store: &Store, id: ReviewId, decision: Decision) -> Result<String, Kind> {
    let decided = store.services.reviews().decide(id, decision, "looked at it", "ada");
    decided.map(|done| done.value.result).map_err(|error| error.kind())
}

/// The stored attempts of a message that died with the server `crashes` times and waits for a
/// person, as executors inside the server will leave them.
fn crashed(crashes: u32) -> Vec<u8> {
    let mut bytes = vec![1];
    bytes.extend_from_slice(&crashes.to_le_bytes());
    bytes.extend_from_slice(&crashes.to_le_bytes());
    bytes.extend_from_slice(&7_u64.to_le_bytes());
    bytes.extend_from_slice(&u64::MAX.to_le_bytes());
    bytes.push(u8::try_from(crashes).unwrap());
    for attempt in 1..=crashes {
        bytes.extend_from_slice(&attempt.to_le_bytes());
        bytes.push(4);
        bytes.extend_from_slice(&(START_MS - 5_000).to_le_bytes());
        bytes.extend_from_slice(&0_u16.to_le_bytes());
    }
    bytes
}

/// A message that the server died with three times is not served before a person says so; its
/// evidence tells how it died, and its attempts go on where they were.
///
/// proves: L10, J7
/// produces: claim-8
#[test]
fn what_killed_the_server_too_often_waits_for_a_person() {
    for (decision, crashes_after) in [(Decision::Retry, 3), (Decision::Approve, 0)] {
        let (store, ids) = three();
        store.put("attempts", &subject::encode(ids[0]), &crashed(3));
        let store = store.crash(1_000);
        assert_eq!(store.findings(), ["claim-8"]);
        assert_eq!(store.queues().show("q").unwrap().stats.review, 1);
        assert_eq!(store.ready("q"), ["b", "c"]);
        let id = ReviewId::Work(ids[0]);
        let (item, evidence) = store.services.reviews().show(id).unwrap();
        assert_eq!((item.label, item.queue.as_deref()), ("claim-8", Some("q")));
        assert_eq!(item.since_ms, START_MS - 5_000, "since its last crash");
        assert_eq!((evidence.crashes, evidence.attempt), (Some(3), Some(3)));
        assert_eq!(evidence.history[2].cause, "server_crash");
        assert_eq!(store.services.reviews().figures().oldest_ms, Some(START_MS - 5_000));

        assert!(decide(&store, id, decision).unwrap().contains("ready again after 3 attempts"));
        assert!(reviews(&store).is_empty());
        let first = store.receive("q", 1).remove(0);
        assert_eq!((first.body(), first.attempt), (&b"a"[..], 4), "at its old place");
        let attempts = store.rows("attempts").remove(0).1;
        let kept = attempts.windows(9).filter(|it| *it == &crashed(1)[30..39]).count();
        assert_eq!(kept, crashes_after, "{decision}");
        let store = store.crash(0);
        assert!(store.findings().is_empty() && reviews(&store).is_empty());
    }
}

/// A message that cannot be read is given up with its bytes kept; serving it is refused, with the
/// reason.
///
/// proves: L10
#[test]
fn an_unreadable_message_is_given_up_with_its_bytes() {
    let (store, ids) = three();
    store.put("messages", &subject::encode(ids[1]), b"\xFFdamaged");
    let store = store.crash(0);
    let id = ReviewId::Work(ids[1]);
    assert_eq!(labels(&store), ["queue-8"]);
    assert_eq!(reviews(&store)[0].decisions, [Decision::Fail]);
    for decision in [Decision::Approve, Decision::Retry] {
        assert_eq!(decide(&store, id, decision), Err(Kind::Conflict));
    }
    assert_eq!(store.services.audit().list(None, 9).unwrap().records, [], "nothing was decided");
    assert!(decide(&store, id, Decision::Fail).unwrap().starts_with("in queue q.dead"));
    let dead = store.receive("q.dead", 1).remove(0);
    assert_eq!(dead.body(), b"\xFFdamaged");
    let header = |name: &str| dead.headers.iter().find(|(it, _)| it == name).unwrap().1.clone();
    assert_eq!(header("rekindle-dead-reason"), "review: fail: looked at it");
    assert_eq!(header("rekindle-dead-id"), ids[1].to_string());
    assert_eq!(store.ready("q"), ["a", "c"]);
    assert_eq!(store.queues().show("q").unwrap().stats.review, 0);
}

/// Asked for again, a decision is answered as before and done once; another one is refused. Each
/// needs a reason, and is in the audit log with it.
///
/// proves: L10
#[test]
fn a_decision_is_made_once_and_recorded() {
    let (store, ids) = three();
    store.put("attempts", &subject::encode(ids[0]), b"?");
    let store = store.crash(0);
    let id = ReviewId::Work(ids[0]);
    let all = store.services.reviews();
    for reason in ["", "  ", "two\nlines", &"x".repeat(2_000)] {
        let refused = all.decide(id, Decision::Retry, reason, "ada").unwrap_err();
        assert_eq!(refused.kind(), Kind::Invalid, "{reason:?}");
    }
    let first = all.decide(id, Decision::Retry, "disk was replaced", "ada").unwrap();
    assert!(!first.value.before);
    let again = all.decide(id, Decision::Retry, "once more", "bob").unwrap();
    assert!(again.value.before);
    assert_eq!((again.value.audit, &again.value.result), (1, &first.value.result));
    assert_eq!((again.version, first.version), (first.version, again.version));
    assert_eq!(decide(&store, id, Decision::Fail), Err(Kind::Conflict));
    let records = store.services.audit().list(None, 9).unwrap().records;
    assert_eq!(records.len(), 1);
    let record = &records[0];
    assert_eq!((record.who.as_str(), record.action.as_str()), ("ada", "review.retry"));
    assert_eq!((record.target.clone(), record.why.as_str()), (id.to_string(), "disk was replaced"));
    let never = ReviewId::Work(ids[2]);
    assert_eq!(decide(&store, never, Decision::Retry), Err(Kind::NotFound), "it does not wait");
    assert_eq!(store.ready("q"), ["a", "b", "c"]);
}

/// A lease that cannot be read: the person decides that its owner is fenced.
#[test]
fn an_unreadable_lease_is_ended_by_a_person() {
    for decision in [Decision::Retry, Decision::Fail] {
        let (store, ids) = three();
        let lease = store.receive("q", 1).remove(0);
        assert_eq!(lease.id, ids[0]);
        store.put("leases", &subject::encode(ids[0]), b"?");
        let store = store.crash(0);
        assert_eq!(labels(&store), ["queue-9"]);
        decide(&store, ReviewId::Work(ids[0]), decision).unwrap();
        assert!(store.rows("leases").is_empty() && store.rows("lease_expiry").is_empty());
        assert_eq!(store.ack(lease.token).unwrap_err().kind(), Kind::Fenced);
        let expected: &[&str] =
            if decision == Decision::Retry { &["a", "b", "c"] } else { &["b", "c"] };
        assert_eq!(store.ready("q"), expected);
        assert!(store.crash(60_000).findings().is_empty());
    }
}

/// Whole rows whose lease cannot be ended, because the dead-letter queue cannot be read: served
/// again by a person's word, given up once that queue is there.
///
/// produces: queue-14
#[test]
fn a_lease_that_cannot_be_ended_waits_for_a_person() {
    for decision in [Decision::Retry, Decision::Fail] {
        let store = Store::new();
        store.create("q.dead");
        let settings = QueueSettings { max_attempts: 1, ..QueueSettings::default() };
        store.queues().create("q", &settings, None).unwrap();
        store.send("q", "its lease runs out");
        let lease = store.receive("q", 1).remove(0);
        let rows = store.rows("queues");
        let (key, whole) = rows.into_iter().find(|(key, _)| key.ends_with(b"q.dead")).unwrap();
        store.put("queues", &key, b"damaged");
        let store = store.crash(60_000);
        let id = ReviewId::Work(lease.id);
        let mut found = labels(&store);
        found.sort_unstable();
        assert_eq!(found, ["queue-13", "queue-14"]);
        assert_eq!(decide(&store, id, Decision::Approve), Err(Kind::Conflict));
        assert_eq!(decide(&store, id, Decision::Fail), Err(Kind::Corrupt), "it has no place");
        if decision == Decision::Fail {
            store.put("queues", &key, &whole);
        }
        decide(&store, id, decision).unwrap();
        let dead = decision == Decision::Fail;
        assert_eq!(store.queues().show("q").unwrap().stats.ready, u64::from(!dead));
        assert!(store.rows("leases").is_empty() && store.rows("lease_expiry").is_empty());
    }
}

/// Rows that nothing can be served from go when a person says so, each by its own id, and the rest
/// of their keyspaces stays.
#[test]
fn rows_without_a_message_are_removed_by_a_person() {
    let (store, _) = three();
    let leased = store.receive("q", 1).remove(0).id;
    store.remove("messages", &subject::encode(leased));
    store.put("messages", b"no key", b"x");
    store.put("leases", b"no key", b"x");
    store.put("lease_expiry", b"no key", b"");
    store.put("queues", &queue::encode("damaged"), b"?");
    let store = store.crash(0);
    let mut found = labels(&store);
    found.sort_unstable();
    assert_eq!(found, ["queue-11", "queue-12", "queue-12", "queue-13", "queue-7"]);
    assert_eq!(store.services.reviews().figures().count, 5);
    for item in reviews(&store) {
        assert_eq!(item.decisions, [Decision::Approve], "{}", item.label);
        assert_eq!(decide(&store, item.id, Decision::Retry), Err(Kind::Conflict));
        let (_, evidence) = store.services.reviews().show(item.id).unwrap();
        assert!(!evidence.rows.is_empty());
        decide(&store, item.id, Decision::Approve).unwrap();
        decide(&store, item.id, Decision::Approve).unwrap();
    }
    assert!(reviews(&store).is_empty());
    let store = store.crash(60_000);
    assert!(store.findings().is_empty());
    assert_eq!(store.ready("q"), ["b", "c"]);
    store.create("damaged");
}

/// A message whose queue does not exist stays until a person gives it up.
#[test]
fn messages_of_no_queue_are_given_up_one_by_one() {
    let (store, ids) = three();
    store.receive("q", 1);
    store.remove("queues", &queue::encode("q"));
    let store = store.crash(0);
    assert_eq!(labels(&store), ["queue-10"; 3]);
    let (page, more) = store.services.reviews().list(None, 1).unwrap();
    assert!(more && page[0].id == ReviewId::Work(ids[0]));
    let (rest, more) = store.services.reviews().list(Some(page[0].id), 5).unwrap();
    assert!(!more && rest.len() == 2);
    decide(&store, page[0].id, Decision::Approve).unwrap();
    assert_eq!(store.rows("messages").len(), 2);
    assert!(store.rows("leases").is_empty() && store.rows("lease_expiry").is_empty());
    assert_eq!(labels(&store.crash(0)), ["queue-10"; 2]);
}

/// What is met while running waits as well, and a purge takes it away.
#[test]
fn what_is_met_while_running_waits_too() {
    let (store, ids) = three();
    store.receive("q", 1);
    store.put("leases", &subject::encode(ids[0]), b"?");
    store.pass(60_000);
    assert_eq!(labels(&store), ["queue-9"]);
    assert_eq!(reviews(&store)[0].since_ms, START_MS + 60_000);
    store.queues().purge("q", None).unwrap();
    assert!(reviews(&store).is_empty());
    let gone = decide(&store, ReviewId::Work(ids[0]), Decision::Retry);
    assert_eq!(gone, Err(Kind::NotFound));
}

/// Power loss at each operation of a decision: it was made, with its record, or it was not; made
/// again after the crash it is done once.
///
/// proves: L10, L11
#[test]
fn a_decision_survives_a_crash_whole_or_not_at_all() {
    let prepared = || {
        let (store, ids) = three();
        store.receive("q", 1);
        store.put("leases", &subject::encode(ids[0]), b"?");
        (store.disk.crash(Survival::None, 1), ids[0])
    };
    let (disk, id) = prepared();
    let id = ReviewId::Work(id);
    let open =
        |disk| Store::on(disk, std::sync::Arc::new(rekindle_env::ManualClock::new(START_MS)));
    let whole = open(disk.crash(Survival::None, 1));
    let before = whole.disk.operations();
    decide(&whole, id, Decision::Fail).unwrap();
    let operations = whole.disk.operations() - before;
    assert!(operations > 0);
    for stop in 0..operations {
        for survival in Survival::EVERY {
            let store = open(disk.crash(Survival::None, 1));
            store.disk.stop_after(store.disk.operations() + stop);
            decide(&store, id, Decision::Fail).unwrap_err();
            let store = open(store.disk.crash(survival, stop));
            let made = store.services.audit().list(None, 9).unwrap().records.len();
            assert_eq!(labels(&store).len(), 1 - made, "{stop}, {survival:?}");
            decide(&store, id, Decision::Fail).unwrap();
            assert_eq!(bodies(&store.receive("q.dead", 9)), ["a"], "{stop}, {survival:?}");
            assert_eq!(store.services.audit().list(None, 9).unwrap().records.len(), 1);
            assert_eq!(store.ready("q"), ["b", "c"]);
        }
    }
}

/// Ids and rows of the index by time are told apart from everything else.
#[test]
fn a_stale_expiry_row_of_a_review_goes_with_it() {
    let (store, ids) = three();
    store.receive("q", 1);
    store.put("leases", &subject::encode(ids[0]), b"?");
    let wrong = lease_expiry::LeaseExpiry { deadline_ms: 5, subject: ids[0] };
    store.put("lease_expiry", &lease_expiry::encode(wrong), b"");
    let store = store.crash(0);
    assert_eq!(store.rows("lease_expiry").len(), 2);
    decide(&store, ReviewId::Work(ids[0]), Decision::Retry).unwrap();
    assert!(store.rows("lease_expiry").is_empty());
    let word = reviews(&store).first().map(|item| item.id.to_string());
    assert_eq!(word, None);
}
