//! Jumps of the wall clock under jobs and schedules: an hour and ten years, forwards and back,
//! while the server runs and while it is down.
//!
//! Claims and pauses follow log time, which does not jump; what is to run at a time, and what fires
//! by the clock, follows the wall clock, and is done once.

use std::sync::Arc;

use rekindle_env::{Clock as _, ManualClock};
use rekindle_services::jobs::{
    ClaimRequest, Claimed, Done, Failure, JobFilter, JobId, NewJob, Status, When,
};
use rekindle_services::queues::Token;
use rekindle_services::schedules::{Missed, NewSchedule};

use crate::store::{Store, disk};

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;
const YEARS: u64 = 3_652 * DAY;
/// A day in 2026, at midnight: far enough from 1970 to go back ten years.
const BEGIN_MS: u64 = 20_700 * DAY;
/// The lease of a type that nobody set.
const LEASE_MS: u64 = 60_000;
/// Log time follows the wall clock by a thousandth.
const SLEW_MS: u64 = LEASE_MS / 1_000 + 1;

/// A jump of the wall clock.
#[derive(Clone, Copy, Debug)]
enum Jump {
    Forward(u64),
    Back(u64),
}

const JUMPS: [Jump; 4] =
    [Jump::Forward(HOUR), Jump::Forward(YEARS), Jump::Back(HOUR), Jump::Back(YEARS)];

impl Jump {
    fn make(self, store: &Store) {
        let wall_ms = store.clock.wall_ms();
        store.clock.set_wall_ms(match self {
            Self::Forward(ms) => wall_ms + ms,
            Self::Back(ms) => wall_ms - ms,
        });
    }

    fn undo(self, store: &Store) {
        match self {
            Self::Forward(ms) => Self::Back(ms).make(store),
            Self::Back(ms) => Self::Forward(ms).make(store),
        }
    }
}

fn store() -> Store {
    Store::on(disk(1), Arc::new(ManualClock::new(BEGIN_MS)))
}

fn submit(store: &Store, when: When) -> JobId {
    let job = NewJob { when, ..NewJob::default() };
    store.services.jobs().submit("t", &job, None).unwrap().value.id
}

fn claim(store: &Store) -> Vec<Claimed> {
    let request = ClaimRequest { types: &["t"], max: 9, lease_ms: None, worker: "w" };
    store.services.jobs().claim(&request).unwrap().value
}

fn act(store: &Store, token: Token, done: Done<'_>) -> Status {
    let mut results = store.services.jobs().done(&[(token, done)], None).unwrap().value;
    results.remove(0).unwrap().status
}

fn status(store: &Store, id: JobId) -> Status {
    store.services.jobs().show(id).unwrap().info.status
}

/// No claim runs out early, none lives longer than it may.
///
/// fault: T1, T2
#[test]
fn claims_do_not_follow_the_wall_clock() {
    for jump in JUMPS {
        let store = store();
        let id = submit(&store, When::Now);
        let token = claim(&store)[0].token;
        jump.make(&store);
        assert_eq!(store.pass(LEASE_MS - SLEW_MS).reclaimed, 0, "{jump:?}");
        assert_eq!(status(&store, id), Status::Processing, "{jump:?}");
        jump.undo(&store);
        assert_eq!(store.pass(2 * SLEW_MS).reclaimed, 1, "{jump:?}");
        assert_eq!(status(&store, id), Status::Scheduled, "{jump:?}: it pauses");
        // The pause does not follow it either.
        jump.make(&store);
        store.pass(499);
        assert!(claim(&store).is_empty(), "{jump:?}: half of a second at least");
        store.pass(502);
        let again = claim(&store);
        assert_eq!(again.len(), 1, "{jump:?}");
        assert_ne!(again[0].token, token);
    }
}

/// The pause after a failure is as long as it was said to be.
///
/// fault: T1, T2
#[test]
fn pauses_do_not_follow_the_wall_clock() {
    for jump in JUMPS {
        let store = store();
        let id = submit(&store, When::Now);
        let failure = Failure { retry_in_ms: Some(HOUR), ..Failure::default() };
        assert_eq!(act(&store, claim(&store)[0].token, Done::Fail(failure)), Status::Scheduled);
        jump.make(&store);
        store.pass(HOUR - HOUR / 900);
        assert!(claim(&store).is_empty(), "{jump:?}");
        store.pass(2 * HOUR / 900);
        assert_eq!(claim(&store)[0].id, id, "{jump:?}");
    }
}

/// While the server was down: time that passed counts, time that went back does not, and no claim
/// is longer than it was and once more.
///
/// fault: T1, T2, T3
#[test]
fn claims_over_a_restart_end_once() {
    for jump in JUMPS {
        let store = store();
        let id = submit(&store, When::Now);
        let late = claim(&store)[0].token;
        store.pass(LEASE_MS / 2);
        jump.make(&store);
        let store = store.crash(0);
        if matches!(jump, Jump::Forward(_)) {
            assert_eq!(store.figure("processing_recovered"), 1, "{jump:?}");
        } else {
            assert_eq!(store.figure("claims_kept"), 1, "{jump:?}");
            // What was not written down is not known to have passed: once more at most.
            assert_eq!(store.pass(LEASE_MS / 2 - SLEW_MS).reclaimed, 0, "{jump:?}");
            assert_eq!(store.pass(LEASE_MS / 2 + 2 * SLEW_MS).reclaimed, 1, "{jump:?}");
        }
        assert_eq!(status(&store, id), Status::Scheduled, "{jump:?}");
        store.pass(1_100);
        let current = claim(&store)[0].token;
        let done = [(late, Done::Complete(b"late"))];
        let refused = store.services.jobs().done(&done, None).unwrap().value.remove(0);
        assert_eq!(refused.unwrap_err().kind(), rekindle_services::Kind::Fenced, "{jump:?}");
        assert_eq!(act(&store, current, Done::Complete(b"1")), Status::Completed);
    }
}

