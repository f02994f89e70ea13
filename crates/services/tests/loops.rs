//! Loops: what becomes of an execution while its steps are done, by whomever, and over crashes.

use std::future::ready;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rekindle_services::claims::{Trace, Traces};
use rekindle_services::jobs::{ClaimRequest, Claimed, Done, Failure, JobFilter, NewJob};
use rekindle_services::loops::{
    Ask, Budget, EventPage, ExecutionInfo, LoopFilter, LoopId, Outcome, Plan, STEPS, Shown, Spec,
    Status, Step, Task, What,
};
use rekindle_services::queues::{Decision, ReviewId};
use rekindle_services::{Kind, Loops};

use crate::store::Store;
use crate::waiting::{Woken, finish, poll};

pub(crate) fn loops(store: &Store) -> &Loops {
    store.services.loops()
}

pub(crate) fn step(word: &str, idempotent: bool) -> Step {
    Step { argv: vec![word.to_owned()], idempotent, time_limit_ms: 60_000 }
}

/// A spec with a run that must not be done twice, and a check that may.
pub(crate) fn spec(name: &str, needs: &[&str]) -> Spec {
    Spec {
        name: name.to_owned(),
        needs: needs.iter().map(|name| (*name).to_owned()).collect(),
        instructions: format!("do {name}"),
        run: step("run", false),
        checks: vec![step("check", true)],
        budget: Budget { iterations: 3, ..Budget::default() },
        ..Spec::default()
    }
}

pub(crate) fn plan(parallel: u32, specs: Vec<Spec>) -> Plan {
    Plan { name: "plan".to_owned(), description: "for tests".to_owned(), parallel, specs }
}

pub(crate) fn start(store: &Store, plan: &Plan) -> LoopId {
    loops(store).start(plan, false, "ada", None).unwrap().value.plan
}

pub(crate) fn executions(store: &Store, plan: LoopId) -> Vec<ExecutionInfo> {
    let Shown::Plan(plan) = loops(store).show(plan).unwrap() else { panic!("it is a plan") };
    plan.specs.into_iter().map(|spec| spec.execution).collect()
}

pub(crate) fn statuses(store: &Store, plan: LoopId) -> Vec<&'static str> {
    executions(store, plan).iter().map(|execution| execution.status.as_str()).collect()
}

pub(crate) fn only(store: &Store, plan: LoopId) -> ExecutionInfo {
    executions(store, plan).remove(0)
}

/// The one plan that there is.
fn plan_of(store: &Store) -> LoopId {
    loops(store).list(&LoopFilter::default()).unwrap().executions.remove(0).plan
}

/// What happened to an execution, in words.
pub(crate) fn events(store: &Store, id: LoopId) -> Vec<String> {
    let page = loops(store).events(id, 0, 0).unwrap();
    assert!(!page.more);
    let numbers: Vec<u64> = page.events.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    let word = |what: &What| {
        let json = serde_json::to_value(what).unwrap();
        json["event"].as_str().unwrap().to_owned()
    };
    page.events.iter().map(|(_, event)| word(&event.what)).collect()
}

/// The next step that is to be done, as the server's own executor claims it.
pub(crate) fn next(store: &Store) -> Option<(Claimed, Task)> {
    let request = ClaimRequest { types: &[STEPS], max: 1, lease_ms: None, worker: "loop" };
    let claim = pin!(store.services.jobs().claim_inside(&request, ready(())));
    let claimed = finish(claim, store).unwrap().value.pop()?;
    let task = serde_json::from_slice(claimed.payload()).unwrap();
    Some((claimed, task))
}

pub(crate) fn tell(store: &Store, claimed: &Claimed, done: Done<'_>) -> Result<(), Kind> {
    let mut results = store.services.jobs().done(&[(claimed.token, done)], None).unwrap().value;
    results.remove(0).map(drop).map_err(|error| error.kind())
}

pub(crate) fn ends(store: &Store, told: &str) -> Task {
    let (claimed, task) = next(store).expect("there is a step to do");
    tell(store, &claimed, Done::Complete(told.as_bytes())).unwrap();
    task
}

