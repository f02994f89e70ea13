//! Jobs: their states, their claims, their time, and what a crash leaves of them.

use rekindle_services::jobs::{
    ClaimRequest, Claimed, Done, Failure, Heartbeat, JobDetail, JobFilter, JobId, JobSettings,
    NewJob, Rate, Status, Unique, When,
};
use rekindle_services::queues::Token;
use rekindle_services::{Error, Identity, Jobs, Kind};

use crate::store::Store;

fn jobs(store: &Store) -> &Jobs {
    store.services.jobs()
}

fn submit_with(store: &Store, job: NewJob<'_>) -> JobId {
    jobs(store).submit("t", &job, None).unwrap().value.id
}

fn submit(store: &Store, payload: &str) -> JobId {
    submit_with(store, NewJob { payload: payload.as_bytes(), ..NewJob::default() })
}

fn claim(store: &Store, max: usize) -> Vec<Claimed> {
    let request = ClaimRequest { types: &["t"], max, lease_ms: None, worker: "w" };
    jobs(store).claim(&request).unwrap().value
}

fn one(store: &Store) -> Claimed {
    claim(store, 1).remove(0)
}

fn act(store: &Store, token: Token, done: Done<'_>) -> Result<Status, Error> {
    let mut results = jobs(store).done(&[(token, done)], None).unwrap().value;
    results.remove(0).map(|changed| changed.status)
}

fn complete(store: &Store, token: Token) -> Result<Status, Error> {
    act(store, token, Done::Complete(b"\"done\""))
}

fn fail(store: &Store, token: Token) -> Result<Status, Error> {
    act(store, token, Done::Fail(Failure { error: "no such address", ..Failure::default() }))
}

fn show(store: &Store, id: JobId) -> JobDetail {
    jobs(store).show(id).unwrap()
}

fn status(store: &Store, id: JobId) -> Status {
    show(store, id).info.status
}

fn settings(store: &Store, settings: JobSettings) {
    jobs(store).set_type("t", &settings, "test", None).unwrap();
}

fn events(job: &JobDetail) -> Vec<String> {
    let word = |event: &rekindle_services::jobs::JobEvent| {
        format!("{} {} {}", event.event, event.attempt, event.cause).trim_end().to_owned()
    };
    job.events.iter().map(word).collect()
}

/// A job's whole life, its attempts and why they ended in its history.
///
/// proves: J1, J7
#[test]
fn a_job_is_tried_until_it_is_done() {
    let store = Store::new();
    let id = submit(&store, "{}");
    assert_eq!(status(&store, id), Status::Pending);
    let first = one(&store);
    assert_eq!((first.id, first.attempt, first.payload()), (id, 1, &b"{}"[..]));
    assert_eq!(status(&store, id), Status::Processing);
    assert_eq!(fail(&store, first.token).unwrap(), Status::Scheduled);
    assert!(claim(&store, 1).is_empty(), "it waits before the next attempt");
    store.pass(1_000);
    assert_eq!(status(&store, id), Status::Pending);
    let second = one(&store);
    assert_eq!(second.attempt, 2);
    store.pass(60_000);
    assert_eq!(show(&store, id).info.charged, 2, "its claim ran out");
    store.pass(2_000);
    let third = one(&store);
    assert_eq!(complete(&store, third.token).unwrap(), Status::Completed);
    let job = show(&store, id);
    let expected = [
        "submitted 0",
        "attempt_ended 1 failed",
        "attempt_ended 2 lease_expired",
        "claimed 3",
        "completed 3",
    ];
    assert_eq!(events(&job), expected);
    assert_eq!(job.result.as_deref(), Some(&b"\"done\""[..]));
    assert_eq!((job.info.attempts, job.info.charged), (3, 2));
    assert_eq!(job.info.last_error, "w did not answer before the lease ran out");
    assert_eq!(complete(&store, third.token).unwrap_err().kind(), Kind::Fenced);
}

/// A late completion with an old token gets the fence and changes nothing.
///
/// proves: J9
/// fault: T4
#[test]
fn an_old_token_changes_nothing() {
    let store = Store::new();
    let id = submit(&store, "1");
    let stale = one(&store);
    store.pass(60_000);
    store.pass(1_000);
    let current = one(&store);
    let all = [
        Done::Complete(b"late"),
        Done::Fail(Failure::default()),
        Done::Release(""),
        Done::Heartbeat(Heartbeat::default()),
    ];
    for done in all {
        assert_eq!(act(&store, stale.token, done).unwrap_err().kind(), Kind::Fenced);
    }
    assert_eq!(status(&store, id), Status::Processing);
    complete(&store, current.token).unwrap();
    for done in all {
        assert_eq!(act(&store, current.token, done).unwrap_err().kind(), Kind::Fenced);
    }
    assert_eq!(show(&store, id).result.as_deref(), Some(&b"\"done\""[..]));
}

