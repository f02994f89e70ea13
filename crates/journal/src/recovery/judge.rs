//! Validate: judges the pieces by the decision tables; what passes is a [`TrustedJournal`].
//!
//! Invariants: no I/O; nothing above this layer sees a frame that was not judged.

use std::path::PathBuf;

use rekindle_recovery::{Finding, Label, Place, Verdict};

use super::scan::{JournalPieces, SegmentPiece, Standing, TipRead};
use super::tables::{
    Decision, OTHERS, OtherCondition, Proof, RANGES, RangeCondition, SEGMENTS, SegmentCondition,
    SegmentState,
};
use super::walk::{BadRange, FramePlace, Joint, Walk};
use super::{JournalLayer, Step, scan, tables};
use crate::codec::Bad;
use crate::codec::segment::{OpenReason, SegmentHeader, SegmentHeaderRead};

/// A segment whose frames may be replayed.
#[derive(Clone, Debug)]
pub struct TrustedSegment {
    /// Its header.
    pub header: SegmentHeader,
    /// Its file.
    pub path: PathBuf,
    /// The same for findings.
    pub file: String,
    /// Where its valid frames end.
    pub end_lsn: u64,
    /// The chain there, where it is known.
    pub end_chain: Option<u32>,
    /// Whether its frames were read and found whole.
    pub walked: bool,
}

/// A journal that may be replayed, unless its plan refuses.
#[derive(Clone, Debug, Default)]
pub struct TrustedJournal {
    /// Oldest first.
    pub segments: Vec<TrustedSegment>,
    /// The end of the last segment: what a new one continues.
    pub end: Option<Joint>,
    /// Valid frames at the end that nothing proves.
    pub unproven: Vec<FramePlace>,
    /// Where the chain stands in front of the unproven frames.
    pub proved_end: Option<Joint>,
    /// A torn tail was cut.
    pub torn: bool,
    /// The highest incarnation that any header or meta copy names.
    pub incarnation: u64,
    /// The highest segment number ever seen.
    pub highest_seq: u64,
    /// Frames and records that were read.
    pub frames: u64,
    /// Records in them.
    pub records: u64,
    /// The files of the chain, whole or not, oldest first.
    pub(crate) files: Vec<u64>,
    /// Behind every address that is known to have been used.
    pub(crate) highest_lsn: u64,
    pub(super) steps: Vec<Step>,
    pub(super) decided: Vec<(Label, String)>,
    findings: Vec<Finding>,
}

/// The decision behind a label of this layer.
#[must_use]
pub fn decision_of(label: Label) -> Option<Decision> {
    let ranges = RANGES.rows.iter().map(|row| (row.label, row.then));
    let segments = SEGMENTS.rows.iter().map(|row| (row.label, row.then));
    let others = OTHERS.rows.iter().map(|row| (row.label, row.then));
    let mut all = ranges.chain(segments).chain(others);
    all.find(|(found, _)| *found == label).map(|(_, decision)| decision)
}

impl TrustedJournal {
    /// A journal of sealed segments, each of which was checked whole; the last one ends at `end`.
    #[must_use]
    pub fn of_sealed(segments: Vec<TrustedSegment>, end: Joint) -> Self {
        assert!(crate::archive::find_gap(&segments).is_none(), "the segments join");
        assert!(segments.iter().all(|segment| segment.walked), "each was checked whole");
        Self { segments, end: Some(end), proved_end: Some(end), ..Self::default() }
    }

    /// What a start would do to files before it opens a new segment.
    pub(crate) fn steps(&self) -> &[Step] {
        &self.steps
    }

    fn decide(&mut self, label: Label, decision: &Decision, place: Place, bad: &Bad) {
        let target = match (place.from, place.to) {
            (0, 0) => place.file.clone(),
            (from, to) => format!("{} lsn {from}..{to}", place.file),
        };
        self.decided.push((label, target));
        self.highest_lsn = self.highest_lsn.max(place.to);
        let noted = decision.verdict.is_some() || label.0 == "journal-16";
        if noted {
            self.findings.push(Finding {
                label,
                place,
                verdict: decision.verdict,
                acked: decision.acked,
                expected: bad.expected.clone(),
                found: bad.found.clone(),
            });
        }
    }

    fn other(&mut self, condition: OtherCondition, file: String, bad: &Bad) {
        let row = OTHERS.decide(&condition);
        self.decide(row.label, &row.then, Place { file, ..Place::default() }, bad);
    }
}

