//! Answers as values and exit codes, and exchanges that break off.

use std::net::TcpListener;

use super::*;

fn whole(status: u16, body: &[u8]) -> Parsed {
    Parsed::Whole(Answer { address: "a:1".to_owned(), status, body: body.to_vec() })
}

#[test]
fn an_answer_has_a_status_and_a_body() {
    let parse = |bytes: &[u8]| parse("a:1", bytes);
    let bytes = b"HTTP/1.0 503 Service Unavailable\r\nRetry-After: 1\r\n\r\n{}\r\n\r\n";
    assert_eq!(parse(bytes), whole(503, b"{}\r\n\r\n"));
    assert_eq!(parse(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"), whole(200, b"{}"));
    assert_eq!(parse(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{}"), Parsed::Part);
    assert_eq!(parse(b"HTTP/1.1 200 OK\r\n"), Parsed::Part);
    assert_eq!(parse(b"HTTP/1.1"), Parsed::Part);
    assert_eq!(parse(b"SSH-2.0-x\r\n\r\n"), Parsed::Foreign);
    assert_eq!(parse(b"HTTP/1.1 many\r\n\r\n"), Parsed::Foreign);
    assert_eq!(parse(b""), Parsed::Foreign);
}

/// The table of docs/reference.md.
#[test]
fn statuses_are_exit_codes() {
    let code = |status, body: &str| {
        let answer = Answer { address: "a:1".into(), status, body: body.into() };
        answer.value().expect_err("a refusal").code
    };
    for status in [400, 404, 405, 408, 409, 413, 415, 507] {
        assert_eq!(code(status, r#"{"error":"no"}"#), 1, "{status}");
    }
    for (status, expected) in [(403, 77), (500, 70), (502, 69), (503, 69), (504, 69)] {
        assert_eq!(code(status, ""), expected, "{status}");
    }
    assert_eq!(code(500, r#"{"error":"nobody knows","code":"unknown","exit_code":75}"#), 75);
    // What is refused is no success, whatever the answer says.
    assert_eq!(code(409, r#"{"error":"no","exit_code":0}"#), 1);
    assert_eq!(code(200, "not JSON"), 1);
    let failed =
        Answer { address: "a:1".into(), status: 503, body: b"{\"ready\":\x1bfalse}".into() };
    let message = failed.value().expect_err("not ready").message;
    assert_eq!(message, "a:1 is not ready: {\"ready\": false}");
    let body = br#"{"error":"it starts","stage":"open"}"#.to_vec();
    let failed = Answer { address: "a:1".into(), status: 503, body };
    assert_eq!(failed.value().expect_err("not ready").message, "a:1 is not ready: it starts");
}

/// A server that reads a whole request, answers this and closes.
fn answering(answer: &'static [u8]) -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut request = Vec::new();
        let mut byte = [0; 1];
        while !request.ends_with(b"}") && stream.read(&mut byte).expect("bytes") > 0 {
            request.extend_from_slice(&byte);
        }
        stream.write_all(answer).expect("the client reads");
        String::from_utf8(request).expect("text")
    });
    (address, server)
}

/// What was sent whole and not answered whole is unknown; what could not be sent was not done.
#[test]
fn a_post_that_is_not_answered_is_unknown() {
    let value = serde_json::json!({ "a": 1 });
    let (address, server) = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}");
    assert_eq!(post(&address, "/v1/x", &value), Ok(serde_json::json!({})));
    let request = server.join().expect("no panic");
    assert!(request.starts_with("POST /v1/x HTTP/1.0\r\n"), "{request}");
    assert!(request.contains("Content-Type: application/json\r\nContent-Length: 7\r\n"));
    assert!(request.ends_with("\r\n\r\n{\"a\":1}"), "{request}");
    for answer in [&b""[..], b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}"] {
        let (address, server) = answering(answer);
        let failure = post(&address, "/v1/x", &value).expect_err("no answer");
        assert_eq!(failure.code, exit::UNKNOWN, "{failure:?}");
        server.join().expect("no panic");
    }
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    let failure = post(&free.to_string(), "/v1/x", &value).expect_err("nobody is there");
    assert_eq!(failure.code, exit::UNREACHABLE);
}
