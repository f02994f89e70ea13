//! Group commit: who leads, who waits, and in which order batches are written, applied, resolved.
//!
//! Format.md's commit path, steps 4 to 10. Invariants: at most one leader; at most one batch is
//! being applied and one being written; batches are written, applied and resolved in the order of
//! their numbers; a ticket resolves only after its batch was applied; after a failure nothing that
//! was not resolved ever resolves as anything but unknown.
//!
//! The file touches no disk: the leader hands the batch to a [`Writer`], which a model replaces.

use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::api::{AppendError, Apply, Durability, Durable, Entry, Outcome, Ticket};
use crate::batch::Batch;
use crate::sync::{Condvar, Mutex, MutexGuard, yield_now};

#[path = "group/bench.rs"]
mod bench;
#[path = "group/leader.rs"]
mod leader;

use bench::{Bench, Woken};

/// What a leader does with a batch.
pub trait Writer: Send {
    /// Writes the sealed batch as one frame; not durable yet.
    fn write(&mut self, batch: &mut Batch) -> Result<(), String>;
    /// Makes everything written durable.
    fn sync(&mut self) -> Result<Durable, String>;
}

/// How groups are formed.
#[derive(Clone, Copy, Debug)]
pub struct GroupConfig {
    /// The mode of the store.
    pub durability: Durability,
    /// A batch takes no further entry beyond this many bytes.
    pub batch_bytes: usize,
}

/// A source of time for gathering: nanoseconds, never going back.
pub type Nanos = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Batches that may be in being at once (applying, writing, filling), and one more.
const GENERATIONS: usize = 4;
/// Below this budget a leader yields in a loop: a timed wait would take longer than it asks for.
const SPIN_NANOS: u64 = 100_000;

struct State {
    filling: Batch,
    spare: Vec<Vec<u8>>,
    leading: bool,
    /// All batches up to this one are resolved.
    resolved: u64,
    /// All batches up to this one are written.
    written: u64,
    /// All batches up to this one are synced.
    synced: u64,
    durable: Durable,
    /// The next group syncs whatever the mode.
    sync_due: bool,
    failed: Option<String>,
    closed: bool,
    /// Entries that were in the group before and in the filling batch when it resolved: how many
    /// clients there seem to be.
    population: u32,
    last_group: u32,
    mean_sync_nanos: u64,
    /// Somebody awaits the filling batch without blocking.
    awaited: bool,
    /// Threads that block for the filling batch.
    blocked: u32,
    wakers: Vec<(u64, Waker)>,
    room_wakers: Vec<Waker>,
    /// Threads that block for room.
    room_waits: u32,
    /// A leader waits for this many entries.
    gather_target: u32,
}

impl State {
    /// What is resolved was written, in strict mode synced; what was written was taken.
    fn validate(&self, durability: Durability) {
        debug_assert!(self.resolved <= self.written, "resolved means written");
        debug_assert!(self.synced <= self.written, "synced means written");
        debug_assert!(self.written < self.filling.number, "written means taken");
        let strict = durability == Durability::Strict;
        debug_assert!(!strict || self.resolved <= self.synced, "strict: resolved means synced");
        debug_assert!(!self.filling.is_empty() || self.filling.records == 0);
    }
}

/// What the journal's own thread should do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// A batch is awaited and nobody leads.
    Lead,
    /// Nothing; the timeout passed.
    Idle,
    /// The journal is closed or failed.
    Stop,
}

/// Counters of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupStats {
    /// The number of the filling batch.
    pub filling: u64,
    /// Mean time of a sync, nanoseconds.
    pub mean_sync_nanos: u64,
    /// Whether something appended is not yet synced.
    pub dirty: bool,
}

/// The group commit of one journal.
pub struct Group<W> {
    config: GroupConfig,
    nanos: Nanos,
    state: Mutex<State>,
    /// One per generation, so that a resolved batch wakes only its own threads.
    benches: [Bench; GENERATIONS],
    room: Condvar,
    work: Condvar,
    gathered: Condvar,
    /// Only a leader writes.
    writer: Mutex<W>,
    /// Taken by the leader before it hands leadership on: that keeps applies in order.
    apply: Mutex<Arc<dyn Apply>>,
}

type Guard<'a> = MutexGuard<'a, State>;

impl<W: Writer> Group<W> {
    /// A group whose first batch begins at `next_position`.
    pub fn new(
        config: GroupConfig,
        nanos: Nanos,
        writer: W,
        durable: Durable,
        apply: Arc<dyn Apply>,
    ) -> Self {
        let state = State {
            filling: Batch::new(1, durable.position + 1, Vec::new()),
            spare: Vec::new(),
            leading: false,
            resolved: 0,
            written: 0,
            synced: 0,
            durable,
            sync_due: false,
            failed: None,
            closed: false,
            population: 0,
            last_group: 0,
            mean_sync_nanos: 0,
            awaited: false,
            blocked: 0,
            wakers: Vec::new(),
            room_wakers: Vec::new(),
            room_waits: 0,
            gather_target: u32::MAX,
        };
        Self {
            config,
            nanos,
            state: Mutex::new(state),
            benches: std::array::from_fn(|_| Bench::new()),
            room: Condvar::new(),
            work: Condvar::new(),
            gathered: Condvar::new(),
            writer: Mutex::new(writer),
            apply: Mutex::new(apply),
        }
    }

