//! The walk over all operations of a record, in all ways in which the power can fail.
//!
//! Invariants: what is drawn at an operation is a function of the seed and its number; an image
//! that was seen before is not opened again, and held against what is known now.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use rekindle_env::{CrashPoints, Image, Operation, SimulatedDisk, Survival};
use rekindle_sim::seed::{mix, point};

use super::check::{Known, check, within};

/// How many violations are worth to be read.
const VIOLATIONS_MAX: usize = 5;

/// Of how many images one has to go on behind its start.
const GOES_ON_EVERY: u64 = 4;

/// What a walk has seen.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Operations at which the power failed.
    pub(super) points: AtomicU64,
    /// What it left.
    pub(super) images: AtomicU64,
    /// Of those, how many were none of those before.
    pub(super) distinct: AtomicU64,
    /// Of those, how many had more than was acknowledged.
    pub(super) in_flight: AtomicU64,
}

/// What is known along a record.
#[derive(Clone, Debug)]
pub(super) struct Marks {
    /// The versions that are still to be acknowledged, the next one last.
    next: Vec<u64>,
    known: Known,
    operations: u64,
}

impl Marks {
    /// In front of the first operation of this disk.
    pub(super) fn of(disk: &SimulatedDisk) -> Self {
        Self::behind(disk, Known::default())
    }

    /// The same, where something was known before.
    pub(super) fn behind(disk: &SimulatedDisk, before: Known) -> Self {
        let trace = disk.trace();
        let next: Vec<u64> = trace.operations().iter().rev().filter_map(Operation::mark).collect();
        let begun = before.begun.max(next.last().copied().unwrap_or(0));
        Self { next, known: Known { begun, ..before }, operations: 0 }
    }

    /// One operation or mark further.
    pub(super) fn follow(&mut self, operation: &Operation) {
        let Some(version) = operation.mark() else {
            self.operations += 1;
            return;
        };
        assert_eq!(self.next.pop(), Some(version));
        let Known { acknowledged, begun } = self.known;
        let acknowledged = acknowledged.max(version);
        let begun = begun.max(version).max(self.next.last().copied().unwrap_or(0));
        self.known = Known { acknowledged, begun };
    }

    /// What is known here.
    pub(super) fn known(&self) -> Known {
        self.known
    }

    /// How many operations were done.
    pub(super) fn operations(&self) -> u64 {
        self.operations
    }
}

/// A record, and what must come of it.
pub(super) struct Walk<'a> {
    /// The disk on which it was replayed.
    pub(super) disk: &'a SimulatedDisk,
    /// What that disk was made of.
    pub(super) start: Image,
    /// What was known before its first operation.
    pub(super) before: Known,
    /// The hash of each version.
    pub(super) hashes: &'a BTreeMap<u64, u128>,
    /// The seed of all that is drawn.
    pub(super) seed: u64,
    /// The power fails at every so many-th operation.
    pub(super) every: u64,
}

/// What the threads of a walk share.
#[derive(Default)]
struct Shared {
    tally: Tally,
    violations: Mutex<Vec<String>>,
    /// Which version came back from an image.
    seen: Mutex<HashMap<u64, u64>>,
}

impl Shared {
    fn is_enough(&self) -> bool {
        self.violations.lock().unwrap().len() >= VIOLATIONS_MAX
    }
}

impl Walk<'_> {
    /// Fails the power at each of the operations, on so many threads.
    ///
    /// # Errors
    /// The violations, a line each.
    pub(super) fn everywhere(&self, threads: u64) -> Result<Tally, String> {
        let shared = Shared::default();
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let shared = &shared;
                scope.spawn(move || self.part(thread, threads, shared));
            }
        });
        let violations = shared.violations.into_inner().unwrap();
        if violations.is_empty() { Ok(shared.tally) } else { Err(violations.join("\n")) }
    }

    fn part(&self, thread: u64, threads: u64, shared: &Shared) {
        let trace = self.disk.trace();
        let mut points = trace.crash_points(self.start.clone());
        let mut marks = Marks::behind(self.disk, self.before);
        loop {
            // The marks in front of an operation belong to the moment before it.
            let next = trace.operations().get(points.position());
            if next.is_none_or(|operation| operation.mark().is_none()) {
                let number = marks.operations();
                let is_drawn = match point() {
                    Some(only) => only == number,
                    None => number % self.every == self.seed % self.every,
                };
                // Neighbours share most images, so a thread takes some of them in a row.
                if is_drawn && number / self.every / 8 % threads == thread {
                    let name = next.map_or("the end".to_owned(), ToString::to_string);
                    self.fail_the_power(&points, &marks, &name, shared);
                }
            }
            match points.advance() {
                Some(operation) if !shared.is_enough() => marks.follow(operation),
                _ => return,
            }
        }
    }

    fn fail_the_power(&self, points: &CrashPoints, marks: &Marks, name: &str, shared: &Shared) {
        let (known, operation) = (marks.known(), marks.operations());
        shared.tally.points.fetch_add(1, Ordering::Relaxed);
        for (number, survival) in (0..).zip(Survival::EVERY) {
            let seed = mix(self.seed, operation * 8 + number);
            let image = points.survivors(survival, seed);
            if let Err(violation) = self.image(&image, known, seed, shared) {
                let files = image.files();
                let files: Vec<String> =
                    files.iter().map(|(path, len)| format!("{} ({len})", path.display())).collect();
                shared.violations.lock().unwrap().push(format!(
                    "operation {operation} ({name}), {survival:?}, {known:?}: {violation}\n  {}",
                    files.join(" ")
                ));
            }
        }
    }

    fn image(&self, image: &Image, known: Known, seed: u64, shared: &Shared) -> Result<(), String> {
        let tally = &shared.tally;
        tally.images.fetch_add(1, Ordering::Relaxed);
        let key = fingerprint(image);
        let before = shared.seen.lock().unwrap().get(&key).copied();
        let version = match before {
            Some(version) => within(version, known).map(|()| version),
            None => {
                tally.distinct.fetch_add(1, Ordering::Relaxed);
                let goes_on = seed.is_multiple_of(GOES_ON_EVERY);
                catch_unwind(AssertUnwindSafe(|| check(image, known, self.hashes, goes_on)))
                    .unwrap_or_else(|_| Err("a panic (its message is above)".to_owned()))
            }
        }?;
        shared.seen.lock().unwrap().insert(key, version);
        tally.in_flight.fetch_add(u64::from(version > known.acknowledged), Ordering::Relaxed);
        Ok(())
    }
}

/// Equal images have equal ones.
fn fingerprint(image: &Image) -> u64 {
    let mut hasher = DefaultHasher::new();
    image.directories().hash(&mut hasher);
    for (path, _) in image.files() {
        let bytes = image.read(&path).unwrap();
        (path, bytes).hash(&mut hasher);
    }
    hasher.finish()
}
