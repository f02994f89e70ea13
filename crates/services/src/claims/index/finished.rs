//! Finished jobs that are still there, and since when: derived from their outcomes.
//!
//! Invariants: a job is here from its outcome until its rows go or it is tried again; the lines by
//! time may name jobs that are not here any more, never fewer than those that are.

use std::collections::{HashMap, VecDeque};

use crate::claims::unclaimed::Ended;

/// Kinds of ends: completed, failed, cancelled, in the order of their numbers.
const KINDS: usize = 3;

/// The finished jobs of one type.
#[derive(Debug, Default)]
pub(crate) struct Finished {
    jobs: HashMap<u64, (u8, u64)>,
    by_time: [VecDeque<(u64, u64)>; KINDS],
    counts: [u64; KINDS],
}

/// The place of a kind.
fn place(status: u8) -> Option<usize> {
    let place = usize::from(status).checked_sub(1)?;
    (place < KINDS).then_some(place)
}

impl Finished {
    /// A job is finished. They come in the order of time, nearly: one applied later may have been
    /// finished a moment earlier, and is then kept that moment longer.
    pub(crate) fn add(&mut self, number: u64, status: u8, finished_ms: u64) {
        let Some(place) = place(status) else { return };
        self.remove(number);
        self.jobs.insert(number, (status, finished_ms));
        if let Some(line) = self.by_time.get_mut(place) {
            line.push_back((finished_ms, number));
        }
        if let Some(count) = self.counts.get_mut(place) {
            *count += 1;
        }
    }

    /// It is not finished any more, or gone; whether it was here.
    pub(crate) fn remove(&mut self, number: u64) -> bool {
        let Some((status, _)) = self.jobs.remove(&number) else { return false };
        let count = place(status).and_then(|place| self.counts.get_mut(place));
        *count.expect("only the three kinds are added") -= 1;
        true
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = Ended> {
        self.jobs.iter().map(|(&number, &(status, finished_ms))| Ended {
            number,
            status,
            finished_ms,
        })
    }

    /// How many of each kind.
    pub(crate) fn counts(&self) -> [u64; KINDS] {
        self.counts
    }

    /// Brings what recovery added in another order into the order of time.
    pub(crate) fn sort(&mut self) {
        for line in &mut self.by_time {
            line.make_contiguous().sort_unstable();
        }
    }

    /// Takes up to `max` jobs out of the lines by time that were finished long enough ago, for each
    /// kind; they stay here until their rows are gone.
    pub(crate) fn due(&mut self, now: u64, kept_ms: [u64; KINDS], max: usize) -> Vec<u64> {
        let mut due = Vec::new();
        for ((line, kept_ms), place) in self.by_time.iter_mut().zip(kept_ms).zip(0_u8..) {
            while due.len() < max
                && let Some(&(finished_ms, number)) = line.front()
                && finished_ms.saturating_add(kept_ms) <= now
            {
                line.pop_front();
                if self.jobs.get(&number) == Some(&(place + 1, finished_ms)) {
                    due.push(number);
                }
            }
        }
        due
    }

    /// Gives one back whose rows could not be removed now.
    pub(crate) fn keep(&mut self, number: u64) {
        let Some(&(status, finished_ms)) = self.jobs.get(&number) else { return };
        let line = place(status).and_then(|place| self.by_time.get_mut(place));
        line.expect("only the three kinds are added").push_front((finished_ms, number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_is_due_once_and_what_was_tried_again_is_not() {
        let mut finished = Finished::default();
        for number in 1..=6 {
            finished.add(number, 1, 100 + number);
        }
        finished.add(7, 2, 50);
        assert!(finished.remove(2) && !finished.remove(2));
        finished.add(3, 1, 500);
        assert_eq!(finished.counts(), [5, 1, 0]);
        assert_eq!(finished.due(104, [0, 1_000, 0], 9), [1, 4], "2 is gone, 3 was finished later");
        finished.keep(4);
        assert_eq!(finished.due(104, [0, 1_000, 0], 9), [4]);
        assert_eq!(finished.due(2_000, [0, 1_000, 0], 2), [5, 6]);
        assert_eq!(finished.due(2_000, [0, 1_000, 0], 9), [3, 7]);
        finished.add(9, 0, 1);
        finished.add(9, 4, 1);
        assert_eq!(finished.counts(), [5, 1, 0], "no such kinds");
    }
}
