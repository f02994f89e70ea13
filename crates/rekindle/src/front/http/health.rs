//! `/healthz` and `/v1/alerts`: how the server stands, and why.

use axum::http::StatusCode;
use serde::Serialize;
use serde_json::json;

use super::reply::{Answered, json, ok};
use super::request::Asked;
use crate::health::{self, HealthStatus, Status};
use crate::state::Server;

/// What `/healthz` says.
#[derive(Serialize)]
struct Shown {
    version: &'static str,
    status: crate::progress::Status,
    incarnation: Option<u64>,
    recovery_code: Option<i32>,
    durability: String,
    insecure_allow_remote: bool,
    poisoned: Option<String>,
    #[serde(flatten)]
    health: HealthStatus,
}

/// What an operator looks at first: 200 while it serves, degraded or not, otherwise 503.
pub(super) fn health(server: &Server, _: &Asked) -> Answered {
    let recovered = server.recovered();
    let health = health::of(server);
    let status = match health.system_health.status {
        Status::Ok | Status::Degraded => StatusCode::OK,
        Status::Failing => StatusCode::SERVICE_UNAVAILABLE,
    };
    let shown = Shown {
        version: env!("CARGO_PKG_VERSION"),
        status: server.progress.status(),
        incarnation: recovered.map(|recovered| recovered.report.incarnation),
        recovery_code: recovered.map(|recovered| recovered.report.code),
        durability: server.config.loss_window(),
        insecure_allow_remote: server.config.insecure_allow_remote,
        poisoned: recovered.and_then(|recovered| recovered.database.poisoned()),
        health,
    };
    Ok(json(status, &shown))
}

/// `/v1/alerts`: all rules.
pub(super) fn alerts(server: &Server, _: &Asked) -> Answered {
    ok(&json!({ "alerts": server.alerts.all() }))
}