impl JournalLayer {
    pub(super) fn judge(&self, pieces: &JournalPieces) -> (TrustedJournal, Vec<Finding>) {
        let mut out = TrustedJournal {
            incarnation: self.known().map_or(0, |meta| meta.incarnation),
            highest_seq: self.newest_named().unwrap_or(0),
            highest_lsn: self.clean_end_lsn().max(pieces.tip.durable_lsn()),
            ..TrustedJournal::default()
        };
        if self.known().is_none() {
            return self.judge_new(pieces, out);
        }
        self.judge_tip(pieces, &mut out);
        for file in &pieces.unknown_files {
            let file = self.layout.relative(&self.layout.journal_dir().join(file));
            let bad = Bad::new("segments", "another file");
            out.other(OtherCondition::UnknownFile, file, &bad);
        }
        let chain = |piece: &&SegmentPiece| piece.standing == Standing::Chained;
        let last = pieces.segments.iter().find(chain).map(|piece| piece.seq);
        let mut older: Option<&SegmentHeader> = None;
        for piece in pieces.segments.iter().rev() {
            self.judge_segment(piece, older, last == Some(piece.seq), pieces, &mut out);
            let own = piece.valid().filter(|header| self.owns(header, piece.seq));
            if piece.standing == Standing::Chained && own.is_some() {
                older = own;
            }
        }
        if out.end.is_some() && !out.unproven.is_empty() {
            let file = self.layout.relative(&self.layout.segment(last.unwrap_or(0)));
            let found = format!("{} frames", out.unproven.len());
            out.other(OtherCondition::UnprovenTail, file, &Bad::new("a proof", found));
        }
        let ascending = out.segments.windows(2).all(|pair| match pair {
            [a, b] => a.header.seq < b.header.seq && a.end_lsn <= b.header.base_lsn,
            _ => true,
        });
        assert!(ascending, "segments stand in the order of their addresses");
        let newest = out.segments.last().map(|segment| &segment.header);
        assert!(
            newest.is_none_or(|it| it.seq <= out.highest_seq && it.incarnation <= out.incarnation),
            "the next segment and the next run come behind all of these"
        );
        let findings = std::mem::take(&mut out.findings);
        (out, findings)
    }

    /// A shard that never served: whatever lies there is made anew.
    fn judge_new(
        &self,
        pieces: &JournalPieces,
        mut out: TrustedJournal,
    ) -> (TrustedJournal, Vec<Finding>) {
        let file = self.layout.relative(&self.layout.journal_dir());
        out.other(OtherCondition::New, file, &Bad::new("a journal", "none"));
        for piece in &pieces.segments {
            out.highest_seq = out.highest_seq.max(piece.seq);
            out.steps.push(Step::Remove { seq: piece.seq });
        }
        (out, Vec::new())
    }

    fn judge_tip(&self, pieces: &JournalPieces, out: &mut TrustedJournal) {
        let bad = match &pieces.tip {
            TipRead::Valid(_) => return,
            TipRead::Bad(bad) => bad.clone(),
            TipRead::Missing => Bad::new("a tip of 512 bytes", "no file"),
        };
        out.other(OtherCondition::BadTip, self.layout.relative(&self.layout.tip()), &bad);
    }

    fn judge_segment(
        &self,
        piece: &SegmentPiece,
        older: Option<&SegmentHeader>,
        last: bool,
        pieces: &JournalPieces,
        out: &mut TrustedJournal,
    ) {
        out.highest_seq = out.highest_seq.max(piece.seq);
        let path = self.layout.segment(piece.seq);
        let file = self.layout.relative(&path);
        let before = out.segments.last().map(|segment| &segment.header);
        let (state, bad) = self.state_of(piece, older, before);
        let below = piece.behind_position.is_some_and(|behind| behind <= self.replay_from);
        let place = match piece.standing {
            Standing::Stray => tables::Place::Stray,
            Standing::Leftover => tables::Place::Leftover,
            Standing::Superseded { .. } => tables::Place::Superseded,
            Standing::Chained if below => tables::Place::BelowReplay,
            Standing::Chained => tables::Place::Needed,
        };
        let condition = SegmentCondition { place, state, metas_intact: self.meta.intact };
        let row = SEGMENTS.decide(&condition);
        let at = self.place_of(piece, state, older, pieces);
        if row.label.0 != "journal-7" {
            out.decide(row.label, &row.then, at, &bad);
        }
        match piece.standing {
            Standing::Stray => out.steps.push(Step::Quarantine { seq: piece.seq }),
            Standing::Leftover => out.steps.push(Step::Remove { seq: piece.seq }),
            Standing::Superseded { by } => out.steps.push(Step::Supersede { seq: piece.seq, by }),
            Standing::Chained if piece.file_len.is_some() => out.files.push(piece.seq),
            Standing::Chained => {}
        }
        let own = piece.valid().filter(|header| self.owns(header, piece.seq));
        out.highest_lsn = out.highest_lsn.max(own.map_or(0, SegmentHeader::end_lsn));
        let Some(header) = piece.valid().filter(|_| place_is_chained(place)) else { return };
        out.incarnation = out.incarnation.max(header.incarnation);
        // What a file of another length still holds can be read, though never served as it is.
        let readable = state == SegmentState::WrongSize && place == tables::Place::Needed;
        if state != SegmentState::Whole && !(readable && piece.walk.is_some()) {
            return;
        }
        let (end_lsn, end_chain) = self.judge_frames(piece, header, last, pieces, out);
        let (walked, header) = (piece.walk.is_some(), header.clone());
        let trusted = TrustedSegment { header, path, file, end_lsn, end_chain, walked };
        out.segments.push(trusted);
    }

