//! A store that is copied or moved while its commands run: those of another directory are left
//! alone, and those of a directory that was moved go on.

use rekindle_recovery::exit;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::executor_harness::{
    Works, causes, eventually, finished, hurry, show, submit, told, told_works,
};
use super::harness;
use super::shim_harness::Watched;

/// Servers come and go on copies while the command runs, are told whose it is, and run the job
/// themselves; the command goes on where it belongs.
///
/// proves: J2, J7
/// produces: command-12
#[test]
fn commands_of_another_directory_are_left_alone() {
    let (works, mut up, mut down) = told_works();
    let server = works.start();
    hurry(&server, "t");
    let id = submit(&server, "t", json!(null));
    let command = Watched::named(&up.line());
    let shim = works.shims()[0];
    let copy = works.copied("[executors.command.t]\nargv = [\"echo\", \"7\"]");
    let plan = harness::run(&["recovery", "plan", "--data", copy.data().to_str().unwrap()]);
    let plan = String::from_utf8(plan.stdout).unwrap();
    assert!(plan.contains("command-12") && plan.contains("claim-7"), "{plan}");
    assert!(plan.contains(&format!("its shim is process {shim}")), "{plan}");
    let second = copy.start();
    let report = told(&second, &["recovery", "show"]);
    assert!(report.contains("command-12"), "{report}");
    let job = finished(&second, &id);
    assert_eq!((&job["status"], &job["result"]), (&json!("completed"), &json!(7)), "{job}");
    assert_eq!((causes(&job), &job["attempts"]), (vec!["server_crash".into()], &json!(2)), "{job}");
    // Only the copy of its records goes, and what the copy ran itself.
    eventually(|| copy.executions().is_empty().then_some(()));
    assert_eq!(second.stop(), exit::CLEAN);
    let copy = works.copied("");
    let second = copy.start();
    let job = show(&second, &id);
    assert_eq!((causes(&job), &job["status"]), (vec!["server_crash".into()], &json!("pending")));
    second.kill();
    assert!(!command.is_over());
    down.send("echo through");
    let job = finished(&server, &id);
    assert_eq!((&job["status"], &job["attempts"]), (&json!("completed"), &json!(1)), "{job}");
    assert_eq!(job["result"], "through\n");
    eventually(|| works.executions().is_empty().then_some(()));
    assert_eq!(server.stop(), exit::CLEAN);
}

/// A copy that is made after the server and the shim died says nothing about what they left
/// running: that is ended where it belongs.
#[test]
fn a_copy_ends_no_orphans_of_another_directory() {
    let (works, mut up, mut down) = told_works();
    let server = works.start();
    let id = submit(&server, "t", json!(null));
    let command = Watched::named(&up.line());
    down.send(&format!("setsid sh -c 'echo $$ > {}; sleep 60' & sleep 60", up.path()));
    let hidden = Watched::named(&up.line());
    let shim = works.shims()[0];
    server.kill();
    kill_process(Pid::from_raw(shim.try_into().unwrap()).unwrap(), Signal::KILL).unwrap();
    assert!(command.ends(), "it dies with its shim");
    let copy = works.copied("");
    let second = copy.start();
    assert_eq!(causes(&show(&second, &id)), ["server_crash"]);
    assert_eq!(second.stop(), exit::CLEAN);
    assert!(!hidden.is_over());
    let server = works.start();
    assert!(hidden.is_over(), "here it is known");
    assert_eq!(causes(&show(&server, &id)), ["server_crash"]);
    server.kill();
}

/// A directory that is moved while its command runs is the same: the command is taken over there,
/// and its end is written there, whatever lies in the old place.
#[test]
fn a_command_goes_on_in_a_directory_that_was_moved() {
    let (works, mut up, mut down) = told_works();
    let server = works.start();
    let id = submit(&server, "t", json!(null));
    let command = Watched::named(&up.line());
    server.kill();
    let execution = works.data().join("executions").join(&works.executions()[0]);
    let there = works.moved();
    std::fs::create_dir_all(&execution).unwrap();
    let server = there.start();
    assert!(!command.is_over());
    // Whoever ends well within a second of the server's death is taken for its cause.
    down.send("sleep 3; echo through");
    let job = finished(&server, &id);
    assert_eq!((&job["status"], &job["attempts"]), (&json!("completed"), &json!(1)), "{job}");
    assert_eq!(job["result"], "through\n");
    assert_eq!(std::fs::read_dir(&execution).unwrap().count(), 0, "that is another's");
    eventually(|| there.executions().is_empty().then_some(()));
    assert_eq!(server.stop(), exit::CLEAN);
}

/// A backup has no commands: what is restored from it knows nothing of them, whatever runs.
#[test]
fn a_restored_store_has_no_commands() {
    let (works, mut up, mut down) = told_works();
    let server = works.start();
    let id = submit(&server, "t", json!(null));
    let command = Watched::named(&up.line());
    let backups = tempfile::tempdir().unwrap();
    let from = backups.path().to_str().unwrap();
    told(&server, &["backup", "--to", from]);
    let there = Works::new("");
    let to = there.data().display().to_string();
    let restored = harness::run(&["restore", "--from", from, "--to", &to]);
    assert!(restored.status.success(), "{restored:?}");
    assert!(there.executions().is_empty());
    let second = there.start();
    let job = show(&second, &id);
    assert_eq!((causes(&job), &job["charged"]), (vec!["shutdown".into()], &json!(0)), "{job}");
    assert_eq!(second.stop(), exit::CLEAN);
    assert!(!command.is_over());
    down.send("exit 0");
    assert_eq!(finished(&server, &id)["status"], "completed");
}
