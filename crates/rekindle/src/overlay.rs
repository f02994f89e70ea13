//! A start over an overlay: what it would find and do, without a byte of the directory changed.
//!
//! Invariant: whoever calls this holds the directory, so that what lies under the overlay stands
//! still.

use std::path::Path;
use std::sync::Arc;

use rekindle_database::{Database, Error, Options, SEGMENT_BYTES_MIN};
use rekindle_env::{Disk, Env, OverlayDisk, ReadDisk};

/// Opens a store as a start would; its changes end with it.
pub fn open(data: &Path, max_state_bytes: Option<u64>, env: &Env) -> Result<Database, Error> {
    let base: Arc<dyn ReadDisk> = env.disk.clone();
    let disk: Arc<dyn Disk> = Arc::new(OverlayDisk::new(base));
    let options = Options {
        create: false,
        background: false,
        // The new segment is made in memory: the smallest one says the same.
        segment_bytes: SEGMENT_BYTES_MIN,
        max_state_bytes,
        ..Options::default()
    };
    Database::open_with(data, options, Env { disk, ..env.clone() })
}
