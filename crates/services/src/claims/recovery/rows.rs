//! Scanning and joining: the rows of several keyspaces become one item per unit of work.
//!
//! Units, outcomes, leases and attempts have equal keys and are joined in their order; the index by
//! time is gathered per unit first, since there are only as many of its rows as there are leases.
//! Of units that no claim touches no row is kept (units.rs): memory grows with what was in flight.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::iter::Peekable;
use std::ops::Bound;
use std::vec::IntoIter;

use rekindle_database::{KeyspaceId, Row, Snapshot};
use rekindle_recovery::{Failure, Meter};

use crate::claims::Subject;
use crate::claims::index::{Due, LaneKey};
use crate::claims::kept::Kept;
use crate::claims::recovery::cursor::Cursor;
use crate::claims::recovery::table::{BadKey, Stored};
use crate::claims::recovery::units::{Units, known_queues, known_types};
use crate::claims::unclaimed::Unclaimed;
use crate::jobs::job;
use crate::keys::lease_expiry::parse_lease_expiry_key;
use crate::keys::{Keyspaces, subject};
use crate::queues::message;

/// What there is of one kind of work: the rows of all claims, of the units that they touch, and of
/// those that cannot be read, in the order of their keys; of all other units where they stand.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    /// Queues or types of jobs.
    pub(crate) lines: Vec<Row>,
    /// Messages or jobs.
    pub(crate) units: Vec<Row>,
    /// How jobs ended.
    pub(crate) outcomes: Vec<Row>,
    pub(crate) leases: Vec<Row>,
    pub(crate) attempts: Vec<Row>,
    pub(crate) lease_expiry: Vec<Row>,
    pub(crate) schedules: Vec<Row>,
    /// Units of known lines that are whole and that no claim touches, by line.
    pub(crate) unclaimed: BTreeMap<u64, Unclaimed>,
    /// How many rows of units were read.
    pub(crate) units_read: u64,
}

impl Pieces {
    /// Reads those of queues; changes nothing.
    pub(crate) fn of_queues(
        snapshot: &Snapshot,
        keyspaces: &Keyspaces,
        kept: Option<Kept>,
        meter: &Meter,
    ) -> Result<Self, Failure> {
        let split = subject::first_job();
        let below = (Bound::Unbounded, Bound::Excluded(&split[..]));
        let whole = |keyspace, name| scan_all(snapshot, keyspace, name, meter);
        let part = |keyspace, name| scan_range(snapshot, keyspace, below, name, meter);
        let mut pieces = Self {
            lines: whole(keyspaces.queues, "queues")?,
            leases: part(keyspaces.leases, "leases")?,
            attempts: part(keyspaces.attempts, "attempts")?,
            lease_expiry: whole(keyspaces.lease_expiry, "lease_expiry")?,
            ..Self::default()
        };
        let units = Units {
            snapshot,
            units: (keyspaces.messages, "messages"),
            outcomes: None,
            lines: known_queues(&pieces.lines),
            place: |value| {
                let message = message::parse(value).ok()?;
                let key = LaneKey { priority: 0, fairness: message.fairness_key };
                Some((key, Due::Log(message.due_ms)))
            },
            meter,
        };
        units.read(false, kept, &mut pieces)?;
        Ok(pieces)
    }

    /// Reads those of jobs; changes nothing.
    pub(crate) fn of_jobs(
        snapshot: &Snapshot,
        keyspaces: &Keyspaces,
        kept: Option<Kept>,
        meter: &Meter,
    ) -> Result<Self, Failure> {
        let split = subject::first_job();
        let above = (Bound::Included(&split[..]), Bound::Unbounded);
        let whole = |keyspace, name| scan_all(snapshot, keyspace, name, meter);
        let part = |keyspace, name| scan_range(snapshot, keyspace, above, name, meter);
        let mut pieces = Self {
            schedules: whole(keyspaces.schedules, "schedules")?,
            lines: whole(keyspaces.job_types, "job_types")?,
            leases: part(keyspaces.leases, "leases")?,
            attempts: part(keyspaces.attempts, "attempts")?,
            lease_expiry: whole(keyspaces.lease_expiry, "lease_expiry")?,
            ..Self::default()
        };
        let units = Units {
            snapshot,
            units: (keyspaces.jobs, "jobs"),
            outcomes: Some((keyspaces.job_outcomes, "job_outcomes")),
            lines: known_types(&pieces.lines),
            place: |value| {
                let head = job::parse_head(value).ok()?;
                Some((head.lane(), head.due()))
            },
            meter,
        };
        units.read(true, kept, &mut pieces)?;
        Ok(pieces)
    }

    /// The units of this kind that rows of claims belong to.
    pub(super) fn claimed(&self, jobs: bool) -> BTreeSet<Subject> {
        let keys = self.leases.iter().chain(&self.attempts).map(|row| subject::parse(&row.key));
        let expiries = self.lease_expiry.iter().map(|row| parse_lease_expiry_key(&row.key));
        let ids = keys.flatten().chain(expiries.flatten().map(|expiry| expiry.subject));
        ids.filter(|id| id.is_job() == jobs).collect()
    }
}

/// All rows of a keyspace, a page at a time.
pub(crate) fn scan_all(
    snapshot: &Snapshot,
    keyspace: KeyspaceId,
    name: &str,
    meter: &Meter,
) -> Result<Vec<Row>, Failure> {
    scan_range(snapshot, keyspace, (Bound::Unbounded, Bound::Unbounded), name, meter)
}

