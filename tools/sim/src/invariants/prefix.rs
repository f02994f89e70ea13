//! R3: the recovered state is the state after a prefix of the commit order: no hole, no half of a
//! transaction, every row with the version that wrote it.

use super::Check;
use crate::history::{History, Rows, difference};

/// Holds all rows against the reference at that version.
///
/// # Errors
/// With the first row that differs.
pub fn check(history: &History, version: u64, rows: &Rows) -> Check {
    let expected = history.state_at(version);
    let expected =
        expected.ok_or_else(|| format!("no prefix: version {version} was never committed"))?;
    if *expected == *rows {
        return Ok(());
    }
    let first = difference(&expected, rows).unwrap_or_default();
    Err(format!("no prefix: at version {version}, {first}"))
}
