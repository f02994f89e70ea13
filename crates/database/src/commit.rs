//! The way of a transaction from its encoding to its place in the order.
//!
//! Invariants: encoding happens outside every lock; the sequencer's mutex is never held while
//! waiting; growth is refused before the journal is touched; an answer that shows what is pending
//! carries the ticket of it.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Wake, Waker};
use std::time::Duration;

use rekindle_journal::Ticket;

use crate::core::Handle;
use crate::encode::{Encoded, EntryBuffer};
use crate::error::Error;
use crate::growth::exhausted;
use crate::sequencer::{NotOrdered, Ordered};
use crate::transaction::{Pending, Transaction};
use crate::wakers::Wait;

/// A version, and what must resolve before it may be answered (`None`: nothing).
type Answer = (u64, Option<Ticket>);

/// Whether what a commit waits for is there (true), or will not come (false).
type Look = fn(&Handle) -> Poll<bool>;

/// Wakes a thread that blocks.
struct Unpark(std::thread::Thread);

impl Unpark {
    fn current() -> Arc<Self> {
        Arc::new(Self(std::thread::current()))
    }
}

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

impl Handle {
    /// Orders and appends a transaction; blocks only for room in the journal. Ends its reading.
    pub(crate) fn submit(self: Arc<Self>, transaction: &mut Transaction) -> Result<Pending, Error> {
        let outcome = self.submit_blocking(transaction);
        if let Some(view) = transaction.view.take() {
            self.end_reading(view);
        }
        let (version, ticket) = outcome?;
        Ok(Pending::new(self, version, ticket))
    }

    fn submit_blocking(&self, transaction: &mut Transaction) -> Result<Answer, Error> {
        let Some(mut encoded) = self.prepare(transaction)? else {
            return self.settle(transaction);
        };
        let mut until_ns = None;
        loop {
            if self.is_exhausted()
                && !self.waits(self.room_until_ns(&mut until_ns), Self::look_at_space)
            {
                return Err(exhausted());
            }
            if self.is_behind()
                && !self.waits(self.room_until_ns(&mut until_ns), Self::look_at_engine)
            {
                return Err(self.no_room());
            }
            match self.try_order(transaction, &mut encoded) {
                Ok(ordered) => return Ok((ordered.version, Some(ordered.ticket))),
                Err(NotOrdered::Refused(error)) => return Err(error),
                Err(NotOrdered::NoRoom) => {
                    let left = self.time_left(self.room_until_ns(&mut until_ns));
                    let len = encoded.entry().len();
                    if left.is_zero() || !self.journal.wait_room(len, left) {
                        return Err(self.no_room());
                    }
                }
            }
        }
    }

    /// The same, awaiting room.
    pub(crate) async fn submit_async(
        self: Arc<Self>,
        transaction: &mut Transaction,
    ) -> Result<Pending, Error> {
        let Some(mut encoded) = self.prepare(transaction)? else {
            let (version, ticket) = self.settle(transaction)?;
            return Ok(Pending::new(self, version, ticket));
        };
        let mut until_ns = None;
        loop {
            if self.is_exhausted()
                && !self.awaits(self.room_until_ns(&mut until_ns), Self::look_at_space).await
            {
                return Err(exhausted());
            }
            if self.is_behind()
                && !self.awaits(self.room_until_ns(&mut until_ns), Self::look_at_engine).await
            {
                return Err(self.no_room());
            }
            match self.try_order(transaction, &mut encoded) {
                Ok(ordered) => {
                    return Ok(Pending::new(self, ordered.version, Some(ordered.ticket)));
                }
                Err(NotOrdered::Refused(error)) => return Err(error),
                Err(NotOrdered::NoRoom) => {
                    let until_ns = self.room_until_ns(&mut until_ns);
                    let len = encoded.entry().len();
                    let over = self.time_left(until_ns).is_zero();
                    if over || !self.await_room(len, until_ns).await {
                        return Err(self.no_room());
                    }
                }
            }
        }
    }

