//! Writes frames into segments, and opens the next segment when one is full.
//!
//! Invariants: a frame is written behind the one before, never over it; a segment is sized, headed,
//! synced and named by `meta` before its first frame; after an error nothing is written any more
//! (the group commit is poisoned by it).

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rekindle_env::{Disk, Env, WriteFile};

use crate::api::Durable;
use crate::batch::Batch;
use crate::codec::frame::{FRAME_HEADER_LEN, FrameHeader, FrameKind};
use crate::codec::segment::{HEADER_LEN, OpenReason, SegmentHeader};
use crate::codec::tip::Tip;
use crate::group::Writer;
use crate::layout::Layout;
use crate::meta_store::{MetaStore, SegmentRef};

/// How segments are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriterConfig {
    /// Bytes of a segment; a larger frame gets a larger segment.
    pub segment_bytes: u64,
}

impl Default for WriterConfig {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20 }
    }
}

/// Buckets of the sync histogram: each is twice as long as the one before, from 1 microsecond.
pub const SYNC_BUCKETS: usize = 26;

/// Counters of a journal, since it was opened.
#[derive(Debug, Default)]
pub struct WriterCounters {
    /// Frames written.
    pub frames: AtomicU64,
    /// Bytes written.
    pub bytes: AtomicU64,
    /// Syncs.
    pub syncs: AtomicU64,
    /// Time of all syncs, nanoseconds.
    pub sync_nanos: AtomicU64,
    /// Syncs by time: bucket `n` counts those below 2^n microseconds and not below 2^(n-1).
    pub sync_buckets: [AtomicU64; SYNC_BUCKETS],
    /// Segments opened.
    pub segments: AtomicU64,
    /// Bytes that are left in the segment that is written.
    pub room: AtomicU64,
}

