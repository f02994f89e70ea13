//! Bodies that are too large, too deep, of the wrong kind or too slow, on every route of work: one
//! table, the routes that are served.
//!
//! Invariant: a route of work that takes JSON and is added to the table is asked here too.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rekindle::front::http::body::Takes;
use rekindle::front::http::table::{ROUTES, Route};
use serde_json::{Value, json};

use super::cli_jobs::until;
use super::harness::{Answer, DEADLINE, Server, ask};
use super::server_work::{Worked, problem, refused};

/// What a body of work may have.
const BODY_BYTES_MAX: usize = 4 << 20;
/// And its values, results and payloads.
const VALUE_BYTES_MAX: usize = 1 << 20;
/// How long a body and a head may take.
const BODY_TIME: Duration = Duration::from_secs(30);
const HEAD_TIME: Duration = Duration::from_secs(5);
/// More than any of that on a slow machine.
const LATE: Duration = Duration::from_secs(15);
/// The pause between two bytes of who is slow.
const PAUSE: Duration = Duration::from_millis(250);
/// A server at all of this.
const MEMORY_BYTES: u64 = 128 << 20;
/// Slow heads at once.
const SLOW_HEADS: usize = 150;

/// Routes of work that take JSON, each with a path that names something.
fn routes() -> Vec<(String, String)> {
    let takes = |route: &&Route| route.is_work() && route.takes() == Takes::Json;
    let path = |route: &Route| {
        let parts =
            route.path().split('/').map(|part| if part.starts_with('{') { "x" } else { part });
        parts.collect::<Vec<_>>().join("/")
    };
    let routes: Vec<_> = ROUTES.iter().filter(takes).collect();
    assert!(routes.iter().all(|route| route.body_bytes_max() == BODY_BYTES_MAX));
    let all: Vec<_> = routes.iter().map(|it| (it.method().to_string(), path(it))).collect();
    for known in ["/v1/jobs", "/v1/jobs/x/complete", "/v1/schedules", "/v1/transactions"] {
        assert!(all.iter().any(|(_, path)| path == known), "{known}");
    }
    all
}

fn head(method: &str, path: &str, media: &str, len: usize, more: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: {media}\r\nContent-Length: {len}\r\n{more}\r\n"
    )
}

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.http).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

fn heard(mut stream: TcpStream) -> Answer {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    answer(&text)
}

fn answer(text: &str) -> Answer {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text:?}"));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap();
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

/// A request with these bytes as its body.
fn send(server: &Server, route: &(String, String), media: &str, body: &[u8]) -> Answer {
    let mut stream = connect(server);
    let head = head(&route.0, &route.1, media, body.len(), "");
    stream.write_all(head.as_bytes()).unwrap();
    // A server that has enough may close while there is more.
    let _ = stream.write_all(body);
    heard(stream)
}

/// JSON, an object with this many bytes, that no route takes.
fn object(len: usize) -> Vec<u8> {
    let mut bytes = b"{\"no_such_key\":\"".to_vec();
    bytes.resize(len - 2, b'x');
    bytes.extend_from_slice(b"\"}");
    bytes
}

/// An object with lists in it, so deep.
fn deep(depth: usize) -> Vec<u8> {
    let (open, close) = ("[".repeat(depth - 1), "]".repeat(depth - 1));
    format!("{{\"no_such_key\":{open}{close}}}").into_bytes()
}

