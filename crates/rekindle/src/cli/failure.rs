//! Why a command failed: a sentence for people and an exit code for scripts.

use std::fmt::Display;

use rekindle_client::Error;
use rekindle_recovery::exit;
use rekindle_services::Kind;

/// A command's end that is not success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// Empty: everybody knows.
    pub(super) message: String,
    pub(super) code: i32,
}

impl Failure {
    pub(super) fn new(code: i32, message: impl Into<String>) -> Self {
        Self { message: message.into(), code }
    }

    /// The machine refused something.
    pub(super) fn io(what: &str, error: &dyn Display) -> Self {
        Self::new(exit::IO, format!("{what}: {error}"))
    }
}

/// The exit code of a call that ended like this.
pub(super) const fn code(error: &Error) -> i32 {
    match error {
        Error::Unreachable { .. } | Error::Retry(_) => exit::UNREACHABLE,
        Error::Unknown(_) => exit::UNKNOWN,
        Error::Denied(_) => exit::DENIED,
        Error::Corrupt(_) => exit::CORRUPT,
        Error::NotFound(_)
        | Error::Conflict(_)
        | Error::Fenced(_)
        | Error::Invalid(_)
        | Error::Full(_)
        | Error::Compacted(_)
        | Error::Internal(_) => exit::REFUSED,
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(code(&error), error.to_string())
    }
}

impl From<rekindle_database::Error> for Failure {
    fn from(error: rekindle_database::Error) -> Self {
        Self::new(error.exit_code(), error.to_string())
    }
}

impl From<rekindle_services::Error> for Failure {
    fn from(error: rekindle_services::Error) -> Self {
        let code = match error.kind() {
            Kind::Corrupt => exit::CORRUPT,
            Kind::Io | Kind::Poisoned => exit::IO,
            Kind::Unknown => exit::UNKNOWN,
            _ => exit::REFUSED,
        };
        Self::new(code, error.message())
    }
}

/// Which of two exit codes a command with several items ends with: unknown wins, then refused.
pub(super) const fn worse(a: i32, b: i32) -> i32 {
    match (a, b) {
        (exit::UNKNOWN, _) | (_, exit::UNKNOWN) => exit::UNKNOWN,
        (0, other) | (other, _) => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_wins_over_refused_and_refused_over_nothing() {
        assert_eq!(worse(0, 0), 0);
        assert_eq!(worse(exit::REFUSED, 0), 1);
        assert_eq!(worse(0, exit::REFUSED), 1);
        assert_eq!(worse(exit::REFUSED, exit::UNKNOWN), 75);
        assert_eq!(worse(exit::UNKNOWN, exit::REFUSED), 75);
    }

    #[test]
    fn exit_codes_are_those_of_the_reference() {
        let unreachable = Error::Unreachable { address: "a".into(), reason: "refused".into() };
        assert_eq!(Failure::from(unreachable).code, 69);
        assert_eq!(Failure::from(Error::Unknown(String::new())).code, 75);
        assert_eq!(Failure::from(Error::Denied(String::new())).code, 77);
        assert_eq!(Failure::from(Error::Fenced(String::new())).code, 1);
    }
}
