//! R2: recovering what was recovered changes nothing, and settles nothing again, but claims that an
//! executor of the first run had taken over: that one is dead, too.

use rekindle_recovery::{Action, ActionKind};

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
    let taken_over = resumed(first);
    if second.settled_hash != second.hash && taken_over == 0 {
        return Err("not idempotent: the second recovery settled something".to_owned());
    }
    let actions = second.led().iter().flat_map(|layer| &layer.actions);
    let actions: Vec<_> = actions.filter(|action| SETTLING.contains(&action.kind)).collect();
    if actions.iter().map(|action| count(action)).sum::<u64>() == taken_over {
        return Ok(());
    }
    Err(format!("not idempotent: {taken_over} claims were taken over, claim actions {actions:?}"))
}

/// Claims of dead executors that go on in this run.
fn resumed(recovered: &Recovered) -> u64 {
    let actions = recovered.led().iter().flat_map(|layer| &layer.actions);
    actions.filter(|action| action.kind == ActionKind::Resume).map(count).sum()
}

/// About how many units of work an action is.
fn count(action: &Action) -> u64 {
    let number = action.target.split_once(' ').map(|(number, _)| number.parse());
    number.and_then(Result::ok).unwrap_or(1)
}
