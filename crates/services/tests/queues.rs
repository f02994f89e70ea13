//! Queues: creating, sending, fairness, deleting, purging, listing.

use rekindle_services::queues::{NewMessage, QueueSettings};
use rekindle_services::{Identity, Kind};

use crate::store::{Store, bodies};

#[test]
fn creating_again_is_no_error_unless_it_asks_for_something_else() {
    let store = Store::new();
    let settings = QueueSettings { max_attempts: 2, ..QueueSettings::default() };
    assert!(store.queues().create("q", &settings, None).unwrap().value.new);
    assert!(!store.queues().create("q", &settings, None).unwrap().value.new);
    let named = QueueSettings { dead_letter: Some("q.dead".into()), ..settings.clone() };
    assert!(!store.queues().create("q", &named, None).unwrap().value.new, "the default, by name");
    let other = QueueSettings { max_attempts: 3, ..settings };
    let error = store.queues().create("q", &other, None).unwrap_err();
    assert_eq!(error.kind(), Kind::Exists);
    assert!(error.to_string().contains("max attempts 2"), "{error}");
}

#[test]
fn a_missing_queue_is_named_with_the_next_step() {
    let store = Store::new();
    let error = store.queues().send("commits", &NewMessage::default(), None).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert_eq!(
        error.to_string(),
        "queue \"commits\" does not exist; create it with 'rekindle queue create commits' or add \
         --create"
    );
    assert_eq!(store.try_receive("commits", 1).unwrap_err().kind(), Kind::NotFound);
    assert_eq!(store.queues().show("commits").unwrap_err().kind(), Kind::NotFound);
    assert_eq!(store.queues().purge("commits", None).unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn a_message_comes_back_as_it_was_sent() {
    let store = Store::new();
    store.create("q");
    let headers = [("trace", "abc"), ("empty", ""), ("trace", "again")];
    let message = NewMessage { headers: &headers, fairness_key: "k", ..NewMessage::default() };
    store.send_with("q", "line\0two", &message);
    let store = store.crash(0);
    let got = store.receive("q", 1).remove(0);
    assert_eq!(got.body(), b"line\0two");
    assert_eq!((got.attempt, got.fairness_key.as_str()), (1, "k"));
    let got: Vec<_> = got.headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert_eq!(got, headers);
}

/// proves: B3
#[test]
fn keys_take_turns_also_after_a_crash() {
    let store = Store::new();
    store.create("q");
    for number in 1..=4 {
        let key = NewMessage { fairness_key: "busy", ..NewMessage::default() };
        store.send_with("q", &format!("busy {number}"), &key);
    }
    let key = NewMessage { fairness_key: "calm", ..NewMessage::default() };
    store.send_with("q", "calm 1", &key);
    store.send_with("q", "calm 2", &key);
    assert_eq!(store.queues().show("q").unwrap().stats.keys, 2);
    let store = store.crash(0);
    assert_eq!(store.queues().show("q").unwrap().stats.keys, 2);
    assert_eq!(
        bodies(&store.receive("q", 10)),
        ["busy 1", "calm 1", "busy 2", "calm 2", "busy 3", "busy 4"]
    );
}

#[test]
fn a_refused_message_of_a_batch_does_not_hinder_the_others() {
    let store = Store::new();
    store.create("q");
    let large = vec![0; rekindle_services::limits::BODY_BYTES_MAX + 1];
    let message = |body| NewMessage { body, ..NewMessage::default() };
    let batch = [message(b"a"), message(&large), message(b"b")];
    let sent = store.queues().send_all("q", &batch, None);
    assert!(sent[0].is_ok() && sent[2].is_ok());
    assert_eq!(sent[1].as_ref().unwrap_err().kind(), Kind::Full);
    assert_eq!(store.ready("q"), ["a", "b"]);
    let ids: Vec<_> = sent.iter().flatten().map(|sent| sent.value).collect();
    assert!(ids[0] < ids[1], "ids rise in the order of sending");
}

/// Many messages take few transactions, small ones up to 64 and large ones up to 256 KiB; their
/// results, too, are together.
#[test]
fn what_is_sent_together_is_stored_together() {
    let store = Store::new();
    store.create("q");
    let versions = |body: &[u8], count: usize, identity| {
        let batch = vec![NewMessage { body, ..NewMessage::default() }; count];
        let sent = store.queues().send_all("q", &batch, identity);
        let mut versions: Vec<u64> = sent.into_iter().map(|one| one.unwrap().version).collect();
        assert!(versions.is_sorted());
        versions.dedup();
        versions.len()
    };
    let identity = Some(Identity { producer: [3; 16], sequence: 8 });
    assert_eq!(versions(b"small", 200, identity), 4);
    assert_eq!(store.rows("producers").len(), 25, "of 8 results each");
    assert_eq!(versions(b"small", 200, identity), 4, "a repeated one tells the first version");
    assert_eq!(versions(&[7; 100 << 10], 7, None), 4);
    let long = "v".repeat(16_000);
    let headers = [("h", long.as_str())];
    let batch = vec![NewMessage { headers: &headers, ..NewMessage::default() }; 33];
    let sent = store.queues().send_all("q", &batch, None);
    let versions: std::collections::BTreeSet<u64> =
        sent.into_iter().map(|one| one.unwrap().version).collect();
    assert_eq!(versions.len(), 3, "headers count, too");
    assert_eq!(store.queues().show("q").unwrap().stats.ready, 240);
}

/// produces: queue-4
#[test]
fn purging_takes_everything_and_leaves_no_rows_of_nothing() {
    let store = Store::new();
    store.create("q");
    for body in ["leased", "ready"] {
        store.send("q", body);
    }
    store.send_with("q", "delayed", &NewMessage { delay_ms: 9_000, ..NewMessage::default() });
    let lease = store.receive("q", 1).remove(0);
    assert_eq!(store.queues().purge("q", None).unwrap().value.messages, 3);
    assert_eq!(store.ack(lease.token).unwrap_err().kind(), Kind::Fenced);
    store.send("q", "new");
    assert_eq!(
        store.rows("lease_expiry").len(),
        1,
        "the index by time is cleaned by the next tick"
    );

    // A crash before that tick: recovery cleans it.
    let crashed = Store::on(
        store.disk.crash(rekindle_env::Survival::None, 1),
        std::sync::Arc::new(rekindle_env::ManualClock::new(crate::store::START_MS)),
    );
    assert!(crashed.actions().contains(&"queue-4"));
    assert!(crashed.rows("lease_expiry").is_empty());
    assert!(crashed.findings().is_empty());
    assert_eq!(crashed.ready("q"), ["new"]);

    store.pass(0);
    assert!(store.rows("lease_expiry").is_empty());
    assert_eq!(store.pass(60_000).reclaimed, 0);
    assert_eq!(store.ready("q"), ["new"]);
}

#[test]
fn a_deleted_queue_is_gone_and_a_new_one_of_its_name_is_empty() {
    let store = Store::new();
    store.create("q");
    store.send("q", "old");
    assert_eq!(store.queues().delete("q", None).unwrap().value.messages, 1);
    assert_eq!(store.queues().delete("q", None).unwrap_err().kind(), Kind::NotFound);
    for keyspace in ["queues", "messages", "leases", "lease_expiry", "attempts"] {
        assert!(store.rows(keyspace).is_empty(), "{keyspace}");
    }
    store.create("q");
    let store = store.crash(0);
    assert!(store.receive("q", 1).is_empty());
}

#[test]
fn a_dead_letter_queue_outlives_nobody_who_needs_it() {
    let store = Store::new();
    let settings = QueueSettings { max_attempts: 1, ..QueueSettings::default() };
    store.queues().create("q", &settings, None).unwrap();
    let error = store.queues().delete("q.dead", None).unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict);
    store.queues().delete("q", None).unwrap();
    store.queues().delete("q.dead", None).unwrap();
}

#[test]
fn lists_are_paged_in_the_order_of_names() {
    let store = Store::new();
    for name in ["b", "a", "d", "c"] {
        store.create(name);
    }
    let page = |after: &str, limit| {
        let (queues, more) = store.queues().list(after, limit).unwrap();
        (queues.into_iter().map(|queue| queue.name).collect::<Vec<_>>(), more)
    };
    assert_eq!(page("", 2), (vec!["a".into(), "b".into()], true));
    assert_eq!(page("b", 2), (vec!["c".into(), "d".into()], false));
    assert_eq!(page("d", 2), (vec![], false));
}
