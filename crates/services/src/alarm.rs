//! What the timer thread sleeps on: rung when something is due earlier than it believed.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// What the mutex guards.
#[derive(Debug, Default)]
struct State {
    rung: bool,
    stopped: bool,
    /// Until when the sleeper sleeps, log time.
    until_ms: u64,
}

/// The timer thread's alarm clock.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    state: Mutex<State>,
    changed: Condvar,
}

impl Alarm {
    /// Something is due at `at_ms`: wakes the sleeper when it would sleep longer.
    pub(crate) fn ring(&self, at_ms: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if at_ms < state.until_ms && !state.rung {
            state.rung = true;
            self.changed.notify_one();
        }
    }

    /// Ends every sleep from now on.
    pub(crate) fn stop(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.stopped = true;
        self.changed.notify_all();
    }

    /// Sleeps for `duration`, which ends at log time `until_ms`, or until it rings. False: stopped.
    pub(crate) fn sleep(&self, duration: Duration, until_ms: u64) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.until_ms = until_ms;
        let waits = |state: &mut State| !state.rung && !state.stopped;
        let (mut state, _) = self
            .changed
            .wait_timeout_while(state, duration, waits)
            .unwrap_or_else(PoisonError::into_inner);
        state.rung = false;
        state.until_ms = 0;
        !state.stopped
    }
}
