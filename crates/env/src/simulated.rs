//! A disk in memory that can crash: what a program sees, and what it would find after a power loss.
//!
//! There are two images. The *live* one has everything that was done; the *durable* one has what
//! was synced. In between wait the changes that a crash may keep or lose ([`Survival`]): sizes,
//! bytes and directory entries separately. Every change is one numbered operation of a [`Trace`],
//! so that a workload runs once and is then crashed at each of its operations.
//!
//! Invariants: what was synced survives every crash, whatever the model; what survives otherwise is
//! a function of the seed.

mod content;
mod crash;
mod durability;
mod entries;
mod fault;
mod file;
mod image;
mod machine;
mod native;
mod operation;
mod trace;
mod transfer;

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::durability::Durability;
use self::entries::EntryChange;
use self::file::{SimulatedFile, SimulatedLock};
use self::image::NodeId;
use self::machine::Machine;
use self::native::Native;
use self::operation::Change;
use crate::disk::{
    DirectoryLock, Disk, Entry, EntryKind, Inode, LockMode, NativeFolder, NativeMode, ReadDisk,
    ReadFile, WriteFile,
};
use crate::real::RealDisk;

pub use self::fault::{Effect, Fault, FaultError, Times};
pub use self::image::Image;
pub use self::operation::{Operation, OperationKind};
pub use self::trace::{CrashPoints, Moment, Survival, Trace};

/// A disk in memory. A clone is the same disk.
#[derive(Clone)]
pub struct SimulatedDisk {
    machine: Arc<Mutex<Machine>>,
    /// Folders of this machine that are part of it.
    native: Option<Arc<Native>>,
}

