//! What happens on a simulated disk, one numbered operation at a time.
//!
//! Invariant: an operation is the smallest thing that a crash can separate from the next: a write
//! that grows its file is two (the size, then the bytes).

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::content::DataChange;
use super::entries::EntryChange;
use super::image::{Image, NodeId};

/// The kinds of calls and operations; faults are set on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OperationKind {
    /// Opening an existing file. Changes nothing, so it is never recorded.
    Open,
    /// Reading bytes of a file. Never recorded.
    Read,
    /// Listing or looking at directory entries. Never recorded.
    List,
    /// Locking a directory. Never recorded.
    Lock,
    /// Writing bytes inside the file.
    Write,
    /// A new size: by `set_len`, or because a write grows the file.
    SetLen,
    /// Space reserved, and the size that goes with it.
    Allocate,
    /// Space given back.
    PunchHole,
    /// A new file.
    Create,
    /// A new directory.
    CreateDir,
    /// A new name for a file or directory.
    Rename,
    /// A second name for a file.
    HardLink,
    /// A file's entry removed.
    RemoveFile,
    /// A directory's entry removed.
    RemoveDir,
    /// `sync_data` or `sync_all` of a file: the same here, no entry becomes durable by either.
    SyncData,
    /// A file's sync that failed and dropped what it should have written.
    FailedSync,
    /// The entries of a directory made durable.
    SyncDir,
    /// A bit that turned on the medium.
    Flip,
    /// A mark that the workload set; not counted as an operation.
    Mark,
}

/// One recorded operation.
#[derive(Clone, Debug)]
pub struct Operation {
    pub(super) kind: OperationKind,
    pub(super) path: Arc<Path>,
    pub(super) change: Change,
}

/// What an operation does to the images.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Data {
        file: NodeId,
        change: DataChange,
    },
    Entry(EntryChange),
    /// `before`: the moment at which it began; it covers nothing later.
    SyncFile {
        file: NodeId,
        before: u64,
    },
    FailedSync {
        file: NodeId,
    },
    SyncDir {
        dir: NodeId,
        before: u64,
    },
    Flip {
        file: NodeId,
        offset: u64,
        bit: u8,
    },
    Mark(u64),
}

impl Change {
    /// Does it to the image that the running program sees; syncs change nothing there.
    pub(super) fn show(&self, live: &mut Image) -> io::Result<()> {
        match self {
            Self::Data { file, change } => live.content_mut(*file)?.apply(change),
            Self::Entry(change) => live.apply(change),
            Self::Flip { file, offset, bit } => {
                live.content_mut(*file)?.flip(*offset, *bit);
            }
            Self::SyncFile { .. }
            | Self::FailedSync { .. }
            | Self::SyncDir { .. }
            | Self::Mark(_) => {}
        }
        Ok(())
    }
}

impl Operation {
    /// What it is.
    #[must_use]
    pub fn kind(&self) -> OperationKind {
        self.kind
    }

    /// The path that it was called with; for an open file, the one it was opened by.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tag, if it is a mark of the workload.
    #[must_use]
    pub fn mark(&self) -> Option<u64> {
        match self.change {
            Change::Mark(tag) => Some(tag),
            _ => None,
        }
    }

    /// Where bytes were written, and how many.
    #[must_use]
    pub fn written(&self) -> Option<(u64, usize)> {
        match &self.change {
            Change::Data { change: DataChange::Write { offset, data }, .. } => {
                Some((*offset, data.len()))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.kind, self.path.display())?;
        match &self.change {
            Change::Data { change, .. } => match change {
                DataChange::Write { offset, data } => {
                    write!(f, " {} bytes at {offset}", data.len())
                }
                DataChange::Len { from, to } => write!(f, " {from} -> {to}"),
                DataChange::Punch { offset, len } => write!(f, " {len} bytes at {offset}"),
            },
            Change::Entry(EntryChange::Rename { to, .. }) => write!(f, " -> {}", to.name.display()),
            Change::Flip { offset, bit, .. } => write!(f, " bit {bit} of byte {offset}"),
            Change::Mark(tag) => write!(f, "{tag}"),
            _ => Ok(()),
        }
    }
}
