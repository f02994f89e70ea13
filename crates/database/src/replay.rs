//! Replay: records become transactions, and transactions become state.
//!
//! Recovery and the running database feed their records through the same [`Replay`]. It streams: a
//! record's transactions are applied from its own bytes, and only the parts of streamed
//! transactions that are still open are kept, at most [`OPEN_BYTES_MAX`] of them. Invariants: only
//! committed transactions reach the engine, in commit order, with the versions in the records,
//! which are dense but for an accepted loss; a refused record has changed nothing.

mod end;
mod loss;

use std::collections::BTreeMap;

use rekindle_engine::{Mark, Operation};
use rekindle_journal::codec::record::TxnsPrefix;
use rekindle_journal::{Record, RecordKind};
use rekindle_recovery::{Acked, Finding, Label, Place};

use crate::apply::{Target, apply_transaction};
use crate::classify::{Conditions, Decision, FEATURE_LEVEL, Fit, Piece, TABLE};
use crate::codec::{self, CommitMark, DecodeError, Loss, Operations, Part, Txns};
use crate::explain::{piece, refusal};
use crate::losses::{AcceptedLoss, Losses};
use crate::stats::ReplayStats;

pub(crate) use end::unreadable;

/// Most bytes of streamed transactions that are open at once; more is refused (`database-13`).
pub const OPEN_BYTES_MAX: usize = 256 * 1024 * 1024;

/// What an open transaction costs beside its parts.
const OPEN_OVERHEAD_BYTES: usize = 256;

/// Most discarded transactions and entries that a report lists one by one; all are counted.
pub const NOTES_MAX: usize = 10_000;

/// What a record says.
pub(crate) enum Decoded<'a> {
    Txns(Txns<'a>),
    Begin(u64),
    Part(Part<'a>),
    Commit(CommitMark),
    Abort(u64),
    Loss(Loss<'a>),
    Feature(u32),
    Other,
}

impl<'a> Decoded<'a> {
    fn of(record: &Record<'a>) -> Result<Self, DecodeError> {
        Ok(match record.kind {
            RecordKind::Txns => Self::Txns(Txns::decode(record.payload)?),
            RecordKind::Begin => Self::Begin(codec::decode_txn_id(record.payload)?),
            RecordKind::Part => Self::Part(Part::decode(record.payload)?),
            RecordKind::Commit => Self::Commit(CommitMark::decode(record.payload)?),
            RecordKind::Abort => Self::Abort(codec::decode_txn_id(record.payload)?),
            RecordKind::Loss => Self::Loss(Loss::decode(record.payload)?),
            RecordKind::Feature => Self::Feature(codec::decode_feature(record.payload)?),
            RecordKind::Noop | RecordKind::Membership | RecordKind::Barrier => Self::Other,
        })
    }
}

/// Where a replay stops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Until {
    /// At the end of the journal.
    #[default]
    End,
    /// Behind this version.
    Version(u64),
    /// Behind this position.
    Position(u64),
    /// Behind the last transaction whose log time is at or before this one.
    LogTime(u64),
}

/// The log time of what a record commits.
fn log_time_ms(record: &Record<'_>) -> Option<u64> {
    match record.kind {
        RecordKind::Txns => TxnsPrefix::decode(record.payload).map(|(txns, _)| txns.log_time_ms),
        RecordKind::Commit => CommitMark::decode(record.payload).ok().map(|it| it.log_time_ms),
        _ => None,
    }
}

/// A streamed transaction that has not ended.
#[derive(Debug)]
pub(crate) struct Open {
    position: u64,
    place: Place,
    pub(crate) parts: Vec<Vec<u8>>,
    bytes: usize,
}

impl Open {
    /// What its parts change.
    fn operations(&self) -> impl Iterator<Item = Operations<'_>> + Clone {
        let decode =
            |part| Part::decode(part).map_or(Operations::none(), |part: Part<'_>| part.operations);
        self.parts.iter().map(move |part| decode(part.as_slice()))
    }
}

/// The state of a replay between two records.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    /// The version that the checkpoint holds.
    applied: u64,
    /// What is wanted.
    until: Until,
    /// The last version that the journal had; `None` before the first.
    last: Option<u64>,
    mark: Mark,
    pub(crate) open: BTreeMap<u64, Open>,
    pub(crate) open_bytes: usize,
    after_loss: bool,
    /// The furthest checkpoint: the journal holds every position up to its own.
    checkpoint: (u64, Place),
    losses: Losses,
    stats: ReplayStats,
    notes: Vec<Finding>,
}

