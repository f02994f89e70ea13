//! Lets something happen in the middle of a checkpoint: one thread, yet interleaved.
//!
//! Checkpoints do not block writers, so a commit while one is written must be possible and must not
//! leak into it. Invariant: the action runs once, outside of every lock of the disk, before the
//! checkpoint's file is made.

use std::fmt;
use std::io;
use std::sync::{Mutex, PoisonError};

use rekindle_env::{Change, Watch};

/// What happens in between.
type Action = Box<dyn FnOnce() + Send>;

/// Watches a disk for the next checkpoint.
#[derive(Default)]
pub struct Hook {
    action: Mutex<Option<Action>>,
}

impl Hook {
    /// Runs `action` when the next file of a checkpoint is made.
    pub fn at_next_checkpoint(&self, action: impl FnOnce() + Send + 'static) {
        *self.action.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(action));
    }

    /// Runs the action now, unless it ran before.
    pub fn run(&self) {
        let action = self.action.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(action) = action {
            action();
        }
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hook").finish_non_exhaustive()
    }
}

impl Watch for Hook {
    fn change(
        &self,
        change: Change<'_>,
        perform: &mut dyn FnMut() -> io::Result<()>,
    ) -> io::Result<()> {
        if let Change::Create { path } = change
            && path.to_string_lossy().contains("/checkpoints/")
        {
            self.run();
        }
        perform()
    }
}
