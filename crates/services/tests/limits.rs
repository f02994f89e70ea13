//! Limits that need a store: each at its limit and above. The others stand beside what they limit.

use rekindle_database::Namespace;
use rekindle_services::kv::{Changes, Expect, Scope, Write};
use rekindle_services::limits::{
    BODY_BYTES_MAX, KV_KEY_BYTES_MAX, KV_OPERATIONS_MAX, KV_TRANSACTION_BYTES_MAX,
    KV_VALUE_BYTES_MAX, NAME_BYTES_MAX, OWNER_BYTES_MAX, QUEUES_MAX, REASON_BYTES_MAX,
    RECEIVE_BYTES_MAX, RECEIVE_MESSAGES_MAX, SEND_MESSAGES_MAX, TOKENS_MAX, VISIBILITY_MS_MAX,
    WAITERS_MAX,
};
use rekindle_services::queues::{Nack, NewMessage, QueueSettings, ReceiveRequest};
use rekindle_services::{Error, Kind};

use crate::store::Store;

fn kind<T>(result: Result<T, Error>) -> Option<Kind> {
    result.err().map(|error| error.kind())
}

#[test]
fn names_stand_at_their_limit() {
    let store = Store::new();
    let create = |name: &str| kind(store.queues().create(name, &QueueSettings::default(), None));
    assert_eq!(create(&"n".repeat(NAME_BYTES_MAX)), None);
    assert_eq!(create(&"n".repeat(NAME_BYTES_MAX + 1)), Some(Kind::Invalid));
    assert_eq!(create("a/b"), Some(Kind::Invalid));
}

#[test]
fn queues_stand_at_their_limit() {
    let store = Store::new();
    store.disk.stop_recording();
    for number in 0..QUEUES_MAX {
        store.create(&number.to_string());
    }
    let settings = QueueSettings::default();
    assert_eq!(kind(store.queues().create("more", &settings, None)), Some(Kind::Full));
    assert_eq!(kind(store.queues().create("7", &settings, None)), None, "it is there already");
    store.queues().delete("7", None).unwrap();
    assert_eq!(kind(store.queues().create("more", &settings, None)), None);
}

#[test]
fn waiting_receivers_stand_at_their_limit() {
    let store = Store::new();
    store.create("q");
    let wait = || store.queues().ready_changed("q");
    let mut waiting: Vec<_> = (0..WAITERS_MAX).map(|_| wait().unwrap()).collect();
    assert_eq!(kind(wait().map(drop)), Some(Kind::Full));
    waiting.pop();
    assert_eq!(kind(wait().map(drop)), None);
}

#[test]
fn bodies_stand_at_their_limit() {
    let store = Store::new();
    store.create("q");
    let body = vec![7; BODY_BYTES_MAX + 1];
    let send = |len: usize| {
        let message = NewMessage { body: &body[..len], ..NewMessage::default() };
        kind(store.queues().send("q", &message, None))
    };
    assert_eq!(send(BODY_BYTES_MAX + 1), Some(Kind::Full));
    assert_eq!(send(BODY_BYTES_MAX), None);
    assert_eq!(store.receive("q", 1)[0].body().len(), BODY_BYTES_MAX);
}

#[test]
fn a_receive_takes_no_more_than_it_may_answer() {
    let store = Store::new();
    store.create("q");
    let body = vec![7; BODY_BYTES_MAX];
    let message = NewMessage { body: &body, ..NewMessage::default() };
    for _ in 0..5 {
        store.queues().send("q", &message, None).unwrap();
    }
    let most = RECEIVE_BYTES_MAX / BODY_BYTES_MAX;
    assert_eq!(store.receive("q", 5).len(), most);
    let stats = store.queues().show("q").unwrap().stats;
    assert_eq!((stats.leased, stats.ready), (most as u64, 5 - most as u64));
}

