//! The files of an open engine, one by one, for a scrub.
//!
//! Invariants: they are held against the checksums that memory has; what is named by no manifest
//! any more is nobody's loss.

use std::io;

use lsm_tree::AbstractTree;
use rekindle_env::{ReadDisk, ReadFile, RealDisk};

use super::manifest::{Kind, Named};
use super::{LsmEngine, check, tables};
use crate::api::EngineError;
use crate::files::{AtRest, Pace, Wrong};

/// What names the manifest, and the manifest.
const MANIFEST: &str = "current";

/// How often a manifest is looked at that another one takes the place of.
const LOOKS_MAX: usize = 8;

impl LsmEngine {
    /// See [`crate::files::FileEngine::at_rest`].
    pub(super) fn files_at_rest(&self) -> Vec<AtRest> {
        let manifest = AtRest { file: MANIFEST.to_owned(), bytes: 0 };
        let size = |path: &str| {
            let entry = RealDisk::new().stat(&self.folder.path.join(path)).ok().flatten();
            entry.map_or(0, |entry| entry.len)
        };
        let files = self.named().into_iter().map(|named| {
            let file = named.path();
            AtRest { bytes: size(&file), file }
        });
        std::iter::once(manifest).chain(files).collect()
    }

    /// The files of the newest manifest.
    pub(super) fn named(&self) -> Vec<Named> {
        let version = self.tree.current_version();
        let tables = version.iter_tables().map(|table| {
            let (number, checksum) = (table.id(), table.checksum().into_u128());
            Named { kind: Kind::Table, number, checksum }
        });
        let blobs = version.blob_files.iter().map(|blob| {
            let (number, checksum) = (blob.id(), blob.checksum().into_u128());
            Named { kind: Kind::Blob, number, checksum }
        });
        tables.chain(blobs).collect()
    }

    fn find(&self, file: &str) -> Option<Named> {
        self.named().into_iter().find(|named| named.path() == file)
    }

    /// See [`crate::files::FileEngine::is_at_rest`].
    pub(super) fn is_named(&self, file: &str) -> bool {
        file == MANIFEST || self.find(file).is_some()
    }

    /// See [`crate::files::FileEngine::check_at_rest`].
    pub(super) fn check_named(&self, file: &str, pace: &dyn Pace) -> io::Result<Option<Wrong>> {
        if file == MANIFEST {
            return self.check_manifest(pace);
        }
        let Some(named) = self.find(file) else { return Ok(None) };
        let found = check::checksum(&*pace.open(file)?)?;
        Ok((found != named.checksum).then(|| check::wrong(named, format!("{found:032x}"))))
    }

    /// Reads `current` and the manifest that it names.
    fn check_manifest(&self, pace: &dyn Pace) -> io::Result<Option<Wrong>> {
        let wrong = |expected: &str, found: String| Wrong {
            file: MANIFEST.to_owned(),
            expected: expected.to_owned(),
            found,
        };
        for _ in 0..LOOKS_MAX {
            let held = self.tree.current_version().id();
            let current = read(&*pace.open(MANIFEST)?)?;
            let Some((number, checksum)) = tables::parse_current(&current) else {
                let found = format!("{} bytes that name no manifest", current.len());
                return Ok(Some(wrong("the name of a manifest, and its checksum", found)));
            };
            let file = format!("v{number}");
            let found = pace.open(&file).and_then(|file| check::checksum(&*file));
            let expected = format!("{file} with the checksum {checksum:032x}");
            let found = match found {
                Ok(found) if found == checksum => return Ok(None),
                // Another one took its place, and this one is removed.
                _ if self.tree.current_version().id() != held => continue,
                Ok(found) => format!("{found:032x}"),
                Err(error) if error.kind() == io::ErrorKind::NotFound => "no file".to_owned(),
                Err(error) => return Err(error),
            };
            return Ok(Some(wrong(&expected, found)));
        }
        Ok(None)
    }

    /// See [`crate::files::FileEngine::renew`].
    pub(super) fn renew_manifest(&self, file: &str) -> Result<bool, EngineError> {
        if file != MANIFEST {
            return Ok(false);
        }
        self.check_failed()?;
        let needed = self.tag()?;
        let _flush = self.tree.get_flush_lock();
        let renewed = self.tree.register_tables(&[], None, None, &[], needed);
        renewed.map_err(|error| self.doubt("write the manifest anew", &error))?;
        Ok(true)
    }
}

/// A small file; one that is larger is none of these.
fn read(file: &dyn ReadFile) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 4096];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}
