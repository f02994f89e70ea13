//! Loops: forks of executions, from every iteration and in every status.

use std::pin::pin;

use proptest::prelude::*;
use rekindle_services::jobs::Done;
use rekindle_services::loops::state::Execution;
use rekindle_services::loops::{
    Ask, Budget, Directory, Event, ExecutionDetail, ForkPoint, Forked, ForkedFrom, LoopId, Shown,
    Spec, Status, What,
};
use rekindle_services::queues::{Decision, ReviewId};
use rekindle_services::{Error, Identity, Kind};
use serde_json::{Value, json};

use crate::loops::{
    BADLY, WELL, ends, events, executions, loops, next, only, plan, spec, start, statuses, step,
    tell,
};
use crate::store::Store;
use crate::waiting::finish;

fn fork(store: &Store, id: LoopId, at: u32) -> Result<Forked, Error> {
    loops(store).fork(id, at, "so", "bob", None).map(|forked| forked.value)
}

/// Steps end so.
fn end(store: &Store, told: &[&str]) {
    for told in told {
        ends(store, told);
    }
}

fn detail(store: &Store, id: LoopId) -> ExecutionDetail {
    let Shown::Execution(detail) = loops(store).show(id).unwrap() else { panic!("{id}") };
    *detail
}

/// All events of an execution.
fn all(store: &Store, id: LoopId) -> Vec<Event> {
    let mut all: Vec<Event> = Vec::new();
    loop {
        let page = loops(store).events(id, all.len() as u64, 0).unwrap();
        all.extend(page.events.into_iter().map(|(_, event)| event));
        if !page.more {
            return all;
        }
    }
}

fn folded(events: &[Event]) -> Execution {
    let mut execution = Execution::begin(&events[0]).unwrap();
    events[1..].iter().for_each(|event| execution.apply(event).unwrap());
    execution
}

fn point(store: &Store, id: LoopId) -> ForkPoint {
    let What::Created { fork, .. } = all(store, id).remove(0).what else { panic!("{id}") };
    *fork.expect("it is a fork")
}

/// What is begun is done well, to the end of all.
fn to_the_end(store: &Store) {
    while let Some((claimed, _)) = next(store) {
        tell(store, &claimed, Done::Complete(WELL.as_bytes())).unwrap();
    }
}

