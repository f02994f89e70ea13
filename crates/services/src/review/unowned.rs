//! What waits for a person and belongs to no line: rows whose keys or definitions cannot be read,
//! and work whose queue or type does not exist. Derived: recovery finds it, decisions remove it.
//!
//! Invariant: at most [`REVIEW_ROWS_MAX`] of each kind; the rest is counted in the findings, and
//! comes up at a start after these were decided.

use std::collections::BTreeMap;

use rekindle_database::KeyspaceId;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::claims::Subject;
use crate::claims::recovery::BadKey;
use crate::limits::REVIEW_ROWS_MAX;
use crate::review::ReviewId;

/// A row that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnreadRow {
    /// What it should be.
    pub(crate) what: BadKey,
    /// The name of its keyspace.
    pub(crate) keyspace: &'static str,
    /// Its key, as it is.
    pub(crate) key: Vec<u8>,
}

impl UnreadRow {
    /// Its number, for its id.
    fn number(&self) -> u64 {
        let seed = self
            .keyspace
            .bytes()
            .fold(7, |seed: u64, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte)));
        xxh3_64_with_seed(&self.key, seed)
    }

    /// Its keyspace.
    pub(crate) fn keyspace(&self, keyspaces: &crate::keys::Keyspaces) -> KeyspaceId {
        match self.keyspace {
            "messages" => keyspaces.messages,
            "leases" => keyspaces.leases,
            "attempts" => keyspaces.attempts,
            "lease_expiry" => keyspaces.lease_expiry,
            "jobs" => keyspaces.jobs,
            "job_outcomes" => keyspaces.job_outcomes,
            "job_types" => keyspaces.job_types,
            "schedules" => keyspaces.schedules,
            _ => keyspaces.queues,
        }
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Unowned {
    rows: BTreeMap<u64, (UnreadRow, u64)>,
    subjects: BTreeMap<Subject, u64>,
}

impl Unowned {
    /// A row that recovery could not read, at this log time.
    pub(crate) fn add_row(&mut self, row: UnreadRow, now_ms: u64) {
        if self.rows.len() < REVIEW_ROWS_MAX {
            self.rows.insert(row.number(), (row, now_ms));
        }
    }

    /// Work without a line.
    pub(crate) fn add_subject(&mut self, subject: Subject, now_ms: u64) {
        if self.subjects.len() < REVIEW_ROWS_MAX {
            self.subjects.insert(subject, now_ms);
        }
    }

    /// The row with this number.
    pub(crate) fn row(&self, number: u64) -> Option<&UnreadRow> {
        self.rows.get(&number).map(|(row, _)| row)
    }

    /// Since when this waits.
    pub(crate) fn since(&self, id: ReviewId) -> Option<u64> {
        match id {
            ReviewId::Work(message) => self.subjects.get(&message).copied(),
            ReviewId::Row(number) => self.rows.get(&number).map(|(_, since)| *since),
            ReviewId::Execution(_) => None,
        }
    }

    /// It was decided about.
    pub(crate) fn remove(&mut self, id: ReviewId) {
        match id {
            ReviewId::Work(message) => drop(self.subjects.remove(&message)),
            ReviewId::Row(number) => drop(self.rows.remove(&number)),
            ReviewId::Execution(_) => {}
        }
    }

    /// All of them, with the time since when they wait.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ReviewId, u64)> {
        let messages = self.subjects.iter().map(|(id, since)| (ReviewId::Work(*id), *since));
        let rows = self.rows.iter().map(|(number, (_, since))| (ReviewId::Row(*number), *since));
        messages.chain(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_at_their_limit_and_are_told_apart() {
        let mut unowned = Unowned::default();
        let row = |key: u32, keyspace| UnreadRow {
            what: BadKey::Message,
            keyspace,
            key: key.to_be_bytes().to_vec(),
        };
        unowned.add_row(row(1, "messages"), 5);
        unowned.add_row(row(1, "leases"), 5);
        assert_eq!(unowned.iter().count(), 2, "the same key in two keyspaces");
        for key in 0..20_000 {
            unowned.add_row(row(key, "messages"), 6);
            let subject = Subject { line: 1, number: u64::from(key) + 1 };
            unowned.add_subject(subject, 6);
        }
        assert_eq!(unowned.iter().count(), 2 * REVIEW_ROWS_MAX);
    }
}
