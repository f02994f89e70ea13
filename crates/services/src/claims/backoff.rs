//! Exponential back-off with jitter.
//!
//! Invariants: a pause never ends before half of what the exponent says and never after all of it
//! ("equal jitter", Brooker, *Exponential Backoff And Jitter*, AWS 2015); the same seed and attempt
//! give the same pause, so nothing but its arguments decides.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// How long failed work stays away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The pause after the first failure, milliseconds; 0: none at all.
    pub base_ms: u64,
    /// The longest pause, milliseconds.
    pub max_ms: u64,
}

impl Backoff {
    /// The pause after so many failures, milliseconds.
    #[must_use]
    pub fn pause_ms(self, failures: u32, seed: u64) -> u64 {
        let doublings = failures.saturating_sub(1).min(63);
        let full = self.base_ms.saturating_mul(1_u64 << doublings).min(self.max_ms);
        let half = full / 2;
        let spread = full - half;
        half + xxh3_64_with_seed(&failures.to_le_bytes(), seed) % (spread + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It doubles up to its bound, and seeds spread it over the upper half.
    #[test]
    fn pauses_double_and_are_spread() {
        let backoff = Backoff { base_ms: 1_000, max_ms: 60_000 };
        for (failures, full) in [(1, 1_000), (2, 2_000), (5, 16_000), (7, 60_000), (200, 60_000)] {
            let pauses: Vec<u64> = (0..200).map(|seed| backoff.pause_ms(failures, seed)).collect();
            assert!(pauses.iter().all(|pause| (full / 2..=full).contains(pause)), "{pauses:?}");
            let (least, most) = (pauses.iter().min(), pauses.iter().max());
            assert!(most > least, "seeds tell retries apart");
        }
        assert_eq!(Backoff { base_ms: 0, max_ms: 9 }.pause_ms(3, 1), 0);
        let endless = Backoff { base_ms: u64::MAX, max_ms: u64::MAX };
        assert!(endless.pause_ms(u32::MAX, 7) >= u64::MAX / 2);
    }
}
