//! Walks the frames of one segment and notes, without judging, where they stop being valid.
//!
//! Invariants: reads only; memory is one window, not the segment; after a bad place the next valid
//! frame is looked for at every 8-byte boundary, so that nothing later hides behind damage.

use std::io;

use rekindle_env::ReadFile;
use rekindle_recovery::numbers::NUMBER_MAX;

use crate::codec::frame::{FRAME_HEADER_LEN, FRAME_MAGIC, FrameHeader, FrameKind};
use crate::codec::record::decode_record;
use crate::codec::segment::SegmentHeader;
use crate::codec::{ALIGN, Bad, bytes};

/// What is read from the disk at once.
const WINDOW_BYTES: usize = 1 << 20;

/// A joint between frames: what the next frame must follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joint {
    /// The address of the next frame.
    pub lsn: u64,
    /// Header checksum of the frame before; `None` behind damage.
    pub chain: Option<u32>,
    /// Position of the next record; `None` behind damage.
    pub position: Option<u64>,
}

/// A range in which no frame is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRange {
    /// Where the valid frames before it end.
    pub before: Joint,
    /// Behind its last byte: the next valid frame, or the end of bytes that are not zero.
    pub to: u64,
    /// The highest durable address that a later frame of this segment carries.
    pub later_durable: u64,
    /// Position of the first record behind it, where frames follow.
    pub later_position: Option<u64>,
    /// What is wrong with its first frame.
    pub bad: Bad,
}

/// A valid frame: its address, its length, and the joint behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FramePlace {
    /// Its header.
    pub header: FrameHeader,
    /// Its checksum, to which the next frame is chained.
    pub crc: u32,
}

/// What a walk saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Walk {
    /// Where the last valid frame ends.
    pub end: Option<Joint>,
    /// Damage, in order.
    pub bad: Vec<BadRange>,
    /// The highest durable address that a valid frame carries.
    pub proved_lsn: u64,
    /// The valid frames at or behind `proved_lsn`.
    pub unproven: Vec<FramePlace>,
    /// Valid frames and records.
    pub frames: u64,
    /// Records in them.
    pub records: u64,
}

/// Called for each valid frame with its body.
pub type Visit<'a> = dyn FnMut(&FramePlace, &[u8]) -> io::Result<()> + 'a;

/// What to walk.
pub struct Walker<'a> {
    /// The segment's file.
    pub file: &'a dyn ReadFile,
    /// Its header.
    pub header: &'a SegmentHeader,
    /// Where frames must end exactly, where a successor declares it.
    pub declared_end: Option<u64>,
    /// Everything below was proved by `tip` or `meta`.
    pub proved_lsn: u64,
    /// Whether each record's own checksum and position are checked too.
    pub records: bool,
}

/// A sliding window over a file.
struct Window<'a> {
    file: &'a dyn ReadFile,
    start: u64,
    buffer: Vec<u8>,
    filled: usize,
}

impl<'a> Window<'a> {
    fn new(file: &'a dyn ReadFile) -> Self {
        Self { file, start: 0, buffer: Vec::new(), filled: 0 }
    }

    /// Up to `len` bytes at `offset`; fewer at the end of the file.
    fn at(&mut self, offset: u64, len: usize) -> io::Result<&[u8]> {
        let inside = offset.checked_sub(self.start).and_then(|o| usize::try_from(o).ok());
        let held = inside.filter(|o| o.saturating_add(len) <= self.filled);
        let from = if let Some(from) = held {
            from
        } else {
            self.buffer.resize(len.max(WINDOW_BYTES), 0);
            self.filled = self.file.read_at(&mut self.buffer, offset)?;
            assert!(self.filled <= self.buffer.len(), "a read gives no more than was asked for");
            self.start = offset;
            0
        };
        let to = from.saturating_add(len).min(self.filled);
        Ok(self.buffer.get(from..to).unwrap_or_default())
    }
}

