//! Accepted losses as audit records: what an operator gave up offline is in the log of the store
//! that goes on, once.
//!
//! Invariant: a loss that has its record gets no second one, however often it is replayed.

use std::collections::BTreeSet;

use rekindle_database::AcceptedLoss;
use serde::Deserialize;

use crate::audit::{Audit, NewAudit, one_line};
use crate::bytes::truncated;
use crate::error::Error;
use crate::limits::AUDIT_TEXT_BYTES_MAX;

/// The action of such records.
const ACTION: &str = "repair.accept_loss";

/// What the repair wrote down with a loss.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Said {
    who: String,
    reason: String,
    wall_ms: u64,
}

/// Records those that have no record yet; answers how many.
pub(crate) fn record(audit: &Audit, losses: &[AcceptedLoss]) -> Result<u64, Error> {
    if losses.is_empty() {
        return Ok(0);
    }
    let known: BTreeSet<String> = audit.targets_of(ACTION)?;
    let mut recorded = 0;
    for loss in losses {
        let target = format!("lsn {}..{}", loss.from_lsn, loss.end_lsn);
        if known.contains(&target) {
            continue;
        }
        // What cannot be read is a record without words: the loss itself is told in any case.
        let said: Said = serde_json::from_slice(&loss.audit).unwrap_or_default();
        let (who, why) = (one_line(&said.who), one_line(&said.reason));
        let result = format!(
            "positions {} to {} are given up, accepted at {} (wall_ms); version {} comes next",
            loss.from_position, loss.to_position, said.wall_ms, loss.next_version
        );
        let who = if who.is_empty() { "repair".to_owned() } else { format!("{who} (repair)") };
        let entry = NewAudit {
            who: truncated(&who, AUDIT_TEXT_BYTES_MAX),
            action: ACTION,
            target: &target,
            why: &why,
            result: &result,
        };
        audit.record(&entry)?;
        recorded += 1;
    }
    Ok(recorded)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_a_repair_says_is_put_on_one_line() {
        let text = br#"{"who":"ada","reason":"disk\nreplaced","wall_ms":7,"findings":[]}"#;
        let said: Said = serde_json::from_slice(text).unwrap();
        assert_eq!((said.who.as_str(), said.wall_ms), ("ada", 7));
        assert_eq!(one_line(&said.reason), "disk replaced");
        assert_eq!(one_line(&"ü".repeat(2_000)).len(), AUDIT_TEXT_BYTES_MAX);
    }
}
