//! Replay: the records of a validated journal, in order, from a disk that can only be read.
//!
//! Invariant: there is this one function; a start, a dry run, `verify` and `journal dump` are
//! listeners of it.

use rekindle_env::ReadDisk;
use rekindle_recovery::{Failure, Place};

use crate::api::Record;
use crate::codec::frame::{FrameHeader, FrameKind};
use crate::codec::record::decode_record;
use crate::recovery::judge::{TrustedJournal, TrustedSegment};
use crate::recovery::walk::Walker;

/// What a listener is told.
#[derive(Debug)]
pub enum Replayed<'a> {
    /// A segment begins.
    Segment(&'a TrustedSegment),
    /// A frame.
    Frame(&'a FrameHeader),
    /// A record.
    Record(&'a Record<'a>),
}

/// A listener; an error ends the replay.
pub type Listener<'a> = dyn FnMut(Replayed<'_>, &Place) -> Result<(), Failure> + 'a;

/// Records that can be replayed: a journal's, or those that it will have once it is repaired.
pub trait Records {
    /// Tells `listener` every segment and frame that may hold records from position `from` on, and
    /// these records.
    fn replay(
        &self,
        disk: &dyn ReadDisk,
        from: u64,
        listener: &mut Listener<'_>,
    ) -> Result<(), Failure>;

    /// The last position in it; 0 when it holds none.
    fn last_position(&self) -> u64;
}

impl Records for TrustedJournal {
    fn replay(
        &self,
        disk: &dyn ReadDisk,
        from: u64,
        listener: &mut Listener<'_>,
    ) -> Result<(), Failure> {
        self.tell(disk, from, Damage::Impossible, listener)
    }

    fn last_position(&self) -> u64 {
        self.end.and_then(|end| end.position).unwrap_or(1) - 1
    }
}

/// What a replay makes of a frame that is whole and whose records are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    /// It is refused: the journal was judged before.
    Impossible,
    /// It is passed over, as everything that was found to be damaged.
    PassedOver,
}

impl TrustedJournal {
    /// Tells `listener` every segment and frame that may hold records from position `from` on, and
    /// these records.
    pub fn replay(
        &self,
        disk: &dyn ReadDisk,
        from: u64,
        listener: &mut Listener<'_>,
    ) -> Result<(), Failure> {
        Records::replay(self, disk, from, listener)
    }

    pub(crate) fn tell(
        &self,
        disk: &dyn ReadDisk,
        from: u64,
        damage: Damage,
        listener: &mut Listener<'_>,
    ) -> Result<(), Failure> {
        for (index, segment) in self.segments.iter().enumerate() {
            let next = self.segments.get(index + 1);
            if next.is_some_and(|next| next.header.first_position <= from) {
                continue;
            }
            replay_segment(disk, segment, from, damage, listener)?;
        }
        Ok(())
    }

    /// Bytes of frames that a replay from position `from` reads.
    #[must_use]
    pub fn replay_bytes(&self, from: u64) -> u64 {
        let next = self.segments.iter().skip(1).map(|segment| segment.header.first_position);
        let behind = next.chain([u64::MAX]);
        let needed = self.segments.iter().zip(behind).filter(|(_, behind)| *behind > from);
        needed.map(|(segment, _)| segment.end_lsn - segment.header.first_frame_lsn()).sum()
    }

    /// The last position in it; 0 when it holds none.
    #[must_use]
    pub fn last_position(&self) -> u64 {
        Records::last_position(self)
    }
}

fn replay_segment(
    disk: &dyn ReadDisk,
    segment: &TrustedSegment,
    from: u64,
    damage: Damage,
    listener: &mut Listener<'_>,
) -> Result<(), Failure> {
    let context = |error| Failure::io(format!("reading {}", segment.path.display()), error);
    let file = disk.open_read(&segment.path).map_err(context)?;
    let header = &segment.header;
    let start =
        Place { file: segment.file.clone(), offset: 0, from: header.base_lsn, to: segment.end_lsn };
    listener(Replayed::Segment(segment), &start)?;
    let walker = Walker {
        file: &*file,
        header,
        declared_end: Some(segment.end_lsn),
        proved_lsn: u64::MAX,
        records: damage == Damage::PassedOver,
    };
    let mut stopped = None;
    let walked = walker.walk(&mut |place, body| {
        let frame = &place.header;
        let last = frame.first_position + u64::from(frame.records);
        if stopped.is_some() || (frame.kind == FrameKind::Entries && last <= from) {
            return Ok(());
        }
        let offset = frame.lsn - header.base_lsn;
        let file = segment.file.clone();
        let at = Place { file, offset, from: frame.lsn, to: frame.end_lsn() };
        if let Err(failure) = tell_frame(frame, body, from, &at, listener) {
            stopped = Some(failure);
        }
        Ok(())
    });
    walked.map_err(context)?;
    stopped.map_or(Ok(()), Err)
}

/// Tells a frame and its records.
fn tell_frame(
    frame: &FrameHeader,
    body: &[u8],
    from: u64,
    at: &Place,
    listener: &mut Listener<'_>,
) -> Result<(), Failure> {
    listener(Replayed::Frame(frame), at)?;
    if frame.kind != FrameKind::Entries {
        return Ok(());
    }
    let mut rest = body.get(..frame.body_len as usize).unwrap_or_default();
    while !rest.is_empty() {
        let (record, taken) = decode_record(rest).map_err(|bad| {
            let what = format!("{} offset {}: expected {}", at.file, at.offset, bad.expected);
            Failure::Refused(format!("{what}, found {}", bad.found))
        })?;
        let inside = frame.first_position..frame.first_position + u64::from(frame.records);
        if !inside.contains(&record.position) {
            let (file, offset) = (&at.file, at.offset);
            return Err(Failure::Refused(format!(
                "{file} offset {offset}: expected a record with a position in {inside:?}, found \
                 position {}",
                record.position
            )));
        }
        if record.position >= from {
            listener(Replayed::Record(&record), at)?;
        }
        rest = rest.get(taken..).unwrap_or_default();
    }
    Ok(())
}
