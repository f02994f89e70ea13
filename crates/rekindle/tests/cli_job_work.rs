//! `job work`, `wait` and `submit --file`: commands, lost claims, signals, a server that dies.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::cli_harness::{Answered, Talking, cli, command, ok};
use super::cli_jobs::{claim, events, line, restart, show, submit, until};
use super::harness::{DEADLINE, Dropped, Server, wait};

#[test]
fn a_command_works_on_each_job() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("store"));
    let id = submit(&server, &["t", "--payload", "{\"a\":1}"]);
    ok(&server, &["job", "type", "set", "t", "--backoff", "0s..0s"]);
    let script = "cat > body; env | grep ^REKINDLE_JOB | sort > env; echo out; \
                  echo first >&2; echo why >&2; [ $REKINDLE_JOB_ATTEMPT = 2 ] || exit 3";
    let mut work = command(&server, &["job", "work", "t", "--drain", "--", "sh", "-c", script]);
    work.current_dir(dir.path());
    let done = Answered::from(work.output().unwrap());
    assert_eq!((done.code, done.out.as_str()), (0, ""), "{done:?}");
    assert_eq!(done.err, "first\nwhy\nfirst\nwhy\n", "people see what commands say");
    assert_eq!(std::fs::read(dir.path().join("body")).unwrap(), b"{\"a\":1}");
    let env = std::fs::read_to_string(dir.path().join("env")).unwrap();
    let names: Vec<&str> = env.lines().map(|line| line.split('=').next().unwrap()).collect();
    let expected = ["ATTEMPT", "ID", "TOKEN", "TYPE"].map(|name| format!("REKINDLE_JOB_{name}"));
    assert_eq!(names, expected);
    assert!(env.contains(&format!("REKINDLE_JOB_ID={id}\n")), "{env}");
    let job = show(&server, &id);
    assert_eq!((&job["result"], &job["attempts"]), (&json!("out\n"), &json!(2)));
    assert_eq!(job["last_error"], "exit status 3: first\nwhy");
    // A result above the bound fails the attempt; a command that is missing ends the work.
    let large = submit(&server, &["t", "--max-attempts", "1"]);
    let script = "head -c 1048577 /dev/zero";
    ok(&server, &["job", "work", "t", "--drain", "--", "sh", "-c", script]);
    let job = show(&server, &large);
    assert_eq!(job["status"], "failed");
    assert!(job["last_error"].as_str().unwrap().contains("more than 1048576 bytes"), "{job}");
    let left = submit(&server, &["t"]);
    let missing = cli(&server, &["job", "work", "t", "--", "/nowhere/command"]);
    assert_eq!(missing.code, 1);
    assert!(missing.err.contains("cannot start \"/nowhere/command\""), "{}", missing.err);
    let job = show(&server, &left);
    assert_eq!((&job["status"], &job["charged"]), (&json!("pending"), &json!(0)));
}

/// A fifo for each direction: what a command says, and what it waits for.
pub fn fifo(dir: &Path, name: &str) -> String {
    let path = dir.join(name);
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    path.to_str().unwrap().to_owned()
}

fn work(server: &Server, arguments: &[&str]) -> Dropped {
    let mut work = command(server, &[&["job", "work", "t"], arguments].concat());
    work.stdout(Stdio::null()).stderr(Stdio::piped());
    Dropped(work.spawn().unwrap())
}

fn terminate(child: &Child) {
    kill_process(Pid::from_child(child), Signal::TERM).unwrap();
}

/// The job is cancelled while its command runs: the next heartbeat is fenced, the command is told
/// to end, and what it printed is dropped. The worker goes on with the next job.
#[test]
fn a_command_whose_claim_is_lost_is_ended() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("store"));
    let said = fifo(dir.path(), "said");
    let id = submit(&server, &["t"]);
    let script = format!(
        "trap 'echo told > {said}; exit 0' TERM; echo begun > {said}; echo printed; \
         while :; do sleep 0.02; done"
    );
    let mut worker = work(&server, &["--lease", "600ms", "--", "sh", "-c", &script]);
    assert_eq!(std::fs::read_to_string(&said).unwrap(), "begun\n");
    line(&server, &["job", "cancel", &id]);
    assert_eq!(std::fs::read_to_string(&said).unwrap(), "told\n");
    let next = submit(&server, &["t"]);
    assert_eq!(std::fs::read_to_string(&said).unwrap(), "begun\n");
    assert_eq!(show(&server, &next)["status"], "processing");
    let job = show(&server, &id);
    assert_eq!((&job["status"], &job["result"]), (&json!("cancelled"), &json!(null)));
    // A first signal lets it run, a second one kills it and gives the job back.
    let mut words = BufReader::new(worker.0.stderr.take().unwrap()).lines();
    terminate(&worker.0);
    let told = words.any(|line| line.unwrap().starts_with("finishing what runs"));
    assert!(told, "the first signal was taken");
    terminate(&worker.0);
    assert_eq!(wait(&mut worker.0).code(), Some(1));
    let job = show(&server, &next);
    assert_eq!((&job["status"], &job["charged"]), (&json!("pending"), &json!(0)), "{job}");
}

