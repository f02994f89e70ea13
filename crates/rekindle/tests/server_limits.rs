//! Limits of the real binary: at each of them a request is served, above it none.

use std::io::{Read, Write};
use std::net::TcpStream;

use rekindle_wire::v1::{Kind, ReceiveRequest, SendRequest};
use tonic::Code;

use super::harness::{DEADLINE, Server, block_on, create, message, serve};

/// A message of 1 MiB is taken, one byte more is refused as full, and the others of its request are
/// not affected; a request above 4 MiB is refused before it is read whole.
///
/// fault: P2
#[test]
fn messages_and_requests_have_a_size() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    block_on(async {
        let mut queues = server.queues().await;
        create(&mut queues, "q").await;
        let messages = [1 << 20, (1 << 20) + 1, 0].map(|len| message(vec![7; len])).to_vec();
        let request = SendRequest { queue: "q".into(), messages, identity: None };
        let answer = queues.send(request).await.unwrap().into_inner();
        assert_eq!(answer.errors.len(), 1);
        assert_eq!((answer.errors[0].index, answer.errors[0].kind()), (1, Kind::Full));
        assert!(!answer.ids[0].is_empty() && answer.ids[1].is_empty() && !answer.ids[2].is_empty());

        let messages = vec![message(vec![7; 1 << 20]); 5];
        let request = SendRequest { queue: "q".into(), messages, identity: None };
        let refused = queues.send(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::OutOfRange, "{refused}");
        assert!(refused.message().contains("4194304"), "{refused}");
        // The refusal cost nothing but itself.
        assert!(server.get("/metrics").body.contains("rekindle_inflight_bytes 0"));
    });
    assert_eq!(server.stop(), 0);
}

/// Connections above the limit are closed, and one that ends makes room.
///
/// fault: P4
#[test]
fn connections_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = serve(dir.path(), &[]);
    command.env("REKINDLE__LIMITS__CONNECTIONS", "2");
    let server = Server::spawn(command);
    let connect = || {
        let stream = TcpStream::connect(server.grpc).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    };
    // HTTP/2 servers speak first once they were spoken to: the preface and empty settings.
    let speak = |stream: &mut TcpStream| {
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").is_ok()
            && matches!(stream.read(&mut [0; 9]), Ok(1..))
    };
    let (mut first, mut second) = (connect(), connect());
    assert!(speak(&mut first) && speak(&mut second));
    assert!(!speak(&mut connect()), "a third connection");
    drop(first);
    // The place is free once the server saw the end: it says so in its metrics.
    let one = "rekindle_connections{front=\"grpc\"} 1";
    while !server.get("/metrics").body.contains(one) {
        std::thread::yield_now();
    }
    assert!(speak(&mut connect()), "after one ended");
    assert!(server.get("/metrics").body.contains("connections_refused_total{front=\"grpc\"} 1"));
    drop(second);
    assert_eq!(server.stop(), 0);
}

/// A connection is told how many calls it may have at once.
#[test]
fn calls_of_a_connection_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = serve(dir.path(), &[]);
    command.env("REKINDLE__LIMITS__STREAMS_PER_CONNECTION", "7");
    let server = Server::spawn(command);
    let mut stream = TcpStream::connect(server.grpc).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    // The first frame: length 3, type 4 (settings), flags 1, stream 4; then number 2, value 4 each.
    let mut head = [0; 9];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(head[3], 4);
    let mut settings = vec![0; usize::from(u16::from_be_bytes([head[1], head[2]]))];
    stream.read_exact(&mut settings).unwrap();
    let streams = settings.chunks(6).find(|setting| setting[..2] == [0, 3]).unwrap();
    assert_eq!(streams[2..], 7_u32.to_be_bytes());
    drop(stream);
    assert_eq!(server.stop(), 0);
}

/// Receive calls above the limit of waiting ones are answered at once.
#[test]
fn long_polls_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = serve(dir.path(), &[]);
    command.env("REKINDLE__LIMITS__LONG_POLLS", "1");
    let server = Server::spawn(command);
    block_on(async {
        let mut queues = server.queues().await;
        create(&mut queues, "q").await;
        let request =
            ReceiveRequest { queue: "q".into(), max: 1, wait_ms: 60_000, ..Default::default() };
        let (mut other, again) = (queues.clone(), request.clone());
        let waiting = tokio::spawn(async move { other.receive(again).await });
        while !server.get("/metrics").body.contains("rekindle_long_polls 1") {
            tokio::task::yield_now().await;
        }
        let answer = queues.receive(request).await.unwrap().into_inner();
        assert!(answer.messages.is_empty() && !waiting.is_finished());
        let request =
            SendRequest { queue: "q".into(), messages: vec![message("x")], identity: None };
        queues.send(request).await.unwrap();
        assert_eq!(waiting.await.unwrap().unwrap().into_inner().messages.len(), 1);
    });
    assert_eq!(server.stop(), 0);
}

/// Heads of requests are bounded on both fronts.
///
/// fault: P2
#[test]
fn heads_have_a_size() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let ask = |bytes: usize| {
        let value = "x".repeat(bytes);
        let headers = [("Host", "localhost"), ("X-Long", value.as_str())];
        super::harness::get(server.http, "/livez", &headers)
    };
    assert_eq!(ask(8 << 10).unwrap().status, 200);
    assert!(ask(64 << 10).map_or(true, |answer| answer.status == 431));
    block_on(async {
        let mut queues = server.queues().await;
        create(&mut queues, "q").await;
        let show = |bytes: usize| {
            let mut request =
                tonic::Request::new(rekindle_wire::v1::ShowQueueRequest { queue: "q".into() });
            request.metadata_mut().insert("x-long", "x".repeat(bytes).parse().unwrap());
            let mut queues = queues.clone();
            async move { queues.show(request).await }
        };
        assert!(show(8 << 10).await.is_ok());
        assert!(show(64 << 10).await.is_err());
    });
    assert_eq!(server.stop(), 0);
}

/// `/v1/limits` names every limit with the key that sets it.
#[test]
fn limits_are_listed() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::spawn(serve(dir.path(), &["--engine", "memory"]));
    let limits = server.get("/v1/limits").json();
    let limits = limits["limits"].as_array().unwrap();
    let find = |name: &str| {
        limits.iter().find(|limit| limit["name"] == name).unwrap_or_else(|| panic!("no {name}"))
    };
    for (name, value) in [
        ("message_bytes", 1_u64 << 20),
        ("request_bytes", 4 << 20),
        ("message_headers", 100),
        ("message_header_bytes", 16 << 10),
        ("name_bytes", 249),
        ("connections", 4_096),
        ("connections_per_address", 256),
        ("streams_per_connection", 128),
        ("header_list_bytes", 16 << 10),
        ("inflight_bytes", 256 << 20),
        ("inflight_bytes_per_connection", 8 << 20),
        ("long_poll_ms", 60_000),
        ("kv_transaction_operations", 4_096),
    ] {
        assert_eq!(find(name)["value"], value, "{name}");
    }
    assert_eq!(find("connections")["key"], "limits.connections");
    assert!(find("request_bytes").get("key").is_none());
    let state = find("state_bytes")["value"].as_u64().unwrap();
    let results = find("producer_result_bytes")["value"].as_u64().unwrap();
    assert_eq!(results, (state / 8).max(64 << 20));
    let mut names: Vec<&str> = limits.iter().map(|it| it["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count, "each once");
    assert_eq!(server.stop(), 0);
}
