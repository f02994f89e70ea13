//! Who works: the claims of a moment by the names of their holders, and what is not looked at.

use rekindle_services::Jobs;
use rekindle_services::jobs::{ClaimRequest, Done, NewJob, Workers};
use rekindle_services::limits::{RECEIVE_MESSAGES_MAX, WORKERS_CLAIMS_MAX};
use rekindle_services::queues::Token;

use crate::store::Store;

fn jobs(store: &Store) -> &Jobs {
    store.services.jobs()
}

fn submit(store: &Store, kind: &str, count: usize) {
    for _ in 0..count {
        jobs(store).submit(kind, &NewJob::default(), None).unwrap();
    }
}

fn claim(store: &Store, kind: &str, worker: &str, max: usize, lease_ms: u64) -> Vec<Token> {
    let request = ClaimRequest { types: &[kind], max, lease_ms: Some(lease_ms), worker };
    let claimed = jobs(store).claim(&request).unwrap().value;
    claimed.iter().map(|job| job.token).collect()
}

/// Name, jobs, types, oldest claim and next deadline of each.
fn told(workers: &Workers) -> Vec<(String, u64, String, u64, u64)> {
    let one = |worker: &rekindle_services::jobs::WorkerInfo| {
        let types: Vec<String> =
            worker.types.iter().map(|(name, jobs)| format!("{name} {jobs}")).collect();
        let (name, types) = (worker.name.clone(), types.join(", "));
        (name, worker.jobs(), types, worker.oldest_ms, worker.deadline_ms)
    };
    workers.workers.iter().map(one).collect()
}

/// A worker is there from its first claim to the end of its last, also across a crash.
#[test]
fn workers_are_who_holds_claims() {
    let store = Store::new();
    assert_eq!(jobs(&store).workers().unwrap(), Workers::default());
    submit(&store, "mail", 3);
    submit(&store, "report", 1);
    let began_ms = store.database.log_time_ms();
    let first = claim(&store, "mail", "ada", 2, 60_000);
    store.pass(1_000);
    claim(&store, "report", "ada", 1, 30_000);
    claim(&store, "mail", "", 1, 90_000);
    let now_ms = store.database.log_time_ms();
    let all = jobs(&store).workers().unwrap();
    let ada = ("ada".to_owned(), 3, "mail 2, report 1".to_owned(), began_ms, now_ms + 30_000);
    let nameless = (String::new(), 1, "mail 1".to_owned(), now_ms, now_ms + 90_000);
    assert_eq!(told(&all), [nameless, ada.clone()]);
    assert_eq!((all.looked_at, all.more), (4, false));
    let done: Vec<_> = first.iter().map(|token| (*token, Done::Complete(b"1"))).collect();
    jobs(&store).done(&done, None).unwrap();
    let store = store.crash(0);
    let all = jobs(&store).workers().unwrap();
    let (_, count, types, ..) = told(&all).remove(1);
    assert_eq!((count, types.as_str(), all.looked_at), (1, "report 1", 2));
}

/// What is not looked at is told.
#[test]
fn workers_are_derived_from_so_many_claims() {
    let store = Store::new();
    submit(&store, "mail", WORKERS_CLAIMS_MAX);
    let mut left = WORKERS_CLAIMS_MAX;
    while left > 0 {
        let claimed = claim(&store, "mail", "ada", left.min(RECEIVE_MESSAGES_MAX), 60_000).len();
        assert!(claimed > 0);
        left -= claimed;
    }
    assert!(!jobs(&store).workers().unwrap().more, "exactly as many as are looked at");
    submit(&store, "report", 1);
    claim(&store, "report", "bob", 1, 60_000);
    let all = jobs(&store).workers().unwrap();
    assert!(all.more);
    assert_eq!(all.looked_at, WORKERS_CLAIMS_MAX as u64);
    assert_eq!(told(&all).len(), 1, "whoever has only claims that were not looked at is not told");
}

/// A glance says what a list says.
#[test]
fn a_glance_is_a_line_of_a_list() {
    let store = Store::new();
    submit(&store, "mail", 1);
    let listed = jobs(&store).list(&rekindle_services::jobs::JobFilter::default()).unwrap();
    assert_eq!(jobs(&store).glance(listed.jobs[0].id).unwrap(), listed.jobs[0]);
}
