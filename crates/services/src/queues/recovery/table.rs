//! The decision tables of queues: what the rows of one message, of one definition, or a key that
//! cannot be read, mean.

use rekindle_recovery::{Label, Row, Table};

/// What stands in a row that may be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stored {
    /// No row.
    Absent,
    /// Whole.
    Good,
    /// Damaged.
    Bad,
}

/// The lease of a message, as `claims` decides about it at the log time of recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Claim {
    /// No row.
    None,
    /// Its deadline lies ahead.
    Live,
    /// Its deadline passed.
    Due,
    /// Damaged.
    Bad,
}

/// The rows of a message in the index by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Expiry {
    /// None.
    None,
    /// Exactly the one of its lease.
    Match,
    /// Others, or others beside it.
    Other,
}

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

/// A key that cannot be read: which keyspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum BadKey {
    /// In `lease_expiry`.
    LeaseExpiry,
    /// In `messages`, `leases` or `attempts`.
    Message,
    /// In `queues`, or a definition that cannot be read.
    Definition,
}

/// What a row means whose key (or whose definition) cannot be read: it stays, and a person decides.
pub(crate) static UNREADABLE: Table<BadKey, &str> = Table {
    rows: &[
        Row {
            label: Label("queue-11"),
            when: |s| *s == BadKey::LeaseExpiry,
            then: "a lease expiry key: deadline 8, namespace 4, queue 8, number 8",
        },
        Row {
            label: Label("queue-12"),
            when: |s| *s == BadKey::Message,
            then: "a message key: namespace 4, queue 8, number 8",
        },
        Row {
            label: Label("queue-13"),
            when: |s| *s == BadKey::Definition,
            then: "a queue's name and definition",
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
        let keys = [BadKey::LeaseExpiry, BadKey::Message, BadKey::Definition];
        assert!(UNREADABLE.check(keys).is_empty());
    }
}
