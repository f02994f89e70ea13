//! `job list`: pages of jobs, or their number.

use clap::Args;
use rekindle_client::{JobCounts, JobInfo, JobStatus, Jobs, ListJobs};

use super::shown::{JobLine, STATUSES, status, word};
use crate::cli::Outcome;
use crate::cli::output::{Out, say, table};

/// Jobs of one page.
const PAGE: u64 = 1_000;

/// List jobs in the order of their submission, or count them.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  rekindle job list --type mail --status failed --newest
  rekindle job list --status completed --count
  rekindle job list --type report --unique nightly --json")]
pub(super) struct ListArgs {
    /// Only this type
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Only this status: scheduled, pending, processing, completed, failed, cancelled or
    /// needs_review; may be repeated
    #[arg(long, value_name = "STATUS", value_parser = status)]
    status: Vec<JobStatus>,
    /// Only the one that has this unique key
    #[arg(long, value_name = "KEY", requires = "kind")]
    unique: Option<String>,
    /// Print only their number
    #[arg(long, conflicts_with_all = ["limit", "after", "newest", "json", "events"])]
    count: bool,
    /// The most; 0: all
    #[arg(long, default_value_t = 100, value_name = "N")]
    limit: u64,
    /// The newest first
    #[arg(long)]
    newest: bool,
    /// Only those behind this job
    #[arg(long, value_name = "ID")]
    after: Option<String>,
    /// One JSON line per job
    #[arg(long)]
    json: bool,
    /// With what happened to each
    #[arg(long, requires = "json")]
    events: bool,
}

pub(super) async fn run(jobs: &Jobs, args: ListArgs) -> Outcome {
    let mut list = ListJobs {
        kind: args.kind.clone(),
        statuses: args.status.clone(),
        unique_key: args.unique.clone(),
        newest_first: args.newest,
        after: args.after.clone(),
        limit: 0,
        events: args.events,
    };
    let mut out = Out::new();
    if args.count {
        let number = match &args.unique {
            None => total(&jobs.count(args.kind.as_deref()).await?, &args.status),
            Some(_) => u64::try_from(jobs.list(&list).await?.0.len()).unwrap_or(u64::MAX),
        };
        out.line(&number.to_string())?;
        out.flush()?;
        return Ok(0);
    }
    let mut left = if args.limit == 0 { u64::MAX } else { args.limit };
    let mut first = true;
    while left > 0 {
        list.limit = u32::try_from(left.min(PAGE)).unwrap_or(u32::MAX);
        let (page, next) = jobs.list(&list).await?;
        left = left.saturating_sub(u64::try_from(page.len()).unwrap_or(u64::MAX));
        if args.json {
            for info in &page {
                out.json(&JobLine::new(info, args.events))?;
            }
        } else if first || !page.is_empty() {
            out.line(&rows(&page))?;
        }
        out.flush()?;
        first = false;
        let Some(next) = next else { return Ok(0) };
        if left == 0 {
            say(&format!("there may be more: --limit N, or --after {next}"));
        }
        list.after = Some(next);
    }
    Ok(0)
}

/// How many have one of these statuses; of all where none is named.
fn total(counts: &JobCounts, statuses: &[JobStatus]) -> u64 {
    let wanted = |status: &JobStatus| statuses.is_empty() || statuses.contains(status);
    STATUSES.into_iter().filter(wanted).map(|status| of(counts, status)).sum()
}

/// How many have this status.
pub(super) fn of(counts: &JobCounts, status: JobStatus) -> u64 {
    match status {
        JobStatus::Unspecified => 0,
        JobStatus::Scheduled => counts.scheduled,
        JobStatus::Pending => counts.pending,
        JobStatus::Processing => counts.processing,
        JobStatus::Completed => counts.completed,
        JobStatus::Failed => counts.failed,
        JobStatus::Cancelled => counts.cancelled,
        JobStatus::NeedsReview => counts.needs_review,
    }
}

fn rows(page: &[JobInfo]) -> String {
    let heading = ["ID", "TYPE", "STATUS", "PRIORITY", "ATTEMPTS", "WORKER", "LAST ERROR"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    rows.extend(page.iter().map(|info| {
        vec![
            info.id.clone(),
            info.r#type.clone(),
            word(info.status()).to_owned(),
            info.priority.to_string(),
            info.attempts.to_string(),
            or_dash(&info.worker),
            or_dash(info.last_error.lines().next().unwrap_or_default()),
        ]
    }));
    table(&rows)
}

/// Text on its column, or a dash where there is none.
fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_of_the_statuses_that_are_named() {
        let counts = JobCounts { pending: 1, completed: 2, failed: 4, ..JobCounts::default() };
        assert_eq!(total(&counts, &[]), 7);
        assert_eq!(total(&counts, &[JobStatus::Completed, JobStatus::Failed]), 6);
        assert_eq!(total(&counts, &[JobStatus::Scheduled]), 0);
    }
}
