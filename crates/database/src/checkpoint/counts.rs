//! How many checkpoints were written since the database was opened, how large, and how many failed.
//!
//! Invariant: what is counted only grows.

use std::sync::atomic::{AtomicU64, Ordering};

/// The counters.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    written: AtomicU64,
    bytes: AtomicU64,
    failed: AtomicU64,
}

/// What they say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    /// Those that were written.
    pub(crate) written: u64,
    /// The bytes of their files.
    pub(crate) bytes: u64,
    /// Those that failed.
    pub(crate) failed: u64,
}

impl Counts {
    /// One was written, of so many bytes.
    pub(crate) fn note_written(&self, bytes: u64) {
        self.written.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// One failed.
    pub(crate) fn note_failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// All of them now.
    pub(crate) fn now(&self) -> Counted {
        Counted {
            written: self.written.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }
}
