//! Space that a file holds back on a disk, for what must go on when the disk is full.
//!
//! Invariants: the file's content means nothing, so a crash can leave it in any state; what it held
//! is given back only when somebody who must go on was refused for want of space, or is known to
//! need it next, so another program that fills the disk cannot take it before; a refused write is
//! never tried again, only what is refused before anything was written ([`ReservedDisk`]).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::{
    DirectoryLock, Disk, Entry, EntryKind, Inode, LockMode, NativeFolder, NativeMode, ReadDisk,
    ReadFile, WriteFile,
};

/// What a name in a directory takes at most, where the directory has to grow for it.
const NAME_BYTES: u64 = 1 << 16;
/// What is given for one name at most: where that does not help, it is not space that is missing
/// (inodes, a quota of files), and the rest stays for what needs space.
const NAME_BYTES_MAX: u64 = 16 * NAME_BYTES;

/// The file that holds space back.
#[derive(Debug)]
pub struct Reserve {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// What it holds, once that is known.
    held: Mutex<Option<u64>>,
}

impl Reserve {
    /// The reserve at this path; nothing is read or made yet.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, path: PathBuf) -> Self {
        Self { disk, path, held: Mutex::new(None) }
    }

    fn lock(&self) -> MutexGuard<'_, Option<u64>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn found(&self) -> io::Result<u64> {
        let entry = self.disk.stat(&self.path)?;
        Ok(entry.filter(|entry| entry.kind == EntryKind::File).map_or(0, |entry| entry.len))
    }

    /// How much it holds.
    pub fn held(&self) -> io::Result<u64> {
        let mut held = self.lock();
        let bytes = match *held {
            Some(bytes) => bytes,
            None => self.found()?,
        };
        *held = Some(bytes);
        Ok(bytes)
    }

    /// Makes it hold so much: less gives space back, more takes it. Answers what it holds then; as
    /// before where the disk has no such space.
    pub fn hold(&self, bytes: u64) -> io::Result<u64> {
        let mut held = self.lock();
        let before = self.found()?;
        let file = match self.disk.stat(&self.path)? {
            Some(_) => self.disk.open_write(&self.path)?,
            None => self.disk.create(&self.path)?,
        };
        let now = if bytes < before {
            file.set_len(bytes)?;
            bytes
        } else {
            // Also where it is that long: a crash may have left a length without space.
            match file.allocate(bytes) {
                Ok(()) => bytes,
                Err(error) if is_full(&error) => {
                    file.set_len(before)?;
                    before
                }
                Err(error) => return Err(error),
            }
        };
        *held = Some(now);
        Ok(now)
    }

    /// Gives back up to so much; answers how much that was.
    pub fn release(&self, bytes: u64) -> io::Result<u64> {
        self.release_of(&mut self.lock(), bytes)
    }

    /// Does something that needs so much and is refused before it changed anything; where it is
    /// refused for want of space, again with space of the reserve. Others may take what is given
    /// back first, so it is given again, `bytes_max` in all.
    fn give_to<T>(
        &self,
        bytes: u64,
        bytes_max: u64,
        perform: impl Fn() -> io::Result<T>,
    ) -> io::Result<T> {
        let refused = match perform() {
            Err(error) if is_full(&error) => error,
            other => return other,
        };
        // Held throughout: nobody makes the reserve larger again with what was given back.
        let mut held = self.lock();
        let (mut bytes, mut left) = (bytes, bytes_max);
        while let Ok(given @ 1..) = self.release_of(&mut held, bytes.min(left)) {
            match perform() {
                Err(error) if is_full(&error) => {}
                other => return other,
            }
            (bytes, left) = (bytes.saturating_mul(2), left.saturating_sub(given));
        }
        Err(refused)
    }

    fn release_of(&self, held: &mut Option<u64>, bytes: u64) -> io::Result<u64> {
        let before = self.found()?;
        let given = before.min(bytes);
        if given > 0 {
            let file = self.disk.open_write(&self.path)?;
            file.set_len(before - given)?;
            // Some file systems give space back only with their own next commit.
            file.sync_all()?;
        }
        *held = Some(before - given);
        Ok(given)
    }
}

/// Whether an error says that the disk, or a quota on it, is full.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// A disk on which making and sizing a file takes space from a reserve when there is no other.
#[derive(Clone, Debug)]
pub struct ReservedDisk {
    inner: Arc<dyn Disk>,
    reserve: Arc<Reserve>,
}

impl ReservedDisk {
    /// `inner`, with this reserve.
    #[must_use]
    pub fn new(inner: Arc<dyn Disk>, reserve: Arc<Reserve>) -> Self {
        Self { inner, reserve }
    }

