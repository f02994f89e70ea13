//! What a client asks for, and what it is answered: plain values, so that a request can be asked
//! again after a crash.
//!
//! Invariant: an answer holds everything that the client learned, and nothing else.

use rekindle_services::Identity;
use rekindle_services::kv::Expect;
use rekindle_services::queues::{MessageId, QueueSettings, Settled, Token};

use crate::jobs::evidence::Lead;
use crate::jobs::{Fired, JobAnswer, JobRequest, Now};

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Sets a key.
    Put(Vec<u8>, Vec<u8>),
    /// Removes a key.
    Delete(Vec<u8>),
    /// Removes the keys from the first up to, not including, the second.
    DeleteRange(Vec<u8>, Vec<u8>),
}

/// A message on its way in. Its body begins with its serial number, so that it is known again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Which message of the run.
    pub serial: u64,
    /// Its fairness key.
    pub key: String,
    /// How long it stays away.
    pub delay_ms: u64,
}

impl Outgoing {
    /// The bytes that are sent.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        let mut body = self.serial.to_be_bytes().to_vec();
        let len = usize::try_from(self.serial * 7 % 60).unwrap_or(0);
        body.resize(body.len() + len, b'.');
        body
    }

    /// The serial number in the bytes of a message.
    #[must_use]
    pub fn serial_of(body: &[u8]) -> Option<u64> {
        body.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))
    }
}

/// How leases are ended or moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Done.
    Ack,
    /// Given back.
    Nack {
        /// For how long it stays away.
        delay_ms: u64,
        /// Not charged.
        release: bool,
    },
    /// Held on to.
    Extend {
        /// From now on.
        by_ms: u64,
    },
}

/// One thing that a client, or whoever runs the store, asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A transaction.
    Commit(Vec<Change>),
    /// Transactions that are all on their way before the first is awaited.
    Pipeline(Vec<Vec<Change>>),
    /// Two transactions that read one key and both write it: one must lose.
    Conflict {
        /// The key.
        key: Vec<u8>,
        /// What the first to commit writes.
        winner: Vec<Change>,
        /// What the other would have written.
        loser: Vec<Change>,
    },
    /// A transaction that only reads.
    Look(Vec<u8>),
    /// A change of the kv service.
    Kv {
        /// What must be.
        checks: Vec<(Vec<u8>, Expect)>,
        /// What is done then.
        changes: Vec<Change>,
        /// Whose request it is.
        identity: Option<Identity>,
    },
    /// A new queue.
    Create(String, QueueSettings, Option<Identity>),
    /// A queue goes.
    Delete(String, Option<Identity>),
    /// All messages of a queue go.
    Purge(String, Option<Identity>),
    /// One message, or several at once.
    Send(String, Vec<Outgoing>, Option<Identity>),
    /// Leases on ready messages.
    Receive {
        /// Of which queue.
        queue: String,
        /// At most so many.
        max: usize,
        /// For how long.
        visibility_ms: Option<u64>,
    },
    /// Leases end, or are moved.
    Settle(Vec<Token>, How, Option<Identity>),
    /// Something about jobs, or over everything.
    Job(JobRequest),
    /// What is due is done.
    Tick,
    /// The journal rests long enough to say so.
    Idle,
    /// A checkpoint, with a transaction in the middle of it.
    Checkpoint(Vec<Change>),
    /// A backup, with a transaction in the middle of it.
    Backup(Vec<Change>),
    /// Everything is synced.
    Flush,
    /// The store is closed, or (false) dropped as if its process had died.
    Stop(bool),
    /// It is opened again.
    Start,
}

impl Request {
    /// Whose request it is, if it says so.
    #[must_use]
    pub fn identity(&self) -> Option<Identity> {
        match self {
            Self::Kv { identity, .. }
            | Self::Create(.., identity)
            | Self::Delete(_, identity)
            | Self::Purge(_, identity)
            | Self::Send(.., identity)
            | Self::Settle(.., identity) => *identity,
            Self::Job(request) => request.identity(),
            _ => None,
        }
    }
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The kind, by its stable name.
    pub kind: String,
    /// In words.
    pub message: String,
}

impl Refusal {
    /// Whether the store is of no use any more, or the outcome cannot be told.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        ["Unknown", "Unavailable", "Poisoned", "Corrupt", "Stopped"].contains(&&*self.kind)
    }

    /// A start that failed.
    #[must_use]
    pub fn stopped(message: String) -> Self {
        Self { kind: "Stopped".to_owned(), message }
    }
}

impl From<rekindle_database::Error> for Refusal {
    fn from(error: rekindle_database::Error) -> Self {
        Self { kind: format!("{:?}", error.kind()), message: error.to_string() }
    }
}

impl From<rekindle_services::Error> for Refusal {
    fn from(error: rekindle_services::Error) -> Self {
        Self { kind: format!("{:?}", error.kind()), message: error.message().to_owned() }
    }
}

/// A message under a lease, as its owner knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Which message.
    pub serial: u64,
    /// Its id.
    pub id: MessageId,
    /// The claim.
    pub token: Token,
    /// Which attempt.
    pub attempt: u32,
    /// Until when.
    pub deadline_ms: u64,
    /// Its fairness key.
    pub key: String,
}

/// A backup, as whoever took it knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its number.
    pub number: u64,
    /// The last version in it.
    pub version: u64,
    /// The last position in it.
    pub position: u64,
    /// Whether it goes on from the one before without a gap.
    pub continuous: bool,
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is done, at this version (0: nothing was written).
    Done(u64),
    /// Each of several transactions.
    Each(Vec<Result<u64, Refusal>>),
    /// Sent messages.
    Sent(Vec<Result<(u64, MessageId), Refusal>>),
    /// Received messages.
    Received(u64, Vec<Held>),
    /// Settled leases.
    Settled(u64, Vec<Result<Settled, Refusal>>),
    /// What was due was done: up to this version, at this moment; the jobs that schedules made.
    Passed(u64, Now, Vec<Fired>),
    /// The store was started: it is at this version, at this moment, and this is what it did.
    Led(u64, Now, Lead),
    /// A checkpoint: the transaction in its middle, and whether the checkpoint failed.
    Checkpointed(Option<u64>, Option<Refusal>),
    /// A backup: the transaction in its middle, and what it is.
    BackedUp(Option<u64>, Result<Taken, Refusal>),
    /// About jobs.
    Job(JobAnswer),
    /// Nothing was done.
    Refused(Refusal),
}

impl Answer {
    /// The refusal that ends a run, if there is one in it.
    #[must_use]
    pub fn fatal(&self) -> Option<&Refusal> {
        let refusals: Vec<&Refusal> = match self {
            Self::Each(each) => each.iter().filter_map(|one| one.as_ref().err()).collect(),
            Self::Sent(each) => each.iter().filter_map(|one| one.as_ref().err()).collect(),
            Self::Settled(_, each) => each.iter().filter_map(|one| one.as_ref().err()).collect(),
            Self::Job(answer) => answer.refusals(),
            Self::Checkpointed(_, Some(refusal))
            | Self::BackedUp(_, Err(refusal))
            | Self::Refused(refusal) => vec![refusal],
            _ => vec![],
        };
        refusals.into_iter().find(|refusal| refusal.is_fatal())
    }
}
