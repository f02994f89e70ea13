//! Commands inside the server: their work, their ends, and what becomes of them when the server
//! dies.

use std::os::unix::process::ExitStatusExt as _;

use rekindle_recovery::exit;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::executor_harness::{
    Works, causes, eventually, finished, hurry, show, submit, told, told_works, until,
};
use super::harness::{self, ask, post, refused, wait};
use super::shim_harness::Watched;

fn error(job: &Value) -> &str {
    job["last_error"].as_str().unwrap_or_else(|| panic!("{job}"))
}

/// The payload on standard input, who it is for in the environment, the result from standard
/// output, and each way to go wrong with its reason.
///
/// proves: J10
#[test]
fn a_command_works_on_the_jobs_of_its_type() {
    let works = Works::new(
        r#"
[executors.command.upper]
argv = ["sh", "-c", "tr a-z A-Z; printf '%s %s%s' $REKINDLE_JOB_TYPE $REKINDLE_JOB_ATTEMPT $GIVEN"]
environment = { GIVEN = "x" }
concurrency = 4
[executors.command.fails]
argv = ["sh", "-c", "echo the disk is away >&2; exit 3"]
[executors.command."not.there"]
argv = ["/nowhere/at/all"]
[executors.command.slow]
argv = ["sleep", "60"]
time_limit = "50ms"
[executors.command.prints]
argv = ["sh", "-c", "head -c 200000 /dev/zero"]
output_bytes = "100KiB"
"#,
    );
    let server = works.start();
    let ids: Vec<String> = (0..8).map(|_| submit(&server, "upper", json!("hello"))).collect();
    for id in &ids {
        let job = finished(&server, id);
        assert_eq!(job["status"], "completed", "{job}");
        assert_eq!(job["result"], "\"HELLO\"upper 1x", "{job}");
    }
    for (kind, expected) in [
        ("fails", "exit status 3: the disk is away"),
        ("not.there", "it could not be started: /nowhere/at/all: "),
        ("slow", "ended by its time limit (signal 15)"),
        ("prints", "the command printed 200000 bytes, which is more than are kept"),
    ] {
        let path = format!("/v1/job-types/{kind}");
        let once = json!({ "max_attempts": 1 });
        assert_eq!(ask(server.http, ("PUT", &path), &[], Some(&once)).status, 200);
        let id = submit(&server, kind, json!(null));
        let job = until(&server, &id, |job| job["status"] == "failed");
        assert!(error(&job).starts_with(expected), "{kind}: {job}");
        assert_eq!(causes(&job), ["failed"], "{job}");
    }
    eventually(|| works.executions().is_empty().then_some(()));
    let shown = |figure: &str| server.get("/metrics").body.contains(figure);
    eventually(|| shown("rekindle_executions_running 0").then_some(()));
    assert!(shown("rekindle_jobs_completed_total 8") && shown("rekindle_jobs_failed_total 4"));
    assert_eq!(server.stop(), exit::CLEAN);
}

/// The server keeps its own files from others; what a command makes is as whoever started the
/// server wanted it.
#[test]
fn a_command_gets_the_file_mode_mask_of_the_caller() {
    let works = Works::new("[executors.command.mask]\nargv = [\"sh\", \"-c\", \"umask\"]\n");
    let serve = works.command();
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "umask 0027; exec \"$0\" \"$@\""]);
    shell.arg(serve.get_program()).args(serve.get_args());
    shell.envs(serve.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let server = harness::Server::spawn(shell);
    let job = finished(&server, &submit(&server, "mask", json!(null)));
    assert_eq!(job["result"].as_str().unwrap().trim(), "0027", "{job}");
    assert_eq!(server.stop(), exit::CLEAN);
}

/// A command that kills the server is run three times, and then no more: its job waits for a
/// person, and the server lives.
///
/// proves: J7
#[test]
fn a_command_that_kills_the_server_ends_under_review() {
    for script in ["kill -9 $REKINDLE_SERVER_PID", "kill -9 $REKINDLE_SERVER_PID; exit 1"] {
        let works = Works::new(&format!(
            "[executors.command.killer]\nargv = [\"sh\", \"-c\", \"{script}\"]\n"
        ));
        let mut server = works.start();
        hurry(&server, "killer");
        let id = submit(&server, "killer", json!(null));
        assert_eq!(server.ended().signal(), Some(Signal::KILL.as_raw()));
        for _ in 0..2 {
            let mut again = harness::Dropped(works.command().spawn().unwrap());
            assert_eq!(wait(&mut again.0).signal(), Some(Signal::KILL.as_raw()));
        }
        let server = works.start();
        let job = until(&server, &id, |job| job["status"] != "processing");
        assert_eq!(job["status"], "needs_review", "{job}");
        assert_eq!(causes(&job), ["server_crash"; 3]);
        assert!(told(&server, &["review", "list"]).contains(&id));
        eventually(|| works.executions().is_empty().then_some(()));
        assert_eq!(server.stop(), exit::CLEAN);
    }
}

