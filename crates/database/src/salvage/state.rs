//! The state that can be read: the checkpoint, and every record behind it that is whole.
//!
//! Invariants: only committed transactions whose parts are all there are applied, with the versions
//! in their records, which only grow; what is in the way of that is passed over and said.

use std::sync::Arc;

use rekindle_engine::{Engine, KeyspaceId};
use rekindle_env::{Env, NativeFolder};
use rekindle_journal::repair::Surveyed;
use rekindle_journal::{Record, RecordKind};
use rekindle_recovery::{Failure, Place};

use super::sources::{Found, Sources, Who};
use crate::apply::Target;
use crate::codec::{CommitMark, Txns};
use crate::error::Error;
use crate::replay::Replay;

/// Most lines of what could not be read; all of it is counted.
const LINES_MAX: usize = 1_000;

/// Most bytes of old versions that a replay leaves behind it.
const HISTORY_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// A state, and what it lacks.
pub(super) struct State {
    pub(super) who: Who,
    pub(super) engine: Arc<dyn Engine>,
    /// The keyspaces that have rows, ascending.
    pub(super) keyspaces: Vec<KeyspaceId>,
    /// What the engine's files are in, where these are not the store's; goes behind the engine.
    _aside: Option<NativeFolder>,
    pub(super) checkpoint: Option<u64>,
    pub(super) replay_from: u64,
    pub(super) transactions: u64,
    pub(super) incomplete: u64,
    /// What could not be read, the first lines.
    pub(super) unreadable: Vec<String>,
    /// How much that is.
    pub(super) unreadable_total: u64,
}

/// Replays what can be read.
pub(super) fn build(sources: Sources, env: &Env) -> Result<State, Error> {
    let Sources { who, state, replay_from, journal, unreadable } = sources;
    let Found { engine: held, checkpoint, aside, .. } = state;
    let engine = held.engine();
    let mut reading = Reading {
        replay: Replay::new(engine.mark()),
        engine: &*engine,
        from: replay_from,
        total: unreadable.len() as u64,
        lines: unreadable,
        newer: false,
    };
    let told = journal.survey(&*env.disk, replay_from, &mut |told| {
        reading.take(&told);
        Ok(())
    });
    match told {
        // Segments that contradict each other: what lies behind cannot be put in order.
        Err(Failure::Refused(why)) => reading.note(why),
        other => drop(other?),
    }
    reading.replay.end(u64::MAX - 1);
    let (stats, lines, total) = (reading.replay.stats(), reading.lines, reading.total);
    Ok(State {
        who,
        checkpoint,
        replay_from,
        transactions: stats.txns_applied,
        incomplete: stats.discarded_txns,
        unreadable: lines,
        unreadable_total: total,
        engine,
        keyspaces: held.keyspaces()?,
        _aside: aside,
    })
}

struct Reading<'a> {
    replay: Replay,
    engine: &'a dyn Engine,
    from: u64,
    lines: Vec<String>,
    total: u64,
    newer: bool,
}

impl Reading<'_> {
    fn note(&mut self, line: String) {
        self.total += 1;
        if self.lines.len() < LINES_MAX {
            self.lines.push(line);
        }
    }

    fn take(&mut self, told: &Surveyed<'_>) {
        match told {
            Surveyed::Hole(hole) if hole.to_position >= self.from => {
                let (first, last) = (hole.from_position, hole.to_position);
                self.note(format!(
                    "positions {first}..={last} (log addresses {}..{}) are not there",
                    hole.from_lsn, hole.end_lsn
                ));
                self.replay.pass_hole(None);
            }
            Surveyed::Record(record, place) if record.position >= self.from && !self.newer => {
                self.record(record, place);
            }
            Surveyed::Hole(_) | Surveyed::Record(..) => {}
        }
    }

    fn record(&mut self, record: &Record<'_>, place: &Place) {
        let expected = self.replay.expected();
        if let Some(first) = first_version(record).filter(|first| *first > expected) {
            self.note(format!("versions {expected}..={} are not there", first - 1));
            self.replay.pass_hole(Some(first));
        }
        let mut target = Target { engine: self.engine, observers: &[], only: None, tracker: None };
        if let Some(finding) = self.replay.record(record, place, &mut target) {
            self.newer = finding.label.0 == "database-12";
            self.note(format!("position {}: {finding}", record.position));
        }
        if self.engine.state_bytes().1 > HISTORY_BYTES_MAX {
            self.engine.set_floor(self.engine.mark().version);
        }
    }
}

/// The version of the first transaction in a record.
fn first_version(record: &Record<'_>) -> Option<u64> {
    match record.kind {
        RecordKind::Txns => Txns::decode(record.payload).ok().map(|txns| txns.base_version),
        RecordKind::Commit => CommitMark::decode(record.payload).ok().map(|it| it.version),
        _ => None,
    }
}
