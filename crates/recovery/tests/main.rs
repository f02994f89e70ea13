//! The tests of the recovery pipeline and of its first layer, one scenario per module.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test that panics has failed, which is its purpose"
)]

mod driver;
mod identity;
mod incident;
mod report;
mod store;
mod store_crash;
mod table;

use std::path::Path;

use rekindle_env::{Disk, ManualClock, ReadDisk, SeededRandom};
use rekindle_recovery::{
    Failure, Identity, LayerReport, Store, StoreLayer, examine, identity::ENGINE_MEMORY, perform,
};

/// Where the tests keep their store.
pub(crate) const DIR: &str = "/srv/data";

/// A layer that may create a store; equal seeds, equal identities.
pub(crate) fn layer(seed: u64) -> StoreLayer {
    let candidate = Identity::generate(&SeededRandom::new(seed), ENGINE_MEMORY);
    StoreLayer { dir: DIR.into(), create: true, candidate, engines: vec![ENGINE_MEMORY] }
}

/// All stages.
pub(crate) fn open(
    disk: &(dyn Disk + 'static),
    layer: &StoreLayer,
) -> Result<(Store, LayerReport), Failure> {
    let clock = ManualClock::new(0);
    let examined = examine(layer, disk as &dyn ReadDisk, &clock)?;
    perform(layer, examined, disk, &clock)
}

/// All stages but the last.
pub(crate) fn look(
    disk: &(dyn ReadDisk + 'static),
    layer: &StoreLayer,
) -> Result<LayerReport, Failure> {
    Ok(examine(layer, disk, &ManualClock::new(0))?.report)
}

/// The label of the situation: that of the first action.
pub(crate) fn situation(report: &LayerReport) -> &'static str {
    report.actions.first().map_or("", |action| action.label.0)
}

/// A path below the store.
pub(crate) fn at(name: &str) -> std::path::PathBuf {
    Path::new(DIR).join(name)
}
