//! Where a repair cuts: which segments stay, and what the new ones go on from.
//!
//! Invariants: no I/O; everything from the first corrupt place on is written anew; new numbers and
//! addresses lie behind every one that was ever used, also where what used them is gone.

use rekindle_recovery::{Failure, Finding};

use super::survey::Survey;
use crate::codec::segment::HEADER_LEN;
use crate::recovery::JournalLayer;
use crate::recovery::judge::{TrustedJournal, TrustedSegment};
use rekindle_recovery::numbers::STORED_MAX;

/// The fewest bytes to reckon with for a segment of which nothing can be read: one is made smaller
/// than this. Where another one is larger, that one says it.
const UNKNOWN_SEGMENT_BYTES: u64 = 1 << 32;

/// Where the first new segment joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Previous {
    pub(super) seq: u64,
    pub(super) end_lsn: u64,
    pub(super) chain: u32,
}

/// The journal's end is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LostEnd {
    /// Where the readable frames end.
    pub from_lsn: u64,
    /// Behind the last address that is known to be lost.
    pub end_lsn: u64,
    /// The most bytes of frames that can have been there.
    pub bytes_max: u64,
}

/// Where a repair cuts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// How many of the readable segments stay as they are, the oldest ones.
    pub(super) kept: usize,
    /// Where the first new segment joins.
    pub(super) previous: Previous,
    /// The number of the first new segment.
    pub first_seq: u64,
    /// The address of its first byte.
    pub base_lsn: u64,
    /// The segments whose files are replaced.
    pub replaced: Vec<u64>,
    /// Whether the end is lost.
    pub lost_end: Option<LostEnd>,
    /// The number of this change, among the runs.
    pub(super) incarnation: u64,
}

impl JournalLayer {
    /// Decides where to cut, so that everything that these findings name is written anew.
    pub fn cut(
        &self,
        trusted: &TrustedJournal,
        corrupt: &[Finding],
        survey: &Survey,
    ) -> Result<Cut, Failure> {
        let segments = &trusted.segments;
        let from = corrupt.iter().map(|finding| finding.place.from).min().unwrap_or(u64::MAX);
        let whole = |segment: &&TrustedSegment| segment.header.end_lsn() <= from;
        // Of the last one that can be read, the end may never have been synced.
        let most = segments.len().saturating_sub(1);
        let kept = segments.iter().take_while(whole).count().min(most);
        let previous = previous(segments, kept, from);
        let newest = self.newest_named().unwrap_or(0);
        let last = segments.last().map_or(0, |last| last.header.seq);
        let unknown = newest.saturating_sub(last) + u64::from(!self.meta.intact);
        let largest = segments.iter().map(|segment| segment.header.file_size).max();
        let unknown_segment = UNKNOWN_SEGMENT_BYTES.max(largest.unwrap_or(0));
        let unknown_bytes = unknown.checked_mul(unknown_segment);
        let base_lsn = unknown_bytes.and_then(|bytes| {
            let base = trusted.highest_lsn.checked_add(bytes)?.checked_next_multiple_of(4096)?;
            (base < STORED_MAX / 2).then_some(base)
        });
        let (Some(base_lsn), Some(unknown_bytes)) = (base_lsn, unknown_bytes) else {
            let found = format!("{unknown} segments of which nothing is known");
            return Err(Failure::Refused(format!("no addresses are left behind {found}")));
        };
        let replaced = trusted.files.iter().copied().filter(|seq| *seq > previous.seq).collect();
        Ok(Cut {
            kept,
            previous,
            first_seq: trusted.highest_seq + 1,
            base_lsn,
            replaced,
            lost_end: self.lost_end_of(segments, corrupt, survey, unknown_bytes),
            incarnation: trusted.incarnation + 1 + u64::from(!self.meta.intact),
        })
    }

    fn lost_end_of(
        &self,
        segments: &[TrustedSegment],
        corrupt: &[Finding],
        survey: &Survey,
        unknown_bytes: u64,
    ) -> Option<LostEnd> {
        let end_lsn = segments.last().map_or(0, |last| last.end_lsn);
        let file_end = segments.last().map_or(0, |last| last.header.end_lsn());
        let lost = corrupt.iter().filter(|finding| finding.place.from >= survey.end_lsn);
        let from_lsn = lost.clone().map(|finding| finding.place.from).min()?;
        let to = lost.clone().map(|finding| finding.place.to).max()?;
        // In front of a frame without records: it says no position, but where the damage ends.
        let (before, behind) = lost.partition::<Vec<_>, _>(|it| it.place.from < end_lsn);
        let before = before.iter().map(|it| it.place.to - it.place.from).sum::<u64>();
        let behind = behind.iter();
        let within = behind.clone().any(|finding| finding.place.from < file_end);
        let beyond = behind.clone().any(|finding| finding.place.to > file_end);
        let clean = self.clean_end_lsn();
        let own = match (within, clean) {
            (false, _) => 0,
            // It was closed in this file: nothing was written behind that.
            (true, clean) if (end_lsn..=file_end).contains(&clean) => clean - end_lsn,
            (true, _) => file_end - end_lsn,
        };
        let others = match beyond || unknown_bytes > 0 {
            true if clean > file_end => (clean - file_end).saturating_sub(HEADER_LEN),
            // 0: it was never closed, which says nothing.
            true if clean > 0 && (end_lsn..=file_end).contains(&clean) => 0,
            true => unknown_bytes.max(UNKNOWN_SEGMENT_BYTES),
            false => 0,
        };
        let bytes_max = before.saturating_add(own).saturating_add(others);
        Some(LostEnd { from_lsn, end_lsn: to, bytes_max })
    }
}

/// What the first new segment says of the one before: what the first replaced one said, or where
/// the last kept one was found to end. Where what stood in front of all of them is lost from `from`
/// on, the journal begins with the new ones.
fn previous(segments: &[TrustedSegment], kept: usize, from: u64) -> Previous {
    let before = kept.checked_sub(1).and_then(|at| segments.get(at));
    match (before, segments.get(kept)) {
        (None, Some(first)) if from >= first.header.base_lsn => of_header(first),
        (Some(before), Some(first)) if first.header.prev_seq == before.header.seq => {
            of_header(first)
        }
        (Some(before), _) => Previous {
            seq: before.header.seq,
            end_lsn: before.end_lsn,
            chain: before.end_chain.unwrap_or(before.header.prev_chain),
        },
        (None, _) => Previous { seq: 0, end_lsn: 0, chain: 0 },
    }
}

fn of_header(first: &TrustedSegment) -> Previous {
    let header = &first.header;
    Previous { seq: header.prev_seq, end_lsn: header.prev_end_lsn, chain: header.prev_chain }
}
