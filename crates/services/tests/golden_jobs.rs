//! A store with jobs as version 1 wrote it, in `fixtures/v1/store-jobs`: every status, types,
//! schedules, outcomes, progress, claims, attempts and unique keys. Every later version says the
//! same of it, word for word (`store-jobs.txt`), and keeps what it promised.
//!
//! Its claims are those of workers outside of the server. `make_the_jobs` wrote it once and writes
//! over nothing.

#![allow(clippy::disallowed_methods, reason = "fixtures are read from the repository")]

use std::fmt::Write as _;
use std::path::Path;

use rekindle_database::Database;
use rekindle_env::{Image, ManualClock, RealDisk, SimulatedDisk};
use rekindle_services::jobs::{
    ClaimRequest, Claimed, Done, Failure, Heartbeat, JobDetail, JobFilter, JobSettings,
    JobTypeInfo, NewJob, Rate, Status, Unique, When,
};
use rekindle_services::queues::Token;
use rekindle_services::schedules::{Missed, NewSchedule};
use rekindle_services::{Kind, Services};

use crate::golden::{MADE_MS, copy, fixture, identity, open};

const NAME: &str = "store-jobs";
const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;
/// How long after it was made the store is opened.
const LATER_MS: u64 = 60_000;

/// In the order of the counts in the text.
const STATUSES: [Status; 6] = [
    Status::Scheduled,
    Status::Pending,
    Status::Processing,
    Status::Completed,
    Status::Failed,
    Status::Cancelled,
];

const UNIQUE: Unique<'_> = Unique { key: "invoice-7", window_ms: 0 };

fn claim(services: &Services, kind: &str) -> Claimed {
    let request = ClaimRequest { types: &[kind], max: 1, lease_ms: Some(12 * HOUR), worker: "ada" };
    services.jobs().claim(&request).unwrap().value.remove(0)
}

pub(crate) fn act(services: &Services, token: Token, done: Done<'_>) -> Result<Status, Kind> {
    let mut results = services.jobs().done(&[(token, done)], None).unwrap().value;
    results.remove(0).map(|changed| changed.status).map_err(|error| error.kind())
}

/// Claims the next job of a type and does this with it.
fn work(services: &Services, kind: &str, done: Done<'_>) -> Status {
    act(services, claim(services, kind).token, done).unwrap()
}

fn settings() -> JobSettings {
    JobSettings {
        lease_ms: 30_000,
        max_attempts: 3,
        concurrency: 50,
        rate: Rate { count: 1_000, per_ms: 1_000 },
        max_waiting: 500,
        keep_completed_ms: 5 * DAY,
        keep_failed_ms: 6 * DAY,
        keep_cancelled_ms: 7 * DAY,
        ..JobSettings::default()
    }
}

