//! The crate's files: its manifest as it lies on disk, and whether a key is in any table.
//!
//! ```text
//! current      manifest 8, checksum 16 (XXH3, 128 bits), 0       replaced atomically
//! v<manifest>  the manifest: which tables there are, each with the checksum of its file
//! tables/<id>  sorted rows, every block with its checksum
//! ```
//!
//! The crate does not compare a manifest with its checksum when it opens; we do. Invariant: reading
//! here changes nothing.

use std::io::ErrorKind;
use std::path::Path;

use lsm_tree::{AbstractTree, AnyTree, Slice, Table};
use rekindle_env::{ReadDisk, durable, is_full};
use xxhash_rust::xxh3::xxh3_128;

use crate::api::EngineError;
use crate::files::Files;
use crate::row::field;

/// The file that names the manifest.
const CURRENT: &str = "current";

/// A manifest is never larger: a million tables.
const MANIFEST_BYTES_MAX: u64 = 64 << 20;

/// What an error of the crate means.
pub(super) fn refused(dir: &Path, what: &str, error: &lsm_tree::Error) -> EngineError {
    let place = dir.display().to_string();
    match error {
        lsm_tree::Error::Io(source) if is_full(source) => {
            EngineError::Full(format!("{what} {place}: {source}"))
        }
        // A file that ends too early, or is not there, is damage; so is one that is shorter than
        // what is looked for at its end (a seek in front of its beginning, EINVAL). Anything else
        // is the disk's no.
        lsm_tree::Error::Io(source)
            if !matches!(
                source.kind(),
                ErrorKind::UnexpectedEof | ErrorKind::NotFound | ErrorKind::InvalidInput
            ) =>
        {
            EngineError::Io(format!("{what} {place}: {source}"))
        }
        other => EngineError::Corrupt { place, found: format!("{what}: {other}") },
    }
}

/// The manifest that the disk names, with its checksum; `None` in a folder without one.
fn named(disk: &dyn ReadDisk, dir: &Path) -> Result<Option<(u64, u128)>, EngineError> {
    let path = dir.join(CURRENT);
    let io = |error| EngineError::Io(format!("read {}: {error}", path.display()));
    if disk.stat(&path).map_err(io)?.is_none() {
        return Ok(None);
    }
    let bytes = durable::read_file(disk, &path, 4096).map_err(io)?;
    parse_current(&bytes).map(Some).ok_or_else(|| EngineError::Corrupt {
        place: path.display().to_string(),
        found: format!("{} bytes that name no manifest", bytes.len()),
    })
}

/// The number of a manifest and its checksum, as `current` has them.
pub(super) fn parse_current(bytes: &[u8]) -> Option<(u64, u128)> {
    let manifest = field(bytes, 0).map(u64::from_le_bytes)?;
    let checksum = field(bytes, 8).map(u128::from_le_bytes)?;
    (bytes.len() == 25 && bytes.last() == Some(&0)).then_some((manifest, checksum))
}

/// The number of the manifest that the disk names.
pub(super) fn named_manifest(disk: &dyn ReadDisk, dir: &Path) -> Result<Option<u64>, EngineError> {
    Ok(named(disk, dir)?.map(|(manifest, _)| manifest))
}

/// Looks at the folder of an engine without opening it; its rows are checked when they are read.
///
/// # Errors
/// `Corrupt` for a manifest that is not what was written, `Io`.
pub(crate) fn look(disk: &dyn ReadDisk, dir: &Path) -> Result<Files, EngineError> {
    Ok(if read_manifest(disk, dir)?.is_some() { Files::There } else { Files::None })
}

/// The bytes of the manifest that the disk names, which are what was written; `None` in a folder
/// without one.
pub(super) fn read_manifest(
    disk: &dyn ReadDisk,
    dir: &Path,
) -> Result<Option<Vec<u8>>, EngineError> {
    let Some((manifest, checksum)) = named(disk, dir)? else { return Ok(None) };
    let path = dir.join(format!("v{manifest}"));
    let corrupt = |found: &str| EngineError::Corrupt {
        place: path.display().to_string(),
        found: found.to_owned(),
    };
    let bytes = match durable::read_file(disk, &path, MANIFEST_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(corrupt("no such file, and `current` names it"));
        }
        Err(error) => return Err(EngineError::Io(format!("read {}: {error}", path.display()))),
    };
    if xxh3_128(&bytes) != checksum {
        return Err(corrupt("another checksum than `current` has for it"));
    }
    Ok(Some(bytes))
}

/// The tables of a tree at one moment.
pub(super) struct Tables {
    levels: Vec<Vec<Table>>,
}

impl Tables {
    /// Those that the tree has now.
    pub(super) fn of(tree: &AnyTree) -> Self {
        let version = tree.current_version();
        let runs = version.iter_levels().flat_map(|level| level.iter());
        Self { levels: runs.map(|run| run.iter().cloned().collect()).collect() }
    }

    /// Whether any table has this key, be it deleted.
    pub(super) fn may_have(&self, key: &Slice) -> lsm_tree::Result<bool> {
        let hash = lsm_tree::table::filter::standard_bloom::Builder::get_hash(key);
        for run in &self.levels {
            let at = run.partition_point(|table| table.metadata.key_range.max() < key);
            let Some(table) = run.get(at).filter(|table| table.metadata.key_range.min() <= key)
            else {
                continue;
            };
            if table.get(key, u64::MAX, hash)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
