//! What a review is about, judged from its rows, and which decisions it allows.
//!
//! Invariant: the same rows are judged alike by recovery, by who looks and by who decides.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rekindle_database::{Snapshot, Transaction, Value};
use rekindle_recovery::Meter;

use crate::bytes::Malformed;
use crate::claims::attempts::{Attempts, UNDER_REVIEW};
use crate::claims::lease::Lease;
use crate::claims::recovery::{BadKey, scan_all};
use crate::claims::{self, Line, Subject};
use crate::error::{Error, Kind};
use crate::exec::{Core, Stop};
use crate::jobs::job::parse as parse_job;
use crate::jobs::outcome::Outcome;
use crate::keys::subject as key;
use crate::loops::id::LoopId;
use crate::queues::message::parse;
use crate::review::trouble::{Terms, Trouble};
use crate::review::{ReviewItem, UnreadRow};

/// Names a review; one opaque word, safe in URLs and shells. That of a message is the message's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReviewId {
    /// A message or a job.
    Work(Subject),
    /// A row that cannot be read.
    Row(u64),
    /// An execution of a loop.
    Execution(LoopId),
}

/// What a person can decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Decision {
    /// What was proposed is done.
    Approve,
    /// It is served again, its attempts kept.
    Retry,
    /// It is given up: into the dead-letter queue.
    Fail,
}

impl Decision {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Approve, Self::Retry, Self::Fail];

    /// The word used in commands and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Retry => "retry",
            Self::Fail => "fail",
        }
    }

    /// Its action in the audit log.
    #[must_use]
    pub fn action(self) -> &'static str {
        match self {
            Self::Approve => "review.approve",
            Self::Retry => "review.retry",
            Self::Fail => "review.fail",
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Decision {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|decision| decision.as_str() == word);
        found.ok_or_else(|| Error::invalid(format!("{word:?} is none of approve, retry, fail")))
    }
}

/// A row as it was read.
#[derive(Clone, Debug)]
pub(crate) enum Stored<T> {
    /// There is none.
    Absent,
    /// Whole.
    Good(T),
    /// It cannot be read: why.
    Bad(String),
}

impl<T> Stored<T> {
    /// What is in it.
    pub(crate) fn good(&self) -> Option<&T> {
        match self {
            Self::Good(value) => Some(value),
            Self::Absent | Self::Bad(_) => None,
        }
    }

    fn is_bad(&self) -> bool {
        matches!(self, Self::Bad(_))
    }

    fn is_there(&self) -> bool {
        !matches!(self, Self::Absent)
    }
}

/// A row that cannot be read. Its bytes are not told: they may be what somebody sent.
fn unread<T>(malformed: &Malformed, bytes: &[u8]) -> Stored<T> {
    Stored::Bad(format!("expected {}, found {} other bytes", malformed.expected, bytes.len()))
}

/// Everything there is about one review.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// What is wrong.
    pub(crate) trouble: Trouble,
    /// Its line, where it exists.
    pub(crate) line: Option<Line>,
    /// The bytes of the message or the job, readable or not.
    pub(crate) bytes: Option<Arc<[u8]>>,
    /// Whether they are one.
    pub(crate) unit: Stored<()>,
    /// How a job ended.
    pub(crate) outcome: Stored<()>,
    /// Its lease.
    pub(crate) lease: Stored<Lease>,
    /// Its attempts.
    pub(crate) attempts: Stored<Attempts>,
    /// The row, where it is about one.
    pub(crate) row: Option<UnreadRow>,
}

impl Case {
    /// As it stands in a snapshot; `None` when nothing of it is there any more.
    pub(crate) fn read(
        core: &Core,
        snapshot: &Snapshot,
        id: ReviewId,
    ) -> Result<Option<Self>, Error> {
        let read = |keyspace, key: &[u8]| snapshot.get(keyspace, key);
        Self::load(core, id, read).map_err(Error::from)
    }

