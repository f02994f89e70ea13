//! Jobs as JSON: what every answer about one shows.
//!
//! Invariant: the members are those of `rekindle job list|show --json`; what is not there is null.

use rekindle_services::jobs::{
    Changed, Claimed, JobCounts, JobDetail, JobEvent, JobInfo, JobSettings, JobTypeInfo, Status,
};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;

use super::queues::DURABILITIES;
use crate::shown::Json;

/// The words of `status`.
pub(super) const STATUSES: [&str; 7] =
    ["scheduled", "pending", "processing", "completed", "failed", "cancelled", "needs_review"];

/// Bytes of a user: any JSON; other text as a string; other bytes as `{"base64":"…"}`.
fn any(_: &mut SchemaGenerator) -> Schema {
    Schema::from(true)
}

fn text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn time(ms: u64) -> Option<u64> {
    (ms > 0).then_some(ms)
}

/// Something that happened to a job.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "JobEvent")]
pub(super) struct EventView {
    /// What.
    #[schemars(extend("enum" = EVENTS))]
    event: &'static str,
    /// Why an attempt ended.
    #[schemars(extend("enum" = CAUSES))]
    cause: Option<&'static str>,
    /// When, log time.
    at_ms: u64,
    /// In which attempt.
    attempt: Option<u32>,
    /// Whose doing it was.
    by: Option<String>,
    /// Why, in their words.
    reason: Option<String>,
}

const EVENTS: [&str; 6] =
    ["submitted", "claimed", "attempt_ended", "completed", "failed", "cancelled"];
const CAUSES: [Option<&str>; 7] = [
    None,
    Some("failed"),
    Some("lease_expired"),
    Some("worker_crash"),
    Some("server_crash"),
    Some("released"),
    Some("shutdown"),
];

impl From<&JobEvent> for EventView {
    fn from(event: &JobEvent) -> Self {
        Self {
            event: event.event,
            cause: (!event.cause.is_empty()).then_some(event.cause),
            at_ms: event.at_ms,
            attempt: (event.attempt > 0).then_some(event.attempt),
            by: text(&event.by),
            reason: text(&event.reason),
        }
    }
}

/// The schedule that made a job.
#[derive(Debug, Serialize, JsonSchema)]
struct MadeBy {
    /// Its name.
    name: String,
    /// For which time, wall time.
    at_ms: u64,
}

/// A job.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Job")]
pub(super) struct JobView {
    /// Names it.
    id: String,
    /// The name of its type.
    r#type: String,
    /// How it stands.
    #[schemars(extend("enum" = STATUSES))]
    status: &'static str,
    /// Higher ones are claimed first.
    priority: i16,
    /// How often it was claimed.
    attempts: u32,
    /// How many of these count towards the limit.
    charged: u32,
    /// Charged attempts after which it has failed; 0: no limit.
    max_attempts: u32,
    /// Why its last attempt failed.
    last_error: Option<String>,
    /// When it was submitted, log time.
    submitted_ms: u64,
    /// When it becomes deliverable.
    due_ms: Option<u64>,
    /// Who works on it.
    worker: Option<String>,
    /// When that claim runs out, log time.
    deadline_ms: Option<u64>,
    /// When it was finished, log time.
    finished_ms: Option<u64>,
    /// Its unique key.
    unique_key: Option<String>,
    /// The schedule that made it.
    schedule: Option<MadeBy>,
    /// The transaction that submitted it, or tried it again.
    version: u64,
    /// What happened to it, oldest first; left out of lists that do not ask for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    events: Option<Vec<EventView>>,
}

