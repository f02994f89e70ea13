//! Worktrees of loops on the real binary, under a server that is killed while git makes one.

use std::path::{Path, PathBuf};
use std::process::Command;

use rekindle_recovery::exit;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::executor_harness::{Works, eventually};
use super::harness::post;
use super::server_loops::{lines, plan, show, start, step, works};

fn git(dir: &Path, arguments: &[&str]) -> String {
    let identity = ["-c", "user.name=ada", "-c", "user.email=ada@example.org"];
    let mut command = Command::new("git");
    let done = command.arg("-C").arg(dir).args(identity).args(arguments).output().unwrap();
    assert!(done.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// A repository whose checkouts say the number of their git and wait, until they may go on.
struct Repository {
    path: PathBuf,
    up: PathBuf,
    go: PathBuf,
}

impl Repository {
    fn new(works: &Works) -> Self {
        let [path, up, go] = ["repository", "up", "go"].map(|it| works.data().with_file_name(it));
        std::fs::create_dir(&path).unwrap();
        git(&path, &["init", "--quiet"]);
        std::fs::write(path.join("file"), "whole\n").unwrap();
        git(&path, &["add", "file"]);
        git(&path, &["commit", "--quiet", "--message", "first"]);
        let hook = path.join(".git/hooks/post-checkout");
        let (said, may) = (up.display(), go.display());
        let text = format!(
            "#!/bin/sh\ntest -e {may} && exit 0\necho $PPID > {said}.new; mv {said}.new {said}\n\
             turns=0; until test -e {may} || test $turns -gt 3000; do\n\
             sleep 0.02; turns=$((turns + 1)); done\n"
        );
        std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
        std::fs::write(&hook, text).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&hook, mode).unwrap();
        Self { path, up, go }
    }

    /// The git that makes a worktree now.
    fn making(&self) -> Pid {
        let text = eventually(|| std::fs::read_to_string(&self.up).ok());
        Pid::from_raw(text.trim().parse().unwrap()).unwrap()
    }
}

/// The server is killed while git makes a worktree, alone or with that git: nothing runs in what is
/// half made, nor while the old git still writes; the step had not begun, so it is not counted; and
/// nothing is left in the end.
///
/// proves: L7, L8
#[test]
fn a_worktree_that_is_half_made_is_made_again() {
    for with_git in [false, true] {
        let works = works();
        let repository = Repository::new(&works);
        let out = works.data().with_file_name("out");
        let script = format!("cat file >> {}", out.display());
        let mut plan = plan(&step(&script, false), &step("true", true));
        let path = repository.path.display().to_string();
        plan["specs"][0]["directory"] =
            json!({ "worktree": { "repository": path, "branch": "work" } });
        let server = works.start();
        let id = start(&server, &plan);
        let making = repository.making();
        server.kill();
        let dir = works.data().join("loops/workspaces").join(&id).join("dir");
        if with_git {
            kill_process(making, Signal::KILL).unwrap();
            std::fs::remove_file(dir.join("file")).unwrap();
        }
        let server = works.start();
        if !with_git {
            // Its step is claimed again, and waits.
            eventually(|| (show(&server, &id)["status"] == "running").then_some(()));
            assert!(dir.join("file").exists() && lines(&out).is_empty());
        }
        std::fs::write(&repository.go, "").unwrap();
        eventually(|| (show(&server, &id)["status"] == "completed").then_some(()));
        assert_eq!(lines(&out), ["whole"], "with git: {with_git}");
        assert_eq!(show(&server, &id)["used"]["attempts"], 0, "with git: {with_git}");
        nothing_is_left(&works, &repository);
        assert_eq!(server.stop(), exit::CLEAN);
    }
}

/// One that is called off while its worktree is half made leaves nothing.
///
/// proves: L8
#[test]
fn a_half_made_worktree_of_what_is_over_goes() {
    let works = works();
    let repository = Repository::new(&works);
    let mut plan = plan(&step("true", false), &step("true", true));
    let path = repository.path.display().to_string();
    plan["specs"][0]["directory"] = json!({ "worktree": { "repository": path, "branch": "work" } });
    let server = works.start();
    let id = start(&server, &plan);
    let making = repository.making();
    server.kill();
    kill_process(making, Signal::KILL).unwrap();
    std::fs::remove_file(&repository.up).unwrap();
    let server = works.start();
    let making = repository.making();
    let cancel = format!("/v1/loops/{id}/cancel");
    assert_eq!(post(server.http, &cancel, &json!({})).status, 200);
    server.kill();
    kill_process(making, Signal::KILL).unwrap();
    std::fs::write(&repository.go, "").unwrap();
    let server = works.start();
    assert_eq!(show(&server, &id)["status"], "cancelled");
    nothing_is_left(&works, &repository);
    assert_eq!(server.stop(), exit::CLEAN);
}

fn nothing_is_left(works: &Works, repository: &Repository) {
    let workspaces = works.data().join("loops/workspaces");
    eventually(|| std::fs::read_dir(&workspaces).unwrap().next().is_none().then_some(()));
    let listed = git(&repository.path, &["worktree", "list"]);
    assert_eq!(listed.lines().count(), 1, "{listed}");
    eventually(|| works.executions().is_empty().then_some(()));
    assert!(works.shims().is_empty());
}
