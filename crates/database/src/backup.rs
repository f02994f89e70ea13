//! Backups: a directory that holds checkpoints, sealed segments, and a manifest for each backup.
//!
//! ```text
//! DIR/backups/N.json           manifests, from 1; written last
//! DIR/journal/<seq>            sealed segments, as in the store
//! DIR/checkpoints/<id>.ckpt    checkpoints, as in the store
//! ```
//!
//! Invariants: what has no whole manifest is no backup; a file is never changed once a manifest
//! names it, but for being made whole again; one directory holds one history of one store. A sealed
//! segment may be the store's own file under a second name: its bytes up to the end that its
//! successor declares never change again, and what lies behind that end counts for nothing.

mod bring;
mod claims;
mod folder;
mod manifest;
mod prove;
mod prune;
mod rows;
mod summed;
mod take;
mod timeline;
mod transfer;
mod verify;

use std::path::{Path, PathBuf};

use rekindle_env::Env;

use crate::core::Core;
use crate::database::Database;
use crate::error::Error;

pub(crate) use folder::{DIRECTORIES, Folder};
pub use manifest::{CheckpointFile, Manifest, SegmentFile};
pub(crate) use manifest::{decode_id, encode_id};
pub(crate) use prove::{Prover, trusted};
pub use prune::{Pruned, plan_prune, prune_backups};
pub(crate) use timeline::{Choice, Timeline};
pub use verify::{BackupFinding, BackupReport, verify_backup};

/// Most backups in one directory; a further one is refused.
pub const BACKUPS_MAX: u64 = 10_000;

/// What a backup did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// Where it is.
    pub dir: PathBuf,
    /// Its manifest.
    pub manifest: Manifest,
    /// Files that were given a second name.
    pub linked: u64,
    /// Files that were copied, and their bytes.
    pub copied: u64,
    /// Bytes that were copied.
    pub copied_bytes: u64,
    /// Files that were there already, whole.
    pub kept: u64,
    /// Whether the journal between the earlier backup and this one is there without a gap; true for
    /// the first.
    pub continuous: bool,
}

/// The backups in a directory, oldest first.
///
/// # Errors
/// `NotAStore` when there is none, `Damaged` when a manifest is, `Io`.
pub fn list_backups(dir: &Path, env: &Env) -> Result<Vec<Manifest>, Error> {
    let folder = Folder::open(dir, env)?;
    folder.whole_manifests()
}

impl Database {
    /// Takes a backup into the directory `to`, which is made where it is missing; everything that
    /// was acknowledged before is in it. Writers go on meanwhile. Blocks: call it on a thread that
    /// may wait.
    ///
    /// # Errors
    /// `Busy` while another one is taken, `Invalid` for a directory of something else, `Diverged`
    /// for one whose backups are not of this store's past, `Full` where there is no space, `Io`.
    /// Nothing half done counts as a backup, and the database goes on.
    pub fn backup(&self, to: &Path) -> Result<Backup, Error> {
        Core::backup(self.core(), to)
    }
}