impl Walker<'_> {
    /// Walks from the first frame.
    pub fn walk(&self, visit: &mut Visit<'_>) -> io::Result<Walk> {
        let mut window = Window::new(self.file);
        let mut walk = Walk { proved_lsn: self.proved_lsn, ..Walk::default() };
        let mut joint = Joint {
            lsn: self.header.first_frame_lsn(),
            chain: Some(self.header.prev_chain),
            position: Some(self.header.first_position),
        };
        loop {
            if self.declared_end.is_some_and(|end| joint.lsn >= end) {
                break;
            }
            match self.frame_at(&mut window, &joint)? {
                Ok(place) => {
                    visit(&place, self.body(&mut window, &place)?)?;
                    walk.note(&place);
                    joint = behind(&place, &joint);
                }
                Err(bad) => match self.resume(&mut window, &joint, bad, &mut walk)? {
                    Some(next) => joint = next,
                    None => break,
                },
            }
        }
        debug_assert!(joint.lsn >= self.header.first_frame_lsn() && joint.lsn <= self.limit());
        debug_assert!(walk.bad.windows(2).all(|w| w.iter().is_sorted_by_key(|b| b.before.lsn)));
        walk.end = Some(joint);
        let proved = walk.proved_lsn;
        walk.unproven.retain(|place| place.header.lsn >= proved);
        Ok(walk)
    }

    /// The offset of an address in the file.
    fn offset(&self, lsn: u64) -> u64 {
        lsn - self.header.base_lsn
    }

    /// The limit of frames: the declared end, or the end of the file.
    fn limit(&self) -> u64 {
        self.declared_end.unwrap_or_else(|| self.header.end_lsn())
    }

    /// The frame that must stand at `joint`, or what is wrong there.
    fn frame_at(
        &self,
        window: &mut Window<'_>,
        joint: &Joint,
    ) -> io::Result<Result<FramePlace, Bad>> {
        let bytes = window.at(self.offset(joint.lsn), FRAME_HEADER_LEN)?;
        if bytes::all_zero(bytes) {
            return Ok(Err(Bad::new("a frame", "zeros")));
        }
        let (header, crc) = match FrameHeader::decode(bytes, self.header.nonce, joint.lsn) {
            Ok(decoded) => decoded,
            Err(bad) => return Ok(Err(bad)),
        };
        let place = FramePlace { header, crc };
        if header.end_lsn() > self.limit() {
            let found = format!("a frame of {} bytes", header.frame_len());
            return Ok(Err(Bad::new(format!("a frame that ends by {}", self.limit()), found)));
        }
        if let Some(chain) = joint.chain.filter(|chain| *chain != header.prev) {
            let expected = format!("a frame chained to {chain:08x}");
            return Ok(Err(Bad::new(expected, format!("{:08x}", header.prev))));
        }
        let numbered = header.kind == FrameKind::Entries;
        let other = joint.position.filter(|p| numbered && *p != header.first_position);
        if let Some(position) = other {
            let found = header.first_position.to_string();
            return Ok(Err(Bad::new(format!("position {position}"), found)));
        }
        let body = self.body(window, &place)?;
        Ok(check_body(&header, body, self.records).map(|()| place))
    }

    /// The padded body of a frame.
    fn body<'w>(&self, window: &'w mut Window<'_>, place: &FramePlace) -> io::Result<&'w [u8]> {
        let len = usize::try_from(place.header.frame_len()).unwrap_or(usize::MAX);
        let frame = window.at(self.offset(place.header.lsn), len)?;
        Ok(frame.get(FRAME_HEADER_LEN..).unwrap_or_default())
    }

    /// Notes the damage at `joint`; returns where valid frames go on, if they do.
    fn resume(
        &self,
        window: &mut Window<'_>,
        joint: &Joint,
        bad: Bad,
        walk: &mut Walk,
    ) -> io::Result<Option<Joint>> {
        let (next, garbage_end) = self.search(window, joint.lsn + ALIGN)?;
        let zeros = bad.found == "zeros";
        if next.is_none() && zeros && garbage_end <= joint.lsn && self.declared_end.is_none() {
            return Ok(None);
        }
        let to = next.as_ref().map_or_else(
            || self.declared_end.unwrap_or(garbage_end.max(joint.lsn + ALIGN)),
            |place| place.header.lsn,
        );
        let later_position = next.as_ref().and_then(|place| first_behind(&place.header));
        let before = *joint;
        walk.bad.push(BadRange { before, to, later_durable: 0, later_position, bad });
        let follow = next.map(|place| Joint { lsn: place.header.lsn, chain: None, position: None });
        // A frame whose header is right but whose body is not would be found again for ever.
        match follow {
            Some(next) if self.frame_at(window, &next)?.is_err() => self.skip(window, next, walk),
            other => Ok(other),
        }
    }

    /// Goes on behind a frame that is found by its header and has a damaged body.
    fn skip(
        &self,
        window: &mut Window<'_>,
        mut at: Joint,
        walk: &mut Walk,
    ) -> io::Result<Option<Joint>> {
        loop {
            let bytes = window.at(self.offset(at.lsn), FRAME_HEADER_LEN)?;
            if let Ok((header, _)) = FrameHeader::decode(bytes, self.header.nonce, at.lsn) {
                walk.prove(header.durable_lsn);
            }
            let (next, garbage_end) = self.search(window, at.lsn + ALIGN)?;
            let to = next.as_ref().map_or(garbage_end, |place| place.header.lsn);
            if let Some(last) = walk.bad.last_mut() {
                last.to = last.to.max(to);
                last.later_position = next.as_ref().and_then(|place| first_behind(&place.header));
            }
            let Some(place) = next else { return Ok(None) };
            at = Joint { lsn: place.header.lsn, chain: None, position: None };
            if self.frame_at(window, &at)?.is_ok() {
                return Ok(Some(at));
            }
        }
    }

    /// The next address from `from` on at which a frame header is valid, and where the last byte
    /// that is not zero ends.
    fn search(&self, window: &mut Window<'_>, from: u64) -> io::Result<(Option<FramePlace>, u64)> {
        let (mut at, mut nonzero_end) = (from, 0);
        let limit = self.limit();
        while at < limit {
            // The preallocated rest of a segment is never written: skipping it saves reading zeros.
            let written = self.file.next_data(self.offset(at))? + self.header.base_lsn;
            at = at.max(written - written % ALIGN);
            if at >= limit {
                break;
            }
            let want = usize::try_from(limit - at).unwrap_or(usize::MAX).min(WINDOW_BYTES);
            let chunk = window.at(self.offset(at), want)?;
            if chunk.is_empty() {
                break;
            }
            let step = chunk.len();
            if !bytes::all_zero(chunk) {
                let found = chunk.chunks(8).enumerate().filter(|(_, word)| !bytes::all_zero(word));
                let mut candidates = Vec::new();
                for (index, word) in found {
                    let lsn = at + index as u64 * ALIGN;
                    nonzero_end = lsn + ALIGN;
                    if word.starts_with(FRAME_MAGIC) {
                        candidates.push(lsn);
                    }
                }
                for lsn in candidates {
                    let bytes = window.at(self.offset(lsn), FRAME_HEADER_LEN)?;
                    if let Ok((header, crc)) = FrameHeader::decode(bytes, self.header.nonce, lsn) {
                        return Ok((Some(FramePlace { header, crc }), nonzero_end));
                    }
                }
            }
            at += step as u64;
        }
        Ok((None, nonzero_end))
    }
}

