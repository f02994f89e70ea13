//! Bytes to messages and back: the gRPC protocol of Rekindle, version 1. Pure: no I/O here.
//!
//! [`v1`] is generated from `proto/rekindle/v1`; [`error`] is the one mapping between stable error
//! kinds and gRPC statuses, used by the server and by every client.

pub mod error;
pub mod limits;

/// Generated messages, clients and servers of package `rekindle.v1`.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::disallowed_types
)]
pub mod v1 {
    tonic::include_proto!("rekindle.v1");
}

impl v1::Message {
    /// A message with this body, no headers and the default fairness key.
    #[must_use]
    pub fn new(body: impl Into<bytes::Bytes>) -> Self {
        Self { body: body.into(), ..Self::default() }
    }
}

impl v1::Durability {
    /// The word that every JSON answer uses: `memory`, `disk` or `quorum`.
    ///
    /// What is written but not synced is said to be in memory: a loss of power takes it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unspecified | Self::Memory | Self::Written => "memory",
            Self::Disk => "disk",
            Self::Quorum => "quorum",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::v1::Durability;

    /// Written but not synced is never called `disk`.
    #[test]
    fn durability_words_promise_no_more_than_happened() {
        assert_eq!(Durability::Memory.word(), "memory");
        assert_eq!(Durability::Written.word(), "memory");
        assert_eq!(Durability::Disk.word(), "disk");
        assert_eq!(Durability::Quorum.word(), "quorum");
    }
}
