//! Where the numbers of a run come from: the environment, so that a campaign can be replayed.
//!
//! Invariant: a run is a function of its seed and its scale; both are printed by whoever fails.

/// The seed: `REKINDLE_SEED`, or `default` where the ordinary tests run.
///
/// # Panics
/// When the variable is no number: a replay with another seed would prove nothing.
#[must_use]
pub fn seed(default: u64) -> u64 {
    number("REKINDLE_SEED").unwrap_or(default)
}

/// How many times the work of the ordinary test: `REKINDLE_SCALE`, or 1.
///
/// # Panics
/// When the variable is no number.
#[must_use]
pub fn scale() -> u64 {
    number("REKINDLE_SCALE").unwrap_or(1).max(1)
}

/// The one operation at which a run is to be crashed, to look at a violation again:
/// `REKINDLE_POINT`, or all.
///
/// # Panics
/// When the variable is no number.
#[must_use]
pub fn point() -> Option<u64> {
    number("REKINDLE_POINT")
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// A seed of its own for each thing that is drawn at one place of a run.
#[must_use]
pub fn mix(seed: u64, place: u64) -> u64 {
    // The finaliser of SplitMix64 (Steele, Lea, Flood, 2014): every bit depends on every bit.
    let mut mixed = seed ^ place.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}
