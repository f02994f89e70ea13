//! Random programs for disks, and a runner whose outcomes can be compared between disks.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use rekindle_env::{Disk, EntryKind, LockMode, WriteFile};

/// Few names, so that programs collide with themselves.
const NAMES: [&str; 8] = ["a", "b", "d", "d/a", "d/b", "d/e", "d/e/a", "missing/a"];
const HANDLES: usize = 3;

/// One step of a program; handles are slots that hold an open file or nothing.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Create(usize, &'static str),
    Open(usize, &'static str),
    Close(usize),
    Write(usize, u64, usize, u8),
    Read(usize, u64, usize),
    SetLen(usize, u64),
    Allocate(usize, u64),
    Punch(usize, u64, u64),
    Sync(usize),
    Stat(&'static str),
    List(&'static str),
    CreateDir(&'static str),
    RemoveFile(&'static str),
    RemoveDir(&'static str),
    Rename(&'static str, &'static str),
    HardLink(&'static str, &'static str),
    SyncDir(&'static str),
    Lock(&'static str),
}

fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(NAMES.as_slice())
}

/// Offsets and lengths around the boundaries of sectors and pages.
fn place() -> impl Strategy<Value = u64> {
    prop_oneof![
        prop::sample::select([0, 1, 511, 512, 513, 4095, 4096, 4097, 8192, 12_288].as_slice()),
        0..16_384_u64
    ]
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    let slot = 0..HANDLES;
    let size = || place().prop_map(|size| usize::try_from(size).unwrap());
    prop_oneof![
        4 => (slot.clone(), name()).prop_map(|(slot, name)| Step::Create(slot, name)),
        3 => (slot.clone(), name()).prop_map(|(slot, name)| Step::Open(slot, name)),
        1 => slot.clone().prop_map(Step::Close),
        6 => (slot.clone(), place(), size(), 1..=255_u8)
            .prop_map(|(slot, at, len, byte)| Step::Write(slot, at, len, byte)),
        3 => (slot.clone(), place(), size()).prop_map(|(slot, at, len)| Step::Read(slot, at, len)),
        2 => (slot.clone(), place()).prop_map(|(slot, len)| Step::SetLen(slot, len)),
        1 => (slot.clone(), place()).prop_map(|(slot, len)| Step::Allocate(slot, len)),
        2 => (slot.clone(), place(), place())
            .prop_map(|(slot, at, len)| Step::Punch(slot, at, len)),
        2 => slot.prop_map(Step::Sync),
        1 => name().prop_map(Step::Stat),
        1 => name().prop_map(Step::List),
        3 => name().prop_map(Step::CreateDir),
        2 => name().prop_map(Step::RemoveFile),
        1 => name().prop_map(Step::RemoveDir),
        4 => (name(), name()).prop_map(|(from, to)| Step::Rename(from, to)),
        2 => (name(), name()).prop_map(|(from, to)| Step::HardLink(from, to)),
        2 => name().prop_map(Step::SyncDir),
        1 => name().prop_map(Step::Lock),
    ]
}

pub(crate) fn program(steps: usize) -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 1..steps)
}

/// A program at work below `root` of a disk.
pub(crate) struct Runner<'a> {
    pub(crate) disk: &'a dyn Disk,
    pub(crate) root: PathBuf,
    handles: [Option<Box<dyn WriteFile>>; HANDLES],
}

impl<'a> Runner<'a> {
    pub(crate) fn new(disk: &'a dyn Disk, root: impl Into<PathBuf>) -> Self {
        Self { disk, root: root.into(), handles: Default::default() }
    }

    /// Performs a step and tells its outcome: a value, or the kind of the error.
    pub(crate) fn run(&mut self, step: &Step) -> String {
        match self.perform(step) {
            Ok(value) => value,
            Err(error) => format!("{:?}", error.kind()),
        }
    }

    fn perform(&mut self, step: &Step) -> io::Result<String> {
        let at = |name: &str| self.root.join(name);
        let disk = self.disk;
        let done = || "done".to_owned();
        match *step {
            Step::Create(slot, name) => {
                self.handles[slot] = Some(disk.create(&at(name))?);
                Ok(done())
            }
            Step::Open(slot, name) => {
                self.handles[slot] = Some(disk.open_write(&at(name))?);
                Ok(format!("{}", disk.open_read(&at(name))?.len()?))
            }
            Step::Close(slot) => {
                self.handles[slot] = None;
                Ok(done())
            }
            Step::Stat(name) => Ok(format!("{:?}", disk.stat(&at(name))?)),
            Step::List(name) => Ok(format!("{:?}", disk.list(&at(name))?)),
            Step::CreateDir(name) => disk.create_dir(&at(name)).map(|()| done()),
            Step::RemoveFile(name) => disk.remove_file(&at(name)).map(|()| done()),
            Step::RemoveDir(name) => disk.remove_dir(&at(name)).map(|()| done()),
            Step::Rename(from, to) => disk.rename(&at(from), &at(to)).map(|()| done()),
            Step::HardLink(from, to) => disk.hard_link(&at(from), &at(to)).map(|()| done()),
            Step::SyncDir(name) => disk.sync_dir(&at(name)).map(|()| done()),
            Step::Lock(name) => {
                let held = disk.lock(&at(name), LockMode::Shared)?;
                let other = disk.lock(&at(name), LockMode::Exclusive)?;
                Ok(format!("{} {}", held.is_some(), other.is_some()))
            }
            _ => self.on_handle(step),
        }
    }

    fn on_handle(&mut self, step: &Step) -> io::Result<String> {
        let slot = match *step {
            Step::Write(slot, ..) | Step::Read(slot, ..) | Step::SetLen(slot, _) => slot,
            Step::Allocate(slot, _) | Step::Punch(slot, ..) | Step::Sync(slot) => slot,
            _ => unreachable!("all others need no handle"),
        };
        let Some(file) = &self.handles[slot] else { return Ok("closed".to_owned()) };
        match *step {
            Step::Write(_, offset, len, byte) => file.write_at(&vec![byte; len], offset)?,
            Step::SetLen(_, len) => file.set_len(len)?,
            Step::Allocate(_, len) => file.allocate(len)?,
            Step::Punch(_, offset, len) => file.punch_hole(offset, len)?,
            Step::Sync(_) => file.sync_data()?,
            Step::Read(_, offset, len) => {
                let mut buf = vec![0xEE; len];
                let read = file.read_at(&mut buf, offset)?;
                return Ok(format!("{read} {:x}", checksum(&buf[..read])));
            }
            _ => unreachable!("taken above"),
        }
        Ok(format!("{}", file.len()?))
    }
}

/// The whole tree below `root` as text: names, kinds, lengths, checksums.
pub(crate) fn picture(disk: &dyn Disk, root: &Path) -> String {
    let mut text = String::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in disk.list(&dir).unwrap() {
            let path = dir.join(&entry.name);
            let shown = path.strip_prefix(root).unwrap().display().to_string();
            match entry.kind {
                EntryKind::File => {
                    let bytes = rekindle_env::durable::read_file(disk, &path, 1 << 20).unwrap();
                    assert_eq!(bytes.len() as u64, entry.len);
                    writeln!(text, "{shown} {} {:x}", entry.len, checksum(&bytes)).unwrap();
                }
                _ => {
                    writeln!(text, "{shown}/").unwrap();
                    open.push(path);
                }
            }
        }
    }
    text
}

/// FNV-1a: enough to tell two contents apart.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