/// Until somebody else claims the job, its late worker may go on, or be done.
///
/// fault: T4
#[test]
fn a_late_worker_counts_until_the_next_claim() {
    let store = Store::new();
    submit(&store, "1");
    let late = one(&store);
    store.pass(60_000);
    let beat = act(&store, late.token, Done::Heartbeat(Heartbeat::default()));
    assert_eq!(beat.unwrap(), Status::Processing);
    store.pass(60_000);
    let store = store.crash(5_000);
    assert_eq!(complete(&store, late.token).unwrap(), Status::Completed);
    assert!(claim(&store, 1).is_empty());
    for keyspace in ["leases", "lease_expiry"] {
        assert!(store.rows(keyspace).is_empty(), "{keyspace}");
    }
}

/// proves: J7
#[test]
fn attempts_are_counted_and_capped() {
    let store = Store::new();
    let id = submit_with(&store, NewJob { max_attempts: Some(2), ..NewJob::default() });
    fail(&store, one(&store).token).unwrap();
    store.pass(1_000);
    let token = one(&store).token;
    act(&store, token, Done::Release("busy")).unwrap();
    let token = one(&store).token;
    assert_eq!(fail(&store, token).unwrap(), Status::Failed);
    let job = show(&store, id);
    let expected = [
        "submitted 0",
        "attempt_ended 1 failed",
        "attempt_ended 2 released",
        "attempt_ended 3 failed",
        "failed 3",
    ];
    assert_eq!(events(&job), expected);
    assert_eq!(job.info.last_error, "no such address");
    // A person tries it again, with all its attempts.
    assert_eq!(jobs(&store).retry(id, "me", None).unwrap().value.status, Status::Pending);
    let again = one(&store);
    assert_eq!(again.attempt, 4);
    assert_eq!(fail(&store, again.token).unwrap(), Status::Scheduled);
    // And this one is not to be tried again.
    let id = submit(&store, "2");
    let last = Failure { last: true, error: "bad input", ..Failure::default() };
    let claimed = claim(&store, 9).into_iter().find(|one| one.id == id).unwrap();
    assert_eq!(act(&store, claimed.token, Done::Fail(last)).unwrap(), Status::Failed);
}

/// Cancelling and retrying, from every state: what is refused changes nothing.
///
/// proves: J1, J9
#[test]
fn cancel_and_retry_keep_to_the_states() {
    let store = Store::new();
    let cancel = |id| jobs(&store).cancel(id, "not needed", "me", None).map(|it| it.value.status);
    let retry = |id| jobs(&store).retry(id, "me", None).map(|it| it.value.status);
    let id = submit(&store, "1");
    assert_eq!(retry(id).unwrap_err().kind(), Kind::Conflict, "pending");
    assert_eq!(cancel(id).unwrap(), Status::Cancelled);
    assert!(claim(&store, 1).is_empty());
    assert_eq!(cancel(id).unwrap_err().kind(), Kind::Conflict);
    assert_eq!(retry(id).unwrap(), Status::Pending);
    let claimed = one(&store);
    assert_eq!((claimed.id, claimed.attempt), (id, 1));
    assert_eq!(retry(id).unwrap_err().kind(), Kind::Conflict, "processing");
    assert_eq!(cancel(id).unwrap(), Status::Cancelled);
    assert_eq!(complete(&store, claimed.token).unwrap_err().kind(), Kind::Fenced);
    let job = show(&store, id);
    assert_eq!(events(&job), ["submitted 0", "cancelled 1"]);
    assert_eq!(job.events[1].reason, "not needed");
    assert_eq!(job.events[1].by, "me");
    assert_eq!(retry(id).unwrap(), Status::Pending);
    complete(&store, one(&store).token).unwrap();
    for refused in [cancel(id), retry(id)] {
        assert_eq!(refused.unwrap_err().kind(), Kind::Conflict, "completed");
    }
    // One that waits for its time is run at once.
    let when = When::In(60_000);
    let id = submit_with(&store, NewJob { when, ..NewJob::default() });
    assert_eq!(status(&store, id), Status::Scheduled);
    assert_eq!(retry(id).unwrap(), Status::Pending);
    fail(&store, one(&store).token).unwrap();
    assert_eq!(status(&store, id), Status::Scheduled);
    assert_eq!(retry(id).unwrap(), Status::Pending);
    assert_eq!(one(&store).attempt, 2);
    assert_eq!(cancel(id).unwrap(), Status::Cancelled);
    let counts = jobs(&store).counts(Some("t")).unwrap();
    assert_eq!((counts.completed, counts.cancelled, counts.processing), (1, 1, 0));
    let store = store.crash(0);
    assert_eq!(jobs(&store).counts(None).unwrap(), counts, "and after a crash");
}

