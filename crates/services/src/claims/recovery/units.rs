//! Reading units of work: all rows of them, or, where an earlier run kept its index, those alone
//! that it does not speak of.
//!
//! Invariants: of a unit that no claim touches and that is whole no row is kept; a unit is either
//! among the rows or in `unclaimed`, never in both.

use std::collections::BTreeSet;
use std::ops::Bound;

use rekindle_database::{KeyspaceId, Row, Snapshot};
use rekindle_recovery::{Failure, Meter};

use crate::claims::Subject;
use crate::claims::index::{Due, LaneKey, Runs};
use crate::claims::kept::Kept;
use crate::claims::recovery::cursor::{Cursor, one};
use crate::claims::recovery::rows::Pieces;
use crate::claims::unclaimed::Ended;
use crate::jobs::kind::JobType;
use crate::jobs::outcome::Outcome;
use crate::keys::queue as name_key;
use crate::keys::subject;
use crate::queues::definition::Definition;

/// How the units of one kind are read.
pub(super) struct Units<'a> {
    pub(super) snapshot: &'a Snapshot,
    /// Messages or jobs.
    pub(super) units: (KeyspaceId, &'a str),
    /// How jobs ended.
    pub(super) outcomes: Option<(KeyspaceId, &'a str)>,
    /// Their lines, of those whose rows can be read.
    pub(super) lines: BTreeSet<u64>,
    /// Where a unit that can be read belongs, and when.
    pub(super) place: fn(&[u8]) -> Option<(LaneKey<'_>, Due)>,
    pub(super) meter: &'a Meter,
}

/// The numbers of the queues whose rows can be read.
pub(super) fn known_queues(rows: &[Row]) -> BTreeSet<u64> {
    let parse =
        |row: &Row| Some(Definition::parse(name_key::parse(&row.key).ok()?, &row.value).ok()?.id);
    rows.iter().filter_map(parse).collect()
}

/// The numbers of the types of jobs whose rows can be read.
pub(super) fn known_types(rows: &[Row]) -> BTreeSet<u64> {
    let parse =
        |row: &Row| Some(JobType::parse(name_key::parse(&row.key).ok()?, &row.value).ok()?.id);
    rows.iter().filter_map(parse).collect()
}

impl Units<'_> {
    /// Adds the units to what was read of their claims.
    pub(super) fn read(
        &self,
        jobs: bool,
        kept: Option<Kept>,
        pieces: &mut Pieces,
    ) -> Result<(), Failure> {
        let claimed = pieces.claimed(jobs);
        match kept.filter(|kept| self.fits(kept)) {
            Some(kept) => self.read_others(kept, claimed, pieces),
            None => self.read_all(&claimed, pieces),
        }
    }

    /// Whether it speaks of lines that are there, only.
    fn fits(&self, kept: &Kept) -> bool {
        let mut lines = kept.lines.iter();
        lines.all(|(line, units)| {
            kept.cleared.contains(line) || units.is_empty() || self.lines.contains(line)
        })
    }

    /// All rows; what is whole and unclaimed is only counted in.
    fn read_all(&self, claimed: &BTreeSet<Subject>, pieces: &mut Pieces) -> Result<(), Failure> {
        let all = (Bound::Unbounded, Bound::Unbounded);
        let cursor = |keyspace| Cursor::new(self.snapshot, keyspace, all, self.meter);
        let mut units = cursor(self.units);
        let mut outcomes = self.outcomes.map(cursor);
        while let Some(unit) = units.next_row()? {
            pieces.units_read += 1;
            let mut outcome = None;
            if let Some(outcomes) = &mut outcomes {
                while outcomes.peek()?.is_some_and(|row| row.key < unit.key) {
                    pieces.outcomes.extend(outcomes.next_row()?);
                }
                if outcomes.peek()?.is_some_and(|row| row.key == unit.key) {
                    outcome = outcomes.next_row()?;
                }
            }
            let id = subject::parse(&unit.key).ok();
            let id = id.filter(|id| !claimed.contains(id) && self.lines.contains(&id.line));
            if id.and_then(|id| self.take_in(id, &unit, outcome.as_ref(), pieces)).is_none() {
                pieces.units.push(unit);
                pieces.outcomes.extend(outcome);
            }
        }
        if let Some(outcomes) = &mut outcomes {
            while let Some(outcome) = outcomes.next_row()? {
                pieces.outcomes.push(outcome);
            }
        }
        Ok(())
    }

    /// A unit without a claim; `None` when its rows cannot be read.
    fn take_in(
        &self,
        id: Subject,
        unit: &Row,
        outcome: Option<&Row>,
        pieces: &mut Pieces,
    ) -> Option<()> {
        let (key, due) = (self.place)(&unit.value)?;
        let end = match outcome {
            Some(row) => Some(Outcome::parse(&row.value).ok()?),
            None => None,
        };
        let line = pieces.unclaimed.entry(id.line).or_default();
        match end {
            Some(Outcome { status, finished_ms, .. }) => {
                line.finished.push(Ended { number: id.number, status, finished_ms });
            }
            None => line.add(id.number, key, due),
        }
        Some(())
    }

    /// The rows of those that an earlier run does not speak of, or that changed since.
    fn read_others(
        &self,
        kept: Kept,
        claimed: BTreeSet<Subject>,
        pieces: &mut Pieces,
    ) -> Result<(), Failure> {
        let Kept { lines, mut others, cleared } = kept;
        others.extend(claimed);
        pieces.units = self.fetch(self.units, &others)?;
        pieces.units_read = pieces.units.len() as u64;
        if let Some(outcomes) = self.outcomes {
            pieces.outcomes = self.fetch(outcomes, &others)?;
        }
        for (line, mut units) in lines.into_iter().filter(|(line, _)| !cleared.contains(line)) {
            let of_line = Subject { line, number: 0 }..=Subject { line, number: u64::MAX };
            let numbers: Vec<u64> = others.range(of_line).map(|id| id.number).collect();
            units.without(&numbers);
            pieces.unclaimed.insert(line, units);
        }
        Ok(())
    }

    /// The rows of these units, ascending. Neighbours are read together.
    fn fetch(
        &self,
        keyspace: (KeyspaceId, &str),
        ids: &BTreeSet<Subject>,
    ) -> Result<Vec<Row>, Failure> {
        let mut rows = Vec::new();
        let mut ids = ids.iter().copied().peekable();
        while let Some(Subject { line, number }) = ids.next() {
            let mut runs = Runs::default();
            runs.push(number);
            while let Some(next) = ids.next_if(|next| next.line == line) {
                runs.push(next.number);
            }
            for run in runs.iter() {
                let first = subject::encode(Subject { line, number: run.first });
                if run.len == 1 {
                    rows.extend(one(self.snapshot, keyspace, &first, self.meter)?);
                    continue;
                }
                let last = subject::encode(Subject { line, number: run.end() - 1 });
                let range = (Bound::Included(&first[..]), Bound::Included(&last[..]));
                let found = Cursor::new(self.snapshot, keyspace, range, self.meter);
                for row in found.expecting(run.len) {
                    rows.push(row?);
                }
            }
        }
        Ok(rows)
    }
}
