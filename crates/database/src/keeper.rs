//! The keeper: the background threads of a database. One does what is due by the clock and may have
//! to wait for the disk in it; the other only wakes whose time is over, and waits for nothing.
//!
//! Invariant: the last handle stops them, and waits until they have, before the database goes away.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::apply::lock;
use crate::core::Core;
use crate::error::Error;

/// How often it looks.
const INTERVAL: Duration = Duration::from_millis(100);

/// The threads, and how to stop them.
#[derive(Debug)]
pub(crate) struct Keeper {
    stop: Arc<(Mutex<bool>, Condvar)>,
    threads: Vec<JoinHandle<()>>,
}

impl Keeper {
    /// Starts them.
    pub(crate) fn start(core: &Arc<Core>) -> Result<Self, Error> {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let mut keeper = Self { stop, threads: Vec::new() };
        let started = keeper
            .spawn(core, "keeper", tick)
            .and_then(|()| keeper.spawn(core, "deadlines", |core| core.wake_overdue()));
        match started {
            Ok(()) => Ok(keeper),
            Err(error) => {
                keeper.stop();
                Err(error)
            }
        }
    }

    fn spawn(&mut self, core: &Arc<Core>, name: &str, work: fn(&Core)) -> Result<(), Error> {
        let (stop, core) = (Arc::clone(&self.stop), Arc::clone(core));
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || run(&stop, &core, work))
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

fn run(stop: &(Mutex<bool>, Condvar), core: &Core, work: fn(&Core)) {
    loop {
        let stopped = lock(&stop.0);
        let waited = stop.1.wait_timeout_while(stopped, INTERVAL, |stopped| !*stopped);
        let (stopped, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if *stopped {
            return;
        }
        drop(stopped);
        work(core);
    }
}

fn tick(core: &Core) {
    match core.tick() {
        // Commits say so, and there is nothing left to do in the background.
        Ok(()) | Err(Error::Poisoned(_)) => {}
        Err(error) => tracing::warn!("background work: {error}"),
    }
}
