//! Values of configuration: from text, numbers and truth values to typed settings.
//!
//! Invariant: a value either becomes exactly what was written or is refused with what was expected;
//! nothing is clamped. Every parser takes text too, because the environment only has text.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use rekindle_journal::Durability;

/// A value as its source had it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Raw {
    /// Text: a TOML string, an environment variable, a flag.
    Text(String),
    /// A TOML integer.
    Integer(i64),
    /// A TOML boolean.
    Boolean(bool),
    /// Anything else, by the name of its type.
    Other(&'static str),
}

impl From<&toml::Value> for Raw {
    fn from(value: &toml::Value) -> Self {
        match value {
            toml::Value::String(text) => Self::Text(text.clone()),
            toml::Value::Integer(number) => Self::Integer(*number),
            toml::Value::Boolean(truth) => Self::Boolean(*truth),
            other => Self::Other(other.type_str()),
        }
    }
}

impl std::fmt::Display for Raw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Boolean(truth) => write!(f, "{truth}"),
            Self::Other(kind) => write!(f, "a value of type {kind}"),
        }
    }
}

/// Text, taken as it is.
pub(crate) fn text(raw: &Raw) -> Result<String, String> {
    match raw {
        Raw::Text(text) if !text.is_empty() => Ok(text.clone()),
        _ => Err(format!("{raw} is not a text")),
    }
}

