//! Act: sets aside what never served, opens a new segment, writes the unproven frames again.
//!
//! Invariants: repeatable after a crash at any of its writes; the old segment is not written to but
//! for releasing space that the new header declared dead; nothing is served before the new segment,
//! the metadata that names it and all directories are synced.

use std::io;
use std::sync::{Arc, Mutex};

use rekindle_env::{Disk, WriteFile, durable};
use rekindle_recovery::{Failure, quarantine};

use super::judge::{TrustedJournal, TrustedSegment};
use super::walk::Joint;
use super::{JournalLayer, Step};
use crate::api::Durable;
use crate::codec::frame::{FRAME_HEADER_LEN, FrameHeader, FrameKind};
use crate::codec::meta::Meta;
use crate::codec::segment::{HEADER_LEN, OpenReason, SegmentHeader};
use crate::codec::tip::Tip;
use crate::layout::segment_name;
use crate::meta_store::{MetaStore, SegmentRef};
use crate::writer::{SegmentWriter, WriterCounters, create_segment, release_rest, sync_segment};

/// The most bytes of one torn tail that are kept.
const QUARANTINE_TAIL_BYTES: u64 = 4 << 20;

/// A journal that is ready to be started.
pub struct Recovered {
    pub(crate) writer: SegmentWriter,
    /// The run.
    pub incarnation: u64,
    /// Frames that were written again.
    pub carried_frames: u64,
}

impl std::fmt::Debug for Recovered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recovered").field("incarnation", &self.incarnation).finish_non_exhaustive()
    }
}

fn io_context<T>(context: &str, result: io::Result<T>) -> Result<T, Failure> {
    result.map_err(|error| Failure::io(context, error))
}

impl JournalLayer {
    pub(crate) fn disk(&self) -> &dyn Disk {
        &*self.env.disk
    }

    pub(super) fn act_on(
        &self,
        trusted: &TrustedJournal,
        steps: &[Step],
    ) -> Result<Recovered, Failure> {
        io_context("making directories", self.make_directories())?;
        let mut meta = self.meta_store(trusted);
        self.heal_meta(trusted, &mut meta)?;
        let mut recovered = None;
        for step in steps {
            match step {
                Step::Remove { seq } => {
                    let removed = MetaStore::remove(self.disk(), &self.layout, &[*seq]);
                    io_context("removing a segment that was given up", removed)?;
                }
                Step::Quarantine { seq } => {
                    let set_aside = self.set_aside(*seq);
                    io_context("setting a segment aside", set_aside)?;
                }
                Step::Supersede { seq, by } => {
                    io_context("keeping what a repair replaced", self.supersede(*seq, *by))?;
                }
                Step::QuarantineTail { seq, offset, len } => {
                    let copied = self.copy_tail(*seq, *offset, *len);
                    io_context("copying a torn tail to the quarantine", copied)?;
                }
                Step::Open { reason } => {
                    let opened = self.open(trusted, *reason, &mut meta);
                    recovered = Some(io_context("opening a new segment", opened)?);
                }
            }
        }
        let none = || Failure::Refused("the plan opens no segment".to_owned());
        let (header, file, end) = recovered.ok_or_else(none)?;
        Ok(self.recovered(trusted, header, file, end, meta))
    }

    /// Writes a bad copy of the metadata again. First of all: a segment whose making is interrupted
    /// is told from a lost one by two whole copies that do not name it. What only the bad copy may
    /// have named has perhaps served, so both name it from here on.
    pub(crate) fn heal_meta(
        &self,
        trusted: &TrustedJournal,
        meta: &mut MetaStore,
    ) -> Result<(), Failure> {
        if self.known().is_none() || self.meta.intact {
            return Ok(());
        }
        let newest = trusted.segments.last().map_or(0, |last| last.header.seq);
        io_context("writing the bad meta copy again", meta.write_again(newest))
    }

    pub(crate) fn make_directories(&self) -> io::Result<()> {
        let dir = self.layout.journal_dir();
        if durable::list_folder(self.disk(), &dir)?.is_none() {
            let wall_ms = self.env.clock.wall_ms();
            quarantine::set_aside(self.disk(), &self.layout.store, wall_ms, &dir)?;
        }
        durable::create_dir_all(self.disk(), &dir)
    }

