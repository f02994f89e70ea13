//! What callers of the job service hand in and get back.

use std::sync::Arc;

use crate::claims::{Backoff, Subject, Token};
use crate::jobs::state::Status;
use crate::limits::{JOB_KEEP_FAILED_MS, JOB_KEEP_MS};

/// Names a job; one opaque word, safe in URLs and shells. It knows the job's type.
pub type JobId = Subject;

/// So many in so long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// How many; 0: no limit.
    pub count: u32,
    /// In how long, milliseconds.
    pub per_ms: u64,
}

/// What is chosen for a type of jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobSettings {
    /// How long a claim lasts without a heartbeat, milliseconds (default: 60 s).
    pub lease_ms: u64,
    /// Charged attempts after which a job has failed (default: 10); 0: no limit.
    pub max_attempts: u32,
    /// How long a job stays away after a charged attempt (default: 1 s, doubled up to 1 h).
    pub backoff: Backoff,
    /// Most jobs of the type in work at once; 0: no limit, the default.
    pub concurrency: u32,
    /// How fast its jobs are handed out; no limit by default.
    pub rate: Rate,
    /// Most jobs of the type that wait; 0: no limit, the default.
    pub max_waiting: u64,
    /// How long completed jobs are kept, milliseconds (default: 24 h).
    pub keep_completed_ms: u64,
    /// How long failed jobs are kept, milliseconds (default: 30 days).
    pub keep_failed_ms: u64,
    /// How long cancelled jobs are kept, milliseconds (default: 24 h).
    pub keep_cancelled_ms: u64,
}

impl Default for JobSettings {
    fn default() -> Self {
        Self {
            lease_ms: 60_000,
            max_attempts: 10,
            backoff: Backoff { base_ms: 1_000, max_ms: 3_600_000 },
            concurrency: 0,
            rate: Rate::default(),
            max_waiting: 0,
            keep_completed_ms: JOB_KEEP_MS,
            keep_failed_ms: JOB_KEEP_FAILED_MS,
            keep_cancelled_ms: JOB_KEEP_MS,
        }
    }
}

impl JobSettings {
    /// How long finished jobs are kept: completed, failed, cancelled.
    pub(crate) fn kept_ms(&self) -> [u64; 3] {
        [self.keep_completed_ms, self.keep_failed_ms, self.keep_cancelled_ms]
    }
}

/// What is to be changed of a type's settings; `None`: stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobSettingsChange {
    /// See [`JobSettings::lease_ms`].
    pub lease_ms: Option<u64>,
    /// See [`JobSettings::max_attempts`].
    pub max_attempts: Option<u32>,
    /// The first pause of [`JobSettings::backoff`].
    pub backoff_base_ms: Option<u64>,
    /// The longest pause of [`JobSettings::backoff`].
    pub backoff_max_ms: Option<u64>,
    /// See [`JobSettings::concurrency`].
    pub concurrency: Option<u32>,
    /// See [`JobSettings::rate`].
    pub rate: Option<Rate>,
    /// See [`JobSettings::max_waiting`].
    pub max_waiting: Option<u64>,
    /// See [`JobSettings::keep_completed_ms`].
    pub keep_completed_ms: Option<u64>,
    /// See [`JobSettings::keep_failed_ms`].
    pub keep_failed_ms: Option<u64>,
    /// See [`JobSettings::keep_cancelled_ms`].
    pub keep_cancelled_ms: Option<u64>,
}

impl JobSettingsChange {
    /// The settings after it.
    #[must_use]
    pub fn of(&self, settings: &JobSettings) -> JobSettings {
        JobSettings {
            lease_ms: self.lease_ms.unwrap_or(settings.lease_ms),
            max_attempts: self.max_attempts.unwrap_or(settings.max_attempts),
            backoff: Backoff {
                base_ms: self.backoff_base_ms.unwrap_or(settings.backoff.base_ms),
                max_ms: self.backoff_max_ms.unwrap_or(settings.backoff.max_ms),
            },
            concurrency: self.concurrency.unwrap_or(settings.concurrency),
            rate: self.rate.unwrap_or(settings.rate),
            max_waiting: self.max_waiting.unwrap_or(settings.max_waiting),
            keep_completed_ms: self.keep_completed_ms.unwrap_or(settings.keep_completed_ms),
            keep_failed_ms: self.keep_failed_ms.unwrap_or(settings.keep_failed_ms),
            keep_cancelled_ms: self.keep_cancelled_ms.unwrap_or(settings.keep_cancelled_ms),
        }
    }
}

