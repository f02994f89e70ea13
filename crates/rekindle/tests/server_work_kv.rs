//! Keys over HTTP on the real binary: one, many, the past, scopes, bytes, and refusals.

use serde_json::{Value, json};

use super::harness::{Answer, ask};
use super::server_work::{Worked, refused};

impl Worked {
    fn put(&self, path: &str, body: Value) -> Answer {
        ask(self.server.http, ("PUT", path), &[], Some(&body))
    }
}

/// A key is set, read, read as it was, and removed.
#[test]
fn a_key_is_set_read_and_removed() {
    let work = Worked::start();
    refused(&work.server.get("/v1/kv/color"), 404, "not_found");
    let first = work.put("/v1/kv/color", json!({ "value": "blue" }));
    assert_eq!((first.status, &first.json()["durability"]), (200, &json!("disk")), "{first:?}");
    let version = first.json()["version"].clone();
    work.put("/v1/kv/color", json!({ "value": "red" }));
    let now = work.server.get("/v1/kv/color").json();
    assert_eq!((&now["key"], &now["value"]), (&json!("color"), &json!("red")), "{now}");
    let past = work.server.get(&format!("/v1/kv/color?at_version={version}")).json();
    assert_eq!((&past["value"], &past["version"]), (&json!("blue"), &version));
    let gone = work.bare("DELETE", "/v1/kv/color").json();
    assert_eq!(gone["existed"], true, "{gone}");
    assert_eq!(work.bare("DELETE", "/v1/kv/color").json()["existed"], false);
    refused(&work.server.get("/v1/kv/color"), 404, "not_found");
    assert_eq!(work.server.stop(), 0);
}

/// A write with a condition happens only where that holds.
#[test]
fn conditions_are_checked() {
    let work = Worked::start();
    let first = work.put("/v1/kv/k", json!({ "value": "1", "if_absent": true }));
    assert_eq!(first.status, 200, "{first:?}");
    refused(&work.put("/v1/kv/k", json!({ "value": "2", "if_absent": true })), 409, "conflict");
    let version = first.json()["version"].as_u64().unwrap();
    let second = work.put("/v1/kv/k", json!({ "value": "2", "if_version": version }));
    assert_eq!(second.status, 200, "{second:?}");
    let late = json!({ "value": "3", "if_version": version });
    refused(&work.put("/v1/kv/k", late), 409, "conflict");
    refused(&work.bare("DELETE", &format!("/v1/kv/k?if_version={version}")), 409, "conflict");
    assert_eq!(work.server.get("/v1/kv/k").json()["value"], "2");
    let now = second.json()["version"].clone();
    assert_eq!(work.bare("DELETE", &format!("/v1/kv/k?if_version={now}")).status, 200);
    for wrong in [
        json!({}),
        json!({ "value": "x", "value_base64": "eA==" }),
        json!({ "value_base64": "%" }),
        json!({ "value": "x", "if_version": 0 }),
        json!({ "value": "x", "if_version": 7, "if_absent": true }),
        json!({ "value": 1 }),
    ] {
        refused(&work.put("/v1/kv/k", wrong), 400, "invalid");
    }
    refused(&work.bare("DELETE", "/v1/kv/k?if_version=0"), 400, "invalid");
    assert_eq!(work.server.stop(), 0);
}

/// Any bytes are keys and values; keys may hold slashes; scopes do not see each other.
#[test]
fn keys_are_bytes_in_scopes() {
    let work = Worked::start();
    work.put("/v1/kv/a/b%2Fc", json!({ "value_base64": "_wA" }));
    let entry = work.server.get("/v1/kv/a%2Fb/c").json();
    assert_eq!((&entry["key"], &entry["value_base64"]), (&json!("a/b/c"), &json!("/wA=")));
    // The key 0xFF 0x00, as base64.
    let path = "/v1/kv/_wA?encoding=base64";
    assert_eq!(work.put(path, json!({ "value": "bytes" })).status, 200);
    let entry = work.server.get(path).json();
    assert_eq!((&entry["key_base64"], &entry["value"]), (&json!("/wA="), &json!("bytes")));
    let scoped = "/v1/kv/a/b/c?tenant=t&app=a&agent=g&run=r&type=state";
    refused(&work.server.get(scoped), 404, "not_found");
    assert_eq!(work.put(scoped, json!({ "value": "mine" })).status, 200);
    assert_eq!(work.server.get(scoped).json()["value"], "mine");
    assert_eq!(work.server.get("/v1/kv/a/b/c").json()["value_base64"], "/wA=");
    for wrong in [
        "/v1/kv/k?encoding=hex",
        "/v1/kv/k?type=none",
        "/v1/kv/%25?encoding=base64",
        "/v1/kv/k?at_version=x",
        "/v1/kv?reverse=yes",
        "/v1/kv?prefix=a&start=b",
        "/v1/kv?cursor=x",
        "/v1/kv?encoding=hex",
        "/v1/kv?limit=1&limit=1",
        "/v1/kv?limit=1001",
        &format!("/v1/kv/k?tenant={}", "x".repeat(256)),
        &format!("/v1/kv/{}", "x".repeat(4097)),
    ] {
        refused(&work.server.get(wrong), 400, "invalid");
    }
    let longest = format!("/v1/kv/{}?tenant={}", "x".repeat(4096), "x".repeat(255));
    assert_eq!(work.put(&longest, json!({ "value": "" })).status, 200);
    assert_eq!(work.server.get(&longest).json()["value"], "");
    assert_eq!(work.server.stop(), 0);
}

