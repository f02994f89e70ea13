//! R5: whatever was acknowledged before the crash is there after it.

use super::Check;
use crate::oracle::Bounds;

/// Holds the recovered version against what was acknowledged.
///
/// # Errors
/// When an acknowledged version is missing.
pub fn check(bounds: &Bounds, version: u64) -> Check {
    if version >= bounds.acknowledged {
        return Ok(());
    }
    let acknowledged = bounds.acknowledged;
    Err(format!("lost: version {acknowledged} was acknowledged, recovery ends at {version}"))
}
