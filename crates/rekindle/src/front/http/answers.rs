//! What the HTTP routes answer. Nothing here changes anything.

use axum::http::{StatusCode, header};
use axum::response::IntoResponse as _;
use rekindle_services::queues::QueueInfo;
use serde_json::{Value, json};

use super::reply::{Answered, Refusal, ok};
use super::request::Asked;
use crate::boot::Recovered;
use crate::metrics;
use crate::progress::Stage;
use crate::state::Server;

/// Most queues of one page.
const QUEUES_PAGE: u64 = 1_000;

/// The process lives.
pub(super) fn alive(_: &Server, _: &Asked) -> Answered {
    ok(&json!({ "alive": true }))
}

/// Whether the start is over; it stays so to the end.
pub(super) fn started(server: &Server, _: &Asked) -> Answered {
    let status = server.progress.status();
    if status.stage < Stage::RecoveryMode {
        return Err(Refusal::NotNow);
    }
    ok(&status)
}

/// Whether work is accepted; otherwise how far the start is.
pub(super) fn ready(server: &Server, _: &Asked) -> Answered {
    let status = server.progress.status();
    if !status.ready {
        return Err(Refusal::NotNow);
    }
    ok(&status)
}

/// Metrics in the OpenMetrics text format.
pub(super) fn metrics(server: &Server, _: &Asked) -> Answered {
    let text = metrics::encode(server)
        .map_err(|fault| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, fault.to_string()))?;
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}

/// Every limit; those that rest on the memory of the machine once the store is open.
pub(super) fn limits(server: &Server, _: &Asked) -> Answered {
    let mut limits = server.config.limits.list();
    if let Some(recovered) = server.recovered() {
        let state_bytes = recovered.database.stats().max_state_bytes;
        limits.extend(crate::front::limits::of_state(state_bytes));
    }
    ok(&json!({ "limits": limits }))
}

/// How the database stands.
pub(super) fn stats(server: &Server, _: &Asked) -> Answered {
    let stats = recovered(server)?.database.stats();
    ok(&json!({
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
        "predicted_replay_micros": stats.predicted_replay_micros,
        "replay_micros": stats.replay_micros,
        "log_time_ms": stats.log_time_ms,
        "durable_position": stats.durable_position,
        "disk_available_bytes": stats.disk.available_bytes,
        "disk_reserve_bytes": stats.disk.reserve_bytes,
        "disk_low_mark_bytes": stats.disk.low_mark_bytes,
        "disk_low": stats.disk.low,
        "disk_exhausted": stats.disk.exhausted,
    }))
}

/// A page of queues: `?after=NAME&limit=N`.
pub(super) fn queues(server: &Server, asked: &Asked) -> Answered {
    let limit = asked.number("limit", 1..=QUEUES_PAGE, QUEUES_PAGE)?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let after = asked.text("after").unwrap_or("");
    let (queues, more) = recovered(server)?.services.queues().list(after, limit)?;
    let queues: Vec<Value> = queues.iter().map(show).collect();
    ok(&json!({ "queues": queues, "more": more }))
}

/// One queue.
pub(super) fn queue(server: &Server, asked: &Asked) -> Answered {
    let name = asked.text("name").unwrap_or("");
    ok(&show(&recovered(server)?.services.queues().show(name)?))
}

/// What was recovered, once it was.
pub(super) fn recovered(server: &Server) -> Result<&Recovered, Refusal> {
    server.recovered().ok_or(Refusal::NotNow)
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
