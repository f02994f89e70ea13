//! What is proved of forks over random lives.

use proptest::prelude::*;

use super::event::{Event, What};
use super::id::LoopId;
use super::lives_tests::{
    Meets, fortunes, live, one_iteration_that_failed, read, some_spec, used_never_falls,
};
use super::next::{Next, next};
use super::plan::{Directory, Spec};
use super::plan_tests::{plan, spec};
use super::replay::Replay;
use super::row::encode_event;
use super::state::{Execution, ForkPoint, Status};
use super::state_tests::{Life, some_plan};
use crate::error::Kind;

const ORIGINAL: &str = "018bcfe5-6800-7fff-bfff-ffffffffffff";

/// Events by their numbers, as they are stored.
type Rows = Vec<(u64, Vec<u8>)>;

fn replayed(events: &[Event], at: u32) -> Replay {
    let mut replay = Replay::new(ORIGINAL.parse().unwrap(), at);
    for (number, event) in (1..).zip(events) {
        replay.take(number, &encode_event(event));
    }
    replay
}

/// The first event of a fork of this life, as it is made at this time.
fn created(life: &Life, at: u32, now_ms: u64) -> Event {
    let replay = replayed(&life.events, at);
    let (execution, _) = replay.taken().unwrap().unwrap();
    let state = execution.forked(at, replay.begins_ms().unwrap_or(now_ms), now_ms);
    let (events, ..) = replay.last();
    let fork = ForkPoint { execution: ORIGINAL.parse().unwrap(), at, events, state };
    let what = What::Created {
        plan: some_plan(),
        spec: Box::new(execution.spec().clone()),
        draft: false,
        blocked: false,
        fork: Some(Box::new(fork)),
    };
    Event { at_ms: now_ms, what }
}

/// The state as text, without what somebody wants of the original, or asks about it.
fn cleared(execution: &Execution, at: u32, now_ms: u64) -> serde_json::Value {
    let mut value = serde_json::to_value(execution).unwrap();
    for name in ["draft", "blocked", "paused", "passed"] {
        value[name] = false.into();
    }
    for name in ["ended", "review", "in_flight"] {
        value[name] = serde_json::Value::Null;
    }
    value["next"] = serde_json::json!({ "iteration": at, "step": 0, "attempt": 1 });
    if !value["counted_ms"].is_null() {
        value["counted_ms"] = now_ms.into();
    }
    value
}

/// A fork is made of it at this iteration; what is promised of that.
fn fork(life: &Life, at: u32, now_ms: u64) -> Result<Life, TestCaseError> {
    let begins =
        |event: &Event| matches!(&event.what, What::StepStarted(step) if step.iteration == at);
    let end = life.events.iter().position(begins).unwrap_or(life.events.len());
    let prefix = read(&life.events[..end]);
    let then_ms = life.events.get(end).map_or(now_ms, |event| event.at_ms);
    let created = created(life, at, now_ms);
    let What::Created { fork: Some(point), .. } = &created.what else { panic!() };
    prop_assert_eq!(point.events, end as u64);
    // Its own first event is enough to have it.
    let execution = read(std::slice::from_ref(&created));
    let mut expected = cleared(&prefix, at, now_ms);
    expected["used"] = serde_json::to_value(prefix.used(then_ms)).unwrap();
    prop_assert_eq!(cleared(&execution, at, now_ms), serde_json::to_value(&execution).unwrap());
    prop_assert_eq!(serde_json::to_value(&execution).unwrap(), expected);
    prop_assert!(used_never_falls(prefix.used(then_ms), execution.used(now_ms)));
    prop_assert_eq!(execution.used(now_ms).iterations, at - 1);
    prop_assert_eq!(execution.best_micros(), prefix.best_micros());
    let status = execution.status(now_ms);
    prop_assert!(matches!(status, Status::Pending | Status::Waiting), "{status}");
    // Where the original began it, nothing is in the way of the fork.
    if end < life.events.len() {
        let Next::Step(step) = next(&execution, now_ms) else {
            return Err(TestCaseError::fail(format!("{:?}", next(&execution, now_ms))));
        };
        prop_assert_eq!((step.iteration, step.step, step.attempt), (at, 0, 1));
    }
    Ok(Life { now_ms, events: vec![created], execution })
}

/// Each iteration that can be forked, from the least on.
fn forks(life: &Life, least: u32, late_ms: u64) -> Result<Vec<Life>, TestCaseError> {
    let most = life.execution.used(life.now_ms).iterations + 1;
    (least..=most).map(|at| fork(life, at, life.now_ms + late_ms)).collect()
}

proptest! {
    /// At each iteration of a random life, and of a random life of a fork of it: a fork begins as
    /// the original stood there, with all that it had used, and nothing that anybody wanted of it.
    ///
    /// proves: L2, L9
    #[test]
    fn a_fork_begins_as_the_original_stood(
        lives in (fortunes(), fortunes()), late_ms in 0_u64..9_000_000, which in any::<usize>(),
    ) {
        let (first, second): (Vec<Meets>, Vec<Meets>) = lives;
        let mut life = Life::of(some_spec());
        live(&mut life, first)?;
        let mut all = forks(&life, 1, late_ms)?;
        let at = which % all.len();
        let mut forked = all.swap_remove(at);
        let least = u32::try_from(at).unwrap() + 1;
        live(&mut forked, second)?;
        prop_assert_eq!(read(&forked.events), forked.execution.clone());
        forks(&forked, least, late_ms)?;
    }
}

