//! Jobs, schedules and transactions over HTTP on the real binary: through every state, and how each
//! request is refused.

use serde_json::{Value, json};

use super::harness::Answer;
use super::server_work::{Worked, problem, refused};

/// Submits a job; its id.
fn submit(work: &Worked, job: Value) -> String {
    let answer = work.post("/v1/jobs", job);
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json()["id"].as_str().unwrap().to_owned()
}

/// Claims one job of this type.
fn claim(work: &Worked, kind: &str) -> Value {
    let answer = work.post("/v1/jobs/claim", json!({ "types": [kind], "worker": "w" }));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["jobs"][0].clone()
}

fn act(work: &Worked, claimed: &Value, verb: &str, mut body: Value) -> Answer {
    body["token"] = claimed["token"].clone();
    work.post(&format!("/v1/jobs/{}/{verb}", claimed["id"].as_str().unwrap()), body)
}

fn status(work: &Worked, id: &str) -> String {
    let answer = work.server.get(&format!("/v1/jobs/{id}"));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["status"].as_str().unwrap().to_owned()
}

fn is(answer: &Answer, expected: &str) {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["status"], expected, "{answer:?}");
}

/// Every status and every verb, with what is refused in each.
///
/// proves: J1, J9
#[test]
fn a_job_goes_through_every_state_over_http() {
    let work = Worked::start();
    let id = submit(&work, json!({ "type": "mail", "payload": { "to": "ada", "n": 1.50 } }));
    assert_eq!(status(&work, &id), "pending");
    let claimed = claim(&work, "mail");
    assert_eq!((&claimed["id"], &claimed["attempt"]), (&json!(id), &json!(1)));
    assert_eq!(claimed["payload"], json!({ "to": "ada", "n": 1.50 }));
    assert_eq!(status(&work, &id), "processing");
    let beat = act(&work, &claimed, "heartbeat", json!({ "progress": { "percent": 40 } }));
    is(&beat, "processing");
    assert!(beat.json()["deadline_ms"].as_u64().unwrap() > 0);
    is(&act(&work, &claimed, "release", json!({ "reason": "busy" })), "pending");
    let claimed = claim(&work, "mail");
    is(&act(&work, &claimed, "fail", json!({ "error": "no", "retry_in_ms": 60000 })), "scheduled");
    is(&work.post(&format!("/v1/jobs/{id}/retry"), json!({})), "pending");
    let claimed = claim(&work, "mail");
    is(&act(&work, &claimed, "fail", json!({ "error": "never", "last": true })), "failed");
    is(&work.post(&format!("/v1/jobs/{id}/retry"), json!({})), "pending");
    is(&work.post(&format!("/v1/jobs/{id}/cancel"), json!({ "reason": "wait" })), "cancelled");
    is(&work.post(&format!("/v1/jobs/{id}/retry"), json!({})), "pending");
    let stale = claimed;
    let claimed = claim(&work, "mail");
    assert_eq!(claimed["attempt"], 4);
    // A late completion with an old token changes nothing.
    for verb in ["complete", "fail", "release", "heartbeat"] {
        refused(&act(&work, &stale, verb, json!({})), 409, "fenced");
    }
    is(&act(&work, &claimed, "complete", json!({ "result": [1, "two"] })), "completed");
    let detail = work.server.get(&format!("/v1/jobs/{id}")).json();
    assert_eq!((&detail["result"], &detail["charged"]), (&json!([1, "two"]), &json!(0)));
    assert_eq!(detail["progress"]["value"], json!({ "percent": 40 }));
    let ends = detail["events"].as_array().unwrap().iter();
    let completed = ends.filter(|event| event["event"] == "completed").count();
    assert_eq!(completed, 1, "{detail}");
    for verb in ["retry", "cancel"] {
        refused(&work.post(&format!("/v1/jobs/{id}/{verb}"), json!({})), 409, "conflict");
    }
    let result = work.server.get(&format!("/v1/jobs/{id}/result?wait_ms=1000")).json();
    assert_eq!((&result["finished"], &result["result"]), (&json!(true), &json!([1, "two"])));
    assert_eq!(work.server.stop(), 0);
}

