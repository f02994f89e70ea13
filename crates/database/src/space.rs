//! Space on disk: when growth is refused, and what is held back so that the rest goes on.
//!
//! A file (`shards/0/reserve`) holds two segments and what checkpoints take until one gives as much
//! back.
//! The journal's next segment and a checkpoint take from it when the disk has nothing else, whoever
//! filled it. Growth is refused while less than one more segment is free beside the reserve; then a
//! checkpoint is written before each new segment, because it gives older ones back. Where not even
//! a segment can be made any more, what cleans up waits for the checkpoint that is on its way;
//! where none is, everything is refused before the journal is touched, and nothing is poisoned.
//!
//! Invariant: all of it is looked at again every tick and within a quarter of a segment, so service
//! resumes by itself.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rekindle_env::{Env, Reserve, ReservedDisk};

use crate::checkpoint::Checkpoints;
use crate::core::Core;
use crate::error::Error;

/// The reserve inside a store.
const RESERVE_FILE: &str = "shards/0/reserve";

/// What stays free beside the reserve for what is small: names, reports.
const SLACK_BYTES: u64 = 1 << 20;

/// The reserve grows and shrinks in steps of this.
const STEP_BYTES: u64 = 1 << 20;

/// How often a checkpoint is written for older segments, milliseconds; for the segment that will be
/// needed next, at once.
const CHECKPOINT_EVERY_MS: u64 = 1_000;

/// How much space there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskSpace {
    /// Bytes that the file system still gives, as of the last look.
    pub available_bytes: u64,
    /// Bytes that the reserve holds beside them.
    pub reserve_bytes: u64,
    /// Growth is refused while both together are below this.
    pub low_mark_bytes: u64,
    /// Whether growth is refused.
    pub low: bool,
    /// Whether everything is refused: no further segment can be made.
    pub exhausted: bool,
}

/// What is known of the space on disk.
#[derive(Debug)]
pub(crate) struct Space {
    reserve: Arc<Reserve>,
    available: AtomicU64,
    held: AtomicU64,
    low_mark: AtomicU64,
    low: AtomicBool,
    exhausted: AtomicBool,
    /// Whether a checkpoint is being written: what the reserve gave back for it stays its own.
    lent: AtomicBool,
    /// What an engine with files may have in memory before it is written out.
    memtable_max: AtomicU64,
    /// Bytes that the journal had written at the last look.
    looked_at: AtomicU64,
    /// When a checkpoint was last written for its space.
    freed_ms: AtomicU64,
}

impl Space {
    /// The space of the store in `dir`, and the same machine with a disk that can use the reserve.
    pub(crate) fn of(dir: &Path, env: &Env) -> (Self, Env) {
        let reserve = Arc::new(Reserve::new(Arc::clone(&env.disk), dir.join(RESERVE_FILE)));
        let disk = ReservedDisk::new(Arc::clone(&env.disk), Arc::clone(&reserve));
        let env = Env { disk: Arc::new(disk), ..env.clone() };
        let space = Self {
            reserve,
            available: AtomicU64::new(0),
            held: AtomicU64::new(0),
            low_mark: AtomicU64::new(0),
            low: AtomicBool::new(false),
            exhausted: AtomicBool::new(false),
            lent: AtomicBool::new(false),
            memtable_max: AtomicU64::new(u64::MAX),
            looked_at: AtomicU64::new(0),
            freed_ms: AtomicU64::new(0),
        };
        (space, env)
    }

    /// How it stands.
    pub(crate) fn figures(&self) -> DiskSpace {
        DiskSpace {
            available_bytes: self.available.load(Ordering::Relaxed),
            reserve_bytes: self.held.load(Ordering::Relaxed),
            low_mark_bytes: self.low_mark.load(Ordering::Relaxed),
            low: self.is_low(),
            exhausted: self.is_exhausted(),
        }
    }

    /// Whether growth is refused.
    pub(crate) fn is_low(&self) -> bool {
        self.low.load(Ordering::Relaxed)
    }

