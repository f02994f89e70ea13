//! What is proved of plans: bounds, and what is told.

use std::collections::BTreeMap;

use super::plan::{Budget, Directory, Plan, Spec, Step, WRONG_MAX};
use crate::limits::{
    LOOP_ARGV_BYTES_MAX, LOOP_CHECKS_MAX, LOOP_INSTRUCTIONS_BYTES_MAX, LOOP_ITERATIONS_MAX,
    LOOP_PARALLEL_MAX, LOOP_SPECS_MAX, LOOP_STEP_MS_MAX, LOOP_TEXT_BYTES_MAX, LOOP_WALL_MS_MAX,
    NAME_BYTES_MAX,
};

pub(super) fn spec(name: &str, needs: &[&str]) -> Spec {
    Spec {
        name: name.to_owned(),
        needs: needs.iter().map(|name| (*name).to_owned()).collect(),
        instructions: String::new(),
        worker: None,
        run: step("true"),
        checks: Vec::new(),
        directory: Directory::Temporary,
        environment: BTreeMap::new(),
        budget: Budget::default(),
        stuck_after: None,
    }
}

fn step(program: &str) -> Step {
    Step { argv: vec![program.to_owned()], idempotent: false, time_limit_ms: 1_000 }
}

pub(super) fn plan(specs: Vec<Spec>) -> Plan {
    Plan { name: "p".to_owned(), description: String::new(), parallel: 1, specs }
}

type Alter = fn(&mut Plan);

/// Each field at its limit is taken.
///
/// proves: L1
#[test]
fn every_field_has_room() {
    let good: [Alter; 10] = [
        |plan| plan.name = "a".repeat(NAME_BYTES_MAX),
        |plan| plan.parallel = LOOP_PARALLEL_MAX,
        |plan| plan.specs[0].instructions = "x".repeat(LOOP_INSTRUCTIONS_BYTES_MAX),
        |plan| plan.specs[0].checks = vec![step("true"); LOOP_CHECKS_MAX],
        |plan| plan.specs[0].run.argv.push("x".repeat(LOOP_ARGV_BYTES_MAX - 6)),
        |plan| plan.specs[0].run.time_limit_ms = LOOP_STEP_MS_MAX,
        |plan| plan.specs[0].budget.iterations = LOOP_ITERATIONS_MAX,
        |plan| plan.specs[0].budget.wall_time_ms = LOOP_WALL_MS_MAX,
        |plan| plan.specs[0].stuck_after = Some(100),
        |plan| plan.specs[0].worker = Some("agent.large".to_owned()),
    ];
    for (number, alter) in good.into_iter().enumerate() {
        let mut plan = plan(vec![spec("a", &[])]);
        alter(&mut plan);
        assert_eq!(plan.check().unwrap().waves, [[0]], "{number}");
    }
}

/// Beyond its limit each is refused, with a sentence of its own.
///
/// proves: L1
#[test]
fn every_field_has_bounds() {
    let bad: [(Alter, &str); 24] = [
        (|plan| plan.name.clear(), "the plan's name \"\" is none"),
        (|plan| plan.name = "a b".to_owned(), "the plan's name \"a b\" is none"),
        (|plan| plan.description = "x".repeat(LOOP_TEXT_BYTES_MAX + 1), "the description"),
        (|plan| plan.parallel = 0, "parallel is 0"),
        (|plan| plan.parallel = LOOP_PARALLEL_MAX + 1, "parallel is"),
        (|plan| plan.specs.clear(), "the plan has no spec"),
        (
            |plan| plan.specs = (0..=LOOP_SPECS_MAX).map(|n| spec(&n.to_string(), &[])).collect(),
            "the plan has 1001 specs",
        ),
        (|plan| plan.specs[0].name = "ä".to_owned(), "spec \"ä\": its name is none"),
        (
            |plan| plan.specs[0].instructions = "x".repeat(LOOP_INSTRUCTIONS_BYTES_MAX + 1),
            "spec \"a\": its instructions",
        ),
        (|plan| plan.specs[0].worker = Some("a b".to_owned()), "spec \"a\": worker: "),
        (|plan| plan.specs[0].run.argv.clear(), "spec \"a\": run has no command"),
        (|plan| plan.specs[0].run.argv[0].clear(), "spec \"a\": the program of run is empty"),
        (
            |plan| plan.specs[0].run.argv.push("\0".to_owned()),
            "spec \"a\": an argument of run has a zero byte",
        ),
        (
            |plan| plan.specs[0].run.argv.push("x".repeat(LOOP_ARGV_BYTES_MAX - 5)),
            "spec \"a\": run is longer",
        ),
        (|plan| plan.specs[0].run.time_limit_ms = 0, "spec \"a\": the time limit of run"),
        (
            |plan| plan.specs[0].checks = vec![step("true"), step("")],
            "spec \"a\": the program of check 2 is empty",
        ),
        (
            |plan| plan.specs[0].checks = vec![step("true"); LOOP_CHECKS_MAX + 1],
            "spec \"a\": it has more than 100 checks",
        ),
        (
            |plan| plan.specs[0].directory = Directory::Plain(String::new()),
            "spec \"a\": directory \"\" is no path",
        ),
        (|plan| plan.specs[0].budget.iterations = 0, "spec \"a\": its budget has 0 iterations"),
        (|plan| plan.specs[0].budget.wall_time_ms = 0, "spec \"a\": the wall time"),
        (|plan| plan.specs[0].budget.attempts = Some(0), "spec \"a\": its budget has 0 attempts"),
        (|plan| plan.specs[0].budget.cost_micros = Some(0), "spec \"a\": its budget has a cost"),
        (|plan| plan.specs[0].stuck_after = Some(101), "spec \"a\": stuck_after is more"),
        (|plan| plan.specs[0].stuck_after = Some(0), "spec \"a\": stuck_after is more"),
    ];
    for (alter, expected) in bad {
        let mut plan = plan(vec![spec("a", &[])]);
        alter(&mut plan);
        let wrong = plan.check().unwrap_err();
        assert!(wrong.len() == 1 && wrong[0].starts_with(expected), "{expected}: {wrong:?}");
    }
}

