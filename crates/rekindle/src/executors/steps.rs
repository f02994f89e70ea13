//! Steps of loops by commands: what is run for a task, and what is told of its end.
//!
//! Invariants: a step runs where its spec says, in a directory that its execution's name leads to,
//! so that every start finds it again; a step survives the end of a server, in order or not; what
//! is told of an end is what is known of it, and where nothing is known that is told.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rekindle_env::{Env, durable};
use rekindle_services::loops::{Directory, StepRef, Task, Told};
use serde::Deserialize;

use super::verdict::{self, Server, Verdict};
use super::work::Work;
use crate::shim::{End, Inherit, Outcome, Output, Spec};

/// The most that is kept of a stream of a step, bytes: its end is told.
const STREAM_BYTES_MAX: u64 = 1 << 20;
/// What is told of each stream, from its end, bytes.
const TOLD_BYTES: usize = 2_000;
/// The most that a report may have, bytes.
const REPORT_BYTES_MAX: u64 = 64 << 10;
/// The exit code of what could not be started, as a shell has it.
const NOT_RUN: i32 = 126;

/// How the server does the steps of loops.
#[derive(Clone, Debug)]
pub struct StepSettings {
    /// How many at once.
    pub concurrency: usize,
    /// What they see of the server's environment.
    pub inherit: Inherit,
}

/// What a command says of itself in the file that `REKINDLE_REPORT` names.
#[derive(Debug, Default, Deserialize)]
struct Reported {
    progress: Option<f64>,
    cost: Option<f64>,
    /// Seconds from its end on.
    resume_in: Option<f64>,
    /// When, RFC 3339.
    resume_at: Option<String>,
}

/// The command of a task, in this working directory.
pub(super) fn spec(task: &Task, work: &Work, settings: &StepSettings) -> Spec {
    let mut spec = Spec::new(task.argv.clone(), Duration::from_millis(task.time_limit_ms));
    spec.inherit = settings.inherit.clone();
    spec.environment = variables(task, work);
    spec.directory = Some(directory(task, work));
    (spec.stdout_bytes_max, spec.stderr_bytes_max) = (STREAM_BYTES_MAX, STREAM_BYTES_MAX);
    spec.payload = task.instructions.clone().into_bytes();
    spec
}

fn variables(task: &Task, work: &Work) -> BTreeMap<String, String> {
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    let mut all = BTreeMap::from([("TMPDIR".to_owned(), text(work.temporary(task.execution)))]);
    all.extend(task.environment.clone());
    let own = [
        ("REKINDLE_PLAN", task.plan.to_string()),
        ("REKINDLE_EXECUTION", task.execution.to_string()),
        ("REKINDLE_SPEC", task.spec.clone()),
        ("REKINDLE_ITERATION", task.step.iteration.to_string()),
        ("REKINDLE_STEP", task.step.step.to_string()),
        ("REKINDLE_ATTEMPT", task.step.attempt.to_string()),
        ("REKINDLE_REPORT", text(report_path(task, work))),
    ];
    all.extend(own.map(|(name, value)| (name.to_owned(), value)));
    all
}

/// Where it runs.
fn directory(task: &Task, work: &Work) -> PathBuf {
    match &task.directory {
        Directory::Plain(path) => {
            let path = Path::new(path);
            std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
        }
        Directory::Temporary | Directory::Worktree { .. } => work.directory(task.execution),
    }
}

fn report_path(task: &Task, work: &Work) -> PathBuf {
    let StepRef { iteration, step, attempt } = task.step;
    work.of(task.execution).join(format!("report-{iteration}-{step}-{attempt}.json"))
}

/// What is told of a step that could not be begun, for good: the next try is another iteration.
pub(super) fn not_begun(why: &str) -> Verdict {
    let not_run = Some(why.to_owned());
    told(&Told { exit_code: Some(NOT_RUN), not_run, ..Told::default() })
}

