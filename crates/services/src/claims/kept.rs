//! The index as it is kept beside the files of an engine, so that a start need not read all rows.
//!
//! ```text
//! format 1, then each line, ascending:
//!   line 8
//!   lanes:    priority 2, key (length 1, text), runs, numbers that stand apart
//!   later:    number, lane, clock 1 (0 log, 1 wall), when
//!   finished: number, status 1, when
//!   others:   numbers of units that a claim touches, or that wait for a person
//! ```
//! Lists begin with their length. Where no size is given a number is a varint of 7 bits a byte,
//! lowest first; runs are pairs of the distance from the end of the one before and the length;
//! numbers that stand apart, and others, are distances from the one before.
//!
//! It says where units stood at one version. Whatever changed since, and all others, are judged by
//! their rows; so are the rows of all claims. Invariant: what cannot be read is no index, and all
//! rows are read again.

use std::collections::{BTreeMap, BTreeSet};

use rekindle_database::Changes;

use crate::bytes::{Reader, put_text8, put_varint};
use crate::claims::Subject;
use crate::claims::index::{Due, Run, Runs};
use crate::claims::unclaimed::{Ended, Lane, Later, Unclaimed};
use crate::keys::{Keyspaces, subject};

/// The format; persisted.
const FORMAT: u8 = 1;

/// The clock of a time; persisted.
const LOG: u8 = 0;
const WALL: u8 = 1;

/// What an earlier run knew, and what is to be looked at again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    /// The units of each line that no claim touched.
    pub(crate) lines: BTreeMap<u64, Unclaimed>,
    /// Units that are judged by their rows.
    pub(crate) others: BTreeSet<Subject>,
    /// Lines of which a range was removed: only `others` may still be there.
    pub(crate) cleared: BTreeSet<u64>,
}

impl Kept {
    /// Reads it; `None` when it says nothing that can be used.
    pub(crate) fn of(bytes: &[u8], changes: &Changes, keyspaces: &Keyspaces) -> Option<Self> {
        let mut kept = read(bytes)?;
        let Changes { keys, ranges } = changes;
        let work = keys.iter().filter(|(keyspace, _)| keyspaces.is_of_work(**keyspace));
        for key in work.flat_map(|(_, keys)| keys) {
            // What has another key is no work, and is found in no index.
            kept.others.extend(subject::parse(key).ok());
        }
        for start in ranges.get(&keyspaces.messages).into_iter().flatten() {
            kept.cleared.insert(subject::line_of_range(start)?);
        }
        if ranges.get(&keyspaces.jobs).is_some() {
            return None;
        }
        Some(kept)
    }

    /// The part of it that is of queues, and the part that is of jobs.
    pub(crate) fn split(mut self) -> (Self, Self) {
        let first = Subject { line: crate::claims::line_of_jobs(0), number: 0 };
        let jobs = Self {
            lines: self.lines.split_off(&first.line),
            others: self.others.split_off(&first),
            cleared: BTreeSet::new(),
        };
        (self, jobs)
    }
}

/// Where the units of lines stand, in one form: for comparing what was kept with what the rows say.
#[cfg(debug_assertions)]
pub(crate) mod places {
    use std::collections::{BTreeMap, BTreeSet};

    use super::{Writer, read};
    use crate::claims::Subject;
    use crate::claims::index::{Due, LineIndex, Runs};

    /// Priority and fairness key.
    type Key = (i16, Box<str>);

    /// The units of a line.
    #[derive(Debug, Default, PartialEq, Eq)]
    pub(crate) struct Places {
        ready: BTreeMap<Key, Runs>,
        later: BTreeSet<(u64, Key, (bool, u64))>,
        finished: BTreeSet<(u64, u8, u64)>,
    }