impl Walk {
    fn note(&mut self, place: &FramePlace) {
        self.frames += 1;
        self.records += u64::from(place.header.records);
        self.prove(place.header.durable_lsn);
        let proved = self.proved_lsn;
        self.unproven.retain(|earlier| earlier.header.lsn >= proved);
        if place.header.lsn >= proved {
            self.unproven.push(*place);
        }
    }

    fn prove(&mut self, durable_lsn: u64) {
        self.proved_lsn = self.proved_lsn.max(durable_lsn);
        for bad in &mut self.bad {
            bad.later_durable = bad.later_durable.max(durable_lsn);
        }
    }
}

/// The joint behind a valid frame; control frames have no positions.
fn behind(place: &FramePlace, before: &Joint) -> Joint {
    let header = &place.header;
    let position = match header.kind {
        FrameKind::Entries => Some(header.first_position + u64::from(header.records)),
        _ => before.position.or_else(|| first_behind(header)),
    };
    Joint { lsn: header.end_lsn(), chain: Some(place.crc), position }
}

/// The position of the first record behind the start of a valid frame, as far as the frame says it.
/// A clean end says it where everything in front of it was synced: what was committed is the last.
fn first_behind(header: &FrameHeader) -> Option<u64> {
    match header.kind {
        FrameKind::Entries => Some(header.first_position),
        FrameKind::Seal if header.durable_lsn == header.lsn => {
            header.committed_position.checked_add(1).filter(|position| *position <= NUMBER_MAX)
        }
        _ => None,
    }
}

/// Body checksum, padding and, where asked, each record.
fn check_body(header: &FrameHeader, body: &[u8], records: bool) -> Result<(), Bad> {
    let len = header.body_len as usize;
    let Some(content) = body.get(..len) else {
        return Err(Bad::new(format!("a body of {len} bytes"), format!("{} bytes", body.len())));
    };
    let crc = crc32c::crc32c(content);
    if crc != header.body_crc {
        let expected = format!("frame body checksum {:08x}", header.body_crc);
        return Err(Bad::new(expected, format!("{crc:08x}")));
    }
    if !bytes::all_zero(body.get(len..).unwrap_or_default()) {
        return Err(Bad::new("zeros behind the frame's body", "other bytes"));
    }
    if !records || header.kind != FrameKind::Entries {
        return Ok(());
    }
    let (mut rest, mut position, mut count) = (content, header.first_position, 0_u16);
    while !rest.is_empty() {
        let (record, taken) = decode_record(rest)?;
        if record.position != position {
            let expected = format!("record position {position}");
            return Err(Bad::new(expected, record.position.to_string()));
        }
        (position, count) = (position + 1, count.saturating_add(1));
        rest = rest.get(taken..).unwrap_or_default();
    }
    if count == header.records {
        Ok(())
    } else {
        Err(Bad::new(format!("{} records", header.records), count.to_string()))
    }
}

#[cfg(test)]
mod tests;