/// Jobs in every status, over a checkpoint; the token of the one that is in work.
fn fill(database: &Database, services: &Services, clock: &ManualClock) -> Token {
    let jobs = services.jobs();
    jobs.set_type("mail", &settings(), "golden", None).unwrap();
    let submit = |kind: &str, job: NewJob<'_>| jobs.submit(kind, &job, None).unwrap().value.id;
    let of = |payload: &'static [u8]| NewJob { payload, ..NewJob::default() };
    jobs.submit("mail", &of(b"{\"to\":\"ada\"}"), identity(1)).unwrap();
    let claimed = claim(services, "mail");
    let half = Heartbeat { by_ms: Some(12 * HOUR), progress: Some(b"0.5") };
    act(services, claimed.token, Done::Heartbeat(half)).unwrap();
    act(services, claimed.token, Done::Complete("\"готово\"".as_bytes())).unwrap();
    submit("mail", NewJob { max_attempts: Some(1), ..of(b"\xFF\x00 bytes") });
    let failure = Failure { error: "no such address", ..Failure::default() };
    assert_eq!(work(services, "mail", Done::Fail(failure)), Status::Failed);
    let cancelled = submit("mail", of(b"3"));
    jobs.cancel(cancelled, "not needed", "eve", None).unwrap();
    database.checkpoint().unwrap();
    clock.advance_ms(1_234);
    submit("mail", of(b"4"));
    let later = Failure { retry_in_ms: Some(2 * DAY), ..failure };
    assert_eq!(work(services, "mail", Done::Fail(later)), Status::Scheduled);
    let cause = submit("mail", of(b"5"));
    assert_eq!(work(services, "mail", Done::Release("busy")), Status::Pending);
    jobs.cancel(cause, "", "eve", None).unwrap();
    jobs.retry(cause, "eve", None).unwrap();
    submit("mail", NewJob { priority: -7, ..of(b"6") });
    submit("mail", NewJob { when: When::At(MADE_MS + 3 * DAY), ..of(b"7") });
    submit("report", NewJob { unique: Some(UNIQUE), priority: 9, ..of(b"[8]") });
    let window = Some(Unique { key: "daily", window_ms: 20 * DAY });
    submit("report", NewJob { unique: window, ..of(b"9") });
    submit("held", NewJob { max_attempts: Some(0), ..of(b"10") });
    act(services, claim(services, "held").token, Done::Fail(Failure::default())).unwrap();
    clock.advance_ms(2_000);
    services.tick().unwrap();
    let held = claim(services, "held");
    let some = Heartbeat { by_ms: Some(12 * HOUR), progress: Some(b"{\"percent\":40}") };
    act(services, held.token, Done::Heartbeat(some)).unwrap();
    for (name, missed) in [("one", Missed::One), ("all", Missed::All), ("skip", Missed::Skip)] {
        let new = NewSchedule {
            kind: "nightly",
            cron: "0 30 2 * * *",
            zone: "Europe/Berlin",
            missed,
            payload: b"{\"full\":true}",
            priority: 3,
            max_attempts: Some(5),
        };
        services.schedules().create(name, &new, "ada", None).unwrap();
    }
    let beat = NewSchedule { kind: "beat", cron: "* * * * *", ..NewSchedule::default() };
    services.schedules().create("beat", &beat, "ada", None).unwrap();
    clock.advance_ms(60_000);
    services.tick().unwrap();
    services.schedules().delete("beat", "ada", None).unwrap();
    held.token
}

fn kind(text: &mut String, it: &JobTypeInfo) {
    let set = &it.settings;
    writeln!(text, "type {} of {}", it.name, it.created_ms).unwrap();
    writeln!(
        text,
        "  lease {}, attempts {}, pauses {} to {}, at once {}, rate {} in {}, waiting {}",
        set.lease_ms,
        set.max_attempts,
        set.backoff.base_ms,
        set.backoff.max_ms,
        set.concurrency,
        set.rate.count,
        set.rate.per_ms,
        set.max_waiting
    )
    .unwrap();
    let kept = [set.keep_completed_ms, set.keep_failed_ms, set.keep_cancelled_ms];
    let counts: Vec<u64> = STATUSES.iter().map(|status| it.counts.of(*status)).collect();
    writeln!(text, "  kept {kept:?}, counts {counts:?}").unwrap();
}

fn job(text: &mut String, it: &JobDetail) {
    let JobDetail { info, payload, progress, result, .. } = it;
    let shown = |bytes: &[u8]| bytes.escape_ascii().to_string();
    writeln!(text, "job {} {} {}", info.id, info.kind, info.status.as_str()).unwrap();
    writeln!(
        text,
        "  attempts {} charged {} of {}, priority {}, submitted {}, due {}, finished {}, \
         claim {} {}",
        info.attempts,
        info.charged,
        info.max_attempts,
        info.priority,
        info.submitted_ms,
        info.due_ms,
        info.finished_ms,
        info.worker,
        info.deadline_ms
    )
    .unwrap();
    let (error, unique, schedule) = (&info.last_error, &info.unique_key, &info.schedule);
    writeln!(text, "  error {error:?}, unique {unique:?}, schedule {schedule:?}").unwrap();
    let progress = progress.as_ref().map(|(at_ms, bytes)| (*at_ms, shown(bytes)));
    let result = result.as_ref().map(|bytes| shown(bytes));
    let payload = shown(payload);
    writeln!(text, "  payload {payload:?}, progress {progress:?}, result {result:?}").unwrap();
    for event in &it.events {
        let (name, cause, at_ms, attempt) = (event.event, event.cause, event.at_ms, event.attempt);
        let (by, reason) = (&event.by, &event.reason);
        writeln!(text, "  {name} {cause:?} at {at_ms} attempt {attempt} by {by:?}: {reason:?}")
            .unwrap();
    }
}

