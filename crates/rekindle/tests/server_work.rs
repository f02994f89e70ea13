//! Queues over HTTP on the real binary: creating, sending, receiving, settling, and how each is
//! refused.

use serde_json::{Value, json};

use super::harness::{Answer, Server, ask, block_on, create, get, receive_all};

/// A server, and requests to it.
pub struct Worked {
    pub server: Server,
    _dir: tempfile::TempDir,
}

impl Worked {
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { server: Server::start(dir.path()), _dir: dir }
    }

    /// POST.
    pub fn post(&self, path: &str, body: Value) -> Answer {
        ask(self.server.http, ("POST", path), &[], Some(&body))
    }

    /// POST with an `Idempotency-Key`.
    pub fn once(&self, key: &str, path: &str, body: Value) -> Answer {
        ask(self.server.http, ("POST", path), &[("Idempotency-Key", key)], Some(&body))
    }

    /// A method without a body.
    pub fn bare(&self, method: &str, path: &str) -> Answer {
        ask(self.server.http, (method, path), &[], None)
    }

    /// Receives one message.
    pub fn receive(&self, queue: &str) -> Value {
        let answer = self.post(&format!("/v1/queues/{queue}/receive"), json!({}));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["deliveries"][0].clone()
    }
}

/// The answer is a problem with this status and this code, all of whose members are there.
pub fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    let head = answer.head.to_lowercase();
    assert!(head.contains("content-type: application/problem+json"), "{answer:?}");
    problem(&answer.json(), status, code);
    let again = head.contains("\r\nretry-after: ");
    assert_eq!(again, ["retry", "unavailable"].contains(&code), "{answer:?}");
}

/// This value is such a problem.
pub fn problem(value: &Value, status: u16, code: &str) {
    assert_eq!((&value["status"], &value["code"]), (&json!(status), &json!(code)), "{value}");
    assert_eq!(value["type"], format!("/ui/api#{code}"), "{value}");
    for member in ["title", "detail", "action"] {
        assert!(value[member].as_str().is_some_and(|text| !text.is_empty()), "{value}");
    }
    assert_eq!(value["error"], value["detail"], "{value}");
}

/// A queue is created once; again with equal settings it is there, with others it is refused.
#[test]
fn queues_are_created_emptied_and_deleted_over_http() {
    let work = Worked::start();
    let wanted = json!({ "name": "q", "visibility_ms": 5000, "max_attempts": 3 });
    let created = work.post("/v1/queues", wanted.clone());
    assert_eq!(created.status, 201, "{created:?}");
    let created = created.json();
    assert_eq!((&created["name"], &created["created"]), (&json!("q"), &json!(true)));
    assert_eq!(created["durability"], "disk");
    let again = work.post("/v1/queues", wanted);
    assert_eq!((again.status, &again.json()["created"]), (200, &json!(false)), "{again:?}");
    refused(&work.post("/v1/queues", json!({ "name": "q" })), 409, "exists");
    let shown = work.server.get("/v1/queues/q").json();
    assert_eq!((&shown["visibility_ms"], &shown["dead_letter"]), (&json!(5000), &json!("q.dead")));
    for wrong in [
        json!({}),
        json!({ "name": "a/b" }),
        json!({ "name": "" }),
        json!({ "name": "x".repeat(250) }),
        json!({ "name": "x", "visibility_ms": 0 }),
        json!({ "name": "x", "visibility_ms": 43_200_001 }),
        json!({ "name": "x", "more": 1 }),
    ] {
        refused(&work.post("/v1/queues", wrong), 400, "invalid");
    }
    for right in [json!({ "name": "x".repeat(249) }), json!({ "name": "y", "visibility_ms": 1 })] {
        assert_eq!(work.post("/v1/queues", right).status, 201);
    }
    let all = json!({ "messages": [{ "body": "a" }, { "body": "b" }] });
    assert_eq!(work.post("/v1/queues/q/messages", all).status, 200);
    let purged = work.post("/v1/queues/q/purge", json!({}));
    assert_eq!((purged.status, &purged.json()["messages"]), (200, &json!(2)), "{purged:?}");
    refused(&work.post("/v1/queues/q/purge", json!({ "x": 1 })), 400, "invalid");
    refused(&work.post("/v1/queues/none/purge", json!({})), 404, "not_found");
    refused(&work.bare("DELETE", "/v1/queues/q.dead"), 409, "conflict");
    let deleted = work.bare("DELETE", "/v1/queues/q");
    assert_eq!((deleted.status, &deleted.json()["messages"]), (200, &json!(0)), "{deleted:?}");
    refused(&work.bare("DELETE", "/v1/queues/q"), 404, "not_found");
    // What changed something is in the audit log, with who did it.
    let records = work.server.get("/v1/audit").json();
    let last = records["records"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&last["action"], &last["target"]), (&json!("queue.delete"), &json!("q")));
    assert_eq!(last["who"], "http 127.0.0.1");
    assert_eq!(work.server.stop(), 0);
}