    /// Whether everything is refused.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.exhausted.load(Ordering::Relaxed)
    }

    /// Notes that a checkpoint begins or ends.
    pub(crate) fn lend(&self, to_checkpoint: bool) {
        self.lent.store(to_checkpoint, Ordering::Relaxed);
    }

    /// Makes the reserve as large as it should be, as far as there is space; a disk that refuses
    /// has none. Answers what is free beside it then.
    fn adjust(&self, wanted: u64, held: u64, available: u64) -> (u64, u64) {
        let usable = available.saturating_add(held);
        let wanted = wanted.min(usable.saturating_sub(SLACK_BYTES));
        let much_less = held.saturating_sub(wanted) >= STEP_BYTES.max(wanted / 2);
        if wanted < held + STEP_BYTES && !much_less {
            return (held, available);
        }
        let now = self.reserve.hold(wanted / STEP_BYTES * STEP_BYTES).unwrap_or(held);
        (now, usable.saturating_sub(now))
    }
}

impl Core {
    /// Looks at the disk, unless it was looked at within this much of the journal.
    pub(crate) fn look_at_disk_again(&self) {
        let (Some(space), Some(checkpoints)) = (&self.space, &self.checkpoints) else { return };
        let written = checkpoints.journal.counters().bytes.load(Ordering::Relaxed);
        let since = written.saturating_sub(space.looked_at.load(Ordering::Relaxed));
        if since >= self.options.segment_bytes / 4
            && let Err(error) = self.look_at_disk()
        {
            tracing::warn!("looking at the disk: {error}");
        }
    }

    /// Notes how much space there is, and what follows from it.
    pub(crate) fn look_at_disk(&self) -> Result<(), Error> {
        let (Some(space), Some(checkpoints)) = (&self.space, &self.checkpoints) else {
            return Ok(());
        };
        let counters = checkpoints.journal.counters();
        space.looked_at.store(counters.bytes.load(Ordering::Relaxed), Ordering::Relaxed);
        let available = self.env.disk.available_bytes(&checkpoints.folder);
        let available =
            available.map_err(|source| Error::io("asking for the space on disk", source))?;
        let held = space.reserve.held();
        let held = held.map_err(|source| Error::io("looking at the reserve", source))?;
        let segment = self.options.segment_bytes;
        // Segments come back once two newer checkpoints are written, each after half of a segment.
        let target = segment.saturating_mul(2).saturating_add(self.checkpoints_bytes(checkpoints));
        // On a small disk memory is written out sooner, long before growth would be refused for it.
        let spare = available.saturating_add(held).saturating_sub(segment.saturating_mul(3));
        space.memtable_max.store((spare / 8).max(segment / 2), Ordering::Relaxed);
        let (held, available) = if self.options.background && !space.lent.load(Ordering::Relaxed) {
            space.adjust(target.next_multiple_of(STEP_BYTES), held, available)
        } else {
            (held, available)
        };
        let usable = available.saturating_add(held);
        let low_mark = target.saturating_add(segment);
        let low = usable < low_mark;
        let room = counters.room.load(Ordering::Relaxed);
        // Half of a segment: a quarter may pass until the next look, and the rest holds what is on
        // its way then. A segment never takes what the checkpoint needs that gives segments back.
        let next = segment.saturating_add(self.next_checkpoint_bytes(checkpoints));
        let exhausted = usable < next && room < segment / 2;
        space.available.store(available, Ordering::Relaxed);
        space.held.store(held, Ordering::Relaxed);
        space.low_mark.store(low_mark, Ordering::Relaxed);
        let was_exhausted = space.exhausted.swap(exhausted, Ordering::Relaxed);
        if exhausted && !was_exhausted {
            tracing::error!(available, "the disk is full: everything that writes is refused");
        }
        if was_exhausted && !exhausted {
            self.room.wake_all();
        }
        if space.low.swap(low, Ordering::Relaxed) != low {
            if low {
                tracing::warn!(
                    available,
                    reserve = held,
                    low_mark,
                    "the disk is nearly full: growth is refused"
                );
            } else {
                tracing::info!(available, reserve = held, "the disk has space again");
            }
        }
        Ok(())
    }

