//! Scan: lists the journal, reads every segment's header, walks the frames that matter.
//!
//! Invariants: reads only; judges nothing. Segments are visited from the newest to the oldest,
//! because each header declares where the valid part of the one before ends.

use std::io;

use rekindle_env::{Entry, EntryKind, ReadDisk, durable};
use rekindle_recovery::Failure;
use rekindle_recovery::numbers::is_near;

use super::JournalLayer;
use super::meta::{NO_FILE, entries, is_no_file};
use super::walk::{Walk, Walker};
use crate::codec::Bad;
use crate::codec::segment::{HEADER_LEN, OpenReason, SegmentHeader, SegmentHeaderRead};
use crate::codec::tip::Tip;
use crate::layout::parse_segment_name;

/// How much is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// All headers; frames only of a segment of which nothing else tells whether it served.
    Headers,
    /// What a start needs: all headers, the frames from `replay_from` on.
    Start,
    /// Every byte (`verify`).
    Full,
}

/// `tip` as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TipRead {
    /// No file.
    Missing,
    /// Damaged.
    Bad(Bad),
    /// Whole.
    Valid(Tip),
}

impl TipRead {
    /// What it proves: 0 where it proves nothing.
    pub(super) fn durable_lsn(&self) -> u64 {
        match self {
            Self::Valid(tip) => tip.durable_lsn,
            Self::Missing | Self::Bad(_) => 0,
        }
    }
}

/// How a segment stands to the chain of segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Part of the chain.
    Chained,
    /// Not part of it, and newer than what `meta` names or skipped by a successor.
    Stray,
    /// Older than the oldest that is needed: its removal was interrupted.
    Leftover,
    /// Written anew by a repair, whose first segment has the number `by`.
    Superseded {
        /// The first segment of the repair.
        by: u64,
    },
}

/// What the successor says of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Declared {
    /// The segment's number.
    pub seq: u64,
    /// Where its valid part ends.
    pub end_lsn: u64,
    /// The chain there.
    pub chain: u32,
    /// Position of the successor's first record.
    pub next_position: u64,
    /// Address of the successor's first byte.
    pub next_base: u64,
    /// Number of the successor.
    pub by: u64,
    /// The successor is a repair's: addresses and positions may have a gap in front of it.
    pub repair: bool,
}

impl Declared {
    fn by(successor: &SegmentHeader) -> Self {
        Self {
            seq: successor.prev_seq,
            end_lsn: successor.prev_end_lsn,
            chain: successor.prev_chain,
            next_position: successor.first_position,
            next_base: successor.base_lsn,
            by: successor.seq,
            repair: successor.open_reason == OpenReason::Repair,
        }
    }

    /// Whether these addresses follow on from a file that ends here.
    #[must_use]
    pub fn joins(&self, file_end_lsn: u64) -> bool {
        joins(file_end_lsn, self.next_base, self.repair)
    }

    /// Whether the successor's first position follows on from this one.
    #[must_use]
    pub fn continues(&self, position: u64) -> bool {
        if self.repair { position <= self.next_position } else { position == self.next_position }
    }
}

/// Whether a segment that begins at `base` follows a file that ends at `end`. A repair leaves out
/// the addresses of what it replaced.
pub(crate) fn joins(end: u64, base: u64, repair: bool) -> bool {
    if repair { end <= base } else { end == base }
}

/// A segment as it was found.
#[derive(Clone, Debug)]
pub struct SegmentPiece {
    /// Its number.
    pub seq: u64,
    /// Its length; `None` when the file is missing.
    pub file_len: Option<u64>,
    /// Its header.
    pub header: SegmentHeaderRead,
    /// How it stands.
    pub standing: Standing,
    /// What its successor says of it; `None` for the last.
    pub declared: Option<Declared>,
    /// Position of the first record behind it, as far as known.
    pub behind_position: Option<u64>,
    /// Its frames; `None` when they were not read.
    pub walk: Option<Walk>,
}

impl SegmentPiece {
    /// The header where it is valid.
    #[must_use]
    pub fn valid(&self) -> Option<&SegmentHeader> {
        match &self.header {
            SegmentHeaderRead::Valid(header) => Some(header),
            _ => None,
        }
    }

    /// Whether a repair wrote this segment in the place of others, `seq` among them.
    fn replaces(&self, seq: u64) -> bool {
        let between = |header: &SegmentHeader| header.prev_seq < seq && seq < header.seq;
        self.valid().is_some_and(|it| it.open_reason == OpenReason::Repair && between(it))
    }
}

/// All pieces of a journal.
#[derive(Debug)]
pub struct JournalPieces {
    pub(super) tip: TipRead,
    /// Newest first.
    pub(super) segments: Vec<SegmentPiece>,
    pub(super) unknown_files: Vec<String>,
}

