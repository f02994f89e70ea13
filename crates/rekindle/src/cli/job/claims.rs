//! `job claim`, and what is said about claimed jobs; `cancel` and `retry`.
//!
//! Invariant: what was claimed and could not be printed is given back.

use std::time::Duration;

use clap::Args;
use rekindle_client::{
    ClaimJobs, ClaimedJob, Error, JobChanged, JobCompletion, JobFailure, JobHeartbeat, JobRelease,
    Jobs,
};
use rekindle_recovery::exit;
use serde::Serialize;

use super::lines;
use super::shown::word;
use super::submit::whole_input;
use crate::cli::failure::Failure;
use crate::cli::output::{Json, Out, say};
use crate::cli::{Outcome, durations, page};

/// Call a job off, whoever works on it: its token is fenced.
#[derive(Args, Debug)]
pub(super) struct CancelArgs {
    /// The job, as `submit` printed it
    id: String,
    /// Why; kept with the job
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    reason: String,
}

/// Try a job again at once: one that failed, was cancelled, or waits for its time.
#[derive(Args, Debug)]
pub(super) struct RetryArgs {
    /// The job, as `submit` printed it
    id: String,
}

/// Claim pending jobs, as JSON lines; each is this claim's until its lease is over.
///
/// Prints {"id":…,"token":…,"type":…,"attempt":1,"max_attempts":10,"priority":0,"lease_ms":60000,
/// "submitted_ms":…,"payload":…}. The token is what `heartbeat`, `complete`, `fail` and `release`
/// take beside the id.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  rekindle job claim mail --wait 20s
  rekindle job claim urgent mail --max 10")]
pub(super) struct ClaimArgs {
    /// Jobs of these types, looked for in this order
    #[arg(required = true, value_name = "TYPE")]
    types: Vec<String>,
    /// The most
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = page)]
    max: u64,
    /// How long to wait for the first one (ms, s, m, h)
    #[arg(long, default_value = "0s", value_parser = durations::parse, value_name = "DURATION")]
    wait: Duration,
    /// How long the claims last without a heartbeat (ms, s, m, h) [default: the type's]
    #[arg(long, value_parser = durations::parse, value_name = "DURATION")]
    lease: Option<Duration>,
}

/// Keep a claim, and say how far the work is.
#[derive(Args, Debug)]
pub(super) struct HeartbeatArgs {
    #[command(flatten)]
    claim: Claim,
    /// How far the work is, JSON; `job show` shows it
    #[arg(long, value_name = "JSON")]
    progress: Option<String>,
    /// How long the claim lasts from now (ms, s, m, h) [default: the type's]
    #[arg(long, value_parser = durations::parse, value_name = "DURATION")]
    lease: Option<Duration>,
}

/// Finish a claimed job with its result.
#[derive(Args, Debug)]
pub(super) struct CompleteArgs {
    #[command(flatten)]
    claim: Claim,
    /// What it resulted in, JSON; - reads it from standard input, whatever bytes it has
    #[arg(long, default_value = "null", value_name = "JSON")]
    result: String,
}

/// Give a claimed job up: the attempt failed.
#[derive(Args, Debug)]
pub(super) struct FailArgs {
    #[command(flatten)]
    claim: Claim,
    /// What went wrong; kept with the attempt
    #[arg(long, value_name = "TEXT")]
    error: String,
    /// Trying again is of no use: it has failed
    #[arg(long, conflicts_with = "retry_in")]
    last: bool,
    /// How long it stays away (ms, s, m, h) [default: the back-off of its type]
    #[arg(long, value_parser = durations::parse, value_name = "DURATION")]
    retry_in: Option<Duration>,
}

/// Give a claimed job back that nobody worked on: pending at once, the attempt is not charged.
#[derive(Args, Debug)]
pub(super) struct ReleaseArgs {
    #[command(flatten)]
    claim: Claim,
    /// Why; kept with the attempt
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    reason: String,
}

/// A claim.
#[derive(Args, Debug)]
struct Claim {
    /// The job, as `claim` printed it
    id: String,
    /// Its token, as `claim` printed it beside the id
    token: String,
}

#[derive(Serialize)]
struct ClaimLine<'a> {
    id: &'a str,
    token: &'a str,
    r#type: &'a str,
    attempt: u32,
    max_attempts: u32,
    priority: i32,
    lease_ms: u64,
    submitted_ms: u64,
    payload: Json<'a>,
}

impl<'a> From<&'a ClaimedJob> for ClaimLine<'a> {
    fn from(job: &'a ClaimedJob) -> Self {
        Self {
            id: &job.id,
            token: &job.token,
            r#type: &job.r#type,
            attempt: job.attempt,
            max_attempts: job.max_attempts,
            priority: job.priority,
            lease_ms: job.lease_ms,
            submitted_ms: job.submitted_ms,
            payload: Json(&job.payload),
        }
    }
}

#[derive(Serialize)]
struct ChangedLine<'a> {
    id: &'a str,
    status: &'a str,
    lease_ms: Option<u64>,
    durability: &'a str,
}

