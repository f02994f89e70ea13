//! The directory of backups: its layout, its lock, its manifests.
//!
//! Invariants: a directory that is neither empty nor one of ours is never written to; reading
//! changes nothing.

use std::io;
use std::path::{Path, PathBuf};

use rekindle_env::{DirectoryLock, Disk, EntryKind, Env, LockMode, durable};
use rekindle_recovery::numbers::STORED_MAX;

use super::manifest::{Defect, MANIFEST_BYTES_MAX, Manifest};
use crate::error::Error;

/// The directories of a backup's directory.
pub(crate) const DIRECTORIES: [&str; 3] = ["backups", "journal", "checkpoints"];

/// Names of others that make a directory no less empty.
const TOLERATED: [&str; 1] = ["lost+found"];

/// A manifest as it was found.
pub(crate) struct Found {
    /// The number in its name.
    pub(crate) number: u64,
    /// Relative to the directory.
    pub(crate) file: String,
    /// What it says, or why it says nothing.
    pub(crate) manifest: Result<Manifest, Defect>,
}

/// A locked directory of backups.
pub(crate) struct Folder {
    pub(crate) dir: PathBuf,
    pub(crate) env: Env,
    /// By number, ascending.
    pub(crate) found: Vec<Found>,
    _lock: Box<dyn DirectoryLock>,
}

impl Folder {
    /// For reading.
    pub(crate) fn open(dir: &Path, env: &Env) -> Result<Self, Error> {
        Self::open_locked(dir, env, LockMode::Shared)
    }

    /// For removing backups.
    pub(super) fn open_to_prune(dir: &Path, env: &Env) -> Result<Self, Error> {
        Self::open_locked(dir, env, LockMode::Exclusive)
    }

    fn open_locked(dir: &Path, env: &Env, mode: LockMode) -> Result<Self, Error> {
        let none = || {
            let dir = dir.display();
            Error::NotAStore(format!(
                "{dir} holds no backup; take one with 'rekindle backup --to {dir}'"
            ))
        };
        match env.disk.stat(&dir.join("backups")) {
            Ok(Some(entry)) if entry.kind == EntryKind::Directory => {}
            Ok(_) => return Err(none()),
            Err(error) if is_no_place(&error) => return Err(none()),
            Err(error) => return Err(Error::io(format!("looking at {}", dir.display()), error)),
        }
        let folder = Self::locked(dir, env, mode)?;
        if folder.found.is_empty() { Err(none()) } else { Ok(folder) }
    }

    /// For the next backup; makes what is missing.
    pub(crate) fn open_for_backup(dir: &Path, env: &Env) -> Result<Self, Error> {
        let disk = &*env.disk;
        let context = |error| Error::io(format!("looking at {}", dir.display()), error);
        let found = match disk.stat(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            other => other.map_err(context)?,
        };
        if found.as_ref().is_some_and(|entry| entry.kind == EntryKind::File) {
            return Err(Error::Invalid(format!(
                "{} is a file; name a directory for the backups",
                dir.display()
            )));
        }
        if found.is_some() {
            let entries = disk.list(dir).map_err(context)?;
            let foreign = entries.iter().find(|entry| {
                let own = DIRECTORIES.contains(&entry.name.as_str());
                !(own && entry.kind == EntryKind::Directory
                    || TOLERATED.contains(&entry.name.as_str()))
            });
            if let Some(foreign) = foreign {
                return Err(Error::Invalid(format!(
                    "{} holds {:?}, which is no part of a backup; choose an empty or absent \
                     directory, or one of earlier backups",
                    dir.display(),
                    foreign.name
                )));
            }
        }
        let making = |error| Error::io(format!("making {}", dir.display()), error);
        for name in DIRECTORIES {
            durable::create_dir_all(disk, &dir.join(name)).map_err(making)?;
        }
        let folder = Self::locked(dir, env, LockMode::Exclusive)?;
        folder.remove_temporary()?;
        Ok(folder)
    }

