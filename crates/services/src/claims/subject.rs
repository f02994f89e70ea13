//! Names of units of work, and of grants of them.
//!
//! Invariant: a subject says of itself whether it is a message or a job: the numbers of job types
//! have their highest bit set, those of queues do not. So all jobs come behind all messages in the
//! order of keys, too.

/// The bit that the number of a type of jobs has, and that of a queue has not; persisted.
const JOBS: u64 = 1 << 63;

/// Names a unit of work, a message or a job; opaque, safe in URLs and shells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    /// The number of its queue or of its type of jobs.
    pub(crate) line: u64,
    /// Its own number; rises in the order of sending.
    pub(crate) number: u64,
}

impl Subject {
    /// Whether it is a job.
    #[must_use]
    pub fn is_job(&self) -> bool {
        is_of_jobs(self.line)
    }
}

/// Whether this is the number of a type of jobs.
pub(crate) fn is_of_jobs(line: u64) -> bool {
    line & JOBS != 0
}

/// The number of a type of jobs, made of a number that was never used.
pub(crate) fn line_of_jobs(number: u64) -> u64 {
    debug_assert!(!is_of_jobs(number), "numbers begin with an incarnation of fewer bits");
    number | JOBS
}

/// Names a unit of work and one grant of it; one opaque word, safe in URLs and shells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token {
    pub(crate) subject: Subject,
    pub(crate) grant: u64,
}

impl Token {
    /// Of what it is a grant.
    #[must_use]
    pub fn subject(&self) -> Subject {
        self.subject
    }
}