impl JournalLayer {
    pub(super) fn scan_journal(&self, disk: &dyn ReadDisk) -> Result<JournalPieces, Failure> {
        let tip = self.read_tip(disk)?;
        let (mut found, mut unknown_files) = (Vec::new(), Vec::new());
        let newest = self.newest_named().unwrap_or(0);
        for entry in entries(disk, &self.layout.journal_dir())? {
            // A name far behind the newest would take the numbers of all segments to come.
            match parse_segment_name(&entry.name).filter(|seq| is_near(*seq, newest)) {
                Some(seq) => found.push((seq, entry)),
                None => unknown_files.push(entry.name),
            }
        }
        found.sort_unstable_by_key(|(seq, _)| std::cmp::Reverse(*seq));
        let mut chain = Chain { layer: self, disk, tip: &tip, next: None, segments: Vec::new() };
        for (seq, entry) in found {
            chain.visit(seq, &entry)?;
        }
        let segments = chain.finish();
        Ok(JournalPieces { tip, segments, unknown_files })
    }

    fn read_tip(&self, disk: &dyn ReadDisk) -> Result<TipRead, Failure> {
        if is_no_file(disk, &self.layout.tip())? {
            return Ok(TipRead::Bad(Bad::new("a tip of 512 bytes", NO_FILE)));
        }
        match durable::read_file(disk, &self.layout.tip(), 1 << 20) {
            Ok(bytes) => {
                let tip = Tip::decode(&bytes, &self.store_id);
                Ok(tip.map_or_else(TipRead::Bad, TipRead::Valid))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(TipRead::Missing),
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                Ok(TipRead::Bad(Bad::new("512 bytes", "a larger file")))
            }
            Err(error) => Err(Failure::io("reading tip", error)),
        }
    }

    /// Whether this header is that of segment `seq` of this journal.
    pub(super) fn owns(&self, header: &SegmentHeader, seq: u64) -> bool {
        header.store_id == self.store_id
            && header.node == self.node
            && header.shard == self.layout.shard
            && header.seq == seq
    }

    /// Everything below is proved by `tip` or `meta`, as far as it lies in that segment.
    fn proved_outside(&self, tip: &TipRead, header: &SegmentHeader) -> u64 {
        let named = self.newest_named().is_some_and(|newest| header.seq <= newest);
        let carried = if named { header.carried_end_lsn() } else { 0 };
        tip.durable_lsn().max(self.clean_end_lsn()).max(carried).min(header.end_lsn())
    }
}

/// What is expected of the next older segment.
#[derive(Clone, Copy, Debug)]
enum Expected {
    /// The successor's header says.
    Declared(Declared),
    /// The successor's header is damaged: the next older file will have to do.
    Unknown,
}

struct Chain<'a> {
    layer: &'a JournalLayer,
    disk: &'a dyn ReadDisk,
    tip: &'a TipRead,
    next: Option<Expected>,
    segments: Vec<SegmentPiece>,
}

