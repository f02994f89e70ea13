//! D6: a transaction id is given once, over any number of restarts and crashes.

use super::Check;

/// Holds the first id of a run against the last one that is known from before.
///
/// # Errors
/// When an id could be given twice.
pub fn check(before: u64, first: u64) -> Check {
    if first > before {
        return Ok(());
    }
    Err(format!("transaction id {first:#x} is given after {before:#x} was in use"))
}
