//! Work over HTTP at its limits on the real binary: sizes, depth, bytes in flight, long polls.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::harness::{DEADLINE, Server, ask, serve};
use super::server_work::{Worked, refused};

/// A body of work has 4 MiB and a message 1 MiB; above it each is refused as too large.
///
/// fault: P2
#[test]
fn bodies_of_work_have_a_size() {
    let work = Worked::start();
    work.post("/v1/queues", json!({ "name": "q" }));
    let path = "/v1/queues/q/messages";
    assert_eq!(work.post(path, json!({ "body": "x".repeat(1 << 20) })).status, 201);
    refused(&work.post(path, json!({ "body": "x".repeat((1 << 20) + 1) })), 413, "too_large");
    let header = |len: usize| json!({ "headers": [{ "name": "n", "value": "x".repeat(len - 1) }] });
    assert_eq!(work.post(path, header(16 << 10)).status, 201);
    refused(&work.post(path, header((16 << 10) + 1)), 413, "too_large");
    let many = |count: usize| json!({ "headers": vec![json!({ "name": "", "value": "" }); count] });
    assert_eq!(work.post(path, many(100)).status, 201);
    refused(&work.post(path, many(101)), 413, "too_large");
    assert_eq!(work.post(path, json!({ "fairness_key": "x".repeat(249) })).status, 201);
    refused(&work.post(path, json!({ "fairness_key": "x".repeat(250) })), 413, "too_large");
    let value = |len: usize| json!({ "value": "x".repeat(len) });
    let put = |body: Value| ask(work.server.http, ("PUT", "/v1/kv/k"), &[], Some(&body));
    assert_eq!(put(value(1 << 20)).status, 200);
    refused(&put(value((1 << 20) + 1)), 413, "too_large");

    // A body of exactly so many bytes: {"body":"…"} has eleven more.
    let whole = |len: usize| json!({ "body": "x".repeat(len - 11) });
    let above = work.post(path, whole((4 << 20) + 1));
    refused(&above, 413, "too_large");
    assert!(above.json()["detail"].as_str().unwrap().contains("4194304"), "{above:?}");
    let at = work.post(path, whole(4 << 20));
    assert!(at.json()["detail"].as_str().unwrap().contains("1048576"), "it is read: {at:?}");
    assert!(work.server.get("/metrics").body.contains("rekindle_inflight_bytes 0"));
    assert_eq!(work.server.stop(), 0);
}

/// JSON that is nested too deep is refused before anything parses it.
#[test]
fn deep_json_is_refused() {
    let work = Worked::start();
    let nested = |depth: usize| {
        let mut value = json!("x");
        for _ in 1..depth {
            value = json!([value]);
        }
        json!({ "body": value })
    };
    let at = work.post("/v1/queues/q/messages", nested(64));
    refused(&at, 400, "invalid");
    assert!(!at.json()["detail"].as_str().unwrap().contains("deeper"), "{at:?}");
    let above = work.post("/v1/queues/q/messages", nested(65));
    refused(&above, 400, "invalid");
    assert!(above.json()["detail"].as_str().unwrap().contains("deeper than 64"), "{above:?}");
    assert_eq!(work.server.stop(), 0);
}

/// Who asks whether to go on is told before the body is sent.
#[test]
fn who_waits_to_go_on_is_refused_at_once() {
    let work = Worked::start();
    let mut stream = TcpStream::connect(work.server.http).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let head = "POST /v1/queues HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                Content-Length: 4194305\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert_eq!(work.server.stop(), 0);
}

/// Bytes in flight are those of both fronts; above the limit a request is to be sent again.
#[test]
fn bytes_of_http_are_in_flight_too() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = serve(dir.path(), &[]);
    command.env("REKINDLE__LIMITS__INFLIGHT_BYTES", "16MiB");
    let server = Server::spawn(command);
    let head = "POST /v1/queues/q/messages HTTP/1.1\r\nHost: localhost\r\n\
                Content-Type: application/json\r\nContent-Length: 4194304\r\n\r\n{\"body\":\"";
    let held: Vec<TcpStream> = (0..5)
        .map(|_| {
            let mut held = TcpStream::connect(server.http).unwrap();
            held.write_all(head.as_bytes()).unwrap();
            held.write_all(&vec![b'x'; 3 << 20]).unwrap();
            held
        })
        .collect();
    let some = "rekindle_inflight_bytes 15728685";
    while !server.get("/metrics").body.contains(some) {
        std::thread::yield_now();
    }
    let body = json!({ "body": "x".repeat((1 << 20) + 1_000) });
    let refusal = ask(server.http, ("POST", "/v1/queues/q/messages"), &[], Some(&body));
    refused(&refusal, 503, "retry");
    // Who goes away gives its bytes back.
    drop(held);
    while !server.get("/metrics").body.contains("rekindle_inflight_bytes 0") {
        std::thread::yield_now();
    }
    let answer = ask(server.http, ("POST", "/v1/queues/q/messages"), &[], Some(&body));
    refused(&answer, 413, "too_large");
    assert_eq!(server.stop(), 0);
}

