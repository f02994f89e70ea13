//! Recovery mode over HTTP: what there is, and the operator's decisions.
//!
//! Invariant: served in recovery mode only; a decision names exactly what it accepts, and why.

use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};

use axum::http::StatusCode;
use rekindle_database::{Error as DatabaseError, REASON_BYTES_MAX, Salvage};
use serde::Deserialize;
use serde_json::{Value, json};

use super::reply::{Answered, Refusal, about_place, ok};
use super::request::Asked;
use super::reviews;
use crate::recovery_mode::RecoveryMode;
use crate::repaired::{Repaired, parse_range, range_text};
use crate::state::Server;

/// A repair, as it is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RepairAsked {
    /// `FROM..TO`, TO not included.
    accept_loss: Vec<String>,
    /// Why.
    reason: String,
    /// Who says so, by their own account.
    #[serde(default)]
    by: String,
}

/// A salvage, as it is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SalvageAsked {
    /// An absolute path on the server's machine.
    export: PathBuf,
}

/// What is known of the directory, and what can be decided.
pub(super) fn show(server: &Server, _: &Asked) -> Answered {
    let seen = mode(server)?.seen();
    let ranges: Vec<String> = seen.ranges.iter().map(range_text).collect();
    let (plan, refused) = match seen.plan {
        Some(Ok(plan)) => (Some(plan), None),
        Some(Err(reason)) => (None, Some(reason)),
        None => (None, None),
    };
    ok(&json!({
        "code": seen.report.code,
        "verdict": seen.report.verdict_line(),
        "data": server.config.data,
        "accept_loss": ranges,
        "plan": plan,
        "plan_refused": refused,
        "decided": seen.decided,
        "outdated": seen.outdated,
        "readable": server.recovered().is_some(),
        "report": seen.report,
    }))
}

/// Accepts losses and repairs the store.
pub(super) fn repair(server: &Server, asked: &Asked) -> Answered {
    let RepairAsked { accept_loss, reason, by } = asked.json()?;
    ok(&decide(server, &accept_loss, &reason, &reviews::who(&by))?)
}

/// Does that; what the page needs to do as well.
pub(in crate::front) fn decide(
    server: &Server,
    accept_loss: &[String],
    reason: &str,
    who: &str,
) -> Result<Repaired, Refusal> {
    let bounds = 1..=REASON_BYTES_MAX;
    if !bounds.contains(&reason.trim().len()) || who.len() > REASON_BYTES_MAX {
        let message = format!(
            "a decision needs a reason, and a name if any, of 1 to {REASON_BYTES_MAX} bytes"
        );
        return Err(Refusal::new(StatusCode::BAD_REQUEST, message));
    }
    let accept = accept_loss.iter().map(|text| range(text)).collect::<Result<Vec<_>, _>>()?;
    let reason = reason.trim().to_owned();
    mode(server)?.repair(server, accept, reason, who.to_owned()).map_err(|error| refused(&error))
}

/// Writes out all that can be read.
pub(super) fn salvage(server: &Server, asked: &Asked) -> Answered {
    let SalvageAsked { export } = asked.json()?;
    let done = write_out(server, &export)?;
    let said: Value = serde_json::from_str(&done.json).map_err(|error| {
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, format!("salvage.json: {error}"))
    })?;
    ok(&said)
}

/// Does that; what the page needs to do as well.
pub(in crate::front) fn write_out(server: &Server, export: &Path) -> Result<Salvage, Refusal> {
    if !export.is_absolute() {
        let message = "where to export to: an absolute path of the server's machine";
        return Err(Refusal::new(StatusCode::BAD_REQUEST, message));
    }
    mode(server)?.salvage(server, export).map_err(|error| match about_place(&error, export) {
        Some(status) => Refusal::with_code(status, error.exit_code(), error.to_string()),
        None => refused(&error),
    })
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
fn refused(error: &DatabaseError) -> Refusal {
    let status = match error {
        DatabaseError::Invalid(_) => StatusCode::CONFLICT,
        DatabaseError::Locked(_) => StatusCode::LOCKED,
        DatabaseError::Corrupt(_) | DatabaseError::Refused { .. } => StatusCode::CONFLICT,
        DatabaseError::Full(_) => StatusCode::INSUFFICIENT_STORAGE,
        DatabaseError::Io { source, .. } if source.kind() == ErrorKind::StorageFull => {
            StatusCode::INSUFFICIENT_STORAGE
        }
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let code = match error {
        DatabaseError::Invalid(_) => rekindle_recovery::exit::REFUSED,
        error => error.exit_code(),
    };
    Refusal::with_code(status, code, error.to_string())
}