impl From<&JobSettings> for JobSettingsChange {
    /// Everything.
    fn from(settings: &JobSettings) -> Self {
        Self {
            lease_ms: Some(settings.lease_ms),
            max_attempts: Some(settings.max_attempts),
            backoff_base_ms: Some(settings.backoff.base_ms),
            backoff_max_ms: Some(settings.backoff.max_ms),
            concurrency: Some(settings.concurrency),
            rate: Some(settings.rate),
            max_waiting: Some(settings.max_waiting),
            keep_completed_ms: Some(settings.keep_completed_ms),
            keep_failed_ms: Some(settings.keep_failed_ms),
            keep_cancelled_ms: Some(settings.keep_cancelled_ms),
        }
    }
}

/// A type of jobs: what it is and how many of its jobs stand where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobTypeInfo {
    /// Its name.
    pub name: String,
    /// Its settings.
    pub settings: JobSettings,
    /// When it began, log time in milliseconds.
    pub created_ms: u64,
    /// How many of its jobs stand where.
    pub counts: JobCounts,
}

/// How many jobs stand where, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobCounts {
    /// They become deliverable later.
    pub scheduled: u64,
    /// They can be claimed now.
    pub pending: u64,
    /// Claimed (those being granted at this moment included).
    pub processing: u64,
    /// Done, and kept for a while.
    pub completed: u64,
    /// Given up, and kept for a while.
    pub failed: u64,
    /// Cancelled, and kept for a while.
    pub cancelled: u64,
    /// They wait for a person.
    pub needs_review: u64,
}

impl JobCounts {
    /// The sum of both.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            scheduled: self.scheduled + other.scheduled,
            pending: self.pending + other.pending,
            processing: self.processing + other.processing,
            completed: self.completed + other.completed,
            failed: self.failed + other.failed,
            cancelled: self.cancelled + other.cancelled,
            needs_review: self.needs_review + other.needs_review,
        }
    }

    /// How many have this status.
    #[must_use]
    pub fn of(&self, status: Status) -> u64 {
        match status {
            Status::Scheduled => self.scheduled,
            Status::Pending => self.pending,
            Status::Processing => self.processing,
            Status::Completed => self.completed,
            Status::Failed => self.failed,
            Status::Cancelled => self.cancelled,
            Status::NeedsReview => self.needs_review,
        }
    }
}

/// When a job becomes deliverable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum When {
    /// At once.
    #[default]
    Now,
    /// At this wall time, milliseconds since 1970.
    At(u64),
    /// So many milliseconds of wall time from now.
    In(u64),
}

/// A job of which there is only one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unique<'a> {
    /// What it has alone among the jobs of its type.
    pub key: &'a str,
    /// For how long from its submission, milliseconds of log time; 0: until it is finished.
    pub window_ms: u64,
}

/// A job as it is submitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NewJob<'a> {
    /// What is to be done.
    pub payload: &'a [u8],
    /// Higher ones are claimed first; equal ones in the order of submission.
    pub priority: i16,
    /// When it becomes deliverable.
    pub when: When,
    /// Charged attempts after which it has failed; `None`: those of its type.
    pub max_attempts: Option<u32>,
    /// Not submitted while another one has its key.
    pub unique: Option<Unique<'a>>,
}

/// What a submission did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// The job; where another one had the unique key, that one.
    pub id: JobId,
    /// False: another one had the unique key, and nothing was submitted.
    pub new: bool,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClaimRequest<'a> {
    /// Jobs of these types, looked for in this order.
    pub types: &'a [&'a str],
    /// The most jobs; the limits may make it fewer.
    pub max: usize,
    /// How long the claims last without a heartbeat; `None`: as long as the type says.
    pub lease_ms: Option<u64>,
    /// Who works, for people who look.
    pub worker: &'a str,
}

/// A job that was handed to a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// Names the job.
    pub id: JobId,
    /// Names the job and this grant.
    pub token: Token,
    /// The name of its type.
    pub kind: String,
    /// 1 for the first claim.
    pub attempt: u32,
    /// Charged attempts after which it has failed; 0: no limit.
    pub max_attempts: u32,
    /// Its priority.
    pub priority: i16,
    /// When the claim runs out, log time in milliseconds.
    pub deadline_ms: u64,
    /// How long the claim lasts from the grant, milliseconds.
    pub lease_ms: u64,
    /// When it was submitted, log time in milliseconds.
    pub submitted_ms: u64,
    pub(crate) row: Arc<[u8]>,
    pub(crate) payload_at: usize,
}