impl Replay {
    /// A replay into an engine that stands at `mark`.
    pub(crate) fn new(mark: Mark) -> Self {
        let stats = ReplayStats { final_version: mark.version, ..ReplayStats::default() };
        Self { applied: mark.version, mark, stats, ..Self::default() }
    }

    /// Applies nothing behind `until`.
    pub(crate) fn until(mut self, until: Until) -> Self {
        self.until = until;
        self
    }

    /// Whether the journal has nothing more that is wanted, from this record on.
    pub(crate) fn is_enough(&self, record: &Record<'_>) -> bool {
        match self.until {
            Until::End => false,
            Until::Version(until) => self.last.unwrap_or(self.applied) >= until,
            Until::Position(until) => record.position > until,
            // Log time never goes back: all that follows is later too.
            Until::LogTime(until) => log_time_ms(record).is_some_and(|time_ms| time_ms > until),
        }
    }

    /// The accepted losses that it met, in order.
    pub(crate) fn losses(&self) -> &[AcceptedLoss] {
        self.losses.list()
    }

    /// What it did so far.
    pub(crate) fn stats(&self) -> ReplayStats {
        self.stats
    }

    /// Where it stands.
    pub(crate) fn mark(&self) -> Mark {
        self.mark
    }

    /// What is to be told besides; taken out.
    pub(crate) fn take_notes(&mut self) -> Vec<Finding> {
        std::mem::take(&mut self.notes)
    }

    /// The first position that a replay to the same state needs: the oldest open Begin.
    pub(crate) fn replay_from(&self) -> u64 {
        let oldest = self.open.values().map(|open| open.position).min();
        oldest.unwrap_or(self.mark.position + 1)
    }

    /// Refuses a record that is not the one that must come next.
    pub(crate) fn gap(&self, expected: u64, record: &Record<'_>, place: &Place) -> Option<Finding> {
        let position = record.position;
        (position != expected).then(|| {
            let (wanted, found) = (format!("position {expected}"), format!("position {position}"));
            refusal(Label("database-10"), place, &wanted, &found)
        })
    }

    /// Refuses an end in front of the last record that the journal was seen to hold: the disk gave
    /// other bytes than when they were judged.
    pub(crate) fn short(&self, expected: u64, last: u64) -> Option<Finding> {
        (expected <= last).then(|| {
            let (wanted, found) =
                (format!("position {expected}"), "nothing, where it was read before".to_owned());
            refusal(Label("database-10"), &Place::default(), &wanted, &found)
        })
    }

    /// The position that must follow a record that was just taken.
    pub(crate) fn position_after(&self, record: &Record<'_>) -> u64 {
        self.losses.resume_behind(record.position).unwrap_or(record.position + 1)
    }

    /// Takes one record; answers why it is refused.
    pub(crate) fn record(
        &mut self,
        record: &Record<'_>,
        place: &Place,
        target: &mut Target<'_>,
    ) -> Option<Finding> {
        let decoded = match Decoded::of(record) {
            Ok(decoded) => decoded,
            Err(error) => {
                let conditions = Conditions { decoded: false, ..self.blank(piece(record.kind)) };
                let label = TABLE.decide(&conditions).label;
                let expected = format!("a payload of kind {:?}", record.kind);
                return Some(refusal(label, place, &expected, &error.to_string()));
            }
        };
        let mut conditions = self.conditions(&decoded);
        let versioned = matches!(decoded, Decoded::Txns(_) | Decoded::Commit(_));
        if versioned && conditions.fit == Fit::Next && record.position < self.mark.position {
            // The checkpoint says that it holds this record, and does not hold its versions.
            conditions.fit = Fit::Gap;
        }
        let row = TABLE.decide(&conditions);
        match row.then {
            Decision::Apply => self.apply(record, &decoded, target),
            Decision::Skip => self.skip(&decoded, target),
            Decision::Keep => self.keep(record, &decoded, place),
            Decision::Discard => self.abort(&decoded, row.label),
            Decision::Orphan => self.orphan(record, &decoded, place, row.label),
            Decision::Ignore => self.begin_again(record, &decoded, place, row.label),
            Decision::Jump => self.jump(record, &decoded, place, row.label),
            Decision::Lost => self.lost(record, &decoded, place, row.label),
            Decision::Nothing => {}
            Decision::Refuse => {
                let (expected, found) = self.explain(record, &decoded);
                return Some(refusal(row.label, place, &expected, &found));
            }
            Decision::Newer => {
                let (expected, found) = self.explain(record, &decoded);
                let newer = refusal(row.label, place, &expected, &found);
                return Some(Finding { verdict: None, acked: Acked::No, ..newer });
            }
        }
        self.advance(record, target);
        None
    }

