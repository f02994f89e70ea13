//! The layer `database`: replays the journal into the engine, and judges what it holds.
//!
//! Scan streams: records become state in memory while they are read, because a journal may be
//! larger than memory. So classification (classify.rs) happens in scan, record by record, and
//! validate and plan see its findings. Nothing on disk changes; a refusal throws the memory away.

use std::io;
use std::ops::RangeInclusive;

use rekindle_engine::recovery::Usable;
use rekindle_engine::{Engine, Operation, checkpoint};
use rekindle_env::{Clock, ReadDisk};
use rekindle_journal::{Record, RecordKind, Records, Replayed as Told};
use rekindle_recovery::{
    Acked, Action, ActionKind, Failure, Finding, Label, Layer, Meter, Place, Plan, Verdict,
};

use crate::apply::Target;
use crate::classify::WALL_BEHIND;
use crate::codec::{CommitMark, Txns};
use crate::derived::Tracker;
use crate::engines::Held;
use crate::explain::refusal;
use crate::recovery::SHARD_DIR;
use crate::replay::{NOTES_MAX, Replay, Until, unreadable};
use crate::stats::ReplayStats;

/// Most bytes of old versions that a replay leaves behind it.
const HISTORY_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// The meter is told once for so many records: a frame of a lone writer holds a single one.
const METERED_RECORDS: u64 = 256;

/// Which operations count.
pub(crate) type Only<'a> = &'a dyn Fn(&Operation<'_>) -> bool;

/// The layer that turns a journal into state.
pub(crate) struct DatabaseLayer<'a> {
    /// The validated journal, or what a repair will make of a damaged one.
    pub(crate) journal: &'a dyn Records,
    /// Where its transactions go; stands at the checkpoint.
    pub(crate) engine: &'a dyn Engine,
    /// The checkpoints beneath it.
    pub(crate) beneath: Beneath,
    /// The first position that is needed.
    pub(crate) replay_from: u64,
    /// For the time that replay takes, and the wall clock at start.
    pub(crate) clock: &'a dyn Clock,
    /// Where to stop, for a look at the past.
    pub(crate) until: Until,
    /// Which operations count, for a look at a part of it.
    pub(crate) only: Option<Only<'a>>,
    /// Notes what changes.
    pub(crate) tracker: Option<&'a Tracker>,
    /// Told of each frame.
    pub(crate) meter: &'a Meter,
}

/// What is known of the checkpoints beneath a replay.
#[derive(Clone, Debug, Default)]
pub(crate) struct Beneath {
    /// The file that the engine was loaded from; empty where there is none.
    pub(crate) loaded: String,
    /// The one that stands furthest, named or not, as far as which the journal must reach: its
    /// position and its file. None for a backup: its segments begin where the checkpoint ends.
    pub(crate) furthest: Option<(u64, String)>,
}

impl Beneath {
    /// What the engine's layer saw beneath this engine. After a crash in the middle of a checkpoint
    /// files of an engine stand further than any checkpoint says.
    pub(crate) fn of(seen: &rekindle_engine::recovery::Trusted, held: &Held) -> Self {
        let file = |usable: &Usable| {
            format!("{SHARD_DIR}/{}/{}", checkpoint::DIRECTORY, checkpoint::file_name(usable.id))
        };
        let both = seen.chosen().into_iter().chain(seen.unnamed());
        let furthest = both.max_by_key(|usable| usable.mark.position);
        let furthest = furthest.map(|usable| (usable.mark.position, file(usable)));
        let at = held.engine().mark().position;
        let files = held.kind().files().map(|kind| (at, format!("{SHARD_DIR}/{}", kind.folder())));
        let furthest = files.into_iter().chain(furthest).max_by_key(|(position, _)| *position);
        Self { loaded: seen.chosen().map(file).unwrap_or_default(), furthest }
    }
}

/// What replay saw.
pub(crate) struct Seen {
    replay: Replay,
    refused: Option<Finding>,
    nanos: u64,
}

/// What replay left.
pub(crate) struct Replayed {
    /// Goes on with live records.
    pub(crate) replay: Replay,
    /// What it did.
    pub(crate) stats: ReplayStats,
    /// How long it took.
    pub(crate) nanos: u64,
}