/// A fork waits as long as the original would have, and time that passed since is none of its own.
#[test]
fn a_fork_waits_and_does_not_age() {
    let mut life = Life::of(some_spec());
    let fortunes = one_iteration_that_failed();
    live(&mut life, fortunes).unwrap();
    assert_eq!(life.status(), Status::Waiting);
    let before = life.execution.used(life.now_ms).wall_time_ms;
    let forked = fork(&life, 2, life.now_ms).unwrap();
    assert_eq!((forked.status(), forked.next()), (Status::Waiting, life.next()));
    let late = fork(&life, 1, life.now_ms + 9_000_000).unwrap();
    assert_eq!(late.execution.used(late.now_ms).wall_time_ms, 0);
    let late = fork(&life, 2, life.now_ms + 9_000_000).unwrap();
    // Nobody paused it: until then it used its time.
    assert_eq!(late.execution.used(late.now_ms).wall_time_ms, before + 9_000_000);
}

/// What no fork begins with is no beginning.
#[test]
fn what_no_fork_begins_with_is_refused() {
    let mut life = Life::of(some_spec());
    live(&mut life, one_iteration_that_failed()).unwrap();
    let good = serde_json::to_value(created(&life, 2, life.now_ms)).unwrap();
    let begins = |event: &serde_json::Value| {
        Execution::begin(&serde_json::from_value(event.clone()).unwrap()).is_some()
    };
    assert!(begins(&good));
    let step = serde_json::json!({ "iteration": 2, "step": 1, "attempt": 1 });
    let wrong = [
        ("draft", true.into()),
        ("blocked", true.into()),
        ("paused", true.into()),
        ("passed", true.into()),
        ("ended", "failed".into()),
        ("review", serde_json::json!({ "reason": "stuck", "iterations": 1 })),
        ("in_flight", step.clone()),
        ("next", step),
    ];
    for (name, value) in wrong {
        let mut event = good.clone();
        event["fork"]["state"][name] = value;
        assert!(!begins(&event), "{name}");
    }
    let mut event = good.clone();
    event["fork"]["at"] = 3.into();
    assert!(!begins(&event));
    let mut event = good;
    event["fork"]["state"]["used"]["iterations"] = u32::MAX.into();
    assert!(!begins(&event));
}

/// The first event that is missing, damaged or cannot be is named, and nothing is taken behind it.
///
/// proves: L4
#[test]
fn damage_is_named() {
    let mut life = Life::of(some_spec());
    live(&mut life, one_iteration_that_failed()).unwrap();
    let rows: Vec<Vec<u8>> = life.events.iter().map(encode_event).collect();
    let told = |change: &dyn Fn(&mut Rows)| {
        let mut rows: Rows = (1..).zip(rows.clone()).collect();
        change(&mut rows);
        let mut replay = Replay::new(ORIGINAL.parse().unwrap(), 2);
        rows.iter().for_each(|(number, row)| replay.take(*number, row));
        let error = replay.taken().unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt);
        error.message().to_owned()
    };
    let missing = told(&|rows| drop(rows.remove(1)));
    assert!(missing.contains(&format!("execution {ORIGINAL}: event 2 is missing")), "{missing}");
    assert!(told(&|rows| drop(rows.remove(0))).contains("event 1 is missing"));
    assert!(told(&|rows| rows[1].1 = b"nonsense".to_vec()).contains("event 2: "));
    assert!(told(&|rows| rows[0].1 = rows[1].1.clone()).contains("event 1: no execution begins"));
    assert!(told(&|rows| rows[2].1 = rows[1].1.clone()).contains("event 3: it is running"));
    // What is behind where the iteration begins is not looked at.
    let mut rows = rows;
    rows[2] = b"nonsense".to_vec();
    let mut replay = Replay::new(ORIGINAL.parse().unwrap(), 1);
    (1..).zip(&rows).for_each(|(number, row)| replay.take(number, row));
    assert_eq!((replay.taken().unwrap().unwrap().0.in_flight(), replay.last().0), (None, 1));
}

/// The branch of a fork is another one, begins at that of the original, and is one that git takes.
#[test]
fn a_fork_has_a_branch_of_its_own() {
    let fork: LoopId = ORIGINAL.parse().unwrap();
    let next = LoopId::new(1_700_000_000_000, [7; 10]);
    let of = |branch: &str| Directory::Worktree {
        repository: ".".to_owned(),
        branch: branch.to_owned(),
        from: None,
    };
    let branches = |directory: &Directory| match directory {
        Directory::Worktree { branch, from, .. } => (branch.clone(), from.clone().unwrap()),
        _ => panic!("{directory:?}"),
    };
    let first = of("rekindle/fix").forked(fork);
    let name = format!("rekindle/fix-fork-{ORIGINAL}");
    assert_eq!(branches(&first), (name.clone(), "rekindle/fix".to_owned()));
    assert_eq!(branches(&first.forked(next)), (format!("rekindle/fix-fork-{next}"), name));
    let dots = (0..4).map(|pad| format!("{}{}c", "x".repeat(pad), "a.b/".repeat(61)));
    let others = ["ü".repeat(124), "a-fork-b".to_owned(), "a-fork-".to_owned()];
    for branch in dots.chain(others) {
        let check = |branch: &str| {
            plan(vec![Spec { directory: of(branch), ..spec("a", &[]) }]).check().is_ok()
        };
        let (forked, from) = branches(&of(&branch).forked(fork));
        assert!(forked != branch && forked.ends_with(ORIGINAL) && from == branch, "{forked}");
        assert!(check(&branch) && check(&forked), "{forked}");
    }
    for same in [Directory::Temporary, Directory::Plain("/tmp".to_owned())] {
        assert_eq!(same.forked(fork), same);
    }
}