/// All texts together have a bound, and so has what is told.
#[test]
fn a_plan_has_a_bound_and_so_has_what_is_told() {
    let instructions = "x".repeat(LOOP_INSTRUCTIONS_BYTES_MAX);
    let specs = ["a", "b", "c", "d"]
        .map(|name| Spec { instructions: instructions.clone(), ..spec(name, &[]) });
    let wrong = plan(specs.to_vec()).check().unwrap_err();
    assert!(wrong.len() == 1 && wrong[0].contains("1048576 are not taken"), "{wrong:?}");
    assert!(plan(specs[..3].to_vec()).check().is_ok());
    let name = "b c".repeat(10_000);
    let needs = vec!["x"; 200_000];
    let wrong = plan(vec![spec(&name, &needs)]).check().unwrap_err();
    assert_eq!(wrong.len(), WRONG_MAX + 1);
    assert!(wrong.iter().all(|why| why.len() < 400), "{}", wrong[0]);
    assert_eq!(wrong.last().unwrap(), "there is more that is wrong");
}

/// All that is wrong is told at once.
#[test]
fn everything_that_is_wrong_is_told() {
    let mut plan = plan(vec![spec("a", &["b"]), spec("b", &["a"]), spec("c", &["d"])]);
    plan.parallel = 0;
    plan.specs[1].budget.iterations = 0;
    let wrong = plan.check().unwrap_err();
    assert_eq!(wrong.len(), 4, "{wrong:?}");
}

#[test]
fn names_of_the_environment_are_the_programs_own() {
    let check = |name: &str, value: &str| {
        let mut spec = spec("a", &[]);
        spec.environment.insert(name.to_owned(), value.to_owned());
        plan(vec![spec]).check()
    };
    for name in ["A", "_", "path_2", "REKINDLE"] {
        assert!(check(name, "").is_ok(), "{name}");
    }
    for name in ["", "2A", "A-B", "A=B", "Ä", "REKINDLE_LOOP_ID", "A\0"] {
        assert!(check(name, "").is_err(), "{name:?}");
    }
    assert!(check("A", "a\0b").is_err());
}

#[test]
fn branches_are_what_git_takes() {
    let check = |branch: &str| {
        let mut spec = spec("a", &[]);
        let (repository, branch) = (".".to_owned(), branch.to_owned());
        spec.directory = Directory::Worktree { repository, branch, from: None };
        plan(vec![spec]).check()
    };
    for branch in ["main", "rekindle/fix-1", "a.b", "ü"] {
        assert!(check(branch).is_ok(), "{branch}");
    }
    for branch in [
        "", "-d", "@", "a..b", "a b", "a~1", "/a", "a/", "a//b", ".a", "a/.b", "a.lock", "a@{1}",
        "a.", "a\\b", "a\n",
    ] {
        assert!(check(branch).is_err(), "{branch:?}");
    }
}
