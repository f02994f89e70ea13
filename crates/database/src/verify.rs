//! Looking without touching: `verify` reads every byte, a dry run performs the plan over an
//! overlay.
//!
//! Invariant: neither changes a byte of the directory; both run the stages of a real start.

use std::path::Path;
use std::sync::Arc;

use rekindle_env::{Disk, Env, LockMode, OverlayDisk, ReadDisk};
use rekindle_recovery::Report;

use crate::error::Error;
use crate::options::{Options, SEGMENT_BYTES_MIN};
use crate::recovery::{Depth, Examination, lock_directory};

/// Checks every byte of a store and changes none. The report's code says what a start would do: 0
/// clean, 3 torn tail, 4 healed, 65 refused as corrupt, 78 refused as no store of ours.
///
/// # Errors
/// `Locked` when another process has the directory, `NotAStore` when there is none, `Io`.
pub fn verify(path: impl AsRef<Path>, env: &Env) -> Result<Report, Error> {
    let dir = path.as_ref();
    let _lock = lock_directory(dir, false, LockMode::Shared, env)?;
    let options = Options { create: false, ..Options::default() };
    let examination = Examination::new(dir, &options, env, &*env.disk, Depth::Full)?;
    Ok(examination.into_report())
}

/// What a start would find, decide and do, done over an overlay that is thrown away.
///
/// # Errors
/// `Locked` when another process has the directory, `NotAStore` when there is none, `Io`.
pub fn dry_run(path: impl AsRef<Path>, options: &Options, env: &Env) -> Result<Report, Error> {
    let dir = path.as_ref();
    let _lock = lock_directory(dir, false, LockMode::Shared, env)?;
    let base: Arc<dyn ReadDisk> = env.disk.clone();
    let disk: Arc<dyn Disk> = Arc::new(OverlayDisk::new(base));
    let over = Env { disk, ..env.clone() };
    // The new segment is opened in memory: the smallest one says the same.
    let options = Options { create: false, segment_bytes: SEGMENT_BYTES_MIN, ..options.clone() };
    let examination = Examination::new(dir, &options, &over, &*over.disk, Depth::Start)?;
    if examination.refuses() {
        return Ok(examination.into_report());
    }
    Ok(examination.act(&options)?.report)
}
