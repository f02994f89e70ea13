//! Loops on the real binary: from the command line to their end, and under a server that is killed
//! in every phase of an iteration.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rekindle_recovery::exit;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::executor_harness::{Works, eventually};
use super::harness::{Server, ask, post, rekindle};
use super::kill_loop::Dice;

const ROUNDS: u64 = 12;

pub fn works() -> Works {
    Works::new("[loops]\ncommands = true\n")
}

fn get(server: &Server, path: &str) -> Value {
    let answer = server.get(path);
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    serde_json::from_str(&answer.body).unwrap()
}

pub fn step(script: &str, idempotent: bool) -> Value {
    json!({ "argv": ["sh", "-c", script], "idempotent": idempotent, "time_limit_ms": 60_000 })
}

/// A plan of one spec.
pub fn plan(run: &Value, check: &Value) -> Value {
    let budget =
        json!({ "iterations": 90, "wall_time_ms": 600_000, "attempts": null, "cost_micros": null });
    let spec = json!({
        "name": "work", "needs": [], "instructions": "go", "worker": null, "run": run,
        "checks": [check], "directory": "temporary", "environment": {}, "budget": budget,
        "stuck_after": null,
    });
    json!({ "name": "kill", "description": "", "parallel": 1, "specs": [spec] })
}

pub fn start(server: &Server, plan: &Value) -> String {
    let answer = post(server.http, "/v1/loops", &json!({ "plan": plan }));
    assert_eq!(answer.status, 201, "{answer:?}");
    let started: Value = serde_json::from_str(&answer.body).unwrap();
    let id = started["id"].as_str().unwrap();
    let shown = get(server, &format!("/v1/loops/{id}"));
    shown["specs"][0]["execution"]["id"].as_str().unwrap().to_owned()
}

pub fn show(server: &Server, id: &str) -> Value {
    get(server, &format!("/v1/loops/{id}"))
}