    fn lock(&self) -> Guard<'_> {
        self.state.lock().expect("no thread panics while it holds the group's state")
    }

    /// Where the threads of a batch wait.
    fn bench(&self, batch: u64) -> &Bench {
        let generation = batch % GENERATIONS as u64;
        let bench = usize::try_from(generation).ok().and_then(|at| self.benches.get(at));
        bench.expect("a remainder is below the number of benches")
    }

    /// Step 3: adds an entry to the filling batch.
    pub fn append(&self, entry: Entry<'_>) -> Result<Ticket, AppendError> {
        let (len, limit) = (entry.bytes.len(), Batch::entry_len_max());
        if len > limit {
            return Err(AppendError::TooLarge { len: len as u64, limit: limit as u64 });
        }
        let mut state = self.lock();
        check(&state)?;
        if !state.filling.has_room(len, self.config.batch_bytes) {
            return Err(AppendError::Full);
        }
        state.filling.push(entry);
        if state.filling.entries >= state.gather_target {
            self.gathered.notify_one();
        }
        Ok(Ticket { batch: state.filling.number })
    }

    /// Step 5: blocks until the ticket resolves, leading where nobody does.
    pub fn wait(&self, ticket: Ticket) -> Outcome {
        let mut state = self.lock();
        loop {
            if let Some(outcome) = self.outcome(&state, ticket) {
                return outcome;
            }
            let (bench, fills) = (self.bench(ticket.batch), ticket.batch == state.filling.number);
            let woken = if fills && !state.leading {
                self.lead(state, false);
                bench.look(ticket.batch)
            } else {
                state.blocked += u32::from(fills);
                bench.wait(state, ticket.batch)
            };
            // Most threads end here, and never meet at the state's lock when all wake at once.
            if woken == Woken::Resolved {
                return self.acknowledged();
            }
            state = self.lock();
        }
    }

    /// The resolution, or a wake once there is one.
    pub fn poll(&self, ticket: Ticket, waker: &Waker) -> Poll<Outcome> {
        let mut state = self.lock();
        if let Some(outcome) = self.outcome(&state, ticket) {
            return Poll::Ready(outcome);
        }
        let known = state.wakers.iter().rev().take(4);
        let again = known.into_iter().any(|(b, w)| *b == ticket.batch && w.will_wake(waker));
        if !again {
            state.wakers.push((ticket.batch, waker.clone()));
        }
        if ticket.batch == state.filling.number {
            let wake = !state.awaited && !state.leading;
            state.awaited = true;
            if wake {
                self.work.notify_one();
            }
        }
        Poll::Pending
    }

    /// Step 4: blocks until an entry of `len` bytes has room; false when `timeout` passed first.
    pub fn wait_room(&self, len: usize, timeout: Duration) -> bool {
        let mut state = self.lock();
        let deadline = (self.nanos)() + u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX / 2);
        loop {
            if check(&state).is_err() || state.filling.has_room(len, self.config.batch_bytes) {
                return true;
            }
            if !state.leading {
                self.lead(state, false);
                state = self.lock();
                continue;
            }
            let now = (self.nanos)();
            if now >= deadline {
                return false;
            }
            let left = Duration::from_nanos(deadline - now);
            state.room_waits += 1;
            state = self.room.wait_timeout(state, left).expect("see lock").0;
            state.room_waits -= 1;
        }
    }

    /// The same without blocking.
    pub fn poll_room(&self, len: usize, waker: &Waker) -> Poll<()> {
        let mut state = self.lock();
        if check(&state).is_err() || state.filling.has_room(len, self.config.batch_bytes) {
            return Poll::Ready(());
        }
        if !state.room_wakers.iter().any(|known| known.will_wake(waker)) {
            state.room_wakers.push(waker.clone());
        }
        state.awaited = true;
        if !state.leading {
            self.work.notify_one();
        }
        Poll::Pending
    }

    /// Writes, syncs and applies everything appended so far.
    pub fn sync(&self) -> Result<Durable, AppendError> {
        let mut state = self.lock();
        let target = state.filling.number - u64::from(state.filling.is_empty());
        loop {
            check_failed(&state)?;
            if state.resolved >= target && state.synced >= target {
                return Ok(state.durable);
            }
            if state.leading {
                state.sync_due = true;
                // Woken when that batch resolves or, in the end, when anything fails.
                let batch = state.filling.number - 1;
                if state.resolved >= batch {
                    state = self.gathered_or_yield(state);
                } else {
                    self.bench(batch).wait(state, batch);
                    state = self.lock();
                }
                continue;
            }
            if state.written >= target && state.synced >= target {
                // Synced by a leader that is still applying.
                self.bench(target).wait(state, target);
            } else {
                self.lead(state, true);
            }
            state = self.lock();
        }
    }

    fn gathered_or_yield<'a>(&'a self, state: Guard<'a>) -> Guard<'a> {
        drop(state);
        yield_now();
        self.lock()
    }

    /// Waits for work of the journal's own thread, at most `timeout`.
    pub fn wait_work(&self, timeout: Duration) -> Work {
        let mut state = self.lock();
        let ready =
            |state: &Guard<'_>| state.awaited && !state.leading && !state.filling.is_empty();
        if check(&state).is_ok() && !ready(&state) {
            state = self.work.wait_timeout(state, timeout).expect("see lock").0;
        }
        match check(&state) {
            Err(_) => Work::Stop,
            Ok(()) if ready(&state) => Work::Lead,
            Ok(()) => Work::Idle,
        }
    }

    /// Leads once where nobody does and something waits; with `force_sync`, syncs in every mode.
    pub fn lead_once(&self, force_sync: bool) {
        let state = self.lock();
        let due = !state.filling.is_empty() || (force_sync && state.synced < state.written);
        if due && !state.leading && check_failed(&state).is_ok() {
            self.lead(state, force_sync);
        }
    }

    /// Syncs what was appended, whatever the mode; where somebody leads, asks the next leader to.
    /// True when everything that was appended before is synced.
    pub fn sync_soon(&self) -> bool {
        let mut state = self.lock();
        if state.filling.is_empty() && state.synced == state.written {
            return true;
        }
        if check_failed(&state).is_err() {
            return false;
        }
        if state.leading {
            state.sync_due = true;
            return false;
        }
        self.lead(state, true);
        true
    }

    /// Asks the journal's own thread to lead, as somebody does who awaits the filling batch.
    pub fn nudge(&self) {
        let mut state = self.lock();
        if state.filling.is_empty() || state.awaited {
            return;
        }
        state.awaited = true;
        if !state.leading {
            self.work.notify_one();
        }
    }

    /// Wakes the journal's own thread, so that it looks around.
    pub fn wake_thread(&self) {
        let state = self.lock();
        self.work.notify_all();
        drop(state);
    }

    /// Closes: later appends are refused. What was appended stays to be synced.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        self.work.notify_all();
        self.room.notify_all();
    }

    /// How far it is synced.
    pub fn durable(&self) -> Durable {
        self.lock().durable
    }

    /// Why it failed.
    pub fn failed(&self) -> Option<String> {
        self.lock().failed.clone()
    }

    /// Why nothing is taken any more, if so.
    pub fn check_open(&self) -> Result<(), AppendError> {
        check(&self.lock())
    }

    /// Counters.
    pub fn stats(&self) -> GroupStats {
        let state = self.lock();
        GroupStats {
            filling: state.filling.number,
            mean_sync_nanos: state.mean_sync_nanos,
            dirty: state.synced < state.written || !state.filling.is_empty(),
        }
    }

    /// Runs `body` with the writer while nobody writes.
    pub fn with_writer<T>(&self, body: impl FnOnce(&mut W) -> T) -> T {
        body(&mut self.writer.lock().expect("a panic of a writer ends the process"))
    }

    /// Runs `body` with the writer unless a leader is writing.
    pub fn try_with_writer<T>(&self, body: impl FnOnce(&mut W) -> T) -> Option<T> {
        self.writer.try_lock().ok().map(|mut writer| body(&mut writer))
    }

    fn outcome(&self, state: &State, ticket: Ticket) -> Option<Outcome> {
        if ticket.batch <= state.resolved {
            return Some(self.acknowledged());
        }
        if state.failed.is_some() {
            return Some(Outcome::Unknown);
        }
        (self.config.durability == Durability::Relaxed).then_some(Outcome::Memory)
    }

    /// What a resolved ticket promises.
    fn acknowledged(&self) -> Outcome {
        match self.config.durability {
            Durability::Strict => Outcome::Durable,
            Durability::Batched => Outcome::Written,
            Durability::Relaxed => Outcome::Memory,
        }
    }

    /// Makes the journal fail from outside (a sync of `tip` or `meta` that failed).
    pub fn poison(&self, reason: String) {
        self.fail(reason);
    }
}

/// Whether entries are taken.
fn check(state: &State) -> Result<(), AppendError> {
    check_failed(state)?;
    if state.closed {
        return Err(AppendError::Poisoned("the journal is closed".to_owned()));
    }
    Ok(())
}

/// Whether the journal still works.
fn check_failed(state: &State) -> Result<(), AppendError> {
    match &state.failed {
        Some(reason) => Err(AppendError::Poisoned(reason.clone())),
        None => Ok(()),
    }
}