    /// Of all these lines, and the units that are judged by their rows.
    pub(crate) fn of<'a>(
        lines: impl Iterator<Item = &'a LineIndex>,
    ) -> (BTreeMap<u64, Places>, BTreeSet<Subject>) {
        let mut writer = Writer::new();
        lines.for_each(|line| line.write(&mut writer));
        let kept = read(&writer.finish()).expect("what is written can be read");
        let mut places = BTreeMap::new();
        for (number, line) in kept.lines {
            let keys: Vec<Key> =
                line.lanes.iter().map(|lane| (lane.priority, lane.fairness.clone())).collect();
            let key = |at: usize| keys.get(at).cloned().unwrap_or_default();
            let later = line.later.iter().map(|later| {
                let due = match later.due {
                    Due::Log(at_ms) => (false, at_ms),
                    Due::Wall(at_ms) => (true, at_ms),
                };
                (later.number, key(later.lane), due)
            });
            let finished = line.finished.iter();
            let of_line = Places {
                later: later.collect(),
                finished: finished.map(|it| (it.number, it.status, it.finished_ms)).collect(),
                ready: line
                    .lanes
                    .into_iter()
                    .filter(|lane| !lane.ready.is_empty())
                    .map(|lane| ((lane.priority, lane.fairness), lane.ready))
                    .collect(),
            };
            places.insert(number, of_line);
        }
        (places, kept.others)
    }
}

/// Writes lines one after the other.
#[derive(Debug)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
}

/// A lane as it is written.
pub(crate) struct LaneOf<'a> {
    pub(crate) priority: i16,
    pub(crate) fairness: &'a str,
    pub(crate) runs: &'a Runs,
    /// Ascending.
    pub(crate) apart: Vec<u64>,
}

impl Writer {
    pub(crate) fn new() -> Self {
        Self { bytes: vec![FORMAT] }
    }

    pub(crate) fn line<'a>(
        &mut self,
        line: u64,
        lanes: impl ExactSizeIterator<Item = LaneOf<'a>>,
        later: &[Later],
        finished: impl ExactSizeIterator<Item = Ended>,
        others: &BTreeSet<u64>,
    ) {
        self.bytes.extend_from_slice(&line.to_le_bytes());
        self.count(lanes.len());
        for lane in lanes {
            self.bytes.extend_from_slice(&lane.priority.to_le_bytes());
            put_text8(&mut self.bytes, lane.fairness);
            self.count(lane.runs.iter().len());
            let mut end = 0;
            for run in lane.runs.iter() {
                self.number(run.first - end);
                self.number(run.len);
                end = run.end();
            }
            self.ascending(lane.apart.len(), lane.apart.iter().copied());
        }
        self.count(later.len());
        for Later { number, lane, due } in later {
            self.number(*number);
            self.count(*lane);
            let (clock, at_ms) = match *due {
                Due::Log(at_ms) => (LOG, at_ms),
                Due::Wall(at_ms) => (WALL, at_ms),
            };
            self.bytes.push(clock);
            self.number(at_ms);
        }
        self.count(finished.len());
        for Ended { number, status, finished_ms } in finished {
            self.number(number);
            self.bytes.push(status);
            self.number(finished_ms);
        }
        self.ascending(others.len(), others.iter().copied());
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.bytes
    }

    fn ascending(&mut self, count: usize, numbers: impl Iterator<Item = u64>) {
        self.count(count);
        let mut before = 0;
        for number in numbers {
            self.number(number - before);
            before = number;
        }
    }

    fn count(&mut self, count: usize) {
        self.number(count as u64);
    }

    fn number(&mut self, number: u64) {
        put_varint(&mut self.bytes, number);
    }
}

fn read(bytes: &[u8]) -> Option<Kept> {
    let mut input = Input(Reader::new(bytes));
    if input.0.u8()? != FORMAT {
        return None;
    }
    let mut kept = Kept::default();
    while input.0.end().is_none() {
        let line = input.0.u64()?;
        let unclaimed = input.line()?;
        let others = input.ascending()?;
        kept.others.extend(others.into_iter().map(|number| Subject { line, number }));
        if kept.lines.insert(line, unclaimed).is_some() {
            return None;
        }
    }
    Some(kept)
}

struct Input<'a>(Reader<'a>);