/// All pages of a scan, one after the other.
fn scan(work: &Worked, query: &str) -> Vec<String> {
    let (mut keys, mut cursor) = (vec![], String::new());
    loop {
        let page = work.server.get(&format!("/v1/kv?{query}{cursor}")).json();
        for row in page["rows"].as_array().unwrap() {
            keys.push(row["key"].as_str().unwrap().to_owned());
        }
        assert_eq!(page["more"], page["next"].is_string(), "{page}");
        let Some(next) = page["next"].as_str() else { return keys };
        cursor = format!("&cursor={next}");
    }
}

/// A scan has pages, all of one version, in either direction; its cursor is opaque.
#[test]
fn a_scan_has_pages_of_one_version() {
    let work = Worked::start();
    for key in ["a1", "a2", "a3", "b1", "b2"] {
        work.put(&format!("/v1/kv/{key}"), json!({ "value": key }));
    }
    assert_eq!(scan(&work, "limit=2"), ["a1", "a2", "a3", "b1", "b2"]);
    assert_eq!(scan(&work, "limit=2&reverse=true"), ["b2", "b1", "a3", "a2", "a1"]);
    assert_eq!(scan(&work, "limit=2&prefix=a"), ["a1", "a2", "a3"]);
    assert_eq!(scan(&work, "limit=1&prefix=a&reverse=true"), ["a3", "a2", "a1"]);
    assert_eq!(scan(&work, "limit=1&start=a2&end=b2"), ["a2", "a3", "b1"]);
    assert_eq!(scan(&work, "start=b9"), Vec::<String>::new());
    assert_eq!(scan(&work, "encoding=base64&prefix=YQ"), ["a1", "a2", "a3"]);
    let first = work.server.get("/v1/kv?limit=2&keys_only=true").json();
    assert_eq!(first["rows"][0].get("value"), None, "{first}");
    work.put("/v1/kv/a25", json!({ "value": "late" }));
    let next = first["next"].as_str().unwrap();
    let second = work.server.get(&format!("/v1/kv?limit=2&cursor={next}")).json();
    assert_eq!(second["version"], first["version"]);
    assert_eq!(second["rows"][0]["key"], "a3", "a later key is not of this version: {second}");
    let other = work.server.get(&format!("/v1/kv?at_version=1&cursor={next}"));
    refused(&other, 400, "invalid");
    assert_eq!(work.server.stop(), 0);
}

/// A put that is repeated with its key has one effect and the same answer.
#[test]
fn a_put_with_a_key_has_one_effect() {
    let work = Worked::start();
    let put = |value: &str| {
        let (key, body) = (&[("Idempotency-Key", "put-1")], json!({ "value": value }));
        ask(work.server.http, ("PUT", "/v1/kv/k"), key, Some(&body))
    };
    let first = put("a");
    work.put("/v1/kv/k", json!({ "value": "b" }));
    assert_eq!(put("a").json(), first.json());
    assert_eq!(work.server.get("/v1/kv/k").json()["value"], "b");
    refused(&put("c"), 400, "invalid");
    let delete = || {
        let key = &[("Idempotency-Key", "delete-1")];
        ask(work.server.http, ("DELETE", "/v1/kv/k"), key, None).json()
    };
    let gone = delete();
    assert_eq!((delete(), &gone["existed"]), (gone.clone(), &json!(true)));
    assert_eq!(work.server.stop(), 0);
}