/// What is to run at a time or after one runs early at most by the jump, and once, whatever the
/// clock does next; back, it waits until its time is there.
///
/// fault: T1, T2
#[test]
fn delayed_jobs_run_once_and_early_at_most_by_the_jump() {
    for (when, jump_ms) in [
        (When::In(2 * HOUR), HOUR),
        (When::At(BEGIN_MS + 2 * HOUR), HOUR),
        (When::In(YEARS + HOUR), YEARS),
    ] {
        let store = store();
        let id = match when {
            // A delay has a bound; a time has none.
            When::In(ms) if ms > 366 * DAY => submit(&store, When::At(BEGIN_MS + ms)),
            when => submit(&store, when),
        };
        Jump::Forward(jump_ms).make(&store);
        store.pass(HOUR - 1);
        assert!(claim(&store).is_empty(), "{when:?}: earlier than by the jump");
        store.pass(1);
        let claimed = claim(&store);
        assert_eq!(claimed.len(), 1, "{when:?}");
        assert_eq!((claimed[0].id, claimed[0].attempt), (id, 1));
        Jump::Back(jump_ms + HOUR).make(&store);
        assert!(claim(&store).is_empty(), "{when:?}");
        let store = store.crash(0);
        assert_eq!(status(&store, id), Status::Processing, "{when:?}");
        assert_eq!(act(&store, claimed[0].token, Done::Complete(b"1")), Status::Completed);
        let page = store.services.jobs().list(&JobFilter::default()).unwrap();
        assert_eq!(page.jobs.len(), 1);
        store.pass(jump_ms + 3 * HOUR);
        assert!(claim(&store).is_empty(), "{when:?}: not again");
    }
    for jump_ms in [HOUR, YEARS] {
        let store = store();
        let id = submit(&store, When::In(10_000));
        Jump::Back(jump_ms).make(&store);
        let store = store.crash(0);
        store.pass(10_000);
        assert!(claim(&store).is_empty(), "the wall clock says that it is early");
        store.pass(jump_ms - 1);
        assert!(claim(&store).is_empty());
        store.pass(1);
        assert_eq!(claim(&store).iter().map(|one| one.id).collect::<Vec<_>>(), [id]);
        assert!(claim(&store).is_empty());
    }
}

/// Ids rise over every jump, also while the server is down: none is given twice.
///
/// fault: T1, T2
#[test]
fn no_id_comes_twice() {
    let mut store = store();
    let mut ids = vec![submit(&store, When::Now)];
    for jump in JUMPS.into_iter().chain([Jump::Back(HOUR)]) {
        jump.make(&store);
        ids.push(submit(&store, When::Now));
        store = store.crash(0);
        ids.push(submit(&store, When::Now));
    }
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "{ids:?}");
    assert_eq!(claim(&store).iter().map(|one| one.id).collect::<Vec<_>>(), ids[..9]);
}

/// For which times jobs were made.
fn times(store: &Store) -> Vec<u64> {
    let (mut times, mut after) = (vec![], None);
    loop {
        let filter = JobFilter { after, limit: 1_000, ..JobFilter::default() };
        let page = store.services.jobs().list(&filter).unwrap();
        times.extend(page.jobs.iter().map(|job| job.schedule.clone().unwrap().1));
        match page.next {
            Some(next) => after = Some(next),
            None => return times,
        }
    }
}

/// Ticks until nothing is due, as the server does.
fn settle(store: &Store) {
    while store.pass(0).next_in_ms == 0 {}
}

/// A jump forwards is downtime: one for all times, each of them, or none; back again nothing fires
/// a second time, until the clock is where it was.
///
/// fault: T1, T2
#[test]
fn schedules_fire_each_time_once_over_jumps() {
    for (jump_ms, down) in [(10 * DAY, false), (10 * DAY, true), (YEARS, false), (YEARS, true)] {
        for (missed, count) in [(Missed::One, 1), (Missed::All, jump_ms / DAY), (Missed::Skip, 0)] {
            let of = format!("{missed:?} over {jump_ms} ms, down: {down}");
            let mut store = store();
            let new = NewSchedule { kind: "t", cron: "@daily", missed, ..NewSchedule::default() };
            store.services.schedules().create("s", &new, "ada", None).unwrap();
            // Noon: the newest time is not punctual.
            store.pass(DAY / 2);
            Jump::Forward(jump_ms).make(&store);
            if down {
                store = store.crash(0);
            }
            settle(&store);
            let fired = times(&store);
            assert_eq!(fired.len() as u64, count, "{of}");
            assert!(fired.windows(2).all(|pair| pair[0] < pair[1]), "{of}: in order, once");
            assert!(fired.iter().all(|at| at % DAY == 0), "{of}");
            assert!(fired.last().is_none_or(|last| *last == BEGIN_MS + jump_ms), "{of}");
            Jump::Back(jump_ms).make(&store);
            if down {
                store = store.crash(0);
            }
            for _ in 0..4 {
                store.pass(DAY);
                settle(&store);
            }
            assert_eq!(times(&store), fired, "{of}: and not again");
            Jump::Forward(jump_ms - 4 * DAY).make(&store);
            settle(&store);
            assert_eq!(times(&store), fired, "{of}: nor here");
            store.pass(DAY / 2);
            let last = [fired, vec![BEGIN_MS + jump_ms + DAY]].concat();
            assert_eq!(times(&store), last, "{of}: and it goes on");
        }
    }
}
