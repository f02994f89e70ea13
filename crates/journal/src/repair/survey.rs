//! What of a journal can be read, in order, and the holes between.
//!
//! Invariants: reads only; a hole is a range of positions that no readable record has and that no
//! accepted loss stands for; positions that go backwards contradict each other and are refused.

use rekindle_env::ReadDisk;
use rekindle_recovery::{Failure, Place};

use crate::api::{Record, RecordKind};
use crate::codec::record::loss_end;
use crate::recovery::judge::TrustedJournal;
use crate::replay::{Damage, Replayed};

/// Positions that nothing readable has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// The first.
    pub from_position: u64,
    /// The last.
    pub to_position: u64,
    /// Where the last frame with records before it ends.
    pub from_lsn: u64,
    /// Where the next one, or the segment that says where positions go on, begins.
    pub end_lsn: u64,
}

/// What a survey tells, in order.
#[derive(Debug)]
pub enum Surveyed<'a> {
    /// A record.
    Record(&'a Record<'a>, &'a Place),
    /// Nothing, where something was.
    Hole(Hole),
}

/// Where a survey ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Survey {
    /// The position behind everything that can be read.
    pub next_position: u64,
    /// Where the last thing ends that says so: a frame with records, or a segment's header.
    pub end_lsn: u64,
}

impl TrustedJournal {
    /// Tells every readable record and every hole from position `from` on, where the state of the
    /// oldest usable checkpoint ends (1: none).
    pub fn survey(
        &self,
        disk: &dyn ReadDisk,
        from: u64,
        listener: &mut dyn FnMut(Surveyed<'_>) -> Result<(), Failure>,
    ) -> Result<Survey, Failure> {
        let first = self.segments.first().map_or(from, |first| first.header.first_position);
        let mut at = Survey { next_position: first.min(from), end_lsn: 0 };
        self.tell(disk, 1, Damage::PassedOver, &mut |told, place| match told {
            Replayed::Segment(segment) => {
                let header = &segment.header;
                at.reach(header.first_position, header.base_lsn, place, listener)?;
                at.end_lsn = at.end_lsn.max(header.first_frame_lsn());
                Ok(())
            }
            Replayed::Frame(frame) => {
                if frame.first_position > 0 {
                    at.reach(frame.first_position, frame.lsn, place, listener)?;
                    at.end_lsn = frame.end_lsn();
                }
                Ok(())
            }
            Replayed::Record(record) => {
                at.reach(record.position, at.end_lsn, place, listener)?;
                at.next_position = record.position + 1;
                if record.kind == RecordKind::Loss {
                    let to = loss_end(record.payload).unwrap_or(record.position);
                    at.next_position = at.next_position.max(to + 1);
                }
                listener(Surveyed::Record(record, place))
            }
        })?;
        Ok(at)
    }
}

impl Survey {
    /// Goes on at a position; what lies between is a hole.
    fn reach(
        &mut self,
        position: u64,
        lsn: u64,
        place: &Place,
        listener: &mut dyn FnMut(Surveyed<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        if position < self.next_position {
            let (file, expected) = (&place.file, self.next_position);
            return Err(Failure::Refused(format!(
                "{file}: expected position {expected} or a later one, found {position}: the \
                 segments contradict each other"
            )));
        }
        if position > self.next_position {
            let (from_lsn, end_lsn) = (self.end_lsn, lsn.max(self.end_lsn));
            let (from_position, to_position) = (self.next_position, position - 1);
            listener(Surveyed::Hole(Hole { from_position, to_position, from_lsn, end_lsn }))?;
            self.next_position = position;
        }
        Ok(())
    }
}