impl Chain<'_> {
    fn visit(&mut self, seq: u64, entry: &Entry) -> Result<(), Failure> {
        let (path, len) = (self.layer.layout.segment(seq), entry.len);
        let context = |error| Failure::io(format!("reading {}", path.display()), error);
        let file = match entry.kind {
            EntryKind::File => Some(self.disk.open_read(&path).map_err(context)?),
            EntryKind::Directory | EntryKind::Other => None,
        };
        let header = match &file {
            Some(file) => {
                let mut bytes = vec![0; usize::try_from(HEADER_LEN).unwrap_or(4096)];
                let read = file.read_at(&mut bytes, 0).map_err(context)?;
                SegmentHeader::decode(bytes.get(..read).unwrap_or_default())
            }
            None => SegmentHeaderRead::Bad(Bad::new("a segment", NO_FILE)),
        };
        let named = self.layer.newest_named().is_some_and(|newest| seq <= newest);
        let mut piece = SegmentPiece {
            seq,
            file_len: Some(len),
            header,
            standing: Standing::Chained,
            declared: None,
            behind_position: None,
            walk: None,
        };
        let skipped = |declared: &Declared| declared.seq < seq && declared.repair;
        match self.next {
            Some(Expected::Declared(declared)) if skipped(&declared) => {
                piece.standing = Standing::Superseded { by: declared.by };
                self.segments.push(piece);
                return Ok(());
            }
            _ if self.layer.oldest_named().is_some_and(|oldest| seq < oldest) => {
                piece.standing = Standing::Leftover;
                self.segments.push(piece);
                return Ok(());
            }
            Some(Expected::Declared(declared)) if declared.seq < seq => {
                piece.standing = Standing::Stray;
                self.segments.push(piece);
                return Ok(());
            }
            Some(Expected::Declared(declared)) => {
                self.missing_down_to(declared, seq);
                piece.declared = Some(declared).filter(|declared| declared.seq == seq);
            }
            Some(Expected::Unknown) | None => {}
        }
        piece.behind_position = piece.declared.map(|declared| declared.next_position);
        // A header that belongs elsewhere says nothing about this journal.
        let own = piece.valid().filter(|header| self.layer.owns(header, seq)).cloned();
        if let (Some(header), Some(file)) = (own, &file) {
            let whole = len == header.file_size;
            if self.wanted(&piece, named) && (whole || named) {
                let walk = self.walk(&**file, &header, &piece).map_err(context)?;
                piece.walk = Some(walk);
            }
            if self.next.is_none() && !named && !self.served(&piece, &header) {
                piece.standing = Standing::Stray;
            } else {
                self.next = Some(Expected::Declared(Declared::by(&header)));
            }
        } else if self.next.is_none() && !named {
            piece.standing = Standing::Stray;
        } else {
            self.next = Some(Expected::Unknown);
        }
        self.segments.push(piece);
        Ok(())
    }

    /// Whether a segment that the newest whole `meta` does not name may have served. It may when a
    /// copy is damaged, for that one may have named it. With two whole copies it did not: what the
    /// kernel's cache shows of it was perhaps never synced, and nothing was acknowledged from it.
    /// Of a repair the last segment says that all are there: it holds nothing, every other one
    /// something, and it is made when the others are synced. Of the others the first may be there
    /// without what follows it.
    fn served(&self, piece: &SegmentPiece, header: &SegmentHeader) -> bool {
        let whole = piece.file_len == Some(header.file_size);
        let both = self.layer.known().is_some() && self.layer.meta.intact;
        let half = header.open_reason == OpenReason::Repair && header.carried_len > 0;
        !both && whole && !half && established(piece, header)
    }

    /// Whether this segment's frames must be read. `named`: by the newest whole `meta`, or older.
    fn wanted(&self, piece: &SegmentPiece, named: bool) -> bool {
        match self.layer.depth {
            Depth::Headers => self.next.is_none() && !named && !self.layer.meta.intact,
            Depth::Start => {
                piece.behind_position.is_none_or(|behind| behind > self.layer.replay_from)
            }
            Depth::Full => true,
        }
    }

    fn walk(
        &self,
        file: &dyn rekindle_env::ReadFile,
        header: &SegmentHeader,
        piece: &SegmentPiece,
    ) -> io::Result<Walk> {
        let inside = |end: u64| end.clamp(header.first_frame_lsn(), header.end_lsn());
        let walker = Walker {
            file,
            header,
            declared_end: piece.declared.map(|declared| inside(declared.end_lsn)),
            proved_lsn: self.layer.proved_outside(self.tip, header),
            // Of the last segment always: frames that a start would carry on must be whole.
            records: self.layer.depth == Depth::Full || piece.declared.is_none(),
        };
        walker.walk(&mut |_, _| Ok(()))
    }

    /// Notes the segment that a successor names and that is not there.
    fn missing_down_to(&mut self, declared: Declared, seq: u64) {
        if declared.seq > seq {
            self.segments.push(missing(declared.seq, Some(declared)));
            self.next = Some(Expected::Unknown);
        }
    }

    /// Notes segments that `meta` or a successor names and that are not there.
    fn finish(mut self) -> Vec<SegmentPiece> {
        let (oldest, newest) = (self.layer.oldest_named(), self.layer.newest_named());
        let chained = |segments: &[SegmentPiece], seq| {
            let chained = |s: &&SegmentPiece| s.standing == Standing::Chained;
            segments.iter().filter(chained).any(|s| s.seq == seq || s.replaces(seq))
        };
        if let Some(newest) = newest.filter(|seq| !chained(&self.segments, *seq)) {
            let above = |s: &SegmentPiece| s.seq > newest;
            let at = self.segments.iter().take_while(|s| above(s)).count();
            self.segments.insert(at, missing(newest, None));
        }
        if let Some(Expected::Declared(declared)) = self.next {
            let needed = oldest.is_some_and(|oldest| declared.seq >= oldest);
            if needed && !chained(&self.segments, declared.seq) {
                let piece = missing(declared.seq, Some(declared));
                let at = self.segments.iter().take_while(|s| s.seq > declared.seq).count();
                self.segments.insert(at, piece);
            }
        }
        if let Some(oldest) = oldest.filter(|seq| !chained(&self.segments, *seq)) {
            let at = self.segments.iter().take_while(|s| s.seq > oldest).count();
            let lowest = self.segments.iter().filter(|s| s.standing == Standing::Chained);
            let behind = lowest.filter_map(|s| s.valid()).map(|header| header.first_position).min();
            let mut piece = missing(oldest, None);
            piece.behind_position = behind;
            self.segments.insert(at, piece);
        }
        self.segments
    }
}

fn missing(seq: u64, declared: Option<Declared>) -> SegmentPiece {
    SegmentPiece {
        seq,
        file_len: None,
        header: SegmentHeaderRead::Bad(Bad::new("a segment", "no file")),
        standing: Standing::Chained,
        declared,
        behind_position: declared.map(|declared| declared.next_position),
        walk: None,
    }
}

/// Whether everything that a start writes before it serves is there.
fn established(piece: &SegmentPiece, header: &SegmentHeader) -> bool {
    let carried_end = header.carried_end_lsn();
    piece.walk.as_ref().is_some_and(|walk| {
        let whole_until = walk.bad.first().map(|bad| bad.before.lsn);
        let end = whole_until.or(walk.end.map(|end| end.lsn)).unwrap_or(0);
        end >= carried_end
    })
}
