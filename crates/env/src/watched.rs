//! A disk around another one, and somebody who watches every change that passes: to measure it, to
//! make it slower, to refuse it, to do half of it.
//!
//! Invariant: what is watched is performed at most once, by the one who watches; everything else is
//! the inner disk's.

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{
    DirectoryLock, Disk, Entry, Inode, LockMode, NativeFolder, NativeMode, ReadDisk, ReadFile,
    WriteFile,
};

/// A change that is about to pass.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// A file is created.
    Create {
        /// Its path.
        path: &'a Path,
    },
    /// Bytes are written.
    Write {
        /// The path of the file.
        path: &'a Path,
        /// The inner file, for who writes only a part.
        file: &'a dyn WriteFile,
        /// The bytes.
        bytes: &'a [u8],
        /// Where.
        offset: u64,
    },
    /// A file is synced.
    Sync {
        /// Its path.
        path: &'a Path,
    },
    /// A name changes.
    Rename {
        /// The new name.
        to: &'a Path,
    },
    /// A file is removed.
    Remove {
        /// Its path.
        path: &'a Path,
    },
    /// A directory is locked.
    Lock {
        /// Its path.
        dir: &'a Path,
    },
}

/// Who watches.
pub trait Watch: Send + Sync + Debug {
    /// Stands in the place of a change; `perform` does it, at most once.
    fn change(
        &self,
        change: Change<'_>,
        perform: &mut dyn FnMut() -> io::Result<()>,
    ) -> io::Result<()>;
}

/// The disk that is watched. A clone is the same disk with the same watch.
#[derive(Clone, Debug)]
pub struct WatchedDisk {
    inner: Arc<dyn Disk>,
    watch: Arc<dyn Watch>,
}

impl WatchedDisk {
    /// `inner`, watched.
    #[must_use]
    pub fn new(inner: Arc<dyn Disk>, watch: Arc<dyn Watch>) -> Self {
        Self { inner, watch }
    }

    fn file(&self, path: &Path, inner: Box<dyn WriteFile>) -> Box<dyn WriteFile> {
        Box::new(WatchedFile { path: path.to_owned(), inner, watch: Arc::clone(&self.watch) })
    }
}

/// Passes a change with a result through the watch; `None` when it was not performed and yet no
/// error.
fn pass<T>(
    watch: &dyn Watch,
    change: Change<'_>,
    perform: impl Fn() -> io::Result<T>,
) -> io::Result<T> {
    let mut result = None;
    watch.change(change, &mut || {
        assert!(result.is_none(), "a change is performed at most once");
        result = Some(perform()?);
        Ok(())
    })?;
    result.ok_or_else(|| io::Error::other("who watches the disk swallowed this change"))
}

#[derive(Debug)]
struct WatchedFile {
    path: PathBuf,
    inner: Box<dyn WriteFile>,
    watch: Arc<dyn Watch>,
}

impl ReadFile for WatchedFile {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buf, offset)
    }

    fn next_data(&self, offset: u64) -> io::Result<u64> {
        self.inner.next_data(offset)
    }

    fn forget_cached(&self, offset: u64, len: u64) {
        self.inner.forget_cached(offset, len);
    }
}

impl WriteFile for WatchedFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let change = Change::Write { path: &self.path, file: &*self.inner, bytes, offset };
        pass(&*self.watch, change, || self.inner.write_at(bytes, offset))
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
        pass(&*self.watch, Change::Sync { path: &self.path }, || self.inner.sync_data())
    }

    fn sync_all(&self) -> io::Result<()> {
        pass(&*self.watch, Change::Sync { path: &self.path }, || self.inner.sync_all())
    }
}

impl ReadDisk for WatchedDisk {
    fn open_read(&self, path: &Path) -> io::Result<Box<dyn ReadFile>> {
        self.inner.open_read(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.inner.list(dir)
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Entry>> {
        self.inner.stat(path)
    }

    fn inode(&self, dir: &Path) -> io::Result<Option<Inode>> {
        self.inner.inode(dir)
    }

    fn native(&self, dir: &Path, mode: NativeMode) -> io::Result<NativeFolder> {
        self.inner.native(dir, mode)
    }
}

impl Disk for WatchedDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        let file = pass(&*self.watch, Change::Create { path }, || self.inner.create(path))?;
        Ok(self.file(path, file))
    }

    fn open_write(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        Ok(self.file(path, self.inner.open_write(path)?))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.create_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        pass(&*self.watch, Change::Rename { to }, || self.inner.rename(from, to))
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.hard_link(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        pass(&*self.watch, Change::Remove { path }, || self.inner.remove_file(path))
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_dir(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.sync_dir(dir)
    }

    fn lock(&self, dir: &Path, mode: LockMode) -> io::Result<Option<Box<dyn DirectoryLock>>> {
        pass(&*self.watch, Change::Lock { dir }, || self.inner.lock(dir, mode))
    }

    fn available_bytes(&self, path: &Path) -> io::Result<u64> {
        self.inner.available_bytes(path)
    }
}
