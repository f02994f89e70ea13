//! Random histories of jobs against a model that is built on the pure state machine: every change
//! that it allows happens, none that it forbids does, and a crash changes nothing of it.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rekindle_services::jobs::state::next;
use rekindle_services::jobs::{
    Change, ClaimRequest, Done, Failure, Heartbeat, JobCounts, JobFilter, JobId, JobSettings,
    NewJob, Status, When,
};
use rekindle_services::queues::Token;
use rekindle_services::{Error, Kind};

use crate::store::{START_MS, Store};

const LEASE_MS: u64 = 1_000;
const MAX_ATTEMPTS: u32 = 3;
const RETRY_MS: u64 = 700;

#[derive(Clone, Debug)]
enum Step {
    Submit { priority: i16, in_ms: u64 },
    Claim { max: usize },
    Complete { pick: usize },
    Fail { pick: usize, last: bool },
    Release { pick: usize },
    Heartbeat { pick: usize, by_ms: u64 },
    Cancel { pick: usize },
    Retry { pick: usize },
    Pass { ms: u64 },
    Crash { down_ms: u64 },
    Checkpoint,
}

#[derive(Clone, Debug)]
struct Modelled {
    priority: i16,
    status: Status,
    /// When its claim or its pause ends.
    until_ms: u64,
    attempts: u32,
    charged: u32,
    token: Option<Token>,
    ended: u32,
}

#[derive(Default)]
struct Model {
    now_ms: u64,
    jobs: BTreeMap<JobId, Modelled>,
    tokens: Vec<Token>,
}

impl Modelled {
    /// Only what the state machine allows.
    fn change(&mut self, change: Change) -> bool {
        let Some(to) = next(self.status, change) else { return false };
        if to.is_finished() {
            (self.token, self.ended) = (None, self.ended + 1);
        }
        self.status = to;
        true
    }

    fn settle(&mut self, charged: bool, pause_ms: u64, last: bool, now_ms: u64) {
        self.charged += u32::from(charged);
        let used_up = last || (charged && self.charged >= MAX_ATTEMPTS);
        let change = match (used_up, pause_ms) {
            (true, _) => Change::GaveUp,
            (false, 0) => Change::Returned,
            (false, _) => Change::PutOff,
        };
        self.until_ms = now_ms + pause_ms;
        assert!(self.change(change), "a claim can always be settled");
    }
}

impl Model {
    fn tick(&mut self) {
        for job in self.jobs.values_mut() {
            let due = job.until_ms <= self.now_ms;
            match job.status {
                Status::Scheduled if due => assert!(job.change(Change::Due)),
                // The back-off of this type is no pause at all.
                Status::Processing if due => job.settle(true, 0, false, self.now_ms),
                _ => {}
            }
        }
    }

    fn counts(&self) -> JobCounts {
        let mut counts = JobCounts::default();
        for job in self.jobs.values() {
            *match job.status {
                Status::Scheduled => &mut counts.scheduled,
                Status::Pending => &mut counts.pending,
                Status::Processing => &mut counts.processing,
                Status::Completed => &mut counts.completed,
                Status::Failed => &mut counts.failed,
                Status::Cancelled => &mut counts.cancelled,
                Status::NeedsReview => &mut counts.needs_review,
            } += 1;
        }
        counts
    }

    /// Whose turn it is.
    fn first(&self) -> Option<JobId> {
        let pending = self.jobs.iter().filter(|(_, job)| job.status == Status::Pending);
        pending.min_by_key(|(id, job)| (-i32::from(job.priority), **id)).map(|(id, _)| *id)
    }

    fn holder(&mut self, token: Token) -> Option<&mut Modelled> {
        self.jobs.values_mut().find(|job| job.token == Some(token))
    }

    fn id(&self, at: usize) -> Option<JobId> {
        self.jobs.keys().nth(at.checked_rem(self.jobs.len())?).copied()
    }

