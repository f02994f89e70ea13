//! A recorded run: run a workload once, then crash it at every operation.
//!
//! Invariant: the crash points of a trace are those that the live disk went through; walking them
//! costs one step for each operation, not one run.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::SimulatedDisk;
use super::durability::Durability;
use super::image::Image;
use super::operation::Operation;

/// What a crash leaves of the changes that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Survival {
    /// Everything: the power went after the kernel had written it all by itself.
    All,
    /// Nothing.
    None,
    /// The first ones, in the order in which they were made.
    Prefix,
    /// Any of them: sizes, bytes and entries independently.
    Subset,
    /// Any 512-byte sectors of the writes, and any of the other changes.
    Torn,
}

impl Survival {
    /// All models.
    pub const EVERY: [Self; 5] = [Self::All, Self::None, Self::Prefix, Self::Subset, Self::Torn];
}

/// A moment in the life of a disk, between two changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub(super) u64);

/// The operations of a disk since it was made, in order, with the marks of the workload.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    operations: Arc<Vec<Operation>>,
}

impl Trace {
    pub(super) fn new(operations: Vec<Operation>) -> Self {
        Self { operations: Arc::new(operations) }
    }

    /// The operations and marks.
    #[must_use]
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// The points at which this run could have crashed. `start` is the image that the disk was made
    /// of ([`Image::new`] for a new one).
    #[must_use]
    pub fn crash_points(&self, start: Image) -> CrashPoints {
        let durability = Durability::new(start.clone());
        CrashPoints { trace: self.clone(), done: 0, live: start, durability }
    }
}

/// A walk over the crash points of a [`Trace`]; begins before its first operation.
#[derive(Clone, Debug)]
pub struct CrashPoints {
    trace: Trace,
    done: usize,
    live: Image,
    durability: Durability,
}

impl CrashPoints {
    /// Performs the next operation and returns it; `None` at the end.
    pub fn advance(&mut self) -> Option<&Operation> {
        let operation = self.trace.operations.get(self.done)?;
        operation
            .change
            .show(&mut self.live)
            .expect("`start` is the image that the disk was made of");
        self.durability.apply(&operation.change);
        self.done += 1;
        assert!(self.done <= self.trace.operations.len(), "a walk ends with its trace");
        Some(operation)
    }

    /// How many operations and marks were performed so far.
    #[must_use]
    pub fn position(&self) -> usize {
        self.done
    }

    /// The disk after a crash right here, before the next operation. Equal seeds, equal disks.
    #[must_use]
    pub fn survivors(&self, survival: Survival, seed: u64) -> Image {
        self.durability.survivors(survival, seed)
    }

    /// The disk after the program was killed right here while the machine went on; see
    /// [`SimulatedDisk::kill`].
    #[must_use]
    pub fn after_kill(&self, seed: u64) -> SimulatedDisk {
        let mut live = self.live.clone();
        live.collect(&BTreeSet::new());
        SimulatedDisk::at(live, self.durability.clone(), seed)
    }
}