/// Everything that is known of jobs, types and schedules, as text.
pub(crate) fn told(services: &Services) -> String {
    let mut text = String::new();
    for it in services.jobs().types("", 100).unwrap().0 {
        kind(&mut text, &it);
    }
    let page = services.jobs().list(&JobFilter { limit: 100, ..JobFilter::default() }).unwrap();
    for one in page.jobs {
        job(&mut text, &services.jobs().show(one.id).unwrap());
    }
    for it in services.schedules().list("", 100).unwrap().0 {
        let payload = it.payload.escape_ascii().to_string();
        let last = it.last_job.map(|id| id.to_string());
        writeln!(
            text,
            "schedule {} {} {:?} {} {} {payload:?} {} {:?}, of {}, fired {}, last {last:?}, \
             next {:?}",
            it.name,
            it.kind,
            it.cron,
            it.zone,
            it.missed.as_str(),
            it.priority,
            it.max_attempts,
            it.created_ms,
            it.fired,
            it.next_ms
        )
        .unwrap();
    }
    text
}

/// The words of a fixture beside it.
fn beside(suffix: &str) -> std::path::PathBuf {
    fixture(&format!("{NAME}{suffix}"))
}

/// proves: B1, D2, J1
#[test]
fn a_store_with_jobs_opens() {
    let (database, services, clock) = open(&copy(NAME), MADE_MS + LATER_MS);
    assert_eq!(database.report().code, 0);
    let expected = std::fs::read_to_string(beside(".txt")).unwrap();
    assert_eq!(told(&services), expected);
    let all = services.jobs().counts(None).unwrap();
    assert!(STATUSES.iter().all(|status| all.of(*status) > 0), "{all:?}");
    // What was promised still counts: keys, results of requests, a claim, times.
    let jobs = services.jobs();
    let again = NewJob { unique: Some(UNIQUE), ..NewJob::default() };
    assert!(!jobs.submit("report", &again, None).unwrap().value.new);
    let repeated = NewJob { payload: b"{\"to\":\"ada\"}", ..NewJob::default() };
    assert!(jobs.submit("mail", &repeated, identity(1)).unwrap().value.new, "as then");
    let other = jobs.submit("mail", &NewJob::default(), identity(1)).unwrap_err();
    assert_eq!(other.kind(), Kind::Invalid);
    let held: Token = std::fs::read_to_string(beside(".token")).unwrap().trim().parse().unwrap();
    assert_eq!(act(&services, held, Done::Complete(b"1")), Ok(Status::Completed));
    assert_eq!(act(&services, held, Done::Complete(b"1")), Err(Kind::Fenced));
    let before = jobs.counts(None).unwrap();
    clock.advance_ms(4 * DAY);
    while services.tick().unwrap().next_in_ms == 0 {}
    let counts = jobs.counts(Some("mail")).unwrap();
    assert_eq!((counts.scheduled, counts.pending), (0, 4), "{before:?}, {counts:?}");
    // Night after night: one for all, each of them, none.
    assert_eq!(jobs.counts(Some("nightly")).unwrap().pending, 1 + 4);
}

/// Writes the fixture where there is none; `make_the_fixtures` of the database writes
/// `fixtures/v1/CRC32C`.
#[test]
#[ignore = "writes into the repository"]
fn make_the_jobs() {
    assert!(!fixture(NAME).exists(), "{NAME} is frozen");
    let disk = SimulatedDisk::new(42);
    let (database, services, clock) = open(&disk, MADE_MS);
    let token = fill(&database, &services, &clock);
    let killed = disk.kill(1);
    Image::load(&killed, Path::new("store")).unwrap().save(&RealDisk, &fixture(NAME)).unwrap();
    std::fs::write(beside(".token"), format!("{token}\n")).unwrap();
    let (_database, services, _clock) = open(&copy(NAME), MADE_MS + LATER_MS);
    std::fs::write(beside(".txt"), told(&services)).unwrap();
}
