//! RocksDB's files without using them: whether they are there, whether they are whole, what its
//! errors mean.
//!
//! ```text
//! CURRENT            "MANIFEST-", number, newline: replaced atomically
//! MANIFEST-<number>  which files there are, records with checksums
//! <number>.sst       sorted rows, every block with its checksum
//! ```
//!
//! Invariant: reads only; what RocksDB opens is a view of the folder.

use std::io;
use std::path::Path;

use rekindle_env::{NativeMode, ReadDisk, durable};
use rocksdb::{ErrorKind, ReadOptions};

use super::families::{DEFAULT, Families};
use super::settings::Settings;
use super::{Db, open_files};
use crate::api::EngineError;
use crate::files::{Family, FileOptions, Files, Wrong, split_value};

/// The file that names the manifest.
const CURRENT: &str = "CURRENT";

/// What an error of RocksDB means.
pub(super) fn refused(dir: &Path, what: &str, error: &rocksdb::Error) -> EngineError {
    let (place, text) = (dir.display().to_string(), error.to_string());
    let is_damage = match error.kind() {
        // A file that is not there is damage; anything else is the disk's no.
        ErrorKind::IOError => text.contains("No such file or directory"),
        ErrorKind::Busy
        | ErrorKind::TimedOut
        | ErrorKind::TryAgain
        | ErrorKind::Aborted
        | ErrorKind::Incomplete
        | ErrorKind::ShutdownInProgress => false,
        _ => true,
    };
    if text.contains("No space left on device") {
        return EngineError::Full(format!("{what} {place}: {text}"));
    }
    match is_damage {
        true => EngineError::Corrupt { place, found: format!("{what}: {text}") },
        false => EngineError::Io(format!("{what} {place}: {text}")),
    }
}

/// Looks at the folder without opening anything.
pub(crate) fn look(disk: &dyn ReadDisk, dir: &Path) -> Result<Files, EngineError> {
    let path = dir.join(CURRENT);
    let io = |error| EngineError::Io(format!("read {}: {error}", path.display()));
    if disk.stat(&path).map_err(io)?.is_none() {
        return Ok(Files::None);
    }
    let bytes = durable::read_file(disk, &path, 4096).map_err(io)?;
    let corrupt = |path: &Path, found: String| EngineError::Corrupt {
        place: path.display().to_string(),
        found,
    };
    let name = std::str::from_utf8(&bytes).ok().and_then(|text| text.strip_suffix('\n'));
    let is_manifest = |name: &&str| {
        let number = name.strip_prefix("MANIFEST-");
        number.is_some_and(|n| !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let Some(name) = name.filter(is_manifest) else {
        return Err(corrupt(&path, format!("{} bytes that name no manifest", bytes.len())));
    };
    let manifest = dir.join(name);
    match disk.stat(&manifest).map_err(io)? {
        Some(entry) if entry.len > 0 => Ok(Files::There),
        found => {
            let found = if found.is_some() { "an empty file" } else { "no such file" };
            Err(corrupt(&manifest, format!("{found}, and `{CURRENT}` names it")))
        }
    }
}

/// Opens a view of the files and hands it over; `None` in a folder without any.
fn viewed<T>(
    disk: &dyn ReadDisk,
    dir: &Path,
    with: impl FnOnce(&Db, &Path) -> Result<T, EngineError>,
) -> Result<Option<T>, EngineError> {
    if look(disk, dir)? == Files::None {
        return Ok(None);
    }
    let view = disk.native(dir, NativeMode::View);
    let view = view.map_err(|e| EngineError::Io(format!("view {}: {e}", dir.display())))?;
    let settings = Settings::new(FileOptions {
        memtable_bytes: 1 << 20,
        cache_bytes: 1 << 20,
        ..FileOptions::default()
    });
    let outcome =
        open_files(&view.path, &settings, Files::There, true).and_then(|db| with(&db, &view.path));
    outcome.map(Some).map_err(|error| match error {
        // The view is nobody's business.
        EngineError::Corrupt { found, .. } => EngineError::Corrupt {
            place: dir.display().to_string(),
            found: found.replace(&view.path.display().to_string(), "."),
        },
        other => other,
    })
}

/// Reads every row of every family, and answers what is not what was written: of each family the
/// first. RocksDB does without a filter that is damaged, and so do we.
pub(crate) fn check(disk: &dyn ReadDisk, dir: &Path) -> Result<(Files, Vec<Wrong>), EngineError> {
    let wrong = viewed(disk, dir, |db, path| {
        let names = Families::read(db, path)?.figures(db, path)?;
        let no_pace = &mut |_| Ok(());
        let mut wrong = Vec::new();
        for family in names {
            let checked = check_family(db, path, &family.name, no_pace);
            wrong.extend(checked.map_err(|error| EngineError::Io(error.to_string()))?);
        }
        Ok(wrong)
    })?;
    Ok(wrong.map_or((Files::None, Vec::new()), |wrong| (Files::There, wrong)))
}

/// Reads every row of a family, and tells `read` of the bytes.
pub(super) fn check_family(
    db: &Db,
    dir: &Path,
    name: &str,
    read: &mut dyn FnMut(usize) -> io::Result<()>,
) -> io::Result<Option<Wrong>> {
    let Some(family) = db.cf_handle(name) else { return Ok(None) };
    let mut options = ReadOptions::default();
    options.set_verify_checksums(true);
    options.fill_cache(false);
    let mut rows = db.raw_iterator_cf_opt(&family, options);
    rows.seek_to_first();
    while let Some(value) = rows.value() {
        if name != DEFAULT && split_value(value).is_none() {
            let expected = "a version and a value".to_owned();
            let found = format!("{} bytes", value.len());
            return Ok(Some(Wrong { file: format!("family {name}"), expected, found }));
        }
        read(value.len())?;
        rows.next();
    }
    let Err(error) = rows.status() else { return Ok(None) };
    match refused(dir, "read", &error) {
        EngineError::Corrupt { .. } => {
            let found = error.to_string().replace(&format!("{}/", dir.display()), "");
            let file = found.split(' ').find(|word| word.ends_with(".sst"));
            let file = file.map_or_else(|| format!("family {name}"), str::to_owned);
            let expected = format!("the rows of the family {name} as they were written");
            Ok(Some(Wrong { file, expected, found }))
        }
        other => Err(io::Error::other(other)),
    }
}

/// The families of files that are not open.
pub(crate) fn families(disk: &dyn ReadDisk, dir: &Path) -> Result<Vec<Family>, EngineError> {
    let found = viewed(disk, dir, |db, path| Families::read(db, path)?.figures(db, path))?;
    Ok(found.unwrap_or_default())
}
