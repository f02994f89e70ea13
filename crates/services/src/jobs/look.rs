//! Looking at jobs: one with its history, and pages of many.
//!
//! Invariant: a page is read from one snapshot, its rows are joined in the order of their keys, and
//! it looks at a bounded number of them.

use std::ops::Bound;
use std::sync::Arc;

use rekindle_database::{Database, KeyspaceId, Row, Snapshot, Transaction, Value};

use crate::claims::Subject;
use crate::claims::attempts::{Attempts, UNDER_REVIEW};
use crate::claims::lease::Lease;
use crate::error::Error;
use crate::exec::{Answer, Command, Core, Stop};
use crate::jobs::change::no_job;
use crate::jobs::job::{self, Head};
use crate::jobs::kind::JobType;
use crate::jobs::outcome::Outcome;
use crate::jobs::state::{COMPLETED, Rows};
use crate::jobs::work::parse_progress;
use crate::jobs::{JobDetail, JobEvent, JobInfo, Status};
use crate::keys::subject as key;

/// The rows of one job; one that cannot be read is told by its bytes being there.
#[derive(Debug, Default)]
pub(super) struct Stored {
    pub(super) job: Option<Value>,
    pub(super) outcome: Option<Value>,
    pub(super) lease: Option<Value>,
    pub(super) attempts: Option<Value>,
}

/// The rows of one job, read.
struct Read<'a> {
    head: Head<'a>,
    payload: &'a [u8],
    outcome: Option<Outcome<'a>>,
    lease: Option<Lease>,
    attempts: Option<Attempts>,
    version: u64,
}

impl Stored {
    /// What happened to the job, as far as that can be read.
    pub(super) fn events(&self) -> Vec<JobEvent> {
        self.read().map(|read| read.events()).unwrap_or_default()
    }

    fn read(&self) -> Option<Read<'_>> {
        let row = self.job.as_ref()?;
        let (head, payload_at) = job::parse(&row.bytes).ok()?;
        let outcome = self.outcome.as_ref().map(|row| Outcome::parse(&row.bytes));
        let lease = self.lease.as_ref().map(|row| Lease::parse(&row.bytes, row.version));
        let attempts = self.attempts.as_ref().map(|row| Attempts::parse(&row.bytes));
        Some(Read {
            head,
            payload: row.bytes.get(payload_at..)?,
            outcome: outcome.transpose().ok()?,
            lease: lease.transpose().ok()?,
            attempts: attempts.transpose().ok()?,
            version: row.version,
        })
    }
}

/// Now, by both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) log_ms: u64,
    pub(crate) wall_ms: u64,
}

impl Now {
    pub(crate) fn of(database: &Database) -> Self {
        let wall_ms = database.env().clock.wall_ms();
        Self { log_ms: database.log_time_ms(), wall_ms }
    }
}

