//! What was found damaged while the database serves, until checkpoints stand in for it.
//!
//! Invariants: a checkpoint that was found damaged is never named beside a new one, and counts for
//! nothing; what is in use stays noted, whatever fails meanwhile.

use std::io;

use rekindle_engine::checkpoint;
use rekindle_recovery::quarantine;

use super::{Checkpoints, Named};
use crate::apply::lock;
use crate::core::Core;

/// A file in use that was found damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rotten {
    /// The checkpoint with this id.
    Checkpoint(u64),
    /// The segment with this number.
    Segment(u64),
}

impl Checkpoints {
    /// Notes a file that was found damaged: the next checkpoints take its place.
    pub(crate) fn rots(&self, rotten: Rotten) {
        let mut known = lock(&self.known);
        if !known.rotten.contains(&rotten) {
            known.rotten.push(rotten);
        }
        known.replace_at_ms = 0;
    }

    /// Of what was found damaged, what is still in use.
    pub(crate) fn rotten(&self) -> Vec<Rotten> {
        if lock(&self.known).rotten.is_empty() {
            return Vec::new();
        }
        let segments = self.journal.segments();
        let mut known = lock(&self.known);
        let named = known.named;
        known.rotten.retain(|rotten| match rotten {
            Rotten::Checkpoint(_) => true,
            Rotten::Segment(seq) => segments.contains(seq),
        });
        let in_use = |rotten: &&Rotten| match rotten {
            Rotten::Checkpoint(id) => named.iter().any(|it| it.id == *id),
            Rotten::Segment(_) => true,
        };
        known.rotten.iter().filter(in_use).copied().collect()
    }

    /// Whether damage is in use, and it is time to replace it.
    pub(crate) fn owes(&self, now_ms: u64) -> bool {
        let due = {
            let known = lock(&self.known);
            now_ms >= known.retry_at_ms.max(known.replace_at_ms)
        };
        due && !self.rotten().is_empty()
    }

    /// Replacing is tried again after this time.
    pub(crate) fn replace_at(&self, boot_ms: u64) {
        lock(&self.known).replace_at_ms = boot_ms;
    }

    /// Those that are named and whole as far as is known, newest first.
    pub(crate) fn whole(&self) -> Vec<Named> {
        let known = lock(&self.known);
        let rotten = |named: &Named| known.rotten.contains(&Rotten::Checkpoint(named.id));
        known.named.into_iter().filter(|named| named.id != 0 && !rotten(named)).collect()
    }

    /// Takes note that those that were found damaged and are named no longer are on their way out.
    pub(super) fn unnamed_rotten(&self, named: &[u64]) -> Vec<u64> {
        let mut known = lock(&self.known);
        let mut out = Vec::new();
        known.rotten.retain(|rotten| match rotten {
            Rotten::Checkpoint(id) if !named.contains(id) => {
                out.push(*id);
                false
            }
            _ => true,
        });
        out
    }

    /// Moves what was found damaged to the quarantine. Where that cannot be it stays, until it is
    /// removed as one that nothing names.
    pub(super) fn set_aside(&self, core: &Core, ids: &[u64]) {
        for id in ids {
            let path = self.folder.join(checkpoint::file_name(*id));
            match quarantine::set_aside(&*core.env.disk, &self.store, 0, &path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!("setting {} aside: {error}", path.display());
                }
                _ => {}
            }
        }
    }
}
