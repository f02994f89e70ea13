//! What a service answers instead of a result.
//!
//! [`Error::kind`] is stable and tells a caller what to do; messages name the cause and the next
//! step and are free to change.

use rekindle_database::Error as DatabaseError;

/// What a caller should do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Nothing was done; the same call may succeed in a moment.
    Retry,
    /// An expected version or setting differs.
    Conflict,
    /// The token is not the current one: the work was granted again or is finished.
    Fenced,
    /// The call can never succeed as it is.
    Invalid,
    /// A limit is reached; nothing was done.
    Full,
    /// The queue, message or key does not exist.
    NotFound,
    /// It exists already, and differently.
    Exists,
    /// The bytes that would answer this are damaged.
    Corrupt,
    /// Whether it was done cannot be told.
    Unknown,
    /// The version asked for is older than what is kept.
    Compacted,
    /// The store stopped after a failed write; only a restart helps.
    Poisoned,
    /// The machine refused an operation.
    Io,
}

/// What a service answers instead of a result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: Kind,
    message: String,
    no_room: bool,
}

impl Error {
    /// An error of this kind.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), no_room: false }
    }

    /// What to do about it.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Of [`Kind::Full`]: the store itself has no room, in memory or on disk. Otherwise a limit of
    /// sizes or numbers is reached.
    #[must_use]
    pub fn is_no_room(&self) -> bool {
        self.no_room
    }

    /// The cause and the next step.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The call can never succeed as it is.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, message)
    }

    /// There is no such queue.
    pub(crate) fn no_queue(name: &str) -> Self {
        Self::new(
            Kind::NotFound,
            format!(
                "queue \"{name}\" does not exist; create it with 'rekindle queue create {name}' \
                 or add --create"
            ),
        )
    }

    /// There is no such type of jobs.
    pub(crate) fn no_job_type(name: &str) -> Self {
        Self::new(
            Kind::NotFound,
            format!(
                "there is no job type \"{name}\"; it begins with its first job: 'rekindle job \
                 submit {name}'"
            ),
        )
    }

    /// Stored bytes are not what they must be.
    pub(crate) fn corrupt(what: impl Into<String>) -> Self {
        let what = what.into();
        Self::new(
            Kind::Corrupt,
            format!("{what}; it is left as it is, look at the recovery report and journal dump"),
        )
    }
}

impl From<DatabaseError> for Error {
    fn from(error: DatabaseError) -> Self {
        use rekindle_database::Kind as From;
        let kind = match error.kind() {
            From::Retry | From::Conflict => Kind::Retry,
            From::Fenced => Kind::Fenced,
            From::Invalid | From::Configuration => Kind::Invalid,
            From::Full => Kind::Full,
            From::Compacted => Kind::Compacted,
            From::Corrupt => Kind::Corrupt,
            From::Unknown => Kind::Unknown,
            From::Unavailable => Kind::Poisoned,
            From::Locked | From::Io => Kind::Io,
        };
        Self { no_room: kind == Kind::Full, ..Self::new(kind, error.to_string()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_queue_names_the_next_step() {
        let error = Error::no_queue("commits");
        assert_eq!(error.kind(), Kind::NotFound);
        assert_eq!(
            error.to_string(),
            "queue \"commits\" does not exist; create it with 'rekindle queue create commits' or \
             add --create"
        );
    }

    /// A store without room is told from a limit of sizes and numbers.
    #[test]
    fn no_room_is_told_from_other_limits() {
        assert!(Error::from(DatabaseError::Full("the disk".to_owned())).is_no_room());
        assert!(!Error::new(Kind::Full, "too many queues").is_no_room());
    }

    #[test]
    fn a_lost_race_is_to_be_retried_and_an_unknown_outcome_stays_unknown() {
        let conflict = DatabaseError::Conflict {
            keyspace: rekindle_database::KeyspaceId(1),
            key: vec![],
            version: 1,
        };
        assert_eq!(Error::from(conflict).kind(), Kind::Retry);
        assert_eq!(Error::from(DatabaseError::Unknown).kind(), Kind::Unknown);
        assert_eq!(Error::from(DatabaseError::Poisoned(String::new())).kind(), Kind::Poisoned);
    }
}
