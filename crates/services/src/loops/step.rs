//! Steps are jobs: what one is handed, and what becomes of an execution when its job ends.
//!
//! Invariants: a step is submitted by the transaction that begins it, and its end is told by the
//! transaction that ends the job, so an execution never waits for a job that there is not; a job
//! does one attempt at a step, and only what is proved not to have begun is claimed again.

use std::collections::BTreeMap;

use rekindle_database::Transaction;
use serde::{Deserialize, Serialize};

use crate::bytes::truncated;
use crate::claims::{Cause, Subject};
use crate::error::Error;
use crate::exec::{Core, Stop};
use crate::jobs::submit::Submit;
use crate::limits::{LOOP_OUTPUT_BYTES_MAX, REASON_BYTES_MAX};
use crate::loops::event::{Outcome, Reason, Report, StepRef, What};
use crate::loops::id::LoopId;
use crate::loops::life::Life;
use crate::loops::plan::Directory;

/// The type of the steps that the server itself does. Nobody else can submit or claim its jobs.
pub const STEPS: &str = "rekindle.loop-step";

/// What whoever does a step is handed, as JSON: the payload of its job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// The execution.
    pub execution: LoopId,
    /// Its plan.
    pub plan: LoopId,
    /// What the spec is called.
    pub spec: String,
    /// Which step, which time.
    #[serde(flatten)]
    pub step: StepRef,
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Where it runs.
    pub directory: Directory,
    /// What is in its environment.
    pub environment: BTreeMap<String, String>,
    /// How long it may take, milliseconds.
    pub time_limit_ms: u64,
    /// What it is handed on standard input; empty for a check.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub instructions: String,
}

impl Task {
    /// The task in the payload of a job; `None`: there is none.
    #[must_use]
    pub fn read(payload: &[u8]) -> Option<Self> {
        serde_json::from_slice(payload).ok()
    }
}

/// What is said of a step that was done: the result of its job, as JSON. Everything may be left
/// out; what is no such text is a step that ended well and says nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// The exit code; 0: well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// A signal ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Its time limit ended it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub timed_out: bool,
    /// It could not be started: why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_run: Option<String>,
    /// How far it is; more is further.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<f64>,
    /// What it cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<f64>,
    /// It goes on in so many milliseconds, and not before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume_in_ms: Option<u64>,
    /// The end of what it printed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub output: String,
    /// A server died with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub server_died: bool,
}

impl Told {
    /// What is told by the result of a job. What is no JSON object says nothing, and is well; one
    /// that cannot be meant so is not.
    fn read(result: &[u8]) -> Result<Self, String> {
        let Ok(object) = serde_json::from_slice::<serde_json::Map<_, _>>(result) else {
            // A number that is too large for JSON is found here, too.
            return match result.trim_ascii_start().starts_with(b"{") {
                true => Err("it is no JSON object".to_owned()),
                false => Ok(Self::default()),
            };
        };
        let told = serde_json::from_value(serde_json::Value::Object(object));
        told.map_err(|error| error.to_string())
    }

    fn outcome(&self) -> Outcome {
        if let Some(why) = &self.not_run {
            return Outcome::NotRun(truncated(why, REASON_BYTES_MAX).to_owned());
        }
        if self.timed_out {
            return Outcome::TimedOut;
        }
        match self.signal {
            Some(signal) => Outcome::Signaled(signal),
            None => Outcome::Exited(self.exit_code.unwrap_or(0)),
        }
    }

    fn report(&self, now_ms: u64) -> Report {
        Report {
            progress_micros: self.progress.and_then(micros),
            cost_micros: self.cost.and_then(micros).unwrap_or(0),
            resume_at_ms: self.resume_in_ms.map(|ms| now_ms.saturating_add(ms)),
        }
    }
}

/// A number in millionths; `None`: it is none that can be counted with.
fn micros(number: f64) -> Option<u64> {
    /// The largest number that is told: above it fractions are lost anyway.
    const MOST: f64 = 1e12;
    if !(0.0..=MOST).contains(&number) {
        return None;
    }
    // Rounded: 0.1 is not a binary fraction.
    format!("{:.0}", number * 1e6).parse().ok()
}

