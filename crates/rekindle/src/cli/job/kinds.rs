//! `job type list`, `show`, `set`.

use std::time::Duration;

use clap::{Args, Subcommand};
use rekindle_client::{JobCounts, JobRate, JobSettings, JobTypeInfo, Jobs};
use serde::Serialize;

use super::list::of;
use super::shown::{STATUSES, word};
use crate::cli::output::{Out, table};
use crate::cli::{Outcome, durations};

#[derive(Args, Debug)]
pub(super) struct TypeArgs {
    #[command(subcommand)]
    command: TypeCommand,
}

#[derive(Debug, Subcommand)]
enum TypeCommand {
    /// List all types, with how many of their jobs stand where
    List(ListArgs),
    /// Show one type
    Show(ShowArgs),
    /// Set how jobs of a type are treated; what is not named stays as it is
    Set(SetArgs),
}

#[derive(Args, Debug)]
struct ListArgs {
    /// One JSON line per type
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct ShowArgs {
    /// The type
    name: String,
    /// One JSON line
    #[arg(long)]
    json: bool,
}

/// Set how jobs of a type are treated; what is not named stays as it is.
///
/// Settings are in force at once, for jobs that wait, too. A type that does not exist begins.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  rekindle job type set mail --lease 30s --max-attempts 5 --backoff 2s..10m
  rekindle job type set api-call --concurrency 4 --rate 100/1m")]
struct SetArgs {
    /// The type
    name: String,
    /// How long a claim lasts without a heartbeat (ms, s, m, h)
    #[arg(long, value_name = "DURATION", value_parser = durations::parse)]
    lease: Option<Duration>,
    /// Failed or expired attempts after which a job has failed; 0: no limit
    #[arg(long, value_name = "N")]
    max_attempts: Option<u32>,
    /// How long a job stays away after its first failed attempt, doubled up to the longest
    #[arg(long, value_name = "FIRST..LONGEST", value_parser = backoff)]
    backoff: Option<(Duration, Duration)>,
    /// Most jobs in work at once; 0: no limit
    #[arg(long, value_name = "N")]
    concurrency: Option<u32>,
    /// How fast jobs are handed out, such as 100/1m; 0: no limit
    #[arg(long, value_name = "N/DURATION", value_parser = rate)]
    rate: Option<JobRate>,
    /// Most jobs that wait; 0: no limit
    #[arg(long, value_name = "N")]
    max_waiting: Option<u64>,
    /// How long completed jobs are kept (ms, s, m, h)
    #[arg(long, value_name = "DURATION", value_parser = durations::parse)]
    keep_completed: Option<Duration>,
    /// How long failed jobs are kept (ms, s, m, h)
    #[arg(long, value_name = "DURATION", value_parser = durations::parse)]
    keep_failed: Option<Duration>,
    /// How long cancelled jobs are kept (ms, s, m, h)
    #[arg(long, value_name = "DURATION", value_parser = durations::parse)]
    keep_cancelled: Option<Duration>,
}

fn backoff(text: &str) -> Result<(Duration, Duration), String> {
    let (first, longest) =
        text.split_once("..").ok_or("expected FIRST..LONGEST, such as 1s..1h")?;
    Ok((durations::parse(first)?, durations::parse(longest)?))
}

fn rate(text: &str) -> Result<JobRate, String> {
    if text == "0" {
        return Ok(JobRate::default());
    }
    let wrong = || "expected N/DURATION, such as 100/1m, or 0".to_owned();
    let (count, per) = text.split_once('/').ok_or_else(wrong)?;
    let count = count.parse().map_err(|_| wrong())?;
    Ok(JobRate { count, per_ms: millis(durations::parse(per)?) })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A type as scripts read it.
#[derive(Serialize)]
struct TypeLine<'a> {
    name: &'a str,
    lease_ms: u64,
    max_attempts: u32,
    backoff_base_ms: u64,
    backoff_max_ms: u64,
    concurrency: u32,
    rate_count: u32,
    rate_per_ms: u64,
    max_waiting: u64,
    keep_completed_ms: u64,
    keep_failed_ms: u64,
    keep_cancelled_ms: u64,
    created_ms: u64,
    scheduled: u64,
    pending: u64,
    processing: u64,
    completed: u64,
    failed: u64,
    cancelled: u64,
    needs_review: u64,
}

impl<'a> From<&'a JobTypeInfo> for TypeLine<'a> {
    fn from(kind: &'a JobTypeInfo) -> Self {
        let settings = kind.settings.unwrap_or_default();
        let (rate, counts) = (settings.rate.unwrap_or_default(), kind.counts.unwrap_or_default());
        let JobCounts {
            scheduled,
            pending,
            processing,
            completed,
            failed,
            cancelled,
            needs_review,
        } = counts;
        Self {
            name: &kind.name,
            lease_ms: settings.lease_ms(),
            max_attempts: settings.max_attempts(),
            backoff_base_ms: settings.backoff_base_ms(),
            backoff_max_ms: settings.backoff_max_ms(),
            concurrency: settings.concurrency(),
            rate_count: rate.count,
            rate_per_ms: rate.per_ms,
            max_waiting: settings.max_waiting(),
            keep_completed_ms: settings.keep_completed_ms(),
            keep_failed_ms: settings.keep_failed_ms(),
            keep_cancelled_ms: settings.keep_cancelled_ms(),
            created_ms: kind.created_ms,
            scheduled,
            pending,
            processing,
            completed,
            failed,
            cancelled,
            needs_review,
        }
    }
}

