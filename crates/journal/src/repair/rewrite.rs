//! Rewrite: the repaired journal, in new segments beside the old ones.
//!
//! Order: what earlier, interrupted work left is set aside; the folder of the originals gets what
//! is written over in place, as the first attempt found it, and a note; a bad meta copy is written
//! again; the new segments are written and synced; meta names them, which is the moment of the
//! repair; tip; the originals leave for their folder. Invariant: repeatable after a crash at any
//! operation, and then either nothing happened yet or all of it did.

use std::io;
use std::path::{Path, PathBuf};

use rekindle_env::{EntryKind, WriteFile, durable};
use rekindle_recovery::{Failure, quarantine};

use super::cut::{Cut, Previous};
use super::patched::Patched;
use crate::api::Record;
use crate::codec::frame::{FRAME_HEADER_LEN, FrameHeader, FrameKind, MAX_BODY_LEN};
use crate::codec::record::{RECORD_HEADER_LEN, seal_record};
use crate::codec::segment::{HEADER_LEN, OpenReason, SegmentHeader};
use crate::codec::tip::Tip;
use crate::codec::{ALIGN, padded};
use crate::layout::{MetaCopy, REPAIR_SUFFIX, parse_segment_name};
use crate::meta_store::MetaStore;
use crate::recovery::judge::TrustedJournal;
use crate::recovery::{JournalLayer, Step};
use crate::replay::{Records as _, Replayed};

/// The note that lies beside the originals.
const NOTE: &str = "repair.json";

/// What is written over in place.
const KEPT: [&str; 3] = ["meta.a", "meta.b", "tip"];

/// How the name of a copy ends that is being made.
const HALF_SUFFIX: &str = ".half";

/// A segment of a repair has less than this: its copied frames are counted in 32 bits.
const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewritten {
    /// The new segments, oldest first.
    pub segments: Vec<u64>,
    /// Records that were copied.
    pub records: u64,
    /// Bytes of the new files.
    pub bytes: u64,
    /// Where the originals are, relative to the store.
    pub kept: String,
}

fn io_context<T>(context: &str, result: io::Result<T>) -> Result<T, Failure> {
    result.map_err(|error| Failure::io(context, error))
}

impl JournalLayer {
    /// Writes the journal anew from the cut on. `note` is kept beside the originals.
    pub fn rewrite(
        &self,
        trusted: &TrustedJournal,
        cut: &Cut,
        patched: &Patched<'_>,
        note: &[u8],
    ) -> Result<Rewritten, Failure> {
        io_context("making directories", self.make_directories())?;
        let mut meta = self.meta_store(trusted);
        io_context("setting leftovers aside", self.clear_leftovers(trusted, cut))?;
        io_context("keeping the originals' metadata", self.keep_metadata(cut, note))?;
        self.heal_meta(trusted, &mut meta)?;

        let mut rewriter = Rewriter::new(self, cut);
        patched.replay(self.disk(), 1, &mut |told, _| rewriter.take(&told, trusted, patched))?;
        let (mut written, end) = rewriter.end(patched.last_position() + 1)?;

        // From here on it is the repaired journal.
        let newest = *written.segments.last().expect("a repair opens a segment");
        let stays = self.oldest_named().filter(|oldest| *oldest <= cut.previous.seq);
        let oldest = stays.unwrap_or(cut.first_seq);
        let named = meta.repaired([oldest, newest], cut.incarnation);
        io_context("naming the new segments", named)?;
        let tip = Tip { seq: newest, durable_lsn: end.end_lsn, chain: end.chain };
        io_context("writing tip", self.write_tip(&tip))?;
        for seq in &cut.replaced {
            let kept = self.supersede(*seq, cut.first_seq);
            io_context("moving an original to the quarantine", kept)?;
        }
        written.kept = self.layout.relative(&self.layout.repair_dir(cut.first_seq));
        Ok(written)
    }

    /// What interrupted work left, an earlier attempt of a repair included: what that one kept is
    /// kept by this one, since it may have written over it since.
    fn clear_leftovers(&self, trusted: &TrustedJournal, cut: &Cut) -> io::Result<()> {
        for step in trusted.steps() {
            match step {
                Step::Quarantine { seq } => self.set_aside(*seq)?,
                Step::Remove { seq } => MetaStore::remove(self.disk(), &self.layout, &[*seq])?,
                Step::Supersede { seq, by } => self.supersede(*seq, *by)?,
                Step::QuarantineTail { .. } | Step::Open { .. } => {}
            }
        }
        let (disk, dir) = (self.disk(), self.layout.quarantine_dir());
        quarantine::make(disk, &dir)?;
        let target = self.layout.repair_dir(cut.first_seq);
        durable::create_dir_all(disk, &target)?;
        for entry in disk.list(&dir)? {
            let number = entry.name.strip_suffix(REPAIR_SUFFIX).and_then(parse_segment_name);
            let unnamed = number.is_some_and(|seq| seq > self.newest_named().unwrap_or(0));
            if unnamed && entry.kind == EntryKind::Directory {
                self.take_over(&dir.join(&entry.name), &target)?;
            }
        }
        disk.sync_dir(&dir)
    }

