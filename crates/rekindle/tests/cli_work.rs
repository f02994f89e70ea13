//! `queue work`: commands, their exit status, signals, and a server that dies meanwhile.

use std::io::{BufRead as _, BufReader};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::cli_harness::{Answered, Talking, cli, command, ok, send_lines};
use super::harness::{Server, rekindle};

#[test]
fn the_command_reads_exactly_the_body_and_its_exit_status_decides() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("store"));
    let sent = super::cli_harness::run_with(
        command(&server, &["queue", "send", "q", "--create", "--whole", "--header", "k=v"]),
        b"body\n\xFF\n\n",
    );
    assert_eq!(sent.code, 0, "{sent:?}");
    let script = "cat > body; env | grep '^REKINDLE_' | sort > env; [ $REKINDLE_ATTEMPT = 2 ]";
    let mut work = command(&server, &["queue", "work", "q", "--drain", "--", "sh", "-c", script]);
    work.current_dir(dir.path());
    let done = Answered::from(work.output().unwrap());
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(std::fs::read(dir.path().join("body")).unwrap(), b"body\n\xFF\n\n");
    let env = std::fs::read_to_string(dir.path().join("env")).unwrap();
    assert!(env.contains("REKINDLE_ATTEMPT=2\n"), "the first attempt was nacked: {env}");
    assert!(env.contains("REKINDLE_HEADERS={\"k\":\"v\"}\n"), "{env}");
    assert!(env.contains("REKINDLE_QUEUE=q\n"), "{env}");
    let shown = &ok(&server, &["queue", "show", "q", "--json"]).lines()[0];
    assert_eq!((&shown["ready"], &shown["leased"]), (&json!(0), &json!(0)));
}

#[test]
fn a_command_that_does_not_read_its_input_is_fine_and_one_that_is_missing_ends_the_work() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let large = format!("{}\n", "x".repeat(500_000));
    assert_eq!(send_lines(&server, "q", large.as_bytes()).code, 0);
    assert_eq!(ok(&server, &["queue", "work", "q", "--drain", "--", "true"]).code, 0);
    assert_eq!(send_lines(&server, "q", b"a\n").code, 0);
    let missing = cli(&server, &["queue", "work", "q", "--", "/nowhere/command"]);
    assert_eq!(missing.code, 1);
    assert!(missing.err.contains("cannot start \"/nowhere/command\""), "{}", missing.err);
    let shown = &ok(&server, &["queue", "show", "q", "--json"]).lines()[0];
    assert_eq!(shown["ready"], json!(1), "the message was given back");
    assert_eq!(cli(&server, &["queue", "work", "other", "--", "true"]).code, 1);
}

/// SIGTERM lets the running command finish, acks it, and takes nothing more.
#[test]
fn sigterm_finishes_what_runs() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("store"));
    assert_eq!(send_lines(&server, "q", b"1\n2\n3\n").code, 0);
    let fifo = dir.path().join("gate");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let script = format!("echo '\"begun\"'; read line < {}; echo '\"ended\"'", fifo.display());
    let work = command(&server, &["queue", "work", "q", "--", "sh", "-c", &script]);
    let mut working = Talking::start(work);
    assert_eq!(working.line(), "begun");
    kill_process(Pid::from_child(&working.child), Signal::TERM).unwrap();
    // The command waits for this; it runs although its parent was told to end.
    std::fs::write(&fifo, "go\n").unwrap();
    assert_eq!(working.line(), "ended");
    let (rest, code) = working.end();
    assert_eq!((rest.len(), code), (0, 0));
    let shown = &ok(&server, &["queue", "show", "q", "--json"]).lines()[0];
    assert_eq!((&shown["ready"], &shown["leased"]), (&json!(2), &json!(0)), "{shown}");
}

/// A second SIGTERM ends at once, and nothing that the command started is left behind.
#[test]
fn a_second_sigterm_kills_what_runs() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("store"));
    assert_eq!(send_lines(&server, "q", b"1\n2\n").code, 0);
    // The inner processes hold standard output, too: its end is the end of them all.
    let script = "trap '' TERM; (trap '' TERM; sleep 1000) & echo '\"begun\"'; wait";
    let arguments = ["queue", "work", "q", "--concurrency", "2", "--", "sh", "-c", script];
    let mut work = command(&server, &arguments);
    work.stdin(std::process::Stdio::null());
    work.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = work.spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut err = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    for _ in 0..2 {
        out.read_line(&mut line).unwrap();
    }
    assert_eq!(line, "\"begun\"\n\"begun\"\n");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    line.clear();
    err.read_line(&mut line).unwrap();
    assert_eq!(line, "finishing what runs; a second signal kills it\n");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let rest = std::io::read_to_string(&mut out).unwrap();
    assert_eq!((rest.as_str(), child.wait().unwrap().code()), ("", Some(1)));
    let said = std::io::read_to_string(&mut err).unwrap();
    assert!(said.contains("stopped: 2 commands were killed"), "{said}");
    let shown = &ok(&server, &["queue", "show", "q", "--json"]).lines()[0];
    // A worker that still sees its command die gives the message back at once.
    let left = shown["leased"].as_u64().unwrap() + shown["ready"].as_u64().unwrap();
    assert_eq!(left, 2, "they come back, at the latest when their leases run out: {shown}");
}

/// Show 4 of the issue: a drain through SIGKILL and restart; every line at least once.
///
/// fault: S1
#[test]
fn a_drain_survives_the_death_of_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let server = Server::start(&store);
    ok(&server, &["queue", "create", "q", "--visibility", "2s"]);
    let input: String = (0..60).map(|number| format!("{number}\n")).collect();
    assert_eq!(send_lines(&server, "q", input.as_bytes()).code, 0);
    // Somebody else holds some of them: the drain waits until their leases run out.
    assert_eq!(ok(&server, &["queue", "receive", "q", "--max", "5"]).lines().len(), 5);
    let script = "cat >> out.txt; echo >> out.txt; echo '\"one\"'";
    let arguments = ["queue", "work", "q", "--drain", "--", "sh", "-c", script];
    let mut work = command(&server, &arguments);
    work.current_dir(dir.path());
    let mut working = Talking::start(work);
    for _ in 0..20 {
        working.line();
    }
    let (grpc, http) = (server.grpc.to_string(), server.http.to_string());
    server.kill();
    let mut again = rekindle(&["serve"]);
    again.arg("--data").arg(&store).args(["--grpc", &grpc, "--http", &http]);
    let server = Server::spawn(again);
    let (_, code) = working.end();
    assert_eq!(code, 0);
    let text = std::fs::read_to_string(dir.path().join("out.txt")).unwrap();
    let mut numbers: Vec<u32> = text.lines().map(|line| line.parse().unwrap()).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers, (0..60).collect::<Vec<_>>());
    let shown = &ok(&server, &["queue", "show", "q", "--json"]).lines()[0];
    assert_eq!((&shown["ready"], &shown["leased"]), (&json!(0), &json!(0)));
}
