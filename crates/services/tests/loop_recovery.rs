//! Loops over downtime and restarts, and what a person is asked about.

use rekindle_services::loops::{Ask, Budget, Spec, Status};
use rekindle_services::queues::{Decision, ReviewId};

use crate::loops::{
    BADLY, WELL, ends, events, executions, loops, next, only, plan, spec, start, statuses, step,
};
use crate::store::Store;

/// Without progress, and lost too often, a person is asked; approving goes on.
///
/// proves: L7, L10
/// produces: loop-11, loop-12
#[test]
fn a_person_is_asked_about_what_comes_no_further_or_is_lost_too_often() {
    let store = Store::new();
    let stuck = Spec { stuck_after: Some(1), ..spec("fix", &[]) };
    let stuck = start(&store, &plan(1, vec![stuck]));
    ends(&store, WELL);
    ends(&store, BADLY);
    let waits = |store: &Store, label: &str| {
        let items = store.services.reviews().list(None, 9).unwrap().0;
        assert_eq!(items.iter().filter(|item| item.label == label).count(), 1, "{items:?}");
    };
    waits(&store, "loop-11");
    let decide = |store: &Store, id| {
        let id = ReviewId::Execution(id);
        store.services.reviews().decide(id, Decision::Approve, "go on", "ada").unwrap();
    };
    decide(&store, only(&store, stuck).id);
    assert_eq!(ends(&store, WELL).step.iteration, 2);
    ends(&store, WELL);
    assert_eq!(statuses(&store, stuck), ["completed"]);
    let idempotent = Spec { run: step("run", true), ..spec("fix", &[]) };
    let lost = start(&store, &plan(1, vec![idempotent]));
    let mut store = store;
    for _ in 0..3 {
        next(&store).unwrap();
        store = store.crash(0);
    }
    waits(&store, "loop-12");
    assert!(next(&store).is_none());
    decide(&store, only(&store, lost).id);
    assert_eq!(next(&store).unwrap().1.step.attempt, 4);
}

/// A plan whose row is damaged is told, its executions are not served, and nothing else is stopped.
///
/// proves: L4
/// produces: loop-9
#[test]
fn a_damaged_plan_stops_nothing_else() {
    let store = Store::new();
    let one = start(&store, &plan(1, vec![spec("a", &[])]));
    let other = start(&store, &plan(1, vec![spec("b", &[])]));
    let keyspace = store.database.keyspace("loop_plans").unwrap();
    let rows = store.database.snapshot().unwrap();
    let all = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
    let key = rows.scan(keyspace, all, 9, false).unwrap().remove(0).key;
    drop(rows);
    let mut txn = store.database.begin();
    txn.put(keyspace, &key, b"nonsense");
    txn.commit().unwrap();
    let store = store.crash(0);
    let report = store.reports.iter().find(|report| report.layer == "loop").unwrap();
    let labels: Vec<&str> = report.findings.iter().map(|finding| finding.label.0).collect();
    assert_eq!(labels, ["loop-9", "loop-8"]);
    let damaged = if loops(&store).show(one).is_err() { one } else { other };
    let whole = if damaged == one { other } else { one };
    assert_eq!(statuses(&store, whole), ["running"]);
}

/// How long nothing was alive decides: it goes on, a person decides, or it has failed.
///
/// proves: L3, L7
/// produces: loop-13
#[test]
fn downtime_decides_whether_it_goes_on_by_itself() {
    const HOUR: u64 = 3_600_000;
    let idempotent = Spec { run: step("run", true), ..spec("fix", &[]) };
    for (down_ms, status, label) in [
        (HOUR, Status::Running, "loop-3"),
        (HOUR + 60_000, Status::NeedsReview, "loop-4"),
        (25 * HOUR, Status::Failed, "loop-5"),
    ] {
        for claimed in [false, true] {
            let store = Store::new();
            let budget = Budget { wall_time_ms: 100 * HOUR, ..Budget::default() };
            let spec = Spec { budget, ..idempotent.clone() };
            let id = start(&store, &plan(1, vec![spec.clone(), Spec { name: "b".into(), ..spec }]));
            let paused = executions(&store, id)[1].id;
            loops(&store).alter(paused, Ask::Pause, "", "ada", None).unwrap();
            if claimed {
                next(&store).unwrap();
            }
            let store = store.crash(down_ms);
            assert_eq!(only(&store, id).status, status, "{down_ms} {claimed}");
            let second = executions(&store, id)[1].status;
            assert!(matches!(second, Status::Paused | Status::Blocked), "{second}");
            assert!(store.actions().contains(&label), "{:?}", store.actions());
            assert_eq!(next(&store).is_some(), status == Status::Running);
            // Recovering twice finds nothing to do.
            let before = events(&store, only(&store, id).id).len();
            let store = store.crash(0);
            let lost = usize::from(status == Status::Running) * 3;
            assert_eq!(events(&store, only(&store, id).id).len(), before + lost);
            if status == Status::NeedsReview {
                let review = ReviewId::Execution(only(&store, id).id);
                let reviews = store.services.reviews();
                assert_eq!(reviews.list(None, 9).unwrap().0[0].label, "loop-13");
                reviews.decide(review, Decision::Approve, "go on", "ada").unwrap();
                assert!(next(&store).is_some());
            }
        }
    }
}

/// A server that runs is alive however long nothing happens to an execution.
///
/// proves: L7
#[test]
fn a_long_step_is_no_downtime() {
    const HOUR: u64 = 3_600_000;
    let store = Store::new();
    let far = Spec {
        worker: Some("agents".to_owned()),
        budget: Budget { wall_time_ms: 100 * HOUR, ..Budget::default() },
        ..spec("fix", &[])
    };
    let plan = start(&store, &plan(1, vec![far]));
    for _ in 0..26 * 60 {
        store.pass(HOUR / 60);
    }
    let store = store.crash(HOUR / 2);
    assert_eq!(only(&store, plan).status, Status::Running, "nobody has claimed it yet");
    let store = store.crash(2 * HOUR);
    assert_eq!(only(&store, plan).status, Status::NeedsReview);
}

/// A clean restart without evidence costs nothing, and a draft that is tried again keeps its order.
#[test]
fn what_costs_nothing_and_what_keeps_its_place() {
    let store = Store::new();
    let idempotent = Spec { run: step("run", true), ..spec("fix", &[]) };
    let plan_id = start(&store, &plan(1, vec![idempotent]));
    next(&store).unwrap();
    let store = store.restart();
    assert_eq!((only(&store, plan_id).used.attempts, next(&store).unwrap().1.step.attempt), (0, 2));
    let draft = plan(1, vec![spec("a", &[]), spec("b", &["a"])]);
    let draft = loops(&store).start(&draft, true, "ada", None).unwrap().value.plan;
    for ask in [Ask::Cancel, Ask::Retry, Ask::Approve] {
        loops(&store).alter(draft, ask, "", "ada", None).unwrap();
    }
    assert_eq!(statuses(&store, draft), ["running", "blocked"]);
    for _ in 0..2 {
        ends(&store, WELL);
    }
    assert_eq!(statuses(&store, draft), ["completed", "running"]);
}