impl Read<'_> {
    fn status(&self, now: Now) -> Status {
        let rows = Rows {
            outcome: self.outcome.as_ref().map(|outcome| outcome.status),
            leased: self.lease.is_some(),
            attempts_due_ms: self.attempts.as_ref().map(|attempts| attempts.due_ms),
            run_at_ms: self.head.run_at_ms,
        };
        rows.status(now.log_ms, now.wall_ms)
    }

    fn info(&self, id: Subject, kind: &JobType, now: Now) -> JobInfo {
        let status = self.status(now);
        let (attempts, lease) = (self.attempts.as_ref(), self.lease.as_ref());
        let tried = lease.map(|lease| lease.attempt);
        let tried = tried.or(self.outcome.map(|outcome| outcome.attempt));
        let due_ms = match attempts.map(|attempts| attempts.due_ms) {
            Some(UNDER_REVIEW) => 0,
            Some(due_ms) => due_ms,
            None => self.head.run_at_ms,
        };
        JobInfo {
            id,
            kind: kind.name.clone(),
            status,
            attempts: tried.unwrap_or(0).max(attempts.map_or(0, |attempts| attempts.attempt)),
            charged: attempts.map_or(0, |attempts| attempts.charged),
            max_attempts: self.head.max_attempts.unwrap_or(kind.settings.max_attempts),
            priority: self.head.priority,
            last_error: self.last_error(),
            submitted_ms: self.head.submitted_ms,
            due_ms,
            worker: lease.map(|lease| lease.owner.clone()).unwrap_or_default(),
            deadline_ms: lease.map_or(0, |lease| lease.deadline_ms),
            finished_ms: self.outcome.map_or(0, |outcome| outcome.finished_ms),
            unique_key: self.head.unique.map(|unique| unique.key.to_owned()).unwrap_or_default(),
            schedule: self.head.schedule.map(|(name, at_ms)| (name.to_owned(), at_ms)),
            version: self.version,
            events: vec![],
        }
    }

    fn last_error(&self) -> String {
        let history = self.attempts.as_ref().map(|attempts| attempts.history.as_slice());
        let charged = history.unwrap_or_default().iter().rev().find(|one| one.cause.charged());
        charged.map(|one| one.reason.clone()).unwrap_or_default()
    }

    fn events(&self) -> Vec<JobEvent> {
        let event = |event, at_ms, attempt| JobEvent {
            event,
            cause: "",
            at_ms,
            attempt,
            by: String::new(),
            reason: String::new(),
        };
        let by = self.head.schedule.map(|(name, _)| format!("schedule {name}"));
        let submitted = event("submitted", self.head.submitted_ms, 0);
        let mut events = vec![JobEvent { by: by.unwrap_or_default(), ..submitted }];
        let history = self.attempts.as_ref().map(|attempts| attempts.history.as_slice());
        for one in history.unwrap_or_default() {
            let (cause, reason) = (one.cause.as_str(), one.reason.clone());
            let ended = event("attempt_ended", one.at_ms, one.attempt);
            events.push(JobEvent { cause, reason, ..ended });
        }
        if let Some(lease) = &self.lease {
            let by = lease.owner.clone();
            events.push(JobEvent { by, ..event("claimed", lease.granted_ms, lease.attempt) });
        }
        if let Some(outcome) = &self.outcome {
            let by = outcome.by.to_owned();
            let completed = outcome.status == COMPLETED;
            if completed && outcome.granted_ms > 0 {
                let claimed = event("claimed", outcome.granted_ms, outcome.attempt);
                events.push(JobEvent { by: by.clone(), ..claimed });
            }
            let reason = if completed { "".into() } else { text(outcome.detail) };
            let end = event(outcome.status().as_str(), outcome.finished_ms, outcome.attempt);
            events.push(JobEvent { by, reason, ..end });
        }
        events
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A job of which nothing but its id can be read.
fn unread(id: Subject, kind: &JobType, version: u64) -> JobInfo {
    JobInfo {
        id,
        kind: kind.name.clone(),
        status: Status::NeedsReview,
        attempts: 0,
        charged: 0,
        max_attempts: kind.settings.max_attempts,
        priority: 0,
        last_error: "its rows cannot be read; see 'rekindle review show'".to_owned(),
        submitted_ms: 0,
        due_ms: 0,
        worker: String::new(),
        deadline_ms: 0,
        finished_ms: 0,
        unique_key: String::new(),
        schedule: None,
        version,
        events: vec![],
    }
}

/// What a list says of a job.
pub(super) fn info(stored: &Stored, id: Subject, kind: &JobType, now: Now) -> JobInfo {
    match stored.read() {
        Some(read) => read.info(id, kind, now),
        None => unread(id, kind, stored.job.as_ref().map_or(0, |row| row.version)),
    }
}

/// The rows of one job at one moment, and its type; a job that is not there is refused.
fn rows(core: &Core, snapshot: &Snapshot, id: Subject) -> Result<(Stored, Arc<JobType>), Error> {
    let kind = core.index.line_of(id.line).and_then(|line| line.jobs().cloned());
    let kind = kind.ok_or_else(|| no_job(id))?;
    let keyspaces = &core.keyspaces;
    let key = key::encode(id);
    let get = |keyspace: KeyspaceId| snapshot.get(keyspace, &key);
    let stored = Stored {
        job: get(keyspaces.jobs)?,
        outcome: get(keyspaces.job_outcomes)?,
        lease: get(keyspaces.leases)?,
        attempts: get(keyspaces.attempts)?,
    };
    if stored.job.is_none() {
        return Err(no_job(id));
    }
    Ok((stored, kind))
}

/// What a list says of one job.
pub(super) fn glance(core: &Core, id: Subject) -> Result<JobInfo, Error> {
    let (stored, kind) = rows(core, &core.database.snapshot()?, id)?;
    Ok(info(&stored, id, &kind, Now::of(&core.database)))
}

/// One job with everything that is known of it.
pub(super) fn show(core: &Core, id: Subject) -> Result<JobDetail, Error> {
    let snapshot = core.database.snapshot()?;
    let (stored, kind) = rows(core, &snapshot, id)?;
    let progress = snapshot.get(core.keyspaces.job_progress, &key::encode(id))?;
    let progress = progress.as_ref().and_then(|row| parse_progress(&row.bytes));
    let progress = progress.map(|(at_ms, words)| (at_ms, words.to_vec()));
    let info = info(&stored, id, &kind, Now::of(&core.database));
    let Some(read) = stored.read() else {
        return Ok(JobDetail { info, payload: vec![], progress, result: None, events: vec![] });
    };
    let done = read.outcome.filter(|outcome| outcome.status == COMPLETED);
    Ok(JobDetail {
        info,
        payload: read.payload.to_vec(),
        progress,
        result: done.map(|outcome| outcome.detail.to_vec()),
        events: read.events(),
    })
}

/// Reads whether a job is finished among what is ordered; answered when everybody sees that.
pub(super) struct End(pub(super) Subject);

impl Command for End {
    type Value = bool;
    // It adds nothing.
    const FREES_WORK: bool = true;

    fn build(&mut self, core: &Core, txn: &mut Transaction) -> Result<Answer<bool>, Stop> {
        let outcome = txn.get(core.keyspaces.job_outcomes, &key::encode(self.0))?;
        Ok(Answer::new(outcome.is_some()))
    }
}

/// Rows of one keyspace inside a window of keys, in the order of their keys.
pub(super) struct Strand {
    rows: std::iter::Peekable<std::vec::IntoIter<Row>>,
    newest_first: bool,
}

impl Strand {
    /// All rows of the keyspace between the first and the last key of a page, both included.
    pub(super) fn read(
        snapshot: &Snapshot,
        keyspace: KeyspaceId,
        (first, last): (&[u8], &[u8]),
        (most, newest_first): (usize, bool),
    ) -> Result<Self, Error> {
        let bounds = if first <= last { (first, last) } else { (last, first) };
        let range = (Bound::Included(bounds.0), Bound::Included(bounds.1));
        let rows = snapshot.scan(keyspace, range, most, newest_first)?;
        Ok(Self { rows: rows.into_iter().peekable(), newest_first })
    }

    /// The row with this key; rows in front of it are passed over.
    pub(super) fn take(&mut self, key: &[u8]) -> Option<Value> {
        let newest_first = self.newest_first;
        let passed = |row: &Row| {
            if newest_first { row.key.as_ref() > key } else { row.key.as_ref() < key }
        };
        while self.rows.next_if(passed).is_some() {}
        let row = self.rows.next_if(|row| row.key.as_ref() == key)?;
        Some(Value { bytes: row.value, version: row.version })
    }
}
