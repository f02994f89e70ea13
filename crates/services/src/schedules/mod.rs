//! Schedules: jobs that are submitted by the clock.
//!
//! A schedule has a cron pattern in a time zone; each time is wall time. Its state, up to when
//! everything was fired or skipped, moves in the transaction that submits the jobs, so a time is
//! never fired twice and never forgotten; what was missed follows the schedule's policy.

pub(crate) mod calendar;
mod create;
pub(crate) mod cron;
pub(crate) mod fire;
pub(crate) mod row;

use std::str::FromStr;
use std::sync::Arc;

use crate::error::{Error, Kind};
use crate::exec::Core;
use crate::identity::Identity;
use crate::jobs::JobId;
use crate::limits::LIST_QUEUES_MAX;
use crate::ticket::{Acknowledged, Ticket};
use calendar::Entry;
use create::{Create, Delete};

/// What is done about times that passed while nobody could fire them; persisted, so stable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Missed {
    /// One job for all of them together.
    #[default]
    One = 1,
    /// One job for each of them.
    All = 2,
    /// None: only what is punctual to a minute.
    Skip = 3,
}

impl Missed {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::One, Self::All, Self::Skip];

    /// The word used in commands and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::All => "all",
            Self::Skip => "skip",
        }
    }

    fn from_u8(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|missed| *missed as u8 == number)
    }
}

impl FromStr for Missed {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|missed| missed.as_str() == word);
        found.ok_or_else(|| Error::invalid(format!("{word:?} is none of one, all, skip")))
    }
}

/// A schedule as it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewSchedule<'a> {
    /// The type of its jobs.
    pub kind: &'a str,
    /// When they are submitted: five fields (minute, hour, day of month, month, day of week), or
    /// six with seconds in front, or `@hourly` and its kin.
    pub cron: &'a str,
    /// In which time zone, by its IANA name; `UTC` by default.
    pub zone: &'a str,
    /// What is done about missed times.
    pub missed: Missed,
    /// What is to be done.
    pub payload: &'a [u8],
    /// Their priority.
    pub priority: i16,
    /// Charged attempts after which one has failed; `None`: those of its type.
    pub max_attempts: Option<u32>,
}

impl Default for NewSchedule<'_> {
    fn default() -> Self {
        Self {
            kind: "",
            cron: "",
            zone: "UTC",
            missed: Missed::One,
            payload: b"",
            priority: 0,
            max_attempts: None,
        }
    }
}

/// A schedule as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleInfo {
    /// Its name.
    pub name: String,
    /// The type of its jobs.
    pub kind: String,
    /// Its pattern.
    pub cron: String,
    /// Its time zone.
    pub zone: String,
    /// What is done about missed times.
    pub missed: Missed,
    /// What is to be done.
    pub payload: Vec<u8>,
    /// The priority of its jobs.
    pub priority: i16,
    /// Charged attempts after which one has failed; `None`: those of its type.
    pub max_attempts: Option<u32>,
    /// When it was made, wall time in milliseconds.
    pub created_ms: u64,
    /// How many jobs it made.
    pub fired: u64,
    /// The last of them.
    pub last_job: Option<JobId>,
    /// When it fires next, wall time in milliseconds; `None`: never again.
    pub next_ms: Option<u64>,
}

/// The schedules of a store. Clones share it.
#[derive(Clone, Debug)]
pub struct Schedules {
    core: Arc<Core>,
}

impl Schedules {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    /// Makes a schedule, by whom, with an audit record. Making it again as it is is no error and
    /// changes nothing (false); otherwise it is [`Kind::Exists`].
    ///
    /// # Errors
    /// `Invalid` for a pattern or zone that is none, or that never fires; `Exists`; `Full`.
    pub fn create(
        &self,
        name: &str,
        schedule: &NewSchedule<'_>,
        who: &str,
        identity: Option<Identity>,
    ) -> Result<Acknowledged<bool>, Error> {
        self.core.submit(&mut Create::new(&self.core, name, schedule, who, identity)?)?.wait()
    }

    /// See [`Schedules::create`].
    ///
    /// # Errors
    /// As [`Schedules::create`].
    pub async fn submit_create(
        &self,
        name: &str,
        schedule: &NewSchedule<'_>,
        who: &str,
        identity: Option<Identity>,
    ) -> Result<Ticket<bool>, Error> {
        let mut create = Create::new(&self.core, name, schedule, who, identity)?;
        self.core.submit_async(&mut create).await
    }

    /// Deletes a schedule, by whom, with an audit record; the jobs that it made stay.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn delete(
        &self,
        name: &str,
        who: &str,
        identity: Option<Identity>,
    ) -> Result<Acknowledged<()>, Error> {
        self.core.submit(&mut Delete::new(name, who, identity)?)?.wait()
    }

    /// See [`Schedules::delete`].
    ///
    /// # Errors
    /// As [`Schedules::delete`].
    pub async fn submit_delete(
        &self,
        name: &str,
        who: &str,
        identity: Option<Identity>,
    ) -> Result<Ticket<()>, Error> {
        self.core.submit_async(&mut Delete::new(name, who, identity)?).await
    }

    /// Waits until everything that was acknowledged before is known to the other calls.
    ///
    /// # Errors
    /// Of the store.
    pub async fn settled(&self) -> Result<(), Error> {
        self.core.settled().await
    }

    /// Up to `limit` schedules (0: as many as a page may have) with names behind `after`, in the
    /// order of their names, and whether more follow.
    ///
    /// # Errors
    /// Of the store.
    pub fn list(&self, after: &str, limit: usize) -> Result<(Vec<ScheduleInfo>, bool), Error> {
        self.core.alive()?;
        let limit = if limit == 0 { LIST_QUEUES_MAX } else { limit.min(LIST_QUEUES_MAX) };
        let (found, more) = self.core.calendar.list(after, limit);
        Ok((found.into_iter().map(|(name, entry)| info(name, entry)).collect(), more))
    }

    /// One schedule.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn show(&self, name: &str) -> Result<ScheduleInfo, Error> {
        self.core.alive()?;
        row::check_name(name)?;
        let entry = self.core.calendar.get(name).ok_or_else(|| no_schedule(name))?;
        Ok(info(name.to_owned(), entry))
    }
}

fn info(name: String, entry: Entry) -> ScheduleInfo {
    let row::Stored { missed, created_ms, fired, last_job, priority, max_attempts, .. } =
        *entry.stored;
    ScheduleInfo {
        name,
        kind: entry.stored.kind.clone(),
        cron: entry.stored.cron.clone(),
        zone: entry.stored.zone.clone(),
        missed,
        payload: entry.stored.payload.clone(),
        priority,
        max_attempts,
        created_ms,
        fired,
        last_job,
        next_ms: entry.next_ms,
    }
}

fn no_schedule(name: &str) -> Error {
    let message = format!("there is no schedule \"{name}\"; see 'rekindle schedule list'");
    Error::new(Kind::NotFound, message)
}