impl WriterCounters {
    fn synced(&self, nanos: u64) {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.sync_nanos.fetch_add(nanos, Ordering::Relaxed);
        let bits = u64::BITS - (nanos / 1_000).leading_zeros();
        let bucket = usize::try_from(bits).unwrap_or(0).min(SYNC_BUCKETS - 1);
        if let Some(bucket) = self.sync_buckets.get(bucket) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Makes a segment file: sized, headed, not yet synced.
pub(crate) fn create_segment(
    disk: &dyn Disk,
    layout: &Layout,
    header: &SegmentHeader,
) -> io::Result<Box<dyn WriteFile>> {
    let file = disk.create(&layout.segment(header.seq))?;
    file.allocate(header.file_size)?;
    file.write_at(&header.encode(), 0)?;
    Ok(file)
}

/// Makes a segment file durable: content, then its directory entry.
pub(crate) fn sync_segment(
    disk: &dyn Disk,
    layout: &Layout,
    file: &dyn WriteFile,
) -> io::Result<()> {
    file.sync_all()?;
    if cfg!(planted = "no-dir-sync") {
        return Ok(());
    }
    disk.sync_dir(&layout.journal_dir())
}

/// Why the next segment was not opened.
#[derive(Debug)]
pub(crate) enum RotateError {
    /// It could not be made; everything is as it was.
    NotBegun(io::Error),
    /// Nothing may be written any more.
    Failed(io::Error),
}

/// The end of the journal: where the next frame goes.
pub(crate) struct SegmentWriter {
    pub(crate) env: Env,
    pub(crate) layout: Layout,
    pub(crate) config: WriterConfig,
    pub(crate) meta: Arc<Mutex<MetaStore>>,
    pub(crate) counters: Arc<WriterCounters>,
    /// What `tip` may say.
    pub(crate) tip: Arc<Mutex<Tip>>,
    pub(crate) incarnation: u64,
    pub(crate) file: Box<dyn WriteFile>,
    pub(crate) header: SegmentHeader,
    /// Where the next frame goes.
    pub(crate) end_lsn: u64,
    /// Header checksum of the last frame.
    pub(crate) chain: u32,
    /// The last position that was written.
    pub(crate) position: u64,
    pub(crate) durable: Durable,
}

impl SegmentWriter {
    fn put_frame(&mut self, header: &FrameHeader, frame: &mut [u8]) -> io::Result<()> {
        assert!(self.end_lsn + header.frame_len() <= self.header.end_lsn(), "it fits");
        assert_eq!(header.frame_len(), frame.len() as u64, "a frame is written whole");
        assert_eq!(header.lsn, self.end_lsn, "a frame goes behind the one before");
        debug_assert_eq!(header.prev, self.chain, "frames are chained");
        assert!(header.durable_lsn <= self.durable.lsn, "a frame proves only what was synced");
        let crc = header.encode(self.header.nonce, frame);
        self.file.write_at(frame, self.end_lsn - self.header.base_lsn)?;
        self.chain = crc;
        self.end_lsn += header.frame_len();
        self.counters.frames.fetch_add(1, Ordering::Relaxed);
        self.counters.bytes.fetch_add(header.frame_len(), Ordering::Relaxed);
        self.count_room();
        Ok(())
    }

    /// Tells how much is left in the segment.
    pub(crate) fn count_room(&self) {
        self.counters.room.store(self.header.end_lsn() - self.end_lsn, Ordering::Relaxed);
    }

    fn write_batch(&mut self, batch: &mut Batch) -> io::Result<()> {
        debug_assert_eq!(batch.first_position, self.position + 1, "positions are dense");
        let frame_len = batch.len() as u64;
        if self.end_lsn + frame_len > self.header.end_lsn() {
            self.rotate(frame_len)?;
        }
        let body = batch.body();
        let header = FrameHeader {
            body_len: u32::try_from(body.len()).map_err(io::Error::other)?,
            kind: FrameKind::Entries,
            flags: 0,
            records: batch.records,
            lsn: self.end_lsn,
            first_position: batch.first_position,
            durable_lsn: self.durable.lsn,
            committed_position: self.durable.position,
            prev: self.chain,
            body_crc: crc32c::crc32c(body),
        };
        let last = batch.next_position() - 1;
        assert!(last > self.position, "a batch holds records");
        self.put_frame(&header, batch.seal())?;
        self.position = last;
        Ok(())
    }

    /// Opens the next segment. What the old one holds is synced first.
    fn rotate(&mut self, frame_len: u64) -> io::Result<()> {
        if self.durable.lsn < self.end_lsn {
            self.sync_file()?;
        }
        let header = self.next_header(frame_len);
        let file = create_segment(&*self.env.disk, &self.layout, &header)?;
        self.go_on_in(header, file)
    }

    /// Opens the next segment although there is room in this one, unless this one is empty.
    pub(crate) fn rotate_now(&mut self) -> Result<(), RotateError> {
        if self.end_lsn == self.header.first_frame_lsn() {
            return Ok(());
        }
        if self.durable.lsn < self.end_lsn {
            self.sync_file().map_err(RotateError::Failed)?;
        }
        let header = self.next_header(0);
        let disk = &*self.env.disk;
        let file = match create_segment(disk, &self.layout, &header) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(RotateError::NotBegun(error));
            }
            Err(error) => {
                // Nothing names the file and it holds nothing: without it all is as before.
                let removed = MetaStore::remove(disk, &self.layout, &[header.seq]);
                removed.map_err(RotateError::Failed)?;
                return Err(RotateError::NotBegun(error));
            }
        };
        self.go_on_in(header, file).map_err(RotateError::Failed)
    }

    /// The header of the segment behind this one.
    fn next_header(&self, frame_len: u64) -> SegmentHeader {
        assert_eq!(self.durable.lsn, self.end_lsn, "the old segment is synced first");
        let old = &self.header;
        SegmentHeader {
            seq: old.seq + 1,
            base_lsn: old.end_lsn(),
            file_size: self.config.segment_bytes.max(HEADER_LEN + frame_len),
            nonce: self.env.random.next_u64(),
            first_position: self.position + 1,
            prev_seq: old.seq,
            prev_end_lsn: self.end_lsn,
            prev_chain: self.chain,
            open_reason: OpenReason::Rotate,
            carried_len: 0,
            incarnation: self.incarnation,
            wall_ms: self.env.clock.wall_ms(),
            ..old.clone()
        }
    }