    /// As it stands in a transaction that decides about it.
    pub(crate) fn in_txn(
        core: &Core,
        txn: &mut Transaction,
        id: ReviewId,
    ) -> Result<Option<Self>, Stop> {
        Self::load(core, id, |keyspace, key| txn.get(keyspace, key)).map_err(Stop::Failed)
    }

    fn load<E>(
        core: &Core,
        id: ReviewId,
        mut get: impl FnMut(rekindle_database::KeyspaceId, &[u8]) -> Result<Option<Value>, E>,
    ) -> Result<Option<Self>, E> {
        let subject = match id {
            ReviewId::Work(subject) => subject,
            // Not judged from rows of work (execution.rs).
            ReviewId::Execution(_) => return Ok(None),
            ReviewId::Row(number) => {
                let Some(row) = core.index.unowned().row(number).cloned() else { return Ok(None) };
                let value = get(row.keyspace(&core.keyspaces), &row.key)?;
                return Ok(value.map(|value| Self::of_row(row, value.bytes)));
            }
        };
        let keyspaces = &core.keyspaces;
        let key = key::encode(subject);
        let job = subject.is_job();
        let units = if job { keyspaces.jobs } else { keyspaces.messages };
        let bytes = get(units, &key)?.map(|value| value.bytes);
        let unit = match &bytes {
            None => Stored::Absent,
            Some(bytes) => {
                let parsed = if job { parse_job(bytes).map(drop) } else { parse(bytes).map(drop) };
                parsed.map_or_else(|malformed| unread(&malformed, bytes), Stored::Good)
            }
        };
        let outcome = match if job { get(keyspaces.job_outcomes, &key)? } else { None } {
            None => Stored::Absent,
            Some(row) => match Outcome::parse(&row.bytes) {
                Ok(_) => Stored::Good(()),
                Err(malformed) => unread(&malformed, &row.bytes),
            },
        };
        let lease = match get(keyspaces.leases, &key)? {
            None => Stored::Absent,
            Some(row) => match Lease::parse(&row.bytes, row.version) {
                Ok(lease) => Stored::Good(lease),
                Err(malformed) => unread(&malformed, &row.bytes),
            },
        };
        let attempts = match get(keyspaces.attempts, &key)? {
            None => Stored::Absent,
            Some(row) => match Attempts::parse(&row.bytes) {
                Ok(attempts) => Stored::Good(attempts),
                Err(malformed) => unread(&malformed, &row.bytes),
            },
        };
        let line = core.index.line_of(subject.line);
        let row = None;
        let trouble = Trouble::Unsettled;
        let case = Self { trouble, line, bytes, unit, outcome, lease, attempts, row };
        let trouble = if job { case.of_job() } else { case.of_message() };
        Ok(trouble.map(|trouble| Self { trouble, ..case }))
    }

    /// What is wrong with a message; `None`: nothing of it is there.
    fn of_message(&self) -> Option<Trouble> {
        let (message, lease, attempts) = (&self.unit, &self.lease, &self.attempts);
        Some(match () {
            () if !(message.is_there() || lease.is_there() || attempts.is_there()) => return None,
            () if self.line.is_none() => Trouble::NoQueue,
            () if !message.is_there() => Trouble::NoMessage,
            () if message.is_bad() => Trouble::BadMessage,
            () if lease.is_bad() || attempts.is_bad() => Trouble::BadClaim,
            () if self.died_too_often() => Trouble::Crashes,
            () => Trouble::Unsettled,
        })
    }