/// A receiver that is waiting, on a connection of its own.
fn waiting(work: &Worked, body: &Value) -> TcpStream {
    let mut stream = TcpStream::connect(work.server.http).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let body = body.to_string();
    write!(
        stream,
        "POST /v1/queues/q/receive HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    stream
}

/// Waits until so many receivers wait.
fn await_waiting(work: &Worked, count: usize) {
    let line = format!("rekindle_long_polls {count}\n");
    let began = Instant::now();
    while !work.server.get("/metrics").body.contains(&line) {
        assert!(began.elapsed() < DEADLINE, "{line} does not come");
        std::thread::yield_now();
    }
}

/// A long poll is answered as soon as there is something.
#[test]
fn a_long_poll_is_woken() {
    let work = Worked::start();
    work.post("/v1/queues", json!({ "name": "q" }));
    let mut receiver = waiting(&work, &json!({ "wait_ms": 60_000, "owner": "me" }));
    await_waiting(&work, 1);
    work.post("/v1/queues/q/messages", json!({ "body": "wake" }));
    let mut answer = String::new();
    receiver.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"body\":\"wake\""),
        "{answer}"
    );
    await_waiting(&work, 0);
    // One that waits in vain is answered with nothing, at its time.
    let began = Instant::now();
    let none = work.post("/v1/queues/q/receive", json!({ "wait_ms": 50 }));
    assert_eq!(none.json(), json!({ "deliveries": [] }));
    assert!(began.elapsed() >= Duration::from_millis(50));
    for wrong in [
        json!({ "wait_ms": 60_001 }),
        json!({ "max": 0 }),
        json!({ "max": 1001 }),
        json!({ "visibility_ms": 0 }),
        json!({ "owner": "x".repeat(250) }),
    ] {
        refused(&work.post("/v1/queues/q/receive", wrong), 400, "invalid");
    }
    let most = json!({ "max": 1000, "visibility_ms": 43_200_000, "owner": "x".repeat(249) });
    assert_eq!(work.post("/v1/queues/q/receive", most).status, 200);
    refused(&work.post("/v1/queues/none/receive", json!({})), 404, "not_found");
    assert_eq!(work.server.stop(), 0);
}

/// A receiver that went away waits no more and keeps nothing: what comes is for others.
#[test]
fn a_long_poll_whose_caller_goes_away_ends() {
    let work = Worked::start();
    work.post("/v1/queues", json!({ "name": "q" }));
    let receivers: Vec<TcpStream> =
        (0..8).map(|_| waiting(&work, &json!({ "wait_ms": 60_000 }))).collect();
    await_waiting(&work, 8);
    drop(receivers);
    await_waiting(&work, 0);
    assert!(work.server.get("/metrics").body.contains("rekindle_calls 0"));
    work.post("/v1/queues/q/messages", json!({ "body": "for another" }));
    let received = work.receive("q");
    assert_eq!((&received["body"], &received["attempt"]), (&json!("for another"), &json!(1)));
    assert_eq!(work.server.stop(), 0);
}

/// A graceful end answers who waits, with nothing, and is not held up.
#[test]
fn a_long_poll_ends_with_the_server() {
    let work = Worked::start();
    work.post("/v1/queues", json!({ "name": "q" }));
    let mut receiver = waiting(&work, &json!({ "wait_ms": 60_000 }));
    await_waiting(&work, 1);
    let began = Instant::now();
    assert_eq!(work.server.stop(), 0);
    assert!(began.elapsed() < Duration::from_secs(9), "it was held up");
    let mut answer = String::new();
    receiver.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("{\"deliveries\":[]}"), "{answer}");
}
