//! Jobs, schedules and transactions over everything: what a client asks for and is answered.
//!
//! Plain values, as in request.rs. Invariants: a task is known again by the serial number in its
//! payload; everything that one transaction does carries the transaction's mark.

pub mod effect;
pub mod evidence;
pub mod execute;
pub mod job;
mod lead;
pub mod model;
pub mod plan;
pub mod timetable;
mod transaction;

use rekindle_services::Identity;
use rekindle_services::jobs::{Change, Changed, JobId, JobSettings, Submitted};
use rekindle_services::kv::Expect;
use rekindle_services::queues::Token;
use rekindle_services::schedules::Missed;
use rekindle_services::transact;

use crate::request::{Outgoing, Refusal};

/// A moment, by both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Log time.
    pub log_ms: u64,
    /// The wall clock.
    pub wall_ms: u64,
}

/// A job on its way in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Task {
    /// Which task of the run; 0: a schedule made it.
    pub serial: u64,
    /// The mark of the transaction that submits it; 0: none does.
    pub mark: u64,
    /// Of which type.
    pub kind: String,
    /// Its priority.
    pub priority: i16,
    /// In how long it is to run, by the wall clock; 0: at once.
    pub in_ms: u64,
    /// Its own limit of attempts.
    pub max_attempts: Option<u32>,
    /// Its unique key, and for how long.
    pub unique: Option<(String, u64)>,
}

impl Task {
    /// What it carries.
    #[must_use]
    pub fn payload(&self) -> Vec<u8> {
        stamp(self.serial, self.mark)
    }
}

/// A payload by which its task is known again.
#[must_use]
pub fn stamp(serial: u64, mark: u64) -> Vec<u8> {
    let mut bytes = [serial.to_be_bytes(), mark.to_be_bytes()].concat();
    let len = usize::try_from(serial * 5 % 40).unwrap_or(0);
    bytes.resize(bytes.len() + len, b'.');
    bytes
}

/// The serial number and the mark in a payload that is as it was sent.
#[must_use]
pub fn read_stamp(bytes: &[u8]) -> Option<(u64, u64)> {
    let (serial, rest) = bytes.split_first_chunk::<8>()?;
    let serial = u64::from_be_bytes(*serial);
    let mark = u64::from_be_bytes(*rest.first_chunk()?);
    (bytes == stamp(serial, mark)).then_some((serial, mark))
}

/// What a worker asks for with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// It is done; the result is the mark of the transaction that says so, or 0.
    Complete {
        /// The result.
        mark: u64,
    },
    /// It went wrong.
    Fail {
        /// For how long it stays away; `None`: as its type says.
        retry_in_ms: Option<u64>,
        /// It is of no use to try again.
        last: bool,
    },
    /// It is given back.
    Release,
    /// It goes on.
    Heartbeat {
        /// For so long.
        by_ms: u64,
        /// How far it is.
        progress: Option<u64>,
    },
    /// It goes on, an executor says.
    Hold {
        /// For so long.
        by_ms: u64,
    },
    /// The server of its executor ends.
    Stop,
    /// The server died with it, its executor says.
    Died,
    /// Its worker died with it.
    WorkerDied,
}

/// A schedule as it is made: it fires at each multiple of its period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rota {
    /// Of which type its jobs are.
    pub kind: String,
    /// Seconds between two times: below a minute or whole minutes, and a part of an hour.
    pub every_s: u64,
    /// What is done about missed times.
    pub missed: Missed,
    /// The priority of its jobs.
    pub priority: i16,
}

impl Rota {
    /// Its pattern, with seconds.
    #[must_use]
    pub fn cron(&self) -> String {
        match self.every_s {
            seconds @ ..60 => format!("*/{seconds} * * * * *"),
            seconds => format!("0 */{} * * * *", seconds / 60),
        }
    }
}

/// One operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A key must be so.
    Check(Vec<u8>, Expect),
    /// A key is set.
    Put(Vec<u8>, Vec<u8>),
    /// A message is sent.
    Send(String, Outgoing),
    /// A message is done.
    Ack(Token),
    /// A job is submitted.
    Submit(Task),
    /// A worker asks for something.
    Work(Token, Deed),
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobRequest {
    /// Settings of a type.
    SetType(String, JobSettings, Option<Identity>),
    /// One job, or several at once.
    Submit(Vec<Task>, Option<Identity>),
    /// Claims of pending jobs.
    Claim {
        /// Of these types, in this order.
        kinds: Vec<String>,
        /// At most so many.
        max: usize,
        /// For how long.
        lease_ms: Option<u64>,
        /// For an executor inside the server.
        inside: bool,
    },
    /// What workers ask for.
    Work(Vec<(Token, Deed)>, Option<Identity>),
    /// A job is cancelled, or retried.
    Alter(JobId, Change, Option<Identity>),
    /// A new schedule.
    Schedule(String, Rota, Option<Identity>),
    /// A schedule goes.
    Unschedule(String, Option<Identity>),
    /// All of it, or nothing.
    Run {
        /// Its mark.
        mark: u64,
        /// Its operations.
        steps: Vec<Step>,
        /// One of them must be refused, and so the whole.
        refused: bool,
        /// Whose request it is.
        identity: Option<Identity>,
    },
}

impl JobRequest {
    /// Whose request it is.
    #[must_use]
    pub fn identity(&self) -> Option<Identity> {
        match self {
            Self::SetType(.., identity)
            | Self::Submit(_, identity)
            | Self::Work(_, identity)
            | Self::Alter(.., identity)
            | Self::Schedule(.., identity)
            | Self::Unschedule(_, identity)
            | Self::Run { identity, .. } => *identity,
            Self::Claim { .. } => None,
        }
    }
}

/// A claimed job, as its worker knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picked {
    /// Which job.
    pub id: JobId,
    /// Which task it is.
    pub serial: u64,
    /// The claim.
    pub token: Token,
    /// Of which type.
    pub kind: String,
    /// Which attempt.
    pub attempt: u32,
    /// Its priority.
    pub priority: i16,
    /// Until when.
    pub deadline_ms: u64,
    /// An executor inside the server has it.
    pub inside: bool,
}

/// A job that a schedule made, as whoever looks knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fired {
    /// Which job.
    pub id: JobId,
    /// Of which schedule.
    pub schedule: String,
    /// For which time of it.
    pub nominal_ms: u64,
    /// The wall clock when it was made.
    pub wall_ms: u64,
    /// Of which type.
    pub kind: String,
    /// Its priority.
    pub priority: i16,
    /// The transaction that made it.
    pub version: u64,
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobAnswer {
    /// Submitted jobs.
    Submitted(Vec<Result<(u64, Submitted), Refusal>>),
    /// Claimed jobs.
    Claimed(u64, Vec<Picked>),
    /// What became of what workers asked for.
    Worked(u64, Vec<Result<Changed, Refusal>>),
    /// A job was cancelled or retried.
    Altered(u64, Changed),
    /// A transaction was done.
    Ran(u64, Vec<transact::Effect>),
}

impl JobAnswer {
    /// Refusals inside of it.
    #[must_use]
    pub fn refusals(&self) -> Vec<&Refusal> {
        match self {
            Self::Submitted(each) => each.iter().filter_map(|one| one.as_ref().err()).collect(),
            Self::Worked(_, each) => each.iter().filter_map(|one| one.as_ref().err()).collect(),
            _ => vec![],
        }
    }
}
