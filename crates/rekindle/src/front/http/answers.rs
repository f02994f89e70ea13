//! What the HTTP routes answer. Nothing here changes anything.

use axum::http::{StatusCode, header};
use axum::response::IntoResponse as _;
use serde_json::json;

use super::operation::{Field, Given, Operation, Shape};
use super::problem::Code;
use super::reply::{Answered, Refusal, ok};
use super::request::Asked;
use crate::boot::Recovered;
use crate::metrics;
use crate::progress::Stage;
use crate::state::Server;

/// How far a server is.
pub(super) const PROGRESS: &[Field] = &[
    ("ready", "boolean", "Whether work is accepted."),
    ("stage", "string", "Where the server stands."),
    ("elapsed_ms", "integer", "Since the process began to start."),
    ("estimate_ms", "integer|null", "What the last start took."),
    ("layer", "string|null", "The layer that recovers."),
    ("layer_stage", "string|null", "Its stage."),
    ("bytes_done", "integer", "Bytes that were read."),
    ("bytes_total", "integer", "Bytes that will have been read."),
    ("records_done", "integer", "Records that were read."),
    ("records_total", "integer|null", "Records that will have been read."),
    ("bytes_per_second", "integer", "The rate of the last moments."),
    ("remaining_ms", "integer|null", "What is left, where that can be told."),
];

pub(super) const ALIVE: Operation = Operation {
    id: "getLive",
    tag: "probes",
    summary: "Whether the process lives.",
    about: "200 from the first moment to the last.",
    parameters: &[],
    takes: None,
    answers: &[Given::ok("It does.", Shape::Fields(&[("alive", "boolean", "Always true.")]))],
    refuses: &[],
    once: false,
};

/// The process lives.
pub(super) fn alive(_: &Server, _: &Asked) -> Answered {
    ok(&json!({ "alive": true }))
}

pub(super) const STARTED: Operation = Operation {
    id: "getStarted",
    tag: "probes",
    summary: "Whether the start is over.",
    about: "200 once it is, and to the end; before that 503 with how far it is.",
    parameters: &[],
    takes: None,
    answers: &[Given::ok("It is over.", Shape::Fields(PROGRESS))],
    refuses: &[Code::Unavailable],
    once: false,
};

/// Whether the start is over; it stays so to the end.
pub(super) fn started(server: &Server, _: &Asked) -> Answered {
    let status = server.progress.status();
    if status.stage < Stage::RecoveryMode {
        return Err(Refusal::NotNow);
    }
    ok(&status)
}

pub(super) const READY: Operation = Operation {
    id: "getReady",
    tag: "probes",
    summary: "Whether work is accepted.",
    about: "200 while it is; before that and while shutting down 503 with how far the server is.",
    parameters: &[],
    takes: None,
    answers: &[Given::ok("It is.", Shape::Fields(PROGRESS))],
    refuses: &[Code::Unavailable],
    once: false,
};

/// Whether work is accepted; otherwise how far the start is.
pub(super) fn ready(server: &Server, _: &Asked) -> Answered {
    let status = server.progress.status();
    if !status.ready {
        return Err(Refusal::NotNow);
    }
    ok(&status)
}

pub(super) const METRICS: Operation = Operation {
    id: "getMetrics",
    tag: "server",
    summary: "Metrics.",
    about: "In the OpenMetrics text format; docs/reference.md names each of them.",
    parameters: &[],
    takes: None,
    answers: &[Given::ok("The metrics.", Shape::Text(metrics::CONTENT_TYPE))],
    refuses: &[Code::Internal],
    once: false,
};

/// Metrics in the OpenMetrics text format.
pub(super) fn metrics(server: &Server, _: &Asked) -> Answered {
    let text = metrics::encode(server)
        .map_err(|fault| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, fault.to_string()))?;
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}

pub(super) const LIMITS: Operation = Operation {
    id: "getLimits",
    tag: "server",
    summary: "Every limit.",
    about: "Each with its value, the key that configures it, and what happens above it.",
    parameters: &[],
    takes: None,
    answers: &[Given::ok(
        "The limits.",
        Shape::Fields(&[(
            "limits",
            "array",
            "Of objects with `name`, `value`, `above` and, where it is configured, `key`.",
        )]),
    )],
    refuses: &[],
    once: false,
};

/// Every limit; those that rest on the memory of the machine once the store is open.
pub(super) fn limits(server: &Server, _: &Asked) -> Answered {
    let mut limits = server.config.limits.list();
    if let Some(recovered) = server.recovered() {
        let stats = recovered.database.stats();
        let most = (stats.max_state_bytes, stats.max_memory_bytes);
        limits.extend(crate::front::limits::of_state(most.0, most.1));
    }
    ok(&json!({ "limits": limits }))
}

pub(super) const STATS: Operation = Operation {
    id: "getStats",
    tag: "server",
    summary: "Numbers of the database.",
    about: "Versions, transactions, sizes, checkpoints, the predicted recovery, the disk.",
    parameters: &[],
    takes: None,
    answers: &[Given::ok(
        "The numbers.",
        Shape::Fields(&[
            ("visible_version", "integer", "The newest version that reads see."),
            ("latest_version", "integer", "The newest version that was given."),
            ("oldest_version", "integer", "The oldest version that can be read."),
            ("commits", "integer", "Transactions that took a version."),
            ("conflicts", "integer", "Transactions that lost a race."),
            ("refused_full", "integer", "Commits refused at a limit."),
            ("state_bytes", "integer", "The newest state."),
            ("state_bytes_max", "integer", "The most that the state may become."),
            ("history_bytes", "integer", "Old versions kept for readers."),
            ("log_time_ms", "integer", "The log time of now."),
            ("durable_position", "integer", "Everything up to it is synced."),
            ("disk_available_bytes", "integer", "Free on the store's file system."),
            ("disk_low", "boolean", "Whether growth is refused for want of it."),
        ]),
    )],
    refuses: &[],
    once: false,
};

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

/// What was recovered, once it was.
pub(super) fn recovered(server: &Server) -> Result<&Recovered, Refusal> {
    server.recovered().ok_or(Refusal::NotNow)
}

/// What serves work, while that is done.
pub(super) fn serving(server: &Server) -> Result<&Recovered, Refusal> {
    server.serving().ok_or(Refusal::NotNow)
}
