//! The planted bugs: known mistakes of others, built in behind a cfg; a named test must find each.
//!
//! A bug is code under `#[cfg(planted = "NAME")]` (or `cfg!(planted = "NAME")`) beside the right
//! code. To add one: plant it, add a row here, name the test that fails. Invariants: the planted
//! program builds, the named test runs, and it fails; the same test passes without the bug.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::process;

/// One mistake and the test that finds it.
struct Bug {
    /// As in `cfg(planted = "NAME")`.
    name: &'static str,
    /// Who made it, or what it does.
    about: &'static str,
    /// The package of the test.
    package: &'static str,
    /// The path of the test inside its binary.
    test: &'static str,
}

const BUGS: [Bug; 12] = [
    Bug {
        name: "ack-before-sync",
        about: "a ticket resolves when its frame is written, not when it is synced",
        package: "rekindle-sim",
        test: "planted::ack_before_sync",
    },
    Bug {
        name: "no-dir-sync",
        about: "a new file's directory entry is not synced",
        package: "rekindle-sim",
        test: "planted::no_dir_sync",
    },
    Bug {
        name: "cut-at-bad-checksum",
        about: "recovery cuts at the first bad frame although a later one proves it",
        package: "rekindle-sim",
        test: "planted::cut_at_bad_checksum",
    },
    Bug {
        name: "retry-failed-sync",
        about: "a failed sync is tried again and believed",
        package: "rekindle-sim",
        test: "planted::retry_failed_sync",
    },
    Bug {
        name: "append-behind-torn-tail",
        about: "a start appends to the old segment behind the torn frame",
        package: "rekindle-sim",
        test: "planted::append_behind_torn_tail",
    },
    Bug {
        name: "applied-outside-batch",
        about: "the applied position moves before the batch that it stands for",
        package: "rekindle-engine",
        test: "checkpoints::writers_do_not_disturb_a_checkpoint",
    },
    Bug {
        name: "token-not-checked",
        about: "an ack with the token of an earlier grant counts",
        package: "rekindle-sim",
        test: "planted::token_not_checked",
    },
    Bug {
        name: "checkpoint-renamed-before-sync",
        about: "a checkpoint gets its name before its content is synced",
        package: "rekindle-sim",
        test: "planted::checkpoint_renamed_before_sync",
    },
    Bug {
        name: "overlay-kept-after-poison",
        about: "reads show pending writes after the journal failed",
        package: "rekindle-sim",
        test: "planted::overlay_kept_after_poison",
    },
    Bug {
        name: "refused-writes-kept",
        about: "a refused transaction keeps what it wrote in front of the refusal",
        package: "rekindle-sim",
        test: "planted::refused_writes_kept",
    },
    Bug {
        name: "retried-keeps-its-grant",
        about: "a finished job that is tried again can be completed with its old token",
        package: "rekindle-sim",
        test: "planted::retried_keeps_its_grant",
    },
    Bug {
        name: "untraced-claim-goes-on",
        about: "a start takes over what a dead executor left no trace of, and charges nobody",
        package: "rekindle-sim",
        test: "planted::untraced_claim_goes_on",
    },
];

/// Building everything anew takes most of it.
const DEADLINE: Duration = Duration::from_secs(1800);

pub(super) fn run(root: &Path) -> Result<(), String> {
    let mut missed = vec![];
    for bug in &BUGS {
        say!("planted {}: {}", bug.name, bug.about);
        let clean = test(root, bug, None)?;
        let planted = test(root, bug, Some(bug.name))?;
        match (clean, planted) {
            (Verdict::Passed, Verdict::Failed) => say!("planted {}: found", bug.name),
            (clean, planted) => {
                missed.push(format!(
                    "planted {}: {} without the bug: {clean:?}, with it: {planted:?}",
                    bug.name, bug.test
                ));
            }
        }
    }
    if missed.is_empty() { Ok(()) } else { Err(missed.join("\n")) }
}

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Passed,
    Failed,
    /// No test of this name ran, or it did not build.
    NotRun,
}

fn test(root: &Path, bug: &Bug, planted: Option<&str>) -> Result<Verdict, String> {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(root).args(["test", "--quiet", "--package", bug.package]);
    command.args(["--", "--include-ignored", "--exact", bug.test, "--test-threads", "1"]);
    if let Some(name) = planted {
        // A folder of its own: other flags must not throw the ordinary build away.
        command.env("CARGO_TARGET_DIR", root.join("target/planted"));
        command.env("RUSTFLAGS", format!("--cfg planted=\"{name}\""));
    }
    let ended = process::run(&mut command, DEADLINE, false)?;
    let verdict = judge(&ended.output, ended.success());
    if verdict == Verdict::NotRun {
        say!("{}", ended.output);
    }
    Ok(verdict)
}

/// Reads the summaries of the test harness. A test that aborts its process leaves no summary, but
/// it ran, and that is a failure too.
fn judge(output: &str, success: bool) -> Verdict {
    let ran = super::tests_run(output) > 0;
    match (ran, success) {
        (false, _) => Verdict::NotRun,
        (true, true) => Verdict::Passed,
        (true, false) => Verdict::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_did_not_run_finds_nothing() {
        assert_eq!(judge("running 0 tests\n\nrunning 0 tests\n", true), Verdict::NotRun);
        assert_eq!(judge("error[E0425]: cannot find value\n", false), Verdict::NotRun);
    }

    #[test]
    fn verdicts_follow_the_harness() {
        assert_eq!(judge("running 0 tests\nrunning 1 test\n", true), Verdict::Passed);
        assert_eq!(judge("running 1 test\ntest result: FAILED\n", false), Verdict::Failed);
        assert_eq!(judge("running 1 test\nsignal: 6, SIGABRT\n", false), Verdict::Failed);
    }

    #[test]
    fn every_bug_has_a_name_of_its_own() {
        let mut names: Vec<_> = BUGS.iter().map(|bug| bug.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), BUGS.len());
    }
}
