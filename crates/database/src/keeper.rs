//! The keeper: the background threads of a database. One does what is due by the clock and may have
//! to wait for the disk in it; one only wakes whose time is over, and waits for nothing; one reads
//! what lies on disk, slowly; one merges files, where the engine has some.
//!
//! Invariant: the last handle stops them, and waits until they have, before the database goes away.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::apply::lock;
use crate::core::Core;
use crate::error::Error;
use crate::scrub::Pace;

/// How often it looks.
const INTERVAL: Duration = Duration::from_millis(100);

/// After a scrub that found damage, or that could not be: the time until the next.
const SCRUB_AGAIN: Duration = Duration::from_secs(60);

/// After a merge that failed: the time until the next.
const MERGE_AGAIN: Duration = Duration::from_millis(500);

/// Set, and told, when the threads are to end.
type Stop = (Mutex<bool>, Condvar);

/// The threads, and how to stop them.
#[derive(Debug)]
pub(crate) struct Keeper {
    stop: Arc<Stop>,
    threads: Vec<JoinHandle<()>>,
}

impl Keeper {
    /// Starts them.
    pub(crate) fn start(core: &Arc<Core>) -> Result<Self, Error> {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let mut keeper = Self { stop, threads: Vec::new() };
        let started = keeper
            .spawn(core, "keeper", |stop, core| every_interval(stop, core, tick))
            .and_then(|()| {
                let wake = |core: &Core| core.wake_overdue();
                keeper.spawn(core, "deadlines", move |stop, core| every_interval(stop, core, wake))
            })
            .and_then(|()| match core.checkpoints.as_ref().and_then(|it| it.engine.files()) {
                None => Ok(()),
                Some(_) => keeper.spawn(core, "merges", |stop, core| {
                    every_interval(stop, core, |core| merge(stop, core));
                }),
            })
            .and_then(|()| match core.options.scrub_every.filter(|_| core.checkpoints.is_some()) {
                None => Ok(()),
                Some(every) => keeper.spawn(core, "scrub", move |stop, core| {
                    scrub_at_times(stop, core, every);
                }),
            });
        match started {
            Ok(()) => Ok(keeper),
            Err(error) => {
                keeper.stop();
                Err(error)
            }
        }
    }

    fn spawn(
        &mut self,
        core: &Arc<Core>,
        name: &str,
        work: impl FnOnce(&Stop, &Core) + Send + 'static,
    ) -> Result<(), Error> {
        let (stop, core) = (Arc::clone(&self.stop), Arc::clone(core));
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || work(&stop, &core))
            .map_err(|error| Error::io("starting a thread of the keeper", error))?;
        self.threads.push(thread);
        Ok(())
    }

    /// Ends them, and waits for what they are doing.
    pub(crate) fn stop(self) {
        *lock(&self.stop.0) = true;
        self.stop.1.notify_all();
        for thread in self.threads {
            let own = thread.thread().id() == std::thread::current().id();
            assert!(!own, "the keeper never holds a handle");
            // A panic of the thread has been printed; there is nothing to add.
            drop(thread.join());
        }
    }
}

/// Waits; whether the threads are to end.
fn ends_within(stop: &Stop, time: Duration) -> bool {
    let waited = stop.1.wait_timeout_while(lock(&stop.0), time, |stopped| !*stopped);
    *waited.unwrap_or_else(PoisonError::into_inner).0
}

fn every_interval(stop: &Stop, core: &Core, work: impl Fn(&Core)) {
    while !ends_within(stop, INTERVAL) {
        work(core);
    }
}

/// Scrubs now, and again each time so long after the last one ended; sooner, and then less and less
/// soon, while something that was found is still in use.
fn scrub_at_times(stop: &Stop, core: &Core, every: Duration) {
    let pace = Pace::Slow { bytes_per_second: core.options.scrub_bytes_per_second, stop };
    let (mut wait, mut again) = (INTERVAL, SCRUB_AGAIN);
    while !ends_within(stop, wait) {
        // A checkpoint would take from the next replay what nobody was told yet.
        if core.untold.holds(core.env.clock.boot_ms()) {
            wait = INTERVAL;
            continue;
        }
        let scrubbed = core.scrub(pace);
        match scrubbed {
            Err(Error::Poisoned(_)) => return,
            Err(error) => tracing::warn!("scrub: {error}"),
            Ok(Some(_)) if !core.has_rotten() => {
                (wait, again) = (every, SCRUB_AGAIN);
                continue;
            }
            Ok(_) => {}
        }
        wait = again.min(every);
        again = again.saturating_mul(2);
    }
}

/// Merges files of the engine until none have to be, or it is time to end.
fn merge(stop: &Stop, core: &Core) {
    loop {
        match core.merge_files() {
            Ok(true) if !*lock(&stop.0) => {}
            Ok(_) => return,
            Err(Error::Poisoned(_)) => return,
            Err(error) => {
                tracing::warn!("merging files: {error}");
                ends_within(stop, MERGE_AGAIN);
                return;
            }
        }
    }
}

fn tick(core: &Core) {
    match core.tick() {
        // Commits say so, and there is nothing left to do in the background.
        Ok(()) | Err(Error::Poisoned(_)) => {}
        Err(error) => tracing::warn!("background work: {error}"),
    }
}
