//! How far the numbers of a store go: a file's name or a forged structure must not bring a counter
//! to its end.
//!
//! Invariant: a number that a start accepts can be counted on from for longer than any machine
//! runs: what is stored goes to [`STORED_MAX`], names and what one run adds to [`NUMBER_MAX`].
//! Larger numbers are no numbers of ours: such a structure is damaged, such a name is unknown.

/// The largest number in a file's name, and of a record or a version in the journal.
pub const NUMBER_MAX: u64 = 1 << 62;

/// The largest number that a start goes on from.
pub const STORED_MAX: u64 = 1 << 61;

/// The highest run that a start goes on from: transaction ids have 24 bits for it. A crash loop of
/// years gets there; the data must then be exported into a new store.
pub const RUN_MAX: u64 = (1 << 24) - 3;

/// How far behind the newest named one a leftover of interrupted work can be numbered: each attempt
/// takes the next number.
const ATTEMPTS_MAX: u64 = 1 << 32;

/// Whether a file of this number can be a leftover of ours, where `newest` is the newest that is
/// named.
#[must_use]
pub fn is_near(number: u64, newest: u64) -> bool {
    number <= newest.saturating_add(ATTEMPTS_MAX).min(NUMBER_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_accepted_can_be_counted_on_from() {
        assert!(is_near(0, 0) && is_near(1 << 32, 0) && is_near(6, 7));
        assert!(!is_near((1 << 32) + 1, 0));
        assert!(is_near(STORED_MAX + (1 << 32), STORED_MAX));
        assert!(is_near(NUMBER_MAX, u64::MAX) && !is_near(NUMBER_MAX + 1, u64::MAX));
    }
}
