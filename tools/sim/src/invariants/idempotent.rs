//! R2: recovering what was recovered changes nothing, and settles nothing again.

use rekindle_recovery::ActionKind;

use super::Check;
use crate::recovered::Recovered;

/// Actions that settle a claim.
const SETTLING: [ActionKind; 4] =
    [ActionKind::Reclaim, ActionKind::Resume, ActionKind::Fail, ActionKind::Rebuild];

/// Holds a recovery of what another one left against that one.
///
/// # Errors
/// When the second changed something.
pub fn check(first: &Recovered, second: &Recovered) -> Check {
    if second.version != first.settled_version || second.hash != first.settled_hash {
        return Err(format!(
            "not idempotent: version {} hash {:x} was served, a second recovery finds version {} \
             hash {:x}",
            first.settled_version, first.settled_hash, second.version, second.hash
        ));
    }
    if second.settled_hash != second.hash {
        return Err("not idempotent: the second recovery settled something".to_owned());
    }
    let actions = second.led().iter().flat_map(|layer| &layer.actions);
    match actions.into_iter().find(|action| SETTLING.contains(&action.kind)) {
        Some(action) => Err(format!("not idempotent: a new claim action {action:?}")),
        None => Ok(()),
    }
}
