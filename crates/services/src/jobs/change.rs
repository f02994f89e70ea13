//! `cancel` and `retry`: what anybody may ask for about a job, whoever works on it.

use std::sync::Arc;

use rekindle_database::Transaction;

use crate::bytes::truncated;
use crate::claims::Subject;
use crate::claims::attempts::Attempts;
use crate::claims::lease::Lease;
use crate::claims::settle::{load_attempts, load_lease, remove_lease};
use crate::error::{Error, Kind};
use crate::exec::{Answer, Command, Core, Stop};
use crate::identity::Identity;
use crate::jobs::job::{self, Head};
use crate::jobs::outcome::Outcome;
use crate::jobs::state::{CANCELLED, Change, Rows, Status, next};
use crate::jobs::submit::take_key;
use crate::jobs::{Changed, not_a_job};
use crate::keys::subject as key;
use crate::limits::REASON_BYTES_MAX;
use crate::loops::step::is_a_step;
use crate::producers::{Fingerprint, once};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask<'a> {
    /// The job is called off: why.
    Cancel(&'a str),
    /// It is tried again, at once.
    Retry,
}

/// Does it.
pub(crate) struct Alter<'a> {
    id: Subject,
    ask: Ask<'a>,
    who: &'a str,
    identity: Option<(Identity, u32)>,
}

impl<'a> Alter<'a> {
    /// Checks what is asked for.
    pub(crate) fn new(
        id: Subject,
        ask: Ask<'a>,
        who: &'a str,
        identity: Option<Identity>,
    ) -> Result<Self, Error> {
        if !id.is_job() {
            return Err(not_a_job(id));
        }
        let (kind, reason) = match ask {
            Ask::Cancel(reason) => ("cancel", reason),
            Ask::Retry => ("retry", ""),
        };
        if reason.len() > REASON_BYTES_MAX {
            return Err(Error::invalid(format!(
                "a reason of {} bytes; at most {REASON_BYTES_MAX} are kept",
                reason.len()
            )));
        }
        let fingerprint = Fingerprint::of(kind).number(id.line).number(id.number);
        let fingerprint = fingerprint.bytes(reason.as_bytes()).finish();
        let identity = identity.map(|identity| (identity, fingerprint));
        Ok(Self { id, ask, who, identity })
    }
}

impl Command for Alter<'_> {
    type Value = Changed;
    const FREES_WORK: bool = true;

    fn build(&mut self, core: &Core, txn: &mut Transaction) -> Result<Answer<Changed>, Stop> {
        let alter = &*self;
        let now_ms = core.database.log_time_ms();
        once(core, txn, alter.identity, now_ms, |txn| {
            let job = Job::load(core, txn, alter.id, now_ms)?;
            match alter.ask {
                Ask::Cancel(reason) => alter.cancel(core, txn, &job, reason, now_ms),
                Ask::Retry => alter.retry(core, txn, &job, now_ms),
            }
        })
    }
}

/// A job as it stands in a transaction.
struct Job {
    bytes: Arc<[u8]>,
    /// In which attempt it ended; 0: it did not, or in none.
    ended: u32,
    lease: Option<Lease>,
    status: Status,
}

impl Job {
    fn load(core: &Core, txn: &mut Transaction, id: Subject, now_ms: u64) -> Result<Self, Stop> {
        let key = key::encode(id);
        let row = txn.get(core.keyspaces.jobs, &key)?.ok_or_else(|| no_job(id))?;
        let outcome = txn.get(core.keyspaces.job_outcomes, &key)?;
        let outcome = outcome.as_ref().map(|row| Outcome::parse(&row.bytes)).transpose();
        let outcome = outcome.map_err(|malformed| damaged(id, &malformed))?;
        let lease = load_lease(core, txn, id)?;
        let attempts = load_attempts(core, txn, id)?;
        let head = job::parse_head(&row.bytes).map_err(|malformed| damaged(id, &malformed))?;
        if let Some((execution, _)) = head.step {
            return Err(Stop::Refused(is_a_step(execution)));
        }
        let rows = Rows {
            outcome: outcome.map(|outcome| outcome.status),
            leased: lease.is_some(),
            attempts_due_ms: attempts.map(|attempts| attempts.due_ms),
            run_at_ms: head.run_at_ms,
        };
        let status = rows.status(now_ms, core.database.env().clock.wall_ms());
        let ended = outcome.map_or(0, |outcome| outcome.attempt);
        Ok(Self { bytes: row.bytes, ended, lease, status })
    }
}

