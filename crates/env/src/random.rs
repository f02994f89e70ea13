//! Randomness: the operating system's for identities, a seeded one for reproducible runs.
//!
//! Invariant: everything drawn from a [`SeededRandom`] by one thread is a function of its seed.

use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};

/// A source of random bytes.
pub trait Random: Send + Sync + Debug {
    /// Fills `buf` with random bytes.
    fn fill(&self, buf: &mut [u8]);

    /// A random number.
    fn next_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

/// The operating system's generator: unpredictable, for identities and nonces.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsRandom;

impl Random for OsRandom {
    fn fill(&self, buf: &mut [u8]) {
        #[allow(clippy::disallowed_methods, reason = "this is Env's random")]
        getrandom::fill(buf).expect("getrandom fails only on kernels that lack it (before 3.17)");
    }
}

/// A generator that repeats itself for the same seed, for tests and simulations.
#[derive(Debug)]
pub struct SeededRandom {
    generator: Mutex<fastrand::Rng>,
}

impl SeededRandom {
    /// A generator that starts at `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { generator: Mutex::new(fastrand::Rng::with_seed(seed)) }
    }
}

impl Random for SeededRandom {
    fn fill(&self, buf: &mut [u8]) {
        // A generator has no half-changed state that a panic elsewhere could leave behind.
        self.generator.lock().unwrap_or_else(PoisonError::into_inner).fill(buf);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_streams_and_others_do_not() {
        let (a, b, c) = (SeededRandom::new(7), SeededRandom::new(7), SeededRandom::new(8));
        let draw = |random: &SeededRandom| [random.next_u64(), random.next_u64()];
        let first = draw(&a);
        assert_eq!(first, draw(&b));
        assert_ne!(first, draw(&c));
        assert_ne!(first, draw(&a), "a stream goes on");
    }

    #[test]
    fn the_operating_system_fills_every_byte() {
        let mut seen = [false; 64];
        for _ in 0..64 {
            let mut buf = [0; 64];
            OsRandom.fill(&mut buf);
            for (seen, byte) in seen.iter_mut().zip(buf) {
                *seen |= byte != 0;
            }
        }
        assert!(seen.iter().all(|seen| *seen));
    }
}
