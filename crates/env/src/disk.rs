//! The disk as two halves: what may be read, and what may be changed.
//!
//! Invariant: code that is handed a [`ReadDisk`] cannot write, so "a scan that repairs" does not
//! compile. Paths are whole paths; offsets and lengths are bytes. Short reads and interrupted calls
//! are retried below this trait: a read is short only at the end of a file, a write never is.

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};

use crate::view::View;

/// What a directory entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// Anything else (link, socket, device): never followed, never touched.
    Other,
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name inside the directory; bytes that are not UTF-8 are replaced.
    pub name: String,
    /// What it is.
    pub kind: EntryKind,
    /// Its length in bytes (0 for directories).
    pub len: u64,
}

/// Which directory one is: of all that exist at a time, no two have the same, so a copy of a
/// directory has another, and one that is renamed keeps its own. The numbers of one that nobody
/// uses may be given again once it was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inode {
    /// The file system.
    pub device: u64,
    /// Its number there.
    pub number: u64,
}

/// An open file that can only be read.
pub trait ReadFile: Send + Sync + Debug {
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads at `offset` until `buf` is full or the file ends; returns the bytes read.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// The first offset from `offset` on at which something was ever written; the length where
    /// nothing was. Everything before it reads as zeros. A disk that cannot tell answers `offset`.
    fn next_data(&self, offset: u64) -> io::Result<u64> {
        Ok(offset)
    }

    /// Lets go of what memory holds of this part of the file, as far as it is synced: the next read
    /// is of the medium. A disk without such a memory, or that does not listen, does nothing.
    fn forget_cached(&self, offset: u64, len: u64) {
        let _ = (offset, len);
    }
}

/// An open file that can be changed.
pub trait WriteFile: ReadFile {
    /// Writes all of `buf` at `offset`, growing the file where needed. Not durable before a sync.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;

    /// Sets the length: cuts, or extends with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Reserves space up to `len` and makes the file that long (zeros), so that later writes below
    /// `len` neither change the size nor run out of space.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// Gives the space of a range back; it reads as zeros, the size stays. A file system without
    /// holes may do nothing.
    fn punch_hole(&self, offset: u64, len: u64) -> io::Result<()>;

    /// Makes content and size durable (`fdatasync`). An error is final: never call it again and
    /// believe the answer, the kernel may have dropped the pages.
    fn sync_data(&self) -> io::Result<()>;

    /// Makes content and all metadata durable (`fsync`).
    fn sync_all(&self) -> io::Result<()>;
}

/// How a directory is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// For one owner that changes the store.
    Exclusive,
    /// For readers (`verify`, dry runs): shared with each other, not with an owner.
    Shared,
}

/// A lock on a directory; dropping it, or the death of the process, releases it.
pub trait DirectoryLock: Send + Sync + Debug {}

/// A folder that a library reads and writes by itself; dropping it ends a view.
#[derive(Debug)]
pub struct NativeFolder {
    /// Where the library finds it.
    pub path: PathBuf,
    /// Removes a view when it is dropped.
    pub(crate) view: Option<View>,
}

impl NativeFolder {
    /// Whether it is a view: what happens there changes nothing elsewhere, and is lost.
    #[must_use]
    pub fn is_view(&self) -> bool {
        self.view.is_some()
    }
}

/// How a library is to find a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NativeMode {
    /// The folder itself.
    InPlace,
    /// Another one that looks the same: what happens there changes nothing here.
    View,
}

/// The half of a disk that only reads.
pub trait ReadDisk: Send + Sync + Debug {
    /// Opens an existing regular file for reading; links are not followed.
    fn open_read(&self, path: &Path) -> io::Result<Box<dyn ReadFile>>;

    /// The entries of a directory, sorted by name. A missing directory is `NotFound`.
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>>;

    /// The entry at `path`, `None` where nothing is there.
    fn stat(&self, path: &Path) -> io::Result<Option<Entry>>;

    /// Which directory this is; `None` where nothing is there, or where directories have no such
    /// numbers.
    fn inode(&self, dir: &Path) -> io::Result<Option<Inode>>;

    /// The folder `dir` for a library that does its own input and output. A disk that is none of
    /// the machine's answers [`io::ErrorKind::Unsupported`]; one that must not be changed gives a
    /// view, whatever the mode.
    fn native(&self, dir: &Path, mode: NativeMode) -> io::Result<NativeFolder> {
        let _ = mode;
        let text = format!("{} is not on a disk of this machine", dir.display());
        Err(io::Error::new(io::ErrorKind::Unsupported, text))
    }
}

/// A whole disk. Nothing that it does is durable before the matching sync; `durable` has the
/// operations that are.
pub trait Disk: ReadDisk {
    /// Creates a file that must not exist, mode 0600.
    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>>;

    /// Opens an existing regular file for reading and writing.
    fn open_write(&self, path: &Path) -> io::Result<Box<dyn WriteFile>>;

    /// Creates one directory, mode 0700; its parent must exist.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Renames a file or directory, replacing a file at `to`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives an existing regular file a second name, which must not exist. The file is the same
    /// under both. A disk that cannot, or not between these places, answers
    /// [`io::ErrorKind::CrossesDevices`], [`io::ErrorKind::Unsupported`],
    /// [`io::ErrorKind::TooManyLinks`] or [`io::ErrorKind::PermissionDenied`].
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// Makes the entries of a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Locks a directory without writing a byte; `None` when another process holds it.
    fn lock(&self, dir: &Path, mode: LockMode) -> io::Result<Option<Box<dyn DirectoryLock>>>;

    /// Bytes that can still be written on the file system that holds `path`.
    fn available_bytes(&self, path: &Path) -> io::Result<u64>;
}
