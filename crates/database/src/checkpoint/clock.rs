//! What is due by the clock: checkpoints, merges of files, replacing what is damaged, waking who
//! waited for too long.
//!
//! Invariant: nothing here runs on the path of a commit.

use rekindle_engine::FileEngine;

use crate::core::Core;
use crate::error::Error;

impl Core {
    /// Writes a checkpoint now.
    pub(crate) fn checkpoint(&self) -> Result<(), Error> {
        match &self.checkpoints {
            Some(checkpoints) => checkpoints.write(self),
            None => Err(Error::Invalid("this database has no place for checkpoints".to_owned())),
        }
    }

    /// Syncs the journal; behind it the engine writes out its memtables, where it does so at a
    /// flush. A failure of that loses nothing: the journal has what they hold.
    pub(crate) fn flush(&self) -> Result<(), Error> {
        self.journal.sync()?;
        let engine = self.checkpoints.as_ref().and_then(|checkpoints| checkpoints.engine.files());
        let writes_out = engine.is_some_and(FileEngine::writes_out_at_flush);
        if writes_out
            && !self.untold.holds(self.env.clock.boot_ms())
            && let Err(error) = self.checkpoint()
        {
            tracing::warn!("the memtables of the engine were not written out: {error}");
        }
        Ok(())
    }

    /// Wakes commits that awaited room for too long: they have no thread that could wait for a
    /// time, and on a disk whose sync hangs the journal never wakes them.
    pub(crate) fn wake_overdue(&self) {
        self.room.wake_to(self.env.clock.boot_ns());
    }

    /// Whether something that was found damaged is still in use.
    pub(crate) fn has_rotten(&self) -> bool {
        self.checkpoints.as_ref().is_some_and(|checkpoints| !checkpoints.rotten().is_empty())
    }

    /// Does what is due by the clock.
    pub(crate) fn tick(&self) -> Result<(), Error> {
        let now_ms = self.env.clock.boot_ms();
        self.wake_overdue();
        let max_age = u64::try_from(self.options.max_snapshot_age.as_millis()).unwrap_or(u64::MAX);
        self.state.sweep(now_ms.saturating_sub(max_age), now_ms);
        let Some(checkpoints) = &self.checkpoints else { return Ok(()) };
        if !self.options.background {
            checkpoints.journal.tick();
        }
        if let Some(reason) = self.poisoned() {
            // Perhaps by this very tick, and nobody else has been told.
            return Err(Error::Poisoned(reason));
        }
        self.look_at_disk()?;
        if self.untold.holds(now_ms) || (self.earlier.holds(now_ms) && !self.is_behind()) {
            return Ok(());
        }
        if checkpoints.owes(now_ms) {
            self.replace_rotten(checkpoints)?;
        }
        let is_due = checkpoints.is_due(&self.state, now_ms)
            || (self.is_much_unflushed(checkpoints) && checkpoints.may_retry(now_ms));
        if is_due || self.needs_space(checkpoints, now_ms) {
            checkpoints.write(self)?;
        }
        if !self.options.background {
            self.merge_files()?;
        }
        Ok(())
    }

    /// Merges files of the engine where that is due; whether it did something.
    pub(crate) fn merge_files(&self) -> Result<bool, Error> {
        let engine = self.checkpoints.as_ref().and_then(|checkpoints| checkpoints.engine.files());
        let Some(engine) = engine else { return Ok(false) };
        let pressing = self.is_disk_low();
        if pressing {
            // What only a courtesy keeps readable takes space that a writer waits for.
            self.state.shorten_history();
        }
        let merged = engine.compact(pressing)?;
        if merged {
            self.room.wake_all();
        }
        Ok(merged)
    }

    /// Whether the engine is so far behind that writers should wait.
    pub(crate) fn is_behind(&self) -> bool {
        let engine = self.checkpoints.as_ref().and_then(|checkpoints| checkpoints.engine.files());
        engine.is_some_and(FileEngine::is_behind)
    }
}
