//! The audit log: what operators did, in the transaction that did it.

use rekindle_env::Survival;
use rekindle_services::keys::audit as key;
use rekindle_services::limits::AUDIT_MAX;
use rekindle_services::queues::{NewMessage, QueueSettings};
use rekindle_services::{Identity, Kind, NewAudit};

use crate::store::Store;

fn actions(store: &Store) -> Vec<(u64, String, String)> {
    let page = store.services.audit().list(Some(0), 1_000).unwrap();
    assert!(page.unreadable.is_empty());
    page.records.into_iter().map(|it| (it.number, it.action, it.target)).collect()
}

fn record(number: u64, action: &str, target: &str) -> (u64, String, String) {
    (number, action.to_owned(), target.to_owned())
}

/// Who manages queues is recorded once for each change, with its result; what changes nothing is
/// not, and neither is a repeated request.
///
/// proves: L11
#[test]
fn what_managed_a_queue_is_recorded_with_the_change() {
    let store = Store::new();
    let queues = store.queues().by("grpc 127.0.0.1");
    let identity = Some(Identity { producer: [7; 16], sequence: 1 });
    for _ in 0..2 {
        queues.create("a", &QueueSettings::default(), identity).unwrap();
    }
    queues.create("a", &QueueSettings::default(), None).unwrap();
    store.send("a", "one");
    queues.purge("a", None).unwrap();
    queues.delete("a", None).unwrap();
    queues.delete("a", None).unwrap_err();
    store.create("by nobody's name".split(' ').next().unwrap());
    let expected = [
        record(1, "queue.create", "a"),
        record(2, "queue.purge", "a"),
        record(3, "queue.delete", "a"),
    ];
    assert_eq!(actions(&store), expected);
    let page = store.services.audit().list(None, 2).unwrap();
    let purge = &page.records[0];
    assert_eq!(
        (purge.who.as_str(), purge.result.as_str()),
        ("grpc 127.0.0.1", "1 messages went with it")
    );
    assert_eq!(purge.at_ms, crate::store::START_MS);
    assert!(purge.version > 0 && purge.version < page.records[1].version);
    let first = store.services.audit().list(Some(0), 1).unwrap();
    assert!(first.more && first.records.len() == 1);

    let store = store.crash(1_000);
    assert_eq!(actions(&store), expected, "it is as durable as what it tells");
}

/// A record of what happened elsewhere; texts are bounded and stand on one line.
#[test]
fn what_happened_elsewhere_is_recorded_too() {
    let store = Store::new();
    let audit = store.services.audit();
    let entry = NewAudit { who: "cli", action: "backup", why: "nightly", ..NewAudit::default() };
    assert_eq!(audit.record(&entry).unwrap().value, 1);
    assert_eq!(audit.record(&entry).unwrap().value, 2);
    let forged = NewAudit { why: "nightly\n3 queue.delete", ..entry };
    assert_eq!(audit.record(&forged).unwrap_err().kind(), Kind::Invalid);
    assert_eq!(actions(&store).len(), 2);
    assert_eq!(audit.last_of("", "back").unwrap().unwrap().number, 2);
    assert_eq!(audit.last_of("x", "back").unwrap(), None);
    // A row that cannot be read is told and hides no other.
    store.put("audit", &key::encode(2), b"?");
    let page = audit.list(Some(0), 10).unwrap();
    assert_eq!((page.records.len(), page.unreadable), (1, vec![2]));
}

/// Power loss at any operation of the disk: the queue and its record are both there or neither.
///
/// proves: L11
#[test]
fn a_change_and_its_record_are_both_there_or_neither() {
    let work = |store: &Store| {
        let queues = store.queues().by("me");
        queues.create("a", &QueueSettings::default(), None)?;
        queues.create("b", &QueueSettings::default(), None)?;
        queues.delete("a", None)
    };
    let whole = Store::new();
    let before = whole.disk.operations();
    work(&whole).unwrap();
    let operations = whole.disk.operations() - before;
    assert!(operations >= 3);
    for stop in 0..operations {
        for survival in Survival::EVERY {
            let store = Store::new();
            store.disk.stop_after(store.disk.operations() + stop);
            work(&store).unwrap_err();
            let clock = std::sync::Arc::clone(&store.clock);
            let store = Store::on(store.disk.crash(survival, stop), clock);
            let (queues, _) = store.queues().list("", 0).unwrap();
            let queues: Vec<_> = queues.iter().map(|queue| queue.name.as_str()).collect();
            let at = format!("stopped after {stop}, {survival:?}");
            match actions(&store).len() {
                0 => assert!(queues.is_empty(), "{at}"),
                1 => assert_eq!(queues, ["a"], "{at}"),
                2 => assert_eq!(queues, ["a", "b"], "{at}"),
                _ => assert_eq!(queues, ["b"], "{at}"),
            }
        }
    }
}

/// At the bound the oldest block goes, a record says so, and numbers go on.
#[test]
fn the_log_stands_at_its_bound_and_says_what_went() {
    let store = Store::new();
    let entry = NewAudit { who: "cli", action: "backup", ..NewAudit::default() };
    store.services.audit().record(&entry).unwrap();
    let value = store.rows("audit").remove(0).1;
    for number in [2, 1_000, 1_001, AUDIT_MAX + 999] {
        store.put("audit", &key::encode(number), &value);
    }
    assert_eq!(store.services.audit().record(&entry).unwrap().value, AUDIT_MAX + 1_000);
    let numbers: Vec<u64> = actions(&store).into_iter().map(|(number, ..)| number).collect();
    assert_eq!(numbers, [1_001, AUDIT_MAX + 999, AUDIT_MAX + 1_000, AUDIT_MAX + 1_001]);
    let trim = store.services.audit().list(None, 1).unwrap().records.remove(0);
    assert_eq!((trim.action.as_str(), trim.target.as_str()), ("audit.trim", "records before 1001"));
    assert_eq!(store.services.audit().record(&entry).unwrap().value, AUDIT_MAX + 1_002);
}

/// Payloads, headers and tokens of messages are not in it.
#[test]
fn nothing_secret_is_in_it() {
    let store = Store::new();
    let queues = store.queues().by("me");
    queues.create("q", &QueueSettings::default(), None).unwrap();
    let headers = [("authorization", "planted-secret-header")];
    let message = NewMessage { headers: &headers, ..NewMessage::default() };
    store.send_with("q", "planted-secret-body", &message);
    let token = store.receive("q", 1).remove(0).token.to_string();
    queues.purge("q", None).unwrap();
    queues.delete("q", None).unwrap();
    for (_, value) in store.rows("audit") {
        let text = String::from_utf8_lossy(&value).into_owned();
        assert!(!text.contains("planted-secret") && !text.contains(&token), "{text}");
    }
}
