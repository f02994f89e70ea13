//! What is due: the jobs of a schedule and its new state, in one transaction.
//!
//! Invariant: a time is fired or skipped once: the transaction that submits its job moves the row
//! beyond it.

use rekindle_database::Transaction;

use crate::exec::{Answer, Command, Core, Stop};
use crate::jobs::submit::Submit;
use crate::jobs::{NewJob, When};
use crate::keys::queue as name_key;
use crate::schedules::Missed;
use crate::schedules::cron::Pattern;
use crate::schedules::row::Stored;

/// Jobs of one transaction; a long downtime is caught up with in several.
const AT_ONCE: usize = 100;

/// How late a time may be fired and is not missed, milliseconds: the tick of a busy server.
pub(crate) const PUNCTUAL_MS: u64 = 60_000;

/// Fires what is due of a schedule.
pub(crate) struct Fire<'a> {
    pub(crate) name: &'a str,
    pub(crate) wall_ms: u64,
}

/// What was done about a schedule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fired {
    /// Jobs that were submitted.
    pub(crate) jobs: u64,
    /// It may have more that is due.
    pub(crate) more: bool,
}

/// The times to fire, and up to when everything is handled then. Pure.
pub(crate) fn due(stored: &Stored, pattern: &Pattern, wall_ms: u64) -> (Vec<u64>, u64, bool) {
    let Some(first_ms) = pattern.next_ms(stored.handled_ms).filter(|&at| at <= wall_ms) else {
        return (vec![], stored.handled_ms, false);
    };
    if stored.missed == Missed::All {
        let mut times = vec![first_ms];
        while let Some(next_ms) = pattern.next_ms(*times.last().unwrap_or(&first_ms)) {
            if next_ms > wall_ms || times.len() >= AT_ONCE {
                let more = next_ms <= wall_ms;
                let handled_ms = *times.last().unwrap_or(&first_ms);
                return (times, handled_ms, more);
            }
            times.push(next_ms);
        }
        let handled_ms = *times.last().unwrap_or(&first_ms);
        return (times, handled_ms, false);
    }
    let last_ms = pattern.last_ms(wall_ms).filter(|&at| at >= first_ms).unwrap_or(first_ms);
    let late_ms = wall_ms - last_ms;
    let fires = stored.missed == Missed::One || late_ms <= PUNCTUAL_MS;
    (if fires { vec![last_ms] } else { vec![] }, last_ms, false)
}

impl Command for Fire<'_> {
    type Value = Fired;

    fn build(&mut self, core: &Core, txn: &mut Transaction) -> Result<Answer<Fired>, Stop> {
        let key = name_key::encode(self.name);
        let Some(row) = txn.get(core.keyspaces.schedules, &key)? else {
            return Ok(Answer::new(Fired::default()));
        };
        let (mut stored, pattern) = Stored::parse(&row.bytes)
            .map_err(|bad| crate::Error::corrupt(format!("schedule {:?}: {bad}", self.name)))?;
        let (times, handled_ms, more) = due(&stored, &pattern, self.wall_ms);
        if handled_ms == stored.handled_ms {
            return Ok(Answer::new(Fired::default()));
        }
        for &nominal_ms in &times {
            let job = NewJob {
                payload: &stored.payload,
                priority: stored.priority,
                when: When::Now,
                max_attempts: stored.max_attempts,
                unique: None,
            };
            let by = (self.name, nominal_ms);
            let submit = Submit::by_schedule(core, &stored.kind, &job, by)?;
            stored.last_job = Some(submit.write(core, txn)?.id);
            stored.fired += 1;
        }
        stored.handled_ms = handled_ms;
        txn.put(core.keyspaces.schedules, &key, &stored.encode());
        Ok(Answer::new(Fired { jobs: times.len() as u64, more }))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::schedules::NewSchedule;

    const HOUR: u64 = 3_600_000;

    fn of(missed: Missed, handled_ms: u64) -> (Stored, Pattern) {
        let new = NewSchedule { kind: "t", cron: "@hourly", missed, ..NewSchedule::default() };
        let stored = Stored { handled_ms, ..Stored::of(1, &new, 0) };
        (stored, Pattern::parse("@hourly", "UTC").unwrap())
    }

    fn times(missed: Missed, handled_ms: u64, now_ms: u64) -> (Vec<u64>, u64, bool) {
        let (stored, pattern) = of(missed, handled_ms);
        due(&stored, &pattern, now_ms)
    }

    /// proves: J10
    #[test]
    fn missed_times_follow_the_policy() {
        for missed in Missed::ALL {
            assert_eq!(times(missed, HOUR, 2 * HOUR - 1), (vec![], HOUR, false));
            let on_time = (vec![2 * HOUR], 2 * HOUR, false);
            assert_eq!(times(missed, HOUR, 2 * HOUR + 5), on_time, "{missed:?}");
            // The clock went back behind what was handled: nothing is fired again.
            assert_eq!(times(missed, 9 * HOUR, 2 * HOUR), (vec![], 9 * HOUR, false));
        }
        let now_ms = 5 * HOUR + HOUR / 2;
        let all = (vec![2 * HOUR, 3 * HOUR, 4 * HOUR, 5 * HOUR], 5 * HOUR, false);
        assert_eq!(times(Missed::All, HOUR, now_ms), all);
        assert_eq!(times(Missed::One, HOUR, now_ms), (vec![5 * HOUR], 5 * HOUR, false));
        assert_eq!(times(Missed::Skip, HOUR, now_ms), (vec![], 5 * HOUR, false));
    }

    /// A year is caught up with in parts, none lost between them.
    #[test]
    fn a_long_downtime_is_caught_up_with_in_parts() {
        let (mut handled_ms, mut count, mut more) = (0, 0, true);
        let now_ms = 1_000 * HOUR;
        while more {
            let (times, to_ms, goes_on) = times(Missed::All, handled_ms, now_ms);
            assert!(times.len() <= AT_ONCE);
            assert_eq!(times.first().copied(), Some(handled_ms + HOUR));
            (handled_ms, more) = (to_ms, goes_on);
            count += times.len();
        }
        assert_eq!((count, handled_ms), (1_000, now_ms));
    }
}