/// How a job that is a step ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End<'a> {
    /// It was done; this was told.
    Done(&'a [u8]),
    /// Its worker says that it went wrong, or a person does: why, and when it may be tried again.
    Failed(&'a str, Option<u64>),
    /// Nobody knows: why.
    Lost(Cause, &'a str),
}

/// Submits the job of a step.
pub(crate) fn submit(
    core: &Core,
    txn: &mut Transaction,
    life: &Life,
    step: StepRef,
    now_ms: u64,
) -> Result<Subject, Stop> {
    let state = &life.row.state;
    let spec = state.spec();
    let what = state.step(step.step).expect("next names a step that there is");
    let wall_left_ms = spec.budget.wall_time_ms.saturating_sub(state.charged(now_ms).wall_time_ms);
    let task = Task {
        execution: life.id,
        plan: life.row.plan,
        spec: spec.name.clone(),
        step,
        argv: what.argv.clone(),
        directory: spec.directory.clone(),
        environment: spec.environment.clone(),
        time_limit_ms: what.time_limit_ms.min(wall_left_ms.max(1)),
        instructions: if step.step == 0 { spec.instructions.clone() } else { String::new() },
    };
    let payload = serde_json::to_vec(&task).expect("a task is text and numbers");
    let kind = spec.worker.as_deref().unwrap_or(STEPS);
    let submit = Submit::of_loop(core, kind, &payload, (life.id, step))?;
    Ok(submit.write(core, txn)?.id)
}

/// A job that is a step of this execution ended.
pub(crate) fn ended(
    core: &Core,
    txn: &mut Transaction,
    job: Subject,
    (execution, step): (LoopId, StepRef),
    end: End<'_>,
    now_ms: u64,
) -> Result<(), Stop> {
    let mut life = match Life::load(core, txn, execution) {
        Ok(Some(life)) => life,
        Ok(None) => return Ok(()),
        // The job ends all the same; the execution is told by the next start.
        Err(Stop::Refused(error)) => {
            tracing::error!(%execution, %error, "an execution did not hear of the end of its step");
            return Ok(());
        }
        Err(failed) => return Err(failed),
    };
    if life.row.job() != Some(job) || life.row.state.in_flight() != Some(step) {
        // It was called off, or the execution was made again from its transcript.
        return Ok(());
    }
    life.forget_job();
    let told = tell(core, txn, &mut life, step, end, now_ms);
    match told.and_then(|()| life.go_on(core, txn, now_ms)) {
        // Behind what was written nothing is refused by itself: all of it is.
        Err(Stop::Refused(error)) => {
            let message = format!("the end of a step of execution {execution}: {error}");
            Err(Stop::Refused(Error::corrupt(message)))
        }
        done => done.map(drop),
    }
}

/// What became of its step happens to an execution.
pub(crate) fn tell(
    core: &Core,
    txn: &mut Transaction,
    life: &mut Life,
    step: StepRef,
    end: End<'_>,
    now_ms: u64,
) -> Result<(), Stop> {
    let mut happens = |what| life.happens(core, txn, what, now_ms);
    match end {
        End::Done(result) => {
            let told = match Told::read(result) {
                Ok(told) => told,
                Err(why) => {
                    let why = format!("what was told of it cannot be read: {why}");
                    return tell(core, txn, life, step, End::Failed(&why, None), now_ms);
                }
            };
            let outcome = told.outcome();
            if told.server_died && !outcome.is_well() {
                happens(What::Interrupted { cause: Cause::ServerCrash.as_str().to_owned() })?;
            }
            let from = told.output.len().saturating_sub(LOOP_OUTPUT_BYTES_MAX);
            let from = (from..).find(|at| told.output.is_char_boundary(*at)).unwrap_or(0);
            let output = told.output.get(from..).unwrap_or_default().to_owned();
            happens(What::StepEnded { step, outcome, report: told.report(now_ms), output })
        }
        End::Failed(why, retry_in_ms) => {
            let outcome = Outcome::Failed(truncated(why, REASON_BYTES_MAX).to_owned());
            let resume_at_ms = retry_in_ms.map(|ms| now_ms.saturating_add(ms));
            let report = Report { resume_at_ms, ..Report::default() };
            happens(What::StepEnded { step, outcome, report, output: String::new() })
        }
        End::Lost(cause, why) => {
            if cause.charged() {
                happens(What::Interrupted { cause: cause.as_str().to_owned() })?;
            }
            let why = truncated(why, REASON_BYTES_MAX).to_owned();
            let twice = life.row.state.step(step.step).is_some_and(|step| step.idempotent);
            let what = if twice {
                What::StepLost { step, why }
            } else {
                What::SetAside { reason: Reason::Unknown { step, why } }
            };
            life.happens(core, txn, what, now_ms)
        }
    }
}

/// This job is a step: it is not for users to end or to repeat.
pub(crate) fn is_a_step(execution: LoopId) -> Error {
    Error::new(
        crate::error::Kind::Conflict,
        format!("it is a step of execution {execution}; see 'rekindle loop show {execution}'"),
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// What is told of a step is taken as it is meant, and nonsense is an end that says nothing.
    #[test]
    fn what_is_told_of_a_step() {
        let told = |text: &str| Told::read(text.as_bytes()).unwrap();
        assert_eq!(told("hello").outcome(), Outcome::Exited(0));
        assert_eq!(told("{}").report(5), Report::default());
        assert_eq!(told(r#"{"exit_code":3,"x":1}"#).outcome(), Outcome::Exited(3));
        assert_eq!(told(r#"{"signal":9}"#).outcome(), Outcome::Signaled(9));
        assert_eq!(told(r#"{"signal":15,"timed_out":true}"#).outcome(), Outcome::TimedOut);
        let missing = told(r#"{"exit_code":127,"not_run":"no such file"}"#);
        assert_eq!(missing.outcome(), Outcome::NotRun("no such file".to_owned()));
        let report = told(r#"{"progress":0.1,"cost":2,"resume_in_ms":7}"#).report(5);
        let expected = (Some(100_000), 2_000_000, Some(12));
        assert_eq!((report.progress_micros, report.cost_micros, report.resume_at_ms), expected);
        for nonsense in [
            r#"{"exit_code":3221225477}"#,
            r#"{"exit_code":1,"cost":"0.5"}"#,
            r#"{"exit_code":1,"progress":1e999}"#,
            r#"{"exit_code":1,"output":"\ud800"}"#,
            r#" {"exit_code":1"#,
        ] {
            assert!(Told::read(nonsense.as_bytes()).is_err(), "{nonsense}");
        }
        for wild in ["-1", "1e13", "1e300"] {
            let report = told(&format!("{{\"progress\":{wild},\"cost\":{wild}}}")).report(0);
            assert_eq!(report, Report::default(), "{wild}");
        }
    }
}