impl SimulatedDisk {
    /// An empty disk. The seed decides what faults leave open (the length of a short write).
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::from_image(Image::new(), seed)
    }

    /// A disk that holds this image, all of it durable.
    #[must_use]
    pub fn from_image(image: Image, seed: u64) -> Self {
        Self::of(Machine::new(image, seed), None)
    }

    fn of(machine: Machine, native: Option<Arc<Native>>) -> Self {
        Self { machine: Arc::new(Mutex::new(machine)), native }
    }

    /// The same disk with room for libraries that do their own input and output, in folders of this
    /// machine ([`ReadDisk::native`]); what they write there is not simulated, and a crash leaves
    /// it as a killed process would.
    pub fn with_native_folders(self) -> io::Result<Self> {
        Ok(Self { native: Some(Arc::new(Native::new()?)), ..self })
    }

    /// Whether it has room for them.
    #[must_use]
    pub fn has_native_folders(&self) -> bool {
        self.native.is_some()
    }

    fn native_after_crash(&self) -> Option<Arc<Native>> {
        let copied = self.native.as_ref().map(|native| native.copied());
        copied.map(|copied| Arc::new(copied.expect("the machine that simulates is well")))
    }

    /// Where this path is on the machine, when a library does its own input and output there.
    fn real(&self, path: &Path) -> Option<PathBuf> {
        self.native.as_ref().and_then(|native| native.real(path))
    }

    /// What the running program sees, as an image: the disk if everything were synced.
    #[must_use]
    pub fn image(&self) -> Image {
        self.machine().image()
    }

    /// How many operations happened, marks not counted.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.machine().count
    }

    /// What was recorded since the disk was made.
    #[must_use]
    pub fn trace(&self) -> Trace {
        Trace::new(self.machine().operations.clone())
    }

    fn at(live: Image, durability: Durability, seed: u64) -> Self {
        Self::of(Machine::at(live, durability, seed), None)
    }

    /// The moment between what was done and what will be.
    #[must_use]
    pub fn moment(&self) -> Moment {
        Moment(self.machine().durability.now())
    }

    /// The next sync, of a file or a directory, began at this moment, and covers nothing later:
    /// for the record of a program whose threads went on while one of them waited for its sync.
    pub fn sync_since(&self, began: Moment) {
        self.machine().began = Some(began.0);
    }

    /// Stops recording (and drops the record), for runs too long to be kept in memory.
    pub fn stop_recording(&self) {
        let mut machine = self.machine();
        machine.recording = false;
        machine.operations = Vec::new();
    }

    /// Puts a mark of the workload into the trace, for example "this was acknowledged".
    pub fn mark(&self, tag: u64) {
        // A machine that is off no longer acknowledges anything.
        let _ =
            self.machine().record(OperationKind::Mark, &Path::new("").into(), Change::Mark(tag));
    }

    /// The disk after a crash right here, as a new disk without handles, locks and orders for
    /// faults; bad sectors stay bad. This one goes on undisturbed.
    #[must_use]
    pub fn crash(&self, survival: Survival, seed: u64) -> Self {
        let machine = self.machine();
        let mut crashed = Machine::new(machine.durability.survivors(survival, seed), seed);
        crashed.available = machine.available;
        crashed.unreadable.clone_from(&machine.unreadable);
        Self::of(crashed, self.native_after_crash())
    }

    /// The disk after the program was killed while the machine goes on, as a new disk: everything
    /// is there to be read, but what was not synced still waits and may be lost in a later crash.
    /// ([`Survival::All`] is the luckier case, in which it reached the medium.) Nested crashes go
    /// by [`Self::stop_after`] and [`Self::crash`]: its trace does not begin at an image.
    #[must_use]
    pub fn kill(&self, seed: u64) -> Self {
        let machine = self.machine();
        let mut killed = Machine::at(machine.image(), machine.durability.clone(), seed);
        killed.available = machine.available;
        killed.unreadable.clone_from(&machine.unreadable);
        Self::of(killed, self.native_after_crash())
    }

    /// Turns the machine off when it has done so many operations since it was made: the next one
    /// and every later call fail. [`Self::crash`] still works: it is the disk of the dead machine.
    pub fn stop_after(&self, operations: u64) {
        self.machine().stop_after = Some(operations);
    }

    /// Whether [`Self::stop_after`] has turned the machine off.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.machine().off
    }

    /// Orders a fault.
    pub fn inject(&self, fault: Fault) {
        self.machine().faults.inject(fault);
    }

    /// Takes back all faults that were ordered; bad sectors stay.
    pub fn clear_faults(&self) {
        self.machine().faults.clear();
    }

    /// Turns one bit (0 is the lowest) of a byte on the medium. It stays until the byte is written
    /// again; a write that waits for its sync still replaces it.
    pub fn flip_bit(&self, path: impl AsRef<Path>, offset: u64, bit: u8) -> io::Result<()> {
        assert!(bit < 8, "a byte has bits 0 to 7");
        let path = path.as_ref();
        let mut machine = self.machine();
        let file = machine.live.walk(path)?;
        if offset >= machine.content(file)?.len() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        machine.record(OperationKind::Flip, &path.into(), Change::Flip { file, offset, bit })
    }

    /// Makes every read that touches this range of a file fail with EIO, also after a crash.
    pub fn read_error(&self, path: impl AsRef<Path>, range: Range<u64>) -> io::Result<()> {
        let mut machine = self.machine();
        let file = machine.live.walk(path.as_ref())?;
        machine.unreadable.push((file, range));
        Ok(())
    }

    /// Sets what [`Disk::available_bytes`] answers; writes do not use it up.
    pub fn set_available_bytes(&self, bytes: u64) {
        self.machine().available = bytes;
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        // A panic of one program thread does not stop the disk.
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, path: &Path) -> io::Result<Box<SimulatedFile>> {
        let mut machine = self.machine();
        machine.call(OperationKind::Open, &[path])?;
        let file = machine.live.walk(path)?;
        machine.content(file)?;
        Ok(self.handle(&mut machine, file, path))
    }

    fn handle(&self, machine: &mut Machine, file: NodeId, path: &Path) -> Box<SimulatedFile> {
        machine.open(file);
        Box::new(SimulatedFile::new(self.clone(), file, path))
    }
}

impl fmt::Debug for SimulatedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedDisk").field("operations", &self.operations()).finish()
    }
}