    /// Awaits room for so many bytes; false when the time is over.
    async fn await_room(&self, len: usize, until_ns: u64) -> bool {
        let wait = Wait::new(&self.room, until_ns);
        // The journal knows one waker for all who await room: it keeps nothing of who gave up.
        let room = Waker::from(Arc::clone(&self.room));
        poll_fn(|context| {
            // Before it asks, so that room that comes meanwhile wakes it.
            wait.leave(context.waker());
            match self.journal.poll_room(len, &room) {
                Poll::Ready(()) => Poll::Ready(true),
                Poll::Pending if self.time_left(until_ns).is_zero() => Poll::Ready(false),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// Awaits what `look` says is there, or will not come; false then, and when the time is over.
    async fn awaits(&self, until_ns: u64, look: Look) -> bool {
        let wait = Wait::new(&self.room, until_ns);
        poll_fn(|context| self.poll(&wait, until_ns, look, context.waker())).await
    }

    /// The same on a thread that may block.
    fn waits(&self, until_ns: u64, look: Look) -> bool {
        let (wait, waker) = (Wait::new(&self.room, until_ns), Waker::from(Unpark::current()));
        loop {
            match self.poll(&wait, until_ns, look, &waker) {
                Poll::Ready(there) => return there,
                Poll::Pending => std::thread::park_timeout(self.time_left(until_ns)),
            }
        }
    }

    fn poll(&self, wait: &Wait, until_ns: u64, look: Look, waker: &Waker) -> Poll<bool> {
        // Before it looks, so that what comes meanwhile wakes it.
        wait.leave(waker);
        match look(self) {
            Poll::Pending if self.time_left(until_ns).is_zero() => Poll::Ready(false),
            looked => looked,
        }
    }

    /// Whether the engine has written out enough of what is in memory. A poisoned one never will:
    /// the journal says so.
    fn look_at_engine(&self) -> Poll<bool> {
        match self.is_behind() && self.poisoned().is_none() {
            false => Poll::Ready(true),
            true => Poll::Pending,
        }
    }

    /// Whether there is space on disk, or none comes.
    fn look_at_space(&self) -> Poll<bool> {
        if !self.is_exhausted() {
            return Poll::Ready(true);
        }
        if !self.space_comes() {
            // It may have come already, and was not looked at since.
            let looked = self.look_at_disk();
            return Poll::Ready(looked.is_ok() && !self.is_exhausted());
        }
        Poll::Pending
    }

    /// Encodes what it wrote; `None` for a transaction that wrote nothing.
    fn prepare(&self, transaction: &mut Transaction) -> Result<Option<Encoded>, Error> {
        if let Some(reason) = transaction.invalid.take() {
            return Err(Error::Invalid(reason));
        }
        let writes = std::mem::take(&mut transaction.writes);
        if writes.is_empty() {
            return Ok(None);
        }
        let encoded = EntryBuffer::finish(writes, transaction.id);
        if let Err(full) = self.check_growth(&encoded, transaction.frees_work) {
            self.state.sequencer().refused_full += 1;
            return Err(full);
        }
        Ok(Some(encoded))
    }

    /// One attempt under the sequencer's mutex; ends the transaction's reading when it is ordered.
    fn try_order(
        &self,
        transaction: &mut Transaction,
        encoded: &mut Encoded,
    ) -> Result<Ordered, NotOrdered> {
        let mut sequencer = self.state.sequencer();
        let reads = &transaction.reads;
        let ordered = sequencer.order(&*self.journal, transaction.view, reads, encoded)?;
        self.state.note_pending(sequencer.overlay.bytes());
        if let Some(view) = transaction.view.take() {
            sequencer.end_reading(view, self.state.visible());
        }
        Ok(ordered)
    }

    /// When a commit gives up waiting for room (boot time); the first call starts the time.
    fn room_until_ns(&self, until_ns: &mut Option<u64>) -> u64 {
        *until_ns.get_or_insert_with(|| {
            let wait = u64::try_from(self.options.max_room_wait.as_nanos()).unwrap_or(u64::MAX);
            self.env.clock.boot_ns().saturating_add(wait)
        })
    }

    fn time_left(&self, until_ns: u64) -> Duration {
        Duration::from_nanos(until_ns.saturating_sub(self.env.clock.boot_ns()))
    }

    fn no_room(&self) -> Error {
        self.state.sequencer().refused_full += 1;
        let waited = self.options.max_room_wait;
        Error::Full(format!(
            "the journal had no room for {waited:?}: the disk is slower than the writers; try \
             again later"
        ))
    }

    /// Ends a transaction that wrote nothing: its answer waits for the newest version that it saw.
    pub(crate) fn settle(&self, transaction: &mut Transaction) -> Result<Answer, Error> {
        let visible = self.state.visible();
        let Some(view) = transaction.view.take() else {
            return Ok((visible, None));
        };
        // A row that the engine shows is resolved, but perhaps not yet visible.
        let applied = self.state.engine.mark().version;
        let seen = transaction.seen.max(applied).min(view.at);
        let mut sequencer = self.state.sequencer();
        sequencer.check_view(view)?;
        assert!(seen <= view.at, "a view shows nothing above its version");
        let ticket = (seen > visible).then(|| sequencer.overlay.ticket(seen)).flatten();
        assert!(
            ticket.is_some() || seen <= visible || seen <= sequencer.overlay.floor(),
            "what is pending is waited for"
        );
        sequencer.end_reading(view, self.state.visible());
        drop(sequencer);
        Ok((seen, ticket))
    }
}
