//! Reading every byte of an engine's files.
//!
//! The crate checks a block when it reads it; here each file is held against the checksum of the
//! whole file that the manifest has, rows that are hidden, indexes and filters included. Invariant:
//! reads only, and opens nothing: hostile bytes are told before the crate sees them.

use std::path::Path;

use rekindle_env::{EntryKind, ReadDisk, ReadFile, durable};
use xxhash_rust::xxh3::Xxh3;

use super::manifest::{self, Kind, Manifest, Named};
use super::tables::read_manifest;
use crate::api::EngineError;
use crate::files::{Files, Wrong};

/// How much is read at a time.
const READ_BYTES: usize = 1 << 20;

/// What the manifest says that the disk names; `None` in a folder without one.
pub(super) fn manifest(disk: &dyn ReadDisk, dir: &Path) -> Result<Option<Manifest>, EngineError> {
    let Some(bytes) = read_manifest(disk, dir)? else { return Ok(None) };
    let manifest = manifest::decode(&bytes).ok_or_else(|| EngineError::Corrupt {
        place: dir.display().to_string(),
        found: "a manifest of a form that is not known".to_owned(),
    })?;
    Ok(Some(manifest))
}

/// Looks at the folder before the crate opens it. The crate does without a blob file that is
/// missing, until somebody asks for a value of it.
pub(super) fn before_open(
    disk: &dyn ReadDisk,
    dir: &Path,
) -> Result<Option<Manifest>, EngineError> {
    let Some(manifest) = manifest(disk, dir)? else { return Ok(None) };
    for blob in manifest.files.iter().filter(|file| file.kind == Kind::Blob) {
        let path = dir.join(blob.path());
        let entry = disk
            .stat(&path)
            .map_err(|error| EngineError::Io(format!("look at {}: {error}", path.display())))?;
        // In a view it is a link.
        if entry.is_none_or(|entry| entry.kind == EntryKind::Directory) {
            return Err(EngineError::Corrupt {
                place: path.display().to_string(),
                found: "no such file, and the manifest names it".to_owned(),
            });
        }
    }
    Ok(Some(manifest))
}

/// Reads every file, and answers those that are not what was written.
///
/// # Errors
/// `Corrupt` for a manifest that is not what was written, `Io`.
pub(crate) fn check(disk: &dyn ReadDisk, dir: &Path) -> Result<(Files, Vec<Wrong>), EngineError> {
    let Some(manifest) = manifest(disk, dir)? else { return Ok((Files::None, Vec::new())) };
    let mut wrong = Vec::new();
    for file in manifest.files {
        wrong.extend(check_file(disk, dir, file)?);
    }
    Ok((Files::There, wrong))
}

/// Reads a file; what is wrong with it, if anything.
pub(super) fn check_file(
    disk: &dyn ReadDisk,
    dir: &Path,
    named: Named,
) -> Result<Option<Wrong>, EngineError> {
    let path = dir.join(named.path());
    let found = match open(disk, &path).and_then(|file| checksum(&*file)) {
        Ok(found) if found == named.checksum => return Ok(None),
        Ok(found) => format!("{found:032x}"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => "no file".to_owned(),
        Err(error) if durable::is_of_the_medium(&error) => {
            format!("a read that the disk refused: {error}")
        }
        Err(error) => return Err(EngineError::Io(format!("read {}: {error}", path.display()))),
    };
    Ok(Some(wrong(named, found)))
}

/// Another checksum than this file should have.
pub(super) fn wrong(named: Named, found: String) -> Wrong {
    let expected = format!("checksum {:032x}", named.checksum);
    Wrong { file: named.path(), expected, found }
}

fn open(disk: &dyn ReadDisk, path: &Path) -> std::io::Result<Box<dyn ReadFile>> {
    if durable::is_no_file(disk, path)? {
        return Err(std::io::ErrorKind::NotFound.into());
    }
    disk.open_read(path)
}

/// The checksum of a whole file.
pub(super) fn checksum(file: &dyn ReadFile) -> std::io::Result<u128> {
    let mut hash = Xxh3::new();
    let (mut buffer, mut offset) = (vec![0; READ_BYTES], 0);
    loop {
        let read = file.read_at(&mut buffer, offset)?;
        if read == 0 {
            return Ok(hash.digest128());
        }
        hash.update(buffer.get(..read).unwrap_or_default());
        offset += read as u64;
    }
}
