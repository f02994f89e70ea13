//! Syncs that take longer, to see how a program behaves on a slow disk.
//!
//! Invariant: every sync that succeeded is counted with the time that it took in the end.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::watched::{Change, Watch};

/// Waits after each sync of a file.
#[derive(Debug, Default)]
pub struct SlowSyncs {
    longer: Duration,
    count: AtomicU64,
    nanos: AtomicU64,
}

impl SlowSyncs {
    /// Every `sync_data` and `sync_all` takes so much longer.
    #[must_use]
    pub fn new(longer: Duration) -> Self {
        Self { longer, ..Self::default() }
    }

    /// Syncs of files so far, and the nanoseconds that they took together, the wait included.
    #[must_use]
    pub fn syncs(&self) -> (u64, u64) {
        (self.count.load(Ordering::Relaxed), self.nanos.load(Ordering::Relaxed))
    }
}

impl Watch for SlowSyncs {
    #[allow(clippy::disallowed_methods, reason = "waiting is what this watch is for")]
    fn change(
        &self,
        change: Change<'_>,
        perform: &mut dyn FnMut() -> io::Result<()>,
    ) -> io::Result<()> {
        let Change::Sync { .. } = change else { return perform() };
        let began_ns = SystemClock.boot_ns();
        perform()?;
        std::thread::sleep(self.longer);
        let took_ns = SystemClock.boot_ns().saturating_sub(began_ns);
        self.count.fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(took_ns, Ordering::Relaxed);
        Ok(())
    }
}