pub(crate) const WELL: &str = r#"{"exit_code":0}"#;
pub(crate) const BADLY: &str = r#"{"exit_code":1,"output":"no"}"#;

/// From the start to the end: run, check, again, done; what is behind it begins then.
///
/// proves: L1, L2
#[test]
fn iterations_go_on_until_the_checks_pass() {
    let store = Store::new();
    let plan = start(&store, &plan(1, vec![spec("fix", &[]), spec("docs", &["fix"])]));
    assert_eq!(statuses(&store, plan), ["running", "blocked"]);
    let run = ends(&store, WELL);
    assert_eq!((run.spec.as_str(), run.instructions.as_str()), ("fix", "do fix"));
    assert_eq!((run.step.iteration, run.step.step, run.step.attempt), (1, 0, 1));
    let check = ends(&store, BADLY);
    assert_eq!((check.argv[0].as_str(), check.instructions.as_str()), ("check", ""));
    assert_eq!(ends(&store, WELL).step.iteration, 2);
    assert_eq!(statuses(&store, plan), ["running", "blocked"]);
    assert_eq!(ends(&store, WELL).step.step, 1);
    assert_eq!(statuses(&store, plan), ["completed", "running"]);
    for _ in 0..2 {
        assert_eq!(ends(&store, "no JSON at all").spec, "docs");
    }
    assert_eq!(statuses(&store, plan), ["completed", "completed"]);
    assert!(next(&store).is_none());
    let first = only(&store, plan);
    let expected = "created step_started step_ended step_started step_ended step_started \
        step_ended step_started step_ended completed";
    assert_eq!(events(&store, first.id), expected.split_whitespace().collect::<Vec<_>>());
    assert_eq!(first.used.iterations, 2);
    let Shown::Execution(shown) = loops(&store).show(first.id).unwrap() else { panic!() };
    assert_eq!((shown.spec, shown.info), (spec("fix", &[]), first));
    assert!(loops(&store).events(executions(&store, plan)[1].id, 0, 2).unwrap().more);
}

/// As many specs run at one time as the plan says, and each behind what it needs.
///
/// proves: L1
#[test]
fn specs_run_in_their_order_and_number() {
    let store = Store::new();
    let specs = vec![spec("a", &[]), spec("b", &[]), spec("c", &[]), spec("d", &["a", "c"])];
    let plan = start(&store, &plan(2, specs));
    assert_eq!(statuses(&store, plan), ["running", "running", "blocked", "blocked"]);
    let mut order = Vec::new();
    while let Some((claimed, task)) = next(&store) {
        tell(&store, &claimed, Done::Complete(WELL.as_bytes())).unwrap();
        order.push(format!("{}{}", task.spec, task.step.step));
        let running = statuses(&store, plan);
        assert!(running.iter().filter(|status| **status == "running").count() <= 2);
    }
    assert_eq!(statuses(&store, plan), ["completed"; 4]);
    let at = |what: &str| order.iter().position(|step| step == what).unwrap();
    assert!(at("d0") > at("a1") && at("d0") > at("c1"), "{order:?}");
    assert_eq!(order.len(), 8);
}

/// What is used up fails it, in words that say what; what needs it does not begin.
///
/// proves: L9
#[test]
fn a_used_up_budget_is_a_failure() {
    let store = Store::new();
    let plan = start(&store, &plan(1, vec![spec("fix", &[]), spec("docs", &["fix"])]));
    for _ in 0..3 {
        ends(&store, WELL);
        ends(&store, BADLY);
    }
    assert_eq!(statuses(&store, plan), ["failed", "blocked"]);
    let id = only(&store, plan).id;
    let last = loops(&store).events(id, 0, 0).unwrap().events.pop().unwrap().1;
    assert_eq!(last.what, What::Failed { why: "its 3 iterations are used up".to_owned() });
    assert!(next(&store).is_none());
    // Again, with its whole budget, and from there on.
    loops(&store).alter(id, Ask::Retry, "", "ada", None).unwrap();
    assert_eq!(ends(&store, WELL).step.iteration, 4);
    ends(&store, WELL);
    assert_eq!(statuses(&store, plan), ["completed", "running"]);
    let info = only(&store, plan);
    assert_eq!((info.used.iterations, info.charged.iterations), (4, 1));
}

