//! D6: versions are those of the journal; recovery gives none of its own.

use super::Check;
use crate::recovered::Recovered;

/// Holds the version that reads see against replay's and against those of the rows.
///
/// # Errors
/// When they differ.
pub fn check(recovered: &Recovered) -> Check {
    let (version, replayed) = (recovered.version, recovered.stats.final_version);
    if version != replayed {
        return Err(format!("reads see version {version}, replay ended at {replayed}"));
    }
    let newest = recovered.rows.values().map(|(version, _)| *version).max().unwrap_or(0);
    if newest > version {
        return Err(format!("a row has version {newest}, the store is at {version}"));
    }
    Ok(())
}