    fn locked(dir: &Path, env: &Env, mode: LockMode) -> Result<Self, Error> {
        let locked = env.disk.lock(dir, mode);
        let lock =
            locked.map_err(|error| Error::io(format!("locking {}", dir.display()), error))?;
        let lock = lock.ok_or_else(|| {
            Error::Busy(format!("{} is in use by another backup or restore", dir.display()))
        })?;
        let found = read_manifests(&*env.disk, dir)?;
        Ok(Self { dir: dir.to_owned(), env: env.clone(), found, _lock: lock })
    }

    /// Leftovers of a backup that was interrupted.
    fn remove_temporary(&self) -> Result<(), Error> {
        let disk = &*self.env.disk;
        for name in DIRECTORIES {
            let dir = self.dir.join(name);
            let context = |error| Error::io(format!("clearing {}", dir.display()), error);
            let entries = disk.list(&dir).map_err(context)?;
            let ours = |name: &str| name.ends_with(durable::TEMPORARY_SUFFIX);
            for entry in entries.iter().filter(|e| e.kind == EntryKind::File && ours(&e.name)) {
                durable::remove_file(disk, &dir.join(&entry.name)).map_err(context)?;
            }
        }
        Ok(())
    }

    /// All manifests; a damaged one is an error.
    pub(crate) fn whole_manifests(&self) -> Result<Vec<Manifest>, Error> {
        let whole = self.found.iter().map(|found| match &found.manifest {
            Ok(manifest) => Ok(manifest.clone()),
            Err(defect) if defect.newer => Err(Error::NotAStore(format!(
                "{}/{}: expected {}, found {}; use the newer program",
                self.dir.display(),
                found.file,
                defect.expected,
                defect.found
            ))),
            Err(defect) => Err(damaged(&found.file, defect)),
        });
        whole.collect()
    }

    /// The manifests that are whole.
    pub(crate) fn manifests(&self) -> impl Iterator<Item = &Manifest> {
        self.found.iter().filter_map(|found| found.manifest.as_ref().ok())
    }

    /// Above every number that was ever used.
    pub(crate) fn next_number(&self) -> u64 {
        self.found.last().map_or(0, |found| found.number) + 1
    }
}

/// Nothing is there.
fn is_no_place(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn damaged(file: &str, defect: &Defect) -> Error {
    let Defect { offset, expected, found, .. } = defect;
    Error::Damaged(format!(
        "{file} offset {offset}: expected {expected}, found {found}; check it with 'rekindle \
         backup verify', and remove this manifest to give that backup up"
    ))
}

fn read_manifests(disk: &dyn Disk, dir: &Path) -> Result<Vec<Found>, Error> {
    let folder = dir.join("backups");
    let context = |error| Error::io(format!("reading {}", folder.display()), error);
    let mut found = Vec::new();
    for entry in disk.list(&folder).map_err(context)? {
        let Some(number) = parse_name(&entry.name) else { continue };
        let path = folder.join(&entry.name);
        let manifest = if entry.kind == EntryKind::File && entry.len <= MANIFEST_BYTES_MAX {
            let bytes = durable::read_file(disk, &path, MANIFEST_BYTES_MAX).map_err(context)?;
            Manifest::decode(&bytes, number)
        } else {
            Err(Defect {
                offset: 0,
                expected: format!("a manifest of at most {MANIFEST_BYTES_MAX} bytes"),
                found: format!("{:?} of {} bytes", entry.kind, entry.len),
                newer: false,
            })
        };
        found.push(Found { number, file: format!("backups/{}", entry.name), manifest });
    }
    found.sort_unstable_by_key(|found| found.number);
    Ok(found)
}

/// The file name of the manifest with this number.
pub(super) fn manifest_file(number: u64) -> String {
    format!("backups/{number}.json")
}

fn parse_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".json")?;
    let number = digits.parse::<u64>().ok().filter(|number| (1..=STORED_MAX).contains(number))?;
    (number.to_string() == digits).then_some(number)
}
