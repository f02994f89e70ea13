//! `rekindle loop` as a user has it.

use rekindle_recovery::exit;
use serde_json::json;

use super::cli_harness::run_with;
use super::executor_harness::Works;
use super::harness::rekindle;

const PLAN: &str = r#"
name = "ship"
[[spec]]
name = "release"
needs = ["fix", "docs"]
run = ["./release.sh"]
[[spec]]
name = "docs"
run = ["./docs.sh"]
[[spec]]
name = "fix"
run = ["./fix.sh"]
check = [["cargo", "test"]]
budget = { iterations = 1 }
"#;

/// A plan that can be done says how; standard input is a file like any other.
///
/// proves: L1
#[test]
fn a_plan_is_checked() {
    let checked = run_with(rekindle(&["loop", "check", "-"]), PLAN.as_bytes());
    assert_eq!((checked.code, checked.err.as_str()), (0, ""));
    let expected = "plan ship can be done: 3 specs, 2 waves, 1 at one time\n  \
        1  docs: 0 checks, at most 100 iterations\n  \
        1  fix: 1 check, at most 1 iteration\n  \
        2  release, after fix and docs: 0 checks, at most 100 iterations\n";
    assert_eq!(checked.out, expected);
    let as_json = run_with(rekindle(&["loop", "check", "-", "--json"]), PLAN.as_bytes());
    let [plan] = as_json.lines().try_into().unwrap();
    assert_eq!(plan["order"], json!([["docs", "fix"], ["release"]]));
    assert_eq!(
        plan["specs"][2],
        json!({
            "name": "fix", "needs": [], "instructions": "", "worker": null,
            "run": { "argv": ["./fix.sh"], "idempotent": false, "time_limit_ms": 3_600_000 },
            "checks": [
                { "argv": ["cargo", "test"], "idempotent": true, "time_limit_ms": 3_600_000 }
            ],
            "directory": "temporary", "environment": {},
            "budget": {
                "iterations": 1, "wall_time_ms": 86_400_000, "attempts": null, "cost_micros": null
            },
            "stuck_after": null
        })
    );
}

/// Each thing that is wrong is a line with the file's name; nothing is printed for scripts.
///
/// proves: L1
#[test]
fn all_that_is_wrong_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plan.toml");
    let text = PLAN.replace("needs = [\"fix\", \"docs\"]", "needs = [\"fx\"]\nstuck_after = 0");
    let name = path.to_str().unwrap();
    std::fs::write(&path, &text).unwrap();
    let refused = run_with(rekindle(&["loop", "check", name]), b"");
    assert_eq!((refused.code, refused.out.as_str()), (1, ""));
    let lines: Vec<&str> = refused.err.lines().collect();
    assert_eq!(
        lines,
        [
            format!(
                "{name}: spec \"release\": stuck_after is more than its iterations, or 0; use 1 \
                 to their number"
            ),
            format!("{name}: spec \"release\": it needs \"fx\", which is no spec of this plan"),
        ]
    );
    std::fs::write(&path, "name = \n").unwrap();
    let refused = run_with(rekindle(&["loop", "check", name]), b"");
    assert_eq!((refused.code, refused.out.as_str()), (1, ""));
    assert!(
        refused.err.starts_with(&format!("{name}: TOML parse error at line 1")),
        "{}",
        refused.err
    );
    let missing = run_with(rekindle(&["loop", "check", "not/there.toml"]), b"");
    assert_eq!(missing.code, 2, "{}", missing.err);
}

/// From the command line: the execution of the fork is printed, for scripts with its plan; shown,
/// it says what it was forked from; what cannot be is exit code 1.
///
/// proves: L2
#[test]
fn an_execution_is_forked() {
    let works = Works::new("[loops]\ncommands = true\n");
    let server = works.start();
    let http = server.http.to_string();
    let run = |arguments: &[&str], input: &str| {
        run_with(rekindle(&[&["loop", "--http", &http], arguments].concat()), input.as_bytes())
    };
    let plan = "name = \"p\"\n[[spec]]\nname = \"s\"\nrun = [\"true\"]\n";
    let plan = run(&["start", "-"], plan);
    assert_eq!(plan.code, 0, "{}", plan.err);
    let [listed] =
        run(&["list", "--plan", plan.out.trim(), "--json"], "").lines().try_into().unwrap();
    let id = listed["id"].as_str().unwrap();
    assert_eq!(run(&["follow", id], "").code, 0);
    let forked = run(&["fork", id, "--at", "1", "--reason", "so"], "");
    assert_eq!((forked.code, forked.err.as_str()), (0, ""));
    let fork = forked.out.trim();
    let shown = run(&["show", fork], "").out;
    assert!(shown.contains(&format!("\nforked     from {id} at iteration 1\n")), "{shown}");
    assert!(!run(&["show", id], "").out.contains("forked"));
    let [shown] = run(&["show", fork, "--json"], "").lines().try_into().unwrap();
    assert_eq!(shown["forked_from"], json!({ "execution": id, "at": 1 }));
    assert_eq!(run(&["follow", fork], "").code, 0);
    let [again] = run(&["fork", fork, "--at", "2", "--json"], "").lines().try_into().unwrap();
    let [shown] = run(&["show", again["execution"].as_str().unwrap(), "--json"], "")
        .lines()
        .try_into()
        .unwrap();
    assert_eq!((&shown["plan"], &shown["forked_from"]["execution"]), (&again["id"], &json!(fork)));
    let refused = run(&["fork", id, "--at", "7"], "");
    assert_eq!((refused.code, refused.out.as_str()), (1, ""));
    assert!(refused.err.contains("use 1 to 2"), "{}", refused.err);
    assert_eq!(run(&["fork", id], "").code, exit::USAGE);
    assert_eq!(server.stop(), 0);
}
