//! Rows that recovery cannot trust: told, left, not served, and nothing else stops.

use rekindle_services::Kind;
use rekindle_services::keys::{lease_expiry, queue, subject};
use rekindle_services::queues::{MessageId, NewMessage, QueueSettings};
use rekindle_services::{Identity, Options, Services};

use crate::store::{Store, bodies};

/// Three messages, the first of them leased.
fn three() -> (Store, MessageId, Vec<MessageId>) {
    let store = Store::new();
    store.create("q");
    let mut ids = vec![];
    for body in [&b"a"[..], b"b", b"c"] {
        let new = NewMessage { body, ..NewMessage::default() };
        ids.push(store.queues().send("q", &new, None).unwrap().value);
    }
    let leased = store.receive("q", 1).remove(0).id;
    (store, leased, ids)
}

/// produces: queue-1
#[test]
fn whole_rows_need_nothing() {
    let (store, ..) = three();
    let store = store.crash(0);
    assert!(store.findings().is_empty());
    assert_eq!(store.ready("q"), ["b", "c"]);
    assert_eq!((store.figure("queues"), store.figure("messages")), (1, 3));
}

/// produces: queue-5
#[test]
fn an_expiry_row_without_a_lease_goes() {
    let (store, _, ids) = three();
    let row = lease_expiry::LeaseExpiry { deadline_ms: 5, subject: ids[1] };
    store.put("lease_expiry", &lease_expiry::encode(row), b"");
    let store = store.crash(0);
    assert!(store.actions().contains(&"queue-5"));
    assert_eq!(store.rows("lease_expiry").len(), 1);
    assert_eq!(store.ready("q"), ["b", "c"]);
}

/// produces: queue-6
#[test]
fn the_index_by_time_is_made_again_from_the_leases() {
    let (store, leased, _) = three();
    for (key, _) in store.rows("lease_expiry") {
        store.remove("lease_expiry", &key);
    }
    let wrong = lease_expiry::LeaseExpiry { deadline_ms: 5, subject: leased };
    store.put("lease_expiry", &lease_expiry::encode(wrong), b"");
    let store = store.crash(0);
    assert!(store.actions().contains(&"queue-6"));
    assert_eq!(store.figure("leases_kept"), 1);
    let rows = store.rows("lease_expiry");
    assert_eq!(rows.len(), 1);
    let expiry = lease_expiry::parse_lease_expiry_key(&rows[0].0).unwrap();
    assert_eq!(expiry.subject, leased);
    assert_eq!(store.pass(30_000).reclaimed, 1);
}

/// produces: queue-7
#[test]
fn a_lease_without_a_message_waits_for_a_person() {
    let (store, leased, _) = three();
    store.remove("messages", &subject::encode(leased));
    let store = store.crash(60_000);
    assert_eq!(store.findings(), ["queue-7"]);
    assert_eq!(store.rows("leases").len(), 1, "missing metadata never means delete");
    assert_eq!(store.ready("q"), ["b", "c"]);
}

/// produces: queue-8
/// proves: B7
#[test]
fn a_damaged_message_is_not_served_and_stops_nobody() {
    let (store, _, ids) = three();
    store.put("messages", &subject::encode(ids[1]), b"\xFFdamaged");
    let store = store.crash(0);
    assert_eq!(store.findings(), ["queue-8"]);
    assert_eq!(store.queues().show("q").unwrap().stats.review, 1);
    assert_eq!(store.ready("q"), ["c"]);
    assert_eq!(store.rows("messages").len(), 3);
}

/// Damage that appears while running is met by the receive.
#[test]
fn a_message_damaged_while_running_is_set_aside() {
    let (store, _, ids) = three();
    store.remove("messages", &subject::encode(ids[1]));
    store.put("messages", &subject::encode(ids[2]), b"\xFFdamaged");
    assert!(store.receive("q", 5).is_empty());
    store.send("q", "d");
    assert_eq!(bodies(&store.receive("q", 5)), ["d"]);
}

/// A lease that is damaged while running waits for a person; it is not due for ever, and it stops
/// no other part of the tick.
#[test]
fn a_lease_damaged_while_running_is_set_aside() {
    let (store, leased, _) = three();
    store.receive("q", 1);
    store.put("leases", &subject::encode(leased), b"?");
    let ticked = store.pass(60_000);
    assert_eq!(ticked.reclaimed, 1);
    assert!(ticked.next_in_ms > 0, "nothing is due");
    assert_eq!(store.queues().show("q").unwrap().stats.review, 1);
    assert_eq!(store.rows("leases").len(), 1, "the row stays");
    assert_eq!(store.pass(60_000).reclaimed, 0);
    assert_eq!(store.ready("q"), ["b", "c"]);
}