/// Each iteration of one that is completed, and the one behind them: a fork goes on from there as
/// the original would have, to its own end; the original stays as it is.
///
/// proves: L2, L9
#[test]
fn a_fork_goes_on_from_its_iteration() {
    let store = Store::new();
    let fix = Spec { needs: vec!["prepare".to_owned()], ..spec("fix", &[]) };
    let both = plan(1, vec![spec("prepare", &[]), fix]);
    let original = start(&store, &both);
    end(&store, &[WELL, WELL]);
    let id = executions(&store, original)[1].id;
    for (progress, told) in [(1, BADLY), (2, BADLY), (3, WELL)] {
        ends(&store, &format!(r#"{{"progress":{progress},"cost":2}}"#));
        ends(&store, told);
    }
    assert_eq!(statuses(&store, original), ["completed", "completed"]);
    let before = (detail(&store, id), all(&store, id));
    for at in 1..=4_u32 {
        let Forked { plan, execution } = fork(&store, id, at).unwrap();
        let shown = detail(&store, execution);
        assert_eq!(shown.forked_from, Some(ForkedFrom { execution: id, at }));
        assert_eq!((shown.info.plan, shown.info.plan_name.as_str()), (plan, "plan"));
        assert_eq!(shown.spec, Spec { needs: vec![], ..before.0.spec.clone() });
        assert_eq!(shown.info.used.cost_micros, u64::from(at - 1) * 2_000_000);
        assert_eq!(shown.info.best_micros, (at > 1).then_some(u64::from(at - 1) * 1_000_000));
        let Shown::Plan(of) = loops(&store).show(plan).unwrap() else { panic!("{plan}") };
        assert_eq!(
            (of.who.as_str(), of.description.as_str(), of.parallel),
            ("bob", "for tests", 1)
        );
        assert_eq!((of.specs.len(), &of.specs[0].needs), (1, &vec![]));
        if at == 4 {
            // Its three iterations are used up: it has its budget again only when somebody says so.
            assert_eq!(shown.info.status, Status::Failed);
            loops(&store).alter(execution, Ask::Retry, "", "ada", None).unwrap();
        }
        let task = ends(&store, WELL);
        assert_eq!((task.execution, task.step.iteration, task.step.step), (execution, at, 0));
        assert_eq!(task.step.attempt, 1);
        ends(&store, WELL);
        assert_eq!(only(&store, plan).status, Status::Completed);
        assert_eq!(only(&store, plan).used.iterations, at);
        let mut words = events(&store, execution);
        words.retain(|word| !["failed", "retried"].contains(&word.as_str()));
        let expected = "created step_started step_ended step_started step_ended completed";
        assert_eq!(words.join(" "), expected);
    }
    assert!(next(&store).is_none());
    assert_eq!((detail(&store, id), all(&store, id)), before);
    assert_eq!(before.0.forked_from, None);
    let audit = store.services.audit().list(None, 100).unwrap().records;
    let forks = audit.iter().filter(|record| record.action == "loop.fork");
    let told: Vec<_> =
        forks.map(|it| (it.who.clone(), it.target.clone(), it.why.clone())).collect();
    assert_eq!(told, vec![("bob".to_owned(), id.to_string(), "so".to_owned()); 4]);
}

/// There is the range of iterations in the refusal, and nothing was made; a fork has none before
/// its own, and says who has.
#[test]
fn there_must_be_such_an_iteration() {
    let store = Store::new();
    let original = start(&store, &plan(1, vec![spec("fix", &[])]));
    let id = only(&store, original).id;
    let refused = |id, at| {
        let count = loops(&store).counts();
        let error = fork(&store, id, at).unwrap_err();
        assert_eq!((error.kind(), loops(&store).counts()), (Kind::Invalid, count), "{error}");
        error.message().to_owned()
    };
    let range = |id, at, range: &str| {
        let told = refused(id, at);
        let expected = format!("execution {id} cannot be forked at iteration {at}; use {range}");
        assert!(told.starts_with(&expected), "{told}");
        told
    };
    for at in [0, 3, u32::MAX] {
        range(id, at, "1 to 2");
    }
    end(&store, &[WELL, BADLY, WELL, BADLY]);
    range(id, 5, "1 to 4");
    let forked = fork(&store, id, 3).unwrap().execution;
    range(forked, 5, "3 to 4");
    let told = range(forked, 2, "3 to 4");
    assert!(
        told.ends_with(&format!("; it was forked from execution {id}, which has those before"))
    );
    assert!(refused(original, 1).contains("is a plan; fork one of its executions"));
    let nobody = "018bcfe5-6800-7fff-bfff-ffffffffffff".parse().unwrap();
    assert_eq!(fork(&store, nobody, 1).unwrap_err().kind(), Kind::NotFound);
    let long = "x".repeat(100_000);
    let error = loops(&store).fork(id, 1, &long, "bob", None).unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
}

/// Forks of forks tell of the one in front of them, over crashes, too.
///
/// proves: L2, L3
#[test]
fn a_fork_is_forked() {
    let store = Store::new();
    let budget = Budget { iterations: 9, ..Budget::default() };
    let id = only(&store, start(&store, &plan(1, vec![Spec { budget, ..spec("fix", &[]) }]))).id;
    end(&store, &[WELL, BADLY]);
    loops(&store).alter(id, Ask::Pause, "", "ada", None).unwrap();
    let first = fork(&store, id, 2).unwrap().execution;
    for told in [WELL, BADLY] {
        assert_eq!(ends(&store, told).execution, first);
    }
    loops(&store).alter(first, Ask::Cancel, "", "ada", None).unwrap();
    let second = fork(&store, first, 3).unwrap();
    let store = store.crash(0);
    let shown = detail(&store, second.execution);
    assert_eq!(shown.forked_from, Some(ForkedFrom { execution: first, at: 3 }));
    assert_eq!((shown.info.status, shown.info.used.iterations), (Status::Running, 3));
    assert_eq!(ends(&store, WELL).step.iteration, 3);
    ends(&store, WELL);
    let info = only(&store, second.plan);
    assert_eq!((info.status, info.used.iterations), (Status::Completed, 3));
    assert_eq!(folded(&all(&store, second.execution)).used(info.updated_ms), info.used);
    assert_eq!(statuses(&store, detail(&store, id).info.plan), ["paused"]);
}

/// A repeated request has one effect; another one is no repetition.
#[test]
fn a_fork_is_made_once() {
    let store = Store::new();
    let id = only(&store, start(&store, &plan(1, vec![spec("fix", &[])]))).id;
    end(&store, &[WELL, BADLY]);
    let identity = Some(Identity { producer: [7; 16], sequence: 1 });
    let first = loops(&store).fork(id, 2, "", "bob", identity).unwrap();
    end(&store, &[WELL, BADLY]);
    let again = pin!(async {
        loops(&store).submit_fork(id, 2, "", "bob", identity).await.unwrap().await.unwrap()
    });
    let again = finish(again, &store);
    assert_eq!((first.value, first.version), (again.value, again.version));
    assert_eq!(executions(&store, first.value.plan).len(), 1);
    assert_eq!(loops(&store).counts().values().sum::<u64>(), 2);
    for (at, why) in [(1, ""), (2, "so")] {
        let other = loops(&store).fork(id, at, why, "bob", identity).unwrap_err();
        assert_eq!(other.kind(), Kind::Invalid);
    }
}

/// Whatever the original does, a fork runs: it is no draft, not paused, not asked about, not over.
///
/// proves: L7
#[test]
fn a_fork_of_any_status_runs() {
    let ask = |store: &Store, id, ask| {
        loops(store).alter(id, ask, "", "ada", None).unwrap();
    };
    for status in Status::ALL {
        let store = Store::new();
        let draft = status == Status::Draft;
        let two = plan(1, vec![spec("fix", &[]), spec("docs", &["fix"])]);
        let of = loops(&store).start(&two, draft, "ada", None).unwrap().value.plan;
        let id = executions(&store, of)[usize::from(status == Status::Blocked)].id;
        let mut store = store;
        match status {
            Status::Draft | Status::Blocked | Status::Running => {}
            Status::Paused | Status::Pending => {
                ask(&store, id, Ask::Pause);
            }
            Status::Waiting => drop(ends(&store, BADLY)),
            Status::Completed => end(&store, &[WELL, WELL]),
            Status::Failed => {
                for _ in 0..3 {
                    end(&store, &[WELL, BADLY]);
                }
            }
            Status::Cancelled => ask(&store, id, Ask::Cancel),
            Status::NeedsReview => {
                next(&store).unwrap();
                // At another time: the names are random with a seed.
                store = store.crash(1);
            }
        }
        let stands = detail(&store, id).info.status;
        // Nothing is pending for longer than a transaction.
        let expected = if status == Status::Pending { Status::Paused } else { status };
        assert_eq!(stands, expected);
        let forked = fork(&store, id, 1).unwrap();
        assert_eq!(only(&store, forked.plan).status, Status::Running, "{status}");
        assert_eq!(detail(&store, id).info.status, stands, "{status}");
        let begun = detail(&store, id).info.used.iterations;
        let forked = fork(&store, id, begun + 1).unwrap();
        let status = only(&store, forked.plan).status;
        match stands {
            Status::Waiting => assert_eq!(status, Status::Waiting),
            Status::Failed => assert_eq!(status, Status::Failed, "its budget is used up"),
            _ => assert_eq!(status, Status::Running, "{stands}"),
        }
        to_the_end(&store);
    }
}

/// A worktree is on a branch of its own, which begins at that of the original; what is plain stays.
#[test]
fn a_fork_works_on_its_own_branch() {
    let store = Store::new();
    let (repository, branch) = ("/repo".to_owned(), "rekindle/fix".to_owned());
    let directory = Directory::Worktree { repository, branch, from: None };
    let id = only(&store, start(&store, &plan(1, vec![Spec { directory, ..spec("a", &[]) }]))).id;
    ends(&store, WELL);
    let forked = fork(&store, id, 2).unwrap().execution;
    let Directory::Worktree { repository, branch, from } = detail(&store, forked).spec.directory
    else {
        panic!()
    };
    assert_eq!((repository.as_str(), from.as_deref()), ("/repo", Some("rekindle/fix")));
    assert_eq!(branch, format!("rekindle/fix-fork-{forked}"));
}

/// Long histories are read in pages, to their end and up to an iteration in their middle.
#[test]
fn long_histories_are_read_in_pages() {
    let store = Store::new();
    let budget = Budget { iterations: 900, ..Budget::default() };
    let id = only(&store, start(&store, &plan(1, vec![Spec { budget, ..spec("a", &[]) }]))).id;
    for _ in 0..600 {
        end(&store, &[WELL, BADLY]);
    }
    for (at, taken) in [(1, 1), (251, 1_001), (400, 1 + 399 * 4), (601, 1 + 600 * 4)] {
        let forking = pin!(async {
            loops(&store).submit_fork(id, at, "", "bob", None).await.unwrap().await.unwrap()
        });
        let forked = finish(forking, &store).value.execution;
        let point = point(&store, forked);
        assert_eq!((point.execution, point.at, point.events), (id, at, taken));
    }
    assert_eq!(all(&store, id).len(), 2 + 600 * 4, "the next iteration is begun");
    assert_eq!(fork(&store, id, 603).unwrap_err().kind(), Kind::Invalid);
}

/// Damage in front of the iteration is told with the number of the event; nothing is made of it.
///
/// proves: L4
#[test]
fn a_damaged_history_is_not_forked() {
    let plans = 3;
    let change = |store: &Store, id, number, value: Option<&[u8]>| {
        let key = rekindle_services::keys::loops::event(id, number);
        match value {
            Some(value) => store.put("loop_events", &key, value),
            None => store.remove("loop_events", &key),
        }
    };
    let store = Store::new();
    let ids: Vec<LoopId> = (0..plans)
        .map(|_| {
            let id = only(&store, start(&store, &plan(1, vec![spec("fix", &[])]))).id;
            end(&store, &[WELL, BADLY]);
            loops(&store).alter(id, Ask::Pause, "", "ada", None).unwrap();
            id
        })
        .collect();
    let last = detail(&store, ids[0]).info.events;
    change(&store, ids[0], 3, None);
    change(&store, ids[1], 3, Some(b"nonsense"));
    change(&store, ids[2], last, None);
    let told = |id, at| {
        let error = fork(&store, id, at).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "{error}");
        error.message().to_owned()
    };
    assert!(told(ids[0], 2).contains("event 3 is missing"), "{}", told(ids[0], 2));
    assert!(told(ids[1], 3).contains("event 3: "), "{}", told(ids[1], 3));
    let end = format!("event {last} is missing");
    assert!(told(ids[2], 3).contains(&end), "{}", told(ids[2], 3));
    assert_eq!(loops(&store).counts().values().sum::<u64>(), plans);
    // What is in front of the damage can be forked.
    fork(&store, ids[0], 1).unwrap();
    fork(&store, ids[2], 2).unwrap();
    // One that was changed where it can still be read is noticed by the checksum of all.
    let mut other = br#" {"at_ms":1000000,"event":"paused","who":"eve"}"#.to_vec();
    other[0] = 1; // the format
    change(&store, ids[2], last, Some(&other));
    assert!(told(ids[2], 3).contains("are not those that its row tells of"));
}

/// A history in the store, and what it meets.
fn lived(deeds: &[u8]) -> (Store, LoopId) {
    let mut store = Store::new();
    let budget = Budget { iterations: 6, ..Budget::default() };
    let check = vec![step("check", true)];
    let fix = Spec { budget, checks: check, stuck_after: Some(3), ..spec("fix", &[]) };
    let of = start(&store, &plan(1, vec![fix]));
    let id = only(&store, of).id;
    for (progress, deed) in deeds.iter().enumerate() {
        let asked = |ask| drop(loops(&store).alter(id, ask, "", "ada", None));
        match deed {
            0 => asked(Ask::Pause),
            1 => asked(Ask::Resume),
            2 => asked(Ask::Cancel),
            3 => asked(Ask::Retry),
            4 => store = store.crash(u64::from(*deed)),
            5 => drop(store.pass(60_000)),
            6 => {
                let id = ReviewId::Execution(id);
                drop(store.services.reviews().decide(id, Decision::Retry, "", "ada"));
            }
            deed => {
                let code = u8::from(deed % 3 != 0);
                let told = format!(r#"{{"exit_code":{code},"progress":{progress},"cost":1}}"#);
                if let Some((claimed, _)) = next(&store) {
                    let done = Done::Complete(told.as_bytes());
                    tell(&store, &claimed, done).unwrap();
                }
            }
        }
    }
    (store, id)
}

fn without_wishes(execution: &Execution, at: u32) -> Value {
    let mut value = serde_json::to_value(execution).unwrap();
    for name in ["draft", "blocked", "paused", "passed"] {
        value[name] = false.into();
    }
    for name in ["ended", "review", "in_flight", "counted_ms"] {
        value[name] = Value::Null;
    }
    value["used"]["wall_time_ms"] = 0.into();
    value["next"] = json!({ "iteration": at, "step": 0, "attempt": 1 });
    value
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// At each iteration of a random history the first event of a fork has the fold of what was in
    /// front of it, with all that was used.
    ///
    /// proves: L2, L9
    #[test]
    fn forks_of_random_histories(deeds in proptest::collection::vec(0_u8..16, 0..40)) {
        let (store, id) = lived(&deeds);
        let (before, history) = (detail(&store, id), all(&store, id));
        for at in 1..=before.info.used.iterations + 1 {
            let begins = |event: &Event| {
                matches!(&event.what, What::StepStarted(step) if step.iteration == at)
            };
            let end = history.iter().position(begins).unwrap_or(history.len());
            let prefix = folded(&history[..end]);
            let forked = fork(&store, id, at).unwrap().execution;
            let point = point(&store, forked);
            prop_assert_eq!((point.at, point.events), (at, end as u64));
            let begun = folded(&all(&store, forked)[..1]);
            prop_assert_eq!(without_wishes(&begun, at), without_wishes(&prefix, at));
            prop_assert_eq!(without_wishes(&point.state, at), without_wishes(&prefix, at));
            let (was, now_ms) = (prefix.used(0), detail(&store, forked).info.created_ms);
            prop_assert!(begun.used(now_ms).wall_time_ms >= was.wall_time_ms);
            let shown = detail(&store, forked).info.used;
            prop_assert!(shown.iterations >= at - 1 && shown.cost_micros >= was.cost_micros);
        }
        let beyond = fork(&store, id, before.info.used.iterations + 2).unwrap_err();
        prop_assert_eq!(beyond.kind(), Kind::Invalid);
        prop_assert_eq!(all(&store, id), history);
    }
}