impl JobView {
    /// A job, with these events if any.
    pub(super) fn of(info: &JobInfo, events: Option<&[JobEvent]>) -> Self {
        let made = |(name, at_ms): &(String, u64)| MadeBy { name: name.clone(), at_ms: *at_ms };
        Self {
            id: info.id.to_string(),
            r#type: info.kind.clone(),
            status: info.status.as_str(),
            priority: info.priority,
            attempts: info.attempts,
            charged: info.charged,
            max_attempts: info.max_attempts,
            last_error: text(&info.last_error),
            submitted_ms: info.submitted_ms,
            due_ms: time(info.due_ms),
            worker: text(&info.worker),
            deadline_ms: time(info.deadline_ms),
            finished_ms: time(info.finished_ms),
            unique_key: text(&info.unique_key),
            schedule: info.schedule.as_ref().map(made),
            version: info.version,
            events: events.map(|events| events.iter().map(EventView::from).collect()),
        }
    }
}

/// How far a job is.
#[derive(Serialize, JsonSchema)]
struct ProgressView<'a> {
    /// When the worker said so, log time.
    at_ms: u64,
    /// In the worker's words.
    #[schemars(schema_with = "any")]
    value: Json<'a>,
}

/// A job with what it carries.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "JobDetail")]
pub(super) struct DetailView<'a> {
    #[serde(flatten)]
    job: JobView,
    /// What is to be done.
    #[schemars(schema_with = "any")]
    payload: Json<'a>,
    /// How far it is.
    progress: Option<ProgressView<'a>>,
    /// What it resulted in, once it is completed.
    #[schemars(schema_with = "any")]
    result: Option<Json<'a>>,
}

impl<'a> From<&'a JobDetail> for DetailView<'a> {
    fn from(detail: &'a JobDetail) -> Self {
        let progress = detail.progress.as_ref();
        Self {
            job: JobView::of(&detail.info, Some(&detail.events)),
            payload: Json(&detail.payload),
            progress: progress
                .map(|(at_ms, value)| ProgressView { at_ms: *at_ms, value: Json(value) }),
            result: detail.result.as_ref().map(|result| Json(result)),
        }
    }
}

/// What came of a job.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "JobResult")]
pub(super) struct ResultView<'a> {
    /// Names it.
    id: String,
    /// How it stands.
    #[schemars(extend("enum" = STATUSES))]
    status: &'static str,
    /// Whether nothing happens to it any more.
    finished: bool,
    /// What it resulted in, once it is completed.
    #[schemars(schema_with = "any")]
    result: Option<Json<'a>>,
    /// Why its last attempt failed.
    last_error: Option<String>,
}

impl<'a> From<&'a JobDetail> for ResultView<'a> {
    fn from(detail: &'a JobDetail) -> Self {
        Self {
            id: detail.info.id.to_string(),
            status: detail.info.status.as_str(),
            finished: detail.info.status.is_finished(),
            result: detail.result.as_ref().map(|result| Json(result)),
            last_error: text(&detail.info.last_error),
        }
    }
}

/// A job that was handed out.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ClaimedJob")]
pub(super) struct ClaimedView<'a> {
    /// Names the job.
    id: String,
    /// Names the job and this claim: what heartbeat, complete, fail and release take.
    token: String,
    /// The name of its type.
    r#type: &'a str,
    /// 1 for the first claim.
    attempt: u32,
    /// Charged attempts after which it has failed; 0: no limit.
    max_attempts: u32,
    /// Its priority.
    priority: i16,
    /// When the claim runs out, log time.
    deadline_ms: u64,
    /// How long the claim lasts from the grant.
    lease_ms: u64,
    /// When the job was submitted, log time.
    submitted_ms: u64,
    /// What is to be done.
    #[schemars(schema_with = "any")]
    payload: Json<'a>,
}

impl<'a> From<&'a Claimed> for ClaimedView<'a> {
    fn from(claimed: &'a Claimed) -> Self {
        Self {
            id: claimed.id.to_string(),
            token: claimed.token.to_string(),
            r#type: &claimed.kind,
            attempt: claimed.attempt,
            max_attempts: claimed.max_attempts,
            priority: claimed.priority,
            deadline_ms: claimed.deadline_ms,
            lease_ms: claimed.lease_ms,
            submitted_ms: claimed.submitted_ms,
            payload: Json(claimed.payload()),
        }
    }
}

