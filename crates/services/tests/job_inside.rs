//! Jobs that executors inside the server work on: what a crash leaves of their claims, by evidence.

use std::future::ready;
use std::pin::pin;

use rekindle_services::claims::{Backoff, Trace, Traces};
use rekindle_services::jobs::{
    ClaimRequest, Claimed, Done, Failure, Heartbeat, JobDetail, JobId, JobSettings, NewJob, Status,
};
use rekindle_services::queues::Token;
use rekindle_services::{Error, Jobs, Kind};

use crate::store::Store;
use crate::waiting::finish;

fn jobs(store: &Store) -> &Jobs {
    store.services.jobs()
}

/// Jobs of a type whose attempts follow each other without a pause.
fn submit(store: &Store, count: usize) -> Vec<JobId> {
    let settings = JobSettings {
        backoff: Backoff { base_ms: 0, max_ms: 0 },
        max_attempts: 10,
        ..JobSettings::default()
    };
    jobs(store).set_type("t", &settings, "test", None).unwrap();
    let submit = |_| jobs(store).submit("t", &NewJob::default(), None).unwrap().value.id;
    (0..count).map(submit).collect()
}

fn request(worker: &str) -> ClaimRequest<'_> {
    ClaimRequest { types: &["t"], max: 1, lease_ms: None, worker }
}

fn inside(store: &Store) -> Claimed {
    let request = request("command");
    let claim = pin!(jobs(store).claim_inside(&request, ready(())));
    finish(claim, store).unwrap().value.remove(0)
}

fn act(store: &Store, token: Token, done: Done<'_>) -> Result<Status, Error> {
    let mut results = jobs(store).done(&[(token, done)], None).unwrap().value;
    results.remove(0).map(|changed| changed.status)
}

fn show(store: &Store, id: JobId) -> JobDetail {
    jobs(store).show(id).unwrap()
}

fn causes(store: &Store, id: JobId) -> Vec<String> {
    let events = show(store, id).events;
    events.iter().filter(|one| !one.cause.is_empty()).map(|one| one.cause.to_owned()).collect()
}

/// What nobody knows anything of died with the server, whatever its deadline says; what was never
/// begun costs nothing; what goes on is processed on, under the same token and attempt.
///
/// proves: J2, J7
#[test]
fn evidence_decides_what_becomes_of_a_claim() {
    let store = Store::new();
    let ids = submit(&store, 4);
    let [died, unbegun, survives] = [0; 3].map(|_| inside(&store));
    let outside = jobs(&store).claim(&request("worker")).unwrap().value.remove(0);
    let traces = Traces::from([
        (unbegun.token, Trace::Unbegun),
        (survives.token, Trace::Survives),
        // Nobody outside is judged by what lies on this machine.
        (outside.token, Trace::Unbegun),
    ]);
    let store = store.crash_with_traces(traces);
    let statuses = ids.iter().map(|id| show(&store, *id).info.status);
    let [pending, processing] = [Status::Pending, Status::Processing];
    assert_eq!(statuses.collect::<Vec<_>>(), [pending, pending, processing, processing]);
    assert_eq!(causes(&store, ids[0]), ["server_crash"]);
    assert_eq!(causes(&store, ids[1]), ["released"]);
    assert!(causes(&store, ids[2]).is_empty());
    assert_eq!(act(&store, died.token, Done::Complete(b"")).unwrap(), Status::Completed, "late");
    let figures = ["claims_kept", "claims_resumed", "processing_recovered"];
    assert_eq!(figures.map(|name| store.figure(name)), [1, 1, 2]);
    for label in ["job-2", "claim-5", "claim-7", "claim-11"] {
        assert!(store.actions().contains(&label), "{label}: {:?}", store.actions());
    }
    assert_eq!(show(&store, ids[2]).info.attempts, 1);
    assert_eq!(act(&store, survives.token, Done::Complete(b"1")).unwrap(), Status::Completed);
    assert_eq!(act(&store, outside.token, Done::Complete(b"1")).unwrap(), Status::Completed);
}

