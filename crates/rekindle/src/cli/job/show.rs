//! `job show`, `wait`.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use clap::Args;
use rekindle_client::{Client, JobDetail, JobEvent, JobInfo, JobStatus, Jobs};
use rekindle_database::rfc3339;
use rekindle_recovery::exit;

use super::patient;
use super::shown::{DetailLine, word};
use crate::cli::failure::Failure;
use crate::cli::output::{Json, Out};
use crate::cli::{Outcome, durations};

/// As good as for ever.
const FOREVER: Duration = Duration::from_hours(24 * 365);
/// How long a server that restarts is waited for.
const RESTART: Duration = Duration::from_secs(30);

/// Show one job: what it carries, and what happened to it.
#[derive(Args, Debug)]
pub(super) struct ShowArgs {
    /// The job, as `submit` printed it
    id: String,
    /// One JSON line
    #[arg(long)]
    json: bool,
}

/// Wait for the end of a job and print its result.
///
/// Exits 0 when the job completed, 1 when it failed or was cancelled (standard error says why), 75
/// when it is not finished after --timeout. A server that restarts meanwhile is waited for.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  rekindle job wait \"$id\" --timeout 5m
  rekindle job wait \"$id\" --json | jq .result")]
pub(super) struct WaitArgs {
    /// The job, as `submit` printed it
    id: String,
    /// How long to wait (ms, s, m, h) [default: until its end]
    #[arg(long, value_name = "DURATION", value_parser = durations::parse)]
    timeout: Option<Duration>,
    /// The whole job as one JSON line, as `show --json`, instead of its result
    #[arg(long)]
    json: bool,
}

pub(super) async fn show(jobs: &Jobs, args: &ShowArgs) -> Outcome {
    let detail = jobs.show(&args.id).await?;
    let info = detail.info.clone().unwrap_or_default();
    let mut out = Out::new();
    if args.json {
        out.json(&DetailLine::new(&detail, &info))?;
    } else {
        for line in lines(&detail, &info)? {
            out.line(&line)?;
        }
    }
    out.flush()?;
    Ok(0)
}

fn lines(detail: &JobDetail, info: &JobInfo) -> io::Result<Vec<String>> {
    let json = |bytes: &[u8]| Ok::<_, io::Error>(serde_json::to_string(&Json(bytes))?);
    let limit = match info.max_attempts {
        0 => "no limit".to_owned(),
        limit => format!("{} of {limit} charged", info.charged),
    };
    let mut lines = vec![
        format!("job        {}", info.id),
        format!("type       {}", info.r#type),
        format!("status     {}", word(info.status())),
        format!("priority   {}", info.priority),
        format!("attempts   {} ({limit})", info.attempts),
    ];
    let mut some = |name: &str, value: String| {
        if !value.is_empty() {
            lines.push(format!("{name:<10} {value}"));
        }
    };
    some("unique", info.unique_key.clone());
    if info.due_ms > 0 && info.status() == JobStatus::Scheduled {
        some("due", rfc3339(info.due_ms));
    }
    some("worker", info.worker.clone());
    some("payload", json(&detail.payload)?);
    if let Some(progress) = &detail.progress {
        some("progress", json(&progress.value)?);
    }
    if let Some(result) = &detail.result {
        some("result", json(result)?);
    }
    lines.push("events".to_owned());
    lines.extend(info.events.iter().map(event));
    Ok(lines)
}

/// `  2026-11-26T08:00:00.000Z  attempt_ended (failed), attempt 1, by work-7: exit status 3`
fn event(event: &JobEvent) -> String {
    let mut line = format!("  {}  {}", rfc3339(event.at_ms), event.event);
    if !event.cause.is_empty() {
        line.push_str(&format!(" ({})", event.cause));
    }
    if event.attempt > 0 {
        line.push_str(&format!(", attempt {}", event.attempt));
    }
    if !event.by.is_empty() {
        line.push_str(&format!(", by {}", event.by));
    }
    if !event.reason.is_empty() {
        line.push_str(&format!(": {}", event.reason.replace('\n', " | ")));
    }
    line
}

pub(super) async fn wait(client: &Client, args: &WaitArgs) -> Outcome {
    // Says early that the job or the server is not there; later the server is waited for.
    client.jobs().show(&args.id).await?;
    let jobs = patient(client, RESTART)?.jobs();
    let detail = jobs.wait(&args.id, args.timeout.unwrap_or(FOREVER)).await?;
    let info = detail.info.clone().unwrap_or_default();
    let mut out = Out::new();
    if args.json {
        out.json(&DetailLine::new(&detail, &info))?;
    } else if let Some(result) = &detail.result {
        out.bytes(result)?;
        if io::stdout().is_terminal() && !result.ends_with(b"\n") {
            out.bytes(b"\n")?;
        }
    }
    out.flush()?;
    let id = &args.id;
    match info.status() {
        JobStatus::Completed => Ok(0),
        status @ (JobStatus::Failed | JobStatus::Cancelled) => {
            let end = info.events.last().map(|event| event.reason.as_str()).unwrap_or_default();
            let why = if end.is_empty() { String::new() } else { format!(": {end}") };
            Err(Failure::new(exit::REFUSED, format!("job {id} {}{why}", was(status))))
        }
        status => {
            let message = format!("job {id} is not finished yet, it is {}", word(status));
            Err(Failure::new(exit::UNKNOWN, message))
        }
    }
}

fn was(status: JobStatus) -> &'static str {
    if status == JobStatus::Failed { "failed" } else { "was cancelled" }
}