    /// Moves a segment that never served to the quarantine.
    pub(crate) fn set_aside(&self, seq: u64) -> io::Result<()> {
        let wall_ms = self.env.clock.wall_ms();
        quarantine::set_aside(self.disk(), &self.layout.store, wall_ms, &self.layout.segment(seq))
    }

    /// Keeps a segment that the repair whose first segment is `by` wrote anew.
    pub(crate) fn supersede(&self, seq: u64, by: u64) -> io::Result<()> {
        let dir = self.layout.repair_dir(by);
        quarantine::make(self.disk(), &self.layout.quarantine_dir())?;
        durable::create_dir_all(self.disk(), &dir)?;
        durable::rename(self.disk(), &self.layout.segment(seq), &dir.join(segment_name(seq)))
    }

    /// Copies the bytes behind the valid part, so that nothing is ever just gone.
    fn copy_tail(&self, seq: u64, offset: u64, len: u64) -> io::Result<()> {
        let source = self.disk().open_read(&self.layout.segment(seq))?;
        let want = usize::try_from(len.min(QUARANTINE_TAIL_BYTES)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; want];
        let read = source.read_at(&mut bytes, offset)?;
        bytes.truncate(read);
        let (wall_ms, len) = (self.env.clock.wall_ms(), bytes.len() as u64);
        let name = format!("{}-{offset:x}", segment_name(seq));
        let dir = self.layout.quarantine_dir();
        let target = quarantine::place(self.disk(), &dir, wall_ms, &name, len)?;
        durable::create_file(self.disk(), &target, &bytes)
    }

    /// Opens the new segment, carrying the unproven frames, and names it.
    fn open(
        &self,
        trusted: &TrustedJournal,
        reason: OpenReason,
        meta: &mut MetaStore,
    ) -> io::Result<(SegmentHeader, Box<dyn WriteFile>, Joint)> {
        let header = self.new_header(trusted, reason);
        assert!(header.seq > trusted.highest_seq, "a segment's number is never reused");
        assert!(header.incarnation > trusted.incarnation, "each run has its own number");
        debug_assert!(header.prev_end_lsn <= header.base_lsn);
        let file = create_segment(self.disk(), &self.layout, &header)?;
        let end = self.carry(trusted, &header, &*file)?;
        sync_segment(self.disk(), &self.layout, &*file)?;
        let named = SegmentRef { seq: header.seq, first_position: header.first_position };
        meta.name_segment(named, header.incarnation)?;
        self.write_tip(&tip_at(&header, &end))?;
        if let Some(last) = trusted.segments.last() {
            let old = self.disk().open_write(&last.path)?;
            let used = header.prev_end_lsn - last.header.base_lsn;
            release_rest(&*old, used, last.header.file_size)?;
        }
        Ok((header, file, end))
    }

    fn recovered(
        &self,
        trusted: &TrustedJournal,
        header: SegmentHeader,
        file: Box<dyn WriteFile>,
        end: Joint,
        meta: MetaStore,
    ) -> Recovered {
        let (tip, incarnation) = (tip_at(&header, &end), header.incarnation);
        let position = end.position.unwrap_or(1) - 1;
        assert_eq!(position, trusted.last_position(), "positions go on where the journal ended");
        let writer = SegmentWriter {
            env: self.env.clone(),
            layout: self.layout.clone(),
            config: self.config,
            meta: Arc::new(Mutex::new(meta)),
            counters: Arc::new(WriterCounters::default()),
            tip: Arc::new(Mutex::new(tip)),
            incarnation,
            file,
            header,
            end_lsn: end.lsn,
            chain: tip.chain,
            position,
            durable: Durable { lsn: end.lsn, position },
        };
        Recovered { writer, incarnation, carried_frames: trusted.unproven.len() as u64 }
    }

    fn new_header(&self, trusted: &TrustedJournal, open_reason: OpenReason) -> SegmentHeader {
        let last = trusted.segments.last();
        let carried = trusted.unproven.iter().map(|place| place.header.frame_len()).sum::<u64>();
        let start = Joint { lsn: 0, chain: Some(0), position: Some(1) };
        let proved = trusted.proved_end.unwrap_or(start);
        let prev_end_lsn = if cfg!(planted = "append-behind-torn-tail") {
            last.map_or(0, |last| last.header.end_lsn())
        } else {
            proved.lsn
        };
        let position = proved.position;
        debug_assert!(position.is_some() || last.is_none(), "what is damaged in front is refused");
        SegmentHeader {
            store_id: self.store_id,
            node: self.node,
            shard: self.layout.shard,
            seq: trusted.highest_seq + 1,
            base_lsn: last.map_or(0, |last| last.header.end_lsn()),
            file_size: self.config.segment_bytes.max(2 * HEADER_LEN + carried),
            nonce: self.env.random.next_u64(),
            first_position: position.unwrap_or(1),
            prev_seq: last.map_or(0, |last| last.header.seq),
            prev_end_lsn,
            prev_chain: proved.chain.unwrap_or(0),
            open_reason,
            carried_len: u32::try_from(carried).expect("a segment is smaller than 4 GiB"),
            incarnation: trusted.incarnation + 1,
            wall_ms: self.env.clock.wall_ms(),
        }
    }

