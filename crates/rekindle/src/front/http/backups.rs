//! `POST /v1/backups`: takes a backup into a directory of the server's machine.

use std::path::{Path, PathBuf};

use axum::http::StatusCode;
use rekindle_database::Kind;
use rekindle_recovery::exit;
use serde::Deserialize;

use super::reply::{Answered, Refusal, about_place, ok};
use super::request::Asked;
use crate::backups;
use crate::state::Server;

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// An absolute path.
    to: PathBuf,
}

/// Seals the journal, takes the backup, answers what it is.
pub(super) fn take(server: &Server, asked: &Asked) -> Answered {
    let Some(recovered) = server.serving() else { return Err(Refusal::NotNow) };
    let wanted: Wanted = asked.json()?;
    match recovered.database.backup(&wanted.to) {
        Ok(backup) => ok(&backups::taken(&backup)),
        Err(error) => Err(refusal(&error, &wanted.to)),
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
