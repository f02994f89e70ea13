//! Log time: the time of the journal, which never goes back and never jumps.
//!
//! It starts at the later one of the last log time and the wall clock, follows the boot clock, and
//! is pulled towards the wall clock by at most one part in a thousand. So an hour that the wall
//! clock jumps is an hour of slow convergence, and no deadline fires early.

use std::sync::Arc;

use rekindle_env::Clock;

/// The wall clock pulls log time by at most one part in this many.
const SLEW_DIVISOR: u64 = 1_000;

/// How often the wall clock is looked at, nanoseconds of boot time.
const WALL_INTERVAL_NS: u64 = 10_000_000;

/// A wall clock that moved this much more or less than the boot clock since the last look jumped.
const JUMP_MS: u64 = 1_000;

const NS_PER_MS: u64 = 1_000_000;

/// The clock of one journal.
#[derive(Debug)]
pub(crate) struct LogClock {
    clock: Arc<dyn Clock>,
    /// Log time, nanoseconds since the Unix epoch.
    log_ns: u64,
    /// The boot clock at that time.
    boot_ns: u64,
    /// The last look at the wall clock, and the boot clock then.
    wall_ms: u64,
    wall_boot_ns: u64,
    jumps: u64,
}

impl LogClock {
    /// A clock that goes on behind `last_ms`.
    pub(crate) fn new(clock: Arc<dyn Clock>, last_ms: u64) -> Self {
        let (wall_ms, boot_ns) = (clock.wall_ms(), clock.boot_ns());
        let log_ns = last_ms.max(wall_ms).saturating_mul(NS_PER_MS);
        Self { clock, log_ns, boot_ns, wall_ms, wall_boot_ns: boot_ns, jumps: 0 }
    }

    /// Log time now, milliseconds.
    pub(crate) fn now_ms(&mut self) -> u64 {
        let boot_ns = self.clock.boot_ns();
        let elapsed = boot_ns.saturating_sub(self.boot_ns);
        let before = self.log_ns;
        self.boot_ns = self.boot_ns.max(boot_ns);
        self.log_ns = self.log_ns.saturating_add(elapsed);
        if boot_ns.saturating_sub(self.wall_boot_ns) >= WALL_INTERVAL_NS {
            self.follow_wall(boot_ns);
            // What was told stays true, even when the last answer is younger than the last look.
            self.log_ns = self.log_ns.max(before);
        }
        assert!(self.log_ns >= before, "log time never goes back");
        self.log_ns / NS_PER_MS
    }

    /// The millisecond that it is, which ends with that: whatever comes later is later than it.
    pub(crate) fn close_millisecond(&mut self) -> u64 {
        let now_ms = self.now_ms();
        self.log_ns = self.log_ns.max(now_ms.saturating_add(1).saturating_mul(NS_PER_MS));
        now_ms
    }

    /// Times that the wall clock jumped.
    pub(crate) fn jumps(&self) -> u64 {
        self.jumps
    }

    /// Pulls log time towards the wall clock, by no more than the time since the last look allows.
    fn follow_wall(&mut self, boot_ns: u64) {
        let wall_ms = self.clock.wall_ms();
        let elapsed_ns = boot_ns.saturating_sub(self.wall_boot_ns);
        let expected_ms = self.wall_ms.saturating_add(elapsed_ns / NS_PER_MS);
        let jump_ms = wall_ms.abs_diff(expected_ms);
        if jump_ms >= JUMP_MS {
            self.jumps += 1;
            let direction = if wall_ms > expected_ms { "forward" } else { "back" };
            tracing::warn!(jump_ms, direction, "the wall clock jumped; log time goes on evenly");
        }
        let wall_ns = wall_ms.saturating_mul(NS_PER_MS);
        let slew = wall_ns.abs_diff(self.log_ns).min(elapsed_ns / SLEW_DIVISOR);
        self.log_ns = match wall_ns > self.log_ns {
            true => self.log_ns.saturating_add(slew),
            false => self.log_ns - slew,
        };
        debug_assert!(slew <= elapsed_ns / SLEW_DIVISOR);
        self.wall_ms = wall_ms;
        self.wall_boot_ns = boot_ns;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rekindle_env::ManualClock;

    use super::*;

    fn clock(wall_ms: u64, last_ms: u64) -> (Arc<ManualClock>, LogClock) {
        let manual = Arc::new(ManualClock::new(wall_ms));
        let log = LogClock::new(Arc::clone(&manual) as Arc<dyn Clock>, last_ms);
        (manual, log)
    }

    /// fault: T2
    #[test]
    fn a_wall_clock_behind_log_time_does_not_turn_it_back() {
        let (manual, mut log) = clock(1_000, 5_000);
        assert_eq!(log.now_ms(), 5_000);
        manual.advance_ms(1_000);
        let now = log.now_ms();
        assert!((5_999..=6_000).contains(&now), "{now}: one second, at most 0.1 % slower");
    }

    /// fault: T1
    #[test]
    fn a_jump_of_the_wall_clock_is_counted_and_slewed() {
        let (manual, mut log) = clock(10_000, 0);
        manual.advance_ms(1_000);
        assert_eq!((log.now_ms(), log.jumps()), (11_000, 0));
        manual.set_wall_ms(11_000 + 3_600_000);
        manual.advance_ms(1_000);
        assert_eq!((log.now_ms(), log.jumps()), (12_001, 1));
        manual.advance_ms(10_000);
        assert_eq!((log.now_ms(), log.jumps()), (22_011, 1));
        manual.set_wall_ms(5);
        manual.advance_ms(1_000);
        assert_eq!((log.now_ms(), log.jumps()), (23_010, 2));
    }

    proptest! {
        /// proves: D6
        #[test]
        fn log_time_never_goes_back_and_is_never_off_by_more_than_its_slew(
            steps in proptest::collection::vec(
                (0_u64..100_000, proptest::option::of(any::<u32>())),
                1..50,
            ),
        ) {
            let (manual, mut log) = clock(1_000_000, 0);
            let mut last = log.now_ms();
            for (advance, wall) in steps {
                if let Some(wall) = wall {
                    manual.set_wall_ms(u64::from(wall));
                }
                manual.advance_ms(advance);
                let now = log.now_ms();
                let slew = advance / SLEW_DIVISOR + 2;
                prop_assert!(now >= last);
                prop_assert!(now >= last + advance.saturating_sub(slew));
                prop_assert!(now <= last + advance + slew);
                last = now;
            }
        }
    }
}
