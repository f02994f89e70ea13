//! `job work`: a command per job.
//!
//! Invariants: the command reads exactly the payload and then the end of its input; its exit status
//! alone decides between complete and fail; what it prints is bounded before it is kept; a command
//! whose claim was lost is told to end, then killed, and what it printed is dropped.

use std::convert::Infallible;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use rekindle_client::{
    Client, Job, JobHandle, JobRelease, JobSummary, JobVerdict, JobWorker, Jobs,
};
use rekindle_recovery::exit;
use rustix::process::Signal;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Child;
use tokio::time::{sleep, timeout};

use super::patient;
use crate::cli::failure::Failure;
use crate::cli::output::{say, stderr_bytes};
use crate::cli::processes::{
    self, Group, Processes, Supervised, concurrency, fed, feed, reason, supervise,
};
use crate::cli::{Outcome, durations};

/// The call deadline of a worker: a short one only means more attempts.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The longest result.
const RESULT_BYTES_MAX: usize = 1 << 20;
/// The end of standard error that is kept as the error.
const ERROR_BYTES_MAX: usize = 900;
/// How long a command whose claim was lost has between SIGTERM and SIGKILL.
const TERM: Duration = Duration::from_secs(5);
/// How long the pipes of a command are read after its end: something that it left behind may hold
/// them open.
const REST: Duration = Duration::from_millis(500);
/// How long jobs are given back after a second signal.
const GIVE_BACK: Duration = Duration::from_secs(2);

/// Run a command for each job: exit 0 completes it, anything else fails the attempt.
///
/// The command gets the payload on standard input, and REKINDLE_JOB_ID, REKINDLE_JOB_TYPE,
/// REKINDLE_JOB_ATTEMPT and REKINDLE_JOB_TOKEN in its environment. What it prints, at most 1 MiB,
/// is the result.
/// Where it fails, the last lines of its standard error are the error. Claims are kept
/// while it runs. A command whose job is somebody else's by now, or was cancelled, gets SIGTERM and
/// 5 s later SIGKILL. SIGTERM and SIGINT let the commands finish; a second one kills them and gives
/// their jobs back.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  rekindle job work mail -- ./send-mail
  rekindle job work thumbnail --concurrency 4 --drain -- sh -c 'jq -r .path | xargs convert -'
  rekindle job work import -- sh -c 'rekindle job heartbeat $REKINDLE_JOB_ID $REKINDLE_JOB_TOKEN \\
      --progress 0.5; exec ./import'")]
pub(super) struct WorkArgs {
    /// The type
    #[arg(value_name = "TYPE")]
    kind: String,
    /// How many commands run at once
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = concurrency)]
    concurrency: usize,
    /// Exit 0 when none is pending, processing (by anybody) or scheduled
    #[arg(long)]
    drain: bool,
    /// How long claims last without a heartbeat, which comes at a third of it (ms, s, m, h)
    /// [default: the type's]
    #[arg(long, value_parser = durations::parse, value_name = "DURATION")]
    lease: Option<Duration>,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

/// What all handlers share.
struct Work {
    command: Vec<String>,
    processes: Processes,
}

pub(super) async fn run(client: &Client, args: WorkArgs) -> Outcome {
    // Says early that the server is not there; later it is waited for.
    client.jobs().count(Some(&args.kind)).await?;
    let client = patient(client, TIMEOUT)?;
    let work = Arc::new(Work { command: args.command, processes: Processes::default() });
    let worker = JobWorker::new(&client, [args.kind])
        .concurrency(args.concurrency)
        .drain(args.drain)
        .lease(args.lease.unwrap_or_default())
        .grace(TERM + REST + REST)
        .name(format!("work-{}", std::process::id()));
    let handled = Arc::clone(&work);
    let handler = move |job| handle(Arc::clone(&handled), job);
    match supervise(&work.processes, |stop| worker.run(handler, stop)).await? {
        Supervised::Ended(summary) => {
            tell(&summary?);
            Ok(if work.processes.is_broken() { exit::REFUSED } else { 0 })
        }
        Supervised::Killed(tokens) => {
            let (killed, back) = (tokens.len(), give_back(&client.jobs(), tokens).await);
            let message = format!(
                "stopped: {killed} commands were killed, {back} of their jobs given back; others \
                 come back when their claims run out"
            );
            Err(Failure::new(exit::REFUSED, message))
        }
    }
}

/// What did not go as it should.
fn tell(summary: &JobSummary) {
    let JobSummary { lost, refused, unknown, .. } = summary;
    if lost + refused + unknown > 0 {
        say(&format!(
            "{lost} claims were lost, {refused} results came too late, {unknown} were not answered"
        ));
    }
}

/// Gives jobs back whose commands were killed; says how many.
async fn give_back(jobs: &Jobs, tokens: Vec<String>) -> usize {
    let reason = "the worker was stopped".to_owned();
    let back = tokens.into_iter().map(|token| JobRelease {
        token,
        reason: reason.clone(),
        ..JobRelease::default()
    });
    let results = jobs.with_timeout(GIVE_BACK).release(back.collect()).await;
    results.iter().filter(|result| result.is_ok()).count()
}