impl Claimed {
    /// What is to be done.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.row.get(self.payload_at..).unwrap_or_default()
    }
}

/// How a worker gives a job up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failure<'a> {
    /// What went wrong; kept with the attempt.
    pub error: &'a str,
    /// How long it stays away, milliseconds of log time; `None`: the back-off of its type.
    pub retry_in_ms: Option<u64>,
    /// Trying again is of no use: it has failed.
    pub last: bool,
}

/// A heartbeat of a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heartbeat<'a> {
    /// The claim lasts so long from now; `None`: as long as its type says.
    pub by_ms: Option<u64>,
    /// How far the work is, in the worker's words; kept with the job.
    pub progress: Option<&'a [u8]>,
}

/// What became of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The job.
    pub id: JobId,
    /// How it stands now.
    pub status: Status,
    /// When its claim runs out, log time in milliseconds; 0 without a claim.
    pub deadline_ms: u64,
}

/// Something that happened to a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobEvent {
    /// `submitted`, `claimed`, `attempt_ended`, or the status in which it was finished:
    /// `completed`, `failed`, `cancelled`.
    pub event: &'static str,
    /// Why an attempt ended; empty for other events.
    pub cause: &'static str,
    /// When, log time in milliseconds.
    pub at_ms: u64,
    /// In which attempt; 0: in none.
    pub attempt: u32,
    /// Whose doing it was, in their own words.
    pub by: String,
    /// Why, in the owner's words.
    pub reason: String,
}

/// A job with everything that is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobInfo {
    /// Names it.
    pub id: JobId,
    /// The name of its type.
    pub kind: String,
    /// How it stands.
    pub status: Status,
    /// How often it was claimed.
    pub attempts: u32,
    /// How many of these count towards the limit.
    pub charged: u32,
    /// Charged attempts after which it has failed; 0: no limit.
    pub max_attempts: u32,
    /// Its priority.
    pub priority: i16,
    /// Why its last attempt failed; empty: none did.
    pub last_error: String,
    /// When it was submitted, log time in milliseconds.
    pub submitted_ms: u64,
    /// When it becomes deliverable, milliseconds since 1970 by the wall clock or, after an attempt,
    /// by log time; 0: at once.
    pub due_ms: u64,
    /// Who works on it; empty: nobody.
    pub worker: String,
    /// When that claim runs out, log time in milliseconds; 0: there is none.
    pub deadline_ms: u64,
    /// When it was finished, log time in milliseconds; 0: it is not.
    pub finished_ms: u64,
    /// Its unique key; empty: none.
    pub unique_key: String,
    /// The schedule that made it, and for which time, wall time in milliseconds.
    pub schedule: Option<(String, u64)>,
    /// The transaction that submitted it, or tried it again.
    pub version: u64,
    /// What happened to it, oldest first, where a list was asked for that; otherwise empty.
    pub events: Vec<JobEvent>,
}

/// A job with what it carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobDetail {
    /// Everything but what it carries.
    pub info: JobInfo,
    /// What is to be done.
    pub payload: Vec<u8>,
    /// How far it is, in the worker's words.
    pub progress: Option<(u64, Vec<u8>)>,
    /// What it resulted in.
    pub result: Option<Vec<u8>>,
    /// What happened to it, oldest first.
    pub events: Vec<JobEvent>,
}

/// Which jobs are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobFilter<'a> {
    /// Only this type.
    pub kind: Option<&'a str>,
    /// Only these statuses; empty: all.
    pub statuses: &'a [Status],
    /// Only the one with this unique key (needs a type).
    pub unique_key: Option<&'a str>,
    /// The newest first.
    pub newest_first: bool,
    /// Behind this job, in that order.
    pub after: Option<JobId>,
    /// With what happened to each.
    pub events: bool,
    /// The most; 0: as many as a page may have.
    pub limit: usize,
}

/// A page of jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobPage {
    /// In the order of their submission, or the other way round.
    pub jobs: Vec<JobInfo>,
    /// Where the next page begins; `None`: this was the last. A page may be short, even empty, and
    /// not be the last: so many jobs were looked at.
    pub next: Option<JobId>,
}
