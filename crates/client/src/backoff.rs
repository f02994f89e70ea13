//! Waiting between attempts: doubling, bounded, spread so that many clients do not come at once.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_millis(500);

/// The waits of one series of attempts.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    next: Duration,
    spread: u64,
}

impl Backoff {
    /// A new series; `seed` differs between clients.
    pub(crate) const fn new(seed: u64) -> Self {
        // The generator below never leaves zero.
        Self { next: FIRST, spread: if seed == 0 { 1 } else { seed } }
    }

    /// The next wait: between half of the step and the whole.
    pub(crate) fn next(&mut self) -> Duration {
        let step = self.next;
        self.next = LONGEST.min(step * 2);
        // Xorshift (Marsaglia, 2003): plenty for spreading waits.
        self.spread ^= self.spread << 13;
        self.spread ^= self.spread >> 7;
        self.spread ^= self.spread << 17;
        let percent = u32::try_from(self.spread % 51).expect("a remainder below 51");
        step * (50 + percent) / 100
    }

    /// Something succeeded: the next failure is a new one.
    pub(crate) fn reset(&mut self) {
        self.next = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_bound_and_start_again_after_success() {
        let mut backoff = Backoff::new(0);
        let mut step = FIRST;
        for _ in 0..20 {
            let wait = backoff.next();
            assert!(wait >= step / 2 && wait <= step, "{wait:?} of {step:?}");
            step = LONGEST.min(step * 2);
        }
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
