//! `queue receive`, `ack`, `nack`, `extend`, and the commands that manage queues.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use rekindle_env::Env;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::cli_harness::{Talking, cli, command, ok, send_lines};
use super::harness::Server;

#[test]
fn received_messages_are_lines_of_json_and_stay_leased() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    assert_eq!(send_lines(&server, "q", b"1\n2\n3\n4\n5\n").code, 0);
    let one = ok(&server, &["queue", "receive", "q"]);
    let line = &one.lines()[0];
    assert_eq!(one.out.lines().count(), 1);
    assert_eq!(
        (&line["attempt"], &line["body"], &line["headers"]),
        (&json!(1), &json!("1"), &json!({}))
    );
    assert!(one.out.starts_with(r#"{"id":""#));
    assert_eq!(ok(&server, &["queue", "receive", "q", "--max", "2"]).texts("body"), ["2", "3"]);
    assert_eq!(ok(&server, &["queue", "receive", "q", "--all"]).texts("body"), ["4", "5"]);
    let nothing = ok(&server, &["queue", "receive", "q"]);
    assert_eq!(nothing.out, "");
    assert!(nothing.err.starts_with("0 ready, 5 leased (next in "), "{}", nothing.err);
    assert!(nothing.err.ends_with(" s), 0 delayed\n"), "{}", nothing.err);
    let missing = cli(&server, &["queue", "receive", "other"]);
    assert_eq!(missing.code, 1);
    assert!(missing.err.starts_with("queue \"other\" does not exist; create it with"));
}

#[test]
fn a_receive_waits_for_a_message_and_no_longer() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    ok(&server, &["queue", "create", "q"]);
    let arguments = ["queue", "receive", "q", "--max", "5", "--wait", "20s"];
    let mut waiting = Talking::start(command(&server, &arguments));
    assert_eq!(send_lines(&server, "q", b"now\n").code, 0);
    assert_eq!(waiting.line()["body"], "now");
    assert_eq!(waiting.end(), (vec![], 0), "what is ready is enough");
}

#[test]
fn acked_messages_do_not_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let input: String = (0..700).map(|number| format!("{number}\n")).collect();
    assert_eq!(send_lines(&server, "q", input.as_bytes()).code, 0);
    let acked = ok(&server, &["queue", "receive", "q", "--max", "600", "--ack"]);
    let expected: Vec<String> = (0..600).map(|number| number.to_string()).collect();
    assert_eq!(acked.texts("body"), expected, "the client pages");
    let shown = &ok(&server, &["queue", "show", "q", "--json"]).lines()[0];
    assert_eq!((&shown["ready"], &shown["leased"]), (&json!(100), &json!(0)));
}

/// What was leased and could not be printed is given back, and its attempt is not charged.
#[test]
fn nothing_stays_leased_that_was_not_printed() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let body = "x".repeat(4_000);
    let input: String = (0..200).map(|_| format!("{body}\n")).collect();
    assert_eq!(send_lines(&server, "q", input.as_bytes()).code, 0);
    let mut command = command(&server, &["queue", "receive", "q", "--all"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    // The pipe holds fewer than all lines: the command is in the middle of its output.
    drop(out);
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(1));
    let shown = &ok(&server, &["queue", "show", "q", "--json"]).lines()[0];
    let (ready, leased) = (shown["ready"].as_u64().unwrap(), shown["leased"].as_u64().unwrap());
    assert_eq!(ready + leased, 200);
    assert!(leased < 100 && ready > 100, "{shown}");
}

/// A signal gives back what was not printed, also while nobody takes the output; what was printed
/// is acked where that was asked for.
#[test]
fn a_signal_gives_back_what_was_not_printed() {
    for (arguments, acks) in [(&["--all"][..], false), (&["--all", "--ack"][..], true)] {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(dir.path());
        let body = "x".repeat(4_000);
        let input: String = (0..200).map(|_| format!("{body}\n")).collect();
        assert_eq!(send_lines(&server, "q", input.as_bytes()).code, 0);
        let arguments = [&["queue", "receive", "q"], arguments].concat();
        let mut receiving = Talking::start(command(&server, &arguments));
        receiving.line();
        // The pipe holds fewer than all lines: it is in the middle of its output.
        kill_process(Pid::from_child(&receiving.child), Signal::TERM).unwrap();
        assert_eq!(receiving.child.wait().unwrap().code(), Some(143));
        let shown = &ok(&server, &["queue", "show", "q", "--json"]).lines()[0];
        let (ready, leased) = (shown["ready"].as_u64().unwrap(), shown["leased"].as_u64().unwrap());
        assert!(ready > 100, "{shown}");
        match acks {
            // What was being printed.
            true => assert!(leased <= 1 && ready < 200, "{shown}"),
            false => assert!(leased < 100 && ready + leased == 200, "{shown}"),
        }
        assert_eq!(server.stop(), 0);
    }
}