/// What is told of this end.
pub(super) fn of_end(
    env: &Env,
    task: &Task,
    work: &Work,
    end: &End,
    output: Output,
    server: Server,
) -> Verdict {
    let report = report(env, &report_path(task, work));
    let (progress, cost) = (report.progress, report.cost);
    let resume_in_ms = resume_in_ms(&report, env.clock.wall_ms());
    let printed = printed(&output);
    let server_died = matches!(verdict::of_end(end, output, server), Verdict::Died(_));
    let mut of = Told {
        timed_out: end.timed_out,
        progress,
        cost,
        resume_in_ms,
        output: printed,
        server_died,
        ..Told::default()
    };
    match &end.outcome {
        Outcome::Exited(code) => of.exit_code = Some(*code),
        Outcome::Signaled(signal) => of.signal = Some(*signal),
        Outcome::NotRun(why) => {
            (of.exit_code, of.not_run) = (Some(why.code), Some(why.error.clone()));
        }
    }
    told(&of)
}

fn told(told: &Told) -> Verdict {
    Verdict::Complete(serde_json::to_vec(told).expect("it is text and numbers"))
}

/// What it says of itself; what cannot be read says nothing.
fn report(env: &Env, path: &Path) -> Reported {
    let read = match durable::read_file(env.disk.as_ref(), path, REPORT_BYTES_MAX) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Reported::default(),
        Err(error) => Err(error),
    };
    read.unwrap_or_else(|error| {
        tracing::warn!(path = %path.display(), %error, "the report of a step is not read");
        Reported::default()
    })
}

fn resume_in_ms(report: &Reported, wall_ms: u64) -> Option<u64> {
    let at = report.resume_at.as_deref().and_then(|at| at.parse::<jiff::Timestamp>().ok());
    if let Some(at) = at {
        return Some(u64::try_from(at.as_millisecond()).unwrap_or(0).saturating_sub(wall_ms));
    }
    let seconds = report.resume_in.filter(|seconds| (0.0..=1e9).contains(seconds))?;
    u64::try_from(Duration::from_secs_f64(seconds).as_millis()).ok()
}

/// The ends of what it printed, its standard error last.
fn printed(output: &Output) -> String {
    let tail = |bytes: &[u8]| {
        let from = bytes.len().saturating_sub(TOLD_BYTES);
        let text = String::from_utf8_lossy(bytes.get(from..).unwrap_or_default()).into_owned();
        match text.split_once('\n') {
            // The first of these lines is a rest.
            Some((_, rest)) if from > 0 => rest.to_owned(),
            _ => text,
        }
    };
    let (out, err) = (tail(&output.stdout), tail(&output.stderr));
    match (out.is_empty(), err.is_empty()) {
        (false, false) => format!("{}\n{err}", out.trim_end_matches('\n')),
        _ => out + &err,
    }
}

/// The execution of a task in a payload.
pub(super) fn task(payload: &[u8]) -> Option<Task> {
    serde_json::from_slice(payload).ok()
}

/// The report was told: it is needed no more.
pub(super) fn forget_report(env: &Env, task: &Task, work: &Work) {
    let path = report_path(task, work);
    if matches!(env.disk.stat(&path), Ok(Some(_)))
        && let Err(error) = env.disk.remove_file(&path)
    {
        tracing::warn!(path = %path.display(), %error, "the report of a step stays");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_step_printed_is_told_by_its_end() {
        let of = |stdout: &str, stderr: &str| {
            printed(&Output { stdout: stdout.into(), stderr: stderr.into() })
        };
        assert_eq!(of("", ""), "");
        assert_eq!(of("one\n", ""), "one\n");
        assert_eq!(of("one\n", "two\n"), "one\ntwo\n");
        let long = format!("{}\nlast\n", "x".repeat(9_000));
        assert_eq!(of(&long, ""), "last\n");
    }

    #[test]
    fn a_report_says_when_it_goes_on() {
        let in_ms = |json: &str| {
            let report: Reported = serde_json::from_str(json).unwrap_or_default();
            resume_in_ms(&report, 1_000_000)
        };
        assert_eq!(in_ms("{}"), None);
        assert_eq!(in_ms(r#"{"resume_in":1.5}"#), Some(1_500));
        assert_eq!(in_ms(r#"{"resume_in":-1}"#), None);
        assert_eq!(in_ms(r#"{"resume_at":"1970-01-01T00:16:45Z"}"#), Some(5_000));
        assert_eq!(in_ms(r#"{"resume_at":"1970-01-01T00:00:00Z"}"#), Some(0));
    }
}
