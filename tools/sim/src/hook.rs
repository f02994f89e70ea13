//! A disk that lets something happen in the middle of a checkpoint: one thread, yet interleaved.
//!
//! Checkpoints do not block writers, so a commit while one is written must be possible and must not
//! leak into it. Invariant: the hook runs once, outside of every lock of the disk, before the
//! checkpoint's file is made.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rekindle_env::{
    DirectoryLock, Disk, Entry, LockMode, ReadDisk, ReadFile, SimulatedDisk, WriteFile,
};

/// What happens in between.
type Action = Box<dyn FnOnce() + Send>;

/// A simulated disk with a hook. A clone is the same disk with the same hook.
#[derive(Clone)]
pub struct HookedDisk {
    disk: SimulatedDisk,
    action: Arc<Mutex<Option<Action>>>,
}

impl HookedDisk {
    /// This disk, with nothing hooked in.
    #[must_use]
    pub fn new(disk: SimulatedDisk) -> Self {
        Self { disk, action: Arc::default() }
    }

    /// Runs `action` when the next file of a checkpoint is made.
    pub fn at_next_checkpoint(&self, action: impl FnOnce() + Send + 'static) {
        *self.action.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(action));
    }

    /// Runs the action now, unless it ran before.
    pub fn run(&self) {
        if let Some(action) = self.take() {
            action();
        }
    }

    fn take(&self) -> Option<Action> {
        self.action.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl fmt::Debug for HookedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.disk.fmt(f)
    }
}

impl ReadDisk for HookedDisk {
    fn open_read(&self, path: &Path) -> io::Result<Box<dyn ReadFile>> {
        self.disk.open_read(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.disk.list(dir)
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Entry>> {
        self.disk.stat(path)
    }
}

impl Disk for HookedDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        if path.to_string_lossy().contains("/checkpoints/") {
            self.run();
        }
        self.disk.create(path)
    }

    fn open_write(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        self.disk.open_write(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_dir(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }

    fn lock(&self, dir: &Path, mode: LockMode) -> io::Result<Option<Box<dyn DirectoryLock>>> {
        self.disk.lock(dir, mode)
    }

    fn available_bytes(&self, path: &Path) -> io::Result<u64> {
        self.disk.available_bytes(path)
    }
}