pub fn lines(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// A server that was not told to runs no programs for whoever may start a plan.
#[test]
fn commands_of_loops_are_off_unless_wanted() {
    let works = Works::new("");
    let server = works.start();
    let plan = plan(&step("true", true), &step("true", true));
    let answer = post(server.http, "/v1/loops", &json!({ "plan": plan }));
    assert_eq!(answer.status, 409, "{answer:?}");
    assert!(answer.body.contains("--loop-commands"), "{answer:?}");
    assert_eq!(server.stop(), exit::CLEAN);
}

/// From the command line: start, follow, show, list; the directory goes when it is over.
///
/// proves: L1, L2, L8
#[test]
fn a_plan_runs_from_the_command_line() {
    let works = works();
    let server = works.start();
    let file = works.data().with_file_name("plan.toml");
    let report = r#"echo "{\"progress\":1,\"cost\":0.5}" > $REKINDLE_REPORT"#;
    let text = format!(
        "name = \"count\"\n[[spec]]\nname = \"work\"\ninstructions = \"hello\"\n\
         run = {{ argv = [\"sh\", \"-c\", '''cat >> lines; echo >> lines; {report}'''] }}\n\
         check = [[\"sh\", \"-c\", \"test $(wc -l < lines) -ge 3\"]]\n"
    );
    std::fs::write(&file, text).unwrap();
    let http = server.http.to_string();
    let run = |arguments: &[&str]| {
        let all = [&["loop", "--http", &http], arguments].concat();
        let done = rekindle(&all).output().unwrap();
        let out = String::from_utf8(done.stdout).unwrap();
        assert!(done.status.success(), "{arguments:?}: {out}");
        out
    };
    let plan = run(&["start", file.to_str().unwrap()]).trim().to_owned();
    let listed: Value = serde_json::from_str(&run(&["list", "--plan", &plan, "--json"])).unwrap();
    let id = listed["id"].as_str().unwrap().to_owned();
    let followed = run(&["follow", &id]);
    let events: Vec<Value> =
        followed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.last().unwrap()["event"], "completed");
    let numbers: Vec<u64> = events.iter().map(|it| it["sequence"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    let shown: Value = serde_json::from_str(&run(&["show", &id, "--json"])).unwrap();
    assert_eq!((&shown["status"], &shown["used"]["iterations"]), (&json!("completed"), &json!(3)));
    assert_eq!(shown["used"]["cost_micros"], 1_500_000);
    assert_eq!(shown["progress_micros"], 1_000_000);
    assert!(run(&["show", &plan]).contains("completed"));
    let workspace = works.data().join("loops/workspaces").join(&id);
    eventually(|| (!workspace.exists()).then_some(()));
    assert_eq!(run(&["cleanup", "--dry-run"]), "");
    let again = rekindle(&["loop", "--http", &http, "pause", &id]).output().unwrap();
    assert_eq!(again.status.code(), Some(exit::REFUSED));
    assert_eq!(server.stop(), exit::CLEAN);
}

/// A fork runs on from its iteration, in a directory of its own, and says what it was forked from;
/// a repeated request has one effect, and what cannot be is refused with what can.
///
/// proves: L2
#[test]
fn an_execution_is_forked_over_http() {
    let works = works();
    let server = works.start();
    let out = works.data().with_file_name("out");
    let script = format!("echo $REKINDLE_ITERATION $PWD >> {}", out.display());
    let check = step("test $REKINDLE_ITERATION -ge 3", true);
    let id = start(&server, &plan(&step(&script, false), &check));
    eventually(|| (show(&server, &id)["status"] == "completed").then_some(()));
    assert_eq!(show(&server, &id)["forked_from"], Value::Null);
    let path = format!("/v1/loops/{id}/fork");
    let key = [("Idempotency-Key", "0190f3a0-0000-7000-8000-000000000001/7")];
    let body = json!({ "at": 2, "reason": "it went astray" });
    let answer = ask(server.http, ("POST", &path), &key, Some(&body));
    assert_eq!(answer.status, 201, "{answer:?}");
    let forked = answer.json();
    let again = ask(server.http, ("POST", &path), &key, Some(&body));
    assert_eq!((again.status, &again.json()), (201, &forked));
    let (of, fork) = (forked["id"].as_str().unwrap(), forked["execution"].as_str().unwrap());
    assert!(forked["version"].as_u64() > Some(0) && forked["durability"] == "disk");
    eventually(|| (show(&server, fork)["status"] == "completed").then_some(()));
    let shown = show(&server, fork);
    assert_eq!(shown["forked_from"], json!({ "execution": id, "at": 2 }));
    assert_eq!((&shown["used"]["iterations"], &shown["plan"]), (&json!(3), &json!(of)));
    assert_eq!(shown["last_events"][0]["fork"]["at"], 2);
    let done: Vec<String> = lines(&out);
    let iterations: Vec<&str> = done.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(iterations, ["1", "2", "3", "2", "3"]);
    assert!(done[3].contains(fork) && !done[2].contains(fork), "{done:?}");
    for (wrong, status, says) in [
        (json!({}), 400, "at"),
        (json!({ "at": -1 }), 400, "at"),
        (json!({ "at": 4_294_967_296_u64 }), 400, "at"),
        (json!({ "at": 1, "draft": true }), 400, "draft"),
        (json!({ "at": 5 }), 400, "use 1 to 4"),
        (json!({ "at": 0 }), 400, "use 1 to 4"),
    ] {
        let answer = post(server.http, &path, &wrong);
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.body.contains(says), "{answer:?}");
    }
    let nobody = "/v1/loops/018bcfe5-6800-7fff-bfff-ffffffffffff/fork";
    assert_eq!(post(server.http, nobody, &body).status, 404);
    assert_eq!(post(server.http, "/v1/loops/1/fork", &body).status, 400);
    let of_a_plan = post(server.http, &format!("/v1/loops/{of}/fork"), &body);
    assert!(of_a_plan.status == 400 && of_a_plan.body.contains("is a plan"), "{of_a_plan:?}");
    let records = get(&server, "/v1/audit");
    let last = records["records"].as_array().unwrap().last().unwrap();
    let told = [&last["action"], &last["target"], &last["why"], &last["who"]];
    assert_eq!(told, ["loop.fork", &id, "it went astray", "http 127.0.0.1"]);
    assert_eq!(server.stop(), exit::CLEAN);
    // Nothing is begun that nobody would do.
    std::fs::write(works.data().with_file_name("rekindle.toml"), "").unwrap();
    let server = works.start();
    let answer = post(server.http, &path, &body);
    assert!(answer.status == 409 && answer.body.contains("--loop-commands"), "{answer:?}");
    assert_eq!(server.stop(), exit::CLEAN);
}

/// An orderly end leaves the step that runs alone, and the next server tells its end.
///
/// proves: L7
#[test]
fn a_step_outlives_an_orderly_end() {
    let works = works();
    let server = works.start();
    let out = works.data().with_file_name("out");
    let script = format!("echo begun >> {0}; sleep 1; echo ended >> {0}", out.display());
    let id = start(&server, &plan(&step(&script, false), &step("true", true)));
    eventually(|| (!lines(&out).is_empty()).then_some(()));
    assert_eq!(server.stop(), exit::CLEAN);
    let server = works.start();
    eventually(|| (show(&server, &id)["status"] == "completed").then_some(()));
    assert_eq!(lines(&out), ["begun", "ended"]);
    assert_eq!(show(&server, &id)["used"]["attempts"], 0);
    assert_eq!(server.stop(), exit::CLEAN);
}

/// Transcripts are written while a server runs, kept over a kill, and enough to have loops back
/// when the store is lost: what was going on waits for a person then.
///
/// proves: L2, L5, L10
#[test]
fn a_lost_store_has_its_loops_back_from_their_transcripts() {
    let works = works();
    let server = works.start();
    let done = start(&server, &plan(&step("true", true), &step("true", true)));
    eventually(|| (show(&server, &done)["status"] == "completed").then_some(()));
    let going = start(&server, &plan(&step("true", true), &step("sleep 60", true)));
    let loops = works.data().join("loops");
    let transcript = |id: &str| lines(&loops.join(format!("{id}.jsonl")));
    let word = |line: &String| serde_json::from_str::<Value>(line).unwrap()["event"].clone();
    eventually(|| (transcript(&going).len() >= 4).then_some(()));
    assert_eq!(transcript(&done).iter().map(word).next_back(), Some(json!("completed")));
    server.kill();
    for shim in works.shims() {
        let _ = kill_process(Pid::from_raw(shim.try_into().unwrap()).unwrap(), Signal::KILL);
    }
    let there = self::works();
    let repair = |arguments: &[&str]| {
        let (data, loops) = (there.data().display().to_string(), loops.display().to_string());
        let all = ["repair", "--data", &data, "--from-transcripts", &loops, "--json"];
        let done = rekindle(&[&all, arguments].concat()).output().unwrap();
        let out: Value = serde_json::from_slice(&done.stdout).unwrap_or_default();
        (done.status.code(), out)
    };
    let (code, rebuilt) = repair(&["--reason", "the disk died"]);
    assert_eq!((code, &rebuilt["corrupted_records"]), (Some(exit::CLEAN), &json!([])));
    let count = |name: &str| rebuilt[name].as_u64().unwrap();
    let counts = ["plans", "executions", "set_aside", "kept"].map(count);
    assert_eq!((counts, &rebuilt["planned"]), ([2, 2, 1, 0], &json!(false)));
    let (code, planned) = repair(&["--plan"]);
    assert_eq!((code, &planned["kept"], &planned["planned"]), (Some(0), &json!(2), &json!(true)));
    assert_eq!(planned["state_hash"], rebuilt["state_hash"]);
    let server = there.start();
    assert_eq!(show(&server, &done)["status"], "completed");
    let waits = eventually(|| {
        let shown = show(&server, &going);
        (shown["status"] == "needs_review").then_some(shown)
    });
    assert_eq!(waits["review"], json!({ "reason": "rebuilt", "lost": 0 }));
    let answer =
        post(server.http, &format!("/v1/reviews/{going}/approve"), &json!({ "reason": "so" }));
    assert_eq!(answer.status, 200, "{answer:?}");
    eventually(|| (show(&server, &going)["status"] == "running").then_some(()));
    assert_eq!(post(server.http, &format!("/v1/loops/{going}/cancel"), &json!({})).status, 200);
    assert_eq!(server.stop(), exit::CLEAN);
}

/// The server is killed in every phase of an iteration, sometimes with the shims: what must not be
/// done twice is not, unless a person says so; what was used never becomes less; nothing is left.
///
/// proves: L7, L8, L9
#[test]
fn loops_survive_a_server_that_is_killed_in_a_loop() {
    let seed = std::env::var("REKINDLE_SEED").map_or(4, |seed| seed.parse().unwrap());
    let rounds = std::env::var("REKINDLE_ROUNDS").map_or(ROUNDS, |it| it.parse().unwrap());
    eprintln!("REKINDLE_SEED={seed}");
    let works = works();
    let [runs, checks] = ["runs", "checks"].map(|name| works.data().with_file_name(name));
    let name = "$REKINDLE_ITERATION.$REKINDLE_STEP";
    let run = step(&format!("sleep 0.05; echo {name} >> {}; sleep 0.05", runs.display()), false);
    let most = 4 * rounds;
    let check = format!(
        "echo {name} >> {}; sleep 0.05; test $(wc -l < {}) -ge {most}",
        checks.display(),
        runs.display()
    );
    let mut plan = plan(&run, &step(&check, true));
    plan["specs"][0]["budget"]["iterations"] = json!(40 * rounds);
    let (mut id, mut used) = (None, 0);
    for round in 0..rounds {
        let mut dice = Dice::new(seed, round);
        let server = works.start();
        let id = id.get_or_insert_with(|| start(&server, &plan)).clone();
        used = go_on(&server, &id, used);
        let before = lines(&runs).len() + lines(&checks).len();
        eventually(|| {
            go_on(&server, &id, used);
            (lines(&runs).len() + lines(&checks).len() > before).then_some(())
        });
        std::thread::park_timeout(Duration::from_millis(dice.below(200)));
        let with_shims = dice.below(4) == 0;
        server.kill();
        if with_shims {
            for shim in works.shims() {
                // One that ended since is not there.
                let pid = Pid::from_raw(shim.try_into().unwrap()).unwrap();
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
    let (server, id) = (works.start(), id.unwrap());
    used = to_the_end(&server, &id, used, &checks);
    let mut times: BTreeMap<String, u32> = BTreeMap::new();
    for line in lines(&runs) {
        *times.entry(line).or_default() += 1;
    }
    assert!(times.values().all(|times| *times == 1), "done twice: {times:?}");
    let checked: Vec<String> = lines(&checks);
    for run in times.keys() {
        let check = run.replace(".0", ".1");
        assert!(checked.contains(&check), "each run that was done is checked: {run}");
    }
    assert!(times.len() as u64 >= most && used >= most);
    eventually(|| works.executions().is_empty().then_some(()));
    assert!(works.shims().is_empty());
    let transcript = works.data().join("loops").join(format!("{id}.jsonl"));
    let events = show(&server, &id)["events"].as_u64().unwrap();
    eventually(|| (lines(&transcript).len() as u64 == events).then_some(()));
    assert!(!works.data().join("loops/quarantine").exists());
    let workspaces = works.data().join("loops/workspaces");
    eventually(|| std::fs::read_dir(&workspaces).unwrap().next().is_none().then_some(()));
    assert_eq!(server.stop(), exit::CLEAN);
}

/// However many iterations are left, each comes in its time.
fn to_the_end(server: &Server, id: &str, mut used: u64, checks: &Path) -> u64 {
    loop {
        let before = lines(checks).len();
        let is_over = eventually(|| {
            used = go_on(server, id, used);
            let is_over = show(server, id)["status"] == "completed";
            (is_over || lines(checks).len() > before).then_some(is_over)
        });
        if is_over {
            return used;
        }
    }
}

/// What waits for a person is taken as done; how many iterations it used, which is never less than
/// before.
fn go_on(server: &Server, id: &str, before: u64) -> u64 {
    let shown = show(server, id);
    if shown["status"] == "needs_review" {
        let path = format!("/v1/reviews/{id}/approve");
        let answer = post(server.http, &path, &json!({ "reason": "looked" }));
        // It may have been decided a moment ago.
        assert!([200, 404].contains(&answer.status), "{answer:?}");
    }
    let used = shown["used"]["iterations"].as_u64().unwrap();
    assert!(used >= before, "{used} < {before}");
    used
}