    /// Whether growth is refused for want of space.
    pub(crate) fn is_disk_low(&self) -> bool {
        self.space.as_ref().is_some_and(Space::is_low)
    }

    /// Whether an engine with files has more in memory than a small disk should have to take at
    /// once.
    pub(crate) fn is_much_unflushed(&self, checkpoints: &Checkpoints) -> bool {
        let Some((space, engine)) = self.space.as_ref().zip(checkpoints.engine.files()) else {
            return false;
        };
        engine.unflushed_bytes() >= space.memtable_max.load(Ordering::Relaxed)
    }

    /// Whether nothing can be written for want of space.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.space.as_ref().is_some_and(Space::is_exhausted)
    }

    /// Whether the checkpoint that is written, or comes next, gives segments back: what only cleans
    /// up waits for it, as it waits for room in the journal.
    pub(crate) fn space_comes(&self) -> bool {
        let Some(checkpoints) = self.checkpoints.as_ref().filter(|_| self.options.background)
        else {
            return false;
        };
        checkpoints.frees_space(&self.state, 1, true, self.env.clock.boot_ms())
    }

    /// Whether a checkpoint should be written because it gives segments back.
    pub(crate) fn needs_space(&self, checkpoints: &Checkpoints, now_ms: u64) -> bool {
        let Some(space) = self.space.as_ref().filter(|space| space.is_low()) else { return false };
        let last_ms = space.freed_ms.load(Ordering::Relaxed);
        let waited = now_ms.saturating_sub(last_ms) >= CHECKPOINT_EVERY_MS || space.is_exhausted();
        let half = self.options.segment_bytes / 2;
        let again = waited && checkpoints.is_worth_again(now_ms);
        let needed = again || checkpoints.frees_space(&self.state, half, waited, now_ms);
        if needed {
            space.freed_ms.store(now_ms, Ordering::Relaxed);
        }
        needed
    }

    /// Gives back what the next checkpoint needs beside what is free, and no more: a segment stays
    /// held.
    pub(crate) fn make_room_for_checkpoint(&self, checkpoints: &Checkpoints) {
        let Some(space) = &self.space else { return };
        // An engine with files takes what is in memory, and no more than that.
        let next = match checkpoints.engine.files() {
            Some(engine) => engine.unflushed_bytes(),
            None => self.next_checkpoint_bytes(checkpoints),
        };
        let needed = next.saturating_add(SLACK_BYTES);
        let Ok(available) = self.env.disk.available_bytes(&checkpoints.folder) else { return };
        let held = space.reserve.held().unwrap_or(0);
        let spare = held.saturating_sub(self.options.segment_bytes);
        let missing = needed.saturating_sub(available).min(spare);
        if missing > 0
            && let Err(error) = space.reserve.release(missing)
        {
            tracing::warn!("giving back space of the reserve: {error}");
        }
    }

    /// What checkpoints take, at most, until writing one gives as much back: three of the next
    /// one's size, less what those that are there have of it. An engine with files writes out what
    /// is in memory, and a merge writes that once more.
    fn checkpoints_bytes(&self, checkpoints: &Checkpoints) -> u64 {
        let next = self.next_checkpoint_bytes(checkpoints);
        if checkpoints.engine.files().is_some() {
            return next.saturating_mul(2);
        }
        let there = checkpoints.named_bytes().map(|bytes| bytes.min(next)).iter().sum();
        next.saturating_mul(3).saturating_sub(there)
    }

    /// What the next checkpoint takes, at most.
    fn next_checkpoint_bytes(&self, checkpoints: &Checkpoints) -> u64 {
        let [newest, _] = checkpoints.named_bytes();
        let next = match checkpoints.engine.files() {
            // As much as comes until the disk is looked at again, and what is on its way then.
            Some(engine) => engine.unflushed_bytes().saturating_add(self.options.segment_bytes / 2),
            None => self.state.state_bytes(),
        };
        newest.max(next)
    }
}