/// SIGTERM lets the running command finish, completes its job, and takes nothing more.
#[test]
fn sigterm_finishes_the_running_job() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("store"));
    let (said, gate) = (fifo(dir.path(), "said"), fifo(dir.path(), "gate"));
    let ids = [(); 2].map(|()| submit(&server, &["t"]));
    let script = format!("echo begun > {said}; read line < {gate}; echo \"\\\"$line\\\"\"");
    let mut worker = work(&server, &["--", "sh", "-c", &script]);
    assert_eq!(std::fs::read_to_string(&said).unwrap(), "begun\n");
    terminate(&worker.0);
    std::fs::write(&gate, "go\n").unwrap();
    assert_eq!(wait(&mut worker.0).code(), Some(0));
    let job = show(&server, &ids[0]);
    assert_eq!((&job["status"], &job["result"]), (&json!("completed"), &json!("go")));
    assert_eq!(show(&server, &ids[1])["status"], "pending");
}

/// A waiter is answered at the end of its job, not at that of its long poll: the end is told before
/// reads see it.
#[test]
fn no_end_is_missed_by_who_waits_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let began = Instant::now();
    for _ in 0..20 {
        let id = submit(&server, &["t"]);
        let (_, token) = claim(&server, "t");
        let waiting = Talking::start(command(&server, &["job", "wait", &id]));
        until(|| server.get("/metrics").body.contains("rekindle_long_polls 1\n"));
        line(&server, &["job", "complete", &id, &token]);
        assert_eq!(waiting.end(), (vec![json!(null)], 0));
    }
    assert!(began.elapsed() < DEADLINE, "one long poll takes that long");
}

/// A waiter is answered at the end, also through a restart of the server.
///
/// fault: S1
#[test]
fn a_wait_goes_through_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let places = (server.grpc.to_string(), server.http.to_string());
    let id = submit(&server, &["t"]);
    let (_, token) = claim(&server, "t");
    let waiting = Talking::start(command(&server, &["job", "wait", &id]));
    // It waits by now.
    until(|| server.get("/metrics").body.contains("rekindle_long_polls 1\n"));
    server.kill();
    let server = restart(dir.path(), (&places.0, &places.1));
    line(&server, &["job", "complete", &id, &token, "--result", "{\"late\":true}"]);
    assert_eq!(waiting.end(), (vec![json!({"late": true})], 0));
}

/// A file is submitted, and worked on by two workers, while the server is killed: every line has
/// one job, every job is completed once.
///
/// fault: S1
#[test]
fn a_file_and_its_workers_survive_the_death_of_the_server() {
    const JOBS: usize = 300;
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let server = Server::start(&store);
    let places = (server.grpc.to_string(), server.http.to_string());
    ok(&server, &["job", "type", "set", "t", "--lease", "2s"]);
    let workers = [(); 2].map(|()| work(&server, &["--concurrency", "2", "--", "cat"]));
    // Both wait for work: a server that dies before that was never there.
    until(|| server.get("/metrics").body.contains("rekindle_long_polls 2\n"));
    let arguments = ["job", "submit", "t", "--file", "-", "--timeout", "30s"];
    let mut submitting = Talking::start(command(&server, &arguments));
    let half: String = (0..JOBS / 2).map(|number| format!("{number}\n")).collect();
    submitting.say(&half);
    let mut ids = BTreeSet::new();
    let mut take = |line: Value| assert!(ids.insert(line["id"].as_str().unwrap().to_owned()));
    for _ in 0..JOBS / 2 {
        take(submitting.line());
    }
    server.kill();
    let rest: String = (JOBS / 2..JOBS).map(|number| format!("{number}\n")).collect();
    submitting.say(&rest);
    let server = restart(&store, (&places.0, &places.1));
    drop(submitting.stdin.take());
    let (lines, code) = submitting.end();
    lines.into_iter().for_each(&mut take);
    assert_eq!((ids.len(), code), (JOBS, 0));
    for id in &ids {
        assert_eq!(ok(&server, &["job", "wait", id, "--timeout", "20s"]).code, 0);
    }
    let counted = ["job", "list", "--status", "completed", "--count"];
    assert_eq!(ok(&server, &counted).out, format!("{JOBS}\n"));
    let mut results = BTreeSet::new();
    for id in &ids {
        let job = show(&server, id);
        let ends = events(&job).iter().filter(|event| *event == "completed").count();
        assert_eq!((ends, &job["result"]), (1, &job["payload"]), "{job}");
        assert!(results.insert(job["payload"].as_u64().unwrap()));
    }
    for mut worker in workers {
        terminate(&worker.0);
        assert_eq!(wait(&mut worker.0).code(), Some(0));
    }
}
