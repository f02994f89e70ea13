//! A worker that is stopped beyond the deadline of its claim, over gRPC and over HTTP: another one
//! does its job, and what it says when it goes on changes nothing.
//!
//! Invariant: a worker was stopped (SIGSTOP) before anybody waits for its claim to run out.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::cli_harness::{command, ok};
use super::cli_job_work::fifo;
use super::cli_jobs::{claim, events, line, refused, show, submit, until};
use super::harness::{Dropped, Server, post, wait};

/// Where the worker of the test finds its server; it is this test binary, run once more.
const SERVER: &str = "REKINDLE_STALE_SERVER";
/// How long claims last.
const LEASE: &str = "600ms";
const LEASE_MS: u64 = 600;

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Stops a process, and waits until it stands still.
fn stop(child: &Child) {
    signal(child, Signal::STOP);
    let stat = format!("/proc/{}/stat", child.id());
    until(|| {
        let text = std::fs::read_to_string(&stat).unwrap();
        text.rsplit_once(") ").unwrap().1.starts_with('T')
    });
}

/// A server with one job, whose type has no pause before another attempt.
fn begin(dir: &std::path::Path) -> (Server, String) {
    let server = Server::start(&dir.join("store"));
    let id = submit(&server, &["t"]);
    ok(&server, &["job", "type", "set", "t", "--backoff", "0s..0s"]);
    (server, id)
}

/// The job is as the second worker left it.
fn check(server: &Server, id: &str, before: &Value) {
    let job = show(server, id);
    assert_eq!(&job, before, "nothing changed");
    assert_eq!((&job["status"], &job["result"]), (&json!("completed"), &json!("second")));
    assert_eq!((&job["attempts"], &job["charged"]), (&json!(2), &json!(1)), "{job}");
    assert_eq!(events(&job), ["submitted", "attempt_ended", "claimed", "completed"]);
    assert_eq!(job["events"][1]["cause"], "lease_expired");
    assert_eq!(server.get("/v1/jobs/counts").json()["completed"], 1);
}

/// Over gRPC: `job work` is stopped while its command runs, and goes on when the command has long
/// printed its result, while another one has the job. It is told so, and waits for more.
///
/// proves: J9
/// fault: T4
#[test]
fn a_stopped_worker_over_grpc_is_fenced() {
    let dir = tempfile::tempdir().unwrap();
    let (server, id) = begin(dir.path());
    let (said, gate) = (fifo(dir.path(), "said"), fifo(dir.path(), "gate"));
    let ended = dir.path().join("ended");
    let script = format!(
        "[ $REKINDLE_JOB_ATTEMPT = 1 ] || exit 9; echo $REKINDLE_JOB_TOKEN > {said}; \
         read line < {gate}; echo '\"late\"'; echo > {}",
        ended.display()
    );
    let mut work = command(&server, &["job", "work", "t", "--lease", LEASE]);
    work.args(["--", "sh", "-c", &script]).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut worker = Dropped(work.spawn().unwrap());
    let stale = std::fs::read_to_string(&said).unwrap().trim().to_owned();
    stop(&worker.0);
    let (again, current) = claim(&server, "t");
    assert_eq!(again, id);
    let held = show(&server, &id);
    std::fs::write(&gate, "go\n").unwrap();
    until(|| ended.exists());
    signal(&worker.0, Signal::CONT);
    // It is done with this one once it waits for the next.
    until(|| server.get("/metrics").body.contains("rekindle_long_polls 1\n"));
    assert_eq!(show(&server, &id), held, "it is the second one's");
    for verb in [
        &["complete", &id, &stale, "--result", "\"late\""][..],
        &["fail", &id, &stale, "--error", "late"],
        &["release", &id, &stale],
        &["heartbeat", &id, &stale],
    ] {
        let why = refused(&server, &[&["job"], verb].concat());
        assert!(why.contains("is over"), "{verb:?}: {why}");
    }
    line(&server, &["job", "complete", &id, &current, "--result", "\"second\""]);
    let before = show(&server, &id);
    for token in [&stale, &current] {
        refused(&server, &["job", "complete", &id, token, "--result", "\"late\""]);
    }
    signal(&worker.0, Signal::TERM);
    assert_eq!(wait(&mut worker.0).code(), Some(0));
    let told = std::io::read_to_string(worker.0.stderr.take().unwrap()).unwrap();
    let late = told.contains("1 claims were lost") || told.contains("1 results came too late");
    assert!(late, "{told}");
    check(&server, &id, &before);
    assert_eq!(server.stop(), 0);
}

