//! Stable error kinds as gRPC statuses and back.
//!
//! The kind travels in the status details ([`ErrorDetail`]), so that it survives whatever a proxy
//! does to codes; a status without details (a proxy's own, tonic's own) is judged by its code.

use bytes::Bytes;
use prost::Message as _;
use tonic::{Code, Status};

use crate::v1::{ErrorDetail, ItemError, Kind};

/// The gRPC code that says most of what a kind means to clients who know nothing of kinds.
#[must_use]
pub const fn code(kind: Kind) -> Code {
    match kind {
        Kind::Retry => Code::Unavailable,
        Kind::Conflict => Code::Aborted,
        Kind::Fenced => Code::FailedPrecondition,
        Kind::Invalid => Code::InvalidArgument,
        Kind::Full => Code::ResourceExhausted,
        Kind::Corrupt => Code::DataLoss,
        Kind::Unspecified | Kind::Unknown => Code::Unknown,
        Kind::NotFound => Code::NotFound,
        Kind::Denied => Code::PermissionDenied,
        Kind::Compacted => Code::OutOfRange,
        Kind::Internal => Code::Internal,
    }
}

/// A refusal as a status.
#[must_use]
pub fn status(kind: Kind, message: impl Into<String>) -> Status {
    let message = message.into();
    let detail = ErrorDetail { kind: kind.into(), message: message.clone() };
    Status::with_details(code(kind), message, Bytes::from(detail.encode_to_vec()))
}

/// The kind that a peer of this protocol put into a status; `None` when the status came from
/// somewhere else (the transport, a proxy, a cancelled call).
#[must_use]
pub fn kind(status: &Status) -> Option<Kind> {
    let detail = ErrorDetail::decode(status.details()).ok()?;
    (detail.kind() != Kind::Unspecified).then(|| detail.kind())
}

/// One refused item of a request with several.
#[must_use]
pub fn item(index: usize, kind: Kind, message: impl Into<String>) -> ItemError {
    let index = u32::try_from(index).expect("a request of 4 MiB holds fewer than 2^32 items");
    ItemError { index, kind: kind.into(), message: message.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [Kind; 11] = [
        Kind::Retry,
        Kind::Conflict,
        Kind::Fenced,
        Kind::Invalid,
        Kind::Full,
        Kind::Corrupt,
        Kind::Unknown,
        Kind::NotFound,
        Kind::Denied,
        Kind::Compacted,
        Kind::Internal,
    ];

    #[test]
    fn a_kind_survives_its_status() {
        for expected in KINDS {
            let status = status(expected, "because");
            assert_eq!(kind(&status), Some(expected));
            assert_eq!(status.message(), "because");
        }
    }

    /// A transport error must never be taken for an answer of the server.
    #[test]
    fn a_status_of_the_transport_has_no_kind() {
        assert_eq!(kind(&Status::unavailable("connection refused")), None);
        assert_eq!(kind(&Status::unknown("h2 protocol error")), None);
    }

    /// Numbers are on the wire and in scripts: they never move.
    #[test]
    fn kinds_keep_their_numbers() {
        let numbers = KINDS.map(|kind| kind as i32);
        assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    }
}