    /// Conditions in which nothing is wrong.
    fn blank(&self, piece: Piece) -> Conditions {
        Conditions {
            piece,
            decoded: true,
            open: false,
            whole: false,
            fit: Fit::Next,
            after_loss: self.after_loss,
            known: true,
            room: true,
            reached: true,
            held: true,
        }
    }

    fn conditions(&self, decoded: &Decoded<'_>) -> Conditions {
        let open = |id: &u64| self.open.contains_key(id);
        let room = self.open_bytes < OPEN_BYTES_MAX;
        match decoded {
            Decoded::Txns(txns) => {
                let fit = self.fit(txns.base_version, txns.last_version());
                Conditions { fit, ..self.blank(Piece::Txns) }
            }
            Decoded::Begin(id) => Conditions { open: open(id), room, ..self.blank(Piece::Begin) },
            Decoded::Part(part) => {
                Conditions { open: open(&part.txn_id), room, ..self.blank(Piece::Part) }
            }
            Decoded::Commit(commit) => Conditions {
                open: open(&commit.txn_id),
                whole: self.is_whole(commit),
                fit: self.fit(commit.version, commit.version),
                ..self.blank(Piece::Commit)
            },
            Decoded::Abort(id) => Conditions { open: open(id), ..self.blank(Piece::Abort) },
            Decoded::Loss(loss) => {
                // In front of the first version that the journal has nothing is known to be before.
                let taken = self.last.is_some_and(|last| loss.next_version <= last);
                let fit = if taken { Fit::Gap } else { Fit::Next };
                Conditions { fit, ..self.blank(Piece::Loss) }
            }
            Decoded::Feature(level) => {
                Conditions { known: *level <= FEATURE_LEVEL, ..self.blank(Piece::Feature) }
            }
            Decoded::Other => self.blank(Piece::Other),
        }
    }

    /// The version that must come next; before the first record the highest that may.
    pub(crate) fn expected(&self) -> u64 {
        self.last.unwrap_or(self.applied) + 1
    }

    pub(crate) fn fit(&self, first: u64, last: u64) -> Fit {
        let follows = match self.last {
            Some(_) => first == self.expected(),
            // Replay may start before the checkpoint, but never behind it.
            None => first <= self.expected(),
        };
        match follows {
            false => Fit::Gap,
            true if last <= self.applied => Fit::Applied,
            true => Fit::Next,
        }
    }

    fn is_whole(&self, commit: &CommitMark) -> bool {
        let parts = self.open.get(&commit.txn_id).map(|open| u32::try_from(open.parts.len()));
        parts == Some(Ok(commit.parts))
    }

    fn apply(&mut self, record: &Record<'_>, decoded: &Decoded<'_>, target: &mut Target<'_>) {
        match decoded {
            Decoded::Txns(txns) => {
                for (version, entry) in txns.entries() {
                    let changes = entry.operations.changes();
                    let stamp = (version, txns.log_time_ms);
                    self.commit(record, stamp, changes, entry.operations, target);
                }
            }
            Decoded::Commit(commit) => {
                let Some(open) = self.take_open(commit.txn_id) else { return };
                let parts = open.operations();
                let changes = parts.clone().map(|part| part.changes());
                let changes = changes.fold((0, 0), |sum, part| (sum.0 + part.0, sum.1 + part.1));
                let stamp = (commit.version, commit.log_time_ms);
                self.commit(record, stamp, changes, parts.flatten(), target);
            }
            _ => {}
        }
    }