/// proves: J9
#[test]
fn jobs_are_submitted_listed_and_refused_over_http() {
    let work = Worked::start();
    let unique = json!({ "type": "t", "unique": { "key": "k" } });
    let first = submit(&work, unique.clone());
    let again = work.post("/v1/jobs", unique);
    assert_eq!((again.status, &again.json()["id"]), (200, &json!(first)), "{again:?}");
    let many = json!({ "jobs": [
        { "type": "t", "priority": 5 },
        { "type": "a/b" },
        { "type": "u", "delay_ms": 60000 },
    ]});
    let answer = work.once("0190f3a0-0000-7000-8000-000000000001/7", "/v1/jobs", many.clone());
    let results = answer.json()["results"].clone();
    assert_eq!(answer.status, 200, "{answer:?}");
    problem(&results[1]["problem"], 400, "invalid");
    let repeated = work.once("0190f3a0-0000-7000-8000-000000000001/7", "/v1/jobs", many).json();
    assert_eq!(repeated["results"][0], results[0], "one effect");
    let listed = |query: &str| -> Vec<Value> {
        let page = work.server.get(&format!("/v1/jobs?{query}")).json();
        page["jobs"].as_array().unwrap().clone()
    };
    assert_eq!(listed("").len(), 3);
    assert_eq!(listed("status=scheduled").len(), 1);
    assert_eq!(listed("type=t&status=pending,processing").len(), 2);
    assert_eq!(listed("type=t&unique_key=k")[0]["id"], first);
    assert_eq!(listed("newest_first=true&limit=1")[0]["type"], "u");
    assert_eq!(work.server.get("/v1/jobs/counts?type=t").json()["pending"], 2);
    let order: Vec<Value> = (0..2).map(|_| claim(&work, "t")["priority"].clone()).collect();
    assert_eq!(order, [json!(5), json!(0)]);
    for wrong in [
        json!({}),
        json!({ "type": "" }),
        json!({ "type": "t", "priority": 40_000 }),
        json!({ "type": "t", "run_at_ms": 1, "delay_ms": 1 }),
        json!({ "type": "t", "unique": { "key": "" } }),
        json!({ "type": "t", "unknown": 1 }),
        json!({ "jobs": [] }),
    ] {
        refused(&work.post("/v1/jobs", wrong), 400, "invalid");
    }
    let large = json!({ "type": "t", "payload": "x".repeat(1 << 20) });
    refused(&work.post("/v1/jobs", large), 413, "too_large");
    for wrong in ["/v1/jobs?status=done", "/v1/jobs?limit=0", "/v1/jobs?unique_key=k"] {
        refused(&work.server.get(wrong), 400, "invalid");
    }
    refused(&work.server.get("/v1/jobs/j0000"), 400, "invalid");
    let gone = "/v1/jobs/m00000000000000000000000000000";
    refused(&work.server.get(gone), 400, "invalid");
    for wrong in [json!({ "types": [] }), json!({ "types": ["t"], "max": 0 }), json!({})] {
        refused(&work.post("/v1/jobs/claim", wrong), 400, "invalid");
    }
    assert_eq!(work.server.stop(), 0);
}

/// A full type refuses before the job exists; its settings are in force at once.
///
/// proves: J9
#[test]
fn types_have_settings_over_http() {
    let work = Worked::start();
    let set = |body: Value| {
        super::harness::ask(work.server.http, ("PUT", "/v1/job-types/t"), &[], Some(&body))
    };
    let answer = set(json!({ "max_waiting": 1, "concurrency": 1, "max_attempts": 1 }));
    assert_eq!((answer.status, &answer.json()["changed"]), (200, &json!(true)), "{answer:?}");
    assert_eq!(set(json!({ "max_waiting": 1 })).json()["changed"], false);
    submit(&work, json!({ "type": "t" }));
    refused(&work.post("/v1/jobs", json!({ "type": "t" })), 429, "full");
    assert_eq!(work.server.get("/v1/jobs/counts").json()["pending"], 1);
    let claimed = claim(&work, "t");
    submit(&work, json!({ "type": "t" }));
    assert_eq!(claim(&work, "t"), Value::Null, "one at a time");
    is(&act(&work, &claimed, "fail", json!({})), "failed");
    assert_ne!(claim(&work, "t"), Value::Null);
    let shown = work.server.get("/v1/job-types/t").json();
    assert_eq!((&shown["concurrency"], &shown["counts"]["failed"]), (&json!(1), &json!(1)));
    refused(&set(json!({ "rate_count": 5 })), 400, "invalid");
    refused(&set(json!({ "lease_ms": 0 })), 400, "invalid");
    refused(&work.server.get("/v1/job-types/none"), 404, "not_found");
    assert_eq!(work.server.get("/v1/job-types").json()["types"][0]["name"], "t");
    assert_eq!(work.server.stop(), 0);
}

