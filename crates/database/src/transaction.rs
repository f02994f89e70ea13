//! A read-write transaction: optimistic, serializable, committed in one step.
//!
//! Its reads see `latest` (everything ordered, also what is not yet durable) at the version of the
//! first read, and its own writes. At the commit they are validated; a transaction that only writes
//! registers nothing and is never refused for a conflict. Invariant: an answer that shows `latest`
//! is given only once what it shows is durable, so `commit` of a read-only transaction waits for
//! it.

use std::future::Future;
use std::ops::Bound;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rekindle_engine::{KeyspaceId, Row};
use rekindle_journal::{Outcome, Ticket};

use crate::conflicts::ReadSet;
use crate::core::Handle;
use crate::encode::EntryBuffer;
use crate::error::Error;
use crate::options::{KEY_BYTES_MAX, TRANSACTION_BYTES_MAX};
use crate::own::OwnWrites;
use crate::sequencer::ReadView;

/// Most bytes of read keys that a transaction may have to validate.
const READ_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Why a transaction always has its database.
const HELD: &str = "it is taken out only by the call that consumes the transaction";

/// A value and the version that wrote it (0: this transaction's own write).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// The transaction that wrote it.
    pub version: u64,
    /// The bytes.
    pub bytes: Arc<[u8]>,
}

/// An acknowledged transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Its version; for one that wrote nothing, a version at which its reads are true.
    pub version: u64,
    /// What the acknowledgement promises.
    pub outcome: Outcome,
}

/// A read-write transaction. Dropping it gives it up.
#[derive(Debug)]
pub struct Transaction {
    /// `None` once it was submitted.
    core: Option<Arc<Handle>>,
    pub(crate) id: u64,
    pub(crate) view: Option<ReadView>,
    pub(crate) reads: ReadSet,
    pub(crate) writes: EntryBuffer,
    pub(crate) own: OwnWrites,
    /// The newest version that a read showed and that was pending then.
    pub(crate) seen: u64,
    /// Why it cannot commit: the first call that asked for something impossible.
    pub(crate) invalid: Option<String>,
    /// Whether it may write the registry of keyspaces.
    pub(crate) privileged: bool,
    /// Whether it may use the reserve of a full store.
    pub(crate) frees_work: bool,
}

impl Transaction {
    pub(crate) fn new(core: &Arc<Handle>) -> Self {
        Self {
            id: core.next_transaction_id(),
            core: Some(Arc::clone(core)),
            view: None,
            reads: ReadSet::default(),
            writes: EntryBuffer::default(),
            own: OwnWrites::default(),
            seen: 0,
            invalid: None,
            privileged: false,
            frees_work: false,
        }
    }

    /// Its id: the run (24 bits) and a counter (40 bits). Never reused, whatever becomes of it.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Says that it frees or moves work: takes it up, ends it, cleans up behind it. Where the state
    /// is at its limit or the disk nearly full, it may still grow the state, from a reserve of an
    /// eighth of the limit (three sixteenths when it also deletes something); beyond that it is
    /// refused as `Full` like any other. Not for what brings new work.
    pub fn use_reserve(&mut self) {
        self.frees_work = true;
    }

    /// The newest value of a key, this transaction's own writes included.
    ///
    /// # Errors
    /// `Compacted` when the transaction became too old, `Invalid` when it read too much.
    pub fn get(&mut self, keyspace: KeyspaceId, key: &[u8]) -> Result<Option<Value>, Error> {
        self.own.index(&self.writes);
        if let Some(written) = self.own.get(&self.writes, keyspace, key) {
            return Ok(written.map(|bytes| Value { version: 0, bytes: bytes.into() }));
        }
        let view = self.view();
        self.check_read_size()?;
        self.reads.point(keyspace, key);
        let (value, seen) = self.core().read_latest(view, keyspace, key)?;
        self.seen = self.seen.max(seen);
        Ok(value)
    }

