//! Recovery of request identities: the table of what may be trimmed is built from the stored
//! results.
//!
//! Nothing is settled here. A row that cannot be read stays and is told; requests whose result it
//! may hold are refused as corrupt, never run.

use std::sync::Arc;

use rekindle_database::{Row as Stored, Snapshot};
use rekindle_recovery::{
    Action, ActionKind, Failure, Finding, Label, Layer, Meter, Plan, Row, Table,
};

use crate::claims::recovery::scan_all;
use crate::exec::Core;
use crate::findings::Findings;
use crate::keys::Keyspaces;
use crate::keys::producer::{ProducerKey, parse};
use crate::producers::chunk::{Chunk, Floor, parse_era};
use crate::producers::table::{Held, TableObserver};

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
    /// Told of each page of rows.
    pub(crate) meter: Meter,
}

/// A row that can be read and that the table is built from.
pub(crate) enum Known {
    /// Of this producer.
    Chunk([u8; 16], Held),
    /// Of this producer, whose newest trimmed result came then.
    Floor([u8; 16], u64),
    /// A row of this producer that cannot be read: what it has is neither trimmed nor forgotten.
    Unreadable([u8; 16]),
}

impl Layer for ProducerLayer {
    const NAME: &'static str = "producer";
    type Source = Snapshot;
    type Sink = Core;
    type Pieces = Vec<Stored>;
    type Trusted = Vec<Known>;
    type Step = ();
    type Recovered = u64;

    fn scan(&self, source: &Snapshot) -> Result<Vec<Stored>, Failure> {
        scan_all(source, self.keyspaces.producers, "producers", &self.meter)
    }

    fn validate(&self, pieces: Vec<Stored>) -> (Vec<Known>, Vec<Finding>) {
        let (mut trusted, mut findings) = (vec![], Findings::default());
        for row in pieces {
            let key = parse(&row.key);
            let (known, value) = match &key {
                Ok(ProducerKey::Chunk(producer, chunk)) => {
                    let read = Chunk::parse(&row.value, row.version).ok();
                    let bytes = row.key.len() + row.value.len();
                    let known = read.and_then(|_| Held::of(*chunk, &row.value, bytes));
                    let value = known.is_some();
                    let known = known.map(|held| Known::Chunk(*producer, held));
                    (Some(known.unwrap_or(Known::Unreadable(*producer))), value)
                }
                Ok(ProducerKey::Floor(producer)) => {
                    let floor = Floor::parse(&row.value).ok();
                    let known = floor.map(|floor| Known::Floor(*producer, floor.newest_ms));
                    (Some(known.unwrap_or(Known::Unreadable(*producer))), floor.is_some())
                }
                Ok(ProducerKey::Era) => (None, parse_era(&row.value).is_ok()),
                Err(_) => (None, false),
            };
            let decided = RESULTS.decide(&Situation { key: key.is_ok(), value });
            if decided.then == ActionKind::Ask {
                let found = format!("key {}, {} bytes", row.key.escape_ascii(), row.value.len());
                findings.tell(decided.label, "keyspace producers", EXPECTED, &found);
            }
            trusted.extend(known);
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
        for known in trusted {
            match known {
                Known::Chunk(producer, held) => sink.producers.written(producer, held),
                Known::Floor(producer, newest_ms) => sink.producers.floored(producer, newest_ms),
                Known::Unreadable(producer) => sink.producers.set_aside(producer),
            }
        }
        sink.database.observe(Arc::new(TableObserver {
            table: Arc::downgrade(&sink.producers),
            keyspace: self.keyspaces.producers,
        }));
        Ok(sink.producers.figures().results)
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