    /// What is wrong with the segment as a whole. `older` is the next older one whose header is
    /// valid, `before` the next older one that is trusted.
    fn state_of(
        &self,
        piece: &SegmentPiece,
        older: Option<&SegmentHeader>,
        before: Option<&SegmentHeader>,
    ) -> (SegmentState, Bad) {
        let Some(len) = piece.file_len else {
            return (SegmentState::Missing, Bad::new("a segment", "no file"));
        };
        let header = match &piece.header {
            SegmentHeaderRead::Valid(header) => header,
            SegmentHeaderRead::Newer(bad) => return (SegmentState::Newer, bad.clone()),
            SegmentHeaderRead::Bad(bad) => return (SegmentState::BadHeader, bad.clone()),
        };
        if !self.owns(header, piece.seq) {
            let expected = format!("segment {} of this store", piece.seq);
            let found = format!("segment {} of node {}", header.seq, header.node);
            return (SegmentState::Foreign, Bad::new(expected, found));
        }
        let joins = piece.declared.is_none_or(|declared| {
            declared.joins(header.end_lsn())
                && (header.first_frame_lsn()..=header.end_lsn()).contains(&declared.end_lsn)
        });
        let repair = header.open_reason == OpenReason::Repair;
        let follows = older.is_none_or(|o| {
            o.seq != header.prev_seq || scan::joins(o.end_lsn(), header.base_lsn, repair)
        });
        let behind = before.is_none_or(|trusted| trusted.end_lsn() <= header.base_lsn);
        if !joins || !follows || !behind {
            let bad = Bad::new("a segment that joins its neighbours", "other addresses");
            return (SegmentState::Foreign, bad);
        }
        if len != header.file_size {
            let expected = format!("{} bytes", header.file_size);
            return (SegmentState::WrongSize, Bad::new(expected, format!("{len} bytes")));
        }
        (SegmentState::Whole, Bad::new("", ""))
    }

    /// Judges the frames of a segment; returns where its valid part ends, and the chain there.
    fn judge_frames(
        &self,
        piece: &SegmentPiece,
        header: &SegmentHeader,
        last: bool,
        pieces: &JournalPieces,
        out: &mut TrustedJournal,
    ) -> (u64, Option<u32>) {
        let Some(walk) = &piece.walk else {
            let declared = piece.declared.map(|declared| (declared.end_lsn, Some(declared.chain)));
            return declared.unwrap_or((header.end_lsn(), None));
        };
        out.frames += walk.frames;
        out.records += walk.records;
        let mut end = walk.end;
        let mut ranges = walk.bad.clone();
        if piece.file_len == Some(header.file_size) {
            ranges.extend(self.lost_end(piece, header, walk, last, pieces));
        } else {
            // Judged as a whole: journal-10 names the end.
            ranges.retain(|range| walk.end.is_none_or(|end| range.before.lsn < end.lsn));
        }
        for range in &ranges {
            let (condition, proved_to) = self.range_condition(range, header, last, pieces, piece);
            let row = RANGES.decide(&condition);
            // What proves the end of the journal says nothing of where an earlier segment ends.
            let proved_to = if last { proved_to.min(header.end_lsn()) } else { 0 };
            let (from, mut to) = (range.before.lsn, range.to.max(proved_to));
            // Without a successor that says where this segment ends, frames behind damage may be
            // dead: only a durable address behind it proves that they are not.
            let dead = !last && piece.declared.is_none() && range.later_durable <= from;
            if dead {
                (to, end) = (header.end_lsn(), Some(range.before));
            }
            let offset = from - header.base_lsn;
            let file = self.layout.relative(&self.layout.segment(piece.seq));
            out.decide(row.label, &row.then, Place { file, offset, from, to }, &range.bad);
            if dead {
                break;
            }
            if row.then.verdict == Some(Verdict::Torn) {
                out.torn = true;
                end = Some(range.before);
                let len = to - from;
                out.steps.push(Step::QuarantineTail { seq: piece.seq, offset, len });
                break;
            }
        }
        if last {
            out.end = end;
            let end_lsn = end.map_or(0, |joint| joint.lsn);
            let kept = walk.unproven.iter().filter(|place| place.header.lsn < end_lsn);
            out.unproven = kept.copied().collect();
            out.proved_end = proved_end(header, &out.unproven, end);
        }
        end.map_or((header.first_frame_lsn(), None), |joint| (joint.lsn, joint.chain))
    }