    /// Takes what an earlier attempt kept in this folder.
    fn take_over(&self, folder: &Path, target: &Path) -> io::Result<()> {
        let disk = self.disk();
        for entry in disk.list(folder)? {
            let from = folder.join(&entry.name);
            let kept = KEPT.contains(&entry.name.as_str());
            if !kept && entry.name != NOTE && !entry.name.ends_with(HALF_SUFFIX) {
                continue;
            }
            let to = target.join(&entry.name);
            if kept && (folder == target || disk.stat(&to)?.is_none()) {
                if folder != target {
                    durable::rename(disk, &from, &to)?;
                }
            } else {
                disk.remove_file(&from)?;
            }
        }
        disk.sync_dir(folder)?;
        if folder != target && disk.list(folder)?.is_empty() {
            disk.remove_dir(folder)?;
        }
        Ok(())
    }

    /// What is written over in place is copied beside where the originals will be, unless an
    /// earlier attempt did: by now it may have been written over. A copy is whole under its name.
    fn keep_metadata(&self, cut: &Cut, note: &[u8]) -> io::Result<()> {
        let (disk, dir) = (self.disk(), self.layout.repair_dir(cut.first_seq));
        durable::create_dir_all(disk, &dir)?;
        let [a, b] = MetaCopy::BOTH.map(|copy| self.layout.meta(copy));
        for path in [a, b, self.layout.tip()] {
            let target = dir.join(path.file_name().unwrap_or_default());
            let is_file = disk.stat(&path)?.is_some_and(|entry| entry.kind == EntryKind::File);
            if is_file && disk.stat(&target)?.is_none() {
                let mut half = target.clone().into_os_string();
                half.push(HALF_SUFFIX);
                let half = PathBuf::from(half);
                durable::copy_file(disk, &path, &half)?;
                durable::rename(disk, &half, &target)?;
            }
        }
        durable::create_file(disk, &dir.join(NOTE), note)
    }
}

/// Writes records into new segments.
struct Rewriter<'a> {
    layer: &'a JournalLayer,
    cut: &'a Cut,
    /// Whether what is told lies behind the cut.
    copying: bool,
    open: Option<Segment>,
    next_seq: u64,
    base_lsn: u64,
    previous: Previous,
    /// A frame that is being filled: room for its header, then records.
    frame: Vec<u8>,
    first_position: u64,
    count: u16,
    next_position: u64,
    written: Rewritten,
}

struct Segment {
    header: SegmentHeader,
    file: Box<dyn WriteFile>,
    end_lsn: u64,
    chain: u32,
}

impl<'a> Rewriter<'a> {
    fn new(layer: &'a JournalLayer, cut: &'a Cut) -> Self {
        Self {
            layer,
            cut,
            copying: cut.kept == 0,
            open: None,
            next_seq: cut.first_seq,
            base_lsn: cut.base_lsn,
            previous: cut.previous,
            frame: vec![0; FRAME_HEADER_LEN],
            first_position: 0,
            count: 0,
            next_position: 0,
            written: Rewritten::default(),
        }
    }

    fn take(
        &mut self,
        told: &Replayed<'_>,
        trusted: &TrustedJournal,
        patched: &Patched<'_>,
    ) -> Result<(), Failure> {
        let done = match told {
            Replayed::Segment(segment) => {
                let first = trusted.segments.get(self.cut.kept);
                self.copying = first.is_some_and(|first| segment.header.seq >= first.header.seq);
                Ok(())
            }
            // Groups stay as they were.
            Replayed::Frame(_) => self.flush(),
            Replayed::Record(record) if self.copying || patched.stands_in(record.position) => {
                self.put(record)
            }
            Replayed::Record(_) => Ok(()),
        };
        io_context("writing a segment of the repair", done)
    }

    fn put(&mut self, record: &Record<'_>) -> io::Result<()> {
        assert!(record.position >= self.next_position, "positions only grow");
        let len = u32::try_from(record.payload.len()).map_err(io::Error::other)?;
        let taken = padded((RECORD_HEADER_LEN + record.payload.len()) as u64);
        let taken = usize::try_from(taken).map_err(io::Error::other)?;
        let gap = self.open.is_none() || record.position != self.next_position;
        let full = self.frame.len() + taken > FRAME_HEADER_LEN + MAX_BODY_LEN as usize;
        if gap || full || self.count == u16::MAX {
            self.flush()?;
        }
        if gap {
            self.finish()?;
            self.begin(record.position)?;
        }
        if self.count == 0 {
            self.first_position = record.position;
        }
        let start = self.frame.len();
        self.frame.resize(start + taken, 0);
        let out = self.frame.get_mut(start..).expect("room was made");
        let payload = out.get_mut(RECORD_HEADER_LEN..RECORD_HEADER_LEN + record.payload.len());
        payload.expect("room was made").copy_from_slice(record.payload);
        seal_record(out, len, record.position, record.term, record.kind);
        self.count += 1;
        self.next_position = record.position + 1;
        self.written.records += 1;
        Ok(())
    }

