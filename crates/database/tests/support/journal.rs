//! A journal in memory: strict group commit without a disk, whose batches resolve when the test
//! says so, which may refuse for lack of room, fail, or lose its unresolved suffix with its
//! leadership.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::task::{Poll, Waker};
use std::time::Duration;

use rekindle_database::{Database, Options, Parts};
use rekindle_engine::MemoryEngine;
use rekindle_env::{Env, ManualClock, SeededRandom, SimulatedDisk};
use rekindle_journal::{
    AppendError, Apply, Durable, Entry, Event, Journal, Outcome, Record, RecordKind, Ticket,
};

#[derive(Clone, Debug)]
struct Owned {
    kind: RecordKind,
    version: u64,
    log_time_ms: u64,
    bytes: Vec<u8>,
}

#[derive(Default)]
struct Inner {
    filling: Vec<Owned>,
    filling_bytes: usize,
    batch: u64,
    resolved: u64,
    position: u64,
    failed: Option<String>,
    /// Batches that answer unknown although the journal works (leadership was lost meanwhile).
    lost_to: u64,
    leading: bool,
    /// Nothing resolves by itself.
    held: bool,
    room: usize,
    term: u64,
    wakers: Vec<Waker>,
}

/// The journal.
pub struct MemoryJournal {
    inner: Mutex<Inner>,
    changed: Condvar,
    apply: Mutex<Arc<dyn Apply>>,
}

impl MemoryJournal {
    pub fn new(apply: Arc<dyn Apply>) -> Self {
        apply.event(Event::Leading { term: 0 });
        let inner = Inner { batch: 1, room: 1 << 20, ..Inner::default() };
        Self { inner: Mutex::new(inner), changed: Condvar::new(), apply: Mutex::new(apply) }
    }

    /// From now on nothing resolves but by [`MemoryJournal::step`].
    pub fn hold(&self) {
        self.lock().held = true;
    }

    /// A batch takes no more than this.
    pub fn set_room(&self, bytes: usize) {
        self.lock().room = bytes;
    }

    /// Resolves the filling batch.
    pub fn step(&self) {
        self.lead();
    }

    /// Fails for good: what is unresolved is unknown.
    pub fn fail(&self) {
        self.lock().failed = Some("the test said so".to_owned());
        self.apply.lock().unwrap().event(Event::Lost { term: 0 });
        self.wake();
    }

    /// Loses leadership and with it the unresolved suffix; leads again in the next term.
    pub fn lose_and_lead_again(&self) {
        let term = self.lose();
        self.apply.lock().unwrap().event(Event::Leading { term: term + 1 });
    }

