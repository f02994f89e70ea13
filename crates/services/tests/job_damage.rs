//! Rows of jobs that recovery cannot trust: told, left, not served, decided by a person; nothing
//! else stops.

use rekindle_services::Kind;
use rekindle_services::jobs::{ClaimRequest, JobId, NewJob, Status};
use rekindle_services::keys::{lease_expiry, queue, subject};
use rekindle_services::queues::{Decision, ReviewId};

use crate::store::Store;

/// Three jobs, the first of them claimed.
fn three() -> (Store, Vec<JobId>) {
    let store = Store::new();
    let submit = |_| store.services.jobs().submit("t", &NewJob::default(), None).unwrap().value.id;
    let ids: Vec<JobId> = (0..3).map(submit).collect();
    assert_eq!(claim(&store, 1), [ids[0]]);
    (store, ids)
}

fn claim(store: &Store, max: usize) -> Vec<JobId> {
    let request = ClaimRequest { types: &["t"], max, lease_ms: None, worker: "w" };
    let claimed = store.services.jobs().claim(&request).unwrap().value;
    claimed.iter().map(|one| one.id).collect()
}

fn status(store: &Store, id: JobId) -> Result<Status, Kind> {
    let shown = store.services.jobs().show(id);
    shown.map(|job| job.info.status).map_err(|error| error.kind())
}

fn decide(store: &Store, id: JobId, decision: Decision) -> Result<String, Kind> {
    let decided = store.services.reviews().decide(ReviewId::Work(id), decision, "seen", "ada");
    decided.map(|done| done.value.result).map_err(|error| error.kind())
}

/// Which decisions its review allows.
fn allowed(store: &Store, id: JobId) -> Vec<Decision> {
    let (item, evidence) = store.services.reviews().show(ReviewId::Work(id)).unwrap();
    assert!(!evidence.rows.is_empty());
    assert_eq!(item.queue, None);
    item.decisions
}

/// proves: J6
/// produces: job-8
#[test]
fn a_job_that_cannot_be_read_stops_nothing_else() {
    let (store, ids) = three();
    store.put("jobs", &subject::encode(ids[1]), b"\xFFdamaged");
    let store = store.crash(0);
    assert_eq!(store.findings(), ["job-8"]);
    assert_eq!(status(&store, ids[1]), Ok(Status::NeedsReview));
    assert_eq!(claim(&store, 9), [ids[2]]);
    assert_eq!(allowed(&store, ids[1]), [Decision::Approve]);
    assert_eq!(decide(&store, ids[1], Decision::Fail), Err(Kind::Conflict));
    decide(&store, ids[1], Decision::Approve).unwrap();
    assert_eq!(status(&store, ids[1]), Err(Kind::NotFound));
    let store = store.crash(0);
    assert!(store.findings().is_empty());
}

/// It is met while serving, too.
///
/// proves: J6
#[test]
fn a_job_that_is_damaged_while_serving_is_set_aside() {
    let (store, ids) = three();
    let store = store.crash(0);
    let mut damaged = store.rows("jobs").remove(1).1;
    damaged[1] = 0xF0;
    let keyspace = store.keyspace("jobs");
    let mut txn = store.database.begin();
    txn.put(keyspace, &subject::encode(ids[1]), &damaged);
    txn.commit().unwrap();
    assert_eq!(claim(&store, 9), [ids[2]]);
    let figures = store.services.reviews().figures();
    assert_eq!(figures.count, 1);
    assert_eq!(allowed(&store, ids[1]), [Decision::Approve]);
}

/// Its attempts could not be read when somebody wanted it, and they can be now.
///
/// produces: job-13
#[test]
fn a_job_that_is_whole_again_waits_for_a_person() {
    let (store, ids) = three();
    store.pass(60_000);
    store.pass(1_000);
    let key = subject::encode(ids[0]);
    let whole = store.rows("attempts").remove(0).1;
    store.put("attempts", &key, b"?");
    assert_eq!(claim(&store, 9), [ids[1], ids[2]]);
    store.put("attempts", &key, &whole);
    let (item, _) = store.services.reviews().show(ReviewId::Work(ids[0])).unwrap();
    assert_eq!(item.label, "job-13");
    decide(&store, ids[0], Decision::Retry).unwrap();
    assert_eq!(claim(&store, 9), [ids[0]]);
}

