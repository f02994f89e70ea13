//! A store whose server had executors as version 1 wrote it, in `fixtures/v1/store-executors`: jobs
//! that they hold (leases of format 2, kept by heartbeats or not), one beside them that a worker
//! outside holds, and one under review because the server died with it. Every later version says
//! the same of it, word for word (`store-executors.txt`), and settles by evidence what is held.
//!
//! `make_the_executors` wrote it once and writes over nothing.

#![allow(clippy::disallowed_methods, reason = "fixtures are read from the repository")]

use std::fmt::Write as _;
use std::future::ready;
use std::path::Path;
use std::pin::pin;

use rekindle_database::Database;
use rekindle_env::{Image, ManualClock, RealDisk, SimulatedDisk};
use rekindle_services::claims::{Backoff, Token, Trace, Traces};
use rekindle_services::jobs::{ClaimRequest, Done, Heartbeat, JobSettings, NewJob, Status};
use rekindle_services::review::Decision;
use rekindle_services::{Kind, Services};

use crate::golden::{MADE_MS, copy, fixture, open, open_with};
use crate::golden_jobs::{act, told};
use crate::waiting::finish_over;

const NAME: &str = "store-executors";
/// How long after it was made the store is opened: leases of a minute have run out.
const LATER_MS: u64 = 61_000;
const HOUR: u64 = 3_600_000;

/// The claims that the store holds.
struct Held {
    /// Of an executor, kept by a heartbeat.
    kept: Token,
    /// Of an executor, as it was granted.
    unbegun: Token,
    /// The same; nobody knows anything of it.
    died: Token,
    /// Of somebody outside.
    outside: Token,
}

impl Held {
    fn write(&self) {
        let all = [self.kept, self.unbegun, self.died, self.outside];
        let text = all.map(|token| format!("{token}\n")).concat();
        std::fs::write(fixture(&format!("{NAME}.tokens")), text).unwrap();
    }

    fn read() -> Self {
        let text = std::fs::read_to_string(fixture(&format!("{NAME}.tokens"))).unwrap();
        let tokens: Vec<Token> = text.lines().map(|line| line.parse().unwrap()).collect();
        let [kept, unbegun, died, outside] = tokens.try_into().unwrap();
        Self { kept, unbegun, died, outside }
    }

    /// What lies in `executions/` says this of them.
    fn traces(&self) -> Traces {
        Traces::from([(self.kept, Trace::Survives), (self.unbegun, Trace::Unbegun)])
    }
}

fn request(worker: &str) -> ClaimRequest<'_> {
    ClaimRequest { types: &["thumbnail"], max: 1, lease_ms: None, worker }
}

fn inside(database: &Database, services: &Services) -> Token {
    let request = request("command");
    let claim = pin!(services.jobs().claim_inside(&request, ready(())));
    finish_over(claim, database).unwrap().value.remove(0).token
}

fn fill(database: &Database, services: &Services, clock: &ManualClock) -> Held {
    let jobs = services.jobs();
    let backoff = Backoff { base_ms: 0, max_ms: 0 };
    let settings = JobSettings { backoff, lease_ms: 60_000, ..JobSettings::default() };
    jobs.set_type("thumbnail", &settings, "golden", None).unwrap();
    let submit = |payload| {
        let job = NewJob { payload, ..NewJob::default() };
        jobs.submit("thumbnail", &job, None).unwrap();
    };
    submit(b"\"kills\"");
    for _ in 0..3 {
        let token = inside(database, services);
        let died = Done::Died("signal 9, and the server had died meanwhile");
        act(services, token, died).unwrap();
        clock.advance_ms(10);
    }
    database.checkpoint().unwrap();
    for payload in [&b"1"[..], b"2", b"3", b"4", b"5"] {
        submit(payload);
    }
    let kept = inside(database, services);
    let beat = Heartbeat { by_ms: Some(12 * HOUR), progress: Some(b"{\"percent\":40}") };
    act(services, kept, Done::Heartbeat(beat)).unwrap();
    let (unbegun, died) = (inside(database, services), inside(database, services));
    let request = ClaimRequest { lease_ms: Some(12 * HOUR), ..request("ada") };
    let outside = jobs.claim(&request).unwrap().value.remove(0).token;
    Held { kept, unbegun, died, outside }
}

/// What is known of jobs and types, and what waits for a person.
fn all(services: &Services) -> String {
    let mut text = told(services);
    for item in services.reviews().list(None, 100).unwrap().0 {
        let decisions: Vec<_> = item.decisions.iter().map(|one| one.as_str()).collect();
        writeln!(text, "review {} {} {:?}: {decisions:?}", item.id, item.label, item.job_type)
            .unwrap();
    }
    text
}

/// proves: B1, D2, J2, J7
#[test]
fn a_store_with_executors_opens() {
    let held = Held::read();
    let (database, services, _clock) = open_with(&copy(NAME), MADE_MS + LATER_MS, held.traces());
    assert_eq!(database.report().code, 0);
    let expected = std::fs::read_to_string(fixture(&format!("{NAME}.txt"))).unwrap();
    assert_eq!(all(&services), expected);
    // What goes on has its whole time again; the others can be claimed by whoever comes, and are
    // their first owners' until then.
    let complete = |token| act(&services, token, Done::Complete(b"1"));
    assert_eq!(complete(held.kept), Ok(Status::Completed));
    assert_eq!(complete(held.kept), Err(Kind::Fenced));
    assert_eq!(complete(held.outside), Ok(Status::Completed));
    let again = services.jobs().claim(&request("eve")).unwrap().value.remove(0);
    assert_eq!((again.id, again.attempt), (held.unbegun.subject(), 2));
    assert_eq!(complete(held.unbegun), Err(Kind::Fenced));
    assert_eq!(complete(held.died), Ok(Status::Completed));
    let reviews = services.reviews();
    let waiting = reviews.list(None, 100).unwrap().0.remove(0);
    let decided = reviews.decide(waiting.id, Decision::Approve, "it is innocent", "ada").unwrap();
    assert_eq!(decided.value.decision, Decision::Approve);
    let counts = services.jobs().counts(None).unwrap();
    assert_eq!((counts.pending, counts.processing, counts.completed), (2, 1, 3), "{counts:?}");
}

/// Without evidence whatever executors held died with the server.
///
/// proves: J7
#[test]
fn a_store_with_executors_opens_without_evidence() {
    let held = Held::read();
    let (_database, services, _clock) = open(&copy(NAME), MADE_MS + LATER_MS);
    for token in [held.kept, held.unbegun, held.died] {
        let job = services.jobs().show(token.subject()).unwrap();
        assert_eq!((job.info.status, job.info.charged), (Status::Pending, 1));
        assert_eq!(job.events.last().unwrap().cause, "server_crash");
    }
}

/// Writes the fixture where there is none; `make_the_fixtures` of the database writes
/// `fixtures/v1/CRC32C`.
#[test]
#[ignore = "writes into the repository"]
fn make_the_executors() {
    assert!(!fixture(NAME).exists(), "{NAME} is frozen");
    let disk = SimulatedDisk::new(43);
    let (database, services, clock) = open(&disk, MADE_MS);
    let held = fill(&database, &services, &clock);
    let killed = disk.kill(1);
    Image::load(&killed, Path::new("store")).unwrap().save(&RealDisk, &fixture(NAME)).unwrap();
    held.write();
    let (_database, services, _clock) = open_with(&copy(NAME), MADE_MS + LATER_MS, held.traces());
    std::fs::write(fixture(&format!("{NAME}.txt")), all(&services)).unwrap();
}