/// A command outlives the server, the next one takes it over under the same claim, and its result
/// is taken.
///
/// proves: J2
#[test]
fn a_command_that_runs_is_taken_over() {
    let (works, mut up, mut down) = told_works();
    let server = works.start();
    let id = submit(&server, "t", json!(null));
    let command = Watched::named(&up.line());
    server.kill();
    assert!(!command.is_over());
    let plan = harness::run(&["recovery", "plan", "--data", works.data().to_str().unwrap()]);
    let plan = String::from_utf8(plan.stdout).unwrap();
    assert!(plan.contains("command-3") && plan.contains("claim-11"), "{plan}");
    assert!(!plan.contains("store-14"), "its directory is known: {plan}");
    let server = works.start();
    let job = show(&server, &id);
    assert_eq!((&job["status"], &job["attempts"]), (&json!("processing"), &json!(1)), "{job}");
    assert!(server.get("/metrics").body.contains("rekindle_executions_resumed_total 1"));
    // It has the one place of its type: another job waits.
    let other = submit(&server, "t", json!(null));
    // Whoever ends well within a second of the server's death is taken for its cause.
    down.send("sleep 3; echo through");
    let job = finished(&server, &id);
    assert_eq!((&job["status"], &job["attempts"]), (&json!("completed"), &json!(1)), "{job}");
    assert_eq!(job["result"], "through\n");
    up.line();
    down.send("exit 0");
    let other = finished(&server, &other)["events"][1]["at_ms"].as_u64();
    assert!(other >= job["finished_ms"].as_u64(), "it began after the first one had ended");
    eventually(|| works.executions().is_empty().then_some(()));
    assert_eq!(server.stop(), exit::CLEAN);
}

/// A command that ended while no server was there is not run again.
///
/// proves: J2
#[test]
fn an_end_that_nobody_saw_counts() {
    let (works, mut up, mut down) = told_works();
    let server = works.start();
    let id = submit(&server, "t", json!(null));
    up.line();
    let shim = Watched::of(works.shims()[0]);
    server.kill();
    down.send("sleep 3; echo through");
    assert!(shim.ends());
    let server = works.start();
    let job = finished(&server, &id);
    assert_eq!((&job["status"], &job["attempts"]), (&json!("completed"), &json!(1)), "{job}");
    assert_eq!(job["result"], "through\n");
    assert_eq!(server.stop(), exit::CLEAN);
}

/// Server and shim die at once: nobody knows how far the command came, so it is run again, and
/// nothing of the first one is left, wherever it hides.
///
/// proves: J2, J7
#[test]
fn what_nobody_knows_is_charged_and_leaves_no_orphan() {
    let (works, mut up, mut down) = told_works();
    let server = works.start();
    hurry(&server, "t");
    let id = submit(&server, "t", json!(null));
    let command = Watched::named(&up.line());
    down.send(&format!("setsid sh -c 'echo $$ > {}; sleep 60' & sleep 60", up.path()));
    let hidden = Watched::named(&up.line());
    let shim = works.shims()[0];
    server.kill();
    kill_process(Pid::from_raw(shim.try_into().unwrap()).unwrap(), Signal::KILL).unwrap();
    assert!(command.ends(), "it dies with its shim");
    assert!(!hidden.is_over());
    let server = works.start();
    assert!(hidden.is_over(), "it is ended before the server serves");
    let second = Watched::named(&up.line());
    let job = show(&server, &id);
    assert_eq!((causes(&job), &job["attempts"]), (vec!["server_crash".into()], &json!(2)), "{job}");
    down.send("echo 2");
    assert_eq!(finished(&server, &id)["result"], 2);
    assert!(second.ends());
    eventually(|| works.executions().is_empty().then_some(()));
    assert_eq!(server.stop(), exit::CLEAN);
}

/// A stop in order ends the commands and costs their jobs nothing.
///
/// fault: T7
#[test]
fn a_stop_ends_commands_and_charges_nobody() {
    let (works, mut up, mut down) = told_works();
    let mut command = works.command();
    command.env("REKINDLE__SERVER__SHUTDOWN_TIMEOUT", "2s");
    let server = harness::Server::spawn(command);
    let id = submit(&server, "t", json!(null));
    let command = Watched::named(&up.line());
    assert_eq!(server.stop(), exit::CLEAN);
    assert!(command.is_over());
    assert!(works.shims().is_empty() && works.executions().is_empty());
    let server = works.start();
    up.line();
    let job = show(&server, &id);
    assert_eq!(causes(&job), ["shutdown"]);
    assert_eq!((&job["charged"], &job["attempts"]), (&json!(0), &json!(2)), "{job}");
    down.send("exit 0");
    assert_eq!(finished(&server, &id)["status"], "completed");
}

/// A command whose job is called off is told to end.
#[test]
fn a_command_ends_when_its_claim_is_lost() {
    let (works, mut up, _down) = told_works();
    let server = works.start();
    let body = json!({ "lease_ms": 100 });
    let answer = ask(server.http, ("PUT", "/v1/job-types/t"), &[], Some(&body));
    assert_eq!(answer.status, 200, "{answer:?}");
    let id = submit(&server, "t", json!(null));
    let command = Watched::named(&up.line());
    let answer = post(server.http, &format!("/v1/jobs/{id}/cancel"), &json!({ "reason": "no" }));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(command.ends());
    eventually(|| works.executions().is_empty().then_some(()));
    assert_eq!(show(&server, &id)["status"], "cancelled");
}

