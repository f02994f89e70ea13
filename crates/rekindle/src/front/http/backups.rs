//! `POST /v1/backups`: takes a backup into a directory of the server's machine.
//!
//! Invariant: a backup that was taken, or failed, is in the audit log; one that was refused because
//! of what was asked for is not.

use std::path::{Path, PathBuf};

use axum::http::StatusCode;
use rekindle_database::Kind;
use rekindle_recovery::exit;
use rekindle_services::{NewAudit, one_line};
use schemars::JsonSchema;
use serde::Deserialize;

use super::operation::{Given, Operation, Shape, Taken, of};
use super::problem::Code;
use super::reply::{Answered, Refusal, about_place, ok};
use super::request::Asked;
use super::reviews::who;
use crate::backups;
use crate::boot::Recovered;
use crate::state::Server;

/// What is asked for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "TakeBackup")]
struct Wanted {
    /// An absolute path.
    to: PathBuf,
    /// Why.
    #[serde(default)]
    reason: String,
    /// Who says so, by their own account.
    #[serde(default)]
    by: String,
}

pub(super) const TAKE: Operation = Operation {
    id: "takeBackup",
    tag: "server",
    summary: "Takes a backup into a directory of the server's machine.",
    about: "Answers once it is whole. 400 for a place that cannot hold it, 409 while another one \
            is taken or for a directory with backups of another history.",
    parameters: &[],
    takes: Some(Taken { shape: of::<Wanted>(), example: r#"{"to":"/var/backups/rekindle"}"# }),
    answers: &[Given::ok(
        "The backup.",
        Shape::Fields(&[
            ("number", "integer", "Of the backup in its directory."),
            ("to", "string", "The directory."),
            ("version", "integer", "The last version in it."),
            ("position", "integer", "The last position in it."),
            ("bytes", "integer", "Of its files."),
            ("continuous", "boolean", "Whether no moment since the earlier one is missing."),
        ]),
    )],
    refuses: &[Code::Conflict, Code::Full, Code::NoSpace],
    once: false,
};

/// Seals the journal, takes the backup, answers what it is.
pub(super) fn take(server: &Server, asked: &Asked) -> Answered {
    let Some(recovered) = server.serving() else { return Err(Refusal::NotNow) };
    let wanted: Wanted = asked.json()?;
    // What cannot be recorded is refused before anything is done.
    NewAudit { who: &wanted.by, why: &wanted.reason, ..NewAudit::default() }.check()?;
    let taken = recovered.database.backup(&wanted.to);
    let result = match &taken {
        Ok(backup) => backups::in_words(backup),
        Err(error) => format!("failed: {error}"),
    };
    let asked_for = |error: &rekindle_database::Error| {
        [Kind::Invalid, Kind::Conflict, Kind::Unavailable].contains(&error.kind())
    };
    if !taken.as_ref().is_err_and(asked_for) {
        record(recovered, &wanted, &result);
    }
    match taken {
        Ok(backup) => ok(&backups::taken(&backup)),
        Err(error) => Err(refusal(&error, &wanted.to)),
    }
}

/// Records it; the backup is what it is even where that cannot be written.
fn record(recovered: &Recovered, wanted: &Wanted, result: &str) {
    let (target, result) = (one_line(&wanted.to.display().to_string()), one_line(result));
    let who = one_line(&who(&wanted.by));
    let (action, why) = ("backup.take", wanted.reason.as_str());
    let entry = NewAudit { who: &who, action, target: &target, why, result: &result };
    if let Err(error) = recovered.services.audit().record(&entry) {
        tracing::warn!(%error, "a backup has no audit record");
    }
}

fn refusal(error: &rekindle_database::Error, to: &Path) -> Refusal {
    if let Some(status) = about_place(error, to) {
        return Refusal::with_code(status, error.exit_code(), error.to_string());
    }
    let (status, code) = match error.kind() {
        Kind::Invalid => (StatusCode::BAD_REQUEST, exit::REFUSED),
        Kind::Conflict => (StatusCode::CONFLICT, exit::REFUSED),
        Kind::Full => (StatusCode::INSUFFICIENT_STORAGE, exit::REFUSED),
        Kind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, exit::UNREACHABLE),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, error.exit_code()),
    };
    Refusal::with_code(status, code, error.to_string())
}
