//! Keeps `meta.a` and `meta.b`, and which segments there are.
//!
//! Invariants: the older copy is overwritten, then file and directory are synced; a segment is
//! named before its first frame and given up before it is removed.

use std::io;
use std::sync::Arc;

use rekindle_env::{Disk, durable};

use crate::codec::meta::Meta;
use crate::layout::{Layout, MetaCopy};

/// A segment that is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentRef {
    /// Its number.
    pub seq: u64,
    /// Position of its first record.
    pub first_position: u64,
}

/// The shard's metadata on disk.
#[derive(Debug)]
pub(crate) struct MetaStore {
    disk: Arc<dyn Disk>,
    layout: Layout,
    meta: Meta,
    /// Oldest first.
    segments: Vec<SegmentRef>,
    /// By their number: no segment from this one on is given up.
    pins: Vec<(u64, u64)>,
    /// The number of the last pin.
    last_pin: u64,
    /// Whether the last checkpoint would have given up more without pins.
    held_back: bool,
}

impl MetaStore {
    /// The metadata as it stands on disk; a new shard's has sequence 0.
    #[must_use]
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        layout: Layout,
        meta: Meta,
        segments: Vec<SegmentRef>,
    ) -> Self {
        Self { disk, layout, meta, segments, pins: Vec::new(), last_pin: 0, held_back: false }
    }

    /// Keeps all segments that there are; answers the number of the pin.
    pub(crate) fn pin(&mut self) -> u64 {
        self.last_pin += 1;
        let oldest = self.segments.first().map_or(0, |segment| segment.seq);
        self.pins.push((self.last_pin, oldest));
        self.last_pin
    }

    /// A pin keeps only segments from `seq` on.
    pub(crate) fn narrow(&mut self, pin: u64, seq: u64) {
        for (_, kept) in self.pins.iter_mut().filter(|(number, _)| *number == pin) {
            assert!(seq >= *kept, "what was let go may be gone");
            *kept = seq;
        }
    }

    /// Whether pins keep what would have been given up.
    pub(crate) fn holds_back(&self) -> bool {
        self.held_back && !self.pins.is_empty()
    }

    /// Ends a pin; what it kept is given up by the next checkpoint.
    pub(crate) fn unpin(&mut self, pin: u64) {
        self.pins.retain(|(number, _)| *number != pin);
    }

    /// The newest segment that is named.
    #[must_use]
    pub(crate) fn newest(&self) -> u64 {
        self.meta.newest_segment
    }

    /// The segments in use, oldest first.
    #[must_use]
    pub(crate) fn segments(&self) -> &[SegmentRef] {
        &self.segments
    }

    /// Names a new segment: it exists, sized and synced, and holds no frame that was acknowledged
    /// from it.
    pub(crate) fn name_segment(&mut self, segment: SegmentRef, incarnation: u64) -> io::Result<()> {
        assert!(segment.seq > self.meta.newest_segment, "a segment's number is never reused");
        assert!(incarnation >= self.meta.incarnation, "runs only grow");
        let last = self.segments.last().map_or(0, |last| last.first_position);
        assert!(segment.first_position >= last, "positions only grow");
        let mut meta = self.meta;
        meta.incarnation = incarnation;
        if meta.oldest_segment == 0 {
            meta.oldest_segment = segment.seq;
        }
        meta.newest_segment = segment.seq;
        meta.clean_end_lsn = 0;
        self.write(meta)?;
        self.segments.push(segment);
        Ok(())
    }

    /// Names the checkpoints and gives up segments that hold only positions below `keep_from`;
    /// returns their numbers, to be removed.
    pub(crate) fn checkpointed(&mut self, ids: [u64; 2], keep_from: u64) -> io::Result<Vec<u64>> {
        let newer = self.segments.iter().skip(1);
        let unneeded = newer.take_while(|next| next.first_position <= keep_from).count();
        let pinned = self.pins.iter().map(|(_, seq)| *seq).min().unwrap_or(u64::MAX);
        let given_up = self.segments.iter().take(unneeded).take_while(|s| s.seq < pinned).count();
        self.held_back = given_up < unneeded;
        let [newest, older] = ids;
        assert!(newest > older, "newest first");
        let [before, _] = self.meta.checkpoints;
        assert!(newest >= before, "checkpoints only grow");
        debug_assert!(given_up < self.segments.len(), "the last segment is never given up");
        let mut meta = self.meta;
        meta.checkpoints = ids;
        if let Some(oldest) = self.segments.get(given_up).filter(|_| given_up > 0) {
            meta.oldest_segment = oldest.seq;
        }
        self.write(meta)?;
        Ok(self.segments.drain(..given_up).map(|segment| segment.seq).collect())
    }

    /// Names the segments of a repair in the place of others: they are whole and synced. Both
    /// copies say so in the end, because what the older one named goes away.
    pub(crate) fn repaired(&mut self, named: [u64; 2], incarnation: u64) -> io::Result<()> {
        let [oldest_segment, newest_segment] = named;
        assert!(newest_segment > self.meta.newest_segment, "a segment's number is never reused");
        assert!(oldest_segment <= newest_segment && incarnation >= self.meta.incarnation);
        let meta = self.meta;
        let clean_end_lsn = 0;
        self.write(Meta { oldest_segment, newest_segment, incarnation, clean_end_lsn, ..meta })?;
        self.write(self.meta)
    }

    /// Writes the same again, over the copy that is not the newest, and names this segment where it
    /// is newer.
    pub(crate) fn write_again(&mut self, newest: u64) -> io::Result<()> {
        let newest_segment = self.meta.newest_segment.max(newest);
        self.write(Meta { newest_segment, ..self.meta })
    }

    /// Marks a clean end.
    pub(crate) fn closed(&mut self, end_lsn: u64) -> io::Result<()> {
        self.write(Meta { clean_end_lsn: end_lsn, ..self.meta })
    }

    /// Removes segments that were given up. What is no file in their place is left to a person.
    pub(crate) fn remove(disk: &dyn Disk, layout: &Layout, seqs: &[u64]) -> io::Result<()> {
        for seq in seqs {
            let path = layout.segment(*seq);
            if durable::is_no_file(disk, &path)? {
                continue;
            }
            match disk.remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        if seqs.is_empty() { Ok(()) } else { disk.sync_dir(&layout.journal_dir()) }
    }

    /// Writes the next sequence over the older copy.
    fn write(&mut self, mut meta: Meta) -> io::Result<()> {
        meta.sequence = self.meta.sequence + 1;
        self.write_copy(&meta)?;
        if meta.sequence == 1 {
            // A new shard: both copies exist from the first moment.
            meta.sequence = 2;
            self.write_copy(&meta)?;
        }
        debug_assert!(meta.sequence > self.meta.sequence);
        self.meta = meta;
        Ok(())
    }

    fn write_copy(&self, meta: &Meta) -> io::Result<()> {
        let path = self.layout.meta(MetaCopy::of(meta.sequence));
        if self.disk.stat(&path)?.is_some() {
            durable::overwrite(&*self.disk, &path, &meta.encode())?;
            self.disk.sync_dir(durable::parent(&path))
        } else {
            durable::create_file(&*self.disk, &path, &meta.encode())
        }
    }
}