    /// Applies one transaction, unless the checkpoint has it.
    fn commit<'a>(
        &mut self,
        record: &Record<'_>,
        (version, log_time_ms): (u64, u64),
        changes: (u32, u32),
        operations: impl Iterator<Item = Operation<'a>> + Clone,
        target: &mut Target<'_>,
    ) {
        self.last = Some(version);
        let behind = matches!(self.until, Until::Version(until) if version > until);
        if let Some(tracker) = target.tracker
            && !behind
        {
            tracker.note(version, operations.clone());
        }
        if version <= self.applied || behind {
            return;
        }
        assert!(version > self.mark.version, "versions are applied in order");
        assert!(record.position >= self.mark.position, "records are applied in order");
        self.mark = Mark {
            position: record.position,
            term: record.term,
            version,
            log_time_ms: log_time_ms.max(self.mark.log_time_ms),
        };
        apply_transaction(target, self.mark, operations);
        self.stats.writes_applied += u64::from(changes.0);
        self.stats.deletes_applied += u64::from(changes.1);
        self.stats.txns_applied += 1;
        self.stats.final_version = version;
        debug_assert_eq!(target.engine.mark().version, version, "the engine has it");
    }

    /// Passes what the engine has.
    fn skip(&mut self, decoded: &Decoded<'_>, target: &Target<'_>) {
        match decoded {
            Decoded::Txns(txns) => {
                self.last = Some(txns.last_version());
                if let Some(tracker) = target.tracker {
                    let entries = txns.entries();
                    entries.for_each(|(version, entry)| tracker.note(version, entry.operations));
                }
            }
            Decoded::Commit(commit) => {
                self.last = Some(commit.version);
                let open = self.take_open(commit.txn_id);
                if let (Some(tracker), Some(open)) = (target.tracker, open) {
                    tracker.note(commit.version, open.operations().flatten());
                }
            }
            _ => {}
        }
    }

    fn keep(&mut self, record: &Record<'_>, decoded: &Decoded<'_>, place: &Place) {
        match decoded {
            Decoded::Begin(id) => {
                let open = Open {
                    position: record.position,
                    place: place.clone(),
                    parts: Vec::new(),
                    bytes: OPEN_OVERHEAD_BYTES,
                };
                self.open_bytes += open.bytes;
                let before = self.open.insert(*id, open);
                assert!(before.is_none(), "a second Begin is another situation");
            }
            Decoded::Part(part) => {
                let Some(open) = self.open.get_mut(&part.txn_id) else { return };
                open.parts.push(record.payload.to_vec());
                open.bytes += record.payload.len();
                self.open_bytes += record.payload.len();
            }
            _ => {}
        }
    }

    fn take_open(&mut self, id: u64) -> Option<Open> {
        let open = self.open.remove(&id)?;
        assert!(open.bytes <= self.open_bytes, "what is open was counted");
        self.open_bytes -= open.bytes;
        debug_assert!(!self.open.is_empty() || self.open_bytes == 0);
        Some(open)
    }

    fn abort(&mut self, decoded: &Decoded<'_>, label: Label) {
        let Decoded::Abort(id) = decoded else { return };
        let Some(open) = self.take_open(*id) else { return };
        tracing::warn!("Discarding aborted transaction: {id}");
        let found = format!("transaction {id}, begun at position {}, aborted", open.position);
        self.note(label, &open.place, "a commit", &found);
        self.stats.aborted_txns += 1;
        self.stats.discarded_txns += 1;
    }

    fn orphan(&mut self, record: &Record<'_>, decoded: &Decoded<'_>, place: &Place, label: Label) {
        let (Decoded::Part(Part { txn_id: id, .. }) | Decoded::Abort(id)) = decoded else { return };
        let (kind, position) = (record.kind, record.position);
        tracing::warn!("Discarding orphaned entry: {kind:?} of transaction {id} at {position}");
        let found = format!("{kind:?} of transaction {id} at position {position}");
        self.note(label, place, "a Begin of that transaction before it", &found);
        self.stats.orphaned_entries += 1;
    }

    fn begin_again(
        &mut self,
        record: &Record<'_>,
        decoded: &Decoded<'_>,
        place: &Place,
        label: Label,
    ) {
        let Decoded::Begin(id) = decoded else { return };
        let position = record.position;
        tracing::warn!("Ignoring a second Begin of transaction {id} at {position}");
        let found = format!("a second Begin of transaction {id} at position {position}");
        self.note(label, place, "one Begin for each transaction", &found);
    }

    /// Moves the engine's mark over a record that changed nothing, or to the end of one that did.
    fn advance(&mut self, record: &Record<'_>, target: &mut Target<'_>) {
        // A loss takes its positions along: a checkpoint behind it begins behind all of them.
        let position = self.position_after(record) - 1;
        if position <= self.mark.position {
            return;
        }
        self.mark.position = position;
        self.mark.term = record.term;
        self.mark.version = self.mark.version.max(self.stats.final_version);
        target.engine.advance(self.mark);
        debug_assert_eq!(target.engine.mark().position, position);
    }

    /// Notes something that concerns no stored bytes.
    fn note(&mut self, label: Label, place: &Place, expected: &str, found: &str) {
        if self.notes.len() < NOTES_MAX {
            self.notes.push(Finding {
                verdict: None,
                acked: Acked::No,
                ..refusal(label, place, expected, found)
            });
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
