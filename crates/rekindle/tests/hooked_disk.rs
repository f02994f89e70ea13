//! The real disk with two hooks: a start can be held at its lock, and syncs of the journal can
//! fail.

use std::fmt::{self, Debug};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use rekindle_env::{
    DirectoryLock, Disk, Entry, Env, LockMode, ReadDisk, ReadFile, RealDisk, WriteFile,
};

/// What a test decides.
#[derive(Debug, Default)]
pub struct Hooks {
    held: Mutex<bool>,
    released: Condvar,
    fail_syncs: AtomicBool,
}

impl Hooks {
    /// A real environment with these hooks.
    pub fn env(self: &Arc<Self>) -> Env {
        let disk = HookedDisk { disk: Arc::new(RealDisk::new()), hooks: Arc::clone(self) };
        Env { disk: Arc::new(disk), ..Env::real() }
    }

    /// Holds whoever locks a directory from now on.
    pub fn hold(&self) {
        *self.held.lock().unwrap() = true;
    }

    /// Lets them go on.
    pub fn release(&self) {
        *self.held.lock().unwrap() = false;
        self.released.notify_all();
    }

    /// Makes each sync of a file fail from now on.
    pub fn fail_syncs(&self) {
        self.fail_syncs.store(true, Ordering::SeqCst);
    }

    fn pass(&self) {
        let held = self.held.lock().unwrap();
        drop(self.released.wait_while(held, |held| *held).unwrap());
    }

    fn sync(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        match self.fail_syncs.load(Ordering::SeqCst) {
            true => Err(io::Error::other("injected: the device does not answer")),
            false => sync(),
        }
    }
}

#[derive(Debug)]
struct HookedDisk {
    disk: Arc<dyn Disk>,
    hooks: Arc<Hooks>,
}

impl HookedDisk {
    fn wrap(&self, file: Box<dyn WriteFile>) -> Box<dyn WriteFile> {
        Box::new(HookedFile { file, hooks: Arc::clone(&self.hooks) })
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
        Ok(self.wrap(self.disk.create(path)?))
    }

    fn open_write(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        Ok(self.wrap(self.disk.open_write(path)?))
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
        self.hooks.pass();
        self.disk.lock(dir, mode)
    }

    fn available_bytes(&self, path: &Path) -> io::Result<u64> {
        self.disk.available_bytes(path)
    }
}

struct HookedFile {
    file: Box<dyn WriteFile>,
    hooks: Arc<Hooks>,
}

impl Debug for HookedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.file.fmt(f)
    }
}

impl ReadFile for HookedFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }
}

impl WriteFile for HookedFile {
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(buf, offset)
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
        self.hooks.sync(|| self.file.sync_data())
    }

    fn sync_all(&self) -> io::Result<()> {
        self.hooks.sync(|| self.file.sync_all())
    }
}
