//! What the HTTP routes answer. Nothing here changes anything.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use rekindle_services::queues::QueueInfo;
use serde_json::{Value, json};

use super::table::{Parameters, error, json_answer, unavailable};
use crate::metrics;
use crate::progress::Stage;
use crate::state::Server;

/// Most queues of one page.
const QUEUES_PAGE: usize = 1_000;

/// The process lives.
pub(super) fn alive(_: &Server, _: &Parameters) -> Response {
    json_answer(StatusCode::OK, &json!({ "alive": true }))
}

/// Whether the start is over; it stays so to the end.
pub(super) fn started(server: &Server, _: &Parameters) -> Response {
    let status = server.progress.status();
    if status.stage >= Stage::Ready {
        return json_answer(StatusCode::OK, &status);
    }
    unavailable(server)
}

/// Whether work is accepted; otherwise how far the start is.
pub(super) fn ready(server: &Server, _: &Parameters) -> Response {
    let status = server.progress.status();
    if status.ready {
        return json_answer(StatusCode::OK, &status);
    }
    unavailable(server)
}

/// What an operator looks at first.
pub(super) fn health(server: &Server, _: &Parameters) -> Response {
    let recovered = server.recovered();
    let poisoned = recovered.and_then(|recovered| recovered.database.poisoned());
    let value = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "status": server.progress.status(),
        "incarnation": recovered.map(|recovered| recovered.report.incarnation),
        "recovery_code": recovered.map(|recovered| recovered.report.code),
        "durability": server.config.loss_window(),
        "insecure_allow_remote": server.config.insecure_allow_remote,
        "poisoned": poisoned,
    });
    let status = match (server.progress.status().ready, poisoned) {
        (true, None) => StatusCode::OK,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    json_answer(status, &value)
}

/// Metrics in the OpenMetrics text format.
pub(super) fn metrics(server: &Server, _: &Parameters) -> Response {
    match metrics::encode(server) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(fault) => error(StatusCode::INTERNAL_SERVER_ERROR, &fault.to_string()),
    }
}

/// Every limit; those that rest on the memory of the machine once the store is open.
pub(super) fn limits(server: &Server, _: &Parameters) -> Response {
    let mut limits = server.config.limits.list();
    if let Some(recovered) = server.recovered() {
        let state_bytes = recovered.database.stats().max_state_bytes;
        limits.extend(crate::front::limits::of_state(state_bytes));
    }
    json_answer(StatusCode::OK, &json!({ "limits": limits }))
}

/// The report of this run's recovery.
pub(super) fn recovery(server: &Server, _: &Parameters) -> Response {
    match server.recovered() {
        Some(recovered) => json_answer(StatusCode::OK, &recovered.report),
        None => unavailable(server),
    }
}

/// How the database stands.
pub(super) fn stats(server: &Server, _: &Parameters) -> Response {
    let Some(recovered) = server.recovered() else { return unavailable(server) };
    let stats = recovered.database.stats();
    let value = json!({
        "visible_version": stats.visible_version,
        "latest_version": stats.latest_version,
        "commits": stats.commits,
        "conflicts": stats.conflicts,
        "refused_full": stats.refused_full,
        "state_bytes": stats.state_bytes,
        "state_bytes_max": stats.max_state_bytes,
        "history_bytes": stats.history_bytes,
        "oldest_version": stats.oldest_version,
        "checkpoints": stats.checkpoints,
        "checkpoints_failed": stats.checkpoints_failed,
        "checkpoint_micros": stats.checkpoint_micros,
        "predicted_recovery_micros": stats.predicted_recovery_micros,
        "log_time_ms": stats.log_time_ms,
        "durable_position": stats.durable_position,
    });
    json_answer(StatusCode::OK, &value)
}

/// A page of queues: `?after=NAME&limit=N`.
pub(super) fn queues(server: &Server, parameters: &Parameters) -> Response {
    let Some(recovered) = server.recovered() else { return unavailable(server) };
    let after = parameters.get("after").map_or("", String::as_str);
    let limit = match parameters.get("limit").map(|text| text.parse::<usize>()) {
        None => QUEUES_PAGE,
        Some(Ok(limit)) if (1..=QUEUES_PAGE).contains(&limit) => limit,
        Some(_) => {
            let message = format!("limit is not a whole number from 1 to {QUEUES_PAGE}");
            return error(StatusCode::BAD_REQUEST, &message);
        }
    };
    match recovered.services.queues().list(after, limit) {
        Ok((queues, more)) => {
            let queues: Vec<Value> = queues.iter().map(show).collect();
            json_answer(StatusCode::OK, &json!({ "queues": queues, "more": more }))
        }
        Err(fault) => refused(&fault),
    }
}

/// One queue.
pub(super) fn queue(server: &Server, parameters: &Parameters) -> Response {
    let Some(recovered) = server.recovered() else { return unavailable(server) };
    let name = parameters.get("name").map_or("", String::as_str);
    match recovered.services.queues().show(name) {
        Ok(queue) => json_answer(StatusCode::OK, &show(&queue)),
        Err(fault) => refused(&fault),
    }
}

/// A queue as JSON.
fn show(queue: &QueueInfo) -> Value {
    json!({
        "name": queue.name,
        "visibility_ms": queue.settings.visibility_ms,
        "max_attempts": queue.settings.max_attempts,
        "dead_letter": queue.settings.dead_letter,
        "created_ms": queue.created_ms,
        "ready": queue.stats.ready,
        "leased": queue.stats.leased,
        "delayed": queue.stats.delayed,
        "review": queue.stats.review,
        "keys": queue.stats.keys,
        "next_expiry_ms": queue.stats.next_expiry_ms,
        "next_ready_ms": queue.stats.next_ready_ms,
    })
}

/// A service's refusal as HTTP.
fn refused(fault: &rekindle_services::Error) -> Response {
    use rekindle_services::Kind;
    let status = match fault.kind() {
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Invalid => StatusCode::BAD_REQUEST,
        Kind::Conflict | Kind::Exists | Kind::Fenced => StatusCode::CONFLICT,
        Kind::Full => StatusCode::INSUFFICIENT_STORAGE,
        Kind::Retry | Kind::Poisoned => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Corrupt | Kind::Unknown | Kind::Compacted | Kind::Io => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    };
    error(status, fault.message())
}
