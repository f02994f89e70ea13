//! `queue send`: every line has its result, whatever comes and whatever happens.

use std::process::Stdio;

use serde_json::json;

use super::cli_harness::{Talking, cli, command, ok, run_with, send_lines};
use super::harness::Server;

#[test]
fn lines_are_messages_in_line_order() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let sent = send_lines(&server, "q", b"first\r\n\nthird\n\xFF\nlast");
    assert_eq!(sent.code, 0, "{sent:?}");
    let lines = sent.lines();
    for (at, line) in lines.iter().enumerate() {
        let keys: Vec<&String> = line.as_object().unwrap().keys().collect();
        assert_eq!(line["line"], json!(at + 1));
        assert_eq!((keys.len(), &line["durability"]), (3, &json!("disk")));
        assert!(line["id"].as_str().is_some_and(|id| !id.is_empty()));
    }
    assert!(sent.out.starts_with(r#"{"line":1,"id":""#), "the order of fields: {}", sent.out);
    let received = ok(&server, &["queue", "receive", "q", "--all"]).lines();
    let bodies: Vec<_> = received.iter().map(|line| line["body"].clone()).collect();
    let expected =
        [json!("first"), json!(""), json!("third"), json!({"base64": "/w=="}), json!("last")];
    assert_eq!(bodies, expected);
}

#[test]
fn a_line_that_is_too_long_is_refused_and_the_others_are_sent() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut input = b"a\n".to_vec();
    input.extend(vec![b'x'; (1 << 20) + 1]);
    input.extend(b"\nb\n");
    input.extend(vec![b'y'; 1 << 20]);
    let sent = send_lines(&server, "q", &input);
    assert_eq!(sent.code, 1, "{}", sent.err);
    let lines = sent.lines();
    assert_eq!(lines.len(), 4);
    let error = "the line has 1048577 bytes; a message has at most 1048576";
    assert_eq!(lines[1], json!({"line": 2, "error": error}));
    assert!(lines[3]["id"].is_string(), "a message at the limit is sent");
    let received = ok(&server, &["queue", "receive", "q", "--max", "10"]).texts("body");
    assert_eq!(received.iter().map(String::len).collect::<Vec<_>>(), [1, 1, 1 << 20]);
}

#[test]
fn the_whole_input_a_file_a_key_and_headers() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("store"));
    let file = dir.path().join("input");
    std::fs::write(&file, "one\ntwo\n").unwrap();
    let path = file.to_str().unwrap();
    let arguments = [
        "queue", "send", "q", "--create", "--whole", "--file", path, "--key", "k", "--header",
        "a=1", "--header", "b=x=y",
    ];
    let sent = ok(&server, &arguments);
    assert_eq!(sent.lines().len(), 1);
    let shown = &ok(&server, &["queue", "show", "q", "--json"]).lines()[0];
    assert_eq!((&shown["keys"], &shown["ready"]), (&json!(1), &json!(1)));
    let received = &ok(&server, &["queue", "receive", "q"]).lines()[0];
    assert_eq!(received["body"], "one\ntwo\n");
    assert_eq!(received["headers"], json!({"a": "1", "b": "x=y"}));
    let missing = cli(&server, &["queue", "send", "q", "--file", "/nowhere/input"]);
    assert_eq!(missing.code, 2);
    assert!(missing.err.starts_with("cannot read /nowhere/input: "), "{}", missing.err);
}

#[test]
fn errors_name_the_cause_and_the_next_step() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let missing = run_with(command(&server, &["queue", "send", "commits"]), b"a\n");
    assert_eq!(missing.code, 1);
    assert_eq!(
        missing.err,
        "queue \"commits\" does not exist; create it with 'rekindle queue create commits' or add \
         --create\n"
    );
    let address = server.grpc.to_string();
    let command = command(&server, &["queue", "send", "commits"]);
    server.kill();
    let unreachable = run_with(command, b"a\n");
    assert_eq!(unreachable.code, 69);
    assert_eq!(
        unreachable.err,
        format!(
            "cannot reach {address} (refused). Start a server with 'rekindle serve', or set \
             --addr\n"
        )
    );
}

