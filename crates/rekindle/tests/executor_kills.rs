//! Commands under a server that is killed in a loop, sometimes together with their shims.
//!
//! Each command holds a lock of its job while it runs and writes its beginning and its end into a
//! file. Invariants of the rounds: no job is lost, none runs twice at one time, each that is
//! completed ran to its end, and nothing is left when all is done.

use std::path::Path;
use std::time::Duration;

use rekindle_recovery::exit;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::executor_harness::{Works, eventually, hurry, show, submit};
use super::harness::{Server, post};
use super::kill_loop::Dice;

const ROUNDS: u64 = 12;
const PER_ROUND: u64 = 4;

/// The payload is how long it takes, in seconds.
const SCRIPT: &str = r#"
read n
exec 9> "OUT/$REKINDLE_JOB_ID.lock"
flock -n 9 || echo "$REKINDLE_JOB_ID" >> "OUT/twice"
echo begun >> "OUT/$REKINDLE_JOB_ID"
sleep "$n"
echo ended >> "OUT/$REKINDLE_JOB_ID"
"#;

fn works() -> (Works, tempfile::TempDir) {
    let out = tempfile::tempdir().unwrap();
    let script = SCRIPT.replace("OUT", &out.path().display().to_string());
    let executors = format!(
        "[executors.command.t]\nargv = [\"sh\", \"-c\", '''{script}''']\nconcurrency = 4\n"
    );
    (Works::new(&executors), out)
}

/// What commands wrote for a job.
fn lines(out: &Path, id: &str) -> Vec<String> {
    let text = std::fs::read_to_string(out.join(id)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn seed() -> u64 {
    let given = std::env::var("REKINDLE_SEED").ok();
    given.map_or(4, |seed| seed.parse().unwrap())
}

/// One life of the server, ended by SIGKILL; how many commands it took over.
fn live(works: &Works, out: &Path, dice: &mut Dice, ids: &mut Vec<String>) -> u64 {
    let server = works.start();
    hurry(&server, "t");
    for _ in 0..PER_ROUND {
        // Some outlive the server by more than the second in which they may be its cause.
        let hundredths = if dice.below(3) == 0 { 150 } else { dice.below(40) };
        ids.push(submit(&server, "t", json!(hundredths as f64 / 100.0)));
    }
    let total = |ids: &[String]| ids.iter().map(|id| lines(out, id).len()).sum::<usize>();
    let begun = total(ids);
    eventually(|| (total(ids) > begun).then_some(()));
    std::thread::park_timeout(Duration::from_millis(dice.below(200)));
    let with_shims = dice.below(6) == 0;
    let resumed = taken_over(&server);
    server.kill();
    if with_shims {
        for shim in works.shims() {
            // One that ended since is not there.
            let _ = kill_process(Pid::from_raw(shim.try_into().unwrap()).unwrap(), Signal::KILL);
        }
    }
    resumed
}

/// How many commands this server took over.
fn taken_over(server: &Server) -> u64 {
    let metrics = server.get("/metrics").body;
    let line = metrics.lines().find_map(|it| it.strip_prefix("rekindle_executions_resumed_total "));
    line.unwrap().parse().unwrap()
}

/// Goes on until each job is finished; what died with the server too often is approved.
fn finish(server: &Server, id: &str) -> Value {
    eventually(|| {
        let job = show(server, id);
        if job["status"] == "needs_review" {
            let answer = post(
                server.http,
                &format!("/v1/reviews/{id}/approve"),
                &json!({ "reason": "innocent" }),
            );
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        (job["status"] == "completed" || job["status"] == "failed").then_some(job)
    })
}

/// proves: J2, J7
#[test]
fn commands_survive_a_server_that_is_killed_in_a_loop() {
    let seed = seed();
    eprintln!("REKINDLE_SEED={seed}");
    let (works, out) = works();
    let (mut ids, mut resumed) = (Vec::new(), 0);
    for round in 0..ROUNDS {
        resumed += live(&works, out.path(), &mut Dice::new(seed, round), &mut ids);
    }
    let server = works.start();
    for id in &ids {
        let job = finish(&server, id);
        assert_eq!(job["status"], "completed", "{job}");
        let lines = lines(out.path(), id);
        let count = |word: &str| lines.iter().filter(|line| *line == word).count() as u64;
        let attempts = job["attempts"].as_u64().unwrap();
        assert!((1..=attempts).contains(&count("begun")), "{job}: {lines:?}");
        assert_eq!(lines.last().map(String::as_str), Some("ended"), "{job}: {lines:?}");
    }
    assert!(!out.path().join("twice").exists(), "a job ran twice at one time");
    assert!(resumed > 0, "some commands must outlive a server for this to mean anything");
    eventually(|| works.executions().is_empty().then_some(()));
    assert!(works.shims().is_empty());
    assert_eq!(server.stop(), exit::CLEAN);
}
