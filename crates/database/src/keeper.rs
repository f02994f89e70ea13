//! The keeper: the one background thread of a database, which does what is due by the clock.
//!
//! Invariant: the last handle stops it, and waits until it has, before the database goes away.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::apply::lock;
use crate::core::Core;
use crate::error::Error;

/// How often it looks.
const INTERVAL: Duration = Duration::from_millis(100);

/// The thread, and how to stop it.
#[derive(Debug)]
pub(crate) struct Keeper {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: JoinHandle<()>,
}

impl Keeper {
    /// Starts it.
    pub(crate) fn start(core: &Arc<Core>) -> Result<Self, Error> {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let (its_stop, its_core) = (Arc::clone(&stop), Arc::clone(core));
        let builder = std::thread::Builder::new().name("keeper".to_owned());
        let thread = builder
            .spawn(move || run(&its_stop, &its_core))
            .map_err(|error| Error::io("starting the keeper's thread", error))?;
        Ok(Self { stop, thread })
    }

    /// Ends it, and waits for what it is doing.
    pub(crate) fn stop(self) {
        *lock(&self.stop.0) = true;
        self.stop.1.notify_all();
        let own = self.thread.thread().id() == std::thread::current().id();
        assert!(!own, "the keeper never holds a handle");
        // A panic of the thread has been printed; there is nothing to add.
        drop(self.thread.join());
    }
}

fn run(stop: &(Mutex<bool>, Condvar), core: &Core) {
    loop {
        let stopped = lock(&stop.0);
        let waited = stop.1.wait_timeout_while(stopped, INTERVAL, |stopped| !*stopped);
        let (stopped, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if *stopped {
            return;
        }
        drop(stopped);
        if let Err(error) = core.tick() {
            tracing::warn!("background work: {error}");
        }
    }
}
