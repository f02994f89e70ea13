//! What a database answers instead of a result, and what a caller should do about it.
//!
//! [`Error::kind`] and [`Error::exit_code`] are stable; messages are free to change.

use std::io;

use rekindle_engine::{EngineError, KeyspaceId};
use rekindle_env::is_full;
use rekindle_journal::AppendError;
use rekindle_recovery::{Failure, Report, exit};

/// What a caller should do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Nothing happened; the same call may succeed a little later.
    Retry,
    /// Another transaction was first; run the whole transaction again.
    Conflict,
    /// The caller lost its claim; give up.
    Fenced,
    /// The call can never succeed as it is.
    Invalid,
    /// A limit is reached; nothing happened. Make room, or wait.
    Full,
    /// That past is gone; read a newer version.
    Compacted,
    /// Stored data is damaged; a person must decide.
    Corrupt,
    /// It may or may not have happened.
    Unknown,
    /// This handle does not work any more; open the directory again.
    Unavailable,
    /// Another process has the directory.
    Locked,
    /// The machine refused an operation.
    Io,
    /// The directory or an option is not what it must be.
    Configuration,
}

/// What a database answers instead of a result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something that this transaction read was changed before it could commit. Run it again.
    #[error(
        "key {} of keyspace {} was changed by version {version}; run the transaction again",
        key.escape_ascii(), keyspace.0
    )]
    Conflict {
        /// The keyspace of the first read that is no longer true.
        keyspace: KeyspaceId,
        /// The key that was changed.
        key: Vec<u8>,
        /// The transaction that changed it.
        version: u64,
    },
    /// The call can never succeed as it is.
    #[error("{0}")]
    Invalid(String),
    /// A limit is reached; nothing was written.
    #[error("{0}")]
    Full(String),
    /// That past is gone.
    #[error("version {asked} is compacted; the oldest readable version is {oldest}")]
    Compacted {
        /// The version asked for.
        asked: u64,
        /// The oldest that can be read.
        oldest: u64,
    },
    /// An earlier write or sync failed; open the directory again.
    #[error("the database stopped: {0}; close it and open the directory again")]
    Poisoned(String),
    /// This node does not lead.
    #[error("this node does not lead; ask another one")]
    NotLeading,
    /// The transaction may or may not be there after a restart.
    #[error("the outcome is unknown: the journal failed before it acknowledged; open it and look")]
    Unknown,
    /// Stored data is damaged; nothing was changed.
    #[error("{}", describe(.0))]
    Corrupt(Box<Report>),
    /// The start was refused; nothing was changed.
    #[error("refused: {message}")]
    Refused {
        /// Why, and what to do.
        message: String,
        /// What recovery saw.
        report: Box<Report>,
    },
    /// Somebody else does that right now; nothing happened.
    #[error("{0}")]
    Busy(String),
    /// The backups there are of another history than this store, which was rolled back to a copy or
    /// is one; nothing was changed.
    #[error("{0}")]
    Diverged(String),
    /// A file of a backup, or of a store that is backed up, is damaged; nothing was changed.
    #[error("{0}")]
    Damaged(String),
    /// Another process has the directory.
    #[error("{0} is locked by another process; stop that one first, or use another directory")]
    Locked(String),
    /// The directory is no store of ours.
    #[error("{0}")]
    NotAStore(String),
    /// The machine refused an operation.
    #[error("{context}: {source}")]
    Io {
        /// What was being done, with the path.
        context: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// What to do about it.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Conflict { .. } | Self::Busy(_) | Self::Diverged(_) => Kind::Conflict,
            Self::Invalid(_) => Kind::Invalid,
            Self::Full(_) => Kind::Full,
            Self::Compacted { .. } => Kind::Compacted,
            Self::Poisoned(_) => Kind::Unavailable,
            Self::NotLeading => Kind::Retry,
            Self::Unknown => Kind::Unknown,
            Self::Corrupt(_) | Self::Refused { .. } | Self::Damaged(_) => Kind::Corrupt,
            Self::Locked(_) => Kind::Locked,
            Self::NotAStore(_) => Kind::Configuration,
            Self::Io { .. } => Kind::Io,
        }
    }

    /// The exit code of a program that ends with this error.
    #[must_use]
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Unknown => exit::UNKNOWN,
            Self::Corrupt(_) | Self::Refused { .. } | Self::Damaged(_) => exit::CORRUPT,
            Self::Locked(_) => exit::LOCKED,
            Self::NotAStore(_) => exit::CONFIG,
            Self::Io { .. } | Self::Poisoned(_) => exit::IO,
            Self::NotLeading => exit::UNREACHABLE,
            Self::Conflict { .. }
            | Self::Invalid(_)
            | Self::Full(_)
            | Self::Compacted { .. }
            | Self::Busy(_)
            | Self::Diverged(_) => exit::REFUSED,
        }
    }

    /// Whether the disk had no room.
    pub(crate) fn is_disk_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if is_full(source))
    }

    /// An I/O error with what was being done.
    pub(crate) fn io(context: impl Into<String>, source: io::Error) -> Self {
        Self::Io { context: context.into(), source }
    }
}

