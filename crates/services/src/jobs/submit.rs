//! `submit`: a job, in a transaction of its own; its type begins with its first job.
//!
//! Invariants: the unique key, the type and the job are one transaction; a job that is refused
//! leaves nothing behind.

use rekindle_database::Transaction;

use crate::bytes::Reader;
use crate::claims::{Subject, line_of_jobs};
use crate::error::{Error, Kind};
use crate::exec::{Answer, Command, Core, Stop};
use crate::identity::Identity;
use crate::jobs::job::{self, Head};
use crate::jobs::kind::{JobType, check_own, first_settings};
use crate::jobs::{NewJob, Submitted, Unique, When};
use crate::keys::{job_unique, queue as name_key, subject as key};
use crate::limits::JOB_TYPES_MAX;
use crate::loops::event::StepRef;
use crate::loops::id::LoopId;
use crate::producers::{Fingerprint, once};

/// The format of a row of `job_unique`; persisted.
const UNIQUE_FORMAT: u8 = 1;

/// Submits a job.
pub(crate) struct Submit<'a> {
    kind: &'a str,
    head: Head<'a>,
    value: Vec<u8>,
    identity: Option<(Identity, u32)>,
    number: u64,
}

impl<'a> Submit<'a> {
    /// Checks what is asked for.
    pub(crate) fn new(
        core: &Core,
        kind: &'a str,
        job: &NewJob<'a>,
        identity: Option<Identity>,
    ) -> Result<Self, Error> {
        Self::make(core, kind, job, None, identity)
    }