/// A claim that goes on belongs to the new run, which has its whole time, however long the server
/// was down; the next crash asks for evidence again.
#[test]
fn what_goes_on_is_taken_over_whatever_its_deadline_says() {
    let store = Store::new();
    let id = submit(&store, 1)[0];
    let claimed = inside(&store);
    store.clock.advance_ms(claimed.lease_ms * 3);
    let traces = Traces::from([(claimed.token, Trace::Survives)]);
    let store = store.crash_with_traces(traces.clone());
    assert_eq!(show(&store, id).info.status, Status::Processing);
    store.pass(claimed.lease_ms - 1);
    assert_eq!(show(&store, id).info.status, Status::Processing);
    let heartbeat = Done::Heartbeat(Heartbeat::default());
    assert_eq!(act(&store, claimed.token, heartbeat).unwrap(), Status::Processing);
    let store = store.crash_with_traces(traces);
    assert_eq!(show(&store, id).info.status, Status::Processing);
    assert_eq!(store.figure("claims_resumed"), 1);
    let store = store.crash_with_traces(Traces::new());
    assert_eq!(causes(&store, id), ["server_crash"]);
}

/// The deadline of an executor that lives counts like everybody's.
#[test]
fn an_executor_that_is_silent_loses_its_claim() {
    let store = Store::new();
    let id = submit(&store, 1)[0];
    let claimed = inside(&store);
    store.pass(claimed.lease_ms);
    assert_eq!(causes(&store, id), ["lease_expired"]);
    let other = inside(&store);
    let late = act(&store, claimed.token, Done::Complete(b"")).unwrap_err();
    assert_eq!(late.kind(), Kind::Fenced);
    assert_eq!(act(&store, other.token, Done::Complete(b"")).unwrap(), Status::Completed);
}

/// The third crash in a row goes to a person, although the budget is larger; a failure in between
/// begins anew, and an executor can say of a command that a server died with it.
///
/// proves: J7
#[test]
fn what_kills_the_server_is_served_three_times() {
    let mut store = Store::new();
    let id = submit(&store, 1)[0];
    for _ in 0..2 {
        inside(&store);
        store = store.crash_with_traces(Traces::new());
        assert_eq!(show(&store, id).info.status, Status::Pending);
    }
    let third = inside(&store);
    let died = act(&store, third.token, Done::Died("it ended when the server did"));
    assert_eq!(died.unwrap(), Status::NeedsReview);
    assert_eq!(causes(&store, id), ["server_crash"; 3]);
    let store = store.crash_with_traces(Traces::new());
    assert_eq!(show(&store, id).info.status, Status::NeedsReview);
}

/// An end in order costs nobody anything: what an executor gives back, and what it could not.
///
/// fault: T7
#[test]
fn a_shutdown_is_never_charged() {
    let store = Store::new();
    let ids = submit(&store, 2);
    let [told, _untold] = [0; 2].map(|_| inside(&store));
    assert_eq!(act(&store, told.token, Done::Stop("the server ends")).unwrap(), Status::Pending);
    let store = store.restart();
    for id in ids {
        assert_eq!(causes(&store, id), ["shutdown"]);
        assert_eq!(show(&store, id).info.charged, 0);
    }
    assert!(store.actions().contains(&"claim-6"));
}

/// Nobody outside is charged for a crash of the server, and says nothing about its end.
#[test]
fn words_of_executors_mean_nothing_from_outside() {
    let store = Store::new();
    let ids = submit(&store, 2);
    let stop = jobs(&store).claim(&request("w")).unwrap().value.remove(0);
    assert_eq!(act(&store, stop.token, Done::Stop("")).unwrap(), Status::Processing);
    let died = jobs(&store).claim(&request("w")).unwrap().value.remove(0);
    assert_eq!(act(&store, died.token, Done::Died("")).unwrap(), Status::Pending);
    assert_eq!(causes(&store, ids[1]), ["worker_crash"]);
    let failed = Done::Fail(Failure { error: "no", ..Failure::default() });
    assert_eq!(act(&store, stop.token, failed).unwrap(), Status::Pending);
}

/// An executor that was late takes its job up again as what it is: the next crash is charged.
///
/// proves: J7
#[test]
fn a_late_executor_stays_one() {
    let store = Store::new();
    let id = submit(&store, 1)[0];
    let claimed = inside(&store);
    store.pass(claimed.lease_ms);
    assert_eq!(show(&store, id).info.status, Status::Pending);
    let hold = Done::Hold(claimed.lease_ms);
    assert_eq!(act(&store, claimed.token, hold).unwrap(), Status::Processing);
    let store = store.crash_with_traces(Traces::new());
    assert_eq!(causes(&store, id), ["lease_expired", "server_crash"]);
}
