//! Applying: the ONE function that turns a committed transaction into state, and what is behind the
//! journal while the database runs.
//!
//! Live commits, replay and (later) followers and snapshot installs all go through
//! [`apply_transaction`]. It only hands puts and deletes on and reads nothing; the engine ignores
//! what is at or below its mark, so repeating it changes nothing. Invariant: the engine and every
//! observer have a transaction before `visible` shows it, and the overlay keeps it until then.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, TryLockError};

use rekindle_engine::checkpoint::Derived;
use rekindle_engine::{Engine, Mark, Operation};
use rekindle_journal::{Apply, Event, Record};
use rekindle_recovery::Place;

use crate::derived::Tracker;
use crate::error::Error;
use crate::readers::{Lag, Snapshots};
use crate::replay::Replay;
use crate::sequencer::{Halt, Sequencer};
use crate::wakers::Wakers;

/// Derived state that follows the transactions.
pub trait Observer: Send + Sync {
    /// A transaction was applied. Called in version order under the apply lock, before reads see
    /// it: it must be quick and must not commit.
    fn applied(
        &self,
        version: u64,
        log_time_ms: u64,
        operations: &mut dyn Iterator<Item = Operation<'_>>,
    );

    /// The journal is poisoned, or leadership is lost: what was pending is unknown.
    fn lost(&self);

    /// Whether [`Observer::freeze`] answers.
    fn is_kept(&self) -> bool {
        false
    }

    /// What it derived so far, to be kept with the engine's files, so that a start need not read
    /// all rows ([`crate::Database::take_earlier`]). Called between two transactions: it must be
    /// quick. One observer of a database may answer.
    fn freeze(&self) -> Option<Derived> {
        None
    }
}

/// Observers in the order in which they came.
pub(crate) type Observers = Vec<Arc<dyn Observer>>;

/// Where committed transactions go.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    /// The state.
    pub(crate) engine: &'a dyn Engine,
    /// Derived state.
    pub(crate) observers: &'a [Arc<dyn Observer>],
    /// Which operations count; all of them unless somebody looks at a part of the past.
    pub(crate) only: Option<&'a dyn Fn(&Operation<'_>) -> bool>,
    /// Notes what changes, while a start replays.
    pub(crate) tracker: Option<&'a Tracker>,
}

/// Turns one committed transaction into state.
pub(crate) fn apply_transaction<'a>(
    target: &Target<'_>,
    mark: Mark,
    operations: impl Iterator<Item = Operation<'a>> + Clone,
) {
    match target.only {
        None => target.engine.apply(mark, &mut operations.clone()),
        Some(only) => target.engine.apply(mark, &mut operations.clone().filter(only)),
    }
    for observer in target.observers {
        observer.applied(mark.version, mark.log_time_ms, &mut operations.clone());
    }
}

/// Locks, also after a panic of another holder: every critical section here leaves the data whole
/// or asserts, and an assertion that failed poisons the journal.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The same for what is done by one at a time; whoever comes meanwhile is answered `Busy`, with
/// this message.
pub(crate) fn alone<'a>(mutex: &'a Mutex<()>, busy: &str) -> Result<MutexGuard<'a, ()>, Error> {
    match mutex.try_lock() {
        Ok(guard) => Ok(guard),
        Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => Err(Error::Busy(busy.to_owned())),
    }
}

/// What the journal applies to, and what readers read.
pub(crate) struct State {
    /// What is durable and applied.
    pub(crate) engine: Arc<dyn Engine>,
    /// What is ordered.
    pub(crate) sequencer: Mutex<Sequencer>,
    /// Open snapshots.
    pub(crate) snapshots: Mutex<Snapshots>,
    /// Derived state.
    pub(crate) observers: RwLock<Observers>,
    /// Classifies records; only the journal's apply lock holder touches it.
    replay: Mutex<Replay>,
    visible: AtomicU64,
    /// Who waits until something is visible.
    pub(crate) watchers: Arc<Wakers>,
    /// Bytes of the newest state after the last record.
    state_bytes: AtomicU64,
    /// Bytes of what is ordered and not yet applied, about.
    pending_bytes: AtomicU64,
    /// Most bytes of history before the floor moves.
    max_history_bytes: u64,
    /// The version that the older checkpoint holds: the past reaches back to it.
    pub(crate) history_floor: AtomicU64,
}

impl State {
    /// The state that recovery left.
    pub(crate) fn new(
        engine: Arc<dyn Engine>,
        sequencer: Sequencer,
        replay: Replay,
        max_history_bytes: u64,
    ) -> Self {
        let visible = engine.mark().version;
        assert_eq!(sequencer.overlay.latest(), visible, "nothing is pending at the start");
        assert_eq!(replay.mark(), engine.mark(), "replay goes on where the engine stands");
        let state_bytes = engine.state_bytes().0;
        Self {
            history_floor: AtomicU64::new(engine.floor()),
            engine,
            sequencer: Mutex::new(sequencer),
            snapshots: Mutex::default(),
            observers: RwLock::default(),
            replay: Mutex::new(replay),
            visible: AtomicU64::new(visible),
            watchers: Arc::default(),
            state_bytes: AtomicU64::new(state_bytes),
            pending_bytes: AtomicU64::new(0),
            max_history_bytes,
        }
    }

    /// The version that reads see.
    pub(crate) fn visible(&self) -> u64 {
        self.visible.load(Ordering::Acquire)
    }

