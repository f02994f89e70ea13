//! What a start knows of the units that no claim touches: where they stand, and nothing else.
//!
//! Almost all of a large backlog is like this. Of it no row is kept, only numbers, as runs; every
//! other unit is judged by its rows. It is gathered from the rows, or from what an earlier run kept
//! ([`crate::claims::kept`]). Invariant: numbers of a lane ascend.

use std::collections::HashMap;

use crate::claims::index::{Due, LaneKey, Runs};

/// The units of one line that no claim touches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unclaimed {
    pub(crate) lanes: Vec<Lane>,
    /// Those that are not ready at once.
    pub(crate) later: Vec<Later>,
    /// Jobs that are finished.
    pub(crate) finished: Vec<Ended>,
    /// The lane of each key, while rows are gathered.
    by_key: HashMap<(i16, Box<str>), usize>,
}

/// The units of one key that are ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lane {
    pub(crate) priority: i16,
    pub(crate) fairness: Box<str>,
    pub(crate) ready: Runs,
}

/// A unit that waits for its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Later {
    pub(crate) number: u64,
    /// Which of the lanes.
    pub(crate) lane: usize,
    pub(crate) due: Due,
}

/// A job that is finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) number: u64,
    pub(crate) status: u8,
    pub(crate) finished_ms: u64,
}

impl Lane {
    /// Its key.
    pub(crate) fn key(&self) -> LaneKey<'_> {
        LaneKey { priority: self.priority, fairness: &self.fairness }
    }
}

impl Unclaimed {
    /// Adds a unit that waits; they come in the order of their numbers.
    pub(crate) fn add(&mut self, number: u64, key: LaneKey<'_>, due: Due) {
        let lane = self.lane(key);
        match due {
            Due::Log(0) => {
                let lane = self.lanes.get_mut(lane).expect("it was found or made");
                lane.ready.push(number);
            }
            due => self.later.push(Later { number, lane, due }),
        }
    }

    /// Which lane has this key; made where there is none.
    fn lane(&mut self, key: LaneKey<'_>) -> usize {
        let LaneKey { priority, fairness } = key;
        if let [only] = self.lanes.as_slice()
            && only.key() == key
        {
            return 0;
        }
        let key = (priority, Box::from(fairness));
        *self.by_key.entry(key).or_insert_with(|| {
            let ready = Runs::default();
            self.lanes.push(Lane { priority, fairness: fairness.into(), ready });
            self.lanes.len() - 1
        })
    }

    /// How many of them wait.
    pub(crate) fn waiting(&self) -> u64 {
        let ready = self.lanes.iter().map(|lane| lane.ready.count());
        ready.fold(self.later.len() as u64, u64::saturating_add)
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting() == 0 && self.finished.is_empty()
    }

    /// Takes these numbers out, which ascend: they are judged by their rows.
    pub(crate) fn without(&mut self, numbers: &[u64]) {
        if numbers.is_empty() {
            return;
        }
        for lane in &mut self.lanes {
            lane.ready = lane.ready.without(numbers);
        }
        self.later.retain(|later| numbers.binary_search(&later.number).is_err());
        self.finished.retain(|ended| numbers.binary_search(&ended.number).is_err());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_gathered_by_key_and_taken_out_by_number() {
        let mut line = Unclaimed::default();
        for number in 1..=9 {
            let key = LaneKey { priority: 0, fairness: if number % 3 == 0 { "a" } else { "" } };
            let due = if number == 5 { Due::Wall(77) } else { Due::Log(0) };
            line.add(number, key, due);
        }
        line.finished.push(Ended { number: 20, status: 1, finished_ms: 4 });
        assert_eq!((line.lanes.len(), line.later.len(), line.waiting()), (2, 1, 9));
        line.without(&[1, 5, 6, 8, 20, 99]);
        let numbers: Vec<Vec<u64>> = line
            .lanes
            .iter()
            .map(|lane| lane.ready.iter().flat_map(|run| run.first..run.end()).collect())
            .collect();
        assert_eq!(numbers, [vec![2, 4, 7], vec![3, 9]]);
        assert!(line.later.is_empty() && line.finished.is_empty() && !line.is_empty());
    }
}