/// Priorities before age, age within a priority, also after a crash; and what comes back takes its
/// place.
///
/// proves: J4, J10
#[test]
fn priorities_go_first_and_equals_in_order() {
    let store = Store::new();
    for (payload, priority) in [("a", 0), ("b", 9), ("c", -3), ("d", 9), ("e", 0)] {
        submit_with(&store, NewJob { payload: payload.as_bytes(), priority, ..NewJob::default() });
    }
    let store = store.crash(1_000);
    let order = |store: &Store| {
        let claimed = claim(store, 9);
        for one in &claimed {
            act(store, one.token, Done::Release("")).unwrap();
        }
        let text = |one: &Claimed| String::from_utf8(one.payload().to_vec()).unwrap();
        claimed.iter().map(text).collect::<String>()
    };
    assert_eq!(order(&store), "bdaec");
    assert_eq!(order(&store), "bdaec");
    let store = store.crash(1_000);
    assert_eq!(order(&store), "bdaec");
}

/// Scheduled jobs follow the wall clock: forwards they fire early at most by the jump, and once;
/// backwards they do not fire again.
///
/// fault: T1, T2
#[test]
fn scheduled_jobs_follow_the_wall_clock() {
    let store = Store::new();
    let wall_ms = rekindle_env::Clock::wall_ms(&*store.clock);
    let when = When::At(wall_ms + 10_000);
    let id = submit_with(&store, NewJob { when, ..NewJob::default() });
    assert_eq!(store.pass(9_999).next_in_ms, 1);
    assert_eq!(status(&store, id), Status::Scheduled);
    store.clock.set_wall_ms(wall_ms + 3_600_000);
    store.pass(0);
    let claimed = one(&store);
    assert_eq!(claimed.id, id);
    store.clock.set_wall_ms(wall_ms);
    store.pass(0);
    assert!(claim(&store, 1).is_empty());
    act(&store, claimed.token, Done::Release("")).unwrap();
    let store = store.crash(0);
    assert_eq!(status(&store, id), Status::Pending, "its time had come");
    complete(&store, one(&store).token).unwrap();
    // A lease does not follow the wall clock.
    let id = submit(&store, "2");
    let token = one(&store).token;
    let now = rekindle_env::Clock::wall_ms(&*store.clock);
    store.clock.set_wall_ms(now + 3_600_000);
    assert_eq!(store.pass(59_000).reclaimed, 0, "it follows by a thousandth at most");
    assert_eq!(status(&store, id), Status::Processing);
    complete(&store, token).unwrap();
}

/// One job for a key: until it is finished, or for a window whatever becomes of it.
///
/// proves: J10
#[test]
fn a_unique_key_has_one_job() {
    let store = Store::new();
    let with = |window_ms| NewJob {
        unique: Some(Unique { key: "invoice-7", window_ms }),
        ..NewJob::default()
    };
    let submit = |job| jobs(&store).submit("t", &job, None).unwrap().value;
    let first = submit(with(0));
    assert!(first.new);
    let second = submit(with(0));
    assert_eq!((second.id, second.new), (first.id, false));
    complete(&store, one(&store).token).unwrap();
    let third = submit(with(60_000));
    assert!(third.new && third.id != first.id);
    complete(&store, one(&store).token).unwrap();
    assert_eq!(submit(with(0)).id, third.id, "the window goes on");
    store.pass(60_000);
    let fourth = submit(with(0));
    assert!(fourth.new);
    // The one before cannot come back while another has its key.
    jobs(&store).cancel(fourth.id, "", "me", None).unwrap();
    let fifth = submit(with(0));
    assert!(fifth.new);
    let refused = jobs(&store).retry(fourth.id, "me", None).unwrap_err();
    assert_eq!(refused.kind(), Kind::Conflict);
    let found = JobFilter { kind: Some("t"), unique_key: Some("invoice-7"), ..Default::default() };
    let page = jobs(&store).list(&found).unwrap();
    assert_eq!(page.jobs.iter().map(|job| job.id).collect::<Vec<_>>(), [fifth.id]);
}