    /// Names a segment that was made, and goes on in it.
    fn go_on_in(&mut self, header: SegmentHeader, file: Box<dyn WriteFile>) -> io::Result<()> {
        sync_segment(&*self.env.disk, &self.layout, &*file)?;
        let named = SegmentRef { seq: header.seq, first_position: header.first_position };
        let mut meta = self.meta.lock().expect("no panic while meta is held");
        meta.name_segment(named, self.incarnation)?;
        assert_eq!(meta.newest(), header.seq, "named before its first frame");
        drop(meta);
        let used = self.end_lsn - self.header.base_lsn;
        release_rest(&*self.file, used, self.header.file_size)?;
        self.end_lsn = header.first_frame_lsn();
        self.durable.lsn = self.end_lsn;
        self.file = file;
        self.header = header;
        self.counters.segments.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn sync_file(&mut self) -> io::Result<()> {
        debug_assert!(self.durable.lsn <= self.end_lsn);
        debug_assert!(self.durable.position <= self.position);
        let start = self.env.clock.boot_ns();
        if !cfg!(planted = "ack-before-sync") {
            let synced = self.file.sync_data();
            if cfg!(planted = "retry-failed-sync") && synced.is_err() {
                self.file.sync_data()?;
            } else {
                synced?;
            }
        }
        self.counters.synced(self.env.clock.boot_ns().saturating_sub(start));
        self.durable = Durable { lsn: self.end_lsn, position: self.position };
        let tip = Tip { seq: self.header.seq, durable_lsn: self.end_lsn, chain: self.chain };
        *self.tip.lock().expect("no panic while tip is held") = tip;
        Ok(())
    }

    /// What to say of an error. Only then: names are made of paths, which costs more than a frame.
    fn failure(&self, doing: &str, error: &io::Error) -> String {
        let name = self.layout.relative(&self.layout.segment(self.header.seq));
        format!("{doing} {name}: {error}")
    }

    /// Ends the journal cleanly: a seal, synced; returns the address behind it.
    pub(crate) fn seal(&mut self) -> io::Result<u64> {
        if self.end_lsn + FRAME_HEADER_LEN as u64 > self.header.end_lsn() {
            assert_eq!(self.durable.lsn, self.end_lsn, "a clean end is synced");
            return Ok(self.end_lsn);
        }
        // Recovery takes the last position from here where frames in front of it are damaged.
        let synced = self.durable == Durable { lsn: self.end_lsn, position: self.position };
        assert!(synced, "a clean end stands behind what is synced");
        let header = FrameHeader {
            body_len: 0,
            kind: FrameKind::Seal,
            flags: 0,
            records: 0,
            lsn: self.end_lsn,
            first_position: 0,
            durable_lsn: self.durable.lsn,
            committed_position: self.durable.position,
            prev: self.chain,
            body_crc: 0,
        };
        self.put_frame(&header, &mut [0; FRAME_HEADER_LEN])?;
        self.sync_file()?;
        Ok(self.end_lsn)
    }
}

/// Gives the unused rest of a segment back to the file system; its size stays.
pub(crate) fn release_rest(file: &dyn WriteFile, used: u64, file_size: u64) -> io::Result<()> {
    assert!((HEADER_LEN..=file_size).contains(&used), "{used} of {file_size} bytes are used");
    let from = used.next_multiple_of(4096);
    if from < file_size { file.punch_hole(from, file_size - from) } else { Ok(()) }
}

impl Writer for SegmentWriter {
    fn write(&mut self, batch: &mut Batch) -> Result<(), String> {
        self.write_batch(batch).map_err(|error| self.failure("writing", &error))
    }

    fn sync(&mut self) -> Result<Durable, String> {
        if self.durable.lsn < self.end_lsn {
            self.sync_file().map_err(|error| self.failure("syncing", &error))?;
        }
        Ok(self.durable)
    }
}
