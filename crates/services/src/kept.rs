//! What a start takes up instead of reading all rows: the index of work and the table of producers,
//! as the anchor of an engine with files keeps them.
//!
//! ```text
//! length of the index 8, the index (claims/kept.rs), the table (producers/kept.rs)
//! ```
//! Invariant: both are as they were after one version; so it is given up only once both are whole,
//! and follow the transactions.

use std::sync::Weak;

use rekindle_database::{Derived, Earlier, Observer, Operation};

use crate::bytes::Reader;
use crate::claims::index::Index;
use crate::claims::kept::Kept as Work;
use crate::keys::Keyspaces;
use crate::producers::kept::Kept as Producers;
use crate::producers::table::ProducerTable;

/// What an earlier run knew.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) producers: Option<Producers>,
    pub(crate) queues: Option<Work>,
    pub(crate) jobs: Option<Work>,
}

impl Kept {
    /// Reads it; what cannot be read is read from the rows.
    pub(crate) fn of(earlier: Option<Earlier>, keyspaces: &Keyspaces) -> Self {
        let Some(earlier) = earlier else { return Self::default() };
        let kept = Self::read(&earlier, keyspaces);
        if kept.is_none() {
            tracing::warn!("what an earlier run kept cannot be used; all rows are read");
        }
        kept.unwrap_or_default()
    }

    fn read(earlier: &Earlier, keyspaces: &Keyspaces) -> Option<Self> {
        let mut reader = Reader::new(&earlier.derived.bytes);
        let len = usize::try_from(reader.u64()?).ok()?;
        let work = Work::of(reader.take(len)?, &earlier.changes, keyspaces)?;
        let producers = Producers::of(reader.rest(), &earlier.changes, keyspaces)?;
        let (queues, jobs) = work.split();
        Some(Self { producers: Some(producers), queues: Some(queues), jobs: Some(jobs) })
    }
}

/// Gives both up when the engine's memtable is sealed.
#[derive(Debug)]
pub(crate) struct KeptObserver {
    pub(crate) index: Weak<Index>,
    pub(crate) producers: Weak<ProducerTable>,
    pub(crate) keyspaces: Keyspaces,
}

impl Observer for KeptObserver {
    /// The two have observers of their own.
    fn applied(&self, _: u64, _: u64, _: &mut dyn Iterator<Item = Operation<'_>>) {}

    fn lost(&self) {}

    fn is_kept(&self) -> bool {
        true
    }

    fn freeze(&self) -> Option<Derived> {
        let index = self.index.upgrade()?.kept()?;
        let mut bytes = Vec::with_capacity(index.len() + 8);
        bytes.extend_from_slice(&(index.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&index);
        if !self.producers.upgrade()?.write(&mut bytes) {
            return None;
        }
        let keyspaces = self.keyspaces.of_work().into_iter().chain([self.keyspaces.producers]);
        Some(Derived { keyspaces: keyspaces.collect(), bytes })
    }
}
