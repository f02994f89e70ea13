//! A disk whose syncs take longer, to see how a program behaves on a slow one.
//!
//! Invariants: everything but the time of a file's sync is the inner disk's; every sync is counted
//! with the time that it took in the end.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::disk::{DirectoryLock, Disk, Entry, LockMode, ReadDisk, ReadFile, WriteFile};

/// How many syncs there were, and how long they took.
#[derive(Debug, Default)]
struct Syncs {
    count: AtomicU64,
    nanos: AtomicU64,
}

/// A disk that waits after each sync of a file.
#[derive(Clone, Debug)]
pub struct DelayingDisk {
    inner: Arc<dyn Disk>,
    sync_delay: Duration,
    syncs: Arc<Syncs>,
}

impl DelayingDisk {
    /// `inner`, with every `sync_data` and `sync_all` longer by `sync_delay`.
    #[must_use]
    pub fn new(inner: Arc<dyn Disk>, sync_delay: Duration) -> Self {
        Self { inner, sync_delay, syncs: Arc::default() }
    }

    /// Syncs of files so far, and the nanoseconds that they took together, the wait included.
    #[must_use]
    pub fn syncs(&self) -> (u64, u64) {
        let Syncs { count, nanos } = &*self.syncs;
        (count.load(Ordering::Relaxed), nanos.load(Ordering::Relaxed))
    }

    fn file(&self, inner: Box<dyn WriteFile>) -> Box<dyn WriteFile> {
        let (sync_delay, syncs) = (self.sync_delay, Arc::clone(&self.syncs));
        Box::new(DelayingFile { inner, sync_delay, syncs })
    }
}

#[derive(Debug)]
struct DelayingFile {
    inner: Box<dyn WriteFile>,
    sync_delay: Duration,
    syncs: Arc<Syncs>,
}

impl DelayingFile {
    #[allow(clippy::disallowed_methods, reason = "waiting is what this disk is for")]
    fn longer(&self, sync: impl FnOnce(&dyn WriteFile) -> io::Result<()>) -> io::Result<()> {
        let began_ns = SystemClock.boot_ns();
        sync(&*self.inner)?;
        std::thread::sleep(self.sync_delay);
        let took_ns = SystemClock.boot_ns().saturating_sub(began_ns);
        self.syncs.count.fetch_add(1, Ordering::Relaxed);
        self.syncs.nanos.fetch_add(took_ns, Ordering::Relaxed);
        Ok(())
    }
}

impl ReadFile for DelayingFile {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buf, offset)
    }

    fn next_data(&self, offset: u64) -> io::Result<u64> {
        self.inner.next_data(offset)
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
        self.longer(|file| file.sync_data())
    }

    fn sync_all(&self) -> io::Result<()> {
        self.longer(|file| file.sync_all())
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
