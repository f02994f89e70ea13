//! Between the messages of jobs on the wire and the values of the job service.

use bytes::Bytes;
use rekindle_services::Error;
use rekindle_services::claims::Token;
use rekindle_services::jobs::{
    Changed, Claimed, JobCounts, JobDetail, JobEvent, JobId, JobInfo, JobSettings,
    JobSettingsChange, JobTypeInfo, NewJob, Rate, Status, Unique, When,
};
use rekindle_services::{Acknowledged, Kind};
use rekindle_wire::v1;

use super::convert::{SHARED_BODY_BYTES_MIN, durability, refuse_item};

fn invalid(message: impl Into<String>) -> Error {
    Error::new(Kind::Invalid, message)
}

/// A job as the service takes it.
pub(super) fn new_job(job: &v1::NewJob) -> Result<NewJob<'_>, Error> {
    let when = match (job.run_at_ms, job.delay_ms) {
        (0, 0) => When::Now,
        (at_ms, 0) => When::At(at_ms),
        (0, ms) => When::In(ms),
        _ => return Err(invalid("a job with run_at_ms and delay_ms; give one of them")),
    };
    let priority = i16::try_from(job.priority).map_err(|_| {
        invalid(format!("a priority of {}; choose {} to {}", job.priority, i16::MIN, i16::MAX))
    })?;
    let unique = match (job.unique_key.as_str(), job.unique_window_ms) {
        ("", 0) => None,
        ("", _) => return Err(invalid("a window without a unique key")),
        (key, window_ms) => Some(Unique { key, window_ms }),
    };
    let max_attempts = job.max_attempts;
    Ok(NewJob { payload: &job.payload, priority, when, max_attempts, unique })
}

/// The id of a job.
pub(super) fn id(word: &str) -> Result<JobId, Error> {
    word.parse()
}

/// A token; where an id is named, the token must be one of that job.
pub(super) fn token(token: &str, id: &str) -> Result<Token, Error> {
    let parsed: Token = token.parse()?;
    if !id.is_empty() && self::id(id)? != parsed.subject() {
        let other = parsed.subject();
        return Err(invalid(format!("this token belongs to {other}, not to {id}")));
    }
    Ok(parsed)
}

/// A status on the wire.
pub(super) fn status(status: Status) -> v1::JobStatus {
    match status {
        Status::Scheduled => v1::JobStatus::Scheduled,
        Status::Pending => v1::JobStatus::Pending,
        Status::Processing => v1::JobStatus::Processing,
        Status::Completed => v1::JobStatus::Completed,
        Status::Failed => v1::JobStatus::Failed,
        Status::Cancelled => v1::JobStatus::Cancelled,
        Status::NeedsReview => v1::JobStatus::NeedsReview,
    }
}

/// The statuses that a caller names.
pub(super) fn statuses(wanted: &[i32]) -> Result<Vec<Status>, Error> {
    let known = |number: &i32| {
        let found = Status::ALL.into_iter().find(|it| i32::from(status(*it)) == *number);
        found.ok_or_else(|| invalid(format!("there is no status {number}")))
    };
    wanted.iter().map(known).collect()
}

/// A claimed job on the wire.
pub(super) fn claimed(job: Claimed) -> v1::ClaimedJob {
    let mut message = v1::ClaimedJob {
        id: job.id.to_string(),
        token: job.token.to_string(),
        r#type: job.kind.clone(),
        attempt: job.attempt,
        max_attempts: job.max_attempts,
        priority: job.priority.into(),
        payload: Bytes::new(),
        lease_ms: job.lease_ms,
        submitted_ms: job.submitted_ms,
    };
    message.payload = if job.payload().len() < SHARED_BODY_BYTES_MIN {
        Bytes::copy_from_slice(job.payload())
    } else {
        Bytes::from_owner(Payload(job))
    };
    message
}

/// A job whose payload is shared.
struct Payload(Claimed);

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        self.0.payload()
    }
}

/// What became of a job.
pub(super) fn change(changed: Changed, now_ms: u64) -> v1::JobChange {
    v1::JobChange {
        id: changed.id.to_string(),
        status: status(changed.status).into(),
        lease_ms: changed.deadline_ms.saturating_sub(now_ms),
    }
}

