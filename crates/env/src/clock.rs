//! Clocks: wall time for people and schedules, boot time for everything that must not jump.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// The two clocks of a machine.
pub trait Clock: Send + Sync + Debug {
    /// Milliseconds since the Unix epoch; may jump.
    fn wall_ms(&self) -> u64;

    /// Nanoseconds since some fixed point of this boot, suspended time included; never goes back.
    fn boot_ns(&self) -> u64;

    /// [`Clock::boot_ns`] in milliseconds.
    fn boot_ms(&self) -> u64 {
        self.boot_ns() / 1_000_000
    }
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the one place that asks for wall time")]
    fn wall_ms(&self) -> u64 {
        // A clock before 1970 is a clock that was never set; 0 says so and orders correctly.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn boot_ns(&self) -> u64 {
        let now = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(now.tv_sec).expect("boot time starts at zero");
        let nanoseconds = u64::try_from(now.tv_nsec).expect("0 to 999,999,999 by definition");
        assert!(nanoseconds < 1_000_000_000, "clock_gettime carries into the seconds");
        seconds * 1_000_000_000 + nanoseconds
    }
}

/// Clocks that move only when a test moves them.
#[derive(Debug)]
pub struct ManualClock {
    wall_ms: AtomicU64,
    boot_ns: AtomicU64,
}

impl ManualClock {
    /// Clocks that stand at `wall_ms` and at boot time zero.
    #[must_use]
    pub fn new(wall_ms: u64) -> Self {
        Self { wall_ms: AtomicU64::new(wall_ms), boot_ns: AtomicU64::new(0) }
    }

    /// Moves both clocks forward.
    pub fn advance_ms(&self, ms: u64) {
        self.wall_ms.fetch_add(ms, Ordering::SeqCst);
        self.boot_ns.fetch_add(ms * 1_000_000, Ordering::SeqCst);
    }

    /// Makes the wall clock jump; boot time goes on undisturbed.
    pub fn set_wall_ms(&self, ms: u64) {
        self.wall_ms.store(ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn wall_ms(&self) -> u64 {
        self.wall_ms.load(Ordering::SeqCst)
    }

    fn boot_ns(&self) -> u64 {
        self.boot_ns.load(Ordering::SeqCst)
    }
}
