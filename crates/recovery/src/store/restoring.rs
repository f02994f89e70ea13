//! A restore on its way: the file `restoring` holds the identity that the store will have, and its
//! rename to `store.a` is the one step that makes the directory a store.
//!
//! Invariants: a directory with that file is never opened as a store; what a restore made is
//! removed only where that file says that it is unfinished.

use std::io;
use std::path::Path;

use rekindle_env::{Disk, EntryKind, ReadDisk, durable};

use super::{COPIES, DIRECTORIES};
use crate::driver::Failure;
use crate::identity::IdentityCopy;

/// The file's name.
pub const RESTORING: &str = "restoring";

/// What a restore wrote down about itself, for the store's audit log.
pub const NOTE: &str = "restored.json";

/// What may stand in a directory that is as good as empty.
const TOLERATED: &str = "lost+found";

/// What a directory holds, for a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing, or there is no such directory.
    Nothing,
    /// A restore that was interrupted.
    Unfinished,
    /// Something else.
    Something,
}

/// Looks whether a store can be restored there.
pub fn look(disk: &(impl ReadDisk + ?Sized), dir: &Path) -> Result<Found, Failure> {
    let entries = match disk.list(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(super::scan::not_a_store(dir, "list", error)),
    };
    if entries.iter().any(|entry| entry.name == RESTORING && entry.kind == EntryKind::File) {
        return Ok(Found::Unfinished);
    }
    let empty = entries.iter().all(|entry| entry.name == TOLERATED);
    Ok(if empty { Found::Nothing } else { Found::Something })
}

/// Notes that a restore begins, and removes what an interrupted one left. The directory is locked.
pub fn begin(disk: &dyn Disk, dir: &Path, copy: &IdentityCopy) -> Result<(), Failure> {
    let path = dir.join(RESTORING);
    let bytes = copy.encode();
    let unfinished = look(disk, dir)? == Found::Unfinished;
    let noted = if unfinished {
        // Whoever made it may have died before its entry was durable.
        durable::overwrite(disk, &path, &bytes).and_then(|()| durable::sync_parent(disk, &path))
    } else {
        durable::create_file(disk, &path, &bytes)
    };
    noted.map_err(|error| Failure::io(format!("writing {}", path.display()), error))?;
    if unfinished { clear(disk, dir) } else { Ok(()) }
}

/// Makes the directory a store, once everything else in it is durable.
pub fn commit(disk: &dyn Disk, dir: &Path, copy: &IdentityCopy) -> Result<(), Failure> {
    let [a, b] = COPIES.map(|name| dir.join(name));
    let context = |error| Failure::io(format!("writing the identity of {}", dir.display()), error);
    durable::create_file(disk, &b, &copy.encode()).map_err(context)?;
    durable::rename(disk, &dir.join(RESTORING), &a).map_err(context)
}

/// Removes what a restore makes.
fn clear(disk: &dyn Disk, dir: &Path) -> Result<(), Failure> {
    let context = |error| Failure::io(format!("clearing {}", dir.display()), error);
    let [_, b] = COPIES;
    remove(disk, &dir.join(b)).map_err(context)?;
    remove(disk, &dir.join(NOTE)).map_err(context)?;
    for name in DIRECTORIES {
        let folder = dir.join(name);
        let entries = match disk.list(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other.map_err(context)?,
        };
        for entry in entries.iter().filter(|entry| entry.kind == EntryKind::File) {
            remove(disk, &folder.join(&entry.name)).map_err(context)?;
        }
    }
    Ok(())
}

fn remove(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match durable::remove_file(disk, path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
