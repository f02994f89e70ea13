//! What a call can end with, and what it means for the work that was asked for.

use std::error::Error as StdError;
use std::io;

use rekindle_wire::error as wire;
use rekindle_wire::v1::{ItemError, Kind};
use tonic::{Code, ConnectError, Status};

/// Why a call did not succeed. Except for [`Error::Unknown`], nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No server answers at this address.
    #[error(
        "cannot reach {address} ({reason}). Start a server with 'rekindle serve', or set --addr"
    )]
    Unreachable {
        /// Where the client looked.
        address: String,
        /// One word where one says it: `refused`, `no answer within 5s`…
        reason: String,
    },
    /// The server cannot do it now (it is recovering or stopping).
    #[error("{0}")]
    Retry(String),
    /// The queue, the message or the key does not exist.
    #[error("{0}")]
    NotFound(String),
    /// It exists already, or somebody else was faster.
    #[error("{0}")]
    Conflict(String),
    /// The token is not the current one.
    #[error("{0}")]
    Fenced(String),
    /// The request can never succeed as it is.
    #[error("{0}")]
    Invalid(String),
    /// A limit is reached.
    #[error("{0}")]
    Full(String),
    /// The version that was asked for is older than what is kept.
    #[error("{0}")]
    Compacted(String),
    /// The stored bytes are damaged.
    #[error("{0}")]
    Corrupt(String),
    /// Not allowed.
    #[error("{0}")]
    Denied(String),
    /// A bug of the server, or no Rekindle server at all.
    #[error("the server failed: {0}")]
    Internal(String),
    /// Whether it was done cannot be told.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
}

/// How a call failed before its meaning for the work is decided.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The server refused: a final answer.
    Answered(Error),
    /// The request never left: nothing was done.
    NotSent(Error),
    /// The connection broke, or the server stopped, with the request under way.
    Lost(String),
}

impl Error {
    /// What the server said of one item.
    pub(crate) fn of_item(item: &ItemError) -> Self {
        Self::of_kind(item.kind(), item.message.clone())
    }

    /// What the server said.
    pub(crate) fn of_kind(kind: Kind, message: String) -> Self {
        match kind {
            Kind::Retry => Self::Retry(message),
            Kind::Conflict => Self::Conflict(message),
            Kind::Fenced => Self::Fenced(message),
            Kind::Invalid => Self::Invalid(message),
            Kind::Full => Self::Full(message),
            Kind::Corrupt => Self::Corrupt(message),
            Kind::NotFound => Self::NotFound(message),
            Kind::Denied => Self::Denied(message),
            Kind::Compacted => Self::Compacted(message),
            Kind::Internal => Self::Internal(message),
            Kind::Unknown | Kind::Unspecified => Self::Unknown(message),
        }
    }

    /// The stable word of its kind, as in JSON answers.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "unreachable",
            Self::Retry(_) => "retry",
            Self::NotFound(_) => "not_found",
            Self::Conflict(_) => "conflict",
            Self::Fenced(_) => "fenced",
            Self::Invalid(_) => "invalid",
            Self::Full(_) => "full",
            Self::Compacted(_) => "compacted",
            Self::Corrupt(_) => "corrupt",
            Self::Denied(_) => "denied",
            Self::Internal(_) => "internal",
            Self::Unknown(_) => "unknown",
        }
    }

    /// Whether the same call may succeed in a moment without anybody doing anything about it.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Retry(_))
    }
}

/// Judges a status of a call to `address`.
pub(crate) fn judge(status: &Status, address: &str) -> Failure {
    match wire::kind(status) {
        // The outcome may still be learned by asking again with the same identity.
        Some(Kind::Unknown) => Failure::Lost(status.message().to_owned()),
        Some(Kind::Retry) => Failure::NotSent(Error::Retry(status.message().to_owned())),
        Some(kind) => Failure::Answered(Error::of_kind(kind, status.message().to_owned())),
        None => judge_transport(status, address),
    }
}

/// Judges a status that no Rekindle server wrote.
fn judge_transport(status: &Status, address: &str) -> Failure {
    if let Some(reason) = connect_failure(status) {
        return Failure::NotSent(Error::Unreachable { address: address.to_owned(), reason });
    }
    let message = status.message().to_owned();
    match status.code() {
        Code::Unimplemented => Failure::Answered(Error::Internal(format!(
            "{address} does not know this call; is it a Rekindle server? ({message})"
        ))),
        Code::InvalidArgument | Code::OutOfRange => Failure::Answered(Error::Invalid(message)),
        Code::PermissionDenied | Code::Unauthenticated => Failure::Answered(Error::Denied(message)),
        _ => Failure::Lost(if message.is_empty() { status.code().to_string() } else { message }),
    }
}

/// The reason, when the connection could not be made at all.
fn connect_failure(status: &Status) -> Option<String> {
    let mut source = status.source();
    let mut connecting = false;
    let mut reason = None;
    while let Some(error) = source {
        connecting |= error.is::<ConnectError>();
        if let Some(error) = error.downcast_ref::<io::Error>() {
            reason = Some(match error.kind() {
                io::ErrorKind::ConnectionRefused => "refused".to_owned(),
                io::ErrorKind::TimedOut => "timed out".to_owned(),
                _ => error.to_string(),
            });
        } else if reason.is_none() {
            reason = Some(error.to_string());
        }
        source = error.source();
    }
    if connecting { reason } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sentence that scripts rely on.
    #[test]
    fn unreachable_names_the_cause_and_the_next_step() {
        let error =
            Error::Unreachable { address: "127.0.0.1:7611".into(), reason: "refused".into() };
        assert_eq!(
            error.to_string(),
            "cannot reach 127.0.0.1:7611 (refused). \
             Start a server with 'rekindle serve', or set --addr"
        );
    }

    #[test]
    fn an_answer_is_final_and_a_broken_connection_is_not() {
        let answered = judge(&wire::status(Kind::NotFound, "no such queue"), "a");
        assert!(matches!(answered, Failure::Answered(Error::NotFound(_))));
        let stopping = judge(&wire::status(Kind::Retry, "stopping"), "a");
        assert!(matches!(stopping, Failure::NotSent(Error::Retry(_))));
        let poisoned = judge(&wire::status(Kind::Unknown, "sync failed"), "a");
        assert!(matches!(poisoned, Failure::Lost(_)));
        let broken = judge(&Status::unknown("h2 protocol error"), "a");
        assert!(matches!(broken, Failure::Lost(_)));
        let wrong = judge(&Status::unimplemented(""), "a");
        assert!(matches!(wrong, Failure::Answered(Error::Internal(_))));
    }
}
