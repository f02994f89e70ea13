//! Recovery of request identities: the table of what may be trimmed is built from the stored
//! results.
//!
//! Nothing is settled here. A row that cannot be read stays and is told; requests whose result it
//! may hold are refused as corrupt, never run.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use rekindle_database::{Row as Stored, Snapshot};
use rekindle_recovery::{
    Action, ActionKind, Failure, Finding, Label, Layer, Meter, Plan, Row, Table,
};

use crate::claims::recovery::{Cursor, one};
use crate::exec::Core;
use crate::findings::Findings;
use crate::keys::Keyspaces;
use crate::keys::producer::{ProducerKey, chunk as chunk_key, era, floor, parse};
use crate::producers::chunk::{Chunk, Floor, parse_era};
use crate::producers::kept::{Kept, Remembered};
use crate::producers::table::{Held, ProducerTable, TableObserver};

/// A row: whether its key and its value can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Situation {
    key: bool,
    value: bool,
}

/// What a row means.
static RESULTS: Table<Situation, ActionKind> = Table {
    rows: &[
        Row { label: Label("producer-1"), when: |s| s.key && s.value, then: ActionKind::Keep },
        Row { label: Label("producer-2"), when: |s| !(s.key && s.value), then: ActionKind::Ask },
    ],
};

/// What a row of the keyspace must be.
const EXPECTED: &str = "a producer's key, and a floor or a chunk of results, or the era";

/// The layer of request identities.
pub(crate) struct ProducerLayer {
    pub(crate) keyspaces: Keyspaces,
    /// What an earlier run knew; the scan takes it.
    pub(crate) kept: Cell<Option<Kept>>,
    /// Told of each page of rows.
    pub(crate) meter: Meter,
}

/// What the keyspace holds: there may be millions of results, so of a row that can be read only
/// what the table needs is kept.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    known: Vec<Known>,
    /// All other rows.
    rows: Vec<Stored>,
}

/// A row that can be read and that the table is built from.
#[derive(Debug)]
pub(crate) enum Known {
    /// Of this producer.
    Chunk([u8; 16], Held),
    /// Of this producer, whose newest trimmed result came then.
    Floor([u8; 16], u64),
    /// A row of this producer that cannot be read: what it has is neither trimmed nor forgotten.
    Unreadable([u8; 16]),
}

impl Pieces {
    fn take(&mut self, row: Stored) {
        match known(&row) {
            Some(known) => self.known.push(known),
            None => self.rows.push(row),
        }
    }
}

impl Layer for ProducerLayer {
    const NAME: &'static str = "producer";
    type Source = Snapshot;
    type Sink = Core;
    type Pieces = Pieces;
    type Trusted = Vec<Known>;
    type Step = ();
    type Recovered = u64;

    fn scan(&self, source: &Snapshot) -> Result<Pieces, Failure> {
        let mut pieces = Pieces::default();
        match self.kept.take() {
            Some(kept) => self.take_up(source, kept, &mut pieces)?,
            None => self.read(source, (Bound::Unbounded, Bound::Unbounded), &mut pieces)?,
        }
        Ok(pieces)
    }

    fn validate(&self, pieces: Pieces) -> (Vec<Known>, Vec<Finding>) {
        let (mut trusted, mut findings) = (pieces.known, Findings::default());
        for row in pieces.rows {
            let key = parse(&row.key);
            let value = match &key {
                Ok(ProducerKey::Era) => parse_era(&row.value).is_ok(),
                Ok(ProducerKey::Chunk(producer, _) | ProducerKey::Floor(producer)) => {
                    trusted.push(Known::Unreadable(*producer));
                    false
                }
                Err(_) => false,
            };
            let decided = RESULTS.decide(&Situation { key: key.is_ok(), value });
            if decided.then == ActionKind::Ask {
                let found = format!("key {}, {} bytes", row.key.escape_ascii(), row.value.len());
                findings.tell(decided.label, "keyspace producers", EXPECTED, &found);
            }
        }
        (trusted, findings.finish())
    }

    fn plan(&self, _: &Vec<Known>, findings: &[Finding]) -> Plan<()> {
        let ask = |finding: &Finding| Action {
            kind: ActionKind::Ask,
            label: finding.label,
            target: finding.place.file.clone(),
            detail: "left as it is; its requests are refused, never run".to_owned(),
        };
        Plan { steps: vec![], actions: findings.iter().map(ask).collect() }
    }

