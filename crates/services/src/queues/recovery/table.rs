//! The decision table of queues: what the rows of one message mean.

use rekindle_recovery::{Label, Row, Table};

use crate::claims::recovery::{Claim, Expiry, Stored};

/// All that is known of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Situation {
    /// Its queue has a definition.
    pub(crate) queue: bool,
    /// The message.
    pub(crate) message: Stored,
    /// Its lease.
    pub(crate) claim: Claim,
    /// Its settled attempts.
    pub(crate) attempts: Stored,
    /// The index by time.
    pub(crate) expiry: Expiry,
}

impl Situation {
    /// There is more than rows of the index by time.
    fn more_than_expiry(&self) -> bool {
        self.message != Stored::Absent
            || self.claim != Claim::None
            || self.attempts != Stored::Absent
    }

    /// Message and claim can be trusted.
    fn whole(&self) -> bool {
        self.queue
            && self.message == Stored::Good
            && self.claim != Claim::Bad
            && self.attempts != Stored::Bad
    }
}

/// What is done about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Ready, or delayed.
    Serve,
    /// Leased as before.
    KeepLease,
    /// Ready; rows of the index by time without a lease go.
    ServeAndDropExpiry,
    /// Leased as before; the index by time is made again.
    RebuildExpiry,
    /// The lease is over.
    Reclaim,
    /// Not served; a person decides.
    Ask,
    /// Rows of the index by time of nothing at all: they go.
    DropExpiry,
}

/// What the rows of one message mean.
pub(crate) static MESSAGES: Table<Situation, Verdict> = Table {
    rows: &[
        Row {
            label: Label("queue-1"),
            when: |s| s.whole() && s.claim == Claim::None && s.expiry == Expiry::None,
            then: Verdict::Serve,
        },
        Row {
            label: Label("queue-2"),
            when: |s| s.whole() && s.claim == Claim::Live && s.expiry == Expiry::Match,
            then: Verdict::KeepLease,
        },
        Row {
            label: Label("queue-3"),
            when: |s| s.whole() && s.claim == Claim::Due,
            then: Verdict::Reclaim,
        },
        Row {
            label: Label("queue-4"),
            when: |s| !s.more_than_expiry() && s.expiry != Expiry::None,
            then: Verdict::DropExpiry,
        },
        Row {
            label: Label("queue-5"),
            when: |s| s.whole() && s.claim == Claim::None && s.expiry != Expiry::None,
            then: Verdict::ServeAndDropExpiry,
        },
        Row {
            label: Label("queue-6"),
            when: |s| s.whole() && s.claim == Claim::Live && s.expiry != Expiry::Match,
            then: Verdict::RebuildExpiry,
        },
        Row {
            label: Label("queue-7"),
            when: |s| s.queue && s.message == Stored::Absent && s.more_than_expiry(),
            then: Verdict::Ask,
        },
        Row {
            label: Label("queue-8"),
            when: |s| s.queue && s.message == Stored::Bad,
            then: Verdict::Ask,
        },
        Row {
            label: Label("queue-9"),
            when: |s| {
                s.queue
                    && s.message == Stored::Good
                    && (s.claim == Claim::Bad || s.attempts == Stored::Bad)
            },
            then: Verdict::Ask,
        },
        Row {
            label: Label("queue-10"),
            when: |s| !s.queue && s.more_than_expiry(),
            then: Verdict::Ask,
        },
    ],
};

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Situation> {
        let mut all = vec![];
        let stored = [Stored::Absent, Stored::Good, Stored::Bad];
        for queue in [false, true] {
            for message in stored {
                for claim in [Claim::None, Claim::Live, Claim::Due, Claim::Bad] {
                    for attempts in stored {
                        for expiry in [Expiry::None, Expiry::Match, Expiry::Other] {
                            all.push(Situation { queue, message, claim, attempts, expiry });
                        }
                    }
                }
            }
        }
        // Without any row there is nothing to decide about, and without a lease nothing matches.
        all.retain(|s| s.more_than_expiry() || s.expiry != Expiry::None);
        all
    }

    /// Every combination of conditions matches exactly one row.
    #[test]
    fn each_situation_has_one_row() {
        assert_eq!(all().len(), 2 * 3 * 4 * 3 * 3 - 2);
        assert!(MESSAGES.check(all()).is_empty());
    }
}