/// What became of a job.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ChangedJob")]
pub(super) struct ChangedView {
    /// The job.
    id: String,
    /// How it stands now.
    #[schemars(extend("enum" = STATUSES))]
    status: &'static str,
    /// When its claim runs out, log time.
    deadline_ms: Option<u64>,
    /// The transaction that did it.
    version: u64,
    /// What is promised.
    #[schemars(extend("enum" = DURABILITIES))]
    durability: &'static str,
}

impl ChangedView {
    /// What a change did, by the transaction that did it.
    pub(super) fn of(changed: Changed, version: u64, durability: &'static str) -> Self {
        Self {
            id: changed.id.to_string(),
            status: changed.status.as_str(),
            deadline_ms: time(changed.deadline_ms),
            version,
            durability,
        }
    }
}

/// How many jobs stand where.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "JobCounts")]
pub(super) struct CountsView {
    /// Waiting for their time, or for the pause before another attempt.
    scheduled: u64,
    /// Ready, or waiting for a place of their type.
    pending: u64,
    /// Held by a worker.
    processing: u64,
    /// Done.
    completed: u64,
    /// Given up.
    failed: u64,
    /// Called off.
    cancelled: u64,
    /// Waiting for the decision of a person.
    needs_review: u64,
}

impl From<JobCounts> for CountsView {
    fn from(counts: JobCounts) -> Self {
        let of = |status| counts.of(status);
        Self {
            scheduled: of(Status::Scheduled),
            pending: of(Status::Pending),
            processing: of(Status::Processing),
            completed: of(Status::Completed),
            failed: of(Status::Failed),
            cancelled: of(Status::Cancelled),
            needs_review: of(Status::NeedsReview),
        }
    }
}

/// A type of jobs.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "JobType")]
pub(super) struct TypeView {
    /// Its name.
    name: String,
    /// How long a claim lasts without a heartbeat.
    lease_ms: u64,
    /// Charged attempts after which a job has failed; 0: no limit.
    max_attempts: u32,
    /// The pause after the first charged attempt.
    backoff_base_ms: u64,
    /// The longest pause.
    backoff_max_ms: u64,
    /// Most jobs in work at once; 0: no limit.
    concurrency: u32,
    /// Most jobs handed out in `rate_per_ms`; 0: no limit.
    rate_count: u32,
    /// In how long.
    rate_per_ms: u64,
    /// Most jobs that wait; 0: no limit.
    max_waiting: u64,
    /// How long completed jobs are kept.
    keep_completed_ms: u64,
    /// How long failed jobs are kept.
    keep_failed_ms: u64,
    /// How long cancelled jobs are kept.
    keep_cancelled_ms: u64,
    /// When it began, log time.
    created_ms: u64,
    /// How many of its jobs stand where.
    counts: CountsView,
}

impl From<&JobTypeInfo> for TypeView {
    fn from(info: &JobTypeInfo) -> Self {
        let settings: &JobSettings = &info.settings;
        Self {
            name: info.name.clone(),
            lease_ms: settings.lease_ms,
            max_attempts: settings.max_attempts,
            backoff_base_ms: settings.backoff.base_ms,
            backoff_max_ms: settings.backoff.max_ms,
            concurrency: settings.concurrency,
            rate_count: settings.rate.count,
            rate_per_ms: settings.rate.per_ms,
            max_waiting: settings.max_waiting,
            keep_completed_ms: settings.keep_completed_ms,
            keep_failed_ms: settings.keep_failed_ms,
            keep_cancelled_ms: settings.keep_cancelled_ms,
            created_ms: info.created_ms,
            counts: info.counts.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words of the document are those of the service.
    #[test]
    fn words_are_those_of_the_service() {
        assert_eq!(STATUSES, Status::ALL.map(Status::as_str));
        use rekindle_services::claims::Cause;
        let causes: Vec<Option<&str>> = Cause::ALL.iter().map(|it| Some(it.as_str())).collect();
        assert_eq!(CAUSES[1..], causes);
    }
}
