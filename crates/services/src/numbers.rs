//! Numbers that are never used again: of queues and messages, of types of jobs and jobs.
//!
//! `incarnation << 40 | counter`: in memory only, since no run shares its incarnation with another.
//! Invariant: numbers rise over all runs, so the order of numbers is the order of sending.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Kind};

/// Bits of the counter.
const COUNTER_BITS: u32 = 40;

/// Gives numbers.
#[derive(Debug)]
pub(crate) struct Numbers {
    next: AtomicU64,
    end: u64,
}

impl Numbers {
    /// The numbers of this run.
    pub(crate) fn new(incarnation: u64) -> Result<Self, Error> {
        // The highest bit tells types of jobs from queues.
        let most = (u64::MAX >> 1) >> COUNTER_BITS;
        if incarnation == 0 || incarnation >= most {
            return Err(Error::new(
                Kind::Full,
                format!("run {incarnation} is outside of the {most} runs that one store can have"),
            ));
        }
        let first = incarnation << COUNTER_BITS;
        Ok(Self { next: AtomicU64::new(first + 1), end: (incarnation + 1) << COUNTER_BITS })
    }

    /// The next one.
    pub(crate) fn next(&self) -> Result<u64, Error> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if number >= self.end {
            return Err(Error::new(
                Kind::Full,
                "this run has used all of its 2^40 numbers; restart the server to begin a new run",
            ));
        }
        Ok(number)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn numbers_rise_over_runs() {
        let first = Numbers::new(1).unwrap();
        let (a, b) = (first.next().unwrap(), first.next().unwrap());
        let c = Numbers::new(2).unwrap().next().unwrap();
        assert!(0 < a && a < b && b < c);
        Numbers::new(0).unwrap_err();
    }

    #[test]
    fn a_run_ends_before_the_next_one_begins() {
        let numbers = Numbers::new(1).unwrap();
        numbers.next.store((2 << COUNTER_BITS) - 1, Ordering::Relaxed);
        numbers.next().unwrap();
        assert_eq!(numbers.next().unwrap_err().kind(), Kind::Full);
    }
}
