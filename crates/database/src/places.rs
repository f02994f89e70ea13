//! Where something may be written: not inside of a store, nor of a directory of backups.
//!
//! Reads only. A disk follows `..` by what is there, so what really lies above a place shows also
//! where the way to it leads through a link.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rekindle_env::{EntryKind, ReadDisk};
use rekindle_recovery::store::COPIES;

use crate::backup;

/// As many directories above a place are looked at; paths are shorter.
const ABOVE_MAX: usize = 64;

/// What a place lies in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Inside {
    /// A store.
    Store(PathBuf),
    /// A directory of backups.
    Backups(PathBuf),
}

impl std::fmt::Display for Inside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Store(at) => write!(f, "the store {}", at.display()),
            Self::Backups(at) => write!(f, "the directory of backups {}", at.display()),
        }
    }
}

/// What a place lies in; what it is itself shows when it is looked into.
pub(crate) fn inside(disk: &(dyn ReadDisk + 'static), place: &Path) -> io::Result<Option<Inside>> {
    let mut nearest = there(disk, place)?.is_some().then(|| place.to_owned());
    for above in place.ancestors().skip(1) {
        if let Some(found) = look(disk, above)? {
            return Ok(Some(found));
        }
        if nearest.is_none() && there(disk, above)?.is_some() {
            nearest = Some(above.to_owned());
        }
    }
    let Some(mut above) = nearest else { return Ok(None) };
    for _ in 0..ABOVE_MAX {
        above.push("..");
        if let Some(found) = look(disk, &above)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn look(disk: &(dyn ReadDisk + 'static), dir: &Path) -> io::Result<Option<Inside>> {
    if there(disk, &dir.join(COPIES[0]))?.is_some() {
        return Ok(Some(Inside::Store(dir.to_owned())));
    }
    for name in backup::DIRECTORIES {
        if there(disk, &dir.join(name))? != Some(EntryKind::Directory) {
            return Ok(None);
        }
    }
    Ok(Some(Inside::Backups(dir.to_owned())))
}

/// What stands there; nothing where it cannot be reached.
fn there(disk: &(dyn ReadDisk + 'static), path: &Path) -> io::Result<Option<EntryKind>> {
    use ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    match disk.stat(path) {
        Ok(entry) => Ok(entry.map(|entry| entry.kind)),
        Err(error) if [NotADirectory, NotFound, PermissionDenied].contains(&error.kind()) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