/// Runs the command for one job.
async fn handle(work: Arc<Work>, job: Job) -> JobVerdict {
    let Some(mut command) = processes::command(&work.command) else { return JobVerdict::Release };
    let Job { claimed, handle } = job;
    command
        .env("REKINDLE_JOB_ID", &claimed.id)
        .env("REKINDLE_JOB_TYPE", &claimed.r#type)
        .env("REKINDLE_JOB_ATTEMPT", claimed.attempt.to_string())
        .env("REKINDLE_JOB_TOKEN", &claimed.token)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let Some((mut child, group)) = work.processes.start(&mut command, &claimed.token) else {
        return JobVerdict::Release;
    };
    let verdict = run_to_end(&mut child, &group, claimed.payload, &handle).await;
    // One that was killed with the others did not fail.
    if work.processes.is_killed() { JobVerdict::Release } else { verdict }
}

/// Feeds the command, and reads what it prints until it ends. One whose claim is lost is told to
/// end; it is read on, so that what it still prints does not kill it.
async fn run_to_end(
    child: &mut Child,
    group: &Group<'_>,
    payload: Bytes,
    handle: &JobHandle,
) -> JobVerdict {
    let (mut result, mut error) = (Kept::head(), Kept::tail());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let feed = feed(child.stdin.take(), payload);
    let status = {
        let pipes = async {
            tokio::join!(read(stdout, &mut result, false), read(stderr, &mut error, true))
        };
        let (ended, stopping) = (fed(feed, child.wait()), stop(group, handle));
        tokio::pin!(pipes, ended, stopping);
        let mut read_all = false;
        let status = loop {
            tokio::select! {
                status = ended.as_mut() => break status,
                _ = pipes.as_mut(), if !read_all => read_all = true,
                never = stopping.as_mut() => match never {},
            }
        };
        if !read_all {
            drop(timeout(REST, pipes).await);
        }
        status
    };
    match status {
        // What it decided is not said.
        _ if handle.is_lost() => JobVerdict::Release,
        Ok(status) if status.success() => completed(result),
        Ok(status) => failed(message(status, &error)),
        Err(error) => failed(format!("cannot wait for the command: {error}")),
    }
}

/// Once the claim is lost: SIGTERM, then SIGKILL.
async fn stop(group: &Group<'_>, handle: &JobHandle) -> Infallible {
    handle.lost().await;
    group.signal(Signal::TERM);
    sleep(TERM).await;
    group.signal(Signal::KILL);
    std::future::pending().await
}

fn completed(result: Kept) -> JobVerdict {
    if result.dropped {
        return failed(format!("the command printed more than {RESULT_BYTES_MAX} bytes"));
    }
    JobVerdict::Complete(result.bytes.into())
}

fn failed(error: String) -> JobVerdict {
    JobVerdict::Fail { error, retry_in: None, last: false }
}

/// `exit status 3: the last lines of its standard error`
fn message(status: ExitStatus, error: &Kept) -> String {
    let text = String::from_utf8_lossy(&error.bytes);
    // The first of these lines may be a rest.
    let whole = if error.dropped { text.split_once('\n').map(|(_, rest)| rest) } else { None };
    match whole.unwrap_or(&text).trim() {
        "" => reason(status),
        text => format!("{}: {text}", reason(status)),
    }
}

/// A bounded part of what was printed.
struct Kept {
    bytes: Vec<u8>,
    max: usize,
    /// The end is kept, not the beginning.
    tail: bool,
    /// There was more.
    dropped: bool,
}

impl Kept {
    fn head() -> Self {
        Self { bytes: vec![], max: RESULT_BYTES_MAX, tail: false, dropped: false }
    }

    fn tail() -> Self {
        Self { bytes: vec![], max: ERROR_BYTES_MAX, tail: true, dropped: false }
    }

    fn add(&mut self, piece: &[u8]) {
        if self.tail {
            self.bytes.extend_from_slice(piece);
            let over = self.bytes.len().saturating_sub(self.max);
            self.bytes.drain(..over);
            self.dropped |= over > 0;
        } else {
            let room = self.max.saturating_sub(self.bytes.len()).min(piece.len());
            self.bytes.extend(piece.iter().take(room));
            self.dropped |= room < piece.len();
        }
    }
}

/// Reads a pipe to its end; what is over the bound is read and dropped.
async fn read(pipe: Option<impl AsyncRead + Unpin>, kept: &mut Kept, shown: bool) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        let piece = buffer.get(..count).unwrap_or_default();
        if shown {
            stderr_bytes(piece);
        }
        kept.add(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;

    #[test]
    fn a_result_is_kept_from_its_beginning_and_an_error_from_its_end() {
        let mut head = Kept { max: 4, ..Kept::head() };
        head.add(b"abc");
        assert!(!head.dropped);
        head.add(b"def");
        assert_eq!((&head.bytes[..], head.dropped), (&b"abcd"[..], true));
        assert!(matches!(completed(head), JobVerdict::Fail { .. }));
        let mut tail = Kept { max: 8, ..Kept::tail() };
        tail.add(b"one\ntwo\n");
        let three = ExitStatus::from_raw(3 << 8);
        assert_eq!(message(three, &tail), "exit status 3: one\ntwo");
        tail.add(b"six\n");
        assert_eq!(message(three, &tail), "exit status 3: six");
        assert_eq!(message(three, &Kept::tail()), "exit status 3");
    }
}
