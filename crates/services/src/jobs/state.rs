//! How a job stands, and what can become of it: all statuses, all transitions, each with its cause.
//! Pure.
//!
//! ```text
//! submitted ─▶ scheduled ──due──▶ pending ──claimed──▶ processing ──completed──▶ completed
//!                  ▲                 ▲                  │  │  │ └──gave up─────▶ failed
//!                  └───put off───────┼──────────────────┘  │  └──cancelled─────▶ cancelled
//!                                    └──returned───────────┘
//! ```
//! Invariants: nothing but [`next`] allows a change; a status is never stored, it follows from the
//! rows of a job ([`Rows::status`]), so no job can be stuck in one.

use std::fmt;
use std::str::FromStr;

use crate::claims::attempts::UNDER_REVIEW;
use crate::error::Error;

/// How a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// It becomes deliverable later: its time has not come, or it waits before the next attempt.
    Scheduled,
    /// It can be claimed.
    Pending,
    /// Somebody works on it.
    Processing,
    /// It is done.
    Completed,
    /// It was given up.
    Failed,
    /// Somebody called it off.
    Cancelled,
    /// A person decides.
    NeedsReview,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Scheduled,
        Self::Pending,
        Self::Processing,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
        Self::NeedsReview,
    ];

    /// The word used in commands and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Pending => "pending",
            Self::Processing => "processing",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::NeedsReview => "needs_review",
        }
    }

    /// Whether nothing happens to it any more unless somebody asks for it.
    #[must_use]
    pub fn is_finished(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Status {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|status| status.as_str() == word);
        found.ok_or_else(|| {
            let words: Vec<&str> = Self::ALL.iter().map(|status| status.as_str()).collect();
            Error::invalid(format!("{word:?} is no status of a job; use {}", words.join(", ")))
        })
    }
}

/// What happens to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// Its time has come.
    Due,
    /// Somebody claims it.
    Claimed,
    /// Its worker, perhaps a late one that nobody followed, goes on with it.
    Heartbeat,
    /// Its worker, perhaps a late one that nobody followed, is done.
    Completed,
    /// Its claim ended, and it can be claimed again: the causes of claims.
    Returned,
    /// The same, after a pause.
    PutOff,
    /// Its claim ended, and its attempts are used up, or trying again is of no use.
    GaveUp,
    /// The server died with it too often.
    SetAside,
    /// Somebody calls it off.
    Cancelled,
    /// Somebody asks for another attempt, at once.
    Retried,
    /// A person decides that it is served again.
    Approved,
    /// A person decides that it is given up.
    Rejected,
}

impl Change {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Due,
        Self::Claimed,
        Self::Heartbeat,
        Self::Completed,
        Self::Returned,
        Self::PutOff,
        Self::GaveUp,
        Self::SetAside,
        Self::Cancelled,
        Self::Retried,
        Self::Approved,
        Self::Rejected,
    ];
}

/// How a job stands after a change; `None`: it is not allowed, and changes nothing.
#[must_use]
pub fn next(status: Status, change: Change) -> Option<Status> {
    use Status::{Cancelled, Completed, Failed, NeedsReview, Pending, Processing, Scheduled};
    match (status, change) {
        (Scheduled, Change::Due) => Some(Pending),
        (Pending, Change::Claimed) => Some(Processing),
        // A claim that ended is its owner's until somebody else claims the job.
        (Scheduled | Pending | Processing, Change::Heartbeat) => Some(Processing),
        (Scheduled | Pending | Processing | NeedsReview, Change::Completed) => Some(Completed),
        (Processing, Change::Returned) => Some(Pending),
        (Processing, Change::PutOff) => Some(Scheduled),
        (Processing, Change::GaveUp) => Some(Failed),
        (Processing, Change::SetAside) => Some(NeedsReview),
        (Scheduled | Pending | Processing | NeedsReview, Change::Cancelled) => Some(Cancelled),
        (Scheduled | Failed | Cancelled, Change::Retried) => Some(Pending),
        (NeedsReview, Change::Approved) => Some(Pending),
        (NeedsReview, Change::Rejected) => Some(Failed),
        _ => None,
    }
}

/// What the rows of a job say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rows {
    /// How it ended: the number of that.
    pub(crate) outcome: Option<u8>,
    /// It has a lease.
    pub(crate) leased: bool,
    /// When its attempts say that it is ready again, log time.
    pub(crate) attempts_due_ms: Option<u64>,
    /// When it is to run, wall time.
    pub(crate) run_at_ms: u64,
}

impl Rows {
    /// How the job stands, at this log time and this wall time.
    pub(crate) fn status(&self, log_ms: u64, wall_ms: u64) -> Status {
        match (self.outcome, self.leased, self.attempts_due_ms) {
            (Some(COMPLETED), ..) => Status::Completed,
            (Some(CANCELLED), ..) => Status::Cancelled,
            (Some(_), ..) => Status::Failed,
            (None, true, _) => Status::Processing,
            (None, false, Some(UNDER_REVIEW)) => Status::NeedsReview,
            (None, false, Some(due_ms)) if due_ms > log_ms => Status::Scheduled,
            (None, false, Some(_)) => Status::Pending,
            (None, false, None) if self.run_at_ms > wall_ms => Status::Scheduled,
            (None, false, None) => Status::Pending,
        }
    }
}

