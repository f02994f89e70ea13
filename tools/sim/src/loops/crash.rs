//! The crash campaign of loops: at every operation of the disk, writes of transcripts and those of
//! a recovery included.

use std::sync::Arc;

use rekindle_env::{Image, SimulatedDisk};
use rekindle_services::loops::state_hash;

use crate::crash::{DEATHS, Death};
use crate::loops::check::{goes_on, nothing_lost, transcripts_agree};
use crate::loops::{Known, Run, START_MS, text};
use crate::seed::{mix, point};
use crate::store::{Machine, Store};

/// How long a store was down, drawn by seed: up to each of the three strategies.
const DOWNTIMES_MS: [u64; 6] = [0, 1, 2_500, 600_000, 7_200_000, 200_000_000];

/// What a campaign did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Operations of the disk at which it was crashed.
    pub points: u64,
    /// Images.
    pub images: u64,
    /// Recoveries that were crashed.
    pub nested: u64,
    /// Images in which a transcript was behind, torn or damaged.
    pub mended: u64,
}

/// One crash.
struct Crash<'a> {
    run: &'a Run,
    known: &'a Known,
    next: Option<&'a Known>,
    death: Death,
    seed: u64,
    wall_ms: u64,
}

/// Crashes a run at each of its operations.
///
/// # Errors
/// The first violation.
pub fn crash_everywhere(run: &Run, seed: u64) -> Result<Tally, String> {
    let mut tally = Tally::default();
    let trace = run.disk.trace();
    let mut points = trace.crash_points(Image::new());
    let (nothing, mut last, mut at) = (Known::default(), None, 0_u64);
    loop {
        let next = trace.operations().get(points.position());
        if let Some(mark) = next.and_then(|operation| operation.mark()) {
            last = usize::try_from(mark).ok();
            points.advance();
            continue;
        }
        if point().is_none_or(|only| only == at) {
            tally.points += 1;
            let known = last.and_then(|last| run.known.get(last)).unwrap_or(&nothing);
            let behind = last.map_or(0, |last| last + 1);
            let wall_ms = last.and_then(|last| run.wall_ms.get(last)).copied();
            for (number, death) in (0_u64..).zip(DEATHS) {
                let seed = mix(seed, at * DEATHS.len() as u64 + number);
                let down = usize::try_from(seed / 7 % DOWNTIMES_MS.len() as u64).unwrap_or(0);
                let down_ms = DOWNTIMES_MS.get(down).copied().unwrap_or(0);
                let wall_ms = wall_ms.unwrap_or(START_MS) + down_ms;
                let next_known = run.known.get(behind);
                let crash = Crash { run, known, next: next_known, death, seed, wall_ms };
                let image = || death.disk(&points, seed);
                crash.check(&image, &mut tally).map_err(|broken| {
                    let operation = next.map_or("the end".to_owned(), ToString::to_string);
                    format!(
                        "operation {at} ({operation}), {death:?}, down for {down_ms} ms, image \
                         seed {seed}: {broken}"
                    )
                })?;
            }
        }
        at += 1;
        if points.advance().is_none() {
            return Ok(tally);
        }
    }
}

impl Crash<'_> {
    fn machine(&self, disk: &SimulatedDisk) -> Machine {
        Machine::new(Arc::new(disk.clone()), self.wall_ms, mix(self.seed, 5))
    }

    fn start(&self, disk: &SimulatedDisk, which: &str) -> Result<(Machine, Store), String> {
        let machine = self.machine(disk);
        let store = machine.start(None).map_err(|failed| format!("{which}: {failed}"))?;
        Ok((machine, store))
    }

    fn check(&self, image: &dyn Fn() -> SimulatedDisk, tally: &mut Tally) -> Result<(), String> {
        tally.images += 1;
        let disk = image();
        let before = disk.operations();
        let (machine, first) = self.start(&disk, "first recovery")?;
        let took = disk.operations() - before;
        nothing_lost(self.run, self.known, self.next, &first)?;
        let actions = first.led.iter().flat_map(|layer| &layer.actions);
        let mended = ["loop-15", "loop-16", "loop-17"];
        tally.mended += u64::from(actions.into_iter().any(|it| mended.contains(&it.label.0)));
        let hash = state_hash(&first.database).map_err(text)?;
        transcripts_agree(&first, &disk, self.wall_ms)?;
        if state_hash(&first.database).map_err(text)? != hash {
            // Something whose time had come went on: that is no second recovery.
            return self.end(&first, &machine, "the store recovered once");
        }
        // Recovering twice is recovering once.
        let left = disk.crash(self.death.survival(self.seed), self.seed ^ 1);
        drop(first);
        let (machine, again) = self.start(&left, "second recovery")?;
        if state_hash(&again.database).map_err(text)? != hash {
            return Err("the second recovery did something".to_owned());
        }
        if self.seed.is_multiple_of(2) {
            return self.end(&again, &machine, "the store recovered twice");
        }
        // A crash at any operation of the recovery, and of the writing behind it.
        let disk = image();
        let stop = mix(self.seed, 2) % (2 * took + 8);
        disk.stop_after(disk.operations() + stop);
        if let Ok(store) = self.machine(&disk).start(None) {
            let _stopped = store.services.tick();
        }
        tally.nested += 1;
        let left = disk.crash(self.death.survival(self.seed), mix(self.seed, 3));
        let inside = |broken| format!("a crash inside recovery after {stop} operations: {broken}");
        let (machine, nested) = self.start(&left, "the recovery behind it").map_err(inside)?;
        nothing_lost(self.run, self.known, self.next, &nested).map_err(inside)?;
        transcripts_agree(&nested, &left, self.wall_ms).map_err(inside)?;
        self.end(&nested, &machine, "the store whose recovery crashed")
    }

    fn end(&self, store: &Store, machine: &Machine, which: &str) -> Result<(), String> {
        let gone_on = goes_on(self.known, store, machine, self.seed);
        gone_on.map_err(|broken| format!("{which}: {broken}"))
    }
}