    /// Bytes of the newest applied state.
    pub(crate) fn state_bytes(&self) -> u64 {
        self.state_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of what is ordered and not yet applied, about.
    pub(crate) fn pending_bytes(&self) -> u64 {
        self.pending_bytes.load(Ordering::Relaxed)
    }

    /// Notes them; under the sequencer's mutex.
    pub(crate) fn note_pending(&self, bytes: u64) {
        self.pending_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Runs `work` between two records, with nothing half applied.
    pub(crate) fn between_records<T>(&self, work: impl FnOnce(&mut Replay) -> T) -> T {
        work(&mut lock(&self.replay))
    }

    /// What observers derived; call it between two records.
    pub(crate) fn freeze(&self) -> Option<Derived> {
        let observers = self.observers.read().unwrap_or_else(PoisonError::into_inner);
        observers.iter().find_map(|observer| observer.freeze())
    }

    /// The sequencer, locked.
    pub(crate) fn sequencer(&self) -> MutexGuard<'_, Sequencer> {
        lock(&self.sequencer)
    }

    /// Shows what was applied and forgets the overlay's copy of it.
    fn publish(&self) {
        let version = self.engine.mark().version;
        let before = self.visible.swap(version, Ordering::AcqRel);
        assert!(before <= version, "visible never goes back");
        debug_assert!(self.engine.floor() <= version, "what is visible can be read");
        let (state, history) = self.engine.state_bytes();
        self.state_bytes.store(state, Ordering::Relaxed);
        {
            let mut sequencer = self.sequencer();
            sequencer.prune(version);
            self.note_pending(sequencer.overlay.bytes());
        }
        if history > self.max_history_bytes {
            self.shorten_history();
        }
        self.watchers.wake_to(version);
    }

    /// Lets go of the past that is no more than a courtesy: below the oldest running reader.
    pub(crate) fn shorten_history(&self) {
        // In this order: who comes between the two reads at what is visible now, or above it.
        let visible = self.visible();
        let oldest = self.sequencer().readers.oldest().unwrap_or(u64::MAX);
        // The same floor again still sweeps.
        self.engine.set_floor(oldest.min(visible).max(self.engine.floor()));
    }

    /// Gives up readers that came before `before_ms`. While the history is larger than its limit it
    /// lets go of what no reader needs, and when that is not enough of the oldest reader, if it is
    /// one that holds something ([`Lag`]): one each time, because what a reader held goes away over
    /// the next transactions.
    pub(crate) fn sweep(&self, before_ms: u64, now_ms: u64) {
        let visible = self.visible();
        self.sequencer().readers.expire(visible, before_ms);
        let expired = lock(&self.snapshots).expire(visible, before_ms);
        expired.into_iter().for_each(|version| self.engine.unpin(version));
        if self.history_is_large() && !self.reclaim() {
            let lag = Lag { visible, now_ms };
            let snapshot = lock(&self.snapshots).expire_oldest(lag);
            match snapshot {
                Some(version) => self.engine.unpin(version),
                None => {
                    self.sequencer().readers.expire_lagging(lag);
                }
            }
            self.reclaim();
        }
        {
            // Asked again under the lock: commits that were shown since have pruned further.
            let mut sequencer = self.sequencer();
            sequencer.prune(self.visible());
        }
        self.keep_past();
    }

    fn history_is_large(&self) -> bool {
        self.engine.state_bytes().1 > self.max_history_bytes
    }

    /// Raises the floor and sweeps, as long as that helps; whether the history is small enough.
    fn reclaim(&self) -> bool {
        loop {
            let before = self.engine.state_bytes().1;
            self.shorten_history();
            let after = self.engine.state_bytes().1;
            if after <= self.max_history_bytes || after >= before {
                return after <= self.max_history_bytes;
            }
        }
    }

    /// Moves the floor to the older checkpoint, but not above a running reader.
    pub(crate) fn keep_past(&self) {
        let visible = self.visible();
        let oldest = self.sequencer().readers.oldest().unwrap_or(u64::MAX);
        let wanted = self.history_floor.load(Ordering::Relaxed).min(oldest).min(visible);
        if wanted > self.engine.floor() {
            self.engine.set_floor(wanted);
        }
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("visible", &self.visible()).finish_non_exhaustive()
    }
}

impl Apply for State {
    fn apply(&self, record: &Record<'_>) -> Result<(), String> {
        let observers = self.observers.read().unwrap_or_else(PoisonError::into_inner);
        let mut target =
            Target { engine: &*self.engine, observers: &observers, only: None, tracker: None };
        let mut replay = lock(&self.replay);
        let place = Place::default();
        let refused = replay.record(record, &place, &mut target);
        if let Some(finding) = refused {
            return Err(format!(
                "{}: record {} cannot be applied: expected {}, found {}",
                finding.label, record.position, finding.expected, finding.found
            ));
        }
        if let Some(reason) = self.engine.failed() {
            return Err(format!("record {}: {reason}", record.position));
        }
        self.publish();
        Ok(())
    }

    fn event(&self, event: Event) {
        match event {
            Event::Leading { .. } => self.sequencer().lead(self.visible()),
            Event::Applied { .. } => {}
            Event::Lost { term } => {
                let halt = match term {
                    0 => Halt::Poisoned("its journal failed".to_owned()),
                    _ => Halt::NotLeading,
                };
                self.sequencer().lose(self.visible(), halt);
                self.note_pending(0);
                self.watchers.wake_all();
                let observers = self.observers.read().unwrap_or_else(PoisonError::into_inner);
                observers.iter().for_each(|observer| observer.lost());
            }
        }
    }
}