    fn file(&self, inner: Box<dyn WriteFile>) -> Box<dyn WriteFile> {
        Box::new(ReservedFile { inner, reserve: Arc::clone(&self.reserve) })
    }
}

#[derive(Debug)]
struct ReservedFile {
    inner: Box<dyn WriteFile>,
    reserve: Arc<Reserve>,
}

impl ReadFile for ReservedFile {
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

impl WriteFile for ReservedFile {
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.inner.write_at(buf, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.reserve.give_to(len, u64::MAX, || self.inner.allocate(len))
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

impl ReadDisk for ReservedDisk {
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

impl Disk for ReservedDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        let file = self.reserve.give_to(NAME_BYTES, NAME_BYTES_MAX, || self.inner.create(path))?;
        Ok(self.file(file))
    }

    fn open_write(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        Ok(self.file(self.inner.open_write(path)?))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.reserve.give_to(NAME_BYTES, NAME_BYTES_MAX, || self.inner.create_dir(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.reserve.give_to(NAME_BYTES, NAME_BYTES_MAX, || self.inner.rename(from, to))
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.hard_link(from, to)
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{Fault, FaultError, OperationKind, SimulatedDisk, durable};

    fn reserve() -> (SimulatedDisk, Arc<Reserve>) {
        let disk = SimulatedDisk::new(1);
        durable::create_dir_all(&disk, Path::new("store")).unwrap();
        let path = PathBuf::from("store/reserve");
        (disk.clone(), Arc::new(Reserve::new(Arc::new(disk), path)))
    }

    #[test]
    fn it_holds_and_gives_back() {
        let (disk, reserve) = reserve();
        assert_eq!((reserve.held().unwrap(), reserve.release(10).unwrap()), (0, 0));
        assert_eq!(reserve.hold(1_000).unwrap(), 1_000);
        assert_eq!(reserve.release(300).unwrap(), 300);
        assert_eq!(reserve.release(9_000).unwrap(), 700);
        assert_eq!((reserve.release(1).unwrap(), reserve.held().unwrap()), (0, 0));
        reserve.hold(500).unwrap();
        // Another process finds what this one left.
        let again = Reserve::new(Arc::new(disk.clone()), PathBuf::from("store/reserve"));
        assert_eq!(again.held().unwrap(), 500);
        disk.inject(Fault::error(OperationKind::Allocate, FaultError::ENOSPC).forever());
        assert_eq!(again.hold(2_000).unwrap(), 500, "as before where there is no space");
        assert_eq!(again.hold(100).unwrap(), 100);
    }

    #[test]
    fn sizing_a_file_takes_from_the_reserve_and_a_write_never_does() {
        let (disk, reserve) = reserve();
        let reserved = ReservedDisk::new(Arc::new(disk.clone()), Arc::clone(&reserve));
        reserve.hold(5_000).unwrap();
        let full = |kind| Fault::error(kind, FaultError::ENOSPC).on("segment").nth(1);
        disk.inject(full(OperationKind::Allocate));
        let file = reserved.create(Path::new("store/segment")).unwrap();
        file.allocate(4_000).unwrap();
        assert_eq!((file.len().unwrap(), reserve.held().unwrap()), (4_000, 1_000));
        disk.inject(full(OperationKind::Write));
        assert!(is_full(&file.write_at(b"x", 0).unwrap_err()), "a failed write is final");
        assert_eq!(reserve.held().unwrap(), 1_000);
        // Whoever was quicker took what was given back: there is more.
        reserve.hold(9_000).unwrap();
        let another = || full(OperationKind::Allocate);
        disk.inject(another());
        disk.inject(another().nth(2));
        file.allocate(6_000).unwrap();
        assert_eq!((file.len().unwrap(), reserve.held().unwrap()), (6_000, 0));
        disk.inject(full(OperationKind::Allocate));
        assert!(is_full(&file.allocate(8_000).unwrap_err()), "nothing is left");
    }

    /// A name that space does not help (no inode is left) does not take all of it.
    #[test]
    fn names_take_a_bounded_part() {
        let (disk, reserve) = reserve();
        let reserved = ReservedDisk::new(Arc::new(disk.clone()), Arc::clone(&reserve));
        reserve.hold(4 * NAME_BYTES_MAX).unwrap();
        let none = Fault::error(OperationKind::Create, FaultError::ENOSPC).on("segment");
        disk.inject(none.forever());
        assert!(is_full(&reserved.create(Path::new("store/segment")).unwrap_err()));
        assert_eq!(reserve.held().unwrap(), 3 * NAME_BYTES_MAX);
    }
}
