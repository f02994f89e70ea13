//! Numbers, sizes, times and durations as a person reads them.
//!
//! Invariant: every value has its unit, and no number is rounded so far that it says something
//! else: 0 is only said of 0.

use std::borrow::Cow;

/// A moment, whole seconds of UTC: `2026-11-25 22:16:03 UTC`.
pub(super) use rekindle_recovery::report::utc as moment;

/// A number with its thousands apart: `1,203`.
pub(super) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number and its noun: `1 queue`, `2 queues`.
pub(super) fn count(value: u64, one: &str, many: &str) -> String {
    format!("{} {}", number(value), if value == 1 { one } else { many })
}

/// A short time: `412 µs`, `38.2 ms`, `4.21 s`, `3 m 12 s`.
pub(super) fn micros(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..10_000 => format!("{}.{:02} ms", micros / 1_000, micros % 1_000 / 10),
        10_000..100_000 => format!("{}.{} ms", micros / 1_000, micros % 1_000 / 100),
        100_000..1_000_000 => format!("{} ms", micros / 1_000),
        1_000_000..10_000_000 => {
            format!("{}.{:02} s", micros / 1_000_000, micros % 1_000_000 / 10_000)
        }
        10_000_000..60_000_000 => {
            format!("{}.{} s", micros / 1_000_000, micros % 1_000_000 / 100_000)
        }
        _ => span(micros / 1_000),
    }
}

/// A long time: `12 s`, `3 m 12 s`, `2 h 5 m`, `4 d 3 h`.
pub(super) fn span(ms: u64) -> String {
    let seconds = ms / 1_000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) if ms < 1_000 => format!("{ms} ms"),
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} m {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {} m", minutes % 60),
        _ => format!("{} d {} h", number(days), hours % 24),
    }
}

/// How long ago something was, in one unit, so that what is old does not change each second:
/// `12 s`, `3 m`, `2 h`, `4 d`.
pub(super) fn age(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} m", seconds / 60),
        3_600..86_400 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", number(seconds / 86_400)),
    }
}

/// A text of at most so many characters; what was left out is an ellipsis.
pub(super) fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default().trim_end()),
    }
}

/// Millionths as a decimal number: `0`, `0.5`, `1,203.25`.
pub(super) fn millionths(micros: u64) -> String {
    let (whole, rest) = (number(micros / 1_000_000), format!("{:06}", micros % 1_000_000));
    match rest.trim_end_matches('0') {
        "" => whole,
        rest => format!("{whole}.{rest}"),
    }
}

/// What a program printed, as it can stand on a page: line ends and tabs stay, and what would move
/// a cursor, colour or turn a line around is a sign that one sees.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    let sign = |c: char| match c {
        c if is_printable(c) => c,
        '\0'..='\x1f' => char::from_u32(0x2400 + u32::from(c)).unwrap_or(c),
        '\x7f' => '\u{2421}',
        _ => char::REPLACEMENT_CHARACTER,
    };
    if text.chars().all(is_printable) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.replace("\r\n", "\n").chars().map(sign).collect())
}

/// Whether a character only stands where it is.
pub(super) fn is_printable(c: char) -> bool {
    match c {
        '\n' | '\t' => true,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => false,
        c => !c.is_control(),
    }
}

/// A size: `312 B`, `4.2 KiB`, `1.0 GiB`.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1 << 10 {
        return format!("{bytes} B");
    }
    let mut tenths = (u128::from(bytes) * 10) >> 10;
    let mut unit = UNITS[0];
    for next in UNITS.into_iter().skip(1) {
        if tenths < 10_240 {
            break;
        }
        (tenths, unit) = (tenths >> 10, next);
    }
    if tenths < 1_000 {
        format!("{}.{} {unit}", tenths / 10, tenths % 10)
    } else {
        format!("{} {unit}", tenths / 10)
    }
}

/// A moment for programs: `2026-11-25T22:16:03Z`.
pub(super) fn machine_moment(wall_ms: u64) -> String {
    moment(wall_ms).replacen(' ', "T", 1).replace(" UTC", "Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        for (value, text) in [(0, "0"), (999, "999"), (1_203, "1,203"), (1_000_000, "1,000,000")] {
            assert_eq!(number(value), text);
        }
        assert_eq!(count(1, "queue", "queues"), "1 queue");
        assert_eq!(count(0, "queue", "queues"), "0 queues");
    }

    #[test]
    fn times_are_readable() {
        let texts = [
            (0, "0 µs"),
            (999, "999 µs"),
            (1_234, "1.23 ms"),
            (38_290, "38.2 ms"),
            (412_000, "412 ms"),
            (4_215_000, "4.21 s"),
            (10_250_000, "10.2 s"),
            (192_000_000, "3 m 12 s"),
        ];
        for (value, text) in texts {
            assert_eq!(micros(value), text);
        }
        for (ms, text) in [(0, "0 ms"), (59_999, "59 s"), (7_500_000, "2 h 5 m")] {
            assert_eq!(span(ms), text);
        }
        assert_eq!(span(1_000 * 86_400 * 1_000), "1,000 d 0 h");
        for (ms, text) in [(999, "0 s"), (59_999, "59 s"), (60_000, "1 m"), (7_199_999, "1 h")] {
            assert_eq!(age(ms), text);
        }
        assert_eq!(age(1_000 * 86_400 * 1_000), "1,000 d");
    }

    #[test]
    fn texts_are_cut_between_characters() {
        for (text, most, short) in [("", 0, ""), ("né", 2, "né"), ("né e", 3, "né…"), ("é", 0, "…")]
        {
            assert_eq!(cut(text, most), short);
        }
    }

    #[test]
    fn millionths_are_decimal_numbers() {
        let shown = [0, 1, 500_000, 12_000_000, 1_203_250_000].map(millionths);
        assert_eq!(shown, ["0", "0.000001", "0.5", "12", "1,203.25"]);
    }

    /// What a terminal would obey is seen, and does nothing.
    #[test]
    fn what_was_printed_is_seen() {
        assert_eq!(printable("né\ta\nb"), "né\ta\nb");
        assert!(matches!(printable("plain"), Cow::Borrowed(_)));
        assert_eq!(printable("\x1b[31mred\0\x7f\r\nend\r"), "␛[31mred␀␡\nend␍");
        assert_eq!(printable("a\u{202e}b\u{9b}c\u{2066}"), "a\u{fffd}b\u{fffd}c\u{fffd}");
    }

    #[test]
    fn sizes_are_readable() {
        let texts = [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.0 KiB"),
            (102_400, "100 KiB"),
            (1 << 20, "1.0 MiB"),
            ((1 << 20) - 1, "1023 KiB"),
            (64 << 20, "64.0 MiB"),
            (5 << 30, "5.0 GiB"),
        ];
        for (value, text) in texts {
            assert_eq!(bytes(value), text);
        }
        assert!(bytes(u64::MAX).ends_with("PiB"));
    }

    /// Days with their names: the first, leap days, ends of years, centuries.
    #[test]
    fn moments_are_dates() {
        let texts = [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400_000, "2000-02-29 00:00:00 UTC"),
            (4_107_542_399_000, "2100-02-28 23:59:59 UTC"),
            (4_107_542_400_000, "2100-03-01 00:00:00 UTC"),
            (1_798_761_599_999, "2026-12-31 23:59:59 UTC"),
        ];
        for (ms, text) in texts {
            assert_eq!(moment(ms), text);
        }
        assert_eq!(machine_moment(0), "1970-01-01T00:00:00Z");
        assert!(!moment(u64::MAX).is_empty());
    }
}