/// Ends a replay early: refused, or far enough.
const ENOUGH: &str = "enough was replayed";

impl Layer for DatabaseLayer<'_> {
    const NAME: &'static str = "database";
    type Source = dyn ReadDisk;
    type Sink = ();
    type Pieces = Seen;
    type Trusted = Seen;
    type Step = ();
    type Recovered = Replayed;

    fn scan(&self, disk: &dyn ReadDisk) -> Result<Seen, Failure> {
        let from = self.replay_from;
        let mark = self.engine.mark();
        tracing::info!("Replaying WAL from position {from}, on top of version {}", mark.version);
        let started = self.clock.boot_ns();
        let mut replay = Replay::new(mark).until(self.until);
        if let Some((position, file)) = &self.beneath.furthest {
            replay = replay.beneath(*position, file);
        }
        let mut seen = Seen { replay, refused: None, nanos: 0 };
        let Self { engine, only, tracker, .. } = *self;
        let mut target = Target { engine, observers: &[], only, tracker };
        let mut expected = from;
        let mut records = 0;
        let told = self.journal.replay(disk, from, &mut |told, place| {
            let record = match told {
                Told::Record(record) => record,
                Told::Frame(frame) => {
                    records += u64::from(frame.records);
                    if records >= METERED_RECORDS {
                        self.meter.advance(0, std::mem::take(&mut records));
                    }
                    return Ok(());
                }
                Told::Segment(_) => return Ok(()),
            };
            seen.refused = seen.replay.gap(expected, record, place);
            if seen.refused.is_none() && seen.replay.is_enough(record) {
                return Err(Failure::Config(ENOUGH.to_owned()));
            }
            if seen.refused.is_none() {
                seen.refused = seen.replay.record(record, place, &mut target);
            }
            if seen.refused.is_some() {
                return Err(Failure::Config(ENOUGH.to_owned()));
            }
            expected = seen.replay.position_after(record);
            self.forget();
            Ok(())
        });
        self.meter.advance(0, records);
        let last = self.journal.last_position();
        match told {
            Ok(()) => seen.refused = seen.replay.short(expected, last),
            Err(Failure::Config(text)) if text == ENOUGH => {}
            // A record that contradicts its frame: the report names it like any other damage.
            Err(Failure::Refused(found)) => {
                let label = Label("database-9");
                let place = Place::default();
                seen.refused = Some(refusal(label, &place, "records as their frame says", &found));
            }
            Err(other) => return Err(other),
        }
        if seen.refused.is_none() {
            seen.refused = seen.replay.end(last);
        }
        if seen.refused.is_none() {
            seen.refused = self.registry(disk, &seen.replay, mark.version)?;
        }
        let (engine, replay) = (self.engine.mark(), seen.replay.mark());
        let agree = engine == replay || seen.refused.is_some();
        assert!(agree, "what was replayed is what the engine holds");
        assert!(engine.version >= mark.version, "a replay takes nothing away");
        seen.nanos = self.clock.boot_ns().saturating_sub(started);
        Ok(seen)
    }

    fn validate(&self, mut pieces: Seen) -> (Seen, Vec<Finding>) {
        let mut findings: Vec<Finding> = pieces.refused.clone().into_iter().collect();
        findings.extend(pieces.replay.take_notes());
        findings.extend(self.wall_behind(pieces.replay.mark().log_time_ms));
        (pieces, findings)
    }

    fn plan(&self, trusted: &Seen, findings: &[Finding]) -> Plan<()> {
        let stats = trusted.replay.stats();
        let mut actions: Vec<Action> = findings.iter().map(action).collect();
        if trusted.refused.is_none() && stats.txns_applied > 0 {
            actions.push(Action {
                kind: ActionKind::Replay,
                label: rekindle_recovery::Label("database-1"),
                target: format!("{} transactions", stats.txns_applied),
                detail: format!("up to version {}", stats.final_version),
            });
        }
        Plan { steps: vec![], actions }
    }

    fn act(&self, trusted: Seen, _: Vec<()>, _: &()) -> Result<Replayed, Failure> {
        let Seen { replay, refused, nanos } = trusted;
        assert!(refused.is_none(), "a replay that was refused is thrown away");
        let stats = replay.stats();
        tracing::info!("Recovery complete: {stats}");
        Ok(Replayed { replay, stats, nanos })
    }
}

