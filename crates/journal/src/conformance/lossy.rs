//! A journal in memory that can lose its unresolved suffix and go on: leadership lost and won.
//!
//! Invariants: what resolved is never lost; what is lost answers *unknown* and its positions are
//! used again; the listener hears `Lost` before any later record.

use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::api::{AppendError, Apply, Durable, Entry, Event, Journal, Outcome, Ticket};
use crate::batch::Batch;
use crate::codec::record::decode_record;

/// Bytes that may wait.
const BATCH_BYTES: usize = 1 << 20;

struct State {
    filling: Batch,
    /// Batches that were lost.
    lost: Vec<u64>,
    /// Batches up to this one are decided.
    decided: u64,
    position: u64,
    term: u64,
    closed: bool,
    wakers: Vec<Waker>,
}

/// The journal.
pub struct LossyJournal {
    state: Mutex<State>,
    apply: Arc<dyn Apply>,
}

impl LossyJournal {
    /// A new journal whose listener is told that it leads in term 1.
    #[must_use]
    pub fn new(apply: Arc<dyn Apply>) -> Self {
        apply.event(Event::Leading { term: 1 });
        let filling = Batch::new(1, 1, Vec::new());
        let state = State {
            filling,
            lost: Vec::new(),
            decided: 0,
            position: 0,
            term: 1,
            closed: false,
            wakers: Vec::new(),
        };
        Self { state: Mutex::new(state), apply }
    }

    /// Loses leadership with everything unresolved, and wins it again in the next term.
    pub fn lose(&self) {
        let mut state = self.lock();
        let term = state.term;
        let number = state.filling.number;
        if !state.filling.is_empty() {
            state.lost.push(number);
            state.decided = number;
            state.filling = Batch::new(number + 1, state.position + 1, Vec::new());
        }
        state.term += 1;
        let wakers = std::mem::take(&mut state.wakers);
        self.apply.event(Event::Lost { term });
        self.apply.event(Event::Leading { term: term + 1 });
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("a listener does not panic")
    }

    /// Resolves the filling batch.
    fn resolve(&self, state: &mut State) {
        if state.filling.is_empty() {
            return;
        }
        let next = Batch::new(state.filling.number + 1, state.filling.next_position(), Vec::new());
        let mut batch = std::mem::replace(&mut state.filling, next);
        batch.seal();
        let mut rest = batch.body();
        while let Ok((record, taken)) = decode_record(rest) {
            state.position = record.position;
            self.apply.apply(&record).expect("the listener follows");
            rest = rest.get(taken..).unwrap_or_default();
        }
        self.apply.event(Event::Applied { position: state.position });
        state.decided = batch.number;
        state.wakers.drain(..).for_each(Waker::wake);
    }

    fn outcome(state: &State, ticket: Ticket) -> Option<Outcome> {
        if state.lost.contains(&ticket.batch) {
            return Some(Outcome::Unknown);
        }
        (ticket.batch <= state.decided).then_some(Outcome::Committed)
    }
}

impl Journal for LossyJournal {
    fn append(&self, entry: Entry<'_>) -> Result<Ticket, AppendError> {
        let (len, limit) = (entry.bytes.len(), Batch::entry_len_max());
        let mut state = self.lock();
        if state.closed {
            return Err(AppendError::Poisoned("the journal is closed".to_owned()));
        }
        if len > limit {
            return Err(AppendError::TooLarge { len: len as u64, limit: limit as u64 });
        }
        if !state.filling.has_room(len, BATCH_BYTES) {
            return Err(AppendError::Full);
        }
        state.filling.push(entry);
        Ok(Ticket { batch: state.filling.number })
    }

    fn wait(&self, ticket: Ticket) -> Outcome {
        let mut state = self.lock();
        if let Some(outcome) = Self::outcome(&state, ticket) {
            return outcome;
        }
        self.resolve(&mut state);
        Self::outcome(&state, ticket).unwrap_or(Outcome::Unknown)
    }

    fn poll(&self, ticket: Ticket, waker: &Waker) -> Poll<Outcome> {
        let mut state = self.lock();
        if let Some(outcome) = Self::outcome(&state, ticket) {
            return Poll::Ready(outcome);
        }
        state.wakers.push(waker.clone());
        Poll::Pending
    }

    fn wait_room(&self, len: usize, _: Duration) -> bool {
        let mut state = self.lock();
        if !state.filling.has_room(len, BATCH_BYTES) {
            self.resolve(&mut state);
        }
        true
    }

    fn poll_room(&self, len: usize, waker: &Waker) -> Poll<()> {
        let mut state = self.lock();
        if state.filling.has_room(len, BATCH_BYTES) {
            return Poll::Ready(());
        }
        state.wakers.push(waker.clone());
        Poll::Pending
    }

    fn sync(&self) -> Result<Durable, AppendError> {
        self.resolve(&mut self.lock());
        Ok(self.durable())
    }

    fn nudge(&self) {
        self.resolve(&mut self.lock());
    }

    fn durable(&self) -> Durable {
        let position = self.lock().position;
        Durable { lsn: position, position }
    }

    fn poisoned(&self) -> Option<String> {
        None
    }

    fn checkpointed(&self, _: [u64; 2], _: u64) -> Result<(), AppendError> {
        Ok(())
    }

    fn close(&self) -> Result<(), AppendError> {
        let mut state = self.lock();
        self.resolve(&mut state);
        state.closed = true;
        Ok(())
    }
}