/// A schedule with seconds makes a job, which a waiting worker gets.
///
/// proves: J10
#[test]
fn schedules_make_jobs_over_http() {
    let work = Worked::start();
    let beat = json!({ "name": "beat", "type": "ping", "cron": "* * * * * *", "payload": [7] });
    let made = work.post("/v1/schedules", beat.clone());
    assert_eq!((made.status, &made.json()["changed"]), (201, &json!(true)), "{made:?}");
    assert_eq!(work.post("/v1/schedules", beat.clone()).status, 200);
    let mut other = beat;
    other["priority"] = json!(1);
    refused(&work.post("/v1/schedules", other), 409, "exists");
    let wait = json!({ "types": ["ping"], "wait_ms": 20000 });
    let claimed = work.post("/v1/jobs/claim", wait).json()["jobs"][0].clone();
    assert_eq!(claimed["payload"], json!([7]), "{claimed}");
    let job = work.server.get(&format!("/v1/jobs/{}", claimed["id"].as_str().unwrap())).json();
    assert_eq!(job["schedule"]["name"], "beat");
    let shown = work.server.get("/v1/schedules/beat").json();
    assert!(shown["fired"].as_u64().unwrap() >= 1, "{shown}");
    for wrong in [
        json!({ "name": "x", "type": "t", "cron": "61 * * * *" }),
        json!({ "name": "x", "type": "t", "cron": "0 0 30 2 *" }),
        json!({ "name": "x", "type": "t", "cron": "* * * * *", "zone": "Nowhere/City" }),
        json!({ "name": "x", "type": "t", "cron": "* * * * *", "missed": "some" }),
    ] {
        refused(&work.post("/v1/schedules", wrong), 400, "invalid");
    }
    assert_eq!(work.bare("DELETE", "/v1/schedules/beat").status, 200);
    refused(&work.bare("DELETE", "/v1/schedules/beat"), 404, "not_found");
    assert_eq!(work.server.get("/v1/schedules").json()["schedules"], json!([]));
    assert_eq!(work.server.stop(), 0);
}

/// All or nothing over every kind of work; the place of what is refused is named.
#[test]
fn transactions_are_all_or_nothing_over_http() {
    let work = Worked::start();
    work.post("/v1/queues", json!({ "name": "q" }));
    work.post("/v1/queues/q/messages", json!({ "body": "m" }));
    submit(&work, json!({ "type": "t" }));
    let (lease, claimed) = (work.receive("q"), claim(&work, "t"));
    let operations = |version: Value| {
        json!({ "operations": [
            { "ack": { "token": lease["token"] } },
            { "complete": { "token": claimed["token"], "result": { "ok": true } } },
            { "check": version },
            { "put": { "key": "balance", "value": "7", "scope": { "tenant": "a" } } },
            { "send": { "queue": "q", "message": { "body": "next" } } },
            { "submit": { "type": "u", "payload": 1 } },
        ]})
    };
    let expected = json!({ "key": "balance", "if_version": 9, "scope": { "tenant": "a" } });
    let no = work.post("/v1/transactions", operations(expected));
    refused(&no, 409, "conflict");
    assert!(no.json()["detail"].as_str().unwrap().starts_with("operation 2: "), "{no:?}");
    assert_eq!(work.server.get("/v1/jobs/counts").json()["processing"], 1);
    let absent = json!({ "key": "balance", "if_absent": true, "scope": { "tenant": "a" } });
    let done = work.once("transfer-1", "/v1/transactions", operations(absent.clone()));
    assert_eq!(done.status, 200, "{done:?}");
    let results = done.json()["results"].clone();
    assert_eq!(results[0], json!({ "outcome": "acked" }));
    assert_eq!(results[1]["status"], "completed");
    assert_eq!(results[2], json!({ "done": true }));
    assert_eq!(results[5]["new"], true);
    let again = work.once("transfer-1", "/v1/transactions", operations(absent));
    assert_eq!(again.json(), done.json(), "one effect");
    assert_eq!(work.server.get("/v1/kv/balance?tenant=a").json()["value"], "7");
    assert_eq!(work.receive("q")["body"], "next");
    for wrong in [
        json!({}),
        json!({ "operations": [{ "jump": {} }] }),
        json!({ "operations": [{ "ack": { "token": "t1" } }] }),
        json!({ "operations": [{ "check": { "key": "k" } }] }),
        json!({ "operations": [{ "put": { "value": "v" } }] }),
    ] {
        refused(&work.post("/v1/transactions", wrong), 400, "invalid");
    }
    assert_eq!(work.server.stop(), 0);
}
