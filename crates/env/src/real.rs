//! The machine's disk, by system calls.
//!
//! Invariants: files are 0600 and directories 0700; the last component of a path that is opened is
//! never a link that was followed; nothing but a regular file is ever opened for reading or writing
//! (opening a pipe would hang, a device would answer nonsense); descriptors do not survive an exec.
//! No memory maps: a page fault cannot return an error.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this is the one file that turns the Disk traits into system calls"
)]

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, TryLockError};
use std::io;
use std::num::NonZeroU64;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FallocateFlags, OFlags};
use rustix::io::{Errno, retry_on_intr};

use crate::disk::{
    DirectoryLock, Disk, Entry, EntryKind, Inode, LockMode, NativeFolder, NativeMode, ReadDisk,
    ReadFile, WriteFile,
};
use crate::view::View;

/// The disk of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl RealDisk {
    /// The disk of this machine.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

#[derive(Debug)]
struct RealFile {
    file: File,
}

/// Held open for the `flock` on it; closing the descriptor releases the lock.
#[derive(Debug)]
struct RealLock {
    _directory: File,
}

impl DirectoryLock for RealLock {}

impl ReadFile for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buf.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, position(offset, filled)?) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        assert!(filled <= buf.len(), "the kernel never reads more than was asked for");
        Ok(filled)
    }

    fn next_data(&self, offset: u64) -> io::Result<u64> {
        match rustix::fs::seek(&self.file, rustix::fs::SeekFrom::Data(offset)) {
            Ok(found) => Ok(found.max(offset)),
            // Nothing behind `offset`, or `offset` behind the end.
            Err(rustix::io::Errno::NXIO) => Ok(self.len()?.max(offset)),
            // A file system that does not know.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::OPNOTSUPP) => Ok(offset),
            Err(error) => Err(error.into()),
        }
    }

    fn forget_cached(&self, offset: u64, len: u64) {
        // An advice: where nobody takes it, the read is of memory.
        let advice = rustix::fs::Advice::DontNeed;
        let _ = rustix::fs::fadvise(&self.file, offset, NonZeroU64::new(len), advice);
    }
}

impl WriteFile for RealFile {
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let mut written = 0;
        while let Some(rest) = buf.get(written..).filter(|rest| !rest.is_empty()) {
            match self.file.write_at(rest, position(offset, written)?) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(wrote) => written += wrote,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        assert_eq!(written, buf.len(), "a write is never short");
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        let fd = self.file.as_fd();
        match retry_on_intr(|| rustix::fs::fallocate(fd, FallocateFlags::empty(), 0, len)) {
            // The size still has to be final before the first write; only the space is no promise.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) if self.len()? < len => self.set_len(len),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            other => {
                other?;
                debug_assert!(self.len()? >= len, "allocated up to its length");
                Ok(())
            }
        }
    }

    fn punch_hole(&self, offset: u64, len: u64) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        let fd = self.file.as_fd();
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match retry_on_intr(|| rustix::fs::fallocate(fd, flags, offset, len)) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            other => Ok(other?),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

impl ReadDisk for RealDisk {
    fn open_read(&self, path: &Path) -> io::Result<Box<dyn ReadFile>> {
        Ok(Box::new(open(path, OpenOptions::new().read(true))?))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(or_here(dir))? {
            let entry = entry?;
            match entry.metadata() {
                Ok(metadata) => entries.push(describe(&entry.file_name(), &metadata)),
                // Removed between the listing and the look at it: it is not there.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Entry>> {
        match fs::symlink_metadata(or_here(path)) {
            Ok(metadata) => {
                Ok(Some(describe(path.file_name().unwrap_or(path.as_os_str()), &metadata)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn inode(&self, dir: &Path) -> io::Result<Option<Inode>> {
        match fs::symlink_metadata(or_here(dir)) {
            Ok(found) => Ok(Some(Inode { device: found.dev(), number: found.ino() })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn native(&self, dir: &Path, mode: NativeMode) -> io::Result<NativeFolder> {
        match mode {
            NativeMode::InPlace => Ok(NativeFolder { path: dir.to_owned(), view: None }),
            NativeMode::View => View::of(dir),
        }
    }
}

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        let mut options = OpenOptions::new();
        Ok(Box::new(open(path, options.read(true).write(true).create_new(true).mode(0o600))?))
    }

    fn open_write(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        Ok(Box::new(open(path, OpenOptions::new().read(true).write(true))?))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().mode(0o700).create(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let kind = fs::symlink_metadata(from)?.file_type();
        if kind.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if !kind.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        fs::hard_link(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        open_dir(dir)?.sync_all()
    }

    fn lock(&self, dir: &Path, mode: LockMode) -> io::Result<Option<Box<dyn DirectoryLock>>> {
        let directory = open_dir(dir)?;
        let locked = match mode {
            LockMode::Exclusive => directory.try_lock(),
            LockMode::Shared => directory.try_lock_shared(),
        };
        match locked {
            Ok(()) => Ok(Some(Box::new(RealLock { _directory: directory }))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn available_bytes(&self, path: &Path) -> io::Result<u64> {
        let space = retry_on_intr(|| rustix::fs::statvfs(or_here(path)))?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }
}

/// Opens a regular file, and nothing else, without waiting for the other end of a pipe.
fn open(path: &Path, options: &mut OpenOptions) -> io::Result<RealFile> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = options.custom_flags(flags).open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !kind.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(RealFile { file })
}

/// A directory that is held open for its syncs: they need no descriptor when there is none left.
#[derive(Debug)]
pub struct Directory(File);

impl Directory {
    /// Opens it.
    ///
    /// # Errors
    /// What the machine answers.
    pub fn open(dir: &Path) -> io::Result<Self> {
        open_dir(dir).map(Self)
    }

    /// Makes what was named, renamed and removed in it last.
    ///
    /// # Errors
    /// What the disk answers; then nobody knows what lasts.
    pub fn sync(&self) -> io::Result<()> {
        self.0.sync_all()
    }
}

fn open_dir(dir: &Path) -> io::Result<File> {
    let flags = OFlags::DIRECTORY.bits().cast_signed();
    OpenOptions::new().read(true).custom_flags(flags).open(or_here(dir))
}

/// The parent of a bare name is the empty path, which means the working directory.
fn or_here(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

fn position(offset: u64, done: usize) -> io::Result<u64> {
    let done = u64::try_from(done).expect("a usize fits a u64");
    offset.checked_add(done).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

fn describe(name: &std::ffi::OsStr, metadata: &Metadata) -> Entry {
    let kind = match metadata.file_type() {
        kind if kind.is_file() => EntryKind::File,
        kind if kind.is_dir() => EntryKind::Directory,
        _ => EntryKind::Other,
    };
    let len = if kind == EntryKind::File { metadata.len() } else { 0 };
    Entry { name: name.to_string_lossy().into_owned(), kind, len }
}
