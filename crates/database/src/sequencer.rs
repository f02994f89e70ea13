//! The sequencer: the one mutex that orders transactions.
//!
//! Invariants: under it a transaction is validated, gets its version and log time, is appended to
//! the journal and enters the overlay, or none of that. A refused transaction took no version. Lock
//! order: the journal's apply lock, this mutex, the journal's own mutex.

use rekindle_journal::{AppendError, Entry, Journal, RecordKind, Ticket};

use crate::conflicts::ReadSet;
use crate::encode::Encoded;
use crate::error::Error;
use crate::logclock::LogClock;
use crate::overlay::Overlay;
use crate::readers::Readers;

/// Why no transaction is ordered any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Halt {
    /// The journal is poisoned.
    Poisoned(String),
    /// Another node leads.
    NotLeading,
    /// The handle was closed.
    Closed,
}

impl Halt {
    /// What a commit answers.
    pub(crate) fn error(&self) -> Error {
        match self {
            Self::Poisoned(reason) => Error::Poisoned(reason.clone()),
            Self::NotLeading => Error::NotLeading,
            Self::Closed => Error::Poisoned("it was closed".to_owned()),
        }
    }
}

/// Where a transaction reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReadView {
    /// The version that it sees: `latest` at its first read.
    pub(crate) at: u64,
    /// The leadership under which that was the latest one.
    pub(crate) generation: u64,
}

/// A transaction that has its place in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ordered {
    /// Its version.
    pub(crate) version: u64,
    /// Resolves with its batch.
    pub(crate) ticket: Ticket,
}

/// Why a transaction was not ordered.
#[derive(Debug)]
pub(crate) enum NotOrdered {
    /// The journal has no room now: wait without the mutex, then try again.
    NoRoom,
    /// It is refused.
    Refused(Error),
}

impl From<Error> for NotOrdered {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

/// What the one mutex guards.
#[derive(Debug)]
pub(crate) struct Sequencer {
    /// Writes above what the engine shows and what readers see.
    pub(crate) overlay: Overlay,
    /// Transactions that have read something.
    pub(crate) readers: Readers,
    /// Log time.
    pub(crate) clock: LogClock,
    /// Why nothing is ordered any more.
    pub(crate) halted: Option<Halt>,
    /// Counts losses of what was pending; a view of an older generation is no view of anything.
    generation: u64,
    /// Transactions that took a version.
    pub(crate) commits: u64,
    /// Transactions whose reads were no longer true.
    pub(crate) conflicts: u64,
    /// Commits refused because a limit was reached.
    pub(crate) refused_full: u64,
}

impl Sequencer {
    /// A sequencer behind `version`. The seed is that of hashes in memory.
    pub(crate) fn new(version: u64, seed: u64, clock: LogClock) -> Self {
        Self {
            overlay: Overlay::new(version, seed),
            readers: Readers::default(),
            clock,
            halted: None,
            generation: 0,
            commits: 0,
            conflicts: 0,
            refused_full: 0,
        }
    }

    /// A transaction reads for the first time.
    pub(crate) fn begin_reading(&mut self, now_ms: u64) -> ReadView {
        let at = self.overlay.latest();
        self.overlay.index();
        debug_assert!(at >= self.overlay.floor());
        self.readers.register(at, now_ms);
        ReadView { at, generation: self.generation }
    }

    /// A reading transaction ended. `visible` is what the engine shows.
    pub(crate) fn end_reading(&mut self, view: ReadView, visible: u64) {
        if view.generation != self.generation || view.at < self.readers.floor() {
            return;
        }
        self.readers.release(view.at);
        if self.readers.oldest().is_none_or(|oldest| oldest > view.at) {
            self.prune(visible);
        }
    }

    /// Whether a view may still be read.
    pub(crate) fn check_view(&self, view: ReadView) -> Result<(), Error> {
        if view.generation != self.generation {
            return Err(self.halted.as_ref().map_or(Error::Unknown, Halt::error));
        }
        let oldest = self.readers.floor();
        if view.at < oldest {
            return Err(Error::Compacted { asked: view.at, oldest });
        }
        Ok(())
    }

    /// Validates, orders and appends. On success what was encoded is taken.
    pub(crate) fn order(
        &mut self,
        journal: &dyn Journal,
        view: Option<ReadView>,
        reads: &ReadSet,
        encoded: &mut Encoded,
    ) -> Result<Ordered, NotOrdered> {
        if let Some(halt) = &self.halted {
            let reason = journal.poisoned().filter(|_| matches!(halt, Halt::Poisoned(_)));
            return Err(reason.map_or_else(|| halt.error(), Error::Poisoned).into());
        }
        if let Some(view) = view {
            self.check_view(view)?;
            if let Err(conflict) = reads.validate(&mut self.overlay, view.at) {
                self.conflicts += 1;
                return Err(conflict.into());
            }
        }
        let version = self.overlay.latest() + 1;
        let entry = Entry {
            kind: RecordKind::Txns,
            version,
            log_time_ms: self.clock.now_ms(),
            bytes: encoded.entry(),
        };
        assert!(version > self.overlay.floor(), "a version above everything visible");
        let ticket = match journal.append(entry) {
            Ok(ticket) => ticket,
            Err(AppendError::Full) => return Err(NotOrdered::NoRoom),
            Err(error) => return Err(Error::from(error).into()),
        };
        self.overlay.push(version, ticket, std::mem::take(encoded));
        assert_eq!(self.overlay.latest(), version, "ordered is latest");
        self.commits += 1;
        Ok(Ordered { version, ticket })
    }

    /// The engine shows `visible` now: forgets what nobody needs.
    pub(crate) fn prune(&mut self, visible: u64) {
        let needed = self.readers.oldest().unwrap_or(u64::MAX);
        self.overlay.prune(needed.min(visible));
        debug_assert!(self.overlay.floor() <= visible, "what is pending stays");
        debug_assert!(self.overlay.floor() <= needed, "what a reader needs stays");
    }

    /// What was pending above `visible` is unknown: drops it.
    pub(crate) fn lose(&mut self, visible: u64, halt: Halt) {
        if !cfg!(planted = "overlay-kept-after-poison") {
            self.overlay.drop_pending(visible);
            assert_eq!(self.overlay.latest(), visible, "only what is visible is left");
        }
        self.readers.reset(visible);
        self.generation += 1;
        if self.halted.is_none() {
            self.halted = Some(halt);
        }
    }

    /// This node leads (again), and the engine shows `visible`.
    pub(crate) fn lead(&mut self, visible: u64) {
        if self.halted == Some(Halt::NotLeading) {
            // Not only what was ordered here: a follower applied what others ordered.
            self.overlay.restart(visible);
            self.halted = None;
        }
    }
}
