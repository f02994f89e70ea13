//! A real disk with so many bytes, of which somebody else may take all that are free.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rekindle_env::{
    DirectoryLock, Disk, Entry, Inode, LockMode, NativeFolder, NativeMode, ReadDisk, ReadFile,
    RealDisk, WriteFile,
};

#[derive(Debug, Default)]
struct Book {
    capacity: u64,
    /// What somebody else took.
    filler: u64,
    files: HashMap<PathBuf, u64>,
}

impl Book {
    fn free(&self) -> u64 {
        self.capacity.saturating_sub(self.filler + self.files.values().sum::<u64>())
    }

    /// Gives a file space up to `len`, as `fallocate` does.
    fn grow(&mut self, path: &Path, len: u64) -> io::Result<()> {
        let has = self.files.get(path).copied().unwrap_or(0);
        if len.saturating_sub(has) > self.free() {
            return Err(io::Error::from_raw_os_error(28));
        }
        self.files.insert(path.to_owned(), has.max(len));
        Ok(())
    }
}

/// The disk. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct SmallDisk(Arc<Mutex<Book>>);

impl SmallDisk {
    pub(crate) fn new(capacity: u64) -> Self {
        Self(Arc::new(Mutex::new(Book { capacity, ..Book::default() })))
    }

    /// Somebody else takes everything that is free.
    pub(crate) fn fill(&self) {
        let mut book = self.0.lock().unwrap();
        book.filler += book.free();
        assert_eq!(book.free(), 0);
    }

    /// And gives it back.
    pub(crate) fn drain(&self) {
        self.0.lock().unwrap().filler = 0;
    }

    fn file(&self, path: &Path, inner: Box<dyn WriteFile>) -> Box<dyn WriteFile> {
        Box::new(SmallFile { disk: self.clone(), path: path.to_owned(), inner })
    }
}

#[derive(Debug)]
struct SmallFile {
    disk: SmallDisk,
    path: PathBuf,
    inner: Box<dyn WriteFile>,
}

impl ReadFile for SmallFile {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buf, offset)
    }
}

impl WriteFile for SmallFile {
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.disk.0.lock().unwrap().grow(&self.path, offset + buf.len() as u64)?;
        self.inner.write_at(buf, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)?;
        let mut book = self.disk.0.lock().unwrap();
        let has = book.files.get(&self.path).copied().unwrap_or(0);
        book.files.insert(self.path.clone(), has.min(len));
        Ok(())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.disk.0.lock().unwrap().grow(&self.path, len)?;
        self.inner.allocate(len)
    }

    fn punch_hole(&self, offset: u64, len: u64) -> io::Result<()> {
        self.inner.punch_hole(offset, len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.inner.sync_all()
    }
}

impl ReadDisk for SmallDisk {
    fn open_read(&self, path: &Path) -> io::Result<Box<dyn ReadFile>> {
        RealDisk.open_read(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        RealDisk.list(dir)
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Entry>> {
        RealDisk.stat(path)
    }

    fn inode(&self, dir: &Path) -> io::Result<Option<Inode>> {
        RealDisk.inode(dir)
    }

    /// What a library writes there is not counted.
    fn native(&self, dir: &Path, mode: NativeMode) -> io::Result<NativeFolder> {
        RealDisk.native(dir, mode)
    }
}

impl Disk for SmallDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        Ok(self.file(path, RealDisk.create(path)?))
    }

    fn open_write(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        Ok(self.file(path, RealDisk.open_write(path)?))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.create_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)?;
        let mut book = self.0.lock().unwrap();
        let bytes = book.files.remove(from).unwrap_or(0);
        book.files.insert(to.to_owned(), bytes);
        Ok(())
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.hard_link(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove_file(path)?;
        self.0.lock().unwrap().files.remove(path);
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove_dir(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.sync_dir(dir)
    }

    fn lock(&self, dir: &Path, mode: LockMode) -> io::Result<Option<Box<dyn DirectoryLock>>> {
        RealDisk.lock(dir, mode)
    }

    fn available_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().free())
    }
}