    /// Frames that should be there and of which not a byte is left, or whose chain does not meet
    /// what the successor or `tip` says.
    fn lost_end(
        &self,
        piece: &SegmentPiece,
        header: &SegmentHeader,
        walk: &Walk,
        last: bool,
        pieces: &JournalPieces,
    ) -> Option<BadRange> {
        let end = walk.end?;
        let lost = |to: u64, expected: String, found: String| {
            let bad = Bad::new(expected, found);
            let (before, later_position) = (end, piece.behind_position);
            Some(BadRange { before, to, later_durable: 0, later_position, bad })
        };
        if let Some(declared) = piece.declared {
            let other_chain = end.chain.is_some_and(|chain| chain != declared.chain);
            let other_position = end.position.is_some_and(|position| !declared.continues(position));
            if covers_end(walk, declared.end_lsn) {
                return None;
            }
            if end.lsn != declared.end_lsn || other_chain || other_position {
                let expected = format!("an end at lsn {}", declared.end_lsn);
                let found = format!("an end at lsn {} with another chain", end.lsn);
                return lost(end.lsn.max(declared.end_lsn), expected, found);
            }
            return None;
        }
        let proved = self.proved_within(pieces, header);
        let covered = walk.bad.iter().any(|bad| bad.to >= end.lsn && bad.later_durable == 0);
        if last && proved > end.lsn && !covered {
            let expected = format!("frames up to lsn {proved}");
            return lost(proved, expected, format!("an end at lsn {}", end.lsn));
        }
        None
    }

    fn proved_within(&self, pieces: &JournalPieces, header: &SegmentHeader) -> u64 {
        pieces.tip.durable_lsn().max(self.proved_by_meta(header))
    }

    fn proved_by_meta(&self, header: &SegmentHeader) -> u64 {
        let named = self.newest_named().is_some_and(|newest| header.seq <= newest);
        let carried = if named { header.carried_end_lsn() } else { 0 };
        self.clean_end_lsn().max(carried)
    }

    /// The conditions of a bad range, and the address up to which it is proved.
    fn range_condition(
        &self,
        range: &BadRange,
        header: &SegmentHeader,
        last: bool,
        pieces: &JournalPieces,
        piece: &SegmentPiece,
    ) -> (RangeCondition, u64) {
        let from = range.before.lsn;
        let tip = pieces.tip.durable_lsn();
        let by_meta = self.proved_by_meta(header);
        let (proof, proved_to) = if range.later_durable > from {
            (Proof::LaterFrame, 0)
        } else if tip > from {
            (Proof::Tip, tip)
        } else if by_meta > from {
            (Proof::Meta, by_meta)
        } else {
            (Proof::None, 0)
        };
        let behind = range.later_position.or(piece.behind_position);
        let below_replay = behind.is_some_and(|position| position <= self.replay_from);
        (RangeCondition { last, proof, below_replay }, proved_to)
    }
}

/// Whether damage up to where the frames should end was found already.
fn covers_end(walk: &Walk, declared_end: u64) -> bool {
    let end = walk.end.map(|end| end.lsn);
    walk.bad.last().is_some_and(|bad| Some(bad.before.lsn) == end && bad.to >= declared_end)
}

fn place_is_chained(place: tables::Place) -> bool {
    matches!(place, tables::Place::Needed | tables::Place::BelowReplay)
}

/// The joint in front of the first unproven frame.
fn proved_end(
    header: &SegmentHeader,
    unproven: &[FramePlace],
    end: Option<Joint>,
) -> Option<Joint> {
    let Some(first) = unproven.first() else { return end };
    let first_frame = first.header.lsn == header.first_frame_lsn();
    let chain = if first_frame { header.prev_chain } else { first.header.prev };
    let position = first.header.first_position;
    let position = if position > 0 { Some(position) } else { end.and_then(|end| end.position) };
    Some(Joint { lsn: first.header.lsn, chain: Some(chain), position })
}