    /// Writes the unproven frames again, under the new nonce and new addresses.
    fn carry(
        &self,
        trusted: &TrustedJournal,
        header: &SegmentHeader,
        file: &dyn WriteFile,
    ) -> io::Result<Joint> {
        let mut end = Joint {
            lsn: header.first_frame_lsn(),
            chain: Some(header.prev_chain),
            position: Some(header.first_position),
        };
        let Some(last) = trusted.segments.last() else { return Ok(end) };
        let old = self.disk().open_read(&last.path)?;
        for place in &trusted.unproven {
            assert!(place.header.end_lsn() <= last.end_lsn, "only valid frames are carried");
            let mut frame =
                vec![0; usize::try_from(place.header.frame_len()).unwrap_or(usize::MAX)];
            durable::read_exact_at(&*old, &mut frame, place.header.lsn - last.header.base_lsn)?;
            verify_again(&frame, last, place.header.lsn)?;
            let moved = FrameHeader {
                lsn: end.lsn,
                durable_lsn: header.first_frame_lsn().min(end.lsn),
                committed_position: header.first_position - 1,
                prev: end.chain.unwrap_or(0),
                ..place.header
            };
            let crc = moved.encode(header.nonce, &mut frame);
            file.write_at(&frame, end.lsn - header.base_lsn)?;
            let next = moved.first_position + u64::from(moved.records);
            let entries = moved.kind == FrameKind::Entries;
            let position = if entries { Some(next) } else { end.position };
            end = Joint { lsn: moved.end_lsn(), chain: Some(crc), position };
        }
        assert_eq!(end.lsn, header.carried_end_lsn(), "what is carried fills its range");
        Ok(end)
    }

    pub(crate) fn meta_store(&self, trusted: &TrustedJournal) -> MetaStore {
        let fresh = Meta {
            store_id: self.store_id,
            node: self.node,
            shard: self.layout.shard,
            ..Meta::default()
        };
        let meta = self.known().copied().unwrap_or(fresh);
        let segments = trusted.segments.iter().map(|segment| SegmentRef {
            seq: segment.header.seq,
            first_position: segment.header.first_position,
        });
        MetaStore::new(self.env.disk.clone(), self.layout.clone(), meta, segments.collect())
    }

    pub(crate) fn write_tip(&self, tip: &Tip) -> io::Result<()> {
        let path = self.layout.tip();
        let bytes = tip.encode(&self.store_id);
        quarantine::clear_place(self.disk(), &self.layout.store, &path)?;
        match self.disk().stat(&path)? {
            Some(entry) if entry.len == bytes.len() as u64 => {
                durable::overwrite(self.disk(), &path, &bytes)
            }
            Some(_) => durable::replace_file(self.disk(), &path, &bytes),
            None => durable::create_file(self.disk(), &path, &bytes),
        }
    }
}

/// What `tip` says once everything up to `end` is synced.
fn tip_at(header: &SegmentHeader, end: &Joint) -> Tip {
    Tip { seq: header.seq, durable_lsn: end.lsn, chain: end.chain.unwrap_or(0) }
}

/// The frame that is carried must still be what was validated.
fn verify_again(frame: &[u8], segment: &TrustedSegment, lsn: u64) -> io::Result<()> {
    let changed = || io::Error::other("a frame changed between scan and act");
    let (header, _) =
        FrameHeader::decode(frame, segment.header.nonce, lsn).map_err(|_| changed())?;
    let body = frame.get(FRAME_HEADER_LEN..).unwrap_or_default();
    let content = body.get(..header.body_len as usize).unwrap_or_default();
    if crc32c::crc32c(content) == header.body_crc { Ok(()) } else { Err(changed()) }
}
