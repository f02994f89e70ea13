//! Where the benchmarks' stores lie: temporary directories, on disks that count their syncs.
//!
//! Invariant: a store's directory goes when its handle does; nothing else is ever removed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rekindle_database::{Database, DurabilityMode, KeyspaceId, Options};
use rekindle_env::{Env, SlowSyncs, Watch};
use tempfile::TempDir;

use crate::Failed;

/// By how much longer a sync is made, to stand for an ordinary disk.
pub(crate) const LONGER: Duration = Duration::from_millis(1);

/// Syncs that take `longer`, and are counted.
pub(crate) fn counting(longer: Duration) -> Arc<SlowSyncs> {
    Arc::new(SlowSyncs::new(longer))
}

/// The machine with these syncs.
pub(crate) fn env_on(syncs: &Arc<SlowSyncs>) -> Env {
    Env::real().watched(Arc::clone(syncs) as Arc<dyn Watch>)
}

/// A temporary directory that is gone when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    directory: TempDir,
}

impl Place {
    /// A new one below `dir`.
    pub(crate) fn new(dir: &Path) -> Result<Self, Failed> {
        let directory = tempfile::Builder::new().prefix("rekindle-bench-").tempdir_in(dir);
        let directory = directory.map_err(|error| format!("{}: {error}", dir.display()))?;
        Ok(Self { directory })
    }

    /// Where a store may be made in it.
    pub(crate) fn store(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// An embedded database in a directory of its own.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) database: Database,
    pub(crate) keyspace: KeyspaceId,
    pub(crate) disk: Arc<SlowSyncs>,
    // The last field: the database is closed before its directory goes.
    _place: Place,
}

impl Store {
    /// A new one.
    pub(crate) fn new(dir: &Path, mode: DurabilityMode, longer: Duration) -> Result<Self, Failed> {
        let (place, disk) = (Place::new(dir)?, counting(longer));
        let options = Options { durability: mode, ..Options::default() };
        let database = Database::open_with(place.store(), options, env_on(&disk))?;
        let keyspace = database.keyspace("rows")?;
        Ok(Self { database, keyspace, disk, _place: place })
    }
}

/// The value of every transaction.
pub(crate) const VALUE: [u8; 100] = [7; 100];

/// The key of a writer's n-th transaction: 16 bytes in no order, all different.
pub(crate) fn scattered_key(writer: u64, number: u64) -> [u8; 16] {
    // Multiplying by an odd number permutes; the shift brings the high bits into play.
    let mixed = ((writer << 40) | number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    joined(mixed, (writer << 40) | number)
}

/// The same, ascending.
pub(crate) fn ascending_key(number: u64) -> [u8; 16] {
    joined(number, 0)
}

fn joined(first: u64, second: u64) -> [u8; 16] {
    ((u128::from(first) << 64) | u128::from(second)).to_be_bytes()
}