/// Its rows inside a range, a page at a time.
fn scan_range(
    snapshot: &Snapshot,
    keyspace: KeyspaceId,
    (first, end): (Bound<&[u8]>, Bound<&[u8]>),
    name: &str,
    meter: &Meter,
) -> Result<Vec<Row>, Failure> {
    Cursor::new(snapshot, (keyspace, name), (first, end), meter).collect()
}

/// What stands in a row, and the value if it can be read.
pub(crate) fn read<'a, T, E>(
    row: Option<&'a Row>,
    parse: impl FnOnce(&'a [u8]) -> Result<T, E>,
) -> (Stored, Option<T>) {
    match row.map(|row| parse(&row.value)) {
        None => (Stored::Absent, None),
        Some(Ok(value)) => (Stored::Good, Some(value)),
        Some(Err(_)) => (Stored::Bad, None),
    }
}

/// A row whose key cannot be read.
#[derive(Debug)]
pub(crate) struct Unreadable {
    pub(crate) what: BadKey,
    pub(crate) keyspace: &'static str,
    pub(crate) key: Vec<u8>,
    pub(crate) found: String,
}

/// Everything there is of one unit of work.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) id: Subject,
    pub(crate) unit: Option<Row>,
    pub(crate) outcome: Option<Row>,
    pub(crate) lease: Option<Row>,
    pub(crate) attempts: Option<Row>,
    /// Deadlines in the index by time.
    pub(crate) expiries: Vec<u64>,
}

/// Joins the rows of all units, in the order of their keys.
pub(crate) struct Join {
    units: Keyed,
    outcomes: Keyed,
    leases: Keyed,
    attempts: Keyed,
    expiries: HashMap<Subject, Vec<u64>>,
    /// Ids that only the index by time knows, behind all others.
    alone: Option<IntoIter<(Subject, Vec<u64>)>>,
}

/// Rows with their parsed keys.
type Keyed = Peekable<IntoIter<(Subject, Row)>>;

impl Join {
    /// Parses the keys; those that cannot be read are set aside. `jobs`: of which kind of work the
    /// rows are; the index by time has those of the other, too, and queues tell what nobody can
    /// read there.
    pub(crate) fn new(jobs: bool, pieces: Pieces, unreadable: &mut Vec<Unreadable>) -> Self {
        let Pieces { units, outcomes, leases, attempts, lease_expiry, .. } = pieces;
        let mut keyed = |rows: Vec<Row>, keyspace: &'static str, what: BadKey| {
            let mut good = Vec::with_capacity(rows.len());
            for row in rows {
                match subject::parse(&row.key) {
                    Ok(id) if id.is_job() == jobs => good.push((id, row)),
                    parsed => unreadable.push(Unreadable {
                        what,
                        keyspace,
                        key: row.key.to_vec(),
                        found: parsed.map_or_else(
                            |malformed| malformed.found,
                            |id| format!("the key of {id}, which belongs elsewhere"),
                        ),
                    }),
                }
            }
            good.into_iter().peekable()
        };
        let (of_units, what) =
            if jobs { ("jobs", BadKey::Job) } else { ("messages", BadKey::Message) };
        let units = keyed(units, of_units, what);
        let outcomes = keyed(outcomes, "job_outcomes", BadKey::Job);
        let leases = keyed(leases, "leases", BadKey::Message);
        let attempts = keyed(attempts, "attempts", BadKey::Message);
        let mut expiries: HashMap<Subject, Vec<u64>> = HashMap::new();
        for row in lease_expiry {
            match parse_lease_expiry_key(&row.key) {
                Ok(expiry) if expiry.subject.is_job() == jobs => {
                    expiries.entry(expiry.subject).or_default().push(expiry.deadline_ms);
                }
                Err(malformed) if !jobs => unreadable.push(Unreadable {
                    what: BadKey::LeaseExpiry,
                    keyspace: "lease_expiry",
                    key: row.key.to_vec(),
                    found: malformed.found,
                }),
                Ok(_) | Err(_) => {}
            }
        }
        Self { units, outcomes, leases, attempts, expiries, alone: None }
    }
}

impl Iterator for Join {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        let heads =
            [self.units.peek(), self.outcomes.peek(), self.leases.peek(), self.attempts.peek()];
        let first = heads.into_iter().flatten().map(|(id, _)| *id).min();
        let Some(id) = first else {
            // What is left was met by no other row; sorted, so that two recoveries say the same in
            // the same order.
            let alone = self.alone.get_or_insert_with(|| {
                let mut alone: Vec<_> = self.expiries.drain().collect();
                alone.sort_unstable();
                alone.into_iter()
            });
            let (id, expiries) = alone.next()?;
            let (unit, outcome, lease, attempts) = (None, None, None, None);
            return Some(Item { id, unit, outcome, lease, attempts, expiries });
        };
        let take = |rows: &mut Keyed| rows.next_if(|(other, _)| *other == id).map(|(_, row)| row);
        Some(Item {
            id,
            unit: take(&mut self.units),
            outcome: take(&mut self.outcomes),
            lease: take(&mut self.leases),
            attempts: take(&mut self.attempts),
            expiries: self.expiries.remove(&id).unwrap_or_default(),
        })
    }
}