/// produces: queue-9
#[test]
fn a_damaged_lease_or_history_is_not_guessed() {
    let (store, leased, ids) = three();
    store.put("leases", &subject::encode(leased), b"?");
    store.put("attempts", &subject::encode(ids[1]), b"?");
    let store = store.crash(60_000);
    assert_eq!(store.findings(), ["queue-9", "queue-9"]);
    assert_eq!(store.figure("leases_reclaimed"), 0);
    assert_eq!(store.ready("q"), ["c"]);
}

/// produces: queue-10
#[test]
fn messages_of_an_unknown_queue_stay() {
    let (store, ..) = three();
    store.remove("queues", &queue::encode("q"));
    let store = store.crash(0);
    assert_eq!(store.findings(), ["queue-10"; 3]);
    assert_eq!((store.rows("messages").len(), store.rows("leases").len()), (3, 1));
    assert_eq!(store.try_receive("q", 1).unwrap_err().kind(), Kind::NotFound);
}

/// produces: queue-12
#[test]
fn a_key_that_is_none_is_told() {
    let (store, ..) = three();
    store.put("messages", b"no key", b"");
    store.put("leases", b"no key", b"");
    store.put("attempts", b"no key", b"");
    let store = store.crash(0);
    assert_eq!(store.findings(), ["queue-12"; 3]);
    assert_eq!(store.ready("q"), ["b", "c"]);
}

/// produces: queue-13
#[test]
fn a_damaged_definition_takes_its_queue_out_of_service_and_no_other() {
    let (store, ..) = three();
    store.create("fine");
    store.send("fine", "d");
    store.put("queues", &queue::encode("q"), b"?");
    let store = store.crash(0);
    assert_eq!(store.findings()[0], "queue-13");
    assert_eq!(store.ready("fine"), ["d"]);
    let error = store.queues().create("q", &Default::default(), None).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt, "and nothing is written over it");
    assert_eq!(store.rows("messages").len(), 4);
}

/// produces: producer-1, producer-2
#[test]
fn a_damaged_result_is_refused_and_never_run_again() {
    let store = Store::new();
    store.create("q");
    let identity = Some(Identity { producer: [1; 16], sequence: 3 });
    store.queues().send("q", &NewMessage::default(), identity).unwrap();
    let key = store.rows("producers").remove(0).0;
    store.put("producers", &key, b"?");
    store.put("producers", b"no key", b"?");
    let store = store.crash(0);
    assert_eq!(store.findings(), ["producer-2", "producer-2"]);
    let refused = store.queues().send("q", &NewMessage::default(), identity).unwrap_err();
    assert_eq!(refused.kind(), Kind::Corrupt);
    assert_eq!(store.receive("q", 9).len(), 1);
}

/// Many findings of one kind are bounded in the report.
#[test]
fn a_thousand_findings_are_told_in_a_hundred_lines() {
    let store = Store::new();
    store.create("q");
    for number in 0..150_u32 {
        store.put("messages", &number.to_be_bytes(), b"");
    }
    let store = store.crash(0);
    let findings = &store.reports.iter().find(|report| report.layer == "queue").unwrap().findings;
    assert_eq!(findings.len(), 101);
    assert_eq!(findings[100].found, "50 more like these");
}

#[test]
fn the_plan_says_what_lead_would_do_and_does_nothing() {
    let (store, ..) = three();
    let disk = store.disk.crash(rekindle_env::Survival::None, 1);
    let clock =
        std::sync::Arc::new(rekindle_env::ManualClock::new(crate::store::START_MS + 40_000));
    let database = crate::store::open(&disk, &clock);
    let hash = database.state_hash();
    let reports = Services::plan(&database, Options::default()).unwrap();
    let labels: Vec<_> =
        reports.iter().flat_map(|report| &report.actions).map(|action| action.label.0).collect();
    assert_eq!(labels, ["queue-3"]);
    assert_eq!(database.state_hash(), hash);
}

/// A message whose dead-letter queue cannot be read waits for a person; the store opens and the
/// others are served.
#[test]
fn a_damaged_dead_letter_queue_stops_no_start() {
    let store = Store::new();
    store.create("q.dead");
    let settings = QueueSettings { max_attempts: 1, ..QueueSettings::default() };
    store.queues().create("q", &settings, None).unwrap();
    store.send("q", "its lease runs out");
    store.receive("q", 1);
    store.send("q", "another");
    let (key, _) =
        store.rows("queues").into_iter().find(|(key, _)| key.ends_with(b"q.dead")).unwrap();
    store.put("queues", &key, b"damaged");
    let store = store.crash(60_000);
    assert_eq!(store.figure("set_aside"), 1);
    assert_eq!(store.queues().show("q").unwrap().stats.review, 1);
    assert_eq!(store.ready("q"), ["another"]);
    store.pass(60_000);
    assert_eq!(store.queues().show("q").unwrap().stats.review, 1, "it is not tried for ever");
}