    /// Writes the frame that is being filled.
    fn flush(&mut self) -> io::Result<()> {
        if self.count == 0 {
            return Ok(());
        }
        let len = self.frame.len() as u64;
        let limit = self.layer.config.segment_bytes.min(SEGMENT_BYTES_MAX);
        let used = self.open.as_ref().map_or(0, |open| open.end_lsn - open.header.base_lsn);
        if used > HEADER_LEN && used + len > limit {
            self.finish()?;
            self.begin(self.first_position)?;
        }
        let open = self.open.as_mut().expect("a segment is open before a record is taken");
        let body = self.frame.get(FRAME_HEADER_LEN..).unwrap_or_default();
        let header = FrameHeader {
            body_len: u32::try_from(body.len()).map_err(io::Error::other)?,
            kind: FrameKind::Entries,
            flags: 0,
            records: self.count,
            lsn: open.end_lsn,
            first_position: self.first_position,
            durable_lsn: open.header.first_frame_lsn(),
            committed_position: self.first_position - 1,
            prev: open.chain,
            body_crc: crc32c::crc32c(body),
        };
        open.chain = header.encode(open.header.nonce, &mut self.frame);
        open.file.write_at(&self.frame, open.end_lsn - open.header.base_lsn)?;
        open.end_lsn = header.end_lsn();
        self.frame.truncate(FRAME_HEADER_LEN);
        self.count = 0;
        Ok(())
    }

    fn begin(&mut self, first_position: u64) -> io::Result<()> {
        assert!(self.open.is_none(), "one segment at a time");
        let (layer, env) = (self.layer, &self.layer.env);
        let header = SegmentHeader {
            store_id: layer.store_id,
            node: layer.node,
            shard: layer.layout.shard,
            seq: self.next_seq,
            base_lsn: self.base_lsn,
            file_size: 2 * HEADER_LEN,
            nonce: env.random.next_u64(),
            first_position,
            prev_seq: self.previous.seq,
            prev_end_lsn: self.previous.end_lsn,
            prev_chain: self.previous.chain,
            open_reason: OpenReason::Repair,
            carried_len: 0,
            incarnation: self.cut.incarnation,
            wall_ms: env.clock.wall_ms(),
        };
        let file = layer.disk().create(&layer.layout.segment(header.seq))?;
        let (end_lsn, chain) = (header.first_frame_lsn(), header.prev_chain);
        self.next_seq += 1;
        self.next_position = first_position;
        self.open = Some(Segment { header, file, end_lsn, chain });
        Ok(())
    }

    /// Gives the open segment its length and its header, and syncs it.
    fn finish(&mut self) -> io::Result<()> {
        let Some(Segment { mut header, file, end_lsn, chain }) = self.open.take() else {
            return Ok(());
        };
        assert_eq!(self.count, 0, "everything was written");
        let used = end_lsn - header.base_lsn;
        header.file_size = used.next_multiple_of(HEADER_LEN).max(2 * HEADER_LEN);
        header.carried_len = u32::try_from(used - HEADER_LEN).map_err(io::Error::other)?;
        debug_assert!(header.carried_end_lsn() == end_lsn && end_lsn.is_multiple_of(ALIGN));
        file.allocate(header.file_size)?;
        file.write_at(&header.encode(), 0)?;
        file.sync_all()?;
        self.written.segments.push(header.seq);
        self.written.bytes += header.file_size;
        self.base_lsn = header.end_lsn();
        self.previous = Previous { seq: header.seq, end_lsn, chain };
        Ok(())
    }

    /// Ends behind the last record with a segment that holds nothing: it says where positions go
    /// on, and that all the others are there and synced.
    fn end(mut self, next_position: u64) -> Result<(Rewritten, Previous), Failure> {
        let ended = self.close(next_position);
        io_context("writing a segment of the repair", ended)?;
        Ok((self.written, self.previous))
    }

    fn close(&mut self, next_position: u64) -> io::Result<()> {
        self.flush()?;
        self.finish()?;
        let dir = self.layer.layout.journal_dir();
        self.layer.disk().sync_dir(&dir)?;
        self.begin(next_position)?;
        self.finish()?;
        self.layer.disk().sync_dir(&dir)
    }
}