/// fault: P2
#[test]
fn every_route_of_work_refuses_what_is_too_large_too_deep_or_no_json() {
    const JSON: &str = "application/json";
    let work = Worked::start();
    let server = &work.server;
    for route in &routes() {
        let said = |answer: &Answer| answer.json()["detail"].as_str().unwrap().to_owned();
        let above = send(server, route, JSON, &object(BODY_BYTES_MAX + 1));
        refused(&above, 413, "too_large");
        assert!(said(&above).contains("4194304"), "{route:?}: {above:?}");
        refused(&send(server, route, JSON, &object(BODY_BYTES_MAX)), 400, "invalid");
        let mut stream = connect(server);
        let expects = "Expect: 100-continue\r\n";
        let told = head(&route.0, &route.1, JSON, BODY_BYTES_MAX + 1, expects);
        stream.write_all(told.as_bytes()).unwrap();
        refused(&heard(stream), 413, "too_large");
        for (depth, is_deep) in [(64, false), (65, true), (1 << 20, true)] {
            let answer = send(server, route, JSON, &deep(depth));
            refused(&answer, 400, "invalid");
            assert_eq!(said(&answer).contains("deeper than 64"), is_deep, "{route:?}: {answer:?}");
        }
        for wrong in [&b""[..], b"{", b"[]", b"null", b"\xFF\xFE", b"{\"a\":1}{", &[0; 64]] {
            refused(&send(server, route, JSON, wrong), 400, "invalid");
        }
        for media in ["text/plain", "application/x-www-form-urlencoded"] {
            refused(&send(server, route, media, b"{}"), 415, "unsupported_media_type");
        }
    }
    until(|| server.get("/metrics").body.contains("rekindle_inflight_bytes 0"));
    for (path, empty) in [("/v1/queues", "queues"), ("/v1/jobs", "jobs"), ("/v1/kv", "rows")] {
        assert_eq!(server.get(path).json()[empty], json!([]), "nothing was made");
    }
    let memory = server.memory_bytes_max();
    assert!(memory < MEMORY_BYTES, "{memory}");
    assert_eq!(work.server.stop(), 0);
}

/// JSON text with this many bytes.
fn text(len: usize) -> Value {
    json!("x".repeat(len - 2))
}

/// What a job, a schedule and a transaction carry has a size: at it they are taken, above it not.
///
/// proves: J9
/// fault: P2
#[test]
fn what_jobs_carry_has_a_size() {
    let work = Worked::start();
    let taken = |answer: Answer| assert!([200, 201].contains(&answer.status), "{answer:?}");
    let (at, above) = (VALUE_BYTES_MAX, VALUE_BYTES_MAX + 1);
    let job = |len| json!({ "type": "t", "payload": text(len) });
    taken(work.post("/v1/jobs", job(at)));
    refused(&work.post("/v1/jobs", job(above)), 413, "too_large");
    let several = work.post("/v1/jobs", json!({ "jobs": [job(above), job(4)] })).json();
    problem(&several["results"][0]["problem"], 413, "too_large");
    assert_eq!(several["results"][1]["new"], true);
    let beat = |len| json!({ "name": "s", "type": "t", "cron": "0 0 1 1 *", "payload": text(len) });
    refused(&work.post("/v1/schedules", beat(above)), 413, "too_large");
    taken(work.post("/v1/schedules", beat(at)));
    let claimed = work.post("/v1/jobs/claim", json!({ "types": ["t"], "max": 1 })).json();
    let claimed = claimed["jobs"][0].clone();
    let both = |len| json!({ "operations": [{ "submit": job(4) }, { "submit": job(len) }] });
    refused(&work.post("/v1/transactions", both(above)), 413, "too_large");
    taken(work.post("/v1/transactions", both(at)));
    let of = |operation: Value| {
        let operations = json!({ "operations": [{ "submit": job(4) }, operation] });
        work.post("/v1/transactions", operations)
    };
    work.post("/v1/queues", json!({ "name": "q" }));
    for too_large in [
        json!({ "put": { "key": "k", "value": "x".repeat(above) } }),
        json!({ "send": { "queue": "q", "message": { "body": "x".repeat(above) } } }),
        json!({ "complete": { "token": claimed["token"], "result": text(above) } }),
    ] {
        let answer = of(too_large);
        refused(&answer, 413, "too_large");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.starts_with("operation 1: "), "{detail}");
    }
    let large = json!({ "operations": vec![json!({ "submit": job(at) }); 4] });
    refused(&work.post("/v1/transactions", large), 413, "too_large");
    let many = |count| json!({ "operations": vec![json!({ "submit": { "type": "u" } }); count] });
    refused(&work.post("/v1/transactions", many(1_001)), 400, "invalid");
    taken(work.post("/v1/transactions", many(1_000)));
    let act = |verb: &str, key: &str, len: usize| {
        let body = json!({ "token": claimed["token"], key: text(len) });
        work.post(&format!("/v1/jobs/{}/{verb}", claimed["id"].as_str().unwrap()), body)
    };
    refused(&act("heartbeat", "progress", 4_097), 413, "too_large");
    taken(act("heartbeat", "progress", 4_096));
    refused(&act("complete", "result", above), 413, "too_large");
    taken(act("complete", "result", at));
    let counts = work.server.get("/v1/jobs/counts").json();
    assert_eq!((&counts["completed"], &counts["pending"]), (&json!(1), &json!(3 + 1_000)));
    assert_eq!(work.server.stop(), 0);
}

