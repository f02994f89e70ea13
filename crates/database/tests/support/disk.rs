//! A real disk that ends the process at a named operation: before it, in its middle, or after it.

use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rekindle_env::{DirectoryLock, Disk, Entry, LockMode, ReadDisk, ReadFile, RealDisk, WriteFile};

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

/// A real disk on which a death waits.
#[derive(Clone, Debug)]
pub struct DeadlyDisk {
    disk: RealDisk,
    death: Arc<Death>,
}

impl DeadlyDisk {
    pub fn new(death: Arc<Death>) -> Self {
        Self { disk: RealDisk::new(), death }
    }

    fn wrap(&self, file: Box<dyn WriteFile>, path: &Path) -> Box<dyn WriteFile> {
        Box::new(DeadlyFile { file, path: path.to_owned(), death: self.death.clone() })
    }
}

#[derive(Debug)]
struct DeadlyFile {
    file: Box<dyn WriteFile>,
    path: std::path::PathBuf,
    death: Arc<Death>,
}

impl ReadFile for DeadlyFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }
}

impl WriteFile for DeadlyFile {
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let half = || self.file.write_at(&buf[..buf.len() / 2], offset).unwrap();
        self.death.run(At::Write, &self.path, half, || self.file.write_at(buf, offset))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.file.allocate(len)
    }

    fn punch_hole(&self, offset: u64, len: u64) -> io::Result<()> {
        self.file.punch_hole(offset, len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.death.run(At::Sync, &self.path, || (), || self.file.sync_data())
    }

    fn sync_all(&self) -> io::Result<()> {
        self.death.run(At::Sync, &self.path, || (), || self.file.sync_all())
    }
}

impl ReadDisk for DeadlyDisk {
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

impl Disk for DeadlyDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        let file = self.death.run(At::Create, path, || (), || self.disk.create(path))?;
        Ok(self.wrap(file, path))
    }

    fn open_write(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        Ok(self.wrap(self.disk.open_write(path)?, path))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.death.run(At::Rename, to, || (), || self.disk.rename(from, to))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.death.run(At::Remove, path, || (), || self.disk.remove_file(path))
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
