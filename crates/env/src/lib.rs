//! The outside world as a parameter: disk, clocks, randomness.
//!
//! Invariant: this crate is the only one that touches `std::fs`, system clocks or the operating
//! system's randomness. Everything above takes an [`Env`], so that the simulator can stand in for
//! the machine.

mod background;
pub mod clock;
mod delay;
pub mod disk;
pub mod durable;
mod locks;
mod overlay;
mod pages;
pub mod processes;
mod random;
mod real;
mod reserve;
mod simulated;
mod view;
mod watched;

use std::sync::Arc;

pub use background::in_background;
pub use clock::{Clock, ManualClock, SystemClock};
pub use delay::SlowSyncs;
pub use disk::{
    DirectoryLock, Disk, Entry, EntryKind, Inode, LockMode, NativeFolder, NativeMode, ReadDisk,
    ReadFile, WriteFile,
};
pub use overlay::OverlayDisk;
pub use random::{OsRandom, Random, SeededRandom};
pub use real::{Directory, RealDisk};
pub use reserve::{Reserve, ReservedDisk, is_full};
pub use simulated::{
    CrashPoints, Effect, Fault, FaultError, Image, Moment, Operation, OperationKind, SimulatedDisk,
    Survival, Times, Trace,
};
pub use watched::{Change, Watch, WatchedDisk};

/// Everything a Rekindle store needs of the machine it runs on.
#[derive(Clone, Debug)]
pub struct Env {
    /// Where bytes last.
    pub disk: Arc<dyn Disk>,
    /// Wall time and boot time.
    pub clock: Arc<dyn Clock>,
    /// Identities and nonces.
    pub random: Arc<dyn Random>,
}

impl Env {
    /// The real machine.
    #[must_use]
    pub fn real() -> Self {
        Self {
            disk: Arc::new(RealDisk::new()),
            clock: Arc::new(SystemClock),
            random: Arc::new(OsRandom),
        }
    }

    /// The same machine, the changes of whose disk are watched.
    #[must_use]
    pub fn watched(self, watch: Arc<dyn Watch>) -> Self {
        Self { disk: Arc::new(WatchedDisk::new(self.disk, watch)), ..self }
    }
}