/// The findings that refuse a start, a line each, and the ways on.
fn describe(report: &Report) -> String {
    use std::fmt::Write as _;
    let mut text =
        String::from("the store is damaged and was not opened; none of its bytes were changed");
    let corrupt = report
        .findings()
        .filter(|finding| finding.verdict == Some(rekindle_recovery::Verdict::Corrupt));
    for finding in corrupt {
        let place = &finding.place;
        let _ = write!(
            text,
            "\n{}: {} at offset {} (log addresses {}..{}): expected {}, found {}",
            finding.label,
            place.file,
            place.offset,
            place.from,
            place.to,
            finding.expected,
            finding.found
        );
    }
    text.push_str("\nlook at it with verify and journal dump, or restore a copy");
    text
}

impl From<EngineError> for Error {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Compacted { asked, oldest } => Self::Compacted { asked, oldest },
            EngineError::Io(message) => Self::io("engine", io::Error::other(message)),
            EngineError::Full(message) => {
                Self::io("engine", io::Error::new(io::ErrorKind::StorageFull, message))
            }
            EngineError::Corrupt { .. } => {
                Self::Refused { message: error.to_string(), report: Box::new(Report::default()) }
            }
        }
    }
}

impl From<AppendError> for Error {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Full => Self::Full(error.to_string()),
            AppendError::TooLarge { .. } => Self::Invalid(error.to_string()),
            AppendError::Poisoned(reason) => Self::Poisoned(reason),
            AppendError::NotLeading => Self::NotLeading,
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Io { context, source } => Self::Io { context, source },
            Failure::Refused(message) => {
                Self::Refused { message, report: Box::new(Report::default()) }
            }
            Failure::Config(message) => Self::NotAStore(message),
            Failure::Locked(path) => Self::Locked(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kinds and codes are a promise to callers and scripts.
    #[test]
    fn every_error_says_what_to_do() {
        let report = || Box::new(Report::default());
        let text = || "why".to_owned();
        let disk = || io::Error::other("disk");
        let all = [
            (
                Error::Conflict { keyspace: KeyspaceId(1), key: b"k\0".to_vec(), version: 7 },
                Kind::Conflict,
                1,
            ),
            (Error::Invalid(text()), Kind::Invalid, 1),
            (Error::Full(text()), Kind::Full, 1),
            (Error::Compacted { asked: 1, oldest: 2 }, Kind::Compacted, 1),
            (Error::Poisoned(text()), Kind::Unavailable, 70),
            (Error::NotLeading, Kind::Retry, 69),
            (Error::Unknown, Kind::Unknown, 75),
            (Error::Corrupt(report()), Kind::Corrupt, 65),
            (Error::Busy(text()), Kind::Conflict, 1),
            (Error::Diverged(text()), Kind::Conflict, 1),
            (Error::Damaged(text()), Kind::Corrupt, 65),
            (Error::Locked(text()), Kind::Locked, 73),
            (Error::NotAStore(text()), Kind::Configuration, 78),
            (Error::io("reading", disk()), Kind::Io, 70),
            (AppendError::Full.into(), Kind::Full, 1),
            (AppendError::TooLarge { len: 2, limit: 1 }.into(), Kind::Invalid, 1),
            (AppendError::Poisoned(text()).into(), Kind::Unavailable, 70),
            (AppendError::NotLeading.into(), Kind::Retry, 69),
            (EngineError::Compacted { asked: 1, oldest: 2 }.into(), Kind::Compacted, 1),
            (EngineError::Io(text()).into(), Kind::Io, 70),
            (EngineError::Full(text()).into(), Kind::Io, 70),
            (Failure::io("reading", disk()).into(), Kind::Io, 70),
            (Failure::Refused(text()).into(), Kind::Corrupt, 65),
            (Failure::Config(text()).into(), Kind::Configuration, 78),
            (Failure::Locked(text()).into(), Kind::Locked, 73),
        ];
        for (error, kind, code) in all {
            assert_eq!((error.kind(), error.exit_code()), (kind, code), "{error}");
            assert!(!error.to_string().is_empty());
        }
    }
}