/// proves: J10
#[test]
fn a_type_limits_what_is_in_work_and_how_fast() {
    let store = Store::new();
    settings(&store, JobSettings { concurrency: 2, ..JobSettings::default() });
    for _ in 0..5 {
        submit(&store, "1");
    }
    let claimed = claim(&store, 9);
    assert_eq!(claimed.len(), 2);
    assert!(claim(&store, 9).is_empty());
    complete(&store, claimed[0].token).unwrap();
    assert_eq!(claim(&store, 9).len(), 1);
    let store = store.crash(0);
    assert!(claim(&store, 9).is_empty(), "claims are kept, and count");
    let rate = Rate { count: 1, per_ms: 500 };
    settings(&store, JobSettings { rate, ..JobSettings::default() });
    assert_eq!(claim(&store, 9).len(), 1);
    assert!(claim(&store, 9).is_empty());
    store.pass(499);
    assert!(claim(&store, 9).is_empty());
    store.pass(1);
    assert_eq!(claim(&store, 9).len(), 1);
    settings(&store, JobSettings { max_waiting: 1, ..JobSettings::default() });
    submit(&store, "6");
    let refused = jobs(&store).submit("t", &NewJob::default(), None).unwrap_err();
    assert_eq!(refused.kind(), Kind::Full);
}

/// Finished jobs are kept for as long as their type says, each kind for itself, and then nothing is
/// left of them.
///
/// proves: J10
#[test]
fn finished_jobs_are_kept_for_a_while() {
    let store = Store::new();
    let kept = JobSettings {
        keep_completed_ms: 1_000,
        keep_failed_ms: 5_000,
        keep_cancelled_ms: 3_000,
        ..JobSettings::default()
    };
    settings(&store, kept);
    let unique = Some(Unique { key: "k", window_ms: 0 });
    let completed = submit_with(&store, NewJob { unique, ..NewJob::default() });
    let token = one(&store).token;
    let heartbeat = Heartbeat { progress: Some(b"50"), ..Heartbeat::default() };
    act(&store, token, Done::Heartbeat(heartbeat)).unwrap();
    assert_eq!(show(&store, completed).progress.unwrap().1, b"50");
    complete(&store, token).unwrap();
    let failed = submit_with(&store, NewJob { max_attempts: Some(1), ..NewJob::default() });
    fail(&store, one(&store).token).unwrap();
    let cancelled = submit(&store, "3");
    jobs(&store).cancel(cancelled, "", "me", None).unwrap();
    store.pass(999);
    assert_eq!(status(&store, completed), Status::Completed);
    store.pass(1);
    assert_eq!(jobs(&store).show(completed).unwrap_err().kind(), Kind::NotFound);
    let store = store.crash(2_000);
    store.pass(0);
    assert_eq!(jobs(&store).show(cancelled).unwrap_err().kind(), Kind::NotFound);
    assert_eq!(status(&store, failed), Status::Failed);
    store.pass(2_000);
    for keyspace in ["jobs", "job_outcomes", "job_progress", "job_unique", "attempts", "leases"] {
        assert_eq!(store.rows(keyspace), vec![], "{keyspace}");
    }
    assert_eq!(jobs(&store).counts(None).unwrap(), Default::default());
}