    fn act(&self, trusted: Vec<Known>, _: Vec<()>, sink: &Core) -> Result<u64, Failure> {
        trusted.iter().for_each(|known| known.enter(&sink.producers));
        sink.database.observe(Arc::new(TableObserver {
            table: Arc::downgrade(&sink.producers),
            keyspace: self.keyspaces.producers,
        }));
        Ok(sink.producers.figures().results)
    }
}

impl ProducerLayer {
    /// Reads the rows of a range.
    fn read(
        &self,
        source: &Snapshot,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        pieces: &mut Pieces,
    ) -> Result<(), Failure> {
        let keyspace = (self.keyspaces.producers, "producers");
        for row in Cursor::new(source, keyspace, range, &self.meter) {
            pieces.take(row?);
        }
        Ok(())
    }

    /// Goes on with what an earlier run knew: reads the rows that changed since, that of the era,
    /// and those of producers with one that cannot be read.
    fn take_up(&self, source: &Snapshot, kept: Kept, pieces: &mut Pieces) -> Result<(), Failure> {
        let Kept { producers, mut changed } = kept;
        let mut unreadable = BTreeSet::new();
        let mut chunks_changed: BTreeMap<[u8; 16], BTreeSet<u64>> = BTreeMap::new();
        for key in &changed {
            if let Ok(ProducerKey::Chunk(id, chunk)) = parse(key) {
                chunks_changed.entry(id).or_default().insert(chunk);
            }
        }
        for Remembered { id, newest_ms, unreadable: is_unreadable, chunks } in producers {
            if is_unreadable {
                unreadable.insert(id);
                continue;
            }
            // What its chunks do not say stands in the row of its floor.
            let of_chunks = chunks.iter().map(|held| held.newest_ms).max().unwrap_or(0);
            if newest_ms > of_chunks && !changed.contains(&floor(&id)[..]) {
                pieces.known.push(Known::Floor(id, newest_ms));
            }
            let changed = chunks_changed.get(&id);
            let is_changed = |held: &Held| changed.is_some_and(|it| it.contains(&held.chunk));
            let whole = chunks.into_iter().filter(|held| !is_changed(held));
            pieces.known.extend(whole.map(|held| Known::Chunk(id, held)));
        }
        changed.insert(Box::from(era()));
        let of_unreadable = |key: &[u8]| match parse(key) {
            Ok(ProducerKey::Chunk(id, _) | ProducerKey::Floor(id)) => unreadable.contains(&id),
            Ok(ProducerKey::Era) | Err(_) => false,
        };
        for key in changed.iter().filter(|key| !of_unreadable(key)) {
            // Thousands may have changed behind the files.
            let keyspace = (self.keyspaces.producers, "producers");
            one(source, keyspace, key, &self.meter)?.into_iter().for_each(|row| pieces.take(row));
        }
        for id in &unreadable {
            let (first, last) = (floor(id), chunk_key(id, u64::MAX));
            self.read(source, (Bound::Included(&first), Bound::Included(&last)), pieces)?;
        }
        Ok(())
    }
}

/// The table that these make, in one form: for comparing what was kept with what the rows say.
#[cfg(debug_assertions)]
pub(crate) fn sum(known: &[Known]) -> Vec<u8> {
    let table = ProducerTable::new(u64::MAX);
    for known in known {
        known.enter(&table);
    }
    let mut bytes = Vec::new();
    table.write(&mut bytes);
    bytes
}

impl Known {
    fn enter(&self, table: &ProducerTable) {
        match *self {
            Self::Chunk(producer, held) => table.written(producer, held),
            Self::Floor(producer, newest_ms) => table.floored(producer, newest_ms),
            Self::Unreadable(producer) => table.set_aside(producer),
        }
    }
}

/// What the table needs of a row; `None` where it cannot be read, or is of no producer.
fn known(row: &Stored) -> Option<Known> {
    match parse(&row.key).ok()? {
        ProducerKey::Chunk(producer, chunk) => {
            Chunk::parse(&row.value, row.version).ok()?;
            let held = Held::of(chunk, &row.value, row.key.len() + row.value.len())?;
            Some(Known::Chunk(producer, held))
        }
        ProducerKey::Floor(producer) => {
            let floor = Floor::parse(&row.value).ok()?;
            Some(Known::Floor(producer, floor.newest_ms))
        }
        ProducerKey::Era => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every combination of conditions matches exactly one row.
    #[test]
    fn each_situation_has_one_row() {
        let all = [false, true]
            .into_iter()
            .flat_map(|key| [false, true].into_iter().map(move |value| Situation { key, value }));
        assert!(RESULTS.check(all).is_empty());
    }
}