impl DatabaseLayer<'_> {
    /// Judges the names of keyspaces; `loaded` is the version of the checkpoint.
    fn registry(
        &self,
        disk: &dyn ReadDisk,
        replay: &Replay,
        loaded: u64,
    ) -> Result<Option<Finding>, Failure> {
        let bad = unreadable(self.engine);
        let bad = bad.map_err(|error| Failure::io("reading names", io::Error::other(error)))?;
        let place = match &bad {
            None => Place::default(),
            Some(bad) if bad.version <= loaded => {
                Place { file: self.beneath.loaded.clone(), ..Place::default() }
            }
            Some(bad) => self.place_of(disk, bad.version)?,
        };
        Ok(replay.registry(bad.as_ref().map(|bad| (bad, &place))))
    }

    /// Where the record stands that committed this version. Read again: nobody keeps places.
    fn place_of(&self, disk: &dyn ReadDisk, version: u64) -> Result<Place, Failure> {
        let mut found = Place::default();
        let told = self.journal.replay(disk, self.replay_from, &mut |told, place| {
            let Told::Record(record) = told else { return Ok(()) };
            let holds = versions(record).is_some_and(|versions| versions.contains(&version));
            if holds {
                found = place.clone();
                return Err(Failure::Config(ENOUGH.to_owned()));
            }
            Ok(())
        });
        match told {
            Err(Failure::Config(text)) if text == ENOUGH => Ok(found),
            other => other.map(|()| found),
        }
    }

    /// Keeps the memory of old versions bounded while replaying.
    fn forget(&self) {
        if self.engine.state_bytes().1 > HISTORY_BYTES_MAX {
            self.engine.set_floor(self.engine.mark().version);
        }
    }

    /// A wall clock behind log time is told: log time goes on from where it was.
    fn wall_behind(&self, log_time_ms: u64) -> Option<Finding> {
        let wall_ms = self.clock.wall_ms();
        (wall_ms < log_time_ms).then(|| {
            let behind_ms = log_time_ms - wall_ms;
            tracing::warn!(behind_ms, "the wall clock is behind log time, which goes on evenly");
            Finding {
                label: WALL_BEHIND,
                place: Place::default(),
                verdict: None,
                acked: Acked::No,
                expected: format!("a wall clock at or behind log time {log_time_ms} ms"),
                found: format!("{wall_ms} ms, {behind_ms} ms before it"),
            }
        })
    }
}

/// The versions that a record commits.
pub(crate) fn versions(record: &Record<'_>) -> Option<RangeInclusive<u64>> {
    match record.kind {
        RecordKind::Txns => {
            let txns = Txns::decode(record.payload).ok()?;
            Some(txns.base_version..=txns.last_version())
        }
        RecordKind::Commit => {
            let commit = CommitMark::decode(record.payload).ok()?;
            Some(commit.version..=commit.version)
        }
        _ => None,
    }
}

/// What follows from a finding, as it is reported.
fn action(finding: &Finding) -> Action {
    let (kind, detail) = match (finding.verdict, finding.label.0) {
        (_, "database-20") => (ActionKind::Refuse, "a keyspace cannot be told from another one"),
        (_, "database-21") => {
            (ActionKind::Refuse, "the journal lost its end, or it is an older copy")
        }
        (Some(Verdict::Corrupt), _) => (ActionKind::Refuse, "the journal contradicts itself"),
        (_, "database-12") => (ActionKind::Refuse, "a newer program wrote this; use that one"),
        (_, "database-6") => (ActionKind::Keep, "ignored: the part count will prove the whole"),
        (_, "database-11") => (ActionKind::Keep, "an operator accepted it"),
        (_, "database-18") => (ActionKind::Keep, "log time goes on from where it was"),
        _ => (ActionKind::Cut, "discarded whole: it was never acknowledged"),
    };
    let detail = match kind {
        ActionKind::Refuse => {
            format!("{detail}: expected {}, found {}", finding.expected, finding.found)
        }
        _ => detail.to_owned(),
    };
    Action { kind, label: finding.label, target: finding.found.clone(), detail }
}

const _: () = assert!(NOTES_MAX > 1_000, "a report lists a thousand discarded transactions");
