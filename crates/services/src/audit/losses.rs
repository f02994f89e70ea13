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
    /// The whole loss; the record may stand for a piece of it.
    from_position: Option<u64>,
    to_position: Option<u64>,
    next_version: Option<u64>,
    findings: Vec<Accepted>,
}

/// A range that was accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Accepted {
    from: u64,
    to: u64,
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
    let mut known: BTreeSet<String> = audit.targets_of(ACTION)?;
    let mut recorded = 0;
    for (at, loss) in losses.iter().enumerate() {
        // What cannot be read is a record without words: the loss itself is told in any case.
        let said: Said = serde_json::from_slice(&loss.audit).unwrap_or_default();
        let result = match loss.held_records {
            true => of_loss(loss, losses.get(at..).unwrap_or_default(), &said),
            false => format!(
                "accepted at {} (wall_ms): it held no record that is not elsewhere, nothing else \
                 was lost",
                said.wall_ms
            ),
        };
        for Accepted { from, to } in places(loss, &said) {
            let target = format!("lsn {from}..{to}");
            if known.contains(&target) {
                continue;
            }
            add(audit, &target, &said, &result)?;
            known.insert(target);
            recorded += 1;
        }
    }
    Ok(recorded)
}

/// The addresses that are told: those of the loss, or where nothing was lost those of what was
/// accepted.
fn places(loss: &AcceptedLoss, said: &Said) -> Vec<Accepted> {
    let own = Accepted { from: loss.from_lsn, to: loss.end_lsn };
    if loss.held_records || said.findings.is_empty() { vec![own] } else { said.findings.clone() }
}

/// The whole loss, of which this may be the first piece that replay met; its pieces follow.
fn of_loss(loss: &AcceptedLoss, rest: &[AcceptedLoss], said: &Said) -> String {
    let same = |it: &&AcceptedLoss| {
        it.held_records && (it.from_lsn, it.end_lsn) == (loss.from_lsn, loss.end_lsn)
    };
    let pieces = || rest.iter().filter(same);
    let met_to = pieces().map(|it| it.to_position).max().unwrap_or(loss.to_position);
    let met_next = pieces().map(|it| it.next_version).max().unwrap_or(loss.next_version);
    let from = said.from_position.unwrap_or(loss.from_position).min(loss.from_position);
    let to = said.to_position.unwrap_or(met_to).max(met_to);
    let next = said.next_version.unwrap_or(met_next).max(met_next);
    format!(
        "positions {from} to {to} are given up, accepted at {} (wall_ms); version {next} comes \
         next",
        said.wall_ms
    )
}

fn add(audit: &Audit, target: &str, said: &Said, result: &str) -> Result<(), Error> {
    let (who, why) = (one_line(&said.who), one_line(&said.reason));
    let who = if who.is_empty() { "repair".to_owned() } else { format!("{who} (repair)") };
    let entry = NewAudit {
        who: truncated(&who, AUDIT_TEXT_BYTES_MAX),
        action: ACTION,
        target,
        why: &why,
        result,
    };
    audit.record(&entry).map(drop)
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

    fn piece(from_position: u64, to_position: u64, audit: &str) -> AcceptedLoss {
        AcceptedLoss {
            position: from_position,
            from_position,
            to_position,
            from_lsn: 100,
            end_lsn: 900,
            next_version: to_position,
            held_records: true,
            audit: audit.as_bytes().to_vec(),
        }
    }

    /// A loss has a record for each place at which a replay may begin: the whole of it is told,
    /// also by a replay that met only the last.
    #[test]
    fn a_loss_in_pieces_is_told_whole() {
        let whole = r#"{"from_position":3,"to_position":9,"next_version":9,"wall_ms":7}"#;
        let told = "positions 3 to 9 are given up, accepted at 7 (wall_ms); version 9 comes next";
        let said: Said = serde_json::from_str(whole).unwrap();
        let last = piece(6, 9, whole);
        assert_eq!(of_loss(&last, std::slice::from_ref(&last), &said), told);
        // Written before its records said so.
        let both = [piece(3, 5, ""), piece(6, 9, "")];
        let said = Said { wall_ms: 7, ..Said::default() };
        assert_eq!(of_loss(&both[0], &both, &said), told);
        assert_eq!(places(&both[0], &said), [Accepted { from: 100, to: 900 }]);
    }
}