/// `--all` with `--wait` waits anew after each message, and ends when nothing came for so long.
#[test]
fn all_waits_for_each_further_message() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    ok(&server, &["queue", "create", "q"]);
    let arguments = ["queue", "receive", "q", "--all", "--wait", "3s"];
    let mut waiting = Talking::start(command(&server, &arguments));
    for body in ["one", "two", "three"] {
        assert_eq!(send_lines(&server, "q", body.as_bytes()).code, 0);
        assert_eq!(waiting.line()["body"], body, "a receive without --all ends after the first");
    }
    assert_eq!(waiting.end(), (vec![], 0));
}

/// Printing takes longer than the leases last: each message is printed once all the same, in order,
/// and the leases of those that were printed are kept.
#[test]
fn a_slow_reader_gets_each_message_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    ok(&server, &["queue", "create", "q", "--visibility", "400ms"]);
    let input: String = (0..1_500).map(|number| format!("{number}{}\n", "x".repeat(900))).collect();
    assert_eq!(send_lines(&server, "q", input.as_bytes()).code, 0);
    let mut receiving = Talking::start(command(&server, &["queue", "receive", "q", "--all"]));
    let clock = Env::real().clock;
    for number in 0..1_500 {
        let body = receiving.line()["body"].as_str().unwrap().trim_end_matches('x').to_owned();
        assert_eq!(body, number.to_string());
        // So slow that the leases of the first page run out before the last one is printed.
        let until = clock.boot_ms() + 1;
        while clock.boot_ms() < until {
            std::thread::yield_now();
        }
    }
    assert_eq!(receiving.end(), (vec![], 0));
}

#[test]
fn each_token_has_its_result() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    assert_eq!(send_lines(&server, "q", b"1\n2\n3\n").code, 0);
    let tokens = ok(&server, &["queue", "receive", "q", "--all"]).texts("token");
    let [one, two, three] = [&tokens[0], &tokens[1], &tokens[2]];
    let acked = ok(&server, &["queue", "ack", "q", one]);
    assert_eq!(acked.lines(), [json!({"token": one, "durability": "disk"})]);
    let twice = cli(&server, &["queue", "ack", "q", one, two]);
    assert_eq!(twice.code, 1);
    let lines = twice.lines();
    assert_eq!((&lines[0]["token"], &lines[0]["kind"]), (&json!(one), &json!("fenced")));
    assert!(lines[0]["error"].is_string());
    assert_eq!(lines[1], json!({"token": two, "durability": "disk"}));
    assert_eq!(ok(&server, &["queue", "extend", "q", three, "--by", "1h"]).lines().len(), 1);
    let shown = &ok(&server, &["queue", "show", "q", "--json"]).lines()[0];
    assert!(shown["next_expiry_ms"].as_u64().unwrap() > 3_000_000, "{shown}");
    let nack = ["queue", "nack", "q", three, "--delay", "1h", "--reason", "later"];
    ok(&server, &nack);
    let nothing = ok(&server, &["queue", "receive", "q"]);
    assert_eq!(nothing.err, "0 ready, 0 leased, 1 delayed\n");
    assert_eq!(cli(&server, &["queue", "ack", "q", "no-token"]).code, 1);
}

#[test]
fn queues_are_created_listed_purged_and_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let create = [
        "queue",
        "create",
        "work",
        "--visibility",
        "90s",
        "--max-attempts",
        "3",
        "--dead-letter",
        "graveyard",
    ];
    assert_eq!(ok(&server, &create).out, "created queue \"work\"\n");
    assert!(ok(&server, &create).out.contains("exists already"));
    let other = cli(&server, &["queue", "create", "work", "--visibility", "1s"]);
    assert_eq!(other.code, 1, "{other:?}");
    assert_eq!(send_lines(&server, "work", b"1\n2\n").code, 0);
    let shown = &ok(&server, &["queue", "show", "work", "--json"]).lines()[0];
    let expected = json!({
        "name": "work", "visibility_ms": 90_000, "max_attempts": 3, "dead_letter": "graveyard",
        "ready": 2, "leased": 0, "delayed": 0, "next_expiry_ms": null, "next_ready_ms": null,
        "keys": 1, "review": 0
    });
    assert_eq!(*shown, expected);
    assert!(ok(&server, &["queue", "list", "--json"]).texts("name").contains(&"work".to_owned()));
    assert!(ok(&server, &["queue", "list"]).out.starts_with("NAME"));
    let purged = ok(&server, &["queue", "purge", "work"]);
    assert_eq!(purged.out, "deleted 2 messages of queue \"work\"\n");
    assert_eq!(ok(&server, &["queue", "delete", "work"]).code, 0);
    assert_eq!(cli(&server, &["queue", "show", "work"]).code, 1);
}