    /// The same, by a schedule, for this time of it.
    pub(crate) fn by_schedule(
        core: &Core,
        kind: &'a str,
        job: &NewJob<'a>,
        schedule: (&'a str, u64),
    ) -> Result<Self, Error> {
        Self::make(core, kind, job, Some(schedule), None)
    }

    /// The same, of a step of a loop, which has a type of its own or that of its workers. It is
    /// never refused: the end of the step before it is in the same transaction.
    pub(crate) fn of_loop(
        core: &Core,
        kind: &'a str,
        payload: &[u8],
        step: (LoopId, StepRef),
    ) -> Result<Self, Error> {
        let log_ms = core.database.log_time_ms();
        let head = Head { submitted_ms: log_ms, step: Some(step), ..Head::default() };
        let value = job::encode(&head, payload);
        Ok(Self { kind, head, value, identity: None, number: core.numbers.next()? })
    }

    fn make(
        core: &Core,
        kind: &'a str,
        job: &NewJob<'a>,
        schedule: Option<(&'a str, u64)>,
        identity: Option<Identity>,
    ) -> Result<Self, Error> {
        check_own(kind)?;
        job::check(job)?;
        let log_ms = core.database.log_time_ms();
        let head = Head::of(job, schedule, log_ms, core.database.env().clock.wall_ms());
        let value = job::encode(&head, job.payload);
        let identity = identity.map(|identity| (identity, fingerprint(kind, job)));
        let number = core.numbers.next()?;
        Ok(Self { kind, head, value, identity, number })
    }

    /// Writes it into a transaction.
    pub(crate) fn write(&self, core: &Core, txn: &mut Transaction) -> Result<Submitted, Stop> {
        let line = ensure(core, txn, self.kind, self.head.submitted_ms)?;
        let id = Subject { line, number: self.number };
        if let Some(unique) = self.head.unique
            && let Some(other) = take_key(core, txn, id, unique, self.head.submitted_ms)?
        {
            return Ok(Submitted { id: other, new: false });
        }
        if self.head.step.is_none() {
            refuse_full(core, line, self.kind)?;
        }
        txn.put(core.keyspaces.jobs, &key::encode(id), &self.value);
        Ok(Submitted { id, new: true })
    }
}

impl Command for Submit<'_> {
    type Value = Submitted;

    fn build(&mut self, core: &Core, txn: &mut Transaction) -> Result<Answer<Submitted>, Stop> {
        let submit = &*self;
        once(core, txn, submit.identity, submit.head.submitted_ms, |txn| submit.write(core, txn))
    }
}

/// The number of this type, which begins now where there is none.
pub(crate) fn ensure(
    core: &Core,
    txn: &mut Transaction,
    kind: &str,
    now_ms: u64,
) -> Result<u64, Stop> {
    let key = name_key::encode(kind);
    if let Some(row) = txn.get(core.keyspaces.job_types, &key)? {
        let id = JobType::parse_id(&row.bytes).ok_or_else(|| damaged(kind))?;
        return Ok(id);
    }
    if core.index.job_type_count() >= JOB_TYPES_MAX {
        return Err(Stop::Refused(Error::new(
            Kind::Full,
            format!("there are {JOB_TYPES_MAX} job types already; use one of them"),
        )));
    }
    let id = line_of_jobs(core.numbers.next()?);
    let settings = first_settings(kind);
    let kind = JobType { id, name: kind.to_owned(), settings, created_ms: now_ms };
    txn.put(core.keyspaces.job_types, &key, &kind.encode());
    Ok(id)
}

/// The stored settings of a type cannot be read.
pub(crate) fn damaged(kind: &str) -> Error {
    Error::corrupt(format!("the settings of job type \"{kind}\" are damaged"))
}

/// Refuses a job of a type of which as many wait as may.
fn refuse_full(core: &Core, line: u64, name: &str) -> Result<(), Error> {
    let Some(line) = core.index.line_of(line) else { return Ok(()) };
    let most = line.jobs().map_or(0, |kind| kind.settings.max_waiting);
    if most == 0 {
        return Ok(());
    }
    let counts = core.index.job_counts(line.id());
    if counts.pending + counts.scheduled < most {
        return Ok(());
    }
    let message = format!("{most} jobs of type \"{name}\" wait already; submit it later");
    Err(Error::new(Kind::Full, message))
}

/// Gives the key to this job, unless another one has it: that one.
pub(crate) fn take_key(
    core: &Core,
    txn: &mut Transaction,
    id: Subject,
    unique: Unique<'_>,
    now_ms: u64,
) -> Result<Option<Subject>, Stop> {
    let key = job_unique::encode(id.line, unique.key);
    if let Some(row) = txn.get(core.keyspaces.job_unique, &key)? {
        let (number, until_ms) = read(&row.bytes).ok_or_else(|| {
            Error::corrupt(format!("the row of the unique key {:?} is damaged", unique.key))
        })?;
        let holder = Subject { line: id.line, number };
        let holds = match until_ms {
            0 => is_unfinished(core, txn, holder)?,
            until_ms => now_ms < until_ms,
        };
        if holds && holder != id {
            return Ok(Some(holder));
        }
    }
    let until_ms = match unique.window_ms {
        0 => 0,
        window_ms => now_ms.saturating_add(window_ms),
    };
    let mut value = vec![UNIQUE_FORMAT];
    value.extend_from_slice(&id.number.to_le_bytes());
    value.extend_from_slice(&until_ms.to_le_bytes());
    txn.put(core.keyspaces.job_unique, &key, &value);
    Ok(None)
}

/// Takes the key away from a job whose rows go, if it still has it.
pub(crate) fn drop_key(
    core: &Core,
    txn: &mut Transaction,
    id: Subject,
    unique: &str,
    now_ms: u64,
) -> Result<(), Stop> {
    let key = job_unique::encode(id.line, unique);
    let row = txn.get(core.keyspaces.job_unique, &key)?;
    // One whose window goes on stays: it tells that there was a job.
    let own = row.and_then(|row| read(&row.bytes));
    if own.is_some_and(|(number, until_ms)| number == id.number && until_ms <= now_ms) {
        txn.delete(core.keyspaces.job_unique, &key);
    }
    Ok(())
}

/// The number of the job in a row of `job_unique`.
pub(crate) fn holder(bytes: &[u8]) -> Option<u64> {
    read(bytes).map(|(number, _)| number)
}

fn read(bytes: &[u8]) -> Option<(u64, u64)> {
    let mut reader = Reader::new(bytes);
    let format = reader.u8()?;
    let (number, until_ms) = (reader.u64()?, reader.u64()?);
    reader.end()?;
    (format == UNIQUE_FORMAT).then_some((number, until_ms))
}

fn is_unfinished(core: &Core, txn: &mut Transaction, job: Subject) -> Result<bool, Stop> {
    let key = key::encode(job);
    let there = txn.get(core.keyspaces.jobs, &key)?.is_some();
    Ok(there && txn.get(core.keyspaces.job_outcomes, &key)?.is_none())
}

/// Tells submissions apart.
pub(crate) fn fingerprint(kind: &str, job: &NewJob<'_>) -> u32 {
    let (when, at_ms) = match job.when {
        When::Now => (0, 0),
        When::At(at_ms) => (1, at_ms),
        When::In(ms) => (2, ms),
    };
    let mut fingerprint = Fingerprint::of("submit")
        .bytes(kind.as_bytes())
        .bytes(job.payload)
        .bytes(&job.priority.to_le_bytes())
        .number(when)
        .number(at_ms)
        .number(job.max_attempts.map_or(u64::MAX, u64::from));
    if let Some(Unique { key, window_ms }) = job.unique {
        fingerprint = fingerprint.bytes(key.as_bytes()).number(window_ms);
    }
    fingerprint.finish()
}