/// fault: S1
#[test]
fn a_restart_within_the_timeout_goes_unnoticed() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let (grpc, http) = (server.grpc.to_string(), server.http.to_string());
    let arguments = ["queue", "send", "q", "--create", "--timeout", "20s"];
    let mut sending = Talking::start(command(&server, &arguments));
    sending.say("1\n2\n");
    assert_eq!(
        (sending.line()["line"].clone(), sending.line()["line"].clone()),
        (json!(1), json!(2))
    );
    server.kill();
    sending.say("3\n4\n");
    let mut again = super::harness::rekindle(&["serve"]);
    again.arg("--data").arg(dir.path()).args(["--grpc", &grpc, "--http", &http]);
    let server = Server::spawn(again);
    for expected in [3, 4] {
        let line = sending.line();
        assert_eq!(line["line"], json!(expected));
        assert_eq!(line["durability"], "disk", "{line}");
    }
    drop(sending.stdin.take());
    assert_eq!(sending.end(), (vec![], 0));
    let received = ok(&server, &["queue", "receive", "q", "--all", "--ack"]);
    assert_eq!(received.texts("body"), ["1", "2", "3", "4"]);
}

/// The connection is lost and does not come back: what was read is unknown, and nothing more is
/// read although the input goes on.
#[test]
fn an_outcome_that_cannot_be_learned_is_unknown_and_ends_the_reading() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let arguments = ["queue", "send", "q", "--create", "--timeout", "500ms"];
    let mut sending = Talking::start(command(&server, &arguments));
    sending.say("1\n");
    assert_eq!(sending.line()["line"], json!(1));
    server.kill();
    sending.say("2\n3\n4\n");
    let input = sending.stdin.take();
    let (rest, code) = sending.end();
    assert!(!rest.is_empty());
    for (at, line) in rest.iter().enumerate() {
        assert_eq!(*line, json!({"line": at + 2, "outcome": "unknown"}));
    }
    assert_eq!(code, 75);
    drop(input);
}

/// The reader of the results goes away: no panic, what was read is sent all the same, and the exit
/// code says that its outcome is not known from the output.
#[test]
fn a_closed_standard_output_is_no_panic() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut command = command(&server, &["queue", "send", "q", "--create"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let mut input = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, b"1\n2\n3\n").unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(75), "{error}");
    assert!(error.starts_with("standard output was closed: nothing more was read"), "{error}");
    let received = ok(&server, &["queue", "receive", "q", "--all"]);
    assert_eq!(received.texts("body"), ["1", "2", "3"]);
}

/// A full disk behind the output is the same, and is named.
#[test]
fn a_standard_output_that_is_full_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = command(&server, &["queue", "send", "q", "--create"]);
    command.stdin(Stdio::piped()).stdout(full).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, b"1\n2\n").unwrap();
    // The input goes on; the command ends all the same.
    let output = child.wait_with_output().unwrap();
    drop(input);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(75), "{error}");
    assert!(error.contains("No space left on device"), "{error}");
    assert!(error.contains("the results of 2 lines that were read are not printed"), "{error}");
    assert_eq!(ok(&server, &["queue", "receive", "q", "--all"]).texts("body"), ["1", "2"]);
}

#[test]
fn wrong_usage_is_2() {
    for arguments in [
        &["queue", "send"][..],
        &["queue", "send", "q", "--timeout", "5"],
        &["queue", "send", "q", "--header", "x"],
        &["queue", "list", "--addr", "nowhere"],
        &["queue", "create", "q", "--visibility", "soon"],
        &["recover", "--data", "x"],
        &["nothing"],
        &[],
    ] {
        let output = super::harness::run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
    assert_eq!(super::harness::run(&["--help"]).status.code(), Some(0));
}
