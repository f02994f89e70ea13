//! Moments: the end of the newest backup, a position, a version, or a time.

use std::fmt;
use std::str::FromStr;

use rekindle_recovery::numbers::NUMBER_MAX;
use rekindle_recovery::report::civil_from_days;

use crate::replay::Until;

const DAY_MS: u64 = 86_400_000;

/// What to restore up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Moment {
    /// Everything of the newest backup.
    #[default]
    Newest,
    /// Up to this position of the journal.
    Position(u64),
    /// Up to this version.
    Version(u64),
    /// The transactions whose log time is at or before this one, milliseconds since the Unix epoch.
    /// A transaction's log time is that of its sync group.
    Time(u64),
}

impl Moment {
    /// Where replay stops.
    pub(crate) fn until(self) -> Until {
        match self {
            Self::Newest => Until::End,
            Self::Position(position) => Until::Position(position),
            Self::Version(version) => Until::Version(version),
            Self::Time(ms) => Until::LogTime(ms),
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newest => f.write_str("the newest backup"),
            Self::Position(position) => write!(f, "position {position}"),
            Self::Version(version) => write!(f, "version {version}"),
            Self::Time(ms) => write!(f, "time {}", rfc3339(*ms)),
        }
    }
}

impl FromStr for Moment {
    type Err = String;

    /// `POSITION`, `version:N`, `@MILLISECONDS`, or RFC 3339.
    fn from_str(text: &str) -> Result<Self, String> {
        let number = |digits: &str| {
            let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse::<u64>().ok().filter(|number| plain && *number <= NUMBER_MAX)
        };
        let moment = if let Some(version) = text.strip_prefix("version:") {
            number(version).map(Self::Version)
        } else if let Some(ms) = text.strip_prefix('@') {
            number(ms).map(Self::Time)
        } else if let Some(position) = number(text) {
            Some(Self::Position(position))
        } else {
            parse_rfc3339(text).map(Self::Time)
        };
        moment.ok_or_else(|| {
            "expected a position (1234), version:N, a time such as 2026-11-25T22:00:00Z, or \
             @MILLISECONDS since 1970"
                .to_owned()
        })
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, from year 1970 on (algorithm: Howard
/// Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`).
fn days_from_civil(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// A time as RFC 3339 in UTC, with milliseconds.
#[must_use]
pub fn rfc3339(ms: u64) -> String {
    let (days, rest) = (ms / DAY_MS, ms % DAY_MS);
    let (year, month, day) = civil_from_days(days);
    let (seconds, millis) = (rest / 1_000, rest % 1_000);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Milliseconds since the Unix epoch; fractions below are cut off.
fn parse_rfc3339(text: &str) -> Option<u64> {
    let mut rest = text.as_bytes();
    let mut digits = |count: usize, behind: &[u8]| -> Option<u64> {
        let (number, after) = rest.split_at_checked(count)?;
        if !number.iter().all(u8::is_ascii_digit) {
            return None;
        }
        if !behind.is_empty() && !after.first().is_some_and(|byte| behind.contains(byte)) {
            return None;
        }
        rest = after.get(usize::from(!behind.is_empty())..)?;
        std::str::from_utf8(number).ok()?.parse().ok()
    };
    let (year, month, day) = (digits(4, b"-")?, digits(2, b"-")?, digits(2, b"Tt ")?);
    let (hour, minute, second) = (digits(2, b":")?, digits(2, b":")?, digits(2, b"")?);
    let mut millis = 0;
    if let Some((b'.', fraction)) = rest.split_first() {
        let count = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (fraction, zone) =
            fraction.split_at_checked(count).filter(|_| (1..=9).contains(&count))?;
        let three = fraction.iter().chain(b"000").take(3);
        millis = three.fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
        rest = zone;
    }
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let month_days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    // A leap second counts as the first of the next minute.
    if year < 1970 || !(1..=month_days).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    let offset_seconds = parse_offset(rest)?;
    let utc = i64::try_from(seconds).ok()?.checked_sub(offset_seconds)?;
    Some(u64::try_from(utc).ok()? * 1_000 + millis)
}

/// `Z`, or an offset in seconds.
fn parse_offset(zone: &[u8]) -> Option<i64> {
    if let b"Z" | b"z" = zone {
        return Some(0);
    }
    let [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] = zone else { return None };
    let number = |a: &u8, b: &u8| {
        let plain = a.is_ascii_digit() && b.is_ascii_digit();
        plain.then(|| i64::from(a - b'0') * 10 + i64::from(b - b'0'))
    };
    let (hours, minutes) = (number(h1, h2)?, number(m1, m2)?);
    let seconds = (hours <= 23 && minutes <= 59).then_some(hours * 3_600 + minutes * 60)?;
    Some(if *sign == b'-' { -seconds } else { seconds })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn moments_are_read() {
        let read = |text: &str| text.parse::<Moment>();
        assert_eq!(read("17"), Ok(Moment::Position(17)));
        assert_eq!(read("version:17"), Ok(Moment::Version(17)));
        assert_eq!(read("@1700000000123"), Ok(Moment::Time(1_700_000_000_123)));
        let time = Ok(Moment::Time(1_795_644_000_000));
        assert_eq!(read("2026-11-25T22:00:00Z"), time);
        assert_eq!(read("2026-11-25t23:30:00+01:30"), time);
        assert_eq!(read("2026-11-25 12:00:00-10:00"), time);
        assert_eq!(read("2026-11-25T22:00:00.0009Z"), time);
        assert_eq!(read("2026-11-25T22:00:00.5Z"), Ok(Moment::Time(1_795_644_000_500)));
        assert_eq!(read("2026-11-25T22:00:00.123456789Z"), Ok(Moment::Time(1_795_644_000_123)));
        assert_eq!(read("1970-01-01T00:00:00Z"), Ok(Moment::Time(0)));
        assert_eq!(read("2024-02-29T00:00:00Z"), Ok(Moment::Time(1_709_164_800_000)));
        for wrong in [
            "",
            "-1",
            "+1",
            "1.5",
            "version:",
            "version:-1",
            "@",
            "@x",
            "now",
            "2026-11-25",
            "2026-11-25T22:00:00",
            "2026-13-25T22:00:00Z",
            "2026-02-29T22:00:00Z",
            "2026-11-25T24:00:00Z",
            "2026-11-25T22:60:00Z",
            "2026-11-25T22:00:00.Z",
            "2026-11-25T22:00:00+1:00",
            "2026-11-25T22:00:00Zx",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+00:01",
            "18446744073709551615",
            "2026-11-25T22:00:00.1234567890Z",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn times_round_trip(ms in 0..253_402_300_800_000_u64) {
            prop_assert_eq!(rfc3339(ms).parse::<Moment>(), Ok(Moment::Time(ms)));
        }

        #[test]
        fn hostile_text_is_refused_or_read(text in "[0-9TZ:+.@a-z-]{0,40}") {
            let _ = text.parse::<Moment>();
        }
    }
}