#[test]
fn counts_stand_at_their_limits() {
    let store = Store::new();
    store.create("q");
    let batch = vec![NewMessage::default(); SEND_MESSAGES_MAX + 1];
    let above = store.queues().send_all("q", &batch, None);
    assert!(above.into_iter().all(|one| kind(one) == Some(Kind::Invalid)));
    for _ in 0..2 {
        let at = store.queues().send_all("q", &batch[1..], None);
        assert!(at.iter().all(Result::is_ok));
    }
    let leases = store.receive("q", RECEIVE_MESSAGES_MAX + 1);
    assert_eq!(leases.len(), RECEIVE_MESSAGES_MAX);
    assert_eq!(kind(store.try_receive("q", 0)), Some(Kind::Invalid));
    let mut tokens: Vec<_> = leases.iter().map(|lease| lease.token).collect();
    tokens.push(tokens[0]);
    assert_eq!(tokens.len(), TOKENS_MAX + 1);
    assert_eq!(kind(store.queues().ack(None, &tokens, None)), Some(Kind::Invalid));
    assert_eq!(kind(store.queues().ack(None, &tokens[1..], None)), None);
}

#[test]
fn times_and_texts_stand_at_their_limits() {
    let store = Store::new();
    store.create("q");
    let receive = |visibility_ms: u64, owner: &str| {
        let visibility_ms = Some(visibility_ms);
        kind(store.queues().receive(&ReceiveRequest { queue: "q", max: 1, visibility_ms, owner }))
    };
    assert_eq!(receive(VISIBILITY_MS_MAX, &"o".repeat(OWNER_BYTES_MAX)), None);
    assert_eq!(receive(VISIBILITY_MS_MAX + 1, ""), Some(Kind::Invalid));
    assert_eq!(receive(0, ""), Some(Kind::Invalid));
    assert_eq!(receive(1, &"o".repeat(OWNER_BYTES_MAX + 1)), Some(Kind::Invalid));
    let extend = |by_ms| kind(store.queues().extend(None, &[], Some(by_ms), None));
    assert_eq!(extend(VISIBILITY_MS_MAX), None);
    assert_eq!(extend(VISIBILITY_MS_MAX + 1), Some(Kind::Invalid));
    assert_eq!(extend(0), Some(Kind::Invalid));
    let nack = |len: usize| {
        let reason = "r".repeat(len);
        kind(store.queues().nack(None, &[], &Nack { reason: &reason, ..Nack::default() }, None))
    };
    assert_eq!(nack(REASON_BYTES_MAX), None);
    assert_eq!(nack(REASON_BYTES_MAX + 1), Some(Kind::Invalid));
}

#[test]
fn keys_and_values_stand_at_their_limits() {
    let store = Store::new();
    let (kv, scope) = (store.services.kv(), Scope::default());
    let bytes = vec![7; KV_VALUE_BYTES_MAX + 1];
    let put = |key: usize, value: usize| {
        kind(kv.put(&scope, &bytes[..key], &bytes[..value], Expect::Any, None))
    };
    assert_eq!(put(KV_KEY_BYTES_MAX, KV_VALUE_BYTES_MAX), None);
    assert_eq!(put(KV_KEY_BYTES_MAX + 1, 0), Some(Kind::Invalid));
    assert_eq!(put(0, 0), Some(Kind::Invalid));
    assert_eq!(put(1, KV_VALUE_BYTES_MAX + 1), Some(Kind::Full));
    let long = Namespace::new("t".repeat(256), "", "", "");
    let scope = Scope { namespace: long, ..scope };
    assert_eq!(kind(kv.get(&scope, b"k", None)), Some(Kind::Invalid));
}

#[test]
fn transactions_stand_at_their_limits() {
    let store = Store::new();
    let (kv, scope) = (store.services.kv(), Scope::default());
    let many = vec![Write::Put { key: b"k", value: b"v" }; KV_OPERATIONS_MAX + 1];
    let run =
        |writes: &[Write<'_>]| kind(kv.transact(&scope, &Changes { checks: &[], writes }, None));
    assert_eq!(run(&many[1..]), None);
    assert_eq!(run(&many), Some(Kind::Invalid));
    let value = vec![7; KV_VALUE_BYTES_MAX - 1];
    let large = |count| vec![Write::Put { key: b"k", value: &value }; count];
    let most = KV_TRANSACTION_BYTES_MAX / KV_VALUE_BYTES_MAX;
    assert_eq!(run(&large(most)), None);
    assert_eq!(run(&large(most + 1)), Some(Kind::Full));
}
