//! The real disk with two hooks: a start can be held at its lock, and syncs of the journal can
//! fail.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use rekindle_env::{Change, Env, Watch};

/// What a test decides.
#[derive(Debug, Default)]
pub struct Hooks {
    held: Mutex<bool>,
    waiting: AtomicU64,
    released: Condvar,
    fail_syncs: AtomicBool,
}

impl Hooks {
    /// A real environment with these hooks.
    pub fn env(self: &Arc<Self>) -> Env {
        Env::real().watched(Arc::clone(self) as Arc<dyn Watch>)
    }

    /// Holds whoever locks a directory from now on.
    pub fn hold(&self) {
        *self.held.lock().unwrap() = true;
    }

    /// Lets them go on.
    pub fn release(&self) {
        *self.held.lock().unwrap() = false;
        self.released.notify_all();
    }

    /// Makes each sync of a file fail from now on.
    pub fn fail_syncs(&self) {
        self.fail_syncs.store(true, Ordering::SeqCst);
    }

    /// How many have come to a lock so far, held or not.
    pub fn at_locks(&self) -> u64 {
        self.waiting.load(Ordering::SeqCst)
    }

    fn pass(&self) {
        let held = self.held.lock().unwrap();
        self.waiting.fetch_add(1, Ordering::SeqCst);
        drop(self.released.wait_while(held, |held| *held).unwrap());
    }
}

impl Watch for Hooks {
    fn change(
        &self,
        change: Change<'_>,
        perform: &mut dyn FnMut() -> io::Result<()>,
    ) -> io::Result<()> {
        match change {
            Change::Lock { .. } => self.pass(),
            Change::Sync { .. } if self.fail_syncs.load(Ordering::SeqCst) => {
                return Err(io::Error::other("injected: the device does not answer"));
            }
            _ => {}
        }
        perform()
    }
}
