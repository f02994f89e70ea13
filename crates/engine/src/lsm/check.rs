//! Reading every byte of an engine's files.
//!
//! The crate checks a block when it reads it; here each table is held against the checksum of the
//! whole file that the manifest has, rows that are hidden, indexes and filters included. Invariant:
//! reads only, and opens nothing: hostile bytes are told before the crate sees them.

use std::path::Path;

use rekindle_env::{ReadDisk, durable};
use xxhash_rust::xxh3::Xxh3;

use super::manifest::{self, Named};
use super::tables::read_manifest;
use crate::api::EngineError;
use crate::files::{Files, Wrong};

/// How much is read at a time.
const READ_BYTES: usize = 1 << 20;

/// The folder of the tables.
pub(crate) const TABLES: &str = "tables";

/// The tables that the manifest names; none in a folder without one.
pub(super) fn named(disk: &dyn ReadDisk, dir: &Path) -> Result<Vec<Named>, EngineError> {
    match read_manifest(disk, dir)? {
        Some(manifest) => tables_of(dir, &manifest),
        None => Ok(Vec::new()),
    }
}

fn tables_of(dir: &Path, manifest: &[u8]) -> Result<Vec<Named>, EngineError> {
    manifest::tables(manifest).ok_or_else(|| EngineError::Corrupt {
        place: dir.display().to_string(),
        found: "a manifest of a form that is not known".to_owned(),
    })
}

/// Reads every table, and answers those that are not what was written.
///
/// # Errors
/// `Corrupt` for a manifest that is not what was written, `Io`.
pub(crate) fn check(disk: &dyn ReadDisk, dir: &Path) -> Result<(Files, Vec<Wrong>), EngineError> {
    let Some(manifest) = read_manifest(disk, dir)? else { return Ok((Files::None, Vec::new())) };
    let mut wrong = Vec::new();
    for table in tables_of(dir, &manifest)? {
        let path = dir.join(TABLES).join(table.number.to_string());
        let found = match checksum(disk, &path) {
            Ok(found) if found == table.checksum => continue,
            Ok(found) => format!("{found:032x}"),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => "no file".to_owned(),
            Err(error) => {
                return Err(EngineError::Io(format!("read {}: {error}", path.display())));
            }
        };
        let file = format!("{TABLES}/{}", table.number);
        wrong.push(Wrong { file, expected: format!("checksum {:032x}", table.checksum), found });
    }
    Ok((Files::There, wrong))
}

fn checksum(disk: &dyn ReadDisk, path: &Path) -> std::io::Result<u128> {
    if durable::is_no_file(disk, path)? {
        return Err(std::io::ErrorKind::NotFound.into());
    }
    let file = disk.open_read(path)?;
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