/// Joins the results of good tokens, which stood at `places`, with the errors of the others.
pub(super) fn changes(
    result: Option<Acknowledged<Vec<Result<Changed, Error>>>>,
    places: &[usize],
    mut errors: Vec<v1::ItemError>,
    now_ms: u64,
) -> v1::JobsChangedResponse {
    let count = places.len() + errors.len();
    let mut jobs = vec![v1::JobChange::default(); count];
    let promised = result.as_ref().map_or(0, |result| durability(result.durability));
    let results = result.map(|result| result.value).unwrap_or_default();
    for (place, outcome) in places.iter().zip(results) {
        match outcome {
            Ok(changed) => {
                if let Some(job) = jobs.get_mut(*place) {
                    *job = change(changed, now_ms);
                }
            }
            Err(error) => errors.push(refuse_item(*place, &error)),
        }
    }
    errors.sort_by_key(|error| error.index);
    v1::JobsChangedResponse { durability: promised, jobs, errors }
}

fn event(event: JobEvent) -> v1::JobEvent {
    v1::JobEvent {
        event: event.event.to_owned(),
        cause: event.cause.to_owned(),
        at_ms: event.at_ms,
        attempt: event.attempt,
        by: event.by,
        reason: event.reason,
    }
}

/// A job of a list.
pub(super) fn info(info: JobInfo) -> v1::JobInfo {
    v1::JobInfo {
        id: info.id.to_string(),
        r#type: info.kind,
        status: status(info.status).into(),
        attempts: info.attempts,
        charged: info.charged,
        max_attempts: info.max_attempts,
        priority: info.priority.into(),
        last_error: info.last_error,
        submitted_ms: info.submitted_ms,
        due_ms: info.due_ms,
        worker: info.worker,
        deadline_ms: info.deadline_ms,
        finished_ms: info.finished_ms,
        unique_key: info.unique_key,
        version: info.version,
        events: info.events.into_iter().map(event).collect(),
    }
}

/// A job with what it carries.
pub(super) fn detail(job: JobDetail) -> v1::JobDetail {
    let progress = job.progress;
    v1::JobDetail {
        info: Some(info(JobInfo { events: job.events, ..job.info })),
        payload: job.payload.into(),
        progress: progress.map(|(at_ms, value)| v1::JobProgress { at_ms, value: value.into() }),
        result: job.result.map(Bytes::from),
    }
}

/// How many jobs stand where.
pub(super) fn counts(counts: JobCounts) -> v1::JobCounts {
    v1::JobCounts {
        scheduled: counts.scheduled,
        pending: counts.pending,
        processing: counts.processing,
        completed: counts.completed,
        failed: counts.failed,
        cancelled: counts.cancelled,
        needs_review: counts.needs_review,
    }
}

/// What a caller changes of a type.
pub(super) fn settings_change(settings: &v1::JobSettings) -> JobSettingsChange {
    JobSettingsChange {
        lease_ms: settings.lease_ms,
        max_attempts: settings.max_attempts,
        backoff_base_ms: settings.backoff_base_ms,
        backoff_max_ms: settings.backoff_max_ms,
        concurrency: settings.concurrency,
        rate: settings.rate.map(|rate| Rate { count: rate.count, per_ms: rate.per_ms }),
        max_waiting: settings.max_waiting,
        keep_completed_ms: settings.keep_completed_ms,
        keep_failed_ms: settings.keep_failed_ms,
        keep_cancelled_ms: settings.keep_cancelled_ms,
    }
}

fn settings(settings: &JobSettings) -> v1::JobSettings {
    let rate = settings.rate;
    v1::JobSettings {
        lease_ms: Some(settings.lease_ms),
        max_attempts: Some(settings.max_attempts),
        backoff_base_ms: Some(settings.backoff.base_ms),
        backoff_max_ms: Some(settings.backoff.max_ms),
        concurrency: Some(settings.concurrency),
        rate: Some(v1::JobRate { count: rate.count, per_ms: rate.per_ms }),
        max_waiting: Some(settings.max_waiting),
        keep_completed_ms: Some(settings.keep_completed_ms),
        keep_failed_ms: Some(settings.keep_failed_ms),
        keep_cancelled_ms: Some(settings.keep_cancelled_ms),
    }
}

/// A type.
pub(super) fn job_type(kind: JobTypeInfo) -> v1::JobTypeInfo {
    v1::JobTypeInfo {
        name: kind.name,
        settings: Some(settings(&kind.settings)),
        created_ms: kind.created_ms,
        counts: Some(counts(kind.counts)),
    }
}