/// produces: job-9
#[test]
fn a_claim_or_an_end_that_cannot_be_read_waits_for_a_person() {
    for keyspace in ["leases", "attempts", "job_outcomes"] {
        let (store, ids) = three();
        store.put(keyspace, &subject::encode(ids[0]), b"?");
        let store = store.crash(60_000);
        assert_eq!(store.findings(), ["job-9"], "{keyspace}");
        assert_eq!(claim(&store, 9), [ids[1], ids[2]]);
        assert_eq!(allowed(&store, ids[0]), [Decision::Retry, Decision::Fail], "{keyspace}");
        decide(&store, ids[0], Decision::Retry).unwrap();
        assert_eq!(claim(&store, 9), [ids[0]], "{keyspace}");
        let store = store.crash(0);
        assert!(store.findings().is_empty(), "{keyspace}");
    }
}

/// A finished job that somebody holds a claim on: the two do not go together.
///
/// produces: job-9
#[test]
fn an_end_beside_a_claim_waits_for_a_person() {
    let (store, ids) = three();
    let cancelled = store.services.jobs().cancel(ids[1], "", "me", None);
    cancelled.unwrap();
    let end = store.rows("job_outcomes").remove(0).1;
    store.put("job_outcomes", &subject::encode(ids[0]), &end);
    let store = store.crash(0);
    assert_eq!(store.findings(), ["job-9"]);
    decide(&store, ids[0], Decision::Fail).unwrap();
    assert_eq!(status(&store, ids[0]), Ok(Status::Failed));
    let store = store.crash(0);
    assert!(store.findings().is_empty());
    assert!(store.rows("leases").is_empty() && store.rows("lease_expiry").is_empty());
}

/// produces: job-7
#[test]
fn a_claim_of_no_job_is_told_and_removed_by_a_person() {
    let (store, ids) = three();
    store.remove("jobs", &subject::encode(ids[0]));
    let store = store.crash(60_000);
    assert_eq!(store.findings(), ["job-7"]);
    assert_eq!(allowed(&store, ids[0]), [Decision::Approve]);
    decide(&store, ids[0], Decision::Approve).unwrap();
    let store = store.crash(0);
    assert!(store.findings().is_empty());
    assert!(store.rows("leases").is_empty() && store.rows("lease_expiry").is_empty());
}

/// A type whose settings are gone or damaged: its jobs stay, and are served again once it is back.
///
/// produces: job-10, job-12
#[test]
fn jobs_without_a_type_stay() {
    let (store, ids) = three();
    let settings = store.rows("job_types").remove(0);
    store.put("job_types", &settings.0, b"\xFF");
    let store = store.crash(0);
    let mut found = store.findings();
    found.sort_unstable();
    assert_eq!(found, ["job-10", "job-10", "job-10", "job-12"]);
    assert_eq!(store.services.reviews().figures().count, 4);
    assert_eq!(claim(&store, 9), []);
    let refused = store.services.jobs().submit("t", &NewJob::default(), None);
    assert_eq!(refused.unwrap_err().kind(), Kind::Corrupt);
    store.put("job_types", &settings.0, &settings.1);
    let store = store.crash(0);
    assert_eq!(claim(&store, 9), [ids[1], ids[2]]);
    assert_eq!(status(&store, ids[0]), Ok(Status::Processing));
}

/// produces: job-11
#[test]
fn a_key_of_no_job_is_told() {
    let (store, ids) = three();
    store.put("jobs", b"short", b"?");
    store.put("job_outcomes", &[7; 20], b"?");
    let store = store.crash(0);
    assert_eq!(store.findings(), ["job-11", "job-11"]);
    assert_eq!(claim(&store, 9), [ids[1], ids[2]]);
    let (items, _) = store.services.reviews().list(None, 9).unwrap();
    for item in items {
        let done = store.services.reviews().decide(item.id, Decision::Approve, "seen", "ada");
        done.unwrap();
    }
    let store = store.crash(0);
    assert!(store.findings().is_empty());
}

/// produces: job-5, job-6
#[test]
fn the_index_by_time_is_made_again_from_the_claims() {
    let (store, ids) = three();
    for (key, _) in store.rows("lease_expiry") {
        store.remove("lease_expiry", &key);
    }
    for id in [ids[0], ids[1]] {
        let wrong = lease_expiry::LeaseExpiry { deadline_ms: 5, subject: id };
        store.put("lease_expiry", &lease_expiry::encode(wrong), b"");
    }
    let store = store.crash(0);
    assert!(store.actions().contains(&"job-5") && store.actions().contains(&"job-6"));
    assert_eq!(store.rows("lease_expiry").len(), 1);
    assert_eq!(store.pass(60_000).reclaimed, 1);
    assert!(queue::is_name("t"));
}
