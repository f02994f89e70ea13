//! The traits [`Journal`] and [`Apply`]: what a log of records promises, local or by quorum.
//!
//! Appends never block: where there is no room they answer [`AppendError::Full`], and the wait is
//! the sequencer's ([`Journal::wait_room`]). A ticket resolves once.

use std::task::{Poll, Waker};
use std::time::Duration;

/// What an acknowledgement promises; a mode of the whole store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Durability {
    /// Acknowledged when synced. The default.
    #[default]
    Strict,
    /// Acknowledged when written; synced every `interval`.
    Batched,
    /// Acknowledged from memory; written and synced within `interval`.
    Relaxed,
}

/// The kinds of portable records; persisted, so the numbers are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RecordKind {
    /// Nothing; a new leader's first record.
    Noop = 1,
    /// The transactions of one sync group.
    Txns = 2,
    /// A streamed transaction begins.
    Begin = 3,
    /// A part of a streamed transaction.
    Part = 4,
    /// A streamed transaction is committed.
    Commit = 5,
    /// A streamed transaction is given up.
    Abort = 6,
    /// The members of the cluster.
    Membership = 7,
    /// State hashes are compared here.
    Barrier = 8,
    /// An operator accepted a loss.
    Loss = 9,
    /// The feature level rises.
    Feature = 10,
}

impl RecordKind {
    /// The kind with this number.
    #[must_use]
    pub fn from_u8(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Noop,
            2 => Self::Txns,
            3 => Self::Begin,
            4 => Self::Part,
            5 => Self::Commit,
            6 => Self::Abort,
            7 => Self::Membership,
            8 => Self::Barrier,
            9 => Self::Loss,
            10 => Self::Feature,
            _ => return None,
        })
    }
}

/// What is appended.
///
/// An entry of kind `Txns` joins the open `Txns` record of the filling batch, whose payload is
/// `base 8, log_time_ms 8, count 4, pad 4` and then the `bytes` of its entries, one behind the
/// other; the journal fills the prefix (`base` of the first entry, `log_time_ms` of the last).
/// Every other kind becomes a record of its own whose payload is `bytes`.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The kind of record it belongs to.
    pub kind: RecordKind,
    /// For `Txns`: the version of this transaction, one more than the one before. Otherwise 0.
    pub version: u64,
    /// For `Txns`: log time, never less than the one before. Otherwise 0.
    pub log_time_ms: u64,
    /// The encoded transaction, or the record's payload.
    pub bytes: &'a [u8],
}

/// A record as it is applied and replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its logical number, dense from 1.
    pub position: u64,
    /// The Raft term; 0 in a local journal.
    pub term: u64,
    /// Its kind.
    pub kind: RecordKind,
    /// Its payload, checksum verified.
    pub payload: &'a [u8],
}

/// A claim on the resolution of one batch. Tickets of one journal are ordered by their batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    /// The number of the batch in this run, from 1.
    pub batch: u64,
}

/// How a ticket resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Accepted in memory only (`Relaxed`).
    Memory,
    /// Written to the file, not yet synced (`Batched`).
    Written,
    /// Synced here.
    Durable,
    /// Synced by a quorum.
    Committed,
    /// It cannot be told: the journal failed, or leadership was lost.
    Unknown,
}

/// Why an entry was not taken; nothing was appended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The filling batch, or the bytes in flight, are at their limit: wait for room.
    #[error("the journal has no room for this entry now")]
    Full,
    /// The entry is larger than a frame can be.
    #[error("an entry of {len} bytes is larger than the limit of {limit}")]
    TooLarge {
        /// Its length.
        len: u64,
        /// What fits.
        limit: u64,
    },
    /// An earlier write or sync failed; only a restart helps.
    #[error("the journal is poisoned: {0}")]
    Poisoned(String),
    /// Another node leads.
    #[error("this node does not lead")]
    NotLeading,
}

/// How far the journal is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durable {
    /// The address behind the last synced frame.
    pub lsn: u64,
    /// The last synced position.
    pub position: u64,
}

/// What a journal tells besides records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// This node leads from now on.
    Leading {
        /// In this term.
        term: u64,
    },
    /// Leadership is lost, or (locally) the journal is poisoned: pending work is unknown.
    Lost {
        /// The term that ended.
        term: u64,
    },
    /// All records up to here were applied.
    Applied {
        /// The last of them.
        position: u64,
    },
}

/// The state behind the journal.
pub trait Apply: Send + Sync {
    /// One record, in position order, each exactly once per run, never concurrently. An error
    /// poisons the journal: state that cannot follow its log must not go on.
    fn apply(&self, record: &Record<'_>) -> Result<(), String>;

    /// An event, ordered with the records.
    fn event(&self, event: Event);
}

/// An ordered log of records with group commit.
pub trait Journal: Send + Sync {
    /// Adds an entry to the filling batch. Never blocks on I/O.
    fn append(&self, entry: Entry<'_>) -> Result<Ticket, AppendError>;

    /// Blocks until the ticket resolves; leads a sync group where nobody does.
    fn wait(&self, ticket: Ticket) -> Outcome;

    /// The resolution without blocking; otherwise `waker` is woken once it resolves. Never leads:
    /// the journal's own thread does.
    fn poll(&self, ticket: Ticket, waker: &Waker) -> Poll<Outcome>;

    /// Blocks until an append of `len` bytes may succeed, leading where nobody does; false when
    /// `timeout` passed first.
    fn wait_room(&self, len: usize, timeout: Duration) -> bool;

    /// The same without blocking.
    fn poll_room(&self, len: usize, waker: &Waker) -> Poll<()>;

    /// Writes, syncs and applies everything appended so far, whatever the mode.
    fn sync(&self) -> Result<Durable, AppendError>;

    /// Asks the journal's own thread to write what was appended, whoever waits for it; returns at
    /// once. Where there is no thread it is written here.
    fn nudge(&self);

    /// How far it is synced.
    fn durable(&self) -> Durable;

    /// Why it is poisoned, if it is.
    fn poisoned(&self) -> Option<String>;

    /// Records that the checkpoints with these ids are durable (newest first, 0 for none) and gives
    /// back segments that hold only positions below `keep_from`.
    fn checkpointed(&self, ids: [u64; 2], keep_from: u64) -> Result<(), AppendError>;

    /// Syncs, marks a clean end and stops; later appends answer `Poisoned`.
    fn close(&self) -> Result<(), AppendError>;
}
