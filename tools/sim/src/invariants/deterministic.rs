//! R1: equal disks recover to equal stores, with equal reports.

use super::Check;
use crate::recovered::Recovered;

/// Holds two recoveries of equal disks against each other.
///
/// # Errors
/// When they differ in anything that can be seen.
pub fn check(one: &Recovered, other: &Recovered) -> Check {
    if (one.version, one.hash) != (other.version, other.hash) {
        return Err(format!(
            "not deterministic: version {} hash {:x}, then version {} hash {:x}",
            one.version, one.hash, other.version, other.hash
        ));
    }
    if one.report != other.report {
        return Err(format!(
            "not deterministic: reported {:?}, then {:?}",
            one.report, other.report
        ));
    }
    if one.settled_hash != other.settled_hash || one.led() != other.led() {
        return Err(format!("not deterministic: settled {:?}, then {:?}", one.led(), other.led()));
    }
    Ok(())
}
