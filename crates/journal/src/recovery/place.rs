//! Which addresses a finding about a whole segment concerns.
//!
//! Invariant: where a segment cannot say it itself, its neighbours do: what is concerned lies
//! between the end of the next older segment and the beginning of the next newer one. The range is
//! never empty, so that it can be named in a repair.

use rekindle_recovery::Place;
use rekindle_recovery::numbers::STORED_MAX;

use super::JournalLayer;
use super::scan::{JournalPieces, SegmentPiece, Standing};
use super::tables::SegmentState;
use crate::codec::ALIGN;
use crate::codec::segment::{HEADER_LEN, SegmentHeader};

impl JournalLayer {
    /// The place of a segment as a whole. `older` is the next older one with a header of ours.
    pub(super) fn place_of(
        &self,
        piece: &SegmentPiece,
        state: SegmentState,
        older: Option<&SegmentHeader>,
        pieces: &JournalPieces,
    ) -> Place {
        let file = self.layout.relative(&self.layout.segment(piece.seq));
        let own = piece.valid().filter(|header| self.owns(header, piece.seq));
        match (state, own) {
            (SegmentState::WrongSize, Some(header)) => {
                let (from, to) = lost_of_length(piece, header);
                Place { file, offset: from - header.base_lsn, from, to }
            }
            (SegmentState::Whole, Some(header)) => {
                Place { file, offset: 0, from: header.base_lsn, to: header.end_lsn() }
            }
            _ if piece.standing != Standing::Chained => {
                let range = own.map_or((0, 0), |header| (header.base_lsn, header.end_lsn()));
                Place { file, offset: 0, from: range.0, to: range.1 }
            }
            _ => {
                let (from, to) = self.between_neighbours(piece, older, pieces);
                Place { file, offset: 0, from, to }
            }
        }
    }

    fn between_neighbours(
        &self,
        piece: &SegmentPiece,
        older: Option<&SegmentHeader>,
        pieces: &JournalPieces,
    ) -> (u64, u64) {
        let from = older.map_or(0, SegmentHeader::end_lsn);
        let declared = piece.declared.map(|declared| declared.next_base);
        let to = match declared.or_else(|| self.newer_base(piece.seq, pieces)) {
            Some(base) => base,
            // The last ones: as long as their files, or as the one before where those are gone.
            None => {
                let before = older.map_or(0, |older| older.file_size);
                let first = older.map_or(0, |older| older.seq);
                let behind = pieces
                    .segments
                    .iter()
                    .filter(|piece| piece.seq > first && piece.standing == Standing::Chained);
                let len = |it: &SegmentPiece| it.file_len.unwrap_or(before).max(HEADER_LEN);
                let found = behind.clone().count() as u64;
                // Of several that are gone together only the newest has a finding.
                let named = self.newest_named().unwrap_or(0).saturating_sub(first);
                let gone = named.saturating_sub(found).saturating_mul(before);
                let file_end = behind.map(len).fold(from, u64::saturating_add);
                let file_end = file_end.saturating_add(gone).min(STORED_MAX);
                file_end.max(pieces.tip.durable_lsn()).max(self.clean_end_lsn())
            }
        };
        (from, to.max(from.saturating_add(ALIGN)))
    }

    /// The first address of the next newer segment whose header is ours.
    fn newer_base(&self, seq: u64, pieces: &JournalPieces) -> Option<u64> {
        let mut oldest_first = pieces.segments.iter().rev();
        let newer = |piece: &&SegmentPiece| {
            let own = piece.valid().is_some_and(|header| self.owns(header, piece.seq));
            own && piece.seq > seq && piece.standing == Standing::Chained
        };
        oldest_first.find(newer).and_then(SegmentPiece::valid).map(|header| header.base_lsn)
    }
}

/// What a file of another length than it was given may have lost: what lies behind its last valid
/// frame.
fn lost_of_length(piece: &SegmentPiece, header: &SegmentHeader) -> (u64, u64) {
    let walked = piece.walk.as_ref().and_then(|walk| walk.end);
    let Some(end) = walked else { return (header.base_lsn, header.end_lsn()) };
    let limit = piece.declared.map_or(header.end_lsn(), |declared| declared.end_lsn);
    let limit = limit.min(header.end_lsn());
    match end.lsn {
        from if from < limit => (from, limit),
        from if from < header.end_lsn() => (from, header.end_lsn()),
        _ => (header.base_lsn, header.end_lsn()),
    }
}
