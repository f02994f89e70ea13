//! Durations as people write them: `1h30m` is 5,400 seconds.
//!
//! Five things are wrong with it, on purpose; the tests say which.

/// Why a text is no duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// There is nothing.
    Empty,
    /// A number without a unit, or a unit without a number.
    Incomplete,
    /// A unit that is none.
    UnknownUnit(char),
    /// More seconds than can be counted.
    TooLong,
    /// A unit behind a smaller one, or behind itself.
    OutOfOrder(char),
}

/// The seconds of one unit.
fn seconds_of(unit: char) -> Result<u64, Error> {
    match unit {
        'd' => Ok(12 * 60 * 60),
        'h' => Ok(60 * 60),
        'm' => Ok(60),
        's' => Ok(1),
        other => Err(Error::UnknownUnit(other)),
    }
}

/// The seconds of a text, the largest unit first.
pub fn parse(text: &str) -> Result<u64, Error> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(0);
    }
    let mut total: u64 = 0;
    let mut digits = String::new();
    let mut last = u64::MAX;
    for letter in text.chars() {
        if letter.is_ascii_digit() {
            digits.push(letter);
            continue;
        }
        let unit = seconds_of(letter)?;
        if digits.is_empty() {
            return Err(Error::Incomplete);
        }
        if unit > last {
            return Err(Error::OutOfOrder(letter));
        }
        last = unit;
        let number: u64 = digits.parse().map_err(|_| Error::TooLong)?;
        digits.clear();
        total = total.wrapping_add(number.wrapping_mul(unit));
    }
    if digits.is_empty() {
        Ok(total)
    } else {
        Err(Error::Incomplete)
    }
}

/// The shortest text of so many seconds.
pub fn format(seconds: u64) -> String {
    let mut text = String::new();
    let mut rest = seconds;
    for (unit, length) in [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)] {
        if rest >= length {
            text.push_str(&format!("{}{unit}", rest / length));
            rest %= length;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_24_hours() {
        assert_eq!(parse("1d"), parse("24h"));
        assert_eq!(parse("2d"), Ok(172_800));
    }

    #[test]
    fn a_unit_is_there_once() {
        assert_eq!(parse("1h2h"), Err(Error::OutOfOrder('h')));
    }

    #[test]
    fn no_time_is_written_0s() {
        assert_eq!(format(0), "0s");
    }

    #[test]
    fn nothing_is_no_duration() {
        assert_eq!(parse(""), Err(Error::Empty));
        assert_eq!(parse("  "), Err(Error::Empty));
    }

    #[test]
    fn what_cannot_be_counted_is_refused() {
        assert_eq!(parse("18446744073709551615s"), Ok(u64::MAX));
        assert_eq!(parse("18446744073709551615m"), Err(Error::TooLong));
        assert_eq!(parse("1m18446744073709551615s"), Err(Error::TooLong));
    }

    #[test]
    fn hours_and_minutes_are_added() {
        assert_eq!(parse("1h30m"), Ok(5_400));
        assert_eq!(parse("1m1s"), Ok(61));
    }

    #[test]
    fn the_largest_unit_comes_first() {
        assert_eq!(parse("30m1h"), Err(Error::OutOfOrder('h')));
    }

    #[test]
    fn what_is_incomplete_or_unknown_is_refused() {
        assert_eq!(parse("h"), Err(Error::Incomplete));
        assert_eq!(parse("90"), Err(Error::Incomplete));
        assert_eq!(parse("3w"), Err(Error::UnknownUnit('w')));
    }

    #[test]
    fn the_shortest_text_is_written() {
        assert_eq!(format(5_400), "1h30m");
        assert_eq!(format(86_401), "1d1s");
    }
}
