//! What recovery knows of a claim and its rows, and of rows that nobody can read.

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

/// The lease of a unit, as claims/table.rs decides about it at the log time of recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Claim {
    /// No row.
    None,
    /// It is kept as it is.
    Live,
    /// Its deadline passed, or its executor is dead.
    Due,
    /// Damaged.
    Bad,
}

/// The rows of a unit in the index by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Expiry {
    /// None.
    None,
    /// Exactly the one of its lease.
    Match,
    /// Others, or others beside it.
    Other,
}

/// A key that cannot be read: which keyspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum BadKey {
    /// In `lease_expiry`.
    LeaseExpiry,
    /// In `messages`, `leases` or `attempts`.
    Message,
    /// In `queues`, or a definition that cannot be read.
    Definition,
    /// In `jobs` or `job_outcomes`.
    Job,
    /// In `job_types`, or settings that cannot be read.
    Type,
    /// In `schedules`.
    Schedule,
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
        Row {
            label: Label("job-11"),
            when: |s| *s == BadKey::Job,
            then: "a job's key: namespace 4, type 8, number 8",
        },
        Row {
            label: Label("job-12"),
            when: |s| *s == BadKey::Type,
            then: "a job type's name and settings",
        },
        Row {
            label: Label("job-14"),
            when: |s| *s == BadKey::Schedule,
            then: "a schedule's name, pattern and state",
        },
    ],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_unreadable_row_has_a_label() {
        let keys = [
            BadKey::LeaseExpiry,
            BadKey::Message,
            BadKey::Definition,
            BadKey::Job,
            BadKey::Type,
            BadKey::Schedule,
        ];
        assert_eq!(UNREADABLE.check(keys), Vec::<String>::new());
    }
}