/// A job that is called off and asked for again waits until its first command is gone, which hears
/// of it at once and not with the next heartbeat.
#[test]
fn a_job_has_one_command_at_a_time() {
    let (works, mut up, mut down) = told_works();
    let server = works.start();
    let id = submit(&server, "t", json!(null));
    let first = Watched::named(&up.line());
    let ask = |verb: &str| post(server.http, &format!("/v1/jobs/{id}/{verb}"), &json!({}));
    assert_eq!(ask("cancel").status, 200);
    assert_eq!(ask("retry").status, 200);
    up.line();
    assert!(first.is_over());
    assert_eq!(show(&server, &id)["attempts"], 2);
    down.send("exit 0");
    assert_eq!(finished(&server, &id)["status"], "completed");
}

/// A shim that was stopped goes on when its command is to end.
#[test]
fn a_stopped_shim_is_woken_to_end() {
    let (works, mut up, _down) = told_works();
    let server = works.start();
    let id = submit(&server, "t", json!(null));
    let command = Watched::named(&up.line());
    let shim = Pid::from_raw(works.shims()[0].try_into().unwrap()).unwrap();
    kill_process(shim, Signal::STOP).unwrap();
    let answer = post(server.http, &format!("/v1/jobs/{id}/cancel"), &json!({}));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(command.ends());
    eventually(|| works.executions().is_empty().then_some(()));
}

/// Damage beside a command that runs is no reason to run it twice, and none not to start.
///
/// proves: J6
#[test]
fn a_damaged_directory_stops_nothing() {
    let (works, mut up, mut down) = told_works();
    let server = works.start();
    hurry(&server, "t");
    let id = submit(&server, "t", json!(null));
    let command = Watched::named(&up.line());
    server.kill();
    let dir = works.data().join("executions").join(&works.executions()[0]);
    std::fs::write(dir.join("end.json"), "garbage").unwrap();
    let server = works.start();
    assert!(!command.is_over());
    assert_eq!(show(&server, &id)["attempts"], 1);
    server.kill();
    // Who runs it cannot be told any more: it is ended, and run again.
    std::fs::remove_file(dir.join("identity.json")).unwrap();
    std::fs::create_dir(dir.join("identity.json")).unwrap();
    let server = works.start();
    let again = Watched::named(&up.line());
    assert!(command.is_over());
    assert_eq!(causes(&show(&server, &id)), ["server_crash"]);
    down.send("exit 0");
    assert_eq!(finished(&server, &id)["status"], "completed");
    assert!(again.ends());
    // What is not a command's own stays, and is told.
    eventually(|| (works.executions().len() == 1).then_some(()));
    assert_eq!(server.stop(), exit::CLEAN);
    assert_eq!(works.start().stop(), exit::CLEAN);
}

/// What cannot be meant is refused at the start, by its name.
#[test]
fn settings_of_executors_are_checked_at_the_start() {
    for (text, expected) in [
        ("[executors.comand.t]\nargv = [\"x\"]", "no such key: \"executors.comand\""),
        ("[executors.command.t]\nargs = [\"x\"]", "executors.command.t: unknown field `args`"),
        ("[executors.command.t]\nargv = []", "executors.command.t: a command needs a program"),
        ("[executors.command.\"a b\"]\nargv = [\"x\"]", "executors.command.a b: "),
        (
            "[executors.command.t]\nargv = [\"x\"]\nconcurrency = 0",
            "executors.command.t.concurrency: 0 is not a whole number from 1 to 256",
        ),
        (
            "[executors.command.t]\nargv = [\"x\"]\ntime_limit = \"soon\"",
            "executors.command.t.time_limit: \"soon\" is not a duration",
        ),
        (
            "[executors.webhook.t]\nurl = \"https://a/\"\nsecret_file = \"/x\"",
            "executors.webhook.t.url: \"https://a/\" is no address of a webhook",
        ),
        (
            "[executors.webhook.t]\nurl = \"http://a/\"\nsecret_file = \"/dev/null\"",
            "executors.webhook.t.secret_file: /dev/null cannot be read: it is not a regular file",
        ),
    ] {
        let works = Works::new(text);
        let (code, said) = refused(works.command());
        assert_eq!(code, exit::CONFIG, "{text}: {said}");
        assert!(said.contains(expected), "{text}: {said}");
    }
}

/// A pipe in the place of a secret, into which nobody writes, is refused and not waited for.
#[test]
fn a_pipe_is_no_secret() {
    let works = Works::with(|place| {
        let pipe = place.fifo("pipe").path();
        format!("[executors.webhook.t]\nurl = \"http://a/\"\nsecret_file = \"{pipe}\"")
    });
    let (code, said) = refused(works.command());
    assert_eq!(code, exit::CONFIG, "{said}");
    assert!(said.contains("pipe cannot be read: it is not a regular file"), "{said}");
}