    /// Loses leadership and with it the unresolved suffix; the term that ended.
    pub fn lose(&self) -> u64 {
        let term = {
            let mut inner = self.lock();
            inner.filling.clear();
            inner.filling_bytes = 0;
            inner.lost_to = inner.batch;
            inner.resolved = inner.batch;
            inner.batch += 1;
            inner.term += 1;
            inner.term
        };
        self.apply.lock().unwrap().event(Event::Lost { term });
        self.wake();
        term
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    fn wake(&self) {
        let wakers = std::mem::take(&mut self.lock().wakers);
        self.changed.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Applies the filling batch as its records, then resolves it. As in the real one, applying
    /// happens outside the state's mutex.
    fn lead(&self) {
        let (entries, batch, first) = {
            let mut inner = self.lock();
            assert!(!inner.leading, "one leader at a time");
            let entries = std::mem::take(&mut inner.filling);
            if entries.is_empty() {
                return;
            }
            inner.leading = true;
            inner.filling_bytes = 0;
            inner.batch += 1;
            (entries, inner.batch - 1, inner.position + 1)
        };
        let records = group(&entries);
        let mut applied = Ok(());
        let mut position = first - 1;
        let apply = self.apply.lock().unwrap();
        for (kind, payload) in &records {
            position += 1;
            let record = Record { position, term: 0, kind: *kind, payload };
            applied = applied.and_then(|()| apply.apply(&record));
        }
        apply.event(Event::Applied { position });
        drop(apply);
        let mut inner = self.lock();
        inner.leading = false;
        inner.position = position;
        match applied {
            Ok(()) => inner.resolved = batch,
            Err(reason) => inner.failed = Some(reason),
        }
        drop(inner);
        self.wake();
    }

    fn outcome(inner: &Inner, ticket: Ticket) -> Option<Outcome> {
        if ticket.batch == inner.lost_to && inner.lost_to > 0 {
            return Some(Outcome::Unknown);
        }
        if ticket.batch <= inner.resolved {
            return Some(Outcome::Durable);
        }
        inner.failed.as_ref().map(|_| Outcome::Unknown)
    }
}

impl Journal for MemoryJournal {
    fn append(&self, entry: Entry<'_>) -> Result<Ticket, AppendError> {
        let mut inner = self.lock();
        if let Some(reason) = &inner.failed {
            return Err(AppendError::Poisoned(reason.clone()));
        }
        if inner.filling_bytes > 0 && inner.filling_bytes + entry.bytes.len() > inner.room {
            return Err(AppendError::Full);
        }
        inner.filling_bytes += entry.bytes.len();
        inner.filling.push(Owned {
            kind: entry.kind,
            version: entry.version,
            log_time_ms: entry.log_time_ms,
            bytes: entry.bytes.to_vec(),
        });
        Ok(Ticket { batch: inner.batch })
    }

    fn wait(&self, ticket: Ticket) -> Outcome {
        let mut inner = self.lock();
        loop {
            if let Some(outcome) = Self::outcome(&inner, ticket) {
                return outcome;
            }
            if inner.held || inner.leading {
                inner = self.changed.wait(inner).unwrap();
            } else {
                drop(inner);
                self.lead();
                inner = self.lock();
            }
        }
    }

    fn poll(&self, ticket: Ticket, waker: &Waker) -> Poll<Outcome> {
        let mut inner = self.lock();
        match Self::outcome(&inner, ticket) {
            Some(outcome) => Poll::Ready(outcome),
            None => {
                inner.wakers.push(waker.clone());
                Poll::Pending
            }
        }
    }

    fn wait_room(&self, len: usize, timeout: Duration) -> bool {
        let inner = self.lock();
        let full = |inner: &mut Inner| {
            inner.failed.is_none()
                && inner.filling_bytes > 0
                && inner.filling_bytes + len > inner.room
        };
        if !inner.held {
            drop(inner);
            self.lead();
            return true;
        }
        let (mut inner, _) = self.changed.wait_timeout_while(inner, timeout, full).unwrap();
        !full(&mut inner)
    }

    fn poll_room(&self, len: usize, waker: &Waker) -> Poll<()> {
        let mut inner = self.lock();
        if inner.failed.is_some()
            || inner.filling_bytes == 0
            || inner.filling_bytes + len <= inner.room
        {
            return Poll::Ready(());
        }
        inner.wakers.push(waker.clone());
        Poll::Pending
    }

    fn sync(&self) -> Result<Durable, AppendError> {
        self.lead();
        let inner = self.lock();
        match &inner.failed {
            Some(reason) => Err(AppendError::Poisoned(reason.clone())),
            None => Ok(Durable { lsn: inner.position, position: inner.position }),
        }
    }

    fn nudge(&self) {
        let inner = self.lock();
        if !inner.held && !inner.leading {
            drop(inner);
            self.lead();
        }
    }

    fn durable(&self) -> Durable {
        let position = self.lock().position;
        Durable { lsn: position, position }
    }

    fn poisoned(&self) -> Option<String> {
        self.lock().failed.clone()
    }

    fn checkpointed(&self, _: [u64; 2], _: u64) -> Result<(), AppendError> {
        Ok(())
    }

    fn close(&self) -> Result<(), AppendError> {
        self.sync()?;
        self.lock().failed = Some("closed".to_owned());
        Ok(())
    }
}

/// A database over such a journal, and the clock that it lives by.
pub fn database(options: Options) -> (Database, Arc<MemoryJournal>, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(1_000_000));
    let env = Env {
        disk: Arc::new(SimulatedDisk::new(1)),
        clock: clock.clone(),
        random: Arc::new(SeededRandom::new(1)),
    };
    let parts = Parts { engine: Arc::new(MemoryEngine::new()), incarnation: 1, env, options };
    let mut journal = None;
    let database = Database::over(parts, |apply| {
        let started = Arc::new(MemoryJournal::new(apply));
        journal = Some(started.clone());
        Ok(started)
    });
    (database.unwrap(), journal.unwrap(), clock)
}

/// Groups entries into records as a journal does.
fn group(entries: &[Owned]) -> Vec<(RecordKind, Vec<u8>)> {
    let mut records: Vec<(RecordKind, Vec<u8>)> = Vec::new();
    let mut open = false;
    for entry in entries {
        if entry.kind != RecordKind::Txns {
            records.push((entry.kind, entry.bytes.clone()));
            open = false;
            continue;
        }
        if !open {
            let mut prefix = vec![0; 24];
            prefix[..8].copy_from_slice(&entry.version.to_le_bytes());
            records.push((RecordKind::Txns, prefix));
            open = true;
        }
        let (_, payload) = records.last_mut().unwrap();
        payload[8..16].copy_from_slice(&entry.log_time_ms.to_le_bytes());
        let count = u32::from_le_bytes(payload[16..20].try_into().unwrap()) + 1;
        payload[16..20].copy_from_slice(&count.to_le_bytes());
        payload.extend_from_slice(&entry.bytes);
    }
    records
}
