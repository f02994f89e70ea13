//! Lets something happen in the middle of a checkpoint or a backup: one thread, yet interleaved.
//!
//! Neither blocks writers, so a commit while one is written must be possible and must not leak into
//! it. Invariant: the action runs once, outside of every lock of the disk, before the file that is
//! waited for is made.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rekindle_env::{Change, Watch};

/// What happens in between.
type Action = Box<dyn FnOnce() + Send>;

/// Watches a disk for the next file of a kind.
#[derive(Default)]
pub struct Hook {
    /// What is to happen, and a part of the path of the file before which.
    action: Mutex<Option<(&'static str, Action)>>,
}

impl Hook {
    /// Runs `action` when the next file is made whose path contains `part`.
    pub fn at_next_file(&self, part: &'static str, action: impl FnOnce() + Send + 'static) {
        let action: Action = Box::new(action);
        *self.action.lock().unwrap_or_else(PoisonError::into_inner) = Some((part, action));
    }

    /// Runs the action now, unless it ran before.
    pub fn run(&self) {
        let action = self.action.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((_, action)) = action {
            action();
        }
    }

    fn waits_for(&self, path: &Path) -> bool {
        let action = self.action.lock().unwrap_or_else(PoisonError::into_inner);
        action.as_ref().is_some_and(|(part, _)| path.to_string_lossy().contains(part))
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
            && self.waits_for(path)
        {
            self.run();
        }
        perform()
    }
}
