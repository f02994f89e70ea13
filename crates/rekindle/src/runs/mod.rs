//! Run records: when each run of the server began and ended, and why, as far as it is known.
//!
//! Node-local files, outside of the journal: a death is told even where the store cannot be opened.
//! Invariants: a record that cannot be written or read stops nothing and is told in the log; only
//! who holds the directory writes into it; the end that was noted first counts.

pub mod files;
pub mod record;

use std::io;
use std::path::PathBuf;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rekindle_env::{Env, LockMode};
use rekindle_recovery::report::Ended;
use rekindle_recovery::{Report, store};

pub use record::{End, RecoveryOf, RunRecord};

/// Runs that a server remembers, the last ones: health is judged by them.
const REMEMBERED: usize = 100;

/// What the mutex guards.
#[derive(Debug, Default)]
struct State {
    /// This run.
    own: RunRecord,
    /// Those before it, oldest first.
    before: Vec<RunRecord>,
    /// This process holds the directory for the rest of its life.
    held: bool,
    /// The end that was noted, before it is written.
    noted: Option<(End, String)>,
    /// It ended: nothing is written any more.
    over: bool,
}

/// The record of this run, and those before it.
#[derive(Debug)]
pub struct RunLog {
    env: Env,
    data: PathBuf,
    state: Mutex<State>,
    writing: Mutex<()>,
}

