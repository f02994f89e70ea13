//! What the timer thread sleeps on: rung when something is due earlier than it believed.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// What the mutex guards.
#[derive(Debug)]
struct State {
    /// The earliest that it rang for since the last sleep; `u64::MAX`: it did not.
    rung_ms: u64,
    stopped: bool,
}

/// The timer thread's alarm clock.
#[derive(Debug)]
pub(crate) struct Alarm {
    state: Mutex<State>,
    changed: Condvar,
}

impl Default for Alarm {
    fn default() -> Self {
        let state = Mutex::new(State { rung_ms: u64::MAX, stopped: false });
        Self { state, changed: Condvar::new() }
    }
}

impl Alarm {
    /// Something is due at `at_ms`: wakes the sleeper when it would sleep longer. What rings while
    /// it is awake shortens the next sleep: it may have looked before.
    pub(crate) fn ring(&self, at_ms: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if at_ms < state.rung_ms {
            state.rung_ms = at_ms;
            self.changed.notify_one();
        }
    }

    /// Ends every sleep from now on.
    pub(crate) fn stop(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.stopped = true;
        self.changed.notify_all();
    }

    /// Sleeps for `duration`, which ends at log time `until_ms`, or until it rings for an earlier
    /// moment. False: stopped.
    pub(crate) fn sleep(&self, duration: Duration, until_ms: u64) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = |state: &mut State| state.rung_ms >= until_ms && !state.stopped;
        let (mut state, _) = self
            .changed
            .wait_timeout_while(state, duration, waits)
            .unwrap_or_else(PoisonError::into_inner);
        state.rung_ms = u64::MAX;
        !state.stopped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3_600);

    /// A ring between the look and the sleep is not lost; a later moment does not wake.
    #[test]
    fn a_ring_while_awake_ends_the_next_sleep() {
        let alarm = Alarm::default();
        alarm.ring(70);
        alarm.ring(50);
        alarm.ring(90);
        assert!(alarm.sleep(LONG, 60), "it rang for 50");
        alarm.ring(60);
        assert!(alarm.sleep(Duration::from_millis(1), 60), "nothing earlier: the time runs out");
        assert!(alarm.sleep(Duration::from_millis(1), 60), "it was forgotten");
        std::thread::scope(|scope| {
            scope.spawn(|| alarm.ring(1));
            assert!(alarm.sleep(LONG, 60));
        });
        alarm.stop();
        assert!(!alarm.sleep(LONG, 60));
    }
}