/// Pages over types, statuses, both directions: every job once, in the order of submission.
///
/// proves: J9
#[test]
fn lists_page_through_everything_once() {
    let store = Store::new();
    let mut ids = Vec::new();
    for number in 0..30 {
        let kind = ["a", "b", "c"][number % 3];
        ids.push(jobs(&store).submit(kind, &NewJob::default(), None).unwrap().value.id);
    }
    let request = ClaimRequest { types: &["b", "a"], max: 12, lease_ms: None, worker: "w" };
    let claimed = jobs(&store).claim(&request).unwrap().value;
    assert_eq!(claimed.iter().filter(|one| one.kind == "b").count(), 10);
    for one in claimed.iter().take(4) {
        complete(&store, one.token).unwrap();
    }
    let pages = |statuses: &[Status], kind: Option<&str>, newest_first: bool| {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let filter =
                JobFilter { kind, statuses, newest_first, after, limit: 7, ..JobFilter::default() };
            let page = jobs(&store).list(&filter).unwrap();
            found.extend(page.jobs.iter().map(|job| job.id));
            match page.next {
                Some(next) => after = Some(next),
                None => break found,
            }
        }
    };
    assert_eq!(pages(&[], None, false), ids);
    let newest: Vec<JobId> = ids.iter().rev().copied().collect();
    assert_eq!(pages(&[], None, true), newest);
    let of_b: Vec<JobId> = ids.iter().skip(1).step_by(3).copied().collect();
    assert_eq!(pages(&[], Some("b"), false), of_b);
    assert_eq!(pages(&[Status::Completed], None, false), of_b[..4]);
    assert_eq!(pages(&[Status::Completed, Status::Processing], Some("b"), false), of_b);
    assert_eq!(pages(&[Status::Failed], None, false), []);
    assert_eq!(pages(&[], Some("none"), false), []);
    assert_eq!(jobs(&store).counts(None).unwrap().pending, 18);
}

/// One effect for one identity, whatever is asked for again, also after a crash.
#[test]
fn repeated_requests_have_one_effect() {
    let store = Store::new();
    let identity = |sequence| Some(Identity { producer: [7; 16], sequence });
    let first = jobs(&store).submit("t", &NewJob::default(), identity(1)).unwrap();
    let token = one(&store).token;
    let done = [(token, Done::Complete(b"1"))];
    let completed = jobs(&store).done(&done, identity(2)).unwrap().value;
    let store = store.crash(0);
    let again = jobs(&store).submit("t", &NewJob::default(), identity(1)).unwrap();
    assert_eq!(again, first);
    assert_eq!(jobs(&store).done(&done, identity(2)).unwrap().value, completed);
    let other = [(token, Done::Complete(b"2"))];
    let refused = jobs(&store).done(&other, identity(2)).unwrap().value.remove(0);
    assert_eq!(refused.unwrap_err().kind(), Kind::Invalid);
    assert_eq!(jobs(&store).counts(None).unwrap().completed, 1);
}

/// A start keeps what is claimed, takes back what ran out, leaves alone what is finished, and makes
/// the rest deliverable; doing it twice changes nothing.
///
/// proves: J2, J3
/// produces: job-1, job-2, job-3, job-4
#[test]
fn a_start_settles_what_was_in_work() {
    let store = Store::new();
    let ids: Vec<JobId> = (0..5).map(|_| submit(&store, "1")).collect();
    complete(&store, one(&store).token).unwrap();
    let short = ClaimRequest { types: &["t"], max: 1, lease_ms: Some(1_000), worker: "w" };
    jobs(&store).claim(&short).unwrap();
    let kept = one(&store);
    let store = store.crash(10_000);
    let figures = ["claims_kept", "processing_recovered", "pending_re_enqueued", "finished"];
    assert_eq!(figures.map(|name| store.figure(name)), [1, 1, 2, 1]);
    assert!(store.actions().contains(&"job-2") && store.actions().contains(&"job-3"));
    let expected = [
        Status::Completed,
        Status::Scheduled,
        Status::Processing,
        Status::Pending,
        Status::Pending,
    ];
    assert_eq!(ids.iter().map(|id| status(&store, *id)).collect::<Vec<_>>(), expected);
    let store = store.crash(0);
    assert_eq!(store.figure("processing_recovered"), 0);
    complete(&store, kept.token).unwrap();
    store.pass(1_000);
    assert_eq!(claim(&store, 9).len(), 3);
}

/// 150 jobs through a window of 100: none is dropped, the order holds, each is handed out once, and
/// a window that stays full says so.
///
/// proves: J4
#[test]
fn a_backlog_larger_than_the_window_is_handed_out_in_order() {
    let store = Store::new();
    let ids: Vec<JobId> = (0..150).map(|_| submit(&store, "1")).collect();
    let store = store.crash_with_window(100);
    assert_eq!(store.figure("pending_re_enqueued"), 150);
    let mut claimed: Vec<JobId> = claim(&store, 1_000).iter().map(|one| one.id).collect();
    assert_eq!(claimed.len(), 100, "what is in the window");
    claimed.extend(claim(&store, 1_000).iter().map(|one| one.id));
    assert_eq!(claimed, ids);
    assert!(claim(&store, 1).is_empty());
}
