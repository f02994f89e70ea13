//! The runs of this store's servers: when each began and ended, and why.

use axum::http::StatusCode;
use serde_json::json;

use super::reply::{Answered, Refusal, ok};
use super::request::Asked;
use crate::runs::files::{self, KEPT};
use crate::state::Server;

/// Runs of a page whose length nobody asked for.
const PAGE: u64 = 100;

/// `/v1/runs?limit=N`: the newest first.
pub(super) fn list(server: &Server, asked: &Asked) -> Answered {
    let limit = asked.number("limit", 1..=KEPT as u64, PAGE)?;
    let limit = usize::try_from(limit).unwrap_or(KEPT);
    let (mut runs, unreadable) = files::last(&server.env, &server.config.data, limit)
        .map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    runs.reverse();
    ok(&json!({ "runs": runs, "unreadable": unreadable }))
}

/// `/v1/runs/{number}`.
pub(super) fn show(server: &Server, asked: &Asked) -> Answered {
    let number = asked.number("number", 1..=u64::MAX, 0)?;
    let read = files::read(&server.env, &server.config.data, number);
    ok(&read.map_err(|error| {
        let message = format!("run {number} is not recorded here: {error}");
        Refusal::new(StatusCode::NOT_FOUND, message)
    })?)
}