/// A byte at each pause until the server has had enough: what it said, and after how long.
fn drip(server: &Server, begin: &str) -> (String, Duration) {
    let mut stream = connect(server);
    stream.set_read_timeout(Some(PAUSE)).unwrap();
    stream.write_all(begin.as_bytes()).unwrap();
    let (began, mut said, mut buffer) = (Instant::now(), vec![], [0; 4_096]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => said.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                // It may be gone by now, which the next read says.
                let _ = stream.write_all(b"x");
            }
            Err(_) => break,
        }
        assert!(began.elapsed() < BODY_TIME + LATE, "it hangs: {begin}");
    }
    (String::from_utf8(said).unwrap(), began.elapsed())
}

/// Says that it is over, also where an assertion failed: who goes on until then would go on.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Whoever sends a byte now and then is cut off in the time that is stated, and others are served
/// meanwhile.
///
/// fault: P4
#[test]
fn slow_heads_and_bodies_have_an_end() {
    let work = Worked::start();
    let server = &work.server;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let end = End(&done);
        let bodies: Vec<_> = routes()
            .into_iter()
            .map(|(method, path)| {
                let begin = head(&method, &path, "application/json", 4_096, "") + "{\"type\":\"";
                scope.spawn(move || (drip(server, &begin), path))
            })
            .collect();
        let heads: Vec<_> = (0..SLOW_HEADS)
            .map(|_| scope.spawn(|| drip(server, "POST /v1/jobs HTTP/1.1\r\nX-Slow: ")))
            .collect();
        let other = scope.spawn(|| {
            let mut slowest = Duration::ZERO;
            while !done.load(Ordering::SeqCst) {
                let began = Instant::now();
                let job = json!({ "type": "t" });
                assert_eq!(ask(server.http, ("POST", "/v1/jobs"), &[], Some(&job)).status, 201);
                slowest = slowest.max(began.elapsed());
            }
            slowest
        });
        for head in heads {
            let (said, after) = head.join().unwrap();
            assert!(said.is_empty() || said.starts_with("HTTP/1.1 408 "), "{said}");
            assert!(after >= HEAD_TIME - PAUSE && after < HEAD_TIME + LATE, "{after:?}");
        }
        for body in bodies {
            let ((said, after), path) = body.join().unwrap();
            refused(&answer(&said), 408, "timeout");
            assert!(after >= BODY_TIME - PAUSE && after < BODY_TIME + LATE, "{path}: {after:?}");
        }
        drop(end);
        let slowest = other.join().unwrap();
        println!("others are answered within {slowest:?}");
        assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    });
    // All of it is given back.
    until(|| {
        let metrics = server.get("/metrics").body;
        metrics.contains("rekindle_inflight_bytes 0")
            && metrics.contains("rekindle_connections{front=\"http\"} 1")
    });
    let memory = server.memory_bytes_max();
    assert!(memory < MEMORY_BYTES, "{memory}");
    assert_eq!(work.server.stop(), 0);
}
