//! Sealed segments outside of their store: each is checked whole, and together they are a journal
//! that can be replayed.
//!
//! Invariants: reads only; what lies behind the declared end of a segment is dead and not looked
//! at; a journal is put together only of segments that join.

use std::io;

use rekindle_env::ReadFile;

use crate::api::Record;
use crate::codec::Bad;
use crate::codec::frame::FrameKind;
use crate::codec::record::decode_record;
use crate::codec::segment::{HEADER_LEN, OpenReason, SegmentHeader, SegmentHeaderRead};
use crate::recovery::judge::TrustedSegment;
use crate::recovery::scan::joins;
use crate::recovery::walk::{Joint, Walker};

/// Where a sealed segment is not what it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Offset in the file.
    pub offset: u64,
    /// What should be there, and what is.
    pub bad: Bad,
}

/// The header of a segment's file.
///
/// # Errors
/// What the disk answers; damage is a value.
pub fn read_header(file: &dyn ReadFile) -> io::Result<Result<SegmentHeader, Damage>> {
    let mut bytes = vec![0; usize::try_from(HEADER_LEN).unwrap_or(4096)];
    let read = file.read_at(&mut bytes, 0)?;
    let header = SegmentHeader::decode(bytes.get(..read).unwrap_or_default());
    Ok(match header {
        SegmentHeaderRead::Valid(header) => Ok(header),
        SegmentHeaderRead::Newer(bad) | SegmentHeaderRead::Bad(bad) => {
            Err(Damage { offset: 0, bad })
        }
    })
}

/// Checks every frame and record of a sealed segment up to its end, and that it ends there as its
/// successor declares; hands out the records.
///
/// # Errors
/// What the disk answers; damage is a value.
pub fn check(
    file: &dyn ReadFile,
    header: &SegmentHeader,
    end: &Joint,
    visit: &mut dyn FnMut(&Record<'_>),
) -> io::Result<Option<Damage>> {
    if end.lsn < header.first_frame_lsn() || end.lsn > header.end_lsn() {
        let expected = format!("an end inside lsn {}..{}", header.base_lsn, header.end_lsn());
        let bad = Bad::new(expected, format!("lsn {}", end.lsn));
        return Ok(Some(Damage { offset: 0, bad }));
    }
    let walker =
        Walker { file, header, declared_end: Some(end.lsn), proved_lsn: u64::MAX, records: true };
    let walk = walker.walk(&mut |place, body| {
        if place.header.kind == FrameKind::Entries {
            let mut rest = body.get(..place.header.body_len as usize).unwrap_or_default();
            while let Ok((record, taken)) = decode_record(rest) {
                visit(&record);
                rest = rest.get(taken..).unwrap_or_default();
            }
        }
        Ok(())
    })?;
    if let Some(range) = walk.bad.into_iter().next() {
        let offset = range.before.lsn - header.base_lsn;
        return Ok(Some(Damage { offset, bad: range.bad }));
    }
    let found = walk.end.unwrap_or(Joint { lsn: 0, chain: None, position: None });
    // In front of a segment of a repair positions may have a gap, for which a record stands: replay
    // judges that.
    let reached = found.position.is_some() && found.position <= end.position;
    if found.lsn == end.lsn && found.chain == end.chain && reached {
        return Ok(None);
    }
    let describe = |joint: &Joint| {
        let position = joint.position.unwrap_or(0);
        format!("an end at lsn {}, chain {:08x}, position {position}", joint.lsn, chain(joint))
    };
    let bad = Bad::new(describe(end), describe(&found));
    Ok(Some(Damage { offset: found.lsn.saturating_sub(header.base_lsn), bad }))
}

/// The first pair of segments that do not join, oldest first: the later one, and what is wrong.
#[must_use]
pub fn find_gap(segments: &[TrustedSegment]) -> Option<(u64, Bad)> {
    segments.windows(2).find_map(|pair| {
        let [before, after] = pair else { return None };
        let (older, newer) = (&before.header, &after.header);
        let joins = newer.prev_seq == older.seq
            && newer.prev_end_lsn == before.end_lsn
            && joins(older.end_lsn(), newer.base_lsn, newer.open_reason == OpenReason::Repair)
            && newer.first_position >= older.first_position;
        let expected = format!("segment {} to end at lsn {}", older.seq, before.end_lsn);
        let found = format!("segment {} says {}", newer.prev_seq, newer.prev_end_lsn);
        (!joins).then(|| (newer.seq, Bad::new(expected, found)))
    })
}

fn chain(joint: &Joint) -> u32 {
    joint.chain.unwrap_or(0)
}
