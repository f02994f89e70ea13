//! Recovery mode over HTTP: what there is, and the operator's decisions.
//!
//! Invariant: served in recovery mode only; a decision names exactly what it accepts, and why.

use std::ops::Range;

use axum::http::StatusCode;
use rekindle_database::Error as DatabaseError;
use serde::Deserialize;
use serde_json::json;

use super::reply::{Answered, Refusal, ok};
use super::request::Asked;
use crate::recovery_mode::RecoveryMode;
use crate::repaired::{Repaired, parse_range};
use crate::state::Server;

/// Longest reason of a decision, bytes.
const REASON_BYTES_MAX: usize = 1_024;

/// A repair, as it is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RepairAsked {
    /// `FROM..TO`, TO not included.
    accept_loss: Vec<String>,
    /// Why.
    reason: String,
}

/// What is known of the directory, and what can be decided.
pub(super) fn show(server: &Server, _: &Asked) -> Answered {
    let mode = mode(server)?;
    let report = mode.report();
    ok(&json!({
        "code": report.code,
        "verdict": report.verdict_line(),
        "data": server.config.data,
        "accept_loss": mode.ranges(),
        "readable": server.recovered().is_some(),
        "report": report,
    }))
}

/// Accepts losses and repairs the store.
pub(super) fn repair(server: &Server, asked: &Asked) -> Answered {
    let RepairAsked { accept_loss, reason } = asked.json()?;
    if reason.trim().is_empty() || reason.len() > REASON_BYTES_MAX {
        let message = format!("a decision needs a reason of 1 to {REASON_BYTES_MAX} bytes");
        return Err(Refusal::new(StatusCode::BAD_REQUEST, message));
    }
    let accept = accept_loss.iter().map(|text| range(text)).collect::<Result<Vec<_>, _>>()?;
    let mode = mode(server)?;
    let repaired = mode.repair(server, accept, reason).map_err(refused)?;
    ok(&Repaired::new(repaired, false))
}

fn mode(server: &Server) -> Result<&RecoveryMode, Refusal> {
    server.recovery_mode().ok_or(Refusal::NotNow)
}

/// `FROM..TO` as two addresses of the log.
fn range(text: &str) -> Result<Range<u64>, Refusal> {
    parse_range(text).ok_or_else(|| {
        let message = format!("{text:?} is no range; write FROM..TO, as 'rekindle verify' says it");
        Refusal::new(StatusCode::BAD_REQUEST, message)
    })
}

/// Why a decision was not carried out.
fn refused(error: DatabaseError) -> Refusal {
    let status = match &error {
        DatabaseError::Invalid(_) => StatusCode::CONFLICT,
        DatabaseError::Locked(_) => StatusCode::LOCKED,
        DatabaseError::Corrupt(_) | DatabaseError::Refused { .. } => StatusCode::CONFLICT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let code = match &error {
        DatabaseError::Invalid(_) => rekindle_recovery::exit::REFUSED,
        error => error.exit_code(),
    };
    Refusal::with_code(status, code, error.to_string())
}