impl Input<'_> {
    fn line(&mut self) -> Option<Unclaimed> {
        let mut line = Unclaimed::default();
        for _ in 0..self.number()? {
            let priority = i16::from_le_bytes(self.0.array()?);
            let fairness = self.0.text8()?.into();
            let mut ready = self.runs()?;
            let apart = self.ascending()?;
            if !apart.is_empty() {
                ready = ready.with(&apart);
            }
            line.lanes.push(Lane { priority, fairness, ready });
        }
        for _ in 0..self.number()? {
            let number = self.number()?;
            let lane = usize::try_from(self.number()?).ok().filter(|at| *at < line.lanes.len())?;
            let (clock, at_ms) = (self.0.u8()?, self.number()?);
            let due = match clock {
                LOG => Due::Log(at_ms),
                WALL => Due::Wall(at_ms),
                _ => return None,
            };
            line.later.push(Later { number, lane, due });
        }
        for _ in 0..self.number()? {
            let (number, status) = (self.number()?, self.0.u8()?);
            line.finished.push(Ended { number, status, finished_ms: self.number()? });
        }
        Some(line)
    }

    fn runs(&mut self) -> Option<Runs> {
        let (mut runs, mut end) = (Runs::default(), 0_u64);
        for nth in 0..self.number()? {
            let (apart, len) = (self.number()?, self.number()?);
            let first = end.checked_add(apart).filter(|_| nth == 0 || apart > 0)?;
            end = first.checked_add(len).filter(|_| len > 0)?;
            runs.push_run(Run { first, len });
        }
        Some(runs)
    }

    fn ascending(&mut self) -> Option<Vec<u64>> {
        let (mut numbers, mut before) = (Vec::new(), 0_u64);
        for nth in 0..self.number()? {
            let apart = self.number()?;
            before = before.checked_add(apart).filter(|_| nth == 0 || apart > 0)?;
            numbers.push(before);
        }
        Some(numbers)
    }

    fn number(&mut self) -> Option<u64> {
        self.0.varint()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written() -> Vec<u8> {
        let mut runs = Runs::default();
        runs.push_run(Run { first: 1 << 40, len: 70_000 });
        runs.push((1 << 40) + 80_000);
        let lane = |priority, fairness| LaneOf {
            priority,
            fairness,
            runs: &runs,
            apart: vec![7, 300, (1 << 40) + 75_000],
        };
        let later = [
            Later { number: 9, lane: 1, due: Due::Wall(u64::MAX >> 1) },
            Later { number: 10, lane: 0, due: Due::Log(5) },
        ];
        let finished = [Ended { number: 11, status: 2, finished_ms: 1 << 50 }];
        let others = BTreeSet::from([12, 13, 1 << 62]);
        let mut writer = Writer::new();
        let lanes = [lane(0, ""), lane(-3, "grün")];
        writer.line(5, lanes.into_iter(), &later, finished.into_iter(), &others);
        writer.line(6, [].into_iter(), &[], [].into_iter(), &BTreeSet::new());
        writer.finish()
    }

    #[test]
    fn what_is_written_is_read() {
        let kept = read(&written()).unwrap();
        let line = kept.lines.get(&5).unwrap();
        assert_eq!(line.lanes.len(), 2);
        let [first, second] = line.lanes.as_slice() else { panic!("two lanes") };
        assert_eq!((second.priority, &*second.fairness), (-3, "grün"));
        assert_eq!(first.ready, second.ready);
        assert_eq!(first.ready.count(), 70_000 + 4);
        assert!([7, 300, 1 << 40, (1 << 40) + 75_000].iter().all(|it| first.ready.contains(*it)));
        assert_eq!((line.later.len(), line.finished.len(), line.waiting()), (2, 1, 2 * 70_004 + 2));
        assert_eq!(kept.others.len(), 3);
        assert!(kept.lines.get(&6).unwrap().is_empty());
    }

    #[test]
    fn every_cut_is_no_index() {
        let bytes = written();
        let whole = bytes.len() - 12;
        for len in 0..bytes.len() {
            // Only where a line ends is a shorter one whole.
            let read = read(bytes.get(..len).unwrap());
            assert_eq!(read.is_some(), len == 1 || len == whole, "{len}");
        }
    }

    proptest! {
        #[test]
        fn hostile_bytes_do_not_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            flips in proptest::collection::vec((0_usize..1_000, any::<u8>()), 0..4),
        ) {
            let _ = read(&bytes);
            let _ = read(&[&[FORMAT], &bytes[..]].concat());
            let mut bent = written();
            for (at, byte) in flips {
                let len = bent.len();
                if let Some(place) = bent.get_mut(at % len) {
                    *place ^= byte;
                }
            }
            if let Some(mut kept) = read(&bent) {
                for line in kept.lines.values_mut() {
                    let _ = line.waiting();
                    line.without(&[7, 9, 1 << 40]);
                }
            }
        }
    }
}
