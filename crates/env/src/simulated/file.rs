//! Handles on simulated files, and locks on simulated directories.
//!
//! Invariant: a handle belongs to the file, not to its name: it stays good through renames and
//! removal, until it is dropped.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustix::io::Errno;

use super::SimulatedDisk;
use super::content::DataChange;
use super::image::NodeId;
use super::operation::{Change, OperationKind};
use crate::disk::{DirectoryLock, ReadFile, WriteFile};

/// An open file. Only [`SimulatedDisk`]'s `Disk` half hands it out as a [`WriteFile`].
#[derive(Debug)]
pub(super) struct SimulatedFile {
    disk: SimulatedDisk,
    file: NodeId,
    path: Arc<Path>,
}

impl SimulatedFile {
    /// The handle whose opening the machine has counted already.
    pub(super) fn new(disk: SimulatedDisk, file: NodeId, path: &Path) -> Self {
        Self { disk, file, path: path.into() }
    }
}

impl Drop for SimulatedFile {
    fn drop(&mut self) {
        self.disk.machine().close(self.file);
    }
}

impl ReadFile for SimulatedFile {
    fn len(&self) -> io::Result<u64> {
        let mut machine = self.disk.machine();
        machine.call(OperationKind::List, &[&self.path])?;
        Ok(machine.content(self.file)?.len())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut machine = self.disk.machine();
        machine.call(OperationKind::Read, &[&self.path])?;
        machine.read(self.file, buf, offset)
    }
}

impl WriteFile for SimulatedFile {
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.disk.machine().write(self.file, &self.path, buf, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut machine = self.disk.machine();
        machine.call(OperationKind::SetLen, &[&self.path])?;
        machine.resize(OperationKind::SetLen, self.file, &self.path, len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut machine = self.disk.machine();
        machine.call(OperationKind::Allocate, &[&self.path])?;
        let len = len.max(machine.content(self.file)?.len());
        machine.resize(OperationKind::Allocate, self.file, &self.path, len)
    }

    fn punch_hole(&self, offset: u64, len: u64) -> io::Result<()> {
        let mut machine = self.disk.machine();
        machine.call(OperationKind::PunchHole, &[&self.path])?;
        if offset.checked_add(len).is_none_or(|end| i64::try_from(end).is_err()) {
            return Err(Errno::FBIG.into());
        }
        let change = DataChange::Punch { offset, len };
        let change = Change::Data { file: self.file, change };
        machine.record(OperationKind::PunchHole, &self.path, change)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.machine().sync_file(self.file, &self.path)
    }

    fn sync_all(&self) -> io::Result<()> {
        self.disk.machine().sync_file(self.file, &self.path)
    }
}

/// A lock on a directory of one machine.
#[derive(Debug)]
pub(super) struct SimulatedLock {
    disk: SimulatedDisk,
    dir: NodeId,
}

impl SimulatedLock {
    /// The lock that the machine has granted already.
    pub(super) fn new(disk: SimulatedDisk, dir: NodeId) -> Self {
        Self { disk, dir }
    }
}

impl DirectoryLock for SimulatedLock {}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        self.disk.machine().locks.unlock(self.dir);
    }
}
