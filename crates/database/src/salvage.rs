//! Salvage: everything that can be read, written out as lines of JSON.
//!
//! ```text
//!   sources   who the store is, the newest checkpoint that can be read, the journal  (reads only)
//!   files     instead of the checkpoint: the files of an engine that has its own     (reads only)
//!   state     what these give, hole or no hole                                       (memory)
//!   export    one file for each keyspace, and `salvage.json` last                    (writes OUT)
//! ```
//!
//! Invariants: the store is only read; a row that is written was committed with this value and
//! version; what could not be read is said; until `salvage.json` is there the folder is unfinished,
//! and the next salvage into it begins again.

mod export;
mod files;
mod sources;
mod state;

use std::path::Path;

use rekindle_env::{Env, LockMode, ReadDisk};

use crate::error::Error;
use crate::places::{self, Inside};
use crate::recovery::lock_directory;

/// What a salvage wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Salvage {
    /// Whether everything could be read.
    pub whole: bool,
    /// The version of the last transaction that was read.
    pub version: u64,
    /// The checkpoint that the state began with.
    pub checkpoint: Option<u64>,
    /// The files, in the order of their keyspaces.
    pub files: Vec<SalvagedFile>,
    /// What could not be read: a line each.
    pub unreadable: Vec<String>,
    /// The content of `salvage.json`: one line.
    pub json: String,
}

/// A file of a salvage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SalvagedFile {
    /// The keyspace's number.
    pub keyspace: u16,
    /// Its name, where the registry has it.
    pub name: Option<Vec<u8>>,
    /// The file's name.
    pub file: String,
    /// Its rows.
    pub rows: u64,
}

/// Writes what can be read of the store at `path` into the folder `out`, which is new, empty, or
/// holds an unfinished salvage.
///
/// # Errors
/// `NotAStore` when nothing says which store this is; `Invalid` when `out` holds something else or
/// lies inside of the store; `Locked`, `Io`.
pub fn salvage(path: impl AsRef<Path>, out: impl AsRef<Path>, env: &Env) -> Result<Salvage, Error> {
    let (dir, out) = (path.as_ref(), out.as_ref());
    outside(&*env.disk, dir, out)?;
    let _lock = lock_directory(dir, false, LockMode::Shared, env)?;
    export::check(&*env.disk, out)?;
    let sources = sources::read(dir, env)?;
    let state = state::build(sources, env)?;
    export::write(&state, out, env)
}

/// Refuses a folder inside of this store, or of any other: by its path, and by what lies above it.
fn outside(disk: &(dyn ReadDisk + 'static), dir: &Path, out: &Path) -> Result<(), Error> {
    let context = |error| Error::io(format!("looking above {}", out.display()), error);
    let inside = if out.starts_with(dir) {
        Some(Inside::Store(dir.to_owned()))
    } else {
        places::inside(disk, out).map_err(context)?
    };
    if let Some(inside) = inside {
        let text = format!("{} lies inside of {inside}, which stays as it is", out.display());
        return Err(Error::Invalid(text));
    }
    Ok(())
}