pub(super) async fn run(jobs: &Jobs, args: TypeArgs) -> Outcome {
    match args.command {
        TypeCommand::List(args) => list(jobs, &args).await,
        TypeCommand::Show(args) => show(jobs, &args).await,
        TypeCommand::Set(args) => set(jobs, args).await,
    }
}

async fn list(jobs: &Jobs, args: &ListArgs) -> Outcome {
    let types = jobs.list_types().await?;
    let mut out = Out::new();
    let words = STATUSES.iter().map(|status| word(*status).to_uppercase().replace('_', " "));
    let mut rows = vec![std::iter::once("NAME".to_owned()).chain(words).collect::<Vec<_>>()];
    for kind in &types {
        if args.json {
            out.json(&TypeLine::from(kind))?;
            continue;
        }
        let counts = kind.counts.unwrap_or_default();
        let counts = STATUSES.iter().map(|status| of(&counts, *status).to_string());
        rows.push(std::iter::once(kind.name.clone()).chain(counts).collect());
    }
    if !args.json {
        out.line(&table(&rows))?;
    }
    out.flush()?;
    Ok(0)
}

async fn show(jobs: &Jobs, args: &ShowArgs) -> Outcome {
    let kind = jobs.show_type(&args.name).await?;
    let mut out = Out::new();
    if args.json {
        out.json(&TypeLine::from(&kind))?;
    } else {
        for line in lines(&kind) {
            out.line(&line)?;
        }
    }
    out.flush()?;
    Ok(0)
}

fn lines(kind: &JobTypeInfo) -> Vec<String> {
    let line = TypeLine::from(kind);
    let limit = |number: u64| if number == 0 { "no limit".to_owned() } else { number.to_string() };
    let rate = match line.rate_count {
        0 => "no limit".to_owned(),
        count => format!("{count} in {}", durations::short(line.rate_per_ms)),
    };
    let counts = kind.counts.unwrap_or_default();
    let counts = STATUSES.map(|status| format!("{} {}", of(&counts, status), word(status)));
    let kept = [line.keep_completed_ms, line.keep_failed_ms, line.keep_cancelled_ms];
    let [completed, failed, cancelled] = kept.map(durations::short);
    let (first, longest) =
        (durations::short(line.backoff_base_ms), durations::short(line.backoff_max_ms));
    vec![
        format!("type          {}", line.name),
        format!("lease         {}", durations::short(line.lease_ms)),
        format!("max attempts  {}", limit(line.max_attempts.into())),
        format!("back-off      {first}, doubled up to {longest}"),
        format!("concurrency   {}", limit(line.concurrency.into())),
        format!("rate          {rate}"),
        format!("max waiting   {}", limit(line.max_waiting)),
        format!("kept          {completed} completed, {failed} failed, {cancelled} cancelled"),
        format!("jobs          {}", counts.join(", ")),
    ]
}

async fn set(jobs: &Jobs, args: SetArgs) -> Outcome {
    let settings = JobSettings {
        lease_ms: args.lease.map(millis),
        max_attempts: args.max_attempts,
        backoff_base_ms: args.backoff.map(|(first, _)| millis(first)),
        backoff_max_ms: args.backoff.map(|(_, longest)| millis(longest)),
        concurrency: args.concurrency,
        rate: args.rate,
        max_waiting: args.max_waiting,
        keep_completed_ms: args.keep_completed.map(millis),
        keep_failed_ms: args.keep_failed.map(millis),
        keep_cancelled_ms: args.keep_cancelled.map(millis),
    };
    let changed = jobs.set_type(&args.name, settings).await?;
    let mut out = Out::new();
    let name = &args.name;
    out.line(&if changed {
        format!("set job type {name:?}")
    } else {
        format!("job type {name:?} is just like this already")
    })?;
    out.flush()?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_pauses_are_pairs() {
        assert_eq!(rate("100/1m"), Ok(JobRate { count: 100, per_ms: 60_000 }));
        assert_eq!(rate("0"), Ok(JobRate::default()));
        assert_eq!(backoff("1s..1h"), Ok((Duration::from_secs(1), Duration::from_secs(3_600))));
        for wrong in ["", "1", "1/", "/1s", "x/1s", "1/1"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "1s", "1s..", "..1s", "1..2"] {
            assert!(backoff(wrong).is_err(), "{wrong}");
        }
    }
}