/// A rate limit and a failed run wait by log time, and go on by themselves.
#[test]
fn what_waits_goes_on_by_itself() {
    let store = Store::new();
    let plan = start(&store, &plan(1, vec![spec("fix", &[])]));
    ends(&store, r#"{"resume_in_ms":90000,"progress":0.5,"cost":1.25}"#);
    let info = only(&store, plan);
    assert_eq!(info.status, Status::Waiting);
    assert_eq!((info.best_micros, info.used.cost_micros), (Some(500_000), 1_250_000));
    assert!(next(&store).is_none());
    assert!(store.pass(89_999).next_in_ms <= 1);
    assert!(next(&store).is_none());
    store.pass(1);
    assert_eq!(ends(&store, BADLY).step.step, 1);
    // The run that fails has its pause.
    ends(&store, BADLY);
    assert_eq!(only(&store, plan).status, Status::Waiting);
    let store = store.crash(0);
    assert_eq!(only(&store, plan).status, Status::Waiting);
    store.pass(1_000);
    assert_eq!(ends(&store, WELL).step.iteration, 3);
}

/// proves: L7, L10
#[test]
fn a_person_pauses_resumes_cancels_and_retries() {
    let store = Store::new();
    let ask = |store: &Store, id, ask: Ask| {
        // What is told of it says beforehand what it takes.
        let told = executions(store, plan_of(store)).iter().any(|it| it.takes(ask));
        let altered = loops(store).alter(id, ask, "so", "ada", None);
        let altered = altered.map(|altered| altered.value.changed).map_err(|error| error.kind());
        assert!(told == altered.is_ok() || altered == Err(Kind::NotFound), "{ask:?}: {altered:?}");
        altered
    };
    let plan = loops(&store).start(&plan(1, vec![spec("fix", &[])]), true, "ada", None);
    let plan = plan.unwrap().value.plan;
    assert_eq!(statuses(&store, plan), ["draft"]);
    assert!(next(&store).is_none());
    assert_eq!(ask(&store, plan, Ask::Approve), Ok(1));
    assert_eq!(ask(&store, plan, Ask::Approve), Err(Kind::Conflict));
    // Paused before anybody claimed its step: that has not begun.
    let id = only(&store, plan).id;
    assert_eq!(ask(&store, id, Ask::Pause), Ok(1));
    assert_eq!(statuses(&store, plan), ["paused"]);
    assert!(next(&store).is_none());
    let store = store.crash(0);
    assert_eq!(statuses(&store, plan), ["paused"], "it stays so");
    assert_eq!(ask(&store, id, Ask::Resume), Ok(1));
    // Paused while it runs: it goes on to its end.
    let (claimed, task) = next(&store).unwrap();
    assert_eq!((task.step.iteration, task.step.attempt), (1, 1));
    assert_eq!(ask(&store, plan, Ask::Pause), Ok(1));
    assert_eq!(statuses(&store, plan), ["running"]);
    tell(&store, &claimed, Done::Complete(WELL.as_bytes())).unwrap();
    assert_eq!(statuses(&store, plan), ["paused"]);
    assert_eq!(ask(&store, plan, Ask::Resume), Ok(1));
    // Called off while it runs: who does it hears of that.
    let (claimed, _) = next(&store).unwrap();
    assert_eq!(ask(&store, plan, Ask::Cancel), Ok(1));
    assert_eq!(statuses(&store, plan), ["cancelled"]);
    assert_eq!(tell(&store, &claimed, Done::Complete(b"")), Err(Kind::Fenced));
    for meaningless in [Ask::Cancel, Ask::Pause, Ask::Resume, Ask::Approve] {
        assert_eq!(ask(&store, id, meaningless), Err(Kind::Conflict), "{meaningless:?}");
    }
    assert_eq!(ask(&store, id, Ask::Retry), Ok(1));
    assert_eq!(ends(&store, WELL).step.iteration, 2);
    let nobody = "018bcfe5-6800-7fff-bfff-ffffffffffff".parse().unwrap();
    assert_eq!(ask(&store, nobody, Ask::Cancel), Err(Kind::NotFound));
    let audit = store.services.audit().list(None, 100).unwrap().records;
    let actions: Vec<&str> = audit.iter().map(|record| record.action.as_str()).collect();
    let expected = "loop.draft loop.approve loop.pause loop.resume loop.pause loop.resume \
        loop.cancel loop.retry";
    assert_eq!(actions, expected.split_whitespace().collect::<Vec<_>>());
}

/// Nothing that waits for a place begins because the plan is called off.
#[test]
fn a_plan_is_called_off_as_a_whole() {
    let store = Store::new();
    let specs = vec![spec("a", &[]), spec("b", &[]), spec("c", &["b"])];
    let plan = start(&store, &plan(1, specs));
    let altered = loops(&store).alter(plan, Ask::Cancel, "", "ada", None).unwrap().value;
    assert_eq!(altered.changed, 3);
    assert_eq!(statuses(&store, plan), ["cancelled"; 3]);
    for execution in executions(&store, plan) {
        let begun = events(&store, execution.id).iter().filter(|it| *it == "step_started").count();
        assert_eq!(begun, usize::from(execution.spec == "a"));
    }
    assert!(next(&store).is_none());
    assert_eq!(loops(&store).alter(plan, Ask::Retry, "", "ada", None).unwrap().value.changed, 3);
}

/// A crash loses the step: what may be done twice is, with an attempt charged; what must not waits
/// for a person, whose word counts.
///
/// proves: L7, L10
/// produces: loop-10
#[test]
fn a_lost_step_is_repeated_or_decided_by_a_person() {
    for (decision, after) in [(Decision::Approve, 1), (Decision::Retry, 0), (Decision::Fail, 9)] {
        let store = Store::new();
        let plan = start(&store, &plan(1, vec![spec("fix", &[])]));
        ends(&store, WELL);
        let (_, check) = next(&store).unwrap();
        assert_eq!(check.step.step, 1);
        let store = store.crash(0);
        let (claimed, again) = next(&store).expect("a check may be done twice");
        assert_eq!((again.step.step, again.step.attempt), (1, 2));
        tell(&store, &claimed, Done::Complete(BADLY.as_bytes())).unwrap();
        assert_eq!(only(&store, plan).used.attempts, 1);
        let (_, run) = next(&store).unwrap();
        assert_eq!((run.step.iteration, run.step.step), (2, 0));
        let store = store.crash(0);
        let info = only(&store, plan);
        assert_eq!((info.status, info.used.attempts), (Status::NeedsReview, 2));
        assert!(next(&store).is_none(), "it must not be done twice");
        let store = store.crash(0);
        assert!(next(&store).is_none());
        let reviews = store.services.reviews();
        let id = ReviewId::Execution(info.id);
        let (items, more) = reviews.list(None, 10).unwrap();
        assert_eq!((items.len(), more, items[0].id), (1, false, id));
        assert_eq!((items[0].label, items[0].spec.as_deref()), ("loop-10", Some("fix")));
        assert_eq!(reviews.figures().count, 1);
        let (_, evidence) = reviews.show(id.to_string().parse().unwrap()).unwrap();
        let detail = evidence.execution.unwrap();
        assert_eq!(detail.last.last().unwrap().0, detail.info.events);
        let decided = reviews.decide(id, decision, "looked", "ada").unwrap();
        assert!(!decided.value.before);
        assert!(reviews.decide(id, decision, "looked", "ada").unwrap().value.before);
        match after {
            9 => assert_eq!(only(&store, plan).status, Status::Failed),
            step => {
                let task = ends(&store, WELL);
                assert_eq!((task.step.iteration, task.step.step), (2, step));
                assert_eq!(task.step.attempt, if step == 0 { 2 } else { 1 });
            }
        }
        assert_eq!(reviews.figures().count, 0);
    }
}

/// Evidence: what goes on is processed on, what had not begun is claimed again, uncharged.
///
/// proves: L7
#[test]
fn evidence_decides_what_becomes_of_a_step() {
    let store = Store::new();
    let first = start(&store, &plan(1, vec![spec("fix", &[])]));
    let second = start(&store, &plan(1, vec![spec("fix", &[])]));
    let [(survives, _), (unbegun, _)] = [0; 2].map(|_| next(&store).unwrap());
    let traces = Traces::from([(survives.token, Trace::Survives), (unbegun.token, Trace::Unbegun)]);
    let store = store.crash_with_traces(traces);
    assert_eq!(
        (statuses(&store, first), statuses(&store, second)),
        (vec!["running"], vec!["running"])
    );
    tell(&store, &survives, Done::Complete(WELL.as_bytes())).unwrap();
    let (claimed, task) = next(&store).unwrap();
    let (other, again) = next(&store).unwrap();
    let steps = [(task.plan, task.step.step), (again.plan, again.step.step)];
    assert!(steps.contains(&(first, 1)) && steps.contains(&(second, 0)), "{steps:?}");
    for claimed in [claimed, other] {
        tell(&store, &claimed, Done::Complete(WELL.as_bytes())).unwrap();
    }
    assert_eq!(only(&store, second).used.attempts, 0);
}

/// An iteration is handed to workers outside: they keep it over a crash, fail it, or lose it.
///
/// proves: L7
#[test]
fn a_worker_outside_does_the_steps() {
    let store = Store::new();
    let remote = Spec { worker: Some("agents".to_owned()), ..spec("fix", &[]) };
    let plan = start(&store, &plan(1, vec![remote]));
    let claim = |store: &Store| {
        let request = ClaimRequest { types: &["agents"], max: 1, lease_ms: None, worker: "w" };
        store.services.jobs().claim(&request).unwrap().value.pop()
    };
    let run = claim(&store).unwrap();
    let store = store.crash(0);
    assert_eq!(statuses(&store, plan), ["running"]);
    tell(&store, &run, Done::Complete(br#"{"cost":2}"#)).unwrap();
    let check = claim(&store).unwrap();
    let why = Failure { error: "no", retry_in_ms: Some(5_000), last: false };
    tell(&store, &check, Done::Fail(why)).unwrap();
    assert_eq!(only(&store, plan).status, Status::Waiting);
    store.pass(5_000);
    let lost = claim(&store).unwrap();
    store.pass(lost.lease_ms);
    assert_eq!(only(&store, plan).status, Status::NeedsReview);
    assert_eq!(tell(&store, &lost, Done::Complete(b"")), Err(Kind::Fenced));
    let page = loops(&store).events(only(&store, plan).id, 0, 0).unwrap();
    let failed = Outcome::Failed("no".to_owned());
    let ended = |what: &What| matches!(what, What::StepEnded { outcome, .. } if *outcome == failed);
    assert!(page.events.iter().any(|(_, event)| ended(&event.what)));
    assert_eq!(only(&store, plan).used.cost_micros, 2_000_000);
}

/// Steps are the server's: nobody else submits, claims, ends or repeats them.
#[test]
fn steps_are_not_for_users() {
    let store = Store::new();
    let remote = Spec { worker: Some("agents".to_owned()), ..spec("far", &[]) };
    start(&store, &plan(2, vec![spec("fix", &[]), remote]));
    let jobs = store.services.jobs();
    let refused = jobs.submit(STEPS, &NewJob::default(), None).unwrap_err();
    assert_eq!(refused.kind(), Kind::Invalid);
    let request = ClaimRequest { types: &[STEPS], max: 1, lease_ms: None, worker: "w" };
    assert_eq!(jobs.claim(&request).unwrap_err().kind(), Kind::Invalid);
    let listed = jobs.list(&JobFilter::default()).unwrap().jobs;
    assert_eq!(listed.len(), 2);
    for job in listed {
        for refused in [jobs.cancel(job.id, "", "ada", None), jobs.retry(job.id, "ada", None)] {
            assert_eq!(refused.unwrap_err().kind(), Kind::Conflict);
        }
    }
}

/// Lists are by plan and status, in the order of their making; repeated requests have one effect.
#[test]
fn executions_are_listed() {
    let store = Store::new();
    let three = plan(1, vec![spec("a", &[]), spec("b", &[]), spec("c", &[])]);
    let identity = rekindle_services::Identity { producer: [7; 16], sequence: 1 };
    let first = loops(&store).start(&three, false, "ada", Some(identity)).unwrap().value;
    let again = loops(&store).start(&three, false, "ada", Some(identity)).unwrap().value;
    assert_eq!(first, again);
    let second = start(&store, &three);
    let list = |filter: &LoopFilter<'_>| {
        let page = loops(&store).list(filter).unwrap();
        let names = page.executions.iter().map(|it| (it.plan, it.spec.clone()));
        (names.collect::<Vec<_>>(), page.more, page.executions.last().map(|it| it.id))
    };
    assert_eq!(list(&LoopFilter::default()).0.len(), 6);
    let of_second = LoopFilter { plan: Some(second), ..LoopFilter::default() };
    assert!(list(&of_second).0.iter().all(|(plan, _)| *plan == second));
    let running = LoopFilter { statuses: &[Status::Running], ..LoopFilter::default() };
    assert_eq!(list(&running).0.len(), 2);
    let mut seen = Vec::new();
    let mut filter = LoopFilter { newest_first: true, limit: 4, ..LoopFilter::default() };
    loop {
        let (names, more, last) = list(&filter);
        seen.extend(names);
        if !more {
            break;
        }
        filter.after = last;
    }
    let mut backwards = list(&LoopFilter::default()).0;
    backwards.reverse();
    assert_eq!(seen, backwards);
    assert_eq!(loops(&store).counts()[&Status::Blocked], 4);
}

/// Who waits for events is woken by the next one, told at once where there is one or it is over,
/// and not held when the time is over.
#[test]
fn events_are_waited_for() {
    let store = Store::new();
    let id = only(&store, start(&store, &plan(1, vec![spec("fix", &[])]))).id;
    let events = |after, deadline: bool| {
        let deadline = async move {
            if !deadline {
                std::future::pending::<()>().await;
            }
        };
        loops(&store).events_wait(id, after, 0, deadline)
    };
    assert_eq!(finish(pin!(events(1, false)), &store).unwrap().events.len(), 1);
    assert_eq!(finish(pin!(events(2, true)), &store).unwrap(), EventPage::default());
    let woken = Arc::<Woken>::default();
    let mut first = pin!(events(2, false));
    let mut second = pin!(events(2, false));
    assert!(poll(first.as_mut(), &woken).is_pending());
    assert!(poll(second.as_mut(), &woken).is_pending());
    ends(&store, WELL);
    assert_eq!(woken.0.load(Ordering::SeqCst), 2);
    for waiting in [first, second] {
        let page = finish(waiting, &store).unwrap();
        assert_eq!(page.events.first().map(|(number, _)| *number), Some(3));
    }
    // What happens to another one wakes nobody.
    let mut waiting = pin!(events(4, false));
    assert!(poll(waiting.as_mut(), &woken).is_pending());
    start(&store, &plan(1, vec![spec("docs", &[])]));
    assert!(poll(waiting.as_mut(), &woken).is_pending());
    assert_eq!(woken.0.load(Ordering::SeqCst), 2);
    loops(&store).alter(id, Ask::Cancel, "", "ada", None).unwrap();
    assert_eq!(woken.0.load(Ordering::SeqCst), 3);
    assert_eq!(finish(waiting, &store).unwrap().events.len(), 2);
    let over = finish(pin!(events(6, false)), &store).unwrap();
    assert!(over.is_over && over.events.is_empty());
    let nobody = "018bcfe5-6800-7fff-bfff-ffffffffffff".parse().unwrap();
    let waiting = pin!(loops(&store).events_wait(nobody, 0, 0, ready(())));
    assert_eq!(finish(waiting, &store).unwrap_err().kind(), Kind::NotFound);
}
