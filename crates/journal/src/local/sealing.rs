//! What a backup asks of a running journal: that everything before now lies in sealed segments, and
//! that none of them goes away while it is read.
//!
//! Invariants: a segment is sealed only when it holds something; where there is no space for the
//! next one the journal goes on as it was; what is pinned is given up only after its pin is gone.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use super::LocalJournal;
use crate::api::{AppendError, Journal};
use crate::meta_store::MetaStore;
use crate::writer::RotateError;

/// Where the sealed segments end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedEnd {
    /// The last sealed segment; 0: there is none.
    pub seq: u64,
    /// Where its valid part ends.
    pub end_lsn: u64,
    /// Header checksum of the last frame before that end.
    pub chain: u32,
    /// The first position behind it.
    pub next_position: u64,
}

/// Why the active segment was not sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The journal takes nothing any more.
    #[error(transparent)]
    Journal(#[from] AppendError),
    /// The next segment could not be made; the journal goes on as it was.
    #[error("opening the next segment: {0}")]
    NotBegun(#[source] io::Error),
}

/// Keeps segments from being given up; dropping it lets them go.
#[derive(Debug)]
pub struct SegmentPin {
    meta: Arc<Mutex<MetaStore>>,
    number: u64,
}

impl SegmentPin {
    /// Keeps only segments from `seq` on.
    pub fn narrow(&self, seq: u64) {
        self.meta.lock().expect("no panic while meta is held").narrow(self.number, seq);
    }

    /// Whether a checkpoint would have given up a segment that some pin keeps.
    #[must_use]
    pub fn holds_back(&self) -> bool {
        self.meta.lock().expect("no panic while meta is held").holds_back()
    }
}

impl Drop for SegmentPin {
    fn drop(&mut self) {
        // Also while a panic unwinds: a number is taken out of a list, nothing is half done.
        self.meta.lock().unwrap_or_else(PoisonError::into_inner).unpin(self.number);
    }
}

impl LocalJournal {
    /// Keeps all segments that there are now from being given up.
    pub fn pin(&self) -> SegmentPin {
        let number = self.meta(MetaStore::pin);
        SegmentPin { meta: Arc::clone(&self.shared.meta), number }
    }

    /// The numbers of the segments in use, oldest first; the last one is the active one.
    #[must_use]
    pub fn segments(&self) -> Vec<u64> {
        self.meta(|meta| meta.segments().iter().map(|segment| segment.seq).collect())
    }

    /// Syncs everything appended so far, whatever the mode, and opens a new segment behind it,
    /// unless the active one is empty.
    ///
    /// # Errors
    /// [`SealError::NotBegun`] when there is no place for another segment: nothing changed.
    pub fn seal_active(&self) -> Result<SealedEnd, SealError> {
        self.sync()?;
        self.shared.group.with_writer(|writer| {
            // Nobody writes meanwhile; closing and poison come before or after this as a whole.
            self.shared.group.check_open()?;
            match writer.rotate_now() {
                Ok(()) => {}
                Err(RotateError::NotBegun(error)) => return Err(SealError::NotBegun(error)),
                Err(RotateError::Failed(error)) => {
                    self.poison_on("sealing a segment", Err(error))?;
                }
            }
            let active = &writer.header;
            let (seq, end_lsn) = (active.prev_seq, active.prev_end_lsn);
            let (chain, next_position) = (active.prev_chain, active.first_position);
            Ok(SealedEnd { seq, end_lsn, chain, next_position })
        })
    }
}
