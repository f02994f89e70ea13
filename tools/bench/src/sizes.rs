//! Sizes and numbers as arguments write them, and as tables show them.
//!
//! Invariant: a size is written as in the configuration of a server.

use rekindle::config::values::parse_bytes;

/// A size: digits, and `KiB`, `MiB`, `GiB` or `TiB` behind them; not 0.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let found = parse_bytes(text).filter(|bytes| *bytes > 0);
    found.ok_or_else(|| "no size: write it as 64MiB, 20GiB or in bytes".to_owned())
}

/// A bound that may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit(pub(crate) Option<u64>);

impl std::str::FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self(None)),
            other => size(other).map(|bytes| Self(Some(bytes))),
        }
    }
}

/// A number of messages: digits, and `k` or `M` behind them; not 0.
pub(crate) fn count(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.strip_suffix('k') {
        Some(digits) => (digits, 1_000),
        None => text.strip_suffix('M').map_or((text, 1), |digits| (digits, 1_000_000)),
    };
    let found = digits.parse().ok().and_then(|number: u64| number.checked_mul(unit));
    let found = found.filter(|number| *number > 0);
    found.ok_or_else(|| "no number of messages: write it as 10000, 10k or 20M".to_owned())
}

/// The shortest writing of such a number.
pub(crate) fn show_count(number: u64) -> String {
    match number {
        n if n > 0 && n.is_multiple_of(1_000_000) => format!("{}M", n / 1_000_000),
        n if n > 0 && n.is_multiple_of(1_000) => format!("{}k", n / 1_000),
        n => n.to_string(),
    }
}

/// In MiB.
pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_configuration() {
        assert_eq!((size("20GiB"), size("1KiB"), size("77")), (Ok(20 << 30), Ok(1 << 10), Ok(77)));
        for wrong in ["", "0", "1G", "1.5GiB", "-1", "99999999999TiB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_limit_may_be_none() {
        assert_eq!("none".parse(), Ok(Limit(None)));
        assert_eq!("2GiB".parse(), Ok(Limit(Some(2 << 30))));
        assert!("nothing".parse::<Limit>().is_err());
    }

    #[test]
    fn counts_come_back() {
        for (text, number) in [("10k", 10_000), ("1M", 1_000_000), ("20M", 20_000_000), ("7", 7)] {
            assert_eq!((count(text), show_count(number).as_str()), (Ok(number), text));
        }
        for wrong in ["", "0k", "k", "1G", "1.5M", "99999999999999999M"] {
            assert!(count(wrong).is_err(), "{wrong}");
        }
    }
}
