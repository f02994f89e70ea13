//! A real disk that ends the process at a named operation: before it, in its middle, or after it.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rekindle_env::{Change, Watch};

/// The operations at which a process can be made to die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    Create,
    Write,
    Sync,
    Rename,
    Remove,
}

/// When in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Before,
    Half,
    After,
}

/// Where a process dies.
#[derive(Debug)]
pub struct Death {
    pub at: At,
    pub when: When,
    /// Part of the path.
    pub path: &'static str,
    /// Which one, from 1; 0: never.
    pub nth: u64,
    pub seen: AtomicU64,
}

impl Death {
    /// At the first such operation.
    pub fn new(at: At, when: When, path: &'static str, nth: u64) -> Arc<Self> {
        Arc::new(Self { at, when, path, nth, seen: AtomicU64::new(0) })
    }

    /// Runs an operation, or half of it, or dies.
    fn run<T>(&self, at: At, path: &Path, half: impl FnOnce(), whole: impl FnOnce() -> T) -> T {
        let here = at == self.at && path.to_string_lossy().contains(self.path);
        if !here || self.seen.fetch_add(1, Ordering::SeqCst) + 1 != self.nth {
            return whole();
        }
        match self.when {
            When::Before => die(),
            When::Half => {
                half();
                die()
            }
            When::After => {
                let _ = whole();
                die()
            }
        }
    }
}

/// Ends the process at once, without unwinding or flushing anything.
#[allow(clippy::disallowed_methods, reason = "this child is meant to die")]
pub fn die() -> ! {
    std::process::abort()
}

impl Watch for Death {
    fn change(
        &self,
        change: Change<'_>,
        perform: &mut dyn FnMut() -> io::Result<()>,
    ) -> io::Result<()> {
        match change {
            Change::Create { path } => self.run(At::Create, path, || (), perform),
            Change::Write { path, file, bytes, offset } => {
                let half = || file.write_at(&bytes[..bytes.len() / 2], offset).unwrap();
                self.run(At::Write, path, half, perform)
            }
            Change::Sync { path } => self.run(At::Sync, path, || (), perform),
            Change::Rename { to } => self.run(At::Rename, to, || (), perform),
            Change::Remove { path } => self.run(At::Remove, path, || (), perform),
            Change::Lock { .. } => perform(),
        }
    }
}