pub(super) async fn claim(jobs: &Jobs, args: ClaimArgs) -> Outcome {
    let claim = ClaimJobs {
        max: u32::try_from(args.max).unwrap_or(u32::MAX),
        wait: args.wait,
        lease: args.lease.unwrap_or_default(),
        worker: format!("claim-{}", std::process::id()),
        ..ClaimJobs::new(args.types)
    };
    let claimed = jobs.claim(&claim).await?;
    if claimed.is_empty() {
        say("no job is pending");
    }
    let mut out = Out::new();
    for (at, job) in claimed.iter().enumerate() {
        if let Err(error) = out.json(&ClaimLine::from(job)).and_then(|()| out.flush()) {
            give_back(jobs, claimed.get(at..).unwrap_or_default()).await;
            return Err(error.into());
        }
    }
    Ok(0)
}

/// Gives back what nobody saw. Where that fails, the claims run out.
async fn give_back(jobs: &Jobs, claimed: &[ClaimedJob]) {
    let release = |job: &ClaimedJob| JobRelease {
        token: job.token.clone(),
        reason: "it could not be printed".to_owned(),
        ..JobRelease::default()
    };
    for result in jobs.release(claimed.iter().map(release).collect()).await {
        if let Err(error) = result {
            say(&format!("a job was not given back, its claim runs out: {error}"));
            return;
        }
    }
}

pub(super) async fn heartbeat(jobs: &Jobs, args: HeartbeatArgs) -> Outcome {
    let progress = args.progress.map(|progress| checked(progress, "progress")).transpose()?;
    let Claim { id, token } = args.claim;
    let heartbeat = JobHeartbeat { token, id, progress: progress.map(Into::into) };
    let by = args.lease.unwrap_or_default();
    print_only(jobs.heartbeat(vec![heartbeat], by).await)
}

pub(super) async fn complete(jobs: &Jobs, args: CompleteArgs) -> Outcome {
    let result = match args.result.as_str() {
        "-" => whole_input().await?,
        _ => checked(args.result, "result")?.into(),
    };
    let Claim { id, token } = args.claim;
    print_only(jobs.complete(vec![JobCompletion { token, id, result }]).await)
}

pub(super) async fn fail(jobs: &Jobs, args: FailArgs) -> Outcome {
    let Claim { id, token } = args.claim;
    let retry_in = args.retry_in.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
    let (error, last, retry_in_ms) = (args.error, args.last, retry_in);
    print_only(jobs.fail(vec![JobFailure { token, id, error, retry_in_ms, last }]).await)
}

pub(super) async fn release(jobs: &Jobs, args: ReleaseArgs) -> Outcome {
    let Claim { id, token } = args.claim;
    print_only(jobs.release(vec![JobRelease { token, id, reason: args.reason }]).await)
}

pub(super) async fn cancel(jobs: &Jobs, args: &CancelArgs) -> Outcome {
    print(&jobs.cancel(&args.id, &args.reason).await?)
}

pub(super) async fn retry(jobs: &Jobs, args: &RetryArgs) -> Outcome {
    print(&jobs.retry(&args.id).await?)
}

/// Text that must be JSON.
fn checked(text: String, what: &str) -> Result<String, Failure> {
    match lines::check(text.as_bytes()) {
        Ok(()) => Ok(text),
        Err(message) => {
            let message = message.replace("payload", what);
            Err(Failure::new(exit::REFUSED, message))
        }
    }
}

/// The result of the one job that was asked for.
fn print_only(results: Vec<Result<JobChanged, Error>>) -> Outcome {
    results.iter().try_for_each(|result| match result {
        Ok(changed) => print(changed).map(|_| ()),
        Err(error) => Err(Failure::from(error.clone())),
    })?;
    Ok(0)
}

fn print(changed: &JobChanged) -> Outcome {
    let mut out = Out::new();
    let lease_ms = u64::try_from(changed.lease.as_millis()).unwrap_or(u64::MAX);
    out.json(&ChangedLine {
        id: &changed.id,
        status: word(changed.status),
        lease_ms: (lease_ms > 0).then_some(lease_ms),
        durability: changed.durability.word(),
    })?;
    out.flush()?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The line that scripts rely on, to the letter.
    #[test]
    fn a_claimed_job_is_one_line_of_json() {
        let job = ClaimedJob {
            id: "j1".into(),
            token: "t1".into(),
            r#type: "mail".into(),
            attempt: 1,
            max_attempts: 10,
            priority: -1,
            payload: "{}".into(),
            lease_ms: 60_000,
            submitted_ms: 5,
        };
        assert_eq!(
            serde_json::to_string(&ClaimLine::from(&job)).expect("a line serializes"),
            concat!(
                r#"{"id":"j1","token":"t1","type":"mail","attempt":1,"max_attempts":10,"#,
                r#""priority":-1,"lease_ms":60000,"submitted_ms":5,"payload":{}}"#
            )
        );
    }
}