/// The worker over HTTP: claims, says its token; for each line that it hears it asks for everything
/// that a worker can ask for, and says what it was answered.
#[test]
fn plays_the_worker() {
    let Ok(server) = std::env::var(SERVER) else { return };
    let server: SocketAddr = server.parse().unwrap();
    let wanted = json!({ "types": ["t"], "lease_ms": LEASE_MS, "worker": "first" });
    let job = post(server, "/v1/jobs/claim", &wanted).json()["jobs"][0].clone();
    println!("\ntold {job}");
    for _ in std::io::stdin().lines() {
        for (verb, body) in [
            ("complete", json!({ "result": "late" })),
            ("fail", json!({ "error": "late" })),
            ("release", json!({})),
            ("heartbeat", json!({ "progress": "late" })),
        ] {
            let mut body = body;
            body["token"] = job["token"].clone();
            let path = format!("/v1/jobs/{}/{verb}", job["id"].as_str().unwrap());
            let answer = post(server, &path, &body);
            let head = answer.head.to_lowercase();
            let media = head.lines().find_map(|line| line.strip_prefix("content-type: "));
            let told = json!({ "status": answer.status, "media": media, "problem": answer.json() });
            println!("told {told}");
        }
    }
}

/// Over HTTP: the same, 409 as a problem, while another one works on it and after that one is done.
///
/// proves: J9
/// fault: T4
#[test]
fn a_stopped_worker_over_http_is_fenced() {
    let dir = tempfile::tempdir().unwrap();
    let (server, id) = begin(dir.path());
    let mut work = Command::new(std::env::current_exe().unwrap());
    work.args(["job_stale::plays_the_worker", "--exact", "--nocapture"]);
    work.env(SERVER, server.http.to_string());
    work.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut worker = Dropped(work.spawn().unwrap());
    let lines = BufReader::new(worker.0.stdout.take().unwrap()).lines();
    let mut told = lines.filter_map(|line| {
        let line = line.unwrap();
        Some(serde_json::from_str::<Value>(line.strip_prefix("told ")?).unwrap())
    });
    let mut words = worker.0.stdin.take().unwrap();
    let claimed = told.next().unwrap();
    assert_eq!((&claimed["id"], &claimed["attempt"]), (&json!(id), &json!(1)));
    stop(&worker.0);
    let (again, token) = claim(&server, "t");
    assert_eq!(again, id);
    let held = show(&server, &id);
    let mut is_fenced = |words: &mut ChildStdin| {
        writeln!(words, "go").unwrap();
        for _ in 0..4 {
            let answer = told.next().unwrap();
            assert_eq!(answer["status"], 409, "{answer}");
            assert_eq!(answer["media"], "application/problem+json", "{answer}");
            super::server_work::problem(&answer["problem"], 409, "fenced");
        }
    };
    signal(&worker.0, Signal::CONT);
    is_fenced(&mut words);
    assert_eq!(show(&server, &id), held, "it is the second one's");
    line(&server, &["job", "complete", &id, &token, "--result", "\"second\""]);
    let before = show(&server, &id);
    is_fenced(&mut words);
    drop(words);
    assert_eq!(wait(&mut worker.0).code(), Some(0));
    check(&server, &id, &before);
    assert_eq!(server.stop(), 0);
}
