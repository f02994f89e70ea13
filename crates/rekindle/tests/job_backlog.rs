//! A backlog of jobs that is larger than the window of a start: the server is killed, and what it
//! acknowledged is handed out whole, in order, each once.
//!
//! Invariants: payloads number the jobs in the order of their submission; odd ones go first.

use std::fs::File;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use rekindle_database::Database;
use serde_json::{Value, json};

use super::cli_jobs::until;
use super::harness::{Answer, Server, ask, post, serve};
use super::kill_loop::number;

/// `jobs.dispatch_capacity`, as the requirement has it.
const WINDOW: usize = 100;
/// Jobs that a worker keeps, that are completed, and whose claims run out while the server is down.
const KEPT: usize = 2;
const COMPLETED: usize = 1;
const RUN_OUT: usize = 3;
/// How long these last: long enough for the kill, short enough to wait for.
const SHORT_MS: u64 = 1_000;
const LONG_MS: u64 = 12 * 3_600_000;
/// From `ready` to the first job in a worker's hands.
const FIRST_JOB_MAX: Duration = Duration::from_secs(1);
/// Memory of a server that starts on a backlog: so much, and so much for each job (three rows).
const MEMORY_BYTES: u64 = 48 << 20;
const MEMORY_BYTES_PER_JOB: u64 = 1 << 10;

/// A store with a backlog, and the log of its server.
struct Backlog {
    dir: tempfile::TempDir,
    jobs: usize,
    level: &'static str,
}

impl Backlog {
    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    fn serve(&self) -> Command {
        let mut command = serve(&self.dir.path().join("store"), &[]);
        command.env("REKINDLE__JOBS__DISPATCH_CAPACITY", WINDOW.to_string());
        command.env("REKINDLE__LOG__FORMAT", "json").env("REKINDLE__LOG__LEVEL", self.level);
        command
    }

    /// Submits everything, puts some of it in work, kills the server.
    fn fill_and_kill(&self) {
        let server = Server::spawn(self.serve());
        for first in (0..self.jobs).step_by(1_000) {
            let job = |number| json!({ "type": "t", "payload": number, "priority": number % 2 });
            let page: Vec<Value> = (first..self.jobs.min(first + 1_000)).map(job).collect();
            let answer = done(post(server.http, "/v1/jobs", &json!({ "jobs": page })));
            let results = answer["results"].as_array().unwrap();
            assert_eq!(results.len(), page.len());
            for result in results {
                assert_eq!((&result["new"], &result["durability"]), (&json!(true), &json!("disk")));
            }
        }
        let kind = json!({ "backoff_base_ms": 0, "backoff_max_ms": 0 });
        done(ask(server.http, ("PUT", "/v1/job-types/t"), &[], Some(&kind)));
        assert_eq!(claim(&server, KEPT, LONG_MS).len(), KEPT);
        for job in claim(&server, COMPLETED, LONG_MS) {
            let path = format!("/v1/jobs/{}/complete", job["id"].as_str().unwrap());
            done(post(server.http, &path, &json!({ "token": job["token"] })));
        }
        let claimed = claim(&server, RUN_OUT, SHORT_MS);
        server.kill();
        let deadline_ms = claimed[RUN_OUT - 1]["deadline_ms"].as_u64().unwrap();
        until(|| wall_ms() > deadline_ms);
    }

    /// The lines of the log of its newest server that say this.
    fn said(&self, phrase: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.log()).unwrap();
        // The last line may be half written.
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["message"] == phrase).collect()
    }

    /// Numbers of what is handed out after the kill, in that order.
    fn expected(&self) -> Vec<u64> {
        let odd = (1..self.jobs).step_by(2).skip(KEPT + COMPLETED);
        odd.chain((0..self.jobs).step_by(2)).map(|number| number as u64).collect()
    }

    /// What a start says about its jobs: J8.
    fn check_events(&self) {
        let started = self.said("recovery_started");
        assert_eq!(started.len(), 1, "{started:?}");
        assert_eq!(started[0]["jobs"], self.jobs - COMPLETED, "{started:?}");
        let recovered = self.said("job_recovered");
        assert_eq!(recovered.len(), RUN_OUT, "{recovered:?}");
        assert!(recovered.iter().all(|one| one["status"] == "pending"), "{recovered:?}");
        let completed = self.said("recovery_completed");
        assert_eq!(completed.len(), 1, "{completed:?}");
        assert_eq!(completed[0]["processing_recovered"], RUN_OUT, "{completed:?}");
        assert_eq!(completed[0]["pending_re_enqueued"], self.expected().len(), "{completed:?}");
        assert_eq!(self.said("recovery_error"), Vec::<Value>::new());
    }

    /// The window stays full: it is told, more and more rarely, from the first report on after each
    /// time that it moved.
    fn check_backpressure(&self) {
        until(|| self.said("recovery_backpressure").last().is_some_and(|it| it["attempt"] == 4));
        let mut expected = 1;
        for report in self.said("recovery_backpressure") {
            let attempt = report["attempt"].as_u64().unwrap();
            assert!(attempt == 1 || attempt == expected, "{report}");
            expected = attempt + 1;
            let backoff_ms = 50.0 * 1.5_f64.powi(attempt as i32);
            let told = report["backoff_ms"].as_f64().unwrap();
            // Each pause is cut to whole milliseconds.
            assert!((told - backoff_ms).abs() <= attempt as f64 && told <= 5_000.0, "{report}");
            assert_eq!(report["type"], "t");
        }
    }
}

fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    since.as_millis() as u64
}

fn done(answer: Answer) -> Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

fn claim(server: &Server, max: usize, lease_ms: u64) -> Vec<Value> {
    let body = json!({ "types": ["t"], "max": max, "lease_ms": lease_ms, "worker": "w" });
    done(post(server.http, "/v1/jobs/claim", &body))["jobs"].as_array().unwrap().clone()
}

fn numbers(claimed: &[Value]) -> impl Iterator<Item = u64> {
    claimed.iter().map(|job| job["payload"].as_u64().unwrap())
}

/// Kills a server with so many jobs, starts it again, and takes all of them.
fn a_backlog_survives(jobs: usize, level: &'static str) {
    let backlog = Backlog { dir: tempfile::tempdir().unwrap(), jobs, level };
    let began = Instant::now();
    backlog.fill_and_kill();
    let filled = began.elapsed();
    let log = File::create(backlog.log()).unwrap();
    let began = Instant::now();
    let server = Server::spawn_logging(backlog.serve(), log.into());
    let (ready, opened) = (began.elapsed(), Instant::now());
    let mut taken: Vec<u64> = numbers(&claim(&server, 1, LONG_MS)).collect();
    let first = opened.elapsed();
    assert_eq!(taken.len(), 1, "the first one is there at once");
    assert!(first < FIRST_JOB_MAX, "{first:?}");
    backlog.check_events();
    let expected = backlog.expected();
    if expected.len() - taken.len() > WINDOW {
        backlog.check_backpressure();
    }
    let began = Instant::now();
    loop {
        let page = claim(&server, 1_000, LONG_MS);
        assert!(page.len() <= WINDOW, "the window is exceeded");
        if page.is_empty() {
            break;
        }
        taken.extend(numbers(&page));
    }
    let drained = began.elapsed();
    // Each once, none missing, in order of priority and then of submission.
    assert!(taken == expected, "{} of {}", taken.len(), expected.len());
    let counts = server.get("/v1/jobs/counts").json();
    assert_eq!(counts["processing"], jobs - COMPLETED, "{counts}");
    assert_eq!((&counts["completed"], &counts["pending"]), (&json!(COMPLETED), &json!(0)));
    if level == "debug" {
        let told = backlog.said("job_re_enqueued");
        let told: u64 = told.iter().map(|it| it["count"].as_u64().unwrap()).sum();
        assert_eq!(told, expected.len() as u64, "each came into the window once");
    }
    let memory = server.memory_bytes_max();
    assert!(memory <= MEMORY_BYTES + jobs as u64 * MEMORY_BYTES_PER_JOB, "{memory} bytes");
    println!(
        "{jobs} jobs: submitted in {filled:.1?}, ready in {ready:.2?}, the first one after \
         {first:.1?}, all taken in {drained:.1?}, {} MiB at most",
        memory >> 20
    );
    assert_eq!(server.stop(), 0);
}

/// One job that cannot be read is told, and the others are handed out.
///
/// proves: J6, J8
#[test]
fn a_bad_job_stops_no_other() {
    let backlog = Backlog { dir: tempfile::tempdir().unwrap(), jobs: 20, level: "info" };
    backlog.fill_and_kill();
    let database = Database::open(backlog.dir.path().join("store")).unwrap();
    let jobs = database.keyspace("jobs").unwrap();
    let all = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
    let first = database.snapshot().unwrap().scan(jobs, all, 1, false).unwrap().remove(0);
    let mut damage = database.begin();
    damage.put(jobs, &first.key, b"\xFFdamaged");
    damage.commit().unwrap();
    database.close().unwrap();
    drop(database);
    let log = File::create(backlog.log()).unwrap();
    let server = Server::spawn_logging(backlog.serve(), log.into());
    let told = backlog.said("recovery_error");
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["level"], "WARN");
    assert!(told[0]["label"].as_str().unwrap().starts_with("job-"), "{told:?}");
    assert_eq!(backlog.said("recovery_completed").len(), 1);
    // Job 0 is the one.
    let taken: Vec<u64> = numbers(&claim(&server, 100, LONG_MS)).collect();
    assert_eq!(taken, backlog.expected().into_iter().filter(|it| *it != 0).collect::<Vec<_>>());
    assert_eq!(server.stop(), 0);
}

/// proves: J2, J4, J8
/// fault: S1
#[test]
fn a_backlog_above_the_window_survives_a_kill() {
    a_backlog_survives(150, "debug");
}

/// proves: J2, J4, J8
/// fault: S1
#[test]
fn a_large_backlog_survives_a_kill() {
    a_backlog_survives(100_000, "info");
}

/// With the scale of the campaign a million.
///
/// proves: J4
/// fault: S1
#[test]
#[ignore = "a campaign: minutes"]
fn campaign_kill_a_million_jobs() {
    a_backlog_survives(100_000 * number("REKINDLE_SCALE", 10) as usize, "info");
}
