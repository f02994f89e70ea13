//! A change on its way: ordered, appended, and not yet acknowledged.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rekindle_database::{Outcome, Pending};

use crate::error::{Error, Kind};
use crate::exec::Answer;

/// What an acknowledgement promises; never more than what has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Durability {
    /// In the memory of this process.
    Memory,
    /// Written to the file, not synced.
    Written,
    /// Synced to this machine's disk.
    Disk,
    /// Synced by a quorum.
    Quorum,
}

impl Durability {
    /// The word used in answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Written => "written",
            Self::Disk => "disk",
            Self::Quorum => "quorum",
        }
    }

    /// What a journal's outcome promises; `None` when it cannot be told.
    pub(crate) fn of(outcome: Outcome) -> Option<Self> {
        Some(match outcome {
            Outcome::Memory => Self::Memory,
            Outcome::Written => Self::Written,
            Outcome::Durable => Self::Disk,
            Outcome::Committed => Self::Quorum,
            Outcome::Unknown => return None,
        })
    }
}

/// An answer that is acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledged<T> {
    /// The answer.
    pub value: T,
    /// The transaction that made it so, or the newest one that the answer rests on.
    pub version: u64,
    /// What is promised for it.
    pub durability: Durability,
}

impl<T> Acknowledged<T> {
    /// The same acknowledgement of another value.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Acknowledged<U> {
        Acknowledged {
            value: change(self.value),
            version: self.version,
            durability: self.durability,
        }
    }
}

/// A change that is ordered and appended. Await it, or [`Ticket::wait`]; dropping it leaves the
/// change on its way.
#[derive(Debug)]
#[must_use = "the change is not acknowledged before its ticket resolves"]
pub struct Ticket<T> {
    pending: Pending,
    answer: Option<Result<Answer<T>, Error>>,
}

impl<T> Ticket<T> {
    /// A ticket for `answer`, true once `pending` resolves.
    pub(crate) fn new(pending: Pending, answer: Result<Answer<T>, Error>) -> Self {
        Self { pending, answer: Some(answer) }
    }

    /// The answer, not acknowledged yet.
    pub(crate) fn peek(&self) -> Option<&T> {
        let answer = self.answer.as_ref()?.as_ref().ok()?;
        Some(&answer.value)
    }

    /// Blocks until it is acknowledged. Never call this on an asynchronous runtime's thread.
    pub fn wait(self) -> Result<Acknowledged<T>, Error> {
        let Self { pending, answer } = self;
        let commit = pending.wait()?;
        acknowledge(answer, commit.version, commit.outcome)
    }
}

impl<T: Unpin> Future for Ticket<T> {
    type Output = Result<Acknowledged<T>, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let commit = ready!(Pin::new(&mut self.pending).poll(context))?;
        Poll::Ready(acknowledge(self.answer.take(), commit.version, commit.outcome))
    }
}

/// The answer, with what is promised for it. A refusal, too, is only told once what it rests on is
/// acknowledged.
fn acknowledge<T>(
    answer: Option<Result<Answer<T>, Error>>,
    version: u64,
    outcome: Outcome,
) -> Result<Acknowledged<T>, Error> {
    let answer = answer.expect("a ticket is not polled again after it resolved")?;
    let durability = Durability::of(outcome).ok_or_else(|| {
        Error::new(
            Kind::Unknown,
            "the outcome is unknown: the journal failed before it acknowledged; ask again with \
             the same identity after the restart",
        )
    })?;
    let version = answer.version.unwrap_or(version);
    Ok(Acknowledged { value: answer.value, version, durability })
}
