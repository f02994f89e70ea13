//! Durations as people write them: `500ms`, `30s`, `5m`, `12h`.

use std::time::Duration;

/// Reads a whole number with its unit.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number
        .parse()
        .map_err(|_| format!("{text:?} is no duration; write 500ms, 30s, 5m or 12h"))?;
    let millis = match unit {
        "ms" => Some(number),
        "s" => number.checked_mul(1_000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        "" => {
            return Err(format!(
                "{text:?} has no unit; write {text}ms, {text}s, {text}m or {text}h"
            ));
        }
        _ => return Err(format!("{unit:?} is no unit of time; use ms, s, m or h")),
    };
    millis.map(Duration::from_millis).ok_or_else(|| format!("{text:?} is too long"))
}

/// Writes milliseconds with the largest unit that stays whole: `30s`, `1500ms`.
pub(super) fn short(millis: u64) -> String {
    let units = [(3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let whole = units.into_iter().find(|(unit, _)| millis > 0 && millis.is_multiple_of(*unit));
    match whole {
        Some((unit, name)) => format!("{}{name}", millis / unit),
        None if millis == 0 => "0s".to_owned(),
        None => format!("{millis}ms"),
    }
}

/// Milliseconds as whole seconds, rounded up, for `next in 27 s`.
pub(super) const fn seconds_up(millis: u64) -> u64 {
    millis.div_ceil(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_number_and_a_unit() {
        assert_eq!(parse("0s"), Ok(Duration::ZERO));
        assert_eq!(parse("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(parse("12h"), Ok(Duration::from_secs(43_200)));
        for wrong in ["", "s", "10", "-1s", "1.5s", "1 s", "1d", "1S", "99999999999999999999s"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert!(parse("18446744073709551615h").is_err(), "an overflow is no duration");
    }

    #[test]
    fn what_is_written_can_be_read() {
        for millis in [0, 1, 999, 1_000, 1_500, 60_000, 90_000, 3_600_000] {
            assert_eq!(parse(&short(millis)), Ok(Duration::from_millis(millis)));
        }
        assert_eq!((short(30_000), short(1_500)), ("30s".into(), "1500ms".into()));
        assert_eq!((seconds_up(0), seconds_up(1), seconds_up(27_000)), (0, 1, 27));
    }
}
