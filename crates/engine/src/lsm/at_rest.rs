//! The files of an open engine, one by one, for a scrub.
//!
//! Invariants: they are held against the checksums that memory has; what is named by no manifest
//! any more is nobody's loss.

use std::io;

use lsm_tree::AbstractTree;
use rekindle_env::RealDisk;

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
        let files = self.named().into_iter();
        let files = files.map(|(named, bytes)| AtRest { file: named.path(), bytes });
        std::iter::once(manifest).chain(files).collect()
    }

    /// The files of the newest manifest, with their sizes.
    fn named(&self) -> Vec<(Named, u64)> {
        let version = self.tree.current_version();
        let tables = version.iter_tables().map(|table| {
            let (number, checksum) = (table.id(), table.checksum().into_u128());
            (Named { kind: Kind::Table, number, checksum }, table.metadata.file_size)
        });
        let blobs = version.blob_files.iter().map(|blob| {
            let (number, checksum) = (blob.id(), blob.checksum().into_u128());
            (Named { kind: Kind::Blob, number, checksum }, super::written::bytes_of(blob))
        });
        tables.chain(blobs).collect()
    }

    fn find(&self, file: &str) -> Option<Named> {
        self.named().into_iter().map(|(named, _)| named).find(|named| named.path() == file)
    }

    /// See [`crate::files::FileEngine::is_at_rest`].
    pub(super) fn is_named(&self, file: &str) -> bool {
        file == MANIFEST || self.find(file).is_some()
    }

    /// See [`crate::files::FileEngine::check_at_rest`].
    pub(super) fn check_named(&self, file: &str, pace: &dyn Pace) -> io::Result<Option<Wrong>> {
        if file == MANIFEST {
            return self.check_manifest();
        }
        let Some(named) = self.find(file) else { return Ok(None) };
        let found = check::checksum(&*pace.open(file)?)?;
        Ok((found != named.checksum).then(|| check::wrong(named, format!("{found:032x}"))))
    }

    fn check_manifest(&self) -> io::Result<Option<Wrong>> {
        let (disk, dir) = (RealDisk::new(), &self.folder.path);
        let mut named = tables::named_manifest(&disk, dir).ok();
        for _ in 0..LOOKS_MAX {
            let looked = tables::look(&disk, dir);
            // Another one may have taken its place meanwhile, and this one is removed.
            let again = tables::named_manifest(&disk, dir).ok();
            let same = named == again;
            named = again;
            match looked {
                Ok(_) => return Ok(None),
                Err(EngineError::Corrupt { found, .. }) if same => {
                    let expected = "a manifest with the checksum that `current` has".to_owned();
                    return Ok(Some(Wrong { file: MANIFEST.to_owned(), expected, found }));
                }
                Err(EngineError::Corrupt { .. }) => {}
                Err(other) => return Err(io::Error::other(other)),
            }
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
