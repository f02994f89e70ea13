//! Recovery mode over HTTP: what there is, and the operator's decisions.
//!
//! Invariant: served in recovery mode only; a decision names exactly what it accepts, and why.

use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};

use axum::http::StatusCode;
use rekindle_database::{Error as DatabaseError, REASON_BYTES_MAX, Salvage};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::operation::{Given, Operation, Shape, Taken, of};
use super::problem::Code;
use super::reply::{Answered, Refusal, about_place, ok};
use super::request::Asked;
use super::reviews;
use crate::recovery_mode::RecoveryMode;
use crate::repaired::{Repaired, parse_range, range_text};
use crate::state::Server;

/// A repair, as it is asked for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RepairStore")]
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
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SalvageStore")]
struct SalvageAsked {
    /// An absolute path on the server's machine.
    export: PathBuf,
}

pub(super) const SHOW: Operation = Operation {
    id: "getRecoveryMode",
    tag: "recovery mode",
    summary: "What the look at the directory found.",
    about: "And what can be decided about it.",
    parameters: &[],
    takes: None,
    answers: &[Given::ok(
        "What was found.",
        Shape::Fields(&[
            ("code", "integer", "The exit code of a start."),
            ("verdict", "string|null", "What was found, on one line."),
            ("data", "string", "The directory."),
            ("accept_loss", "array", "The ranges that a repair must accept."),
            ("plan", "object|null", "What a repair would do."),
            ("plan_refused", "string|null", "Why there is none."),
            ("decided", "array|null", "What was done here last."),
            ("outdated", "string|null", "Why this is of before that."),
            ("readable", "boolean", "Whether the store can be read."),
            ("report", "object", "The recovery report."),
        ]),
    )],
    refuses: &[],
    once: false,
};

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

pub(super) const REPAIR: Operation = Operation {
    id: "repairStore",
    tag: "recovery mode",
    summary: "Gives up corrupt ranges and repairs the store.",
    about: "409 when the ranges are not exactly the corrupt ones; the message names those.",
    parameters: &[],
    takes: Some(Taken {
        shape: of::<RepairAsked>(),
        example: r#"{"accept_loss":["4096..8192"],"reason":"no copy of it is left"}"#,
    }),
    answers: &[Given::ok(
        "The object of `repair --json`.",
        Shape::Fields(&[
            ("planned", "boolean", "Always false: it was done."),
            ("version", "integer", "The last version of the store."),
            ("accepted", "array", "What was accepted."),
            ("losses", "array", "What is lost."),
        ]),
    )],
    refuses: &[Code::Conflict, Code::Locked, Code::Internal, Code::NoSpace],
    once: false,
};

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

pub(super) const SALVAGE: Operation = Operation {
    id: "salvageStore",
    tag: "recovery mode",
    summary: "Writes out all that can be read.",
    about: "Into a new or empty folder of the server's machine.",
    parameters: &[],
    takes: Some(Taken {
        shape: of::<SalvageAsked>(),
        example: r#"{"export":"/var/tmp/salvaged"}"#,
    }),
    answers: &[Given::ok(
        "The object of `salvage --json`.",
        Shape::Fields(&[
            ("whole", "boolean", "Whether everything could be read."),
            ("rows", "integer", "How many were written."),
            ("keyspaces", "array", "Where they are."),
            ("unreadable", "array", "What could not be read."),
        ]),
    )],
    refuses: &[Code::Conflict, Code::Locked, Code::Internal, Code::NoSpace],
    once: false,
};

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