/// A page of queues says where the next one begins.
#[test]
fn queues_have_pages_over_http() {
    let work = Worked::start();
    for name in ["a", "b", "c"] {
        assert_eq!(work.post("/v1/queues", json!({ "name": name })).status, 201);
    }
    let (mut path, mut names) = ("/v1/queues?limit=2".to_owned(), vec![]);
    loop {
        let page = work.server.get(&path).json();
        for queue in page["queues"].as_array().unwrap() {
            names.push(queue["name"].as_str().unwrap().to_owned());
        }
        assert_eq!(page["more"], page["next"].is_string(), "{page}");
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/v1/queues?limit=2&after={next}");
    }
    assert_eq!(names, ["a", "b", "c"]);
    for wrong in ["/v1/queues?limit=0", "/v1/queues?limit=1001", "/v1/queues?limit=x"] {
        refused(&work.server.get(wrong), 400, "invalid");
    }
    assert_eq!(work.server.stop(), 0);
}

/// What is sent is received as it was: text, bytes, headers, key, order; over either front.
#[test]
fn messages_are_what_they_were_over_http() {
    let work = Worked::start();
    work.post("/v1/queues", json!({ "name": "q" }));
    let headers = json!([{ "name": "a", "value": "1" }, { "name": "a", "value": "é" }]);
    let text = json!({ "body": "h\u{e9}llo\u{0}", "headers": headers, "fairness_key": "k" });
    let sent = work.post("/v1/queues/q/messages", text);
    assert_eq!(sent.status, 201, "{sent:?}");
    assert_eq!(sent.json()["durability"], "disk");
    let got = work.receive("q");
    assert_eq!((&got["id"], &got["body"]), (&sent.json()["id"], &json!("h\u{e9}llo\u{0}")));
    assert_eq!((&got["headers"], &got["fairness_key"]), (&headers, &json!("k")));
    assert_eq!((&got["attempt"], &got["visibility_ms"]), (&json!(1), &json!(30_000)));
    assert!(got["deadline_ms"].as_u64() > got["sent_ms"].as_u64(), "{got}");
    assert!(got.get("body_base64").is_none(), "{got}");

    let bytes = work.post("/v1/queues/q/messages", json!({ "body_base64": "_wA" }));
    assert_eq!(bytes.status, 201, "{bytes:?}");
    let got = work.receive("q");
    assert_eq!((&got["body_base64"], got.get("body")), (&json!("/wA="), None), "{got}");

    // Nothing is an empty message, and nothing ready is an empty answer.
    assert_eq!(work.post("/v1/queues/q/messages", json!({})).status, 201);
    assert_eq!(work.receive("q")["body"], "");
    assert_eq!(work.receive("q"), Value::Null);

    work.post("/v1/queues/q/messages", json!({ "body": "over gRPC" }));
    let kept = block_on(async { receive_all(&mut work.server.queues().await, "q").await });
    assert_eq!(kept[0].body.as_ref(), b"over gRPC");
    assert_eq!(work.server.stop(), 0);
}