    /// What is wrong with a job; `None`: nothing of it is there.
    fn of_job(&self) -> Option<Trouble> {
        let (job, outcome) = (&self.unit, &self.outcome);
        let (lease, attempts) = (&self.lease, &self.attempts);
        let beside = outcome.is_there() || lease.is_there() || attempts.is_there();
        let unread = outcome.is_bad() || lease.is_bad() || attempts.is_bad();
        Some(match () {
            () if !job.is_there() && !beside => return None,
            () if self.line.is_none() => Trouble::NoType,
            () if !job.is_there() => Trouble::NoJob,
            () if job.is_bad() => Trouble::BadJob,
            () if unread || (outcome.is_there() && lease.is_there()) => Trouble::BadJobClaim,
            () if self.died_too_often() => Trouble::Crashes,
            () => Trouble::UnsettledJob,
        })
    }

    fn died_too_often(&self) -> bool {
        let due_ms = self.attempts.good().map_or(0, |attempts| attempts.due_ms);
        !self.lease.is_there() && due_ms == UNDER_REVIEW
    }

    fn of_row(row: UnreadRow, bytes: Arc<[u8]>) -> Self {
        let trouble = match row.what {
            BadKey::LeaseExpiry => Trouble::BadExpiryKey,
            BadKey::Message => Trouble::BadKey,
            BadKey::Definition => Trouble::BadDefinition,
            BadKey::Job => Trouble::BadJobKey,
            BadKey::Type => Trouble::BadType,
            BadKey::Schedule => Trouble::BadSchedule,
        };
        Self {
            trouble,
            line: None,
            bytes: Some(bytes),
            unit: Stored::Absent,
            outcome: Stored::Absent,
            lease: Stored::Absent,
            attempts: Stored::Absent,
            row: Some(row),
        }
    }

    /// Whether it is about a job.
    pub(crate) fn is_job(&self) -> bool {
        self.line.as_ref().is_some_and(|line| line.jobs().is_some())
    }

    /// What is told about it in a list.
    pub(crate) fn item(&self, id: ReviewId, since_ms: u64) -> ReviewItem {
        let Terms { label, found, .. } = self.trouble.terms();
        let allowed = |decision: &Decision| self.trouble.refusal(*decision).is_none();
        ReviewItem {
            id,
            label: label.0,
            queue: self.line.as_ref().and_then(Line::queue).map(|queue| queue.name.clone()),
            job_type: self.line.as_ref().and_then(Line::jobs).map(|kind| kind.name.clone()),
            spec: None,
            found,
            since_ms,
            decisions: Decision::ALL.into_iter().filter(allowed).collect(),
        }
    }

    /// Refuses a decision that cannot mean anything here.
    pub(crate) fn check(&self, id: ReviewId, decision: Decision) -> Result<(), Error> {
        let Some(why) = self.trouble.refusal(decision) else { return Ok(()) };
        let found = self.trouble.terms().found;
        let message = format!("{decision} cannot be decided about {id} ({found}): {why}");
        Err(Error::new(Kind::Conflict, message))
    }
}

impl Core {
    /// Deadlines in the index of leases by time of what this review is about. Looks through all of
    /// them: a lease that cannot be read does not say its own.
    pub(crate) fn expiries_of(&self, id: ReviewId) -> Result<BTreeSet<u64>, Error> {
        let ReviewId::Work(subject) = id else { return Ok(BTreeSet::new()) };
        let snapshot = self.database.snapshot()?;
        let keyspace = self.keyspaces.lease_expiry;
        let rows = scan_all(&snapshot, keyspace, "lease_expiry", &Meter::default())
            .map_err(|failure| Error::new(Kind::Io, failure.to_string()))?;
        let parsed = rows
            .iter()
            .filter_map(|row| crate::keys::lease_expiry::parse_lease_expiry_key(&row.key).ok());
        let own = parsed.filter(|expiry| expiry.subject == subject);
        Ok(own.map(|expiry| expiry.deadline_ms).collect())
    }
}

/// How many crashes in a row a history shows.
pub(crate) fn crashes(attempts: &Attempts) -> usize {
    let count = attempts.crashes_in_a_row();
    debug_assert!(attempts.due_ms != UNDER_REVIEW || count >= claims::CRASHES_MAX);
    count
}
