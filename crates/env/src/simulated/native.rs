//! Folders of this machine beside a simulated disk, for libraries that do their own input and
//! output.
//!
//! What such a library writes is not simulated: a crash leaves it as a killed process would, every
//! byte that was written. So a crash of the simulated disk shows whether what a library has ever
//! runs ahead of what was synced beside it. Invariant: after a crash the new disk has copies, taken
//! while nothing changed; what the library of the dead program still does is not seen.

#![allow(clippy::disallowed_methods)]

use std::collections::BTreeSet;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::disk::{Entry, EntryKind, NativeFolder, NativeMode, ReadDisk};
use crate::real::RealDisk;
use crate::view::View;

/// How often a copy is begun anew because a library changed something meanwhile.
const COPIES_MAX: u32 = 1_000;

/// The folders.
#[derive(Debug)]
pub(super) struct Native {
    /// They are in here, under their own paths.
    root: View,
    folders: Mutex<BTreeSet<PathBuf>>,
}

impl Native {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { root: View::create()?, folders: Mutex::default() })
    }

    fn folders(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self, path: &Path) -> PathBuf {
        let inside = path.components().filter(|part| matches!(part, Component::Normal(_)));
        self.root.path().join(inside.collect::<PathBuf>())
    }

    /// Where this path is on the machine, when it is in such a folder.
    pub(super) fn real(&self, path: &Path) -> Option<PathBuf> {
        let folders = self.folders();
        folders.iter().any(|folder| path.starts_with(folder)).then(|| self.place(path))
    }

    /// The folder for a library; from here on it is one of these.
    pub(super) fn folder(&self, dir: &Path, mode: NativeMode) -> io::Result<NativeFolder> {
        let place = self.place(dir);
        match mode {
            NativeMode::View => View::of(&place),
            NativeMode::InPlace => {
                std::fs::create_dir_all(&place)?;
                self.folders().insert(dir.to_owned());
                RealDisk::new().native(&place, mode)
            }
        }
    }

    /// A folder was removed.
    pub(super) fn forget(&self, dir: &Path) {
        self.folders().remove(dir);
    }

    /// The same folders for the disk after a crash.
    pub(super) fn copied(&self) -> io::Result<Self> {
        for _ in 0..COPIES_MAX {
            let copy = Self { root: View::create()?, folders: Mutex::new(self.folders().clone()) };
            let before = listed(self.root.path());
            let copied = copy_below(self.root.path(), copy.root.path());
            match (copied, before, listed(self.root.path())) {
                (Ok(()), Ok(before), Ok(after)) if before == after => return Ok(copy),
                (Err(error), ..) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Err(io::Error::other("the folders of a library never stood still"))
    }
}

/// Everything below a folder.
fn listed(dir: &Path) -> io::Result<Vec<(PathBuf, Entry)>> {
    let mut all = Vec::new();
    for entry in RealDisk::new().list(dir)? {
        let path = dir.join(&entry.name);
        if entry.kind == EntryKind::Directory {
            all.extend(listed(&path)?);
        }
        all.push((path, entry));
    }
    Ok(all)
}

fn copy_below(from: &Path, to: &Path) -> io::Result<()> {
    for entry in RealDisk::new().list(from)? {
        let (source, target) = (from.join(&entry.name), to.join(&entry.name));
        match entry.kind {
            EntryKind::Directory => {
                std::fs::create_dir(&target)?;
                copy_below(&source, &target)?;
            }
            EntryKind::File | EntryKind::Other => drop(std::fs::copy(&source, &target)?),
        }
    }
    Ok(())
}
