//! A disk whose syncs take longer, to see how a program behaves on a slow one.
//!
//! Invariant: everything but the time of a file's sync is the inner disk's.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::disk::{DirectoryLock, Disk, Entry, LockMode, ReadDisk, ReadFile, WriteFile};

/// A disk that waits after each sync of a file.
#[derive(Clone, Debug)]
pub struct DelayingDisk {
    inner: Arc<dyn Disk>,
    sync_delay: Duration,
}

impl DelayingDisk {
    /// `inner`, with every `sync_data` and `sync_all` longer by `sync_delay`.
    #[must_use]
    pub fn new(inner: Arc<dyn Disk>, sync_delay: Duration) -> Self {
        Self { inner, sync_delay }
    }

    fn file(&self, inner: Box<dyn WriteFile>) -> Box<dyn WriteFile> {
        Box::new(DelayingFile { inner, sync_delay: self.sync_delay })
    }
}

#[derive(Debug)]
struct DelayingFile {
    inner: Box<dyn WriteFile>,
    sync_delay: Duration,
}

impl DelayingFile {
    #[allow(clippy::disallowed_methods, reason = "waiting is what this disk is for")]
    fn wait(&self) {
        std::thread::sleep(self.sync_delay);
    }
}

impl ReadFile for DelayingFile {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buf, offset)
    }
}

impl WriteFile for DelayingFile {
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.inner.write_at(buf, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.inner.allocate(len)
    }

    fn punch_hole(&self, offset: u64, len: u64) -> io::Result<()> {
        self.inner.punch_hole(offset, len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data()?;
        self.wait();
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        self.inner.sync_all()?;
        self.wait();
        Ok(())
    }
}

impl ReadDisk for DelayingDisk {
    fn open_read(&self, path: &Path) -> io::Result<Box<dyn ReadFile>> {
        self.inner.open_read(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.inner.list(dir)
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Entry>> {
        self.inner.stat(path)
    }
}

impl Disk for DelayingDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        Ok(self.file(self.inner.create(path)?))
    }

    fn open_write(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        Ok(self.file(self.inner.open_write(path)?))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.create_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_dir(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.sync_dir(dir)
    }

    fn lock(&self, dir: &Path, mode: LockMode) -> io::Result<Option<Box<dyn DirectoryLock>>> {
        self.inner.lock(dir, mode)
    }

    fn available_bytes(&self, path: &Path) -> io::Result<u64> {
        self.inner.available_bytes(path)
    }
}