    /// Up to `limit` rows of a range, ascending, or descending with `reverse`; own writes included.
    /// What was scanned (up to the last row where `limit` cut it) is validated at the commit.
    ///
    /// # Errors
    /// `Compacted` when the transaction became too old, `Invalid` when it read too much.
    pub fn scan(
        &mut self,
        keyspace: KeyspaceId,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<Row>, Error> {
        self.own.index(&self.writes);
        let view = self.view();
        self.check_read_size()?;
        if limit == 0 {
            return Ok(Vec::new());
        }
        let own = (&self.own, &self.writes);
        let (rows, seen) = self.core().scan_latest(view, own, keyspace, range, limit, reverse)?;
        self.seen = self.seen.max(seen);
        let cut = if rows.len() == limit { rows.last() } else { None };
        let read = match (cut, reverse) {
            (None, _) => range,
            (Some(last), false) => (range.0, Bound::Included(&*last.key)),
            (Some(last), true) => (Bound::Included(&*last.key), range.1),
        };
        self.reads.range(keyspace, read);
        Ok(rows)
    }

    /// Sets a key. A key or value that is too long makes the commit answer `Invalid`.
    pub fn put(&mut self, keyspace: KeyspaceId, key: &[u8], value: &[u8]) {
        if self.may_write(keyspace, key, value.len()) {
            self.writes.put(keyspace, key, value);
        }
    }

    /// Removes a key; removing what is not there is no error.
    pub fn delete(&mut self, keyspace: KeyspaceId, key: &[u8]) {
        if self.may_write(keyspace, key, 0) {
            self.writes.delete(keyspace, key);
        }
    }

    /// Removes all keys from `start` up to, not including, `end`; an empty `end` has no bound.
    pub fn delete_range(&mut self, keyspace: KeyspaceId, start: &[u8], end: &[u8]) {
        if !end.is_empty() && start >= end {
            return;
        }
        if self.may_write(keyspace, start, 0) && self.may_write(keyspace, end, 0) {
            self.writes.delete_range(keyspace, start, end);
        }
    }

    /// Forgets everything that it would write. What it read is still validated, and what it showed
    /// is still waited for: the commit acknowledges a refusal.
    pub fn discard_writes(&mut self) {
        self.writes = EntryBuffer::default();
        self.own = OwnWrites::default();
    }

    /// Commits and blocks until it is acknowledged.
    ///
    /// # Errors
    /// `Conflict` when something that it read was changed: run it again. `Full`, `Invalid`,
    /// `Compacted`, `Poisoned`: nothing was written. `Unknown`: look after the next open.
    pub fn commit(self) -> Result<Commit, Error> {
        self.submit()?.wait()
    }

    /// Orders and appends it; blocks only for room in the journal, and not longer than
    /// [`Options::max_room_wait`](crate::Options::max_room_wait).
    ///
    /// # Errors
    /// As [`Transaction::commit`]; the outcome is that of the returned [`Pending`].
    pub fn submit(mut self) -> Result<Pending, Error> {
        let core = self.core.take().expect(HELD);
        core.submit(&mut self)
    }

    /// The same, awaiting room instead of blocking. Dropping the future gives the transaction up.
    ///
    /// # Errors
    /// As [`Transaction::submit`], [`Options::max_room_wait`](crate::Options::max_room_wait)
    /// included.
    pub async fn submit_async(mut self) -> Result<Pending, Error> {
        // It stays in here too: a future that is dropped must give the transaction up.
        let core = Arc::clone(self.core());
        core.submit_async(&mut self).await
    }

    /// Waits until everything that it showed is durable, and gives the transaction up.
    pub(crate) fn settle(mut self) -> Result<(), Error> {
        let core = Arc::clone(self.core());
        let (version, ticket) = core.settle(&mut self)?;
        Pending::new(core, version, ticket).wait().map(|_| ())
    }

    fn core(&self) -> &Arc<Handle> {
        self.core.as_ref().expect(HELD)
    }

    /// The view of its reads, registered at the first one.
    fn view(&mut self) -> ReadView {
        match self.view {
            Some(view) => view,
            None => {
                let view = self.core().begin_reading();
                self.view = Some(view);
                view
            }
        }
    }

    fn check_read_size(&self) -> Result<(), Error> {
        if self.reads.bytes() > READ_BYTES_MAX {
            return Err(Error::Invalid(format!(
                "the transaction read keys of more than {READ_BYTES_MAX} bytes; read a snapshot, \
                 or work in smaller steps"
            )));
        }
        Ok(())
    }

    /// Whether a write is possible; the first one that is not decides the commit.
    fn may_write(&mut self, keyspace: KeyspaceId, key: &[u8], value_len: usize) -> bool {
        if self.invalid.is_some() {
            return false;
        }
        let room = TRANSACTION_BYTES_MAX.saturating_sub(self.writes.len());
        self.invalid = if key.len() > KEY_BYTES_MAX {
            Some(format!("a key has {} bytes; at most {KEY_BYTES_MAX} are allowed", key.len()))
        } else if key.len().saturating_add(value_len) > room {
            Some(format!("the transaction is larger than {TRANSACTION_BYTES_MAX} bytes; split it"))
        } else {
            self.core().check_keyspace(keyspace, self.privileged).err()
        };
        self.invalid.is_none()
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if let (Some(core), Some(view)) = (&self.core, self.view.take()) {
            core.end_reading(view);
        }
    }
}

/// A transaction that is ordered and appended, and not yet acknowledged. Dropping it does not undo
/// it. Await it, or [`wait`](Pending::wait) for it.
#[derive(Debug)]
#[must_use = "an outcome that nobody looks at may be an error"]
pub struct Pending {
    core: Arc<Handle>,
    version: u64,
    /// `None`: everything that it needs was acknowledged before.
    ticket: Option<Ticket>,
}

impl Pending {
    pub(crate) fn new(core: Arc<Handle>, version: u64, ticket: Option<Ticket>) -> Self {
        Self { core, version, ticket }
    }

    /// Its version; for one that wrote nothing, a version at which its reads are true.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Blocks until it is acknowledged.
    ///
    /// # Errors
    /// `Unknown` when the journal failed before it could tell.
    pub fn wait(self) -> Result<Commit, Error> {
        match self.ticket {
            Some(ticket) => self.resolved(self.core.journal.wait(ticket)),
            None => self.resolved(self.core.promise()),
        }
    }

    fn resolved(&self, outcome: Outcome) -> Result<Commit, Error> {
        if outcome == Outcome::Unknown {
            return Err(Error::Unknown);
        }
        let visible = self.core.state.visible() >= self.version;
        assert!(visible || outcome == Outcome::Memory, "acknowledged implies visible");
        Ok(Commit { version: self.version, outcome })
    }
}

impl Future for Pending {
    type Output = Result<Commit, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.ticket {
            Some(ticket) => match self.core.journal.poll(ticket, context.waker()) {
                Poll::Ready(outcome) => Poll::Ready(self.resolved(outcome)),
                Poll::Pending => Poll::Pending,
            },
            None => Poll::Ready(self.resolved(self.core.promise())),
        }
    }
}
