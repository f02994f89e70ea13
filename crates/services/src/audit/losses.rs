//! Accepted losses as audit records: what an operator gave up offline is in the log of the store
//! that goes on, once.
//!
//! Invariant: a loss that has its record gets no second one, however often it is replayed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rekindle_database::AcceptedLoss;
use serde::Deserialize;

use crate::audit::{Audit, NewAudit, one_line};
use crate::bytes::truncated;
use crate::error::Error;
use crate::exec::Core;
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

/// How long after an attempt that failed the next one is made, milliseconds: each reads the log.
const RETRY_MS: u64 = 5_000;

/// The losses that the journal tells of are in the audit log, once each. A store that is full opens
/// nevertheless: it is tried again, and until it is done no checkpoint goes past them.
pub(crate) fn tell(core: &Arc<Core>) {
    let database = &core.database;
    let now_ms = database.log_time_ms();
    if !database.has_untold_losses() || now_ms < core.tell_at_ms.load(Ordering::Relaxed) {
        return;
    }
    match record(&Audit::new(Arc::clone(core)), database.accepted_losses()) {
        Ok(recorded) => {
            database.losses_told();
            if recorded > 0 {
                tracing::info!(recorded, "accepted losses are in the audit log");
            }
        }
        Err(error) => {
            core.tell_at_ms.store(now_ms.saturating_add(RETRY_MS), Ordering::Relaxed);
            tracing::warn!(%error, "an accepted loss has no audit record yet");
        }
    }
}

/// Records those that have no record yet; answers how many.
fn record(audit: &Audit, losses: &[AcceptedLoss]) -> Result<u64, Error> {
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