/// A count within `least..=most`.
/// Up to a year, in milliseconds.
pub(crate) fn year(raw: &Raw) -> Result<u64, String> {
    let time = duration(raw, Duration::ZERO, Duration::from_secs(8_784 * 3_600))?;
    Ok(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// A text that may be empty.
pub(crate) fn text_or_nothing(raw: &Raw) -> Result<&str, String> {
    match raw {
        Raw::Text(text) => Ok(text),
        _ => Err(format!("{raw} is not a text")),
    }
}

pub(crate) fn count(raw: &Raw, least: u64, most: u64) -> Result<u64, String> {
    let number = match raw {
        Raw::Integer(number) => u64::try_from(*number).ok(),
        Raw::Text(text) => text.parse().ok(),
        _ => None,
    };
    let expected = || format!("{raw} is not a whole number from {least} to {most}");
    number.filter(|number| (least..=most).contains(number)).ok_or_else(expected)
}

/// A truth value: `true` or `false`.
pub(crate) fn truth(raw: &Raw) -> Result<bool, String> {
    match raw {
        Raw::Boolean(truth) => Ok(*truth),
        Raw::Text(text) if text == "true" => Ok(true),
        Raw::Text(text) if text == "false" => Ok(false),
        _ => Err(format!("{raw} is neither true nor false")),
    }
}

/// A size in bytes within `least..=most`: a number, or text such as `"64MiB"`.
pub(crate) fn bytes(raw: &Raw, least: u64, most: u64) -> Result<u64, String> {
    let size = match raw {
        Raw::Integer(number) => u64::try_from(*number).ok(),
        Raw::Text(text) => parse_bytes(text),
        _ => None,
    };
    let expected = || {
        let (least, most) = (show_bytes(least), show_bytes(most));
        format!("{raw} is not a size from {least} to {most} (bytes, or with KiB, MiB, GiB, TiB)")
    };
    size.filter(|size| (least..=most).contains(size)).ok_or_else(expected)
}

/// A duration within `least..=most`, written as `250ms`, `5s`, `10m` or `1h`.
pub(crate) fn duration(raw: &Raw, least: Duration, most: Duration) -> Result<Duration, String> {
    let duration = match raw {
        Raw::Text(text) => parse_duration(text),
        _ => None,
    };
    let expected = || {
        let (least, most) = (show_duration(least), show_duration(most));
        format!("{raw} is not a duration from {least} to {most} (a number and ms, s, m or h)")
    };
    duration.filter(|duration| (least..=most).contains(duration)).ok_or_else(expected)
}

/// `HOST:PORT`, where HOST is an address or `localhost`; a leading `http://` is accepted.
pub(crate) fn address(raw: &Raw) -> Result<SocketAddr, String> {
    let text = text(raw)?;
    let plain = text.strip_prefix("http://").unwrap_or(&text).trim_end_matches('/');
    let local = plain.strip_prefix("localhost:").and_then(|port| port.parse().ok());
    let local = local.map(|port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    let expected = || format!("{raw} is not HOST:PORT, such as 127.0.0.1:7611 or [::1]:7611");
    local.or_else(|| plain.parse().ok()).ok_or_else(expected)
}

/// One of the durability modes.
pub(crate) fn durability(raw: &Raw) -> Result<Durability, String> {
    match text(raw)?.as_str() {
        "strict" => Ok(Durability::Strict),
        "batched" => Ok(Durability::Batched),
        "relaxed" => Ok(Durability::Relaxed),
        _ => Err(format!("{raw} is none of strict, batched, relaxed")),
    }
}

/// Parses `250ms`, `5s`, `10m`, `1h`; `None` for anything else.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let ms_per_unit = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(ms_per_unit).map(Duration::from_millis)
}

/// Parses a size in bytes: digits, and `KiB`, `MiB`, `GiB` or `TiB` behind them.
#[must_use]
pub fn parse_bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let shift = match unit {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

/// The shortest exact writing of a size.
#[must_use]
pub fn show_bytes(size: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let fitting = units.iter().find(|(shift, _)| size > 0 && size.trailing_zeros() >= *shift);
    fitting.map_or_else(|| format!("{size}B"), |(shift, unit)| format!("{}{unit}", size >> shift))
}

/// The shortest exact writing of a duration (whole milliseconds).
#[must_use]
pub fn show_duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    let units = [(3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let fitting = units.iter().find(|(unit, _)| ms > 0 && ms.is_multiple_of(*unit));
    fitting.map_or_else(|| format!("{ms}ms"), |(unit, name)| format!("{}{name}", ms / unit))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn of(text: &str) -> Raw {
        Raw::Text(text.to_owned())
    }

    /// Text and numbers mean the same, and what is written comes back as it was written.
    #[test]
    fn values_round_trip() {
        for text in ["250ms", "5s", "10m", "1h", "90s"] {
            assert_eq!(show_duration(parse_duration(text).unwrap()), text);
        }
        for text in ["64MiB", "1GiB", "3KiB", "7B", "2TiB"] {
            assert_eq!(show_bytes(parse_bytes(text).unwrap()), text);
        }
        assert_eq!(bytes(&Raw::Integer(4_096), 0, 1 << 20), bytes(&of("4KiB"), 0, 1 << 20));
        assert_eq!(count(&Raw::Integer(3), 1, 8), count(&of("3"), 1, 8));
        assert_eq!(truth(&Raw::Boolean(true)), truth(&of("true")));
    }

    /// What cannot be meant is refused and never clamped.
    #[test]
    fn values_that_cannot_be_meant_are_refused() {
        for text in ["", "5", "s", "5d", "-5s", "5 s", "18446744073709551615h", "١s"] {
            assert_eq!(parse_duration(text), None, "{text:?}");
        }
        for text in ["", "MiB", "5MB", "5 KiB", "99999999999TiB"] {
            assert_eq!(parse_bytes(text), None, "{text:?}");
        }
        assert!(count(&Raw::Integer(-1), 0, 10).is_err());
        assert!(count(&Raw::Integer(11), 0, 10).is_err());
        assert!(truth(&of("yes")).is_err());
        assert!(duration(&Raw::Integer(5), Duration::ZERO, Duration::MAX).is_err());
    }

    /// Addresses are numbers or `localhost`: a name service is not asked at start.
    #[test]
    fn addresses_are_numbers_or_localhost() {
        assert_eq!(address(&of("localhost:7611")).unwrap(), "127.0.0.1:7611".parse().unwrap());
        assert_eq!(address(&of("http://[::1]:1/")).unwrap(), "[::1]:1".parse().unwrap());
        for text in ["7611", "example.com:1", "127.0.0.1", "localhost", "localhost:65536"] {
            assert!(address(&of(text)).is_err(), "{text}");
        }
    }
}
