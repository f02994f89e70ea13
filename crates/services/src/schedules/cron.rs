//! When a schedule fires: cron patterns in time zones. Pure.
//!
//! Five fields as everywhere (minute, hour, day of month, month, day of week), or six with seconds
//! in front; `@hourly` and its kin; `L`, `W` and `#` for days. Where clocks go forward, what was to
//! fire in the gap fires behind it; where they go back, what has a fixed hour fires once (croner).

use std::str::FromStr;

use croner::Cron;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::error::Error;

/// A pattern in a time zone.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    cron: Cron,
    zone: TimeZone,
}

impl Pattern {
    /// Of these words.
    pub(crate) fn parse(cron: &str, zone: &str) -> Result<Self, Error> {
        let refused =
            |what: &str, why: &dyn std::fmt::Display| Error::invalid(format!("{what}: {why}"));
        let zone = TimeZone::get(zone)
            .map_err(|why| refused(&format!("{zone:?} is no time zone"), &why))?;
        let cron = Cron::from_str(cron)
            .map_err(|why| refused(&format!("{cron:?} is no cron pattern"), &why))?;
        Ok(Self { cron, zone })
    }

    /// The first time behind this one, wall time in milliseconds; `None`: never.
    pub(crate) fn next_ms(&self, after_ms: u64) -> Option<u64> {
        let after = i64::try_from(after_ms).ok()?;
        let after = Zoned::new(Timestamp::from_millisecond(after).ok()?, self.zone.clone());
        let next = self.cron.find_next_occurrence(&after, false).ok()?;
        let next_ms = u64::try_from(next.timestamp().as_millisecond()).ok()?;
        // A pattern that did not move on would fire for ever.
        (next_ms > after_ms).then_some(next_ms)
    }

    /// The last time up to this one, wall time in milliseconds.
    pub(crate) fn last_ms(&self, until_ms: u64) -> Option<u64> {
        let until = i64::try_from(until_ms).ok()?;
        let until = Zoned::new(Timestamp::from_millisecond(until).ok()?, self.zone.clone());
        let last = self.cron.find_previous_occurrence(&until, true).ok()?;
        let last_ms = u64::try_from(last.timestamp().as_millisecond()).ok()?;
        (last_ms <= until_ms).then_some(last_ms)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn ms(text: &str) -> u64 {
        u64::try_from(text.parse::<Timestamp>().unwrap().as_millisecond()).unwrap()
    }

    fn next(cron: &str, zone: &str, after: &str) -> Option<u64> {
        Pattern::parse(cron, zone).unwrap().next_ms(ms(after))
    }

    /// proves: J10
    #[test]
    fn patterns_fire_in_their_zone() {
        let at = "2026-11-26T08:00:00Z";
        assert_eq!(next("*/15 * * * *", "UTC", at), Some(ms("2026-11-26T08:15:00Z")));
        assert_eq!(next("30 6 * * *", "Europe/Berlin", at), Some(ms("2026-11-27T05:30:00Z")));
        assert_eq!(next("0 9 * * MON", "Asia/Tokyo", at), Some(ms("2026-11-30T00:00:00Z")));
        assert_eq!(next("@hourly", "UTC", at), Some(ms("2026-11-26T09:00:00Z")));
        assert_eq!(next("*/10 * * * * *", "UTC", at), Some(ms("2026-11-26T08:00:10Z")));
        let pattern = Pattern::parse("0 * * * *", "UTC").unwrap();
        assert_eq!(pattern.last_ms(ms(at)), Some(ms(at)), "this very moment counts");
        assert_eq!(pattern.last_ms(ms(at) - 1), Some(ms("2026-11-26T07:00:00Z")));
    }

    /// Clocks go forward: what falls into the gap fires behind it. They go back: once.
    ///
    /// fault: T1
    #[test]
    fn changes_of_the_clock_neither_lose_nor_double() {
        let berlin = "Europe/Berlin";
        let spring = next("30 2 * * *", berlin, "2027-03-27T12:00:00Z").unwrap();
        assert!(spring <= ms("2027-03-28T02:00:00Z"), "{spring}");
        let behind = Pattern::parse("30 2 * * *", berlin).unwrap().next_ms(spring);
        assert_eq!(behind, Some(ms("2027-03-29T00:30:00Z")));
        let autumn = next("30 2 * * *", berlin, "2026-10-24T12:00:00Z").unwrap();
        let behind = Pattern::parse("30 2 * * *", berlin).unwrap().next_ms(autumn);
        assert_eq!(behind, Some(ms("2026-10-26T01:30:00Z")), "first at {autumn}");
    }

    #[test]
    fn what_is_no_pattern_or_never_comes_is_told() {
        for (cron, zone) in [
            ("", "UTC"),
            ("* * * *", "UTC"),
            ("61 * * * *", "UTC"),
            ("* * * * *", "Mars/Olympus"),
            ("* * * * *", ""),
        ] {
            Pattern::parse(cron, zone).unwrap_err();
        }
        assert_eq!(next("0 0 30 2 *", "UTC", "2026-11-26T08:00:00Z"), None);
        let pattern = Pattern::parse("* * * * *", "UTC").unwrap();
        for hostile in [u64::MAX, i64::MAX.unsigned_abs(), 253_402_300_799_999] {
            assert_eq!(pattern.next_ms(hostile), None);
        }
    }
}
