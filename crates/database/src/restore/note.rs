//! What a restore writes down for the store that it makes: who asked for it, why, and what it is.
//!
//! The file [`NOTE`] stands in the store until somebody has told it in a log that lasts. Invariant:
//! it is durable before the directory is a store, so a store that came from a restore knows it.

use std::io;
use std::path::Path;

use rekindle_env::{Disk, durable};
use rekindle_recovery::store::restoring::NOTE;
use serde::{Deserialize, Serialize};

use crate::database::Database;
use crate::error::Error;

/// Longer files are no notes of ours.
const NOTE_BYTES_MAX: u64 = 64 * 1024;

/// Longer texts of those who restore are cut.
const TEXT_BYTES_MAX: usize = 1_024;

/// Who restores, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestoredBy {
    /// Who.
    pub who: String,
    /// Why.
    pub reason: String,
}

/// Where a store came from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RestoreNote {
    /// Who restored it.
    pub who: String,
    /// Why.
    pub reason: String,
    /// The version of the program.
    pub program: String,
    /// When, by the wall clock, milliseconds since the Unix epoch.
    pub wall_ms: u64,
    /// The directory of the backups.
    pub from: String,
    /// The moment that was asked for, in words.
    pub moment: String,
    /// The backup that it lies in.
    pub backup: u64,
    /// The last position in it.
    pub position: u64,
    /// The last version in it.
    pub version: u64,
    /// The lineage of the backups, in hexadecimal.
    pub of_lineage: String,
    /// The store's own, in hexadecimal.
    pub lineage: String,
}

impl RestoreNote {
    /// Writes it where no note is.
    pub(super) fn write(&self, disk: &dyn Disk, store: &Path) -> io::Result<()> {
        let mut note = self.clone();
        for text in [&mut note.who, &mut note.reason, &mut note.from] {
            text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        }
        let bytes = serde_json::to_vec(&note).expect("texts and numbers");
        assert!(bytes.len() as u64 <= NOTE_BYTES_MAX, "what is written can be read");
        durable::create_file(disk, &store.join(NOTE), &bytes)
    }
}

impl Database {
    /// What the restore that made this store wrote down, until [`Database::forget_restore`]. A note
    /// that cannot be read, or is of another lineage, is one without words.
    ///
    /// # Errors
    /// `Io`.
    pub fn restored_by(&self) -> Result<Option<RestoreNote>, Error> {
        let Some((path, lineage)) = self.note() else { return Ok(None) };
        let disk = &*self.env().disk;
        let context = |error| Error::io(format!("reading {}", path.display()), error);
        let bytes = match disk.stat(&path).map_err(context)? {
            None => return Ok(None),
            Some(entry) if entry.len > NOTE_BYTES_MAX => Vec::new(),
            Some(_) => durable::read_file(disk, &path, NOTE_BYTES_MAX).map_err(context)?,
        };
        let note: RestoreNote = serde_json::from_slice(&bytes).unwrap_or_default();
        let own = note.lineage == lineage;
        Ok(Some(if own { note } else { RestoreNote { lineage, ..RestoreNote::default() } }))
    }

    /// Removes that note: it was told.
    ///
    /// # Errors
    /// `Io`.
    pub fn forget_restore(&self) -> Result<(), Error> {
        let Some((path, _)) = self.note() else { return Ok(()) };
        durable::remove_file(&*self.env().disk, &path)
            .map_err(|error| Error::io(format!("removing {}", path.display()), error))
    }

    /// Where the note is, and the lineage of this store.
    fn note(&self) -> Option<(std::path::PathBuf, String)> {
        let checkpoints = self.core().checkpoints.as_ref()?;
        let lineage = crate::backup::encode_id(checkpoints.identity.lineage);
        Some((checkpoints.store.join(NOTE), lineage))
    }
}
