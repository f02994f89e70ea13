//! A disk over another one: reads fall through, changes stay in memory and end with it.
//!
//! Invariants: the disk underneath is only known as a [`ReadDisk`], so a dry run cannot write; the
//! memory used is that of the pages that were written, whatever sizes were set. What the disk
//! underneath shows is taken to stand still: the caller holds its lock.
//!
//! A relative and an absolute path to one file are two files here; use one way to write paths. So
//! are two names that one file has underneath.

mod file;
mod tree;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::file::OverlayFile;
use self::tree::Tree;
use crate::disk::{
    DirectoryLock, Disk, Entry, Inode, LockMode, NativeFolder, NativeMode, ReadDisk, ReadFile,
    WriteFile,
};

/// What a dry run is told about free space, a pebibyte: changes cost memory, not disk.
const AVAILABLE_BYTES: u64 = 1 << 50;

/// A copy-on-write view of a disk. A clone is the same view.
#[derive(Clone)]
pub struct OverlayDisk {
    tree: Arc<Mutex<Tree>>,
    base: Arc<dyn ReadDisk>,
}

impl OverlayDisk {
    /// A view of `base` without changes.
    #[must_use]
    pub fn new(base: Arc<dyn ReadDisk>) -> Self {
        Self { tree: Arc::new(Mutex::new(Tree::new(Arc::clone(&base)))), base }
    }

    fn tree(&self) -> MutexGuard<'_, Tree> {
        // Every change of the tree is one assignment: a panic leaves nothing half done.
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, path: &Path) -> io::Result<Box<OverlayFile>> {
        Ok(Box::new(OverlayFile::new(self.tree().open(path)?)))
    }
}

impl fmt::Debug for OverlayDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OverlayDisk").finish_non_exhaustive()
    }
}

/// A lock among the users of one overlay.
#[derive(Debug)]
struct OverlayLock {
    disk: OverlayDisk,
    dir: tree::DirectoryId,
}

impl DirectoryLock for OverlayLock {}

impl Drop for OverlayLock {
    fn drop(&mut self) {
        self.disk.tree().locks.unlock(self.dir);
    }
}

impl ReadDisk for OverlayDisk {
    fn open_read(&self, path: &Path) -> io::Result<Box<dyn ReadFile>> {
        Ok(self.open(path)?)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.tree().list(dir)
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Entry>> {
        self.tree().stat(path)
    }

    fn inode(&self, dir: &Path) -> io::Result<Option<Inode>> {
        self.tree().inode(dir)
    }

    fn native(&self, dir: &Path, _: NativeMode) -> io::Result<NativeFolder> {
        // As it was before anything was changed here: no layer of ours writes into such a folder.
        self.base.native(dir, NativeMode::View)
    }
}

impl Disk for OverlayDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        Ok(Box::new(OverlayFile::new(self.tree().create(path)?)))
    }

    fn open_write(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        Ok(self.open(path)?)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.tree().create_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.tree().rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.tree().hard_link(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.tree().remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.tree().remove_dir(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.tree().directory(dir).map(drop)
    }

    /// Locks among the users of this overlay; the disk underneath is locked by the caller.
    fn lock(&self, dir: &Path, mode: LockMode) -> io::Result<Option<Box<dyn DirectoryLock>>> {
        let Some(dir) = self.tree().lock(dir, mode)? else { return Ok(None) };
        Ok(Some(Box::new(OverlayLock { disk: self.clone(), dir })))
    }

    fn available_bytes(&self, path: &Path) -> io::Result<u64> {
        if self.stat(path)?.is_none() && !path.as_os_str().is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(AVAILABLE_BYTES)
    }
}
