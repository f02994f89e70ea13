//! Keys and values: scopes, versions, expectations, scans, transactions.

use rekindle_database::{Namespace, TypeTag};
use rekindle_services::Kind;
use rekindle_services::kv::{Changes, Expect, ScanRequest, Scope, Write};

use crate::store::Store;

#[test]
fn values_survive_with_their_versions() {
    let store = Store::new();
    let scope = Scope::default();
    let first = store.services.kv().put(&scope, b"k", b"one", Expect::Any, None).unwrap();
    let second = store.services.kv().put(&scope, b"k", b"two", Expect::Any, None).unwrap();
    let past = store.services.kv().get(&scope, b"k", Some(first.version)).unwrap().unwrap();
    assert_eq!((&*past.value, past.version), (&b"one"[..], first.version));
    let store = store.crash(0);
    let now = store.services.kv().get(&scope, b"k", None).unwrap().unwrap();
    assert_eq!((&*now.value, now.version), (&b"two"[..], second.version));
    assert!(store.services.kv().delete(&scope, b"k", Expect::Any, None).unwrap().value);
    assert!(!store.services.kv().delete(&scope, b"k", Expect::Any, None).unwrap().value);
    assert_eq!(store.services.kv().get(&scope, b"k", None).unwrap(), None);
}

#[test]
fn an_expectation_that_fails_changes_nothing() {
    let store = Store::new();
    let (kv, scope) = (store.services.kv(), Scope::default());
    let version = kv.put(&scope, b"k", b"1", Expect::Absent, None).unwrap().version;
    let conflict = |done: Result<_, rekindle_services::Error>| done.unwrap_err().kind();
    let absent = kv.put(&scope, b"k", b"2", Expect::Absent, None).map(drop);
    assert_eq!(conflict(absent), Kind::Conflict);
    let other = kv.put(&scope, b"k", b"2", Expect::Version(version + 1), None).map(drop);
    assert_eq!(conflict(other), Kind::Conflict);
    let gone = kv.delete(&scope, b"k", Expect::Version(0), None).map(drop);
    assert_eq!(conflict(gone), Kind::Conflict);
    kv.put(&scope, b"k", b"2", Expect::Version(version), None).unwrap();
    assert_eq!(&*kv.get(&scope, b"k", None).unwrap().unwrap().value, b"2");
}

/// proves: D11
#[test]
fn scopes_do_not_see_each_other() {
    let store = Store::new();
    let kv = store.services.kv();
    let scope = |run: &str, tag| Scope { namespace: Namespace::new("t", "a", "g", run), tag };
    let scopes = [scope("1", TypeTag::Kv), scope("1", TypeTag::State), scope("2", TypeTag::Kv)];
    for (at, scope) in scopes.iter().enumerate() {
        kv.put(scope, b"k", at.to_string().as_bytes(), Expect::Absent, None).unwrap();
    }
    for (at, scope) in scopes.iter().enumerate() {
        let page = kv.scan(scope, &ScanRequest::default()).unwrap();
        assert_eq!(page.rows.len(), 1);
        assert_eq!(&*page.rows[0].value, at.to_string().as_bytes());
    }
    let all = Changes { checks: &[], writes: &[Write::DeleteRange { start: b"", end: b"" }] };
    kv.transact(&scopes[0], &all, None).unwrap();
    assert!(kv.get(&scopes[0], b"k", None).unwrap().is_none());
    assert!(kv.get(&scopes[1], b"k", None).unwrap().is_some());
}

#[test]
fn scans_are_paged_in_both_directions() {
    let store = Store::new();
    let (kv, scope) = (store.services.kv(), Scope::default());
    let keys: Vec<String> = (0..150).map(|number| format!("k{number:03}")).collect();
    for key in &keys {
        kv.put(&scope, key.as_bytes(), b"v", Expect::Any, None).unwrap();
    }
    let text = |rows: &[rekindle_services::kv::Entry]| -> Vec<String> {
        rows.iter().map(|row| String::from_utf8(row.key.clone()).unwrap()).collect()
    };
    let all = kv.scan(&scope, &ScanRequest::default()).unwrap();
    assert_eq!((text(&all.rows), all.more), (keys.clone(), false));
    let first = kv.scan(&scope, &ScanRequest { limit: 100, ..Default::default() }).unwrap();
    assert_eq!((first.rows.len(), first.more), (100, true));
    let request =
        ScanRequest { start: b"k100", at_version: Some(first.version), ..Default::default() };
    let second = kv.scan(&scope, &request).unwrap();
    assert_eq!((text(&second.rows).as_slice(), second.more), (&keys[100..], false));
    let back = ScanRequest { end: b"k003", reverse: true, keys_only: true, ..Default::default() };
    let back = kv.scan(&scope, &back).unwrap();
    assert_eq!(text(&back.rows), ["k002", "k001", "k000"]);
    assert!(back.rows.iter().all(|row| row.value.is_empty()));
    let none = ScanRequest { start: b"x", end: b"a", ..Default::default() };
    assert!(kv.scan(&scope, &none).unwrap().rows.is_empty());
}

#[test]
fn a_page_is_bounded_in_bytes() {
    let store = Store::new();
    let (kv, scope) = (store.services.kv(), Scope::default());
    let value = vec![0; rekindle_services::limits::KV_VALUE_BYTES_MAX];
    for key in [b"a", b"b", b"c", b"d"] {
        kv.put(&scope, key, &value, Expect::Any, None).unwrap();
    }
    let page = kv.scan(&scope, &ScanRequest::default()).unwrap();
    assert_eq!((page.rows.len(), page.more), (2, true));
}

#[test]
fn a_transaction_is_all_or_nothing() {
    let store = Store::new();
    let (kv, scope) = (store.services.kv(), Scope::default());
    let version = kv.put(&scope, b"a", b"1", Expect::Any, None).unwrap().version;
    let writes = [Write::Put { key: b"b", value: b"2" }, Write::Delete { key: b"a" }];
    let checks = [(&b"a"[..], Expect::Version(version + 9))];
    let refused = kv.transact(&scope, &Changes { checks: &checks, writes: &writes }, None);
    assert_eq!(refused.unwrap_err().kind(), Kind::Conflict);
    assert!(kv.get(&scope, b"b", None).unwrap().is_none());
    let checks = [(&b"a"[..], Expect::Version(version)), (&b"b"[..], Expect::Absent)];
    kv.transact(&scope, &Changes { checks: &checks, writes: &writes }, None).unwrap();
    assert!(kv.get(&scope, b"a", None).unwrap().is_none());
    assert!(kv.get(&scope, b"b", None).unwrap().is_some());
}