    fn token(&self, at: usize) -> Option<Token> {
        self.tokens.get(at.checked_rem(self.tokens.len())?).copied()
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let pick = || 0_usize..1_000;
    let ms = || prop_oneof![Just(0_u64), 1_u64..1_500];
    let step = prop_oneof![
        5 => (prop_oneof![2 => Just(0_i16), 1 => -2_i16..3], prop_oneof![3 => Just(0), 1 => ms()])
            .prop_map(|(priority, in_ms)| Step::Submit { priority, in_ms }),
        5 => (1_usize..4).prop_map(|max| Step::Claim { max }),
        3 => pick().prop_map(|pick| Step::Complete { pick }),
        3 => (pick(), prop::bool::weighted(0.2)).prop_map(|(pick, last)| Step::Fail { pick, last }),
        1 => pick().prop_map(|pick| Step::Release { pick }),
        2 => (pick(), 1_u64..2_000).prop_map(|(pick, by_ms)| Step::Heartbeat { pick, by_ms }),
        1 => pick().prop_map(|pick| Step::Cancel { pick }),
        2 => pick().prop_map(|pick| Step::Retry { pick }),
        3 => ms().prop_map(|ms| Step::Pass { ms }),
        1 => ms().prop_map(|down_ms| Step::Crash { down_ms }),
        1 => Just(Step::Checkpoint),
    ];
    proptest::collection::vec(step, 1..60)
}

fn submit(store: &Store, model: &mut Model, priority: i16, in_ms: u64) {
    let when = if in_ms == 0 { When::Now } else { When::In(in_ms) };
    let job = NewJob { priority, when, ..NewJob::default() };
    let id = store.services.jobs().submit("t", &job, None).unwrap().value.id;
    let status = if in_ms == 0 { Status::Pending } else { Status::Scheduled };
    let until_ms = model.now_ms + in_ms;
    let (attempts, charged, token, ended) = (0, 0, None, 0);
    let job = Modelled { priority, status, until_ms, attempts, charged, token, ended };
    model.jobs.insert(id, job);
}

fn claim(store: &Store, model: &mut Model, max: usize) {
    let pending = model.counts().pending;
    let request = ClaimRequest { types: &["t"], max, lease_ms: None, worker: "w" };
    let claimed = store.services.jobs().claim(&request).unwrap().value;
    assert_eq!(claimed.len() as u64, pending.min(max as u64), "all that is pending, up to {max}");
    for one in claimed {
        assert_eq!(model.first(), Some(one.id), "priority first, then age");
        let now_ms = model.now_ms;
        let job = model.jobs.get_mut(&one.id).unwrap();
        assert!(job.change(Change::Claimed));
        job.attempts += 1;
        (job.until_ms, job.token) = (now_ms + LEASE_MS, Some(one.token));
        assert_eq!((one.attempt, one.deadline_ms), (job.attempts, job.until_ms));
        assert!(!model.tokens.contains(&one.token), "each claim has a token of its own");
        model.tokens.push(one.token);
    }
}

/// What a worker asks for, and what should become of it.
fn work(store: &Store, model: &mut Model, at: usize, done: Done<'_>) {
    let Some(token) = model.token(at) else { return };
    let result = store.services.jobs().done(&[(token, done)], None).unwrap().value.remove(0);
    let result = result.map(|changed| changed.status);
    let now_ms = model.now_ms;
    let Some(job) = model.holder(token) else {
        assert_eq!(result.unwrap_err().kind(), Kind::Fenced);
        return;
    };
    let in_work = job.status == Status::Processing;
    match done {
        Done::Complete(_) => assert!(job.change(Change::Completed)),
        Done::Heartbeat(heartbeat) => {
            assert!(job.change(Change::Heartbeat));
            job.until_ms = now_ms + heartbeat.by_ms.unwrap();
        }
        Done::Fail(failure) if in_work => job.settle(true, RETRY_MS, failure.last, now_ms),
        Done::Release(_) if in_work => job.settle(false, 0, false, now_ms),
        // It is back already.
        Done::Fail(_) | Done::Release(_) => {}
        Done::Hold(_) | Done::Stop(_) | Done::Died(_) | Done::WorkerDied(_) => {
            unreachable!("no executor of this model is inside")
        }
    }
    assert_eq!(result.unwrap(), job.status);
}

fn alter(store: &Store, model: &mut Model, at: usize, change: Change) {
    let Some(id) = model.id(at) else { return };
    let jobs = store.services.jobs();
    let done: Result<Status, Error> = match change {
        Change::Cancelled => jobs.cancel(id, "", "me", None).map(|it| it.value.status),
        _ => jobs.retry(id, "me", None).map(|it| it.value.status),
    };
    let job = model.jobs.get_mut(&id).unwrap();
    if job.change(change) {
        if change == Change::Retried {
            (job.charged, job.until_ms) = (0, 0);
        }
        assert_eq!(done.unwrap(), job.status);
    } else {
        assert_eq!(done.unwrap_err().kind(), Kind::Conflict);
    }
}

/// The store says what the model says, of each job, and has no row of nothing.
fn compare(store: &Store, model: &Model) {
    let jobs = store.services.jobs();
    assert_eq!(jobs.counts(Some("t")).unwrap(), model.counts());
    let page = jobs.list(&JobFilter::default()).unwrap();
    assert_eq!(page.jobs.len(), model.jobs.len());
    for (info, (id, job)) in page.jobs.iter().zip(&model.jobs) {
        assert_eq!((info.id, info.status), (*id, job.status));
        assert_eq!((info.attempts, info.charged), (job.attempts, job.charged), "{info:?}");
        let events = jobs.show(*id).unwrap().events;
        let ends = ["completed", "failed", "cancelled"];
        let ended = events.iter().filter(|event| ends.contains(&event.event)).count();
        assert_eq!(ended, usize::from(job.status.is_finished()), "one end, {events:?}");
    }
    let processing = model.counts().processing as usize;
    assert_eq!(store.rows("leases").len(), processing);
    assert_eq!(store.rows("lease_expiry").len(), processing);
}

fn run(mut store: Store, steps: Vec<Step>) {
    let backoff = rekindle_services::claims::Backoff { base_ms: 0, max_ms: 0 };
    let settings = JobSettings {
        lease_ms: LEASE_MS,
        max_attempts: MAX_ATTEMPTS,
        backoff,
        ..JobSettings::default()
    };
    store.services.jobs().set_type("t", &settings, "test", None).unwrap();
    let mut model = Model { now_ms: START_MS, ..Model::default() };
    for step in steps {
        match step {
            Step::Submit { priority, in_ms } => submit(&store, &mut model, priority, in_ms),
            Step::Claim { max } => claim(&store, &mut model, max),
            Step::Complete { pick } => work(&store, &mut model, pick, Done::Complete(b"1")),
            Step::Fail { pick, last } => {
                let retry_in_ms = Some(RETRY_MS);
                let failure = Failure { error: "no", retry_in_ms, last };
                work(&store, &mut model, pick, Done::Fail(failure));
            }
            Step::Release { pick } => work(&store, &mut model, pick, Done::Release("")),
            Step::Heartbeat { pick, by_ms } => {
                let heartbeat = Heartbeat { by_ms: Some(by_ms), progress: None };
                work(&store, &mut model, pick, Done::Heartbeat(heartbeat));
            }
            Step::Cancel { pick } => alter(&store, &mut model, pick, Change::Cancelled),
            Step::Retry { pick } => alter(&store, &mut model, pick, Change::Retried),
            Step::Pass { ms } => {
                model.now_ms += ms;
                store.pass(ms);
                model.tick();
            }
            Step::Crash { down_ms } => {
                model.now_ms += down_ms;
                store = store.crash_somewhere(down_ms);
                model.tick();
                assert!(store.findings().is_empty(), "{:?}", store.findings());
            }
            Step::Checkpoint => store.database.checkpoint().unwrap(),
        }
        compare(&store, &model);
    }
    // And once more: recovering what was recovered changes nothing.
    let store = store.crash(0);
    let hash = store.database.state_hash();
    let store = store.crash(0);
    assert_eq!(store.database.state_hash(), hash);
    assert_eq!(store.figure("processing_recovered"), 0);
    compare(&store, &model);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    /// proves: J1, J2, J3, J7
    /// fault: S2, T4, T7
    #[test]
    fn every_job_stands_where_the_state_machine_says(steps in steps()) {
        run(Store::new(), steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    /// On the engine in files, where a start takes up the index of the run before. (A debug build
    /// holds it against all rows.)
    ///
    /// proves: J1, J2, J3, J7
    /// fault: S2, T4, T7
    #[test]
    fn every_job_stands_where_the_state_machine_says_in_files(steps in steps()) {
        run(Store::in_files(), steps);
    }
}