/// Many messages have a result each, at their places; one that is refused does not hinder others.
#[test]
fn many_messages_have_a_result_each() {
    let work = Worked::start();
    work.post("/v1/queues", json!({ "name": "q" }));
    let messages = json!({ "messages": [
        { "body": "a" },
        { "body_base64": "!" },
        { "body": "x".repeat((1 << 20) + 1) },
        { "body": "b", "delay_ms": 31_622_400_001_u64 },
        { "body": "c" },
    ] });
    let answer = work.post("/v1/queues/q/messages", messages);
    assert_eq!(answer.status, 200, "{answer:?}");
    let results = answer.json()["results"].as_array().unwrap().clone();
    assert_eq!(results.len(), 5);
    assert!(results[0]["id"].is_string() && results[4]["id"].is_string(), "{results:?}");
    problem(&results[1]["problem"], 400, "invalid");
    problem(&results[2]["problem"], 413, "too_large");
    problem(&results[3]["problem"], 400, "invalid");
    let all = work.post("/v1/queues/q/receive", json!({ "max": 1000 })).json();
    let bodies: Vec<&str> = all["deliveries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|delivery| delivery["body"].as_str().unwrap())
        .collect();
    assert_eq!(bodies, ["a", "c"]);

    let none = work.post("/v1/queues/none/messages", json!({ "messages": [{}] }));
    problem(&none.json()["results"][0]["problem"], 404, "not_found");
    refused(&work.post("/v1/queues/none/messages", json!({})), 404, "not_found");
    refused(&work.post("/v1/queues/a%20b/messages", json!({})), 400, "invalid");
    for wrong in [
        json!({ "messages": [] }),
        json!({ "messages": vec![json!({}); 1001] }),
        json!({ "messages": [{}], "body": "x" }),
        json!({ "messages": null }),
        json!({ "body": "x", "body_base64": "eA" }),
        json!({ "body": 7 }),
        json!({ "headers": { "a": "b" } }),
        json!({ "headers": [["a", "b"]] }),
        json!({ "messages": [["x", null, null, null, null]] }),
        json!(["x", null, null, null, null]),
    ] {
        refused(&work.post("/v1/queues/q/messages", wrong), 400, "invalid");
    }
    let most = work.post("/v1/queues/q/messages", json!({ "messages": vec![json!({}); 1000] }));
    assert_eq!(most.json()["results"].as_array().map(Vec::len), Some(1000));
    assert_eq!(work.server.stop(), 0);
}

/// A token settles its message once; a late one is 409 and changes nothing.
#[test]
fn tokens_settle_and_late_ones_are_fenced() {
    let work = Worked::start();
    work.post("/v1/queues", json!({ "name": "q" }));
    for body in ["a", "b", "c"] {
        work.post("/v1/queues/q/messages", json!({ "body": body }));
    }
    let (a, b, c) = (work.receive("q"), work.receive("q"), work.receive("q"));
    let token = |it: &Value| it["token"].as_str().unwrap().to_owned();
    let acked = work.post("/v1/queues/q/ack", json!({ "tokens": [token(&a)] }));
    assert_eq!((acked.status, &acked.json()["results"][0]["outcome"]), (200, &json!("acked")));
    assert_eq!(acked.json()["durability"], "disk");
    refused(&work.post("/v1/queues/q/ack", json!({ "tokens": [token(&a)] })), 409, "fenced");

    let longer =
        work.post("/v1/queues/q/extend", json!({ "tokens": [token(&b)], "by_ms": 60_000 }));
    let result = &longer.json()["results"][0];
    assert_eq!(result["outcome"], "extended", "{longer:?}");
    assert!(result["deadline_ms"].as_u64() > b["deadline_ms"].as_u64(), "{result}");

    let back = json!({ "tokens": [token(&b)], "reason": "not now" });
    let back = work.post("/v1/queues/q/nack", back);
    assert_eq!(back.json()["results"][0]["outcome"], "returned", "{back:?}");
    let second = work.receive("q");
    assert_eq!((&second["body"], &second["attempt"]), (&json!("b"), &json!(2)));
    refused(&work.post("/v1/queues/q/ack", json!({ "tokens": [token(&b)] })), 409, "fenced");
    let released = json!({ "tokens": [token(&second)], "release": true });
    assert_eq!(work.post("/v1/queues/q/nack", released).status, 200);

    // Several have a result each, the refused ones a problem.
    let several = json!({ "tokens": [token(&a), token(&c), "nonsense"] });
    let several = work.post("/v1/queues/q/ack", several);
    assert_eq!(several.status, 200, "{several:?}");
    let results = several.json()["results"].clone();
    problem(&results[0]["problem"], 409, "fenced");
    assert_eq!(results[1]["outcome"], "acked");
    problem(&results[2]["problem"], 400, "invalid");
    let none = work.post("/v1/queues/q/ack", json!({ "tokens": ["x", "y"] })).json();
    problem(&none["results"][1]["problem"], 400, "invalid");

    for verb in ["ack", "nack", "extend"] {
        let path = format!("/v1/queues/q/{verb}");
        refused(&work.post(&path, json!({ "tokens": ["x"] })), 400, "invalid");
        refused(&work.post(&path, json!({ "tokens": [] })), 400, "invalid");
        refused(&work.post(&path, json!({ "tokens": vec!["x"; 1001] })), 400, "invalid");
        assert_eq!(work.post(&path, json!({ "tokens": vec!["x"; 1000] })).status, 200);
        let nowhere = format!("/v1/queues/none/{verb}");
        refused(&work.post(&nowhere, json!({ "tokens": [token(&a)] })), 404, "not_found");
        refused(&work.post(&nowhere, json!({ "tokens": ["x", "y"] })), 404, "not_found");
    }
    let none = json!({ "tokens": ["x", "y"], "by_ms": 0 });
    refused(&work.post("/v1/queues/q/extend", none), 400, "invalid");
    let long = json!({ "tokens": [token(&a)], "by_ms": 43_200_001 });
    refused(&work.post("/v1/queues/q/extend", long), 400, "invalid");
    let long = json!({ "tokens": [token(&a)], "reason": "x".repeat(1025) });
    refused(&work.post("/v1/queues/q/nack", long), 400, "invalid");
    assert_eq!(work.server.stop(), 0);
}

/// A request with an `Idempotency-Key` has one effect and the same answer, also over gRPC's form
/// of it; the same key for something else is refused.
#[test]
fn a_request_with_a_key_has_one_effect() {
    let work = Worked::start();
    assert_eq!(work.once("make q", "/v1/queues", json!({ "name": "q" })).status, 201);
    let again = work.once("make q", "/v1/queues", json!({ "name": "q" }));
    assert_eq!((again.status, &again.json()["created"]), (201, &json!(true)), "{again:?}");
    let path = "/v1/queues/q/messages";
    for key in ["order-17", "0190163d-8694-439b-aea5-966c26f8ad91/7"] {
        let first = work.once(key, path, json!({ "body": "a" }));
        let second = work.once(key, path, json!({ "body": "a" }));
        assert_eq!((first.status, second.status), (201, 201), "{second:?}");
        assert_eq!(first.json(), second.json());
        refused(&work.once(key, path, json!({ "body": "b" })), 400, "invalid");
    }
    // Item i of a batch has the sequence + i.
    let uuid = "0190163d-8694-439b-aea5-966c26f8ad92";
    let batch = json!({ "messages": [{ "body": "x" }, { "body": "y" }] });
    let first = work.once(&format!("{uuid}/0"), path, batch.clone()).json();
    assert_eq!(work.once(&format!("{uuid}/0"), path, batch).json(), first);
    let item = work.once(&format!("{uuid}/1"), path, json!({ "body": "y" })).json();
    assert_eq!(item["id"], first["results"][1]["id"]);
    assert_eq!(work.server.get("/v1/queues/q").json()["ready"], 4);
    // An ack that is repeated is answered as before, though its token is spent.
    let token = work.receive("q")["token"].clone();
    let body = json!({ "tokens": [token] });
    let acked = work.once("ack 1", "/v1/queues/q/ack", body.clone());
    let again = work.once("ack 1", "/v1/queues/q/ack", body);
    assert_eq!((acked.status, again.status), (200, 200), "{again:?}");
    assert_eq!(acked.json()["results"], again.json()["results"]);
    for wrong in ["x".repeat(256).as_str(), "caf\u{e9}"] {
        refused(&work.once(wrong, path, json!({})), 400, "invalid");
    }
    assert_eq!(work.once(&"x".repeat(255), path, json!({})).status, 201);
    assert_eq!(work.server.stop(), 0);
}

/// Who is not the server, and what is not the method or the media type, hears so as a problem.
#[test]
fn refusals_of_the_front_are_problems() {
    let work = Worked::start();
    let http = work.server.http;
    refused(&get(http, "/v1/queues", &[("Host", "attacker.example")]).unwrap(), 403, "forbidden");
    refused(&work.bare("GET", "/v1/nothing"), 404, "not_found");
    let wrong = work.bare("PUT", "/v1/queues");
    refused(&wrong, 405, "method_not_allowed");
    assert!(wrong.head.to_lowercase().contains("\r\nallow: "), "{wrong:?}");
    refused(&work.bare("POST", "/v1/queues"), 415, "unsupported_media_type");
    refused(&work.bare("GET", "/v1/runs/7777"), 404, "not_found");
    refused(
        &work.post("/v1/alerts/disk_low/acknowledge", json!({ "reason": "x" })),
        409,
        "conflict",
    );
    assert_eq!(work.server.stop(), 0);
}

/// What was created over gRPC is the same thing.
#[test]
fn both_fronts_have_the_same_queues() {
    let work = Worked::start();
    block_on(async { create(&mut work.server.queues().await, "q").await });
    assert_eq!(work.post("/v1/queues", json!({ "name": "q" })).status, 200);
    assert_eq!(work.server.stop(), 0);
}
