//! Checkpoints of an engine with files of its own: it writes them out, and an anchor says where
//! they stand and keeps what was derived from their rows.
//!
//! Order: seal between two records; sync the journal, so that nothing above durable is written;
//! flush; name the anchor. Invariant: the files stand at the anchor or above it.

use std::sync::atomic::Ordering;

use rekindle_engine::{FileEngine, checkpoint};
use rekindle_journal::Journal;

use super::{Checkpoints, failed};
use crate::apply::lock;
use crate::core::Core;
use crate::error::Error;

/// On a full disk others take what the reserve gives back before the engine does; so often it is
/// given again.
const FLUSHES_MAX: u32 = 4;

impl Checkpoints {
    /// Has the engine write out what is sealed, on a full disk from the reserve.
    fn flush_within(&self, core: &Core, engine: &dyn FileEngine) -> Result<(), Error> {
        let mut flushes = 0;
        loop {
            flushes += 1;
            core.make_room_for_checkpoint(self);
            let Err(error) = engine.flush() else { return Ok(()) };
            let error = Error::from(error);
            if flushes == FLUSHES_MAX || engine.failed().is_some() || !error.is_disk_full() {
                return Err(error);
            }
        }
    }

    /// Has the engine write out its files, then says where they stand.
    pub(super) fn write_files(
        &self,
        core: &Core,
        engine: &dyn FileEngine,
        again: bool,
    ) -> Result<(), Error> {
        // What was derived up to here belongs to what is sealed now.
        let (version, derived) = core.state.between_records(|replay| {
            engine.seal(replay.replay_from());
            (engine.mark().version, core.state.freeze())
        });
        let journal_bytes = self.journal.counters().bytes.load(Ordering::Relaxed);
        // What is applied may be only written in the lazy modes.
        let durable = self.journal.sync()?;
        self.flush_within(core, engine)?;
        core.room.wake_all();
        let (mark, replay_from) = engine.flushed();
        let [newest, _] = lock(&self.known).named;
        if mark.position == 0 || (mark.position == newest.position && !again) {
            return Ok(());
        }
        let stamp = self.stamp(replay_from);
        let disk = &*core.env.disk;
        // A flush that failed may have left what was sealed before.
        let derived = derived.as_ref().filter(|_| version == mark.version);
        let durable = durable.position;
        let written = checkpoint::write_anchor(disk, &self.folder, mark, derived, &stamp, durable)
            .map_err(failed)?;
        self.publish(core, &written, journal_bytes)?;
        // A start begins with these files, whichever checkpoint it finds.
        core.state.history_floor.fetch_max(mark.version, Ordering::Relaxed);
        core.state.keep_past();
        Ok(())
    }
}