impl RunLog {
    /// The record of a run that begins now; nothing is written yet.
    #[must_use]
    pub fn new(env: &Env, data: PathBuf) -> Self {
        let own = RunRecord {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started_wall_ms: env.clock.wall_ms(),
            ..RunRecord::default()
        };
        let state = Mutex::new(State { own, ..State::default() });
        Self { env: env.clone(), data, state, writing: Mutex::new(()) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down that a start begins, where there is a store and nobody else holds it. A process
    /// that dies while it recovers is not forgotten then.
    pub fn begin(&self) {
        let is_store =
            |name: &str| matches!(self.env.disk.stat(&self.data.join(name)), Ok(Some(_)));
        if !store::COPIES.into_iter().any(is_store) {
            return;
        }
        let _writing = self.writing();
        // Somebody else holds the directory: their run is recorded, ours will be refused.
        if !matches!(self.with_lock(|| Ok(())), Ok(true)) {
            return;
        }
        self.tell(self.number());
        // One that never opened the store cannot have ended it in order.
        self.close_running(|old| old.incarnation.is_none().then_some(End::Killed));
        self.write_own();
    }

    /// The store is open, and this process holds it: the run before is closed, as the journal says.
    pub fn opened(&self, report: &Report) {
        let _writing = self.writing();
        let numbered = {
            let mut state = self.lock();
            state.held = true;
            state.own.number > 0
        };
        if !numbered {
            self.tell(self.number());
        }
        self.close_running(end_of_others(report));
        {
            let mut state = self.lock();
            state.own.incarnation = Some(report.incarnation);
            state.own.recovery = Some(RecoveryOf::of(report));
            state.own.ready_wall_ms = Some(self.env.clock.wall_ms());
        }
        self.write_own();
        self.tell(files::trim(&self.env, &self.data));
    }

    /// The directory is looked at and not changed: reads how the runs before this one ended. This
    /// one is not recorded.
    pub fn look(&self, report: &Report) {
        match files::last(&self.env, &self.data, REMEMBERED) {
            Ok((before, _)) => self.lock().before = before,
            Err(error) => tracing::warn!(%error, "the records of runs could not be read"),
        }
        // Nobody else holds the directory: whoever is said to run is over.
        self.close(end_of_others(report));
    }

    /// It is asked to end.
    pub fn asked(&self) {
        let _writing = self.writing();
        let over = {
            let mut state = self.lock();
            state.own.asked_wall_ms = Some(self.env.clock.wall_ms());
            state.over
        };
        if !over {
            self.write_own();
        }
    }

    /// Notes how it is going to end; the first note counts.
    pub fn note(&self, end: End, reason: impl Into<String>) {
        self.lock().noted.get_or_insert_with(|| (end, reason.into()));
    }

    /// It ends with this code; what was noted before says why. Waits for the disk for as long as
    /// `patience`: a disk that hangs does not hold up the end of a process.
    pub fn end(self: &Arc<Self>, code: i32, message: &str, patience: Duration) {
        let message = message.to_owned();
        self.in_time(patience, move |log| log.write_end(code, &message));
    }

    /// The last words of a process that ends for this reason, whoever holds what.
    pub fn last_words(self: &Arc<Self>, end: End, reason: String, code: i32, patience: Duration) {
        self.in_time(patience, move |log| {
            log.note(end, reason);
            log.write_end(code, "");
        });
    }

    fn in_time(self: &Arc<Self>, patience: Duration, work: impl FnOnce(&Self) + Send + 'static) {
        let (sender, receiver) = sync_channel(1);
        let log = Arc::clone(self);
        let work = move || {
            work(&log);
            // Whoever waited may be gone.
            let _ = sender.send(());
        };
        let thread = std::thread::Builder::new().name("rekindle-end".to_owned()).spawn(work);
        if thread.is_err() || receiver.recv_timeout(patience).is_err() {
            tracing::warn!("the end of this run could not be recorded in time");
        }
    }

    fn write_end(&self, code: i32, message: &str) {
        let _writing = self.writing();
        {
            let mut state = self.lock();
            if state.over {
                return;
            }
            state.over = true;
            let served = state.own.ready_wall_ms.is_some();
            let unnoted = || match (code, served) {
                (0, true) => (End::Clean, String::new()),
                (0, false) => (End::Stopped, String::new()),
                (_, false) => (End::Refused, message.to_owned()),
                (_, true) => (End::Failed, message.to_owned()),
            };
            let (end, reason) = state.noted.take().unwrap_or_else(unnoted);
            state.own.ended(end, code, &reason, self.env.clock.wall_ms());
        }
        self.write_own();
    }

    /// This run and those before it, newest first.
    #[must_use]
    pub fn all(&self) -> Vec<RunRecord> {
        let state = self.lock();
        let own = (state.own.number > 0).then(|| state.own.clone());
        own.into_iter().chain(state.before.iter().rev().cloned()).collect()
    }

    /// The number of this run; `None` where it has no record.
    #[must_use]
    pub fn number_of_this(&self) -> Option<u64> {
        Some(self.lock().own.number).filter(|number| *number > 0)
    }

    /// The run before this one.
    #[must_use]
    pub fn previous(&self) -> Option<RunRecord> {
        self.lock().before.last().cloned()
    }

    /// How many runs ended uncleanly in the last `window`, by the wall clock.
    #[must_use]
    pub fn unclean_within(&self, window: Duration) -> u64 {
        let ms = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
        let since = self.env.clock.wall_ms().saturating_sub(ms);
        let state = self.lock();
        let unclean = state.before.iter().filter(|old| old.end.is_unclean());
        unclean.filter(|old| old.over_wall_ms().is_some_and(|at| at >= since)).count() as u64
    }

    /// Held while records are written; `state` is not, so that nobody who looks waits for the disk.
    fn writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the records before, and takes the next number.
    fn number(&self) -> io::Result<()> {
        let (before, _) = files::last(&self.env, &self.data, REMEMBERED)?;
        let newest = files::numbers(&self.env, &self.data)?.last().copied().unwrap_or(0);
        let mut state = self.lock();
        state.before = before;
        state.own.number = newest + 1;
        Ok(())
    }

    /// Closes runs before this one that could not say how they ended, and writes that down.
    fn close_running(&self, how: impl Fn(&RunRecord) -> Option<End>) {
        for old in self.close(how) {
            if old.end == End::Killed {
                let (number, incarnation, reason) = (old.number, old.incarnation, &old.reason);
                tracing::warn!(number, incarnation, reason, "the run before did not end cleanly");
            }
            self.tell(self.write(&old));
        }
    }

    /// Closes runs before this one that could not say how they ended; answers them.
    fn close(&self, how: impl Fn(&RunRecord) -> Option<End>) -> Vec<RunRecord> {
        let now = self.env.clock.wall_ms();
        let mut closed = Vec::new();
        for old in &mut self.lock().before {
            let Some(end) = Some(&*old).filter(|old| old.end == End::Running).and_then(&how) else {
                continue;
            };
            old.end = end;
            old.noticed_wall_ms = Some(now);
            if end == End::Killed {
                let asked = old.asked_wall_ms.is_some();
                let when = if asked { ", after it was asked to end" } else { "" };
                old.reason = format!("the process died without a word{when}");
            }
            closed.push(old.clone());
        }
        closed
    }

    fn write_own(&self) {
        let own = self.lock().own.clone();
        self.tell(self.write(&own));
    }

    /// Writes a record, under the lock of the directory.
    fn write(&self, record: &RunRecord) -> io::Result<()> {
        if record.number == 0 {
            return Ok(());
        }
        let written = self.with_lock(|| files::write(&self.env, &self.data, record))?;
        if written { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
    }

    /// Does something while this process holds the directory; false: somebody else does.
    fn with_lock(&self, work: impl FnOnce() -> io::Result<()>) -> io::Result<bool> {
        if self.lock().held {
            return work().map(|()| true);
        }
        let Some(lock) = self.env.disk.lock(&self.data, LockMode::Exclusive)? else {
            return Ok(false);
        };
        work()?;
        drop(lock);
        Ok(true)
    }

    /// A record that cannot be written stops nothing.
    fn tell(&self, done: io::Result<()>) {
        if let Err(error) = done {
            tracing::warn!(%error, "the record of this run could not be written");
        }
    }
}

/// How a run ended that did not say so, as the journal tells.
fn end_of_others(report: &Report) -> impl Fn(&RunRecord) -> Option<End> {
    let clean = report.before.filter(|before| before.ended == Ended::Clean);
    move |old| {
        let closed = clean.is_some_and(|before| old.incarnation == Some(before.incarnation));
        Some(if closed { End::Clean } else { End::Killed })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
