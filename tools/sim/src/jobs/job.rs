//! One job as a client may believe it: where it is, and what the state machine allows.
//!
//! Invariant: a change of a job goes through [`next`], the pure state machine of the services.

use rekindle_services::claims::Cause;
use rekindle_services::jobs::state::next;
use rekindle_services::jobs::{Change, Status};
use rekindle_services::queues::Token;

use crate::jobs::{Now, Task};

/// Between which moments of log time something is or was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Not before.
    pub from_ms: u64,
    /// Not after.
    pub to_ms: u64,
}

impl Span {
    /// One moment.
    #[must_use]
    pub fn at(ms: u64) -> Self {
        Self { from_ms: ms, to_ms: ms }
    }

    /// Whether the moment can be this one.
    #[must_use]
    pub fn has(&self, ms: u64) -> bool {
        (self.from_ms..=self.to_ms).contains(&ms)
    }

    pub(super) fn plus(&self, other: Self) -> Self {
        Self { from_ms: self.from_ms + other.from_ms, to_ms: self.to_ms + other.to_ms }
    }
}

/// Where a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It can be claimed from then on, log time.
    Waiting(Span),
    /// It can be claimed from then on, wall time.
    Appointed(u64),
    /// It is claimed until then, log time.
    Claimed(u64),
    /// It ended so, at that log time.
    Ended(Status, Span),
    /// The server died with it too often: it waits for a person.
    Review,
}

/// A job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// What was submitted.
    pub task: Task,
    /// The schedule that made it, and for which time.
    pub schedule: Option<(String, u64)>,
    /// Where it is.
    pub place: Place,
    /// It was seen to wait with nothing in its way, so others must not overtake it.
    pub ready: bool,
    /// How often it was claimed.
    pub attempts: u32,
    /// How many of these count.
    pub charged: u32,
    /// The last claim, while its token is good.
    pub token: Option<Token>,
    /// The run whose executor has that claim; `None`: somebody outside has it.
    pub inside: Option<u64>,
    /// Why the claim before ended.
    pub cause: Option<Cause>,
    /// How many charged attempts in a row ended with the server.
    pub crashes: u32,
    /// What its worker told last.
    pub progress: Option<u64>,
    /// What it resulted in.
    pub result: Option<u64>,
}

impl Job {
    pub(super) fn new(task: Task, place: Place, ready: bool) -> Self {
        let (attempts, charged, token) = (0, 0, None);
        let (schedule, progress, result) = (None, None, None);
        let (inside, cause, crashes) = (None, None, 0);
        Self {
            task,
            schedule,
            place,
            ready,
            attempts,
            charged,
            token,
            inside,
            cause,
            crashes,
            progress,
            result,
        }
    }

    /// How it stands; `None`: a client cannot tell whether its pause is over.
    #[must_use]
    pub fn status(&self, now: Now) -> Option<Status> {
        match self.place {
            Place::Waiting(due) if due.to_ms <= now.log_ms => Some(Status::Pending),
            Place::Waiting(due) if due.from_ms > now.log_ms => Some(Status::Scheduled),
            Place::Waiting(_) => None,
            Place::Appointed(at_ms) if at_ms <= now.wall_ms => Some(Status::Pending),
            Place::Appointed(_) => Some(Status::Scheduled),
            Place::Claimed(_) => Some(Status::Processing),
            Place::Ended(status, _) => Some(status),
            Place::Review => Some(Status::NeedsReview),
        }
    }

    /// Whether something is still to happen with it.
    #[must_use]
    pub fn is_unfinished(&self) -> bool {
        !matches!(self.place, Place::Ended(..))
    }

    /// Whether somebody works on it.
    #[must_use]
    pub fn is_claimed(&self) -> bool {
        matches!(self.place, Place::Claimed(_))
    }

    /// The claim of an executor: of which run it is, its token, and until when it lasts.
    #[must_use]
    pub fn held_inside(&self) -> Option<(u64, Token, u64)> {
        let Place::Claimed(until_ms) = self.place else { return None };
        Some((self.inside?, self.token?, until_ms))
    }

    /// What the state machine makes of a change; of a job whose pause may be over, what it makes
    /// of it in either case.
    pub(super) fn allows(&self, change: Change, now: Now) -> Option<Status> {
        let either = [Status::Pending, Status::Scheduled].into_iter();
        match self.status(now) {
            Some(status) => next(status, change),
            None => either.filter_map(|status| next(status, change)).next(),
        }
    }

    pub(super) fn begins(&mut self, place: Place, ready: bool) {
        (self.place, self.ready) = (place, ready);
    }
}
