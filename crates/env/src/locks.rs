//! Locks on directories that live in memory: many readers or one owner, as `flock` has it.
//!
//! Invariant: a directory is either absent here, owned once, or read by a counted number.

use std::collections::BTreeMap;

use crate::disk::LockMode;

/// Who holds which directory.
#[derive(Debug, Default)]
pub(crate) struct Locks {
    held: BTreeMap<u64, Holders>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holders {
    Owner,
    Readers(u64),
}

impl Locks {
    /// Takes a lock, if nobody holds one that excludes it.
    pub(crate) fn lock(&mut self, directory: u64, mode: LockMode) -> bool {
        let next = match (mode, self.held.get(&directory)) {
            (LockMode::Exclusive, None) => Holders::Owner,
            (LockMode::Shared, None) => Holders::Readers(1),
            (LockMode::Shared, Some(Holders::Readers(count))) => Holders::Readers(count + 1),
            _ => return false,
        };
        let before = self.held.insert(directory, next);
        assert!(before != Some(Holders::Owner), "an owner is alone");
        true
    }

    /// Releases a lock that was taken.
    pub(crate) fn unlock(&mut self, directory: u64) {
        match self.held.remove(&directory) {
            Some(Holders::Readers(count)) if count > 1 => {
                self.held.insert(directory, Holders::Readers(count - 1));
            }
            held => assert!(held.is_some(), "only a held lock is released"),
        }
    }
}
