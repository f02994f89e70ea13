//! The end of a replay: what is open, how far the journal must have come, the names of keyspaces.
//!
//! Invariants: a journal that ends before a checkpoint is refused, since positions would be given
//! out twice; a row of the registry that cannot be read is never passed over, since its number
//! would become another keyspace's.

use std::collections::BTreeMap;
use std::ops::Bound;

use rekindle_engine::{Engine, EngineError, Row};
use rekindle_recovery::{Finding, Label, Place};

use super::Replay;
use crate::classify::{Conditions, Decision, Piece, TABLE};
use crate::explain::refusal;
use crate::keyspaces::{REGISTRY, number};
use crate::options::KEYSPACE_NAME_BYTES_MAX;

/// A row of the registry that says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable {
    /// The transaction that wrote it.
    pub(crate) version: u64,
    expected: String,
    found: String,
}

/// The first row of the registry that is not a name and a number of its own.
pub(crate) fn unreadable(engine: &dyn Engine) -> Result<Option<Unreadable>, EngineError> {
    let (at, all) = (engine.mark().version, (Bound::Unbounded, Bound::Unbounded));
    let rows = engine.scan(REGISTRY, all, at, usize::MAX, false)?;
    let mut taken = BTreeMap::new();
    for row in &rows {
        if let Err((expected, found)) = judge(row, &mut taken) {
            return Ok(Some(Unreadable { version: row.version, expected, found }));
        }
    }
    assert_eq!(taken.len(), rows.len(), "each name has a number that no other one has");
    Ok(None)
}

fn judge<'a>(row: &'a Row, taken: &mut BTreeMap<u16, &'a [u8]>) -> Result<(), (String, String)> {
    let len = row.key.len();
    if std::str::from_utf8(&row.key).is_err() || !(1..=KEYSPACE_NAME_BYTES_MAX).contains(&len) {
        let expected = format!("a keyspace's name of 1 to {KEYSPACE_NAME_BYTES_MAX} bytes of text");
        return Err((expected, format!("{len} other bytes")));
    }
    let name = row.key.escape_ascii();
    let Some(number) = number(&row.value) else {
        let expected = format!("a number from 1 in 2 bytes for keyspace \"{name}\"");
        let shown = row.value.get(..row.value.len().min(8)).unwrap_or_default();
        let found = format!("{} bytes, {shown:02x?}", row.value.len());
        return Err((expected, found));
    };
    match taken.insert(number, &row.key) {
        None => Ok(()),
        Some(other) => {
            let expected = format!("a number of its own for keyspace \"{name}\"");
            Err((expected, format!("{number}, which is that of \"{}\"", other.escape_ascii())))
        }
    }
}

impl Replay {
    /// A checkpoint of this file stands at that position: the journal must reach as far.
    pub(crate) fn beneath(mut self, position: u64, file: &str) -> Self {
        assert!(position >= self.mark.position, "none stands further than the furthest");
        self.checkpoint = (position, Place { file: file.to_owned(), ..Place::default() });
        self
    }

    /// The journal ends at position `last`: what is still open was never committed. Answers why the
    /// end is refused.
    pub(crate) fn end(&mut self, last: u64) -> Option<Finding> {
        let (stands_for, place) = self.losses.stands_for();
        let (open, reached) = (!self.open.is_empty(), stands_for <= last);
        let held = self.checkpoint.0 <= last;
        let row = TABLE.decide(&Conditions { open, reached, held, ..self.blank(Piece::End) });
        match row.then {
            Decision::Discard => self.discard_open(row.label),
            Decision::Refuse if !reached => {
                let expected = format!("positions up to {stands_for}, for which a loss stands");
                let found = format!("the journal's end at position {last}");
                return Some(refusal(row.label, &place, &expected, &found));
            }
            Decision::Refuse => {
                let (position, place) = &self.checkpoint;
                let expected = format!("a journal up to position {position}, as this checkpoint");
                let found = format!("the journal's end at position {last}");
                return Some(refusal(row.label, place, &expected, &found));
            }
            _ => {}
        }
        None
    }

    fn discard_open(&mut self, label: Label) {
        let open = std::mem::take(&mut self.open);
        self.open_bytes = 0;
        for (id, open) in open {
            tracing::warn!("Discarding incomplete transaction: {id}");
            let found = format!(
                "the end of the journal; transaction {id} began at position {} and has {} parts",
                open.position,
                open.parts.len()
            );
            self.note(label, &open.place, "a commit or an abort", &found);
            self.stats.incomplete_txns += 1;
            self.stats.discarded_txns += 1;
        }
        let discarded = self.stats.incomplete_txns;
        let stats = &self.stats;
        assert_eq!(stats.discarded_txns, stats.incomplete_txns + stats.aborted_txns);
        tracing::warn!("Discarded {discarded} incomplete transactions during recovery");
    }

    /// Judges the registry as all records left it; `place` is where its unreadable row stands.
    pub(crate) fn registry(&self, bad: Option<(&Unreadable, &Place)>) -> Option<Finding> {
        let decoded = bad.is_none();
        let row = TABLE.decide(&Conditions { decoded, ..self.blank(Piece::Registry) });
        let (bad, place) = bad.filter(|_| row.then == Decision::Refuse)?;
        Some(refusal(row.label, place, &bad.expected, &bad.found))
    }
}
