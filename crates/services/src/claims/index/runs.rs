//! Ascending numbers, as runs of neighbours: a backlog that was sent in one go is one run.
//!
//! Invariant: runs ascend, are not empty, and no two of them touch.

use std::collections::VecDeque;

/// Numbers from `first`, `len` of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) first: u64,
    pub(crate) len: u64,
}

impl Run {
    /// The number behind its last.
    pub(crate) fn end(self) -> u64 {
        self.first.saturating_add(self.len)
    }
}

/// Ascending numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Runs {
    runs: VecDeque<Run>,
}

impl Runs {
    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The smallest.
    pub(crate) fn first(&self) -> Option<u64> {
        self.runs.front().map(|run| run.first)
    }

    /// The largest.
    pub(crate) fn last(&self) -> Option<u64> {
        self.runs.back().map(|run| run.end() - 1)
    }

    /// The runs, ascending.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = Run> {
        self.runs.iter().copied()
    }

    /// How many numbers.
    pub(crate) fn count(&self) -> u64 {
        self.runs.iter().map(|run| run.len).sum()
    }

    /// Adds a number above all others.
    pub(crate) fn push(&mut self, number: u64) {
        self.push_run(Run { first: number, len: 1 });
    }

    /// Adds a run above all others; an empty one is nothing.
    pub(crate) fn push_run(&mut self, run: Run) {
        debug_assert!(self.last().is_none_or(|last| last < run.first), "numbers ascend");
        match self.runs.back_mut() {
            _ if run.len == 0 => {}
            Some(last) if last.end() == run.first => last.len += run.len,
            _ => self.runs.push_back(run),
        }
    }

    /// Takes the smallest.
    pub(crate) fn pop(&mut self) -> Option<u64> {
        let run = self.runs.front_mut()?;
        let number = run.first;
        run.first += 1;
        run.len -= 1;
        if run.len == 0 {
            self.runs.pop_front();
        }
        Some(number)
    }

    /// Whether it is among them.
    pub(crate) fn contains(&self, number: u64) -> bool {
        self.place(number).is_some()
    }

    /// Takes this one out; whether it was there.
    pub(crate) fn remove(&mut self, number: u64) -> bool {
        let Some(at) = self.place(number) else { return false };
        let Some(run) = self.runs.get_mut(at) else { return false };
        let (before, behind) = (number - run.first, run.end() - number - 1);
        match (before, behind) {
            (0, 0) => {
                self.runs.remove(at);
            }
            (0, _) => *run = Run { first: number + 1, len: behind },
            (_, 0) => run.len = before,
            (_, _) => {
                run.len = before;
                self.runs.insert(at + 1, Run { first: number + 1, len: behind });
            }
        }
        true
    }

    /// The same numbers without these, which ascend.
    pub(crate) fn without(&self, numbers: &[u64]) -> Self {
        let mut left = Self::default();
        let first = self.first().unwrap_or(0);
        let mut at = numbers.partition_point(|number| *number < first);
        for run in self.iter() {
            let mut from = run.first;
            while let Some(&number) = numbers.get(at)
                && number < run.end()
            {
                if number >= from {
                    left.push_run(Run { first: from, len: number - from });
                    from = number + 1;
                }
                at += 1;
            }
            left.push_run(Run { first: from, len: run.end() - from });
        }
        left
    }

    /// The same numbers and these, which ascend.
    pub(crate) fn with(&self, numbers: &[u64]) -> Self {
        let mut all = Self::default();
        let mut numbers = numbers.iter().copied().filter(|&number| !self.contains(number));
        let mut next = numbers.next();
        for run in self.iter() {
            while let Some(number) = next.filter(|number| *number < run.first) {
                all.push(number);
                next = numbers.next();
            }
            all.push_run(run);
        }
        next.into_iter().chain(numbers).for_each(|number| all.push(number));
        all
    }

    /// Which run has it.
    fn place(&self, number: u64) -> Option<usize> {
        let behind = self.runs.partition_point(|run| run.first <= number);
        let at = behind.checked_sub(1)?;
        self.runs.get(at).filter(|run| number < run.end()).map(|_| at)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn check(runs: &Runs) {
        let all: Vec<Run> = runs.iter().collect();
        assert!(all.iter().all(|run| run.len > 0));
        let apart = all.iter().zip(all.iter().skip(1)).all(|(one, next)| one.end() < next.first);
        assert!(apart, "{all:?}");
    }

    proptest! {
        /// Against a set of numbers: what is pushed ascends, what is taken is anything.
        #[test]
        fn runs_are_a_set_of_numbers(
            steps in proptest::collection::vec((0_u8..4, 0_u64..40), 1..200),
        ) {
            let (mut runs, mut model, mut next) = (Runs::default(), BTreeSet::new(), 0);
            for (what, number) in steps {
                match what {
                    0 => {
                        next += 1 + number / 20;
                        runs.push(next);
                        model.insert(next);
                    }
                    1 => {
                        next += 1;
                        runs.push_run(Run { first: next, len: number });
                        model.extend(next..next + number);
                        next += number;
                    }
                    2 => prop_assert_eq!(runs.pop(), model.pop_first()),
                    _ => {
                        let number = number * next.max(1) / 40;
                        prop_assert_eq!(runs.contains(number), model.contains(&number));
                        prop_assert_eq!(runs.remove(number), model.remove(&number));
                    }
                }
                check(&runs);
                prop_assert_eq!(runs.count(), u64::try_from(model.len()).unwrap());
                let ends = (model.first().copied(), model.last().copied());
                prop_assert_eq!((runs.first(), runs.last()), ends);
                prop_assert_eq!(runs.is_empty(), model.is_empty());
            }
            let numbers = |runs: &Runs| -> Vec<u64> {
                runs.iter().flat_map(|run| run.first..run.end()).collect()
            };
            prop_assert!(numbers(&runs).into_iter().eq(model.iter().copied()));
            let some: Vec<u64> = (0..next + 5).filter(|number| number % 3 != 1).collect();
            let (without, with) = (runs.without(&some), runs.with(&some));
            check(&without);
            check(&with);
            let some: BTreeSet<u64> = some.into_iter().collect();
            prop_assert!(numbers(&without).into_iter().eq(model.difference(&some).copied()));
            prop_assert!(numbers(&with).into_iter().eq(model.union(&some).copied()));
        }
    }

    #[test]
    fn a_backlog_sent_in_one_go_is_one_run() {
        let mut runs = Runs::default();
        for number in 1..=1_000_000 {
            runs.push(number);
        }
        assert_eq!(runs.iter().len(), 1);
        assert_eq!(runs.pop(), Some(1));
        assert!(runs.remove(500_000));
        assert_eq!(runs.iter().len(), 2);
    }
}