/// The number of a completed job; persisted.
pub(crate) const COMPLETED: u8 = 1;
/// The number of a failed job; persisted.
pub(crate) const FAILED: u8 = 2;
/// The number of a cancelled job; persisted.
pub(crate) const CANCELLED: u8 = 3;

/// The status that an outcome with this number has.
pub(crate) fn of_outcome(number: u8) -> Option<Status> {
    match number {
        COMPLETED => Some(Status::Completed),
        FAILED => Some(Status::Failed),
        CANCELLED => Some(Status::Cancelled),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Every pair of a status and a change is decided: these are all that are allowed.
    ///
    /// proves: J1, J2
    #[test]
    fn every_transition_has_its_cause() {
        let mut allowed = Vec::new();
        for status in Status::ALL {
            for change in Change::ALL {
                allowed.extend(next(status, change).map(|to| format!("{status} {change:?} {to}")));
            }
        }
        let expected = "scheduled Due pending, scheduled Heartbeat processing, \
            scheduled Completed completed, scheduled Cancelled cancelled, \
            scheduled Retried pending, pending Claimed processing, \
            pending Heartbeat processing, pending Completed completed, \
            pending Cancelled cancelled, processing Heartbeat processing, \
            processing Completed completed, processing Returned pending, \
            processing PutOff scheduled, processing GaveUp failed, \
            processing SetAside needs_review, processing Cancelled cancelled, \
            failed Retried pending, cancelled Retried pending, \
            needs_review Completed completed, needs_review Cancelled cancelled, \
            needs_review Approved pending, needs_review Rejected failed";
        let expected: Vec<&str> = expected.split(", ").collect();
        assert_eq!(allowed, expected);
    }

    /// A job leaves processing only when its claim is settled, finished or called off; from
    /// everywhere but the finished statuses it can still be finished; every status is reached.
    ///
    /// proves: J1, J2
    #[test]
    fn no_job_is_stuck() {
        let mut reached = BTreeSet::from([Status::Pending, Status::Scheduled]);
        loop {
            let more: BTreeSet<Status> = reached
                .iter()
                .flat_map(|&from| Change::ALL.into_iter().filter_map(move |it| next(from, it)))
                .collect();
            let before = reached.len();
            reached.extend(more);
            if reached.len() == before {
                break;
            }
        }
        assert_eq!(reached.len(), Status::ALL.len());
        for status in Status::ALL.into_iter().filter(|status| !status.is_finished()) {
            assert_eq!(next(status, Change::Cancelled), Some(Status::Cancelled), "{status}");
            assert_eq!(next(status, Change::Completed), Some(Status::Completed), "{status}");
        }
        assert_eq!(Change::ALL.map(|change| next(Status::Completed, change)), [None; 12]);
        let settled = [Change::Returned, Change::PutOff, Change::GaveUp, Change::SetAside];
        for change in settled {
            let from = Status::ALL.into_iter().filter(|status| next(*status, change).is_some());
            assert_eq!(from.collect::<Vec<_>>(), [Status::Processing], "{change:?}");
        }
    }

    #[test]
    fn words_name_statuses() {
        for status in Status::ALL {
            assert_eq!(status.as_str().parse::<Status>(), Ok(status));
        }
        assert!("done".parse::<Status>().is_err());
    }

    /// The rows decide: an end before everything, then a claim, then the pauses.
    #[test]
    fn a_status_follows_from_the_rows() {
        let at = |rows: Rows| rows.status(100, 5_000);
        let rows = Rows { run_at_ms: 5_001, ..Rows::default() };
        assert_eq!(at(rows), Status::Scheduled);
        assert_eq!(at(Rows { run_at_ms: 5_000, ..rows }), Status::Pending);
        let tried = Rows { attempts_due_ms: Some(100), ..rows };
        assert_eq!(at(tried), Status::Pending, "its time had come before");
        assert_eq!(at(Rows { attempts_due_ms: Some(101), ..tried }), Status::Scheduled);
        let review = Rows { attempts_due_ms: Some(UNDER_REVIEW), ..tried };
        assert_eq!(at(review), Status::NeedsReview);
        assert_eq!(at(Rows { leased: true, ..review }), Status::Processing);
        for (number, status) in [
            (COMPLETED, Status::Completed),
            (FAILED, Status::Failed),
            (CANCELLED, Status::Cancelled),
        ] {
            let rows = Rows { outcome: Some(number), leased: true, ..review };
            assert_eq!((at(rows), of_outcome(number)), (status, Some(status)));
        }
        assert_eq!(of_outcome(0), None);
    }
}