fn damaged(id: Subject, why: &dyn std::fmt::Display) -> Error {
    Error::corrupt(format!("job {id}: {why}"))
}

/// There is no such job.
pub(crate) fn no_job(id: Subject) -> Error {
    let message = format!("there is no job {id}; finished jobs are kept for as long as their type");
    Error::new(Kind::NotFound, format!("{message} says"))
}

impl Alter<'_> {
    fn cancel(
        &self,
        core: &Core,
        txn: &mut Transaction,
        job: &Job,
        reason: &str,
        now_ms: u64,
    ) -> Result<Changed, Stop> {
        self.allowed(job, Change::Cancelled)?;
        let lease = job.lease.as_ref();
        let outcome = Outcome {
            status: CANCELLED,
            finished_ms: now_ms,
            attempt: lease.map_or(0, |lease| lease.attempt),
            granted_ms: lease.map_or(0, |lease| lease.granted_ms),
            by: self.who,
            detail: truncated(reason, REASON_BYTES_MAX).as_bytes(),
        };
        txn.put(core.keyspaces.job_outcomes, &key::encode(self.id), &outcome.encode());
        if let Some(lease) = lease {
            remove_lease(core, txn, self.id, lease);
        }
        Ok(Changed { id: self.id, status: Status::Cancelled, deadline_ms: 0 })
    }

    fn retry(
        &self,
        core: &Core,
        txn: &mut Transaction,
        job: &Job,
        now_ms: u64,
    ) -> Result<Changed, Stop> {
        self.allowed(job, Change::Retried)?;
        let (head, payload_at) =
            job::parse(&job.bytes).map_err(|malformed| damaged(self.id, &malformed))?;
        if job.status.is_finished()
            && let Some(unique) = head.unique
            && let Some(other) = take_key(core, txn, self.id, unique, now_ms)?
        {
            let message = format!("{other} has its unique key now; cancel that one first");
            return Err(Stop::Refused(Error::new(Kind::Conflict, message)));
        }
        let key = key::encode(self.id);
        let attempts = again(load_attempts(core, txn, self.id)?, job);
        let payload = job.bytes.get(payload_at..).unwrap_or_default();
        let head = Head { run_at_ms: 0, ..head };
        txn.delete(core.keyspaces.job_outcomes, &key);
        // The job first: the index takes it back, and then follows what happens to it.
        txn.put(core.keyspaces.jobs, &key, &job::encode(&head, payload));
        if let Some(attempts) = attempts {
            txn.put(core.keyspaces.attempts, &key, &attempts.encode());
        }
        Ok(Changed { id: self.id, status: Status::Pending, deadline_ms: 0 })
    }

    /// Refuses what jobs/state.rs does not allow.
    fn allowed(&self, job: &Job, change: Change) -> Result<(), Error> {
        if next(job.status, change).is_some() {
            return Ok(());
        }
        let verb = if change == Change::Retried { "retried" } else { "cancelled" };
        let message = format!("job {} is {}, so it cannot be {verb}", self.id, job.status);
        Err(Error::new(Kind::Conflict, message))
    }
}

/// The attempts of a job that is tried again: counted on from where they were, none of them
/// charged. Whoever had it before it was finished has it no more.
fn again(attempts: Option<Attempts>, job: &Job) -> Option<Attempts> {
    let mut attempts = attempts.unwrap_or_default();
    attempts.attempt = attempts.attempt.max(job.ended);
    (attempts.charged, attempts.due_ms) = (0, 0);
    if job.status.is_finished() && !cfg!(planted = "retried-keeps-its-grant") {
        attempts.grant = 0;
    }
    (attempts.attempt > 0).then_some(attempts)
}
