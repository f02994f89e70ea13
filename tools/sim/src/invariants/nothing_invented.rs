//! R4: recovery shows nothing that nobody had begun.

use super::Check;
use crate::oracle::Bounds;

/// Holds the recovered version against what was begun.
///
/// # Errors
/// When a version is there that did not exist yet.
pub fn check(bounds: &Bounds, version: u64) -> Check {
    if version <= bounds.begun {
        return Ok(());
    }
    Err(format!("invented: only version {} was begun, recovery shows {version}", bounds.begun))
}
