//! How an execution stands, in a word. Pure.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// How an execution stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// A person approves it before it runs.
    Draft,
    /// What comes next can begin.
    Pending,
    /// A step was begun.
    Running,
    /// A person paused it.
    Paused,
    /// Specs that it needs are not completed.
    Blocked,
    /// It goes on by itself, later.
    Waiting,
    /// All that it was for is done.
    Completed,
    /// It was given up.
    Failed,
    /// A person called it off.
    Cancelled,
    /// A person decides.
    NeedsReview,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Draft,
        Self::Pending,
        Self::Running,
        Self::Paused,
        Self::Blocked,
        Self::Waiting,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
        Self::NeedsReview,
    ];

    /// The word used in commands and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Blocked => "blocked",
            Self::Waiting => "waiting",
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
            let words = words.join(", ");
            Error::invalid(format!("{word:?} is no status of an execution; use {words}"))
        })
    }
}
