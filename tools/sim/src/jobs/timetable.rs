//! What a client may believe about schedules: which times are due, and which were fired.
//!
//! Invariant: the times of a schedule are multiples of its period; each is fired at most once, in
//! their order, and with the policy `all` none is left out.

use std::collections::BTreeMap;

use rekindle_services::schedules::Missed;

use crate::jobs::{Fired, Rota};

/// How late a time may be fired and is not missed, where missed ones are skipped.
const PUNCTUAL_MS: u64 = 60_000;

/// A schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scheduled {
    /// How it was made.
    pub rota: Rota,
    /// Up to when everything was fired or skipped, wall time.
    pub handled_ms: u64,
    /// How many jobs it made.
    pub fired: u64,
}

impl Scheduled {
    fn period_ms(&self) -> u64 {
        self.rota.every_s * 1_000
    }

    /// When it fires next.
    #[must_use]
    pub fn next_ms(&self) -> u64 {
        (self.handled_ms / self.period_ms() + 1) * self.period_ms()
    }

    /// The last time up to this moment.
    fn last_ms(&self, wall_ms: u64) -> u64 {
        wall_ms / self.period_ms() * self.period_ms()
    }
}

/// All schedules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timetable {
    /// By name.
    pub schedules: BTreeMap<String, Scheduled>,
}

impl Timetable {
    /// A schedule is there; as it was, if it was there.
    pub fn create(&mut self, name: &str, rota: &Rota, wall_ms: u64) -> Result<(), String> {
        let new = Scheduled { rota: rota.clone(), handled_ms: wall_ms, fired: 0 };
        let known = self.schedules.entry(name.to_owned()).or_insert(new);
        if known.rota == *rota {
            return Ok(());
        }
        Err(format!("schedule {name} was made over another one"))
    }

    /// It made a job: is that the one whose turn it is?
    pub fn fire(&mut self, fired: &Fired) -> Result<(), String> {
        let Fired { schedule, nominal_ms, wall_ms, .. } = fired;
        let known = self.schedules.get_mut(schedule);
        let known = known.ok_or_else(|| format!("no schedule {schedule} made {fired:?}"))?;
        let wrong = |why: &str| Err(format!("schedule {schedule} fired {nominal_ms}: {why}"));
        if (&fired.kind, fired.priority) != (&known.rota.kind, known.rota.priority) {
            return wrong("a job of another kind");
        }
        if nominal_ms % known.period_ms() != 0 || nominal_ms > wall_ms {
            return wrong("it is no time of it, or has not come");
        }
        if *nominal_ms <= known.handled_ms {
            return wrong("it was handled before");
        }
        let expected = match known.rota.missed {
            Missed::All => known.next_ms(),
            Missed::One | Missed::Skip => known.last_ms(*wall_ms),
        };
        if *nominal_ms != expected {
            return wrong(&format!("it was the turn of {expected}"));
        }
        if known.rota.missed == Missed::Skip && wall_ms - nominal_ms > PUNCTUAL_MS {
            return wrong("it was to be skipped");
        }
        known.handled_ms = *nominal_ms;
        known.fired += 1;
        Ok(())
    }

    /// A tick did what was due at this wall time: nothing may be left.
    pub fn ticked(&mut self, wall_ms: u64) -> Result<(), String> {
        for (name, known) in &mut self.schedules {
            let last_ms = known.last_ms(wall_ms);
            if last_ms <= known.handled_ms {
                continue;
            }
            if known.rota.missed == Missed::Skip && wall_ms - last_ms > PUNCTUAL_MS {
                known.handled_ms = last_ms;
                continue;
            }
            let next_ms = known.next_ms();
            return Err(format!("schedule {name} lost {next_ms}, at {wall_ms} it was not fired"));
        }
        Ok(())
    }
}
