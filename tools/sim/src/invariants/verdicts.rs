//! Torn or corrupt: what was synced and proved is never cut, what was not is never called lost.

use rekindle_recovery::{Acked, Report, Verdict};

use super::Check;

/// Looks at a report of a store whose proved bytes were damaged. `whole` says whether everything
/// acknowledged is there nevertheless (in a checkpoint, in a second copy).
///
/// # Errors
/// When the damage was cut away or not noticed.
pub fn proved(report: &Report, whole: bool) -> Check {
    let torn = report
        .findings()
        .find(|finding| finding.verdict == Some(Verdict::Torn) && finding.acked != Acked::No);
    match (torn, report.findings().any(|finding| finding.verdict == Some(Verdict::Corrupt))) {
        (Some(torn), _) if !whole => Err(format!("proved bytes were cut as torn: {torn}")),
        (None, false) if !whole => Err("proved bytes were damaged, and nothing was found".into()),
        _ => Ok(()),
    }
}

/// Looks at a report of a store of which only bytes that were never synced were damaged.
///
/// # Errors
/// When it calls that a loss.
pub fn unsynced(report: &Report) -> Check {
    super::never_refuses::check(report)
}