impl ReadDisk for SimulatedDisk {
    fn open_read(&self, path: &Path) -> io::Result<Box<dyn ReadFile>> {
        if let Some(real) = self.real(path) {
            return RealDisk::new().open_read(&real);
        }
        Ok(self.open(path)?)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        if let Some(real) = self.real(dir) {
            return RealDisk::new().list(&real);
        }
        let mut machine = self.machine();
        machine.call(OperationKind::List, &[dir])?;
        let live = &machine.live;
        let entries = live.directory(live.walk(dir)?)?.iter();
        Ok(entries.map(|(name, node)| describe(live, &name.to_string_lossy(), *node)).collect())
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Entry>> {
        if let Some(real) = self.real(path) {
            return RealDisk::new().stat(&real);
        }
        let mut machine = self.machine();
        machine.call(OperationKind::List, &[path])?;
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        match machine.live.walk(path) {
            Ok(node) => Ok(Some(describe(&machine.live, &name, node))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// It has none: an image of it is the same disk.
    fn inode(&self, _: &Path) -> io::Result<Option<Inode>> {
        Ok(None)
    }

    fn native(&self, dir: &Path, mode: NativeMode) -> io::Result<NativeFolder> {
        match &self.native {
            Some(native) => native.folder(dir, mode),
            None => {
                let text = format!("{} is on a disk that is only simulated", dir.display());
                Err(io::Error::new(io::ErrorKind::Unsupported, text))
            }
        }
    }
}

impl Disk for SimulatedDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        let mut machine = self.machine();
        machine.call(OperationKind::Create, &[path])?;
        let change = EntryChange::create(&machine.live, path, false)?;
        let file = change.node();
        machine.entry_change(OperationKind::Create, path, change)?;
        Ok(self.handle(&mut machine, file, path))
    }

    fn open_write(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        Ok(self.open(path)?)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        if let Some(real) = self.real(path) {
            return RealDisk::new().create_dir(&real);
        }
        let mut machine = self.machine();
        machine.call(OperationKind::CreateDir, &[path])?;
        let change = EntryChange::create(&machine.live, path, true)?;
        machine.entry_change(OperationKind::CreateDir, path, change)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut machine = self.machine();
        machine.call(OperationKind::Rename, &[from, to])?;
        match EntryChange::rename(&machine.live, from, to)? {
            Some(change) => machine.entry_change(OperationKind::Rename, from, change),
            None => Ok(()),
        }
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut machine = self.machine();
        machine.call(OperationKind::HardLink, &[from, to])?;
        let change = EntryChange::link(&machine.live, from, to)?;
        machine.entry_change(OperationKind::HardLink, to, change)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        if let Some(real) = self.real(path) {
            return RealDisk::new().remove_file(&real);
        }
        let mut machine = self.machine();
        machine.call(OperationKind::RemoveFile, &[path])?;
        let change = EntryChange::remove(&machine.live, path, false)?;
        machine.entry_change(OperationKind::RemoveFile, path, change)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        if let (Some(real), Some(native)) = (self.real(path), &self.native) {
            RealDisk::new().remove_dir(&real)?;
            native.forget(path);
            return Ok(());
        }
        let mut machine = self.machine();
        machine.call(OperationKind::RemoveDir, &[path])?;
        let change = EntryChange::remove(&machine.live, path, true)?;
        machine.entry_change(OperationKind::RemoveDir, path, change)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        if let Some(real) = self.real(dir) {
            return RealDisk::new().sync_dir(&real);
        }
        let mut machine = self.machine();
        machine.call(OperationKind::SyncDir, &[dir])?;
        let node = machine.live.walk(dir)?;
        machine.live.directory(node)?;
        let before = machine.sync_began();
        machine.record(OperationKind::SyncDir, &dir.into(), Change::SyncDir { dir: node, before })
    }

    fn lock(&self, dir: &Path, mode: LockMode) -> io::Result<Option<Box<dyn DirectoryLock>>> {
        let mut machine = self.machine();
        machine.call(OperationKind::Lock, &[dir])?;
        let node = machine.live.walk(dir)?;
        machine.live.directory(node)?;
        if !machine.locks.lock(node, mode) {
            return Ok(None);
        }
        Ok(Some(Box::new(SimulatedLock::new(self.clone(), node))))
    }

    fn available_bytes(&self, path: &Path) -> io::Result<u64> {
        let mut machine = self.machine();
        machine.call(OperationKind::List, &[path])?;
        machine.live.walk(path)?;
        Ok(machine.available)
    }
}

fn describe(image: &Image, name: &str, node: NodeId) -> Entry {
    let (kind, len) = match image.content(node) {
        Ok(content) => (EntryKind::File, content.len()),
        Err(_) => (EntryKind::Directory, 0),
    };
    Entry { name: name.to_owned(), kind, len }
}
